/* Reflection: the index of the embedded descriptor set, and all questions over real gRPC. */
#include <stdlib.h>
#include <string.h>

#include "app/reflection.h"
#include "app/symbols.h"
#include "base/log.h"
#include "base/metric.h"
#include "descriptors.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"
#include "net/rpc_client.h"
#include "prism/router/v1/router.pb-c.h"
#include "task_test.h"

/* --- the index ----------------------------------------------------------------------------------
 */

/* An encoded FileDescriptorProto begins with its name. */
static struct span path_of(struct span file)
{
    assert_true(file.len > 2 && file.at[0] == 0x0a && (unsigned char)file.at[1] < 0x80);
    return span_first(span_from(file, 2), (unsigned char)file.at[1]);
}

static void expect_file(const struct symbols *symbols, struct arena *arena, const char *symbol,
                        const char *path)
{
    const struct symbols_file *file = symbols_file_of(symbols, span_str(symbol));
    struct span *files;
    if (file == NULL) {
        print_error("%s\n", symbol);
    }
    assert_non_null(file);
    assert_true(symbols_closure(symbols, file, arena, &files) >= 1);
    assert_span(path_of(files[0]), span_str(path));
}

static void every_kind_of_symbol_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *symbol, *path;
    } cases[] = {
        {"prism.router.v1.RouterService", "prism/router/v1/router.proto"},
        {"prism.router.v1.RouterService.Generate", "prism/router/v1/router.proto"},
        {"prism.router.v1.GenerateRequest", "prism/router/v1/router.proto"},
        {"prism.router.v1.GenerateRequest.tenant", "prism/router/v1/router.proto"},
        {"prism.router.v1.GenerateResponse.event", "prism/router/v1/router.proto"},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"},
        {"grpc.health.v1.HealthCheckResponse.SERVING", "grpc/health/v1/health.proto"},
        {"grpc.health.v1.HealthListResponse.StatusesEntry.key", "grpc/health/v1/health.proto"},
        {"google.rpc.NOT_FOUND", "google/rpc/code.proto"},
        {"google.rpc.QuotaFailure.Violation", "google/rpc/error_details.proto"},
        {"google.protobuf.Timestamp", "google/protobuf/timestamp.proto"},
        {"grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"},
    };
    static const char *const unknown[] = {"",
                                          "prism",
                                          "prism.router.v1",
                                          ".prism.router.v1.RouterService",
                                          "RouterService",
                                          "prism.router.v1.RouterService.Generat",
                                          "google.rpc.Code.NOT_FOUND",
                                          "prism/router/v1/router.proto"};
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct symbols *symbols = symbols_new(span_of(prism_descriptor_set, prism_descriptor_set_len));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_file(symbols, arena, cases[i].symbol, cases[i].path);
    }
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        assert_null(symbols_file_of(symbols, span_str(unknown[i])));
    }
    symbols_free(symbols);
}

static void a_closure_holds_every_import_once(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct symbols *symbols = symbols_new(span_of(prism_descriptor_set, prism_descriptor_set_len));
    struct span *files;
    size_t n = symbols_closure(symbols,
                               symbols_file_named(symbols, SPAN("google/rpc/error_details.proto")),
                               arena, &files);
    assert_int_equal(n, 2);
    assert_span(path_of(files[0]), SPAN("google/rpc/error_details.proto"));
    assert_span(path_of(files[1]), SPAN("google/protobuf/duration.proto"));
    n = symbols_closure(symbols,
                        symbols_file_named(symbols, SPAN("prism/analyzer/v1/analyzer.proto")),
                        arena, &files);
    size_t timestamps = 0;
    for (size_t i = 0; i < n; i++) {
        timestamps += span_eq(path_of(files[i]), SPAN("google/protobuf/timestamp.proto"));
        for (size_t j = 0; j < i; j++) {
            assert_false(span_eq(path_of(files[i]), path_of(files[j])));
        }
    }
    assert_int_equal(timestamps, 1);
    assert_null(symbols_file_named(symbols, SPAN("prism/analyzer/v1/other.proto")));
    symbols_free(symbols);
}

/* --- over gRPC ----------------------------------------------------------------------------------
 */

