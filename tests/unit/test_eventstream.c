/* Event streams: vectors of two AWS SDKs, recorded and built Bedrock streams, and our own frames;
 * each whole, byte by byte and cut at random. */
#include <dirent.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "codec/eventstream.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "harness.h"

#define GO       "eventstream/aws-sdk-go/testdata"
#define BOTOCORE "eventstream/botocore/cases.json"
#define RECORDED "llm-http/bedrock/stream"
#define BUILT    "llm-http/bedrock-synthetic-exceptions"

#define RECORDED_SIZE   25
#define RECORDED_FRAMES 559
#define BUILT_SIZE      23

/* --- feeding --- */

/* What a decoder makes of some input. */
struct outcome {
    struct buf again; /* all messages, encoded again */
    size_t count;
    enum eventstream_result last; /* MORE or BROKEN */
    bool inside;
    char error[80];
};

static void outcome_clear(struct outcome *outcome)
{
    buf_clear(&outcome->again);
}

/* Who looks at each message of the whole input. */
struct watcher {
    void (*see)(const struct eventstream_message *message, size_t index, const json_t *want);
    const json_t *want;
};

/* Each piece lies in memory of its own size, which is gone with the next one. cut: bytes of a
 * piece; 0: all; negative: random. */
static struct outcome feed(struct span input, int cut, const struct watcher *watcher)
{
    struct outcome out = {.last = EVENTSTREAM_MORE};
    buf_init(&out.again, EVENTSTREAM_MESSAGE_MOST);
    struct eventstream_decoder *decoder = eventstream_decoder_new(EVENTSTREAM_MESSAGE_MOST);
    uint32_t random = (uint32_t)-cut;
    while (input.len > 0 && out.last == EVENTSTREAM_MORE) {
        size_t len = cut == 0  ? input.len
                     : cut > 0 ? (size_t)cut
                               : 1 + harness_random(&random) % 200;
        struct span taken = span_first(input, len);
        char *copy = memcpy(alloc_bytes(taken.len), taken.at, taken.len);
        struct span piece = span_of(copy, taken.len);
        struct eventstream_message message;
        while ((out.last = eventstream_feed(decoder, &piece, &message)) == EVENTSTREAM_MESSAGE) {
            eventstream_encode(&out.again, message.headers, message.n_headers, message.payload);
            if (watcher != NULL) {
                watcher->see(&message, out.count, watcher->want);
            }
            out.count++;
        }
        assert_true(out.last == EVENTSTREAM_BROKEN || piece.len == 0);
        free(copy);
        input = span_from(input, taken.len);
    }
    out.inside = eventstream_inside(decoder);
    snprintf(out.error, sizeof(out.error), "%s", eventstream_error(decoder));
    if (out.last == EVENTSTREAM_BROKEN) {
        struct span more = SPAN("\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff");
        assert_int_equal(eventstream_feed(decoder, &more, NULL), EVENTSTREAM_BROKEN);
    }
    eventstream_decoder_free(decoder);
    return out;
}

/* Feeds whole, byte by byte and at random cuts: all must agree, and what was decoded must be the
 * first bytes of the input once more. Returns the outcome of the whole. */
static struct outcome feed_all_ways(struct span input, const struct watcher *watcher)
{
    struct outcome whole = feed(input, 0, watcher);
    assert_span(buf_span(&whole.again), span_first(input, whole.again.len));
    static const int cuts[] = {1, 2, 3, 11, 12, 13, -1, -2, -3, -4, -5};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        CLEANUP(outcome_clear) struct outcome cut = feed(input, cuts[i], NULL);
        assert_span(buf_span(&cut.again), buf_span(&whole.again));
        assert_int_equal(cut.count, whole.count);
        assert_int_equal(cut.last, whole.last);
        assert_int_equal(cut.inside, whole.inside);
        assert_string_equal(cut.error, whole.error);
    }
    return whole;
}

static void assert_broken(struct span input, const char *word)
{
    CLEANUP(outcome_clear) struct outcome out = feed_all_ways(input, NULL);
    assert_int_equal(out.last, EVENTSTREAM_BROKEN);
    assert_false(out.inside);
    if (strstr(out.error, word) == NULL) {
        fail_msg("\"%s\" says nothing of \"%s\"", out.error, word);
    }
}

