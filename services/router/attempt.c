/* One attempt: the body is made, sent with credentials that hold, relayed, and accounted for. */
#include "base/utf8.h"
#include "loop/task.h"
#include "router/lessons.h"
#include "router/relay.h"
#include "router/vitals.h"

#define BODY_MOST (25u * 1000 * 1000)

static struct status put_admitted(struct relay *r) PARKS
{
    const struct candidate *c = r->grant->candidate;
    Router__Admitted admitted = ROUTER__ADMITTED__INIT;
    admitted.tier = c->model->tier;
    admitted.model = arena_printf(r->plan->arena, "models/%s", c->model->name);
    admitted.model_id = (char *)c->model->model_id;
    admitted.region = (char *)c->region;
    admitted.attempt = r->attempt->number;
    admitted.n_reshapes = c->n_reshapes;
    admitted.reshapes = c->reshapes;
    admitted.n_skipped = r->plan->n_skipped;
    admitted.skipped = r->plan->skipped;
    admitted.queue_ms = r->plan->queue_ms;
    return relay_put(r, ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED, &admitted);
}

/* A stream that broke, or an answer that never came, may have cost more than was seen; a refusal,
 * also one that is the first event of a stream, has not. */
static bool may_have_cost_more(const struct relay *r, const struct bedrock_reply *reply,
                               enum reason reason)
{
    static const enum reason refusals[] = {REASON_TIER_UNAVAILABLE, REASON_TIER_NOT_READY,
                                           REASON_UPSTREAM_REJECTED,
                                           REASON_CONTEXT_WINDOW_EXCEEDED};
    bool refused = plan_throttled(reason);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        refused |= reason == refusals[i];
    }
    if (refused && !r->began) {
        return false;
    }
    return reply->dispatched && (reply->http_status == 200 || reply->http_status == 0);
}

static struct status before_wait(void *arg) PARKS
{
    return relay_flush(arg);
}

static struct status send_once(struct relay *r, struct span body) PARKS
{
    const struct router_config *config = r->router->config;
    struct bedrock_request request = {
        .region = r->grant->candidate->region,
        .model_id = r->grant->candidate->model->model_id,
        .body = body,
        .connect_ms = config->connect_wait,
        .first_byte_ms = config->first_byte_wait,
        .idle_ms = config->stall_wait,
        .before_wait = before_wait,
        .arg = r,
    };
    CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
    struct status s = bedrock_invoke_stream(r->router->bedrock, &request, &call);
    if (status_ok(s)) {
        s = relay_read(r, call);
    }
    if (call != NULL) {
        const struct bedrock_reply *reply = bedrock_reply(call);
        r->attempt->http_status = (uint32_t)reply->http_status;
        r->attempt->simulated = reply->simulated;
        r->attempt->dispatched = reply->dispatched;
        r->attempt->server_retry_ms = reply->server_retry_ms;
        r->credentials = reply->credentials;
        if (utf8_valid(reply->request_id)) {
            r->attempt->request_id =
                arena_string(r->plan->arena, utf8_first(reply->request_id, 128));
        }
        r->attempt->usage_partial = !status_ok(s) && may_have_cost_more(r, reply, s.reason);
    }
    return status_copy(s, r->plan->arena);
}

/* The provider must see the call while the limiter's window counts it as new. */
static struct status check_in_time(const struct relay *r)
{
    return loop_now_ms(r->router->loop) <= r->grant->use_by_ms
               ? STATUS_SUCCESS
               : status_of(REASON_GRANT_EXPIRED, NULL);
}

/* Refused credentials are no fault of the model's: with others, the same is sent once more. */
static struct status exchange(struct relay *r, struct span body) PARKS
{
    struct status s = send_once(r, body);
    if (reason_class(s.reason) == CLASS_REFRESH && !r->began &&
        credentials_renew(r->router->credentials, r->credentials)) {
        TRY(check_in_time(r));
        s = send_once(r, body);
    }
    return s;
}

