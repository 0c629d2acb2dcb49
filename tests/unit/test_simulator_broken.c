/* What goes wrong at the provider, as our own client (libs/aws/bedrock) and a plain one meet it
 * over a real socket. */
#include "aws/bedrock.h"
#include "base/clock.h"
#include "codec/json.h"
#include "harness.h"
#include "sim_world.h"

#define MODEL "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
#define BODY                                                                                       \
    SIM_BODY_OF(4096, "Answer with risk_level. <untrusted-0f>The admin API has no authentication " \
                      "at all. Every backup is encrypted.</untrusted-0f>")

static const struct sim_options instant = {.instant = true};

/* --- our client ---------------------------------------------------------------------------------
 */

struct provider {
    struct sim_world world;
    struct credentials *credentials;
    struct bedrock *bedrock;
};

static void provider_open(struct provider *p)
{
    sim_world_open(&p->world, &instant);
    const struct credentials_values values = {.access_key = SPAN(SIM_ACCESS_KEY),
                                              .secret_key = SPAN(SIM_SECRET_KEY)};
    p->credentials = credentials_fixed(&values);
    p->bedrock = bedrock_new(&(struct bedrock_options){
        .http = p->world.client,
        .credentials = p->credentials,
        .endpoint = arena_printf(p->world.arena, "http://%s", p->world.authority)});
}

static void provider_close(struct provider *p) PARKS
{
    bedrock_free(p->bedrock);
    credentials_free(p->credentials);
    sim_world_close(&p->world);
}

/* How one call ended under a rule. */
struct end {
    struct status status;
    int http_status;
    size_t events;
    bool stopped; /* message_stop was seen */
    size_t thought;
    size_t answered; /* bytes */
};

static void take_event(struct end *end, struct span text)
{
    CLEANUP(json_drop) struct json *event = json_parse(text, NULL);
    const struct json *delta = json_get(event, "delta");
    end->events++;
    end->stopped |= span_eq(json_string(json_get(event, "type")), SPAN("message_stop"));
    end->thought += json_string(json_get(delta, "thinking")).len;
    end->answered += json_string(json_get(delta, "text")).len;
}

static struct end call(struct provider *p, const char *rule, bool stream,
                       uint64_t patience_ms) PARKS
{
    struct end end = {0};
    struct bedrock_call *call = NULL;
    struct span text;
    const struct bedrock_request request = {.region = SIM_REGION,
                                            .model_id = MODEL,
                                            .body = SPAN(BODY),
                                            .first_byte_ms = patience_ms,
                                            .idle_ms = patience_ms};
    sim_world_plan(&p->world, rule);
    end.status = stream ? bedrock_invoke_stream(p->bedrock, &request, &call)
                        : bedrock_invoke(p->bedrock, &request, &call, &text);
    while (stream && status_ok(end.status)) {
        end.status = bedrock_stream_next(call, &text);
        if (!status_ok(end.status) || text.len == 0) {
            break;
        }
        take_event(&end, text);
    }
    end.http_status = bedrock_reply(call)->http_status;
    bedrock_close(&call);
    end.status.detail = NULL; /* was the call's */
    return end;
}