/* A program's own service, whose methods nobody calls here. */
static const struct rpc_method router_methods[] = {
    {"Generate", RPC_SERVER_STREAM, NULL},    {"GenerateOnce", RPC_UNARY, NULL},
    {"ListModels", RPC_UNARY, NULL},          {"GetModel", RPC_UNARY, NULL},
    {"WatchModels", RPC_SERVER_STREAM, NULL},
};

struct fixture {
    struct arena *arena;
    struct wire *wire;
    struct reflection *reflection;
    struct rpc_service services[1 + REFLECTION_SERVICES];
    struct rpc_server *server;
    struct rpc_channel *channel;
    struct rpc_stream *stream;
};

static void fixture_start(struct fixture *f, bool alpha)
{
    log_init("test_reflection", LOG_ERROR);
    memset(f, 0, sizeof(*f));
    f->arena = arena_new(16u << 20);
    f->wire = wire_start(task_loop());
    f->reflection = reflection_new(f->services, ARRAY_LEN(f->services));
    f->services[0] = (struct rpc_service){&router__router_service__descriptor, router_methods,
                                          ARRAY_LEN(router_methods), NULL};
    reflection_services(f->reflection, f->services + 1);
    const struct rpc_server_options options = {
        .address = "127.0.0.1:0", .services = f->services, .n_services = ARRAY_LEN(f->services)};
    assert_status_ok(rpc_server_start(f->wire, &options, &f->server));
    f->channel = rpc_channel_new(
        f->wire, &(struct rpc_channel_options){
                     .targets = arena_printf(f->arena, "127.0.0.1:%u",
                                             (unsigned)rpc_server_port(f->server))});
    assert_status_ok(rpc_open(f->channel,
                              alpha ? &grpc__reflection__v1alpha__server_reflection__descriptor
                                    : &grpc__reflection__v1__server_reflection__descriptor,
                              "ServerReflectionInfo", NULL, &f->stream));
}

static void fixture_stop(struct fixture *f)
{
    void *message;
    assert_status_ok(rpc_stream_send_end(f->stream));
    assert_status_ok(rpc_stream_recv(f->stream, f->arena, &message));
    assert_null(message);
    rpc_stream_close(&f->stream);
    rpc_channel_free(f->channel);
    rpc_server_stop(f->server, 60000);
    wire_stop(f->wire);
    reflection_free(f->reflection);
    metric_reset_all();
    arena_free(f->arena);
}

#define ASK(case)   GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##case
#define REPLY(case) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##case

static const Grpc__Reflection__V1__ServerReflectionResponse *ask(struct fixture *f, int what,
                                                                 const char *text)
{
    Grpc__Reflection__V1__ServerReflectionRequest request =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    Grpc__Reflection__V1__ExtensionRequest extension =
        GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
    char *copy = arena_string(f->arena, span_str(text));
    void *message;
    request.host = arena_string(f->arena, SPAN("prism.test"));
    request.message_request_case = what;
    request.file_by_filename = copy; /* all strings share this place */
    if (what == ASK(FILE_CONTAINING_EXTENSION)) {
        extension.containing_type = copy;
        extension.extension_number = 1000;
        request.file_containing_extension = &extension;
    }
    assert_status_ok(rpc_stream_send(f->stream, &request));
    assert_status_ok(rpc_stream_recv(f->stream, f->arena, &message));
    assert_non_null(message);
    const Grpc__Reflection__V1__ServerReflectionResponse *reply = message;
    assert_string_equal(reply->valid_host, "prism.test");
    assert_int_equal(reply->original_request->message_request_case, what);
    assert_string_equal(reply->original_request->host, "prism.test");
    return reply;
}

static struct span expect_descriptors(struct fixture *f, int what, const char *text,
                                      const char *path, size_t n)
{
    const Grpc__Reflection__V1__ServerReflectionResponse *reply = ask(f, what, text);
    assert_int_equal(reply->message_response_case, REPLY(FILE_DESCRIPTOR_RESPONSE));
    assert_int_equal(reply->file_descriptor_response->n_file_descriptor_proto, n);
    ProtobufCBinaryData first = reply->file_descriptor_response->file_descriptor_proto[0];
    assert_span(path_of(span_of(first.data, first.len)), span_str(path));
    return span_of(first.data, first.len);
}

