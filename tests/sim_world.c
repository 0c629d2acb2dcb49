#include "sim_world.h"

#include "base/clock.h"
#include "codec/eventstream.h"
#include "codec/json.h"
#include "codec/sigv4.h"
#include "codec/text.h"

/* --- a simulator, a client and one exchange between them ----------------------------------------
 */

void sim_world_open(struct sim_world *w, const struct sim_options *options)
{
    *w = (struct sim_world){.arena = arena_new(64u << 20)};
    w->sim = sim_new(task_loop(), options);
    assert_status_ok(http_server_start(
        task_loop(),
        &(struct http_server_options){
            .host = "127.0.0.1", .body_max = SIM_BODY_MOST, .handler = sim_handle, .arg = w->sim},
        &w->server));
    w->client = http_client_new(task_loop(), &(struct http_client_options){0});
    snprintf(w->authority, sizeof(w->authority), "127.0.0.1:%u", http_server_port(w->server));
}

void sim_world_close(struct sim_world *w) PARKS
{
    http_client_free(w->client);
    http_server_stop(w->server);
    sim_free(w->sim);
    arena_free(w->arena);
}

void sim_world_plan(struct sim_world *w, const char *rule)
{
    struct yaml_error error;
    assert_true(
        sim_set_faults(w->sim, span_str(arena_printf(w->arena, "rules:\n- %s\n", rule)), &error));
}

struct status sim_open(struct sim_world *w, const char *path, const char *body,
                       struct http **out) PARKS
{
    struct sigv4_header plain[] = {{SPAN("host"), span_str(w->authority)},
                                   {SPAN("content-type"), SPAN("application/json")}};
    struct sigv4_request to_sign = {SPAN("POST"), span_str(path),   SPAN_NONE,
                                    plain,        ARRAY_LEN(plain), span_str(body)};
    struct sigv4_options keys = {.access_key = SPAN(SIM_ACCESS_KEY),
                                 .secret_key = SPAN(SIM_SECRET_KEY),
                                 .region = SPAN(SIM_REGION),
                                 .service = SPAN("bedrock"),
                                 .wall_s = clock_wall_ms() / 1000};
    struct sigv4_result signed_;
    sigv4_sign(&to_sign, &keys, w->arena, &signed_);
    struct http_header *headers = ARENA_ARRAY(w->arena, struct http_header, 1 + signed_.n_added);
    headers[0] = (struct http_header){plain[1].name, plain[1].value};
    for (size_t i = 0; i < signed_.n_added; i++) {
        headers[1 + i] = (struct http_header){signed_.added[i].name, signed_.added[i].value};
    }
    struct http_request *request = ARENA_NEW(w->arena, struct http_request);
    *request =
        (struct http_request){.method = "POST",
                              .url = arena_printf(w->arena, "http://%s%s", w->authority, path),
                              .headers = headers,
                              .n_headers = 1 + signed_.n_added,
                              .body = span_str(body)};
    return http_open(w->client, request, out);
}

static struct span header_of(struct sim_world *w, const struct http *http, const char *name)
{
    return arena_copy(w->arena, http_header(http, name));
}

static struct sim_reply take_reply(struct sim_world *w, struct status s, struct http *http) PARKS
{
    struct sim_reply reply = {.status = s};
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 16u << 20);
    if (!status_ok(s)) {
        return reply;
    }
    reply.code = http_code(http);
    reply.error = header_of(w, http, "x-amzn-errortype");
    reply.error = span_first(reply.error, span_find_char(reply.error, ':'));
    reply.type = header_of(w, http, "content-type");
    reply.retry_after = header_of(w, http, "retry-after");
    reply.amz_retry_after = header_of(w, http, "x-amz-retry-after");
    reply.output_tokens = header_of(w, http, "x-amzn-bedrock-output-token-count");
    reply.cache_read_tokens = header_of(w, http, "x-amzn-bedrock-cache-read-input-token-count");
    reply.status = http_read_all(http, &body);
    reply.body = arena_copy(w->arena, buf_span(&body));
    http_close(&http);
    return reply;
}

struct sim_reply sim_post(struct sim_world *w, const char *path, const char *body) PARKS
{
    struct http *http = NULL;
    struct status s = sim_open(w, path, body, &http);
    return take_reply(w, s, http);
}

struct sim_reply sim_ask(struct sim_world *w, const char *method, const char *path,
                         const char *body, const char *authorization) PARKS
{
    struct http *http = NULL;
    struct http_header header = {SPAN("authorization"), span_str(authorization)};
    struct http_request request = {.method = method,
                                   .url = arena_printf(w->arena, "http://%s%s", w->authority, path),
                                   .headers = &header,
                                   .n_headers = authorization != NULL,
                                   .body = span_str(body)};
    struct status s = http_open(w->client, &request, &http);
    return take_reply(w, s, http);
}

