/* Five tiers of which four are throttled in both their regions: what that costs in requests, over
 * an hour of scaled time, and how soon the first tier is back when its trouble is over. The
 * simulator's log of arrivals judges. */
#include <math.h>

#include "generation.h"
#include "small_suite.h"

#define SCALE        400 /* an hour is 9 s */
#define HOUR_MS      (3600000 / SCALE)
#define CALLERS_MOST 3

#define ARENA_MOST (512u << 20)

/* Scaled cooldowns are cut to whole milliseconds, and the limiter's clock ticks in them. */
#define TICK_MS 2

static const struct {
    const char *model_id;
    double cooldown_ms; /* the first one, as the limiter is told */
} tiers[] = {
    {"us.anthropic.claude-sonnet-4-6", 60000.0 / SCALE},
    {"us.anthropic.claude-sonnet-5", 30000.0 / SCALE},
    {"us.anthropic.claude-haiku-4-5-20251001-v1:0", 30000.0 / SCALE},
    {"us.anthropic.claude-opus-4-6-v1", 30000.0 / SCALE},
    {"us.anthropic.claude-sonnet-4-5-20250929-v1:0", 0},
};

#define LAST ARRAY_LEN(tiers)

static const char *const regions[] = {"us-east-2", "us-west-2"};

/* What a call asks that finds nothing known: four tiers in each region, and the fifth. */
#define FIRST_CALL (ARRAY_LEN(regions) * (LAST - 1) + 1)

static const char limits[] =
    "--time-scale=400 --cooldown-first=60s --cooldown-others=30s --cooldown-step=5s";

static void start(struct small_suite *s, const char *more) PARKS
{
    small_suite_start(s, &(struct small_suite_options){.flags[SUITE_LIMITER] = more});
    CLEANUP(buf_clear) struct buf plan;
    buf_init(&plan, 4096);
    buf_add_str(&plan, "rules:\n");
    for (size_t i = 0; i + 1 < LAST; i++) {
        buf_addf(&plan, "  - {model: \"%s\", action: status, code: 429}\n", tiers[i].model_id);
    }
    small_suite_set_faults(s, buf_cstr(&plan));
}

/* One call that must be answered; by which tier, after how many requests. */
static void ask(const struct small_suite *s, bool once, uint32_t *tier, size_t *attempts) PARKS
{
    struct generation g = {.router = s->to_router, .once = once, .bare = true};
    generation_run(&g);
    assert_status_ok(g.status);
    *tier = g.metadata->tier;
    *attempts = g.metadata->n_attempts;
    generation_clear(&g);
}

/* --- while the cooldowns run ------------------------------------------------------------------ */

task_test_real(while_cooldowns_run_a_call_costs_one_request)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct small_suite s;
    uint32_t tier;
    size_t attempts, n = 100;
    start(&s, "--time-scale=1 --cooldown-first=60s --cooldown-others=60s");
    ask(&s, false, &tier, &attempts);
    assert_int_equal(tier, LAST);
    assert_int_equal(attempts, FIRST_CALL);
    size_t before = small_suite_arrivals(&s, arena).n;
    assert_int_equal(before, FIRST_CALL);
    for (size_t i = 0; i < n; i++) {
        ask(&s, i % 2 == 0, &tier, &attempts);
        assert_int_equal(tier, LAST);
        assert_int_equal(attempts, 1);
    }
    size_t upstream = small_suite_arrivals(&s, arena).n - before;
    print_message("# five tiers, four throttled: %zu requests for %zu calls, %.2f a call\n",
                  upstream, n, (double)upstream / (double)n);
    assert_int_equal(upstream, n);
    small_suite_stop(&s);
}

/* --- an hour ---------------------------------------------------------------------------------- */

struct caller {
    const struct small_suite *suite;
    bool once;
    uint64_t until_ms;
    size_t calls;
};

static void call_on(void *arg) PARKS
{
    struct caller *caller = arg;
    while (loop_now_ms(task_loop()) < caller->until_ms) {
        uint32_t tier;
        size_t attempts;
        ask(caller->suite, caller->once, &tier, &attempts);
        assert_int_equal(tier, LAST);
        caller->calls++;
        assert_status_ok(task_sleep_ms(3));
    }
}

