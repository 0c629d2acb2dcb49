/*
 * utf8.h -- UTF-8 as RFC 3629 has it, and text as JSON strings.
 *
 * Floor 0.
 */
#ifndef PRISM_BASE_UTF8_H
#define PRISM_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* Length of the sequence at the start of a non-empty text, 0 when it is not one. */
size_t utf8_sequence(struct span text);

bool utf8_valid(struct span text);

/* The code point of a valid sequence of len bytes; and back, 1 to 4 bytes. */
uint32_t utf8_decode(const char *at, size_t len);
void utf8_add(struct buf *out, uint32_t code_point);

/* At most len bytes of text, cut between code points. */
struct span utf8_first(struct span text, size_t len);

/* text as a JSON string with quotes (RFC 8259); bytes that are not UTF-8 become U+FFFD. */
void utf8_add_json(struct buf *out, struct span text);

#endif
