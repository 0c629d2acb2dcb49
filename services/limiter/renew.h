/*
 * renew.h -- Renew as asks: leases of a session that go on, or are registered again.
 *
 * Floor 6. In the arena, as in calls.h; many leases are several asks with one reply.
 */
#ifndef PRISM_LIMITER_RENEW_H
#define PRISM_LIMITER_RENEW_H

#include "limiter/home.h"
#include "prism/limiter/v1/limiter.pb-c.h"

#define RENEW_LEASES_MOST 1024
#define RENEW_STEP_MOST   32 /* leases in a step: with all they hold they fit one step of a home */
#define RENEW_ASKS_MOST   (RENEW_LEASES_MOST / RENEW_STEP_MOST)

struct renewing {
    size_t n_asks;
    struct ask *asks[RENEW_ASKS_MOST];
    Limiter__RenewResponse *reply; /* whole when all of them have ended well */
};

struct status renew_take(struct limiter *limiter, const Limiter__RenewRequest *request,
                         struct arena *arena, struct renewing *out) NODISCARD;

/* After they were decided: OK, or how the first that failed ended. */
struct status renew_status(const struct renewing *renewing) NODISCARD;

#endif
