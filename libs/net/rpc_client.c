#include "net/rpc_client.h"

#include <grpc/support/time.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "loop/task.h"
#include "net/rpc_channel.h"

#define CONTEXT_KEYS 3

/* What every call has: until it is over. */
struct client_call {
    struct rpc_channel *channel;
    struct wire *wire;
    grpc_channel *target;
    const ProtobufCMethodDescriptor *method;
    grpc_call *grpc;
    grpc_metadata_array headers;
    grpc_metadata_array trailers;
    grpc_status_code code;
    grpc_slice message;
};

static gpr_timespec deadline(uint64_t most_ms)
{
    uint64_t left_ms = task_left_ms() < most_ms ? task_left_ms() : most_ms;
    if (left_ms > INT32_MAX) {
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    }
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_millis((int64_t)left_ms, GPR_TIMESPAN));
}

static struct status call_start(struct client_call *call, struct rpc_channel *channel,
                                const ProtobufCServiceDescriptor *service, const char *method,
                                uint64_t most_ms)
{
    *call = (struct client_call){.channel = channel, .message = grpc_empty_slice()};
    call->method = protobuf_c_service_descriptor_get_method_by_name(service, method);
    check(call->method != NULL);
    TRY(task_status());
    TRY(rpc_channel_pick(channel, &call->target));
    CLEANUP(buf_clear) struct buf path;
    buf_init(&path, 512);
    buf_addf(&path, "/%s/%s", service->name, method);
    grpc_slice slice = grpc_slice_from_copied_buffer(path.at, path.len);
    call->wire = rpc_channel_hold(channel);
    call->grpc =
        grpc_channel_create_call(call->target, NULL, GRPC_PROPAGATE_DEFAULTS,
                                 wire_queue(call->wire), slice, NULL, deadline(most_ms), NULL);
    grpc_slice_unref(slice);
    grpc_metadata_array_init(&call->headers);
    grpc_metadata_array_init(&call->trailers);
    return STATUS_SUCCESS;
}

static void call_end(struct client_call *call)
{
    grpc_slice_unref(call->message);
    grpc_metadata_array_destroy(&call->headers);
    grpc_metadata_array_destroy(&call->trailers);
    grpc_call_unref(call->grpc);
    rpc_channel_let_go(call->channel);
}

static struct span span_of_slice(const grpc_slice *slice)
{
    return span_of(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
}

static struct span metadata_find(const grpc_metadata_array *metadata, const char *key)
{
    for (size_t i = 0; i < metadata->count; i++) {
        if (grpc_slice_str_cmp(metadata->metadata[i].key, key) == 0) {
            return span_of_slice(&metadata->metadata[i].value);
        }
    }
    return SPAN_NONE;
}

/* How the call ended, once its status is there. arena NULL: without texts. */
static struct status call_status(const struct client_call *call, struct arena *arena)
{
    if (call->code == GRPC_STATUS_OK) {
        return STATUS_SUCCESS;
    }
    /* We hung up because of these. */
    if (call->code == GRPC_STATUS_CANCELLED || call->code == GRPC_STATUS_DEADLINE_EXCEEDED) {
        TRY(task_status());
    }
    struct span details = metadata_find(&call->trailers, RPC_KEY_DETAILS);
    if (call->code == GRPC_STATUS_CANCELLED && details.len == 0) {
        /* Neither we nor the peer's handler: something between us. */
        return status_of(REASON_CONNECTION_LOST, "the call was cut off");
    }
    return rpc_status_decode((enum status_code)call->code, span_of_slice(&call->message), details,
                             arena);
}

static struct status unpack(const struct client_call *call, grpc_byte_buffer *bytes,
                            struct arena *arena, void **message)
{
    struct status s =
        rpc_message_unpack(call->method->output, bytes, arena, arena_left(arena), message);
    grpc_byte_buffer_destroy(bytes);
    return s;
}

/* One more entry where gRPC would take it; how many there are then. */
static size_t add_header(grpc_metadata *metadata, size_t n, struct rpc_header header)
{
    grpc_slice key = grpc_slice_from_static_string(header.key);
    grpc_slice value = grpc_slice_from_copied_buffer(header.value.at, header.value.len);
    if (header.value.len > 0 &&
        (grpc_is_binary_header(key) || grpc_header_nonbin_value_is_legal(value))) {
        metadata[n].key = key;
        metadata[n].value = value;
        return n + 1;
    }
    grpc_slice_unref(value);
    return n;
}

static size_t add_metadata(const struct rpc_channel *channel, grpc_metadata *metadata)
{
    const struct task_context *context = task_context();
    const struct rpc_header own[CONTEXT_KEYS] = {
        {RPC_KEY_REQUEST_ID, span_str(context->request_id)},
        {RPC_KEY_TENANT, span_str(context->tenant)},
        {RPC_KEY_TASK_ID, span_str(context->task_id)},
    };
    const struct rpc_header *more;
    size_t n_more = rpc_channel_headers(channel, &more);
    size_t n = 0;
    for (size_t i = 0; i < CONTEXT_KEYS; i++) {
        n = add_header(metadata, n, own[i]);
    }
    for (size_t i = 0; i < n_more; i++) {
        n = add_header(metadata, n, more[i]);
    }
    return n;
}

/* A batch that starts with the metadata of the task and the channel. */
static void batch_with_metadata(struct wire_tag *tag, const struct client_call *call, grpc_op *ops,
                                size_t n)
{
    grpc_metadata metadata[CONTEXT_KEYS + RPC_HEADERS_COUNT];
    size_t n_metadata = add_metadata(call->channel, metadata);
    ops[0] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA,
                       .data.send_initial_metadata = {.count = n_metadata, .metadata = metadata}};
    wire_batch_here(tag, call->grpc, ops, n);
    for (size_t i = 0; i < n_metadata; i++) {
        grpc_slice_unref(metadata[i].value);
    }
}