static void expect_error(struct fixture *f, int what, const char *text, enum status_code code)
{
    const Grpc__Reflection__V1__ServerReflectionResponse *reply = ask(f, what, text);
    assert_int_equal(reply->message_response_case, REPLY(ERROR_RESPONSE));
    assert_int_equal(reply->error_response->error_code, code);
    assert_true(strlen(reply->error_response->error_message) > 0);
}

static void ask_everything(struct fixture *f)
{
    const char *health = "grpc/health/v1/health.proto";
    (void)expect_descriptors(f, ASK(FILE_BY_FILENAME), health, health, 1);
    (void)expect_descriptors(f, ASK(FILE_CONTAINING_SYMBOL), "grpc.health.v1.Health.Check", health,
                             1);
    (void)expect_descriptors(f, ASK(FILE_CONTAINING_SYMBOL), "google.rpc.RetryInfo.retry_delay",
                             "google/rpc/error_details.proto", 2);
    expect_error(f, ASK(FILE_BY_FILENAME), "none.proto", STATUS_NOT_FOUND);
    expect_error(f, ASK(FILE_CONTAINING_SYMBOL), "prism.router.v1.None", STATUS_NOT_FOUND);
    expect_error(f, ASK(FILE_CONTAINING_EXTENSION), "prism.router.v1.GenerateRequest",
                 STATUS_NOT_FOUND);
    expect_error(f, ASK(ALL_EXTENSION_NUMBERS_OF_TYPE), "prism.None", STATUS_NOT_FOUND);
    expect_error(f, ASK(_NOT_SET), "", STATUS_INVALID_ARGUMENT);

    const Grpc__Reflection__V1__ServerReflectionResponse *reply =
        ask(f, ASK(ALL_EXTENSION_NUMBERS_OF_TYPE), "prism.router.v1.GenerateRequest");
    assert_int_equal(reply->message_response_case, REPLY(ALL_EXTENSION_NUMBERS_RESPONSE));
    assert_string_equal(reply->all_extension_numbers_response->base_type_name,
                        "prism.router.v1.GenerateRequest");
    assert_int_equal(reply->all_extension_numbers_response->n_extension_number, 0);

    static const char *const served[] = {"prism.router.v1.RouterService",
                                         "grpc.reflection.v1.ServerReflection",
                                         "grpc.reflection.v1alpha.ServerReflection"};
    reply = ask(f, ASK(LIST_SERVICES), "");
    assert_int_equal(reply->message_response_case, REPLY(LIST_SERVICES_RESPONSE));
    assert_int_equal(reply->list_services_response->n_service, ARRAY_LEN(served));
    for (size_t i = 0; i < ARRAY_LEN(served); i++) {
        assert_string_equal(reply->list_services_response->service[i]->name, served[i]);
    }
}

task_test_real(v1_answers_every_question)
{
    struct fixture f;
    fixture_start(&f, false);
    ask_everything(&f);
    fixture_stop(&f);
}

task_test_real(v1alpha_answers_the_same)
{
    struct fixture f;
    fixture_start(&f, true);
    ask_everything(&f);
    fixture_stop(&f);
}

task_test_real(comments_travel_with_the_files)
{
    struct fixture f;
    fixture_start(&f, false);
    struct span file = expect_descriptors(&f, ASK(FILE_BY_FILENAME), "grpc/health/v1/health.proto",
                                          "grpc/health/v1/health.proto", 1);
    assert_true(
        span_find(file, SPAN("server unhealthy if they do not receive a timely response")) !=
        SPAN_MISSING);
    fixture_stop(&f);
}

task_test_real(long_and_odd_names_are_answered)
{
    struct fixture f;
    fixture_start(&f, false);
    char *name = arena_alloc(f.arena, 100001);
    memset(name, 'x', 100000);
    memcpy(name + 198, "\303\244\303\244", 4); /* two letters of two bytes at the cut */
    expect_error(&f, ASK(FILE_CONTAINING_SYMBOL), name, STATUS_NOT_FOUND);
    expect_error(&f, ASK(FILE_BY_FILENAME), "", STATUS_NOT_FOUND);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_symbol_is_found),
        cmocka_unit_test(a_closure_holds_every_import_once),
        cmocka_unit_test(v1_answers_every_question),
        cmocka_unit_test(v1alpha_answers_the_same),
        cmocka_unit_test(comments_travel_with_the_files),
        cmocka_unit_test(long_and_odd_names_are_answered),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
