/* The limiter's engine: the decision over models and pools, ids, loss of state. */
#include "limiter_bench.h"

static void test_the_first_open_model_is_chosen(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->models[0].limits.concurrency = 1;
    b->models[1].limits.tokens = 5000;
    b->models[1].limits.window_ms = BENCH_W;
    struct {
        const char *name;
        struct ask ask;
        uint32_t candidate;
        uint32_t passed_over[2];
    } rows[] = {
        {"all open", {.n = 3}, 0, {0}},
        {"first full", {.n = 3}, 1, {BIT(CONCURRENCY)}},
        {"second out of tokens", {.n = 3, .charge = 4500}, 2, {BIT(CONCURRENCY), BIT(TOKENS)}},
        {"too large for the second",
         {.n = 3, .model_charge = {1, 5001, 1}},
         2,
         {BIT(CONCURRENCY), BIT(TOO_LARGE)}},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("# %s\n", rows[i].name);
        rows[i].ask.id = i;
        const struct engine_verdict *v = bench_ask(b, rows[i].ask);
        assert_true(v->granted);
        assert_int_equal(v->candidate, rows[i].candidate);
        assert_int_equal(v->n_judged, rows[i].candidate + 2);
        for (uint32_t c = 0; c < rows[i].candidate; c++) {
            assert_ptr_equal(v->judged[c].resource, &b->models[c]);
            assert_int_equal(v->judged[c].reasons, rows[i].passed_over[c]);
        }
        assert_int_equal(v->retry_at_ms, 0);
        assert_int_equal(v->lease_ms, BENCH_T);
        assert_int_equal(v->use_by_ms, 350);
        assert_int_equal(v->fence, i + 1);
    }
}

/* A full pool waits, it never spills: I10, and limiter.md section 14, row 21. */
static void test_row_21_a_full_pool_never_reaches_another_model(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint32_t waiting = 0, running = 0, done = 0;
    for (uint32_t i = 0; i < 15; i++) {
        const struct engine_verdict *v = bench_ask(b, (struct ask){.id = i, .n = 3});
        assert_int_equal(v->candidate, 0);
        assert_int_equal(v->granted, i < 5);
        if (!v->granted) {
            assert_int_equal(v->n_judged, 2);
            assert_int_equal(bench_judged(b, &b->models[0])->reasons, 0);
            assert_int_equal(bench_judged(b, &b->suite)->reasons, BIT(CONCURRENCY));
            waiting++;
        }
    }
    assert_int_equal(waiting, 10);
    while (done < 15) {
        b->now_ms += 100;
        bench_end(b, (struct end){.id = done++, .tokens = 1000});
        running = done + 4;
        if (running < 15) {
            const struct engine_verdict *v = bench_ask(b, (struct ask){.id = running, .n = 3});
            assert_true(v->granted);
            assert_int_equal(v->candidate, 0);
        }
    }
}

static void test_all_pools_are_judged_and_the_latest_counts(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->tenant.limits.requests = 2;
    b->tenant.limits.window_ms = 120000;
    b->suite.limits.requests = 3;
    uint64_t start_ms = b->now_ms;
    assert_true(bench_ask(b, (struct ask){.id = 1, .tenant = true})->granted);
    assert_true(bench_ask(b, (struct ask){.id = 2, .tenant = true})->granted);
    assert_false(bench_ask(b, (struct ask){.id = 3, .tenant = true})->granted);
    assert_int_equal(bench_judged(b, &b->suite)->reasons, 0);
    assert_int_equal(bench_judged(b, &b->tenant)->reasons, BIT(REQUESTS));
    assert_true(bench_ask(b, (struct ask){.id = 4})->granted);
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 3, .tenant = true});
    assert_int_equal(v->n_judged, 3);
    assert_int_equal(bench_judged(b, &b->suite)->reasons, BIT(REQUESTS));
    assert_int_equal(v->retry_at_ms, start_ms + 120000 + BENCH_GUARD);
    assert_true(v->exact);
    /* A hint that is involved makes the whole a hint. */
    b->tenant.limits.concurrency = 2;
    for (uint32_t i = 10; i < 12; i++) {
        b->tenant.leases[b->tenant.n_leases++] =
            (struct engine_lease){.id = bench_id(i), .expires_ms = b->now_ms + 1000};
    }
    assert_false(bench_ask(b, (struct ask){.id = 3, .tenant = true})->exact);
}

