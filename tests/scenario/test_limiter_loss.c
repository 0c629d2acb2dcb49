/*
 * The limiter is killed and followed by another, or stays away, or forgets; the router is killed,
 * or frozen. What runs goes on or is stopped, and never more runs or begins than may: by the
 * simulator's arrival log.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "generation.h"
#include "limiter/state_file.h"

#define SCALE     20
#define WINDOW_MS (60000.0 / SCALE)
#define POOL      5 /* of the suite at once */
#define CALLS     40
#define TIER_1    "us.anthropic.claude-sonnet-4-6"

/* Where the limiter keeps its state; not in the suite's folder, whose name nobody knows yet. */
static char folder[64], state_path[96];

static const char *limiter_flags(struct arena *arena, const char *more)
{
    return arena_printf(arena, "--state-dir=%s %s", folder, more);
}

/* router: its further flags. */
static struct suite *start(unsigned scale, const char *limiter, const char *router,
                           struct arena *arena) PARKS
{
    snprintf(folder, sizeof(folder), "/tmp/test_limiter_loss.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(state_path, sizeof(state_path), "%s/" STATE_FILE_NAME, folder);
    struct suite *suite = suite_start(&(struct suite_options){
        .time_scale = scale,
        .flags[SUITE_SIMULATOR] = scale == 1 ? "--instant" : "",
        .flags[SUITE_LIMITER] = limiter_flags(arena, limiter),
        .flags[SUITE_ROUTER] = router,
    });
    /* Whoever comes later has to know from the state that it may grant at once. */
    suite->options.flags[SUITE_LIMITER] =
        limiter_flags(arena, arena_printf(arena, "%s --no-assume-new-store", limiter));
    return suite;
}

static void stop(struct suite *suite) PARKS
{
    suite_stop(suite);
    unlink(state_path);
    rmdir(folder);
}

static void pause_ms(uint64_t ms) PARKS
{
    assert_status_ok(task_sleep_ms(ms));
}

static struct generation *spawn(struct suite *suite, size_t n, uint64_t deadline_ms,
                                struct group *group)
{
    struct generation *all = ARENA_ARRAY(suite->arena, struct generation, n);
    group_init(group);
    for (size_t i = 0; i < n; i++) {
        all[i] = (struct generation){.suite = suite, .deadline_ms = deadline_ms};
        generation_spawn(&all[i], group);
    }
    return all;
}

/* --- the limiter -------------------------------------------------------------------------------
 */

task_test_real(a_limiter_that_is_killed_is_followed_by_one_that_knows)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct suite *suite = start(SCALE, "", "", arena);
    struct group group;
    uint32_t seed = 20260101;
    struct generation *all = spawn(suite, CALLS, 120000, &group);
    for (int kills = 0; kills < 6; kills++) {
        pause_ms(100 + harness_random(&seed) % 700);
        suite_kill(suite, SUITE_LIMITER);
        suite_start_again(suite, SUITE_LIMITER);
        assert_true(suite_metric(suite, SUITE_LIMITER, "prism_limiter_losses_total", "") == 0);
    }
    assert_status_ok(group_wait(&group));
    for (size_t i = 0; i < CALLS; i++) {
        assert_generated(&all[i], 1, 1);
        generation_clear(&all[i]);
    }
    suite_await_idle(suite);
    struct judge_log log = suite_arrivals(suite);
    assert_int_equal(log.n, CALLS);
    assert_int_equal(judge_most_at_once(log), POOL);
    assert_true(judge_most_in_window(log, WINDOW_MS) <= 30);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_leases_lost_total", "") == 0);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_settlements_lost_total", "") == 0);
    stop(suite);
}

task_test_real(a_limiter_without_its_state_lets_run_what_runs_and_waits)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    /* Leases of 3 s, scaled as the limiter scales. */
    struct suite *suite =
        start(SCALE, "--lease-ttl=60s", "--renew=500ms --fence-guard=200ms", arena);
    struct group running, late;
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 8, for: 5s}\n");
    struct generation *first = spawn(suite, POOL, 60000, &running);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", POOL);
    suite_set_faults(suite, "");
    suite_kill(suite, SUITE_LIMITER);
    assert_int_equal(truncate(state_path, 1000), 0);
    suite_start_again(suite, SUITE_LIMITER);
    uint64_t begin_ms = clock_mono_ms();
    const Limiter__Resource *pool = suite_peek(suite, "suite");
    assert_int_equal(pool->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_STATE_LOST);
    assert_true(pool->state_ms <= 3500 && pool->state_ms > 2000);
    struct generation *second = spawn(suite, 3, 60000, &late);
    pause_ms(2000);
    assert_int_equal(suite_peek(suite, "suite")->live_leases, POOL);
    assert_int_equal(suite_arrivals(suite).n, POOL);
    assert_status_ok(group_wait(&running));
    assert_status_ok(group_wait(&late));
    for (size_t i = 0; i < POOL; i++) {
        assert_generated(&first[i], 1, 1);
        generation_clear(&first[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_generated(&second[i], 1, 1);
        assert_true(second[i].queued > 0);
        generation_clear(&second[i]);
    }
    print_message("# calls waited %llu ms in all\n",
                  (unsigned long long)(clock_mono_ms() - begin_ms));
    suite_await_idle(suite);
    assert_true(judge_most_at_once(suite_arrivals(suite)) <= POOL);
    assert_true(
        suite_metric(suite, SUITE_LIMITER, "prism_limiter_losses_total", "cause=\"damaged\"") == 1);
    assert_true(suite_metric(suite, SUITE_LIMITER, "prism_limiter_leases_restored_total", "") ==
                POOL);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_leases_lost_total", "") == 0);
    stop(suite);
}

/* Leases of a second, in real time. */
#define SHORT_LEASE  "--lease-ttl=1s"
#define SHORT_ROUTER "--renew=250ms --fence-guard=100ms"

/* Three calls run while the limiter is away for longer than a lease; a fourth comes. */
static void stay_away(const char *on_fence, enum reason running) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct suite *suite =
        start(1, SHORT_LEASE, arena_printf(arena, SHORT_ROUTER " --on-fence=%s", on_fence), arena);
    struct group group;
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 8, for: 4s}\n");
    struct generation *calls = spawn(suite, 3, 60000, &group);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 3);
    suite_kill(suite, SUITE_LIMITER);
    struct generation late = {.suite = suite};
    generation_run(&late);
    assert_status(late.status, REASON_LIMITER_UNREACHABLE);
    assert_int_equal(late.status.code, STATUS_UNAVAILABLE);
    assert_true(late.status.retry_after_ms > 0);
    generation_clear(&late);
    assert_status_ok(group_wait(&group));
    for (size_t i = 0; i < 3; i++) {
        assert_status(calls[i].status, running);
        generation_clear(&calls[i]);
    }
    struct judge_log log = suite_arrivals(suite);
    assert_int_equal(log.n, 3);
    assert_int_equal(judge_running(log), 0);
    assert_true(
        suite_metric(suite, SUITE_ROUTER, "prism_router_leases_lost_total", "how=\"fenced\"") == 3);
    suite_set_faults(suite, "");
    suite_start_again(suite, SUITE_LIMITER);
    suite_await_idle(suite);
    struct generation good = {.suite = suite};
    generation_run(&good);
    assert_generated(&good, 1, 1);
    generation_clear(&good);
    suite_await_idle(suite);
    stop(suite);
}

