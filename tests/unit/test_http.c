/* The HTTP client against our own server and against peers that misbehave byte by byte. */
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/http.h"
#include "net/http_server.h"
#include "net/listen.h"
#include "task_test.h"

/* --- the peers -----------------------------------------------------------------------------------
 */

#define BIG (64u << 20)

/* What the handlers saw, for asserts outside them. */
static struct {
    size_t written;
    size_t calls;
    size_t at_once;
    size_t most_at_once;
    enum reason ended;
} seen;

static void write_or_note(struct http_exchange *exchange, struct span bytes) PARKS
{
    struct status s = http_reply_write(exchange, bytes);
    if (status_ok(s)) {
        seen.written += bytes.len;
    } else {
        seen.ended = s.reason;
    }
}

static void sleep_and_note(uint64_t ms) PARKS
{
    struct status s = task_sleep_ms(ms);
    if (!status_ok(s)) {
        seen.ended = s.reason;
    }
}

static void answer_big(struct http_exchange *exchange) PARKS
{
    static char block[100000];
    http_reply_start(exchange, 200, NULL, 0);
    while (seen.written < BIG && seen.ended == REASON_NONE) {
        write_or_note(exchange, span_of(block, sizeof(block)));
    }
}

static void answer_part(struct http_exchange *exchange, struct span path) PARKS
{
    http_reply_start(exchange, 200, NULL, 0);
    write_or_note(exchange, SPAN("part"));
    if (span_eq(path, SPAN("/stall"))) {
        sleep_and_note(60000);
    } else {
        http_reply_abort(exchange, span_eq(path, SPAN("/reset")));
    }
}

static void handle(struct http_exchange *exchange, void *arg) PARKS
{
    (void)arg;
    struct span path = http_exchange_path(exchange);
    seen.calls++;
    if (span_eq(path, SPAN("/echo"))) {
        struct http_header headers[] = {
            {SPAN("x-method"), http_exchange_method(exchange)},
            {SPAN("x-got"), http_exchange_header(exchange, "X-Sent")},
        };
        http_reply(exchange, 201, headers, headers[1].value.len > 0 ? 2 : 1,
                   http_exchange_body(exchange));
    } else if (span_eq(path, SPAN("/big"))) {
        answer_big(exchange);
    } else if (span_eq(path, SPAN("/late"))) {
        sleep_and_note(60000);
    } else if (span_eq(path, SPAN("/moved"))) {
        http_reply(exchange, 302, &(struct http_header){SPAN("location"), SPAN("/echo")}, 1,
                   SPAN_NONE);
    } else if (span_eq(path, SPAN("/busy"))) {
        seen.at_once++;
        seen.most_at_once = seen.at_once > seen.most_at_once ? seen.at_once : seen.most_at_once;
        sleep_and_note(5);
        seen.at_once--;
        http_reply(exchange, 200, NULL, 0, SPAN("done"));
    } else if (span_eq(path, SPAN("/stall")) || span_eq(path, SPAN("/reset")) ||
               span_eq(path, SPAN("/cut"))) {
        answer_part(exchange, path);
    } else {
        http_reply(exchange, 200, NULL, 0, http_exchange_target(exchange));
    }
}

struct world {
    struct http_server *server;
    struct http_client *client;
    char url[128]; /* of the last request_for */
};

static void world_start(struct world *world)
{
    memset(&seen, 0, sizeof(seen));
    struct http_server_options server = {.host = "127.0.0.1", .body_max = BIG, .handler = handle};
    assert_status_ok(http_server_start(task_loop(), &server, &world->server));
    world->client = http_client_new(task_loop(), &(struct http_client_options){.max_per_host = 8});
}

static void world_stop(struct world *world) PARKS
{
    assert_int_equal(http_client_open(world->client), 0);
    http_client_free(world->client);
    http_server_stop(world->server);
}