/* --- frames -------------------------------------------------------------------------------------
 */

static char letter_of(struct span type)
{
    static const struct {
        const char *type;
        char letter;
    } rows[] = {
        {"message_start", 's'},
        {"message_delta", 'd'},
        {"message_stop", 'e'},
        {"content_block_start", '|'},
        {"content_block_delta", '.'},
        {"content_block_stop", '|'},
        {"ping", 'p'},
        {"error", '!'},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (span_eq(type, span_str(rows[i].type))) {
            return rows[i].letter;
        }
    }
    return '?';
}

static int64_t number_of(const struct json *object, const char *key)
{
    return json_integer(json_get(object, key), -1);
}

static void take_delta(struct sim_told *told, const struct json *delta, struct arena *arena)
{
    buf_add_span(&told->thinking, json_string(json_get(delta, "thinking")));
    buf_add_span(&told->text, json_string(json_get(delta, "text")));
    if (json_get(delta, "signature") != NULL) {
        told->signature = arena_copy(arena, json_string(json_get(delta, "signature")));
    }
    if (json_get(delta, "stop_reason") != NULL) {
        told->stop_reason = arena_copy(arena, json_string(json_get(delta, "stop_reason")));
    }
}

static void take_event(struct sim_told *told, struct span payload, struct arena *arena)
{
    CLEANUP(json_drop) struct json *chunk = json_parse(payload, NULL);
    CLEANUP(buf_clear) struct buf inner;
    buf_init(&inner, 1u << 20);
    assert_true(text_decode_base64(&inner, json_string(json_get(chunk, "bytes"))));
    assert_in_range(json_string(json_get(chunk, "p")).len, 1, 62);
    CLEANUP(json_drop) struct json *event = json_parse(buf_span(&inner), NULL);
    char letter = letter_of(json_string(json_get(event, "type")));
    const struct json *usage = json_get(json_get(event, "message"), "usage");
    buf_add_char(&told->types, letter);
    take_delta(told, json_get(event, "delta"), arena);
    if (letter == 's') {
        told->usage_input = number_of(usage, "input_tokens");
        told->cache_read = number_of(usage, "cache_read_input_tokens");
        told->cache_write = number_of(usage, "cache_creation_input_tokens");
    } else if (letter == 'd') {
        told->usage_output = number_of(json_get(event, "usage"), "output_tokens");
    } else if (letter == 'e') {
        told->metric_output =
            number_of(json_get(event, "amazon-bedrock-invocationMetrics"), "outputTokenCount");
    }
    told->events++;
}

static void take_message(struct sim_told *told, const struct eventstream_message *message,
                         struct arena *arena)
{
    struct span kind = eventstream_string(message, ":message-type");
    if (span_eq(kind, SPAN("event"))) {
        assert_span(message->headers[0].name, SPAN(":event-type"));
        assert_span(message->headers[1].bytes, SPAN("application/json"));
        take_event(told, message->payload, arena);
        return;
    }
    bool error = span_eq(kind, SPAN("error"));
    struct span type = eventstream_string(message, error ? ":error-code" : ":exception-type");
    snprintf(told->exception, sizeof(told->exception), "%.*s", (int)type.len, type.at);
    struct json *payload = json_parse(message->payload, NULL);
    told->message = arena_copy(arena, error ? eventstream_string(message, ":error-message")
                                            : json_string(json_get(payload, "message")));
    json_free(payload);
}

void sim_listen(struct sim_told *told, struct span body, struct arena *arena)
{
    struct eventstream_message *message = ARENA_NEW(arena, struct eventstream_message);
    struct eventstream_decoder *decoder = eventstream_decoder_new(EVENTSTREAM_MESSAGE_MOST);
    enum eventstream_result result;
    *told = (struct sim_told){0};
    buf_init(&told->types, 65536);
    buf_init(&told->thinking, 65536);
    buf_init(&told->text, 65536);
    while ((result = eventstream_feed(decoder, &body, message)) == EVENTSTREAM_MESSAGE) {
        take_message(told, message, arena);
    }
    told->broken = result == EVENTSTREAM_BROKEN;
    told->inside = eventstream_inside(decoder);
    eventstream_decoder_free(decoder);
}

void sim_forget(struct sim_told *told)
{
    buf_clear(&told->types);
    buf_clear(&told->thinking);
    buf_clear(&told->text);
}

/* --- the log of arrivals -------------------------------------------------------------------------
 */

struct json *sim_arrival(struct span log, size_t n)
{
    struct span line;
    do {
        assert_true(span_cut(&log, '\n', &line));
    } while (n-- > 0);
    struct json *json = json_parse(line, NULL);
    assert_non_null(json);
    return json;
}
