#include "router/refusal.h"

#include <string.h>

static const char *reason_word(Limiter__Reason reason)
{
    const ProtobufCEnumValue *row =
        protobuf_c_enum_descriptor_get_value(&limiter__reason__descriptor, reason);
    return row != NULL ? row->name + strlen("REASON_") : "UNKNOWN";
}

static bool is_pool(const char *resource)
{
    return strcmp(resource, "suite") == 0 || span_starts(span_str(resource), SPAN("tenant:"));
}

static bool has_reason(const Limiter__Judgement *j, Limiter__Reason reason)
{
    for (size_t i = 0; i < j->n_reasons; i++) {
        if (j->reasons[i] == reason) {
            return true;
        }
    }
    return false;
}

static void note_skipped(struct plan *plan, const Limiter__Judgement *j)
{
    const struct candidate *candidate = NULL;
    for (size_t i = 0; i < plan->n_candidates; i++) {
        if (strcmp(plan->candidates[i].resource, j->resource) == 0) {
            candidate = &plan->candidates[i];
        }
    }
    if (candidate == NULL || plan->n_skipped == ROUTER_SKIPPED_MOST) {
        return;
    }
    Router__SkippedModel *row = ARENA_NEW(plan->arena, Router__SkippedModel);
    router__skipped_model__init(row);
    row->model = arena_printf(plan->arena, "models/%s", candidate->model->name);
    row->region = arena_string(plan->arena, span_str(candidate->region));
    row->tier = candidate->model->tier;
    row->reasons = ARENA_ARRAY(plan->arena, char *, j->n_reasons);
    row->n_reasons = j->n_reasons;
    for (size_t i = 0; i < j->n_reasons; i++) {
        row->reasons[i] = arena_string(plan->arena, span_str(reason_word(j->reasons[i])));
    }
    plan->skipped[plan->n_skipped++] = row;
}

static void note_skipped_of(struct plan *plan, const Limiter__Verdict *v)
{
    for (size_t i = 0; i < v->n_judged; i++) {
        if (!is_pool(v->judged[i]->resource) && v->judged[i]->n_reasons > 0) {
            note_skipped(plan, v->judged[i]);
        }
    }
}

void refusal_note_skipped(struct plan *plan, const struct question *q, const Limiter__Verdict *v)
{
    plan->n_skipped = plan->n_unfit;
    note_skipped_of(plan, q->known);
    if (v != q->known) {
        note_skipped_of(plan, v);
    }
}

/* By models only, and one that was not asked about opens before those that were. */
static void open_sooner(struct refusal *r, const struct question *q)
{
    const Limiter__Verdict *known = q->known;
    bool sooner = r->retry_ms == 0 || known->retry_after_ms < r->retry_ms;
    if (r->resource[0] == '\0' && known->retry_at_ms > 0 && sooner) {
        r->retry_ms = known->retry_after_ms;
        r->exact = true;
        r->never = false;
    }
}

struct refusal refusal_of(const struct plan *plan, const struct question *q,
                          const Limiter__Verdict *v)
{
    struct refusal r = {
        .reason = REASON_NO_TIER_AVAILABLE,
        .word = v->n_reasons > 0 ? reason_word(v->reasons[0]) : "UNKNOWN",
        .resource = "",
        .retry_ms = v->retry_after_ms,
        .exact = v->retry_exact,
        .never = v->retry_at_ms == 0,
    };
    size_t models = 0;
    for (size_t i = 0; i < v->n_judged; i++) {
        const Limiter__Judgement *j = v->judged[i];
        if (j->n_reasons == 0) {
            continue;
        }
        if (!is_pool(j->resource)) {
            if (models++ == 0 && r.reason == REASON_NO_TIER_AVAILABLE) {
                r.word = reason_word(j->reasons[0]);
            }
            continue;
        }
        bool too_large = has_reason(j, LIMITER__REASON__REASON_TOO_LARGE);
        r.reason = too_large                           ? REASON_TOO_LARGE_FOR_LIMIT
                   : strcmp(j->resource, "suite") == 0 ? REASON_SUITE_LIMIT
                                                       : REASON_TENANT_LIMIT;
        r.word = reason_word(j->reasons[0]);
        r.resource = strcmp(j->resource, "suite") == 0 ? "suite" : plan->tenant_pool;
        r.busy = j->n_reasons == 1 && has_reason(j, LIMITER__REASON__REASON_CONCURRENCY);
        r.never &= !has_reason(j, LIMITER__REASON__REASON_CONCURRENCY);
        if (too_large) {
            r.never = true;
            break;
        }
    }
    open_sooner(&r, q);
    return r;
}

struct status refusal_status(const struct plan *plan, const struct refusal *r)
{
    struct arena *arena = plan->arena;
    uint32_t retry = r->retry_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)r->retry_ms;
    struct status s =
        status_retry(r->reason, r->never ? 0 : (retry > 0 ? retry : 1),
                     arena_printf(arena, "%s (%s%s%s)", reason_text(r->reason), r->resource,
                                  r->resource[0] != '\0' ? ": " : "", r->word));
    if (r->reason == REASON_TENANT_LIMIT || r->reason == REASON_TOO_LARGE_FOR_LIMIT) {
        struct status_violation *row = ARENA_NEW(arena, struct status_violation);
        row->subject = r->resource;
        row->description = r->word;
        struct status_more *more = ARENA_NEW(arena, struct status_more);
        more->quotas = row;
        more->n_quotas = 1;
        s.more = more;
    }
    return s;
}

Router__Queued refusal_queued(const struct refusal *r)
{
    Router__Queued queued = ROUTER__QUEUED__INIT;
    queued.reason = (char *)r->word;
    queued.resource = (char *)r->resource;
    return queued;
}
