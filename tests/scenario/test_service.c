/* The life of a real process: this binary starts itself again as a small service and looks at what
 * it says, answers, writes and returns. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/service.h"
#include "base/file.h"
#include "grpc/health/v1/health.pb-c.h"
#include "net/http.h"
#include "net/rpc_client.h"
#include "prism/router/v1/router.pb-c.h"
#include "task_test.h"

/* --- the service --------------------------------------------------------------------------------
 */

#define SERVE_GRPC "serve-grpc"
#define SERVE_HTTP "serve-http"

#define OWN_ROWS                                                                                   \
    CONFIG(address, listen, "127.0.0.1:0", "", "where it is served")                               \
    CONFIG(address, admin, "127.0.0.1:0", "", "where the admin port is")                           \
    CONFIG(choice, start, "well", "well|badly|never", "how the start goes")

struct config {
#define CONFIG CONFIG_FIELD
#include "app/common.def"
    OWN_ROWS
#undef CONFIG
};

static const struct config_row rows[] = {
#define CONFIG(...) CONFIG_ROW(struct config, __VA_ARGS__)
#include "app/common.def"
    OWN_ROWS
#undef CONFIG
};

/* Takes as many milliseconds as the name says. */
static struct status get_model(struct rpc *rpc, const void *message)
{
    const Router__GetModelRequest *request = message;
    Router__GetModelResponse reply = ROUTER__GET_MODEL_RESPONSE__INIT;
    uint64_t ms = 0;
    check(span_parse_u64(span_str(request->name), &ms));
    TRY(task_sleep_ms(ms));
    return rpc_send(rpc, &reply);
}

static const struct rpc_method methods[] = {
    {"Generate", RPC_SERVER_STREAM, NULL},    {"GenerateOnce", RPC_UNARY, NULL},
    {"ListModels", RPC_UNARY, NULL},          {"GetModel", RPC_UNARY, get_model},
    {"WatchModels", RPC_SERVER_STREAM, NULL},
};

static const struct rpc_service services[] = {
    {&router__router_service__descriptor, methods, ARRAY_LEN(methods), NULL},
};

static void show_limp(struct http_exchange *exchange, void *arg)
{
    app_set_ready(arg, "leg", false, "it is broken");
    http_reply(exchange, 204, NULL, 0, SPAN_NONE);
}

static struct status start(struct app *app, const void *values, void **state)
{
    const struct config *config = values;
    if (strcmp(config->start, "badly") == 0) {
        return status_of(REASON_STORE_FAILED,
                         arena_printf(app_arena(app), "%s is not a store", "/nowhere"));
    }
    if (strcmp(config->start, "never") == 0) {
        TRY(task_sleep_ms(3600000));
    }
    *state = app;
    app_serve(app, services, ARRAY_LEN(services));
    app_admin(app, "/limp", show_limp, app);
    return STATUS_SUCCESS;
}

static void stop(struct app *app, void *state)
{
    check(state == app && app_draining(app));
}

/* "/slow" is half a second in the middle of its answer. */
static void answer_http(struct http_exchange *exchange, void *state) PARKS
{
    check(state != NULL);
    if (!span_eq(http_exchange_path(exchange), SPAN("/slow"))) {
        http_reply(exchange, 200, NULL, 0, SPAN("here\n"));
        return;
    }
    http_reply_start(exchange, 200, NULL, 0);
    if (status_ok(http_reply_write(exchange, SPAN("he"))) && status_ok(task_sleep_ms(500))) {
        (void)!status_ok(http_reply_write(exchange, SPAN("re\n")));
    }
}

static int serve(int argc, char **argv, bool http)
{
    const struct service_spec spec = {
        .config = {.program = "prism-test",
                   .env = "PRISM_TEST_",
                   .about = "waits as long as it is told",
                   .usage = "",
                   .rows = rows,
                   .n_rows = ARRAY_LEN(rows)},
        .config_size = sizeof(struct config),
        .address_offset = offsetof(struct config, listen),
        .admin_offset = offsetof(struct config, admin),
        .start = start,
        .stop = stop,
        .http_handler = http ? answer_http : NULL,
    };
    return service_main(argc, argv, &spec);
}

/* --- the process, from outside ------------------------------------------------------------------
 */

struct process {
    struct arena *arena;
    const char *folder;
    pid_t pid;
    unsigned port;
    unsigned admin;
    int exit_code;
    struct span out;
    struct span err;
};

