/* Quotas as callers meet them over a real socket, and as the log of arrivals tells of them. */
#include "codec/json.h"
#include "harness.h"
#include "sim_world.h"

#define BODY SIM_BODY_OF(2000, "Say something of some length about locks and keys, please.")

static const struct sim_options instant = {.instant = true};

static void put_quotas(struct sim_world *w, const char *quotas)
{
    struct yaml_error error;
    assert_true(
        sim_set_quotas(w->sim, span_str(arena_printf(w->arena, "quotas:\n%s\n", quotas)), &error));
}

static struct span log_of(struct sim_world *w) PARKS
{
    return sim_ask(w, "GET", "/simulator/arrivals", "", NULL).body;
}

task_test_real(refusals_have_the_providers_words)
{
    static const struct {
        const char *quota;
        const char *kind;
        const char *body;
    } rows[] = {
        {"- requests_per_minute: 1\n", "requests",
         "{\"message\":\"Too many requests, please wait before trying again.\"}"},
        {"- tokens_per_minute: 4000\n", "tokens",
         "{\"message\":\"Too many tokens, please wait before trying again.\"}"},
        {"- tokens_per_day: 4000\n", "day",
         "{\"message\":\"Too many tokens per day, please wait before trying again.\"}"},
        {"- {requests_per_minute: 1, tokens_per_minute: 4000, tokens_per_day: 4000}\n", "requests",
         "{\"message\":\"Too many requests, please wait before trying again.\"}"},
        {"- {tokens_per_minute: 4000, refill: continuous}\n", "tokens",
         "{\"message\":\"Too many tokens, please wait before trying again.\"}"},
    };
    struct sim_world w;
    sim_world_open(&w, &instant);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        put_quotas(&w, rows[i].quota);
        arrivals_forget(w.sim->arrivals);
        assert_int_equal(sim_post(&w, SIM_STREAM, BODY).code, 200);
        struct sim_reply reply = {.code = 200};
        size_t calls = 1;
        for (; reply.code == 200; calls++) {
            reply = sim_post(&w, calls % 2 == 0 ? SIM_STREAM : SIM_INVOKE, BODY);
        }
        assert_int_equal(reply.code, 429);
        assert_span(reply.error, SPAN("ThrottlingException"));
        assert_span(reply.body, span_str(rows[i].body));
        assert_span(reply.retry_after, SPAN(""));
        CLEANUP(json_drop) struct json *start = sim_arrival(log_of(&w), 2 * calls - 2);
        CLEANUP(json_drop) struct json *end = sim_arrival(log_of(&w), 2 * calls - 1);
        assert_int_equal(json_integer(json_get(start, "reserved"), -1), 0);
        assert_int_equal(json_integer(json_get(start, "max_tokens"), -1), 2000);
        assert_span(json_string(json_get(end, "outcome")), SPAN("throttled"));
        assert_span(json_string(json_get(end, "cause")), SPAN("quota"));
        assert_span(json_string(json_get(end, "kind")), span_str(rows[i].kind));
        assert_int_equal(json_integer(json_get(end, "settled"), -1), 0);
    }
    /* Without quotas everything is let in, and nothing is said of them. */
    put_quotas(&w, "");
    arrivals_forget(w.sim->arrivals);
    assert_int_equal(sim_post(&w, SIM_STREAM, BODY).code, 200);
    CLEANUP(json_drop) struct json *end = sim_arrival(log_of(&w), 1);
    assert_null(json_get(end, "tokens_left"));
    assert_int_equal(json_integer(json_get(end, "settled"), -1), 0);
    sim_world_close(&w);
}

task_test_real(only_calls_that_reach_the_model_count)
{
    struct sim_world w;
    sim_world_open(&w, &instant);
    put_quotas(&w, "- {model: us.anthropic.claude-sonnet-4-5-20250929-v1:0, "
                   "requests_per_minute: 1}\n");
    sim_world_plan(&w, "{action: status, code: 503, count: 3}");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sim_post(&w, SIM_INVOKE, BODY).code, 503);
        assert_int_equal(sim_post(&w, SIM_INVOKE, "{}").code, 400);
    }
    assert_int_equal(sim_post(&w, SIM_INVOKE, BODY).code, 200);
    assert_int_equal(sim_post(&w, SIM_INVOKE, BODY).code, 429);
    assert_int_equal(sim_post(&w, SIM_INVOKE, "{}").code, 400);
    sim_world_close(&w);
}