task_test_real(every_refusal_is_understood)
{
    static const struct {
        const char *rule;
        int code;
        enum reason reason;
    } rows[] = {
        {"{action: status, code: 400}", 400, REASON_UPSTREAM_REJECTED},
        {"{action: status, code: 400, kind: quota}", 400, REASON_TIER_THROTTLED},
        {"{action: status, code: 400, kind: no_model}", 400, REASON_TIER_MISCONFIGURED},
        {"{action: status, code: 400, kind: conflict}", 400, REASON_TIER_FAILED},
        {"{action: status, code: 403}", 403, REASON_TIER_REFUSED},
        {"{action: status, code: 403, kind: marketplace}", 403, REASON_TIER_REFUSED},
        {"{action: status, code: 403, kind: expired}", 403, REASON_CREDENTIALS_EXPIRED},
        {"{action: status, code: 403, kind: unknown_key}", 403, REASON_CREDENTIALS_REJECTED},
        {"{action: status, code: 403, kind: signature}", 403, REASON_CREDENTIALS_REJECTED},
        {"{action: retired}", 404, REASON_TIER_GONE},
        {"{action: status, code: 404, kind: end_of_life}", 404, REASON_TIER_GONE},
        {"{action: status, code: 404, kind: legacy}", 404, REASON_TIER_GONE},
        {"{action: status, code: 404, kind: no_profile}", 404, REASON_TIER_UNAVAILABLE},
        {"{action: status, code: 408}", 408, REASON_TIER_TIMEOUT},
        {"{action: status, code: 424}", 424, REASON_TIER_FAILED},
        {"{action: status, code: 424, kind: stream_error}", 424, REASON_TIER_STREAM_BROKEN},
        {"{action: status, code: 429}", 429, REASON_TIER_THROTTLED},
        {"{action: status, code: 429, kind: requests}", 429, REASON_TIER_THROTTLED_REQUESTS},
        {"{action: status, code: 429, kind: day}", 429, REASON_TIER_THROTTLED_DAILY},
        {"{action: status, code: 429, kind: not_ready}", 429, REASON_TIER_NOT_READY},
        {"{action: status, code: 500}", 500, REASON_TIER_FAILED},
        {"{action: status, code: 503}", 503, REASON_TIER_UNAVAILABLE},
    };
    struct provider p;
    provider_open(&p);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int stream = 0; stream < 2; stream++) {
            struct end end = call(&p, rows[i].rule, stream == 1, 20000);
            assert_status(end.status, rows[i].reason);
            assert_int_equal(end.http_status, rows[i].code);
        }
    }
    provider_close(&p);
}

task_test_real(every_exception_frame_is_understood)
{
    static const struct {
        const char *type;
        enum reason reason;
    } rows[] = {
        {"throttlingException", REASON_TIER_THROTTLED},
        {"validationException", REASON_UPSTREAM_REJECTED},
        {"internalServerException", REASON_TIER_FAILED},
        {"modelStreamErrorException", REASON_TIER_STREAM_BROKEN},
        {"modelTimeoutException", REASON_TIER_TIMEOUT},
        {"serviceUnavailableException", REASON_TIER_UNAVAILABLE},
        {"error", REASON_TIER_FAILED},
    };
    struct provider p;
    provider_open(&p);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t after = 0; after < 10; after += 5) {
            const char *rule = arena_printf(p.world.arena,
                                            "{action: exception, type: %s, after: "
                                            "%zu}",
                                            rows[i].type, after);
            struct end end = call(&p, rule, true, 20000);
            assert_status(end.status, rows[i].reason);
            assert_int_equal(end.http_status, 200);
            assert_int_equal(end.events, after);
        }
    }
    provider_close(&p);
}

task_test_real(streams_that_end_badly_are_told_apart)
{
    static const struct {
        const char *rule;
        enum reason reason;
        bool stopped;
    } rows[] = {
        {"{action: reset, after: 6}", REASON_TIER_STREAM_BROKEN, false},
        {"{action: close, after: 6}", REASON_TIER_STREAM_BROKEN, false},
        {"{action: truncate, after: 6}", REASON_TIER_STREAM_BROKEN, false},
        {"{action: bad_crc, after: 6}", REASON_TIER_STREAM_BROKEN, false},
        {"{action: stall, at: headers, for: 1m}", REASON_TIER_TIMEOUT, false},
        {"{action: stall, at: events, for: 1m}", REASON_TIER_TIMEOUT, false},
        {"{action: stall, at: events, after: 6, for: 1m}", REASON_TIER_STALLED, false},
        {"{action: stall, at: thinking, after: 9, for: 1m}", REASON_TIER_STALLED, false},
        {"{action: drip, bytes: 1, every: 1m}", REASON_TIER_TIMEOUT, false},
        {"{action: drip, bytes: 100, every: 1m, after: 6}", REASON_TIER_STALLED, false},
        {"{action: omit, event: message_stop}", REASON_NONE, false},
        {"{action: omit, event: message_start}", REASON_NONE, true},
        {"{action: omit, event: message_delta}", REASON_NONE, true},
        {"{action: insert, event: message_start, after: 1}", REASON_NONE, true},
        {"{action: insert, event: ping, after: 3}", REASON_NONE, true},
        {"{action: insert, event: unknown}", REASON_NONE, true},
        {"{action: insert, event: error, after: 4}", REASON_NONE, true},
        {"{action: usage, usage: missing, metrics: missing}", REASON_NONE, true},
        {"{action: drip, bytes: 4000, every: 1ms}", REASON_NONE, true},
    };
    struct provider p;
    provider_open(&p);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct end end = call(&p, rows[i].rule, true, rows[i].reason == REASON_NONE ? 20000 : 500);
        assert_status(end.status, rows[i].reason);
        assert_int_equal(end.stopped, rows[i].stopped);
    }
    provider_close(&p);
}

