/*
 * engine_queue.h -- who waits at this limiter, and for what.
 *
 * Floor 6, pure, loop thread. The memory of a waiter is its caller's, from the acquire that queued
 * it until it comes back among the ended, with its verdict. A waiter waits for the first pool that
 * refuses it, the tenant's before the suite; while no model of it is open it is parked and in
 * nobody's way. Those of one tenant, class and place stand in a line, first come first served; the
 * first of each line is a front. In a pool they are served by
 *
 *   (class, one less for each aging_ms of waiting; start in virtual time; since; limiter; number)
 *
 * where start is the later of the pool's virtual present and what the tenant was granted last
 * divided by its weight: start-time fair queueing.
 */
#ifndef PRISM_LIMITER_ENGINE_QUEUE_H
#define PRISM_LIMITER_ENGINE_QUEUE_H

#include "base/list.h"
#include "limiter/engine.h"

#define ENGINE_WAKES_MOST 8
#define ENGINE_COST_SCALE 1000 /* virtual time of a token at weight 1 */

/* All of it is the engine's, but for the first. */
struct engine_waiter {
    struct engine_acquire *acquire; /* pools[0] NULL: its resources are not in hand in this step */
    struct list line;               /* a ring without a head */
    struct list front;              /* among the fronts, or the ended */
    bool waiting;
    bool parked;
    uint64_t place; /* hash of the pool, or of all its models */
    uint64_t since_ms;
    uint64_t no;
    uint64_t charge;    /* what the pools would be charged, as last judged */
    uint32_t candidate; /* as last judged */
    uint64_t entered;   /* stamp of the step */
    uint64_t tried;     /* in which round */
    uint64_t tried_in;  /* stamp of that step */
};

/* Another limiter's turn at a pool. */
struct engine_wake {
    uint32_t limiter;
    const struct engine_resource *pool;
};

struct engine_queue {
    uint32_t limiter; /* id of this one */
    bool shared;      /* other limiters decide over the same pools: heads are registered */
    /* The caller's, before each step. */
    struct engine_resource *suite; /* where no event and no waiter in hand has it */
    bool goes_on;                  /* the step takes those who were absent in the last one */
    /* The engine's. */
    struct list fronts;
    size_t n;
    uint64_t last_no;
    uint64_t round;
    /* What the last step came to. */
    struct list ended;            /* waiters that have their verdict, in order, by front */
    uint64_t wake_ms;             /* another step is wanted by then; ENGINE_NEVER: not */
    struct engine_waiter *absent; /* at once, with the resources of this one in hand */
    size_t n_wakes;
    struct engine_wake wakes[ENGINE_WAKES_MOST];
    bool freed; /* somebody may go who could not */
};

void engine_queue_init(struct engine_queue *queue, uint32_t limiter, bool shared);

/* The next of those who ended in the last step; NULL: no more. */
struct engine_waiter *engine_queue_take_ended(struct engine_queue *queue);

/* What the last step wrote was not kept: who ended waits again, who came does not yet. */
void engine_queue_undo(struct engine_queue *queue, uint64_t stamp);

/* Between steps; the next one tells the other limiters. Harmless when it does not wait. */
void engine_queue_leave(struct engine_queue *queue, struct engine_waiter *waiter);

struct engine_place {
    const char *pool; /* "": parked */
    uint32_t position;
    uint64_t at_ms; /* when it will go */
    bool exact;     /* unless somebody comes who is earlier in the order */
};

/* Where a waiter is; judges it as if it were asked for now. Its verdict is overwritten. */
struct engine_place engine_queue_place(const struct engine_rules *rules, uint64_t now_ms,
                                       struct engine_queue *queue, struct engine_waiter *waiter);

/* Those who wait for the pool. */
size_t engine_queue_depth(const struct engine_queue *queue, const struct engine_resource *pool);

#endif
