/* The limiter's engine: window of requests, pacer, leases, tokens, ring. */
#include "limiter_bench.h"

static void test_window_admits_n_and_is_half_open(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.concurrency = 0;
    uint64_t first_ms = b->now_ms;
    for (uint32_t i = 0; i < 30; i++) {
        b->now_ms = first_ms + i * 10;
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
        assert_int_equal(bench_judged(b, &b->suite)->remaining.requests, 29 - i);
    }
    uint64_t free_ms = first_ms + BENCH_W + BENCH_GUARD;
    struct {
        uint64_t now_ms;
        bool granted;
    } rows[] = {
        {first_ms + 290, false}, {first_ms + BENCH_W, false}, /* the guard counts too */
        {free_ms - 1, false},    {free_ms, true},
        {free_ms, false}, /* the second oldest is still in */
        {free_ms + 9, false},    {free_ms + 10, true},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        b->now_ms = rows[i].now_ms;
        const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 100 + i});
        assert_int_equal(v->granted, rows[i].granted);
        if (!v->granted) {
            assert_int_equal(bench_judged(b, &b->suite)->reasons, BIT(REQUESTS));
            assert_true(v->exact);
            assert_int_equal(v->retry_at_ms, rows[i].now_ms < free_ms ? free_ms : free_ms + 10);
        }
    }
}

static void test_pacer_spreads_after_its_burst(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.concurrency = 0;
    b->suite.limits.pacer_burst = 5;
    b->suite.limits.pacer_interval_ms = 2000;
    uint64_t start_ms = b->now_ms;
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
    }
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 5});
    assert_false(v->granted);
    assert_int_equal(bench_judged(b, &b->suite)->reasons, BIT(PACED));
    assert_int_equal(v->retry_at_ms, start_ms + 2000);
    assert_true(v->exact);
    b->now_ms = start_ms + 1999;
    assert_false(bench_ask(b, (struct ask){.id = 5})->granted);
    b->now_ms = start_ms + 2000;
    assert_true(bench_ask(b, (struct ask){.id = 5})->granted);
    assert_false(bench_ask(b, (struct ask){.id = 6})->granted);
    /* Idle time gives the burst back, and no more than that. */
    b->now_ms = start_ms + 50000;
    for (uint32_t i = 10; i < 15; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
    }
    assert_false(bench_ask(b, (struct ask){.id = 15})->granted);
}

static void test_refund_takes_the_admission_but_not_the_pace(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.requests = 3;
    b->suite.limits.pacer_burst = 5;
    b->suite.limits.pacer_interval_ms = 2000;
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i, .charge = 100 + i})->granted);
        b->now_ms += 10;
    }
    uint64_t tat_ms = b->suite.window.tat_ms;
    const struct engine_report *r = bench_end(b, (struct end){.id = 1, .undispatched = true});
    assert_int_equal(r->result, ENGINE_APPLIED);
    assert_int_equal(r->settlements[1].reserved, 101);
    assert_int_equal(r->settlements[1].charged, 0);
    assert_int_equal(b->suite.window.tat_ms, tat_ms);
    assert_int_equal(b->suite.window.n_log, 2);
    assert_int_equal(b->suite.window.log[0].tokens, 100);
    assert_int_equal(b->suite.window.log[1].tokens, 102);
    assert_int_equal(b->suite.n_leases, 2);
    assert_true(bench_ask(b, (struct ask){.id = 9})->granted);
    assert_false(bench_ask(b, (struct ask){.id = 10})->granted);
}

