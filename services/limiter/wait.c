#include "limiter/wait.h"

#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "limiter/calls.h"
#include "limiter/limiter.h"

#define ANSWER_MS 50   /* of the caller's time are for the answer */
#define NEWS_MS   1000 /* how often a stream looks where it is */

static struct span id_key(const struct engine_id *id)
{
    return span_of(id->bytes, sizeof(id->bytes));
}

static struct waiting *waiting_of(const struct engine_waiter *waiter)
{
    return CONTAINER_OF((struct engine_waiter *)waiter, struct waiting, waiter);
}

struct ask *wait_ask(const struct engine_waiter *waiter)
{
    return waiting_of(waiter)->ask;
}

bool wait_tries(const struct ask *ask)
{
    const struct engine_acquire *acquire = ask->event.acquire;
    return acquire != NULL && acquire->waiter != NULL && acquire->waiter->waiting;
}

static struct engine_waiter *find(const struct limiter *limiter, const struct engine_id *id)
{
    return map_get(limiter->waiters, id_key(id));
}

static void forget(struct limiter *limiter, const struct engine_waiter *waiter)
{
    if (find(limiter, &waiter->acquire->id) == waiter) {
        map_remove(limiter->waiters, id_key(&waiter->acquire->id));
    }
}

void wait_ended(struct limiter *limiter, struct engine_waiter *waiter)
{
    struct waiting *waiting = waiting_of(waiter);
    forget(limiter, waiter);
    waiting->ended = true;
    bell_ring(&waiting->bell);
}

/* Out of the queue, without a verdict of the engine; not while a home has it in hand. */
static void leave(struct limiter *limiter, struct engine_waiter *waiter)
{
    forget(limiter, waiter);
    engine_queue_leave(&limiter->queue, waiter);
    home_serve(limiter);
}

/* Cancelled, or asked for again, while it waits. */
void wait_cancel(struct limiter *limiter, const struct engine_id *id)
{
    struct engine_waiter *waiter = find(limiter, id);
    if (waiter != NULL && waiter->waiting && !home_has(limiter, wait_ask(waiter))) {
        struct ask *ask = wait_ask(waiter);
        leave(limiter, waiter);
        *ask->event.acquire->verdict = (struct engine_verdict){.cancelled = true};
        ask->now_ms = home_now_ms(limiter);
        ask->answer(limiter, ask);
        wait_ended(limiter, waiter);
    }
}

/* --- grants that nobody took -------------------------------------------------------------------
 */

/* In a task of its own: the one that asked may be at its end. */
struct grant {
    struct limiter *limiter;
    struct engine_id id;
    struct bell heard;
    const char *why;
    uint64_t accept_ms; /* to wait for a sign of life; 0: there will be none */
};

static void take_back(struct grant *g) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 10);
    Limiter__CancelRequest request = LIMITER__CANCEL_REQUEST__INIT;
    request.id = (ProtobufCBinaryData){sizeof(g->id.bytes), g->id.bytes};
    struct ask *ask;
    struct status s = calls_cancel(g->limiter, &request, arena, &ask);
    if (status_ok(s)) {
        s = home_decide(g->limiter, ask);
    }
    if (status_ok(s)) {
        METRIC_ADD(g->limiter->metrics.grants_taken_back_total, 1, g->why);
    }
}

static void watch_grant(void *arg) PARKS
{
    CLEANUP(alloc_drop) struct grant *g = arg;
    bool heard = false;
    if (g->accept_ms > 0) {
        struct status s =
            bell_wait_until(&g->heard, loop_now_ms(task_loop()) + g->accept_ms, &heard);
        heard = heard || !status_ok(s);
        if (map_get(g->limiter->unaccepted, id_key(&g->id)) == g) {
            map_remove(g->limiter->unaccepted, id_key(&g->id));
        }
    }
    if (!heard) {
        take_back(g);
    }
    g->limiter->grants--;
}

static struct grant *grant_start(struct limiter *limiter, const struct engine_id *id,
                                 const char *why, uint64_t accept_ms)
{
    struct grant *g = ALLOC(struct grant);
    g->limiter = limiter;
    g->id = *id;
    g->why = why;
    g->accept_ms = accept_ms;
    limiter->grants++;
    const struct task_options options = {.name = "grant",
                                         .deadline_ms = loop_now_ms(task_loop()) + 60000};
    task_spawn(task_loop(), &options, watch_grant, g);
    return g;
}

void wait_for_acceptance(struct limiter *limiter, const struct engine_id *id)
{
    struct grant *g = grant_start(limiter, id, "silent", limiter->config->grant_accept);
    map_set(limiter->unaccepted, id_key(id), g);
}

void wait_heard_of(struct limiter *limiter, const struct engine_id *id)
{
    struct grant *g = map_get(limiter->unaccepted, id_key(id));
    if (g != NULL) {
        bell_ring(&g->heard);
    }
}

void wait_stop(struct limiter *limiter)
{
    for (struct map_entry *e = map_first(limiter->unaccepted); e != NULL; e = map_next(e)) {
        bell_ring(&((struct grant *)map_value(e))->heard);
    }
    while (limiter->grants > 0) {
        task_yield();
    }
}

/* --- waiting -----------------------------------------------------------------------------------
 */

