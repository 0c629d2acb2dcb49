/*
 * http.h -- HTTP requests out, on libcurl's multi interface.
 *
 * Floor 3, tasks on the loop thread. libcurl is in http.c only. HTTP/1.1 on kept-alive
 * connections; one request is one attempt, nothing is retried here. Bodies are read at the pace of
 * the reader: who does not read pauses the peer.
 */
#ifndef PRISM_NET_HTTP_H
#define PRISM_NET_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "loop/loop.h"

struct http_client;
struct http;

struct http_client_options {
    size_t max_per_host; /* connections, 0: 64 */
    const char *ca_file; /* NULL: the system's */
};

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options);
void http_client_free(struct http_client *client); /* no request may be open */

struct http_header {
    struct span name;
    struct span value;
};

/* Everything is the caller's and stays until http_close. */
struct http_request {
    const char *method; /* "POST" */
    const char *url;    /* sent as it is: no normalisation, no re-encoding of the path */
    const struct http_header *headers;
    size_t n_headers;
    struct span body;
    uint64_t connect_ms;    /* DNS + TCP + TLS, 0: 5 s */
    uint64_t first_byte_ms; /* from sent to the first header byte, 0: only the task's deadline */
    uint64_t idle_ms;       /* longest silence inside the body while reading, 0: none */
    size_t header_max;      /* bytes of response headers, 0: 64 KiB */
};

/* Sends and waits for the response's headers. Reasons: CONNECT_FAILED (nothing was sent),
 * CONNECTION_LOST, TIMED_OUT, PROTOCOL_ERROR, CALL_CANCELLED, DEADLINE_PASSED. */
struct status http_open(struct http_client *client, const struct http_request *request,
                        struct http **out) NODISCARD PARKS;

int http_code(const struct http *http);
struct span http_header(const struct http *http,
                        const char *name); /* empty when absent; until close */

/* The next bytes of the body, valid until the next http_read or http_close; len 0 at its end.
 * TIMED_OUT after idle_ms of silence, CONNECTION_LOST when it broke before its end. */
struct status http_read(struct http *http, struct span *chunk) NODISCARD PARKS;

/* http_read would not wait. */
bool http_ready(const struct http *http);

/* Replaces the request's idle_ms for the next reads. */
void http_set_idle_ms(struct http *http, uint64_t idle_ms);

/* The rest of the body into buf, whose maximum bounds it (PROTOCOL_ERROR beyond). */
struct status http_read_all(struct http *http, struct buf *body) NODISCARD PARKS;

/* Frees; an unfinished transfer is cut at once and its connection closed. Sets *http to NULL. */
void http_close(struct http **http);

/* Requests open now; for metrics and tests. */
size_t http_client_open(const struct http_client *client);

#endif