static void test_no_model_open_means_the_earliest_of_all(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->models[0].health.cooldown_until_ms = b->now_ms + 50000;
    b->models[1].health.cooldown_until_ms = b->now_ms + 20000;
    b->models[2].health.gone = true;
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 1, .n = 3});
    assert_false(v->granted);
    assert_int_equal(v->n_judged, 3);
    assert_int_equal(v->retry_at_ms, b->now_ms + 20000);
    assert_true(v->exact);
    /* The pools have to admit it as well. */
    b->suite.window.tat_ms = b->now_ms + 30000;
    b->suite.limits.pacer_burst = 1;
    b->suite.limits.pacer_interval_ms = 1;
    v = bench_ask(b, (struct ask){.id = 1, .n = 3});
    assert_int_equal(v->retry_at_ms, b->now_ms + 30000);
    v = bench_ask(b, (struct ask){.id = 1, .n = 3, .charge = 120001});
    assert_int_equal(v->retry_at_ms, 0);
    assert_false(v->exact);
}

/* From the moment its model opens the first candidate is the chosen one, also where the pools
 * would sooner admit the charge of the second. */
static void test_the_time_is_that_of_whoever_is_chosen_then(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint64_t start_ms = b->now_ms;
    assert_true(bench_ask(b, (struct ask){.id = 1, .charge = 60000})->granted);
    b->now_ms += 30000;
    assert_true(bench_ask(b, (struct ask){.id = 2, .charge = 60000})->granted);
    b->models[0].health.cooldown_until_ms = start_ms + 62000;
    b->models[1].health.cooldown_until_ms = start_ms + 63000;
    struct ask ask = {.id = 3, .n = 2, .pool_charge = {120000, 1000}};
    const struct engine_verdict *v = bench_ask(b, ask);
    assert_int_equal(v->retry_at_ms, start_ms + 30000 + BENCH_W + BENCH_GUARD);
    /* Were the second open before, its time would count. */
    b->models[1].health.cooldown_until_ms = start_ms + 61000;
    v = bench_ask(b, ask);
    assert_int_equal(v->retry_at_ms, start_ms + 61000);
    b->now_ms = v->retry_at_ms - 1;
    assert_false(bench_ask(b, ask)->granted);
    b->now_ms++;
    v = bench_ask(b, ask);
    assert_true(v->granted);
    assert_int_equal(v->candidate, 1);
}

/* limiter.md section 14, row 1 */
static void test_row_1_five_large_requests_into_one_budget(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint32_t admitted = 0;
    for (uint32_t i = 0; i < 5; i++) {
        admitted += bench_ask(b, (struct ask){.id = i, .charge = 100000})->granted;
    }
    assert_int_equal(admitted, 1);
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 20000);
}

/* Everything there is, as bytes. */
static uint64_t digest(const struct bench *b)
{
    uint64_t hash = 1469598103934665603u;
    const uint8_t *at = (const uint8_t *)&b->suite;
    const uint8_t *end = (const uint8_t *)&b->verdict;
    for (; at < end; at++) {
        hash = (hash ^ *at) * 1099511628211u;
    }
    return hash;
}

/* limiter.md section 14, row 2, and I7 */
static void test_row_2_a_refusal_writes_nothing(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->models[0].limits.requests = 10;
    b->models[0].limits.window_ms = BENCH_W;
    b->tenant.limits = b->suite.limits;
    b->tenant.limits.tokens = 3000;
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i, .tenant = true})->granted);
    }
    b->models[1].health.cooldown_until_ms = b->now_ms + 100000;
    struct ask rows[] = {
        {.tenant = true},                 /* the tenant's tokens */
        {.tenant = true, .charge = 3001}, /* too large */
        {.first = 1},                     /* the model cools down */
        {.charge = 117001},               /* the suite's tokens */
    };
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        /* Also when much has run out and waits to be cleared away. */
        for (uint32_t later = 0; later < 2; later++) {
            uint64_t now_ms = b->now_ms;
            b->now_ms += later * 16000;
            uint64_t before = digest(b);
            rows[i].id = 100;
            assert_false(bench_ask(b, rows[i])->granted);
            assert_true(digest(b) == before);
            b->now_ms = now_ms;
        }
    }
}

