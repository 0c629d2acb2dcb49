/* Whoever waits is taken in order, and the other limiters are told what they have to know. */
#include <string.h>

#include "limiter/engine_parts.h"

#define SERVED_MOST 24 /* grants in a step: with all they write they fit one step of the store */

/* --- where a refusal leaves one ----------------------------------------------------------------
 */

/* The first pool that refuses, the tenant's before the suite; NULL: no model is open. */
static const struct engine_resource *pool_of(const struct engine_acquire *acquire)
{
    const struct engine_verdict *verdict = acquire->verdict;
    const struct engine_judgement *last = &verdict->judged[verdict->n_judged - 1];
    if (last->resource->kind == ENGINE_MODEL) {
        return NULL;
    }
    return acquire->n_pools == 2 && last->reasons == 0 ? acquire->pools[0]
                                                       : acquire->pools[acquire->n_pools - 1];
}

static uint64_t chain_of(const struct engine_acquire *acquire)
{
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < acquire->n_candidates; i++) {
        hash = (hash ^ acquire->candidates[i].model->hash) * 1099511628211u;
    }
    return hash;
}

/* Where it waits from now on, as judged just now. */
static void put(struct engine_queue *queue, struct engine_waiter *waiter)
{
    const struct engine_acquire *acquire = waiter->acquire;
    const struct engine_resource *pool = pool_of(acquire);
    bool parked = pool == NULL;
    uint64_t place = parked ? chain_of(acquire) : pool->hash;
    waiter->candidate = acquire->verdict->candidate;
    waiter->charge = acquire->candidates[waiter->candidate].pool_charge;
    if (waiter->waiting && waiter->parked == parked && waiter->place == place) {
        return;
    }
    if (waiter->waiting) {
        engine_queue_remove(queue, waiter);
    }
    waiter->parked = parked;
    waiter->place = place;
    engine_queue_add(queue, waiter);
}

static void wake_by(struct engine_queue *queue, uint64_t at_ms)
{
    queue->wake_ms = at_ms < queue->wake_ms ? at_ms : queue->wake_ms;
}

/* --- those who wait ----------------------------------------------------------------------------
 */

/* The first in the order of the suite of those who were not tried in this round, wherever they
 * wait: all of them need the suite. */
static struct engine_waiter *next(const struct engine_turn *turn)
{
    struct engine_waiter *best = NULL;
    struct engine_key key = {0};
    LIST_EACH (it, &turn->queue->fronts) {
        struct engine_waiter *front = CONTAINER_OF(it, struct engine_waiter, front);
        struct engine_key its = engine_key_of(turn, front->acquire, turn->suite);
        if (front->tried != turn->queue->round && (best == NULL || engine_key_before(&its, &key))) {
            best = front;
            key = its;
        }
    }
    return best;
}

/* True when it has its verdict. */
static bool ends(const struct engine_turn *turn, const struct engine_acquire *acquire)
{
    struct engine_verdict *verdict = acquire->verdict;
    if (turn->now_ms >= acquire->deadline_ms) {
        memset(verdict, 0, sizeof(*verdict));
        verdict->reasons = 1u << ENGINE_REASON_WOULD_MISS_DEADLINE;
        return true;
    }
    engine_acquire(turn, acquire);
    return verdict->granted || verdict->cancelled || verdict->retry_at_ms == 0;
}

void engine_serve(const struct engine_turn *turn)
{
    struct engine_queue *queue = turn->queue;
    unsigned granted = 0;
    for (struct engine_waiter *w; (w = next(turn)) != NULL;) {
        if (granted == SERVED_MOST) {
            wake_by(queue, turn->now_ms);
            return;
        }
        if (w->acquire->pools[0] == NULL) {
            queue->absent = w;
            return;
        }
        w->tried = queue->round;
        w->tried_in = turn->stamp;
        if (ends(turn, w->acquire)) {
            granted += w->acquire->verdict->granted;
            engine_queue_remove(queue, w);
            list_push_back(&queue->ended, &w->front);
            continue;
        }
        put(queue, w);
        wake_by(queue, w->acquire->verdict->retry_at_ms);
        if (!w->parked && w->place == turn->suite->hash) {
            return; /* whoever is behind it in the suite's order is behind it in this queue too */
        }
    }
}

