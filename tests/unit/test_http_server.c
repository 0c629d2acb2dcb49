/* The HTTP server against clients that send byte by byte what they like. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/http_server.h"
#include "task_test.h"

/* --- handlers and clients ------------------------------------------------------------------------
 */

static struct {
    struct http_server *server;
    size_t calls;
    size_t ended;
    size_t written;
    enum reason reason; /* of the handler's last wait that failed */
} seen;

static void note(struct status s)
{
    if (!status_ok(s)) {
        seen.reason = s.reason;
    }
}

static void answer_parts(struct http_exchange *exchange) PARKS
{
    http_reply_start(exchange, 200, NULL, 0);
    note(http_reply_write(exchange, SPAN("one")));
    note(task_sleep_ms(100));
    note(http_reply_write(exchange, SPAN("two")));
}

static void answer_endlessly(struct http_exchange *exchange) PARKS
{
    static char block[100000];
    http_reply_start(exchange, 200, NULL, 0);
    while (seen.reason == REASON_NONE) {
        struct status s = http_reply_write(exchange, span_of(block, sizeof(block)));
        note(s);
        seen.written += status_ok(s) ? sizeof(block) : 0;
    }
    note(http_reply_write(exchange, SPAN("more"))); /* harmless */
}

static void answer_describe(struct http_exchange *exchange)
{
    const struct http_header *headers;
    size_t n = http_exchange_headers(exchange, &headers);
    struct span method = http_exchange_method(exchange), path = http_exchange_path(exchange);
    struct span query = http_exchange_query(exchange);
    char *text = arena_printf(http_exchange_arena(exchange), "%.*s|%.*s|%.*s|%zu|%zu",
                              (int)method.len, method.at, (int)path.len, path.at, (int)query.len,
                              query.len > 0 ? query.at : "", n, http_exchange_body(exchange).len);
    http_reply(exchange, 200, NULL, 0, span_str(text));
}

static void handle(struct http_exchange *exchange, void *arg) PARKS
{
    struct span path = http_exchange_path(exchange);
    assert_ptr_equal(arg, &seen);
    seen.calls++;
    if (span_eq(path, SPAN("/wait"))) {
        note(task_sleep_ms(60000));
        http_reply(exchange, 200, NULL, 0, SPAN("too late"));
    } else if (span_eq(path, SPAN("/parts"))) {
        answer_parts(exchange);
    } else if (span_eq(path, SPAN("/endless"))) {
        answer_endlessly(exchange);
    } else if (span_eq(path, SPAN("/reset")) || span_eq(path, SPAN("/cut"))) {
        http_reply_start(exchange, 200, NULL, 0);
        note(http_reply_write(exchange, SPAN("part")));
        http_reply_abort(exchange, span_eq(path, SPAN("/reset")));
        note(http_reply_write(exchange, SPAN("more")));
    } else if (span_eq(path, SPAN("/drop"))) {
        http_reply_abort(exchange, false);
    } else if (span_eq(path, SPAN("/half"))) {
        http_reply_start(exchange, 200, NULL, 0);
        note(http_reply_write(exchange, SPAN("half")));
        note(task_sleep_ms(60000));
    } else if (!span_eq(path, SPAN("/nothing"))) {
        answer_describe(exchange);
    }
    seen.ended++;
}

static void start(struct http_server_options options)
{
    memset(&seen, 0, sizeof(seen));
    options.host = options.host != NULL ? options.host : "127.0.0.1";
    options.handler = handle;
    options.arg = &seen;
    assert_status_ok(http_server_start(task_loop(), &options, &seen.server));
}

