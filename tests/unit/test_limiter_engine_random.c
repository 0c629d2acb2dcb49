/*
 * The limiter's engine under random events, judged by an oracle that keeps plain lists of what was
 * admitted, settled and leased, and counts by brute force.
 */
#include <stdlib.h>

#include "limiter_bench.h"

#define STEPS        50000
#define LIVE_MOST    256 /* ids the test still plays with */
#define HISTORY_MOST 4096

struct admission {
    uint32_t id;
    uint64_t at_ms;
    uint64_t tokens;
    bool refunded;
};

struct lease {
    uint32_t id;
    uint64_t expires_ms;
};

/* What the oracle knows of one resource. */
struct books {
    struct engine_resource *resource;
    struct admission history[HISTORY_MOST];
    uint32_t n;
    struct admission debits[HISTORY_MOST];
    uint32_t n_debits;
    struct lease leases[LIVE_MOST];
    uint32_t n_leases;
    uint32_t probe; /* id + 1 of the running one */
    uint64_t probe_expires_ms;
};

/* A call the test has in hand. */
struct call {
    uint32_t id;
    uint32_t model;
    uint64_t fence;
    uint64_t model_charge;
    uint64_t pool_charge;
    bool tenant;
    bool ended;
};

struct world {
    struct bench *bench;
    uint32_t seed;
    uint32_t next_id;
    struct books books[2 + BENCH_MODELS]; /* suite, tenant, models */
    struct call calls[LIVE_MOST];
    uint32_t n_calls;
    uint64_t granted, refused, lost, retries;
};

static uint32_t below(struct world *w, uint32_t n)
{
    return harness_random(&w->seed) % n;
}

static struct engine_record *record_of(struct world *w, uint32_t id)
{
    return &w->bench->records[id % BENCH_IDS];
}

/* --- the oracle --------------------------------------------------------------------------------
 */

static void books_admit(struct books *k, uint32_t id, uint64_t at_ms, uint64_t tokens,
                        uint64_t expires_ms)
{
    if (k->n == HISTORY_MOST) {
        k->n = HISTORY_MOST / 2;
        memmove(k->history, k->history + HISTORY_MOST / 2, k->n * sizeof(k->history[0]));
    }
    k->history[k->n++] = (struct admission){id, at_ms, tokens, false};
    if (k->resource->limits.concurrency > 0) {
        for (uint32_t i = k->n_leases; i-- > 0;) { /* the dead are never asked for again */
            if (k->leases[i].expires_ms <= at_ms) {
                k->leases[i] = k->leases[--k->n_leases];
            }
        }
        assert_true(k->n_leases < LIVE_MOST);
        k->leases[k->n_leases++] = (struct lease){id, expires_ms};
    }
}

static struct lease *books_lease(struct books *k, uint32_t id)
{
    for (uint32_t i = 0; i < k->n_leases; i++) {
        if (k->leases[i].id == id) {
            return &k->leases[i];
        }
    }
    return NULL;
}

static void books_release(struct books *k, uint32_t id)
{
    struct lease *lease = books_lease(k, id);
    if (lease != NULL) {
        *lease = k->leases[--k->n_leases];
    }
}

static struct admission *books_find(struct books *k, uint32_t id)
{
    for (uint32_t i = k->n; i-- > 0;) {
        if (k->history[i].id == id) {
            return &k->history[i];
        }
    }
    return NULL;
}

static void books_settle(struct books *k, uint32_t id, uint64_t now_ms, uint64_t used)
{
    struct admission *a = books_find(k, id);
    books_release(k, id);
    if (a == NULL || used == a->tokens) {
        return;
    }
    if (used < a->tokens) {
        a->tokens = used;
        return;
    }
    if (k->n_debits == HISTORY_MOST) {
        k->n_debits = HISTORY_MOST / 2;
        memmove(k->debits, k->debits + HISTORY_MOST / 2, k->n_debits * sizeof(k->debits[0]));
    }
    k->debits[k->n_debits++] = (struct admission){id, now_ms, used - a->tokens, false};
}

static uint64_t books_requests(const struct books *k, uint64_t now_ms, uint64_t span_ms)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < k->n; i++) {
        n += !k->history[i].refunded && k->history[i].at_ms + span_ms > now_ms;
    }
    return n;
}

