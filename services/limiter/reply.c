#include "limiter/reply.h"

#include <string.h>

static const struct {
    enum engine_reason reason;
    const char *name;
} reasons[] = {
    {ENGINE_REASON_MODEL_GONE, "MODEL_GONE"},
    {ENGINE_REASON_CLOSED, "CLOSED"},
    {ENGINE_REASON_STATE_LOST, "STATE_LOST"},
    {ENGINE_REASON_COOLDOWN, "COOLDOWN"},
    {ENGINE_REASON_BREAKER_OPEN, "BREAKER_OPEN"},
    {ENGINE_REASON_PROBE_RUNNING, "PROBE_RUNNING"},
    {ENGINE_REASON_CONCURRENCY, "CONCURRENCY"},
    {ENGINE_REASON_REQUESTS, "REQUESTS"},
    {ENGINE_REASON_PACED, "PACED"},
    {ENGINE_REASON_TOKENS, "TOKENS"},
    {ENGINE_REASON_QUEUED_BEHIND, "QUEUED_BEHIND"},
    {ENGINE_REASON_TOO_LARGE, "TOO_LARGE"},
    {ENGINE_REASON_WOULD_MISS_DEADLINE, "WOULD_MISS_DEADLINE"},
    {ENGINE_REASON_QUEUE_FULL, "QUEUE_FULL"},
};

/* The engine's numbers are those of the wire. */
#define SAME(engine, wire)                                                                         \
    _Static_assert((int)ENGINE_##engine == (int)LIMITER__##wire, "number of " #engine)
SAME(REASON_MODEL_GONE, REASON__REASON_MODEL_GONE);
SAME(REASON_CLOSED, REASON__REASON_CLOSED);
SAME(REASON_STATE_LOST, REASON__REASON_STATE_LOST);
SAME(REASON_COOLDOWN, REASON__REASON_COOLDOWN);
SAME(REASON_BREAKER_OPEN, REASON__REASON_BREAKER_OPEN);
SAME(REASON_PROBE_RUNNING, REASON__REASON_PROBE_RUNNING);
SAME(REASON_CONCURRENCY, REASON__REASON_CONCURRENCY);
SAME(REASON_REQUESTS, REASON__REASON_REQUESTS);
SAME(REASON_PACED, REASON__REASON_PACED);
SAME(REASON_TOKENS, REASON__REASON_TOKENS);
SAME(REASON_QUEUED_BEHIND, REASON__REASON_QUEUED_BEHIND);
SAME(REASON_TOO_LARGE, REASON__REASON_TOO_LARGE);
SAME(REASON_WOULD_MISS_DEADLINE, REASON__REASON_WOULD_MISS_DEADLINE);
SAME(REASON_QUEUE_FULL, REASON__REASON_QUEUE_FULL);
SAME(OK, OUTCOME__OUTCOME_OK);
SAME(THROTTLED, OUTCOME__OUTCOME_THROTTLED);
SAME(FAILED, OUTCOME__OUTCOME_FAILED);
SAME(CALLER, OUTCOME__OUTCOME_CALLER);
SAME(LEFT, OUTCOME__OUTCOME_CANCELLED);
SAME(GONE, OUTCOME__OUTCOME_GONE);
SAME(APPLIED, REPORT_RESULT__REPORT_RESULT_APPLIED);
SAME(REPLAYED, REPORT_RESULT__REPORT_RESULT_REPLAYED);
SAME(ALREADY_SETTLED, REPORT_RESULT__REPORT_RESULT_ALREADY_SETTLED);
SAME(ALREADY_RELEASED, REPORT_RESULT__REPORT_RESULT_ALREADY_RELEASED);
SAME(UNKNOWN_ID, REPORT_RESULT__REPORT_RESULT_UNKNOWN_ID);

void reply_add_reasons(struct buf *out, uint32_t set)
{
    const char *separator = "";
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (set & 1u << reasons[i].reason) {
            buf_add_str(out, separator);
            buf_add_str(out, reasons[i].name);
            separator = ",";
        }
    }
}

/* --- messages ----------------------------------------------------------------------------------
 */