static int connect_raw(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(seen.server))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void send_raw(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What comes until the other side ends, or until `until` stands at the end of it. */
struct reading {
    int fd;
    const char *until; /* NULL: until the end */
    struct buf *got;
    bool closed;
    int error;
};

static void read_on_pool(void *arg)
{
    struct reading *reading = arg;
    char block[1500];
    while (reading->until == NULL || !span_ends(buf_span(reading->got), span_str(reading->until))) {
        ssize_t n = recv(reading->fd, block, sizeof(block), 0);
        if (n <= 0) {
            reading->closed = true;
            reading->error = n < 0 ? errno : 0;
            return;
        }
        buf_add(reading->got, block, (size_t)n);
    }
}

static struct reading read_raw(int fd, struct buf *got, const char *until) PARKS
{
    struct reading reading = {.fd = fd, .until = until, .got = got};
    assert_status_ok(loop_work(task_loop(), read_on_pool, &reading));
    return reading;
}

/* A request on a connection of its own; the answer must start and end so. */
static void assert_exchange(const char *request, const char *first, const char *last) PARKS
{
    CLEANUP(buf_clear) struct buf got;
    buf_init(&got, 1u << 20);
    int fd = connect_raw();
    send_raw(fd, request);
    read_raw(fd, &got, last);
    close(fd);
    assert_span(span_first(buf_span(&got), strlen(first)), span_str(first));
    assert_true(span_ends(buf_span(&got), span_str(last)));
}

static void wait_until_ended(size_t n) PARKS
{
    while (seen.ended < n) {
        assert_status_ok(task_sleep_ms(1));
    }
}

static void wait_until_called(size_t n) PARKS
{
    while (seen.calls < n) {
        assert_status_ok(task_sleep_ms(1));
    }
}

#define HOST "host: x\r\n"

/* --- what comes in -------------------------------------------------------------------------------
 */

task_test_real(test_a_request_reaches_its_handler_as_sent)
{
    start((struct http_server_options){0});
    static const struct {
        const char *request;
        const char *last;
    } rows[] = {
        {"GET /a%2Fb%3a:c/../d//e?x=%20+y&&=z HTTP/1.1\r\n" HOST "\r\n",
         "\r\n\r\nGET|/a%2Fb%3a:c/../d//e|x=%20+y&&=z|1|0"},
        {"GET / HTTP/1.1\r\n" HOST "a: 1\r\na: 2\r\nb:\r\n\r\n", "\r\n\r\nGET|/||4|0"},
        {"GET /? HTTP/1.1\r\n" HOST "\r\n", "\r\n\r\nGET|/||1|0"},
        {"POST /b HTTP/1.1\r\n" HOST "content-length: 5\r\n\r\nhello", "\r\n\r\nPOST|/b||2|5"},
        {"PUT /c HTTP/1.1\r\n" HOST "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n"
         "0\r\n\r\n",
         "\r\n\r\nPUT|/c||2|5"},
        {"BREW /pot HTTP/1.1\r\n" HOST "\r\n", "\r\n\r\nBREW|/pot||1|0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_exchange(rows[i].request, "HTTP/1.1 200 OK\r\n", rows[i].last);
    }
    assert_int_equal(seen.calls, ARRAY_LEN(rows));
    http_server_stop(seen.server);
}

task_test_real(test_requests_follow_each_other_on_a_connection)
{
    start((struct http_server_options){0});
    CLEANUP(buf_clear) struct buf got;
    buf_init(&got, 1u << 20);
    int fd = connect_raw();
    send_raw(fd, "GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\n");
    read_raw(fd, &got, "GET|/2||1|0");
    send_raw(fd, "GET /3 HTTP/1.1\r\n" HOST "\r\n");
    read_raw(fd, &got, "GET|/3||1|0");
    size_t first = span_find(buf_span(&got), SPAN("|/1|"));
    size_t second = span_find(buf_span(&got), SPAN("|/2|"));
    assert_true(first < second && second != SPAN_MISSING);
    close(fd);
    http_server_stop(seen.server);
}

task_test_real(test_bodies_are_bounded)
{
    start((struct http_server_options){.body_max = 10});
    assert_exchange("POST / HTTP/1.1\r\n" HOST "content-length: 10\r\n\r\n0123456789",
                    "HTTP/1.1 200 OK\r\n", "|10");
    assert_exchange("POST / HTTP/1.1\r\n" HOST "content-length: 11\r\n\r\n0123456789x",
                    "HTTP/1.1 413 ", "\r\n\r\n");
    assert_exchange("POST / HTTP/1.1\r\n" HOST "transfer-encoding: chunked\r\n\r\n"
                    "9\r\n012345678\r\n2\r\n9x\r\n0\r\n\r\n",
                    "HTTP/1.1 413 ", "\r\n\r\n");
    assert_int_equal(seen.calls, 1);
    http_server_stop(seen.server);
}

task_test_real(test_malformed_and_oversized_heads_are_refused)
{
    start((struct http_server_options){0});
    assert_exchange("GET / HTTP/1.1\r\nno colon\r\n\r\n", "HTTP/1.1 400 ", "</html>");
    assert_exchange("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "</html>"); /* no host */
    CLEANUP(buf_clear) struct buf request;
    buf_init(&request, 1u << 20);
    buf_add_str(&request, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 2000; i++) {
        buf_addf(&request, "x-%d: 0123456789012345678901234567890123456789\r\n", i);
    }
    assert_exchange(buf_cstr(&request), "HTTP/1.1 431 ", "</html>");
    assert_int_equal(seen.calls, 0);
    http_server_stop(seen.server);
}

task_test_real(test_silent_clients_are_sent_away)
{
    start((struct http_server_options){.idle_ms = 1000});
    static const char *const requests[] = {
        "", "GET / HT", "POST / HTTP/1.1\r\n" HOST "content-length: 9\r\n\r\nabc"};
    int fds[ARRAY_LEN(requests)];
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        fds[i] = connect_raw();
        send_raw(fds[i], requests[i]);
    }
    uint64_t begin = clock_mono_ms();
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        CLEANUP(buf_clear) struct buf got;
        buf_init(&got, 1000);
        assert_true(read_raw(fds[i], &got, NULL).closed);
        close(fds[i]);
    }
    assert_in_range(clock_mono_ms() - begin, 900, 20000);
    assert_int_equal(seen.calls, 0);
    http_server_stop(seen.server);
}

task_test_real(test_connections_are_bounded_and_the_next_gets_its_turn)
{
    start((struct http_server_options){.max_connections = 1});
    CLEANUP(buf_clear) struct buf got;
    buf_init(&got, 10000);
    int first = connect_raw();
    send_raw(first, "GET /1 HTTP/1.1\r\n" HOST "\r\n");
    read_raw(first, &got, "|1|0");
    int second = connect_raw(); /* waits in the kernel's queue */
    send_raw(second, "GET /2 HTTP/1.1\r\n" HOST "\r\n");
    assert_status_ok(task_sleep_ms(100));
    assert_int_equal(seen.calls, 1);
    close(first);
    read_raw(second, &got, "GET|/2||1|0");
    close(second);
    http_server_stop(seen.server);
}

/* --- what goes out -------------------------------------------------------------------------------
 */

task_test_real(test_a_handler_without_an_answer_is_a_500)
{
    start((struct http_server_options){0});
    assert_exchange("GET /nothing HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 500 ", "\r\n\r\n");
    http_server_stop(seen.server);
}

task_test_real(test_parts_leave_when_they_are_written)
{
    start((struct http_server_options){0});
    CLEANUP(buf_clear) struct buf got;
    buf_init(&got, 10000);
    int fd = connect_raw();
    send_raw(fd, "GET /parts HTTP/1.1\r\n" HOST "\r\n");
    read_raw(fd, &got, "3\r\none\r\n");
    assert_int_equal(seen.ended, 0); /* it sleeps before the second part */
    read_raw(fd, &got, "3\r\ntwo\r\n0\r\n\r\n");
    send_raw(fd, "GET /next HTTP/1.1\r\n" HOST "\r\n");
    read_raw(fd, &got, "GET|/next||1|0");
    close(fd);
    http_server_stop(seen.server);
    assert_int_equal(seen.reason, REASON_NONE);
}

task_test_real(test_a_head_request_gets_no_body)
{
    start((struct http_server_options){0});
    assert_exchange("HEAD /x HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\n");
    http_server_stop(seen.server);
}

task_test_real(test_an_answer_can_be_cut_in_two_ways)
{
    static const struct {
        const char *path;
        int error;
        bool part;
    } rows[] = {{"/reset", ECONNRESET, true}, {"/cut", 0, true}, {"/drop", 0, false}};
    start((struct http_server_options){0});
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf got;
        buf_init(&got, 10000);
        char request[100];
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" HOST "\r\n", rows[i].path);
        int fd = connect_raw();
        send_raw(fd, request);
        struct reading reading = read_raw(fd, &got, NULL);
        assert_true(reading.closed);
        assert_int_equal(reading.error, rows[i].error);
        assert_true(rows[i].part ? span_ends(buf_span(&got), SPAN("4\r\npart\r\n")) : got.len == 0);
        close(fd);
        wait_until_ended(i + 1);
        assert_int_equal(seen.reason, rows[i].part ? REASON_CONNECTION_LOST : REASON_NONE);
        seen.reason = REASON_NONE;
    }
    http_server_stop(seen.server);
}

