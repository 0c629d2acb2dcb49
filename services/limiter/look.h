/*
 * look.h -- the methods that only look: Peek and Dump.
 *
 * Floor 6, rows of LimiterService.
 */
#ifndef PRISM_LIMITER_LOOK_H
#define PRISM_LIMITER_LOOK_H

#include "net/rpc_server.h"

struct status look_peek(struct rpc *rpc, const void *request) PARKS;
struct status look_dump(struct rpc *rpc, const void *request) PARKS;

#endif
