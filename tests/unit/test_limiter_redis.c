/* Limiters that share a redis-server: what a step costs, who may go, and who answers. */
#include "limiters_bench.h"

static void without_limits(struct limiters *g)
{
    g->config.suite_requests = g->config.suite_concurrency = g->config.suite_tokens = 0;
}

task_test_real(a_step_alone_takes_one_trip)
{
    struct limiters g;
    limiters_prepare(&g);
    without_limits(&g);
    g.still = true; /* so that no pause of this machine makes a try too late */
    limiters_start(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1000)));
    double kept = limiters_trips(&g, "kept"), aged = limiters_trips(&g, "aged"),
           read = limiters_trips(&g, "read");
    for (uint32_t i = 0; i < 100; i++) {
        assert_true(granted(limiters_acquire(&g, 0, i)));
        assert_int_equal(limiters_complete(&g, 0, i),
                         LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    }
    print_message("# %.2f trips of an Acquire or Complete\n",
                  (limiters_trips(&g, "kept") - kept) / 200);
    assert_true(limiters_trips(&g, "kept") - kept == 200);
    assert_true(limiters_trips(&g, "aged") == aged);
    assert_true(limiters_trips(&g, "read") == read);
    limiters_stop(&g);
}

task_test_real(what_waits_is_decided_in_one_step)
{
    struct limiters g;
    struct ask *asks[64];
    limiters_prepare(&g);
    g.config.suite_requests = 40;
    g.config.suite_concurrency = 33;
    g.config.suite_tokens = 0;
    g.still = true;
    limiters_start(&g, 1);
    limiters_acquire(&g, 0, 1000);
    double kept = limiters_trips(&g, "kept");
    for (uint32_t i = 0; i < ARRAY_LEN(asks); i++) { /* the last is the first again */
        asks[i] = limiters_ask(g.limiters[0], i % 63, g.arena);
    }
    home_decide_all(g.limiters[0], asks, ARRAY_LEN(asks));
    assert_true(limiters_trips(&g, "kept") == kept + 1);
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        assert_status_ok(asks[i]->status);
        n += limiters_granted(asks[i]) && !limiters_verdict(asks[i])->replayed;
    }
    assert_int_equal(n, 32);
    assert_true(limiters_verdict(asks[63])->replayed);
    assert_int_equal(limiters_verdict(asks[63])->fence, limiters_verdict(asks[0])->fence);
    limiters_stop(&g);
}

task_test_real(a_refusal_that_only_time_ends_needs_no_trip)
{
    struct limiters g;
    limiters_prepare(&g);
    g.config.suite_requests = 2;
    g.config.suite_concurrency = 0;
    g.still = true;
    limiters_start(&g, 1);
    uint32_t id = 0;
    while (granted(limiters_acquire(&g, 0, id))) {
        id++;
    }
    assert_int_equal(id, 2);
    double kept = limiters_trips(&g, "kept");
    const Limiter__Verdict *v = limiters_acquire(&g, 0, 50), *again = limiters_acquire(&g, 0, 51);
    assert_false(granted(v) || granted(again));
    assert_true(v->retry_at_ms > 0 && v->retry_at_ms == again->retry_at_ms);
    assert_true(limiters_trips(&g, "kept") == kept);
    assert_true(metric_value(g.limiters[0]->metrics.store_fresh_total, NULL) > 0);
    limiters_stop(&g);
}