/* limiter.md section 14, row 3 */
static void test_row_3_a_lost_report_costs_one_lease_time(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
    }
    b->now_ms += BENCH_T - 1;
    assert_false(bench_ask(b, (struct ask){.id = 9})->granted);
    b->now_ms += 1;
    assert_true(bench_ask(b, (struct ask){.id = 9})->granted);
    /* The lost reports arrive after all, twice: nothing is freed again. */
    for (uint32_t i = 0; i < 10; i++) {
        bench_end(b, (struct end){.id = i % 5, .tokens = 1000});
    }
    assert_int_equal(b->suite.n_leases, 1);
}

/* limiter.md section 14, row 4 */
static void test_row_4_a_long_call_keeps_its_place(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.concurrency = 1;
    uint64_t fence = bench_ask(b, (struct ask){.id = 1, .session = 3})->fence;
    for (uint32_t i = 0; i < 40 * 60 / 5; i++) {
        b->now_ms += 5000;
        assert_true(bench_renew(b, 1, 3, fence));
        assert_false(bench_ask(b, (struct ask){.id = 2})->granted);
    }
    assert_int_equal(bench_end(b, (struct end){.id = 1, .tokens = 1})->result, ENGINE_APPLIED);
    assert_true(bench_ask(b, (struct ask){.id = 2})->granted);
}

/* limiter.md section 14, row 7 */
static void test_row_7_the_time_is_exact_and_stands_still(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.requests = 1;
    bench_ask(b, (struct ask){.id = 1});
    uint64_t retry_at_ms = b->now_ms + BENCH_W + BENCH_GUARD;
    for (; b->now_ms < retry_at_ms; b->now_ms += 100) {
        const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 2});
        assert_false(v->granted);
        assert_int_equal(v->retry_at_ms, retry_at_ms);
    }
    assert_true(bench_ask(b, (struct ask){.id = 2})->granted);
}

/* limiter.md section 14, row 10 */
static void test_row_10_only_too_large_refuses_when_idle(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->tenant.limits = b->suite.limits;
    b->models[0].limits = b->suite.limits;
    uint64_t charges[] = {1, 119999, 120000};
    for (uint32_t i = 0; i < ARRAY_LEN(charges); i++) {
        assert_true(
            bench_ask(b, (struct ask){.id = i, .charge = charges[i], .tenant = true})->granted);
        bench_end(b, (struct end){.id = i, .tokens = 0});
    }
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 9, .charge = 120001});
    assert_int_equal(bench_judged(b, &b->models[0])->reasons, BIT(TOO_LARGE));
    assert_int_equal(v->retry_at_ms, 0);
}

/* limiter.md section 14, row 17: no event carries a time of its sender, and a clock of ours that
 * falls back stands still. */
static void test_row_17_time_never_runs_backwards(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.requests = 2;
    bench_ask(b, (struct ask){.id = 1});
    uint64_t start_ms = b->now_ms;
    b->now_ms -= 600000;
    assert_true(bench_ask(b, (struct ask){.id = 2})->granted);
    assert_int_equal(b->now_ms, start_ms);
    b->now_ms -= 600000;
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 3});
    assert_false(v->granted);
    assert_int_equal(v->retry_at_ms, start_ms + BENCH_W + BENCH_GUARD);
}

static void test_an_id_is_charged_once(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    struct ask ask = {.id = 1, .session = 5, .charge = 2000};
    const struct engine_verdict *v = bench_ask(b, ask);
    uint64_t fence = v->fence;
    uint64_t before = digest(b);
    b->now_ms += 100;
    ask.session = 6;
    v = bench_ask(b, ask);
    assert_true(v->granted);
    assert_true(v->replayed);
    struct engine_id holder = bench_id(5);
    assert_true(engine_id_eq(&v->holder, &holder));
    assert_int_equal(v->fence, fence);
    /* What is left of lease and use-by, as the second asker's clock starts later. */
    assert_int_equal(v->lease_ms, BENCH_T - 100);
    assert_int_equal(v->use_by_ms, 250);
    assert_int_equal(v->n_judged, 2);
    assert_int_equal(v->judged[1].charge, 2000);
    assert_int_equal(v->judged[1].remaining.tokens, 118000);
    assert_true(digest(b) == before);

    b->now_ms += BENCH_T;
    v = bench_ask(b, ask);
    assert_true(v->granted);
    assert_int_equal(v->lease_ms, 0);
    assert_int_equal(v->use_by_ms, 0);
    /* A record that has run out is forgotten. */
    b->now_ms += 4200000;
    v = bench_ask(b, ask);
    assert_true(v->granted);
    assert_false(v->replayed);
}

