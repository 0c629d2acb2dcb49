/* The decoder, given whole streams and the same streams in pieces: both must tell the same, and
 * what it accepts encodes back to the same bytes. Checksums are put right in most inputs, else
 * nothing behind them would ever be reached. */
#include <stdlib.h>

#include "base/buf.h"
#include "codec/eventstream.h"
#include "codec/hash.h"
#include "fuzz.h"

#define MESSAGE_MOST (1u << 20)
#define LEAST        16 /* two lengths, their checksum, the message's */
#define TOLD_MOST    (64u << 20)

static uint32_t read_be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void write_be32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* Makes messages of the bytes: lengths that fit, and checksums. */
static void mend(uint8_t *data, size_t size)
{
    for (size_t at = 0; size - at >= LEAST;) {
        uint8_t *message = data + at;
        size_t left = size - at, total = read_be32(message);
        if (total < LEAST || total > left) {
            total = left;
            write_be32(message, (uint32_t)total);
        }
        if (read_be32(message + 4) > total - LEAST) {
            write_be32(message + 4, (uint32_t)(total - LEAST));
        }
        write_be32(message + 8, hash_crc32(0, span_of(message, 8)));
        write_be32(message + total - 4, hash_crc32(0, span_of(message, total - 4)));
        at += total;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, most);
    if (seed % 8 != 0) {
        mend(data, size);
    }
    return size;
}

/* Feeds one piece; what comes out is told in out, in the encoder's words. */
static enum eventstream_result feed(struct eventstream_decoder *decoder, struct span piece,
                                    struct buf *out)
{
    enum eventstream_result result;
    struct eventstream_message message;
    while ((result = eventstream_feed(decoder, &piece, &message)) == EVENTSTREAM_MESSAGE) {
        check(message.n_headers <= EVENTSTREAM_HEADER_COUNT);
        eventstream_encode(out, message.headers, message.n_headers, message.payload);
    }
    check(result == EVENTSTREAM_BROKEN || piece.len == 0);
    return result;
}

/* Pieces of 1 to most bytes, each in memory of its own that is gone before the next. */
static void decode(struct span stream, size_t most, struct buf *out, struct buf *end)
{
    struct eventstream_decoder *decoder = eventstream_decoder_new(MESSAGE_MOST);
    enum eventstream_result result = EVENTSTREAM_MORE;
    uint32_t state = hash_crc32(0, stream);
    while (stream.len > 0 && result == EVENTSTREAM_MORE) {
        state = state * 1664525 + 1013904223;
        struct span piece = span_first(stream, 1 + (state >> 16) % most);
        char *copy = malloc(piece.len);
        check(copy != NULL);
        memcpy(copy, piece.at, piece.len);
        result = feed(decoder, span_of(copy, piece.len), out);
        free(copy);
        stream = span_from(stream, piece.len);
    }
    buf_addf(end, "%d %d %s", (int)result, eventstream_inside(decoder), eventstream_error(decoder));
    eventstream_decoder_free(decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_clear) struct buf whole;
    CLEANUP(buf_clear) struct buf whole_end;
    buf_init(&whole, TOLD_MOST);
    buf_init(&whole_end, 1024);
    struct span stream = span_of(data, size);
    decode(stream, SIZE_MAX, &whole, &whole_end);
    check(buf_ok(&whole) && span_starts(stream, buf_span(&whole)));
    static const size_t pieces[] = {1, 7, 100, 5000};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        CLEANUP(buf_clear) struct buf cut;
        CLEANUP(buf_clear) struct buf cut_end;
        buf_init(&cut, TOLD_MOST);
        buf_init(&cut_end, 1024);
        decode(stream, pieces[i], &cut, &cut_end);
        check(span_eq(buf_span(&cut), buf_span(&whole)));
        check(span_eq(buf_span(&cut_end), buf_span(&whole_end)));
    }
    return 0;
}
