/* The methods of LimiterService: a request is taken apart, decided in one step, and answered. */
#include <string.h>

#include "codec/hash.h"
#include "limiter/look.h"
#include "limiter/operate.h"
#include "limiter/renew.h"
#include "limiter/reply.h"
#include "limiter/request.h"
#include "loop/task.h"

static const char *priority_name(Limiter__Priority priority)
{
    switch (priority) {
    case LIMITER__PRIORITY__PRIORITY_URGENT:
        return "urgent";
    case LIMITER__PRIORITY__PRIORITY_LOW:
        return "low";
    case LIMITER__PRIORITY__PRIORITY_BACKGROUND:
        return "background";
    default:
        return "normal";
    }
}

/* --- steps -------------------------------------------------------------------------------------
 */

static void note_breaker(const struct limiter *limiter, const struct engine_resource *model,
                         enum engine_breaker before)
{
    static const char *const names[] = {"closed", "open", "half_open"};
    if (model->health.breaker != before) {
        METRIC_ADD(limiter->metrics.breaker_transitions_total, 1, model->name,
                   names[model->health.breaker]);
    }
}

static struct status acquire(struct rpc *rpc, const void *message)
{
    const Limiter__AcquireRequest *request = message;
    struct limiter *limiter = rpc_service(rpc);
    struct engine_id id, session;
    struct engine_acquire event;
    struct span tenant;
    if (!request_id(request->id, &id)) {
        return rpc_bad_field(rpc, "id", "must be 16 bytes");
    }
    if (!request_id(request->session, &session)) {
        return rpc_bad_field(rpc, "session", "must be 16 bytes");
    }
    TRY(request_tenant(rpc, request->tenant, &tenant));
    TRY(request_acquire(rpc, request->candidates, request->n_candidates, tenant, &event));
    event.id = id;
    event.session = session;
    event.record = store_record(limiter->store, &id, limiter->clock_ms());
    if (event.record == NULL) {
        return request_no_room();
    }
    uint64_t now_ms = limiter_step(limiter, (struct engine_event){.acquire = &event});
    store_record_keep(limiter->store, event.record);
    reply_note_verdict(limiter, &event, priority_name(request->priority), now_ms);
    if (event.verdict->probe && !event.verdict->replayed) {
        note_breaker(limiter, event.candidates[event.verdict->candidate].model,
                     ENGINE_BREAKER_OPEN);
    }
    Limiter__AcquireResponse reply = LIMITER__ACQUIRE_RESPONSE__INIT;
    reply.verdict = reply_verdict(rpc_arena(rpc), event.verdict, now_ms);
    return rpc_send(rpc, &reply);
}

static uint64_t digest_of(const uint64_t *numbers, size_t n)
{
    uint8_t digest[HASH_SHA256_SIZE];
    uint64_t out;
    hash_sha256(span_of(numbers, n * sizeof(*numbers)), digest);
    memcpy(&out, digest, sizeof(out));
    return out;
}

/* The step of a report whose id, record and resources are found. */
static uint64_t step_report(struct limiter *limiter, struct engine_report *report)
{
    const struct engine_resource *model = report->held[0];
    enum engine_breaker before = model != NULL ? model->health.breaker : ENGINE_BREAKER_CLOSED;
    uint64_t now_ms = limiter_step(limiter, (struct engine_event){.report = report});
    store_record_keep(limiter->store, report->record);
    reply_note_report(limiter, report, now_ms);
    if (model != NULL) {
        note_breaker(limiter, model, before);
    }
    return now_ms;
}

static bool usage_bounded(const Limiter__TokenUsage *usage)
{
    return usage->input_tokens <= REQUEST_TOKENS_MOST &&
           usage->output_tokens <= REQUEST_TOKENS_MOST &&
           usage->cache_read_tokens <= REQUEST_TOKENS_MOST &&
           usage->cache_write_tokens <= REQUEST_TOKENS_MOST;
}

/* The model that a report is about; NULL: the catalogue has it no longer. */
static const struct catalogue_model *model_of(const struct limiter *limiter,
                                              const struct engine_report *report)
{
    size_t place;
    return report->held[0] != NULL && limiter_model(limiter, report->held[0]->name, &place)
               ? &limiter->policy->catalogue->targets[place].model
               : NULL;
}

static void take_usage(const Limiter__CompleteRequest *request, const Limiter__TokenUsage *usage,
                       const struct catalogue_model *model, struct engine_report *report)
{
    if (model != NULL) {
        report->model_tokens = estimate_model_settled(
            &model->estimate, usage->input_tokens, usage->cache_write_tokens, usage->output_tokens);
    }
    report->pool_tokens = estimate_pool_settled(usage->input_tokens, usage->cache_read_tokens,
                                                usage->cache_write_tokens, usage->output_tokens);
    const uint64_t all[] = {
        usage->input_tokens,       usage->output_tokens,   usage->cache_read_tokens,
        usage->cache_write_tokens, request->usage_partial, request->outcome,
        request->server_retry_ms,
    };
    report->digest = digest_of(all, ARRAY_LEN(all));
}