static void test_leases_bound_what_runs(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint64_t start_ms = b->now_ms;
    for (uint32_t i = 0; i < 5; i++) {
        b->now_ms = start_ms + i * 100;
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
    }
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 5});
    assert_false(v->granted);
    assert_int_equal(bench_judged(b, &b->suite)->reasons, BIT(CONCURRENCY));
    assert_int_equal(bench_judged(b, &b->suite)->remaining.leases, 0);
    assert_false(v->exact);
    assert_int_equal(v->retry_at_ms, start_ms + BENCH_T);
    /* A release is seen by the next decision; a second one frees nobody else's place. */
    bench_end(b, (struct end){.id = 3, .tokens = 1000});
    assert_int_equal(bench_end(b, (struct end){.id = 3, .tokens = 1000})->result, ENGINE_REPLAYED);
    assert_true(bench_ask(b, (struct ask){.id = 5})->granted);
    assert_false(bench_ask(b, (struct ask){.id = 6})->granted);
    /* The earliest that is not renewed decides. */
    b->now_ms = start_ms + 5000;
    assert_true(bench_renew(b, 0, 0, b->records[0].fence));
    v = bench_ask(b, (struct ask){.id = 6});
    assert_int_equal(v->retry_at_ms, start_ms + 100 + BENCH_T);
    b->now_ms = start_ms + 100 + BENCH_T;
    assert_false(bench_renew(b, 1, 0, b->records[1].fence));
    assert_true(bench_ask(b, (struct ask){.id = 6})->granted);
    assert_int_equal(b->suite.n_leases, 5);
}

static void test_lower_concurrency_waits_for_several(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint64_t start_ms = b->now_ms;
    for (uint32_t i = 0; i < 5; i++) {
        b->now_ms = start_ms + i * 100;
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
    }
    b->suite.limits.concurrency = 3;
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 5});
    assert_int_equal(v->retry_at_ms, start_ms + 200 + BENCH_T);
    b->now_ms = v->retry_at_ms;
    assert_true(bench_ask(b, (struct ask){.id = 5})->granted);
}

static void test_renewal_wants_the_right_holder(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint64_t fence = bench_ask(b, (struct ask){.id = 1, .session = 8})->fence;
    assert_true(bench_renew(b, 1, 8, fence));
    assert_false(bench_renew(b, 1, 9, fence));
    assert_false(bench_renew(b, 1, 8, fence + 1));
    assert_false(bench_renew(b, 2, 8, fence));
    bench_end(b, (struct end){.id = 1, .tokens = 1});
    assert_false(bench_renew(b, 1, 8, fence));
    /* Without a limit of concurrency there is nothing to lose, unless the call has ended. */
    b->suite.limits.concurrency = 0;
    assert_true(bench_renew(b, 2, 8, fence));
    assert_false(bench_renew(b, 1, 8, fence));
    assert_true(bench_ask(b, (struct ask){.id = 3, .session = 8})->fence > fence);
}

static void test_tokens_wait_until_enough_has_left(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint64_t start_ms = b->now_ms;
    uint64_t charges[] = {50000, 40000, 30000};
    for (uint32_t i = 0; i < ARRAY_LEN(charges); i++) {
        b->now_ms = start_ms + i * 1000;
        assert_true(bench_ask(b, (struct ask){.id = i, .charge = charges[i]})->granted);
    }
    uint64_t free_ms = start_ms + BENCH_W + BENCH_GUARD;
    struct {
        uint64_t charge, retry_at_ms;
        uint32_t reasons;
    } rows[] = {
        {1, free_ms, BIT(TOKENS)},
        {50000, free_ms, BIT(TOKENS)},
        {50001, free_ms + 1000, BIT(TOKENS)},
        {90000, free_ms + 1000, BIT(TOKENS)},
        {90001, free_ms + 2000, BIT(TOKENS)},
        {120000, free_ms + 2000, BIT(TOKENS)},
        {120001, 0, BIT(TOO_LARGE)},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct engine_verdict *v =
            bench_ask(b, (struct ask){.id = 10 + i, .charge = rows[i].charge});
        assert_false(v->granted);
        assert_int_equal(bench_judged(b, &b->suite)->reasons, rows[i].reasons);
        assert_int_equal(v->retry_at_ms, rows[i].retry_at_ms);
        assert_int_equal(v->exact, rows[i].retry_at_ms != 0);
    }
    b->now_ms = free_ms;
    assert_true(bench_ask(b, (struct ask){.id = 30, .charge = 50000})->granted);
}

