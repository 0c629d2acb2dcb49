/* The default pool: never more than 5 at once, never more than 30 in any 60 s, and who finds it
 * full waits for tier 1. Time runs 20 times faster; judged by the simulator's arrival log. */
#include "generation.h"

#define SCALE     20
#define CALLS     35
#define WINDOW_MS (60000.0 / SCALE)
#define TIER_1    "us.anthropic.claude-sonnet-4-6"

task_test_real(a_full_pool_waits_and_never_spills)
{
    struct suite *suite = suite_start(&(struct suite_options){.time_scale = SCALE});
    struct generation *all = ARENA_ARRAY(suite->arena, struct generation, CALLS);
    struct group group;
    group_init(&group);
    for (size_t i = 0; i < CALLS; i++) {
        all[i] = (struct generation){.suite = suite, .deadline_ms = 120000};
        generation_spawn(&all[i], &group);
    }
    assert_status_ok(group_wait(&group));

    size_t waited = 0;
    for (size_t i = 0; i < CALLS; i++) {
        assert_generated(&all[i], 1, 1);
        assert_int_equal(all[i].metadata->n_skipped, 0);
        waited += all[i].queued > 0;
        generation_clear(&all[i]);
    }
    assert_true(waited >= CALLS - 5);

    suite_await_idle(suite);
    struct judge_log log = suite_arrivals(suite);
    assert_int_equal(log.n, CALLS);
    assert_int_equal(judge_of_model(log, TIER_1, suite->arena).n, CALLS);
    assert_int_equal(judge_most_at_once(log), 5);
    assert_true(judge_most_in_window(log, WINDOW_MS) <= 30);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_attempts_total",
                             "model=\"sonnet-4.6\",reason=\"OK\"") == CALLS);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_admissions_total",
                             "decision=\"granted\"") == CALLS);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_full_pool_waits_and_never_spills),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
