#include "net/http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "loop/task.h"

#define CONNECT_MS     5000
#define HEADER_MOST    (64u << 10)
#define PER_HOST       64
#define READ_SIZE      8192L /* a buffer of curl's own for each transfer, as long as it runs */
#define CHUNK_MOST     (32u << 10) /* of each of two: curl fills one while the reader has the other */
#define CONNECTION_AGE 50L /* seconds a connection may lie idle: less than load balancers do */

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct timer timer; /* curl's own: it names the moment, we call */
    char *ca_file;
    size_t open;
};

/* A descriptor of curl's that is being watched. */
struct http_socket {
    struct http_client *client;
    struct fd_watch *watch;
    curl_socket_t fd;
};

enum http_phase {
    HTTP_CONNECTING, /* nothing was sent */
    HTTP_SENT,       /* the request is on its way, no headers yet */
    HTTP_BODY,       /* the headers are there */
};

struct http {
    struct http_client *client;
    const struct http_request *request;
    CURL *easy;
    struct curl_slist *headers;
    enum http_phase phase;
    struct timer timer; /* of what is waited for now */
    uint64_t idle_ms;
    curl_off_t uploaded;
    struct op op;
    bool waiting; /* op is pending */
    bool paused;  /* curl holds bytes that did not fit */
    bool ended;   /* curl is through with it, see end */
    struct status end;
    int code;
    struct buf head;
    struct buf fresh; /* arrived, not yet read */
    struct buf lent;  /* the reader's until its next call */
};

/* --- what happened, in our words -----------------------------------------------------------------
 */

#define LOST_UNANSWERED "the connection closed without an answer"

/* For transfers that sent something: whether it was taken is not known. All others are
 * CONNECT_FAILED, and codes that are missing here are PROTOCOL_ERROR. */
static const struct {
    CURLcode code;
    enum reason reason;
    const char *detail; /* NULL: curl's text */
} http_failures[] = {
    {CURLE_GOT_NOTHING, REASON_CONNECTION_LOST, LOST_UNANSWERED},
    /* A second attempt of curl's own, which http_on_ready stops unless it fails before. */
    {CURLE_ABORTED_BY_CALLBACK, REASON_CONNECTION_LOST, LOST_UNANSWERED},
    {CURLE_COULDNT_CONNECT, REASON_CONNECTION_LOST, LOST_UNANSWERED},
    {CURLE_COULDNT_RESOLVE_HOST, REASON_CONNECTION_LOST, LOST_UNANSWERED},
    {CURLE_SSL_CONNECT_ERROR, REASON_CONNECTION_LOST, LOST_UNANSWERED},
    {CURLE_RECV_ERROR, REASON_CONNECTION_LOST, "the connection broke while receiving"},
    {CURLE_SEND_ERROR, REASON_CONNECTION_LOST, "the connection broke while sending"},
    {CURLE_PARTIAL_FILE, REASON_CONNECTION_LOST, "the connection closed inside the body"},
    {CURLE_OPERATION_TIMEDOUT, REASON_TIMED_OUT, NULL},
    {CURLE_WRITE_ERROR, REASON_PROTOCOL_ERROR, "the response's headers are larger than the limit"},
};

static long http_bytes_sent(CURL *easy)
{
    long sent = 0;
    check(curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &sent) == CURLE_OK);
    return sent;
}

/* Why there is no connection; curl's own texts say little of certificates. */
static const char *http_no_connection(CURL *easy, CURLcode code)
{
    long verdict = 0; /* OpenSSL's */
    check(curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verdict) == CURLE_OK);
    if (code == CURLE_SSL_CACERT_BADFILE) {
        return "the file of trusted authorities cannot be used";
    }
    if (code != CURLE_PEER_FAILED_VERIFICATION) {
        return curl_easy_strerror(code);
    }
    switch (verdict) {
    case 0:
    case 1: /* where curl begins: OpenSSL had nothing against it */
        return "the server's certificate is for another host name";
    case 10:
        return "the server's certificate has expired";
    default:
        return "the server's certificate is signed by no authority that is trusted";
    }
}

static struct status http_outcome(CURL *easy, CURLcode code)
{
    check(code != CURLE_OUT_OF_MEMORY);
    if (code == CURLE_OK) {
        return STATUS_SUCCESS;
    }
    if (http_bytes_sent(easy) == 0) {
        return status_of(REASON_CONNECT_FAILED, http_no_connection(easy, code));
    }
    for (size_t i = 0; i < ARRAY_LEN(http_failures); i++) {
        if (http_failures[i].code == code) {
            const char *detail = http_failures[i].detail;
            return status_of(http_failures[i].reason,
                             detail != NULL ? detail : curl_easy_strerror(code));
        }
    }
    return status_of(REASON_PROTOCOL_ERROR, curl_easy_strerror(code));
}