static Limiter__Remaining *remaining_of(struct arena *arena, const struct engine_resource *resource,
                                        const struct engine_remaining *left)
{
    Limiter__Remaining *out = ARENA_NEW(arena, Limiter__Remaining);
    limiter__remaining__init(out);
    if (resource->limits.requests > 0) {
        out->_requests_case = LIMITER__REMAINING___REQUESTS_REQUESTS;
        out->requests = left->requests;
    }
    if (resource->limits.concurrency > 0) {
        out->_leases_case = LIMITER__REMAINING___LEASES_LEASES;
        out->leases = left->leases;
    }
    if (resource->limits.tokens > 0) {
        out->_tokens_case = LIMITER__REMAINING___TOKENS_TOKENS;
        out->tokens = left->tokens;
    }
    return out;
}

static size_t reasons_of(struct arena *arena, uint32_t set, Limiter__Reason **out)
{
    size_t n = 0;
    *out = ARENA_ARRAY(arena, Limiter__Reason, ARRAY_LEN(reasons));
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (set & 1u << reasons[i].reason) {
            (*out)[n++] = (Limiter__Reason)reasons[i].reason;
        }
    }
    return n;
}

static Limiter__Judgement *judgement_of(struct arena *arena, const struct engine_judgement *j)
{
    Limiter__Judgement *out = ARENA_NEW(arena, Limiter__Judgement);
    limiter__judgement__init(out);
    out->resource = arena_string(arena, span_str(j->resource->name));
    out->n_reasons = reasons_of(arena, j->reasons, &out->reasons);
    out->remaining = remaining_of(arena, j->resource, &j->remaining);
    out->epoch = j->epoch;
    out->seq = j->seq;
    out->charge = j->charge;
    if (j->reasons != 0 && j->retry_at_ms != ENGINE_NEVER) {
        out->retry_at_ms = j->retry_at_ms;
        out->retry_exact = j->exact;
    }
    return out;
}

Limiter__Verdict *reply_verdict(struct arena *arena, const struct engine_verdict *verdict,
                                uint64_t now_ms)
{
    static Limiter__Reason cancelled[] = {LIMITER__REASON__REASON_CANCELLED};
    Limiter__Verdict *out = ARENA_NEW(arena, Limiter__Verdict);
    limiter__verdict__init(out);
    out->decision = verdict->granted ? LIMITER__DECISION__DECISION_GRANTED
                                     : LIMITER__DECISION__DECISION_REFUSED;
    out->candidate = verdict->candidate;
    out->judged = ARENA_ARRAY(arena, Limiter__Judgement *, verdict->n_judged);
    for (size_t i = 0; i < verdict->n_judged; i++) {
        out->judged[out->n_judged++] = judgement_of(arena, &verdict->judged[i]);
    }
    out->n_reasons = reasons_of(arena, verdict->reasons, &out->reasons);
    if (verdict->cancelled) {
        out->reasons = cancelled;
        out->n_reasons = ARRAY_LEN(cancelled);
    }
    out->retry_at_ms = verdict->retry_at_ms;
    out->retry_after_ms = verdict->retry_at_ms > now_ms ? verdict->retry_at_ms - now_ms : 0;
    out->retry_exact = verdict->exact;
    out->generation = verdict->generation;
    out->fence = verdict->fence;
    out->lease_ms = verdict->lease_ms;
    out->use_by_ms = verdict->use_by_ms;
    out->replayed = verdict->replayed;
    out->probe = verdict->probe;
    if (verdict->replayed) {
        struct span holder =
            arena_copy(arena, span_of(verdict->holder.bytes, sizeof(verdict->holder.bytes)));
        out->holder = (ProtobufCBinaryData){holder.len, (uint8_t *)holder.at};
    }
    return out;
}

Limiter__Settlement **reply_settlements(struct arena *arena, const struct engine_report *report)
{
    Limiter__Settlement **rows = ARENA_ARRAY(arena, Limiter__Settlement *, ENGINE_HELD_MOST);
    for (size_t i = 0; i < report->n_settlements; i++) {
        const struct engine_settlement *s = &report->settlements[i];
        rows[i] = ARENA_NEW(arena, Limiter__Settlement);
        limiter__settlement__init(rows[i]);
        rows[i]->resource = arena_string(arena, span_str(s->resource->name));
        rows[i]->reserved = s->reserved;
        rows[i]->charged = s->charged;
        rows[i]->remaining = remaining_of(arena, s->resource, &s->remaining);
    }
    return rows;
}

