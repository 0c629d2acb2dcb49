#include "codec/eventstream.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "codec/hash.h"

#define PRELUDE_SIZE  12 /* two lengths and their CRC */
#define CRC_SIZE      4
#define MESSAGE_LEAST (PRELUDE_SIZE + CRC_SIZE)
#define UUID_SIZE     16

/* Memory for messages that came in pieces is kept between them up to here. */
#define HELD_KEPT (64u << 10)

enum state {
    STATE_PRELUDE, /* fewer than PRELUDE_SIZE bytes of the message were seen */
    STATE_BODY,    /* its length is known and allowed */
    STATE_DONE,    /* it was handed out, and what is held goes with the next feed */
    STATE_BROKEN,
};

struct eventstream_decoder {
    enum state state;
    size_t message_most;
    size_t total; /* of the message, from STATE_BODY on */
    size_t headers_len;
    struct buf held; /* the start of a message whose end has not arrived */
    const char *error;
    struct eventstream_header headers[EVENTSTREAM_HEADER_COUNT];
};

struct eventstream_decoder *eventstream_decoder_new(size_t message_most)
{
    check(message_most >= MESSAGE_LEAST && message_most <= EVENTSTREAM_MESSAGE_MOST);
    struct eventstream_decoder *decoder = ALLOC(struct eventstream_decoder);
    decoder->message_most = message_most;
    buf_init(&decoder->held, message_most);
    return decoder;
}

void eventstream_decoder_free(struct eventstream_decoder *decoder)
{
    if (decoder != NULL) {
        buf_clear(&decoder->held);
        free(decoder);
    }
}

void eventstream_decoder_reset(struct eventstream_decoder *decoder)
{
    decoder->state = STATE_PRELUDE;
    decoder->error = NULL;
    if (decoder->held.cap > HELD_KEPT) {
        buf_clear(&decoder->held);
    }
    buf_reset(&decoder->held);
}

const char *eventstream_error(const struct eventstream_decoder *decoder)
{
    return decoder->error != NULL ? decoder->error : "";
}

bool eventstream_inside(const struct eventstream_decoder *decoder)
{
    return decoder->state != STATE_DONE && decoder->held.len > 0;
}

/* --- reading --- */

static uint64_t big_endian(struct span bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        value = value << 8 | (uint8_t)bytes.at[i];
    }
    return value;
}

/* Takes len bytes off *rest, false when there are fewer. */
static bool take(struct span *rest, size_t len, struct span *out)
{
    if (rest->len < len) {
        return false;
    }
    *out = span_first(*rest, len);
    *rest = span_of(rest->at + len, rest->len - len);
    return true;
}

/* A big-endian number of size bytes, then as many bytes as it says. */
static bool take_counted(struct span *rest, size_t size, struct span *out)
{
    struct span count;
    return take(rest, size, &count) && take(rest, big_endian(count), out);
}

/* Bytes of a number's value; 0 for the types that are none. */
static size_t integer_size(enum eventstream_type type)
{
    switch (type) {
    case EVENTSTREAM_INT8:
        return 1;
    case EVENTSTREAM_INT16:
        return 2;
    case EVENTSTREAM_INT32:
        return 4;
    case EVENTSTREAM_INT64:
    case EVENTSTREAM_TIMESTAMP:
        return 8;
    case EVENTSTREAM_TRUE:
    case EVENTSTREAM_FALSE:
    case EVENTSTREAM_BYTES:
    case EVENTSTREAM_STRING:
    case EVENTSTREAM_UUID:
        return 0;
    }
    return 0;
}

/* The value has its own length in front. */
static bool counted(enum eventstream_type type)
{
    return type == EVENTSTREAM_BYTES || type == EVENTSTREAM_STRING;
}

