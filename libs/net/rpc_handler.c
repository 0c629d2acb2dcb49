/* What a handler does with its call. */
#include <grpc/grpc.h>
#include <string.h>

#include "loop/task.h"
#include "net/rpc_call.h"

void *rpc_service(struct rpc *rpc)
{
    return rpc->entry->service->service;
}

struct arena *rpc_arena(struct rpc *rpc)
{
    return rpc->arena;
}

struct span rpc_metadata(const struct rpc *rpc, const char *key)
{
    for (size_t i = 0; i < rpc->metadata.count; i++) {
        const grpc_metadata *entry = &rpc->metadata.metadata[i];
        if (grpc_slice_str_cmp(entry->key, key) == 0) {
            return span_of(GRPC_SLICE_START_PTR(entry->value), GRPC_SLICE_LENGTH(entry->value));
        }
    }
    return SPAN_NONE;
}

const char *rpc_peer(const struct rpc *rpc)
{
    return rpc->peer;
}

const char *rpc_method_name(const struct rpc *rpc)
{
    return rpc->name;
}

/* --- messages --------------------------------------------------------------------------------- */

struct status rpc_call_unpack(struct rpc *rpc, grpc_byte_buffer *bytes, struct arena *arena,
                              void **message)
{
    const struct rpc_entry *entry = rpc->entry;
    metric_add(entry->server->metrics.received, 1, entry->labels);
    return rpc_message_unpack(entry->descriptor->input, bytes, arena,
                              entry->server->options.arena_budget, message);
}

struct sending {
    struct wire_tag tag;
    struct rpc *rpc;
};

/* A message that the peer does not take can only be recalled with the whole call. */
static void send_cancel(struct op *op)
{
    struct rpc *rpc = CONTAINER_OF(op, struct sending, tag.op)->rpc;
    struct status why = rpc_call_why_over(rpc);
    grpc_call_cancel_with_status(rpc->call, (grpc_status_code)why.code, status_text(why), NULL);
}

struct status rpc_send_last(struct rpc *rpc, const void *message)
{
    TRY(task_status());
    check(rpc->reply == NULL);
    rpc->reply = rpc_message_pack(message);
    return STATUS_SUCCESS;
}

struct status rpc_send(struct rpc *rpc, const void *message)
{
    if (rpc_kind_one_reply(rpc->entry->row->kind)) {
        return rpc_send_last(rpc, message);
    }
    TRY(task_status());
    check(!rpc->sending && rpc->reply == NULL); /* gRPC takes one message at a time */
    grpc_op ops[2];
    grpc_metadata headers[RPC_PAIRS_COUNT];
    size_t n_headers = rpc_call_headers(rpc, ops, headers);
    size_t n = n_headers > 0;
    grpc_byte_buffer *bytes = rpc_message_pack(message);
    ops[n++] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = bytes};
    struct sending sending = {.rpc = rpc};
    wire_tag_init(&sending.tag, rpc->entry->server->wire, send_cancel, NULL);
    rpc->sending = true;
    wire_batch_here(&sending.tag, rpc->call, ops, n);
    grpc_byte_buffer_destroy(bytes);
    rpc_call_unref(headers, n_headers);
    metric_add(rpc->entry->server->metrics.sent, 1, rpc->entry->labels);
    struct status s = op_wait(&sending.tag.op);
    rpc->sending = false;
    return s;
}

static void receive_done(struct op *op)
{
    struct rpc *rpc = CONTAINER_OF(op, struct rpc, receive.op);
    rpc->pending--;
    rpc->receiving = false;
    if (rpc->receiver != NULL) {
        struct op *receiver = rpc->receiver;
        rpc->receiver = NULL;
        op_done(receiver, op->result);
    }
    rpc_call_end_when_done(rpc);
}

struct receiving {
    struct op op;
    struct rpc *rpc;
};