/* Until the handler has learnt that its client left. */
static void wait_for_end(void) PARKS
{
    while (seen.ended == REASON_NONE) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_int_equal(seen.ended, REASON_CALL_CANCELLED);
}

static struct http_request request_for(struct world *world, const char *target)
{
    snprintf(world->url, sizeof(world->url), "http://127.0.0.1:%u%s",
             (unsigned)http_server_port(world->server), target);
    return (struct http_request){.method = "GET", .url = world->url};
}

/* One connection: for each turn reads a request's head and sends the bytes of the script; then
 * closes. Runs on a pool thread. */
struct raw_peer {
    const char *turns[3]; /* NULL: end */
    size_t pad;           /* so many bytes of "x" are sent in front of the last two of a turn */
    int listen_fd;
    uint16_t port;
    char got[1000]; /* all it received */
    size_t got_len;
    bool accepted_again; /* a second connection was asked for within 300 ms after the end */
};

static void raw_peer_open(struct raw_peer *peer)
{
    assert_status_ok(listen_open("127.0.0.1", 0, NULL, &peer->listen_fd, &peer->port));
}

static void raw_read_head(struct raw_peer *peer, int fd)
{
    size_t from = peer->got_len;
    while (span_find(span_of(peer->got + from, peer->got_len - from), SPAN("\r\n\r\n")) ==
           SPAN_MISSING) {
        ssize_t n = recv(fd, peer->got + peer->got_len, sizeof(peer->got) - peer->got_len, 0);
        if (n <= 0) {
            return;
        }
        peer->got_len += (size_t)n;
    }
}

static void raw_send(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        bytes += n;
        len -= (size_t)n;
    }
}

static void raw_peer_run(void *arg)
{
    struct raw_peer *peer = arg;
    struct pollfd ready = {.fd = peer->listen_fd, .events = POLLIN};
    poll(&ready, 1, 10000);
    int fd = accept(peer->listen_fd, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(peer->turns) && peer->turns[i] != NULL; i++) {
        raw_read_head(peer, fd);
        size_t len = strlen(peer->turns[i]);
        size_t tail = peer->pad > 0 ? 2 : 0;
        raw_send(fd, peer->turns[i], len - tail);
        for (size_t sent = 0; sent < peer->pad; sent++) {
            raw_send(fd, "x", 1);
        }
        raw_send(fd, peer->turns[i] + len - tail, tail);
    }
    close(fd);
    ready.revents = 0;
    peer->accepted_again = poll(&ready, 1, 300) > 0;
    close(peer->listen_fd);
}

static void raw_peer_task(void *arg) PARKS
{
    assert_status_ok(loop_work(task_loop(), raw_peer_run, arg));
}

/* GET / from the peer while it runs, body and all; *code is set when there were headers. */
static struct status raw_get(struct http_client *client, struct raw_peer *peer, struct buf *body,
                             int *code) PARKS
{
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", (unsigned)peer->port);
    struct http_request request = {.method = "GET", .url = url};
    CLEANUP(http_close) struct http *http = NULL;
    TRY(http_open(client, &request, &http));
    *code = http_code(http);
    return http_read_all(http, body);
}

/* The same against a fresh peer and client, for a single turn. */
static struct status raw_once(struct raw_peer *peer, struct buf *body, int *code) PARKS
{
    struct http_client *client = http_client_new(task_loop(), &(struct http_client_options){0});
    raw_peer_open(peer);
    struct group group;
    group_init(&group);
    group_spawn(&group, "raw peer", raw_peer_task, peer);
    struct status s = raw_get(client, peer, body, code);
    assert_status_ok(group_wait(&group));
    http_client_free(client);
    return s;
}

/* --- requests and answers ------------------------------------------------------------------------
 */

