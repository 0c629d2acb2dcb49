/*
 * attach.h -- Attach: the session of one router, as one stream of batches.
 *
 * Floor 6. A message is decided as a whole, its items in their order, and answered by one message
 * with a reply for each; meanwhile the next one waits in gRPC. An item that is wrong gets an error
 * in its reply's place. What was granted outlives the stream.
 */
#ifndef PRISM_LIMITER_ATTACH_H
#define PRISM_LIMITER_ATTACH_H

#include "net/rpc_server.h"

struct status attach_session(struct rpc *rpc, const void *nothing) PARKS;

#endif