static void test_settling_lowers_or_debits(void **state)
{
    (void)state;
    struct {
        const char *name;
        uint64_t reserved, used;
        bool partial;
        int64_t remaining;
    } rows[] = {
        {"less", 10000, 4000, false, 116000},
        {"same", 10000, 10000, false, 110000},
        {"more", 10000, 15000, false, 105000},
        {"nothing", 10000, 0, false, 120000},
        {"broken, less seen", 10000, 4000, true, 110000},
        {"broken, more seen", 10000, 12000, true, 108000},
    };
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench *b = bench_new();
        assert_true(bench_ask(b, (struct ask){.id = 1, .charge = rows[i].reserved})->granted);
        b->now_ms += 20000;
        const struct engine_report *r =
            bench_end(b, (struct end){.id = 1, .tokens = rows[i].used, .partial = rows[i].partial});
        print_message("# %s\n", rows[i].name);
        assert_int_equal(r->settlements[1].reserved, rows[i].reserved);
        assert_int_equal(r->settlements[1].remaining.tokens, rows[i].remaining);
        assert_int_equal(r->settlements[1].charged, 120000 - rows[i].remaining);
        /* The reservation leaves by its own age, a debit by the debit's. */
        b->now_ms += BENCH_W + BENCH_GUARD - 20000;
        uint64_t debit = rows[i].used > rows[i].reserved ? rows[i].used - rows[i].reserved : 0;
        assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 120000 - debit);
        b->now_ms += 20000;
        assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 120000);
    }
}

static void test_debt_stops_everybody_until_it_matures(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint64_t start_ms = b->now_ms;
    bench_ask(b, (struct ask){.id = 1, .charge = 100000});
    b->now_ms += 30000;
    const struct engine_report *r = bench_end(b, (struct end){.id = 1, .tokens = 150000});
    assert_int_equal(r->settlements[1].remaining.tokens, -30000);
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 2, .charge = 1});
    assert_false(v->granted);
    assert_int_equal(bench_judged(b, &b->suite)->remaining.tokens, -30000);
    assert_int_equal(v->retry_at_ms, start_ms + BENCH_W + BENCH_GUARD);
    b->now_ms = v->retry_at_ms;
    assert_true(bench_ask(b, (struct ask){.id = 2, .charge = 70000})->granted);
    assert_false(bench_ask(b, (struct ask){.id = 3, .charge = 1})->granted);
}

static void test_late_settling_changes_nothing_below_the_reservation(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.concurrency = 0;
    bench_ask(b, (struct ask){.id = 1, .charge = 50000});
    b->now_ms += BENCH_W + BENCH_GUARD;
    bench_ask(b, (struct ask){.id = 2, .charge = 50000});
    bench_end(b, (struct end){.id = 1, .tokens = 10});
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 70000);
    bench_ask(b, (struct ask){.id = 3, .charge = 10});
    b->now_ms += BENCH_W + BENCH_GUARD;
    bench_end(b, (struct end){.id = 3, .tokens = 5010});
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 115000);
}

static void test_debits_never_outgrow_their_list(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits.concurrency = 0;
    b->suite.limits.tokens = 10000000;
    for (uint32_t i = 0; i < 200; i++) {
        bench_end(b, (struct end){.id = i, .tokens = 10});
        b->now_ms += 10;
    }
    assert_int_equal(b->suite.window.n_debits, ENGINE_DEBITS_MOST);
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens, 10000000 - 2000);
    b->now_ms += BENCH_W;
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).tokens,
                     10000000 - 10 * 49); /* those younger than 500 ms */
}

