/* The events of an attempt, taken from the provider's stream and put into the sink. */
#include "router/relay.h"

#include <string.h>

#include "base/utf8.h"
#include "codec/json.h"
#include "loop/task.h"

#define EVENT_MOST (1u << 20)  /* a payload part of Bedrock's is at most a million bytes */
#define PIECE_MOST (64u << 10) /* of text that is gathered, unless it is one event's */

void relay_init(struct relay *r)
{
    r->thinking = hash_sha256_begin();
    r->answer = hash_sha256_begin();
    buf_init(&r->start, EVENT_MOST);
    buf_init(&r->partial, EVENT_MOST);
    buf_init(&r->piece, PIECE_MOST + 2 * EVENT_MOST);
}

void relay_end(struct relay *r, struct record_hashes *hashes)
{
    hashes->has_thinking = r->has_thinking;
    hashes->has_answer = r->has_answer;
    hash_sha256_end(r->thinking, hashes->thinking);
    hash_sha256_end(r->answer, hashes->answer);
    buf_clear(&r->start);
    buf_clear(&r->partial);
    buf_clear(&r->piece);
}

static struct status put_now(struct relay *r, Router__GenerateResponse__EventCase what,
                             void *event) PARKS
{
    Router__GenerateResponse response = ROUTER__GENERATE_RESPONSE__INIT;
    response.event_case = what;
    response.text_delta = event; /* a union of pointers */
    r->attempt->output_sent |= what != ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED;
    return r->sink->put(r->sink, &response);
}

static ProtobufCBinaryData binary(struct span bytes)
{
    return (ProtobufCBinaryData){bytes.len, (uint8_t *)bytes.at};
}

struct status relay_flush(struct relay *r)
{
    struct span text = buf_span(&r->piece);
    if (text.len == 0) {
        return STATUS_SUCCESS;
    }
    bool nul = span_find_char(text, '\0') != SPAN_MISSING;
    Router__ThinkingDelta thinking = ROUTER__THINKING_DELTA__INIT;
    Router__TextDelta answer = ROUTER__TEXT_DELTA__INIT;
    bool thinks = r->type == ROUTER__BLOCK_TYPE__BLOCK_TYPE_THINKING;
    thinking.index = answer.index = r->index;
    if (nul) {
        thinking.text_bytes = answer.text_bytes = binary(text);
    } else {
        thinking.text = answer.text = (char *)buf_cstr(&r->piece);
    }
    struct status s = thinks
                          ? put_now(r, ROUTER__GENERATE_RESPONSE__EVENT_THINKING_DELTA, &thinking)
                          : put_now(r, ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA, &answer);
    buf_reset(&r->piece);
    return s;
}

struct status relay_put(struct relay *r, Router__GenerateResponse__EventCase what, void *event)
{
    TRY(relay_flush(r));
    return put_now(r, what, event);
}

static void first_token(struct relay *r)
{
    if (r->plan->first_token_ms > 0) {
        return;
    }
    uint64_t now = loop_now_ms(r->router->loop);
    r->plan->first_token_ms = now;
    r->attempt->ttft_ms = now - r->sent_ms;
    METRIC_OBSERVE(r->router->metrics.first_token_seconds, (double)r->attempt->ttft_ms / 1000,
                   r->grant->candidate->model->name);
}

/* --- usage ------------------------------------------------------------------------------------ */

