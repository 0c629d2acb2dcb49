/*
 * leases.h -- the leases that this process holds: renewed together, and fenced.
 *
 * Floor 6, loop thread. A grant is held from its admission to the end of its call; memory stays the
 * caller's.
 */
#ifndef PRISM_ROUTER_LEASES_H
#define PRISM_ROUTER_LEASES_H

#include "router/router.h"

struct leases *leases_start(struct router *router);
void leases_stop(struct leases *leases) PARKS;

/* The running task's, until dropped: when the lease is lost the task is cancelled, unless calls may
 * finish. */
void leases_hold(struct leases *leases, struct grant *grant);
void leases_drop(struct leases *leases, struct grant *grant);

#endif
