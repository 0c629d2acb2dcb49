/*
 * rpc_internal.h -- what wire.c and rpc_*.c share; nobody else includes it.
 *
 * Floor 3. The wire thread waits on the completion queue. It posts each event to the loop, except
 * for the two things that must happen on the thread that polls: taking a call over and letting go
 * of it (calls handled wholly elsewhere sometimes never learn that their caller left).
 */
#ifndef PRISM_NET_RPC_INTERNAL_H
#define PRISM_NET_RPC_INTERNAL_H

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "net/rpc.h"

/* --- wire.c ----------------------------------------------------------------------------------- */

#define WIRE_LATE_MS 100

/* What gRPC is given as the tag of an event. It stays in place until its op is done; the op ends
 * with STATUS_SUCCESS or, when the event says no, with CALL_CANCELLED. */
struct wire_tag {
    struct op op;
    struct wire *wire;
    void (*on_wire)(struct wire_tag *tag); /* NULL, or sees the event first, on the wire thread */
    grpc_call **call;                      /* with on_wire: whose event it is */
};

struct loop *wire_loop(const struct wire *wire);
grpc_completion_queue *wire_queue(const struct wire *wire);

/* Servers and channels in use; wire_stop check()s that there are none. Loop thread. */
void wire_hold(struct wire *wire);
void wire_let_go(struct wire *wire);

void wire_tag_init(struct wire_tag *tag, struct wire *wire, void (*cancel)(struct op *),
                   void (*then)(struct op *));

/* Before a tag is handed to gRPC by anything but the batches. */
void wire_tag_release(struct wire_tag *tag);

/* Starts a batch; gRPC refusing it is a bug of ours. n 0: only wakes the wire thread. */
void wire_batch(struct wire_tag *tag, grpc_call *call, const grpc_op *ops, size_t n);

/* The same on the loop thread, where most sends are through before this returns: then the op is
 * done, which spares it the way over the wire thread. */
void wire_batch_here(struct wire_tag *tag, grpc_call *call, const grpc_op *ops, size_t n);

/* Loop thread: on_wire runs on the wire thread along with the next event there, which it does not
 * wake for that, but at most WIRE_LATE_MS later. */
void wire_soon(struct wire_tag *tag);

/* What waits for that does not have to any more. */
void wire_hurry(struct wire *wire);

/* --- rpc_message.c ---------------------------------------------------------------------------- */

/* gRPC's own copy of a packed message; destroy it after the batch was started. */
grpc_byte_buffer *rpc_message_pack(const void *message);

/* rpc_unpack of what was received, with at most limit bytes of the arena. */
struct status rpc_message_unpack(const ProtobufCMessageDescriptor *type, grpc_byte_buffer *bytes,
                                 struct arena *arena, size_t limit, void **message) NODISCARD;

/* No message of this type can contain itself. */
bool rpc_message_acyclic(const ProtobufCMessageDescriptor *type);

/* --- rpc_status.c ----------------------------------------------------------------------------- */

#define RPC_KEY_DETAILS      "grpc-status-details-bin"
#define RPC_HEADER_TEXT_MOST 1536 /* grpc-message, percent-encoded */
#define RPC_DETAILS_MOST     2800 /* google.rpc.Status, before base64 */
#define RPC_HEADERS_MOST     512  /* the request id and what handlers add */
#define RPC_TRAILERS_MOST    1536 /* what handlers add; with the above below 8 KiB on the wire */
#define RPC_PAIR_OVERHEAD    32   /* HTTP/2 counts that much for each */

/* The status's text, valid UTF-8 and cut so that its header stays below RPC_HEADER_TEXT_MOST. */
struct span rpc_status_text(struct status status);

/* A google.rpc.Status of at most RPC_DETAILS_MOST bytes into out. domain: the service's name. */
void rpc_status_encode(struct status status, const char *domain, struct buf *out);

/* Back again: details may be empty or nonsense. Texts are copied into the arena as far as it has
 * room; arena NULL: without texts. */
struct status rpc_status_decode(enum status_code code, struct span message, struct span details,
                                struct arena *arena);

#endif
