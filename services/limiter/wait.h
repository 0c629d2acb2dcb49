/*
 * wait.h -- calls that wait for their turn.
 *
 * Floor 6, loop thread. Who waits is in the memory of this limiter, in its own task; the order
 * between them is the engine's (engine_queue.h). An acquire that may wait is asked as any other
 * (home.h) and parks here until it has its verdict, its time is over, or its caller has left.
 */
#ifndef PRISM_LIMITER_WAIT_H
#define PRISM_LIMITER_WAIT_H

#include "limiter/engine_queue.h"
#include "limiter/home.h"
#include "loop/task.h"

/* On the stack of the task that waits. */
struct waiting {
    struct engine_waiter waiter;
    struct ask *ask;
    struct bell bell; /* rung when it has its verdict */
    bool ended;
};

/* What a stream tells while it waits, now and then; a failure ends the wait. */
struct wait_news {
    struct status (*tell)(struct wait_news *news, const struct engine_place *place,
                          uint64_t now_ms) PARKS;
};

/* Decides an acquire that waits for at most max_wait_ms, 0: not at all, and no longer than the
 * task has. news may be NULL. A grant of a task that is cancelled is taken back. */
struct status wait_decide(struct limiter *limiter, struct ask *ask, uint64_t max_wait_ms,
                          struct wait_news *news) NODISCARD PARKS;

/* A grant that was sent: it is taken back unless the id is heard of again within grant_accept. */
void wait_for_acceptance(struct limiter *limiter, const struct engine_id *id);

/* Before the end: nobody is waited for any more. Grants that were not accepted yet run to the end
 * of their lease. */
void wait_stop(struct limiter *limiter) PARKS;

/* --- for homes ---------------------------------------------------------------------------------
 */

/* A waiter has its verdict: the ask's status and reply are set. */
void wait_ended(struct limiter *limiter, struct engine_waiter *waiter);

/* Its ask. */
struct ask *wait_ask(const struct engine_waiter *waiter);

/* The ask is of one that waits already, and is only tried again. */
bool wait_tries(const struct ask *ask);

/* Somebody holds a grant of this id. */
void wait_heard_of(struct limiter *limiter, const struct engine_id *id);

/* It was cancelled, or asked for again: if it waits here, its call ends as cancelled. */
void wait_cancel(struct limiter *limiter, const struct engine_id *id);

#endif
