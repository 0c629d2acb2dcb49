/*
 * interop_client HOST:PORT CASE -- one of gRPC's interoperability cases, played by our rpc client.
 *
 * Ends with 0 when the server did as the case wants, else with 1 and says where it did not.
 */
#include <grpc/testing/test.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "loop/loop.h"
#include "loop/task.h"
#include "net/rpc_client.h"

#define ARENA_MOST    (128u << 20)
#define CASE_MOST_MS  60000
#define SOAK_CALLS    10
#define SOAK_MOST_MS  1000 /* of one call */
#define LARGE_REQUEST 271828
#define LARGE_REPLY   314159

#define TEST_SERVICE (&grpc__testing__test_service__descriptor)

#define KEY_ECHO_INITIAL   "x-grpc-test-echo-initial"
#define KEY_ECHO_TRAILING  "x-grpc-test-echo-trailing-bin"
#define ECHO_INITIAL_TEXT  "test_initial_metadata_value"
#define ECHO_TRAILING_TEXT "\253\253\253"

struct interop {
    struct wire *wire;
    struct loop *loop;
    struct rpc_channel *channel;
    struct arena *arena;
    const char *address;
    const struct interop_case *chosen;
    bool passed;
};

struct interop_case {
    const char *name;
    bool (*run)(struct interop *t) PARKS;
};

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

#define EXPECT_CODE(outcome, expected)                                                             \
    do {                                                                                           \
        struct status expect_status = (outcome);                                                   \
        if (expect_status.code != (expected)) {                                                    \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__,                                 \
                    status_code_name(expect_status.code), status_text(expect_status));             \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

/* --- messages --------------------------------------------------------------------------------- */

static Grpc__Testing__Payload *body_of(struct interop *t, size_t size)
{
    Grpc__Testing__Payload *body = ARENA_NEW(t->arena, Grpc__Testing__Payload);
    grpc__testing__payload__init(body);
    body->body = (ProtobufCBinaryData){.len = size, .data = arena_alloc(t->arena, size)};
    return body;
}

static Grpc__Testing__EchoStatus *echo_of(struct interop *t, int32_t code, const char *message)
{
    Grpc__Testing__EchoStatus *echo = ARENA_NEW(t->arena, Grpc__Testing__EchoStatus);
    grpc__testing__echo_status__init(echo);
    echo->code = code;
    echo->message = (char *)message;
    return echo;
}

static Grpc__Testing__SimpleRequest large_request(struct interop *t)
{
    Grpc__Testing__SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    request.response_size = LARGE_REPLY;
    request.payload = body_of(t, LARGE_REQUEST);
    return request;
}

/* Asks for answers of these sizes. */
static Grpc__Testing__StreamingOutputCallRequest *output_request(struct interop *t,
                                                                 const int32_t *sizes, size_t n)
{
    Grpc__Testing__StreamingOutputCallRequest *request =
        ARENA_NEW(t->arena, Grpc__Testing__StreamingOutputCallRequest);
    grpc__testing__streaming_output_call_request__init(request);
    request->response_parameters = ARENA_ARRAY(t->arena, Grpc__Testing__ResponseParameters *, n);
    for (; request->n_response_parameters < n; request->n_response_parameters++) {
        Grpc__Testing__ResponseParameters *row =
            ARENA_NEW(t->arena, Grpc__Testing__ResponseParameters);
        grpc__testing__response_parameters__init(row);
        row->size = sizes[request->n_response_parameters];
        request->response_parameters[request->n_response_parameters] = row;
    }
    return request;
}

static bool all_zeros(const Grpc__Testing__Payload *body, size_t size)
{
    EXPECT(body != NULL && body->body.len == size);
    for (size_t i = 0; i < size; i++) {
        EXPECT(body->body.data[i] == 0);
    }
    return true;
}

/* The next answer of an output stream has this size. */
static bool next_is(struct interop *t, struct rpc_stream *stream, size_t size) PARKS
{
    void *message;
    EXPECT_CODE(rpc_stream_recv(stream, t->arena, &message), STATUS_OK);
    EXPECT(message != NULL);
    return all_zeros(((Grpc__Testing__StreamingOutputCallResponse *)message)->payload, size);
}

static bool ends(struct interop *t, struct rpc_stream *stream) PARKS
{
    void *message;
    EXPECT_CODE(rpc_stream_recv(stream, t->arena, &message), STATUS_OK);
    EXPECT(message == NULL);
    return true;
}

/* --- calls of each kind ----------------------------------------------------------------------- */

static bool empty_unary(struct interop *t) PARKS
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    void *reply;
    EXPECT_CODE(rpc_call(t->channel, TEST_SERVICE, "EmptyCall", &request, t->arena, &reply),
                STATUS_OK);
    EXPECT(protobuf_c_message_get_packed_size(reply) == 0);
    return true;
}