task_test_real(test_an_answer_arrives_with_its_headers)
{
    struct world world;
    world_start(&world);
    struct http_header headers[] = {{SPAN("X-Sent"), SPAN("a b")}, {SPAN("X-Empty"), SPAN("")}};
    struct http_request request = request_for(&world, "/echo");
    request.method = "POST";
    request.headers = headers;
    request.n_headers = 2;
    request.body = SPAN("hello");
    struct http *http = NULL;
    assert_status_ok(http_open(world.client, &request, &http));
    assert_int_equal(http_client_open(world.client), 1);
    assert_int_equal(http_code(http), 201);
    assert_span(http_header(http, "X-METHOD"), SPAN("POST"));
    assert_span(http_header(http, "x-got"), SPAN("a b"));
    assert_span(http_header(http, "content-length"), SPAN("5"));
    assert_span(http_header(http, "x-absent"), SPAN_NONE);
    struct span chunk;
    assert_status_ok(http_read(http, &chunk));
    assert_span(chunk, SPAN("hello"));
    for (int i = 0; i < 3; i++) {
        assert_status_ok(http_read(http, &chunk));
        assert_int_equal(chunk.len, 0);
    }
    http_close(&http);
    assert_null(http);
    http_close(&http);
    world_stop(&world);
}

task_test_real(test_methods_are_sent)
{
    struct world world;
    world_start(&world);
    const char *methods[] = {"GET", "HEAD", "PUT", "DELETE", "POST"};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct http_request request = request_for(&world, "/echo");
        request.method = methods[i];
        CLEANUP(buf_clear) struct buf body;
        buf_init(&body, 100);
        CLEANUP(http_close) struct http *http = NULL;
        assert_status_ok(http_open(world.client, &request, &http));
        assert_span(http_header(http, "x-method"), span_str(methods[i]));
        assert_status_ok(http_read_all(http, &body));
        assert_int_equal(body.len, 0);
    }
    world_stop(&world);
}

task_test_real(test_the_target_is_sent_as_it_is)
{
    struct world world;
    world_start(&world);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    const char *targets[] = {
        "/model/us.anthropic.claude-v1%3A0/invoke",
        "/model/a:b/invoke",
        "/a/../b/./c//d%2F%2e%2E?x=%20&y=~&&z",
        "/%41%e2%82%ac?",
        "/",
    };
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct http_request request = request_for(&world, targets[i]);
        CLEANUP(buf_clear) struct buf body;
        buf_init(&body, 1000);
        CLEANUP(http_close) struct http *http = NULL;
        assert_status_ok(http_open(world.client, &request, &http));
        assert_status_ok(http_read_all(http, &body));
        assert_span(buf_span(&body), span_str(targets[i]));
    }
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    world_stop(&world);
}

task_test_real(test_nothing_is_added_to_the_request)
{
    struct raw_peer peer = {.turns = {"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"}};
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 100);
    int code = 0;
    assert_status_ok(raw_once(&peer, &body, &code));
    char want[100];
    snprintf(want, sizeof(want), "GET / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n",
             (unsigned)peer.port);
    assert_span(span_of(peer.got, peer.got_len), span_str(want));
    assert_span(buf_span(&body), SPAN("ok"));
}

task_test_real(test_a_header_with_a_line_break_is_refused)
{
    struct world world;
    world_start(&world);
    struct http_request request = request_for(&world, "/echo");
    request.headers = &(struct http_header){SPAN("authorization"), SPAN("x\r\nevil: y")};
    request.n_headers = 1;
    struct http *http = NULL;
    assert_status(http_open(world.client, &request, &http), REASON_BAD_REQUEST);
    assert_null(http);
    assert_int_equal(seen.calls, 0);
    world_stop(&world);
}

task_test_real(test_redirects_are_answers)
{
    struct world world;
    world_start(&world);
    struct http_request request = request_for(&world, "/moved");
    struct http *http = NULL;
    assert_status_ok(http_open(world.client, &request, &http));
    assert_int_equal(http_code(http), 302);
    assert_int_equal(seen.calls, 1);
    http_close(&http);
    world_stop(&world);
}

/* --- connections ---------------------------------------------------------------------------------
 */

#define OK_ANSWER "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

