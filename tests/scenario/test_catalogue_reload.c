/* SIGHUP while calls run: each call keeps the catalogue it began with, the next has the new one,
 * and nobody notices anything else. What a call costs is what the file says of its day. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "generation.h"

#define SCALE          20
#define CATALOGUE_MOST (1u << 20)
#define CALLERS        3

/* The built-in catalogue with `find` replaced; NULL: as it is. */
static void write_catalogue(const char *path, const char *find, const char *replace)
{
    CLEANUP(buf_clear) struct buf text;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&text, CATALOGUE_MOST);
    buf_init(&out, CATALOGUE_MOST);
    assert_null(file_read("libs/catalogue/default.yaml", &text));
    struct span rest = buf_span(&text);
    if (find != NULL) {
        size_t at = span_find(rest, span_str(find));
        assert_true(at != SPAN_MISSING);
        buf_add_span(&out, span_first(rest, at));
        buf_add_str(&out, replace);
        rest = span_from(rest, at + strlen(find));
    }
    buf_add_span(&out, rest);
    assert_null(file_write(path, buf_span(&out)));
}

static struct suite *start(const char *path, struct arena *arena) PARKS
{
    const char *flags = arena_printf(arena, "--catalogue=%s", path);
    return suite_start(&(struct suite_options){
        .time_scale = SCALE,
        .flags[SUITE_SIMULATOR] = "--instant",
        .flags[SUITE_LIMITER] = arena_printf(
            arena, "%s --suite-requests=0 --suite-tokens=0 --suite-concurrency=0", flags),
        .flags[SUITE_ROUTER] = flags,
    });
}

/* The limiter first: it knows what routers may ask for. */
static void reload(struct suite *suite, const char *result, double times) PARKS
{
    static const struct {
        enum suite_program program;
        const char *metric;
    } readers[] = {
        {SUITE_LIMITER, "prism_limiter_catalogue_reloads_total"},
        {SUITE_ROUTER, "prism_router_catalogue_reloads_total"},
    };
    for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
        process_signal(&suite->processes[readers[i].program], SIGHUP);
        suite_await_metric(suite, readers[i].program, readers[i].metric, result, times);
    }
}

/* --- callers that never rest --------------------------------------------------------------------
 */

struct load {
    struct suite *suite;
    bool over;
    size_t answered[3]; /* by tier; 0: failed */
};

static void call_on(void *arg) PARKS
{
    struct load *load = arg;
    while (!load->over) {
        struct generation g = {.suite = load->suite, .once = true};
        generation_run(&g);
        bool good = status_ok(g.status) && g.metadata != NULL && g.metadata->tier <= 2;
        load->answered[good ? g.metadata->tier : 0]++;
        generation_clear(&g);
    }
}

static void await_calls(const struct load *load, size_t tier, size_t n) PARKS
{
    uint64_t until = loop_now_ms(task_loop()) + SUITE_WAIT_MS;
    for (size_t goal = load->answered[tier] + n; load->answered[tier] < goal;) {
        assert_true(loop_now_ms(task_loop()) < until);
        assert_status_ok(task_sleep_ms(5));
    }
}

static void await_running(struct suite *suite) PARKS
{
    uint64_t until = loop_now_ms(task_loop()) + SUITE_WAIT_MS;
    while (judge_running(suite_arrivals(suite)) == 0) {
        assert_true(loop_now_ms(task_loop()) < until);
        assert_status_ok(task_sleep_ms(5));
    }
}

/* --- stories ------------------------------------------------------------------------------------
 */

/* Sonnet 4.6 and Sonnet 5 change places. */
static void exchange_tiers(const char *path)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, CATALOGUE_MOST);
    write_catalogue(path, "    tier: 1\n", "    tier: 6\n");
    assert_null(file_read(path, &text));
    char *two = strstr(buf_cstr(&text), "    tier: 2\n"),
         *six = strstr(buf_cstr(&text), "tier: 6\n");
    assert_true(two != NULL && six != NULL);
    two[strlen("    tier: ")] = '1';
    six[strlen("tier: ")] = '2';
    assert_null(file_write(path, buf_span(&text)));
}

task_test_real(a_parked_call_keeps_its_catalogue_while_others_get_the_new_one)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    const char *path = arena_printf(arena, "/tmp/test_catalogue_reload_%d.yaml", (int)getpid());
    write_catalogue(path, NULL, NULL);
    struct suite *suite = start(path, arena);
    struct load load = {.suite = suite};
    struct generation parked = {.suite = suite};
    struct group callers, one;

    suite_set_faults(suite, "rules:\n"
                            "  - {nth: 1, action: stall, at: events, after: 6, for: 3s}\n");
    group_init(&one);
    generation_spawn(&parked, &one);
    await_running(suite);
    group_init(&callers);
    for (size_t i = 0; i < CALLERS; i++) {
        group_spawn(&callers, "caller", call_on, &load);
    }
    await_calls(&load, 1, 10);
    exchange_tiers(path);
    reload(suite, "taken", 1);
    assert_true(judge_running(suite_arrivals(suite)) > 0); /* it is still at it */
    size_t before = load.answered[2];
    await_calls(&load, 1, 10);
    assert_true(load.answered[2] == before); /* tier 2 is for trouble, and there is none */

    struct generation next = {.suite = suite};
    generation_run(&next);
    assert_generated(&next, 1, 1);
    assert_string_equal(next.metadata->model, "models/sonnet-5");
    assert_status_ok(group_wait(&one));
    assert_generated(&parked, 1, 1);
    assert_string_equal(parked.metadata->model, "models/sonnet-4.6");
    assert_int_equal(parked.restarted, 0);

    /* A file with a mistake: the old one stays, and the log says where it is. */
    write_catalogue(path, "    burn: 5\n", "    burn: five\n");
    reload(suite, "refused", 1);
    await_calls(&load, 1, 10);
    load.over = true;
    assert_status_ok(group_wait(&callers));
    assert_int_equal(load.answered[0], 0);
    for (enum suite_program p = SUITE_LIMITER; p <= SUITE_ROUTER; p++) {
        struct span log = suite_log(suite, p);
        assert_true(span_find(log, span_str(arena_printf(arena, "%s:", path))) != SPAN_MISSING);
        assert_true(span_find(log, SPAN("burn must be a count")) != SPAN_MISSING);
    }
    suite_await_idle(suite);
    generation_clear(&next);
    generation_clear(&parked);
    suite_stop(suite);
    unlink(path);
}

