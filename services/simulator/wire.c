#include "simulator/wire.h"

#include <stdio.h>

#include "base/clock.h"
#include "codec/eventstream.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "codec/text.h"
#include "simulator/behaviour.h"

#define ERROR_MOST (64u << 10)
#define CORAL      ":http://internal.amazon.com/coral/com.amazon."
#define UNKNOWN_OPERATION                                                                          \
    "{\"Output\":{\"__type\":\"com.amazon.coral.service#UnknownOperationException\"},"             \
    "\"Version\":\"1.0\"}"

/* --- headers and bodies -------------------------------------------------------------------------
 */

void wire_add(struct wire_headers *headers, const char *name, const char *value)
{
    check(headers->n < WIRE_HEADERS);
    headers->at[headers->n++] = (struct http_header){span_str(name), span_str(value)};
}

void wire_add_count(struct wire_headers *headers, const char *name, uint64_t value)
{
    struct arena *arena = http_exchange_arena(headers->exchange);
    wire_add(headers, name, arena_printf(arena, "%llu", (unsigned long long)value));
}

void wire_begin(struct wire_headers *headers, struct http_exchange *exchange, const char *type)
{
    uint8_t random[10];
    char id[37];
    hash_random(random, sizeof(random));
    text_uuid7(clock_wall_ms(), random, id);
    headers->exchange = exchange;
    headers->n = 0;
    wire_add(headers, "x-amzn-RequestId",
             arena_string(http_exchange_arena(exchange), span_str(id)));
    wire_add(headers, "Content-Type", type);
    wire_add(headers, "x-prism-simulated", "true");
}

static void put(struct json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    json_put_string(w, span_str(value));
}

/* {"message": ...}, and what two exceptions have besides. */
static void add_error(struct buf *out, const struct refusal *refusal, uint64_t original)
{
    struct json_writer w;
    bool model = strcmp(refusal->error, "ModelErrorException") == 0;
    bool stream = strcmp(refusal->error, "ModelStreamErrorException") == 0;
    json_writer_init(&w, out);
    json_begin_object(&w);
    put(&w, "message", refusal->message);
    if (model || stream) {
        json_key(&w, "originalStatusCode");
        json_put_integer(&w, original > 0 ? (int64_t)original : 500);
        put(&w, model ? "resourceName" : "originalMessage", model ? "simulated" : refusal->message);
    }
    json_end_object(&w);
}

/* Routes and credentials are looked at by a door in front of Bedrock. */
static const char *service_of(const struct refusal *refusal)
{
    bool door = refusal->code == 403 && strcmp(refusal->error, "AccessDeniedException") != 0;
    return door || refusal->message == NULL ? "coral.service/" : "bedrock/";
}

void wire_refuse(struct http_exchange *exchange, const struct refusal *refusal,
                 const struct fault *fault)
{
    struct wire_headers headers;
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, ERROR_MOST);
    wire_begin(&headers, exchange, "application/json");
    wire_add(&headers, "x-amzn-ErrorType",
             arena_printf(http_exchange_arena(exchange), "%s" CORAL "%s", refusal->error,
                          service_of(refusal)));
    if (fault != NULL && fault->retry_after_ms > 0) {
        wire_add_count(&headers, "Retry-After", (fault->retry_after_ms + 999) / 1000);
    }
    if (fault != NULL && fault->amz_retry_after_ms > 0) {
        wire_add_count(&headers, "x-amz-retry-after", fault->amz_retry_after_ms);
    }
    if (refusal->message != NULL) {
        add_error(&body, refusal, fault != NULL ? fault->original : 0);
    } else {
        buf_add_str(&body, UNKNOWN_OPERATION);
    }
    http_reply(exchange, refusal->code, headers.at, headers.n, buf_span(&body));
}

/* --- frames -------------------------------------------------------------------------------------
 */

static struct eventstream_header text_header(const char *name, const char *value)
{
    return (struct eventstream_header){
        .name = span_str(name), .type = EVENTSTREAM_STRING, .bytes = span_str(value)};
}

void wire_add_chunk(struct buf *frame, struct span event, uint64_t *random)
{
    static const char padding[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const struct eventstream_header headers[] = {
        text_header(":event-type", "chunk"),
        text_header(":content-type", "application/json"),
        text_header(":message-type", "event"),
    };
    int padded = (int)(1 + behaviour_random(random) % (sizeof(padding) - 1));
    CLEANUP(buf_clear) struct buf payload;
    buf_init(&payload, WIRE_BODY_MOST);
    buf_add_str(&payload, "{\"bytes\":\"");
    text_add_base64(&payload, event);
    buf_addf(&payload, "\",\"p\":\"%.*s\"}", padded, padding);
    eventstream_encode(frame, headers, ARRAY_LEN(headers), buf_span(&payload));
}

static void add_unmodelled(struct buf *frame, const char *message)
{
    const struct eventstream_header headers[] = {
        text_header(":message-type", "error"),
        text_header(":error-code", "InternalFailure"),
        text_header(":error-message", message),
    };
    eventstream_encode(frame, headers, ARRAY_LEN(headers), SPAN_NONE);
}

void wire_add_exception(struct buf *frame, const struct refusal *refusal, bool unmodelled)
{
    if (unmodelled) {
        add_unmodelled(frame, refusal->message);
        return;
    }
    char type[128];
    snprintf(type, sizeof(type), "%c%s", refusal->error[0] | 0x20, refusal->error + 1);
    const struct eventstream_header headers[] = {
        text_header(":exception-type", type),
        text_header(":content-type", "application/json"),
        text_header(":message-type", "exception"),
    };
    CLEANUP(buf_clear) struct buf payload;
    buf_init(&payload, ERROR_MOST);
    add_error(&payload, refusal, 0);
    eventstream_encode(frame, headers, ARRAY_LEN(headers), buf_span(&payload));
}