task_test_real(test_connections_are_kept)
{
    struct raw_peer peer = {.turns = {OK_ANSWER, OK_ANSWER, OK_ANSWER}};
    struct http_client *client = http_client_new(task_loop(), &(struct http_client_options){0});
    raw_peer_open(&peer);
    struct group group;
    group_init(&group);
    group_spawn(&group, "raw peer", raw_peer_task, &peer);
    for (int i = 0; i < 3; i++) {
        CLEANUP(buf_clear) struct buf body;
        buf_init(&body, 100);
        int code = 0;
        assert_status_ok(raw_get(client, &peer, &body, &code));
        assert_int_equal(code, 200);
    }
    assert_status_ok(group_wait(&group));
    assert_false(peer.accepted_again);
    http_client_free(client);
}

/* curl would send the second request again on a new connection: the peer may have acted on it. */
task_test_real(test_a_request_is_never_sent_twice)
{
    struct raw_peer peer = {.turns = {OK_ANSWER, ""}};
    struct http_client *client = http_client_new(task_loop(), &(struct http_client_options){0});
    raw_peer_open(&peer);
    struct group group;
    group_init(&group);
    group_spawn(&group, "raw peer", raw_peer_task, &peer);
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 100);
    int code = 0;
    assert_status_ok(raw_get(client, &peer, &body, &code));
    assert_status(raw_get(client, &peer, &body, &code), REASON_CONNECTION_LOST);
    assert_status_ok(group_wait(&group));
    size_t first = span_find(span_of(peer.got, peer.got_len), SPAN("GET /"));
    size_t second = span_find(span_from(span_of(peer.got, peer.got_len), first + 1), SPAN("GET /"));
    assert_int_not_equal(second, SPAN_MISSING); /* it did arrive, on the kept connection */
    assert_int_equal(http_client_open(client), 0);
    http_client_free(client);
}

struct many {
    struct world *world;
    size_t ok;
};

static void get_busy(void *arg) PARKS
{
    struct many *many = arg;
    char url[128];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/busy",
             (unsigned)http_server_port(many->world->server));
    struct http_request request = {.method = "GET", .url = url};
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 100);
    CLEANUP(http_close) struct http *http = NULL;
    assert_status_ok(http_open(many->world->client, &request, &http));
    assert_status_ok(http_read_all(http, &body));
    assert_span(buf_span(&body), SPAN("done"));
    many->ok++;
}

task_test_real(test_requests_share_a_bounded_number_of_connections)
{
    struct world world;
    world_start(&world);
    struct many many = {.world = &world};
    struct group group;
    group_init(&group);
    for (int i = 0; i < 100; i++) {
        group_spawn(&group, "get", get_busy, &many);
    }
    assert_status_ok(group_wait(&group));
    assert_int_equal(many.ok, 100);
    assert_true(seen.most_at_once > 1 && seen.most_at_once <= 8);
    world_stop(&world);
}

/* --- sizes ---------------------------------------------------------------------------------------
 */

task_test_real(test_a_large_body_goes_both_ways)
{
    struct world world;
    world_start(&world);
    size_t size = 25u << 20;
    char *sent = malloc(size);
    uint32_t random = 1;
    for (size_t i = 0; i < size; i += 4) {
        uint32_t word = harness_random(&random);
        memcpy(sent + i, &word, 4);
    }
    struct http_request request = request_for(&world, "/echo");
    request.method = "POST";
    request.body = span_of(sent, size);
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, size);
    CLEANUP(http_close) struct http *http = NULL;
    assert_status_ok(http_open(world.client, &request, &http));
    assert_status_ok(http_read_all(http, &body));
    assert_int_equal(body.len, size);
    assert_memory_equal(body.at, sent, size);
    free(sent);
    http_close(&http);
    world_stop(&world);
}