static bool large_unary(struct interop *t) PARKS
{
    Grpc__Testing__SimpleRequest request = large_request(t);
    void *reply;
    EXPECT_CODE(rpc_call(t->channel, TEST_SERVICE, "UnaryCall", &request, t->arena, &reply),
                STATUS_OK);
    return all_zeros(((Grpc__Testing__SimpleResponse *)reply)->payload, LARGE_REPLY);
}

static bool client_streaming(struct interop *t) PARKS
{
    static const size_t sizes[] = {27182, 8, 1828, 45904};
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    void *message;
    EXPECT_CODE(rpc_open(t->channel, TEST_SERVICE, "StreamingInputCall", NULL, &stream), STATUS_OK);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        Grpc__Testing__StreamingInputCallRequest request =
            GRPC__TESTING__STREAMING_INPUT_CALL_REQUEST__INIT;
        request.payload = body_of(t, sizes[i]);
        EXPECT_CODE(rpc_stream_send(stream, &request), STATUS_OK);
    }
    EXPECT_CODE(rpc_stream_send_end(stream), STATUS_OK);
    EXPECT_CODE(rpc_stream_recv(stream, t->arena, &message), STATUS_OK);
    EXPECT(message != NULL);
    const Grpc__Testing__StreamingInputCallResponse *reply = message;
    EXPECT(reply->aggregated_payload_size == 74922);
    return ends(t, stream);
}

static bool server_streaming(struct interop *t) PARKS
{
    static const int32_t sizes[] = {31415, 9, 2653, 58979};
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    EXPECT_CODE(rpc_open(t->channel, TEST_SERVICE, "StreamingOutputCall",
                         output_request(t, sizes, ARRAY_LEN(sizes)), &stream),
                STATUS_OK);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        EXPECT(next_is(t, stream, (size_t)sizes[i]));
    }
    return ends(t, stream);
}

static bool ping(struct interop *t, struct rpc_stream *stream, int32_t ask, size_t payload) PARKS
{
    Grpc__Testing__StreamingOutputCallRequest *request = output_request(t, &ask, 1);
    request->payload = body_of(t, payload);
    EXPECT_CODE(rpc_stream_send(stream, request), STATUS_OK);
    return next_is(t, stream, (size_t)ask);
}

static bool ping_pong(struct interop *t) PARKS
{
    static const struct {
        int32_t ask;
        size_t payload;
    } steps[] = {{31415, 27182}, {9, 8}, {2653, 1828}, {58979, 45904}};
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    EXPECT_CODE(rpc_open(t->channel, TEST_SERVICE, "FullDuplexCall", NULL, &stream), STATUS_OK);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        EXPECT(ping(t, stream, steps[i].ask, steps[i].payload));
    }
    EXPECT_CODE(rpc_stream_send_end(stream), STATUS_OK);
    return ends(t, stream);
}

static bool empty_stream(struct interop *t) PARKS
{
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    EXPECT_CODE(rpc_open(t->channel, TEST_SERVICE, "FullDuplexCall", NULL, &stream), STATUS_OK);
    EXPECT_CODE(rpc_stream_send_end(stream), STATUS_OK);
    return ends(t, stream);
}

/* --- calls that end early --------------------------------------------------------------------- */

/* A call in a task of its own, in the arena; somebody else or its deadline ends it. */
struct victim {
    struct interop *t;
    const char *method;
    bool asks;  /* for an answer first, and gets it */
    bool waits; /* for what does not come */
    bool ended;
    struct status status;
};

static struct status victim_call(struct victim *victim) PARKS
{
    struct interop *t = victim->t;
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    void *message;
    TRY(rpc_open(t->channel, TEST_SERVICE, victim->method, NULL, &stream));
    victim->waits = !victim->asks || ping(t, stream, 31415, 27182);
    return rpc_stream_recv(stream, t->arena, &message);
}