static const char *path_in(const struct process *p, const char *name)
{
    return arena_printf(p->arena, "%s/%s", p->folder, name);
}

/* Arguments end with NULL, at most eight. */
static void launch(struct process *p, const char *kind, const char *const *arguments)
{
    char folder[] = "/tmp/prism-service-XXXXXX";
    memset(p, 0, sizeof(*p));
    p->arena = arena_new(4u << 20);
    assert_non_null(mkdtemp(folder));
    p->folder = arena_string(p->arena, span_str(folder));
    char *argv[16] = {"/proc/self/exe", (char *)kind, "--ready-file", (char *)path_in(p, "ready")};
    size_t n = 4;
    for (; *arguments != NULL; arguments++) {
        argv[n++] = (char *)*arguments;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, path_in(p, "out"), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, path_in(p, "err"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(posix_spawn(&p->pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
}

static struct span slurp(struct process *p, const char *name)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1u << 20);
    return file_read(path_in(p, name), &text) == NULL ? arena_copy(p->arena, buf_span(&text))
                                                      : SPAN_NONE;
}

static bool ended(struct process *p)
{
    int how;
    if (p->pid != 0 && waitpid(p->pid, &how, WNOHANG) == p->pid) {
        p->pid = 0;
        p->exit_code = WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how);
        p->out = slurp(p, "out");
        p->err = slurp(p, "err");
    }
    return p->pid == 0;
}

static void await_end(struct process *p, int exit_code)
{
    for (int i = 0; i < 3000 && !ended(p); i++) {
        assert_status_ok(task_sleep_ms(10));
    }
    if (p->pid != 0) {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
        p->err = slurp(p, "err");
    }
    if (p->pid != 0 || p->exit_code != exit_code) {
        print_error("ended with %d:\n%.*s", p->exit_code, (int)p->err.len, p->err.at);
    }
    assert_int_equal(p->pid, 0);
    assert_int_equal(p->exit_code, exit_code);
}

static void forget(struct process *p)
{
    static const char *const names[] = {"ready", "out", "err"};
    assert_int_equal(p->pid, 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        unlink(path_in(p, names[i]));
    }
    assert_int_equal(rmdir(p->folder), 0); /* nothing else was left in it */
    arena_free(p->arena);
}

static void await_ready(struct process *p, const char *kind)
{
    struct span text = SPAN_NONE;
    for (int i = 0; i < 3000 && text.len == 0 && !ended(p); i++) {
        assert_status_ok(task_sleep_ms(10));
        text = slurp(p, "ready");
    }
    if (text.len == 0) {
        print_error("not ready:\n%.*s", (int)p->err.len, p->err.at);
    }
    char served[8] = "";
    assert_int_equal(
        sscanf(arena_string(p->arena, text), "%7[a-z]=%u\nadmin=%u\n", served, &p->port, &p->admin),
        3);
    assert_string_equal(served, kind);
}

static void expect_line(const struct span text, const char *line)
{
    struct span rest = text, one;
    while (span_cut(&rest, '\n', &one)) {
        if (span_eq(one, span_str(line))) {
            return;
        }
    }
    print_error("no line \"%s\" in:\n%.*s", line, (int)text.len, text.at);
    fail();
}

static size_t count(struct span text, const char *what)
{
    size_t n = 0, at;
    while ((at = span_find(text, span_str(what))) != SPAN_MISSING) {
        text = span_from(text, at + 1);
        n++;
    }
    return n;
}

/* A process that serves says nothing but JSON lines. */
static void expect_only_json(struct span text)
{
    struct span line;
    while (span_cut(&text, '\n', &line)) {
        assert_true(line.len == 0 || (line.at[0] == '{' && line.at[line.len - 1] == '}'));
    }
}

/* --- its callers --------------------------------------------------------------------------------
 */

static int get(struct process *p, unsigned port, const char *target, struct span *body)
{
    struct http_client *client = http_client_new(task_loop(), &(struct http_client_options){0});
    const struct http_request request = {
        .method = "GET", .url = arena_printf(p->arena, "http://127.0.0.1:%u%s", port, target)};
    struct http *http = NULL;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1u << 20);
    int code = 0;
    if (status_ok(http_open(client, &request, &http))) {
        code = http_code(http);
        assert_status_ok(http_read_all(http, &text));
        http_close(&http);
    }
    http_client_free(client);
    *body = arena_copy(p->arena, buf_span(&text));
    return code;
}

