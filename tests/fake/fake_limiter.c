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

/* False: it is never said. */
static bool acquire(struct fake_limiter *limiter, const Limiter__AcquireRequest *request,
                    struct arena *arena, Limiter__AttachReply *reply) PARKS
{
    const struct fake_verdict *verdict = next_verdict(limiter);
    note_request(limiter, request);
    if (verdict->decision == FAKE_FAIL) {
        reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_ERROR;
        reply->error = rpc_status_message(status_of(REASON_OVERLOADED, NULL), "fake", arena);
        return true;
    }
    if (verdict->decision != FAKE_REFUSE) {
        note_grant(limiter, request);
    }
    if (verdict->delay_ms > 0) {
        assert_status_ok(task_sleep_ms(verdict->delay_ms));
    }
    reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_ACQUIRE;
    reply->acquire = ARENA_NEW(arena, Limiter__AcquireResponse);
    limiter__acquire_response__init(reply->acquire);
    reply->acquire->verdict = ARENA_NEW(arena, Limiter__Verdict);
    limiter__verdict__init(reply->acquire->verdict);
    fill(arena, verdict, reply->acquire->verdict);
    return verdict->decision != FAKE_HANG;
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

static void complete(struct fake_limiter *limiter, const Limiter__CompleteRequest *request,
                     struct arena *arena, Limiter__AttachReply *reply)
{
    struct fake_report *report = new_report(limiter, request->id, request->model);
    report->outcome = request->outcome;
    report->input = request->usage->input_tokens;
    report->output = request->usage->output_tokens;
    report->cache_read = request->usage->cache_read_tokens;
    report->cache_write = request->usage->cache_write_tokens;
    report->usage_partial = request->usage_partial;
    report->server_retry_ms = request->server_retry_ms;
    reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_COMPLETE;
    reply->complete = ARENA_NEW(arena, Limiter__CompleteResponse);
    limiter__complete_response__init(reply->complete);
}

static void cancel(struct fake_limiter *limiter, const Limiter__CancelRequest *request,
                   struct arena *arena, Limiter__AttachReply *reply)
{
    assert_false(request->dispatched);
    new_report(limiter, request->id, request->model)->cancel = true;
    reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_CANCEL;
    reply->cancel = ARENA_NEW(arena, Limiter__CancelResponse);
    limiter__cancel_response__init(reply->cancel);
}

static bool renew(struct fake_limiter *limiter, const Limiter__RenewRequest *request,
                  struct arena *arena, Limiter__AttachReply *reply)
{
    limiter->renews++;
    limiter->renew_most =
        request->n_leases > limiter->renew_most ? request->n_leases : limiter->renew_most;
    Limiter__RenewResponse *response = ARENA_NEW(arena, Limiter__RenewResponse);
    limiter__renew_response__init(response);
    response->lease_ms = 60000;
    response->lost_ids = ARENA_ARRAY(arena, ProtobufCBinaryData, request->n_leases + 1);
    for (size_t i = 0; i < request->n_leases && limiter->lose_leases; i++) {
        response->lost_ids[response->n_lost_ids++] = request->leases[i]->id;
    }
    reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_RENEW;
    reply->renew = response;
    return !limiter->hang_renew;
}

static bool answer(struct fake_limiter *limiter, const Limiter__AttachItem *item,
                   struct arena *arena, Limiter__AttachReply *reply) PARKS
{
    limiter__attach_reply__init(reply);
    switch (item->request_case) {
    case LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE:
        reply->id = item->acquire->id;
        return acquire(limiter, item->acquire, arena, reply);
    case LIMITER__ATTACH_ITEM__REQUEST_COMPLETE:
        if (limiter->deaf > 0) {
            limiter->deaf--;
            return false;
        }
        reply->id = item->complete->id;
        complete(limiter, item->complete, arena, reply);
        return true;
    case LIMITER__ATTACH_ITEM__REQUEST_CANCEL:
        reply->id = item->cancel->id;
        cancel(limiter, item->cancel, arena, reply);
        return true;
    default:
        return renew(limiter, item->renew, arena, reply);
    }
}

static struct status attach(struct rpc *rpc, const void *nothing)
{
    struct fake_limiter *limiter = rpc_service(rpc);
    (void)nothing;
    TRY(rpc_stand(rpc));
    for (;;) {
        const void *message;
        TRY(rpc_recv(rpc, &message));
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        const Limiter__AttachRequest *request = message;
        CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
        Limiter__AttachResponse response = LIMITER__ATTACH_RESPONSE__INIT;
        response.replies = ARENA_ARRAY(arena, Limiter__AttachReply *, request->n_items);
        for (size_t i = 0; i < request->n_items; i++) {
            Limiter__AttachReply *reply = ARENA_NEW(arena, Limiter__AttachReply);
            if (answer(limiter, request->items[i], arena, reply)) {
                response.replies[response.n_replies++] = reply;
            }
        }
        TRY(rpc_send(rpc, &response));
    }
}

static const struct rpc_method methods[] = {
    {"Acquire", RPC_UNARY, NULL},
    {"AcquireStream", RPC_SERVER_STREAM, NULL},
    {"Attach", RPC_BIDI, attach},
    {"Complete", RPC_UNARY, NULL},
    {"Renew", RPC_UNARY, NULL},
    {"Cancel", RPC_UNARY, NULL},
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