Limiter__ResourceState reply_state(const struct limiter *limiter,
                                   const struct engine_resource *resource, uint64_t now_ms,
                                   uint64_t *until_ms)
{
    const struct engine_health *health = &resource->health;
    *until_ms = 0;
    if (health->gone || health->retired) {
        return LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE;
    }
    if (resource->closed) {
        return LIMITER__RESOURCE_STATE__RESOURCE_STATE_CLOSED;
    }
    if (now_ms < limiter->suite->closed_until_ms) {
        *until_ms = limiter->suite->closed_until_ms;
        return LIMITER__RESOURCE_STATE__RESOURCE_STATE_STATE_LOST;
    }
    if (health->breaker == ENGINE_BREAKER_OPEN && now_ms < health->open_until_ms) {
        *until_ms = health->open_until_ms;
        return LIMITER__RESOURCE_STATE__RESOURCE_STATE_BREAKER_OPEN;
    }
    if (now_ms < health->cooldown_until_ms) {
        *until_ms = health->cooldown_until_ms;
        return LIMITER__RESOURCE_STATE__RESOURCE_STATE_COOLDOWN;
    }
    return health->breaker == ENGINE_BREAKER_CLOSED
               ? LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN
               : LIMITER__RESOURCE_STATE__RESOURCE_STATE_HALF_OPEN;
}

const char *reply_state_name(Limiter__ResourceState state)
{
    switch (state) {
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN:
        return "OPEN";
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_COOLDOWN:
        return "COOLDOWN";
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_BREAKER_OPEN:
        return "BREAKER_OPEN";
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_HALF_OPEN:
        return "HALF_OPEN";
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE:
        return "GONE";
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_CLOSED:
        return "CLOSED";
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_STATE_LOST:
        return "STATE_LOST";
    default:
        return "";
    }
}

Limiter__Resource *reply_resource(struct arena *arena, const struct limiter *limiter,
                                  const struct engine_resource *resource, uint64_t now_ms)
{
    const struct engine_limits *limits = &resource->limits;
    const struct engine_health *health = &resource->health;
    struct engine_remaining left = engine_remaining(&limiter->policy->rules, now_ms, resource);
    uint64_t until_ms;

    Limiter__Limits *l = ARENA_NEW(arena, Limiter__Limits);
    limiter__limits__init(l);
    l->requests = limits->requests;
    l->requests_window_ms = limits->requests > 0 ? limits->window_ms : 0;
    l->concurrency = limits->concurrency;
    l->tokens = limits->tokens;
    l->tokens_window_ms = limits->tokens > 0 ? limits->window_ms : 0;
    l->pacer_burst = limits->pacer_burst;
    l->pacer_interval_ms = limits->pacer_interval_ms;

    Limiter__Resource *out = ARENA_NEW(arena, Limiter__Resource);
    limiter__resource__init(out);
    out->name = (char *)resource->name;
    out->kind = resource->kind == ENGINE_POOL ? LIMITER__RESOURCE_KIND__RESOURCE_KIND_POOL
                                              : LIMITER__RESOURCE_KIND__RESOURCE_KIND_MODEL;
    out->state = reply_state(limiter, resource, now_ms, &until_ms);
    out->state_ms = until_ms > now_ms ? until_ms - now_ms : 0;
    out->note = out->state == LIMITER__RESOURCE_STATE__RESOURCE_STATE_STATE_LOST
                    ? (char *)limiter_loss_text(limiter->suite->loss)
                    : (char *)resource->note;
    out->limits = l;
    out->limits_version = limits->version;
    out->remaining = remaining_of(arena, resource, &left);
    out->live_leases = engine_leases_live(resource, now_ms);
    out->epoch = limiter->suite->header.epoch;
    out->seq = resource->header.seq;
    out->waiters = (uint32_t)engine_queue_depth(&limiter->queue, resource);
    if (resource->kind == ENGINE_MODEL) {
        out->generation = health->generation;
        out->cooldown_level = health->level;
        out->breaker_outcomes = health->n_outcomes;
        for (uint32_t i = 0; i < health->n_outcomes; i++) {
            out->breaker_failures += health->outcomes[i].failed;
        }
    }
    return out;
}