void engine_enter(const struct engine_turn *turn, struct engine_acquire *acquire)
{
    const struct engine_rules *rules = turn->rules;
    struct engine_verdict *verdict = acquire->verdict;
    struct engine_waiter *waiter = acquire->waiter;
    struct engine_queue *queue = turn->queue;
    engine_acquire(turn, acquire);
    if (queue == NULL || waiter == NULL || verdict->granted || verdict->cancelled ||
        verdict->retry_at_ms == 0) {
        return;
    }
    if (turn->now_ms >= acquire->deadline_ms ||
        (verdict->exact && verdict->retry_at_ms >= acquire->deadline_ms)) {
        verdict->reasons = 1u << ENGINE_REASON_WOULD_MISS_DEADLINE;
        return;
    }
    if (queue->n >= rules->waiters_most ||
        engine_queue_of_tenant(queue, acquire->tenant) >= rules->tenant_waiters_most) {
        verdict->reasons = 1u << ENGINE_REASON_QUEUE_FULL;
        return;
    }
    *waiter = (struct engine_waiter){.acquire = acquire,
                                     .since_ms = turn->now_ms,
                                     .no = ++queue->last_no,
                                     .entered = turn->stamp};
    put(queue, waiter);
    verdict->queued = true;
    wake_by(queue, verdict->retry_at_ms);
}

struct engine_place engine_queue_place(const struct engine_rules *rules, uint64_t now_ms,
                                       struct engine_queue *queue, struct engine_waiter *waiter)
{
    const struct engine_acquire *acquire = waiter->acquire;
    const struct engine_verdict *verdict = acquire->verdict;
    engine_peek(rules, now_ms, acquire, queue);
    struct engine_place place = {.pool = "",
                                 .position = 1,
                                 .at_ms = verdict->granted ? now_ms : verdict->retry_at_ms,
                                 .exact = verdict->granted || verdict->exact};
    for (size_t p = 0; p < acquire->n_pools; p++) {
        const struct engine_resource *pool = acquire->pools[p];
        if (!waiter->parked && waiter->place == pool->hash) {
            const struct engine_turn turn = {
                .rules = rules, .now_ms = now_ms, .suite = acquire->pools[0], .queue = queue};
            place.pool = pool->name;
            place.position = engine_queue_position(&turn, pool, acquire);
        }
    }
    return place;
}

/* --- heads and wakes ---------------------------------------------------------------------------
 */

static const struct engine_waiter *foremost_at(const struct engine_turn *turn,
                                               const struct engine_resource *pool)
{
    const struct engine_waiter *best = NULL;
    struct engine_key key = {0};
    LIST_EACH (it, &turn->queue->fronts) {
        const struct engine_waiter *front = CONTAINER_OF(it, struct engine_waiter, front);
        struct engine_key its = engine_key_of(turn, front->acquire, pool);
        if (!front->parked && front->place == pool->hash &&
            (best == NULL || engine_key_before(&its, &key))) {
            best = front;
            key = its;
        }
    }
    return best;
}

static struct engine_head *head_of(struct engine_resource *pool, uint32_t limiter)
{
    for (uint32_t i = 0; i < pool->n_heads; i++) {
        if (pool->heads[i].limiter == limiter) {
            return &pool->heads[i];
        }
    }
    return NULL;
}

static void heads_clear_away(struct engine_resource *pool, uint64_t now_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < pool->n_heads; i++) {
        if (now_ms < pool->heads[i].expires_ms) {
            pool->heads[kept++] = pool->heads[i];
        }
    }
    pool->n_heads = kept;
}

/* It is written when it has changed, when it gets old, and whenever the pool is written anyway. */
static bool is_known(const struct engine_turn *turn, const struct engine_resource *pool,
                     const struct engine_head *known, const struct engine_head *head)
{
    return known != NULL && known->no == head->no && known->charge == head->charge &&
           known->candidate == head->candidate && pool->header.stamp != turn->stamp &&
           turn->now_ms + turn->rules->head_ms / 2 < known->expires_ms;
}

