/* The admin port over real HTTP: probes, readiness with its reasons, metrics, further pages. */
#include <string.h>

#include "app/admin.h"
#include "app/process.h"
#include "base/metric.h"
#include "net/http.h"
#include "task_test.h"

struct port {
    struct readiness *readiness;
    struct admin *admin;
    struct http_server *server;
    struct http_client *client;
    struct arena *arena;
    size_t verdicts;
    bool verdict;
};

static void on_verdict(void *arg, bool ready)
{
    struct port *port = arg;
    port->verdicts++;
    port->verdict = ready;
}

static void port_open(struct port *port)
{
    *port = (struct port){.arena = arena_new(1u << 20)};
    port->readiness = readiness_new(on_verdict, port);
    port->admin = admin_new(port->readiness);
    port->client = http_client_new(task_loop(), &(struct http_client_options){0});
    const struct http_server_options options = {
        .host = "127.0.0.1", .handler = admin_handle, .arg = port->admin, .arena = port->arena};
    assert_status_ok(http_server_start(task_loop(), &options, &port->server));
}

static void port_close(struct port *port)
{
    http_client_free(port->client);
    http_server_stop(port->server);
    admin_free(port->admin);
    readiness_free(port->readiness);
    arena_free(port->arena);
}

/* The body of the answer, in the arena. */
static struct span ask(struct port *port, const char *method, const char *target, int code,
                       const char *type)
{
    const struct http_request request = {
        .method = method,
        .url = arena_printf(port->arena, "http://127.0.0.1:%u%s",
                            (unsigned)http_server_port(port->server), target),
    };
    struct http *http = NULL;
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 1u << 20);
    assert_status_ok(http_open(port->client, &request, &http));
    assert_int_equal(http_code(http), code);
    assert_span(http_header(http, "content-type"), span_str(type));
    assert_status_ok(http_read_all(http, &body));
    http_close(&http);
    return arena_copy(port->arena, buf_span(&body));
}

#define TEXT "text/plain; charset=utf-8"

task_test_real(probes_answer)
{
    struct port port;
    port_open(&port);
    assert_span(ask(&port, "GET", "/livez", 200, TEXT), SPAN("ok\n"));
    assert_span(ask(&port, "GET", "/startupz", 200, TEXT), SPAN("ok\n"));
    assert_span(ask(&port, "GET", "/readyz", 200, TEXT), SPAN("ok\n"));
    port_close(&port);
}

task_test_real(readiness_names_what_is_missing)
{
    struct port port;
    port_open(&port);
    readiness_set(port.readiness, "store", true, "");
    readiness_set(port.readiness, "limiter", false, "no answer since the start");
    assert_int_equal(port.verdicts, 1);
    assert_false(port.verdict);
    readiness_set(port.readiness, "limiter", false, "it is draining");
    assert_int_equal(port.verdicts, 1);
    assert_span(ask(&port, "GET", "/readyz", 503, TEXT),
                SPAN("[+] store\n[-] limiter: it is draining\nnot ready\n"));
    assert_span(ask(&port, "GET", "/livez", 200, TEXT), SPAN("ok\n"));
    readiness_set(port.readiness, "limiter", true, "");
    assert_int_equal(port.verdicts, 2);
    assert_true(port.verdict);
    assert_span(ask(&port, "GET", "/readyz", 200, TEXT), SPAN("ok\n"));
    static const char *const verbose[] = {"/readyz?verbose", "/readyz?verbose=1",
                                          "/readyz?a=b&verbose"};
    for (size_t i = 0; i < ARRAY_LEN(verbose); i++) {
        assert_span(ask(&port, "GET", verbose[i], 200, TEXT), SPAN("[+] store\n[+] limiter\nok\n"));
    }
    port_close(&port);
}

static void show_dump(struct http_exchange *exchange, void *arg)
{
    const struct http_header type = {SPAN("content-type"), SPAN("application/json")};
    http_reply(exchange, 200, &type, 1, span_str(arg));
}

task_test_real(further_pages_and_unknown_ones)
{
    struct port port;
    port_open(&port);
    char dump[] = "{\"pools\":[]}";
    admin_add(port.admin, "/dump", show_dump, dump);
    assert_span(ask(&port, "GET", "/dump", 200, "application/json"), SPAN("{\"pools\":[]}"));
    struct span index = SPAN("/livez\n/readyz\n/startupz\n/metrics\n/dump\n");
    assert_span(ask(&port, "GET", "/", 200, TEXT), index);
    assert_span(ask(&port, "GET", "/nothing", 404, TEXT), index);
    assert_span(ask(&port, "GET", "/livez/", 404, TEXT), index);
    (void)ask(&port, "POST", "/livez", 405, "");
    port_close(&port);
}

/* The value of a sample without labels. */
static double sample(struct span text, const char *name)
{
    struct span line;
    double value = -1;
    while (span_cut(&text, '\n', &line)) {
        struct span key;
        if (span_cut(&line, ' ', &key) && span_eq(key, span_str(name))) {
            assert_true(span_parse_double(line, &value));
        }
    }
    return value;
}

task_test_real(metrics_of_the_process)
{
    struct port port;
    port_open(&port);
    process_metrics_start();
    METRIC_ADD(metric_counter("prism_test_total", "kind", "Tests."), 3, "unit");
    struct span text =
        ask(&port, "GET", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8");
    assert_true(span_find(text, SPAN("\nprism_test_total{kind=\"unit\"} 3\n")) != SPAN_MISSING);
    assert_true(span_find(text, SPAN("\nprism_build_info{version=\"")) != SPAN_MISSING);
    assert_true(sample(text, "process_resident_memory_bytes") > 1e6);
    assert_true(sample(text, "process_virtual_memory_bytes") > 1e6);
    assert_true(sample(text, "process_open_fds") >= 5);
    assert_true(sample(text, "process_max_fds") >= 64);
    assert_true(sample(text, "process_start_time_seconds") > 1.6e9);
    double cpu = sample(text, "process_cpu_seconds_total");
    double started = sample(text, "process_start_time_seconds");
    assert_true(cpu >= 0 && cpu < 60);
    text = ask(&port, "GET", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8");
    assert_true(sample(text, "process_cpu_seconds_total") >= cpu);
    assert_true(sample(text, "process_start_time_seconds") == started);
    metric_reset_all();
    port_close(&port);
}

static void open_files_are_raised_to_the_limit(void **state)
{
    (void)state;
    uint64_t limit = process_raise_open_files();
    assert_true(limit >= 64);
    assert_true(process_raise_open_files() == limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probes_answer),
        cmocka_unit_test(readiness_names_what_is_missing),
        cmocka_unit_test(further_pages_and_unknown_ones),
        cmocka_unit_test(metrics_of_the_process),
        cmocka_unit_test(open_files_are_raised_to_the_limit),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