task_test_real(a_limiter_that_stays_away_stops_what_runs)
{
    stay_away("cancel", REASON_LEASE_LOST);
}

task_test_real(with_on_fence_finish_what_runs_comes_to_its_end)
{
    stay_away("finish", REASON_NONE);
}

/* --- the router --------------------------------------------------------------------------------
 */

task_test_real(the_slots_of_a_killed_router_are_back_in_time)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct suite *suite = start(1, SHORT_LEASE, SHORT_ROUTER, arena);
    struct group group;
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 8, for: 10m}\n");
    struct generation *calls = spawn(suite, POOL, 60000, &group);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", POOL);
    pause_ms(1500); /* longer than a lease that is not renewed */
    assert_int_equal(suite_peek(suite, "suite")->live_leases, POOL);
    suite_kill(suite, SUITE_ROUTER);
    uint64_t killed_ms = clock_mono_ms();
    while (suite_peek(suite, "suite")->live_leases > 0) {
        pause_ms(5);
    }
    uint64_t took_ms = clock_mono_ms() - killed_ms;
    print_message("# all slots were back after %llu ms\n", (unsigned long long)took_ms);
    assert_true(took_ms <= 1000 + 1000);
    assert_status_ok(group_wait(&group));
    for (size_t i = 0; i < POOL; i++) {
        assert_int_equal(calls[i].status.code, STATUS_UNAVAILABLE);
        generation_clear(&calls[i]);
    }
    suite_set_faults(suite, "");
    suite_start_again(suite, SUITE_ROUTER);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 0);
    struct generation good = {.suite = suite};
    generation_run(&good);
    assert_generated(&good, 1, 1);
    generation_clear(&good);
    suite_await_idle(suite);
    stop(suite);
}

task_test_real(a_router_that_was_frozen_stops_what_it_no_longer_holds)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct suite *suite = start(1, SHORT_LEASE, SHORT_ROUTER, arena);
    struct group stale, queued;
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 8, for: 10m}\n");
    struct generation *held = spawn(suite, POOL, 60000, &stale);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", POOL);
    struct generation *waiting = spawn(suite, 3, 60000, &queued);
    suite_await_metric(suite, SUITE_LIMITER, "prism_limiter_acquires_total", "decision=\"granted\"",
                       POOL);
    pause_ms(200);
    suite_set_faults(suite, "");
    process_signal(&suite->processes[SUITE_ROUTER], SIGSTOP);
    pause_ms(2500);
    /* Those that ran are given up; those that wait are granted, until it shows that nobody takes
     * it. */
    assert_true(suite_peek(suite, "suite")->live_leases <= 3);
    assert_int_equal(judge_running(suite_arrivals(suite)), POOL);
    process_signal(&suite->processes[SUITE_ROUTER], SIGCONT);
    assert_status_ok(group_wait(&stale));
    for (size_t i = 0; i < POOL; i++) {
        assert_status(held[i].status, REASON_LEASE_LOST);
        generation_clear(&held[i]);
    }
    assert_status_ok(group_wait(&queued));
    for (size_t i = 0; i < 3; i++) {
        assert_generated(&waiting[i], 1, 1);
        assert_true(waiting[i].queued > 0);
        generation_clear(&waiting[i]);
    }
    suite_await_idle(suite);
    struct judge_log log = suite_arrivals(suite);
    assert_int_equal(log.n, POOL + 3);
    for (size_t i = 0; i < POOL; i++) {
        assert_span(log.calls[i].outcome, SPAN("client_gone"));
    }
    assert_int_equal(judge_most_at_once(log), POOL);
    stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_limiter_that_is_killed_is_followed_by_one_that_knows),
        SUITE_TEST(a_limiter_without_its_state_lets_run_what_runs_and_waits),
        SUITE_TEST(a_limiter_that_stays_away_stops_what_runs),
        SUITE_TEST(with_on_fence_finish_what_runs_comes_to_its_end),
        SUITE_TEST(the_slots_of_a_killed_router_are_back_in_time),
        SUITE_TEST(a_router_that_was_frozen_stops_what_it_no_longer_holds),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
