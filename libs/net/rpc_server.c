#include "net/rpc_server.h"

#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "loop/task.h"
#include "net/rpc_call.h"

/* Armed for each method; the wire thread arms the next as soon as one is taken. */
#define SLOTS 16

#define MAX_INFLIGHT_DEFAULT 4096
#define MAX_CALL_AGE_DEFAULT 3600000

/* After the grace: for handlers to see their cancellation and send their trailers. */
#define FAREWELL_MS 1000

#define KEEPALIVE_TIME_MS    60000
#define KEEPALIVE_TIMEOUT_MS 20000
#define PING_INTERVAL_MIN_MS 10000 /* of clients; ours ping every 30 s */

static grpc_arg arg_int(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

static grpc_server *server_create(const struct rpc_server_options *options)
{
    grpc_arg args[] = {
        arg_int(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)options->max_message),
        arg_int(GRPC_ARG_ALLOW_REUSEPORT, 0), /* else a second process shares the port silently */
        arg_int(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS),
        arg_int(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
        arg_int(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        arg_int(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, PING_INTERVAL_MIN_MS),
        arg_int(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
    };
    grpc_channel_args all = {.num_args = ARRAY_LEN(args), .args = args};
    return grpc_server_create(&all, NULL);
}

static const char *const kind_names[] = {
    [RPC_UNARY] = "unary",
    [RPC_SERVER_STREAM] = "server_stream",
    [RPC_CLIENT_STREAM] = "client_stream",
    [RPC_BIDI] = "bidi_stream",
};

/* --- the table -------------------------------------------------------------------------------- */

static const struct rpc_method *row_of(const struct rpc_service *service, const char *method)
{
    const struct rpc_method *found = NULL;
    for (size_t i = 0; i < service->n_methods; i++) {
        if (strcmp(service->methods[i].name, method) == 0) {
            check(found == NULL); /* one row for each method */
            found = &service->methods[i];
        }
    }
    check(found != NULL);
    return found;
}

static void entry_init(struct rpc_entry *entry, struct rpc_server *server,
                       const struct rpc_service *service,
                       const ProtobufCMethodDescriptor *descriptor)
{
    check(rpc_message_acyclic(descriptor->input)); /* protobuf-c recurses without limit */
    CLEANUP(buf_clear) struct buf path;
    buf_init(&path, 512);
    buf_addf(&path, "/%s/%s", service->descriptor->name, descriptor->name);
    check(buf_ok(&path));
    entry->server = server;
    entry->service = service;
    entry->row = row_of(service, descriptor->name);
    entry->descriptor = descriptor;
    entry->name = alloc_string(span_from(buf_span(&path), 1));
    entry->labels[0] = kind_names[entry->row->kind];
    entry->labels[1] = service->descriptor->name;
    entry->labels[2] = descriptor->name;
    /* Where the request is one message it comes with the call. Where the client may be silent at
     * first, waiting for a message would keep the handler from starting. */
    bool one = rpc_kind_one_request(entry->row->kind);
    entry->registered = grpc_server_register_method(
        server->grpc, buf_cstr(&path), NULL,
        one ? GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER : GRPC_SRM_PAYLOAD_NONE, 0);
    check(entry->registered != NULL);
}

static void entries_init(struct rpc_server *server)
{
    size_t n = 1;
    for (size_t i = 0; i < server->options.n_services; i++) {
        const struct rpc_service *service = &server->options.services[i];
        check(service->n_methods == service->descriptor->n_methods);
        n += service->n_methods;
    }
    server->entries = alloc_zeroed(n, sizeof(*server->entries));
    for (size_t i = 0; i < server->options.n_services; i++) {
        const struct rpc_service *service = &server->options.services[i];
        for (unsigned m = 0; m < service->descriptor->n_methods; m++) {
            entry_init(&server->entries[server->n_entries++], server, service,
                       &service->descriptor->methods[m]);
        }
    }
    struct rpc_entry *unknown = &server->entries[server->n_entries++];
    unknown->server = server;
    for (size_t i = 0; i < ARRAY_LEN(unknown->labels); i++) {
        unknown->labels[i] = "unknown";
    }
    check(server->n_entries == n);
}

static void metrics_init(struct rpc_metrics *metrics)
{
    static const char method[] = "grpc_type,grpc_service,grpc_method";
    metrics->started = metric_counter("grpc_server_started_total", method, "Calls that came in.");
    metrics->handled =
        metric_counter("grpc_server_handled_total", "grpc_type,grpc_service,grpc_method,grpc_code",
                       "Calls answered, by gRPC code.");
    metrics->seconds = metric_seconds("grpc_server_handling_seconds", method,
                                      "Time from a call's arrival to its status.");
    metrics->received =
        metric_counter("grpc_server_msg_received_total", method, "Messages received.");
    metrics->sent = metric_counter("grpc_server_msg_sent_total", method, "Messages sent.");
}

/* --- start ------------------------------------------------------------------------------------ */

static void options_complete(struct rpc_server_options *options)
{
    options->max_inflight =
        options->max_inflight != 0 ? options->max_inflight : MAX_INFLIGHT_DEFAULT;
    options->max_message = options->max_message != 0 ? options->max_message : RPC_MESSAGE_MOST;
    check(options->max_message <= INT32_MAX);
    options->arena_budget =
        options->arena_budget != 0 ? options->arena_budget : 4 * options->max_message + (1u << 20);
    options->max_call_age_ms =
        options->max_call_age_ms != 0 ? options->max_call_age_ms : MAX_CALL_AGE_DEFAULT;
}

static void server_free(struct rpc_server *server)
{
    grpc_server_destroy(server->grpc);
    wire_let_go(server->wire);
    for (size_t i = 0; i < server->n_entries; i++) {
        free(server->entries[i].name);
    }
    free(server->entries);
    free(server);
}

struct status rpc_server_start(struct wire *wire, const struct rpc_server_options *options,
                               struct rpc_server **out)
{
    grpc_server *grpc;
    struct rpc_server *server = ALLOC(struct rpc_server);
    server->options = *options;
    options_complete(&server->options);
    server->wire = wire;
    server->loop = wire_loop(wire);
    list_init(&server->calls);
    wire_hold(wire);
    grpc = server->grpc = server_create(&server->options);
    grpc_server_register_completion_queue(grpc, wire_queue(wire), NULL);
    entries_init(server);
    grpc_server_credentials *plain = grpc_insecure_server_credentials_create();
    server->port = (uint16_t)grpc_server_add_http2_port(grpc, options->address, plain);
    grpc_server_credentials_release(plain);
    if (server->port == 0) {
        server_free(server);
        return status_of(REASON_ADDRESS_IN_USE, options->address);
    }
    metrics_init(&server->metrics);
    grpc_server_start(grpc);
    for (size_t i = 0; i < server->n_entries; i++) {
        const struct rpc_entry *entry = &server->entries[i];
        metric_add(server->metrics.started, 0, entry->labels); /* there before the first call */
        for (size_t slots = entry->row != NULL ? SLOTS : 1; slots > 0; slots--) {
            server->shells++;
            rpc_call_arm(entry);
        }
    }
    *out = server;
    return STATUS_SUCCESS;
}

uint16_t rpc_server_port(const struct rpc_server *server)
{
    return server->port;
}

size_t rpc_server_inflight(const struct rpc_server *server)
{
    return server->inflight;
}

size_t rpc_server_services(const struct rpc_server *server, const struct rpc_service **services)
{
    *services = server->options.services;
    return server->options.n_services;
}

/* --- stop ------------------------------------------------------------------------------------- */

void rpc_server_look(struct rpc_server *server)
{
    if (server->idle != NULL && !server->idle->done) {
        op_done(server->idle, STATUS_SUCCESS);
    }
}

static void idle_asked(struct op *op)
{
    op_done(op, STATUS_SUCCESS);
}

/* Until a look says that no call is there any more, or until_ms, or the task is to end. */
static void wait_for_calls(struct rpc_server *server, uint64_t until_ms)
{
    while (!list_empty(&server->calls) && loop_now_ms(server->loop) < until_ms &&
           status_ok(task_status())) {
        struct op op;
        bool in_time;
        op_init(&op, server->loop, idle_asked, NULL);
        server->idle = &op;
        struct status s = op_wait_until(&op, until_ms, &in_time);
        check(status_ok(s));
        server->idle = NULL;
    }
}

static void wait_for_shells(struct rpc_server *server)
{
    while (server->shells > 0) {
        struct op op;
        op_init(&op, server->loop, NULL, NULL);
        server->idle = &op;
        struct status s = op_wait_firmly(&op);
        check(status_ok(s));
        server->idle = NULL;
    }
}

void rpc_server_stop(struct rpc_server *server, uint64_t grace_ms)
{
    struct wire_tag down;
    server->stopping = true;
    wire_hurry(server->wire);
    wire_tag_init(&down, server->wire, NULL, NULL);
    wire_tag_release(&down);
    grpc_server_shutdown_and_notify(server->grpc, wire_queue(server->wire), &down);
    LIST_EACH (it, &server->calls) {
        rpc_call_drain(CONTAINER_OF(it, struct rpc, link));
    }
    wait_for_calls(server, loop_now_ms(server->loop) + grace_ms);
    LIST_EACH (it, &server->calls) {
        rpc_call_stop(CONTAINER_OF(it, struct rpc, link), status_of(REASON_SHUTTING_DOWN, NULL));
    }
    wait_for_calls(server, loop_now_ms(server->loop) + FAREWELL_MS);
    grpc_server_cancel_all_calls(server->grpc);
    struct status s = op_wait_firmly(&down.op);
    check(status_ok(s));
    wait_for_shells(server);
    server_free(server);
}
