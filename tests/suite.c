#include "suite.h"

#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define ARENA_MOST  (256u << 20)
#define LOG_MOST    (64u << 20)
#define PORTS_MOST  4096
#define FLAGS_MOST  32
#define POLL_MS     10
#define FILES_DEPTH 3
#define LEASE_S     15 /* also in scaled time: a busy machine must not lose leases */

static const char *const names[SUITE_PROGRAMS] = {
    [SUITE_SIMULATOR] = "simulator",
    [SUITE_LIMITER] = "limiter",
    [SUITE_ROUTER] = "router",
    [SUITE_ANALYZER] = "analyzer",
};

/* The keys that the simulator accepts unless told otherwise. */
static const char *const environment[] = {
    "AWS_ACCESS_KEY_ID=AKIDSIMULATOR",
    "AWS_SECRET_ACCESS_KEY=simulator-secret",
    "AWS_SESSION_TOKEN=",
    "AWS_BEARER_TOKEN_BEDROCK=",
    "PRISM_LOG_LEVEL=debug",
    NULL,
};

/* What suite_teardown finds when a test has failed on its way. */
static struct suite *current;

/* --- one process --------------------------------------------------------------------------------
 */

struct flags {
    struct arena *arena;
    const char *list[FLAGS_MOST + 1];
    size_t n;
};

static void add_flag(struct flags *flags, const char *format, ...) FORMAT(2, 3);
static void add_flag(struct flags *flags, const char *format, ...)
{
    va_list args;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 4096);
    va_start(args, format);
    buf_addfv(&text, format, args);
    va_end(args);
    check(flags->n < FLAGS_MOST);
    flags->list[flags->n++] = arena_string(flags->arena, buf_span(&text));
}

static void add_scaled(struct flags *flags, const char *name, unsigned ms, unsigned scale)
{
    add_flag(flags, "--%s=%ums", name, ms / scale > 10 ? ms / scale : 10);
}

static void add_router_flags(const struct suite *suite, struct flags *flags)
{
    unsigned scale = suite->options.time_scale;
    add_flag(flags, "--bedrock-endpoint=http://127.0.0.1:%u", suite->ports[SUITE_SIMULATOR]);
    add_flag(flags, "--limiter=127.0.0.1:%u", suite->ports[SUITE_LIMITER]);
    if (suite->options.analyzer) {
        add_flag(flags, "--ledger=127.0.0.1:%u", suite->ports[SUITE_ANALYZER]);
    } else {
        add_flag(flags, "--ledger=");
    }
    add_scaled(flags, "backoff", 5000, scale);
    add_scaled(flags, "backoff-most", 40000, scale);
    add_scaled(flags, "busy-wait", 1000, scale);
}

static void add_flags(struct suite *suite, enum suite_program program, struct flags *flags)
{
    add_flag(flags, "--listen=127.0.0.1:%u", suite->ports[program]);
    add_flag(flags, "--admin=127.0.0.1:%u", suite->admin_ports[program]);
    add_flag(flags, "--ready-file=%s/%s.ready", suite->folder, names[program]);
    add_flag(flags, "--drain=5s");
    switch (program) {
    case SUITE_SIMULATOR:
        add_flag(flags, "--speed=%u", suite->options.time_scale);
        break;
    case SUITE_LIMITER:
        add_flag(flags, "--time-scale=%u", suite->options.time_scale);
        add_flag(flags, "--lease-ttl=%us", LEASE_S * suite->options.time_scale);
        add_flag(flags, "--state-dir=%s", suite_path(suite, "limiter"));
        add_flag(flags, "--assume-new-store");
        break;
    case SUITE_ROUTER:
        add_router_flags(suite, flags);
        break;
    case SUITE_ANALYZER:
        add_flag(flags, "--router=127.0.0.1:%u", suite->ports[SUITE_ROUTER]);
        add_flag(flags, "--state-dir=%s", suite_path(suite, "analyzer"));
        break;
    case SUITE_PROGRAMS:
        break;
    }
    struct span rest = span_str(suite->options.flags[program]), word;
    while (span_cut(&rest, ' ', &word)) {
        if (word.len > 0) {
            add_flag(flags, "%.*s", (int)word.len, word.at);
        }
    }
}

const char *suite_path(struct suite *suite, const char *name)
{
    return arena_printf(suite->arena, "%s/%s", suite->folder, name);
}

