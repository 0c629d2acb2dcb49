#include "small_suite.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"

#define ARENA_MOST     (256u << 20)
#define METRICS_MOST   (4u << 20)
#define ARRIVALS_MOST  (32u << 20)
#define FLAGS_MOST     32
#define REST_MS        10000 /* the longest that anything may go on when nobody calls any more */
#define GRANTS_MOST    64
#define CATALOGUE_MOST (1u << 20)

/* Time runs 40 times faster, but leases last: what gives a slot back is a report. Limits that the
 * walk does not look at are off, and what a failing model leads to is over at once. */
static const char limiter_flags[] =
    "--listen=127.0.0.1:0 --admin=127.0.0.1:0 --assume-new-store --time-scale=40 --lease-ttl=10m "
    "--breaker-open=1s --cooldown-first=1s --cooldown-others=1s --cooldown-step=0s "
    "--suite-requests=0 --suite-tokens=0";
static const char router_flags[] =
    "--listen=127.0.0.1:0 --admin=127.0.0.1:0 --backoff=10ms --backoff-most=40ms --busy-wait=10ms "
    "--drain=5s";
static const char analyzer_flags[] = "--admin=127.0.0.1:0 --flush=2ms --rerun-wait=10ms --drain=5s";

static const struct service_spec *const specs[SUITE_PROGRAMS] = {
    [SUITE_LIMITER] = &limiter_spec,
    [SUITE_ROUTER] = &router_spec,
    [SUITE_ANALYZER] = &analyzer_spec,
};

/* Lines of the log that tell of a call. Any thread. */
static atomic_size_t call_lines;

static void on_line(struct span line)
{
    if (span_find(line, SPAN("\"msg\":\"call\"")) != SPAN_MISSING) {
        atomic_fetch_add(&call_lines, 1);
    }
    if (getenv("PRISM_TEST_LOG") != NULL) {
        (void)!write(STDERR_FILENO, line.at, line.len);
    }
}

/* --- start and stop ----------------------------------------------------------------------------
 */

static void start_simulator(struct small_suite *s)
{
    setenv("AWS_ACCESS_KEY_ID", SIM_ACCESS_KEY, 1);
    setenv("AWS_SECRET_ACCESS_KEY", SIM_SECRET_KEY, 1);
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("AWS_BEARER_TOKEN_BEDROCK");
    s->sim = sim_new(task_loop(), &(struct sim_options){.instant = true});
    const struct http_server_options options = {
        .host = "127.0.0.1",
        .body_max = SIM_BODY_MOST,
        .handler = sim_handle,
        .arg = s->sim,
    };
    assert_status_ok(http_server_start(task_loop(), &options, &s->sim_server));
    s->ports[SUITE_SIMULATOR] = http_server_port(s->sim_server);
}

static void start_app(struct small_suite *s, enum suite_program program, const char *more,
                      const char *flags) PARKS
{
    char *argv[FLAGS_MOST + 1] = {arena_string(s->arena, SPAN("test"))};
    char *envp[] = {NULL};
    int argc = 1;
    struct span all = span_str(arena_printf(s->arena, "%s %s", more, flags != NULL ? flags : ""));
    for (struct span word; span_cut(&all, ' ', &word);) {
        if (word.len > 0) {
            assert_true(argc < FLAGS_MOST);
            argv[argc++] = arena_string(s->arena, word);
        }
    }
    const struct service_spec *spec = specs[program];
    void *config = arena_alloc(s->arena, spec->config_size);
    assert_int_equal(config_load(&spec->config, argc, argv, envp, s->arena, config, NULL),
                     CONFIG_RUN);
    s->apps[program] = app_new(&(struct app_options){
        .spec = spec,
        .config = config,
        .arena = s->arena,
        .loop = task_loop(),
        .wire = s->wire,
    });
    assert_true(app_open(s->apps[program]));
    s->ports[program] = app_port(s->apps[program]);
}

