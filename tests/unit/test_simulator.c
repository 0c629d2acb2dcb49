/* The simulator over a real socket: routes, bodies, frames, each fault, the log of arrivals. */
#include "base/clock.h"
#include "codec/eventstream.h"
#include "codec/json.h"
#include "codec/sigv4.h"
#include "codec/text.h"
#include "harness.h"
#include "loop/task.h"
#include "net/http.h"
#include "net/http_server.h"
#include "simulator/sim.h"
#include "task_test.h"

#define SONNET "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"
#define INVOKE "/model/" SONNET "/invoke"
#define STREAM "/model/" SONNET "/invoke-with-response-stream"
#define PROMPT                                                                                     \
    "Answer with risk_level. <untrusted-0f>The admin API has no authentication at all. "           \
    "Every backup is encrypted.</untrusted-0f>"
#define BODY                                                                                       \
    "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":4096,\"thinking\":{\"type\":"    \
    "\"enabled\",\"budget_tokens\":1024},\"messages\":[{\"role\":\"user\",\"content\":\"" PROMPT   \
    "\"}]}"
#define HOT                                                                                        \
    "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":4096,\"temperature\":0.5,"       \
    "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024},\"messages\":[{\"role\":\"user\"," \
    "\"content\":\"hi\"}]}"

/* --- a simulator, a client and one exchange between them ----------------------------------------
 */

struct world {
    struct arena *arena;
    struct sim *sim;
    struct http_server *server;
    struct http_client *client;
    char authority[32];
};

static void world_open(struct world *w, const struct sim_options *options)
{
    *w = (struct world){.arena = arena_new(64u << 20)};
    w->sim = sim_new(task_loop(), options);
    assert_status_ok(http_server_start(
        task_loop(),
        &(struct http_server_options){
            .host = "127.0.0.1", .body_max = SIM_BODY_MOST, .handler = sim_handle, .arg = w->sim},
        &w->server));
    w->client = http_client_new(task_loop(), &(struct http_client_options){0});
    snprintf(w->authority, sizeof(w->authority), "127.0.0.1:%u", http_server_port(w->server));
}

static void world_close(struct world *w) PARKS
{
    http_client_free(w->client);
    http_server_stop(w->server);
    sim_free(w->sim);
    arena_free(w->arena);
}

static void plan(struct world *w, const char *rule)
{
    struct yaml_error error;
    assert_true(
        sim_set_faults(w->sim, span_str(arena_printf(w->arena, "rules:\n- %s\n", rule)), &error));
}

