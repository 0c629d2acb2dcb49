/*
 * rpc_client.h -- calls to other services, by descriptor: no stubs.
 *
 * Floor 3, tasks on the loop thread. Deadline, request id, tenant and task id are the running
 * task's. Nothing is retried or hedged here: one call is one attempt. Errors come back as the
 * status the peer sent, with the reason and RetryInfo of its details where it is one of ours.
 */
#ifndef PRISM_NET_RPC_CLIENT_H
#define PRISM_NET_RPC_CLIENT_H

#include <stdbool.h>

#include "net/rpc.h"

#define RPC_HEADERS_COUNT 4

struct rpc_channel;
struct rpc_stream;

/* Metadata beside the task's: -bin keys have any bytes, others printable ASCII. */
struct rpc_header {
    const char *key; /* static */
    struct span value;
};

struct rpc_channel_options {
    const char *targets;              /* "host:port,host:port": the first that is READY is called */
    size_t max_message;               /* bytes received, 0: RPC_MESSAGE_MOST */
    uint64_t call_ms;                 /* longest unary call, 0: only the task's deadline */
    const struct rpc_header *headers; /* sent with every call; outlive the channel */
    size_t n_headers;                 /* at most RPC_HEADERS_COUNT */
};

struct rpc_channel *rpc_channel_new(struct wire *wire, const struct rpc_channel_options *options);
void rpc_channel_free(struct rpc_channel *channel); /* no call may be open */
bool rpc_channel_ready(
    const struct rpc_channel *channel); /* some target is connected; nudges idle ones */

/* One unary call; the reply lives in arena. PEER_UNREACHABLE when nothing answered. */
struct status rpc_call(struct rpc_channel *channel,
                       const struct ProtobufCServiceDescriptor *service, const char *method,
                       const void *request, struct arena *arena, void **reply) NODISCARD PARKS;

/* A streaming call. request: the only message, with which our side ends; NULL where messages are
 * sent later. Returns when it was handed to gRPC, not when the peer answered. */
struct status rpc_open(struct rpc_channel *channel,
                       const struct ProtobufCServiceDescriptor *service, const char *method,
                       const void *request, struct rpc_stream **out) NODISCARD PARKS;
struct status rpc_stream_send(struct rpc_stream *stream, const void *message) NODISCARD PARKS;
struct status rpc_stream_send_end(struct rpc_stream *stream) NODISCARD PARKS; /* half-close */

/* The next message into arena, NULL at the end; the status of the call when it ended not OK. Who
 * reads a stream that does not end soon gives every message an arena of its own. */
struct status rpc_stream_recv(struct rpc_stream *stream, struct arena *arena,
                              void **message) NODISCARD PARKS;

/* The stream runs on the target that a new one would: when one in front of it is back, who keeps a
 * stream for long opens another. */
bool rpc_stream_preferred(const struct rpc_stream *stream);

/* The peer's initial and trailing metadata, once the call has ended; empty when absent. A call that
 * failed at once may have trailing metadata only. */
struct span rpc_stream_header(const struct rpc_stream *stream, const char *key);
struct span rpc_stream_trailer(const struct rpc_stream *stream, const char *key);

/* Frees; an unfinished call is cancelled, which the peer's handler sees. Sets *stream to NULL. */
void rpc_stream_close(struct rpc_stream **stream) PARKS;

#endif
