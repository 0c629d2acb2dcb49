/* The whole story of one generation. */
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "codec/hash.h"
#include "loop/task.h"
#include "router/lessons.h"
#include "router/router.h"
#include "router/settlement.h"

static struct status put_completed(struct plan *plan, struct sink *sink,
                                   Router__Completed *completed) PARKS
{
    Router__GenerateResponse event = ROUTER__GENERATE_RESPONSE__INIT;
    completed->metadata = plan_metadata(plan, plan->arena, loop_now_ms(task_loop()));
    event.event_case = ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED;
    event.completed = completed;
    return sink->put(sink, &event);
}

/* broken may be an attempt that was taken back, because it never went out. */
static struct status put_restarted(const struct plan *plan, const struct attempt *broken,
                                   struct sink *sink) PARKS
{
    if (!broken->output_sent) {
        return STATUS_SUCCESS;
    }
    Router__Restarted restarted = ROUTER__RESTARTED__INIT;
    restarted.attempt = broken->number + 1;
    restarted.model = arena_printf(plan->arena, "models/%s", broken->candidate->model->name);
    restarted.reason = arena_string(plan->arena, span_str(reason_name(broken->reason)));
    Router__GenerateResponse event = ROUTER__GENERATE_RESPONSE__INIT;
    event.event_case = ROUTER__GENERATE_RESPONSE__EVENT_RESTARTED;
    event.restarted = &restarted;
    return sink->put(sink, &event);
}

static struct status run(struct router *router, struct plan *plan, struct sink *sink,
                         Router__Completed *completed, struct record_hashes *hashes) PARKS
{
    struct grant grant;
    struct status s;

    do {
        s = limiter_acquire(router, plan, sink, &grant); /* waits for pools; picks the model */
        if (!status_ok(s)) {
            return s;
        }
        struct attempt *attempt = &plan->attempts[plan->n_attempts++];
        s = relay(router, plan, &grant, sink, attempt, completed, hashes);
        limiter_complete(router, plan, &grant, attempt); /* its own task */
        if (!status_ok(s) && plan_goes_on(router, plan, &s)) {
            s = put_restarted(plan, attempt, sink);
        } else {
            break;
        }
    } while (status_ok(s));
    return status_ok(s) ? put_completed(plan, sink, completed) : s;
}

static void count(struct router *router, const struct plan *plan, struct status s)
{
    METRIC_ADD(router->metrics.calls_total, 1, plan->tenant, status_code_name(s.code),
               reason_name(s.reason));
    METRIC_OBSERVE(router->metrics.queue_seconds, (double)plan->queue_ms / 1000);
    const struct attempt *last =
        plan->n_attempts > 0 ? &plan->attempts[plan->n_attempts - 1] : NULL;
    LOG(INFO, "call ended", KV("model", last != NULL ? last->candidate->model->name : ""),
        KV("attempts", plan->n_attempts), KV("queue_ms", plan->queue_ms),
        KV("input_tokens", last != NULL ? last->usage.input : 0),
        KV("output_tokens", last != NULL ? last->usage.output : 0), KV("err", s));
}

static struct status call(struct rpc *rpc, const char *tenant, const Router__Generation *g,
                          struct sink *sink) PARKS
{
    struct router *router = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    CLEANUP(plan_drop) struct plan *plan = ARENA_NEW(arena, struct plan);
    /* In the arena: a sink may keep it for its reply. */
    Router__Completed *completed = ARENA_NEW(arena, Router__Completed);
    router__completed__init(completed);
    struct record_hashes hashes = {0};

    TRY(request_check(rpc, tenant, g, router, &tenant));
    TRY(plan_make(router, g, tenant, arena, plan));

    struct span id = span_of(plan->call_id, ROUTER_ID_SIZE);
    if (map_get(router->running, id) != NULL) {
        return status_of(REASON_REQUEST_ID_REUSED, "a call with this call_id is running");
    }
    map_set(router->running, id, plan);
    lessons_ask(router, plan);
    struct status s = run(router, plan, sink, completed, &hashes);
    map_remove(router->running, id);

    records_add(router, plan, s, completed, &hashes); /* one CallRecord, spooled */
    count(router, plan, s);
    return s;
}

static struct status generate(struct rpc *rpc, const void *request) PARKS
{
    const Router__GenerateRequest *req = request;
    struct sink_stream sink;
    sink_stream_init(&sink, rpc);
    return call(rpc, req->tenant, req->generation, &sink.sink);
}

static struct status generate_once(struct rpc *rpc, const void *request) PARKS
{
    const Router__GenerateOnceRequest *req = request;
    CLEANUP(sink_whole_clear) struct sink_whole sink;
    sink_whole_init(&sink, rpc_arena(rpc), RPC_MESSAGE_MOST);
    TRY(call(rpc, req->tenant, req->generation, &sink.sink));

    Router__GenerateOnceResponse response = ROUTER__GENERATE_ONCE_RESPONSE__INIT;
    response.n_content = sink.n_blocks;
    response.content = sink.blocks;
    response.completed = sink.completed;
    return rpc_send(rpc, &response);
}

const struct rpc_method router_methods[] = {
    {"Generate", RPC_SERVER_STREAM, generate},        {"GenerateOnce", RPC_UNARY, generate_once},
    {"ListModels", RPC_UNARY, models_list},           {"GetModel", RPC_UNARY, models_get},
    {"WatchModels", RPC_SERVER_STREAM, models_watch},
};
const size_t router_n_methods = ARRAY_LEN(router_methods);