/* Opens a request that the default key signed. */
static struct status open_signed(struct world *w, const char *path, const char *body,
                                 struct http **out) PARKS
{
    struct sigv4_header plain[] = {{SPAN("host"), span_str(w->authority)},
                                   {SPAN("content-type"), SPAN("application/json")}};
    struct sigv4_request to_sign = {SPAN("POST"), span_str(path),   SPAN_NONE,
                                    plain,        ARRAY_LEN(plain), span_str(body)};
    struct sigv4_options keys = {.access_key = SPAN(SIM_ACCESS_KEY),
                                 .secret_key = SPAN(SIM_SECRET_KEY),
                                 .region = SPAN("us-east-2"),
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

struct reply {
    struct status status; /* how reading ended */
    int code;
    struct span body;
    struct span error; /* x-amzn-ErrorType, before the ':' */
    struct span type;
    struct span retry_after;
    struct span amz_retry_after;
    struct span output_tokens;
};

static struct span header_of(struct world *w, const struct http *http, const char *name)
{
    return arena_copy(w->arena, http_header(http, name));
}

static struct reply take_reply(struct world *w, struct status s, struct http *http) PARKS
{
    struct reply reply = {.status = s};
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
    reply.status = http_read_all(http, &body);
    reply.body = arena_copy(w->arena, buf_span(&body));
    http_close(&http);
    return reply;
}

static struct reply post(struct world *w, const char *path, const char *body) PARKS
{
    struct http *http = NULL;
    struct status s = open_signed(w, path, body, &http);
    return take_reply(w, s, http);
}

/* Without a signature. */
static struct reply ask(struct world *w, const char *method, const char *path, const char *body,
                        const char *authorization) PARKS
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

struct told {
    size_t events;
    char exception[64]; /* type of an exception or error frame */
    struct span message;
    bool broken;      /* a frame failed its checks */
    bool inside;      /* the body ends in a frame */
    struct buf types; /* of the events, one letter each */
    struct buf thinking;
    struct buf text;
    struct span signature;
    int64_t usage_output;
    int64_t metric_output;
    struct span stop_reason;
};

static void take_event(struct told *told, struct span payload, struct arena *arena)
{
    struct json *chunk = json_parse(payload, NULL);
    CLEANUP(buf_clear) struct buf inner;
    buf_init(&inner, 1u << 20);
    assert_true(text_decode_base64(&inner, json_string(json_get(chunk, "bytes"))));
    assert_in_range(json_string(json_get(chunk, "p")).len, 1, 62);
    struct json *event = json_parse(buf_span(&inner), NULL);
    const struct json *delta = json_get(event, "delta");
    struct span type = json_string(json_get(event, "type"));
    buf_add_char(&told->types, span_starts(type, SPAN("message"))           ? 'm'
                               : span_eq(type, SPAN("content_block_delta")) ? '.'
                                                                            : '|');
    buf_add_span(&told->thinking, json_string(json_get(delta, "thinking")));
    buf_add_span(&told->text, json_string(json_get(delta, "text")));
    if (json_get(delta, "signature") != NULL) {
        told->signature = arena_copy(arena, json_string(json_get(delta, "signature")));
    }
    if (json_get(delta, "stop_reason") != NULL) {
        told->stop_reason = arena_copy(arena, json_string(json_get(delta, "stop_reason")));
        told->usage_output = json_integer(json_get(json_get(event, "usage"), "output_tokens"), -1);
    }
    told->metric_output = json_integer(
        json_get(json_get(event, "amazon-bedrock-invocationMetrics"), "outputTokenCount"), -1);
    told->events++;
    json_free(event);
    json_free(chunk);
}

static void take_message(struct told *told, const struct eventstream_message *message,
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

static void listen_to(struct told *told, struct span body, struct arena *arena)
{
    struct eventstream_message *message = ARENA_NEW(arena, struct eventstream_message);
    struct eventstream_decoder *decoder = eventstream_decoder_new(EVENTSTREAM_MESSAGE_MOST);
    enum eventstream_result result;
    *told = (struct told){0};
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

static void forget(struct told *told)
{
    buf_clear(&told->types);
    buf_clear(&told->thinking);
    buf_clear(&told->text);
}

/* --- what it answers ----------------------------------------------------------------------------
 */

static const struct sim_options instant = {.instant = true};

task_test_real(an_invocation_has_one_body)
{
    struct world w;
    world_open(&w, &instant);
    struct reply reply = post(&w, INVOKE, BODY);
    assert_int_equal(reply.code, 200);
    assert_span(reply.type, SPAN("application/json"));
    struct json *json = json_parse(reply.body, NULL);
    const struct json *content = json_get(json, "content");
    assert_span(json_string(json_get(json, "model")), SPAN("claude-sonnet-4-5-20250929"));
    assert_true(span_starts(json_string(json_get(json, "id")), SPAN("msg_bdrk_01")));
    assert_span(json_string(json_get(json_at(content, 0), "type")), SPAN("thinking"));
    assert_span(json_string(json_get(json_at(content, 1), "type")), SPAN("text"));
    assert_true(span_find(json_string(json_get(json_at(content, 1), "text")),
                          SPAN("The admin API has no authentication at all.")) != SPAN_MISSING);
    int64_t output = json_integer(json_get(json_get(json, "usage"), "output_tokens"), 0);
    uint64_t counted = 0;
    assert_true(span_parse_u64(reply.output_tokens, &counted));
    assert_true((int64_t)counted < output);
    assert_span(post(&w, INVOKE, BODY).body, reply.body);
    json_free(json);
    world_close(&w);
}

task_test_real(a_stream_tells_the_same_in_pieces)
{
    struct world w;
    struct told told;
    world_open(&w, &instant);
    struct reply whole = post(&w, INVOKE, BODY);
    struct reply reply = post(&w, STREAM, BODY);
    assert_int_equal(reply.code, 200);
    assert_span(reply.type, SPAN("application/vnd.amazon.eventstream"));
    assert_status_ok(reply.status);
    listen_to(&told, reply.body, w.arena);
    assert_false(told.broken);
    assert_false(told.inside);

    struct json *json = json_parse(whole.body, NULL);
    const struct json *content = json_get(json, "content");
    assert_span(buf_span(&told.thinking), json_string(json_get(json_at(content, 0), "thinking")));
    assert_span(told.signature, json_string(json_get(json_at(content, 0), "signature")));
    assert_span(buf_span(&told.text), json_string(json_get(json_at(content, 1), "text")));
    assert_span(told.stop_reason, SPAN("end_turn"));
    assert_int_equal(told.usage_output,
                     json_integer(json_get(json_get(json, "usage"), "output_tokens"), 0));
    assert_int_equal(told.metric_output, told.usage_output - 3);
    json_free(json);

    const char *types = buf_cstr(&told.types); /* m|...||....|mm */
    assert_true(span_starts(span_str(types), SPAN("m|.")));
    assert_true(span_find(span_str(types), SPAN(".||.")) != SPAN_MISSING);
    assert_true(span_ends(span_str(types), SPAN(".|mm")));
    assert_span(post(&w, STREAM, BODY).body, reply.body);
    forget(&told);
    world_close(&w);
}

task_test_real(answers_take_their_time)
{
    struct world w;
    world_open(&w, &(struct sim_options){.ttft_ms = 1000, .token_rate = 100, .speed = 20});
    uint64_t began_ms = clock_mono_ms();
    struct reply reply = post(&w, STREAM, BODY);
    uint64_t took_ms = clock_mono_ms() - began_ms;
    struct told told;
    listen_to(&told, reply.body, w.arena);
    /* 800 ms at least to the first token and 10 ms a token, twenty times as fast. */
    assert_true(took_ms >= (800 + (uint64_t)told.usage_output * 10) / 20 - 5);
    assert_true(took_ms < 20000);
    forget(&told);
    world_close(&w);
}

task_test_real(calls_are_refused_in_bedrocks_words)
{
    static const struct {
        const char *path;
        const char *body;
        int code;
        const char *error;
        const char *reply;
    } rows[] = {
        {"/model/nothing/invoke", BODY, 400, "ValidationException",
         "{\"message\":\"The provided model identifier is invalid.\"}"},
        {"/model/anthropic.claude-sonnet-4-6/invoke", BODY, 400, "ValidationException",
         "{\"message\":\"Invocation of model ID anthropic.claude-sonnet-4-6 with on-demand "
         "throughput isn\xe2\x80\x99t supported. Retry your request with the ID or ARN of an "
         "inference profile that contains this model.\"}"},
        {INVOKE, HOT, 400, "ValidationException",
         "{\"message\":\"The model returned the following errors: `temperature` may only be set to "
         "1 when thinking is enabled.\"}"},
        {"/model/" SONNET "/converse", BODY, 404, "UnknownOperationException", NULL},
        {"/model//invoke", BODY, 404, "UnknownOperationException", NULL},
        {"/model/%zz/invoke", BODY, 404, "UnknownOperationException", NULL},
        {"/", BODY, 404, "UnknownOperationException", NULL},
        {"/model/" SONNET "/count-tokens", "{}", 400, "ValidationException",
         "{\"message\":\"The provided model doesn't support counting tokens.\"}"},
        {"/model/anthropic.claude-sonnet-4-6/count-tokens", "{}", 400, "ValidationException",
         "{\"message\":\"The provided request is not valid\"}"},
    };
    struct world w;
    world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct reply reply = post(&w, rows[i].path, rows[i].body);
        assert_int_equal(reply.code, rows[i].code);
        assert_span(reply.error, span_str(rows[i].error));
        assert_true(rows[i].reply == NULL || span_eq(reply.body, span_str(rows[i].reply)));
    }
    world_close(&w);
}

task_test_real(a_streams_model_complains_behind_a_200)
{
    struct world w;
    struct told told;
    world_open(&w, &instant);
    struct reply reply = post(&w, STREAM, HOT);
    assert_int_equal(reply.code, 200);
    listen_to(&told, reply.body, w.arena);
    assert_int_equal(told.events, 0);
    assert_string_equal(told.exception, "validationException");
    assert_true(span_starts(told.message, SPAN("The model returned the following errors: ")));
    forget(&told);
    world_close(&w);
}

task_test_real(credentials_are_looked_at)
{
    static const struct {
        const char *authorization;
        int code;
        const char *error;
    } rows[] = {
        {NULL, 403, "MissingAuthenticationTokenException"},
        {"Bearer " SIM_API_KEY, 200, ""},
        {"Bearer x", 403, "AccessDeniedException"},
        {"AWS4-HMAC-SHA256 nonsense", 403, "IncompleteSignatureException"},
    };
    struct world w;
    world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct reply reply = ask(&w, "POST", INVOKE, BODY, rows[i].authorization);
        assert_int_equal(reply.code, rows[i].code);
        assert_span(reply.error, span_str(rows[i].error));
    }
    world_close(&w);
}

task_test_real(tokens_are_counted)
{
    struct world w;
    CLEANUP(buf_clear) struct buf body;
    world_open(&w, &instant);
    buf_init(&body, 65536);
    buf_add_str(&body, "{\"input\":{\"invokeModel\":{\"body\":\"");
    text_add_base64(&body, SPAN(BODY));
    buf_add_str(&body, "\"}}}");
    struct reply reply =
        post(&w, "/model/anthropic.claude-sonnet-4-6/count-tokens", buf_cstr(&body));
    struct json *counted = json_parse(reply.body, NULL);
    struct json *answered = json_parse(post(&w, INVOKE, BODY).body, NULL);
    assert_int_equal(json_integer(json_get(counted, "inputTokens"), -1),
                     json_integer(json_get(json_get(answered, "usage"), "input_tokens"), -2));
    json_free(counted);
    json_free(answered);
    world_close(&w);
}

/* --- what goes wrong ----------------------------------------------------------------------------
 */

task_test_real(statuses_have_real_bodies)
{
    static const struct {
        const char *rule;
        int code;
        const char *body;
        const char *retry_after;
        const char *amz_retry_after;
    } rows[] = {
        {"{action: status, code: 429}", 429,
         "{\"message\":\"Too many tokens, please wait before trying again.\"}", "", ""},
        {"{action: status, code: 429, retry_after: 1500ms}", 429, NULL, "2", ""},
        {"{action: status, code: 503, amz_retry_after: 1500ms}", 503, NULL, "", "1500"},
        {"{action: status, code: 424}", 424,
         "{\"message\":\"The model returned an error while it processed the request.\","
         "\"originalStatusCode\":500,\"resourceName\":\"simulated\"}",
         "", ""},
        {"{action: exception, type: throttlingException}", 429, NULL, "", ""},
    };
    struct world w;
    world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        plan(&w, rows[i].rule);
        struct reply reply = post(&w, INVOKE, BODY);
        assert_int_equal(reply.code, rows[i].code);
        assert_true(rows[i].body == NULL || span_eq(reply.body, span_str(rows[i].body)));
        assert_span(reply.retry_after, span_str(rows[i].retry_after));
        assert_span(reply.amz_retry_after, span_str(rows[i].amz_retry_after));
    }
    /* The one length that was recorded. */
    plan(&w, "{action: status, code: 429}");
    assert_int_equal(post(&w, STREAM, BODY).body.len, 63);
    world_close(&w);
}

task_test_real(streams_break_in_every_way)
{
    static const struct {
        const char *rule;
        size_t events; /* told before it */
        const char *exception;
        enum reason reason; /* of the transfer */
        bool broken;
        bool inside;
    } rows[] = {
        {"{action: exception, type: throttlingException}", 0, "throttlingException", 0, false,
         false},
        {"{action: exception, type: modelTimeoutException, after: 4}", 4, "modelTimeoutException",
         0, false, false},
        {"{action: exception, type: modelStreamErrorException, after: 1}", 1,
         "modelStreamErrorException", 0, false, false},
        {"{action: exception, type: error, after: 2}", 2, "InternalFailure", 0, false, false},
        {"{action: reset, after: 3}", 3, "", REASON_CONNECTION_LOST, false, false},
        {"{action: close, after: 3}", 3, "", REASON_CONNECTION_LOST, false, false},
        {"{action: truncate, after: 3}", 3, "", 0, false, true},
        {"{action: bad_crc, after: 3}", 3, "", 0, true, true},
    };
    struct world w;
    world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct told told;
        plan(&w, rows[i].rule);
        struct reply reply = post(&w, STREAM, BODY);
        assert_int_equal(reply.code, 200);
        assert_status(reply.status, rows[i].reason);
        listen_to(&told, reply.body, w.arena);
        assert_int_equal(told.events, rows[i].events);
        assert_string_equal(told.exception, rows[i].exception);
        assert_int_equal(told.broken, rows[i].broken);
        assert_true(rows[i].broken || told.inside == rows[i].inside);
        forget(&told);
    }
    world_close(&w);
}

