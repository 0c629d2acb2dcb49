/* One attempt: a request to the provider, its events passed on as they come. */
#include <string.h>

#include "base/utf8.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "loop/task.h"
#include "router/lessons.h"
#include "router/router.h"
#include "router/vitals.h"

#define EVENT_MOST (1u << 20)  /* a payload part of Bedrock's is at most a million bytes */
#define PIECE_MOST (64u << 10) /* of text that is gathered, unless it is one event's */
#define BODY_MOST  (25u * 1000 * 1000)

struct relay {
    struct router *router;
    struct plan *plan;
    struct grant *grant;
    struct sink *sink;
    struct attempt *attempt;
    Router__Completed *completed;
    struct hash_sha256 *thinking;
    struct hash_sha256 *answer;
    bool has_thinking;
    bool has_answer;
    uint64_t sent_ms;
    uint64_t credentials; /* serial of those it was sent with */
    bool began;           /* an event was seen */
    bool stopped;         /* and message_stop */

    /* The open block: blocks come one after the other. */
    Router__BlockType type;
    uint32_t index;
    struct buf start;   /* of a raw block: the object it began with */
    struct buf partial; /* and the pieces of its input */
    struct buf piece;   /* text of it that arrived together and has not gone out yet */
};

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

static struct status put_piece(struct relay *r) PARKS
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

static struct status put(struct relay *r, Router__GenerateResponse__EventCase what,
                         void *event) PARKS
{
    TRY(put_piece(r));
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
        TRY(put_piece(r));
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
    return put(r, ROUTER__GENERATE_RESPONSE__EVENT_SIGNATURE_DELTA, &delta);
}

static struct status put_redacted(struct relay *r, struct span data) PARKS
{
    first_token(r);
    Router__RedactedThinking redacted = ROUTER__REDACTED_THINKING__INIT;
    redacted.index = r->index;
    redacted.data = binary(data);
    hash_sha256_add(r->thinking, data);
    r->has_thinking = true;
    return put(r, ROUTER__GENERATE_RESPONSE__EVENT_REDACTED_THINKING, &redacted);
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
    return put(r, ROUTER__GENERATE_RESPONSE__EVENT_RAW_BLOCK, &raw);
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
    TRY(put_piece(r)); /* of the block before, should that have no end */
    r->index = (uint32_t)json_integer(json_get(event, "index"), 0);
    r->type = type_of(json_string(json_get(block, "type")));
    buf_reset(&r->start);
    buf_reset(&r->partial);