/* NULL, or what is wrong. */
static const char *header_read(struct span *rest, struct eventstream_header *out)
{
    struct eventstream_header header = {0};
    struct span type;
    if (!take_counted(rest, 1, &header.name) || header.name.len == 0 || !take(rest, 1, &type)) {
        return "a header's name is cut off or empty";
    }
    header.type = (uint8_t)type.at[0];
    if (header.type > EVENTSTREAM_UUID) {
        return "a header has an unknown type";
    }
    size_t size = integer_size(header.type);
    bool whole = true;
    if (size > 0) {
        struct span value;
        whole = take(rest, size, &value);
        if (whole) {
            unsigned unused = (unsigned)(64 - 8 * size);
            header.integer = (int64_t)(big_endian(value) << unused) >> unused;
        }
    } else if (header.type == EVENTSTREAM_UUID) {
        whole = take(rest, UUID_SIZE, &header.bytes);
    } else if (counted(header.type)) {
        whole = take_counted(rest, 2, &header.bytes);
    }
    if (!whole) {
        return "a header's value is cut off";
    }
    *out = header;
    return NULL;
}

static const char *headers_read(struct eventstream_decoder *decoder, struct span rest,
                                size_t *n_headers)
{
    size_t count = 0;
    while (rest.len > 0) {
        if (count == EVENTSTREAM_HEADER_COUNT) {
            return "a message has too many headers";
        }
        const char *error = header_read(&rest, &decoder->headers[count]);
        if (error != NULL) {
            return error;
        }
        for (size_t i = 0; i < count; i++) {
            if (span_eq(decoder->headers[i].name, decoder->headers[count].name)) {
                return "a message has the same header twice";
            }
        }
        count++;
    }
    *n_headers = count;
    return NULL;
}

/* --- feeding --- */

static enum eventstream_result broken(struct eventstream_decoder *decoder, const char *error)
{
    buf_clear(&decoder->held);
    decoder->state = STATE_BROKEN;
    decoder->error = error;
    return EVENTSTREAM_BROKEN;
}

/* NULL, or what is wrong. */
static const char *prelude_read(struct eventstream_decoder *decoder, struct span prelude)
{
    struct span lengths = span_first(prelude, 8);
    size_t total = big_endian(span_first(lengths, 4));
    size_t headers_len = big_endian(span_from(lengths, 4));
    if (hash_crc32(0, lengths) != big_endian(span_from(prelude, 8))) {
        return "a message's lengths do not match their checksum";
    }
    if (total > decoder->message_most) {
        return "a message is larger than the limit";
    }
    if (headers_len > EVENTSTREAM_HEADERS_MOST) {
        return "a message's headers are larger than the limit";
    }
    if (total < MESSAGE_LEAST || headers_len > total - MESSAGE_LEAST) {
        return "a message's lengths contradict each other";
    }
    decoder->total = total;
    decoder->headers_len = headers_len;
    decoder->state = STATE_BODY;
    return NULL;
}

static enum eventstream_result message_read(struct eventstream_decoder *decoder, struct span whole,
                                            struct eventstream_message *out)
{
    struct span covered = span_first(whole, whole.len - CRC_SIZE);
    if (hash_crc32(0, covered) != big_endian(span_from(whole, covered.len))) {
        return broken(decoder, "a message does not match its checksum");
    }
    struct span body = span_from(covered, PRELUDE_SIZE);
    struct eventstream_message message = {
        .headers = decoder->headers,
        .payload = span_from(body, decoder->headers_len),
    };
    const char *error =
        headers_read(decoder, span_first(body, decoder->headers_len), &message.n_headers);
    if (error != NULL) {
        return broken(decoder, error);
    }
    decoder->state = STATE_DONE;
    *out = message;
    return EVENTSTREAM_MESSAGE;
}

/* Moves bytes of *input behind those held until these are len; false when input ends before. */
static bool hold(struct eventstream_decoder *decoder, struct span *input, size_t len)
{
    struct span part = span_first(*input, len - decoder->held.len);
    buf_add_span(&decoder->held, part);
    *input = span_from(*input, part.len);
    return decoder->held.len == len;
}