/* limits of tokens only, as a provider grants them: kept in slots */
static void test_ring_is_an_upper_bound_of_the_log(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->suite.limits = (struct engine_limits){
        .requests = 100, .tokens = 100000, .window_ms = BENCH_W, .concurrency = 0};
    uint64_t slot_ms = (BENCH_W + BENCH_GUARD + 59) / 60;
    b->now_ms = 990 * slot_ms + 3;
    uint64_t end_ms = 991 * slot_ms;
    for (uint32_t i = 0; i < 100; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i, .charge = 500})->granted);
    }
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 200});
    assert_int_equal(bench_judged(b, &b->suite)->reasons, BIT(REQUESTS));
    assert_int_equal(v->retry_at_ms, end_ms + BENCH_W + BENCH_GUARD);
    assert_true(v->exact);
    v = bench_ask(b, (struct ask){.id = 200, .charge = 50001});
    assert_int_equal(bench_judged(b, &b->suite)->reasons, BIT(REQUESTS) | BIT(TOKENS));

    bench_end(b, (struct end){.id = 0, .undispatched = true});
    assert_int_equal(bench_judged(b, &b->suite)->remaining.tokens, 50000);
    bench_end(b, (struct end){.id = 1, .tokens = 100});
    bench_end(b, (struct end){.id = 2, .tokens = 900});
    struct engine_remaining left = engine_remaining(&b->rules, b->now_ms, &b->suite);
    assert_int_equal(left.requests, 1);
    assert_int_equal(left.tokens, 50000 + 500 + 400 - 400);

    b->now_ms = end_ms + BENCH_W + BENCH_GUARD - 1;
    assert_true(bench_ask(b, (struct ask){.id = 201})->granted);
    assert_false(bench_ask(b, (struct ask){.id = 202})->granted);
    b->now_ms++;
    left = engine_remaining(&b->rules, b->now_ms, &b->suite);
    assert_int_equal(left.requests, 99);
    assert_int_equal(left.tokens, 99000);
    /* A refund of what has left the ring changes nothing. */
    bench_end(b, (struct end){.id = 3, .undispatched = true});
    assert_int_equal(engine_remaining(&b->rules, b->now_ms, &b->suite).requests, 99);
}

static void test_tokens_alone_are_counted_too(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->models[0].limits.tokens = 3000;
    b->models[0].limits.window_ms = BENCH_W;
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
    }
    assert_false(bench_ask(b, (struct ask){.id = 3})->granted);
    assert_int_equal(bench_judged(b, &b->models[0])->reasons, BIT(TOKENS));
    assert_true(bench_judged(b, &b->suite) == NULL);
}

static void set_requests(struct bench *b, uint64_t requests)
{
    static struct engine_order order;
    order = (struct engine_order){
        .kind = ENGINE_LIMIT, .resource = &b->suite, .suite = &b->suite, .limits = b->suite.limits};
    order.limits.version++;
    order.limits.requests = requests;
    bench_step(b, (struct engine_event){.order = &order});
    assert_false(order.refused);
}

static void assert_left(struct bench *b, uint64_t requests, int64_t tokens)
{
    struct engine_remaining left = engine_remaining(&b->rules, b->now_ms, &b->suite);
    assert_int_equal(left.requests, requests);
    assert_int_equal(left.tokens, tokens);
}

