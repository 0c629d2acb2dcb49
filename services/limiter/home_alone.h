/*
 * home_alone.h -- on_store_loss open: who decides while the store is away.
 *
 * Floor 6, loop thread, nothing parks. Each limiter then admits what all of them may, and the store
 * again before and after: R limiters R + 1 times the numbers in the window around it. Functions
 * take alone NULL: on_store_loss is closed.
 */
#ifndef PRISM_LIMITER_HOME_ALONE_H
#define PRISM_LIMITER_HOME_ALONE_H

#include "limiter/home.h"

struct home_alone;

struct status home_alone_new(struct limiter *limiter, char error_text[256],
                             struct home_alone **out) NODISCARD;
void home_alone_free(struct home_alone *alone) PARKS;

/* The limiter that decides; a new catalogue is for it too. NULL: there is none. */
struct limiter *home_alone_limiter(const struct home_alone *alone);

/* Decides an ask that the store could not; nobody has begun to wait for it. False: that is nothing
 * for here. */
bool home_alone_decide(struct home_alone *alone, struct ask *ask);

/* The store is back. */
void home_alone_end(struct home_alone *alone);

/* A call that was granted or renewed here: its lease is believed where it is not known. */
bool home_alone_believes(const struct home_alone *alone, const struct engine_id *id);

#endif
