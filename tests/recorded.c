#include "recorded.h"

#include "codec/text.h"

#define EVENTS_MOST 1024
#define TEXT_MOST   (4u << 20)
#define PIECE       7 /* characters a delta of a whole answer that is sent as a stream */

static const char *keep(const struct buf *text, struct arena *arena)
{
    assert_true(buf_ok(text));
    return arena_string(arena, buf_span(text));
}

static const char *compact(const struct json *value, struct arena *arena)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, TEXT_MOST);
    json_add(&text, value);
    return keep(&text, arena);
}

static bool is(const struct json *object, const char *key, const char *value)
{
    return span_eq(json_string(json_get(object, key)), span_str(value));
}

/* --- streams ---------------------------------------------------------------------------------- */

struct events {
    const char **at;
    size_t n;
    struct arena *arena;
};

static struct events events_new(struct arena *arena)
{
    return (struct events){.at = ARENA_ARRAY(arena, const char *, EVENTS_MOST), .arena = arena};
}

static void add(struct events *events, struct span text)
{
    assert_true(events->n < EVENTS_MOST - 1);
    events->at[events->n++] = arena_string(events->arena, span_trim(text));
}

const char *const *recorded_sse(struct span text, struct arena *arena)
{
    struct events events = events_new(arena);
    for (struct span line; span_cut(&text, '\n', &line);) {
        if (span_starts(line, SPAN("data:"))) {
            add(&events, span_from(line, strlen("data:")));
        }
    }
    return events.at;
}

const char *const *recorded_lines(struct span text, struct arena *arena)
{
    struct events events = events_new(arena);
    for (struct span line; span_cut(&text, '\n', &line);) {
        if (line.len > 0) {
            add(&events, line);
        }
    }
    return events.at;
}