static void victim_run(void *arg) PARKS
{
    struct victim *victim = arg;
    victim->status = victim_call(victim);
    victim->ended = true;
}

static struct task *victim_start(struct interop *t, const char *method, bool asks,
                                 uint64_t deadline_ms, struct victim **out)
{
    struct victim *victim = ARENA_NEW(t->arena, struct victim);
    victim->t = t;
    victim->method = method;
    victim->asks = asks;
    *out = victim;
    return task_spawn(t->loop, &(struct task_options){.name = "victim", .deadline_ms = deadline_ms},
                      victim_run, victim);
}

static bool cancelled(struct interop *t, const char *method, bool asks) PARKS
{
    struct victim *victim;
    struct task *task = victim_start(t, method, asks, 0, &victim);
    while (!victim->waits) {
        EXPECT(!victim->ended);
        EXPECT_CODE(task_sleep_ms(1), STATUS_OK);
    }
    task_cancel(task, status_of(REASON_CALL_CANCELLED, NULL));
    while (!victim->ended) {
        EXPECT_CODE(task_sleep_ms(1), STATUS_OK);
    }
    EXPECT_CODE(victim->status, STATUS_CANCELLED);
    return true;
}

static bool cancel_after_begin(struct interop *t) PARKS
{
    return cancelled(t, "StreamingInputCall", false);
}

static bool cancel_after_first_response(struct interop *t) PARKS
{
    return cancelled(t, "FullDuplexCall", true);
}

static bool timeout_on_sleeping_server(struct interop *t) PARKS
{
    struct victim *victim;
    EXPECT(empty_unary(t)); /* the connection does not count */
    victim_start(t, "FullDuplexCall", false, loop_now_ms(t->loop) + 1, &victim);
    while (!victim->ended) {
        EXPECT_CODE(task_sleep_ms(1), STATUS_OK);
    }
    EXPECT_CODE(victim->status, STATUS_DEADLINE_EXCEEDED);
    return true;
}

/* --- metadata and statuses -------------------------------------------------------------------- */

static struct rpc_channel *channel_new(struct interop *t)
{
    static const struct rpc_header headers[] = {
        {KEY_ECHO_INITIAL, SPAN(ECHO_INITIAL_TEXT)},
        {KEY_ECHO_TRAILING, SPAN(ECHO_TRAILING_TEXT)},
    };
    bool echo = strcmp(t->chosen->name, "custom_metadata") == 0;
    return rpc_channel_new(t->wire, &(struct rpc_channel_options){.targets = t->address,
                                                                  .headers = headers,
                                                                  .n_headers = echo ? 2 : 0});
}

static bool echoed(struct interop *t, struct rpc_stream *stream) PARKS
{
    EXPECT(ends(t, stream));
    EXPECT(span_eq(rpc_stream_header(stream, KEY_ECHO_INITIAL), SPAN(ECHO_INITIAL_TEXT)));
    EXPECT(span_eq(rpc_stream_trailer(stream, KEY_ECHO_TRAILING), SPAN(ECHO_TRAILING_TEXT)));
    return true;
}

static bool custom_metadata_unary(struct interop *t) PARKS
{
    Grpc__Testing__SimpleRequest request = large_request(t);
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    void *message;
    EXPECT_CODE(rpc_open(t->channel, TEST_SERVICE, "UnaryCall", &request, &stream), STATUS_OK);
    EXPECT_CODE(rpc_stream_recv(stream, t->arena, &message), STATUS_OK);
    EXPECT(message != NULL);
    EXPECT(all_zeros(((Grpc__Testing__SimpleResponse *)message)->payload, LARGE_REPLY));
    return echoed(t, stream);
}

static bool custom_metadata(struct interop *t) PARKS
{
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    EXPECT(custom_metadata_unary(t));
    EXPECT_CODE(rpc_open(t->channel, TEST_SERVICE, "FullDuplexCall", NULL, &stream), STATUS_OK);
    EXPECT(ping(t, stream, LARGE_REPLY, LARGE_REQUEST));
    EXPECT_CODE(rpc_stream_send_end(stream), STATUS_OK);
    return echoed(t, stream);
}