static struct status tell(struct limiter *limiter, struct waiting *waiting,
                          struct wait_news *news) PARKS
{
    struct ask *ask = waiting->ask;
    home_recall(limiter, ask);
    if (waiting->ended) {
        return STATUS_SUCCESS;
    }
    TRY(ask->find(limiter, ask, limiter->redis == NULL)); /* a step may be on its way */
    uint64_t now_ms = home_now_ms(limiter);
    struct engine_place place =
        engine_queue_place(&limiter->policy->rules, now_ms, &limiter->queue, &waiting->waiter);
    ask->event.acquire->pools[0] = NULL;
    home_offer(limiter, ask);
    return news->tell(news, &place, now_ms);
}

static struct status until_ended(struct limiter *limiter, struct waiting *waiting,
                                 uint64_t until_ms, struct wait_news *news) PARKS
{
    struct status s = STATUS_SUCCESS;
    while (!waiting->ended && status_ok(s) && loop_now_ms(task_loop()) < until_ms) {
        uint64_t next_ms = until_ms;
        bool rung;
        if (news != NULL) {
            s = tell(limiter, waiting, news);
            uint64_t news_ms = loop_now_ms(task_loop()) + NEWS_MS;
            next_ms = news_ms < until_ms ? news_ms : until_ms;
        }
        if (status_ok(s) && !waiting->ended) {
            s = bell_wait_until(&waiting->bell, next_ms, &rung);
        }
    }
    return s;
}

static void note_wait(const struct limiter *limiter, const struct ask *ask, const char *how,
                      uint64_t promised_ms, uint64_t begin_ms)
{
    static const char *const priorities[ENGINE_PRIORITIES] = {"urgent", "normal", "low",
                                                              "background"};
    const struct limiter_metrics *m = &limiter->metrics;
    METRIC_OBSERVE(m->wait_seconds, (double)(ask->now_ms - begin_ms) / 1000,
                   priorities[ask->event.acquire->priority], how);
    if (ask->event.acquire->verdict->granted && promised_ms > 0) {
        bool late = ask->now_ms > promised_ms;
        uint64_t off_ms = late ? ask->now_ms - promised_ms : promised_ms - ask->now_ms;
        METRIC_OBSERVE(m->eta_error_seconds, (double)off_ms / 1000, late ? "late" : "early");
    }
}

/* Its time is over: the last that was known of it, and why. */
static void give_up(struct limiter *limiter, struct waiting *waiting)
{
    struct ask *ask = waiting->ask;
    struct engine_verdict *verdict = ask->event.acquire->verdict;
    leave(limiter, &waiting->waiter);
    verdict->queued = false;
    verdict->n_judged = 0;
    verdict->reasons = 1u << ENGINE_REASON_WOULD_MISS_DEADLINE;
    ask->status = STATUS_SUCCESS;
    ask->now_ms = home_now_ms(limiter);
    ask->answer(limiter, ask);
}

static struct status wait_for(struct limiter *limiter, struct waiting *waiting, uint64_t until_ms,
                              struct wait_news *news) PARKS
{
    struct ask *ask = waiting->ask;
    struct engine_acquire *acquire = ask->event.acquire;
    const struct engine_verdict *verdict = acquire->verdict;
    uint64_t begin_ms = ask->now_ms, promised_ms = verdict->exact ? verdict->retry_at_ms : 0;
    home_offer(limiter, ask);
    struct status s = until_ended(limiter, waiting, until_ms, news);
    home_recall(limiter, ask); /* it may end after all */
    if (!waiting->ended && !status_ok(s)) {
        leave(limiter, &waiting->waiter);
        ask->now_ms = home_now_ms(limiter);
        note_wait(limiter, ask, "left", 0, begin_ms);
        return s;
    }
    if (!waiting->ended) {
        give_up(limiter, waiting);
    }
    TRY(ask->status);
    note_wait(limiter, ask, verdict->granted ? "granted" : "refused", promised_ms, begin_ms);
    s = task_status();
    if (!status_ok(s) && verdict->granted) {
        grant_start(limiter, &acquire->id, "left", 0);
    }
    return s;
}

struct status wait_decide(struct limiter *limiter, struct ask *ask, uint64_t max_wait_ms,
                          struct wait_news *news)
{
    struct engine_acquire *acquire = ask->event.acquire;
    uint64_t left_ms = task_left_ms();
    left_ms = left_ms > ANSWER_MS ? left_ms - ANSWER_MS : 0;
    uint64_t most_ms = max_wait_ms < left_ms ? max_wait_ms : left_ms;
    struct waiting waiting = {.ask = ask, .waiter = {.acquire = acquire}};
    uint64_t until_ms = loop_now_ms(task_loop()) + most_ms;
    wait_cancel(limiter, &acquire->id);
    if (most_ms > 0) {
        acquire->waiter = &waiting.waiter;
        acquire->deadline_ms = home_now_ms(limiter) + most_ms;
        map_set(limiter->waiters, id_key(&acquire->id), &waiting.waiter);
    }
    struct status s = home_decide(limiter, ask);
    if (status_ok(s) && (waiting.waiter.waiting || waiting.ended)) {
        s = wait_for(limiter, &waiting, until_ms, news);
    }
    forget(limiter, &waiting.waiter);
    return s;
}