static struct status complete(struct rpc *rpc, const void *message)
{
    static const Limiter__TokenUsage none = LIMITER__TOKEN_USAGE__INIT;
    const Limiter__CompleteRequest *request = message;
    const Limiter__TokenUsage *usage = request->usage != NULL ? request->usage : &none;
    struct limiter *limiter = rpc_service(rpc);
    struct engine_report *report = ARENA_NEW(rpc_arena(rpc), struct engine_report);
    struct span tenant;
    if (!request_id(request->id, &report->id)) {
        return rpc_bad_field(rpc, "id", "must be 16 bytes");
    }
    if (request->outcome < LIMITER__OUTCOME__OUTCOME_OK ||
        request->outcome > LIMITER__OUTCOME__OUTCOME_GONE) {
        return rpc_bad_field(rpc, "outcome", "must be one of the outcomes");
    }
    if (!usage_bounded(usage)) {
        return rpc_bad_field(rpc, "usage", "must be at most 1,000,000,000 each");
    }
    TRY(request_tenant(rpc, request->tenant, &tenant));
    report->record = store_record(limiter->store, &report->id, limiter->clock_ms());
    if (report->record == NULL) {
        return request_no_room();
    }
    if (!request_held(limiter, report->record, request->model, tenant, report->held)) {
        return rpc_not_found(rpc, REASON_MODEL_UNKNOWN, "model", request->model);
    }
    report->outcome = (enum engine_outcome_kind)request->outcome;
    report->partial = request->usage_partial;
    report->server_retry_ms = request->server_retry_ms;
    const struct catalogue_model *model = model_of(limiter, report);
    take_usage(request, usage, model, report);
    step_report(limiter, report);
    bool counted = report->result == ENGINE_APPLIED || report->result == ENGINE_UNKNOWN_ID;
    if (counted && report->outcome == ENGINE_OK && model != NULL) {
        outputs_add(limiter->outputs, span_str(model->name), tenant, usage->output_tokens);
    }
    Limiter__CompleteResponse reply = LIMITER__COMPLETE_RESPONSE__INIT;
    reply.result = (Limiter__ReportResult)report->result;
    reply.n_settlements = report->n_settlements;
    reply.settlements = reply_settlements(rpc_arena(rpc), report);
    return rpc_send(rpc, &reply);
}

static struct status cancel(struct rpc *rpc, const void *message)
{
    const Limiter__CancelRequest *request = message;
    struct limiter *limiter = rpc_service(rpc);
    struct engine_report *report = ARENA_NEW(rpc_arena(rpc), struct engine_report);
    struct span tenant;
    if (!request_id(request->id, &report->id)) {
        return rpc_bad_field(rpc, "id", "must be 16 bytes");
    }
    TRY(request_tenant(rpc, request->tenant, &tenant));
    report->record = store_record(limiter->store, &report->id, limiter->clock_ms());
    if (report->record == NULL) {
        return request_no_room();
    }
    if (!request_held(limiter, report->record, request->model, tenant, report->held)) {
        /* Never granted, as far as anybody knows: the mark is all there is to leave. */
        memset(report->held, 0, sizeof(report->held));
    }
    report->undispatched = !request->dispatched;
    report->outcome = ENGINE_LEFT;
    report->partial = true;
    const uint64_t all[] = {request->dispatched};
    report->digest = digest_of(all, ARRAY_LEN(all));
    step_report(limiter, report);

    Limiter__CancelResponse reply = LIMITER__CANCEL_RESPONSE__INIT;
    reply.result = (Limiter__ReportResult)report->result;
    reply.n_settlements = report->n_settlements;
    reply.settlements = reply_settlements(rpc_arena(rpc), report);
    return rpc_send(rpc, &reply);
}

const struct rpc_method limiter_methods[] = {
    {"Acquire", RPC_UNARY, acquire},
    {"AcquireStream", RPC_SERVER_STREAM, NULL},
    {"Attach", RPC_BIDI, NULL},
    {"Complete", RPC_UNARY, complete},
    {"Renew", RPC_UNARY, renew_leases},
    {"Cancel", RPC_UNARY, cancel},
    {"Peek", RPC_UNARY, look_peek},
    {"Dump", RPC_UNARY, look_dump},
    {"SetLimits", RPC_UNARY, operate_set_limits},
    {"ForceOpen", RPC_UNARY, operate_force_open},
    {"ForceClose", RPC_UNARY, operate_force_close},
    {"Reopen", RPC_UNARY, operate_reopen},
    {"WatchResources", RPC_SERVER_STREAM, NULL},
};

const size_t limiter_n_methods = ARRAY_LEN(limiter_methods);