static void assert_one_message(struct span input, const struct watcher *watcher)
{
    CLEANUP(outcome_clear) struct outcome out = feed_all_ways(input, watcher);
    assert_int_equal(out.last, EVENTSTREAM_MORE);
    assert_int_equal(out.count, 1);
    assert_false(out.inside);
    assert_span(buf_span(&out.again), input);
}

/* --- vectors --- */

static json_t *load(const char *path)
{
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    return root;
}

static struct span text_of(const json_t *value)
{
    return span_of(json_string_value(value), json_string_length(value));
}

static void assert_base64(struct span bytes, const json_t *want)
{
    CLEANUP(buf_clear) struct buf coded;
    buf_init(&coded, 1u << 20);
    text_add_base64(&coded, bytes);
    assert_span(buf_span(&coded), text_of(want));
}

static struct span from_hex(struct arena *arena, const json_t *hex)
{
    CLEANUP(buf_clear) struct buf bytes;
    buf_init(&bytes, 1u << 20);
    assert_true(text_decode_hex(&bytes, text_of(hex)));
    return arena_copy(arena, buf_span(&bytes));
}

static bool has_bytes(enum eventstream_type type)
{
    return type == EVENTSTREAM_BYTES || type == EVENTSTREAM_STRING || type == EVENTSTREAM_UUID;
}

static void check_go(const struct eventstream_message *message, size_t index, const json_t *want)
{
    (void)index;
    const json_t *headers = json_object_get(want, "headers");
    assert_int_equal(message->n_headers, json_array_size(headers));
    for (size_t i = 0; i < message->n_headers; i++) {
        const struct eventstream_header *header = &message->headers[i];
        const json_t *row = json_array_get(headers, i);
        const json_t *value = json_object_get(row, "value");
        assert_span(header->name, text_of(json_object_get(row, "name")));
        assert_int_equal(header->type, json_integer_value(json_object_get(row, "type")));
        if (has_bytes(header->type)) {
            assert_base64(header->bytes, value);
        } else if (json_is_boolean(value)) {
            assert_int_equal(header->type == EVENTSTREAM_TRUE, json_is_true(value));
        } else {
            assert_int_equal(header->integer, json_integer_value(value));
        }
    }
    assert_base64(message->payload, json_object_get(want, "payload"));
}

static void test_aws_sdk_go(void **state)
{
    (void)state;
    static const char *const positive[] = {"all_headers", "empty_message", "int32_header",
                                           "payload_no_headers", "payload_one_str_header"};
    static const char *const negative[] = {"corrupted_header_len", "corrupted_headers",
                                           "corrupted_length", "corrupted_payload"};
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    const char *root = harness_vectors(arena, GO, ARRAY_LEN(positive) + ARRAY_LEN(negative));
    size_t ran = 0;
    for (size_t i = 0; i < ARRAY_LEN(positive); i++, ran++) {
        print_message("# aws-sdk-go %s\n", positive[i]);
        json_t *want = load(arena_printf(arena, "%s/decoded/positive/%s", root, positive[i]));
        struct span input =
            harness_read(arena, arena_printf(arena, "%s/encoded/positive/%s", root, positive[i]));
        assert_one_message(input, &(struct watcher){check_go, want});
        json_decref(want);
    }
    for (size_t i = 0; i < ARRAY_LEN(negative); i++, ran++) {
        print_message("# aws-sdk-go %s\n", negative[i]);
        assert_broken(
            harness_read(arena, arena_printf(arena, "%s/encoded/negative/%s", root, negative[i])),
            "checksum");
    }
    harness_ran("eventstream aws-sdk-go", ran, 9);
}

