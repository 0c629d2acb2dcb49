/* Admission: asking the limiter, and waiting as long as it says. */
#include <string.h>

#include "base/utf8.h"
#include "codec/hash.h"
#include "codec/retry.h"
#include "loop/task.h"
#include "router/refusal.h"
#include "router/settlement.h"

#define ASK_ARENA        (256u << 10)
#define UNREACHABLE_MOST 3 /* tries before the caller is told */
#define PLACE_SLACK_MS   250

/* What the waits of one admission have come to. */
struct waits {
    unsigned hints;   /* waits without a known end so far */
    const char *told; /* the reason the caller was last told */
    uint64_t told_ms;
};

/* A place in the limiter's queue. */
struct turn {
    struct refusal refusal; /* why it waits */
    struct arena *arena;    /* of the last message */
    uint32_t position;
    uint64_t at_ms;       /* loop time: when it is expected to end */
    uint64_t told_ms;     /* loop time: when the caller last heard of it */
    struct status caller; /* whether it still listens */
};

static void turn_drop(struct turn *turn)
{
    arena_free(turn->arena);
}

/* gRPC rounds what is left of a deadline up to three digits, so the caller's may be a hundredth
 * earlier than ours: who would be admitted in that time would be admitted for nobody. */
static uint64_t certainly_left_ms(void)
{
    uint64_t left_ms = task_left_ms();
    return left_ms - left_ms / 100;
}

static struct status put_queued(Router__Queued queued, struct sink *sink) PARKS
{
    Router__GenerateResponse event = ROUTER__GENERATE_RESPONSE__INIT;
    event.event_case = ROUTER__GENERATE_RESPONSE__EVENT_QUEUED;
    event.queued = &queued;
    return sink->put(sink, &event);
}

static struct status put_alive(const struct router *router, const struct plan *plan,
                               struct sink *sink) PARKS
{
    Router__KeepAlive alive = ROUTER__KEEP_ALIVE__INIT;
    alive.elapsed_ms = loop_now_ms(router->loop) - plan->begin_ms;
    Router__GenerateResponse event = ROUTER__GENERATE_RESPONSE__INIT;
    event.event_case = ROUTER__GENERATE_RESPONSE__EVENT_KEEP_ALIVE;
    event.keep_alive = &alive;
    return sink->put(sink, &event);
}

/* Sleeps, and shows the caller now and then that the call is alive. */
static struct status wait_alive(struct router *router, const struct plan *plan, uint64_t wait_ms,
                                struct sink *sink) PARKS
{
    uint64_t until = loop_now_ms(router->loop) + wait_ms;
    for (;;) {
        uint64_t now = loop_now_ms(router->loop);
        if (now >= until) {
            return STATUS_SUCCESS;
        }
        uint64_t left = until - now, tick = router->config->keep_alive;
        TRY(task_sleep_ms(left < tick ? left : tick));
        if (left > tick) {
            TRY(put_alive(router, plan, sink));
        }
    }
}

/* How long to wait for a refusal to pass. Where the limiter knows, exactly that long; a busy pool
 * is asked again soon; else the seed's backoff with full jitter. */
static uint64_t wait_for(const struct router *router, const struct refusal *r, unsigned *hints)
{
    uint32_t random;
    hash_random(&random, sizeof(random));
    if (r->busy) {
        return 1 + random % router->config->busy_wait;
    }
    if (r->exact && r->retry_ms > 0) {
        return r->retry_ms;
    }
    unsigned n = *hints < 3 ? (*hints)++ : 3;
    return 1 + retry_backoff_ms(n, router->config->backoff, router->config->backoff_most, random);
}

/* What the verdict says was charged, for who must tell a limiter that has forgotten. */
static void take_holdings(const struct plan *plan, const Limiter__Verdict *v, struct grant *grant)
{
    for (size_t i = 0; i < v->n_judged && grant->n_holdings < ROUTER_HOLDINGS_MOST; i++) {
        const Limiter__Judgement *j = v->judged[i];
        if (j->n_reasons == 0) {
            grant->holdings[grant->n_holdings++] = (struct holding){
                .resource = arena_string(plan->arena, span_str(j->resource)),
                .charge = j->charge,
                .epoch = j->epoch,
                .seq = j->seq,
            };
        }
    }
}

