#include "limiter/operate.h"

#include <string.h>

#include "base/log.h"
#include "limiter/home.h"
#include "limiter/reply.h"
#include "limiter/request.h"

#define DAY_MS        86400000u
#define SECOND_MS     1000u
#define REQUESTS_MOST 100000000u
#define TOKENS_MOST   1000000000000u
#define BURST_MOST    1000000u

/* An order as an ask, to be filled in and stepped; in the call's arena. */
struct ordering {
    struct ask ask;
    struct engine_order order;
    const char *resource;
    const char *name; /* of the order */
};

static struct status find(struct limiter *limiter, struct ask *ask, bool make_room)
{
    struct ordering *o = CONTAINER_OF(ask, struct ordering, ask);
    o->order.suite = limiter->suite;
    return request_resource(limiter, ask->arena, o->resource, make_room, &o->order.resource);
}

/* The reply is the resource as it is now. */
static void answer(struct limiter *limiter, struct ask *ask)
{
    const struct ordering *o = CONTAINER_OF(ask, struct ordering, ask);
    const struct engine_resource *resource = o->order.resource;
    METRIC_ADD(limiter->metrics.orders_total, 1, o->name);
    LOG(INFO, "an operator's order", KV("order", o->name), KV("resource", resource->name),
        KV("version", resource->limits.version), KV("note", resource->note),
        KV("force", o->order.force), KV("refused", o->order.refused));
    limiter_look_at_dates(limiter);
    ask->reply = reply_resource(ask->arena, limiter, resource, ask->now_ms);
}

static struct engine_order *order_for(struct rpc *rpc, const char *resource, const char *name,
                                      enum engine_order_kind kind, struct ask **out)
{
    struct ordering *o = ARENA_NEW(rpc_arena(rpc), struct ordering);
    ask_init(rpc_service(rpc), &o->ask, rpc_arena(rpc), find, answer);
    o->resource = resource;
    o->name = name;
    o->order.kind = kind;
    o->ask.event.order = &o->order;
    *out = &o->ask;
    return &o->order;
}

/* --- limits ------------------------------------------------------------------------------------
 */

/* Both windows are one: of requests, of tokens, or the same for both. */
static bool take_window(const struct limiter *limiter, const Limiter__Limits *from, uint64_t *out)
{
    uint64_t requests_ms = from->requests > 0 ? from->requests_window_ms : 0;
    uint64_t tokens_ms = from->tokens > 0 ? from->tokens_window_ms : 0;
    uint64_t least_ms = SECOND_MS / limiter->config->time_scale;
    if (from->requests > 0 && from->tokens > 0 && requests_ms != tokens_ms) {
        return false;
    }
    *out = requests_ms > 0 ? requests_ms : tokens_ms;
    bool none = from->requests == 0 && from->tokens == 0;
    return none || (*out > 0 && *out >= least_ms && *out <= DAY_MS);
}

static struct status take_limits(struct rpc *rpc, const Limiter__Limits *from,
                                 struct engine_limits *out)
{
    uint64_t window_ms;
    if (from == NULL) {
        return rpc_bad_field(rpc, "limits", "must be set");
    }
    if (from->requests > REQUESTS_MOST) {
        return rpc_bad_field(rpc, "limits.requests", "must be at most 100,000,000");
    }
    if (from->tokens > TOKENS_MOST) {
        return rpc_bad_field(rpc, "limits.tokens", "must be at most 1,000,000,000,000");
    }
    if (from->concurrency > ENGINE_LEASES_MOST) {
        return rpc_bad_field(rpc, "limits.concurrency", "must be at most 64");
    }
    if (!take_window(rpc_service(rpc), from, &window_ms)) {
        return rpc_bad_field(rpc, "limits",
                             "windows must be 1 s to 24 h, and the same for requests and tokens");
    }
    if (from->pacer_burst > BURST_MOST || from->pacer_interval_ms > DAY_MS) {
        return rpc_bad_field(rpc, "limits", "burst must be at most 1,000,000, interval 24 h");
    }
    *out = (struct engine_limits){
        .requests = from->requests,
        .tokens = from->tokens,
        .window_ms = window_ms,
        .concurrency = from->concurrency,
        .pacer_burst = from->pacer_burst,
        .pacer_interval_ms = from->pacer_interval_ms,
    };
    return STATUS_SUCCESS;
}

struct status operate_set_limits(struct rpc *rpc, const void *message)
{
    const Limiter__SetLimitsRequest *request = message;
    struct engine_limits limits;
    struct ask *ask;
    TRY(take_limits(rpc, request->limits, &limits));
    struct engine_order *order = order_for(rpc, request->resource, "limits", ENGINE_LIMIT, &ask);
    order->limits = limits;
    order->limits.version = request->version;
    TRY(home_decide(rpc_service(rpc), ask));
    Limiter__SetLimitsResponse reply = LIMITER__SET_LIMITS_RESPONSE__INIT;
    reply.resource = ask->reply;
    if (order->refused) {
        return status_of(REASON_LIMITS_OUTDATED,
                         arena_printf(rpc_arena(rpc), "the limits of %s are of version %llu",
                                      reply.resource->name,
                                      (unsigned long long)reply.resource->limits_version));
    }
    return rpc_send(rpc, &reply);
}

/* --- opening and closing -----------------------------------------------------------------------
 */

struct status operate_force_open(struct rpc *rpc, const void *message)
{
    const Limiter__ForceOpenRequest *request = message;
    struct ask *ask;
    if (strlen(request->note) > ENGINE_NOTE_MOST) {
        return rpc_bad_field(rpc, "note", "must be at most 256 bytes");
    }
    order_for(rpc, request->resource, "close", ENGINE_CLOSE, &ask)->note = span_str(request->note);
    TRY(home_decide(rpc_service(rpc), ask));
    Limiter__ForceOpenResponse reply = LIMITER__FORCE_OPEN_RESPONSE__INIT;
    reply.resource = ask->reply;
    return rpc_send(rpc, &reply);
}

struct status operate_force_close(struct rpc *rpc, const void *message)
{
    const Limiter__ForceCloseRequest *request = message;
    struct ask *ask;
    const struct engine_order *order =
        order_for(rpc, request->resource, "close_breaker", ENGINE_CLOSE_BREAKER, &ask);
    TRY(home_decide(rpc_service(rpc), ask));
    Limiter__ForceCloseResponse reply = LIMITER__FORCE_CLOSE_RESPONSE__INIT;
    reply.resource = ask->reply;
    return order->refused ? status_of(REASON_NOT_APPLICABLE, "only models have a circuit breaker")
                          : rpc_send(rpc, &reply);
}

struct status operate_reopen(struct rpc *rpc, const void *message)
{
    const Limiter__ReopenRequest *request = message;
    struct ask *ask;
    struct engine_order *order = order_for(rpc, request->resource, "reopen", ENGINE_REOPEN, &ask);
    order->force = request->force;
    TRY(home_decide(rpc_service(rpc), ask));
    Limiter__ReopenResponse reply = LIMITER__REOPEN_RESPONSE__INIT;
    reply.resource = ask->reply;
    return order->resource->health.retired
               ? status_of(REASON_NOT_APPLICABLE, "the catalogue has retired the model")
               : rpc_send(rpc, &reply);
}
