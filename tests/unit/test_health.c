/* grpc.health.v1 over real gRPC: what is asked, what is told, and how watchers end. */
#include <string.h>

#include "app/health.h"
#include "base/log.h"
#include "base/metric.h"
#include "grpc/health/v1/health.pb-c.h"
#include "net/rpc_client.h"
#include "prism/limiter/v1/limiter.pb-c.h"
#include "prism/router/v1/router.pb-c.h"
#include "task_test.h"

#define HEALTH      (&grpc__health__v1__health__descriptor)
#define UNKNOWN     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
#define SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING

struct fixture {
    struct arena *arena;
    struct wire *wire;
    struct health *health;
    struct rpc_service known[2]; /* only their names matter */
    struct rpc_service served;
    struct rpc_server *server;
    struct rpc_channel *channel;
};

static void fixture_start(struct fixture *f)
{
    log_init("test_health", LOG_ERROR);
    memset(f, 0, sizeof(*f));
    f->arena = arena_new(1u << 20);
    f->known[0].descriptor = &router__router_service__descriptor;
    f->known[1].descriptor = &limiter__limiter_service__descriptor;
    f->wire = wire_start(task_loop());
    f->health = health_new(task_loop());
    f->served = health_service(f->health, f->known, ARRAY_LEN(f->known));
    const struct rpc_server_options options = {
        .address = "127.0.0.1:0", .services = &f->served, .n_services = 1};
    assert_status_ok(rpc_server_start(f->wire, &options, &f->server));
    f->channel = rpc_channel_new(
        f->wire, &(struct rpc_channel_options){
                     .targets = arena_printf(f->arena, "127.0.0.1:%u",
                                             (unsigned)rpc_server_port(f->server))});
}

static void fixture_stop(struct fixture *f)
{
    rpc_channel_free(f->channel);
    rpc_server_stop(f->server, 60000);
    wire_stop(f->wire);
    health_free(f->health);
    metric_reset_all();
    arena_free(f->arena);
}

static struct status ask(struct fixture *f, const char *name, int *status)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    void *reply;
    request.service = arena_string(f->arena, span_str(name));
    TRY(rpc_call(f->channel, HEALTH, "Check", &request, f->arena, &reply));
    *status = (int)((const Grpc__Health__V1__HealthCheckResponse *)reply)->status;
    return STATUS_SUCCESS;
}

static void expect(struct fixture *f, const char *name, int want)
{
    int status = -1;
    assert_status_ok(ask(f, name, &status));
    assert_int_equal(status, want);
}

static const struct {
    const char *name;
    bool follows;
} names[] = {
    {"", true},
    {"readiness", true},
    {"prism.router.v1.RouterService", true},
    {"prism.limiter.v1.LimiterService", true},
    {"liveness", false},
    {"startup", false},
};

task_test_real(check_follows_the_verdict)
{
    struct fixture f;
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        expect(&f, names[i].name, names[i].follows ? NOT_SERVING : SERVING);
    }
    health_set_serving(f.health, true);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        expect(&f, names[i].name, SERVING);
    }
    int status;
    struct status s = ask(&f, "prism.router.v1.Router", &status);
    assert_int_equal(s.code, STATUS_NOT_FOUND);
    assert_status(s, REASON_RESOURCE_UNKNOWN);
    health_end(f.health);
    health_set_serving(f.health, true);
    expect(&f, "", NOT_SERVING);
    expect(&f, "liveness", SERVING);
    fixture_stop(&f);
}

task_test_real(list_tells_every_name)
{
    struct fixture f;
    fixture_start(&f);
    Grpc__Health__V1__HealthListRequest request = GRPC__HEALTH__V1__HEALTH_LIST_REQUEST__INIT;
    void *message;
    assert_status_ok(rpc_call(f.channel, HEALTH, "List", &request, f.arena, &message));
    const Grpc__Health__V1__HealthListResponse *reply = message;
    assert_int_equal(reply->n_statuses, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t found = 0;
        for (size_t j = 0; j < reply->n_statuses; j++) {
            if (strcmp(reply->statuses[j]->key, names[i].name) == 0) {
                found++;
                assert_int_equal(reply->statuses[j]->value->status,
                                 names[i].follows ? NOT_SERVING : SERVING);
            }
        }
        assert_int_equal(found, 1);
    }
    fixture_stop(&f);
}

