/*
 * look.h -- the methods that only look: Peek and Dump.
 *
 * Floor 6, rows of LimiterService.
 */
#ifndef PRISM_LIMITER_LOOK_H
#define PRISM_LIMITER_LOOK_H

#include "limiter/engine_state.h"
#include "net/rpc_server.h"

struct status look_peek(struct rpc *rpc, const void *request) PARKS;
struct status look_dump(struct rpc *rpc, const void *request) PARKS;

/* One without a tenant, or of this one; "": of any. */
bool look_concerns(const struct engine_resource *resource, const char *tenant);

#endif
