/*
 * question.h -- what the limiter is asked for one admission, and what need not be asked.
 *
 * Floor 6, loop thread. The limiter tells the router which models are closed (states.c). Those are
 * left out of a question; when all are closed, the verdict is known without one.
 */
#ifndef PRISM_ROUTER_QUESTION_H
#define PRISM_ROUTER_QUESTION_H

#include "prism/limiter/v1/limiter.pb-c.h"
#include "router/router.h"

struct question {
    Limiter__AcquireRequest *request;
    size_t index[ROUTER_CANDIDATES_MOST]; /* of each candidate asked for, among the plan's */
    Limiter__Verdict *known;              /* judges those left out; a refusal if that is all */
};

/* id is the caller's and stays. all: leaves none out, for who wants to wait until one opens. In the
 * arena. */
struct question question_of(const struct router *router, const struct plan *plan, const uint8_t *id,
                            bool all, struct arena *arena);

#endif
