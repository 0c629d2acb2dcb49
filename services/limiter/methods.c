/* The methods of LimiterService by name. Those of sessions are asks of calls.c and renew.c. */
#include "limiter/attach.h"
#include "limiter/calls.h"
#include "limiter/limiter.h"
#include "limiter/look.h"
#include "limiter/operate.h"
#include "limiter/renew.h"
#include "limiter/stream.h"
#include "limiter/wait.h"

static struct status decide_and_send(struct rpc *rpc, struct ask *ask) PARKS
{
    TRY(home_decide(rpc_service(rpc), ask));
    return rpc_send(rpc, ask->reply);
}

static struct status acquire(struct rpc *rpc, const void *request)
{
    struct ask *ask;
    TRY(calls_acquire(rpc_service(rpc), request, rpc_arena(rpc), &ask));
    TRY(wait_decide(rpc_service(rpc), ask, ((const Limiter__AcquireRequest *)request)->max_wait_ms,
                    NULL));
    return rpc_send(rpc, ask->reply);
}

static struct status complete(struct rpc *rpc, const void *request)
{
    struct ask *ask;
    TRY(calls_complete(rpc_service(rpc), request, rpc_arena(rpc), &ask));
    return decide_and_send(rpc, ask);
}

static struct status cancel(struct rpc *rpc, const void *request)
{
    struct ask *ask;
    TRY(calls_cancel(rpc_service(rpc), request, rpc_arena(rpc), &ask));
    return decide_and_send(rpc, ask);
}

static struct status renew(struct rpc *rpc, const void *request)
{
    struct renewing renewing;
    TRY(renew_take(rpc_service(rpc), request, rpc_arena(rpc), &renewing));
    home_decide_all(rpc_service(rpc), renewing.asks, renewing.n_asks);
    TRY(renew_status(&renewing));
    return rpc_send(rpc, renewing.reply);
}

const struct rpc_method limiter_methods[] = {
    {"Acquire", RPC_UNARY, acquire},
    {"AcquireStream", RPC_SERVER_STREAM, stream_acquire},
    {"Attach", RPC_BIDI, attach_session},
    {"Complete", RPC_UNARY, complete},
    {"Renew", RPC_UNARY, renew},
    {"Cancel", RPC_UNARY, cancel},
    {"Peek", RPC_UNARY, look_peek},
    {"Dump", RPC_UNARY, look_dump},
    {"SetLimits", RPC_UNARY, operate_set_limits},
    {"ForceOpen", RPC_UNARY, operate_force_open},
    {"ForceClose", RPC_UNARY, operate_force_close},
    {"Reopen", RPC_UNARY, operate_reopen},
    {"WatchResources", RPC_SERVER_STREAM, stream_watch},
};

const size_t limiter_n_methods = ARRAY_LEN(limiter_methods);