enum eventstream_result eventstream_feed(struct eventstream_decoder *decoder, struct span *input,
                                         struct eventstream_message *message)
{
    if (decoder->state == STATE_BROKEN) {
        return EVENTSTREAM_BROKEN;
    }
    if (decoder->state == STATE_DONE) {
        eventstream_decoder_reset(decoder);
    }
    bool in_place = decoder->held.len == 0 && input->len >= PRELUDE_SIZE;
    if (decoder->state == STATE_PRELUDE) {
        if (!in_place && !hold(decoder, input, PRELUDE_SIZE)) {
            return EVENTSTREAM_MORE;
        }
        struct span start = in_place ? *input : buf_span(&decoder->held);
        const char *error = prelude_read(decoder, span_first(start, PRELUDE_SIZE));
        if (error != NULL) {
            return broken(decoder, error);
        }
    }
    struct span whole;
    if (in_place && take(input, decoder->total, &whole)) {
        return message_read(decoder, whole, message);
    }
    if (!hold(decoder, input, decoder->total)) {
        return EVENTSTREAM_MORE;
    }
    return message_read(decoder, buf_span(&decoder->held), message);
}

struct span eventstream_string(const struct eventstream_message *message, const char *name)
{
    for (size_t i = 0; i < message->n_headers; i++) {
        const struct eventstream_header *header = &message->headers[i];
        if (header->type == EVENTSTREAM_STRING && span_eq(header->name, span_str(name))) {
            return header->bytes;
        }
    }
    return SPAN_NONE;
}

/* --- writing --- */

static size_t header_size(const struct eventstream_header *header)
{
    size_t most = counted(header->type) ? UINT16_MAX : 0;
    size_t least = 0;
    if (header->type == EVENTSTREAM_UUID) {
        least = most = UUID_SIZE;
    }
    check(header->name.len > 0 && header->name.len <= UINT8_MAX);
    check(header->bytes.len >= least && header->bytes.len <= most);
    return 1 + header->name.len + 1 + integer_size(header->type) + (counted(header->type) ? 2 : 0) +
           header->bytes.len;
}

static void header_write(struct buf *out, const struct eventstream_header *header)
{
    buf_add_char(out, (char)header->name.len);
    buf_add_span(out, header->name);
    buf_add_char(out, (char)header->type);
    for (size_t left = integer_size(header->type); left > 0; left--) {
        buf_add_char(out, (char)(header->integer >> 8 * (left - 1)));
    }
    if (counted(header->type)) {
        buf_add_be16(out, (uint16_t)header->bytes.len);
    }
    buf_add_span(out, header->bytes);
}

void eventstream_encode(struct buf *out, const struct eventstream_header *headers, size_t n_headers,
                        struct span payload)
{
    size_t headers_len = 0;
    for (size_t i = 0; i < n_headers; i++) {
        headers_len += header_size(&headers[i]);
    }
    check(n_headers <= EVENTSTREAM_HEADER_COUNT && headers_len <= EVENTSTREAM_HEADERS_MOST);
    check(payload.len <= EVENTSTREAM_MESSAGE_MOST - MESSAGE_LEAST - headers_len);
    size_t total = MESSAGE_LEAST + headers_len + payload.len;
    if (buf_reserve(out, total) == NULL) {
        return;
    }
    size_t start = out->len;
    buf_add_be32(out, (uint32_t)total);
    buf_add_be32(out, (uint32_t)headers_len);
    buf_add_be32(out, hash_crc32(0, span_from(buf_span(out), start)));
    for (size_t i = 0; i < n_headers; i++) {
        header_write(out, &headers[i]);
    }
    buf_add_span(out, payload);
    buf_add_be32(out, hash_crc32(0, span_from(buf_span(out), start)));
}
