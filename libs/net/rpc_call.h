/*
 * rpc_call.h -- one call as the server sees it; for rpc_server.c, rpc_call.c and rpc_handler.c
 * only.
 *
 * Floor 3. A struct rpc is born empty and armed: gRPC fills it when a call of its method comes in.
 * The wire thread arms its successor and hands it to the loop; from then on it is the loop's, until
 * gRPC holds nothing of it any more and the wire thread lets go of the call.
 */
#ifndef PRISM_NET_RPC_CALL_H
#define PRISM_NET_RPC_CALL_H

#include "base/list.h"
#include "base/metric.h"
#include "net/rpc_internal.h"
#include "net/rpc_server.h"

#define RPC_PAIRS_COUNT       6
#define RPC_OVERLOAD_RETRY_MS 1000

/* Metadata on its way out: keys are static, values live in the call's arena. */
struct rpc_pairs {
    struct {
        const char *key;
        struct span value;
    } at[RPC_PAIRS_COUNT];
    size_t n;
    size_t left; /* bytes */
};

struct rpc_metrics {
    struct metric *started;
    struct metric *handled;
    struct metric *seconds;
    struct metric *received;
    struct metric *sent;
};

/* A row of a table with what belongs to it; for calls of unknown methods one without row. */
struct rpc_entry {
    struct rpc_server *server;
    const struct rpc_service *service;
    const struct rpc_method *row;
    const ProtobufCMethodDescriptor *descriptor;
    void *registered;      /* gRPC's */
    char *name;            /* "prism.router.v1.RouterService/Generate" */
    const char *labels[3]; /* grpc_type, grpc_service, grpc_method */
};

struct rpc_server {
    struct rpc_server_options options;
    struct wire *wire;
    struct loop *loop;
    grpc_server *grpc;
    uint16_t port;
    struct rpc_metrics metrics;
    struct rpc_entry *entries; /* the last one is for unknown methods */
    size_t n_entries;
    struct list calls; /* with a handler running or an answer on its way */
    size_t inflight;   /* of these, the ones that count against max_inflight */
    size_t standing;   /* and those that stand; the rest was refused */
    size_t shells;     /* struct rpc that gRPC may still touch, armed ones included */
    bool stopping;
    struct op *idle; /* who waits in rpc_server_stop */
};

struct rpc {
    const struct rpc_entry *entry;
    struct list link;

    /* gRPC's answer to the armed slot. */
    struct wire_tag shell; /* arrival, at the end the release */
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details details; /* unknown methods only */
    grpc_byte_buffer *payload;

    struct wire_tag closed; /* RECV_CLOSE: the caller left, or has all */
    int cancelled;
    struct wire_tag finish; /* SEND_STATUS */
    struct wire_tag receive;
    grpc_byte_buffer *received;
    struct op *receiver; /* the task in rpc_recv */
    bool receiving;
    bool sending;
    bool finished;
    unsigned pending; /* batches that gRPC has not completed */

    struct task *task;
    struct timer linger;
    struct arena *arena;
    struct arena *message; /* of the last received one, where there may be many */
    const char *name;
    const char *peer;
    uint64_t deadline_ms;
    uint64_t started_us;
    size_t *counter;   /* the server's that counts it; NULL: none */
    bool headers_sent; /* initial metadata */
    char request_id[129];
    grpc_byte_buffer *reply;  /* the last message: goes with the trailers */
    struct rpc_pairs headers; /* the request id and what the handler adds */
    struct rpc_pairs trailers;
};

/* Arms a slot. On the loop the caller counts the shell, on the wire thread call_arrived does. */
void rpc_call_arm(const struct rpc_entry *entry);

/* Releases the call once it is answered and gRPC is through with it. */
void rpc_call_end_when_done(struct rpc *rpc);

/* Why a call that gRPC gave up on is over. */
struct status rpc_call_why_over(const struct rpc *rpc);

/* Where the initial metadata was not sent yet: op sends it, and it goes into metadata, which has
 * room for RPC_PAIRS_COUNT. How many that makes, 0: it was sent. */
size_t rpc_call_headers(struct rpc *rpc, grpc_op *op, grpc_metadata *metadata);
void rpc_call_unref(const grpc_metadata *metadata, size_t n);

/* A received message into the arena, within what one may take. */
struct status rpc_call_unpack(struct rpc *rpc, grpc_byte_buffer *bytes, struct arena *arena,
                              void **message) NODISCARD;

static inline bool rpc_kind_one_request(enum rpc_kind kind)
{
    return kind == RPC_UNARY || kind == RPC_SERVER_STREAM;
}

static inline bool rpc_kind_one_reply(enum rpc_kind kind)
{
    return kind == RPC_UNARY || kind == RPC_CLIENT_STREAM;
}

/* Asks the handler to end with this status. */
void rpc_call_stop(struct rpc *rpc, struct status why);

/* The server drains: a call that stands waits for no further message. */
void rpc_call_drain(struct rpc *rpc);

/* A shell is gone or a call has ended: whoever waits looks again. */
void rpc_server_look(struct rpc_server *server);

#endif