task_test_real(bodies_break_as_well)
{
    struct world w;
    world_open(&w, &instant);
    struct span whole = post(&w, INVOKE, BODY).body;
    plan(&w, "{action: truncate}");
    struct reply reply = post(&w, INVOKE, BODY);
    assert_status_ok(reply.status);
    assert_span(reply.body, span_first(whole, whole.len / 2));
    plan(&w, "{action: reset}");
    assert_status(post(&w, INVOKE, BODY).status, REASON_CONNECTION_LOST);
    plan(&w, "{action: close}");
    assert_status(post(&w, INVOKE, BODY).status, REASON_CONNECTION_LOST);
    world_close(&w);
}

task_test_real(stalls_come_before_headers_or_events)
{
    static const struct {
        const char *rule;
        bool before_headers;
        size_t events; /* before it */
    } rows[] = {
        {"{action: stall, at: headers, for: 300ms}", true, 0},
        {"{action: stall, at: events, for: 300ms}", false, 0},
        {"{action: stall, at: events, after: 2, for: 300ms}", false, 2},
    };
    struct world w;
    world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http *http = NULL;
        struct span chunk;
        struct told told;
        CLEANUP(buf_clear) struct buf before;
        buf_init(&before, 1u << 20);
        plan(&w, rows[i].rule);
        uint64_t began_ms = clock_mono_ms();
        assert_status_ok(open_signed(&w, STREAM, BODY, &http));
        assert_int_equal(clock_mono_ms() - began_ms >= 290, rows[i].before_headers);
        while (!rows[i].before_headers && clock_mono_ms() - began_ms < 290) {
            assert_status_ok(http_read(http, &chunk));
            if (clock_mono_ms() - began_ms < 290) {
                buf_add_span(&before, chunk);
            }
        }
        listen_to(&told, buf_span(&before), w.arena);
        assert_int_equal(told.events, rows[i].events);
        do {
            assert_status_ok(http_read(http, &chunk)); /* and it goes on to its end */
        } while (chunk.len > 0);
        http_close(&http);
        forget(&told);
    }
    world_close(&w);
}