/* --- unary ------------------------------------------------------------------------------------ */

struct unary {
    struct client_call call;
    struct wire_tag tag;
    grpc_byte_buffer *reply;
};

static void unary_cancel(struct op *op)
{
    grpc_call_cancel(CONTAINER_OF(op, struct unary, tag.op)->call.grpc, NULL);
}

static struct status unary_run(struct unary *unary, const void *request)
{
    struct client_call *call = &unary->call;
    grpc_byte_buffer *bytes = rpc_message_pack(request);
    grpc_op ops[] = {
        {0},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = bytes},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &call->headers},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &unary->reply},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &call->trailers,
                                        .status = &call->code,
                                        .status_details = &call->message}},
    };
    wire_tag_init(&unary->tag, call->wire, unary_cancel, NULL);
    batch_with_metadata(&unary->tag, call, ops, ARRAY_LEN(ops));
    grpc_byte_buffer_destroy(bytes);
    return op_wait(&unary->tag.op);
}

struct status rpc_call(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
                       const char *method, const void *request, struct arena *arena, void **reply)
{
    struct unary unary = {0};
    TRY(call_start(&unary.call, channel, service, method, rpc_channel_call_ms(channel)));
    struct status s = unary_run(&unary, request);
    if (status_ok(s)) {
        s = call_status(&unary.call, arena);
    }
    if (!status_ok(s)) {
        grpc_byte_buffer_destroy(unary.reply);
    } else if (unary.reply == NULL) {
        s = status_of(REASON_PROTOCOL_ERROR, "the reply has no message");
    } else {
        s = unpack(&unary.call, unary.reply, arena, reply);
    }
    call_end(&unary.call);
    return s;
}

/* --- streams ---------------------------------------------------------------------------------- */

struct rpc_stream {
    struct client_call call;
    struct wire_tag ended; /* RECV_STATUS: runs as long as the call */
};

/* One batch of a stream, on the stack of who waits for it. */
struct step {
    struct wire_tag tag;
    struct rpc_stream *stream;
};

static void step_cancel(struct op *op)
{
    grpc_call_cancel(CONTAINER_OF(op, struct step, tag.op)->stream->call.grpc, NULL);
}

static void stream_cancel(struct op *op)
{
    grpc_call_cancel(CONTAINER_OF(op, struct rpc_stream, ended.op)->call.grpc, NULL);
}

static void step_init(struct step *step, struct rpc_stream *stream)
{
    step->stream = stream;
    wire_tag_init(&step->tag, stream->call.wire, step_cancel, NULL);
}

static void stream_watch(struct rpc_stream *stream)
{
    struct client_call *call = &stream->call;
    const grpc_op ops[] = {
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &call->headers},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &call->trailers,
                                        .status = &call->code,
                                        .status_details = &call->message}},
    };
    wire_tag_init(&stream->ended, call->wire, stream_cancel, NULL);
    wire_batch_here(&stream->ended, call->grpc, ops, ARRAY_LEN(ops));
}