task_test_real(test_a_slow_reader_holds_the_peer_back)
{
    struct world world;
    world_start(&world);
    struct http_request request = request_for(&world, "/big");
    struct http *http = NULL;
    struct span chunk;
    assert_status_ok(http_open(world.client, &request, &http));
    assert_status_ok(http_read(http, &chunk));
    size_t got = chunk.len, before = 0;
    do { /* the kernel's buffers fill, ours does not grow */
        before = seen.written;
        assert_status_ok(task_sleep_ms(100));
    } while (seen.written > before);
    assert_true(seen.written < BIG / 2);
    do {
        assert_status_ok(http_read(http, &chunk));
        assert_true(chunk.len <= 64u << 10);
        got += chunk.len;
    } while (chunk.len > 0);
    assert_true(got >= BIG);
    assert_int_equal(got, seen.written);
    http_close(&http);
    world_stop(&world);
}

task_test_real(test_a_body_is_bounded_by_its_buffer)
{
    struct world world;
    world_start(&world);
    struct http_request request = request_for(&world, "/big");
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 100000);
    struct http *http = NULL;
    assert_status_ok(http_open(world.client, &request, &http));
    assert_status(http_read_all(http, &body), REASON_PROTOCOL_ERROR);
    http_close(&http);
    wait_for_end();
    world_stop(&world);
}

task_test_real(test_headers_are_bounded)
{
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 100);
    int code = 0;
    struct raw_peer peer = {.turns = {"HTTP/1.1 200 OK\r\na: \r\n"}, .pad = 65000};
    assert_status(raw_once(&peer, &body, &code), REASON_CONNECTION_LOST); /* no end of headers */
    peer = (struct raw_peer){.turns = {"HTTP/1.1 200 OK\r\na: \r\n"}, .pad = 66000};
    assert_status(raw_once(&peer, &body, &code), REASON_PROTOCOL_ERROR);
    assert_int_equal(code, 0);
}

/* --- peers that break --------------------------------------------------------------------------
 */