static void test_reports_take_effect_once(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    struct end same = {.id = 1, .tokens = 400, .digest = 11};
    struct end other = {.id = 1, .tokens = 900, .digest = 12};
    struct end cancel = {.id = 1, .undispatched = true, .digest = 13};

    bench_ask(b, (struct ask){.id = 1});
    assert_int_equal(bench_end(b, same)->result, ENGINE_APPLIED);
    uint64_t before = digest(b);
    assert_int_equal(bench_end(b, same)->result, ENGINE_REPLAYED);
    assert_int_equal(bench_end(b, other)->result, ENGINE_ALREADY_SETTLED);
    assert_int_equal(bench_end(b, cancel)->result, ENGINE_ALREADY_SETTLED);
    assert_true(digest(b) == before);
    assert_true(bench_ask(b, (struct ask){.id = 1})->replayed);
    assert_int_equal(b->verdict.lease_ms, 0);

    same.id = cancel.id = 2;
    bench_ask(b, (struct ask){.id = 2});
    assert_int_equal(bench_end(b, cancel)->result, ENGINE_APPLIED);
    before = digest(b);
    assert_int_equal(bench_end(b, cancel)->result, ENGINE_REPLAYED);
    assert_int_equal(bench_end(b, same)->result, ENGINE_ALREADY_RELEASED);
    assert_false(bench_ask(b, (struct ask){.id = 2})->granted);
    assert_true(b->verdict.cancelled);
    assert_true(digest(b) == before);
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 120000 - 400);
}

static void test_unknown_ids_leave_a_mark(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    /* Its usage counts, once. */
    struct end end = {.id = 1, .tokens = 5000, .digest = 11};
    const struct engine_report *r = bench_end(b, end);
    assert_int_equal(r->result, ENGINE_UNKNOWN_ID);
    assert_int_equal(r->settlements[1].reserved, 0);
    assert_int_equal(r->settlements[1].charged, 5000);
    assert_int_equal(bench_end(b, end)->result, ENGINE_REPLAYED);
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 115000);
    assert_false(bench_ask(b, (struct ask){.id = 1})->granted);
    assert_true(b->verdict.cancelled);
    assert_int_equal(b->verdict.n_judged, 0);

    /* A throttle of a forgotten grant joins with the base. */
    bench_end(b, (struct end){.id = 2, .outcome = ENGINE_THROTTLED});
    assert_int_equal(b->models[0].health.cooldown_until_ms, b->now_ms + 60000);
    assert_int_equal(b->models[0].health.level, 0);

    /* Cancelled before it was asked for. */
    r = bench_end(b, (struct end){.id = 3, .undispatched = true, .digest = 12});
    assert_int_equal(r->result, ENGINE_UNKNOWN_ID);
    assert_int_equal(r->n_settlements, 0);
    assert_false(bench_ask(b, (struct ask){.id = 3, .first = 1})->granted);
    assert_true(b->verdict.cancelled);
    assert_int_equal(b->verdict.retry_at_ms, 0);
    b->now_ms += 600000;
    assert_true(bench_ask(b, (struct ask){.id = 3, .first = 1})->granted);
}

static void test_a_dispatched_call_that_is_cancelled_keeps_its_charge(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    bench_ask(b, (struct ask){.id = 1, .charge = 7000});
    const struct engine_report *r =
        bench_end(b, (struct end){.id = 1, .outcome = ENGINE_LEFT, .partial = true});
    assert_int_equal(r->result, ENGINE_APPLIED);
    assert_int_equal(r->settlements[1].charged, 7000);
    assert_int_equal(b->suite.n_leases, 0);
    assert_int_equal(b->models[0].health.n_outcomes, 0);
}

