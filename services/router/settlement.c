#include "router/settlement.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "loop/task.h"
#include "prism/limiter/v1/limiter.pb-c.h"

#define CANCEL_MS  6000
#define KEPT_MOST  4096 /* beyond so many a settlement is not kept longer than a cancel */
#define PAUSE_MOST 3200
#define STOP_MS    3000
#define DAILY_MS   3600000

/* A report outlives its call: everything it needs is its own. */
struct report {
    struct router *router;
    struct arena *arena;
    uint64_t until_ms; /* loop time: nothing it frees counts then any more */
    Limiter__AttachItem item;
};

/* Sleeps before the next try; false when there is none. */
static bool wait_for_next(const struct report *report, uint64_t pause_ms) PARKS
{
    uint64_t until = report->until_ms, end = report->router->settle_end_ms;
    until = end != 0 && end < until ? end : until;
    return loop_now_ms(report->router->loop) + pause_ms < until &&
           status_ok(task_sleep_ms(pause_ms));
}

static void report_send(void *arg) PARKS
{
    struct report *report = arg;
    struct router *router = report->router;
    struct status s = STATUS_SUCCESS;
    for (uint64_t pause_ms = 200;;
         pause_ms = 2 * pause_ms < PAUSE_MOST ? 2 * pause_ms : PAUSE_MOST) {
        CLEANUP(limiter_reply_drop) struct limiter_reply reply = {0};
        s = limiter_link_ask(router->link, &report->item, router->config->limiter_wait, &reply);
        s.detail = NULL; /* in the reply */
        s.more = NULL;
        if (status_ok(s) || s.code == STATUS_INVALID_ARGUMENT || !wait_for_next(report, pause_ms)) {
            break;
        }
    }
    if (!status_ok(s)) {
        METRIC_ADD(router->metrics.settlements_lost_total, 1);
        LOG(ERROR, "grant not given back", KV("err", s));
    }
    router->handed_over--;
    arena_free(report->arena);
    free(report);
}

static struct report *report_new(struct router *router)
{
    struct report *report = ALLOC(struct report);
    report->router = router;
    report->arena = arena_new(16384);
    limiter__attach_item__init(&report->item);
    return report;
}

static void report_hand_over(struct report *report, uint64_t keep_ms)
{
    struct router *router = report->router;
    keep_ms = router->handed_over < KEPT_MOST ? keep_ms : CANCEL_MS;
    router->handed_over++;
    report->until_ms = loop_now_ms(router->loop) + keep_ms;
    struct task_options options = {
        .name = "report",
        .deadline_ms = report->until_ms + router->config->limiter_wait,
    };
    task_spawn(router->loop, &options, report_send, report);
}

static Limiter__Outcome outcome_of(enum reason reason)
{
    switch (reason_class(reason)) {
    case CLASS_TRY_NEXT_TIER:
        return plan_throttled(reason) ? LIMITER__OUTCOME__OUTCOME_THROTTLED
                                      : LIMITER__OUTCOME__OUTCOME_FAILED;
    case CLASS_SKIP_TIER:
        return reason == REASON_TIER_GONE ? LIMITER__OUTCOME__OUTCOME_GONE
                                          : LIMITER__OUTCOME__OUTCOME_CALLER;
    case CLASS_GIVE_UP:
    case CLASS_WAIT:
    case CLASS_REFRESH:
    case CLASS_NONE:
        break;
    }
    return reason == REASON_CALL_CANCELLED || reason == REASON_DEADLINE_PASSED ||
                   reason == REASON_LEASE_LOST || reason == REASON_SHUTTING_DOWN
               ? LIMITER__OUTCOME__OUTCOME_CANCELLED
               : LIMITER__OUTCOME__OUTCOME_CALLER;
}

/* A quota of the day is not back in a minute, and the provider does not say when it is. */
static uint64_t retry_of(const struct attempt *attempt)
{
    return attempt->reason == REASON_TIER_THROTTLED_DAILY && attempt->server_retry_ms < DAILY_MS
               ? DAILY_MS
               : attempt->server_retry_ms;
}

void limiter_complete(struct router *router, const struct plan *plan, const struct grant *grant,
                      const struct attempt *attempt)
{
    if (!attempt->dispatched && reason_class(attempt->reason) != CLASS_TRY_NEXT_TIER) {
        limiter_cancel(router, plan, grant->id, grant->candidate->resource);
        return;
    }
    struct report *report = report_new(router);
    Limiter__TokenUsage *usage = ARENA_NEW(report->arena, Limiter__TokenUsage);
    limiter__token_usage__init(usage);
    usage->input_tokens = attempt->usage.input;
    usage->output_tokens = attempt->usage.output;
    usage->cache_read_tokens = attempt->usage.cache_read;
    usage->cache_write_tokens = attempt->usage.cache_write;
    Limiter__CompleteRequest *request = ARENA_NEW(report->arena, Limiter__CompleteRequest);
    limiter__complete_request__init(request);
    request->tenant = arena_string(report->arena, span_str(plan->tenant));
    request->id.data = (uint8_t *)arena_copy(report->arena, span_of(grant->id, ROUTER_ID_SIZE)).at;
    request->id.len = ROUTER_ID_SIZE;
    request->model = arena_string(report->arena, span_str(grant->candidate->resource));
    request->usage = usage;
    request->usage_partial = attempt->usage_partial;
    request->outcome =
        attempt->reason == REASON_NONE ? LIMITER__OUTCOME__OUTCOME_OK : outcome_of(attempt->reason);
    request->server_retry_ms = retry_of(attempt);
    request->latency_ms = attempt->duration_ms;
    request->ttft_ms = attempt->ttft_ms;
    const ProtobufCEnumValue *row =
        protobuf_c_enum_descriptor_get_value(&limiter__outcome__descriptor, request->outcome);
    METRIC_ADD(router->metrics.settlements_total, 1, row->name + strlen("OUTCOME_"));
    report->item.request_case = LIMITER__ATTACH_ITEM__REQUEST_COMPLETE;
    report->item.complete = request;
    report_hand_over(report, router->config->settle_wait);
}

void limiter_cancel(struct router *router, const struct plan *plan, const uint8_t *id,
                    const char *resource)
{
    struct report *report = report_new(router);
    Limiter__CancelRequest *request = ARENA_NEW(report->arena, Limiter__CancelRequest);
    limiter__cancel_request__init(request);
    request->tenant = arena_string(report->arena, span_str(plan->tenant));
    request->id.data = (uint8_t *)arena_copy(report->arena, span_of(id, ROUTER_ID_SIZE)).at;
    request->id.len = ROUTER_ID_SIZE;
    request->model = arena_string(report->arena, span_str(resource));
    METRIC_ADD(router->metrics.settlements_total, 1, "UNDISPATCHED");
    report->item.request_case = LIMITER__ATTACH_ITEM__REQUEST_CANCEL;
    report->item.cancel = request;
    report_hand_over(report, CANCEL_MS);
}

void settlements_end(struct router *router)
{
    router->settle_end_ms = loop_now_ms(router->loop) + STOP_MS;
    while (router->handed_over > 0 && status_ok(task_sleep_ms(10))) {
    }
}