static const char *log_path(struct suite *suite, enum suite_program program)
{
    return arena_printf(suite->arena, "%s/%s.log", suite->folder, names[program]);
}

static struct span read_whole(struct suite *suite, const char *path, size_t most)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, most);
    return file_read(path, &text) == NULL ? arena_copy(suite->arena, buf_span(&text)) : SPAN_NONE;
}

struct span suite_log(struct suite *suite, enum suite_program program)
{
    return read_whole(suite, log_path(suite, program), LOG_MOST);
}

static bool read_ports(struct suite *suite, enum suite_program program, const char *path)
{
    struct span rest = read_whole(suite, path, PORTS_MOST), line, key;
    uint64_t port;
    bool any = rest.len > 0;
    while (span_cut(&rest, '\n', &line)) {
        if (span_cut(&line, '=', &key) && span_parse_u64(line, &port)) {
            bool admin = span_eq(key, SPAN("admin"));
            *(admin ? &suite->admin_ports[program] : &suite->ports[program]) = (uint16_t)port;
        }
    }
    return any;
}

static void fail_program(struct suite *suite, enum suite_program program, const char *what)
{
    struct span log = suite_log(suite, program);
    struct span tail = span_from(log, log.len > 2000 ? log.len - 2000 : 0);
    print_error("prism-%s %s; its log ends with:\n%.*s\n", names[program], what, (int)tail.len,
                tail.at);
    fail();
}

static void start_program(struct suite *suite, enum suite_program program) PARKS
{
    struct process *process = &suite->processes[program];
    struct flags flags = {.arena = suite->arena};
    const char *ready = arena_printf(suite->arena, "%s/%s.ready", suite->folder, names[program]);
    (void)unlink(ready);
    add_flags(suite, program, &flags);
    process_start(process, arena_printf(suite->arena, "prism-%s", names[program]), flags.list,
                  environment, log_path(suite, program));
    uint64_t until = clock_mono_ms() + SUITE_WAIT_MS;
    while (!read_ports(suite, program, ready)) {
        if (!process_running(process)) {
            fail_program(suite, program,
                         arena_printf(suite->arena, "ended with %d", process->code));
        }
        if (clock_mono_ms() > until) {
            fail_program(suite, program, "is not ready in time");
        }
        assert_status_ok(task_sleep_ms(POLL_MS));
    }
}

static void await_ready(struct suite *suite, enum suite_program program) PARKS
{
    uint64_t until = clock_mono_ms() + SUITE_WAIT_MS;
    while (suite_http(suite, "GET", suite->admin_ports[program], "/readyz", SPAN_NONE, NULL) !=
           200) {
        if (clock_mono_ms() > until) {
            fail_program(suite, program, "does not become ready");
        }
        assert_status_ok(task_sleep_ms(POLL_MS));
    }
}

/* --- all of them --------------------------------------------------------------------------------
 */

uint16_t suite_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static const char *make_folder(struct arena *arena)
{
    const char *out = getenv("PRISM_OUT");
    const char *parent = arena_printf(arena, "%s/scenario", out != NULL ? out : "out/release");
    char *folder = arena_printf(arena, "%s/XXXXXX", parent);
    (void)mkdir(parent, 0755);
    assert_non_null(mkdtemp(folder));
    return folder;
}

static bool present(const struct suite *suite, enum suite_program program)
{
    return program != SUITE_ANALYZER || suite->options.analyzer;
}

static struct rpc_channel *channel_to(struct suite *suite, enum suite_program program)
{
    return rpc_channel_new(
        suite->wire,
        &(struct rpc_channel_options){.targets = arena_printf(suite->arena, "127.0.0.1:%u",
                                                              (unsigned)suite->ports[program])});
}

struct suite *suite_start(const struct suite_options *options)
{
    check(current == NULL);
    struct arena *arena = arena_new(ARENA_MOST);
    struct suite *suite = current = ARENA_NEW(arena, struct suite);
    suite->arena = arena;
    suite->options = *options;
    suite->options.time_scale = options->time_scale > 0 ? options->time_scale : 1;
    suite->folder = make_folder(arena);
    suite->http = http_client_new(task_loop(), &(struct http_client_options){0});
    assert_int_equal(mkdir(suite_path(suite, "limiter"), 0755), 0);
    if (options->analyzer) {
        suite->ports[SUITE_ANALYZER] =
            suite_free_port(); /* the router must know it before it runs */
        assert_int_equal(mkdir(suite_path(suite, "analyzer"), 0755), 0);
    }
    for (enum suite_program p = 0; p < SUITE_PROGRAMS; p++) {
        if (present(suite, p)) {
            start_program(suite, p);
        }
    }
    for (enum suite_program p = 0; p < SUITE_PROGRAMS; p++) {
        if (present(suite, p)) {
            await_ready(suite, p);
        }
    }
    suite->wire = wire_start(task_loop());
    suite->limiter = channel_to(suite, SUITE_LIMITER);
    suite->router = channel_to(suite, SUITE_ROUTER);
    suite->analyzer = options->analyzer ? channel_to(suite, SUITE_ANALYZER) : NULL;
    return suite;
}