static void check_botocore(const struct eventstream_message *message, size_t index,
                           const json_t *want)
{
    (void)index;
    const json_t *headers = json_object_get(want, "headers");
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    assert_int_equal(message->n_headers, json_array_size(headers));
    for (size_t i = 0; i < message->n_headers; i++) {
        const struct eventstream_header *header = &message->headers[i];
        const json_t *row = json_array_get(headers, i);
        const json_t *value = json_array_get(row, 1);
        assert_span(header->name, text_of(json_array_get(row, 0)));
        if (json_is_object(value)) {
            assert_true(has_bytes(header->type) && header->type != EVENTSTREAM_STRING);
            assert_span(header->bytes, from_hex(arena, json_object_get(value, "bytes_hex")));
        } else if (json_is_string(value)) {
            const char *name = json_string_value(json_array_get(row, 0));
            assert_span(eventstream_string(message, name), text_of(value));
        } else if (json_is_boolean(value)) {
            assert_int_equal(header->type,
                             json_is_true(value) ? EVENTSTREAM_TRUE : EVENTSTREAM_FALSE);
        } else {
            assert_int_equal(header->integer, json_integer_value(value));
        }
    }
    assert_span(message->payload, from_hex(arena, json_object_get(want, "payload_hex")));
}

/* The large case is stored as a start, a byte to repeat and an end. */
static struct span botocore_bytes(struct arena *arena, const json_t *row)
{
    const json_t *whole = json_object_get(row, "encoded_hex");
    if (whole != NULL) {
        return from_hex(arena, whole);
    }
    struct span prefix = from_hex(arena, json_object_get(row, "encoded_hex_prefix"));
    struct span suffix = from_hex(arena, json_object_get(row, "encoded_hex_suffix"));
    struct span fill = from_hex(arena, json_object_get(row, "fill_byte_hex"));
    size_t count = (size_t)json_integer_value(json_object_get(row, "fill_count"));
    char *bytes = arena_alloc(arena, prefix.len + count + suffix.len);
    memcpy(bytes, prefix.at, prefix.len);
    memset(bytes + prefix.len, fill.at[0], count);
    memcpy(bytes + prefix.len + count, suffix.at, suffix.len);
    return span_of(bytes, prefix.len + count + suffix.len);
}

static void test_botocore(void **state)
{
    (void)state;
    static const struct {
        const char *error;
        const char *word;
    } words[] = {{"ChecksumMismatch", "checksum"},
                 {"DuplicateHeader", "twice"},
                 {"InvalidHeadersLength", "headers are larger"},
                 {"InvalidPayloadLength", "message is larger"}};
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 20);
    json_t *root = load(harness_vectors(arena, BOTOCORE, 9 + 7));
    size_t index, positive = 0, negative = 0;
    json_t *row;
    json_array_foreach(json_object_get(root, "positive"), index, row)
    {
        print_message("# botocore %s\n", json_string_value(json_object_get(row, "name")));
        assert_one_message(botocore_bytes(arena, row), &(struct watcher){check_botocore, row});
        positive++;
    }
    json_array_foreach(json_object_get(root, "negative"), index, row)
    {
        print_message("# botocore %s\n", json_string_value(json_object_get(row, "name")));
        const char *error = json_string_value(json_object_get(row, "error"));
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            if (strcmp(error, words[i].error) == 0) {
                assert_broken(botocore_bytes(arena, row), words[i].word);
                negative++;
            }
        }
    }
    json_decref(root);
    harness_ran("eventstream botocore, valid", positive, 9);
    harness_ran("eventstream botocore, broken", negative, 7);
}

/* --- Bedrock --- */

/* Takes each event's type off a copy of meta.json's frame_types. */
static void count_type(const struct eventstream_message *message, size_t index, const json_t *want)
{
    (void)index;
    static const char *const names[] = {":event-type", ":content-type", ":message-type"};
    assert_int_equal(message->n_headers, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_span(message->headers[i].name, span_str(names[i]));
    }
    char type[64];
    struct span event = eventstream_string(message, ":event-type");
    snprintf(type, sizeof(type), "%.*s", (int)event.len, event.at);
    json_t *count = json_object_get(want, type);
    assert_true(json_integer_value(count) > 0);
    json_integer_set(count, json_integer_value(count) - 1);
    assert_span(eventstream_string(message, ":message-type"), SPAN("event"));
    assert_true(span_starts(message->payload, SPAN("{")));
}