static uint64_t books_tokens(const struct books *k, uint64_t now_ms, uint64_t span_ms)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < k->n; i++) {
        if (!k->history[i].refunded && k->history[i].at_ms + span_ms > now_ms) {
            sum += k->history[i].tokens;
        }
    }
    for (uint32_t i = 0; i < k->n_debits; i++) {
        sum += k->debits[i].at_ms + span_ms > now_ms ? k->debits[i].tokens : 0;
    }
    return sum;
}

static uint32_t books_live(const struct books *k, uint64_t now_ms)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < k->n_leases; i++) {
        live += k->leases[i].expires_ms > now_ms;
    }
    return live;
}

/* After a grant: I1, I2, I3; and what is said to remain is what the books say. */
static void books_check_grant(struct world *w, struct books *k, uint64_t charge)
{
    struct bench *b = w->bench;
    const struct engine_limits *limits = &k->resource->limits;
    const struct engine_judgement *j = bench_judged(b, k->resource);
    assert_non_null(j);
    assert_int_equal(j->reasons, 0);
    assert_int_equal(j->charge, charge);
    uint64_t span_ms = limits->window_ms + b->rules.guard_ms;
    bool log = limits->requests > 0 && limits->requests <= ENGINE_LOG_MOST;
    if (limits->requests > 0) {
        assert_true(books_requests(k, b->now_ms, limits->window_ms) <= limits->requests);
        uint64_t n = books_requests(k, b->now_ms, span_ms);
        assert_true(n <= limits->requests);
        assert_true(log ? j->remaining.requests == limits->requests - n
                        : j->remaining.requests <= limits->requests - n);
    }
    if (limits->tokens > 0) {
        uint64_t sum = books_tokens(k, b->now_ms, span_ms);
        assert_true(sum <= limits->tokens);
        int64_t left = (int64_t)(limits->tokens - sum);
        assert_true(log ? j->remaining.tokens == left : j->remaining.tokens <= left);
        assert_true(j->remaining.tokens >= 0);
    }
    if (limits->concurrency > 0) {
        uint32_t live = books_live(k, b->now_ms);
        assert_true(live <= limits->concurrency);
        assert_int_equal(j->remaining.leases, limits->concurrency - live);
    }
}

/* A reason that is given is true, by the books. */
static void books_check_reasons(struct world *w, const struct engine_judgement *j)
{
    struct bench *b = w->bench;
    for (uint32_t i = 0; i < ARRAY_LEN(w->books); i++) {
        const struct books *k = &w->books[i];
        if (k->resource != j->resource) {
            continue;
        }
        const struct engine_limits *limits = &k->resource->limits;
        uint64_t span_ms = limits->window_ms + b->rules.guard_ms;
        if (limits->requests > 0 && limits->requests <= ENGINE_LOG_MOST) {
            assert_int_equal((j->reasons & BIT(REQUESTS)) != 0,
                             books_requests(k, b->now_ms, span_ms) >= limits->requests);
            bool fits = books_tokens(k, b->now_ms, span_ms) + j->charge <= limits->tokens;
            bool refused = (j->reasons & (BIT(TOKENS) | BIT(TOO_LARGE))) != 0;
            assert_int_equal(refused, limits->tokens > 0 && !fits);
        }
        assert_int_equal((j->reasons & BIT(CONCURRENCY)) != 0,
                         limits->concurrency > 0 &&
                             books_live(k, b->now_ms) >= limits->concurrency);
    }
}

/* --- events ------------------------------------------------------------------------------------
 */

static struct engine_acquire random_acquire(struct world *w, struct call *call)
{
    static struct engine_candidate candidates[BENCH_MODELS];
    struct bench *b = w->bench;
    uint32_t n = 1 + below(w, BENCH_MODELS), first = below(w, BENCH_MODELS);
    uint32_t most = below(w, 8) == 0 ? 130000 : 12000;
    for (uint32_t i = 0; i < n; i++) {
        candidates[i] = (struct engine_candidate){
            .model = &b->models[(first + i) % BENCH_MODELS],
            .model_charge = 1 + below(w, most),
            .pool_charge = 1 + below(w, most),
        };
    }
    *call = (struct call){.id = w->next_id++, .tenant = below(w, 2) == 0};
    memset(record_of(w, call->id), 0, sizeof(struct engine_record));
    return (struct engine_acquire){
        .id = bench_id(call->id),
        .session = bench_id(1),
        .candidates = candidates,
        .n_candidates = n,
        .pools = {&b->suite, &b->tenant},
        .n_pools = call->tenant ? 2 : 1,
        .record = record_of(w, call->id),
        .verdict = &b->verdict,
    };
}

