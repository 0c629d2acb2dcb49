/* A process that ends, politely or not, while calls run: what goes on, what stops, what comes back.
 */
#include <signal.h>

#include "generation.h"

#define TIER_1 "us.anthropic.claude-sonnet-4-6"

/* Leases of a second, renewed and fenced accordingly; real time otherwise. */
#define SHORT_LEASE_LIMITER "--lease-ttl=1s"
#define SHORT_LEASE_ROUTER  "--renew=250ms --fence-guard=100ms"

static struct suite *start_with_short_leases(void) PARKS
{
    return suite_start(&(struct suite_options){
        .flags[SUITE_SIMULATOR] = "--instant",
        .flags[SUITE_LIMITER] = SHORT_LEASE_LIMITER,
        .flags[SUITE_ROUTER] = SHORT_LEASE_ROUTER,
    });
}

/* Begins a call that pauses in mid-stream, and waits until the model has been called. */
static void begin(struct suite *suite, struct generation *g, struct group *group,
                  const char *pause) PARKS
{
    suite_set_faults(
        suite, arena_printf(suite->arena,
                            "rules:\n  - {action: stall, at: events, after: 8, for: %s}\n", pause));
    *g = (struct generation){.suite = suite};
    group_init(group);
    generation_spawn(g, group);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 1);
}

static void good_call(struct suite *suite) PARKS
{
    struct generation g = {.suite = suite};
    suite_set_faults(suite, "");
    generation_run(&g);
    assert_generated(&g, 1, 1);
    generation_clear(&g);
}

task_test_real(a_lease_is_renewed_while_its_call_runs)
{
    struct suite *suite = start_with_short_leases();
    struct generation g;
    struct group group;
    begin(suite, &g, &group, "3s");
    assert_status_ok(group_wait(&group));
    assert_generated(&g, 1, 1);
    generation_clear(&g);
    suite_await_idle(suite);
    assert_true(suite_metric(suite, SUITE_LIMITER, "prism_limiter_leases_renewed_total", "") >= 2);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_leases_lost_total", "") == 0);
    suite_stop(suite);
}

task_test_real(a_call_whose_lease_cannot_be_renewed_is_stopped)
{
    struct suite *suite = start_with_short_leases();
    struct generation g;
    struct group group;
    begin(suite, &g, &group, "10m");
    suite_kill(suite, SUITE_LIMITER);
    assert_status_ok(group_wait(&group));
    assert_status(g.status, REASON_LEASE_LOST);
    generation_clear(&g);
    assert_span(suite_arrivals(suite).calls[0].outcome, SPAN("client_gone"));
    suite_start_again(suite, SUITE_LIMITER);
    suite_await_idle(suite);
    good_call(suite);
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(the_slots_of_a_dead_router_come_back)
{
    struct suite *suite = start_with_short_leases();
    struct generation g;
    struct group group;
    begin(suite, &g, &group, "10m");
    assert_int_equal(suite_peek(suite, "suite")->live_leases, 1);
    suite_kill(suite, SUITE_ROUTER);
    assert_status_ok(group_wait(&group));
    assert_int_equal(g.status.code, STATUS_UNAVAILABLE);
    generation_clear(&g);
    suite_await_metric(suite, SUITE_LIMITER, "prism_limiter_leases", "", 0);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 0);
    assert_span(suite_arrivals(suite).calls[0].outcome, SPAN("client_gone"));
    suite_start_again(suite, SUITE_ROUTER);
    good_call(suite);
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(without_the_limiter_nothing_begins_and_what_runs_goes_on)
{
    struct suite *suite =
        suite_start(&(struct suite_options){.flags[SUITE_SIMULATOR] = "--instant"});
    struct generation running, refused;
    struct group group;
    begin(suite, &running, &group, "4s");
    suite_kill(suite, SUITE_LIMITER);
    refused = (struct generation){.suite = suite};
    generation_run(&refused);
    assert_status(refused.status, REASON_LIMITER_UNREACHABLE);
    assert_int_equal(refused.status.code, STATUS_UNAVAILABLE);
    assert_true(refused.status.retry_after_ms > 0);
    assert_int_equal(suite_arrivals(suite).n, 1);
    assert_int_equal(
        suite_http(suite, "GET", suite->admin_ports[SUITE_ROUTER], "/readyz", SPAN_NONE, NULL),
        503);
    generation_clear(&refused);
    suite_start_again(suite, SUITE_LIMITER);
    assert_status_ok(group_wait(&group));
    assert_generated(&running, 1, 1);
    generation_clear(&running);
    good_call(suite);
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(a_router_that_is_told_to_end_ends_its_calls_first)
{
    struct suite *suite =
        suite_start(&(struct suite_options){.flags[SUITE_SIMULATOR] = "--instant"});
    struct generation g;
    struct group group;
    begin(suite, &g, &group, "2s");
    process_signal(&suite->processes[SUITE_ROUTER], SIGTERM);
    assert_status_ok(group_wait(&group));
    assert_generated(&g, 1, 1);
    generation_clear(&g);
    assert_true(process_wait(&suite->processes[SUITE_ROUTER], SUITE_WAIT_MS));
    assert_int_equal(suite->processes[SUITE_ROUTER].code, 0);
    assert_int_equal(suite_peek(suite, "suite")->live_leases, 0); /* settled before it ended */
    suite_start_again(suite, SUITE_ROUTER);
    good_call(suite);
    suite_await_idle(suite);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_lease_is_renewed_while_its_call_runs),
        SUITE_TEST(a_call_whose_lease_cannot_be_renewed_is_stopped),
        SUITE_TEST(the_slots_of_a_dead_router_come_back),
        SUITE_TEST(without_the_limiter_nothing_begins_and_what_runs_goes_on),
        SUITE_TEST(a_router_that_is_told_to_end_ends_its_calls_first),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