/* The first stream has reserved nearly all, so that the second fits when it has said something. */
task_test_real(a_stream_gives_back_while_it_runs)
{
    struct sim_world w;
    struct http *http = NULL;
    struct span chunk;
    sim_world_open(&w, &(struct sim_options){.ttft_ms = 1, .token_rate = 40});
    put_quotas(&w, "- tokens_per_minute: 4050\n");
    assert_status_ok(sim_open(&w, SIM_STREAM, BODY, &http));
    assert_status_ok(http_read(http, &chunk));
    assert_int_equal(sim_post(&w, SIM_INVOKE, BODY).code, 429);
    struct http *second = NULL;
    while (second == NULL) {
        assert_status_ok(http_read(http, &chunk));
        assert_true(chunk.len > 0); /* it still runs */
        assert_status_ok(sim_open(&w, SIM_STREAM, BODY, &second));
        if (http_code(second) == 429) {
            http_close(&second);
        }
    }
    http_close(&http);
    http_close(&second);
    struct span log = log_of(&w);
    CLEANUP(json_drop) struct json *first = sim_arrival(log, 0);
    int64_t reserved = json_integer(json_get(first, "reserved"), 0);
    assert_int_equal(json_integer(json_get(first, "tokens_left"), -1), 4050 - reserved);
    sim_world_close(&w);
}

task_test_real(quotas_are_changed_while_it_runs)
{
    struct sim_world w;
    sim_world_open(&w, &instant);
    assert_span(sim_ask(&w, "GET", "/simulator/quotas", "", NULL).body, SPAN(""));
    struct sim_reply reply =
        sim_ask(&w, "PUT", "/simulator/quotas", "quotas:\n- {requests_per_minute: 1}\n", NULL);
    assert_int_equal(reply.code, 200);
    assert_span(reply.body, SPAN("{\"quotas\":1}\n"));
    assert_int_equal(sim_post(&w, SIM_INVOKE, BODY).code, 200);
    assert_int_equal(sim_post(&w, SIM_INVOKE, BODY).code, 429);
    reply = sim_ask(&w, "PUT", "/simulator/quotas", "quotas:\n- {}\n", NULL);
    assert_int_equal(reply.code, 400);
    assert_span(reply.body,
                SPAN("{\"line\":2,\"message\":\"a quota limits requests or tokens\"}\n"));
    assert_int_equal(sim_post(&w, SIM_INVOKE, BODY).code, 429);
    assert_span(sim_ask(&w, "GET", "/simulator/quotas", "", NULL).body,
                SPAN("quotas:\n- {requests_per_minute: 1}\n"));
    assert_int_equal(sim_ask(&w, "PUT", "/simulator/quotas", "", NULL).code, 200);
    assert_int_equal(sim_post(&w, SIM_INVOKE, BODY).code, 200);
    sim_world_close(&w);
}

/* --- the log is enough --------------------------------------------------------------------------
 */

#define CALLERS    8
#define CALLS_EACH 25
#define SPEED      300
#define WINDOW_US  (60000000 / SPEED)
#define TPM        30000
#define RPM        20
#define BURNDOWN   50 /* so that an end costs more than its start has reserved */

struct load {
    struct sim_world *world;
    uint32_t random;
};

static void call_often(void *arg) PARKS
{
    struct load *load = arg;
    for (size_t i = 0; i < CALLS_EACH; i++) {
        int code = sim_post(load->world, SIM_INVOKE, BODY).code;
        assert_true(code == 200 || code == 429);
        assert_status_ok(task_sleep_ms(harness_random(&load->random) % 40));
    }
}

/* What one line took or gave back, as it says itself. */
struct line {
    uint64_t at_us;
    uint64_t of_us;
    int64_t requests;
    int64_t tokens;
};

struct ledger {
    struct line *lines;
    size_t n;
    size_t refused;
    size_t negative;
};