/* The batch stays with gRPC until the call ends; so the handler can still send its trailers. */
static void receive_cancel(struct op *op)
{
    struct rpc *rpc = CONTAINER_OF(op, struct receiving, op)->rpc;
    rpc->receiver = NULL;
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

void rpc_call_drain(struct rpc *rpc)
{
    struct op *receiver = rpc->receiver;
    if (rpc->counter == &rpc->entry->server->standing && receiver != NULL) {
        rpc->receiver = NULL;
        op_done(receiver, status_of(REASON_SHUTTING_DOWN, NULL));
    }
}

struct status rpc_stand(struct rpc *rpc)
{
    struct rpc_server *server = rpc->entry->server;
    if (server->standing >= server->options.max_inflight) {
        return status_retry(REASON_OVERLOADED, RPC_OVERLOAD_RETRY_MS, NULL);
    }
    --*rpc->counter;
    rpc->counter = &server->standing;
    server->standing++;
    return STATUS_SUCCESS;
}

struct status rpc_recv(struct rpc *rpc, const void **message)
{
    struct rpc_server *server = rpc->entry->server;
    TRY(task_status());
    if (server->stopping && rpc->counter == &server->standing) {
        return status_of(REASON_SHUTTING_DOWN, NULL);
    }
    check(!rpc_kind_one_request(rpc->entry->row->kind) && rpc->receiver == NULL && !rpc->receiving);
    arena_drop(&rpc->message);
    struct receiving receiving = {.rpc = rpc};
    op_init(&receiving.op, server->loop, receive_cancel, NULL);
    rpc->receiver = &receiving.op; /* cppcheck-suppress autoVariables ; cleared before it goes */
    rpc->receiving = true;
    rpc->pending++;
    wire_tag_init(&rpc->receive, server->wire, NULL, receive_done);
    grpc_op receive = {.op = GRPC_OP_RECV_MESSAGE,
                       .data.recv_message.recv_message = &rpc->received};
    wire_batch_here(&rpc->receive, rpc->call, &receive, 1);
    TRY(op_wait(&receiving.op));
    if (rpc->received == NULL) {
        /* The same event for a caller who has said all and for one who left. */
        if (grpc_call_failed_before_recv_message(rpc->call)) {
            return rpc_call_why_over(rpc);
        }
        *message = NULL;
        return STATUS_SUCCESS;
    }
    void *unpacked;
    rpc->message = arena_new(server->options.arena_budget);
    struct status s = rpc_call_unpack(rpc, rpc->received, rpc->message, &unpacked);
    grpc_byte_buffer_destroy(rpc->received);
    rpc->received = NULL;
    TRY(s);
    *message = unpacked;
    return STATUS_SUCCESS;
}

/* --- metadata and errors ---------------------------------------------------------------------- */

static void add_pair(struct rpc *rpc, struct rpc_pairs *pairs, const char *key, struct span value)
{
    size_t overhead = strlen(key) + RPC_PAIR_OVERHEAD;
    if (pairs->n == RPC_PAIRS_COUNT || pairs->left < overhead) {
        return;
    }
    pairs->left -= overhead;
    struct span cut = span_first(value, RPC_METADATA_VALUE_MOST);
    cut = span_first(cut, pairs->left);
    pairs->left -= cut.len;
    char *copy = arena_string(rpc->arena, cut);
    bool binary = span_ends(span_str(key), SPAN("-bin"));
    for (size_t i = 0; !binary && i < cut.len; i++) {
        copy[i] = copy[i] >= ' ' && copy[i] <= '~' ? copy[i] : '?'; /* gRPC refuses others */
    }
    pairs->at[pairs->n].key = key;
    pairs->at[pairs->n++].value = span_of(copy, cut.len);
}

void rpc_add_header(struct rpc *rpc, const char *key, struct span value)
{
    check(!rpc->headers_sent);
    add_pair(rpc, &rpc->headers, key, value);
}

void rpc_add_trailer(struct rpc *rpc, const char *key, struct span value)
{
    add_pair(rpc, &rpc->trailers, key, value);
}

struct status rpc_bad_field(struct rpc *rpc, const char *field, const char *description)
{
    return status_bad_field(rpc->arena, field, description);
}

struct status rpc_not_found(struct rpc *rpc, enum reason reason, const char *type, const char *name)
{
    return status_not_found(rpc->arena, reason, type, name);
}
