/*
 * limiter_yard.h -- requests that wait at up to three limiters over the same resources, without a
 * service: the engine, its queues and a clock that is moved by hand.
 */
#ifndef PRISM_TESTS_LIMITER_YARD_H
#define PRISM_TESTS_LIMITER_YARD_H

#include "limiter_bench.h"

#define WAITERS_MOST 2048

/* A request that may wait, at one of several limiters. */
struct call {
    struct engine_waiter waiter;
    struct engine_acquire acquire;
    struct engine_candidate candidate;
    struct engine_verdict verdict;
    uint32_t id;
    uint32_t limiter;
    uint64_t asked_ms;
    uint64_t ended_ms; /* 0: it waits, or has not asked */
    uint32_t turn;     /* when it was granted, among all; 0: not */
};

struct yard {
    struct bench *b;
    struct engine_queue queues[3];
    struct call calls[WAITERS_MOST];
    uint32_t n;
    uint32_t turns;
    struct engine_wake wakes[ENGINE_WAKES_MOST]; /* of the last step */
    size_t n_wakes;
};

static inline struct yard *yard_new(bool shared)
{
    static struct yard yard;
    struct yard *y = &yard;
    memset(y, 0, sizeof(*y));
    y->b = bench_new();
    y->b->rules.aging_ms = 30000;
    y->b->rules.head_ms = 2000;
    y->b->rules.waiters_most = WAITERS_MOST;
    y->b->rules.tenant_waiters_most = WAITERS_MOST;
    for (uint32_t i = 0; i < ARRAY_LEN(y->queues); i++) {
        engine_queue_init(&y->queues[i], i + 1, shared);
    }
    return y;
}

static inline void took(struct yard *y, struct call *call)
{
    call->ended_ms = y->b->now_ms;
    call->turn = call->verdict.granted ? ++y->turns : 0;
}

static inline void step(struct yard *y, uint32_t limiter, struct engine_event *events, size_t n)
{
    struct engine_queue *queue = &y->queues[limiter];
    bench_shape(y->b);
    queue->suite = &y->b->suite;
    y->b->now_ms = engine_step(&y->b->rules, y->b->now_ms, ++y->b->stamp, events, n, queue);
    for (struct engine_waiter *w; (w = engine_queue_take_ended(queue)) != NULL;) {
        took(y, CONTAINER_OF(w, struct call, waiter));
    }
    y->n_wakes = queue->n_wakes;
    memcpy(y->wakes, queue->wakes, sizeof(y->wakes));
    for (size_t i = 0; i < y->n_wakes; i++) { /* they hear of it a little later */
        struct engine_queue *other = &y->queues[y->wakes[i].limiter - 1];
        uint64_t heard_ms = y->b->now_ms + 1;
        other->wake_ms = heard_ms < other->wake_ms ? heard_ms : other->wake_ms;
    }
}

static inline void tick(struct yard *y, uint32_t limiter)
{
    step(y, limiter, NULL, 0);
}

/* Time passes, and each of the limiters steps when it wanted to. */
static inline void pass(struct yard *y, uint32_t limiters, uint64_t ms)
{
    uint64_t until_ms = y->b->now_ms + ms;
    for (;;) {
        uint32_t first = 0;
        for (uint32_t i = 1; i < limiters; i++) {
            first = y->queues[i].wake_ms < y->queues[first].wake_ms ? i : first;
        }
        uint64_t wake_ms = y->queues[first].wake_ms;
        if (wake_ms > until_ms) {
            break;
        }
        y->b->now_ms = wake_ms > y->b->now_ms ? wake_ms : y->b->now_ms;
        tick(y, first);
    }
    y->b->now_ms = until_ms;
}

struct want {
    uint32_t limiter;
    uint32_t model;
    uint64_t tenant;   /* has no pool, unless it is POOLED */
    uint32_t priority; /* 0 urgent */
    uint32_t weight;
    uint64_t charge; /* 0: 1,000 */
    uint64_t wait_ms;
};

#define POOLED 99

static inline struct call *ask(struct yard *y, struct want want)
{
    struct bench *b = y->b;
    check(y->n < WAITERS_MOST);
    struct call *call = &y->calls[y->n];
    uint64_t charge = want.charge > 0 ? want.charge : 1000;
    call->id = y->n++;
    call->asked_ms = b->now_ms;
    call->limiter = want.limiter;
    call->candidate = (struct engine_candidate){
        .model = &b->models[want.model], .model_charge = charge, .pool_charge = charge};
    call->acquire = (struct engine_acquire){
        .id = bench_id(call->id),
        .candidates = &call->candidate,
        .n_candidates = 1,
        .pools = {&b->suite, &b->tenant},
        .n_pools = want.tenant == POOLED ? 2 : 1,
        .record = &b->records[call->id],
        .tenant = want.tenant,
        .weight = want.weight,
        .priority = want.priority,
        .waiter = want.wait_ms > 0 ? &call->waiter : NULL,
        .deadline_ms = b->now_ms + want.wait_ms,
        .verdict = &call->verdict,
    };
    step(y, want.limiter, &(struct engine_event){.acquire = &call->acquire}, 1);
    if (!call->verdict.queued) {
        took(y, call);
    }
    return call;
}

static inline void end(struct yard *y, uint32_t limiter, const struct call *call)
{
    struct bench *b = y->b;
    b->report = (struct engine_report){
        .id = bench_id(call->id),
        .record = &b->records[call->id],
        .held = {call->candidate.model, &b->suite, call->acquire.n_pools == 2 ? &b->tenant : NULL},
        .outcome = ENGINE_OK,
        .model_tokens = 10,
        .pool_tokens = 10,
    };
    step(y, limiter, &(struct engine_event){.report = &b->report}, 1);
}

static inline bool waits(const struct call *call)
{
    return call->ended_ms == 0;
}

/* One at a time, nothing else. */
static inline void only_concurrency(struct yard *y, uint32_t most)
{
    y->b->suite.limits = (struct engine_limits){.concurrency = most};
}

#define HOUR 3600000

#endif
