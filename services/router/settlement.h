/*
 * settlement.h -- giving grants back to the limiter.
 *
 * Floor 6, loop thread. Each is a task of its own, which outlives its call and does so also when
 * the caller has left. A limiter that is away is asked again for as long as what the grant holds
 * would count there (settle_wait); there are no more of them than calls that ran when it went, and
 * beyond a few thousand none is kept long.
 */
#ifndef PRISM_ROUTER_SETTLEMENT_H
#define PRISM_ROUTER_SETTLEMENT_H

#include "router/router.h"

void limiter_complete(struct router *router, const struct plan *plan, const struct grant *grant,
                      const struct attempt *attempt);

/* Takes an admission back that was not used; also one that may never have been made, for which
 * a few tries must do. */
void limiter_cancel(struct router *router, const struct plan *plan, const uint8_t *id,
                    const char *resource);

/* At the end of the router: waits until all have come to an end, for a few seconds. */
void settlements_end(struct router *router) PARKS;

#endif
