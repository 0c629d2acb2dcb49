/* The limiter's engine: cooldown, generations, breaker, probe, retirement. */
#include "limiter_bench.h"

static uint32_t next_id;

/* The suite's pool out of the way; calls go to the first model. */
static struct bench *health_bench(void)
{
    struct bench *b = bench_new();
    b->suite.limits = (struct engine_limits){0};
    next_id = 0;
    return b;
}

static uint32_t granted(struct bench *b)
{
    assert_true(bench_ask(b, (struct ask){.id = ++next_id})->granted);
    return next_id;
}

static void refused(struct bench *b, uint32_t reasons, uint64_t retry_at_ms, bool exact)
{
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = ++next_id});
    assert_false(v->granted);
    assert_int_equal(bench_judged(b, &b->models[0])->reasons, reasons);
    assert_int_equal(v->retry_at_ms, retry_at_ms);
    assert_int_equal(v->exact, exact);
}

static void ended(struct bench *b, uint32_t id, enum engine_outcome_kind outcome)
{
    bench_end(b, (struct end){.id = id, .outcome = outcome, .tokens = 1});
}

static void call(struct bench *b, enum engine_outcome_kind outcome)
{
    ended(b, granted(b), outcome);
}

static void test_cooldown_climbs_a_step_a_generation(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    uint64_t waits[] = {60000, 65000, 70000, 80000, 100000, 100000};
    for (uint32_t i = 0; i < ARRAY_LEN(waits); i++) {
        call(b, ENGINE_THROTTLED);
        refused(b, BIT(COOLDOWN), b->now_ms + waits[i], true);
        b->now_ms += waits[i] - 1;
        refused(b, BIT(COOLDOWN), b->now_ms + 1, true);
        b->now_ms++;
    }
    call(b, ENGINE_OK);
    call(b, ENGINE_THROTTLED);
    refused(b, BIT(COOLDOWN), b->now_ms + 60000, true);
}

/* limiter.md section 14, row 14 */
static void test_row_14_five_throttles_at_once_climb_one_step(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    uint32_t ids[5];
    for (uint32_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = granted(b);
    }
    uint64_t start_ms = b->now_ms;
    for (uint32_t i = 0; i < ARRAY_LEN(ids); i++) {
        ended(b, ids[i], ENGINE_THROTTLED);
        b->now_ms += 10;
    }
    assert_int_equal(b->models[0].health.level, 1);
    assert_int_equal(b->models[0].health.generation, 2);
    /* The late ones join with the base. */
    refused(b, BIT(COOLDOWN), start_ms + 40 + 60000, true);
}

/* limiter.md section 14, row 8 */
static void test_row_8_cooldown_is_a_join(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    uint32_t early = granted(b), late = granted(b), caller = granted(b), left = granted(b);
    uint32_t success = granted(b);
    uint64_t until_ms = b->now_ms + 300000;
    bench_end(b, (struct end){.id = early, .outcome = ENGINE_THROTTLED, .server_retry_ms = 300000});
    refused(b, BIT(COOLDOWN), until_ms, true);
    b->now_ms += 1000;
    bench_end(b, (struct end){.id = late, .outcome = ENGINE_THROTTLED, .server_retry_ms = 1});
    ended(b, caller, ENGINE_CALLER);
    ended(b, left, ENGINE_LEFT);
    ended(b, success, ENGINE_OK);
    refused(b, BIT(COOLDOWN), until_ms, true);
    assert_int_equal(b->models[0].health.level, 1); /* the success is of the old generation */
    assert_int_equal(b->models[0].health.n_outcomes, 1);
}

static void test_a_provider_that_asks_for_time_gets_it(void **state)
{
    (void)state;
    struct {
        enum engine_outcome_kind outcome;
        uint64_t asked_ms, waits_ms;
    } rows[] = {
        {ENGINE_THROTTLED, 0, 60000},
        {ENGINE_THROTTLED, 59999, 60000},
        {ENGINE_THROTTLED, 61000, 61000},
        {ENGINE_THROTTLED, 86400000, 3600000},
        {ENGINE_FAILED, 0, 0},
        {ENGINE_FAILED, 90000, 90000},
        {ENGINE_FAILED, 1, 60000},
        {ENGINE_CALLER, 90000, 0},
        {ENGINE_LEFT, 90000, 0},
        {ENGINE_OK, 90000, 0},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench *b = health_bench();
        bench_end(b, (struct end){.id = granted(b),
                                  .outcome = rows[i].outcome,
                                  .server_retry_ms = rows[i].asked_ms});
        if (rows[i].waits_ms > 0) {
            refused(b, BIT(COOLDOWN), b->now_ms + rows[i].waits_ms, true);
        } else {
            granted(b);
        }
    }
}

