/*
 * home.h -- where the state lives and steps are taken.
 *
 * Floor 6, loop thread. Who wants something decided says so in an ask: by names and ids, because
 * where state is shared it may turn out to be another than it seemed, and then the whole step is
 * decided again. A home points the ask's event at what it names (find), takes the step, keeps what
 * it wrote, and lets the ask make its reply (answer). In this process's memory (home_memory.c) that
 * happens at once, and nothing parks. In a Redis that limiters share (home_redis.c) what arrives
 * while a step is on its way is decided together in the next.
 */
#ifndef PRISM_LIMITER_HOME_H
#define PRISM_LIMITER_HOME_H

#include "base/arena.h"
#include "limiter/engine.h"
#include "loop/op.h"

struct limiter;

/* First member of what a kind of request needs beside it; in the arena of its call. */
struct ask {
    /* Points the event at resources and records as they are now; anew before each try. Whoever
     * comes first in a step may make room for a tenant's pool. A failure is the ask's. */
    struct status (*find)(struct limiter *limiter, struct ask *ask, bool make_room);

    /* Once the step is kept: counts what was decided and makes the reply. Not of an acquire that
     * waits from now on (verdict->queued): its answer is made when it has its verdict (wait.h). */
    void (*answer)(struct limiter *limiter, struct ask *ask);

    struct arena *arena;
    struct engine_event event;
    uint64_t asked_ms; /* the limiter's clock when it came */

    uint64_t now_ms;    /* from here on how it ended: the present it was decided at */
    uint64_t waited_ms; /* from asked_ms until then */
    struct status status;
    void *reply; /* message in the arena, or NULL where the asker makes it of several asks */

    struct list link; /* the home's from here on */
    struct op decided;
    uint64_t taken_ms; /* the limiter's clock when a home took it in hand, the last time */
    bool offered; /* it waits, and a home may take it in hand whenever its turn may have come */
};

void ask_init(struct limiter *limiter, struct ask *ask, struct arena *arena,
              struct status (*find)(struct limiter *, struct ask *, bool),
              void (*answer)(struct limiter *, struct ask *));

/* Decides all of them, each by itself: one that fails does not touch the others. Returns when the
 * last has ended. In memory each is a step, in their order; in Redis as many as fit are one, in
 * which what ends and is renewed comes first. home_decide returns the status of the ask. */
void home_decide_all(struct limiter *limiter, struct ask *const *asks, size_t n) PARKS;
struct status home_decide(struct limiter *limiter, struct ask *ask) NODISCARD PARKS;

/* So that what is looked at is not old. */
struct status home_look(struct limiter *limiter) NODISCARD PARKS;

/* Those who wait (wait.h) and whose turn it is are taken, at once or soon. */
void home_serve(struct limiter *limiter);

/* An ask that waits may be taken in hand from now on; home_has: it is being decided right now;
 * home_recall returns when it is not and will not be, with whatever came of it. */
void home_offer(struct limiter *limiter, struct ask *ask);
bool home_has(const struct limiter *limiter, const struct ask *ask);
void home_recall(const struct limiter *limiter, struct ask *ask) PARKS;

/* --- for find ----------------------------------------------------------------------------------
 */

/* The record of an id, absent if there is none, for one step; NULL when there is no room. */
struct engine_record *home_record(struct limiter *limiter, const struct engine_id *id);

/* The same of an id that is not worth a record of its own; NULL when there is none. */
struct engine_record *home_record_find(struct limiter *limiter, const struct engine_id *id);

/* A lease of it is believed where it is not known. */
bool home_believes(const struct limiter *limiter, const struct engine_id *id);

/* The authority's present. */
uint64_t home_now_ms(const struct limiter *limiter);

/* --- home_memory.c -----------------------------------------------------------------------------
 */

struct status home_memory_decide(struct limiter *limiter, struct ask *ask) NODISCARD;

#endif