static void keep(struct world *w, const struct call *call)
{
    uint32_t place = w->n_calls < LIVE_MOST ? w->n_calls++ : below(w, LIVE_MOST);
    w->calls[place] = *call;
}

static void on_grant(struct world *w, const struct engine_acquire *acquire, struct call *call)
{
    struct bench *b = w->bench;
    const struct engine_verdict *v = &b->verdict;
    const struct engine_candidate *chosen = &acquire->candidates[v->candidate];
    call->model = (uint32_t)(chosen->model - b->models);
    call->fence = v->fence;
    call->model_charge = chosen->model_charge;
    call->pool_charge = chosen->pool_charge;
    /* I10: everybody before it was closed for its own reasons. */
    assert_int_equal(v->n_judged, v->candidate + 1 + acquire->n_pools);
    for (uint32_t i = 0; i < v->candidate; i++) {
        assert_true(v->judged[i].reasons != 0);
    }
    struct books *model = &w->books[2 + call->model];
    if (v->probe) { /* I5 */
        assert_true(model->probe == 0 || model->probe_expires_ms <= b->now_ms);
        model->probe = call->id + 1;
        model->probe_expires_ms = b->now_ms + b->rules.lease_ms;
    }
    uint64_t expires_ms = b->now_ms + b->rules.lease_ms;
    books_admit(&w->books[0], call->id, b->now_ms, call->pool_charge, expires_ms);
    books_check_grant(w, &w->books[0], call->pool_charge);
    if (call->tenant) {
        books_admit(&w->books[1], call->id, b->now_ms, call->pool_charge, expires_ms);
        books_check_grant(w, &w->books[1], call->pool_charge);
    }
    books_admit(model, call->id, b->now_ms, call->model_charge, expires_ms);
    books_check_grant(w, model, call->model_charge);
    keep(w, call);
    w->granted++;
}

/* The time that was told is the first at which it would go through. */
static void on_refusal(struct world *w, struct engine_acquire *acquire)
{
    struct bench *b = w->bench;
    struct engine_verdict told = b->verdict;
    for (size_t i = 0; i < told.n_judged; i++) {
        books_check_reasons(w, &told.judged[i]);
    }
    w->refused++;
    if (told.retry_at_ms == 0) {
        engine_peek(&b->rules, b->now_ms + 86400000, acquire, NULL);
        assert_false(b->verdict.granted);
        return;
    }
    assert_true(told.retry_at_ms > b->now_ms);
    engine_peek(&b->rules, told.retry_at_ms, acquire, NULL);
    assert_true(b->verdict.granted);
    engine_peek(&b->rules, told.retry_at_ms - 1, acquire, NULL);
    assert_false(b->verdict.granted);
    w->retries++;
    if (below(w, 10) == 0 && told.retry_at_ms < b->now_ms + 30000) {
        b->now_ms = told.retry_at_ms - below(w, 2);
    }
}

static void event_acquire(struct world *w)
{
    static struct engine_resource before[2 + BENCH_MODELS];
    struct bench *b = w->bench;
    struct call call;
    struct engine_acquire acquire = random_acquire(w, &call);
    struct engine_record absent = *acquire.record;
    memcpy(before, &b->suite, sizeof(before));
    bench_step(b, (struct engine_event){.acquire = &acquire});
    if (b->verdict.granted) {
        on_grant(w, &acquire, &call);
        return;
    }
    /* I7 */
    assert_memory_equal(before, &b->suite, sizeof(before));
    assert_memory_equal(&absent, acquire.record, sizeof(absent));
    on_refusal(w, &acquire);
}

static struct engine_report report_of(struct world *w, const struct call *call)
{
    struct bench *b = w->bench;
    return (struct engine_report){
        .id = bench_id(call->id),
        .record = record_of(w, call->id),
        .held = {&b->models[call->model], &b->suite, call->tenant ? &b->tenant : NULL},
    };
}

