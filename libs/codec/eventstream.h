/*
 * eventstream.h -- AWS's binary event stream, application/vnd.amazon.eventstream.
 *
 * Floor 1, pure. A message is: u32 total length, u32 headers length, u32 CRC-32 of those eight
 * bytes, headers, payload, u32 CRC-32 of all before it; all big endian. The decoder takes the
 * bytes in any pieces. Facts: AWS's C library limits a message to 24 MiB and 128 KiB of headers.
 */
#ifndef PRISM_CODEC_EVENTSTREAM_H
#define PRISM_CODEC_EVENTSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

#define EVENTSTREAM_MESSAGE_MOST (24u << 20)
#define EVENTSTREAM_HEADERS_MOST (128u << 10)
#define EVENTSTREAM_HEADER_COUNT 64 /* more are refused: Bedrock sends three */

enum eventstream_type {
    EVENTSTREAM_TRUE,
    EVENTSTREAM_FALSE,
    EVENTSTREAM_INT8,
    EVENTSTREAM_INT16,
    EVENTSTREAM_INT32,
    EVENTSTREAM_INT64,
    EVENTSTREAM_BYTES,
    EVENTSTREAM_STRING,
    EVENTSTREAM_TIMESTAMP, /* ms since the epoch */
    EVENTSTREAM_UUID,
};

struct eventstream_header {
    struct span name;
    enum eventstream_type type;
    int64_t integer;   /* INT8..INT64, TIMESTAMP */
    struct span bytes; /* BYTES, STRING, UUID */
};

struct eventstream_message {
    const struct eventstream_header *headers; /* at most EVENTSTREAM_HEADER_COUNT */
    size_t n_headers;
    struct span payload;
};

struct eventstream_decoder;

/* message_most bounds what a message may claim, at most EVENTSTREAM_MESSAGE_MOST. */
struct eventstream_decoder *eventstream_decoder_new(size_t message_most) NODISCARD;
void eventstream_decoder_free(struct eventstream_decoder *decoder);
void eventstream_decoder_reset(struct eventstream_decoder *decoder);

enum eventstream_result {
    EVENTSTREAM_MESSAGE, /* *message is filled; feed again for more */
    EVENTSTREAM_MORE,    /* all input was taken, no message is complete */
    EVENTSTREAM_BROKEN,  /* see eventstream_error; the decoder stays broken */
};

/* Takes bytes off the front of *input up to the end of one message. The message points into the
 * decoder, or into the input where it lies there whole: valid until the next feed, and as long as
 * both are. */
enum eventstream_result eventstream_feed(struct eventstream_decoder *decoder, struct span *input,
                                         struct eventstream_message *message);
const char *eventstream_error(const struct eventstream_decoder *decoder);

/* Bytes of an unfinished message are held: the stream was cut inside it. */
bool eventstream_inside(const struct eventstream_decoder *decoder);

/* The text of a string header, empty when there is none of this name. */
struct span eventstream_string(const struct eventstream_message *message, const char *name);

/* Appends one encoded message. Names of 1 to 255 bytes, values up to 65535, a UUID of 16 and the
 * decoder's own bounds are the caller's to keep. */
void eventstream_encode(struct buf *out, const struct eventstream_header *headers, size_t n_headers,
                        struct span payload);

#endif
