#include "fake/fake_limiter.h"

#include <stdio.h>
#include <string.h>

#include "task_test.h"

#define WAIT_MS  5000
#define QUIET_MS 30

static const struct fake_verdict grant_first = {.decision = FAKE_GRANT};

static const struct fake_verdict *next_verdict(struct fake_limiter *limiter)
{
    size_t n = limiter->acquires++;
    if (limiter->n_verdicts == 0) {
        return &grant_first;
    }
    return &limiter->verdicts[n < limiter->n_verdicts ? n : limiter->n_verdicts - 1];
}

static void note_request(struct fake_limiter *limiter, const Limiter__AcquireRequest *request)
{
    struct buf names;
    buf_init(&names, sizeof(limiter->candidates) - 1);
    for (size_t i = 0; i < request->n_candidates; i++) {
        buf_addf(&names, "%s%s", i > 0 ? " " : "", request->candidates[i]->model);
    }
    snprintf(limiter->candidates, sizeof(limiter->candidates), "%s", buf_cstr(&names));
    snprintf(limiter->tenant, sizeof(limiter->tenant), "%s", request->tenant);
    buf_clear(&names);
}

static void note_grant(struct fake_limiter *limiter, const Limiter__AcquireRequest *request)
{
    assert_int_equal(request->id.len, FAKE_LIMITER_ID);
    assert_true(limiter->n_granted < FAKE_LIMITER_MOST);
    memcpy(limiter->granted[limiter->n_granted++], request->id.data, FAKE_LIMITER_ID);
}

static void judge(struct arena *arena, Limiter__Verdict *v, const char *resource,
                  Limiter__Reason reason)
{
    Limiter__Judgement *j = ARENA_NEW(arena, Limiter__Judgement);
    limiter__judgement__init(j);
    j->resource = (char *)resource;
    j->reasons = ARENA_NEW(arena, Limiter__Reason);
    j->reasons[j->n_reasons++] = reason;
    v->judged[v->n_judged++] = j;
}

static void fill(struct arena *arena, const struct fake_verdict *verdict, Limiter__Verdict *v)
{
    v->judged = ARENA_ARRAY(arena, Limiter__Judgement *, 2);
    if (verdict->passed_model != NULL) {
        judge(arena, v, verdict->passed_model, LIMITER__REASON__REASON_COOLDOWN);
    }
    if (verdict->decision == FAKE_GRANT) {
        v->decision = LIMITER__DECISION__DECISION_GRANTED;
        v->candidate = verdict->candidate;
        v->fence = 1;
        v->use_by_ms = verdict->use_by_ms > 0 ? verdict->use_by_ms : 10000;
        v->lease_ms = verdict->lease_ms > 0 ? verdict->lease_ms : 60000;
        return;
    }
    v->decision = LIMITER__DECISION__DECISION_REFUSED;
    v->retry_after_ms = verdict->retry_after_ms;
    v->retry_at_ms = verdict->retry_after_ms > 0 ? 1000 + verdict->retry_after_ms : 0;
    v->retry_exact = !verdict->hint;
    if (verdict->resource != NULL) {
        judge(arena, v, verdict->resource, verdict->reason);
    }
}

static struct status acquire(struct rpc *rpc, const void *message)
{
    const Limiter__AcquireRequest *request = message;
    struct fake_limiter *limiter = rpc_service(rpc);
    const struct fake_verdict *verdict = next_verdict(limiter);
    note_request(limiter, request);
    if (verdict->decision == FAKE_FAIL) {
        return status_of(REASON_OVERLOADED, NULL);
    }
    if (verdict->decision != FAKE_REFUSE) {
        note_grant(limiter, request);
    }
    TRY(task_sleep_ms(verdict->decision == FAKE_HANG ? WAIT_MS : verdict->delay_ms));
    Limiter__Verdict v = LIMITER__VERDICT__INIT;
    fill(rpc_arena(rpc), verdict, &v);
    Limiter__AcquireResponse response = LIMITER__ACQUIRE_RESPONSE__INIT;
    response.verdict = &v;
    return rpc_send(rpc, &response);
}

static struct fake_report *new_report(struct fake_limiter *limiter, ProtobufCBinaryData id,
                                      const char *model)
{
    assert_int_equal(id.len, FAKE_LIMITER_ID);
    assert_true(limiter->n_reports < FAKE_LIMITER_MOST);
    struct fake_report *report = &limiter->reports[limiter->n_reports++];
    memcpy(report->id, id.data, FAKE_LIMITER_ID);
    snprintf(report->model, sizeof(report->model), "%s", model);
    return report;
}

