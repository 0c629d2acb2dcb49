/* The simulator over a real socket: routes, bodies, frames, each fault, the log of arrivals. */
#include "base/clock.h"
#include "codec/json.h"
#include "codec/text.h"
#include "harness.h"
#include "loop/task.h"
#include "sim_world.h"

#define INVOKE SIM_INVOKE
#define STREAM SIM_STREAM
#define PROMPT                                                                                     \
    "Answer with risk_level. <untrusted-0f>The admin API has no authentication at all. "           \
    "Every backup is encrypted.</untrusted-0f>"
#define BODY SIM_BODY_OF(4096, PROMPT)
#define HOT                                                                                        \
    "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":4096,\"temperature\":0.5,"       \
    "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024},\"messages\":[{\"role\":\"user\"," \
    "\"content\":\"hi\"}]}"

/* --- what it answers ----------------------------------------------------------------------------
 */

static const struct sim_options instant = {.instant = true};

task_test_real(an_invocation_has_one_body)
{
    struct sim_world w;
    sim_world_open(&w, &instant);
    struct sim_reply reply = sim_post(&w, INVOKE, BODY);
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
    assert_span(sim_post(&w, INVOKE, BODY).body, reply.body);
    json_free(json);
    sim_world_close(&w);
}

task_test_real(a_stream_tells_the_same_in_pieces)
{
    struct sim_world w;
    struct sim_told told;
    sim_world_open(&w, &instant);
    struct sim_reply whole = sim_post(&w, INVOKE, BODY);
    struct sim_reply reply = sim_post(&w, STREAM, BODY);
    assert_int_equal(reply.code, 200);
    assert_span(reply.type, SPAN("application/vnd.amazon.eventstream"));
    assert_status_ok(reply.status);
    sim_listen(&told, reply.body, w.arena);
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

    const char *types = buf_cstr(&told.types); /* s|...||....|de */
    assert_true(span_starts(span_str(types), SPAN("s|.")));
    assert_true(span_find(span_str(types), SPAN(".||.")) != SPAN_MISSING);
    assert_true(span_ends(span_str(types), SPAN(".|de")));
    assert_span(sim_post(&w, STREAM, BODY).body, reply.body);
    sim_forget(&told);
    sim_world_close(&w);
}

task_test_real(answers_take_their_time)
{
    struct sim_world w;
    sim_world_open(&w, &(struct sim_options){.ttft_ms = 1000, .token_rate = 100, .speed = 20});
    uint64_t began_ms = clock_mono_ms();
    struct sim_reply reply = sim_post(&w, STREAM, BODY);
    uint64_t took_ms = clock_mono_ms() - began_ms;
    struct sim_told told;
    sim_listen(&told, reply.body, w.arena);
    /* 800 ms at least to the first token and 10 ms a token, twenty times as fast. */
    assert_true(took_ms >= (800 + (uint64_t)told.usage_output * 10) / 20 - 5);
    assert_true(took_ms < 20000);
    sim_forget(&told);
    sim_world_close(&w);
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
        {"/model/" SIM_SONNET "/converse", BODY, 404, "UnknownOperationException", NULL},
        {"/model//invoke", BODY, 404, "UnknownOperationException", NULL},
        {"/model/%zz/invoke", BODY, 404, "UnknownOperationException", NULL},
        {"/", BODY, 404, "UnknownOperationException", NULL},
        {"/model/" SIM_SONNET "/count-tokens", "{}", 400, "ValidationException",
         "{\"message\":\"The provided model doesn't support counting tokens.\"}"},
        {"/model/anthropic.claude-sonnet-4-6/count-tokens", "{}", 400, "ValidationException",
         "{\"message\":\"The provided request is not valid\"}"},
    };
    struct sim_world w;
    sim_world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sim_reply reply = sim_post(&w, rows[i].path, rows[i].body);
        assert_int_equal(reply.code, rows[i].code);
        assert_span(reply.error, span_str(rows[i].error));
        assert_true(rows[i].reply == NULL || span_eq(reply.body, span_str(rows[i].reply)));
    }
    sim_world_close(&w);
}