task_test_real(thinking_stalls_before_its_nth_token)
{
    struct provider p;
    provider_open(&p);
    struct end whole = call(&p, "{action: reset, nth: 1000}", true, 20000);
    size_t last = 0;
    assert_true(whole.thought > 0 && whole.answered > 0);
    for (size_t after = 0; after <= 60; after += 20) {
        const char *rule = arena_printf(
            p.world.arena, "{action: stall, at: thinking, after: %zu, for: 1m}", after);
        struct end end = call(&p, rule, true, 500);
        assert_int_equal(end.answered, 0);
        assert_true(after == 0 ? end.thought == 0 : end.thought > last);
        assert_true(end.thought <= after * 8); /* no more than so many tokens have letters */
        assert_true(end.thought < whole.thought);
        last = end.thought;
    }
    /* Nothing stalls behind its end. */
    struct end end = call(&p, "{action: stall, at: thinking, after: 100000, for: 1m}", true, 20000);
    assert_true(end.stopped);
    assert_int_equal(end.thought, whole.thought);
    /* It goes on where it stopped. */
    end = call(&p, "{action: stall, at: thinking, after: 20, for: 50ms}", true, 20000);
    assert_int_equal(end.thought, whole.thought);
    assert_int_equal(end.answered, whole.answered);
    provider_close(&p);
}

/* --- a plain client -----------------------------------------------------------------------------
 */

task_test_real(usage_lies)
{
    static const struct {
        const char *rule;
        int64_t usage; /* percent of the truth, -1: not told */
        int64_t metrics;
    } rows[] = {
        {"{action: usage, usage: missing}", -1, 100},
        {"{action: usage, usage: smaller}", 50, 100},
        {"{action: usage, usage: larger}", 200, 100},
        {"{action: usage, metrics: missing}", 100, -1},
        {"{action: usage, metrics: smaller}", 100, 50},
        {"{action: usage, metrics: larger}", 100, 200},
        {"{action: usage, usage: larger, metrics: smaller}", 200, 50},
    };
    struct sim_world w;
    struct sim_told truth;
    sim_world_open(&w, &instant);
    sim_listen(&truth, sim_post(&w, SIM_STREAM, BODY).body, w.arena);
    assert_true(truth.usage_output > 100 && truth.usage_input > 40);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sim_told told;
        int64_t usage = rows[i].usage, metrics = rows[i].metrics;
        sim_world_plan(&w, rows[i].rule);
        sim_listen(&told, sim_post(&w, SIM_STREAM, BODY).body, w.arena);
        assert_int_equal(told.usage_input, usage < 0 ? -1 : truth.usage_input * usage / 100);
        assert_int_equal(told.usage_output, usage < 0 ? -1 : truth.usage_output * usage / 100);
        assert_int_equal(told.metric_output,
                         metrics < 0 ? -1 : truth.metric_output * metrics / 100);
        assert_span(buf_span(&told.text), buf_span(&truth.text));

        struct sim_reply reply = sim_post(&w, SIM_INVOKE, BODY);
        CLEANUP(json_drop) struct json *body = json_parse(reply.body, NULL);
        assert_int_equal(json_integer(json_get(json_get(body, "usage"), "output_tokens"), -1),
                         told.usage_output);
        uint64_t counted = 0;
        assert_int_equal(span_parse_u64(reply.output_tokens, &counted), metrics >= 0);
        assert_int_equal(counted, metrics >= 0 ? told.metric_output : 0);
        sim_forget(&told);
    }
    sim_forget(&truth);
    sim_world_close(&w);
}

