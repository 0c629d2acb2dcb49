#include "router/sink.h"

#include <string.h>

static struct status stream_put(struct sink *sink, const Router__GenerateResponse *event)
{
    struct rpc *rpc = CONTAINER_OF(sink, struct sink_stream, sink)->rpc;
    return event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED
               ? rpc_send_last(rpc, event)
               : rpc_send(rpc, event);
}

void sink_stream_init(struct sink_stream *sink, struct rpc *rpc)
{
    *sink = (struct sink_stream){.sink = {stream_put}, .rpc = rpc};
}

/* --- whole ------------------------------------------------------------------------------------ */

static Router__ContentBlock *add_block(struct sink_whole *w)
{
    if (w->n_blocks == w->cap_blocks) {
        size_t cap = w->cap_blocks > 0 ? 2 * w->cap_blocks : 8;
        Router__ContentBlock **more = ARENA_ARRAY(w->arena, Router__ContentBlock *, cap);
        if (w->n_blocks > 0) {
            memcpy(more, w->blocks, w->n_blocks * sizeof(*more));
        }
        w->blocks = more;
        w->cap_blocks = cap;
    }
    Router__ContentBlock *block = ARENA_NEW(w->arena, Router__ContentBlock);
    router__content_block__init(block);
    w->blocks[w->n_blocks++] = block;
    return block;
}

static ProtobufCBinaryData bytes_of(struct arena *arena, struct span bytes)
{
    struct span copy = arena_copy(arena, bytes);
    return (ProtobufCBinaryData){copy.len, (uint8_t *)copy.at};
}

static bool has_nul(struct span text)
{
    return span_find_char(text, '\0') != SPAN_MISSING;
}

static void close_text(struct sink_whole *w)
{
    Router__ContentBlock *block = add_block(w);
    struct span text = buf_span(&w->text);
    if (has_nul(text)) {
        block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT_BYTES;
        block->text_bytes = bytes_of(w->arena, text);
    } else {
        block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
        block->text = arena_string(w->arena, text);
    }
}

static void close_thinking(struct sink_whole *w)
{
    Router__ThinkingBlock *thinking = ARENA_NEW(w->arena, Router__ThinkingBlock);
    router__thinking_block__init(thinking);
    if (has_nul(buf_span(&w->text))) {
        thinking->text_bytes = bytes_of(w->arena, buf_span(&w->text));
    } else {
        thinking->text = arena_string(w->arena, buf_span(&w->text));
    }
    thinking->signature = bytes_of(w->arena, buf_span(&w->extra));
    thinking->model = arena_string(w->arena, span_str(w->model));
    Router__ContentBlock *block = add_block(w);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_THINKING;
    block->thinking = thinking;
}

/* What an open block has so far is void. */
static void forget_block(struct sink_whole *w)
{
    w->open = 0;
    buf_reset(&w->text);
    buf_reset(&w->extra);
}

static void close_block(struct sink_whole *w)
{
    if (w->open == ROUTER__BLOCK_TYPE__BLOCK_TYPE_TEXT) {
        close_text(w);
    } else if (w->open == ROUTER__BLOCK_TYPE__BLOCK_TYPE_THINKING) {
        close_thinking(w);
    }
    forget_block(w);
}

static void add_redacted(struct sink_whole *w, const Router__RedactedThinking *redacted)
{
    Router__RedactedThinkingBlock *copy = ARENA_NEW(w->arena, Router__RedactedThinkingBlock);
    router__redacted_thinking_block__init(copy);
    copy->data = bytes_of(w->arena, span_of(redacted->data.data, redacted->data.len));
    copy->model = arena_string(w->arena, span_str(w->model));
    Router__ContentBlock *block = add_block(w);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING;
    block->redacted_thinking = copy;
}

static void add_piece(struct buf *out, const char *text, ProtobufCBinaryData bytes)
{
    if (bytes.len > 0) {
        buf_add(out, bytes.data, bytes.len);
    } else {
        buf_add_str(out, text);
    }
}

static struct status whole_put(struct sink *sink, const Router__GenerateResponse *event)
{
    struct sink_whole *w = CONTAINER_OF(sink, struct sink_whole, sink);
    switch (event->event_case) {
    case ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED:
        w->n_blocks = 0;
        forget_block(w);
        w->model = arena_string(w->arena, span_str(event->admitted->model));
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_START:
        w->open = event->block_start->type;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_THINKING_DELTA:
        add_piece(&w->text, event->thinking_delta->text, event->thinking_delta->text_bytes);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA:
        add_piece(&w->text, event->text_delta->text, event->text_delta->text_bytes);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_SIGNATURE_DELTA:
        buf_add(&w->extra, event->signature_delta->signature.data,
                event->signature_delta->signature.len);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_REDACTED_THINKING:
        add_redacted(w, event->redacted_thinking);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_RAW_BLOCK: {
        Router__ContentBlock *block = add_block(w);
        block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON;
        block->raw_json =
            bytes_of(w->arena, span_of(event->raw_block->json.data, event->raw_block->json.len));
        break;
    }
    case ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_STOP:
        close_block(w);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED:
        w->completed = event->completed;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_RESTARTED:
    case ROUTER__GENERATE_RESPONSE__EVENT_QUEUED:
    case ROUTER__GENERATE_RESPONSE__EVENT_KEEP_ALIVE:
    case ROUTER__GENERATE_RESPONSE__EVENT__NOT_SET:
    case _ROUTER__GENERATE_RESPONSE__EVENT__CASE_IS_INT_SIZE:
        break;
    }
    return buf_ok(&w->text) && buf_ok(&w->extra)
               ? STATUS_SUCCESS
               : status_of(REASON_MESSAGE_TOO_LARGE,
                           "the answer does not fit one message; use Generate");
}

void sink_whole_init(struct sink_whole *sink, struct arena *arena, size_t most)
{
    *sink = (struct sink_whole){.sink = {whole_put}, .arena = arena, .model = ""};
    buf_init(&sink->text, most);
    buf_init(&sink->extra, most);
}

void sink_whole_clear(struct sink_whole *sink)
{
    buf_clear(&sink->text);
    buf_clear(&sink->extra);
}