task_test_real(a_streams_model_complains_behind_a_200)
{
    struct sim_world w;
    struct sim_told told;
    sim_world_open(&w, &instant);
    struct sim_reply reply = sim_post(&w, STREAM, HOT);
    assert_int_equal(reply.code, 200);
    sim_listen(&told, reply.body, w.arena);
    assert_int_equal(told.events, 0);
    assert_string_equal(told.exception, "validationException");
    assert_true(span_starts(told.message, SPAN("The model returned the following errors: ")));
    sim_forget(&told);
    sim_world_close(&w);
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
    struct sim_world w;
    sim_world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sim_reply reply = sim_ask(&w, "POST", INVOKE, BODY, rows[i].authorization);
        assert_int_equal(reply.code, rows[i].code);
        assert_span(reply.error, span_str(rows[i].error));
    }
    sim_world_close(&w);
}

task_test_real(tokens_are_counted)
{
    struct sim_world w;
    CLEANUP(buf_clear) struct buf body;
    sim_world_open(&w, &instant);
    buf_init(&body, 65536);
    buf_add_str(&body, "{\"input\":{\"invokeModel\":{\"body\":\"");
    text_add_base64(&body, SPAN(BODY));
    buf_add_str(&body, "\"}}}");
    struct sim_reply reply =
        sim_post(&w, "/model/anthropic.claude-sonnet-4-6/count-tokens", buf_cstr(&body));
    struct json *counted = json_parse(reply.body, NULL);
    struct json *answered = json_parse(sim_post(&w, INVOKE, BODY).body, NULL);
    assert_int_equal(json_integer(json_get(counted, "inputTokens"), -1),
                     json_integer(json_get(json_get(answered, "usage"), "input_tokens"), -2));
    json_free(counted);
    json_free(answered);
    sim_world_close(&w);
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
    struct sim_world w;
    sim_world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        sim_world_plan(&w, rows[i].rule);
        struct sim_reply reply = sim_post(&w, INVOKE, BODY);
        assert_int_equal(reply.code, rows[i].code);
        assert_true(rows[i].body == NULL || span_eq(reply.body, span_str(rows[i].body)));
        assert_span(reply.retry_after, span_str(rows[i].retry_after));
        assert_span(reply.amz_retry_after, span_str(rows[i].amz_retry_after));
    }
    /* The one length that was recorded. */
    sim_world_plan(&w, "{action: status, code: 429}");
    assert_int_equal(sim_post(&w, STREAM, BODY).body.len, 63);
    sim_world_close(&w);
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
    struct sim_world w;
    sim_world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sim_told told;
        sim_world_plan(&w, rows[i].rule);
        struct sim_reply reply = sim_post(&w, STREAM, BODY);
        assert_int_equal(reply.code, 200);
        assert_status(reply.status, rows[i].reason);
        sim_listen(&told, reply.body, w.arena);
        assert_int_equal(told.events, rows[i].events);
        assert_string_equal(told.exception, rows[i].exception);
        assert_int_equal(told.broken, rows[i].broken);
        assert_true(rows[i].broken || told.inside == rows[i].inside);
        sim_forget(&told);
    }
    sim_world_close(&w);
}

task_test_real(bodies_break_as_well)
{
    struct sim_world w;
    sim_world_open(&w, &instant);
    struct span whole = sim_post(&w, INVOKE, BODY).body;
    sim_world_plan(&w, "{action: truncate}");
    struct sim_reply reply = sim_post(&w, INVOKE, BODY);
    assert_status_ok(reply.status);
    assert_span(reply.body, span_first(whole, whole.len / 2));
    sim_world_plan(&w, "{action: reset}");
    assert_status(sim_post(&w, INVOKE, BODY).status, REASON_CONNECTION_LOST);
    sim_world_plan(&w, "{action: close}");
    assert_status(sim_post(&w, INVOKE, BODY).status, REASON_CONNECTION_LOST);
    sim_world_close(&w);
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
    struct sim_world w;
    sim_world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http *http = NULL;
        struct span chunk;
        struct sim_told told;
        CLEANUP(buf_clear) struct buf before;
        buf_init(&before, 1u << 20);
        sim_world_plan(&w, rows[i].rule);
        uint64_t began_ms = clock_mono_ms();
        assert_status_ok(sim_open(&w, STREAM, BODY, &http));
        assert_int_equal(clock_mono_ms() - began_ms >= 290, rows[i].before_headers);
        while (!rows[i].before_headers && clock_mono_ms() - began_ms < 290) {
            assert_status_ok(http_read(http, &chunk));
            if (clock_mono_ms() - began_ms < 290) {
                buf_add_span(&before, chunk);
            }
        }
        sim_listen(&told, buf_span(&before), w.arena);
        assert_int_equal(told.events, rows[i].events);
        do {
            assert_status_ok(http_read(http, &chunk)); /* and it goes on to its end */
        } while (chunk.len > 0);
        http_close(&http);
        sim_forget(&told);
    }
    sim_world_close(&w);
}

