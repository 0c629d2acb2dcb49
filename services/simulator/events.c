#include "simulator/events.h"

#include "codec/json.h"
#include "simulator/tokens.h"

#define PIECE_TOKENS_LEAST 3
#define PIECE_TOKENS_MOST  12

static uint64_t due_ms(const struct answer *answer, uint64_t tokens)
{
    return answer->first_ms + (uint64_t)((double)tokens * answer->token_ms);
}

uint64_t events_last_ms(const struct answer *answer)
{
    return due_ms(answer, answer->output_tokens);
}

void events_init(struct events *events, const struct answer *answer)
{
    *events = (struct events){.answer = answer, .random = answer->random};
}

static void put(struct json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    json_put_string(w, span_str(value));
}

static void put_count(struct json_writer *w, const char *key, uint64_t value)
{
    json_key(w, key);
    json_put_integer(w, (int64_t)value);
}

static void put_text(struct json_writer *w, const char *key, struct span value)
{
    json_key(w, key);
    json_put_string(w, value);
}

static uint64_t figure(enum figures figures, uint64_t truth)
{
    return figures == FIGURES_SMALLER ? truth / 2 : figures == FIGURES_LARGER ? truth * 2 : truth;
}

uint64_t events_metric(const struct answer *answer, uint64_t truth)
{
    return figure(answer->metrics, truth);
}

static void put_usage(struct json_writer *w, const struct answer *a, bool input, uint64_t output)
{
    if (a->usage == FIGURES_MISSING) {
        return;
    }
    json_key(w, "usage");
    json_begin_object(w);
    if (input) {
        put_count(w, "input_tokens", figure(a->usage, a->input_tokens));
        if (a->model->generation->repeats_input) {
            put_count(w, "cache_creation_input_tokens", figure(a->usage, a->cache_write));
            put_count(w, "cache_read_input_tokens", figure(a->usage, a->cache_read));
        }
    }
    put_count(w, "output_tokens", figure(a->usage, output));
    json_end_object(w);
}

static void put_stop(struct json_writer *w, const char *reason, struct span sequence)
{
    json_key(w, "stop_reason");
    if (reason != NULL) {
        json_put_string(w, span_str(reason));
    } else {
        json_put_null(w);
    }
    json_key(w, "stop_sequence");
    if (sequence.len > 0) {
        json_put_string(w, sequence);
    } else {
        json_put_null(w);
    }
}

static void put_head(struct json_writer *w, const struct answer *a)
{
    put(w, "id", a->id);
    put(w, "type", "message");
    put(w, "role", "assistant");
    put(w, "model", a->model->name);
}

static void put_block(struct json_writer *w, const char *type, struct span text,
                      struct span signature)
{
    json_begin_object(w);
    put(w, "type", type);
    put_text(w, type, text);
    if (strcmp(type, "thinking") == 0) {
        put_text(w, "signature", signature);
    }
    json_end_object(w);
}

static void put_message_start(struct json_writer *w, const struct answer *a)
{
    json_key(w, "message");
    json_begin_object(w);
    put_head(w, a);
    json_key(w, "content");
    json_begin_array(w);
    json_end_array(w);
    put_stop(w, NULL, SPAN_NONE);
    put_usage(w, a, true, a->output_tokens > 1 ? 2 : 1);
    json_end_object(w);
}

static void put_message_delta(struct json_writer *w, const struct answer *a)
{
    json_key(w, "delta");
    json_begin_object(w);
    put_stop(w, a->stop_reason, a->stop_sequence);
    json_end_object(w);
    put_usage(w, a, a->model->generation->repeats_input, a->output_tokens);
}

static void put_metrics(struct json_writer *w, const struct answer *a)
{
    if (a->metrics == FIGURES_MISSING) {
        return;
    }
    json_key(w, "amazon-bedrock-invocationMetrics");
    json_begin_object(w);
    put_count(w, "inputTokenCount", events_metric(a, a->input_tokens));
    put_count(w, "outputTokenCount", events_metric(a, a->metric_tokens));
    put_count(w, "invocationLatency", events_last_ms(a));
    put_count(w, "firstByteLatency", a->first_ms);
    json_end_object(w);
}

static void put_delta(struct json_writer *w, const char *type, const char *key, struct span text)
{
    json_key(w, "delta");
    json_begin_object(w);
    put(w, "type", type);
    put_text(w, key, text);
    json_end_object(w);
}

/* A few tokens off the block's rest. */
static struct span take_piece(struct events *e)
{
    uint64_t spread = PIECE_TOKENS_MOST - PIECE_TOKENS_LEAST + 1;
    uint64_t tokens = PIECE_TOKENS_LEAST + behaviour_random(&e->random) % spread;
    struct span piece = tokens_first(e->rest, tokens, 100);
    piece = piece.len > 0 ? piece : e->rest;
    e->rest = span_from(e->rest, piece.len);
    e->sent += tokens_count(piece, e->answer->model->generation->tokens_percent);
    e->sent = e->sent < e->answer->output_tokens ? e->sent : e->answer->output_tokens;
    return piece;
}

static void put_block_event(struct json_writer *w, const char *type, size_t index)
{
    put(w, "type", type);
    put_count(w, "index", index);
}

