/*
 * calls.h -- Acquire, Complete and Cancel as asks: a message is taken apart, decided by a home, and
 * the ask's reply is the message that answers it.
 *
 * Floor 6. Everything lives in the arena, which outlives the ask; so does the request. What is
 * refused at once comes back as the status the caller gets.
 */
#ifndef PRISM_LIMITER_CALLS_H
#define PRISM_LIMITER_CALLS_H

#include "limiter/home.h"
#include "prism/limiter/v1/limiter.pb-c.h"

struct status calls_acquire(struct limiter *limiter, const Limiter__AcquireRequest *request,
                            struct arena *arena, struct ask **out) NODISCARD;
struct status calls_complete(struct limiter *limiter, const Limiter__CompleteRequest *request,
                             struct arena *arena, struct ask **out) NODISCARD;
struct status calls_cancel(struct limiter *limiter, const Limiter__CancelRequest *request,
                           struct arena *arena, struct ask **out) NODISCARD;

#endif
