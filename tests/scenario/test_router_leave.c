/* A caller that leaves, at every place where it can: the model call ends, what was reserved is
 * settled, and nothing is left. */
#include "generation.h"

#define SCALE 20
#define CROWD 20

/* What the router and the limiter have when nobody calls. */
struct rest {
    double router_tasks;
    double limiter_tasks;
    double router_descriptors;
    double limiter_descriptors;
};

/* Tasks are counted before the first call, descriptors behind it: connections stay. */
static struct rest warm_up(struct suite *suite) PARKS
{
    struct rest rest = {
        .router_tasks = suite_metric(suite, SUITE_ROUTER, "prism_loop_tasks", ""),
        .limiter_tasks = suite_metric(suite, SUITE_LIMITER, "prism_loop_tasks", ""),
    };
    (void)suite_peek(suite, "suite");
    struct generation g = {.suite = suite};
    generation_run(&g);
    assert_generated(&g, 1, 1);
    generation_clear(&g);
    suite_await_idle(suite);
    rest.router_descriptors = suite_metric(suite, SUITE_ROUTER, "process_open_fds", "");
    rest.limiter_descriptors = suite_metric(suite, SUITE_LIMITER, "process_open_fds", "");
    assert_true(rest.router_tasks > 0 && rest.router_descriptors > 0);
    return rest;
}

/* Everything that calls had, they have given back. A connection that was cut is closed, so there
 * may be fewer than before. */
static void assert_at_rest(struct suite *suite, const struct rest *rest) PARKS
{
    suite_await_idle(suite);
    suite_await_metric(suite, SUITE_ROUTER, "prism_loop_tasks", "", rest->router_tasks);
    suite_await_metric(suite, SUITE_LIMITER, "prism_loop_tasks", "", rest->limiter_tasks);
    suite_await_metric(suite, SUITE_LIMITER, "process_open_fds", "", rest->limiter_descriptors);
    assert_true(suite_metric(suite, SUITE_ROUTER, "process_open_fds", "") <=
                rest->router_descriptors);
    const Limiter__Resource *pool = suite_peek(suite, "suite");
    assert_int_equal(pool->live_leases, 0);
    assert_int_equal(pool->remaining->leases, 5);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_settlements_lost_total", "") == 0);
}

static struct judge_call last_call(struct suite *suite) PARKS
{
    struct judge_log log = suite_arrivals(suite);
    assert_true(log.n > 0);
    return log.calls[log.n - 1];
}

task_test_real(leaving_in_mid_stream_ends_the_model_call)
{
    struct suite *suite = suite_start(&(struct suite_options){.time_scale = SCALE});
    struct rest rest = warm_up(suite);
    /* Very slow from here on: it cannot end by itself while the test looks. */
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 8, for: 10m}\n");
    struct generation g = {.suite = suite, .leave_after = 3};
    generation_run(&g);
    assert_true(g.left);
    generation_clear(&g);

    assert_at_rest(suite, &rest);
    struct judge_call call = last_call(suite);
    assert_span(call.outcome, SPAN("client_gone"));
    assert_int_equal(call.status, 200);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_settlements_total",
                             "outcome=\"CANCELLED\"") == 1);
    suite_stop(suite);
}

task_test_real(leaving_before_the_first_byte_ends_the_model_call)
{
    struct suite *suite = suite_start(&(struct suite_options){.time_scale = SCALE});
    struct rest rest = warm_up(suite);
    suite_set_faults(suite, "rules:\n  - {action: stall, at: headers, for: 10m}\n");
    struct generation g = {.suite = suite, .deadline_ms = 500};
    generation_run(&g);
    assert_status(g.status, REASON_DEADLINE_PASSED);
    assert_int_equal(g.admitted, 1);
    generation_clear(&g);

    assert_at_rest(suite, &rest);
    assert_span(last_call(suite).outcome, SPAN("client_gone"));
    suite_stop(suite);
}

/* Five calls hold the pool, a sixth waits and leaves: it must not have taken anything. */
task_test_real(leaving_the_queue_takes_nothing)
{
    struct suite *suite = suite_start(&(struct suite_options){.time_scale = SCALE});
    struct generation holders[5], waiter = {.suite = suite, .leave_queued = true};
    struct group group;
    struct rest rest = warm_up(suite);
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 8, for: 2s}\n");
    group_init(&group);
    for (size_t i = 0; i < ARRAY_LEN(holders); i++) {
        holders[i] = (struct generation){.suite = suite};
        generation_spawn(&holders[i], &group);
    }
    suite_await_metric(suite, SUITE_ROUTER, "prism_router_leases", "", ARRAY_LEN(holders));
    generation_run(&waiter);
    assert_true(waiter.left);
    generation_clear(&waiter);
    assert_status_ok(group_wait(&group));
    for (size_t i = 0; i < ARRAY_LEN(holders); i++) {
        assert_generated(&holders[i], 1, 1);
        generation_clear(&holders[i]);
    }
    assert_int_equal(suite_arrivals(suite).n, 1 + ARRAY_LEN(holders));
    suite_await_idle(suite);
    suite_await_metric(suite, SUITE_ROUTER, "prism_loop_tasks", "", rest.router_tasks);
    suite_stop(suite);
}

/* All leave at once. */
task_test_real(a_crowd_that_leaves_leaves_nothing)
{
    struct suite *suite = suite_start(&(struct suite_options){.time_scale = SCALE});
    struct generation *crowd = ARENA_ARRAY(suite->arena, struct generation, CROWD);
    struct group group;
    struct rest rest = warm_up(suite);
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 8, for: 10m}\n");
    group_init(&group);
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = (struct generation){.suite = suite, .leave_after = 3, .deadline_ms = 3000};
        generation_spawn(&crowd[i], &group);
    }
    assert_status_ok(group_wait(&group));
    for (size_t i = 0; i < CROWD; i++) {
        assert_true(crowd[i].left || crowd[i].status.reason == REASON_DEADLINE_PASSED ||
                    crowd[i].status.reason == REASON_SUITE_LIMIT);
        generation_clear(&crowd[i]);
    }
    assert_at_rest(suite, &rest);
    struct judge_log log = judge_after(suite_arrivals(suite), 1);
    assert_true(log.n >= 5);
    assert_true(judge_most_at_once(log) <= 5);
    for (size_t i = 0; i < log.n; i++) {
        assert_span(log.calls[i].outcome, SPAN("client_gone"));
    }
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(leaving_in_mid_stream_ends_the_model_call),
        SUITE_TEST(leaving_before_the_first_byte_ends_the_model_call),
        SUITE_TEST(leaving_the_queue_takes_nothing),
        SUITE_TEST(a_crowd_that_leaves_leaves_nothing),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