static struct status stream_begin(struct rpc_stream *stream, const void *request)
{
    grpc_op ops[] = {{0}, {0}, {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}};
    struct step step;
    step_init(&step, stream);
    grpc_byte_buffer *bytes = request != NULL ? rpc_message_pack(request) : NULL;
    ops[1] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = bytes};
    batch_with_metadata(&step.tag, &stream->call, ops, bytes != NULL ? 3 : 1);
    grpc_byte_buffer_destroy(bytes);
    return op_wait(&step.tag.op);
}

struct status rpc_open(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
                       const char *method, const void *request, struct rpc_stream **out)
{
    struct rpc_stream *stream = ALLOC(struct rpc_stream);
    struct status s = call_start(&stream->call, channel, service, method, UINT64_MAX);
    if (!status_ok(s)) {
        free(stream);
        return s;
    }
    stream_watch(stream);
    s = stream_begin(stream, request);
    if (!status_ok(s)) {
        if (status_ok(task_status())) {
            /* The call has failed: its status says how. */
            s = op_wait_firmly(&stream->ended.op);
            s = status_ok(s) ? call_status(&stream->call, NULL) : s;
        }
        rpc_stream_close(&stream);
        return status_ok(s) ? status_of(REASON_CONNECTION_LOST, NULL) : s;
    }
    *out = stream;
    return STATUS_SUCCESS;
}

static struct status step_sent(struct step *step)
{
    struct status s = op_wait(&step->tag.op);
    if (status_ok(s) || !status_ok(task_status())) {
        return s;
    }
    return status_of(REASON_CONNECTION_LOST, "the call has ended; receiving says how");
}

struct status rpc_stream_send(struct rpc_stream *stream, const void *message)
{
    TRY(task_status());
    struct step step;
    step_init(&step, stream);
    grpc_byte_buffer *bytes = rpc_message_pack(message);
    const grpc_op send = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = bytes};
    wire_batch_here(&step.tag, stream->call.grpc, &send, 1);
    grpc_byte_buffer_destroy(bytes);
    return step_sent(&step);
}

struct status rpc_stream_send_end(struct rpc_stream *stream)
{
    TRY(task_status());
    struct step step;
    step_init(&step, stream);
    const grpc_op close = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    wire_batch_here(&step.tag, stream->call.grpc, &close, 1);
    return step_sent(&step);
}

struct status rpc_stream_recv(struct rpc_stream *stream, struct arena *arena, void **message)
{
    TRY(task_status());
    struct step step;
    grpc_byte_buffer *bytes = NULL;
    step_init(&step, stream);
    const grpc_op receive = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &bytes};
    wire_batch_here(&step.tag, stream->call.grpc, &receive, 1);
    struct status s = op_wait(&step.tag.op);
    if (bytes != NULL) {
        if (status_ok(s)) {
            return unpack(&stream->call, bytes, arena, message);
        }
        grpc_byte_buffer_destroy(bytes);
    }
    TRY(task_status());
    TRY(op_wait(&stream->ended.op));
    TRY(call_status(&stream->call, arena));
    if (!status_ok(s)) {
        return status_of(REASON_CONNECTION_LOST, "a message was lost");
    }
    *message = NULL;
    return STATUS_SUCCESS;
}

bool rpc_stream_preferred(const struct rpc_stream *stream)
{
    return rpc_channel_first(stream->call.channel) == stream->call.target;
}

struct span rpc_stream_header(const struct rpc_stream *stream, const char *key)
{
    return stream->ended.op.done ? metadata_find(&stream->call.headers, key) : SPAN_NONE;
}

struct span rpc_stream_trailer(const struct rpc_stream *stream, const char *key)
{
    return stream->ended.op.done ? metadata_find(&stream->call.trailers, key) : SPAN_NONE;
}

void rpc_stream_close(struct rpc_stream **stream)
{
    struct rpc_stream *closing = *stream;
    if (closing == NULL) {
        return;
    }
    *stream = NULL;
    if (!closing->ended.op.done) {
        grpc_call_cancel(closing->call.grpc, NULL);
    }
    struct status s = op_wait_firmly(&closing->ended.op);
    check(status_ok(s));
    call_end(&closing->call);
    free(closing);
}