static void test_breaker_opens_at_half_of_six(void **state)
{
    (void)state;
    struct {
        const char *outcomes; /* o: OK, f: failed, others do not count */
        bool opens;
    } rows[] = {
        {"fffff", false},
        {"ooofff", true},
        {"fffooo", true},
        {"oooffo", false},
        {"ofofof", true},
        {"fffccccc", false},
        {"ffflll", false},
        {"oooooooffffff", false},
        {"ooooooofffffff", true},
        {"ooooooooooooooooooooffffffffff", true},
        {"oooooooooooooooooooofffffffff", false},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench *b = health_bench();
        print_message("# %s\n", rows[i].outcomes);
        for (const char *c = rows[i].outcomes; *c != '\0'; c++) {
            assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_CLOSED);
            call(b, *c == 'o'   ? ENGINE_OK
                    : *c == 'f' ? ENGINE_FAILED
                    : *c == 'c' ? ENGINE_CALLER
                                : ENGINE_LEFT);
        }
        assert_int_equal(b->models[0].health.breaker,
                         rows[i].opens ? ENGINE_BREAKER_OPEN : ENGINE_BREAKER_CLOSED);
    }
}

/* limiter.md section 14, row 12 */
static void test_row_12_breaker_opens_at_the_sixth_outcome(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    /* Two calls a minute: the outcomes are 10 minutes young at most. */
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_CLOSED);
        call(b, i % 2 == 0 ? ENGINE_OK : ENGINE_FAILED);
        b->now_ms += 30000;
    }
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_OPEN);
}

static void test_old_outcomes_do_not_count(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    for (uint32_t i = 0; i < 5; i++) {
        call(b, ENGINE_FAILED);
    }
    b->now_ms += 600000;
    call(b, ENGINE_FAILED);
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_CLOSED);
}

static void open_breaker(struct bench *b)
{
    for (uint32_t i = 0; i < 6; i++) {
        call(b, ENGINE_FAILED);
    }
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_OPEN);
    refused(b, BIT(BREAKER_OPEN), b->now_ms + 60000, true);
    b->now_ms += 60000;
}

/* limiter.md section 14, row 11 */
static void test_row_11_one_probe_and_recovery(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    uint32_t before = granted(b);
    open_breaker(b);
    uint32_t probe = granted(b);
    assert_true(b->verdict.probe);
    for (uint32_t i = 0; i < 20; i++) {
        refused(b, BIT(PROBE_RUNNING), b->now_ms + BENCH_T, false);
    }
    /* Who was under way before the opening decides nothing. */
    ended(b, before, ENGINE_FAILED);
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_HALF_OPEN);
    /* A renewed probe keeps its place. */
    b->now_ms += 10000;
    assert_true(bench_renew(b, probe, 0, b->records[probe].fence));
    b->now_ms += 10000;
    refused(b, BIT(PROBE_RUNNING), b->now_ms + 5000, false);
    uint64_t generation = b->models[0].health.generation;
    ended(b, probe, ENGINE_OK);
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_CLOSED);
    assert_int_equal(b->models[0].health.generation, generation + 1);
    assert_int_equal(b->models[0].health.n_outcomes, 0);
    granted(b);
    assert_false(b->verdict.probe);
}

static void test_probe_that_fails_opens_again(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    open_breaker(b);
    ended(b, granted(b), ENGINE_FAILED);
    refused(b, BIT(BREAKER_OPEN), b->now_ms + 60000, true);
    b->now_ms += 60000;
    granted(b);
    assert_true(b->verdict.probe);
}

static void test_probe_that_died_is_replaced(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    open_breaker(b);
    uint32_t first = granted(b);
    b->now_ms += BENCH_T;
    /* Expired, it decides nothing, whether or not it was replaced. */
    uint32_t second = granted(b);
    assert_true(b->verdict.probe);
    ended(b, first, ENGINE_OK);
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_HALF_OPEN);
    refused(b, BIT(PROBE_RUNNING), b->now_ms + BENCH_T, false);
    b->now_ms += BENCH_T;
    ended(b, second, ENGINE_FAILED);
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_HALF_OPEN);
    uint32_t third = granted(b);
    assert_true(b->verdict.probe);
    ended(b, third, ENGINE_OK);
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_CLOSED);
}

static void test_probe_without_verdict_makes_room(void **state)
{
    (void)state;
    enum engine_outcome_kind outcomes[] = {ENGINE_CALLER, ENGINE_LEFT, ENGINE_THROTTLED};
    for (uint32_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        struct bench *b = health_bench();
        open_breaker(b);
        ended(b, granted(b), outcomes[i]);
        assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_HALF_OPEN);
        if (outcomes[i] == ENGINE_THROTTLED) {
            refused(b, BIT(COOLDOWN), b->now_ms + 60000, true);
            b->now_ms += 60000;
        }
        granted(b);
        assert_true(b->verdict.probe);
    }
    struct bench *b = health_bench();
    open_breaker(b);
    bench_end(b, (struct end){.id = granted(b), .undispatched = true});
    granted(b);
    assert_true(b->verdict.probe);
}

/* It must pass all other predicates, also those of the pools. */
static void test_nobody_becomes_the_probe_without_a_grant(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    open_breaker(b);
    b->suite.limits.concurrency = 1;
    assert_true(bench_ask(b, (struct ask){.id = 1000, .first = 1})->granted);
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 1001});
    assert_false(v->granted);
    assert_int_equal(bench_judged(b, &b->models[0])->reasons, 0);
    assert_int_equal(b->models[0].health.breaker, ENGINE_BREAKER_OPEN);
    bench_end(b, (struct end){.id = 1000, .model = 1, .tokens = 1});
    assert_true(bench_ask(b, (struct ask){.id = 1001})->probe);
}

