/*
 * renew.h -- Renew: leases of a session that go on, or are registered again.
 *
 * Floor 6, a row of LimiterService.
 */
#ifndef PRISM_LIMITER_RENEW_H
#define PRISM_LIMITER_RENEW_H

#include "net/rpc_server.h"

struct status renew_leases(struct rpc *rpc, const void *request) PARKS;

#endif