static struct status complete(struct rpc *rpc, const void *message)
{
    const Limiter__CompleteRequest *request = message;
    struct fake_report *report = new_report(rpc_service(rpc), request->id, request->model);
    report->outcome = request->outcome;
    report->input = request->usage->input_tokens;
    report->output = request->usage->output_tokens;
    report->cache_read = request->usage->cache_read_tokens;
    report->cache_write = request->usage->cache_write_tokens;
    report->usage_partial = request->usage_partial;
    report->server_retry_ms = request->server_retry_ms;
    Limiter__CompleteResponse response = LIMITER__COMPLETE_RESPONSE__INIT;
    return rpc_send(rpc, &response);
}

static struct status cancel(struct rpc *rpc, const void *message)
{
    const Limiter__CancelRequest *request = message;
    assert_false(request->dispatched);
    new_report(rpc_service(rpc), request->id, request->model)->cancel = true;
    Limiter__CancelResponse response = LIMITER__CANCEL_RESPONSE__INIT;
    return rpc_send(rpc, &response);
}

static struct status renew(struct rpc *rpc, const void *message)
{
    const Limiter__RenewRequest *request = message;
    struct fake_limiter *limiter = rpc_service(rpc);
    limiter->renews++;
    limiter->renew_most =
        request->n_leases > limiter->renew_most ? request->n_leases : limiter->renew_most;
    if (limiter->hang_renew) {
        TRY(task_sleep_ms(WAIT_MS));
    }
    Limiter__RenewResponse response = LIMITER__RENEW_RESPONSE__INIT;
    response.lease_ms = 60000;
    response.lost_ids = ARENA_ARRAY(rpc_arena(rpc), ProtobufCBinaryData, request->n_leases + 1);
    for (size_t i = 0; i < request->n_leases && limiter->lose_leases; i++) {
        response.lost_ids[response.n_lost_ids++] = request->leases[i]->id;
    }
    return rpc_send(rpc, &response);
}

static const struct rpc_method methods[] = {
    {"Acquire", RPC_UNARY, acquire},
    {"AcquireStream", RPC_SERVER_STREAM, NULL},
    {"Attach", RPC_BIDI, NULL},
    {"Complete", RPC_UNARY, complete},
    {"Renew", RPC_UNARY, renew},
    {"Cancel", RPC_UNARY, cancel},
    {"Peek", RPC_UNARY, NULL},
    {"Dump", RPC_UNARY, NULL},
    {"SetLimits", RPC_UNARY, NULL},
    {"ForceOpen", RPC_UNARY, NULL},
    {"ForceClose", RPC_UNARY, NULL},
    {"Reopen", RPC_UNARY, NULL},
    {"WatchResources", RPC_SERVER_STREAM, NULL},
};

struct rpc_service fake_limiter_service(struct fake_limiter *limiter)
{
    return (struct rpc_service){&limiter__limiter_service__descriptor, methods, ARRAY_LEN(methods),
                                limiter};
}

void fake_limiter_wait(struct fake_limiter *limiter, size_t n)
{
    for (int i = 0; i < WAIT_MS && limiter->n_reports < n; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_status_ok(task_sleep_ms(QUIET_MS));
    assert_int_equal(limiter->n_reports, n);
}

static size_t reports_of(const struct fake_limiter *limiter, const uint8_t *id)
{
    size_t n = 0;
    for (size_t i = 0; i < limiter->n_reports; i++) {
        n += memcmp(limiter->reports[i].id, id, FAKE_LIMITER_ID) == 0;
    }
    return n;
}

static bool was_granted(const struct fake_limiter *limiter, const uint8_t *id)
{
    for (size_t i = 0; i < limiter->n_granted; i++) {
        if (memcmp(limiter->granted[i], id, FAKE_LIMITER_ID) == 0) {
            return true;
        }
    }
    return false;
}

void fake_limiter_check_settled(struct fake_limiter *limiter)
{
    for (int i = 0; i < WAIT_MS && limiter->n_reports < limiter->n_granted; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_status_ok(task_sleep_ms(QUIET_MS));
    for (size_t i = 0; i < limiter->n_granted; i++) {
        assert_int_equal(reports_of(limiter, limiter->granted[i]), 1);
    }
    for (size_t i = 0; i < limiter->n_reports; i++) {
        const struct fake_report *report = &limiter->reports[i];
        assert_true(report->cancel || was_granted(limiter, report->id));
    }
}
