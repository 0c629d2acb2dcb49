/* A step in this process's memory: found, decided and kept at once. */
#include "limiter/home.h"
#include "limiter/limiter.h"

/* --- what a step wrote -------------------------------------------------------------------------
 */

static void write_resource(const struct limiter *limiter, const struct engine_resource *resource)
{
    if (resource != NULL && resource->header.stamp == limiter->stamp) {
        store_write(limiter->store, resource);
    }
}

static void write_record(const struct limiter *limiter, struct engine_record *record)
{
    if (record != NULL && record->header.stamp == limiter->stamp) {
        store_record_keep(limiter->store, record);
        store_write_record(limiter->store, record);
    }
}

static void write_held(const struct limiter *limiter, struct engine_resource *const *held)
{
    for (size_t i = 0; i < ENGINE_HELD_MOST; i++) {
        write_resource(limiter, held[i]);
    }
}

static void write_acquire(const struct limiter *limiter, const struct engine_acquire *acquire)
{
    for (size_t i = 0; i < acquire->n_candidates; i++) {
        write_resource(limiter, acquire->candidates[i].model);
    }
    for (size_t i = 0; i < acquire->n_pools; i++) {
        write_resource(limiter, acquire->pools[i]);
    }
    write_record(limiter, acquire->record);
}

static void write_renew(const struct limiter *limiter, const struct engine_renew *renew)
{
    for (size_t i = 0; i < renew->n_leases; i++) {
        write_held(limiter, renew->leases[i].held);
        write_record(limiter, renew->leases[i].record);
    }
}

uint64_t limiter_step(struct limiter *limiter, struct engine_event event)
{
    uint64_t now_ms =
        engine_step(&limiter->policy->rules, limiter->clock_ms(), ++limiter->stamp, &event, 1);
    if (event.acquire != NULL) {
        write_acquire(limiter, event.acquire);
    } else if (event.report != NULL) {
        write_held(limiter, event.report->held);
        write_record(limiter, event.report->record);
    } else if (event.renew != NULL) {
        write_renew(limiter, event.renew);
    } else {
        write_resource(limiter, event.order->resource);
        write_resource(limiter, event.order->suite);
    }
    store_commit(limiter->store);
    return now_ms;
}

/* --- asks --------------------------------------------------------------------------------------
 */

struct status home_memory_decide(struct limiter *limiter, struct ask *ask)
{
    TRY(ask->find(limiter, ask, true));
    ask->now_ms = limiter_step(limiter, ask->event);
    const struct engine_renew *renew = ask->event.renew;
    if (renew != NULL && renew->amnesia) {
        /* A grant that is younger than all we know: what we know is of an earlier time. */
        limiter_lose(limiter, ENGINE_LOSS_AMNESIA);
        TRY(ask->find(limiter, ask, true));
        ask->now_ms = limiter_step(limiter, ask->event);
    }
    ask->answer(limiter, ask);
    return STATUS_SUCCESS;
}
