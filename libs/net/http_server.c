#include "net/http_server.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/list.h"
#include "loop/task.h"
#include "net/listen.h"

#define BODY_MAX        (64u << 10)
#define CONNECTIONS_MAX 1024
#define IDLE_MS         60000
#define HEAD_MOST       (64u << 10) /* request line, headers and MHD's own needs of a connection */
#define ARENA_MOST      (64u << 20)
#define BLOCK_SIZE      (16u << 10)

struct http_server {
    struct loop *loop;
    struct http_server_options options;
    struct MHD_Daemon *daemon;
    struct fd_watch *watch; /* of MHD's epoll descriptor */
    struct timer timer;     /* MHD's next timeout */
    struct list exchanges;
    size_t running;    /* handlers */
    size_t unanswered; /* whole requests whose answer is not yet with the client */
    uint16_t port;
    bool again;            /* MHD must look once more at what it left */
    bool draining;         /* nobody new is let in */
    bool stopping;         /* not even answered */
    bool waiting;          /* http_server_stop, for idle */
    struct op idle;        /* the last handler has returned */
    bool awaiting_answers; /* http_server_drain, for answered */
    struct op answered;    /* the last answer is out */
};

enum answer {
    ANSWER_NONE,
    ANSWER_WHOLE,
    ANSWER_STREAM,
    ANSWER_CUT, /* no more of it reaches the client */
};

/* One request. MHD's connection and the handler's task each hold it. */
struct http_exchange {
    struct list link;
    struct http_server *server;
    int holders;
    struct MHD_Connection *connection; /* NULL: it is through with this request */
    struct task *task;                 /* NULL: the handler does not run */
    struct fd_watch *hangup;           /* MHD does not look at a connection that is suspended */
    bool suspended;
    bool begun; /* the request is complete and was given to the handler, or refused */

    struct arena *arena;
    struct span method;
    struct span target;
    struct http_header *headers;
    size_t n_headers;
    struct buf body;

    enum answer answer;
    unsigned code;
    struct MHD_Response *response; /* made, not yet given to MHD */
    struct span unsent;            /* of the write that is waited for */
    bool writing;
    bool returned; /* the handler has */
    struct op write;
};

/* --- an exchange's life --------------------------------------------------------------------------
 */

static void exchange_release(struct http_exchange *exchange)
{
    struct http_server *server = exchange->server;
    if (--exchange->holders > 0) {
        return;
    }
    server->unanswered -= exchange->begun;
    if (server->unanswered == 0 && server->awaiting_answers) {
        server->awaiting_answers = false;
        op_done(&server->answered, STATUS_SUCCESS);
    }
    if (exchange->response != NULL) {
        MHD_destroy_response(exchange->response);
    }
    list_remove(&exchange->link);
    buf_clear(&exchange->body);
    arena_free(exchange->arena);
    free(exchange);
}

static void exchange_suspend(struct http_exchange *exchange)
{
    exchange->suspended = true;
    MHD_suspend_connection(exchange->connection);
}

/* MHD goes on with the connection at its next turn, which it does not ask for by itself. */
static void exchange_resume(struct http_exchange *exchange)
{
    if (exchange->connection != NULL && exchange->suspended) {
        struct http_server *server = exchange->server;
        exchange->suspended = false;
        MHD_resume_connection(exchange->connection);
        timer_start(&server->timer, loop_now_ms(server->loop));
    }
}

static int exchange_fd(const struct http_exchange *exchange)
{
    return MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD)
        ->connect_fd;
}

static void exchange_unwatch(struct http_exchange *exchange)
{
    fd_watch_stop(exchange->hangup);
    exchange->hangup = NULL;
}

static void exchange_write_done(struct http_exchange *exchange, struct status result)
{
    if (exchange->writing) {
        exchange->writing = false;
        exchange->unsent = SPAN_NONE;
        op_done(&exchange->write, result);
    }
}

/* Nobody reads the answer any more. A write that waits is asked to end with its task. */
static void exchange_abandon(struct http_exchange *exchange)
{
    exchange_unwatch(exchange);
    if (exchange->answer == ANSWER_NONE || exchange->answer == ANSWER_STREAM) {
        exchange->answer = ANSWER_CUT;
        if (exchange->task != NULL) {
            task_cancel(exchange->task, status_of(REASON_CALL_CANCELLED, "the client left"));
        }
    }
}

static void exchange_hung_up(void *arg, unsigned events)
{
    (void)events;
    exchange_abandon(arg);
}