struct caller {
    struct wire *wire;
    struct rpc_channel *channel;
    struct arena *arena;
    struct group group;
    const char *wait_ms;
    struct status ended;
};

static void caller_start(struct caller *c, struct process *p)
{
    memset(c, 0, sizeof(*c));
    c->arena = p->arena;
    c->wire = wire_start(task_loop());
    c->channel = rpc_channel_new(
        c->wire,
        &(struct rpc_channel_options){.targets = arena_printf(p->arena, "127.0.0.1:%u", p->port)});
    group_init(&c->group);
}

static void caller_stop(struct caller *c)
{
    rpc_channel_free(c->channel);
    wire_stop(c->wire);
}

static struct status call(struct caller *c, const char *wait_ms)
{
    Router__GetModelRequest request = ROUTER__GET_MODEL_REQUEST__INIT;
    void *reply;
    request.name = arena_string(c->arena, span_str(wait_ms));
    return rpc_call(c->channel, &router__router_service__descriptor, "GetModel", &request, c->arena,
                    &reply);
}

static void call_in_background(void *arg)
{
    struct caller *c = arg;
    c->ended = call(c, c->wait_ms);
}

/* Returns when the server has the call in its hands. */
static void caller_begin(struct caller *c, struct process *p, const char *wait_ms)
{
    struct span text;
    c->wait_ms = wait_ms;
    c->ended = status_of(REASON_INTERNAL_ERROR, "has not ended");
    group_spawn(&c->group, "caller", call_in_background, c);
    static const char started[] =
        "grpc_server_started_total{grpc_type=\"unary\",grpc_service=\"prism."
        "router.v1.RouterService\",grpc_method=\"GetModel\"} 1\n";
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(get(p, p->admin, "/metrics", &text), 200);
        if (count(text, started) == 1) {
            return;
        }
        assert_status_ok(task_sleep_ms(10));
    }
    print_error("%.*s", (int)text.len, text.at);
    fail();
}

static int health(struct caller *c, const char *name)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    void *reply;
    request.service = arena_string(c->arena, span_str(name));
    assert_status_ok(rpc_call(c->channel, &grpc__health__v1__health__descriptor, "Check", &request,
                              c->arena, &reply));
    return (int)((const Grpc__Health__V1__HealthCheckResponse *)reply)->status;
}

#define ARGUMENTS(...)                                                                             \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* --- stories ------------------------------------------------------------------------------------
 */

task_test_real(it_serves_and_drains)
{
    struct process p;
    struct caller c;
    struct span body;
    launch(&p, SERVE_GRPC, ARGUMENTS("--log-level", "debug"));
    await_ready(&p, "grpc");
    caller_start(&c, &p);
    assert_int_equal(get(&p, p.admin, "/readyz?verbose", &body), 200);
    assert_span(body, SPAN("[+] serving\nok\n"));
    assert_int_equal(health(&c, "prism.router.v1.RouterService"), 1);
    caller_begin(&c, &p, "1500");

    kill(p.pid, SIGTERM);
    for (int i = 0; i < 1000 && get(&p, p.admin, "/readyz", &body) != 503; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_span(body, SPAN("[-] serving: the process is shutting down\nnot ready\n"));
    assert_int_equal(get(&p, p.admin, "/livez", &body), 200);
    assert_int_equal(call(&c, "0").code, STATUS_UNAVAILABLE);
    assert_status_ok(group_wait(&c.group));
    assert_status_ok(c.ended);
    caller_stop(&c);

    await_end(&p, 0);
    expect_only_json(p.err);
    assert_int_equal(p.out.len, 0);
    assert_int_equal(access(path_in(&p, "ready"), F_OK), -1);
    static const char *const said[] = {
        "\"msg\":\"starting\"",
        "\"msg\":\"serving\",\"grpc\":\"127.0.0.1:",
        "\"msg\":\"shutting down\",\"signal\":\"Terminated\"",
        "\"msg\":\"drain: not ready any more\"",
        "\"msg\":\"drain: no new calls\",\"running\":1",
        "\"msg\":\"drain: calls have ended\"",
        "\"msg\":\"drain: service has stopped\"",
        "\"msg\":\"drain: ports are closed\"",
        "\"msg\":\"drain: wire has stopped\"",
        "\"msg\":\"stopped\",\"exit_code\":0",
    };
    size_t before = 0;
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        assert_int_equal(count(p.err, said[i]), 1);
        size_t at = span_find(p.err, span_str(said[i]));
        assert_true(at >= before);
        before = at;
    }
    forget(&p);
}

