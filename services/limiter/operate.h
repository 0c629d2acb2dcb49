/*
 * operate.h -- what operators do: SetLimits, ForceOpen, ForceClose, Reopen.
 *
 * Floor 6, rows of LimiterService.
 */
#ifndef PRISM_LIMITER_OPERATE_H
#define PRISM_LIMITER_OPERATE_H

#include "net/rpc_server.h"

struct status operate_set_limits(struct rpc *rpc, const void *request) PARKS;
struct status operate_force_open(struct rpc *rpc, const void *request) PARKS;
struct status operate_force_close(struct rpc *rpc, const void *request) PARKS;
struct status operate_reopen(struct rpc *rpc, const void *request) PARKS;

#endif