static void exchange_handle(void *arg) PARKS
{
    struct http_exchange *exchange = arg;
    struct http_server *server = exchange->server;
    server->options.handler(exchange, server->options.arg);

    if (exchange->answer == ANSWER_NONE) {
        http_reply(exchange, 500, NULL, 0, SPAN_NONE);
    } else if (exchange->answer == ANSWER_STREAM && !status_ok(task_status())) {
        http_reply_abort(exchange, false); /* what was cancelled must not look complete */
    }
    exchange_unwatch(exchange);
    exchange->task = NULL;
    exchange->returned = true;
    exchange_resume(exchange);
    exchange_release(exchange);
    server->running--;
    if (server->running == 0 && server->waiting) {
        op_done(&server->idle, STATUS_SUCCESS);
    }
}

/* The request is complete. */
static void exchange_begin(struct http_exchange *exchange)
{
    struct http_server *server = exchange->server;
    exchange->begun = true;
    server->unanswered++;
    if (server->draining) {
        http_reply(exchange, 503, &(struct http_header){SPAN("Connection"), SPAN("close")}, 1,
                   SPAN_NONE);
        return;
    }
    if (!buf_ok(&exchange->body)) {
        http_reply(exchange, 413, NULL, 0, SPAN_NONE);
        return;
    }
    exchange->holders++;
    server->running++;
    exchange_suspend(exchange);
    exchange->hangup =
        fd_watch_start(server->loop, exchange_fd(exchange), FD_HANGUP, exchange_hung_up, exchange);
    exchange->task = task_spawn(server->loop, &(struct task_options){.name = "http exchange"},
                                exchange_handle, exchange);
}

/* --- MHD's callbacks -----------------------------------------------------------------------------
 */

/* The request line, before MHD decodes it. */
static void *mhd_on_target(void *arg, const char *target, struct MHD_Connection *connection)
{
    struct http_server *server = arg;
    struct http_exchange *exchange = ALLOC(struct http_exchange);
    exchange->server = server;
    exchange->holders = 1;
    exchange->connection = connection;
    exchange->arena = arena_new(ARENA_MOST);
    exchange->target = arena_copy(exchange->arena, span_str(target));
    buf_init(&exchange->body, server->options.body_max);
    list_push_back(&server->exchanges, &exchange->link);
    return exchange;
}

static enum MHD_Result mhd_on_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                     size_t name_len, const char *value, size_t value_len)
{
    struct http_exchange *exchange = arg;
    (void)kind;
    exchange->headers[exchange->n_headers++] =
        (struct http_header){arena_copy(exchange->arena, span_of(name, name_len)),
                             arena_copy(exchange->arena, span_of(value, value_len))};
    return MHD_YES;
}

static void exchange_take_head(struct http_exchange *exchange, const char *method)
{
    exchange->method = arena_copy(exchange->arena, span_str(method));
    int n = MHD_get_connection_values_n(exchange->connection, MHD_HEADER_KIND, NULL, NULL);
    exchange->headers = ARENA_ARRAY(exchange->arena, struct http_header, (size_t)n);
    MHD_get_connection_values_n(exchange->connection, MHD_HEADER_KIND, mhd_on_header, exchange);
}

/* Called with the head, then with each part of the body, then for the answer. */
static enum MHD_Result mhd_on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                      const char *method, const char *version, const char *upload,
                                      size_t *upload_len, void **slot)
{
    struct http_server *server = arg;
    struct http_exchange *exchange = *slot;
    (void)url, (void)version;
    if (exchange->method.at == NULL) {
        exchange_take_head(exchange, method);
        return MHD_YES;
    }
    if (*upload_len > 0) {
        buf_add(&exchange->body, upload, *upload_len); /* too much is read and forgotten */
        *upload_len = 0;
        return MHD_YES;
    }
    if (!exchange->begun) {
        if (server->stopping) {
            return MHD_NO;
        }
        exchange_begin(exchange);
    }
    if (exchange->answer == ANSWER_CUT) {
        return MHD_NO;
    }
    if (exchange->response == NULL) {
        return MHD_YES;
    }
    struct MHD_Response *response = exchange->response;
    exchange->response = NULL;
    enum MHD_Result result = MHD_queue_response(connection, exchange->code, response);
    MHD_destroy_response(response);
    return result;
}

/* MHD has room: its former bytes are with the socket. */
static ssize_t mhd_on_room(void *arg, uint64_t position, char *room, size_t most)
{
    struct http_exchange *exchange = arg;
    (void)position;
    if (exchange->answer == ANSWER_CUT) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (exchange->unsent.len > 0) {
        struct span part = span_first(exchange->unsent, most);
        memcpy(room, part.at, part.len);
        exchange->unsent = span_from(exchange->unsent, part.len);
        return (ssize_t)part.len;
    }
    exchange_write_done(exchange, STATUS_SUCCESS);
    if (exchange->returned) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    exchange_suspend(exchange);
    return 0;
}

