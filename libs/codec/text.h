/*
 * text.h -- bytes as text and back: base64, hex, ids, control characters.
 *
 * Floor 1, pure.
 */
#ifndef PRISM_CODEC_TEXT_H
#define PRISM_CODEC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* RFC 4648 section 4, with padding; decoding is strict. False leaves out as it was. */
void text_add_base64(struct buf *out, struct span bytes);
bool text_decode_base64(struct buf *out, struct span text);

void text_add_hex(struct buf *out, struct span bytes); /* lower case */
bool text_decode_hex(struct buf *out, struct span text);

/* Text a terminal may be given: C0, C1 and DEL, bidi and invisible format characters become
 * visible escapes (<U+202E>), newlines (LF and CR LF) and tabs stay, bytes that are not UTF-8
 * become U+FFFD. */
void text_add_printable(struct buf *out, struct span text);

/* Removes invisible characters (zero width, bidi controls, tags U+E0000..E007F, C0 but tab and
 * newlines); returns how many code points were taken out. text is valid UTF-8. */
size_t text_add_visible(struct buf *out, struct span text);

/* A lower-case UUID of 36 characters and NUL: version 7 from milliseconds and 10 random bytes
 * (RFC 9562). */
void text_uuid7(uint64_t wall_ms, const uint8_t random[10], char out[37]);

#endif
