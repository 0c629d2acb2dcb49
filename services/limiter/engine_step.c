/* A batch of events at one time. */
#include "limiter/engine_parts.h"

/* Time never runs backwards for a resource, whatever the clock of this process says. */
static uint64_t latest(uint64_t now_ms, struct engine_resource *const *resources, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (resources[i] != NULL && resources[i]->last_now_ms > now_ms) {
            now_ms = resources[i]->last_now_ms;
        }
    }
    return now_ms;
}

static uint64_t acquire_latest(uint64_t now_ms, const struct engine_acquire *acquire)
{
    for (size_t i = 0; i < acquire->n_candidates; i++) {
        now_ms = latest(now_ms, &acquire->candidates[i].model, 1);
    }
    return latest(now_ms, acquire->pools, acquire->n_pools);
}

/* Model, suite, tenant of a grant: of the event's only one, or of the first of its leases. */
static struct engine_resource *const *held_of(const struct engine_event *event)
{
    return event->report != NULL ? event->report->held : event->renew->leases[0].held;
}

static struct engine_resource *suite_of(const struct engine_event *event)
{
    if (event->acquire != NULL) {
        return event->acquire->pools[0];
    }
    if (event->leave != NULL) {
        return event->leave->acquire->pools[0];
    }
    if (event->order != NULL) {
        return event->order->suite;
    }
    return event->renew != NULL && event->renew->n_leases == 0 ? NULL : held_of(event)[1];
}

static uint64_t event_latest(uint64_t now_ms, const struct engine_event *event)
{
    if (event->acquire != NULL) {
        return acquire_latest(now_ms, event->acquire);
    }
    if (event->leave != NULL) {
        return acquire_latest(now_ms, event->leave->acquire);
    }
    if (event->order != NULL) {
        now_ms = latest(now_ms, &event->order->resource, 1);
        return latest(now_ms, &event->order->suite, 1);
    }
    if (event->report != NULL) {
        return latest(now_ms, event->report->held, ENGINE_HELD_MOST);
    }
    for (size_t i = 0; i < event->renew->n_leases; i++) {
        now_ms = latest(now_ms, event->renew->leases[i].held, ENGINE_HELD_MOST);
    }
    return now_ms;
}

/* Those who may be taken in this step: the first of each line whose resources are in hand. */
static uint64_t fronts_latest(uint64_t now_ms, const struct engine_queue *queue,
                              struct engine_resource **suite)
{
    LIST_EACH (it, &queue->fronts) {
        const struct engine_acquire *a = CONTAINER_OF(it, struct engine_waiter, front)->acquire;
        if (a->pools[0] != NULL) {
            now_ms = acquire_latest(now_ms, a);
            *suite = a->pools[0];
        }
    }
    return now_ms;
}

static void begin(struct engine_queue *queue)
{
    check(list_empty(&queue->ended));
    if (!queue->goes_on) {
        queue->round++;
        queue->wake_ms = ENGINE_NEVER;
    }
    queue->goes_on = false;
    queue->absent = NULL;
    queue->n_wakes = 0;
    queue->freed = false;
}

/* True when somebody may go who could not before. */
static bool apply(const struct engine_turn *turn, const struct engine_event *event)
{
    if (event->order != NULL) {
        engine_order(turn, event->order);
        return !event->order->refused;
    }
    if (event->report != NULL) {
        engine_report(turn, event->report);
        return event->report->result == ENGINE_APPLIED ||
               event->report->result == ENGINE_UNKNOWN_ID;
    }
    if (event->renew != NULL) {
        engine_renew(turn, event->renew);
    } else if (event->leave != NULL && event->leave->waiting) {
        engine_queue_remove(turn->queue, event->leave);
    }
    return false;
}

uint64_t engine_step(const struct engine_rules *rules, uint64_t now_ms, uint64_t stamp,
                     struct engine_event *events, size_t n_events, struct engine_queue *queue)
{
    struct engine_turn turn = {.rules = rules, .stamp = stamp, .queue = queue};
    struct engine_resource *suite = NULL;
    if (queue != NULL) {
        begin(queue);
        suite = queue->suite;
        now_ms = latest(fronts_latest(now_ms, queue, &suite), &suite, 1);
    }
    for (size_t i = 0; i < n_events; i++) {
        now_ms = event_latest(now_ms, &events[i]);
        suite = suite != NULL ? suite : suite_of(&events[i]);
    }
    turn.now_ms = now_ms;
    turn.suite = suite;
    bool freed = false;
    for (size_t i = 0; i < n_events; i++) {
        freed = (events[i].acquire == NULL && apply(&turn, &events[i])) || freed;
    }
    if (queue != NULL && suite != NULL) {
        queue->freed = freed;
        engine_serve(&turn);
    }
    for (size_t i = 0; i < n_events; i++) {
        if (events[i].acquire != NULL) {
            engine_enter(&turn, events[i].acquire);
        }
    }
    if (queue != NULL && suite != NULL && queue->shared) {
        engine_tell(&turn, events, n_events, suite);
    }
    return now_ms;
}

void engine_peek(const struct engine_rules *rules, uint64_t now_ms,
                 const struct engine_acquire *acquire, struct engine_queue *queue)
{
    const struct engine_turn turn = {.rules = rules,
                                     .now_ms = acquire_latest(now_ms, acquire),
                                     .suite = acquire->pools[0],
                                     .queue = queue};
    engine_decide(&turn, acquire);
}