static size_t run_recorded(struct arena *arena, const char *folder)
{
    print_message("# %s\n", folder);
    json_t *meta = load(arena_printf(arena, "%s/meta.json", folder));
    size_t frames = (size_t)json_integer_value(json_object_get(meta, "frames"));
    struct span input = harness_read(arena, arena_printf(arena, "%s/response.eventstream", folder));
    struct watcher watcher = {count_type, json_object_get(meta, "frame_types")};
    CLEANUP(outcome_clear) struct outcome out = feed_all_ways(input, &watcher);
    assert_int_equal(out.count, frames);
    assert_int_equal(out.last, EVENTSTREAM_MORE);
    assert_false(out.inside);
    assert_span(buf_span(&out.again), input);
    json_decref(meta);
    return frames;
}

static void test_recorded_streams(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *root = harness_vectors(arena, RECORDED, RECORDED_SIZE);
    DIR *folder = opendir(root);
    assert_non_null(folder);
    size_t ran = 0, frames = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            frames += run_recorded(arena, arena_printf(arena, "%s/%s", root, entry->d_name));
            ran++;
        }
    }
    closedir(folder);
    harness_ran("eventstream recorded streams", ran, RECORDED_SIZE);
    harness_ran("eventstream recorded frames", frames, RECORDED_FRAMES);
}

/* Looks at the message where the exception is expected. */
static void check_built(const struct eventstream_message *message, size_t index, const json_t *want)
{
    if ((json_int_t)index != json_integer_value(json_object_get(want, "real_frames_before"))) {
        return;
    }
    const json_t *exception = json_object_get(want, "exception_type");
    const json_t *code = json_object_get(want, "error_code");
    if (exception != NULL) {
        assert_span(eventstream_string(message, ":message-type"), SPAN("exception"));
        assert_span(eventstream_string(message, ":exception-type"), text_of(exception));
        json_t *payload = json_loadb(message->payload.at, message->payload.len, 0, NULL);
        assert_true(json_equal(payload, json_object_get(want, "payload")));
        json_decref(payload);
    } else if (code != NULL) {
        assert_span(eventstream_string(message, ":message-type"), SPAN("error"));
        assert_span(eventstream_string(message, ":error-code"), text_of(code));
    }
}

/* How many messages are whole in a built stream. */
static size_t built_count(const json_t *row, const char *name)
{
    static const struct {
        const char *name;
        size_t count;
    } others[] = {
        {"unknown-event.then-rest.eventstream", 26},
        {"no-message-stop.eventstream", 20},
        {"truncated-mid-frame.eventstream", 9},
        {"bad-message-crc-frame1.eventstream", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (strcmp(name, others[i].name) == 0) {
            return others[i].count;
        }
    }
    return (size_t)json_integer_value(json_object_get(row, "real_frames_before")) + 1;
}

static void test_built_streams(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *root = harness_vectors(arena, BUILT, BUILT_SIZE);
    json_t *rows = load(arena_printf(arena, "%s/index.json", root));
    size_t index, ran = 0;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        const char *name = json_string_value(json_object_get(row, "file"));
        print_message("# %s\n", name);
        struct span input = harness_read(arena, arena_printf(arena, "%s/%s", root, name));
        CLEANUP(outcome_clear)
        struct outcome out = feed_all_ways(input, &(struct watcher){check_built, row});
        bool broken = strstr(name, "bad-message-crc") != NULL;
        bool cut = strstr(name, "truncated") != NULL;
        assert_int_equal(out.last, broken ? EVENTSTREAM_BROKEN : EVENTSTREAM_MORE);
        assert_int_equal(out.inside, cut);
        assert_int_equal(out.again.len == input.len, !broken && !cut);
        assert_int_equal(out.count, built_count(row, name));
        ran++;
    }
    json_decref(rows);
    harness_ran("eventstream built streams", ran, BUILT_SIZE);
}

/* --- frames of our own --- */