static uint32_t u32(struct span bytes, size_t at)
{
    const unsigned char *b = (const unsigned char *)bytes.at + at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Total length, length of the headers and its checksum, headers, payload, checksum. */
const char *const *recorded_frames(struct span frames, struct arena *arena)
{
    struct events events = events_new(arena);
    while (frames.len > 0) {
        size_t total = u32(frames, 0), headers = u32(frames, 4);
        assert_true(total <= frames.len && headers + 16 <= total);
        CLEANUP(json_drop)
        struct json *payload =
            json_parse(span_of(frames.at + 12 + headers, total - headers - 16), NULL);
        CLEANUP(buf_clear) struct buf event;
        buf_init(&event, TEXT_MOST);
        assert_true(text_decode_base64(&event, json_string(json_get(payload, "bytes"))));
        add(&events, buf_span(&event));
        frames = span_from(frames, total);
    }
    return events.at;
}

/* --- a whole answer as a stream --------------------------------------------------------------- */

static void addf(struct events *events, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void addf(struct events *events, const char *format, ...)
{
    CLEANUP(buf_clear) struct buf text;
    va_list args;
    buf_init(&text, TEXT_MOST);
    va_start(args, format);
    buf_addfv(&text, format, args);
    va_end(args);
    add(events, buf_span(&text));
}

static const char *quoted(struct span text, struct arena *arena)
{
    CLEANUP(buf_clear) struct buf json;
    struct json_writer w;
    buf_init(&json, TEXT_MOST);
    json_writer_init(&w, &json);
    json_put_string(&w, text);
    return keep(&json, arena);
}

/* Cut between characters, not inside one. */
static struct span cut_piece(struct span *rest)
{
    size_t len = PIECE < rest->len ? PIECE : rest->len;
    while (len < rest->len && ((unsigned char)rest->at[len] & 0xc0) == 0x80) {
        len++;
    }
    struct span piece = span_first(*rest, len);
    *rest = span_from(*rest, len);
    return piece;
}

static void add_deltas(struct events *events, size_t index, const char *type, const char *member,
                       struct span text)
{
    while (text.len > 0) {
        addf(events,
             "{\"type\":\"content_block_delta\",\"index\":%zu,\"delta\":{\"type\":\"%s\",\"%s\":%s}"
             "}",
             index, type, member, quoted(cut_piece(&text), events->arena));
    }
}

/* A block as a stream begins it: what comes in pieces is empty yet. */
static void add_start(struct events *events, size_t index, const struct json *block)
{
    CLEANUP(buf_clear) struct buf start;
    struct json_writer w;
    buf_init(&start, TEXT_MOST);
    json_writer_init(&w, &start);
    json_begin_object(&w);
    struct span key;
    const struct json *value;
    for (size_t i = 0; json_member(block, i, &key, &value); i++) {
        bool piecemeal = (is(block, "type", "text") && span_eq(key, SPAN("text"))) ||
                         (is(block, "type", "thinking") && !span_eq(key, SPAN("type")));
        bool input = is(block, "type", "tool_use") && span_eq(key, SPAN("input"));
        json_key(&w, arena_string(events->arena, key));
        json_put_raw(&w, input       ? SPAN("{}")
                         : piecemeal ? SPAN("\"\"")
                                     : span_str(compact(value, events->arena)));
    }
    json_end_object(&w);
    addf(events, "{\"type\":\"content_block_start\",\"index\":%zu,\"content_block\":%s}", index,
         buf_cstr(&start));
}

static void add_block(struct events *events, size_t index, const struct json *block)
{
    add_start(events, index, block);
    if (is(block, "type", "text")) {
        add_deltas(events, index, "text_delta", "text", json_string(json_get(block, "text")));
    } else if (is(block, "type", "thinking")) {
        add_deltas(events, index, "thinking_delta", "thinking",
                   json_string(json_get(block, "thinking")));
        add_deltas(events, index, "signature_delta", "signature",
                   json_string(json_get(block, "signature")));
    } else if (is(block, "type", "tool_use")) {
        add_deltas(events, index, "input_json_delta", "partial_json",
                   span_str(compact(json_get(block, "input"), events->arena)));
    }
    addf(events, "{\"type\":\"content_block_stop\",\"index\":%zu}", index);
}

const char *const *recorded_unary(const struct json *answer, struct arena *arena)
{
    struct events events = events_new(arena);
    const struct json *content = json_get(answer, "content"), *usage = json_get(answer, "usage");
    addf(&events,
         "{\"type\":\"message_start\",\"message\":{\"id\":%s,\"role\":\"assistant\",\"content\":[],"
         "\"usage\":{\"input_tokens\":%ld,\"output_tokens\":1}}}",
         compact(json_get(answer, "id"), arena),
         (long)json_integer(json_get(usage, "input_tokens"), 0));
    for (size_t i = 0; i < json_count(content); i++) {
        add_block(&events, i, json_at(content, i));
    }
    addf(&events,
         "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":%s,\"stop_sequence\":%s},"
         "\"usage\":%s}",
         compact(json_get(answer, "stop_reason"), arena),
         compact(json_get(answer, "stop_sequence"), arena), compact(usage, arena));
    add(&events, SPAN("{\"type\":\"message_stop\"}"));
    return events.at;
}

/* --- what an answer comes to ------------------------------------------------------------------ */

static void take_usage(struct recorded *out, const struct json *usage)
{
    out->input = json_integer(json_get(usage, "input_tokens"), out->input);
    out->output = json_integer(json_get(usage, "output_tokens"), out->output);
    out->cache_read = json_integer(json_get(usage, "cache_read_input_tokens"), out->cache_read);
    out->cache_write =
        json_integer(json_get(usage, "cache_creation_input_tokens"), out->cache_write);
}

static void add_words(struct buf *out, const struct json *block, struct span text,
                      struct span signature, struct span raw)
{
    if (is(block, "type", "text")) {
        buf_add_str(out, "says ");
        text_add_printable(out, text);
    } else if (is(block, "type", "thinking")) {
        buf_add_str(out, "thinks ");
        text_add_printable(out, text);
        buf_add_str(out, "\nsigns ");
        buf_add_span(out, signature);
    } else if (is(block, "type", "redacted_thinking")) {
        buf_add_str(out, "hides ");
        buf_add_span(out, json_string(json_get(block, "data")));
    } else {
        buf_add_str(out, "raw ");
        buf_add_span(out, raw);
    }
    buf_add_char(out, '\n');
}

void recorded_of_answer(const struct json *answer, struct arena *arena, struct recorded *out)
{
    CLEANUP(buf_clear) struct buf content;
    buf_init(&content, TEXT_MOST);
    const struct json *blocks = json_get(answer, "content");
    for (size_t i = 0; i < json_count(blocks); i++) {
        const struct json *block = json_at(blocks, i);
        bool thinks = is(block, "type", "thinking");
        add_words(&content, block, json_string(json_get(block, thinks ? "thinking" : "text")),
                  json_string(json_get(block, "signature")), span_str(compact(block, arena)));
    }
    *out = (struct recorded){
        .content = keep(&content, arena),
        .stop = arena_string(arena, json_string(json_get(answer, "stop_reason"))),
    };
    take_usage(out, json_get(answer, "usage"));
}

/* The block that is open in a stream. */
struct open_block {
    struct buf text;
    struct buf signature;
    struct buf input;
    const char *start;
};

static void close_block(struct open_block *open, struct arena *arena, struct buf *content)
{
    CLEANUP(json_drop) struct json *block = json_parse(span_str(open->start), NULL);
    struct span start = span_str(open->start);
    size_t at = open->input.len > 0 ? span_find(start, SPAN("\"input\":{}")) : SPAN_MISSING;
    size_t cut = at != SPAN_MISSING ? at + strlen("\"input\":") : start.len;
    const char *raw = arena_printf(arena, "%.*s%s%s", (int)cut, start.at, buf_cstr(&open->input),
                                   start.at + cut + (at != SPAN_MISSING ? 2 : 0));
    add_words(content, block, buf_span(&open->text), buf_span(&open->signature), span_str(raw));
    buf_reset(&open->text);
    buf_reset(&open->signature);
    buf_reset(&open->input);
}

static void take_event(const struct json *event, struct open_block *open, struct arena *arena,
                       struct buf *content, struct recorded *out)
{
    const struct json *delta = json_get(event, "delta"), *block = json_get(event, "content_block");
    take_usage(out, json_get(json_get(event, "message"), "usage"));
    take_usage(out, json_get(event, "usage"));
    if (json_string(json_get(delta, "stop_reason")).len > 0) {
        out->stop = arena_string(arena, json_string(json_get(delta, "stop_reason")));
    }
    const struct json *const holders[] = {block, delta};
    for (size_t i = 0; i < ARRAY_LEN(holders); i++) {
        buf_add_span(&open->text, json_string(json_get(holders[i], "text")));
        buf_add_span(&open->text, json_string(json_get(holders[i], "thinking")));
        buf_add_span(&open->signature, json_string(json_get(holders[i], "signature")));
        buf_add_span(&open->input, json_string(json_get(holders[i], "partial_json")));
    }
    if (is(event, "type", "content_block_start")) {
        open->start = compact(block, arena);
    } else if (is(event, "type", "content_block_stop")) {
        close_block(open, arena, content);
    }
}

void recorded_of_events(const char *const *events, struct arena *arena, struct recorded *out)
{
    CLEANUP(buf_clear) struct buf content;
    struct open_block open = {.start = "{}"};
    struct buf *const bufs[] = {&content, &open.text, &open.signature, &open.input};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++) {
        buf_init(bufs[i], TEXT_MOST);
    }
    *out = (struct recorded){.stop = ""};
    for (; *events != NULL; events++) {
        CLEANUP(json_drop) struct json *event = json_parse(span_str(*events), NULL);
        assert_non_null(event);
        take_event(event, &open, arena, &content, out);
    }
    out->content = keep(&content, arena);
    for (size_t i = 1; i < ARRAY_LEN(bufs); i++) {
        buf_clear(bufs[i]);
    }
}