task_test_real(events_are_inserted_and_left_out)
{
    static const struct {
        const char *rule;
        const char *begin;
        const char *end;
    } rows[] = {
        {"{action: insert, event: message_start, after: 1}", "ss|.", ".|de"},
        {"{action: insert, event: message_start, after: 2}", "s|s.", ".|de"},
        {"{action: insert, event: ping}", "ps|.", ".|de"},
        {"{action: insert, event: ping, after: 3}", "s|.p", ".|de"},
        {"{action: insert, event: unknown, after: 1}", "s?|.", ".|de"},
        {"{action: insert, event: error, after: 1}", "s!|.", ".|de"},
        {"{action: omit, event: message_start}", "|.", ".|de"},
        {"{action: omit, event: message_delta}", "s|.", ".|e"},
        {"{action: omit, event: message_stop}", "s|.", ".|d"},
    };
    struct sim_world w;
    struct sim_told truth;
    sim_world_open(&w, &instant);
    sim_listen(&truth, sim_post(&w, SIM_STREAM, BODY).body, w.arena);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sim_told told;
        sim_world_plan(&w, rows[i].rule);
        sim_listen(&told, sim_post(&w, SIM_STREAM, BODY).body, w.arena);
        bool inserts = span_starts(span_str(rows[i].rule), SPAN("{action: insert"));
        assert_int_equal(told.events, inserts ? truth.events + 1 : truth.events - 1);
        assert_true(span_starts(buf_span(&told.types), span_str(rows[i].begin)));
        assert_true(span_ends(buf_span(&told.types), span_str(rows[i].end)));
        assert_span(buf_span(&told.text), buf_span(&truth.text));
        sim_forget(&told);
    }
    sim_forget(&truth);
    sim_world_close(&w);
}

task_test_real(bytes_drip)
{
    static const char *const paths[] = {SIM_INVOKE, SIM_STREAM};
    struct sim_world w;
    sim_world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        sim_world_plan(&w, "{action: reset, nth: 1000}");
        struct sim_reply whole = sim_post(&w, paths[i], BODY);
        sim_world_plan(&w, "{action: drip, bytes: 200, every: 5ms}");
        uint64_t began_ms = clock_mono_ms();
        struct sim_reply reply = sim_post(&w, paths[i], BODY);
        uint64_t least_ms = (reply.body.len / 200 - 1) * 5;
        assert_span(reply.body, whole.body);
        assert_true(least_ms >= 20);
        assert_in_range(clock_mono_ms() - began_ms, least_ms - 5, 100 * least_ms);
    }
    sim_world_close(&w);
}

task_test_real(a_fault_is_named_in_the_log)
{
    static const struct {
        const char *rule;
        const char *outcome;
        const char *cause;
        const char *kind;
    } rows[] = {
        {"{action: reset, nth: 1000}", "ok", "none", ""},
        {"{action: retired}", "rejected", "fault", "status"},
        {"{action: status, code: 429}", "throttled", "fault", "status"},
        {"{action: exception, type: error}", "exception", "fault", "exception"},
        {"{action: stall, at: thinking, for: 1ms}", "ok", "fault", "stall"},
        {"{action: drip, bytes: 10000, every: 1ms}", "ok", "fault", "drip"},
        {"{action: close}", "closed", "fault", "close"},
        {"{action: truncate}", "truncated", "fault", "truncate"},
        {"{action: bad_crc}", "bad_crc", "fault", "bad_crc"},
        {"{action: insert, event: ping}", "ok", "fault", "insert"},
        {"{action: omit, event: message_stop}", "ok", "fault", "omit"},
        {"{action: usage, metrics: missing}", "ok", "fault", "usage"},
    };
    struct sim_world w;
    sim_world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        sim_world_plan(&w, rows[i].rule);
        sim_post(&w, SIM_STREAM, BODY);
        struct span log = sim_ask(&w, "GET", "/simulator/arrivals", "", NULL).body;
        CLEANUP(json_drop) struct json *end = sim_arrival(log, 2 * i + 1);
        assert_span(json_string(json_get(end, "outcome")), span_str(rows[i].outcome));
        assert_span(json_string(json_get(end, "cause")), span_str(rows[i].cause));
        assert_span(json_string(json_get(end, "kind")), span_str(rows[i].kind));
    }
    sim_world_close(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_refusal_is_understood),
    cmocka_unit_test(every_exception_frame_is_understood),
    cmocka_unit_test(streams_that_end_badly_are_told_apart),
    cmocka_unit_test(thinking_stalls_before_its_nth_token),
    cmocka_unit_test(usage_lies),
    cmocka_unit_test(events_are_inserted_and_left_out),
    cmocka_unit_test(bytes_drip),
    cmocka_unit_test(a_fault_is_named_in_the_log),
};
HARNESS_MAIN(tests)