static void test_after_a_loss_nothing_is_granted_for_a_time(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint64_t until_ms = b->now_ms + BENCH_W + BENCH_GUARD;
    b->suite.closed_until_ms = until_ms;
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 1, .n = 3});
    assert_false(v->granted);
    assert_int_equal(v->n_judged, 3);
    assert_int_equal(bench_judged(b, &b->models[0])->reasons, BIT(STATE_LOST));
    assert_int_equal(v->retry_at_ms, until_ms);
    assert_true(v->exact);
    /* Running calls go on: their leases are registered again, as many as there may be. */
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(bench_renew(b, 10 + i, 4, 100 + i), i < 5);
    }
    assert_true(bench_renew(b, 10, 4, 100));
    assert_false(bench_renew(b, 10, 5, 100)); /* somebody else's */
    assert_int_equal(bench_end(b, (struct end){.id = 10, .tokens = 3000})->result,
                     ENGINE_UNKNOWN_ID);
    assert_int_equal(b->suite.n_leases, 4);
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 117000);
    b->now_ms = until_ms;
    assert_false(bench_renew(b, 20, 4, 200));
    v = bench_ask(b, (struct ask){.id = 1, .n = 3});
    assert_true(v->granted);
    assert_true(v->fence > 104); /* fences go on ascending */
}

static void test_a_step_takes_reports_before_acquires(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.concurrency = 1;
    bench_ask(b, (struct ask){.id = 1});
    struct ask ask = {.id = 2};
    struct engine_acquire acquire = bench_acquire(b, &ask);
    b->report = (struct engine_report){
        .id = bench_id(1),
        .record = &b->records[1],
        .held = {&b->models[0], &b->suite, NULL},
        .outcome = ENGINE_OK,
        .model_tokens = 10,
        .pool_tokens = 10,
    };
    struct engine_event events[] = {{.acquire = &acquire}, {.report = &b->report}};
    uint64_t seq = b->suite.header.seq;
    engine_step(&b->rules, b->now_ms, ++b->stamp, events, ARRAY_LEN(events), NULL);
    assert_int_equal(b->report.result, ENGINE_APPLIED);
    assert_true(b->verdict.granted);
    /* One step is one write, however much it did. */
    assert_int_equal(b->suite.header.seq, seq + 1);
    assert_int_equal(bench_judged(b, &b->suite)->seq, seq + 1);
    assert_int_equal(b->suite.header.stamp, b->stamp);
    assert_int_equal(b->suite.header.epoch, 7);
}

static void test_peek_tells_and_changes_nothing(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    bench_ask(b, (struct ask){.id = 1, .charge = 100000});
    struct ask asks[] = {{.id = 2, .charge = 20000}, {.id = 2, .charge = 20001}};
    for (uint32_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct engine_acquire acquire = bench_acquire(b, &asks[i]);
        uint64_t before = digest(b);
        engine_peek(&b->rules, b->now_ms, &acquire, NULL);
        assert_int_equal(b->verdict.granted, i == 0);
        assert_true(digest(b) == before);
    }
    assert_int_equal(b->verdict.retry_at_ms, b->now_ms + BENCH_W + BENCH_GUARD);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_the_first_open_model_is_chosen),
    cmocka_unit_test(test_row_21_a_full_pool_never_reaches_another_model),
    cmocka_unit_test(test_all_pools_are_judged_and_the_latest_counts),
    cmocka_unit_test(test_no_model_open_means_the_earliest_of_all),
    cmocka_unit_test(test_the_time_is_that_of_whoever_is_chosen_then),
    cmocka_unit_test(test_row_1_five_large_requests_into_one_budget),
    cmocka_unit_test(test_row_2_a_refusal_writes_nothing),
    cmocka_unit_test(test_row_3_a_lost_report_costs_one_lease_time),
    cmocka_unit_test(test_row_4_a_long_call_keeps_its_place),
    cmocka_unit_test(test_row_7_the_time_is_exact_and_stands_still),
    cmocka_unit_test(test_row_10_only_too_large_refuses_when_idle),
    cmocka_unit_test(test_row_17_time_never_runs_backwards),
    cmocka_unit_test(test_an_id_is_charged_once),
    cmocka_unit_test(test_reports_take_effect_once),
    cmocka_unit_test(test_unknown_ids_leave_a_mark),
    cmocka_unit_test(test_a_dispatched_call_that_is_cancelled_keeps_its_charge),
    cmocka_unit_test(test_after_a_loss_nothing_is_granted_for_a_time),
    cmocka_unit_test(test_a_step_takes_reports_before_acquires),
    cmocka_unit_test(test_peek_tells_and_changes_nothing),
};

HARNESS_MAIN(tests)
