#include "limiter/calls.h"

#include <string.h>

#include "codec/hash.h"
#include "limiter/reply.h"
#include "limiter/request.h"
#include "limiter/wait.h"

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

/* Classes of waiters: 0 first. */
static uint32_t class_of(Limiter__Priority priority)
{
    switch (priority) {
    case LIMITER__PRIORITY__PRIORITY_URGENT:
        return 0;
    case LIMITER__PRIORITY__PRIORITY_LOW:
        return 2;
    case LIMITER__PRIORITY__PRIORITY_BACKGROUND:
        return 3;
    default:
        return 1;
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

struct acquire {
    struct ask ask;
    struct engine_acquire event;
    struct span tenant;
    const char *priority;
};

static struct status find_acquire(struct limiter *limiter, struct ask *ask, bool make_room)
{
    struct acquire *a = CONTAINER_OF(ask, struct acquire, ask);
    TRY(request_pools(limiter, a->tenant, make_room, &a->event));
    a->event.record = home_record(limiter, &a->event.id);
    return a->event.record != NULL ? STATUS_SUCCESS : request_no_room();
}

static void answer_acquire(struct limiter *limiter, struct ask *ask)
{
    const struct acquire *a = CONTAINER_OF(ask, struct acquire, ask);
    const struct engine_verdict *verdict = a->event.verdict;
    reply_note_verdict(limiter, &a->event, a->priority, ask->now_ms);
    if (verdict->probe && !verdict->replayed) {
        note_breaker(limiter, a->event.candidates[verdict->candidate].model, ENGINE_BREAKER_OPEN);
    }
    Limiter__AcquireResponse *reply = ARENA_NEW(ask->arena, Limiter__AcquireResponse);
    limiter__acquire_response__init(reply);
    reply->verdict = reply_verdict(ask->arena, verdict, ask->now_ms);
    reply->verdict->waited_ms = ask->waited_ms;
    ask->reply = reply;
}

struct status calls_acquire(struct limiter *limiter, const Limiter__AcquireRequest *request,
                            struct arena *arena, struct ask **out)
{
    struct acquire *a = ARENA_NEW(arena, struct acquire);
    struct engine_id id, session;
    if (!request_id(request->id, &id)) {
        return status_bad_field(arena, "id", "must be 16 bytes");
    }
    if (!request_id(request->session, &session)) {
        return status_bad_field(arena, "session", "must be 16 bytes");
    }
    TRY(request_tenant(arena, request->tenant, &a->tenant));
    TRY(request_acquire(limiter, arena, request->candidates, request->n_candidates, a->tenant,
                        &a->event));
    a->event.id = id;
    a->event.session = session;
    a->priority = priority_name(request->priority);
    a->event.priority = class_of(request->priority);
    ask_init(limiter, &a->ask, arena, find_acquire, answer_acquire);
    a->ask.event.acquire = &a->event;
    *out = &a->ask;
    return STATUS_SUCCESS;
}

/* --- reports -----------------------------------------------------------------------------------
 */

static uint64_t digest_of(const uint64_t *numbers, size_t n)
{
    uint8_t digest[HASH_SHA256_SIZE];
    uint64_t out;
    hash_sha256(span_of(numbers, n * sizeof(*numbers)), digest);
    memcpy(&out, digest, sizeof(out));
    return out;
}

/* How a call ended, of Complete and of Cancel. */
struct report {
    struct ask ask;
    struct engine_report event;
    struct span tenant;
    const char *model;
    const Limiter__TokenUsage *usage; /* NULL: Cancel */
    enum engine_breaker breaker;      /* before */
    size_t *n_settlements;            /* where the reply has them */
    Limiter__Settlement ***settlements;
    Limiter__ReportResult *result;
};

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

static void count_usage(const struct limiter *limiter, const Limiter__TokenUsage *usage,
                        struct engine_report *report)
{
    const struct catalogue_model *model = model_of(limiter, report);
    if (model != NULL) {
        report->model_tokens = estimate_model_settled(
            &model->estimate, usage->input_tokens, usage->cache_write_tokens, usage->output_tokens);
    }
    report->pool_tokens = estimate_pool_settled(usage->input_tokens, usage->cache_read_tokens,
                                                usage->cache_write_tokens, usage->output_tokens);
}

static struct status find_report(struct limiter *limiter, struct ask *ask, bool make_room)
{
    struct report *r = CONTAINER_OF(ask, struct report, ask);
    struct engine_report *event = &r->event;
    memset(event->held, 0, sizeof(event->held));
    event->record = home_record(limiter, &event->id);
    if (event->record == NULL) {
        return request_no_room();
    }
    bool known = request_held(limiter, event->record, r->model, r->tenant, make_room, event->held);
    if (!known && r->usage != NULL) {
        return status_not_found(ask->arena, REASON_MODEL_UNKNOWN, "model", r->model);
    }
    /* A cancelled call of no known model was never granted, as far as anybody knows: the mark is
     * all there is to leave. */
    if (r->usage != NULL) {
        count_usage(limiter, r->usage, event);
    }
    r->breaker = event->held[0] != NULL ? event->held[0]->health.breaker : ENGINE_BREAKER_CLOSED;
    return STATUS_SUCCESS;
}

static void answer_report(struct limiter *limiter, struct ask *ask)
{
    const struct report *r = CONTAINER_OF(ask, struct report, ask);
    const struct engine_report *event = &r->event;
    const struct catalogue_model *model = model_of(limiter, event);
    reply_note_report(limiter, event, ask->now_ms);
    if (event->held[0] != NULL) {
        note_breaker(limiter, event->held[0], r->breaker);
    }
    wait_heard_of(limiter, &event->id);
    wait_cancel(limiter, &event->id);
    bool counted = event->result == ENGINE_APPLIED || event->result == ENGINE_UNKNOWN_ID;
    if (r->usage != NULL && counted && event->outcome == ENGINE_OK && model != NULL) {
        outputs_add(limiter->outputs, span_str(model->name), r->tenant, r->usage->output_tokens);
    }
    *r->result = (Limiter__ReportResult)event->result;
    *r->n_settlements = event->n_settlements;
    *r->settlements = reply_settlements(ask->arena, event);
}

static struct ask *report_init(struct limiter *limiter, struct report *r, const char *model,
                               struct arena *arena, void *reply)
{
    ask_init(limiter, &r->ask, arena, find_report, answer_report);
    r->model = model;
    r->ask.event.report = &r->event;
    r->ask.reply = reply;
    return &r->ask;
}

struct status calls_complete(struct limiter *limiter, const Limiter__CompleteRequest *request,
                             struct arena *arena, struct ask **out)
{
    static const Limiter__TokenUsage none = LIMITER__TOKEN_USAGE__INIT;
    struct report *r = ARENA_NEW(arena, struct report);
    const Limiter__TokenUsage *usage = request->usage != NULL ? request->usage : &none;
    if (!request_id(request->id, &r->event.id)) {
        return status_bad_field(arena, "id", "must be 16 bytes");
    }
    if (request->outcome < LIMITER__OUTCOME__OUTCOME_OK ||
        request->outcome > LIMITER__OUTCOME__OUTCOME_GONE) {
        return status_bad_field(arena, "outcome", "must be one of the outcomes");
    }
    if (!usage_bounded(usage)) {
        return status_bad_field(arena, "usage", "must be at most 1,000,000,000 each");
    }
    TRY(request_tenant(arena, request->tenant, &r->tenant));
    r->usage = usage;
    r->event.outcome = (enum engine_outcome_kind)request->outcome;
    r->event.partial = request->usage_partial;
    r->event.server_retry_ms = request->server_retry_ms;
    const uint64_t all[] = {
        usage->input_tokens,       usage->output_tokens,   usage->cache_read_tokens,
        usage->cache_write_tokens, request->usage_partial, request->outcome,
        request->server_retry_ms,
    };
    r->event.digest = digest_of(all, ARRAY_LEN(all));
    Limiter__CompleteResponse *reply = ARENA_NEW(arena, Limiter__CompleteResponse);
    limiter__complete_response__init(reply);
    r->result = &reply->result;
    r->n_settlements = &reply->n_settlements;
    r->settlements = &reply->settlements;
    *out = report_init(limiter, r, request->model, arena, reply);
    return STATUS_SUCCESS;
}

struct status calls_cancel(struct limiter *limiter, const Limiter__CancelRequest *request,
                           struct arena *arena, struct ask **out)
{
    struct report *r = ARENA_NEW(arena, struct report);
    if (!request_id(request->id, &r->event.id)) {
        return status_bad_field(arena, "id", "must be 16 bytes");
    }
    TRY(request_tenant(arena, request->tenant, &r->tenant));
    r->event.undispatched = !request->dispatched;
    r->event.outcome = ENGINE_LEFT;
    r->event.partial = true;
    const uint64_t all[] = {request->dispatched};
    r->event.digest = digest_of(all, ARRAY_LEN(all));
    Limiter__CancelResponse *reply = ARENA_NEW(arena, Limiter__CancelResponse);
    limiter__cancel_response__init(reply);
    r->result = &reply->result;
    r->n_settlements = &reply->n_settlements;
    r->settlements = &reply->settlements;
    *out = report_init(limiter, r, request->model, arena, reply);
    return STATUS_SUCCESS;
}
