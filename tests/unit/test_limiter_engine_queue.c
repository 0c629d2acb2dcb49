/* The limiter's engine: who waits at one limiter, and for how long. */
#include "limiter_yard.h"

/* --- one limiter -------------------------------------------------------------------------------
 */

static void test_whoever_came_first_goes_first_in_its_class(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    only_concurrency(y, 1);
    const uint32_t priorities[] = {1, 3, 2, 0, 1, 0};
    const uint32_t turns[] = {4, 7, 6, 2, 5, 3};
    struct call *calls[ARRAY_LEN(priorities)];
    struct call *running = ask(y, (struct want){.wait_ms = HOUR});
    assert_int_equal(running->turn, 1);
    for (uint32_t i = 0; i < ARRAY_LEN(priorities); i++) {
        calls[i] = ask(y, (struct want){.priority = priorities[i], .wait_ms = HOUR});
        assert_true(waits(calls[i]));
        y->b->now_ms += 10;
    }
    for (uint32_t served = 2; served < 8; served++) {
        end(y, 0, running);
        for (uint32_t i = 0; i < ARRAY_LEN(calls); i++) {
            running = calls[i]->turn == served ? calls[i] : running;
        }
        assert_int_equal(running->turn, served); /* handed on in the same step */
    }
    for (uint32_t i = 0; i < ARRAY_LEN(calls); i++) {
        assert_int_equal(calls[i]->turn, turns[i]);
    }
}

static void test_who_has_waited_long_goes_before_the_urgent(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    only_concurrency(y, 1);
    y->b->rules.lease_ms = HOUR;
    struct call *running = ask(y, (struct want){0});
    struct call *background = ask(y, (struct want){.priority = 3, .wait_ms = HOUR});
    y->b->now_ms += 89999;
    struct call *urgent = ask(y, (struct want){.wait_ms = HOUR});
    y->b->now_ms += 1;
    end(y, 0, running);
    assert_int_equal(background->turn, 2);
    end(y, 0, background);
    assert_int_equal(urgent->turn, 3);
}

/* No small request passes a large one, whatever room there is. */
static void test_nobody_passes(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    y->b->suite.limits.concurrency = 0;
    ask(y, (struct want){.charge = 100000});
    uint64_t opens_ms = y->b->now_ms + BENCH_W + BENCH_GUARD;
    y->b->now_ms += 1000;
    struct call *large = ask(y, (struct want){.charge = 50000, .wait_ms = HOUR});
    struct call *small = ask(y, (struct want){.charge = 1});
    assert_true(waits(large));
    assert_false(small->verdict.granted);
    const struct engine_judgement *j = &small->verdict.judged[1];
    assert_int_equal(j->reasons, BIT(QUEUED_BEHIND));
    assert_int_equal(j->retry_at_ms, opens_ms);
    struct call *behind = ask(y, (struct want){.charge = 1, .wait_ms = HOUR});
    assert_true(waits(behind));
    y->b->now_ms = opens_ms;
    tick(y, 0);
    assert_int_equal(large->turn, 2);
    assert_int_equal(behind->turn, 3);
}

static void test_a_tenant_out_of_its_budget_is_in_nobodys_way(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    y->b->tenant.limits = (struct engine_limits){.requests = 1, .window_ms = 10000};
    assert_int_equal(ask(y, (struct want){.tenant = POOLED})->turn, 1);
    struct call *own = ask(y, (struct want){.tenant = POOLED, .wait_ms = HOUR});
    assert_true(waits(own));
    assert_int_equal(engine_queue_depth(&y->queues[0], &y->b->tenant), 1);
    assert_int_equal(engine_queue_depth(&y->queues[0], &y->b->suite), 0);
    assert_int_equal(ask(y, (struct want){.tenant = 5})->turn, 2);
    y->b->now_ms += 10500;
    tick(y, 0);
    assert_int_equal(own->turn, 3);
}

