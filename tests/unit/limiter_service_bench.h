/*
 * limiter_service_bench.h -- prism-limiter's methods over real gRPC in the test's process, with a
 * clock that is moved by hand; its state in memory, or in a redis-server of its own whose clock is
 * moved along.
 */
#ifndef PRISM_TESTS_LIMITER_SERVICE_BENCH_H
#define PRISM_TESTS_LIMITER_SERVICE_BENCH_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "limiter/wait.h"
#include "limiter_redis_bench.h"
#include "net/rpc_client.h"
#include "prism/limiter/v1/limiter.pb-c.h"
#include "task_test.h"

#define LIMITER (&limiter__limiter_service__descriptor)

struct bench {
    struct arena *arena;
    struct redis_bench redis; /* with on_redis */
    struct limiter_config config;
    struct limiter *limiter;
    struct wire *wire;
    struct rpc_server *server;
    struct rpc_channel *channel;
    struct rpc_service service;
    char policy[64];
};

static uint64_t now_ms;

static inline uint64_t clock_ms(void)
{
    return now_ms;
}

static inline uint64_t clock_us(void)
{
    return 1000 * now_ms;
}

/* The defaults, of a store that is new. */
static inline void prepare(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    now_ms = 5000000;
    b->arena = arena_new(64u << 20);
    limiter_defaults(&b->config, b->arena);
    if (on_redis) {
        redis_bench_serve(&b->redis, &b->config);
    }
}

static inline void start(struct bench *b)
{
    char error_text[256], address[32];
    if (on_redis) {
        redis_bench_connect(&b->redis);
    }
    struct status s = limiter_new(&b->config, clock_ms, error_text, &b->limiter);
    assert_status_ok(s);
    if (on_redis) {
        redis_bench_move(&b->redis, now_ms, b->arena);
        redis_bench_take_clock(b->limiter, clock_us, b->arena);
        assert_status_ok(home_redis_first(b->limiter->redis));
    }
    b->service = (struct rpc_service){LIMITER, limiter_methods, limiter_n_methods, b->limiter};
    b->wire = wire_start(task_loop());
    const struct rpc_server_options options = {
        .address = "127.0.0.1:0", .services = &b->service, .n_services = 1};
    assert_status_ok(rpc_server_start(b->wire, &options, &b->server));
    snprintf(address, sizeof(address), "127.0.0.1:%u", rpc_server_port(b->server));
    b->channel = rpc_channel_new(b->wire, &(struct rpc_channel_options){.targets = address});
}

/* Ends the limiter, not the bench: start begins another one. */
static inline void halt(struct bench *b)
{
    rpc_channel_free(b->channel);
    rpc_server_stop(b->server, 1000);
    wire_stop(b->wire);
    wait_stop(b->limiter);
    limiter_free(b->limiter);
    redis_free(b->redis.client);
    metric_reset_all();
}

static inline void stop(struct bench *b)
{
    halt(b);
    if (b->policy[0] != '\0') {
        unlink(b->policy);
    }
    if (on_redis) {
        redis_server_stop(&b->redis.server);
    }
    arena_free(b->arena);
}

static inline void write_policy(struct bench *b, const char *text)
{
    snprintf(b->policy, sizeof(b->policy), "/tmp/test_limiter_%d.yaml", (int)getpid());
    FILE *file = fopen(b->policy, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    b->config.policy = b->policy;
}

static inline void *call(struct bench *b, const char *method, const void *request)
{
    void *reply;
    if (on_redis) {
        redis_bench_move(&b->redis, now_ms, b->arena);
    }
    struct status s = rpc_call(b->channel, LIMITER, method, request, b->arena, &reply);
    assert_status_ok(s);
    return reply;
}

static inline struct status call_fails(struct bench *b, const char *method, const void *request)
{
    void *reply;
    if (on_redis) {
        redis_bench_move(&b->redis, now_ms, b->arena);
    }
    struct status s = rpc_call(b->channel, LIMITER, method, request, b->arena, &reply);
    assert_false(status_ok(s));
    return s;
}

static inline ProtobufCBinaryData id_of(struct bench *b, uint32_t n)
{
    uint8_t *bytes = arena_alloc(b->arena, 16);
    memcpy(bytes, &n, sizeof(n));
    return (ProtobufCBinaryData){16, bytes};
}

/* models: separated by spaces; in 1,000 and max_tokens 1,000 each. */
static inline Limiter__AcquireRequest *acquire_of(struct bench *b, uint32_t id, const char *models,
                                                  const char *tenant)
{
    Limiter__AcquireRequest *request = ARENA_NEW(b->arena, Limiter__AcquireRequest);
    limiter__acquire_request__init(request);
    request->id = id_of(b, id);
    request->session = id_of(b, 900);
    request->tenant = (char *)tenant;
    request->candidates = ARENA_ARRAY(b->arena, Limiter__Candidate *, ENGINE_CANDIDATES_MOST);
    struct span rest = span_str(models), name;
    while (span_cut(&rest, ' ', &name)) {
        Limiter__Candidate *candidate = ARENA_NEW(b->arena, Limiter__Candidate);
        limiter__candidate__init(candidate);
        candidate->model = arena_string(b->arena, name);
        candidate->tokens = ARENA_NEW(b->arena, Limiter__TokenEstimate);
        limiter__token_estimate__init(candidate->tokens);
        candidate->tokens->input_tokens = 1000;
        candidate->tokens->max_tokens = 1000;
        request->candidates[request->n_candidates++] = candidate;
    }
    return request;
}

static inline const Limiter__Verdict *acquire(struct bench *b, uint32_t id, const char *models,
                                              const char *tenant)
{
    const Limiter__AcquireResponse *reply = call(b, "Acquire", acquire_of(b, id, models, tenant));
    assert_non_null(reply->verdict);
    return reply->verdict;
}

static inline bool granted(const Limiter__Verdict *v)
{
    return v->decision == LIMITER__DECISION__DECISION_GRANTED;
}

static inline const Limiter__CompleteResponse *
complete(struct bench *b, uint32_t id, const char *model, uint64_t output, Limiter__Outcome outcome)
{
    Limiter__TokenUsage usage = LIMITER__TOKEN_USAGE__INIT;
    Limiter__CompleteRequest request = LIMITER__COMPLETE_REQUEST__INIT;
    usage.input_tokens = 1000;
    usage.output_tokens = output;
    request.id = id_of(b, id);
    request.model = (char *)model;
    request.usage = &usage;
    request.outcome = outcome;
    return call(b, "Complete", &request);
}

#endif