/* --- ends ----------------------------------------------------------------------------------------
 */

task_test_real(test_a_client_that_leaves_cancels_its_handler)
{
    const char *paths[] = {"/wait", "/parts", "/endless", "/half"};
    for (size_t reset = 0; reset < 2; reset++) {
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
            start((struct http_server_options){0});
            char request[100];
            snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
            int fd = connect_raw();
            send_raw(fd, request);
            wait_until_called(1);
            assert_status_ok(task_sleep_ms(10));
            assert_int_equal(seen.ended, 0);
            struct linger linger = {.l_onoff = reset != 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
            close(fd);
            wait_until_ended(1);
            assert_int_equal(seen.reason, REASON_CALL_CANCELLED);
            http_server_stop(seen.server);
        }
    }
}

task_test_real(test_a_client_that_does_not_read_is_not_served_into_memory)
{
    start((struct http_server_options){.idle_ms = 1000});
    int fd = connect_raw();
    send_raw(fd, "GET /endless HTTP/1.1\r\n" HOST "\r\n");
    wait_until_ended(1); /* the server gives it up */
    assert_int_equal(seen.reason, REASON_CALL_CANCELLED);
    assert_true(seen.written < 32u << 20); /* the kernel's buffers */
    close(fd);
    http_server_stop(seen.server);
}