task_test_real(plans_are_changed_while_it_runs)
{
    struct world w;
    world_open(&w, &instant);
    assert_span(ask(&w, "GET", "/simulator/faults", "", NULL).body, SPAN(""));
    struct reply reply = ask(&w, "PUT", "/simulator/faults",
                             "rules:\n- {action: status, code: 503, nth: 2}\n", NULL);
    assert_int_equal(reply.code, 200);
    assert_span(reply.body, SPAN("{\"rules\":1}\n"));
    assert_int_equal(post(&w, INVOKE, BODY).code, 200);
    assert_int_equal(post(&w, INVOKE, BODY).code, 503);

    reply =
        ask(&w, "PUT", "/simulator/faults", "rules:\n- {action: reset}\n- {action: rest}\n", NULL);
    assert_int_equal(reply.code, 400);
    assert_true(span_starts(reply.body, SPAN("{\"line\":3,\"message\":\"action ")));
    assert_span(ask(&w, "GET", "/simulator/faults", "", NULL).body,
                SPAN("rules:\n- {action: status, code: 503, nth: 2}\n"));
    assert_int_equal(ask(&w, "PUT", "/simulator/faults", "", NULL).code, 200);
    assert_int_equal(post(&w, INVOKE, BODY).code, 200);
    world_close(&w);
}

