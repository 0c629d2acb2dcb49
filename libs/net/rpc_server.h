/*
 * rpc_server.h -- gRPC methods as plain functions: one table row a method.
 *
 * Floor 3. Handlers run in a task each, on the loop thread, with the caller's deadline, request id
 * and tenant in the task's context; when the caller leaves, the task is cancelled. The status a
 * handler returns becomes the trailers: grpc-status, grpc-message and grpc-status-details-bin.
 *
 * One log line and the grpc_server_* metrics a call are written here, for every service alike.
 */
#ifndef PRISM_NET_RPC_SERVER_H
#define PRISM_NET_RPC_SERVER_H

#include "net/rpc.h"

struct rpc;
struct rpc_server;

enum rpc_kind {
    RPC_UNARY,
    RPC_SERVER_STREAM,
    RPC_CLIENT_STREAM,
    RPC_BIDI,
};

/* request: the first message, unpacked into the call's arena; NULL for client and bidi streams.
 * handler NULL: the method answers UNIMPLEMENTED (METHOD_NOT_BUILT). */
struct rpc_method {
    const char *name;
    enum rpc_kind kind;
    struct status (*handler)(struct rpc *rpc, const void *request) PARKS;
};

struct rpc_service {
    const struct ProtobufCServiceDescriptor *descriptor;
    const struct rpc_method *methods; /* exactly one row for every method of the descriptor */
    size_t n_methods;
    void *service; /* what rpc_service returns to the handlers */
};

struct rpc_server_options {
    const char *address; /* "127.0.0.1:7401", "[::]:7401", port 0: any free one */
    size_t max_inflight; /* calls running; more are answered UNAVAILABLE + RetryInfo. 0: 4096 */
    size_t max_message;  /* bytes of a received message, 0: RPC_MESSAGE_MOST */
    size_t arena_budget; /* bytes of a received message unpacked, 0: 4 x max_message + 1 MiB */
    uint64_t max_call_age_ms; /* for calls without deadline, and a bound for those with; 0: 1 h */
    const struct rpc_service *services; /* outlive the server */
    size_t n_services;
};

/* check()s that every method has its row and every request type is acyclic. ADDRESS_IN_USE. */
struct status rpc_server_start(struct wire *wire, const struct rpc_server_options *options,
                               struct rpc_server **out) NODISCARD;
uint16_t rpc_server_port(const struct rpc_server *server);

/* New calls are refused with GOAWAY; running ones go on until grace_ms, then are cancelled. Waits
 * for the last handler and frees. */
void rpc_server_stop(struct rpc_server *server, uint64_t grace_ms) PARKS;

size_t rpc_server_inflight(const struct rpc_server *server); /* without those that stand */

/* Messages of all methods, for reflection: n services and their descriptors. */
size_t rpc_server_services(const struct rpc_server *server, const struct rpc_service **services);

/* --- inside a handler ---------------------------------------------------------------------------
 */

void *rpc_service(struct rpc *rpc);
struct arena *rpc_arena(struct rpc *rpc); /* the call's: gone when the trailers are sent */
struct span rpc_metadata(const struct rpc *rpc, const char *key); /* empty when absent */
const char *rpc_peer(const struct rpc *rpc);
const char *rpc_method_name(const struct rpc *rpc); /* "prism.router.v1.RouterService/Generate" */

/* Sends one message; parks until gRPC took it, which is the flow control. The first sends the
 * initial metadata. Fails with the task's status. Unary and client streams: exactly once before
 * returning OK; it is kept and goes out with the trailers. One task at a time may send, one
 * receive. */
struct status rpc_send(struct rpc *rpc, const void *message) NODISCARD PARKS;

/* The last message of a stream: kept and sent with the trailers, which spares the way of one; with
 * those of a failure it is not sent. */
struct status rpc_send_last(struct rpc *rpc, const void *message) NODISCARD;

/* The next message of a client or bidi stream, NULL at its end. It lives until the next rpc_recv of
 * the call, so that a stream of any length needs the memory of one message. */
struct status rpc_recv(struct rpc *rpc, const void **message) NODISCARD PARKS;

/* For streams that stay open as long as their client does, at the beginning of the handler: the
 * call is no longer one of max_inflight but one of as many that stand; OVERLOADED when there are. A
 * drain does not wait for it: rpc_recv says SHUTTING_DOWN once what came before is answered. It
 * ends at max_call_age like any other: its client opens the next. */
struct status rpc_stand(struct rpc *rpc) NODISCARD;

/* Adds to the initial metadata, before the first rpc_send, or to the trailing metadata; cut at
 * RPC_METADATA_VALUE_MOST. key static. A call that fails without having sent anything has trailing
 * metadata only. */
void rpc_add_header(struct rpc *rpc, const char *key, struct span value);
void rpc_add_trailer(struct rpc *rpc, const char *key, struct span value);

/* status_bad_field and status_not_found in the call's arena. */
struct status rpc_bad_field(struct rpc *rpc, const char *field, const char *description);
struct status rpc_not_found(struct rpc *rpc, enum reason reason, const char *type,
                            const char *name);

#endif