static void grant_fill(struct router *router, struct plan *plan, const Limiter__Verdict *v,
                       const uint8_t *id, uint64_t sent_ms, struct candidate *chosen,
                       struct grant *grant)
{
    *grant = (struct grant){
        .candidate = chosen,
        .tenant = plan->tenant,
        .fence = v->fence,
        .generation = v->generation,
        .use_by_ms = sent_ms + v->waited_ms + v->use_by_ms,
        .lost_at_ms = sent_ms + v->waited_ms + v->lease_ms - router->config->fence_guard,
    };
    memcpy(grant->id, id, ROUTER_ID_SIZE);
    list_init(&grant->link);
    take_holdings(plan, v, grant);
}

/* One question to the limiter. *verdict lives as long as the reply. */
static struct status ask(struct router *router, Limiter__AcquireRequest *request,
                         struct limiter_reply *reply, const Limiter__Verdict **verdict) PARKS
{
    Limiter__AttachItem item = LIMITER__ATTACH_ITEM__INIT;
    item.request_case = LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE;
    item.acquire = request;
    TRY(limiter_link_ask(router->link, &item, router->config->limiter_wait, reply));
    *verdict = reply->is->acquire->verdict;
    return *verdict != NULL ? STATUS_SUCCESS
                            : status_of(REASON_PROTOCOL_ERROR, "the limiter sent no verdict");
}

/* After a question that was not answered: OK when it may be asked again. Whether the limiter has
 * granted it is not known, so whoever gives up takes it back. */
static struct status unanswered(struct router *router, struct plan *plan, const uint8_t *id,
                                struct status s, unsigned tries) PARKS
{
    METRIC_ADD(router->metrics.admissions_total, 1, "unreachable");
    struct status mine = task_status();
    bool lost = s.code == STATUS_UNAVAILABLE || s.code == STATUS_DEADLINE_EXCEEDED;
    /* Another question may take twice the wait, to connect and to be answered. */
    bool time_left = status_ok(mine) && task_left_ms() > 2 * router->config->limiter_wait;
    if (lost && time_left && tries < UNREACHABLE_MOST) {
        mine = task_sleep_ms(100u << tries);
        if (status_ok(mine)) {
            return STATUS_SUCCESS;
        }
    }
    limiter_cancel(router, plan, id, plan->candidates[0].resource);
    if (!status_ok(mine)) {
        return mine;
    }
    if (!lost) {
        s.detail = arena_string(plan->arena, utf8_first(span_str(status_text(s)), 512));
        s.more = NULL;
        return s; /* the limiter did not understand us: asking again will not help */
    }
    return status_retry(REASON_LIMITER_UNREACHABLE, s.retry_after_ms > 0 ? s.retry_after_ms : 1000,
                        NULL);
}

/* After a refusal: waits for it to pass, or says why that is no use. */
static struct status refused(struct router *router, struct plan *plan, const struct question *q,
                             const Limiter__Verdict *v, struct sink *sink,
                             struct waits *waits) PARKS
{
    struct refusal r = refusal_of(plan, q, v);
    uint64_t wait = wait_for(router, &r, &waits->hints);
    METRIC_ADD(router->metrics.admissions_total, 1, "refused");
    if (r.never || wait >= certainly_left_ms()) {
        refusal_note_skipped(plan, q, v);
        return refusal_status(plan, &r);
    }
    if (waits->told != r.word || (r.exact && wait > waits->told_ms)) {
        waits->told = r.word;
        waits->told_ms = wait;
        Router__Queued queued = refusal_queued(&r);
        queued.eta_ms = r.exact ? wait : 0;
        queued.exact = r.exact;
        TRY(put_queued(queued, sink));
    }
    return wait_alive(router, plan, wait, sink);
}