static void register_head(const struct engine_turn *turn, struct engine_resource *pool)
{
    struct engine_queue *queue = turn->queue;
    const struct engine_waiter *w = foremost_at(turn, pool);
    struct engine_head *known = head_of(pool, queue->limiter);
    if (w == NULL) {
        if (known != NULL) {
            engine_touch(pool, turn);
            *known = pool->heads[--pool->n_heads];
            queue->freed = true;
        }
        return;
    }
    const struct engine_head head = {
        .limiter = queue->limiter,
        .priority = w->acquire->priority,
        .tenant = w->acquire->tenant,
        .since_ms = w->since_ms,
        .no = w->no,
        .deadline_ms = w->acquire->deadline_ms,
        .charge = w->charge,
        .candidate = w->candidate,
        .expires_ms = turn->now_ms + turn->rules->head_ms,
    };
    if (is_known(turn, pool, known, &head)) {
        return;
    }
    engine_touch(pool, turn);
    heads_clear_away(pool, turn->now_ms);
    known = head_of(pool, queue->limiter);
    if (known != NULL) {
        queue->freed = queue->freed || known->no != head.no;
        *known = head;
    } else if (pool->n_heads < ENGINE_HEADS_MOST) {
        pool->heads[pool->n_heads++] = head;
    }
}

static void wake_first(const struct engine_turn *turn, const struct engine_resource *pool)
{
    struct engine_queue *queue = turn->queue;
    const struct engine_head *first = NULL;
    struct engine_key key = {0};
    for (uint32_t i = 0; i < pool->n_heads; i++) {
        const struct engine_head *head = &pool->heads[i];
        struct engine_key its = engine_key_of_head(turn, head, pool);
        if (turn->now_ms < head->expires_ms && (first == NULL || engine_key_before(&its, &key))) {
            first = head;
            key = its;
        }
    }
    for (size_t i = 0; i < queue->n_wakes; i++) {
        if (queue->wakes[i].pool == pool) {
            return;
        }
    }
    if (first != NULL && first->limiter != queue->limiter && queue->n_wakes < ENGINE_WAKES_MOST) {
        queue->wakes[queue->n_wakes++] = (struct engine_wake){first->limiter, pool};
    }
}

/* Every pool this step had to do with, as often as it had. */
static void for_pools(const struct engine_turn *turn, const struct engine_event *events,
                      size_t n_events, struct engine_resource *suite,
                      void (*what)(const struct engine_turn *turn, struct engine_resource *pool))
{
    what(turn, suite);
    for (size_t i = 0; i < n_events; i++) {
        const struct engine_event *e = &events[i];
        const struct engine_acquire *a = e->acquire != NULL ? e->acquire
                                         : e->leave != NULL ? e->leave->acquire
                                                            : NULL;
        struct engine_resource *tenant = a != NULL           ? a->pools[1]
                                         : e->report != NULL ? e->report->held[2]
                                                             : NULL;
        if (tenant != NULL && (a == NULL || a->n_pools == 2)) {
            what(turn, tenant);
        }
    }
    struct list *const all[] = {&turn->queue->fronts, &turn->queue->ended};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        LIST_EACH (it, all[i]) {
            const struct engine_acquire *a = CONTAINER_OF(it, struct engine_waiter, front)->acquire;
            if (a->pools[0] != NULL && a->n_pools == 2) {
                what(turn, a->pools[1]);
            }
        }
    }
}

static void tell_of(const struct engine_turn *turn, struct engine_resource *pool)
{
    if (pool->header.stamp == turn->stamp && turn->queue->freed) {
        wake_first(turn, pool);
    }
}

void engine_tell(const struct engine_turn *turn, const struct engine_event *events, size_t n_events,
                 struct engine_resource *suite)
{
    for_pools(turn, events, n_events, suite, register_head);
    for_pools(turn, events, n_events, suite, tell_of);
    if (turn->queue->n > 0) { /* heads are refreshed, and those of dead limiters run out */
        wake_by(turn->queue, turn->now_ms + turn->rules->head_ms / 2);
    }
}