static void event_complete(struct world *w, struct call *call)
{
    static const enum engine_outcome_kind outcomes[] = {
        ENGINE_OK, ENGINE_OK,     ENGINE_OK,   ENGINE_OK,        ENGINE_OK,
        ENGINE_OK, ENGINE_CALLER, ENGINE_LEFT, ENGINE_THROTTLED, ENGINE_FAILED,
    };
    struct bench *b = w->bench;
    struct engine_report report = report_of(w, call);
    bool bad_times = w->next_id / 500 % 3 == 0;
    report.outcome =
        bad_times && below(w, 2) == 0 ? ENGINE_FAILED : outcomes[below(w, ARRAY_LEN(outcomes))];
    report.model_tokens = below(w, 4) == 0 ? below(w, 20000) : below(w, 3000);
    report.pool_tokens = below(w, 4) == 0 ? below(w, 20000) : below(w, 3000);
    report.partial = below(w, 8) == 0;
    report.server_retry_ms = below(w, 20) == 0 ? below(w, 90000) : 0;
    report.digest = harness_random(&w->seed);
    bench_step(b, (struct engine_event){.report = &report});
    if (call->ended) { /* I4 */
        assert_true(report.result != ENGINE_APPLIED && report.n_settlements == 0);
        return;
    }
    assert_int_equal(report.result, ENGINE_APPLIED);
    uint64_t model = report.model_tokens, pool = report.pool_tokens;
    if (report.partial) {
        model = model < call->model_charge ? call->model_charge : model;
        pool = pool < call->pool_charge ? call->pool_charge : pool;
    }
    books_settle(&w->books[0], call->id, b->now_ms, pool);
    if (call->tenant) {
        books_settle(&w->books[1], call->id, b->now_ms, pool);
    }
    struct books *k = &w->books[2 + call->model];
    books_settle(k, call->id, b->now_ms, model);
    k->probe = k->probe == call->id + 1 ? 0 : k->probe;
    call->ended = true;
}

static void event_cancel(struct world *w, struct call *call)
{
    struct bench *b = w->bench;
    struct engine_report report = report_of(w, call);
    report.undispatched = true;
    bench_step(b, (struct engine_event){.report = &report});
    if (call->ended) {
        assert_true(report.result != ENGINE_APPLIED && report.n_settlements == 0);
        return;
    }
    assert_int_equal(report.result, ENGINE_APPLIED);
    struct books *held[] = {&w->books[0], call->tenant ? &w->books[1] : NULL,
                            &w->books[2 + call->model]};
    for (uint32_t i = 0; i < ARRAY_LEN(held); i++) {
        if (held[i] != NULL) {
            books_release(held[i], call->id);
            books_find(held[i], call->id)->refunded = true;
        }
    }
    held[2]->probe = held[2]->probe == call->id + 1 ? 0 : held[2]->probe;
    call->ended = true;
}

static void event_renew(struct world *w, struct call *call)
{
    struct bench *b = w->bench;
    struct engine_renewal lease = {
        .id = bench_id(call->id),
        .fence = call->fence,
        .record = record_of(w, call->id),
        .held = {&b->models[call->model], &b->suite, call->tenant ? &b->tenant : NULL}};
    struct engine_renew renew = {.session = bench_id(1), .leases = &lease, .n_leases = 1};
    bench_step(b, (struct engine_event){.renew = &renew});
    struct books *held[] = {&w->books[2 + call->model], &w->books[0],
                            call->tenant ? &w->books[1] : NULL};
    bool lost = call->ended;
    for (uint32_t i = 0; i < ARRAY_LEN(held); i++) {
        if (held[i] != NULL && held[i]->resource->limits.concurrency > 0) {
            struct lease *own = books_lease(held[i], call->id);
            lost = lost || own == NULL || own->expires_ms <= b->now_ms;
        }
    }
    assert_int_equal(lease.lost, lost);
    w->lost += lost;
    for (uint32_t i = 0; !lost && i < ARRAY_LEN(held); i++) {
        struct lease *own = held[i] != NULL ? books_lease(held[i], call->id) : NULL;
        if (own != NULL) {
            own->expires_ms = b->now_ms + b->rules.lease_ms;
        }
    }
    if (!lost && held[0]->probe == call->id + 1 && held[0]->probe_expires_ms > b->now_ms) {
        held[0]->probe_expires_ms = b->now_ms + b->rules.lease_ms;
    }
}

