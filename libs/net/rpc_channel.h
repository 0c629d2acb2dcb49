/*
 * rpc_channel.h -- what rpc_client.c needs of a channel; nobody else includes it.
 *
 * Floor 3, loop thread.
 */
#ifndef PRISM_NET_RPC_CHANNEL_H
#define PRISM_NET_RPC_CHANNEL_H

#include "net/rpc_client.h"
#include "net/rpc_internal.h"

/* The first target that is connected, else NULL. Nudges idle ones in front of it. */
grpc_channel *rpc_channel_first(const struct rpc_channel *channel);

/* The same, and valid as long as the channel; waits a while for one when none is.
 * PEER_UNREACHABLE, or the task's status. */
struct status rpc_channel_pick(struct rpc_channel *channel, grpc_channel **out) NODISCARD PARKS;

uint64_t rpc_channel_call_ms(const struct rpc_channel *channel); /* UINT64_MAX: no bound */
size_t rpc_channel_headers(const struct rpc_channel *channel, const struct rpc_header **headers);

/* A call opens and ends. */
struct wire *rpc_channel_hold(struct rpc_channel *channel);
void rpc_channel_let_go(struct rpc_channel *channel);

#endif