static void mhd_on_completed(void *arg, struct MHD_Connection *connection, void **slot,
                             enum MHD_RequestTerminationCode code)
{
    struct http_exchange *exchange = *slot;
    (void)arg, (void)connection, (void)code;
    *slot = NULL;
    exchange_abandon(exchange);
    exchange->connection = NULL;
    exchange_release(exchange);
}

/* A place has become free: MHD takes waiting clients at its next turn only. */
static void mhd_on_connection(void *arg, struct MHD_Connection *connection, void **slot,
                              enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = arg;
    (void)connection, (void)slot;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        server->again = true;
    }
}

/* --- MHD on the loop -----------------------------------------------------------------------------
 */

static void server_turn(struct http_server *server)
{
    server->again = false;
    check(MHD_run(server->daemon) == MHD_YES);

    MHD_UNSIGNED_LONG_LONG ms = 0;
    if (server->again || MHD_get_timeout(server->daemon, &ms) == MHD_YES) {
        timer_start(&server->timer, loop_now_ms(server->loop) + (server->again ? 0 : ms));
    } else {
        timer_stop(&server->timer);
    }
}

static void server_ready(void *arg, unsigned events)
{
    (void)events;
    server_turn(arg);
}

static void server_timer_fired(struct timer *timer)
{
    server_turn(CONTAINER_OF(timer, struct http_server, timer));
}

struct status http_server_start(struct loop *loop, const struct http_server_options *options,
                                struct http_server **out)
{
    int fd = -1;
    uint16_t port = 0;
    TRY(listen_open(options->host, options->port, options->arena, &fd, &port));

    struct http_server *server = ALLOC(struct http_server);
    server->loop = loop;
    server->options = *options;
    server->port = port;
    if (options->body_max == 0) {
        server->options.body_max = BODY_MAX;
    }
    list_init(&server->exchanges);
    timer_init(&server->timer, loop, server_timer_fired);

    size_t most = options->max_connections != 0 ? options->max_connections : CONNECTIONS_MAX;
    uint64_t idle_ms = options->idle_ms != 0 ? options->idle_ms : IDLE_MS;
    server->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, port, NULL, NULL, mhd_on_request,
                         server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK,
                         mhd_on_target, server, MHD_OPTION_NOTIFY_COMPLETED, mhd_on_completed,
                         server, MHD_OPTION_NOTIFY_CONNECTION, mhd_on_connection, server,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)most, MHD_OPTION_CONNECTION_TIMEOUT,
                         (unsigned)((idle_ms + 999) / 1000), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                         (size_t)HEAD_MOST, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    check(server->daemon != NULL);
    int epoll = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    server->watch = fd_watch_start(loop, epoll, FD_READ, server_ready, server);
    server_turn(server);
    *out = server;
    return STATUS_SUCCESS;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

/* From now on the kernel refuses who wants to connect. */
static void server_shut(struct http_server *server)
{
    if (!server->draining) {
        server->draining = true;
        close(MHD_quiesce_daemon(server->daemon));
    }
}

static void drain_asked(struct op *op)
{
    struct http_server *server = CONTAINER_OF(op, struct http_server, answered);
    server->awaiting_answers = false;
    op_done(op, status_of(REASON_SHUTTING_DOWN, NULL));
}

void http_server_drain(struct http_server *server, uint64_t grace_ms)
{
    server_shut(server);
    if (server->unanswered > 0) {
        uint64_t until_ms = loop_now_ms(server->loop) + grace_ms;
        bool in_time;
        op_init(&server->answered, server->loop, drain_asked, NULL);
        server->awaiting_answers = true;
        (void)!status_ok(op_wait_until(&server->answered, until_ms, &in_time));
    }
}

void http_server_stop(struct http_server *server)
{
    server_shut(server);
    server->stopping = true;
    LIST_EACH (link, &server->exchanges) {
        struct http_exchange *exchange = CONTAINER_OF(link, struct http_exchange, link);
        if (exchange->task != NULL) {
            task_cancel(exchange->task, status_of(REASON_SHUTTING_DOWN, NULL));
        }
    }
    if (server->running > 0) {
        op_init(&server->idle, server->loop, NULL, NULL);
        server->waiting = true;
        struct status s = op_wait_firmly(&server->idle);
        (void)s; /* it cannot fail */
    }
    server_turn(server); /* the last answers go out */
    fd_watch_stop(server->watch);
    timer_stop(&server->timer);
    MHD_stop_daemon(server->daemon);
    check(list_empty(&server->exchanges));
    free(server);
}