/* --- waiting -------------------------------------------------------------------------------------
 */

static void http_wake(struct http *http)
{
    if (http->waiting) {
        http->waiting = false;
        op_done(&http->op, STATUS_SUCCESS);
    }
}

static void http_asked(struct op *op)
{
    struct http *http = CONTAINER_OF(op, struct http, op);
    http->waiting = false;
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

/* Until something changed, or the task may wait no longer. */
static struct status http_wait(struct http *http) PARKS
{
    op_init(&http->op, http->client->loop, http_asked, NULL);
    http->waiting = true;
    return op_wait(&http->op);
}

/* The end, by curl or against it: never from inside a curl callback. */
static void http_end(struct http *http, struct status end)
{
    if (http->ended) {
        return;
    }
    http->ended = true;
    http->end = end;
    timer_stop(&http->timer);
    check(curl_multi_remove_handle(http->client->multi, http->easy) == CURLM_OK);
    http_wake(http);
}

/* ms: 0 for never. */
static void http_arm(struct http *http, uint64_t ms)
{
    if (ms == 0) {
        timer_stop(&http->timer);
    } else {
        timer_start(&http->timer, loop_now_ms(http->client->loop) + ms);
    }
}

static void http_late(struct timer *timer)
{
    struct http *http = CONTAINER_OF(timer, struct http, timer);
    switch (http->phase) {
    case HTTP_CONNECTING:
        http_end(http, status_of(REASON_CONNECT_FAILED, "no connection in time"));
        break;
    case HTTP_SENT:
        http_end(http, status_of(REASON_TIMED_OUT, "no answer in time"));
        break;
    case HTTP_BODY:
        http_end(http, status_of(REASON_TIMED_OUT, "the body stopped arriving"));
        break;
    }
}

/* --- curl's callbacks: they only take notes ------------------------------------------------------
 */

/* A connection is there, the request goes out next. curl would silently send a request again when
 * a kept-alive connection closed under it; that would be a second attempt. */
static int http_on_ready(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    struct http *http = arg;
    (void)peer, (void)local, (void)peer_port, (void)local_port;
    if (http_bytes_sent(http->easy) > 0) {
        return CURL_PREREQFUNC_ABORT;
    }
    http->phase = HTTP_SENT;
    http_arm(http, http->request->first_byte_ms);
    return CURL_PREREQFUNC_OK;
}

/* The wait for the answer counts from the last byte that went out. */
static int http_on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                            curl_off_t up)
{
    struct http *http = arg;
    (void)down_total, (void)down, (void)up_total;
    if (up != http->uploaded && http->phase == HTTP_SENT) {
        http->uploaded = up;
        http_arm(http, http->request->first_byte_ms);
    }
    return 0;
}

/* One line a call, the empty one ends a head; interim answers (1xx) are heads too, and trailers
 * arrive behind the body. */
static size_t http_on_header(char *line, size_t size, size_t n, void *arg)
{
    struct http *http = arg;
    size_t len = size * n;
    if (http->phase == HTTP_BODY) {
        return len;
    }
    if (span_starts(span_of(line, len), SPAN("HTTP/"))) {
        buf_reset(&http->head);
    }
    buf_add(&http->head, line, len);
    if (!buf_ok(&http->head)) {
        return 0;
    }
    if (span_trim(span_of(line, len)).len > 0) {
        return len;
    }
    long code = 0;
    check(curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &code) == CURLE_OK);
    if (code >= 200) {
        http->code = (int)code;
        http->phase = HTTP_BODY;
        timer_stop(&http->timer);
        http_wake(http);
    }
    return len;
}

static size_t http_on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct http *http = arg;
    size_t len = size * n;
    if (http->fresh.len + len > CHUNK_MOST) {
        http->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    buf_add(&http->fresh, bytes, len);
    http_wake(http);
    return len;
}

/* --- curl on the loop ----------------------------------------------------------------------------
 */

static void client_act(struct http_client *client, curl_socket_t fd, int events)
{
    int running;
    check(curl_multi_socket_action(client->multi, fd, events, &running) == CURLM_OK);

    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        struct http *http = NULL;
        check(curl_easy_getinfo(easy, CURLINFO_PRIVATE, &http) == CURLE_OK);
        http_end(http, http_outcome(easy, code));
    }
}