struct body_making {
    const Router__Generation *generation;
    const struct candidate *candidate;
    struct buf *body;
    struct record_hashes *hashes;
};

/* Any thread: the task waits. */
static void make_body(void *arg)
{
    const struct body_making *making = arg;
    reshape_add_body(making->body, making->generation, making->candidate);
    hash_sha256(buf_span(making->body), making->hashes->prompt);
    making->hashes->has_prompt = true;
}

/* A mean of the latest ones. */
static void note_length(struct router *router, uint64_t ms)
{
    router->answer_ms = router->answer_ms > 0 ? (7 * router->answer_ms + ms + 7) / 8 : ms;
}

static void account(struct relay *r)
{
    struct router_metrics *m = &r->router->metrics;
    const char *model = r->grant->candidate->model->name;
    const struct price_usage *u = &r->attempt->usage;
    METRIC_ADD(m->attempts_total, 1, model,
               r->attempt->reason == REASON_NONE ? "OK" : reason_name(r->attempt->reason));
    METRIC_OBSERVE(m->attempt_seconds, (double)r->attempt->duration_ms / 1000, model);
    METRIC_ADD(m->tokens_total, (double)u->input, model, "input");
    METRIC_ADD(m->tokens_total, (double)u->output, model, "output");
    METRIC_ADD(m->tokens_total, (double)u->cache_read, model, "cache_read");
    METRIC_ADD(m->tokens_total, (double)u->cache_write, model, "cache_write");
    METRIC_ADD(m->cost_micro_usd_total, (double)plan_cost(r->plan, r->attempt), model);
    vitals_note(r->router, r->attempt, r->plan->check);
    if (r->attempt->reason == REASON_NONE) {
        note_length(r->router, r->attempt->duration_ms);
    }
    if (r->attempt->reason != REASON_NONE && r->attempt->output_sent) {
        METRIC_ADD(m->restarts_total, 1, model, reason_name(r->attempt->reason));
    }
}

static struct status dispatch(struct relay *r, struct span body) PARKS
{
    TRY(check_in_time(r));
    TRY(put_admitted(r)); /* may take a while when the caller reads slowly */
    TRY(check_in_time(r));
    r->sent_ms = loop_now_ms(r->router->loop);
    METRIC_SET(r->router->metrics.upstream_open, (double)++r->router->upstream_open);
    struct status s = exchange(r, body);
    METRIC_SET(r->router->metrics.upstream_open, (double)--r->router->upstream_open);
    r->attempt->duration_ms = loop_now_ms(r->router->loop) - r->sent_ms;
    return s;
}

struct status attempt_make(struct router *router, struct plan *plan, struct grant *grant,
                           struct sink *sink, struct attempt *attempt, Router__Completed *completed,
                           struct record_hashes *hashes)
{
    struct relay r = {
        .router = router,
        .plan = plan,
        .grant = grant,
        .sink = sink,
        .attempt = attempt,
        .completed = completed,
    };
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, BODY_MOST);
    relay_init(&r);
    *attempt =
        (struct attempt){.candidate = grant->candidate, .number = (uint32_t)plan->n_attempts};
    router__completed__init(completed);
    plan->first_token_ms = 0; /* of an attempt that broke */

    leases_hold(router->leases, grant);
    struct body_making making = {plan->generation, grant->candidate, &body, hashes};
    struct status s = loop_work_over(reshape_bytes(plan->generation), make_body, &making);
    if (status_ok(s)) {
        s = buf_ok(&body) ? dispatch(&r, buf_span(&body))
                          : status_of(REASON_MESSAGE_TOO_LARGE, "the prompt is larger than 25 MB");
    }
    attempt->reason = s.reason;
    leases_drop(router->leases, grant);
    relay_end(&r, hashes);
    account(&r);
    lessons_take(router, attempt);
    return s;
}
