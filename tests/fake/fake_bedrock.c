#include "fake/fake_bedrock.h"

#include <stdio.h>
#include <string.h>

#include "codec/eventstream.h"
#include "codec/json.h"
#include "codec/text.h"
#include "task_test.h"

#define FRAME_MOST (4u << 20)
#define SILENCE_MS 20000

static const struct fake_reply *next_reply(struct fake_bedrock *bedrock)
{
    size_t n = bedrock->requests++;
    assert_true(bedrock->n_replies > 0);
    return &bedrock->replies[n < bedrock->n_replies ? n : bedrock->n_replies - 1];
}

static struct eventstream_header text_header(struct span name, const char *value)
{
    return (struct eventstream_header){
        .name = name, .type = EVENTSTREAM_STRING, .bytes = span_str(value)};
}

static void add_chunk(struct buf *out, const char *event)
{
    CLEANUP(buf_clear) struct buf base64;
    CLEANUP(buf_clear) struct buf payload;
    buf_init(&base64, FRAME_MOST);
    buf_init(&payload, FRAME_MOST);
    text_add_base64(&base64, span_str(event));
    buf_addf(&payload, "{\"bytes\":\"%s\",\"p\":\"abcdefgh\"}", buf_cstr(&base64));
    const struct eventstream_header headers[] = {
        text_header(SPAN(":event-type"), "chunk"),
        text_header(SPAN(":content-type"), "application/json"),
        text_header(SPAN(":message-type"), "event"),
    };
    eventstream_encode(out, headers, ARRAY_LEN(headers), buf_span(&payload));
}

static void add_message(struct buf *out, const char *text)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "message");
    json_put_string(&w, span_str(text));
    json_end_object(&w);
}

static void add_exception(struct buf *out, const struct fake_reply *reply)
{
    CLEANUP(buf_clear) struct buf payload;
    buf_init(&payload, FRAME_MOST);
    add_message(&payload, reply->message);
    const struct eventstream_header headers[] = {
        text_header(SPAN(":exception-type"), reply->exception),
        text_header(SPAN(":content-type"), "application/json"),
        text_header(SPAN(":message-type"), "exception"),
    };
    eventstream_encode(out, headers, ARRAY_LEN(headers), buf_span(&payload));
}

static void send_error(struct http_exchange *exchange, const struct fake_reply *reply)
{
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, FRAME_MOST);
    add_message(&body, reply->message);
    const struct http_header headers[] = {
        {SPAN("x-amzn-RequestId"), SPAN("request-error")},
        {SPAN("x-amzn-ErrorType"), span_str(reply->exception)},
        {SPAN("Retry-After"), span_str(reply->retry_after)},
    };
    http_reply(exchange, reply->status, headers, reply->retry_after != NULL ? 3 : 2,
               buf_span(&body));
}

/* How the stream ends behind its events. */
static struct status end_stream(struct http_exchange *exchange,
                                const struct fake_reply *reply) PARKS
{
    CLEANUP(buf_clear) struct buf frame;
    buf_init(&frame, FRAME_MOST);
    if (reply->exception != NULL) {
        add_exception(&frame, reply);
        TRY(http_reply_write(exchange, buf_span(&frame)));
        buf_reset(&frame);
    }
    switch (reply->ending) {
    case FAKE_END:
        break;
    case FAKE_RESET:
        http_reply_abort(exchange, true);
        break;
    case FAKE_BREAK:
        add_chunk(&frame, "{}");
        return http_reply_write(exchange, span_first(buf_span(&frame), frame.len / 2));
    case FAKE_SPOIL:
        add_chunk(&frame, "{}");
        frame.at[frame.len - 1] ^= 1;
        return http_reply_write(exchange, buf_span(&frame));
    case FAKE_SILENT:
    case FAKE_MUTE:
        return task_sleep_ms(SILENCE_MS);
    }
    return STATUS_SUCCESS;
}

static struct status send_stream(struct http_exchange *exchange,
                                 const struct fake_reply *reply) PARKS
{
    const struct http_header headers[] = {
        {SPAN("content-type"), SPAN("application/vnd.amazon.eventstream")},
        {SPAN("x-amzn-RequestId"), SPAN("request-1")},
    };
    http_reply_start(exchange, 200, headers, ARRAY_LEN(headers));
    CLEANUP(buf_clear) struct buf frames;
    buf_init(&frames, FRAME_MOST);
    if (reply->frames.len > 0) {
        TRY(http_reply_write(exchange, reply->frames));
    }
    for (size_t i = 0; reply->events != NULL && reply->events[i] != NULL; i++) {
        add_chunk(&frames, reply->events[i]);
        if (!reply->together || reply->events[i + 1] == NULL) {
            TRY(http_reply_write(exchange, buf_span(&frames)));
            buf_reset(&frames);
        }
    }
    return end_stream(exchange, reply);
}

static void handle(struct http_exchange *exchange, void *arg)
{
    struct fake_bedrock *bedrock = arg;
    const struct fake_reply *other =
        bedrock->instead != NULL ? bedrock->instead(bedrock->arg, exchange) : NULL;
    const struct fake_reply *reply = other != NULL ? other : next_reply(bedrock);
    struct status s = STATUS_SUCCESS;
    bedrock->target = arena_copy(bedrock->arena, http_exchange_target(exchange));
    bedrock->body = arena_copy(bedrock->arena, http_exchange_body(exchange));
    bedrock->open++;
    if (reply->ending == FAKE_MUTE) {
        s = task_sleep_ms(SILENCE_MS);
    } else if (reply->status != 0) {
        send_error(exchange, reply);
    } else {
        s = send_stream(exchange, reply);
    }
    bedrock->left += !status_ok(s);
    bedrock->open--;
}

void fake_bedrock_start(struct fake_bedrock *bedrock)
{
    bedrock->arena = arena_new(64u << 20);
    const struct http_server_options options = {.host = "127.0.0.1",
                                                .body_max = 1u << 20,
                                                .handler = handle,
                                                .arg = bedrock,
                                                .arena = bedrock->arena};
    assert_status_ok(http_server_start(task_loop(), &options, &bedrock->server));
    snprintf(bedrock->url, sizeof(bedrock->url), "http://127.0.0.1:%u",
             http_server_port(bedrock->server));
}

void fake_bedrock_stop(struct fake_bedrock *bedrock)
{
    http_server_stop(bedrock->server);
    arena_free(bedrock->arena);
}
