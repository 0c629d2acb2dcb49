/* Every tier is refused, or the pool is full: who cannot wait is told so within his deadline, with
 * a time that is true to the fraction of a second; who can wait waits that long and is served. */
#include "base/clock.h"
#include "generation.h"

#define SCALE      10
#define SHORT_MS   2000
#define LONG_MS    (90000 / SCALE)
#define COOLDOWN_S 30 /* of the tiers behind the first, before scaling */

#define EARLY_MS 300  /* so long before the time it is too early */
#define TRY_MS   150  /* deadline of who comes too early: it is over before the time is */
#define LATE_MS  1500 /* and who comes in time is served by then, on a busy machine */

/* Waits without a known end would be as long as they are in real time: none is needed here. */
static struct suite *start(const char *limiter) PARKS
{
    return suite_start(&(struct suite_options){
        .time_scale = SCALE,
        .flags[SUITE_SIMULATOR] = "--instant",
        .flags[SUITE_LIMITER] = limiter,
        .flags[SUITE_ROUTER] = "--backoff=5s --backoff-most=40s",
    });
}

/* Each model is throttled once in each of its two regions, then answers. */
static const char all_throttled_once[] = "rules:\n  - {count: 2, action: status, code: 429}\n";

static void assert_refused(const struct generation *g, enum reason reason, uint64_t begin)
{
    assert_status(g->status, reason);
    assert_int_equal(g->status.code, STATUS_UNAVAILABLE);
    assert_true(g->status.retry_after_ms > 0);
    assert_true(clock_mono_ms() - begin < SHORT_MS);
}

static void ask(struct generation *g, struct suite *suite, uint64_t deadline_ms) PARKS
{
    *g = (struct generation){.suite = suite, .deadline_ms = deadline_ms};
    generation_run(g);
}

static void sleep_until(uint64_t mono_ms) PARKS
{
    uint64_t now = clock_mono_ms();
    assert_status_ok(task_sleep_ms(mono_ms > now ? mono_ms - now : 0));
}

/* Told at told_ms to come again in retry_ms: a little earlier is refused with what is left of it,
 * at that time it is served at once. */
static void assert_time_is_true(struct suite *suite, uint64_t told_ms, uint64_t retry_ms,
                                enum reason reason) PARKS
{
    struct generation early, in_time;
    sleep_until(told_ms + retry_ms - EARLY_MS);
    size_t calls = suite_arrivals(suite).n;
    uint64_t begin = clock_mono_ms();
    ask(&early, suite, TRY_MS);
    assert_refused(&early, reason, begin);
    assert_true(early.status.retry_after_ms <= EARLY_MS);
    generation_clear(&early);
    assert_int_equal(suite_arrivals(suite).n, calls); /* no model was asked */

    sleep_until(told_ms + retry_ms + 2); /* two clocks, each cut to milliseconds */
    ask(&in_time, suite, LATE_MS);
    assert_status_ok(in_time.status);
    assert_int_equal(in_time.queued, 0);
    assert_non_null(in_time.metadata);
    assert_int_equal(in_time.metadata->n_attempts, 1);
    generation_clear(&in_time);
}

task_test_real(all_tiers_refused_and_who_cannot_wait_is_told_when)
{
    struct suite *suite = start("--suite-requests=0"); /* nor a pace */
    struct generation first, second;
    suite_set_faults(suite, all_throttled_once);

    /* Finds out itself: five tiers in two regions, ten times 429. */
    uint64_t begin = clock_mono_ms();
    ask(&first, suite, SHORT_MS);
    assert_refused(&first, REASON_NO_TIER_AVAILABLE, begin);
    assert_in_range(first.status.retry_after_ms, SHORT_MS, COOLDOWN_S * 1000 / SCALE);
    assert_int_equal(suite_arrivals(suite).n, 10);
    generation_clear(&first);

    /* Is refused by the limiter; no model is asked. */
    begin = clock_mono_ms();
    ask(&second, suite, SHORT_MS);
    uint64_t told = clock_mono_ms();
    assert_refused(&second, REASON_NO_TIER_AVAILABLE, begin);
    uint64_t retry = second.status.retry_after_ms;
    assert_int_equal(suite_arrivals(suite).n, 10);
    generation_clear(&second);

    assert_time_is_true(suite, told, retry, REASON_NO_TIER_AVAILABLE);
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(all_tiers_refused_and_who_can_wait_is_served)
{
    struct suite *suite = start("--suite-requests=0"); /* nor a pace */
    struct generation g;
    suite_set_faults(suite, all_throttled_once);
    uint64_t begin = clock_mono_ms();
    ask(&g, suite, LONG_MS);
    uint64_t took = clock_mono_ms() - begin;
    assert_status_ok(g.status);
    assert_true(g.queued > 0);
    assert_int_equal(g.metadata->n_attempts, 11);
    assert_int_equal(g.metadata->tier, 2); /* the first whose cooldown ends */
    assert_in_range(took, COOLDOWN_S * 1000 / SCALE, COOLDOWN_S * 1000 / SCALE + LATE_MS);
    assert_in_range(g.metadata->queue_ms, COOLDOWN_S * 1000 / SCALE - EARLY_MS, took);
    generation_clear(&g);
    suite_await_idle(suite);
    assert_int_equal(suite_arrivals(suite).n, 11);
    suite_stop(suite);
}

/* Two calls a window. */
task_test_real(a_full_pool_is_told_and_waited_for_alike)
{
    struct suite *suite = start("--suite-requests=2");
    struct generation g;
    for (int i = 0; i < 2; i++) {
        ask(&g, suite, SHORT_MS);
        assert_generated(&g, 1, 1);
        generation_clear(&g);
    }
    uint64_t begin = clock_mono_ms();
    ask(&g, suite, SHORT_MS);
    uint64_t told = clock_mono_ms();
    assert_refused(&g, REASON_SUITE_LIMIT, begin);
    uint64_t retry = g.status.retry_after_ms;
    assert_in_range(retry, SHORT_MS, 60500 / SCALE + 500);
    generation_clear(&g);
    assert_time_is_true(suite, told, retry, REASON_SUITE_LIMIT);

    ask(&g, suite, LONG_MS);
    assert_generated(&g, 1, 1);
    generation_clear(&g);
    suite_await_idle(suite);
    assert_int_equal(suite_arrivals(suite).n, 4);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(all_tiers_refused_and_who_cannot_wait_is_told_when),
        SUITE_TEST(all_tiers_refused_and_who_can_wait_is_served),
        SUITE_TEST(a_full_pool_is_told_and_waited_for_alike),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