/* A running call's model is taken out: it is answered to its end, renewals included. */
task_test_real(a_call_outlives_its_model)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    const char *path = arena_printf(arena, "/tmp/test_catalogue_reload_%d.yaml", (int)getpid());
    write_catalogue(path, NULL, NULL);
    const char *flags = arena_printf(arena, "--catalogue=%s", path);
    struct suite *suite = suite_start(&(struct suite_options){
        .flags[SUITE_SIMULATOR] = "--instant",
        .flags[SUITE_LIMITER] = arena_printf(arena, "%s --lease-ttl=3s", flags),
        .flags[SUITE_ROUTER] = arena_printf(arena, "%s --renew=500ms --fence-guard=1s", flags),
    });
    struct generation parked = {.suite = suite}, next = {.suite = suite};
    struct group one;
    suite_set_faults(suite, "rules:\n"
                            "  - {nth: 1, action: stall, at: events, after: 6, for: 5s}\n");
    group_init(&one);
    generation_spawn(&parked, &one);
    await_running(suite);
    write_catalogue(path, "name: sonnet-4.6\n", "name: sonnet-4.6-new\n");
    reload(suite, "taken", 1);
    generation_run(&next);
    assert_generated(&next, 1, 1);
    assert_string_equal(next.metadata->model, "models/sonnet-4.6-new");
    assert_status_ok(group_wait(&one));
    assert_generated(&parked, 1, 1);
    assert_string_equal(parked.metadata->model, "models/sonnet-4.6");
    suite_await_idle(suite);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_leases_lost_total", "") == 0);
    generation_clear(&next);
    generation_clear(&parked);
    suite_stop(suite);
    unlink(path);
}

/* Sonnet 4.6 at one price for all classes, in USD, that changes on two days. */
static void write_prices(const char *path, const char *first, const char *second,
                         struct arena *arena)
{
#define ALL(usd) "input: " usd ", output: " usd ", cache_write: " usd ", cache_read: " usd
    write_catalogue(
        path, "    price: {input: 3.30, output: 16.50, cache_write: 4.125, cache_read: 0.33}\n",
        arena_printf(arena,
                     "    price:\n"
                     "      - {" ALL("2") "}\n"
                                          "      - {from: %s, " ALL("3") "}\n"
                                                                         "      - {from: %s, " ALL(
                                                                             "5") "}\n",
                     first, second));
}

/* What a token of one call costs in micro-USD, which is also what the model is said to cost. */
static uint64_t price_of_a_token(struct suite *suite) PARKS
{
    struct generation g = {.suite = suite};
    generation_run(&g);
    assert_generated(&g, 1, 1);
    const Router__TokenUsage *u = g.metadata->usage;
    uint64_t tokens =
        u->input_tokens + u->output_tokens + u->cache_read_tokens + u->cache_write_tokens;
    assert_true(tokens > 0);
    assert_int_equal(g.metadata->cost_micro_usd % tokens, 0);
    uint64_t price = (uint64_t)g.metadata->cost_micro_usd / tokens;
    generation_clear(&g);

    Router__GetModelRequest get = ROUTER__GET_MODEL_REQUEST__INIT;
    void *reply;
    get.name = "models/sonnet-4.6";
    assert_status_ok(rpc_call(suite->router, &router__router_service__descriptor, "GetModel", &get,
                              suite->arena, &reply));
    const Router__ModelPrices *said = ((Router__GetModelResponse *)reply)->model->prices;
    assert_int_equal(said->input_micro_usd_per_million, price * 1000000);
    assert_int_equal(said->cache_read_micro_usd_per_million, price * 1000000);
    return price;
}

task_test_real(a_call_costs_what_is_in_force_on_its_day)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    const char *path = arena_printf(arena, "/tmp/test_catalogue_reload_%d.yaml", (int)getpid());
    write_prices(path, "2020-01-01", "2999-01-01", arena);
    struct suite *suite = start(path, arena);
    assert_int_equal(price_of_a_token(suite), 3);
    write_prices(path, "2020-01-01", "2020-01-02", arena);
    reload(suite, "taken", 1);
    assert_int_equal(price_of_a_token(suite), 5);
    write_prices(path, "2998-12-31", "2999-01-01", arena);
    reload(suite, "taken", 2);
    assert_int_equal(price_of_a_token(suite), 2);
    suite_await_idle(suite);
    suite_stop(suite);
    unlink(path);
}

static const struct CMUnitTest tests[] = {
    SUITE_TEST(a_parked_call_keeps_its_catalogue_while_others_get_the_new_one),
    SUITE_TEST(a_call_outlives_its_model),
    SUITE_TEST(a_call_costs_what_is_in_force_on_its_day),
};

HARNESS_MAIN(tests)