/* --- the request ---------------------------------------------------------------------------------
 */

struct span http_exchange_method(const struct http_exchange *exchange)
{
    return exchange->method;
}

struct span http_exchange_target(const struct http_exchange *exchange)
{
    return exchange->target;
}

struct span http_exchange_path(const struct http_exchange *exchange)
{
    return span_first(exchange->target, span_find_char(exchange->target, '?'));
}

struct span http_exchange_query(const struct http_exchange *exchange)
{
    size_t at = span_find_char(exchange->target, '?');
    return at == SPAN_MISSING ? SPAN_NONE : span_from(exchange->target, at + 1);
}

struct span http_exchange_header(const struct http_exchange *exchange, const char *name)
{
    for (size_t i = 0; i < exchange->n_headers; i++) {
        if (span_eq_nocase(exchange->headers[i].name, span_str(name))) {
            return exchange->headers[i].value;
        }
    }
    return SPAN_NONE;
}

size_t http_exchange_headers(const struct http_exchange *exchange,
                             const struct http_header **headers)
{
    *headers = exchange->headers;
    return exchange->n_headers;
}

struct span http_exchange_body(const struct http_exchange *exchange)
{
    return buf_span(&exchange->body);
}

struct arena *http_exchange_arena(struct http_exchange *exchange)
{
    return exchange->arena;
}

/* --- the answer ----------------------------------------------------------------------------------
 */

static void exchange_answer(struct http_exchange *exchange, enum answer answer, int code,
                            const struct http_header *headers, size_t n_headers,
                            struct MHD_Response *response)
{
    check(response != NULL);
    for (size_t i = 0; i < n_headers; i++) {
        const char *name = arena_string(exchange->arena, headers[i].name);
        const char *value = arena_string(exchange->arena, headers[i].value);
        check(MHD_add_response_header(response, name, value) == MHD_YES);
    }
    exchange->answer = answer;
    exchange->code = (unsigned)code;
    exchange->response = response;
    exchange_resume(exchange);
}

void http_reply(struct http_exchange *exchange, int code, const struct http_header *headers,
                size_t n_headers, struct span body)
{
    if (exchange->answer == ANSWER_CUT) {
        return;
    }
    check(exchange->answer == ANSWER_NONE);
    exchange_answer(
        exchange, ANSWER_WHOLE, code, headers, n_headers,
        MHD_create_response_from_buffer(body.len, (void *)body.at, MHD_RESPMEM_MUST_COPY));
}

void http_reply_start(struct http_exchange *exchange, int code, const struct http_header *headers,
                      size_t n_headers)
{
    if (exchange->answer == ANSWER_CUT) {
        return;
    }
    check(exchange->answer == ANSWER_NONE);
    exchange_answer(exchange, ANSWER_STREAM, code, headers, n_headers,
                    MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_SIZE, mhd_on_room,
                                                      exchange, NULL));
}

/* Part of the bytes may be out: what follows would not fit. */
static void exchange_write_asked(struct op *op)
{
    struct http_exchange *exchange = CONTAINER_OF(op, struct http_exchange, write);
    exchange->answer = ANSWER_CUT;
    exchange_write_done(exchange, status_of(REASON_CALL_CANCELLED, NULL));
}

struct status http_reply_write(struct http_exchange *exchange, struct span bytes)
{
    TRY(task_status());
    if (exchange->answer == ANSWER_CUT) {
        return status_of(REASON_CONNECTION_LOST, "the answer was cut");
    }
    check(exchange->answer == ANSWER_STREAM);
    if (bytes.len == 0) {
        return STATUS_SUCCESS;
    }
    op_init(&exchange->write, exchange->server->loop, exchange_write_asked, NULL);
    exchange->unsent = bytes;
    exchange->writing = true;
    exchange_resume(exchange);
    return op_wait(&exchange->write);
}

void http_reply_abort(struct http_exchange *exchange, bool reset)
{
    if (exchange->connection == NULL) {
        return;
    }
    if (reset) {
        /* Dissolving the association sends the reset at once; MHD's own close would begin with an
         * orderly end even when SO_LINGER is 0. */
        struct sockaddr none = {.sa_family = AF_UNSPEC};
        connect(exchange_fd(exchange), &none, sizeof(none));
    }
    exchange->answer = ANSWER_CUT;
    exchange_unwatch(exchange);
    exchange_resume(exchange);
}