/* A frame with these bytes as headers and whatever lengths, its checksums right. */
static struct span frame(struct arena *arena, uint32_t total, uint32_t headers_len,
                         struct span body)
{
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 1u << 20);
    buf_add_be32(&out, total);
    buf_add_be32(&out, headers_len);
    buf_add_be32(&out, hash_crc32(0, buf_span(&out)));
    buf_add_span(&out, body);
    buf_add_be32(&out, hash_crc32(0, buf_span(&out)));
    return arena_copy(arena, buf_span(&out));
}

static struct span frame_of_headers(struct arena *arena, struct span headers)
{
    return frame(arena, (uint32_t)(16 + headers.len), (uint32_t)headers.len, headers);
}

static void test_malformed_headers(void **state)
{
    (void)state;
    static const struct {
        struct span headers;
        const char *word;
    } cases[] = {
        {SPAN("\x00\x00"), "name"}, /* an empty name */
        {SPAN("\x05name"), "name"}, /* shorter than it says */
        {SPAN("\x04name"), "name"}, /* no type */
        {SPAN("\xff"), "name"},
        {SPAN("\x01n\x0a"), "unknown type"},
        {SPAN("\x01n\xff"), "unknown type"},
        {SPAN("\x01n\x02"), "value"},
        {SPAN("\x01n\x03\x01"), "value"},
        {SPAN("\x01n\x04\x01\x02\x03"), "value"},
        {SPAN("\x01n\x05\x01\x02\x03\x04\x05\x06\x07"), "value"},
        {SPAN("\x01n\x06\x00"), "value"},
        {SPAN("\x01n\x06\x00\x02x"), "value"},
        {SPAN("\x01n\x07\xff\xffx"), "value"},
        {SPAN("\x01n\x08\x01\x02\x03\x04\x05\x06\x07"), "value"},
        {SPAN("\x01n\x09"
              "0123456789abcde"),
         "value"},
        {SPAN("\x01n\x00\x01m\x00\x01n\x01"), "twice"},
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_broken(frame_of_headers(arena, cases[i].headers), cases[i].word);
    }
}

static void test_lengths_are_bounded(void **state)
{
    (void)state;
    static const struct {
        uint32_t total, headers_len;
        const char *word;
    } cases[] = {
        {0, 0, "contradict"},
        {15, 0, "contradict"},
        {16, 1, "contradict"},
        {20, 5, "contradict"},
        {20, UINT32_MAX, "headers are larger"},
        {EVENTSTREAM_MESSAGE_MOST, EVENTSTREAM_HEADERS_MOST + 1, "headers are larger"},
        {EVENTSTREAM_MESSAGE_MOST + 1, 0, "message is larger"},
        {UINT32_MAX, 0, "message is larger"},
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        /* Twelve bytes are enough to refuse. */
        assert_broken(span_first(frame(arena, cases[i].total, cases[i].headers_len, SPAN_NONE), 12),
                      cases[i].word);
    }
    /* A claim takes no memory before the bytes are there. */
    struct span claim = span_first(frame(arena, EVENTSTREAM_MESSAGE_MOST, 0, SPAN_NONE), 12);
    struct eventstream_decoder *decoder = eventstream_decoder_new(EVENTSTREAM_MESSAGE_MOST);
    struct eventstream_message message;
    struct mallinfo2 before = mallinfo2();
    assert_int_equal(eventstream_feed(decoder, &claim, &message), EVENTSTREAM_MORE);
    struct mallinfo2 after = mallinfo2();
    assert_true(after.uordblks + after.hblkhd <= before.uordblks + before.hblkhd + 65536);
    assert_true(eventstream_inside(decoder));
    eventstream_decoder_free(decoder);
}

static void test_the_callers_limit_counts(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct eventstream_decoder *decoder = eventstream_decoder_new(116);
    struct eventstream_message message;
    char payload[101] = {0};
    struct span fits = frame(arena, 116, 0, span_of(payload, 100));
    struct span beyond = frame(arena, 117, 0, span_of(payload, 101));
    assert_int_equal(eventstream_feed(decoder, &fits, &message), EVENTSTREAM_MESSAGE);
    assert_span(message.payload, span_of(payload, 100));
    assert_int_equal(eventstream_feed(decoder, &beyond, &message), EVENTSTREAM_BROKEN);
    assert_string_equal(eventstream_error(decoder), "a message is larger than the limit");
    eventstream_decoder_free(decoder);
    eventstream_decoder_free(NULL);
}

