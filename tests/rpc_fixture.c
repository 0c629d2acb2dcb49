#include "rpc_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/metric.h"

#define FLOOD_SIZE 65536

static struct status reply_text(struct rpc *rpc, const char *text)
{
    Limiter__DumpResponse reply;
    limiter__dump_response__init(&reply);
    reply.text = (char *)text;
    return rpc_send(rpc, &reply);
}

struct visitor {
    struct op op;
    struct list link;
};

static void visitor_asked(struct op *op)
{
    list_remove(&CONTAINER_OF(op, struct visitor, op)->link);
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

static struct status wait_for_gate(struct fixture *f)
{
    struct visitor visitor;
    struct status s = STATUS_SUCCESS;
    f->running++;
    if (!f->open) {
        op_init(&visitor.op, task_loop(), visitor_asked, NULL);
        list_push_back(&f->visitors, &visitor.link);
        s = op_wait(&visitor.op);
    }
    f->running--;
    f->ended++;
    f->seen = s;
    return s;
}

void fixture_open(struct fixture *f)
{
    f->open = true;
    for (struct list *it; (it = list_pop_front(&f->visitors)) != NULL;) {
        op_done(&CONTAINER_OF(it, struct visitor, link)->op, STATUS_SUCCESS);
    }
}

static struct status dump(struct rpc *rpc, const void *message)
{
    const Limiter__DumpRequest *request = message;
    struct fixture *f = rpc_service(rpc);
    const char *word = request->resource;
    if (strcmp(word, "echo") == 0) {
        return reply_text(rpc, request->tenant);
    }
    if (strcmp(word, "who") == 0) {
        const struct task_context *context = task_context();
        return reply_text(rpc, arena_printf(rpc_arena(rpc), "%s %s %s %s %s", context->request_id,
                                            context->tenant, context->task_id, rpc_method_name(rpc),
                                            rpc_peer(rpc)));
    }
    if (strcmp(word, "gate") == 0) {
        TRY(wait_for_gate(f));
        return reply_text(rpc, "open");
    }
    if (strcmp(word, "fail") == 0) {
        return f->answer;
    }
    if (strcmp(word, "field") == 0) {
        return rpc_bad_field(rpc, "generation.prompt", "must not be empty");
    }
    if (strcmp(word, "missing") == 0) {
        return rpc_not_found(rpc, REASON_MODEL_UNKNOWN, "model", "models/none");
    }
    if (strcmp(word, "trailers") == 0) {
        static char long_value[5000];
        memset(long_value, 'v', sizeof(long_value));
        for (int i = 0; i < 20; i++) {
            rpc_add_trailer(rpc, "x-note", span_of(long_value, sizeof(long_value)));
        }
        rpc_add_trailer(rpc, "x-odd", SPAN("line\nfeed"));
        return f->answer;
    }
    return STATUS_SUCCESS;
}

static struct status send_text(struct rpc *rpc, const char *text)
{
    Router__TextDelta delta;
    Router__GenerateResponse event;
    router__text_delta__init(&delta);
    router__generate_response__init(&event);
    delta.text = (char *)text;
    event.event_case = ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA;
    event.text_delta = &delta;
    return rpc_send(rpc, &event);
}

static struct status flood(struct rpc *rpc, struct fixture *f)
{
    char *text = arena_alloc(rpc_arena(rpc), FLOOD_SIZE + 1);
    memset(text, 'x', FLOOD_SIZE);
    f->running++;
    struct status s;
    do {
        s = send_text(rpc, text);
        f->count += status_ok(s);
    } while (status_ok(s));
    f->running--;
    f->ended++;
    f->seen = s;
    return s;
}

static struct status generate(struct rpc *rpc, const void *message)
{
    const Router__GenerateRequest *request = message;
    struct fixture *f = rpc_service(rpc);
    if (strcmp(request->tenant, "flood") == 0) {
        return flood(rpc, f);
    }
    for (size_t i = 0; i < f->count; i++) {
        TRY(send_text(rpc, arena_printf(rpc_arena(rpc), "%zu", i)));
    }
    if (strcmp(request->tenant, "hold") == 0) {
        return wait_for_gate(f);
    }
    return strcmp(request->tenant, "break") == 0 ? f->answer : STATUS_SUCCESS;
}

/* Sends every session back. */
static struct status attach(struct rpc *rpc, const void *nothing)
{
    struct fixture *f = rpc_service(rpc);
    const void *message;
    assert_null(nothing);
    TRY(rpc_stand(rpc));
    f->running++;
    struct status s;
    for (;;) {
        s = rpc_recv(rpc, &message);
        if (!status_ok(s) || message == NULL) {
            break;
        }
        const Limiter__AttachRequest *request = message;
        Limiter__AttachReply reply;
        Limiter__AttachResponse response;
        limiter__attach_reply__init(&reply);
        limiter__attach_response__init(&response);
        reply.id = request->session;
        response.replies = (Limiter__AttachReply *[]){&reply};
        response.n_replies = 1;
        s = rpc_send(rpc, &response);
        if (!status_ok(s)) {
            break;
        }
    }
    f->running--;
    f->ended++;
    f->seen = s;
    return s;
}

static const struct rpc_method limiter_methods[] = {
    {"Acquire", RPC_UNARY, NULL},
    {"AcquireStream", RPC_SERVER_STREAM, NULL},
    {"Attach", RPC_BIDI, attach},
    {"Complete", RPC_UNARY, NULL},
    {"Renew", RPC_UNARY, NULL},
    {"Cancel", RPC_UNARY, NULL},
    {"Peek", RPC_UNARY, NULL},
    {"Dump", RPC_UNARY, dump},
    {"SetLimits", RPC_UNARY, NULL},
    {"ForceOpen", RPC_UNARY, NULL},
    {"ForceClose", RPC_UNARY, NULL},
    {"Reopen", RPC_UNARY, NULL},
    {"WatchResources", RPC_SERVER_STREAM, NULL},
};

static const struct rpc_method router_methods[] = {
    {"Generate", RPC_SERVER_STREAM, generate}, {"GenerateOnce", RPC_UNARY, NULL},
    {"ListModels", RPC_UNARY, NULL},           {"GetModel", RPC_UNARY, NULL},
    {"WatchModels", RPC_SERVER_STREAM, NULL},
};

struct status fixture_serve(struct fixture *f, const struct rpc_server_options *options,
                            const char *address, struct rpc_server **out)
{
    struct rpc_server_options mine = options != NULL ? *options : (struct rpc_server_options){0};
    mine.address = address;
    mine.services = f->services;
    mine.n_services = ARRAY_LEN(f->services);
    return rpc_server_start(f->wire, &mine, out);
}

void fixture_start(struct fixture *f, const struct rpc_server_options *options)
{
    log_init("test_rpc", LOG_ERROR);
    memset(f, 0, sizeof(*f));
    list_init(&f->visitors);
    f->arena = arena_new(64u << 20);
    f->services[0] = (struct rpc_service){&limiter__limiter_service__descriptor, limiter_methods,
                                          ARRAY_LEN(limiter_methods), f};
    f->services[1] = (struct rpc_service){&router__router_service__descriptor, router_methods,
                                          ARRAY_LEN(router_methods), f};
    f->wire = wire_start(task_loop());
    assert_status_ok(fixture_serve(f, options, "127.0.0.1:0", &f->server));
    snprintf(f->address, sizeof(f->address), "127.0.0.1:%u", rpc_server_port(f->server));
    f->channel = rpc_channel_new(f->wire, &(struct rpc_channel_options){.targets = f->address});
}

void fixture_stop(struct fixture *f)
{
    rpc_channel_free(f->channel);
    if (f->server != NULL) {
        rpc_server_stop(f->server, 0);
    }
    wire_stop(f->wire);
    arena_free(f->arena);
    metric_reset_all();
}

void fixture_until(const size_t *value, size_t expected)
{
    for (int i = 0; i < 5000 && *value != expected; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_int_equal(*value, expected);
}

struct status fixture_dump(struct fixture *f, const char *word, const char *tenant,
                           const char **text)
{
    void *reply;
    Limiter__DumpRequest request;
    limiter__dump_request__init(&request);
    request.resource = (char *)word;
    request.tenant = (char *)tenant;
    TRY(rpc_call(f->channel, &limiter__limiter_service__descriptor, "Dump", &request, f->arena,
                 &reply));
    if (text != NULL) {
        *text = ((Limiter__DumpResponse *)reply)->text;
    }
    return STATUS_SUCCESS;
}

struct status fixture_generate(struct fixture *f, const char *word, struct rpc_stream **out)
{
    Router__GenerateRequest request;
    router__generate_request__init(&request);
    request.tenant = (char *)word;
    return rpc_open(f->channel, &router__router_service__descriptor, "Generate", &request, out);
}
