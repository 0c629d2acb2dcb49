#include "interop.h"

#include <grpc/testing/test.pb-c.h>

#include "loop/task.h"

#define BODY_MOST ((int32_t)RPC_MESSAGE_MOST - 1024) /* what a peer takes by default */

#define KEY_ECHO_INITIAL  "x-grpc-test-echo-initial"
#define KEY_ECHO_TRAILING "x-grpc-test-echo-trailing-bin"

/* The body of every answer; nobody writes to it. */
static uint8_t zeros[BODY_MOST];

static void echo_metadata(struct rpc *rpc)
{
    struct span initial = rpc_metadata(rpc, KEY_ECHO_INITIAL);
    if (initial.len > 0) {
        rpc_add_header(rpc, KEY_ECHO_INITIAL, initial);
    }
    struct span trailing = rpc_metadata(rpc, KEY_ECHO_TRAILING);
    if (trailing.len > 0) {
        rpc_add_trailer(rpc, KEY_ECHO_TRAILING, trailing);
    }
}

/* The status that was asked for, if one was. */
static struct status echo_status(struct rpc *rpc, const Grpc__Testing__EchoStatus *wanted)
{
    if (wanted == NULL || wanted->code == STATUS_OK) {
        return STATUS_SUCCESS;
    }
    if (wanted->code < STATUS_OK || wanted->code > STATUS_UNAUTHENTICATED) {
        return rpc_bad_field(rpc, "response_status.code", "is none of gRPC's");
    }
    return status_foreign((enum status_code)wanted->code, REASON_NONE, wanted->message);
}

static struct status body_check(struct rpc *rpc, Grpc__Testing__PayloadType type, int32_t size)
{
    if (type != GRPC__TESTING__PAYLOAD_TYPE__COMPRESSABLE) {
        return rpc_bad_field(rpc, "response_type", "is not known");
    }
    if (size < 0 || size > BODY_MOST) {
        return rpc_bad_field(rpc, "size", "must fit a message");
    }
    return STATUS_SUCCESS;
}

static Grpc__Testing__Payload body_of(int32_t size)
{
    Grpc__Testing__Payload body = GRPC__TESTING__PAYLOAD__INIT;
    body.body = (ProtobufCBinaryData){.len = (size_t)size, .data = zeros};
    return body;
}

static struct status empty_call(struct rpc *rpc, const void *message)
{
    (void)message;
    Grpc__Testing__Empty reply = GRPC__TESTING__EMPTY__INIT;
    return rpc_send(rpc, &reply);
}

static struct status unary_call(struct rpc *rpc, const void *message)
{
    const Grpc__Testing__SimpleRequest *request = message;
    echo_metadata(rpc);
    TRY(echo_status(rpc, request->response_status));
    TRY(body_check(rpc, request->response_type, request->response_size));
    Grpc__Testing__Payload body = body_of(request->response_size);
    Grpc__Testing__SimpleResponse reply = GRPC__TESTING__SIMPLE_RESPONSE__INIT;
    reply.payload = &body;
    return rpc_send(rpc, &reply);
}

static struct status streaming_input_call(struct rpc *rpc, const void *nothing)
{
    Grpc__Testing__StreamingInputCallResponse reply =
        GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;
    const void *message;
    (void)nothing;
    for (;;) {
        TRY(rpc_recv(rpc, &message));
        if (message == NULL) {
            return rpc_send(rpc, &reply);
        }
        const Grpc__Testing__StreamingInputCallRequest *request = message;
        reply.aggregated_payload_size +=
            request->payload != NULL ? (int32_t)request->payload->body.len : 0;
    }
}

static struct status send_bodies(struct rpc *rpc,
                                 const Grpc__Testing__StreamingOutputCallRequest *request) PARKS
{
    for (size_t i = 0; i < request->n_response_parameters; i++) {
        const Grpc__Testing__ResponseParameters *wanted = request->response_parameters[i];
        TRY(body_check(rpc, request->response_type, wanted->size));
        if (wanted->interval_us > 0) {
            TRY(task_sleep_ms(((uint64_t)wanted->interval_us + 999) / 1000));
        }
        Grpc__Testing__Payload body = body_of(wanted->size);
        Grpc__Testing__StreamingOutputCallResponse reply =
            GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
        reply.payload = &body;
        TRY(rpc_send(rpc, &reply));
    }
    return STATUS_SUCCESS;
}

static struct status streaming_output_call(struct rpc *rpc, const void *message)
{
    const Grpc__Testing__StreamingOutputCallRequest *request = message;
    TRY(echo_status(rpc, request->response_status));
    return send_bodies(rpc, request);
}

static struct status full_duplex_call(struct rpc *rpc, const void *nothing)
{
    const void *message;
    (void)nothing;
    echo_metadata(rpc);
    for (;;) {
        TRY(rpc_recv(rpc, &message));
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        const Grpc__Testing__StreamingOutputCallRequest *request = message;
        TRY(echo_status(rpc, request->response_status));
        TRY(send_bodies(rpc, request));
    }
}

static const struct rpc_method methods[] = {
    {"EmptyCall", RPC_UNARY, empty_call},
    {"UnaryCall", RPC_UNARY, unary_call},
    {"CacheableUnaryCall", RPC_UNARY, NULL},
    {"StreamingOutputCall", RPC_SERVER_STREAM, streaming_output_call},
    {"StreamingInputCall", RPC_CLIENT_STREAM, streaming_input_call},
    {"FullDuplexCall", RPC_BIDI, full_duplex_call},
    {"HalfDuplexCall", RPC_BIDI, NULL},
    {"UnimplementedCall", RPC_UNARY, NULL},
};

struct rpc_service interop_service(void)
{
    return (struct rpc_service){.descriptor = &grpc__testing__test_service__descriptor,
                                .methods = methods,
                                .n_methods = ARRAY_LEN(methods)};
}