static size_t call_for_an_hour(const struct small_suite *s, size_t n_callers) PARKS
{
    struct caller callers[CALLERS_MOST];
    struct group group;
    size_t calls = 0;
    group_init(&group);
    for (size_t i = 0; i < n_callers; i++) {
        callers[i] = (struct caller){
            .suite = s, .once = i % 2 == 1, .until_ms = loop_now_ms(task_loop()) + HOUR_MS};
        group_spawn(&group, "caller", call_on, &callers[i]);
    }
    assert_status_ok(group_wait(&group));
    for (size_t i = 0; i < n_callers; i++) {
        calls += callers[i].calls;
    }
    return calls;
}

static struct judge_log of_region(struct judge_log log, const char *region, struct arena *arena)
{
    struct judge_call *calls = ARENA_ARRAY(arena, struct judge_call, log.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < log.n; i++) {
        if (span_eq(log.calls[i].region, span_str(region))) {
            calls[n++] = log.calls[i];
        }
    }
    return (struct judge_log){calls, n};
}

/* Trials of a tier in a region that began before its cooldown was over. */
static size_t early_trials(struct judge_log log, double cooldown_ms)
{
    size_t early = 0;
    for (size_t i = 1; i < log.n; i++) {
        early += log.calls[i].begin_ms - log.calls[i - 1].begin_ms < cooldown_ms - TICK_MS;
    }
    return early;
}

/* Nobody knows anything when the first callers come: each of them is a trial. From then on one call
 * tries for all. */
static void try_for_an_hour(size_t n_callers) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct small_suite s;
    start(&s, limits);
    size_t calls = call_for_an_hour(&s, n_callers);
    struct judge_log log = small_suite_arrivals(&s, arena);
    size_t trials = 0;
    for (size_t i = 0; i < ARRAY_LEN(regions) * (LAST - 1); i++) {
        size_t tier = i / ARRAY_LEN(regions);
        const char *region = regions[i % ARRAY_LEN(regions)];
        struct judge_log place =
            of_region(judge_of_model(log, tiers[tier].model_id, arena), region, arena);
        size_t early = early_trials(place, tiers[tier].cooldown_ms);
        size_t most = (size_t)ceil(HOUR_MS / tiers[tier].cooldown_ms) + n_callers;
        print_message("# an hour of %zu callers: tier %zu was tried %zu times in %s, %zu of them "
                      "with another trial\n",
                      n_callers, tier + 1, place.n, region, early);
        assert_true(place.n > 1 && place.n <= most);
        assert_true(early < n_callers);
        trials += place.n;
    }
    assert_int_equal(log.n, calls + trials);
    small_suite_stop(&s);
}

task_test_real(in_an_hour_a_tier_is_tried_once_a_cooldown)
{
    try_for_an_hour(1);
    try_for_an_hour(CALLERS_MOST);
}

/* --- back again ------------------------------------------------------------------------------- */

task_test_real(a_tier_is_back_with_the_first_trial_behind_its_recovery)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct small_suite s;
    uint32_t tier = LAST;
    size_t attempts;
    start(&s, arena_printf(arena,
                           "--time-scale=%d --cooldown-first=60s --cooldown-others=30s "
                           "--cooldown-step=5s",
                           SCALE));
    ask(&s, false, &tier, &attempts);
    size_t before = judge_of_model(small_suite_arrivals(&s, arena), tiers[0].model_id, arena).n;
    small_suite_set_faults(&s, "");
    uint64_t recovered_ms = loop_now_ms(task_loop());
    while (tier != 1) {
        ask(&s, true, &tier, &attempts);
        assert_int_equal(attempts, 1);
        assert_true(loop_now_ms(task_loop()) - recovered_ms < 60000);
    }
    size_t trials =
        judge_of_model(small_suite_arrivals(&s, arena), tiers[0].model_id, arena).n - before;
    print_message("# tier 1 is back after %zu trial, %.0f s of scaled time behind its recovery\n",
                  trials, (double)(loop_now_ms(task_loop()) - recovered_ms) * SCALE / 1000);
    assert_int_equal(trials, 1);
    for (int i = 0; i < 10; i++) {
        ask(&s, i % 2 == 0, &tier, &attempts);
        assert_int_equal(tier, 1);
        assert_int_equal(attempts, 1);
    }
    small_suite_stop(&s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(while_cooldowns_run_a_call_costs_one_request),
    cmocka_unit_test(in_an_hour_a_tier_is_tried_once_a_cooldown),
    cmocka_unit_test(a_tier_is_back_with_the_first_trial_behind_its_recovery),
};

HARNESS_MAIN(tests)