task_test_real(plans_are_changed_while_it_runs)
{
    struct sim_world w;
    sim_world_open(&w, &instant);
    assert_span(sim_ask(&w, "GET", "/simulator/faults", "", NULL).body, SPAN(""));
    struct sim_reply reply = sim_ask(&w, "PUT", "/simulator/faults",
                                     "rules:\n- {action: status, code: 503, nth: 2}\n", NULL);
    assert_int_equal(reply.code, 200);
    assert_span(reply.body, SPAN("{\"rules\":1}\n"));
    assert_int_equal(sim_post(&w, INVOKE, BODY).code, 200);
    assert_int_equal(sim_post(&w, INVOKE, BODY).code, 503);

    reply = sim_ask(&w, "PUT", "/simulator/faults", "rules:\n- {action: reset}\n- {action: rest}\n",
                    NULL);
    assert_int_equal(reply.code, 400);
    assert_true(span_starts(reply.body, SPAN("{\"line\":3,\"message\":\"action ")));
    assert_span(sim_ask(&w, "GET", "/simulator/faults", "", NULL).body,
                SPAN("rules:\n- {action: status, code: 503, nth: 2}\n"));
    assert_int_equal(sim_ask(&w, "PUT", "/simulator/faults", "", NULL).code, 200);
    assert_int_equal(sim_post(&w, INVOKE, BODY).code, 200);
    sim_world_close(&w);
}

/* --- who called when ----------------------------------------------------------------------------
 */

static void assert_ended(struct span log, size_t n, int status, const char *outcome)
{
    struct json *json = sim_arrival(log, n);
    assert_span(json_string(json_get(json, "event")), SPAN("end"));
    assert_span(json_string(json_get(json, "outcome")), span_str(outcome));
    assert_int_equal(json_integer(json_get(json, "status"), -1), status);
    json_free(json);
}

task_test_real(arrivals_are_logged_at_start_and_end)
{
    struct sim_world w;
    sim_world_open(&w, &instant);
    sim_world_plan(&w, "{action: status, code: 429, nth: 2}");
    sim_post(&w, INVOKE, BODY);
    sim_post(&w, STREAM, BODY);
    sim_post(&w, "/model/nothing/invoke", BODY);
    sim_post(&w, STREAM, HOT);
    struct sim_reply reply = sim_ask(&w, "GET", "/simulator/arrivals", "", NULL);
    assert_span(reply.type, SPAN("application/x-ndjson"));

    struct json *start = sim_arrival(reply.body, 0);
    struct json *end = sim_arrival(reply.body, 1);
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

    assert_int_equal(sim_ask(&w, "DELETE", "/simulator/arrivals", "", NULL).code, 200);
    assert_span(sim_ask(&w, "GET", "/simulator/arrivals", "", NULL).body, SPAN(""));
    sim_world_close(&w);
}

task_test_real(a_client_that_leaves_is_logged_at_once)
{
    struct sim_world w;
    struct http *http = NULL;
    struct span chunk;
    sim_world_open(&w, &(struct sim_options){.ttft_ms = 1, .token_rate = 1});
    assert_status_ok(sim_open(&w, STREAM, BODY, &http));
    assert_status_ok(http_read(http, &chunk));
    assert_int_equal(arrivals_running(w.sim->arrivals), 1);
    http_close(&http);
    uint64_t began_ms = clock_mono_ms();
    while (arrivals_running(w.sim->arrivals) > 0 && clock_mono_ms() - began_ms < 20000) {
        assert_status_ok(task_sleep_ms(5));
    }
    assert_ended(sim_ask(&w, "GET", "/simulator/arrivals", "", NULL).body, 1, 200, "client_gone");
    sim_world_close(&w);
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
        first = first == NULL ? sim_arrival(buf_span(&lines), 0) : first;
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