static struct rpc_channel *channel_to(const struct small_suite *s, enum suite_program program) PARKS
{
    const char *target = arena_printf(s->arena, "127.0.0.1:%u", (unsigned)s->ports[program]);
    struct rpc_channel *channel =
        rpc_channel_new(s->wire, &(struct rpc_channel_options){.targets = target});
    while (!rpc_channel_ready(channel)) {
        assert_status_ok(task_sleep_ms(1));
    }
    return channel;
}

/* The built-in catalogue without second regions, as a file in memory; the flag that names it. */
static const char *write_catalogue(struct small_suite *s)
{
    static const struct span second = SPAN(", us-west-2");
    CLEANUP(buf_clear) struct buf text;
    CLEANUP(buf_clear) struct buf cut;
    buf_init(&text, CATALOGUE_MOST);
    buf_init(&cut, CATALOGUE_MOST);
    assert_null(file_read("libs/catalogue/default.yaml", &text));
    struct span rest = buf_span(&text);
    for (size_t at; (at = span_find(rest, second)) != SPAN_MISSING;) {
        buf_add_span(&cut, span_first(rest, at));
        rest = span_from(rest, at + second.len);
    }
    buf_add_span(&cut, rest);
    s->catalogue = memfd_create("catalogue", MFD_CLOEXEC);
    assert_int_equal(write(s->catalogue, cut.at, cut.len), cut.len);
    return arena_printf(s->arena, "--catalogue=/proc/self/fd/%d", s->catalogue);
}

void small_suite_start(struct small_suite *s, const struct small_suite_options *options)
{
    *s = (struct small_suite){
        .arena = arena_new(ARENA_MOST), .wire = wire_start(task_loop()), .catalogue = -1};
    log_init("test", LOG_INFO);
    log_set_sink(on_line);
    start_simulator(s);
    const char *catalogue = options->one_region ? write_catalogue(s) : "";
    start_app(s, SUITE_LIMITER, arena_printf(s->arena, "%s %s", limiter_flags, catalogue),
              options->flags[SUITE_LIMITER]);
    s->ports[SUITE_ANALYZER] = suite_free_port(); /* the router must know it before it runs */
    const char *ledger = options->analyzer ? arena_printf(s->arena, "--ledger=127.0.0.1:%u",
                                                          (unsigned)s->ports[SUITE_ANALYZER])
                                           : "--ledger=";
    start_app(s, SUITE_ROUTER,
              arena_printf(s->arena,
                           "%s --limiter=127.0.0.1:%u %s %s "
                           "--bedrock-endpoint=http://127.0.0.1:%u",
                           router_flags, (unsigned)s->ports[SUITE_LIMITER], ledger, catalogue,
                           (unsigned)s->ports[SUITE_SIMULATOR]),
              options->flags[SUITE_ROUTER]);
    /* In memory where that is possible: nobody pulls the plug, and walks commit often. */
    snprintf(s->folder, sizeof(s->folder), "%s/prism-test-suite-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(s->folder));
    if (options->analyzer) {
        start_app(s, SUITE_ANALYZER,
                  arena_printf(s->arena,
                               "%s --listen=127.0.0.1:%u --router=127.0.0.1:%u --state-dir=%s",
                               analyzer_flags, (unsigned)s->ports[SUITE_ANALYZER],
                               (unsigned)s->ports[SUITE_ROUTER], s->folder),
                  options->flags[SUITE_ANALYZER]);
        s->analyzer = app_state(s->apps[SUITE_ANALYZER]);
        s->to_analyzer = channel_to(s, SUITE_ANALYZER);
    }
    s->limiter = app_state(s->apps[SUITE_LIMITER]);
    s->router = app_state(s->apps[SUITE_ROUTER]);
    s->to_limiter = channel_to(s, SUITE_LIMITER);
    s->to_router = channel_to(s, SUITE_ROUTER);
    while (s->limiter->sessions != 1 || list_empty(&s->limiter->watches)) {
        assert_status_ok(task_sleep_ms(1));
    }
    s->tasks = loop_tasks(task_loop());
}

void small_suite_stop(struct small_suite *s)
{
    struct rpc_channel *channels[] = {s->to_analyzer, s->to_router, s->to_limiter};
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        if (channels[i] != NULL) {
            rpc_channel_free(channels[i]);
        }
    }
    for (int p = SUITE_PROGRAMS - 1; p >= 0; p--) {
        if (s->apps[p] != NULL) {
            app_close(s->apps[p]);
        }
    }
    http_server_stop(s->sim_server);
    wire_stop(s->wire);
    metric_reset_all(); /* asks the limiter no more */
    for (int p = SUITE_PROGRAMS - 1; p >= 0; p--) {
        if (s->apps[p] != NULL) {
            app_free(s->apps[p]);
        }
    }
    sim_free(s->sim);
    const char *const files[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        (void)unlink(arena_printf(s->arena, "%s/analyzer.sqlite%s", s->folder, files[i]));
    }
    if (s->catalogue >= 0) {
        close(s->catalogue);
    }
    assert_int_equal(rmdir(s->folder), 0);
    log_set_sink(NULL);
    arena_free(s->arena);
}