void suite_kill(struct suite *suite, enum suite_program program)
{
    assert_true(process_running(&suite->processes[program]));
    process_kill(&suite->processes[program]);
}

void suite_start_again(struct suite *suite, enum suite_program program)
{
    start_program(suite, program);
    await_ready(suite, program);
}

static void remove_files(const char *folder, int depth)
{
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        CLEANUP(buf_clear) struct buf path;
        buf_init(&path, 4096);
        buf_addf(&path, "%s/%s", folder, entry->d_name);
        bool inner = entry->d_type == DT_DIR;
        if (inner && entry->d_name[0] != '.' && depth > 0) {
            remove_files(buf_cstr(&path), depth - 1);
        } else if (!inner) {
            (void)unlink(buf_cstr(&path));
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    (void)rmdir(folder);
}

static void assert_only_json(struct suite *suite, enum suite_program program)
{
    struct span rest = suite_log(suite, program), line;
    while (span_cut(&rest, '\n', &line)) {
        if (line.len > 0 && line.at[0] != '{') {
            print_error("prism-%s wrote: %.*s\n", names[program], (int)line.len, line.at);
            fail();
        }
    }
}

void suite_stop(struct suite *suite)
{
    if (suite->analyzer != NULL) {
        rpc_channel_free(suite->analyzer);
    }
    rpc_channel_free(suite->router);
    rpc_channel_free(suite->limiter);
    wire_stop(suite->wire);
    http_client_free(suite->http);
    for (int p = SUITE_PROGRAMS - 1; p >= 0; p--) {
        struct process *process = &suite->processes[p];
        if (!present(suite, (enum suite_program)p)) {
            continue;
        }
        process_signal(process, SIGTERM);
        if (!process_wait(process, SUITE_WAIT_MS)) {
            fail_program(suite, (enum suite_program)p, "does not end");
        }
        if (process->code != 0) {
            fail_program(suite, (enum suite_program)p,
                         arena_printf(suite->arena, "ended with %d", process->code));
        }
        assert_only_json(suite, (enum suite_program)p);
    }
    remove_files(suite->folder, FILES_DEPTH);
    current = NULL;
    arena_free(suite->arena);
}

int suite_teardown(void **state)
{
    (void)state;
    if (current != NULL) {
        for (size_t p = 0; p < SUITE_PROGRAMS; p++) {
            process_kill(&current->processes[p]);
        }
        print_message("# logs and files are kept in %s\n", current->folder);
        arena_free(current->arena);
        current = NULL;
    }
    return 0;
}

/* --- HTTP --------------------------------------------------------------------------------------
 */

int suite_http(struct suite *suite, const char *method, uint16_t port, const char *path,
               struct span request, struct span *body)
{
    struct http *http = NULL;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, LOG_MOST);
    const struct http_request what = {
        .method = method,
        .url = arena_printf(suite->arena, "http://127.0.0.1:%u%s", (unsigned)port, path),
        .body = request,
        .first_byte_ms = SUITE_WAIT_MS,
        .idle_ms = SUITE_WAIT_MS,
    };
    if (!status_ok(http_open(suite->http, &what, &http))) {
        return 0;
    }
    int code = http_code(http);
    struct status s = http_read_all(http, &text);
    http_close(&http);
    if (body != NULL) {
        *body = arena_copy(suite->arena, buf_span(&text));
    }
    return status_ok(s) ? code : 0;
}

/* One line of the text format: name{labels} value. */
static bool sample(struct span line, const char *name, const char *labels, double *value)
{
    if (!span_starts(line, span_str(name))) {
        return false;
    }
    struct span rest = span_from(line, strlen(name));
    if (rest.len == 0 || (rest.at[0] != '{' && rest.at[0] != ' ')) {
        return false;
    }
    size_t space = rest.len;
    while (space > 0 && rest.at[space - 1] != ' ') {
        space--;
    }
    return span_find(span_first(rest, space), span_str(labels)) != SPAN_MISSING &&
           span_parse_double(span_from(rest, space), value);
}