task_test_real(the_grace_ends_calls_that_do_not)
{
    struct process p;
    struct caller c;
    launch(&p, SERVE_GRPC, ARGUMENTS("--drain=200ms"));
    await_ready(&p, "grpc");
    caller_start(&c, &p);
    caller_begin(&c, &p, "600000");
    kill(p.pid, SIGINT);
    assert_status_ok(group_wait(&c.group));
    assert_int_equal(c.ended.code, STATUS_UNAVAILABLE);
    caller_stop(&c);
    await_end(&p, 0);
    forget(&p);
}

task_test_real(a_second_signal_ends_it_at_once)
{
    struct process p;
    struct caller c;
    launch(&p, SERVE_GRPC, ARGUMENTS("--drain=1h"));
    await_ready(&p, "grpc");
    caller_start(&c, &p);
    caller_begin(&c, &p, "600000");
    kill(p.pid, SIGTERM);
    assert_status_ok(task_sleep_ms(200));
    assert_false(ended(&p));
    kill(p.pid, SIGTERM);
    await_end(&p, 1);
    assert_status_ok(group_wait(&c.group));
    assert_int_equal(c.ended.code, STATUS_UNAVAILABLE);
    caller_stop(&c);
    assert_int_equal(count(p.err, "\"msg\":\"signal while shutting down: ending at once\""), 1);
    forget(&p);
}

task_test_real(conditions_of_the_service_are_seen_everywhere)
{
    struct process p;
    struct caller c;
    struct span body;
    launch(&p, SERVE_GRPC, ARGUMENTS("--log-level=info"));
    await_ready(&p, "grpc");
    caller_start(&c, &p);
    assert_int_equal(get(&p, p.admin, "/limp", &body), 204);
    assert_int_equal(get(&p, p.admin, "/readyz", &body), 503);
    assert_span(body, SPAN("[+] serving\n[-] leg: it is broken\nnot ready\n"));
    assert_int_equal(health(&c, ""), 2);
    assert_int_equal(health(&c, "liveness"), 1);
    caller_stop(&c);
    kill(p.pid, SIGTERM);
    await_end(&p, 0);
    assert_int_equal(count(p.err, "\"msg\":\"not ready\""), 1);
    forget(&p);
}

task_test_real(ports_in_use_are_told_plainly)
{
    struct process first, second;
    struct span body;
    launch(&first, SERVE_GRPC, ARGUMENTS("--log-level=error"));
    await_ready(&first, "grpc");
    const char *grpc = arena_printf(first.arena, "127.0.0.1:%u", first.port);
    const char *admin = arena_printf(first.arena, "127.0.0.1:%u", first.admin);
    const struct {
        const char *flag, *address, *what;
        unsigned port;
    } cases[] = {{"--listen", grpc, "gRPC port", first.port},
                 {"--admin", admin, "admin port", first.admin}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        launch(&second, SERVE_GRPC,
               ARGUMENTS("--log-level=error", cases[i].flag, cases[i].address));
        await_end(&second, 1);
        assert_span(second.err,
                    span_str(arena_printf(second.arena,
                                          "prism-test: %s: 127.0.0.1 port %u: Address already in "
                                          "use\n",
                                          cases[i].what, cases[i].port)));
        assert_int_equal(slurp(&second, "ready").len, 0);
        forget(&second);
    }
    assert_int_equal(get(&first, first.admin, "/readyz", &body), 200);
    kill(first.pid, SIGTERM);
    await_end(&first, 0);
    assert_int_equal(first.err.len, 0);
    forget(&first);
}