static void event_any(struct world *w)
{
    uint32_t kind = below(w, 100);
    if (kind < 45 || w->n_calls == 0) {
        event_acquire(w);
        return;
    }
    struct call *call = &w->calls[below(w, w->n_calls)];
    if (kind < 75) {
        event_complete(w, call);
    } else if (kind < 80) {
        event_cancel(w, call);
    } else {
        event_renew(w, call);
    }
}

static void run(const struct engine_limits *suite, const struct engine_limits *tenant,
                const struct engine_limits *model, uint64_t pause_ms)
{
    static struct world world;
    struct world *w = &world;
    memset(w, 0, sizeof(*w));
    w->bench = bench_new();
    w->seed = 20260101;
    w->bench->rules.record_done_ms = 86400000; /* ids are not used again */
    w->bench->suite.limits = *suite;
    w->bench->tenant.limits = *tenant;
    w->books[0].resource = &w->bench->suite;
    w->books[1].resource = &w->bench->tenant;
    for (uint32_t i = 0; i < BENCH_MODELS; i++) {
        w->bench->models[i].limits = *model;
        w->books[2 + i].resource = &w->bench->models[i];
    }
    bench_shape(w->bench);
    for (uint32_t i = 0; i < STEPS; i++) {
        w->bench->now_ms +=
            below(w, 50) == 0 ? below(w, (uint32_t)pause_ms * 20) : below(w, (uint32_t)pause_ms);
        /* Those who ended make room: the test plays with young calls most of the time. */
        if (w->n_calls > 20 && below(w, 4) == 0) {
            w->calls[below(w, w->n_calls)] = w->calls[w->n_calls - 1];
            w->n_calls--;
        }
        event_any(w);
    }
    print_message("# %d events: %llu granted, %llu refused, %llu times told, %llu leases lost\n",
                  STEPS, (unsigned long long)w->granted, (unsigned long long)w->refused,
                  (unsigned long long)w->retries, (unsigned long long)w->lost);
    assert_true(w->granted > 300 && w->refused > 300 && w->retries > 300);
}

static void test_the_suite_as_it_is_by_default(void **state)
{
    (void)state;
    struct engine_limits suite = {.requests = 30,
                                  .tokens = 120000,
                                  .window_ms = BENCH_W,
                                  .concurrency = 5,
                                  .pacer_burst = 5,
                                  .pacer_interval_ms = 2000};
    struct engine_limits none = {0}, model = {.cooldown_ms = 30000};
    run(&suite, &none, &model, 1000);
}

static void test_every_limit_everywhere(void **state)
{
    (void)state;
    struct engine_limits suite = {
        .requests = 20, .tokens = 100000, .window_ms = 20000, .concurrency = 8};
    struct engine_limits tenant = {.requests = 7,
                                   .tokens = 60000,
                                   .window_ms = 30000,
                                   .concurrency = 3,
                                   .pacer_burst = 3,
                                   .pacer_interval_ms = 1500};
    struct engine_limits model = {
        .requests = 10, .tokens = 50000, .window_ms = 10000, .concurrency = 3, .cooldown_ms = 5000};
    run(&suite, &tenant, &model, 700);
}

static void test_rings(void **state)
{
    (void)state;
    struct engine_limits suite = {.requests = 100, .tokens = 400000, .window_ms = BENCH_W};
    struct engine_limits tenant = {.tokens = 300000, .window_ms = 40000};
    struct engine_limits model = {.requests = 65,
                                  .window_ms = 30000,
                                  .concurrency = 64,
                                  .pacer_burst = 10,
                                  .pacer_interval_ms = 460,
                                  .cooldown_ms = 5000};
    run(&suite, &tenant, &model, 150);
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    struct engine_limits suite = {.requests = 64, .window_ms = 1000, .concurrency = 1};
    struct engine_limits tenant = {.requests = 1, .tokens = 5000, .window_ms = 700};
    struct engine_limits model = {.tokens = 20000, .window_ms = 600, .cooldown_ms = 100};
    run(&suite, &tenant, &model, 200);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_the_suite_as_it_is_by_default),
    cmocka_unit_test(test_every_limit_everywhere),
    cmocka_unit_test(test_rings),
    cmocka_unit_test(test_one_at_a_time),
};

HARNESS_MAIN(tests)