/* --- in the limiter's queue --------------------------------------------------------------------
 */

/* News of the place there is for the caller; where there is none, that the call is alive. */
static struct status put_place(struct router *router, const struct plan *plan,
                               const Limiter__QueuePlace *place, struct sink *sink,
                               struct turn *turn) PARKS
{
    uint64_t now = loop_now_ms(router->loop), at = now + place->eta_ms;
    bool moved = turn->position != place->position || at > turn->at_ms + PLACE_SLACK_MS ||
                 at + PLACE_SLACK_MS < turn->at_ms;
    if (!moved && now < turn->told_ms + router->config->keep_alive) {
        return STATUS_SUCCESS;
    }
    turn->position = place->position;
    turn->at_ms = at;
    turn->told_ms = now;
    if (!moved) {
        return put_alive(router, plan, sink);
    }
    Router__Queued queued = refusal_queued(&turn->refusal);
    queued.position = place->pool[0] != '\0' ? place->position : 0;
    queued.eta_ms = place->eta_ms;
    queued.exact = place->exact;
    return put_queued(queued, sink);
}

/* The next message of the stream in an arena of its own; *verdict is set if it is one. */
static struct status take_news(struct router *router, const struct plan *plan,
                               struct rpc_stream *stream, struct sink *sink, struct turn *turn,
                               const Limiter__Verdict **verdict) PARKS
{
    void *message;
    arena_free(turn->arena);
    turn->arena = arena_new(ASK_ARENA);
    TRY(rpc_stream_recv(stream, turn->arena, &message));
    const Limiter__AcquireStreamResponse *event = message;
    if (event != NULL && event->event_case == LIMITER__ACQUIRE_STREAM_RESPONSE__EVENT_QUEUED) {
        turn->caller = put_place(router, plan, event->queued, sink, turn);
        return turn->caller;
    }
    if (event == NULL || event->event_case != LIMITER__ACQUIRE_STREAM_RESPONSE__EVENT_VERDICT) {
        return status_of(REASON_PROTOCOL_ERROR, "the limiter sent no verdict");
    }
    *verdict = event->verdict;
    return STATUS_SUCCESS;
}

/* Who is admitted when its time is nearly over is of no use to its caller, and takes the place of
 * one who would be: an answer's length is left for it, but no more than half of the time; that much
 * while no answer has been seen. */
static uint64_t longest_wait(const struct router *router)
{
    uint64_t left_ms = certainly_left_ms(), answer_ms = router->answer_ms + router->answer_ms / 2;
    return left_ms - (answer_ms > 0 && answer_ms < left_ms / 2 ? answer_ms : left_ms / 2);
}

/* Waits there until it is granted or refused. Any failure but the caller's means that this limiter
 * has no queue now. */
static struct status wait_turn(struct router *router, const struct plan *plan,
                               Limiter__AcquireRequest *request, struct sink *sink,
                               struct turn *turn, const Limiter__Verdict **verdict) PARKS
{
    Limiter__AcquireStreamRequest message = LIMITER__ACQUIRE_STREAM_REQUEST__INIT;
    struct rpc_stream *stream;
    message.acquire = request;
    request->max_wait_ms = longest_wait(router);
    *verdict = NULL;
    TRY(rpc_open(router->limiter, &limiter__limiter_service__descriptor, "AcquireStream", &message,
                 &stream));
    struct status s = STATUS_SUCCESS;
    while (status_ok(s) && *verdict == NULL) {
        s = take_news(router, plan, stream, sink, turn, verdict);
    }
    rpc_stream_close(&stream);
    return s;
}

/* The refusal may pass in time, and it is worth standing in the queue. */
static bool is_worth_it(const struct refusal *r)
{
    return !r->never && !(r->exact && r->retry_ms >= certainly_left_ms());
}

static bool is_grant(const Limiter__Verdict *v, const Limiter__AcquireRequest *request)
{
    return v->decision == LIMITER__DECISION__DECISION_GRANTED &&
           v->candidate < request->n_candidates;
}

