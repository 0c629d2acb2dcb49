/* What the router knows of its models: told to who asks and who watches, and found out by checks
 * when nobody calls. */
#include <signal.h>

#include "base/clock.h"
#include "generation.h"
#include "prism/limiter/v1/limiter.pb-c.h"

#define ROUTER (&router__router_service__descriptor)
#define TIER_1 "us.anthropic.claude-sonnet-4-6"
#define EAST   "us-east-2"
#define MODELS 5
#define SCALE  20

struct watching {
    struct suite *suite;
    struct rpc_stream *stream;
    struct arena *arena;
};

static void watch_start(struct watching *w, struct suite *suite, char **names, size_t n) PARKS
{
    Router__WatchModelsRequest request = ROUTER__WATCH_MODELS_REQUEST__INIT;
    request.names = names;
    request.n_names = n;
    *w = (struct watching){.suite = suite, .arena = arena_new(64u << 20)};
    assert_status_ok(rpc_open(suite->router, ROUTER, "WatchModels", &request, &w->stream));
}

static void watch_stop(struct watching *w) PARKS
{
    rpc_stream_close(&w->stream);
    arena_free(w->arena);
}

/* The next model; keep-alives are passed over. */
static const Router__Model *next_model(struct watching *w) PARKS
{
    for (;;) {
        void *message;
        assert_status_ok(rpc_stream_recv(w->stream, w->arena, &message));
        assert_non_null(message);
        const Router__WatchModelsResponse *response = message;
        if (response->event_case == ROUTER__WATCH_MODELS_RESPONSE__EVENT_MODEL) {
            return response->model;
        }
    }
}

/* Sonnet 4.6 as it is told when its first region has come to this. */
static const Router__ModelRegion *await_east(struct watching *w, Router__Model__State state,
                                             bool down) PARKS
{
    for (;;) {
        const Router__Model *model = next_model(w);
        if (strcmp(model->name, "models/sonnet-4.6") == 0 && model->calls[0]->state == state &&
            model->calls[0]->down == down) {
            return model->calls[0];
        }
    }
}

static void generate(struct suite *suite, size_t attempts) PARKS
{
    struct generation g = {.suite = suite};
    generation_run(&g);
    assert_generated(&g, 1, attempts);
    generation_clear(&g);
}

task_test_real(who_watches_is_told_the_present_and_then_what_changes)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    struct watching all, one;
    char *name = "models/sonnet-5";
    watch_start(&all, suite, NULL, 0);
    watch_start(&one, suite, &name, 1);
    for (uint32_t tier = 1; tier <= MODELS; tier++) {
        const Router__Model *model = next_model(&all);
        assert_int_equal(model->tier, tier);
        assert_int_equal(model->state, ROUTER__MODEL__STATE__STATE_OPEN);
        assert_int_equal(model->n_calls, 2);
        assert_string_equal(model->calls[0]->region, EAST);
        assert_int_equal(model->calls[0]->n_history, 0);
    }
    assert_string_equal(next_model(&one)->name, name);

    suite_set_faults(suite, "rules:\n  - {model: " TIER_1 ", region: " EAST
                            ", action: status, code: 429}\n");
    generate(suite, 2);
    const Router__ModelRegion *east = await_east(&all, ROUTER__MODEL__STATE__STATE_COOLDOWN, false);
    assert_non_null(east->state_until);
    assert_string_equal(east->history[0]->reason, "TIER_THROTTLED");
    assert_int_equal(east->history[0]->http_status, 429);
    assert_false(east->history[0]->check);

    suite_set_faults(suite, "rules:\n  - {model: " TIER_1 ", region: " EAST
                            ", action: status, code: 500}\n");
    await_east(&all, ROUTER__MODEL__STATE__STATE_OPEN, false);
    generate(suite, 2);
    await_east(&all, ROUTER__MODEL__STATE__STATE_OPEN, true);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_model_up",
                             "model=\"sonnet-4.6\",region=\"" EAST "\"") == 0);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_model_up",
                             "model=\"sonnet-4.6\",region=\"us-west-2\"") == 1);
    suite_set_faults(suite, "");
    generate(suite, 1);
    await_east(&all, ROUTER__MODEL__STATE__STATE_OPEN, false);

    Router__GetModelRequest get = ROUTER__GET_MODEL_REQUEST__INIT;
    void *reply;
    get.name = "models/sonnet-4.6";
    assert_status_ok(rpc_call(suite->router, ROUTER, "GetModel", &get, suite->arena, &reply));
    east = ((Router__GetModelResponse *)reply)->model->calls[0];
    assert_string_equal(east->resource, "sonnet-4.6@" EAST);
    assert_int_equal(east->n_history, 3);
    assert_string_equal(east->history[0]->reason, "");
    assert_string_equal(east->history[1]->reason, "TIER_FAILED");

    /* A drain does not wait for watchers: they are to come back. */
    process_signal(&suite->processes[SUITE_ROUTER], SIGTERM);
    void *message;
    struct status s;
    do {
        s = rpc_stream_recv(one.stream, one.arena, &message);
    } while (status_ok(s));
    assert_status(s, REASON_SHUTTING_DOWN);
    assert_true(s.retry_after_ms > 0);
    watch_stop(&one);
    watch_stop(&all);
    assert_true(process_wait(&suite->processes[SUITE_ROUTER], SUITE_WAIT_MS));
    assert_int_equal(suite->processes[SUITE_ROUTER].code, 0);
    suite_start_again(suite, SUITE_ROUTER);
    suite_stop(suite);
}