/* --- who called when ----------------------------------------------------------------------------
 */

/* Line n of the log as JSON; the caller frees. */
static struct json *arrival(struct span log, size_t n)
{
    struct span line;
    do {
        assert_true(span_cut(&log, '\n', &line));
    } while (n-- > 0);
    struct json *json = json_parse(line, NULL);
    assert_non_null(json);
    return json;
}

static void assert_ended(struct span log, size_t n, int status, const char *outcome)
{
    struct json *json = arrival(log, n);
    assert_span(json_string(json_get(json, "event")), SPAN("end"));
    assert_span(json_string(json_get(json, "outcome")), span_str(outcome));
    assert_int_equal(json_integer(json_get(json, "status"), -1), status);
    json_free(json);
}

task_test_real(arrivals_are_logged_at_start_and_end)
{
    struct world w;
    world_open(&w, &instant);
    plan(&w, "{action: status, code: 429, nth: 2}");
    post(&w, INVOKE, BODY);
    post(&w, STREAM, BODY);
    post(&w, "/model/nothing/invoke", BODY);
    post(&w, STREAM, HOT);
    struct reply reply = ask(&w, "GET", "/simulator/arrivals", "", NULL);
    assert_span(reply.type, SPAN("application/x-ndjson"));

    struct json *start = arrival(reply.body, 0);
    struct json *end = arrival(reply.body, 1);
    assert_span(json_string(json_get(start, "event")), SPAN("start"));
    assert_span(json_string(json_get(start, "model")),
                SPAN("us.anthropic.claude-sonnet-4-5-20250929-v1:0"));
    assert_span(json_string(json_get(start, "region")), SPAN("us-east-2"));
    assert_span(json_string(json_get(start, "operation")), SPAN("invoke"));
    assert_in_range(json_integer(json_get(start, "input_tokens"), 0), 40, 100);
    assert_int_equal(json_integer(json_get(start, "max_tokens"), 0), 4096);
    assert_int_equal(json_integer(json_get(start, "running"), 0), 1);
    assert_int_equal(json_integer(json_get(start, "id"), 0), json_integer(json_get(end, "id"), -1));
    assert_true(json_number(json_get(end, "t_ms"), 0) >= json_number(json_get(start, "t_ms"), 1));
    assert_in_range(json_integer(json_get(end, "output_tokens"), 0), 100, 1000);
    json_free(start);
    json_free(end);
    assert_ended(reply.body, 1, 200, "ok");
    assert_ended(reply.body, 3, 429, "throttled");
    assert_ended(reply.body, 5, 400, "rejected");
    assert_ended(reply.body, 7, 200, "exception");

    assert_int_equal(ask(&w, "DELETE", "/simulator/arrivals", "", NULL).code, 200);
    assert_span(ask(&w, "GET", "/simulator/arrivals", "", NULL).body, SPAN(""));
    world_close(&w);
}