double suite_metric(struct suite *suite, enum suite_program program, const char *name,
                    const char *labels)
{
    struct span text, line;
    double sum = 0, value;
    assert_int_equal(
        suite_http(suite, "GET", suite->admin_ports[program], "/metrics", SPAN_NONE, &text), 200);
    while (span_cut(&text, '\n', &line)) {
        if (sample(line, name, labels, &value)) {
            sum += value;
        }
    }
    return sum;
}

void suite_await_metric(struct suite *suite, enum suite_program program, const char *name,
                        const char *labels, double value)
{
    uint64_t until = clock_mono_ms() + SUITE_WAIT_MS;
    double is;
    while ((is = suite_metric(suite, program, name, labels)) != value) {
        if (clock_mono_ms() > until) {
            print_error("prism-%s: %s{%s} is %g and does not become %g\n", names[program], name,
                        labels, is, value);
            fail();
        }
        assert_status_ok(task_sleep_ms(POLL_MS));
    }
}

void suite_set_faults(struct suite *suite, const char *yaml)
{
    struct span reply = SPAN_NONE;
    int code = suite_http(suite, "PUT", suite->ports[SUITE_SIMULATOR], "/simulator/faults",
                          span_str(yaml), &reply);
    if (code / 100 != 2) {
        print_error("faults refused with %d: %.*s\n", code, (int)reply.len, reply.at);
        fail();
    }
}

const Limiter__Resource *suite_peek(struct suite *suite, const char *resource)
{
    Limiter__PeekRequest request = LIMITER__PEEK_REQUEST__INIT;
    char *names_asked[] = {(char *)resource};
    void *reply;
    request.n_resources = ARRAY_LEN(names_asked);
    request.resources = names_asked;
    assert_status_ok(rpc_call(suite->limiter, &limiter__limiter_service__descriptor, "Peek",
                              &request, suite->arena, &reply));
    const Limiter__PeekResponse *peek = reply;
    assert_int_equal(peek->n_resources, 1);
    return peek->resources[0];
}

struct judge_log suite_arrivals(struct suite *suite)
{
    struct judge_log log;
    struct span lines;
    assert_int_equal(suite_http(suite, "GET", suite->ports[SUITE_SIMULATOR], "/simulator/arrivals",
                                SPAN_NONE, &lines),
                     200);
    assert_true(judge_read(lines, suite->arena, &log));
    return log;
}

/* Also true of calls of other tests' making: what came in has gone out, all but some. */
static bool calls_over(struct suite *suite, enum suite_program program, double but) PARKS
{
    return suite_metric(suite, program, "grpc_server_started_total", "") ==
           suite_metric(suite, program, "grpc_server_handled_total", "") + but;
}

static bool idle(struct suite *suite) PARKS
{
    return suite_metric(suite, SUITE_ROUTER, "prism_router_leases", "") == 0 &&
           suite_metric(suite, SUITE_ROUTER, "prism_router_upstream_open", "") == 0 &&
           calls_over(suite, SUITE_ROUTER, 0) &&
           calls_over(suite, SUITE_LIMITER,
                      suite_metric(suite, SUITE_LIMITER, "prism_limiter_sessions", "") +
                          suite_metric(suite, SUITE_LIMITER, "prism_limiter_watchers", "")) &&
           suite_metric(suite, SUITE_LIMITER, "prism_limiter_leases", "") == 0 &&
           judge_running(suite_arrivals(suite)) == 0;
}

void suite_await_idle(struct suite *suite)
{
    uint64_t until = clock_mono_ms() + SUITE_WAIT_MS;
    while (!idle(suite)) {
        if (clock_mono_ms() > until) {
            print_error("something still runs: leases %g, upstream %g, limiter's leases %g\n",
                        suite_metric(suite, SUITE_ROUTER, "prism_router_leases", ""),
                        suite_metric(suite, SUITE_ROUTER, "prism_router_upstream_open", ""),
                        suite_metric(suite, SUITE_LIMITER, "prism_limiter_leases", ""));
            fail();
        }
        assert_status_ok(task_sleep_ms(POLL_MS));
    }
}
