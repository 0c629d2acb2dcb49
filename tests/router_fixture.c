#include "router_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "router/lessons.h"
#include "targets.h"

#define ROUTER      (&router__router_service__descriptor)
#define EVENTS_MOST 64
#define PATIENCE_MS 5000

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct router_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
/* clang-format off */
#include "app/common.def"
#include "router/config.def"
    /* clang-format on */
};

#define MODEL(its_name, its_tier, ...)                                                             \
    {                                                                                              \
        .name = its_name, .model_id = "us.anthropic." its_name "-v1:0", .tier = its_tier,          \
        .regions = {"us-east-2"}, .n_regions = 1, .context_window = 200000, .max_output = 64000,   \
        .tokenizer_per_mille = 1000, .prices = {{{0, {3000000, 15000000, 3750000, 300000}}}, 1},   \
        __VA_ARGS__                                                                                \
    }

static const struct catalogue_model models[] = {
    MODEL("first", 1, .thinking = CATALOGUE_THINKING_BUDGET),
    MODEL("last", 2, .thinking = CATALOGUE_THINKING_NONE),
    MODEL("retired", 3, .lifecycle = CATALOGUE_GONE),
};

static void set_defaults(struct router_fixture *f)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *error;
        if (rows[i].alias == NULL) {
            assert_true(config_parse(&rows[i], span_str(rows[i].otherwise), f->arena,
                                     (char *)&f->config + rows[i].offset, &error));
        }
    }
}

static void ask_hi(struct router_fixture *f)
{
    Router__Generation *g = ARENA_NEW(f->arena, Router__Generation);
    Router__Message *m = ARENA_NEW(f->arena, Router__Message);
    Router__ContentBlock *block = ARENA_NEW(f->arena, Router__ContentBlock);
    router__generation__init(g);
    router__message__init(m);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block->text = "hi";
    m->role = ROUTER__ROLE__ROLE_USER;
    m->content = ARENA_NEW(f->arena, Router__ContentBlock *);
    m->content[m->n_content++] = block;
    g->messages = ARENA_NEW(f->arena, Router__Message *);
    g->messages[g->n_messages++] = m;
    g->thinking_budget_tokens = 2000;
    f->generation = g;
}

static struct rpc_server *serve(struct router_fixture *f, const struct rpc_service *service,
                                char address[32])
{
    struct rpc_server *server;
    const struct rpc_server_options options = {
        .address = "127.0.0.1:0", .services = service, .n_services = 1};
    assert_status_ok(rpc_server_start(f->wire, &options, &server));
    snprintf(address, 32, "127.0.0.1:%u", rpc_server_port(server));
    return server;
}

static void start_router(struct router_fixture *f, const char *limiter)
{
    struct router *router = &f->router;
    router->loop = task_loop();
    router->config = &f->config;
    router->catalogue = &f->catalogue;
    router->running = map_new();
    router->lessons = lessons_new();
#define METRIC(kind, name, labels, help)                                                           \
    router->metrics.name = metric_##kind("prism_router_" #name, labels, help);
#include "router/metrics.def"
    hash_random(router->session, sizeof(router->session));
    router->credentials = credentials_fixed(
        &(struct credentials_values){.access_key = SPAN("key"), .secret_key = SPAN("secret")});
    router->http = http_client_new(router->loop, &(struct http_client_options){0});
    router->bedrock = bedrock_new(&(struct bedrock_options){
        .http = router->http, .credentials = router->credentials, .endpoint = f->bedrock.url});
    router->limiter = rpc_channel_new(f->wire, &(struct rpc_channel_options){.targets = limiter});
    router->link = limiter_link_start(
        router->limiter, span_of(router->session, sizeof(router->session)), f->config.limiter_wait);
    router->leases = leases_start(router);
}

void router_fixture_start(struct router_fixture *f)
{
    char address[32];
    log_init("test_router", LOG_ERROR);
    *f = (struct router_fixture){.arena = arena_new(64u << 20)};
    f->catalogue = targets_catalogue(models, ARRAY_LEN(models), f->arena);
    set_defaults(f);
    ask_hi(f);
    buf_init(&f->log, 4u << 20);
    fake_bedrock_start(&f->bedrock);
    f->wire = wire_start(task_loop());
    f->services[0] = fake_limiter_service(&f->limiter);
    f->limiter_server = serve(f, &f->services[0], address);
    start_router(f, arena_string(f->arena, span_str(address)));
    f->services[1] = (struct rpc_service){ROUTER, router_methods, router_n_methods, &f->router};
    f->router_server = serve(f, &f->services[1], address);
    f->channel = rpc_channel_new(
        f->wire,
        &(struct rpc_channel_options){.targets = arena_string(f->arena, span_str(address))});
}

