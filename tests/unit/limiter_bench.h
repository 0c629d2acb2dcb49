/*
 * limiter_bench.h -- the limiter's engine on a bench: one suite, one tenant, three models, and a
 * clock that is moved by hand. For the engine's own tests.
 */
#ifndef PRISM_TESTS_LIMITER_BENCH_H
#define PRISM_TESTS_LIMITER_BENCH_H

#include <string.h>

#include "harness.h"
#include "limiter/engine_parts.h"
#include "limiter_rules.h"

#define BENCH_IDS    4096
#define BENCH_MODELS 3
#define BENCH_W      60000u
#define BENCH_GUARD  500u
#define BENCH_T      15000u

struct bench {
    struct engine_rules rules;
    uint64_t now_ms;
    uint64_t stamp;
    struct engine_resource suite;
    struct engine_resource tenant;
    struct engine_resource models[BENCH_MODELS];
    struct engine_record records[BENCH_IDS];
    struct engine_verdict verdict;
    struct engine_report report;
    struct engine_queue *queue; /* NULL: nobody waits */
};

/* One request. Charges that are 0 are 1,000. */
struct ask {
    uint32_t id;
    uint32_t session;
    uint32_t n; /* candidates, 0: one, the models in their order from `first` */
    uint32_t first;
    uint64_t charge;
    uint64_t model_charge[BENCH_MODELS];
    uint64_t pool_charge[BENCH_MODELS];
    bool tenant; /* has a pool */
};

static inline struct engine_id bench_id(uint32_t n)
{
    struct engine_id id = {{0}};
    memcpy(id.bytes, &n, sizeof(n));
    return id;
}

static inline void bench_resource(struct bench *b, struct engine_resource *resource,
                                  const char *name, enum engine_kind kind,
                                  struct engine_limits limits)
{
    uint64_t hash = 1469598103934665603u;
    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (uint8_t)*c) * 1099511628211u;
    }
    engine_resource_init(resource, span_str(name), hash, kind, &limits, &b->rules);
}

/* The defaults of the suite, but no pacer; models and tenant without limits. */
static inline struct bench *bench_new(void)
{
    static struct bench bench;
    struct bench *b = &bench;
    memset(b, 0, sizeof(*b));
    b->rules = (struct engine_rules){LIMITER_RULES};
    b->now_ms = 1000000;
    struct engine_limits suite = {
        .requests = 30, .tokens = 120000, .window_ms = BENCH_W, .concurrency = 5};
    bench_resource(b, &b->suite, "suite", ENGINE_POOL, suite);
    b->suite.header.epoch = 7;
    bench_resource(b, &b->tenant, "tenant:t", ENGINE_POOL, (struct engine_limits){0});
    bench_resource(b, &b->models[0], "m0", ENGINE_MODEL,
                   (struct engine_limits){.cooldown_ms = 60000});
    bench_resource(b, &b->models[1], "m1", ENGINE_MODEL,
                   (struct engine_limits){.cooldown_ms = 30000});
    bench_resource(b, &b->models[2], "m2", ENGINE_MODEL,
                   (struct engine_limits){.cooldown_ms = 30000});
    return b;
}

/* Tests set limits in place. */
static inline void bench_shape(struct bench *b)
{
    static struct engine_window scratch;
    struct engine_resource *all[] = {&b->suite, &b->tenant, &b->models[0], &b->models[1],
                                     &b->models[2]};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        engine_window_reshape(all[i], &b->rules, b->now_ms, &scratch);
    }
}

static inline void bench_step(struct bench *b, struct engine_event event)
{
    bench_shape(b);
    b->now_ms = engine_step(&b->rules, b->now_ms, ++b->stamp, &event, 1, b->queue);
}

static inline uint64_t bench_charge(uint64_t own, uint64_t common)
{
    return own > 0 ? own : common > 0 ? common : 1000;
}

/* The request as an event; its candidates last until the next call. */
static inline struct engine_acquire bench_acquire(struct bench *b, const struct ask *ask)
{
    static struct engine_candidate candidates[BENCH_MODELS];
    size_t n = ask->n > 0 ? ask->n : 1;
    bench_shape(b);
    for (size_t i = 0; i < n; i++) {
        candidates[i] = (struct engine_candidate){
            .model = &b->models[(ask->first + i) % BENCH_MODELS],
            .model_charge = bench_charge(ask->model_charge[i], ask->charge),
            .pool_charge = bench_charge(ask->pool_charge[i], ask->charge),
        };
    }
    return (struct engine_acquire){
        .id = bench_id(ask->id),
        .session = bench_id(ask->session),
        .candidates = candidates,
        .n_candidates = n,
        .pools = {&b->suite, &b->tenant},
        .n_pools = ask->tenant ? 2 : 1,
        .record = &b->records[ask->id],
        .verdict = &b->verdict,
    };
}

static inline const struct engine_verdict *bench_ask(struct bench *b, struct ask ask)
{
    struct engine_acquire acquire = bench_acquire(b, &ask);
    bench_step(b, (struct engine_event){.acquire = &acquire});
    return &b->verdict;
}

/* How a call ended. tokens: used in every resource, unless pool_tokens is set. */
struct end {
    uint32_t id;
    uint32_t model;
    enum engine_outcome_kind outcome; /* 0: OK */
    uint64_t tokens;
    uint64_t pool_tokens;
    bool partial;
    bool undispatched;
    uint64_t server_retry_ms;
    uint64_t digest;
};

static inline const struct engine_report *bench_end(struct bench *b, struct end end)
{
    b->report = (struct engine_report){
        .id = bench_id(end.id),
        .record = &b->records[end.id],
        .held = {&b->models[end.model], &b->suite, &b->tenant},
        .undispatched = end.undispatched,
        .outcome = end.outcome != 0 ? end.outcome : ENGINE_OK,
        .model_tokens = end.tokens,
        .pool_tokens = end.pool_tokens > 0 ? end.pool_tokens : end.tokens,
        .partial = end.partial,
        .server_retry_ms = end.server_retry_ms,
        .digest = end.digest,
    };
    bench_step(b, (struct engine_event){.report = &b->report});
    return &b->report;
}

/* True when the lease goes on. */
static inline bool bench_renew(struct bench *b, uint32_t id, uint32_t session, uint64_t fence)
{
    struct engine_renewal lease = {
        .id = bench_id(id),
        .fence = fence,
        .record = &b->records[id],
        .held = {&b->models[0], &b->suite, &b->tenant},
    };
    struct engine_renew renew = {.session = bench_id(session), .leases = &lease, .n_leases = 1};
    bench_step(b, (struct engine_event){.renew = &renew});
    return !lease.lost;
}

/* How the judgement of a resource ended in the last verdict; NULL: it was not judged. */
static inline const struct engine_judgement *bench_judged(const struct bench *b,
                                                          const struct engine_resource *resource)
{
    for (size_t i = 0; i < b->verdict.n_judged; i++) {
        if (b->verdict.judged[i].resource == resource) {
            return &b->verdict.judged[i];
        }
    }
    return NULL;
}

#define BIT(reason) (1u << ENGINE_REASON_##reason)

#endif