void small_suite_set_faults(struct small_suite *s, const char *yaml)
{
    struct yaml_error error;
    assert_true(sim_set_faults(s->sim, span_str(yaml), &error));
}

const Limiter__Resource *small_suite_peek(const struct small_suite *s, const char *model,
                                          struct arena *arena)
{
    Limiter__PeekRequest request = LIMITER__PEEK_REQUEST__INIT;
    void *reply;
    assert_status_ok(rpc_call(s->to_limiter, &limiter__limiter_service__descriptor, "Peek",
                              &request, arena, &reply));
    const Limiter__PeekResponse *peek = reply;
    for (size_t i = 0; i < peek->n_resources; i++) {
        struct span name = span_str(peek->resources[i]->name);
        if (span_eq(span_first(name, span_find_char(name, '@')), span_str(model))) {
            return peek->resources[i];
        }
    }
    fail_msg("the limiter knows no model %s", model);
    return NULL;
}

struct judge_log small_suite_arrivals(const struct small_suite *s, struct arena *arena)
{
    CLEANUP(buf_clear) struct buf lines;
    buf_init(&lines, ARRIVALS_MOST);
    uint64_t from = 0;
    while (arrivals_add(s->sim->arrivals, &from, ARRIVALS_MOST, &lines)) {
    }
    struct judge_log log;
    assert_true(buf_ok(&lines) && judge_read(buf_span(&lines), arena, &log));
    return log;
}

void small_suite_cut(const struct small_suite *s, enum suite_program program)
{
    struct rlimit most;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &most), 0);
    for (int fd = 3; fd < (int)most.rlim_cur && fd < 4096; fd++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0) {
            continue;
        }
        uint16_t port = peer.ss_family == AF_INET    ? ((struct sockaddr_in *)&peer)->sin_port
                        : peer.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&peer)->sin6_port
                                                     : 0;
        if (ntohs(port) == s->ports[program]) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

/* --- at rest -----------------------------------------------------------------------------------
 */

/* The sum of a family's samples in the text of a scrape. */
static double sum_of(struct span text, const char *name)
{
    double sum = 0, value;
    for (struct span line; span_cut(&text, '\n', &line);) {
        size_t at = line.len;
        while (at > 0 && line.at[at - 1] != ' ') {
            at--;
        }
        struct span rest = span_from(line, strlen(name));
        if (span_starts(line, span_str(name)) && rest.len > 0 &&
            (rest.at[0] == '{' || rest.at[0] == ' ') &&
            span_parse_double(span_from(line, at), &value)) {
            sum += value;
        }
    }
    return sum;
}

static uint64_t sequence_of(const struct small_suite *s)
{
    return s->limiter->suite->header.seq;
}

/* The ledger's own count, but for a record that never got there. */
static double records_of(const struct small_suite *s)
{
    if (s->analyzer == NULL) {
        return 0;
    }
    return metric_value(s->analyzer->metrics.records_total, METRIC_LABELS("stored")) +
           metric_value(s->router->metrics.records_total, METRIC_LABELS("dropped"));
}