static void test_what_counts_goes_on_counting_under_other_limits(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    uint64_t start_ms = b->now_ms;
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
        b->now_ms += 10;
    }
    set_requests(b, 4); /* fewer than there were */
    assert_left(b, 0, 115000);
    set_requests(b, 100); /* a ring */
    assert_left(b, 95, 115000);
    /* A number of before finds nothing: what is used less stays charged, what is more is added. */
    bench_end(b, (struct end){.id = 0, .tokens = 400});
    assert_left(b, 95, 115000);
    bench_end(b, (struct end){.id = 1, .tokens = 3000});
    assert_left(b, 95, 113000);
    bench_end(b, (struct end){.id = 2, .undispatched = true});
    assert_left(b, 95, 113000);
    assert_true(bench_ask(b, (struct ask){.id = 9})->granted);
    bench_end(b, (struct end){.id = 9, .tokens = 200});
    assert_left(b, 94, 112800);
    set_requests(b, 6); /* a log again */
    assert_left(b, 0, 112800);
    const struct engine_verdict *v = bench_ask(b, (struct ask){.id = 10});
    assert_false(v->granted);
    assert_true(v->retry_at_ms >= start_ms + BENCH_W + BENCH_GUARD);
    b->now_ms = v->retry_at_ms;
    assert_true(bench_ask(b, (struct ask){.id = 10})->granted);
    bench_end(b, (struct end){.id = 10, .undispatched = true});
    assert_left(b, 6, 120000);
}

/* A slot of a ring and an entry of a log that have the same number are not taken for each other. */
static void test_numbers_of_an_earlier_form_find_nothing(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    b->now_ms = 3000; /* the third slot of a minute's ring; in the log the first three entries */
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(bench_ask(b, (struct ask){.id = i})->granted);
    }
    set_requests(b, 100);
    assert_true(bench_ask(b, (struct ask){.id = 5, .charge = 7000})->granted);
    assert_left(b, 96, 110000);
    bench_end(b, (struct end){.id = 1, .tokens = 0});
    bench_end(b, (struct end){.id = 2, .undispatched = true});
    assert_left(b, 96, 110000);
}

static void test_progress_is_charged_once(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    bench_ask(b, (struct ask){.id = 1, .session = 8, .charge = 1000});
    struct engine_renewal lease = {
        .id = bench_id(1),
        .fence = 1,
        .record = &b->records[1],
        .held = {&b->models[0], &b->suite, NULL},
    };
    struct engine_renew renew = {.session = bench_id(8), .leases = &lease, .n_leases = 1};
    static const struct {
        uint64_t output;
        int64_t left;
    } rows[] = {{900, 119000},  {1000, 119000}, {1500, 118500},
                {1500, 118500}, {1200, 118500}, {2500, 117500}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        lease.pool_output = rows[i].output;
        b->now_ms += 100;
        bench_step(b, (struct engine_event){.renew = &renew});
        assert_false(lease.lost);
        assert_left(b, 29, rows[i].left);
    }
    assert_int_equal(b->suite.window.n_debits, 1);
    const struct engine_report *r = bench_end(b, (struct end){.id = 1, .tokens = 2000});
    assert_int_equal(r->settlements[1].charged, 2500); /* nothing is taken back */
    assert_left(b, 29, 117500);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_window_admits_n_and_is_half_open),
    cmocka_unit_test(test_pacer_spreads_after_its_burst),
    cmocka_unit_test(test_refund_takes_the_admission_but_not_the_pace),
    cmocka_unit_test(test_leases_bound_what_runs),
    cmocka_unit_test(test_lower_concurrency_waits_for_several),
    cmocka_unit_test(test_renewal_wants_the_right_holder),
    cmocka_unit_test(test_tokens_wait_until_enough_has_left),
    cmocka_unit_test(test_settling_lowers_or_debits),
    cmocka_unit_test(test_debt_stops_everybody_until_it_matures),
    cmocka_unit_test(test_late_settling_changes_nothing_below_the_reservation),
    cmocka_unit_test(test_debits_never_outgrow_their_list),
    cmocka_unit_test(test_ring_is_an_upper_bound_of_the_log),
    cmocka_unit_test(test_tokens_alone_are_counted_too),
    cmocka_unit_test(test_what_counts_goes_on_counting_under_other_limits),
    cmocka_unit_test(test_numbers_of_an_earlier_form_find_nothing),
    cmocka_unit_test(test_progress_is_charged_once),
};

HARNESS_MAIN(tests)