task_test_real(a_client_that_leaves_is_logged_at_once)
{
    struct world w;
    struct http *http = NULL;
    struct span chunk;
    world_open(&w, &(struct sim_options){.ttft_ms = 1, .token_rate = 1});
    assert_status_ok(open_signed(&w, STREAM, BODY, &http));
    assert_status_ok(http_read(http, &chunk));
    assert_int_equal(arrivals_running(w.sim->arrivals), 1);
    http_close(&http);
    uint64_t began_ms = clock_mono_ms();
    while (arrivals_running(w.sim->arrivals) > 0 && clock_mono_ms() - began_ms < 20000) {
        assert_status_ok(task_sleep_ms(5));
    }
    assert_ended(ask(&w, "GET", "/simulator/arrivals", "", NULL).body, 1, 200, "client_gone");
    world_close(&w);
}

task_test_real(the_log_keeps_its_newest_lines)
{
    struct arrivals *arrivals = arrivals_new();
    struct arrivals_start start = {.model = SPAN("m"), .operation = "invoke"};
    struct arrivals_end end = {.status = 200, .outcome = "ok", .cause = "none"};
    for (size_t i = 0; i < ARRIVALS_KEPT / 2 + 10; i++) {
        uint64_t id = arrivals_begin(arrivals, i, &start);
        arrivals_finish(arrivals, i, id, &end);
    }
    CLEANUP(buf_clear) struct buf lines;
    buf_init(&lines, 1u << 20);
    uint64_t from = 0;
    size_t kept = 0;
    struct json *first = NULL;
    while (arrivals_add(arrivals, &from, 65536, &lines)) {
        first = first == NULL ? arrival(buf_span(&lines), 0) : first;
        for (size_t i = 0; i < lines.len; i++) {
            kept += lines.at[i] == '\n';
        }
        buf_reset(&lines);
    }
    assert_int_equal(kept, ARRIVALS_KEPT);
    assert_int_equal(json_integer(json_get(first, "id"), 0), 11);
    json_free(first);
    arrivals_free(arrivals);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_invocation_has_one_body),
    cmocka_unit_test(a_stream_tells_the_same_in_pieces),
    cmocka_unit_test(answers_take_their_time),
    cmocka_unit_test(calls_are_refused_in_bedrocks_words),
    cmocka_unit_test(a_streams_model_complains_behind_a_200),
    cmocka_unit_test(credentials_are_looked_at),
    cmocka_unit_test(tokens_are_counted),
    cmocka_unit_test(statuses_have_real_bodies),
    cmocka_unit_test(streams_break_in_every_way),
    cmocka_unit_test(bodies_break_as_well),
    cmocka_unit_test(stalls_come_before_headers_or_events),
    cmocka_unit_test(plans_are_changed_while_it_runs),
    cmocka_unit_test(arrivals_are_logged_at_start_and_end),
    cmocka_unit_test(a_client_that_leaves_is_logged_at_once),
    cmocka_unit_test(the_log_keeps_its_newest_lines),
};
HARNESS_MAIN(tests)