void small_suite_begin(const struct small_suite *s, struct small_account *account)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, METRICS_MOST);
    metric_render(&text);
    *account = (struct small_account){
        .seq = sequence_of(s),
        .started = sum_of(buf_span(&text), "grpc_server_started_total"),
        .answered = sum_of(buf_span(&text), "grpc_server_handled_total"),
        .lines = (double)atomic_load(&call_lines),
        .routed = sum_of(buf_span(&text), "prism_router_calls_total"),
        .records = records_of(s),
    };
}

/* What still goes on; NULL: nothing. */
static const char *going_on(const struct small_suite *s)
{
    static const char *const gauges[] = {
        "prism_limiter_leases",
        "prism_router_leases",
        "prism_router_records_waiting",
        "prism_analyzer_watchers",
        "prism_analyzer_sections_running",
    };
    if (s->limiter->sessions != 1 || list_empty(&s->limiter->watches)) {
        return "the router's coming back to the limiter";
    }
    if (loop_tasks(task_loop()) != s->tasks) {
        return "a task";
    }
    if (s->router->handed_over > 0) {
        return "a report to the limiter";
    }
    if (s->router->upstream_open > 0 || http_client_open(s->router->http) > 0 ||
        arrivals_running(s->sim->arrivals) > 0) {
        return "a request to a model";
    }
    if (map_count(s->router->running) > 0) {
        return "a call of the router's";
    }
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, METRICS_MOST);
    metric_render(&text);
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++) {
        if (sum_of(buf_span(&text), gauges[i]) != 0) {
            return gauges[i];
        }
    }
    return sum_of(buf_span(&text), "grpc_server_started_total") ==
                   sum_of(buf_span(&text), "grpc_server_handled_total") + 2 /* session, states */
               ? NULL
               : "a gRPC call";
}

static void await_rest(const struct small_suite *s) PARKS
{
    uint64_t until = loop_now_ms(task_loop()) + REST_MS;
    for (const char *what; (what = going_on(s)) != NULL;) {
        if (loop_now_ms(task_loop()) > until) {
            print_error("still going on: %s\n", what);
            fail();
        }
        assert_status_ok(task_sleep_ms(1));
    }
}

/* Each id among the entries of the pool behind seq: granted once, ended once. */
static size_t judge_grants(const struct small_suite *s, uint64_t seq)
{
    const struct audit *audit = s->limiter->audit;
    size_t slot = store_resource_slot(s->limiter->store, s->limiter->suite);
    struct engine_id granted[GRANTS_MOST], ended[GRANTS_MOST];
    size_t n_granted = 0, n_ended = 0;
    for (size_t back = 0; back < audit_count(audit, slot); back++) {
        const struct audit_entry *entry = audit_at(audit, slot, back);
        if (entry->seq <= seq) {
            break;
        }
        assert_true(n_granted < GRANTS_MOST && n_ended < GRANTS_MOST);
        if (entry->what == AUDIT_GRANTED) {
            granted[n_granted++] = entry->id;
        } else if (entry->what != AUDIT_REFUSED) {
            ended[n_ended++] = entry->id;
        }
    }
    assert_int_equal(n_granted, n_ended);
    for (size_t i = 0; i < n_granted; i++) {
        size_t times = 0;
        for (size_t k = 0; k < n_ended; k++) {
            times += memcmp(&granted[i], &ended[k], sizeof(granted[i])) == 0;
        }
        assert_int_equal(times, 1);
    }
    return n_granted;
}

void small_suite_judge(const struct small_suite *s, struct small_account *account)
{
    await_rest(s);
    struct small_account now;
    small_suite_begin(s, &now);
    account->settled = judge_grants(s, account->seq);
    assert_true(now.lines - account->lines == now.started - account->started);
    assert_true(now.lines - account->lines == now.answered - account->answered);
    if (s->analyzer != NULL) {
        assert_true(now.records - account->records == now.routed - account->routed);
        account->recorded = (size_t)(now.records - account->records);
    }
}