/* After a refusal: in the limiter's queue it may become a grant, of a model that was left out of
 * the question too. *v is what was said last about the resources. When the queue breaks, what
 * became of the id is not known: another is taken. */
static struct status queue_up(struct router *router, struct plan *plan, struct question *q,
                              uint8_t *id, struct sink *sink, struct turn *turn,
                              const Limiter__Verdict **v, struct arena *arena) PARKS
{
    const Limiter__Verdict *later;
    turn->refusal = refusal_of(plan, q, *v);
    if (!is_worth_it(&turn->refusal)) {
        return STATUS_SUCCESS;
    }
    struct question whole = question_of(router, plan, id, true, arena);
    struct status s = wait_turn(router, plan, whole.request, sink, turn, &later);
    if (!status_ok(s)) {
        if (s.code != STATUS_UNIMPLEMENTED) {
            limiter_cancel(router, plan, id, plan->candidates[0].resource);
            hash_random(id, ROUTER_ID_SIZE);
        }
        TRY(turn->caller);
        return task_status();
    }
    if (is_grant(later, whole.request) || later->n_judged > 0) {
        *q = whole;
        *v = later;
    }
    return STATUS_SUCCESS;
}

static struct status acquire(struct router *router, struct plan *plan, struct sink *sink,
                             struct grant *grant) PARKS
{
    struct waits waits = {0};
    uint8_t id[ROUTER_ID_SIZE];
    hash_random(id, sizeof(id));

    for (unsigned tries = 0;;) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ASK_ARENA);
        CLEANUP(turn_drop) struct turn turn = {0};
        CLEANUP(limiter_reply_drop) struct limiter_reply reply = {0};
        struct question q = question_of(router, plan, id, false, arena);
        const Limiter__Verdict *v = q.known;
        uint64_t sent = loop_now_ms(router->loop);
        if (q.request->n_candidates > 0) {
            struct status s = ask(router, q.request, &reply, &v);
            if (!status_ok(s)) {
                TRY(unanswered(router, plan, id, s, tries++));
                continue;
            }
        }
        tries = 0;
        bool queued = !is_grant(v, q.request);
        if (queued) {
            sent = loop_now_ms(router->loop);
            TRY(queue_up(router, plan, &q, id, sink, &turn, &v, arena));
        }
        if (is_grant(v, q.request)) {
            METRIC_ADD(router->metrics.admissions_total, 1, "granted");
            refusal_note_skipped(plan, &q, v);
            grant_fill(router, plan, v, id, sent, &plan->candidates[q.index[v->candidate]], grant);
            grant->unaccepted = queued;
            return STATUS_SUCCESS;
        }
        TRY(refused(router, plan, &q, v, sink, &waits));
    }
}

bool limiter_acquire_once(struct router *router, struct plan *plan, const uint8_t *id,
                          struct grant *grant)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ASK_ARENA);
    CLEANUP(limiter_reply_drop) struct limiter_reply reply = {0};
    struct question q = question_of(router, plan, id, false, arena);
    const Limiter__Verdict *v;
    uint64_t sent = loop_now_ms(router->loop);
    /* What may have been granted unheard is not taken back: the id is not ours alone. */
    if (q.request->n_candidates == 0 || !status_ok(ask(router, q.request, &reply, &v)) ||
        v->decision != LIMITER__DECISION__DECISION_GRANTED || v->replayed ||
        v->candidate >= q.request->n_candidates) {
        return false;
    }
    METRIC_ADD(router->metrics.admissions_total, 1, "granted");
    grant_fill(router, plan, v, id, sent, &plan->candidates[q.index[v->candidate]], grant);
    return true;
}

struct status limiter_acquire(struct router *router, struct plan *plan, struct sink *sink,
                              struct grant *grant)
{
    uint64_t begin = loop_now_ms(router->loop);
    struct status s = acquire(router, plan, sink, grant);
    plan->queue_ms += loop_now_ms(router->loop) - begin;
    return s;
}