static void judge_line(struct ledger *ledger, const struct json *line, const uint64_t *begun_us,
                       const int64_t *reserved)
{
    uint64_t id = (uint64_t)json_integer(json_get(line, "id"), 0);
    struct line *own = &ledger->lines[ledger->n];
    *own = (struct line){.at_us = (uint64_t)(json_number(json_get(line, "t_ms"), 0) * 1000 + 0.5)};
    own->of_us = own->at_us;
    int64_t tokens = TPM, requests = RPM;
    for (size_t i = 0; i < ledger->n; i++) {
        bool counts = ledger->lines[i].of_us + WINDOW_US > own->at_us;
        tokens -= counts ? ledger->lines[i].tokens : 0;
        requests -= counts ? ledger->lines[i].requests : 0;
    }
    if (span_eq(json_string(json_get(line, "event")), SPAN("start"))) {
        int64_t wanted = json_integer(json_get(line, "input_tokens"), 0) +
                         json_integer(json_get(line, "max_tokens"), 0);
        own->tokens = json_integer(json_get(line, "reserved"), -1);
        own->requests = own->tokens > 0;
        assert_int_equal(own->tokens, requests >= 1 && tokens >= wanted ? wanted : 0);
        ledger->refused += own->tokens == 0;
    } else if (reserved[id] > 0) {
        int64_t settled = json_integer(json_get(line, "settled"), -1);
        int64_t output = json_integer(json_get(line, "output_tokens"), -1);
        assert_int_equal(settled, reserved[id] - 2000 + BURNDOWN * output);
        own->tokens = settled - reserved[id];
        own->of_us = own->tokens > 0 ? own->at_us : begun_us[id];
    }
    bool still = own->of_us + WINDOW_US > own->at_us;
    tokens -= still ? own->tokens : 0;
    requests -= own->requests;
    assert_true(json_integer(json_get(line, "tokens_left"), INT64_MIN) == tokens);
    assert_true(json_integer(json_get(line, "requests_left"), INT64_MIN) == requests);
    ledger->negative += tokens < 0;
    ledger->n++;
}

task_test_real(the_log_alone_explains_every_refusal)
{
    static uint64_t begun_us[CALLERS * CALLS_EACH + 1];
    static int64_t reserved[CALLERS * CALLS_EACH + 1];
    struct sim_world w;
    struct group group;
    struct load loads[CALLERS];
    sim_world_open(&w, &(struct sim_options){.ttft_ms = 500, .token_rate = 20, .speed = SPEED});
    put_quotas(&w, arena_printf(w.arena,
                                "- {tokens_per_minute: %d, requests_per_minute: %d, "
                                "burndown: %d}\n",
                                TPM, RPM, BURNDOWN));
    group_init(&group);
    for (size_t i = 0; i < CALLERS; i++) {
        loads[i] = (struct load){&w, (uint32_t)i + 1};
        group_spawn(&group, "caller", call_often, &loads[i]);
    }
    assert_status_ok(group_wait(&group));

    struct span log = log_of(&w);
    struct ledger ledger = {.lines = ARENA_ARRAY(w.arena, struct line, 2 * CALLERS * CALLS_EACH)};
    for (struct span text; span_cut(&log, '\n', &text) && text.len > 0;) {
        CLEANUP(json_drop) struct json *line = json_parse(text, NULL);
        uint64_t id = (uint64_t)json_integer(json_get(line, "id"), 0);
        judge_line(&ledger, line, begun_us, reserved);
        if (span_eq(json_string(json_get(line, "event")), SPAN("start"))) {
            begun_us[id] = ledger.lines[ledger.n - 1].at_us;
            reserved[id] = ledger.lines[ledger.n - 1].tokens;
        }
    }
    assert_int_equal(ledger.n, 2 * CALLERS * CALLS_EACH);
    print_message("# %d calls, %zu refused, %zu lines below zero\n", CALLERS * CALLS_EACH,
                  ledger.refused, ledger.negative);
    assert_in_range(ledger.refused, 10, CALLERS * CALLS_EACH - 10);
    assert_true(ledger.negative > 0);
    sim_world_close(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(refusals_have_the_providers_words),
    cmocka_unit_test(only_calls_that_reach_the_model_count),
    cmocka_unit_test(a_stream_gives_back_while_it_runs),
    cmocka_unit_test(quotas_are_changed_while_it_runs),
    cmocka_unit_test(the_log_alone_explains_every_refusal),
};
HARNESS_MAIN(tests)
