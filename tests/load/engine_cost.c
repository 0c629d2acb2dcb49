/* engine_cost -- nanoseconds of the limiter's engine alone: a decision over a model, a tenant's
 * pool and the suite's with the default limits and a full window, the report of its end, a refusal.
 * The least of some rounds. */
#include <time.h>

#include "unit/limiter_bench.h"

#define ROUNDS 9
#define TIMES  20000

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const struct ask ask = {.n = BENCH_MODELS, .tenant = true};

static void step(struct bench *b, struct engine_event *event)
{
    b->now_ms = engine_step(&b->rules, b->now_ms, ++b->stamp, event, 1, NULL);
}

struct cost {
    double grant;
    double report;
    double refusal;
};

static void keep_least(double *least, uint64_t ns)
{
    double each = (double)ns / TIMES;
    *least = each < *least ? each : *least;
}

/* Grants and reports in turn, two seconds apart: the window holds its thirty all the time. */
static void measure_grants(struct bench *b, struct cost *cost)
{
    struct engine_acquire acquire = bench_acquire(b, &ask);
    uint64_t granting = 0, reporting = 0;
    for (uint32_t i = 0; i < TIMES; i++) {
        struct engine_report report = {
            .id = bench_id(i),
            .record = &b->records[i % BENCH_IDS],
            .held = {&b->models[0], &b->suite, &b->tenant},
            .outcome = ENGINE_OK,
            .model_tokens = 600,
            .pool_tokens = 600,
        };
        b->now_ms += 2100;
        memset(report.record, 0, sizeof(*report.record));
        acquire.id = bench_id(i);
        acquire.record = report.record;
        uint64_t begin = now_ns();
        step(b, &(struct engine_event){.acquire = &acquire});
        uint64_t granted = now_ns();
        check(b->verdict.granted && b->verdict.n_judged == 3);
        step(b, &(struct engine_event){.report = &report});
        uint64_t reported = now_ns();
        granting += granted - begin;
        reporting += reported - granted;
    }
    keep_least(&cost->grant, granting);
    keep_least(&cost->report, reporting);
}

static void measure_refusals(struct bench *b, struct cost *cost)
{
    struct engine_acquire acquire = bench_acquire(b, &ask);
    for (uint32_t i = 0; i < 5; i++) { /* all slots are taken */
        acquire.id = bench_id(TIMES + i);
        acquire.record = &b->records[i];
        memset(acquire.record, 0, sizeof(*acquire.record));
        step(b, &(struct engine_event){.acquire = &acquire});
    }
    acquire.record = &b->records[5];
    uint64_t begin = now_ns();
    for (uint32_t i = 0; i < TIMES; i++) {
        acquire.id = bench_id(2 * TIMES + i);
        memset(acquire.record, 0, sizeof(*acquire.record));
        step(b, &(struct engine_event){.acquire = &acquire});
    }
    keep_least(&cost->refusal, now_ns() - begin);
    check(!b->verdict.granted);
}

int main(void)
{
    struct cost cost = {1e9, 1e9, 1e9};
    uint64_t begin = now_ns();
    for (uint32_t i = 0; i < TIMES; i++) {
        (void)now_ns();
    }
    double clock_ns = (double)(now_ns() - begin) / TIMES; /* is in what is measured one by one */
    for (int round = 0; round < ROUNDS; round++) {
        struct bench *b = bench_new();
        b->tenant.limits = b->suite.limits;
        bench_shape(b);
        measure_grants(b, &cost);
        b->now_ms += 100000;
        measure_refusals(b, &cost);
    }
    printf("grant_ns %.0f\nreport_ns %.0f\nrefusal_ns %.0f\n", cost.grant - clock_ns,
           cost.report - clock_ns, cost.refusal);
    return 0;
}