static void client_timer_fired(struct timer *timer)
{
    client_act(CONTAINER_OF(timer, struct http_client, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* Called from within curl, which must not be entered again: even 0 ms wait for the next turn. */
static int client_on_timer(CURLM *multi, long ms, void *arg)
{
    struct http_client *client = arg;
    (void)multi;
    if (ms < 0) {
        timer_stop(&client->timer);
    } else {
        timer_start(&client->timer, loop_now_ms(client->loop) + (uint64_t)ms);
    }
    return 0;
}

static void client_socket_ready(void *arg, unsigned events)
{
    struct http_socket *socket = arg; /* may be gone when curl returns */
    int bits =
        (events & FD_READ ? CURL_CSELECT_IN : 0) | (events & FD_WRITE ? CURL_CSELECT_OUT : 0);
    client_act(socket->client, socket->fd, bits);
}

static int client_on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http_client *client = arg;
    struct http_socket *socket = socket_arg;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (socket != NULL) {
            fd_watch_stop(socket->watch);
            free(socket);
            check(curl_multi_assign(client->multi, fd, NULL) == CURLM_OK);
        }
        return 0;
    }
    unsigned events = (what & CURL_POLL_IN ? FD_READ : 0) | (what & CURL_POLL_OUT ? FD_WRITE : 0);
    if (socket != NULL) {
        fd_watch_change(socket->watch, events);
        return 0;
    }
    socket = ALLOC(struct http_socket);
    socket->client = client;
    socket->fd = fd;
    socket->watch = fd_watch_start(client->loop, fd, events, client_socket_ready, socket);
    check(curl_multi_assign(client->multi, fd, socket) == CURLM_OK);
    return 0;
}

#define SET_MULTI(option, value)                                                                   \
    check(curl_multi_setopt(client->multi, CURLMOPT_##option, value) == CURLM_OK)

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options)
{
    check(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    struct http_client *client = ALLOC(struct http_client);
    client->loop = loop;
    client->multi = curl_multi_init();
    check(client->multi != NULL);
    if (options->ca_file != NULL) {
        client->ca_file = alloc_string(span_str(options->ca_file));
    }
    long most = (long)(options->max_per_host != 0 ? options->max_per_host : PER_HOST);
    timer_init(&client->timer, loop, client_timer_fired);
    SET_MULTI(SOCKETFUNCTION, client_on_socket);
    SET_MULTI(SOCKETDATA, client);
    SET_MULTI(TIMERFUNCTION, client_on_timer);
    SET_MULTI(TIMERDATA, client);
    SET_MULTI(MAX_HOST_CONNECTIONS, most);
    SET_MULTI(MAXCONNECTS, 4 * most); /* kept alive, over all hosts */
    return client;
}

void http_client_free(struct http_client *client)
{
    if (client == NULL) {
        return;
    }
    check(client->open == 0);
    check(curl_multi_cleanup(client->multi) == CURLM_OK);
    timer_stop(&client->timer);
    free(client->ca_file);
    free(client);
    curl_global_cleanup();
}

size_t http_client_open(const struct http_client *client)
{
    return client->open;
}

/* --- requests ------------------------------------------------------------------------------------
 */

static void http_add_header(struct http *http, const char *line)
{
    struct curl_slist *longer = curl_slist_append(http->headers, line);
    check(longer != NULL);
    http->headers = longer;
}

static struct status http_set_headers(struct http *http)
{
    CLEANUP(buf_clear) struct buf line;
    buf_init(&line, 1u << 20);
    /* Nothing is sent that the caller did not ask for. */
    http_add_header(http, "Accept:");
    http_add_header(http, "Content-Type:");
    http_add_header(http, "Expect:");
    for (size_t i = 0; i < http->request->n_headers; i++) {
        const struct http_header *header = &http->request->headers[i];
        buf_reset(&line);
        buf_add_span(&line, header->name);
        buf_add_str(&line, header->value.len > 0 ? ": " : ";"); /* curl's way to say "empty" */
        buf_add_span(&line, header->value);
        if (!buf_ok(&line) || strcspn(buf_cstr(&line), "\r\n") != line.len) {
            return status_of(REASON_BAD_REQUEST, "a request header cannot be sent");
        }
        http_add_header(http, buf_cstr(&line));
    }
    return STATUS_SUCCESS;
}

#define SET(option, value) check(curl_easy_setopt(http->easy, CURLOPT_##option, value) == CURLE_OK)

static void http_set_callbacks(struct http *http)
{
    SET(PRIVATE, http);
    SET(PREREQFUNCTION, http_on_ready);
    SET(PREREQDATA, http);
    SET(XFERINFOFUNCTION, http_on_progress);
    SET(XFERINFODATA, http);
    SET(NOPROGRESS, 0L);
    SET(HEADERFUNCTION, http_on_header);
    SET(HEADERDATA, http);
    SET(WRITEFUNCTION, http_on_body);
    SET(WRITEDATA, http);
}

static void http_set_options(struct http *http)
{
    const struct http_request *request = http->request;
    SET(URL, request->url);
    SET(PATH_AS_IS, 1L);
    SET(PROTOCOLS_STR, "http,https");
    SET(HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    SET(SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    if (http->client->ca_file != NULL) {
        SET(CAINFO, http->client->ca_file);
    }
    SET(FOLLOWLOCATION, 0L);
    SET(PROXY, ""); /* http_proxy and its kin are not for us */
    SET(NOSIGNAL, 1L);
    SET(BUFFERSIZE, READ_SIZE);
    SET(TCP_NODELAY, 1L);
    SET(TCP_KEEPALIVE, 1L); /* minutes of thinking pass without a byte */
    SET(MAXAGE_CONN, CONNECTION_AGE);
    SET(QUICK_EXIT, 1L); /* cancelling must not wait for a name server */
    SET(HTTPHEADER, http->headers);
    if (request->body.len > 0 || strcmp(request->method, "POST") == 0) {
        SET(POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        SET(POSTFIELDS, request->body.len > 0 ? request->body.at : "");
    } else if (strcmp(request->method, "HEAD") == 0) {
        SET(NOBODY, 1L);
    }
    SET(CUSTOMREQUEST, request->method);
}

static struct http *http_new(struct http_client *client, const struct http_request *request)
{
    struct http *http = ALLOC(struct http);
    http->client = client;
    http->request = request;
    http->idle_ms = request->idle_ms;
    http->easy = curl_easy_init();
    check(http->easy != NULL);
    timer_init(&http->timer, client->loop, http_late);
    buf_init(&http->head, request->header_max != 0 ? request->header_max : HEADER_MOST);
    buf_init(&http->fresh, CHUNK_MOST);
    buf_init(&http->lent, CHUNK_MOST);
    http->ended = true; /* until curl has it */
    client->open++;
    return http;
}

struct status http_open(struct http_client *client, const struct http_request *request,
                        struct http **out)
{
    CLEANUP(http_close) struct http *http = http_new(client, request);
    TRY(http_set_headers(http));
    http_set_callbacks(http);
    http_set_options(http);
    check(curl_multi_add_handle(client->multi, http->easy) == CURLM_OK);
    http->ended = false;
    http_arm(http, request->connect_ms != 0 ? request->connect_ms : CONNECT_MS);
    client_act(client, CURL_SOCKET_TIMEOUT, 0); /* begins now, not in the loop's next turn */

    while (http->phase != HTTP_BODY) {
        if (http->ended) {
            return !status_ok(http->end) ? http->end
                                         : status_of(REASON_CONNECTION_LOST,
                                                     "the connection closed inside the headers");
        }
        TRY(http_wait(http));
    }
    *out = http;
    http = NULL;
    return STATUS_SUCCESS;
}

void http_close(struct http **slot)
{
    struct http *http = *slot;
    if (http == NULL) {
        return;
    }
    check(!http->waiting);
    http_end(http, STATUS_SUCCESS);
    curl_easy_cleanup(http->easy);
    curl_slist_free_all(http->headers);
    buf_clear(&http->head);
    buf_clear(&http->fresh);
    buf_clear(&http->lent);
    http->client->open--;
    free(http);
    *slot = NULL;
}

/* --- answers -------------------------------------------------------------------------------------
 */

int http_code(const struct http *http)
{
    return http->code;
}

struct span http_header(const struct http *http, const char *name)
{
    struct span rest = buf_span(&http->head), line, key;
    while (span_cut(&rest, '\n', &line)) {
        if (span_find_char(line, ':') != SPAN_MISSING && span_cut(&line, ':', &key) &&
            span_eq_nocase(key, span_str(name))) {
            return span_trim(line);
        }
    }
    return SPAN_NONE;
}

void http_set_idle_ms(struct http *http, uint64_t idle_ms)
{
    http->idle_ms = idle_ms;
}

bool http_ready(const struct http *http)
{
    return http->fresh.len > 0 || http->ended;
}

struct status http_read(struct http *http, struct span *chunk)
{
    while (http->fresh.len == 0) {
        if (http->ended) {
            if (status_ok(http->end)) {
                *chunk = SPAN_NONE;
            }
            return http->end;
        }
        http_arm(http, http->idle_ms);
        struct status s = http_wait(http);
        timer_stop(&http->timer);
        TRY(s);
    }
    struct buf taken = http->fresh;
    http->fresh = http->lent;
    http->lent = taken;
    buf_reset(&http->fresh);
    *chunk = buf_span(&http->lent);
    if (http->paused && !http->ended) {
        http->paused = false;
        check(curl_easy_pause(http->easy, CURLPAUSE_CONT) == CURLE_OK);
    }
    return STATUS_SUCCESS;
}

struct status http_read_all(struct http *http, struct buf *body)
{
    struct span chunk;
    do {
        TRY(http_read(http, &chunk));
        buf_add_span(body, chunk);
        if (!buf_ok(body)) {
            return status_of(REASON_PROTOCOL_ERROR, "the body is larger than the limit");
        }
    } while (chunk.len > 0);
    return STATUS_SUCCESS;
}