task_test_real(another_limiter_knows_a_grant_by_its_id)
{
    struct limiters g;
    limiters_prepare(&g);
    limiters_start(&g, 3);
    const Limiter__Verdict *first = limiters_acquire(&g, 0, 1), *again = limiters_acquire(&g, 1, 1);
    assert_true(granted(first) && !first->replayed);
    assert_true(granted(again) && again->replayed);
    assert_int_equal(again->fence, first->fence);
    assert_int_equal(limiters_complete(&g, 2, 1), LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(limiters_complete(&g, 0, 1), LIMITER__REPORT_RESULT__REPORT_RESULT_REPLAYED);
    assert_int_equal(limiters_complete(&g, 1, 2), LIMITER__REPORT_RESULT__REPORT_RESULT_UNKNOWN_ID);
    assert_true(limiters_acquire(&g, 2, 3)->fence > first->fence);
    assert_true(limiters_losses(&g) == 0);
    limiters_stop(&g);
}

/* --- many at once ------------------------------------------------------------------------------
 */

#define LOAD_MS     5000
#define WINDOW_MS   1000
#define GRANTS_MOST 1000

struct load {
    struct limiters *g;
    size_t limiter;
    uint32_t next_id;
    uint64_t until_ms;
    size_t running;
    size_t most_running;
    size_t by_limiter[LIMITERS_MOST];
    uint64_t grants[GRANTS_MOST]; /* the authority's time of each */
    size_t n_grants;
};

/* A caller that is always back at once. */
static void caller(void *arg)
{
    struct load *load = arg;
    size_t at = load->limiter++ % load->g->n;
    struct limiter *limiter = load->g->limiters[at];
    while (loop_now_ms(task_loop()) < load->until_ms) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
        uint32_t id = load->next_id++;
        struct ask *ask = limiters_ask(limiter, id, arena);
        struct status s = home_decide(limiter, ask);
        if (!limiters_granted(ask)) {
            assert_true(status_ok(s) || s.reason == REASON_STORE_FAILED);
            assert_status_ok(task_sleep_ms(1 + id % 7));
            continue;
        }
        assert_true(load->n_grants < GRANTS_MOST);
        load->grants[load->n_grants++] = ask->now_ms;
        load->by_limiter[at]++;
        load->running++;
        load->most_running =
            load->running > load->most_running ? load->running : load->most_running;
        assert_status_ok(task_sleep_ms(id % 40));
        load->running--; /* the limiter may know at once */
        for (s = status_of(REASON_STORE_FAILED, NULL); !status_ok(s);) {
            s = home_decide(limiter, limiters_report(limiter, id, arena));
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static size_t most_in_a_window(struct load *load)
{
    size_t most = 0;
    qsort(load->grants, load->n_grants, sizeof(load->grants[0]), compare);
    for (size_t first = 0, last = 0; last < load->n_grants; last++) {
        while (load->grants[last] - load->grants[first] >= WINDOW_MS) {
            first++;
        }
        most = last - first + 1 > most ? last - first + 1 : most;
    }
    return most;
}

task_test_real(three_limiters_together_never_admit_too_many)
{
    struct limiters g;
    struct load *load = test_calloc(1, sizeof(*load));
    struct group callers;
    limiters_prepare(&g);
    g.config.suite_window = WINDOW_MS;
    limiters_start(&g, 3);
    load->g = &g;
    load->until_ms = loop_now_ms(task_loop()) + LOAD_MS;
    group_init(&callers);
    for (size_t i = 0; i < 30; i++) {
        group_spawn(&callers, "caller", caller, load);
    }
    assert_status_ok(group_wait(&callers));
    size_t most = most_in_a_window(load);
    /* What the window allows: 30 in each 1.5 s, the first of them at once. */
    print_message("# %zu granted (%zu, %zu, %zu), at most %zu in a window and %zu at once\n",
                  load->n_grants, load->by_limiter[0], load->by_limiter[1], load->by_limiter[2],
                  most, load->most_running);
    assert_int_equal(most, 30);
    assert_true(load->most_running <= 5);
    assert_true(load->n_grants >= 60);
    test_free(load);
    limiters_stop(&g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_step_alone_takes_one_trip),
    cmocka_unit_test(what_waits_is_decided_in_one_step),
    cmocka_unit_test(a_refusal_that_only_time_ends_needs_no_trip),
    cmocka_unit_test(another_limiter_knows_a_grant_by_its_id),
    cmocka_unit_test(three_limiters_together_never_admit_too_many),
};

HARNESS_MAIN(tests)
