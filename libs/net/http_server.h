/*
 * http_server.h -- HTTP requests in: the admin port and the simulator.
 *
 * Floor 3, loop thread. libmicrohttpd is in http_server.c only. Each request is answered by a
 * handler in a task of its own; when the client leaves, that task is cancelled.
 */
#ifndef PRISM_NET_HTTP_SERVER_H
#define PRISM_NET_HTTP_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "loop/loop.h"
#include "net/http.h"

struct http_server;
struct http_exchange;

struct http_server_options {
    const char *host;       /* numeric: "127.0.0.1", "::" */
    uint16_t port;          /* 0: any free one */
    size_t body_max;        /* larger bodies are answered 413; 0: 64 KiB */
    size_t max_connections; /* 0: 1024 */
    uint64_t idle_ms;       /* silent connections are closed after it; 0: 60 s */
    void (*handler)(struct http_exchange *exchange, void *arg) PARKS;
    void *arg;
    struct arena *arena; /* for the detail of a failed start; NULL: it names no address */
};

/* ADDRESS_IN_USE with the address in its detail when it cannot be bound. */
struct status http_server_start(struct loop *loop, const struct http_server_options *options,
                                struct http_server **out) NODISCARD;
uint16_t http_server_port(const struct http_server *server);

/* Lets nobody in any more (on kept connections: 503) and returns once every request that was whole
 * before has its answer, after grace_ms at the latest; http_server_stop comes next. */
void http_server_drain(struct http_server *server, uint64_t grace_ms) PARKS;

/* Cancels the running handlers, waits for them, closes everything, frees. Outside handlers only. */
void http_server_stop(struct http_server *server) PARKS;

/* What came in; valid until the handler returns. */
struct span http_exchange_method(const struct http_exchange *exchange);
struct span http_exchange_target(
    const struct http_exchange *exchange); /* path and query as sent, not decoded */
struct span
http_exchange_path(const struct http_exchange *exchange); /* the part before '?', as sent */
struct span http_exchange_query(const struct http_exchange *exchange); /* the part behind it */
struct span http_exchange_header(const struct http_exchange *exchange, const char *name);
size_t http_exchange_headers(const struct http_exchange *exchange,
                             const struct http_header **headers);
struct span http_exchange_body(const struct http_exchange *exchange);
struct arena *http_exchange_arena(struct http_exchange *exchange);

/* A whole answer; bytes are copied. A handler that returns without any answers 500. */
void http_reply(struct http_exchange *exchange, int code, const struct http_header *headers,
                size_t n_headers, struct span body);

/* A chunked answer: start, write (waits until the bytes were handed to the socket), return. */
void http_reply_start(struct http_exchange *exchange, int code, const struct http_header *headers,
                      size_t n_headers);
struct status http_reply_write(struct http_exchange *exchange, struct span bytes) NODISCARD PARKS;

/* Cuts the connection without ending the answer: with a TCP reset, or an orderly close. */
void http_reply_abort(struct http_exchange *exchange, bool reset);

#endif
