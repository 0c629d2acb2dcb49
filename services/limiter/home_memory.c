/* A step in this process's memory: found, decided and kept at once. Those who wait are found one by
 * one, when their turn may have come. */
#include "limiter/home.h"
#include "limiter/limiter.h"
#include "limiter/stream.h"
#include "limiter/wait.h"

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

static uint64_t step(struct limiter *limiter, struct engine_event *events, size_t n)
{
    limiter->queue.suite = limiter->suite;
    return engine_step(&limiter->policy->rules, limiter->clock_ms(), ++limiter->stamp, events, n,
                       &limiter->queue);
}

uint64_t limiter_step(struct limiter *limiter, struct engine_event event)
{
    uint64_t now_ms = step(limiter, &event, 1);
    if (event.acquire != NULL) {
        write_acquire(limiter, event.acquire);
    } else if (event.report != NULL) {
        write_held(limiter, event.report->held);
        write_record(limiter, event.report->record);
    } else if (event.renew != NULL) {
        write_renew(limiter, event.renew);
    } else if (event.order != NULL) {
        write_resource(limiter, event.order->resource);
        write_resource(limiter, event.order->suite);
    }
    store_commit(limiter->store);
    stream_changed(limiter);
    return now_ms;
}

/* --- who waits ---------------------------------------------------------------------------------
 */

/* What it names may be another by the next step. */
static void out_of_hand(struct engine_waiter *waiter)
{
    waiter->acquire->pools[0] = NULL;
}

/* The one whose turn may have come; if it goes, the next is absent. */
static void take(struct limiter *limiter, struct engine_waiter *waiter)
{
    struct ask *ask = wait_ask(waiter);
    ask->status = ask->find(limiter, ask, true);
    limiter->queue.goes_on = true;
    if (!status_ok(ask->status)) {
        out_of_hand(waiter);
        step(limiter, &(struct engine_event){.leave = waiter}, 1);
        wait_ended(limiter, waiter);
        return;
    }
    ask->now_ms = step(limiter, NULL, 0);
    ask->waited_ms = limiter->clock_ms() - ask->asked_ms;
    write_acquire(limiter, waiter->acquire);
    store_commit(limiter->store);
    stream_changed(limiter);
    if (engine_queue_take_ended(&limiter->queue) != NULL) {
        ask->answer(limiter, ask);
        wait_ended(limiter, waiter);
    } else {
        out_of_hand(waiter);
    }
}

static void wake(struct timer *timer)
{
    limiter_serve(CONTAINER_OF(timer, struct limiter, wake));
}

static void set_timer(struct limiter *limiter)
{
    uint64_t wake_ms = limiter->queue.wake_ms, now_ms = limiter->clock_ms();
    if (limiter->loop == NULL) {
        limiter->loop = task_loop();
        timer_init(&limiter->wake, limiter->loop, wake);
    }
    timer_stop(&limiter->wake);
    if (limiter->queue.n > 0 && wake_ms != ENGINE_NEVER) {
        timer_start(&limiter->wake,
                    loop_now_ms(limiter->loop) + (wake_ms > now_ms ? wake_ms - now_ms : 0));
    }
}

void limiter_serve(struct limiter *limiter)
{
    if (limiter->queue.n == 0) {
        return;
    }
    step(limiter, NULL, 0);
    while (limiter->queue.absent != NULL) {
        take(limiter, limiter->queue.absent);
    }
    set_timer(limiter);
}

/* --- asks --------------------------------------------------------------------------------------
 */

struct status home_memory_decide(struct limiter *limiter, struct ask *ask)
{
    if (ask->event.acquire != NULL) {
        limiter_serve(limiter); /* they come first, also where a clock has not told them yet */
    }
    TRY(ask->find(limiter, ask, true));
    ask->now_ms = limiter_step(limiter, ask->event);
    const struct engine_renew *renew = ask->event.renew;
    if (renew != NULL && renew->amnesia) {
        /* A grant that is younger than all we know: what we know is of an earlier time. */
        limiter_lose(limiter, ENGINE_LOSS_AMNESIA);
        TRY(ask->find(limiter, ask, true));
        ask->now_ms = limiter_step(limiter, ask->event);
    }
    if (ask->event.acquire != NULL && ask->event.acquire->verdict->queued) {
        out_of_hand(ask->event.acquire->waiter);
    } else {
        ask->answer(limiter, ask);
    }
    limiter_serve(limiter);
    return STATUS_SUCCESS;
}