task_test_real(what_cannot_be_watched_is_said)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    char *names[65];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        names[i] = "models/gpt-1";
    }
    static const struct {
        size_t n;
        enum reason reason;
    } cases[] = {{1, REASON_MODEL_UNKNOWN}, {65, REASON_BAD_REQUEST}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct watching w;
        void *message;
        watch_start(&w, suite, names, cases[i].n);
        assert_status(rpc_stream_recv(w.stream, w.arena, &message), cases[i].reason);
        watch_stop(&w);
    }
    suite_stop(suite);
}

/* --- what is closed is not asked about -----------------------------------------------------------
 */

static void await_state(struct suite *suite, char *name, Router__Model__State state) PARKS
{
    Router__GetModelRequest get = ROUTER__GET_MODEL_REQUEST__INIT;
    get.name = name;
    for (uint64_t until = loop_now_ms(task_loop()) + SUITE_WAIT_MS;;) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
        void *reply;
        assert_status_ok(rpc_call(suite->router, ROUTER, "GetModel", &get, arena, &reply));
        if (((Router__GetModelResponse *)reply)->model->state == state) {
            return;
        }
        assert_true(loop_now_ms(task_loop()) < until);
        assert_status_ok(task_sleep_ms(5));
    }
}

static double judged(struct suite *suite, const char *labels) PARKS
{
    return suite_metric(suite, SUITE_LIMITER, "prism_limiter_judgements_total", labels);
}

static void order(struct suite *suite, const char *method, const void *request) PARKS
{
    void *reply;
    assert_status_ok(rpc_call(suite->limiter, &limiter__limiter_service__descriptor, method,
                              request, suite->arena, &reply));
}

task_test_real(a_call_passes_over_what_is_closed_without_asking)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    static const char *const east = "resource=\"sonnet-4.6@" EAST "\",reason=\"CLOSED\"";
    char resource[] = "sonnet-4.6@" EAST, note[] = "to be looked at";
    Limiter__ForceOpenRequest close = LIMITER__FORCE_OPEN_REQUEST__INIT;
    close.resource = resource;
    close.note = note;
    struct watching w;
    char *name = "models/sonnet-4.6";
    watch_start(&w, suite, &name, 1);
    order(suite, "ForceOpen", &close);
    await_east(&w, ROUTER__MODEL__STATE__STATE_CLOSED, false);

    struct generation g = {.suite = suite};
    generation_run(&g);
    assert_generated(&g, 1, 1);
    assert_int_equal(g.metadata->n_skipped, 1);
    assert_string_equal(g.metadata->skipped[0]->region, EAST);
    assert_string_equal(g.metadata->skipped[0]->reasons[0], "CLOSED");
    generation_clear(&g);
    assert_true(judged(suite, east) == 0);

    Limiter__ReopenRequest reopen = LIMITER__REOPEN_REQUEST__INIT;
    reopen.resource = resource;
    order(suite, "Reopen", &reopen);
    await_east(&w, ROUTER__MODEL__STATE__STATE_OPEN, false);
    watch_stop(&w);
    struct generation again = {.suite = suite};
    generation_run(&again);
    assert_generated(&again, 1, 1);
    assert_int_equal(again.metadata->n_skipped, 0);
    generation_clear(&again);
    suite_await_idle(suite);
    suite_stop(suite);
}