static void test_headers_are_counted(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    CLEANUP(buf_clear) struct buf headers;
    buf_init(&headers, 1000);
    for (int i = 0; i < EVENTSTREAM_HEADER_COUNT; i++) {
        buf_addf(&headers, "\x02%02d%c", i, EVENTSTREAM_FALSE);
    }
    assert_one_message(frame_of_headers(arena, buf_span(&headers)), NULL);
    buf_addf(&headers, "\x02xx%c", EVENTSTREAM_FALSE);
    assert_broken(frame_of_headers(arena, buf_span(&headers)), "too many");
}

static void test_a_whole_message_is_not_copied(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf stream;
    buf_init(&stream, 1000);
    static const struct eventstream_header type = {
        .name = SPAN(":event-type"), .type = EVENTSTREAM_STRING, .bytes = SPAN("chunk")};
    eventstream_encode(&stream, &type, 1, SPAN("first"));
    eventstream_encode(&stream, &type, 1, SPAN("second"));
    struct eventstream_decoder *decoder = eventstream_decoder_new(1000);
    struct eventstream_message message;
    struct span rest = buf_span(&stream);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(eventstream_feed(decoder, &rest, &message), EVENTSTREAM_MESSAGE);
        assert_span(message.payload, i == 0 ? SPAN("first") : SPAN("second"));
        assert_true(message.payload.at > stream.at && message.payload.at < stream.at + stream.len);
        assert_span(eventstream_string(&message, ":event-type"), SPAN("chunk"));
        assert_span(eventstream_string(&message, ":message-type"), SPAN_NONE);
        assert_false(eventstream_inside(decoder));
    }
    assert_int_equal(rest.len, 0);
    assert_int_equal(eventstream_feed(decoder, &rest, &message), EVENTSTREAM_MORE);
    eventstream_decoder_free(decoder);
}

static void test_reset_starts_anew(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf stream;
    buf_init(&stream, 1000);
    eventstream_encode(&stream, NULL, 0, SPAN("payload"));
    struct eventstream_decoder *decoder = eventstream_decoder_new(1000);
    struct eventstream_message message;
    struct span part = span_first(buf_span(&stream), 14);
    assert_int_equal(eventstream_feed(decoder, &part, &message), EVENTSTREAM_MORE);
    assert_true(eventstream_inside(decoder));
    assert_int_equal(eventstream_feed(decoder, &part, &message), EVENTSTREAM_MORE);
    struct span noise = SPAN("no event stream at all");
    assert_int_equal(eventstream_feed(decoder, &noise, &message), EVENTSTREAM_BROKEN);
    eventstream_decoder_reset(decoder);
    assert_string_equal(eventstream_error(decoder), "");
    struct span whole = buf_span(&stream);
    assert_int_equal(eventstream_feed(decoder, &whole, &message), EVENTSTREAM_MESSAGE);
    assert_span(message.payload, SPAN("payload"));
    eventstream_decoder_free(decoder);
}

static void test_encoding_past_the_bufs_maximum_adds_nothing(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 20);
    eventstream_encode(&out, NULL, 0, SPAN("12345"));
    assert_false(buf_ok(&out));
    assert_int_equal(out.len, 0);
    buf_reset(&out);
    eventstream_encode(&out, NULL, 0, SPAN("1234"));
    assert_true(buf_ok(&out));
    assert_int_equal(out.len, 20);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_aws_sdk_go),
    cmocka_unit_test(test_botocore),
    cmocka_unit_test(test_recorded_streams),
    cmocka_unit_test(test_built_streams),
    cmocka_unit_test(test_malformed_headers),
    cmocka_unit_test(test_lengths_are_bounded),
    cmocka_unit_test(test_the_callers_limit_counts),
    cmocka_unit_test(test_headers_are_counted),
    cmocka_unit_test(test_a_whole_message_is_not_copied),
    cmocka_unit_test(test_reset_starts_anew),
    cmocka_unit_test(test_encoding_past_the_bufs_maximum_adds_nothing),
};

HARNESS_MAIN(tests)