/* --- metrics and audit -------------------------------------------------------------------------
 */

static void note(struct limiter *limiter, const struct engine_resource *resource,
                 struct audit_entry entry)
{
    entry.seq = resource->header.seq;
    audit_add(limiter->audit, store_resource_slot(limiter->store, resource), &entry);
}

static void note_near(const struct limiter *limiter, const struct engine_judgement *j)
{
    const struct engine_limits *limits = &j->resource->limits;
    const struct limiter_metrics *m = &limiter->metrics;
    if (limits->requests > 0 && j->remaining.requests * 5 < limits->requests) {
        METRIC_ADD(m->near_limit_total, 1, j->resource->name, "requests");
    }
    if (limits->concurrency > 0 && j->remaining.leases * 5 < limits->concurrency) {
        METRIC_ADD(m->near_limit_total, 1, j->resource->name, "leases");
    }
    if (limits->tokens > 0 && j->remaining.tokens * 5 < (int64_t)limits->tokens) {
        METRIC_ADD(m->near_limit_total, 1, j->resource->name, "tokens");
    }
}

static void note_judgement(struct limiter *limiter, const struct engine_acquire *acquire,
                           const struct engine_judgement *j, uint64_t now_ms)
{
    const struct limiter_metrics *m = &limiter->metrics;
    bool charged = acquire->verdict->granted && j->reasons == 0;
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (j->reasons & 1u << reasons[i].reason) {
            METRIC_ADD(m->judgements_total, 1, j->resource->name, reasons[i].name);
        }
    }
    if (charged) {
        METRIC_ADD(m->judgements_total, 1, j->resource->name, "");
        note_near(limiter, j);
    }
    if (charged || j->reasons != 0) {
        note(limiter, j->resource,
             (struct audit_entry){.now_ms = now_ms,
                                  .id = acquire->id,
                                  .tokens = j->charge,
                                  .reasons = j->reasons,
                                  .what = charged ? AUDIT_GRANTED : AUDIT_REFUSED});
    }
}

void reply_note_verdict(struct limiter *limiter, const struct engine_acquire *acquire,
                        const char *priority, uint64_t now_ms)
{
    const struct engine_verdict *verdict = acquire->verdict;
    const char *decision = verdict->cancelled  ? "cancelled"
                           : verdict->replayed ? "replayed"
                           : verdict->granted  ? "granted"
                                               : "refused";
    METRIC_ADD(limiter->metrics.acquires_total, 1, priority, decision);
    for (size_t i = 0; !verdict->replayed && i < verdict->n_judged; i++) {
        note_judgement(limiter, acquire, &verdict->judged[i], now_ms);
    }
}

void reply_note_report(struct limiter *limiter, const struct engine_report *report, uint64_t now_ms)
{
    static const char *const outcomes[] = {"",       "ok",        "throttled", "failed",
                                           "caller", "cancelled", "gone"};
    static const char *const results[] = {
        "", "applied", "replayed", "already_settled", "already_released", "unknown_id"};
    const struct limiter_metrics *m = &limiter->metrics;
    METRIC_ADD(m->reports_total, 1,
               report->undispatched ? "undispatched" : outcomes[report->outcome],
               results[report->result]);
    for (size_t i = 0; i < report->n_settlements; i++) {
        const struct engine_settlement *s = &report->settlements[i];
        const char *name = s->resource->name;
        METRIC_ADD(m->tokens_reserved_total, (double)s->reserved, name);
        METRIC_ADD(m->tokens_settled_total, (double)s->charged, name);
        if (s->charged > s->reserved) {
            METRIC_ADD(m->tokens_overrun_total, (double)(s->charged - s->reserved), name);
        }
        note(limiter, s->resource,
             (struct audit_entry){.now_ms = now_ms,
                                  .id = report->id,
                                  .tokens = s->charged,
                                  .what = report->undispatched ? AUDIT_REFUNDED : AUDIT_SETTLED});
    }
}
