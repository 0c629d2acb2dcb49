/*
 * limiters_bench.h -- some limiters in the test's process that share a redis-server, asked
 * without gRPC.
 */
#ifndef PRISM_TESTS_LIMITERS_BENCH_H
#define PRISM_TESTS_LIMITERS_BENCH_H

#include <string.h>

#include "base/clock.h"
#include "limiter/calls.h"
#include "limiter_redis_bench.h"

#define LIMITERS_MOST 3
#define MODEL         "haiku-4.5@us-east-2"

struct limiters {
    struct arena *arena;
    struct redis_bench redis;
    struct limiter_config config;
    bool still; /* their clock and the server's stand */
    struct limiter *limiters[LIMITERS_MOST];
    size_t n;
};

static inline uint64_t limiters_still_ms(void)
{
    return 5000000;
}

static inline uint64_t limiters_still_us(void)
{
    return 1000 * limiters_still_ms();
}

/* The server, and the defaults but for the pacer's burst. */
static inline void limiters_prepare(struct limiters *g)
{
    memset(g, 0, sizeof(*g));
    g->arena = arena_new(64u << 20);
    limiter_defaults(&g->config, g->arena);
}

static inline void limiters_begin(struct limiters *g, size_t n)
{
    char error_text[256];
    redis_bench_connect(&g->redis);
    for (g->n = 0; g->n < n; g->n++) {
        assert_status_ok(limiter_new(&g->config, g->still ? limiters_still_ms : clock_boot_ms,
                                     error_text, &g->limiters[g->n]));
        if (g->still) {
            redis_bench_move(&g->redis, limiters_still_ms(), g->arena);
            redis_bench_take_clock(g->limiters[g->n], limiters_still_us, g->arena);
        }
        assert_status_ok(home_redis_first(g->limiters[g->n]->redis));
    }
}

static inline void limiters_start(struct limiters *g, size_t n)
{
    redis_bench_serve(&g->redis, &g->config);
    limiters_begin(g, n);
}

static inline void limiters_halt(struct limiters *g)
{
    for (size_t i = 0; i < g->n; i++) {
        limiter_free(g->limiters[i]);
    }
    redis_free(g->redis.client);
    metric_reset_all();
}

/* So that a server that is killed and started again has its data. */
static inline void limiters_keep_on_disk(struct limiters *g)
{
    static const char *const more[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    g->redis.server.more = more;
}

static inline void limiters_remove_disk(const struct limiters *g)
{
    char path[128];
    const char *const arguments[] = {"-rf", path, NULL};
    snprintf(path, sizeof(path), "%s/appendonlydir", g->redis.server.folder);
    assert_int_equal(process_run("/bin/rm", arguments, NULL, "/dev/null", 10000), 0);
}

static inline void limiters_stop(struct limiters *g)
{
    limiters_halt(g);
    if (g->redis.server.more != NULL) {
        limiters_remove_disk(g);
    }
    redis_server_stop(&g->redis.server);
    arena_free(g->arena);
}

static inline ProtobufCBinaryData limiters_id(uint32_t n, struct arena *arena)
{
    uint8_t *bytes = arena_alloc(arena, 16);
    memcpy(bytes, &n, sizeof(n));
    return (ProtobufCBinaryData){16, bytes};
}

/* In 100 and out 100 at most, of session 900. */
static inline struct ask *limiters_ask_for(struct limiter *limiter, uint32_t id, char *tenant,
                                           struct arena *arena)
{
    Limiter__AcquireRequest *request = ARENA_NEW(arena, Limiter__AcquireRequest);
    Limiter__Candidate *candidate = ARENA_NEW(arena, Limiter__Candidate);
    struct ask *ask;
    limiter__acquire_request__init(request);
    limiter__candidate__init(candidate);
    candidate->model = MODEL;
    candidate->tokens = ARENA_NEW(arena, Limiter__TokenEstimate);
    limiter__token_estimate__init(candidate->tokens);
    candidate->tokens->input_tokens = candidate->tokens->max_tokens = 100;
    request->id = limiters_id(id, arena);
    request->session = limiters_id(900, arena);
    request->tenant = tenant;
    request->candidates = ARENA_NEW(arena, Limiter__Candidate *);
    request->candidates[0] = candidate;
    request->n_candidates = 1;
    assert_status_ok(calls_acquire(limiter, request, arena, &ask));
    return ask;
}

static inline struct ask *limiters_ask(struct limiter *limiter, uint32_t id, struct arena *arena)
{
    return limiters_ask_for(limiter, id, "default", arena);
}

static inline const Limiter__Verdict *limiters_verdict(const struct ask *ask)
{
    return ((const Limiter__AcquireResponse *)ask->reply)->verdict;
}

static inline bool limiters_granted(const struct ask *ask)
{
    return status_ok(ask->status) &&
           limiters_verdict(ask)->decision == LIMITER__DECISION__DECISION_GRANTED;
}

/* Asked until it is decided, as routers do. */
static inline const Limiter__Verdict *limiters_acquire(struct limiters *g, size_t i, uint32_t id)
{
    struct status s = status_of(REASON_STORE_FAILED, NULL);
    struct ask *ask = NULL;
    for (unsigned tries = 0; tries < 300 && !status_ok(s); tries++) {
        ask = limiters_ask(g->limiters[i], id, g->arena);
        s = home_decide(g->limiters[i], ask);
        if (!status_ok(s)) {
            assert_status(s, REASON_STORE_FAILED);
            assert_int_equal(s.retry_after_ms, 1000);
            assert_status_ok(task_sleep_ms(100));
        }
    }
    assert_status_ok(s);
    return limiters_verdict(ask);
}

static inline bool granted(const Limiter__Verdict *v)
{
    return v->decision == LIMITER__DECISION__DECISION_GRANTED;
}

static inline struct ask *limiters_report(struct limiter *limiter, uint32_t id, struct arena *arena)
{
    Limiter__CompleteRequest *request = ARENA_NEW(arena, Limiter__CompleteRequest);
    struct ask *ask;
    limiter__complete_request__init(request);
    request->id = limiters_id(id, arena);
    request->model = MODEL;
    request->tenant = "default";
    request->outcome = LIMITER__OUTCOME__OUTCOME_OK;
    assert_status_ok(calls_complete(limiter, request, arena, &ask));
    return ask;
}

static inline Limiter__ReportResult limiters_complete(struct limiters *g, size_t i, uint32_t id)
{
    struct ask *ask = limiters_report(g->limiters[i], id, g->arena);
    assert_status_ok(home_decide(g->limiters[i], ask));
    return ((const Limiter__CompleteResponse *)ask->reply)->result;
}

static inline double limiters_trips(const struct limiters *g, const char *outcome)
{
    return metric_value(g->limiters[0]->metrics.store_trips_total, (const char *const[]){outcome});
}

static inline double limiters_losses(const struct limiters *g)
{
    return metric_value(g->limiters[0]->metrics.losses_total, (const char *const[]){"amnesia"});
}

/* To the server: up to three words. */
static inline const struct redis_reply *limiters_command(struct limiters *g, const char *a,
                                                         const char *b, const char *c)
{
    const struct span args[] = {span_str(a), span_str(b), span_str(c)};
    return redis_bench_ask(&g->redis, args, b == NULL ? 1 : c == NULL ? 2 : 3, g->arena);
}

#endif