task_test_real(what_cannot_start_says_why)
{
    static const struct {
        const char *argument, *line;
    } cases[] = {
        {"--start=badly", "prism-test: cannot start: /nowhere is not a store"},
        {"--listen=192.0.2.1:0",
         "prism-test: gRPC port: 192.0.2.1 port 0: Cannot assign requested address"},
        {"--listen=127.0.0.1:0,127.0.0.1:0",
         "prism-test: gRPC port: 127.0.0.1:0,127.0.0.1:0 is not one host:port"},
        {"--admin=localhost:0", "prism-test: admin port: localhost port 0: not a numeric address"},
        {"--ready-file=/nonexistent/ready",
         "prism-test: /nonexistent/ready: No such file or directory"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct process p;
        launch(&p, SERVE_GRPC, ARGUMENTS("--log-level=error", cases[i].argument));
        await_end(&p, 1);
        expect_line(p.err, cases[i].line);
        forget(&p);
    }
}

task_test_real(a_signal_ends_a_start_that_hangs)
{
    struct process p;
    launch(&p, SERVE_GRPC, ARGUMENTS("--start=never"));
    for (int i = 0; i < 3000 && slurp(&p, "err").len == 0; i++) {
        assert_status_ok(task_sleep_ms(10));
    }
    assert_status_ok(task_sleep_ms(300));
    assert_false(ended(&p));
    kill(p.pid, SIGTERM);
    await_end(&p, 0);
    expect_only_json(p.err);
    forget(&p);
}

task_test_real(help_and_slips)
{
    struct process p;
    launch(&p, SERVE_GRPC, ARGUMENTS("--help"));
    await_end(&p, 0);
    assert_true(span_starts(p.out, SPAN("prism-test: waits as long as it is told\n")));
    assert_int_equal(p.err.len, 0);
    forget(&p);
    launch(&p, SERVE_GRPC, ARGUMENTS("--drian", "5s"));
    await_end(&p, 2);
    assert_span(p.err, SPAN("prism-test: --drian: no such option; did you mean --drain?\n"
                            "Try 'prism-test --help'.\n"));
    forget(&p);
}

task_test_real(http_services_have_the_same_life)
{
    struct process p;
    struct span body;
    launch(&p, SERVE_HTTP, ARGUMENTS("--log-level=info"));
    await_ready(&p, "http");
    assert_int_equal(get(&p, p.port, "/anything", &body), 200);
    assert_span(body, SPAN("here\n"));
    assert_int_equal(get(&p, p.admin, "/readyz", &body), 200);
    kill(p.pid, SIGTERM);
    await_end(&p, 0);
    assert_int_equal(count(p.err, "\"msg\":\"serving\",\"http\":\"127.0.0.1:"), 1);
    forget(&p);
}

task_test_real(http_requests_may_end_within_the_grace)
{
    static const struct {
        const char *drain;
        const char *body;
        enum reason reason;
    } cases[] = {{"--drain=1m", "here\n", REASON_NONE},
                 {"--drain=100ms", "he", REASON_CONNECTION_LOST}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct process p;
        struct http *http = NULL;
        CLEANUP(buf_clear) struct buf body;
        buf_init(&body, 100);
        launch(&p, SERVE_HTTP, ARGUMENTS(cases[i].drain));
        await_ready(&p, "http");
        struct http_client *client = http_client_new(task_loop(), &(struct http_client_options){0});
        const struct http_request request = {
            .method = "GET", .url = arena_printf(p.arena, "http://127.0.0.1:%u/slow", p.port)};
        assert_status_ok(http_open(client, &request, &http));
        kill(p.pid, SIGTERM);
        assert_status(http_read_all(http, &body), cases[i].reason);
        assert_span(buf_span(&body), span_str(cases[i].body));
        http_close(&http);
        http_client_free(client);
        await_end(&p, 0);
        forget(&p);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], SERVE_GRPC) == 0) {
        return serve(argc - 1, argv + 1, false);
    }
    if (argc > 1 && strcmp(argv[1], SERVE_HTTP) == 0) {
        return serve(argc - 1, argv + 1, true);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_serves_and_drains),
        cmocka_unit_test(the_grace_ends_calls_that_do_not),
        cmocka_unit_test(a_second_signal_ends_it_at_once),
        cmocka_unit_test(conditions_of_the_service_are_seen_everywhere),
        cmocka_unit_test(ports_in_use_are_told_plainly),
        cmocka_unit_test(what_cannot_start_says_why),
        cmocka_unit_test(a_signal_ends_a_start_that_hangs),
        cmocka_unit_test(help_and_slips),
        cmocka_unit_test(http_services_have_the_same_life),
        cmocka_unit_test(http_requests_may_end_within_the_grace),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