task_test_real(test_stopping_ends_everything)
{
    start((struct http_server_options){0});
    CLEANUP(buf_clear) struct buf got;
    buf_init(&got, 10000);
    int idle = connect_raw(), half = connect_raw(), wait = connect_raw();
    send_raw(idle, "GET / HT");
    send_raw(half, "GET /half HTTP/1.1\r\n" HOST "\r\n");
    read_raw(half, &got, "4\r\nhalf\r\n");
    send_raw(wait, "GET /wait HTTP/1.1\r\n" HOST "\r\n");
    wait_until_called(2);
    http_server_stop(seen.server);
    assert_int_equal(seen.ended, 2);
    assert_int_equal(seen.reason, REASON_SHUTTING_DOWN);

    assert_true(read_raw(half, &got, NULL).closed); /* not as if it were complete */
    assert_true(span_ends(buf_span(&got), SPAN("4\r\nhalf\r\n")));
    buf_reset(&got);
    assert_true(read_raw(wait, &got, NULL).closed); /* its answer went out */
    assert_true(span_ends(buf_span(&got), SPAN("too late")));
    assert_true(read_raw(idle, &got, NULL).closed);
    close(idle);
    close(half);
    close(wait);
}

task_test_real(test_an_address_in_use_is_named)
{
    start((struct http_server_options){0});
    CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
    struct http_server *other = NULL;
    struct http_server_options options = {.host = "127.0.0.1",
                                          .port = http_server_port(seen.server),
                                          .handler = handle,
                                          .arena = arena};
    struct status s = http_server_start(task_loop(), &options, &other);
    assert_status(s, REASON_ADDRESS_IN_USE);
    assert_span(span_str(status_text(s)),
                span_str(arena_printf(arena, "127.0.0.1 port %u: Address already in use",
                                      (unsigned)options.port)));
    options.host = "localhost";
    assert_status(http_server_start(task_loop(), &options, &other), REASON_CONFIG_INVALID);
    assert_null(other);
    http_server_stop(seen.server);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_request_reaches_its_handler_as_sent),
    cmocka_unit_test(test_requests_follow_each_other_on_a_connection),
    cmocka_unit_test(test_bodies_are_bounded),
    cmocka_unit_test(test_malformed_and_oversized_heads_are_refused),
    cmocka_unit_test(test_silent_clients_are_sent_away),
    cmocka_unit_test(test_connections_are_bounded_and_the_next_gets_its_turn),
    cmocka_unit_test(test_a_handler_without_an_answer_is_a_500),
    cmocka_unit_test(test_parts_leave_when_they_are_written),
    cmocka_unit_test(test_a_head_request_gets_no_body),
    cmocka_unit_test(test_an_answer_can_be_cut_in_two_ways),
    cmocka_unit_test(test_a_client_that_leaves_cancels_its_handler),
    cmocka_unit_test(test_a_client_that_does_not_read_is_not_served_into_memory),
    cmocka_unit_test(test_stopping_ends_everything),
    cmocka_unit_test(test_an_address_in_use_is_named),
};

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as every service does */
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