    Router__BlockStart start = ROUTER__BLOCK_START__INIT;
    start.index = r->index;
    start.type = r->type;
    TRY(put(r, ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_START, &start));
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
    return put(r, ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_STOP, &stop);
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

static struct status read_events(struct relay *r, struct bedrock_call *call) PARKS
{
    for (;;) {
        struct span event;
        struct status s = bedrock_stream_next(call, &event);
        if (!status_ok(s) || event.len == 0) {
            TRY(put_piece(r));
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

/* --- the attempt ------------------------------------------------------------------------------ */

static struct status put_admitted(struct relay *r) PARKS
{
    const struct candidate *c = r->grant->candidate;
    Router__Admitted admitted = ROUTER__ADMITTED__INIT;
    admitted.tier = c->model->tier;
    admitted.model = arena_printf(r->plan->arena, "models/%s", c->model->name);
    admitted.model_id = (char *)c->model->model_id;
    admitted.region = (char *)c->region;
    admitted.attempt = r->attempt->number;
    admitted.n_reshapes = c->n_reshapes;
    admitted.reshapes = c->reshapes;
    admitted.n_skipped = r->plan->n_skipped;
    admitted.skipped = r->plan->skipped;
    admitted.queue_ms = r->plan->queue_ms;
    return put(r, ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED, &admitted);
}

/* A stream that broke, or an answer that never came, may have cost more than was seen; a refusal,
 * also one that is the first event of a stream, has not. */
static bool may_have_cost_more(const struct relay *r, const struct bedrock_reply *reply,
                               enum reason reason)
{
    static const enum reason refusals[] = {REASON_TIER_UNAVAILABLE, REASON_TIER_NOT_READY,
                                           REASON_UPSTREAM_REJECTED,
                                           REASON_CONTEXT_WINDOW_EXCEEDED};
    bool refused = plan_throttled(reason);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        refused |= reason == refusals[i];
    }
    if (refused && !r->began) {
        return false;
    }
    return reply->dispatched && (reply->http_status == 200 || reply->http_status == 0);
}

static struct status before_wait(void *arg) PARKS
{
    return put_piece(arg);
}

static struct status send_once(struct relay *r, struct span body) PARKS
{
    const struct router_config *config = r->router->config;
    struct bedrock_request request = {
        .region = r->grant->candidate->region,
        .model_id = r->grant->candidate->model->model_id,
        .body = body,
        .connect_ms = config->connect_wait,
        .first_byte_ms = config->first_byte_wait,
        .idle_ms = config->stall_wait,
        .before_wait = before_wait,
        .arg = r,
    };
    CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
    struct status s = bedrock_invoke_stream(r->router->bedrock, &request, &call);
    if (status_ok(s)) {
        s = read_events(r, call);
    }
    if (call != NULL) {
        const struct bedrock_reply *reply = bedrock_reply(call);
        r->attempt->http_status = (uint32_t)reply->http_status;
        r->attempt->simulated = reply->simulated;
        r->attempt->dispatched = reply->dispatched;
        r->attempt->server_retry_ms = reply->server_retry_ms;
        r->credentials = reply->credentials;
        if (utf8_valid(reply->request_id)) {
            r->attempt->request_id =
                arena_string(r->plan->arena, utf8_first(reply->request_id, 128));
        }
        r->attempt->usage_partial = !status_ok(s) && may_have_cost_more(r, reply, s.reason);
    }
    return status_copy(s, r->plan->arena);
}

/* The provider must see the call while the limiter's window counts it as new. */
static struct status check_in_time(const struct relay *r)
{
    return loop_now_ms(r->router->loop) <= r->grant->use_by_ms
               ? STATUS_SUCCESS
               : status_of(REASON_GRANT_EXPIRED, NULL);
}

/* Refused credentials are no fault of the model's: with others, the same is sent once more. */
static struct status exchange(struct relay *r, struct span body) PARKS
{
    struct status s = send_once(r, body);
    if (reason_class(s.reason) == CLASS_REFRESH && !r->began &&
        credentials_renew(r->router->credentials, r->credentials)) {
        TRY(check_in_time(r));
        s = send_once(r, body);
    }
    return s;
}

struct body_making {
    const Router__Generation *generation;
    const struct candidate *candidate;
    struct buf *body;
    struct record_hashes *hashes;
};

/* Any thread: the task waits. */
static void make_body(void *arg)
{
    const struct body_making *making = arg;
    reshape_add_body(making->body, making->generation, making->candidate);
    hash_sha256(buf_span(making->body), making->hashes->prompt);
    making->hashes->has_prompt = true;
}

static void take_hashes(struct relay *r, struct record_hashes *hashes)
{
    hashes->has_thinking = r->has_thinking;
    hashes->has_answer = r->has_answer;
    hash_sha256_end(r->thinking, hashes->thinking);
    hash_sha256_end(r->answer, hashes->answer);
}

/* A mean of the latest ones. */
static void note_length(struct router *router, uint64_t ms)
{
    router->answer_ms = router->answer_ms > 0 ? (7 * router->answer_ms + ms + 7) / 8 : ms;
}

static void account(struct relay *r)
{
    struct router_metrics *m = &r->router->metrics;
    const char *model = r->grant->candidate->model->name;
    const struct price_usage *u = &r->attempt->usage;
    METRIC_ADD(m->attempts_total, 1, model,
               r->attempt->reason == REASON_NONE ? "OK" : reason_name(r->attempt->reason));
    METRIC_OBSERVE(m->attempt_seconds, (double)r->attempt->duration_ms / 1000, model);
    METRIC_ADD(m->tokens_total, (double)u->input, model, "input");
    METRIC_ADD(m->tokens_total, (double)u->output, model, "output");
    METRIC_ADD(m->tokens_total, (double)u->cache_read, model, "cache_read");
    METRIC_ADD(m->tokens_total, (double)u->cache_write, model, "cache_write");
    METRIC_ADD(m->cost_micro_usd_total, (double)price_cost(&r->grant->candidate->model->price, u),
               model);
    vitals_note(r->router, r->attempt, r->plan->check);
    if (r->attempt->reason == REASON_NONE) {
        note_length(r->router, r->attempt->duration_ms);
    }
    if (r->attempt->reason != REASON_NONE && r->attempt->output_sent) {
        METRIC_ADD(m->restarts_total, 1, model, reason_name(r->attempt->reason));
    }
}

static struct status attempt_run(struct relay *r, struct span body) PARKS
{
    TRY(check_in_time(r));
    TRY(put_admitted(r)); /* may take a while when the caller reads slowly */
    TRY(check_in_time(r));
    r->sent_ms = loop_now_ms(r->router->loop);
    METRIC_SET(r->router->metrics.upstream_open, (double)++r->router->upstream_open);
    struct status s = exchange(r, body);
    METRIC_SET(r->router->metrics.upstream_open, (double)--r->router->upstream_open);
    r->attempt->duration_ms = loop_now_ms(r->router->loop) - r->sent_ms;
    return s;
}

struct status relay(struct router *router, struct plan *plan, struct grant *grant,
                    struct sink *sink, struct attempt *attempt, Router__Completed *completed,
                    struct record_hashes *hashes)
{
    struct relay r = {
        .router = router,
        .plan = plan,
        .grant = grant,
        .sink = sink,
        .attempt = attempt,
        .completed = completed,
        .thinking = hash_sha256_begin(),
        .answer = hash_sha256_begin(),
    };
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, BODY_MOST);
    buf_init(&r.start, EVENT_MOST);
    buf_init(&r.partial, EVENT_MOST);
    buf_init(&r.piece, PIECE_MOST + 2 * EVENT_MOST);
    *attempt =
        (struct attempt){.candidate = grant->candidate, .number = (uint32_t)plan->n_attempts};
    router__completed__init(completed);
    plan->first_token_ms = 0; /* of an attempt that broke */

    leases_hold(router->leases, grant);
    struct body_making making = {plan->generation, grant->candidate, &body, hashes};
    struct status s = loop_work_over(reshape_bytes(plan->generation), make_body, &making);
    if (status_ok(s)) {
        s = buf_ok(&body) ? attempt_run(&r, buf_span(&body))
                          : status_of(REASON_MESSAGE_TOO_LARGE, "the prompt is larger than 25 MB");
    }
    attempt->reason = s.reason;
    leases_drop(router->leases, grant);
    take_hashes(&r, hashes);
    account(&r);
    lessons_take(router, attempt);
    buf_clear(&r.start);
    buf_clear(&r.partial);
    buf_clear(&r.piece);
    return s;
}
