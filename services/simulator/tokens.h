/*
 * tokens.h -- how many tokens a text has, as the simulator counts.
 *
 * Floor 6, pure. Not codec/estimate and nothing shared with it: estimates are judged by this
 * count, so it must be able to disagree.
 */
#ifndef PRISM_SIMULATOR_TOKENS_H
#define PRISM_SIMULATOR_TOKENS_H

#include <stdint.h>

#include "base/span.h"

/* percent scales the count to a model's tokenizer. */
uint64_t tokens_count(struct span text, uint32_t percent);

/* The longest beginning of text with at most `tokens` tokens, cut where a token ends. */
struct span tokens_first(struct span text, uint64_t tokens, uint32_t percent);

#endif