static void test_gone_has_no_time(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    b->models[0].limits.tokens = 100000;
    b->models[0].limits.window_ms = BENCH_W;
    const struct engine_report *r =
        bench_end(b, (struct end){.id = granted(b), .outcome = ENGINE_GONE, .tokens = 900});
    assert_int_equal(r->settlements[0].charged, 0);
    refused(b, BIT(MODEL_GONE), 0, false);
    b->now_ms += 86400000;
    refused(b, BIT(MODEL_GONE), 0, false);
    /* The next candidate serves, and its time is the one that counts. */
    assert_true(bench_ask(b, (struct ask){.id = ++next_id, .n = 2})->granted);
    assert_int_equal(b->verdict.candidate, 1);
    bench_end(b, (struct end){.id = next_id, .model = 1, .outcome = ENGINE_THROTTLED});
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = ++next_id, .n = 2});
    assert_int_equal(v->retry_at_ms, b->now_ms + 30000);
    assert_true(v->exact);
}

/* limiter.md section 14, rows 9 and 15 */
static void test_row_9_and_15_a_cooldown_is_seen_by_the_next_decision(void **state)
{
    (void)state;
    struct bench *b = health_bench();
    uint32_t upstream = 0, answered = 0;
    call(b, ENGINE_THROTTLED); /* the one call that finds out */
    for (uint32_t i = 0; i < 50; i++) {
        const struct engine_verdict *v = bench_ask(b, (struct ask){.id = ++next_id, .n = 3});
        assert_true(v->granted);
        assert_int_equal(v->candidate, 1);
        upstream++;
        answered++;
        bench_end(b, (struct end){.id = next_id, .model = 1, .tokens = 1});
        b->now_ms += 1000;
    }
    assert_int_equal(upstream, answered);
    b->now_ms += 10000;
    assert_int_equal(bench_ask(b, (struct ask){.id = ++next_id, .n = 3})->candidate, 0);
}

static void test_a_model_recovers_in_steps(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint32_t id = 1;
    b->rules.ramp = true;
    b->suite.limits = (struct engine_limits){0};
    b->models[0].limits.concurrency = 6;
    bench_ask(b, (struct ask){.id = id});
    bench_end(b, (struct end){.id = id++, .outcome = ENGINE_THROTTLED});
    b->now_ms += 61000;
    const uint32_t at_once[] = {1, 2, 4, 6, 6};
    for (uint32_t i = 0; i < ARRAY_LEN(at_once); i++) {
        uint32_t first = id;
        while (bench_ask(b, (struct ask){.id = id})->granted) {
            id++;
        }
        assert_int_equal(id - first, at_once[i]);
        assert_int_equal(bench_judged(b, &b->models[0])->reasons, BIT(CONCURRENCY));
        id++;
        bench_end(b, (struct end){.id = first, .tokens = 1}); /* a success */
        for (uint32_t other = first + 1; other + 1 < id; other++) {
            bench_end(b, (struct end){.id = other, .outcome = ENGINE_LEFT});
        }
    }
    /* Also where the model has no limit, until 64 run at once. */
    bench_ask(b, (struct ask){.id = id, .first = 1});
    bench_end(b, (struct end){.id = id++, .model = 1, .outcome = ENGINE_THROTTLED});
    b->now_ms += 31000;
    assert_true(bench_ask(b, (struct ask){.id = id, .first = 1})->granted);
    assert_false(bench_ask(b, (struct ask){.id = id + 1, .first = 1})->granted);
    bench_end(b, (struct end){.id = id, .model = 1, .tokens = 1});
    assert_int_equal(b->models[1].health.ramp, 2);
    assert_int_equal(b->models[1].n_leases, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_cooldown_climbs_a_step_a_generation),
    cmocka_unit_test(test_row_14_five_throttles_at_once_climb_one_step),
    cmocka_unit_test(test_row_8_cooldown_is_a_join),
    cmocka_unit_test(test_a_provider_that_asks_for_time_gets_it),
    cmocka_unit_test(test_breaker_opens_at_half_of_six),
    cmocka_unit_test(test_row_12_breaker_opens_at_the_sixth_outcome),
    cmocka_unit_test(test_old_outcomes_do_not_count),
    cmocka_unit_test(test_row_11_one_probe_and_recovery),
    cmocka_unit_test(test_probe_that_fails_opens_again),
    cmocka_unit_test(test_probe_that_died_is_replaced),
    cmocka_unit_test(test_probe_without_verdict_makes_room),
    cmocka_unit_test(test_nobody_becomes_the_probe_without_a_grant),
    cmocka_unit_test(test_gone_has_no_time),
    cmocka_unit_test(test_row_9_and_15_a_cooldown_is_seen_by_the_next_decision),
    cmocka_unit_test(test_a_model_recovers_in_steps),
};

HARNESS_MAIN(tests)
