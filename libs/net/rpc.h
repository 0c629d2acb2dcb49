/*
 * rpc.h -- what server and client calls share: kinds, metadata, bounds.
 *
 * Floor 3. Messages are protobuf-c structs; descriptors are passed by pointer, so that only
 * rpc_*.c sees protobuf-c and gRPC.
 */
#ifndef PRISM_NET_RPC_H
#define PRISM_NET_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"
#include "loop/loop.h"

struct ProtobufCServiceDescriptor;
struct ProtobufCMessageDescriptor;
struct ProtobufCMessage;

/* Keys of the metadata contract (lower case as gRPC wants). */
#define RPC_KEY_REQUEST_ID "x-request-id"
#define RPC_KEY_TENANT     "x-prism-tenant"
#define RPC_KEY_TASK_ID    "x-prism-task"

#define RPC_METADATA_VALUE_MOST 1024 /* longer values of ours are cut: 20 KB kill a connection */
#define RPC_MESSAGE_MOST        (4u << 20)

/* The wire: gRPC's completion queue and the thread that waits on it. One a process; start it
 * before the first server or channel, stop it after the last is gone. */
struct wire;
struct wire *wire_start(struct loop *loop);
void wire_stop(struct wire *wire) PARKS;

/* Packs into a fresh copy in the arena; unpacks with a byte budget of what is left in the arena,
 * checking UTF-8 of all strings. Reasons: MESSAGE_MALFORMED, MESSAGE_TOO_COMPLEX, BAD_ENCODING. */
struct span rpc_pack(const void *message, struct arena *arena);
struct status rpc_unpack(const struct ProtobufCMessageDescriptor *type, struct span bytes,
                         struct arena *arena, void **message) NODISCARD;

/* A tenant's name: 1 to 63 of a-z, 0-9 and -. */
bool rpc_tenant_valid(struct span text);

/* A failure as google.rpc.Status with its details, for messages that carry one; in the arena, at
 * most 256 KiB of it. domain: the service's name, stays. */
void *rpc_status_message(struct status status, const char *domain, struct arena *arena);

/* Back again; texts stay the message's or are the arena's. Never OK. */
struct status rpc_status_of_message(const void *message, struct arena *arena);

/* The type of a google.rpc error detail that is ours to read, by its Any's type_url; else NULL. */
const struct ProtobufCMessageDescriptor *rpc_detail_type(struct span url);

#endif