/* Values are cumulative and members may be missing: what is there replaces what was. */
static void take_usage(struct relay *r, const struct json *usage)
{
    static const struct {
        const char *key;
        size_t offset;
    } members[] = {
        {"input_tokens", offsetof(struct price_usage, input)},
        {"output_tokens", offsetof(struct price_usage, output)},
        {"cache_creation_input_tokens", offsetof(struct price_usage, cache_write)},
        {"cache_read_input_tokens", offsetof(struct price_usage, cache_read)},
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        int64_t value = json_integer(json_get(usage, members[i].key), -1);
        if (value >= 0) {
            *(uint64_t *)((char *)&r->attempt->usage + members[i].offset) = (uint64_t)value;
        }
    }
    const struct json *details = json_get(usage, "output_tokens_details");
    int64_t thinking = json_integer(json_get(details, "thinking_tokens"), -1);
    if (thinking >= 0) {
        r->attempt->thinking_tokens = (uint64_t)thinking;
    }
    r->grant->output_tokens = r->attempt->usage.output;
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* Goes out with what arrived with it, in one event: what a message costs does not depend on its
 * length, and a model's pieces often come several at once. */
static struct status put_text(struct relay *r, struct span text) PARKS
{
    if (text.len == 0) {
        return STATUS_SUCCESS;
    }
    first_token(r);
    if (r->type == ROUTER__BLOCK_TYPE__BLOCK_TYPE_THINKING) {
        hash_sha256_add(r->thinking, text);
        r->has_thinking = true;
    } else {
        hash_sha256_add(r->answer, text);
        r->has_answer = true;
    }
    if (r->piece.len + text.len > PIECE_MOST) {
        TRY(relay_flush(r));
    }
    buf_add_span(&r->piece, text);
    return STATUS_SUCCESS;
}

static struct status put_signature(struct relay *r, struct span signature) PARKS
{
    if (signature.len == 0) {
        return STATUS_SUCCESS;
    }
    Router__SignatureDelta delta = ROUTER__SIGNATURE_DELTA__INIT;
    delta.index = r->index;
    delta.signature = binary(signature);
    hash_sha256_add(r->thinking, signature);
    r->has_thinking = true;
    return relay_put(r, ROUTER__GENERATE_RESPONSE__EVENT_SIGNATURE_DELTA, &delta);
}

static struct status put_redacted(struct relay *r, struct span data) PARKS
{
    first_token(r);
    Router__RedactedThinking redacted = ROUTER__REDACTED_THINKING__INIT;
    redacted.index = r->index;
    redacted.data = binary(data);
    hash_sha256_add(r->thinking, data);
    r->has_thinking = true;
    return relay_put(r, ROUTER__GENERATE_RESPONSE__EVENT_REDACTED_THINKING, &redacted);
}

/* The pieces of an input are one JSON value, unless the answer was cut off inside it: then they are
 * kept as a string, so that the block still is JSON. */
static void put_input(struct json_writer *w, struct span pieces)
{
    CLEANUP(json_drop) struct json *whole = json_parse(pieces, NULL);
    if (whole != NULL) {
        json_put_raw(w, pieces);
    } else {
        json_put_string(w, pieces);
    }
}

/* The object the block began with, its `input` replaced by what arrived in pieces. */
static struct status put_raw(struct relay *r) PARKS
{
    CLEANUP(json_drop) struct json *start = json_parse(buf_span(&r->start), NULL);
    CLEANUP(buf_clear) struct buf whole;
    CLEANUP(buf_clear) struct buf member;
    buf_init(&whole, EVENT_MOST);
    buf_init(&member, EVENT_MOST);
    struct json_writer w;
    json_writer_init(&w, &whole);
    json_begin_object(&w);
    struct span key;
    const struct json *value;
    for (size_t i = 0; json_member(start, i, &key, &value); i++) {
        buf_reset(&member);
        buf_add_span(&member, key);
        json_key(&w, buf_cstr(&member));
        if (r->partial.len > 0 && span_eq(key, SPAN("input"))) {
            put_input(&w, buf_span(&r->partial));
        } else {
            buf_reset(&member);
            json_add(&member, value);
            json_put_raw(&w, buf_span(&member));
        }
    }
    json_end_object(&w);
    if (!buf_ok(&whole) || !buf_ok(&r->partial)) {
        return status_of(REASON_PROTOCOL_ERROR, "a block is larger than 1 MiB");
    }
    first_token(r);
    Router__RawBlock raw = ROUTER__RAW_BLOCK__INIT;
    raw.index = r->index;
    raw.json = binary(buf_span(&whole));
    return relay_put(r, ROUTER__GENERATE_RESPONSE__EVENT_RAW_BLOCK, &raw);
}

static Router__BlockType type_of(struct span type)
{
    static const struct {
        struct span name;
        Router__BlockType type;
    } types[] = {
        {SPAN("text"), ROUTER__BLOCK_TYPE__BLOCK_TYPE_TEXT},
        {SPAN("thinking"), ROUTER__BLOCK_TYPE__BLOCK_TYPE_THINKING},
        {SPAN("redacted_thinking"), ROUTER__BLOCK_TYPE__BLOCK_TYPE_REDACTED_THINKING},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (span_eq(type, types[i].name)) {
            return types[i].type;
        }
    }
    return ROUTER__BLOCK_TYPE__BLOCK_TYPE_RAW;
}

static struct status block_start(struct relay *r, const struct json *event) PARKS
{
    const struct json *block = json_get(event, "content_block");
    TRY(relay_flush(r)); /* of the block before, should that have no end */
    r->index = (uint32_t)json_integer(json_get(event, "index"), 0);
    r->type = type_of(json_string(json_get(block, "type")));
    buf_reset(&r->start);
    buf_reset(&r->partial);

    Router__BlockStart start = ROUTER__BLOCK_START__INIT;
    start.index = r->index;
    start.type = r->type;
    TRY(relay_put(r, ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_START, &start));
    switch (r->type) {
    case ROUTER__BLOCK_TYPE__BLOCK_TYPE_TEXT:
        return put_text(r, json_string(json_get(block, "text")));
    case ROUTER__BLOCK_TYPE__BLOCK_TYPE_THINKING:
        TRY(put_text(r, json_string(json_get(block, "thinking"))));
        return put_signature(r, json_string(json_get(block, "signature")));
    case ROUTER__BLOCK_TYPE__BLOCK_TYPE_REDACTED_THINKING:
        return put_redacted(r, json_string(json_get(block, "data")));
    case ROUTER__BLOCK_TYPE__BLOCK_TYPE_RAW:
    case ROUTER__BLOCK_TYPE__BLOCK_TYPE_UNSPECIFIED:
    case _ROUTER__BLOCK_TYPE_IS_INT_SIZE:
        break;
    }
    json_add(&r->start, block);
    return STATUS_SUCCESS;
}

/* Kinds of deltas that are not known are passed over: there will be new ones. */
static struct status block_delta(struct relay *r, const struct json *event) PARKS
{
    const struct json *delta = json_get(event, "delta");
    struct span type = json_string(json_get(delta, "type"));
    if (span_eq(type, SPAN("text_delta"))) {
        return put_text(r, json_string(json_get(delta, "text")));
    }
    if (span_eq(type, SPAN("thinking_delta"))) {
        return put_text(r, json_string(json_get(delta, "thinking")));
    }
    if (span_eq(type, SPAN("signature_delta"))) {
        return put_signature(r, json_string(json_get(delta, "signature")));
    }
    if (span_eq(type, SPAN("input_json_delta"))) {
        buf_add_span(&r->partial, json_string(json_get(delta, "partial_json")));
    }
    return STATUS_SUCCESS;
}

static struct status block_stop(struct relay *r) PARKS
{
    if (r->type == ROUTER__BLOCK_TYPE__BLOCK_TYPE_RAW) {
        TRY(put_raw(r));
    }
    Router__BlockStop stop = ROUTER__BLOCK_STOP__INIT;
    stop.index = r->index;
    return relay_put(r, ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_STOP, &stop);
}

/* --- events ----------------------------------------------------------------------------------- */

static Router__StopReason stop_reason(struct span word)
{
    static const struct {
        struct span word;
        Router__StopReason reason;
    } rows[] = {
        {SPAN("end_turn"), ROUTER__STOP_REASON__STOP_REASON_END_TURN},
        {SPAN("max_tokens"), ROUTER__STOP_REASON__STOP_REASON_MAX_TOKENS},
        {SPAN("stop_sequence"), ROUTER__STOP_REASON__STOP_REASON_STOP_SEQUENCE},
        {SPAN("tool_use"), ROUTER__STOP_REASON__STOP_REASON_TOOL_USE},
        {SPAN("refusal"), ROUTER__STOP_REASON__STOP_REASON_REFUSAL},
        {SPAN("pause_turn"), ROUTER__STOP_REASON__STOP_REASON_PAUSE_TURN},
        {SPAN("model_context_window_exceeded"), ROUTER__STOP_REASON__STOP_REASON_CONTEXT_WINDOW},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (span_eq(word, rows[i].word)) {
            return rows[i].reason;
        }
    }
    return word.len > 0 ? ROUTER__STOP_REASON__STOP_REASON_OTHER
                        : ROUTER__STOP_REASON__STOP_REASON_UNSPECIFIED;
}

static void message_delta(struct relay *r, const struct json *event)
{
    const struct json *delta = json_get(event, "delta");
    struct span word = json_string(json_get(delta, "stop_reason"));
    if (word.len > 0) {
        r->completed->stop_reason = stop_reason(word);
        r->completed->stop_detail = arena_string(r->plan->arena, utf8_first(word, 64));
    }
    struct span sequence = json_string(json_get(delta, "stop_sequence"));
    if (sequence.len > 0) {
        r->completed->stop_sequence = arena_string(r->plan->arena, utf8_first(sequence, 256));
    }
    take_usage(r, json_get(event, "usage"));
}

static struct status take_event(struct relay *r, struct span text) PARKS
{
    struct json_error slip;
    CLEANUP(json_drop) struct json *event = json_parse(text, &slip);
    struct span type = json_string(json_get(event, "type"));
    if (event == NULL) {
        return status_of(REASON_PROTOCOL_ERROR,
                         arena_printf(r->plan->arena, "an event is not JSON: %s", slip.text));
    }
    if (span_eq(type, SPAN("content_block_delta"))) {
        return block_delta(r, event);
    }
    if (span_eq(type, SPAN("content_block_start"))) {
        return block_start(r, event);
    }
    if (span_eq(type, SPAN("content_block_stop"))) {
        return block_stop(r);
    }
    if (span_eq(type, SPAN("message_start"))) {
        take_usage(r, json_get(json_get(event, "message"), "usage"));
    } else if (span_eq(type, SPAN("message_delta"))) {
        message_delta(r, event);
    } else if (span_eq(type, SPAN("message_stop"))) {
        r->stopped = true;
        const struct json *metrics = json_get(event, "amazon-bedrock-invocationMetrics");
        r->attempt->metered_output =
            (uint64_t)json_integer(json_get(metrics, "outputTokenCount"), 0);
    } else if (span_eq(type, SPAN("error"))) {
        const struct json *error = json_get(event, "error");
        struct span message = json_string(json_get(error, "message"));
        return status_of(bedrock_classify(0, json_string(json_get(error, "type")), message),
                         arena_string(r->plan->arena, utf8_first(message, 512)));
    }
    return STATUS_SUCCESS; /* ping, and what does not exist yet */
}

struct status relay_read(struct relay *r, struct bedrock_call *call)
{
    for (;;) {
        struct span event;
        struct status s = bedrock_stream_next(call, &event);
        if (!status_ok(s) || event.len == 0) {
            TRY(relay_flush(r));
        }
        if (r->stopped && (!status_ok(s) || event.len == 0)) {
            return STATUS_SUCCESS; /* the answer was complete: how the connection ends is no matter
                                    */
        }
        TRY(s);
        if (event.len == 0) {
            return status_of(REASON_TIER_STREAM_BROKEN, "the stream ended before the answer did");
        }
        r->began = true;
        TRY(take_event(r, event));
    }
}
