/*
 * estimate.h -- tokens before the call: how many a text has, and what a limit is charged.
 *
 * Floor 1, pure. Used by router and limiter; the simulator has its own code for the same rules.
 */
#ifndef PRISM_CODEC_ESTIMATE_H
#define PRISM_CODEC_ESTIMATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* Tokens of a text without asking anybody: words, digits, punctuation and other scripts weighed
 * apart. per_mille scales it to a model's tokenizer (1000: Claude 3 to 4.6). */
uint64_t estimate_text(struct span text, uint32_t per_mille);

/* What each message, a thinking budget, and the request as a whole add. */
#define ESTIMATE_PER_MESSAGE 4
#define ESTIMATE_THINKING    29
#define ESTIMATE_SYSTEM      3

/* What a model's own counts have taught: tokens that were estimated and that it counted, older ones
 * counting less and less. All 0: nothing yet. */
struct estimate_lesson {
    double estimated;
    double counted;
};

/* Takes in one request: what estimate_text and the constants came to, and what the model counted.
 */
void estimate_learn(struct estimate_lesson *lesson, uint64_t estimated, uint64_t counted);

/* The estimate as the lesson would have it. */
uint64_t estimate_correct(const struct estimate_lesson *lesson, uint64_t estimated);

struct estimate_tokens {
    uint64_t input; /* without cached ones */
    uint64_t cache_read;
    uint64_t cache_write;
    uint64_t max_output;
};

struct estimate_model {
    uint32_t burn;            /* output counts this many times when settled */
    uint64_t expected_output; /* 0: unknown, max_output is expected */
    bool reserve_counts_cache_read;
    bool strict; /* reserve so that settling never exceeds it */
};

/* q95_output: 0 while unknown. limiter.md section 6 names the rules. */
uint64_t estimate_pool_charge(const struct estimate_tokens *t, uint64_t q95_output);
uint64_t estimate_pool_settled(uint64_t input, uint64_t cache_read, uint64_t cache_write,
                               uint64_t output);
uint64_t estimate_model_charge(const struct estimate_tokens *t, const struct estimate_model *m,
                               uint64_t q95_output);
uint64_t estimate_model_settled(const struct estimate_model *m, uint64_t input,
                                uint64_t cache_write, uint64_t output);

#endif