static void test_who_has_no_model_is_parked(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    y->b->models[0].health.cooldown_until_ms = y->b->now_ms + 5000;
    struct call *parked = ask(y, (struct want){.wait_ms = HOUR});
    assert_true(waits(parked) && parked->waiter.parked);
    assert_int_equal(y->queues[0].wake_ms, y->b->now_ms + 5000);
    assert_int_equal(ask(y, (struct want){.model = 1})->turn, 1); /* in nobody's way */
    y->b->now_ms += 5000;
    tick(y, 0);
    assert_int_equal(parked->turn, 2);
    /* What never passes is not waited for. */
    y->b->models[0].health.gone = true;
    struct call *never = ask(y, (struct want){.wait_ms = HOUR});
    assert_false(waits(never) || never->verdict.granted);
}

static void test_too_late_and_too_many(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    y->b->suite.limits = (struct engine_limits){.requests = 2, .window_ms = BENCH_W};
    y->b->rules.waiters_most = 3;
    y->b->rules.tenant_waiters_most = 2;
    ask(y, (struct want){0});
    ask(y, (struct want){0});
    struct {
        struct want want;
        uint32_t reasons;
    } rows[] = {
        {{.wait_ms = 60500}, BIT(WOULD_MISS_DEADLINE)},
        {{.wait_ms = 60501}, 0},
        {{.wait_ms = 60501}, 0},
        {{.wait_ms = 121001}, BIT(QUEUE_FULL)}, /* of its tenant */
        {{.tenant = 1, .wait_ms = 60500}, BIT(WOULD_MISS_DEADLINE)},
        {{.tenant = 1, .wait_ms = 121001}, 0},
        {{.tenant = 2, .wait_ms = 181501}, BIT(QUEUE_FULL)}, /* of all */
        {{.tenant = 2}, 0},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct call *call = ask(y, rows[i].want);
        assert_int_equal(call->verdict.reasons, rows[i].reasons);
        assert_int_equal(waits(call), rows[i].reasons == 0 && rows[i].want.wait_ms > 0);
    }
    /* Whose time is over is not granted any more. */
    y->b->now_ms += 60502;
    tick(y, 0);
    assert_int_equal(y->turns, 3);
    assert_int_equal(y->calls[3].verdict.reasons, BIT(WOULD_MISS_DEADLINE));
    assert_int_equal(y->queues[0].n, 0);
}

static void test_a_step_that_was_not_kept_is_undone(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    only_concurrency(y, 1);
    struct call *running = ask(y, (struct want){0});
    struct call *first = ask(y, (struct want){.wait_ms = HOUR});
    struct call *second = ask(y, (struct want){.wait_ms = HOUR});
    struct engine_resource before = y->b->suite;
    struct engine_record record = y->b->records[running->id], none = {0};
    struct call late = {.acquire = second->acquire};
    late.acquire.waiter = &late.waiter;
    late.acquire.verdict = &late.verdict;
    late.acquire.record = &none;
    y->b->report = (struct engine_report){.id = bench_id(running->id),
                                          .record = &y->b->records[running->id],
                                          .held = {&y->b->models[0], &y->b->suite, NULL},
                                          .outcome = ENGINE_OK};
    struct engine_event events[] = {{.report = &y->b->report}, {.acquire = &late.acquire}};
    engine_step(&y->b->rules, y->b->now_ms, ++y->b->stamp, events, 2, &y->queues[0]);
    assert_true(first->verdict.granted && late.verdict.queued);
    assert_int_equal(y->queues[0].n, 2);
    y->b->suite = before;
    y->b->records[running->id] = record;
    y->b->records[first->id] = none;
    engine_queue_undo(&y->queues[0], y->b->stamp);
    assert_int_equal(y->queues[0].n, 2);
    assert_true(first->waiter.waiting && second->waiter.waiting && !late.waiter.waiting);
    end(y, 0, running);
    assert_int_equal(first->turn, 2);
    assert_true(waits(second));
}