static struct rpc_stream *watch(struct fixture *f, const char *name)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct rpc_stream *stream;
    request.service = arena_string(f->arena, span_str(name));
    assert_status_ok(rpc_open(f->channel, HEALTH, "Watch", &request, &stream));
    return stream;
}

static void expect_news(struct fixture *f, struct rpc_stream *stream, int want)
{
    void *message;
    assert_status_ok(rpc_stream_recv(stream, f->arena, &message));
    assert_non_null(message);
    assert_int_equal(((const Grpc__Health__V1__HealthCheckResponse *)message)->status, want);
}

task_test_real(watch_tells_changes_only)
{
    struct fixture f;
    fixture_start(&f);
    struct rpc_stream *all = watch(&f, ""), *router = watch(&f, "prism.router.v1.RouterService");
    expect_news(&f, all, NOT_SERVING);
    expect_news(&f, router, NOT_SERVING);
    for (int i = 0; i < 20; i++) {
        int want = i % 2 == 0 ? SERVING : NOT_SERVING;
        health_set_serving(f.health, want == SERVING);
        health_set_serving(f.health, want == SERVING);
        expect_news(&f, all, want);
        expect_news(&f, router, want);
    }
    rpc_stream_close(&all);
    rpc_stream_close(&router);
    fixture_stop(&f);
}

task_test_real(watching_an_unknown_name_stays_open)
{
    struct fixture f;
    void *message;
    fixture_start(&f);
    struct rpc_stream *stream = watch(&f, "no.such.Service");
    expect_news(&f, stream, UNKNOWN);
    health_set_serving(f.health, true);
    assert_status_ok(task_sleep_ms(50));
    assert_int_equal(rpc_server_inflight(f.server), 0); /* it stands */
    health_end(f.health);
    assert_status(rpc_stream_recv(stream, f.arena, &message), REASON_SHUTTING_DOWN);
    rpc_stream_close(&stream);
    fixture_stop(&f);
}

/* The grace of fixture_stop is a minute: watchers must not use it up. */
task_test_real(the_end_is_told_and_ends_the_watchers)
{
    struct fixture f;
    void *message;
    fixture_start(&f);
    health_set_serving(f.health, true);
    struct rpc_stream *streams[] = {watch(&f, ""), watch(&f, "liveness"), watch(&f, "none")};
    expect_news(&f, streams[0], SERVING);
    expect_news(&f, streams[1], SERVING);
    expect_news(&f, streams[2], UNKNOWN);
    uint64_t before = loop_now_ms(task_loop());
    health_end(f.health);
    expect_news(&f, streams[0], NOT_SERVING);
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        assert_status(rpc_stream_recv(streams[i], f.arena, &message), REASON_SHUTTING_DOWN);
        rpc_stream_close(&streams[i]);
    }
    struct rpc_stream *late = watch(&f, "");
    expect_news(&f, late, NOT_SERVING);
    assert_status(rpc_stream_recv(late, f.arena, &message), REASON_SHUTTING_DOWN);
    rpc_stream_close(&late);
    fixture_stop(&f);
    assert_in_range(loop_now_ms(task_loop()) - before, 0, 20000);
}

task_test_real(a_watcher_that_leaves_is_forgotten)
{
    struct fixture f;
    fixture_start(&f);
    for (int i = 0; i < 50; i++) {
        struct rpc_stream *stream = watch(&f, "");
        expect_news(&f, stream, NOT_SERVING);
        rpc_stream_close(&stream);
    }
    health_set_serving(f.health, true);
    for (int i = 0; i < 1000 && rpc_server_inflight(f.server) > 0; i++) {
        assert_status_ok(task_sleep_ms(10));
    }
    assert_int_equal(rpc_server_inflight(f.server), 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_follows_the_verdict),
        cmocka_unit_test(list_tells_every_name),
        cmocka_unit_test(watch_tells_changes_only),
        cmocka_unit_test(watching_an_unknown_name_stays_open),
        cmocka_unit_test(the_end_is_told_and_ends_the_watchers),
        cmocka_unit_test(a_watcher_that_leaves_is_forgotten),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