/* Nothing could be admitted, and nothing that waiting would change. */
task_test_real(where_all_is_closed_the_limiter_is_not_asked)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    static const char *const regions[] = {EAST, "us-west-2"};
    char note[] = "to be looked at";
    for (size_t i = 0; i < ARRAY_LEN(regions); i++) {
        char resource[64];
        snprintf(resource, sizeof(resource), "sonnet-4.6@%s", regions[i]);
        Limiter__ForceOpenRequest close = LIMITER__FORCE_OPEN_REQUEST__INIT;
        close.resource = resource;
        close.note = note;
        order(suite, "ForceOpen", &close);
    }
    await_state(suite, "models/sonnet-4.6", ROUTER__MODEL__STATE__STATE_CLOSED);
    struct generation g = {.suite = suite, .model = "models/sonnet-4.6"};
    generation_run(&g);
    assert_status(g.status, REASON_NO_TIER_AVAILABLE);
    assert_int_equal(g.status.retry_after_ms, 0);
    generation_clear(&g);
    assert_true(suite_metric(suite, SUITE_LIMITER, "prism_limiter_acquires_total", "") == 0);
    suite_await_idle(suite);
    suite_stop(suite);
}

/* --- checks --------------------------------------------------------------------------------------
 */

#define EVERY_MS 2000

static size_t in_slot(const struct judge_log *log, size_t i)
{
    size_t n = 0;
    for (size_t k = 0; k < log->n; k++) {
        double apart = log->calls[k].begin_ms - log->calls[i].begin_ms;
        n += apart >= 0 && apart < EVERY_MS / 2 &&
             span_eq(log->calls[k].model, log->calls[i].model) &&
             span_eq(log->calls[k].region, log->calls[i].region);
    }
    return n;
}

/* Two routers and nobody who calls: each model is asked for a token in each region, by one of
 * them. */
task_test_real(idle_models_are_checked_once_for_the_fleet)
{
    struct suite *suite = suite_start(&(struct suite_options){
        .flags[SUITE_SIMULATOR] = "--instant",
        .flags[SUITE_LIMITER] = "--suite-requests=0",
        .flags[SUITE_ROUTER] = "--health-every=2s",
    });
    char limiter[64], bedrock[64];
    snprintf(limiter, sizeof(limiter), "--limiter=127.0.0.1:%u",
             (unsigned)suite->ports[SUITE_LIMITER]);
    snprintf(bedrock, sizeof(bedrock), "--bedrock-endpoint=http://127.0.0.1:%u",
             (unsigned)suite->ports[SUITE_SIMULATOR]);
    const char *arguments[] = {"--listen=127.0.0.1:0",
                               "--admin=127.0.0.1:0",
                               limiter,
                               bedrock,
                               "--ledger=",
                               "--health-every=2s",
                               NULL};
    const char *environment[] = {"AWS_ACCESS_KEY_ID=AKIDSIMULATOR",
                                 "AWS_SECRET_ACCESS_KEY=simulator-secret", NULL};
    struct process second = {0};
    process_start(&second, "prism-router", arguments, environment, suite_path(suite, "second.log"));
    uint64_t until = loop_now_ms(task_loop()) + SUITE_WAIT_MS;
    while (suite_arrivals(suite).n < 2 * 2 * MODELS) {
        assert_true(loop_now_ms(task_loop()) < until);
        assert_status_ok(task_sleep_ms(50));
    }
    struct judge_log log = suite_arrivals(suite);
    for (size_t i = 0; i < log.n; i++) {
        assert_int_equal(in_slot(&log, i), 1);
        assert_true(!log.calls[i].ended || log.calls[i].output_tokens <= 1);
    }
    process_signal(&second, SIGTERM);
    assert_true(process_wait(&second, SUITE_WAIT_MS));
    assert_int_equal(second.code, 0);

    Router__GetModelRequest get = ROUTER__GET_MODEL_REQUEST__INIT;
    void *reply;
    get.name = "models/haiku-4.5";
    assert_status_ok(rpc_call(suite->router, ROUTER, "GetModel", &get, suite->arena, &reply));
    const Router__Model *model = ((Router__GetModelResponse *)reply)->model;
    for (size_t i = 0; i < model->calls[0]->n_history; i++) {
        assert_true(model->calls[0]->history[i]->check);
    }
    suite_await_idle(suite);
    suite_stop(suite);
}

static const struct CMUnitTest tests[] = {
    SUITE_TEST(who_watches_is_told_the_present_and_then_what_changes),
    SUITE_TEST(what_cannot_be_watched_is_said),
    SUITE_TEST(a_call_passes_over_what_is_closed_without_asking),
    SUITE_TEST(where_all_is_closed_the_limiter_is_not_asked),
    SUITE_TEST(idle_models_are_checked_once_for_the_fleet),
};

HARNESS_MAIN(tests)