/* Writes the event of the present stage and moves to the next one. */
static void put_event(struct json_writer *w, struct events *e)
{
    const struct answer *a = e->answer;
    size_t text_index = a->thinks ? 1 : 0;
    enum events_stage after_thinking = a->text.len > 0 ? EVENTS_TEXT_START : EVENTS_MESSAGE_DELTA;
    switch (e->stage) {
    case EVENTS_MESSAGE_START:
        put(w, "type", "message_start");
        put_message_start(w, a);
        e->stage = a->thinks ? EVENTS_THINKING_START : after_thinking;
        break;
    case EVENTS_THINKING_START:
        put_block_event(w, "content_block_start", 0);
        json_key(w, "content_block");
        put_block(w, "thinking", SPAN(""), SPAN(""));
        e->rest = a->thinking;
        e->stage = e->rest.len > 0 ? EVENTS_THINKING : EVENTS_SIGNATURE;
        break;
    case EVENTS_THINKING:
        put_block_event(w, "content_block_delta", 0);
        put_delta(w, "thinking_delta", "thinking", take_piece(e));
        e->stage = e->rest.len > 0 ? EVENTS_THINKING : EVENTS_SIGNATURE;
        break;
    case EVENTS_SIGNATURE:
        put_block_event(w, "content_block_delta", 0);
        put_delta(w, "signature_delta", "signature", a->signature);
        e->sent = a->thinking_tokens; /* also those nobody was shown */
        e->stage = EVENTS_THINKING_STOP;
        break;
    case EVENTS_THINKING_STOP:
        put_block_event(w, "content_block_stop", 0);
        e->stage = after_thinking;
        break;
    case EVENTS_TEXT_START:
        put_block_event(w, "content_block_start", text_index);
        json_key(w, "content_block");
        put_block(w, "text", SPAN(""), SPAN_NONE);
        e->rest = a->text;
        e->stage = EVENTS_TEXT;
        break;
    case EVENTS_TEXT:
        put_block_event(w, "content_block_delta", text_index);
        put_delta(w, "text_delta", "text", take_piece(e));
        e->stage = e->rest.len > 0 ? EVENTS_TEXT : EVENTS_TEXT_STOP;
        break;
    case EVENTS_TEXT_STOP:
        put_block_event(w, "content_block_stop", text_index);
        e->stage = EVENTS_MESSAGE_DELTA;
        break;
    case EVENTS_MESSAGE_DELTA:
        put(w, "type", "message_delta");
        put_message_delta(w, a);
        e->sent = a->output_tokens;
        e->stage = EVENTS_MESSAGE_STOP;
        break;
    case EVENTS_MESSAGE_STOP:
        put(w, "type", "message_stop");
        put_metrics(w, a);
        e->stage = EVENTS_END;
        break;
    case EVENTS_END:
        break;
    }
}

static enum events_kind kind_of(enum events_stage stage)
{
    return stage == EVENTS_MESSAGE_START   ? EVENTS_KIND_MESSAGE_START
           : stage == EVENTS_THINKING      ? EVENTS_KIND_THINKING
           : stage == EVENTS_MESSAGE_DELTA ? EVENTS_KIND_MESSAGE_DELTA
           : stage == EVENTS_MESSAGE_STOP  ? EVENTS_KIND_MESSAGE_STOP
                                           : EVENTS_KIND_CONTENT;
}

bool events_next(struct events *events, struct buf *json, uint64_t *due)
{
    if (events->stage == EVENTS_END) {
        return false;
    }
    events->kind = kind_of(events->stage);
    struct json_writer w;
    json_writer_init(&w, json);
    json_begin_object(&w);
    put_event(&w, events);
    json_end_object(&w);
    *due = due_ms(events->answer, events->sent);
    return true;
}

static void put_error(struct json_writer *w)
{
    json_key(w, "error");
    json_begin_object(w);
    put(w, "type", "overloaded_error");
    put(w, "message", "Overloaded");
    json_end_object(w);
}

void events_add_stray(const struct answer *answer, enum events_kind kind, struct buf *json)
{
    struct json_writer w;
    json_writer_init(&w, json);
    json_begin_object(&w);
    switch (kind) {
    case EVENTS_KIND_MESSAGE_START:
        put(&w, "type", "message_start");
        put_message_start(&w, answer);
        break;
    case EVENTS_KIND_PING:
        put(&w, "type", "ping");
        break;
    case EVENTS_KIND_ERROR:
        put(&w, "type", "error");
        put_error(&w);
        break;
    case EVENTS_KIND_UNKNOWN:
    case EVENTS_KIND_THINKING:
    case EVENTS_KIND_CONTENT:
    case EVENTS_KIND_MESSAGE_DELTA:
    case EVENTS_KIND_MESSAGE_STOP:
        put(&w, "type", "simulated_news"); /* what the API may say one day */
        put_count(&w, "index", 0);
        break;
    }
    json_end_object(&w);
}

void events_add_body(const struct answer *a, struct buf *json)
{
    struct json_writer w;
    json_writer_init(&w, json);
    json_begin_object(&w);
    put_head(&w, a);
    json_key(&w, "content");
    json_begin_array(&w);
    if (a->thinks) {
        put_block(&w, "thinking", a->thinking, a->signature);
    }
    if (a->text.len > 0) {
        put_block(&w, "text", a->text, SPAN_NONE);
    }
    json_end_array(&w);
    put_stop(&w, a->stop_reason, a->stop_sequence);
    put_usage(&w, a, true, a->output_tokens);
    json_end_object(&w);
}