void router_fixture_stop(struct router_fixture *f)
{
    struct router *router = &f->router;
    router_fixture_until(&router->handed_over, 0);
    fake_limiter_check_settled(&f->limiter);
    router_fixture_until(&f->bedrock.open, 0);
    rpc_channel_free(f->channel);
    rpc_server_stop(f->router_server, 0);
    assert_int_equal(router->upstream_open, 0);
    assert_int_equal(map_count(router->running), 0);
    assert_true(metric_value(router->metrics.leases, METRIC_LABELS()) == 0);
    assert_int_equal(f->catalogue.references, 1);
    leases_stop(router->leases);
    limiter_link_stop(router->link);
    rpc_channel_free(router->limiter);
    rpc_server_stop(f->limiter_server, 0);
    bedrock_free(router->bedrock);
    credentials_free(router->credentials);
    http_client_free(router->http);
    map_free(router->running);
    lessons_free(router->lessons);
    wire_stop(f->wire);
    fake_bedrock_stop(&f->bedrock);
    metric_reset_all();
    buf_clear(&f->log);
    arena_free(f->arena);
}

/* --- what a call says ------------------------------------------------------------------------- */

static const char *bare(const char *model)
{
    return span_starts(span_str(model), SPAN("models/")) ? model + strlen("models/") : model;
}

static void add_text(struct buf *log, const char *word, const char *text, ProtobufCBinaryData bytes)
{
    buf_addf(log, "%s%s ", word, bytes.len > 0 ? " bytes" : "");
    text_add_printable(log, bytes.len > 0 ? span_of(bytes.data, bytes.len) : span_str(text));
    buf_add_char(log, '\n');
}

static void add_bytes(struct buf *log, const char *word, ProtobufCBinaryData bytes)
{
    buf_addf(log, "%s %.*s\n", word, (int)bytes.len, (const char *)bytes.data);
}

static const char *type_word(Router__BlockType type)
{
    static const char *const words[] = {"nothing", "text", "thinking", "redacted", "raw"};
    return words[type];
}

/* In how many pieces a text comes depends on how they arrived. */
static void add_piece(struct router_fixture *f, Router__GenerateResponse__EventCase event,
                      const char *word, const char *text, ProtobufCBinaryData bytes)
{
    f->pieces++;
    if (f->last_event == event && bytes.len == 0) {
        buf_truncate(&f->log, f->log.len - 1);
        text_add_printable(&f->log, span_str(text));
        buf_add_char(&f->log, '\n');
    } else {
        add_text(&f->log, word, text, bytes);
    }
}

static void add_event(struct router_fixture *f, const Router__GenerateResponse *e)
{
    struct buf *log = &f->log;
    switch (e->event_case) {
    case ROUTER__GENERATE_RESPONSE__EVENT_QUEUED:
        buf_addf(log, "queued %s %s\n", e->queued->reason, e->queued->resource);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED:
        buf_addf(log, "admitted %u %s\n", e->admitted->attempt, bare(e->admitted->model));
        f->admitted = e->admitted;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_START:
        buf_addf(log, "start %u %s\n", e->block_start->index, type_word(e->block_start->type));
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_THINKING_DELTA:
        add_piece(f, e->event_case, "thinks", e->thinking_delta->text,
                  e->thinking_delta->text_bytes);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_SIGNATURE_DELTA:
        add_bytes(log, "signs", e->signature_delta->signature);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_REDACTED_THINKING:
        add_bytes(log, "hides", e->redacted_thinking->data);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA:
        add_piece(f, e->event_case, "says", e->text_delta->text, e->text_delta->text_bytes);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_RAW_BLOCK:
        add_bytes(log, "raw", e->raw_block->json);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_STOP:
        buf_addf(log, "stop %u\n", e->block_stop->index);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_RESTARTED:
        buf_addf(log, "restarted %u %s %s\n", e->restarted->attempt, bare(e->restarted->model),
                 e->restarted->reason);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED:
        buf_addf(log, "completed %s\n", e->completed->stop_detail);
        f->completed = e->completed;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_KEEP_ALIVE:
        buf_add_str(log, "alive\n");
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT__NOT_SET:
    case _ROUTER__GENERATE_RESPONSE__EVENT__CASE_IS_INT_SIZE:
        fail();
    }
    f->last_event = e->event_case;
}