static bool status_of_unary(struct interop *t, const char *text) PARKS
{
    Grpc__Testing__SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    void *reply;
    request.response_status = echo_of(t, STATUS_UNKNOWN, text);
    struct status s = rpc_call(t->channel, TEST_SERVICE, "UnaryCall", &request, t->arena, &reply);
    EXPECT_CODE(s, STATUS_UNKNOWN);
    EXPECT(strcmp(status_text(s), text) == 0);
    return true;
}

static bool status_code_and_message(struct interop *t) PARKS
{
    static const char text[] = "test status message";
    Grpc__Testing__StreamingOutputCallRequest request =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    void *message;
    EXPECT(status_of_unary(t, text));
    request.response_status = echo_of(t, STATUS_UNKNOWN, text);
    EXPECT_CODE(rpc_open(t->channel, TEST_SERVICE, "FullDuplexCall", &request, &stream), STATUS_OK);
    struct status s = rpc_stream_recv(stream, t->arena, &message);
    EXPECT_CODE(s, STATUS_UNKNOWN);
    EXPECT(strcmp(status_text(s), text) == 0);
    return true;
}

static bool special_status_message(struct interop *t) PARKS
{
    return status_of_unary(t,
                           "\t\ntest with whitespace\r\nand Unicode BMP \342\230\272 and non-BMP "
                           "\360\237\230\210\t\n");
}

static bool unimplemented(struct interop *t, const ProtobufCServiceDescriptor *service) PARKS
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    void *reply;
    EXPECT_CODE(rpc_call(t->channel, service, "UnimplementedCall", &request, t->arena, &reply),
                STATUS_UNIMPLEMENTED);
    return true;
}

static bool unimplemented_method(struct interop *t) PARKS
{
    return unimplemented(t, TEST_SERVICE);
}

static bool unimplemented_service(struct interop *t) PARKS
{
    return unimplemented(t, &grpc__testing__unimplemented_service__descriptor);
}

/* --- many calls ------------------------------------------------------------------------------- */

static bool soak(struct interop *t, bool fresh_channels) PARKS
{
    for (int i = 0; i < SOAK_CALLS; i++) {
        uint64_t begin_ms = loop_now_ms(t->loop);
        if (fresh_channels) {
            rpc_channel_free(t->channel);
            t->channel = channel_new(t);
        }
        EXPECT(large_unary(t));
        EXPECT(loop_now_ms(t->loop) - begin_ms <= SOAK_MOST_MS);
    }
    return true;
}

static bool rpc_soak(struct interop *t) PARKS
{
    return soak(t, false);
}

static bool channel_soak(struct interop *t) PARKS
{
    return soak(t, true);
}

/* --- the program ------------------------------------------------------------------------------ */

static const struct interop_case cases[] = {
#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }
    CASE(empty_unary),
    CASE(large_unary),
    CASE(client_streaming),
    CASE(server_streaming),
    CASE(ping_pong),
    CASE(empty_stream),
    CASE(cancel_after_begin),
    CASE(cancel_after_first_response),
    CASE(timeout_on_sleeping_server),
    CASE(custom_metadata),
    CASE(status_code_and_message),
    CASE(special_status_message),
    CASE(unimplemented_method),
    CASE(unimplemented_service),
    CASE(rpc_soak),
    CASE(channel_soak),
#undef CASE
};

static void run(void *arg) PARKS
{
    struct interop *t = arg;
    t->wire = wire_start(t->loop);
    t->channel = channel_new(t);
    t->passed = t->chosen->run(t);
    rpc_channel_free(t->channel);
    wire_stop(t->wire);
    loop_stop(t->loop);
}

int main(int argc, char **argv)
{
    struct interop t = {.loop = NULL};
    for (size_t i = 0; argc == 3 && i < ARRAY_LEN(cases); i++) {
        if (strcmp(argv[2], cases[i].name) == 0) {
            t.chosen = &cases[i];
        }
    }
    if (t.chosen == NULL) {
        fputs("usage: interop_client HOST:PORT CASE\n", stderr);
        return 2;
    }
    log_init("interop_client", LOG_ERROR);
    t.address = argv[1];
    t.arena = arena_new(ARENA_MOST);
    t.loop = loop_new();
    task_spawn(
        t.loop,
        &(struct task_options){.name = "case", .deadline_ms = loop_now_ms(t.loop) + CASE_MOST_MS},
        run, &t);
    loop_run(t.loop);
    loop_free(t.loop);
    arena_free(t.arena);
    return t.passed ? 0 : 1;
}