/* --- when --------------------------------------------------------------------------------------
 */

/* What is told at first is when it goes: window and pacer, with room for many rounds. */
static void test_the_time_that_is_told_is_kept(void **state)
{
    (void)state;
    struct engine_limits rows[] = {
        {.requests = 30, .window_ms = BENCH_W},
        {.requests = 30, .window_ms = BENCH_W, .pacer_burst = 5, .pacer_interval_ms = 2000},
        {.requests = 7, .window_ms = 10000, .pacer_burst = 1, .pacer_interval_ms = 700},
        {.requests = 200, .window_ms = BENCH_W},
    };
    for (uint32_t row = 0; row < ARRAY_LEN(rows); row++) {
        struct yard *y = yard_new(false);
        uint64_t told_ms[250], worst_ms = 0;
        y->b->suite.limits = rows[row];
        for (uint32_t i = 0; i < 250; i++) {
            pass(y, 1, i % 7 * 40);
            struct call *call = ask(y, (struct want){.wait_ms = HOUR});
            told_ms[i] = waits(call) ? call->verdict.retry_at_ms : 0;
            assert_true(told_ms[i] == 0 || call->verdict.exact);
        }
        pass(y, 1, HOUR);
        assert_int_equal(y->queues[0].n, 0);
        for (uint32_t i = 0; i < 250; i++) {
            if (told_ms[i] > 0) {
                uint64_t at_ms = y->calls[i].ended_ms;
                uint64_t off_ms = at_ms > told_ms[i] ? at_ms - told_ms[i] : told_ms[i] - at_ms;
                worst_ms = off_ms > worst_ms ? off_ms : worst_ms;
            }
        }
        print_message("# row %u: told and kept differ by at most %llu ms\n", row,
                      (unsigned long long)worst_ms);
        assert_true(worst_ms <= (rows[row].requests <= ENGINE_LOG_MOST ? 0 : 1200));
    }
}

/* Tokens: what is told is no later than what is kept when calls use what they reserved. */
static void test_tokens_are_told_too(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    y->b->suite.limits = (struct engine_limits){.tokens = 10000, .window_ms = BENCH_W};
    for (uint32_t i = 0; i < 5; i++) {
        ask(y, (struct want){.charge = 2000});
        y->b->now_ms += 1000;
    }
    uint64_t begin_ms = y->b->now_ms;
    struct call *first = ask(y, (struct want){.charge = 1000, .wait_ms = HOUR});
    struct call *second = ask(y, (struct want){.charge = 3000, .wait_ms = HOUR});
    struct call *third = ask(y, (struct want){.charge = 9000, .wait_ms = HOUR});
    assert_in_range(first->verdict.retry_at_ms, begin_ms + 55500, begin_ms + 57500);
    assert_true(first->verdict.exact && second->verdict.exact);
    assert_true(second->verdict.retry_at_ms > first->verdict.retry_at_ms);
    assert_false(third->verdict.exact); /* it hangs on what those before it charge */
    y->b->now_ms = second->verdict.retry_at_ms;
    tick(y, 0);
    assert_int_equal(second->turn, 7);
    assert_true(waits(third));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_whoever_came_first_goes_first_in_its_class),
    cmocka_unit_test(test_who_has_waited_long_goes_before_the_urgent),
    cmocka_unit_test(test_nobody_passes),
    cmocka_unit_test(test_a_tenant_out_of_its_budget_is_in_nobodys_way),
    cmocka_unit_test(test_who_has_no_model_is_parked),
    cmocka_unit_test(test_too_late_and_too_many),
    cmocka_unit_test(test_a_step_that_was_not_kept_is_undone),
    cmocka_unit_test(test_the_time_that_is_told_is_kept),
    cmocka_unit_test(test_tokens_are_told_too),
};

HARNESS_MAIN(tests)