task_test_real(test_broken_answers_are_told_apart)
{
    static const struct {
        const char *name;
        const char *answer;
        enum reason reason;
        int code;
        const char *body;
    } rows[] = {
        {"closed at once", "", REASON_CONNECTION_LOST, 0, ""},
        {"closed inside the headers", "HTTP/1.1 200 OK\r\ncontent-", REASON_CONNECTION_LOST, 0, ""},
        {"body too short", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
         REASON_CONNECTION_LOST, 200, "abc"},
        {"chunk too short", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
         REASON_CONNECTION_LOST, 200, "abc"},
        {"no last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
         REASON_CONNECTION_LOST, 200, "abc"},
        {"broken chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
         REASON_CONNECTION_LOST, 200, ""},
        {"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", REASON_PROTOCOL_ERROR, 0, ""},
        {"until close", "HTTP/1.1 200 OK\r\n\r\nabc", REASON_NONE, 200, "abc"},
        {"interim first",
         "HTTP/1.1 100 Continue\r\nx: y\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: "
         "1\r\n\r\nz",
         REASON_NONE, 404, "z"},
        {"trailer",
         "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nlast: x\r\n\r\n",
         REASON_NONE, 200, "a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("# %s\n", rows[i].name);
        struct raw_peer peer = {.turns = {rows[i].answer}};
        CLEANUP(buf_clear) struct buf body;
        buf_init(&body, 1000);
        int code = 0;
        struct status s = raw_once(&peer, &body, &code);
        assert_status(s, rows[i].reason);
        assert_int_equal(code, rows[i].code);
        assert_span(buf_span(&body), span_str(rows[i].body));
        assert_false(peer.accepted_again);
    }
}

task_test_real(test_a_broken_stream_gives_its_part_first)
{
    struct world world;
    world_start(&world);
    const char *targets[] = {"/reset", "/cut"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct http_request request = request_for(&world, targets[i]);
        struct span chunk;
        struct http *http = NULL;
        assert_status_ok(http_open(world.client, &request, &http));
        assert_status_ok(http_read(http, &chunk));
        assert_span(chunk, SPAN("part"));
        assert_status(http_read(http, &chunk), REASON_CONNECTION_LOST);
        assert_span(chunk, SPAN("part"));
        assert_status(http_read(http, &chunk), REASON_CONNECTION_LOST);
        http_close(&http);
    }
    world_stop(&world);
}

task_test_real(test_a_closed_port_was_not_reached)
{
    int fd = -1;
    uint16_t port = 0;
    assert_status_ok(listen_open("127.0.0.1", 0, NULL, &fd, &port));
    close(fd);
    struct http_client *client = http_client_new(task_loop(), &(struct http_client_options){0});
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", (unsigned)port);
    const char *urls[] = {url, "http://[", "gopher://127.0.0.1/"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct http_request request = {.method = "POST", .url = urls[i], .body = SPAN("x")};
        struct http *http = NULL;
        assert_status(http_open(client, &request, &http), REASON_CONNECT_FAILED);
        assert_null(http);
    }
    http_client_free(client);
}

/* --- time ----------------------------------------------------------------------------------------
 */

/* Waits at least so long and not twenty times longer. */
static void assert_took(uint64_t since_ms, uint64_t ms)
{
    uint64_t took = clock_mono_ms() - since_ms;
    assert_in_range(took, ms - 5, ms * 20);
}

task_test_real(test_a_connection_has_its_time)
{
    int fd = -1;
    uint16_t port = 0;
    assert_status_ok(listen_open("127.0.0.1", 0, NULL, &fd, &port));
    listen(fd, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int full[4]; /* the kernel answers no more than it has room for */
    for (size_t i = 0; i < ARRAY_LEN(full); i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(full[i], (struct sockaddr *)&address, sizeof(address));
    }
    struct http_client *client = http_client_new(task_loop(), &(struct http_client_options){0});
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", (unsigned)port);
    struct http_request request = {.method = "GET", .url = url, .connect_ms = 50};
    struct http *http = NULL;
    uint64_t start = clock_mono_ms();
    assert_status(http_open(client, &request, &http), REASON_CONNECT_FAILED);
    assert_took(start, 50);
    http_client_free(client);
    for (size_t i = 0; i < ARRAY_LEN(full); i++) {
        close(full[i]);
    }
    close(fd);
}

task_test_real(test_the_first_byte_has_its_time)
{
    struct world world;
    world_start(&world);
    struct http_request request = request_for(&world, "/late");
    request.first_byte_ms = 50;
    struct http *http = NULL;
    uint64_t start = clock_mono_ms();
    assert_status(http_open(world.client, &request, &http), REASON_TIMED_OUT);
    assert_took(start, 50);
    wait_for_end();
    world_stop(&world);
}

task_test_real(test_silence_inside_a_body_has_its_time)
{
    struct world world;
    world_start(&world);
    struct http_request request = request_for(&world, "/stall");
    request.idle_ms = 50;
    struct http *http = NULL;
    struct span chunk;
    assert_status_ok(http_open(world.client, &request, &http));
    assert_status_ok(task_sleep_ms(100)); /* the reader's own time does not count */
    assert_status_ok(http_read(http, &chunk));
    http_set_idle_ms(http, 80);
    uint64_t start = clock_mono_ms();
    assert_status(http_read(http, &chunk), REASON_TIMED_OUT);
    assert_took(start, 80);
    assert_status(http_read(http, &chunk), REASON_TIMED_OUT);
    http_close(&http);
    wait_for_end();
    world_stop(&world);
}

struct caller {
    struct world *world;
    const char *target;
    struct status result;
    bool ended;
};

static void call_and_read(void *arg) PARKS
{
    struct caller *caller = arg;
    struct http_request request = request_for(caller->world, caller->target);
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 1000);
    struct http *http = NULL;
    caller->result = http_open(caller->world->client, &request, &http);
    if (status_ok(caller->result)) {
        caller->result = http_read_all(http, &body);
    }
    http_close(&http);
    caller->ended = true;
}

task_test_real(test_a_cancelled_caller_cuts_its_request)
{
    const char *targets[] = {"/late", "/stall"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct world world;
        world_start(&world);
        struct caller caller = {.world = &world, .target = targets[i]};
        struct task *task = task_spawn(task_loop(), NULL, call_and_read, &caller);
        while (seen.calls == 0) {
            assert_status_ok(task_sleep_ms(1));
        }
        assert_status_ok(task_sleep_ms(20));
        assert_false(caller.ended);
        task_cancel(task, status_of(REASON_SHUTTING_DOWN, NULL));
        wait_for_end();
        while (!caller.ended) {
            assert_status_ok(task_sleep_ms(1));
        }
        assert_status(caller.result, REASON_SHUTTING_DOWN);
        world_stop(&world);
    }
}

task_test_real(test_a_deadline_cuts_its_request)
{
    const char *targets[] = {"/late", "/stall"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct world world;
        world_start(&world);
        struct caller caller = {.world = &world, .target = targets[i]};
        struct task_options options = {.deadline_ms = loop_now_ms(task_loop()) + 60};
        task_spawn(task_loop(), &options, call_and_read, &caller);
        wait_for_end();
        while (!caller.ended) {
            assert_status_ok(task_sleep_ms(1));
        }
        assert_status(caller.result, REASON_DEADLINE_PASSED);
        world_stop(&world);
    }
}

/* --- names ---------------------------------------------------------------------------------------
 */

/* Stands before libc's for curl too: a name server that does not answer. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **result)
{
    (void)node, (void)service, (void)hints, (void)result;
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    return EAI_AGAIN;
}

task_test_real(test_a_silent_name_server_does_not_stop_the_loop)
{
    struct http_client *client = http_client_new(task_loop(), &(struct http_client_options){0});
    struct http_request request = {.method = "GET", .url = "http://silent.test/", .connect_ms = 50};
    struct http *http = NULL;
    uint64_t start = clock_mono_ms();
    assert_status(http_open(client, &request, &http), REASON_CONNECT_FAILED);
    assert_true(clock_mono_ms() - start < 500);
    http_client_free(client);
    assert_true(clock_mono_ms() - start < 500);
    assert_status_ok(task_sleep_ms(1200)); /* curl's thread ends behind us */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_an_answer_arrives_with_its_headers),
    cmocka_unit_test(test_methods_are_sent),
    cmocka_unit_test(test_the_target_is_sent_as_it_is),
    cmocka_unit_test(test_nothing_is_added_to_the_request),
    cmocka_unit_test(test_a_header_with_a_line_break_is_refused),
    cmocka_unit_test(test_redirects_are_answers),
    cmocka_unit_test(test_connections_are_kept),
    cmocka_unit_test(test_a_request_is_never_sent_twice),
    cmocka_unit_test(test_requests_share_a_bounded_number_of_connections),
    cmocka_unit_test(test_a_large_body_goes_both_ways),
    cmocka_unit_test(test_a_slow_reader_holds_the_peer_back),
    cmocka_unit_test(test_a_body_is_bounded_by_its_buffer),
    cmocka_unit_test(test_headers_are_bounded),
    cmocka_unit_test(test_broken_answers_are_told_apart),
    cmocka_unit_test(test_a_broken_stream_gives_its_part_first),
    cmocka_unit_test(test_a_closed_port_was_not_reached),
    cmocka_unit_test(test_a_connection_has_its_time),
    cmocka_unit_test(test_the_first_byte_has_its_time),
    cmocka_unit_test(test_silence_inside_a_body_has_its_time),
    cmocka_unit_test(test_a_cancelled_caller_cuts_its_request),
    cmocka_unit_test(test_a_deadline_cuts_its_request),
    cmocka_unit_test(test_a_silent_name_server_does_not_stop_the_loop),
};

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as every service does */
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
