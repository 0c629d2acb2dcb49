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

static const struct engine_resource *suite_of(const struct engine_event *event)
{
    if (event->acquire != NULL) {
        return event->acquire->pools[0];
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

uint64_t engine_step(const struct engine_rules *rules, uint64_t now_ms, uint64_t stamp,
                     struct engine_event *events, size_t n_events)
{
    struct engine_turn turn = {.rules = rules, .stamp = stamp};
    for (size_t i = 0; i < n_events; i++) {
        now_ms = event_latest(now_ms, &events[i]);
        turn.suite = turn.suite != NULL ? turn.suite : suite_of(&events[i]);
    }
    turn.now_ms = now_ms;
    for (size_t i = 0; i < n_events; i++) {
        if (events[i].order != NULL) {
            engine_order(&turn, events[i].order);
        } else if (events[i].report != NULL) {
            engine_report(&turn, events[i].report);
        } else if (events[i].renew != NULL) {
            engine_renew(&turn, events[i].renew);
        }
    }
    for (size_t i = 0; i < n_events; i++) {
        if (events[i].acquire != NULL) {
            engine_acquire(&turn, events[i].acquire);
        }
    }
    return now_ms;
}

void engine_peek(const struct engine_rules *rules, uint64_t now_ms,
                 const struct engine_acquire *acquire)
{
    const struct engine_turn turn = {
        .rules = rules, .now_ms = acquire_latest(now_ms, acquire), .suite = acquire->pools[0]};
    engine_decide(&turn, acquire);
}