void router_fixture_add_content(struct buf *out, const Router__GenerateOnceResponse *response)
{
    const ProtobufCBinaryData none = {0, NULL};
    for (size_t i = 0; i < response->n_content; i++) {
        const Router__ContentBlock *block = response->content[i];
        switch (block->block_case) {
        case ROUTER__CONTENT_BLOCK__BLOCK_TEXT:
            add_text(out, "says", block->text, none);
            break;
        case ROUTER__CONTENT_BLOCK__BLOCK_TEXT_BYTES:
            add_text(out, "says", "", block->text_bytes);
            break;
        case ROUTER__CONTENT_BLOCK__BLOCK_THINKING:
            add_text(out, "thinks", block->thinking->text, block->thinking->text_bytes);
            add_bytes(out, "signs", block->thinking->signature);
            assert_non_null(strstr(block->thinking->model, "models/"));
            break;
        case ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING:
            add_bytes(out, "hides", block->redacted_thinking->data);
            assert_non_null(strstr(block->redacted_thinking->model, "models/"));
            break;
        case ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON:
            add_bytes(out, "raw", block->raw_json);
            break;
        case ROUTER__CONTENT_BLOCK__BLOCK__NOT_SET:
        case _ROUTER__CONTENT_BLOCK__BLOCK__CASE_IS_INT_SIZE:
            fail();
        }
    }
}

/* --- calls ------------------------------------------------------------------------------------ */

/* In a task of its own, which has the call's deadline. */
struct call {
    struct router_fixture *f;
    Router__GenerateOnceResponse *once;
    struct status status;
    struct op ended;
};

static struct status listen_to(struct router_fixture *f, struct rpc_stream *stream) PARKS
{
    for (size_t n = 1;; n++) {
        void *message;
        TRY(rpc_stream_recv(stream, f->arena, &message));
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        add_event(f, message);
        if (n == f->leave_after) {
            return STATUS_SUCCESS;
        }
    }
}

static void generate(void *arg)
{
    struct call *call = arg;
    struct router_fixture *f = call->f;
    Router__GenerateRequest request = ROUTER__GENERATE_REQUEST__INIT;
    request.tenant = "acme";
    request.generation = f->generation;
    struct rpc_stream *stream = NULL;
    call->status = rpc_open(f->channel, ROUTER, "Generate", &request, &stream);
    if (status_ok(call->status)) {
        call->status = status_copy(listen_to(f, stream), f->arena);
    }
    rpc_stream_close(&stream);
    op_done(&call->ended, STATUS_SUCCESS);
}

static void generate_once(void *arg)
{
    struct call *call = arg;
    struct router_fixture *f = call->f;
    Router__GenerateOnceRequest request = ROUTER__GENERATE_ONCE_REQUEST__INIT;
    request.tenant = "acme";
    request.generation = f->generation;
    void *reply = NULL;
    call->status = status_copy(
        rpc_call(f->channel, ROUTER, "GenerateOnce", &request, f->arena, &reply), f->arena);
    call->once = reply;
    op_done(&call->ended, STATUS_SUCCESS);
}

static struct status run(struct router_fixture *f, struct call *call, void (*fn)(void *arg)) PARKS
{
    uint64_t left = f->call_ms > 0 ? f->call_ms : 20000;
    struct task_options options = {.name = "caller",
                                   .deadline_ms = loop_now_ms(task_loop()) + left};
    call->f = f;
    buf_reset(&f->log);
    f->pieces = 0;
    f->completed = NULL;
    op_init(&call->ended, task_loop(), NULL, NULL);
    task_spawn(task_loop(), &options, fn, call);
    assert_status_ok(op_wait(&call->ended));
    return call->status;
}

struct status router_fixture_generate(struct router_fixture *f)
{
    struct call call = {0};
    return run(f, &call, generate);
}

struct status router_fixture_generate_once(struct router_fixture *f,
                                           Router__GenerateOnceResponse **out)
{
    struct call call = {0};
    TRY(run(f, &call, generate_once));
    *out = call.once;
    f->completed = call.once->completed;
    return STATUS_SUCCESS;
}

/* --- the rest --------------------------------------------------------------------------------- */

const char *const *router_fixture_events(struct router_fixture *f, ...)
{
    const char **events = ARENA_ARRAY(f->arena, const char *, EVENTS_MOST);
    va_list args;
    va_start(args, f);
    const char *event;
    for (size_t n = 0; (event = va_arg(args, const char *)) != NULL; n++) {
        assert_true(n < EVENTS_MOST - 1);
        char *json = arena_string(f->arena, span_str(event));
        for (char *at = json; (at = strchr(at, '\'')) != NULL;) {
            *at = '"';
        }
        events[n] = json;
    }
    va_end(args);
    return events;
}

void router_fixture_until(const size_t *value, size_t expected)
{
    for (int i = 0; i < PATIENCE_MS && *value != expected; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_int_equal(*value, expected);
}
