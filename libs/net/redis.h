/*
 * redis.h -- a client of one Redis or Valkey server: commands, scripts, messages.
 *
 * Floor 3, tasks on the loop thread. hiredis is in redis.c only, bytes travel over net/stream, the
 * protocol is RESP2. A struct redis keeps one connection: it connects, greets (AUTH, SELECT, CLIENT
 * SETNAME) and, when the connection breaks, begins again, with backoff. All tasks share it: their
 * commands are sent in the order they were given, those of one turn together, and answered in that
 * order. So nothing that changes the connection (MULTI, SELECT, SUBSCRIBE) or blocks it (BLPOP) may
 * be sent.
 *
 * A stream of replies cannot be picked up again: a reply that is late ends the connection. How a
 * command failed says what is known of it:
 *
 *     CONNECT_FAILED, OVERLOADED, MESSAGE_TOO_LARGE: it was never sent
 *     TIMED_OUT, CONNECTION_LOST, PROTOCOL_ERROR: it may have been carried out
 *     MESSAGE_TOO_COMPLEX: it was carried out, but the reply did not fit the arena
 *     the task's own (cancelled, late): it may have been sent before; it is not sent after
 *
 * Nothing is repeated here. Metrics: prism_redis_command_seconds{client,outcome},
 * prism_redis_connects_total{client,outcome}, prism_redis_ready{client}.
 */
#ifndef PRISM_NET_REDIS_H
#define PRISM_NET_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/span.h"
#include "loop/loop.h"
#include "net/stream.h"

struct redis;

struct redis_address {
    const char *host;
    uint16_t port;
};

/* Finds the master by asking these, and leaves a master that was replaced. */
struct redis_sentinels {
    const struct redis_address *addresses;
    size_t n_addresses;
    const char *master;
    const char *user; /* of the sentinels; NULL: the default user */
    struct secret password;
    const struct stream_tls *tls;
};

/* All of it, and what it points to, stays until redis_free. */
struct redis_options {
    const char *name; /* for CLIENT SETNAME and metrics: no spaces; NULL: "prism" */
    struct redis_address address;
    const char *path;                        /* of a unix socket, instead of the address */
    const struct redis_sentinels *sentinels; /* instead of both */
    const struct stream_tls *tls;            /* NULL: plain */
    const char *user;                        /* NULL: the default user */
    struct secret password;
    unsigned database;
    uint64_t connect_ms; /* from looking up to greeted, 0: 2 s */
    uint64_t command_ms; /* from asked to answered, 0: 1 s */
    uint64_t ping_ms;    /* silence after which the peer is asked for a sign of life, 0: 5 s */
    size_t reply_max;    /* bytes of one string in a reply, 0: 16 MiB */
    size_t pending_max;  /* commands that are not yet answered, 0: 16384 */
    size_t unsent_max;   /* bytes of commands that are not yet sent, and of each, 0: 32 MiB */
};

/* Returns at once and begins to connect. */
struct redis *redis_new(struct loop *loop, const struct redis_options *options) NODISCARD;

/* Closes; commands that are pending fail. Takes NULL. */
void redis_free(struct redis *redis) PARKS;

/* OK once it is ready; CONNECT_FAILED when it is not by until_ms (loop_now_ms time), and then
 * redis_health knows why. */
struct status redis_wait_ready(struct redis *redis, uint64_t until_ms) NODISCARD PARKS;

/* OK while it is ready, else what went wrong last; the detail is valid until the next turn. */
struct status redis_health(const struct redis *redis) NODISCARD;

/* Counts the connections that became ready: a change means that there was a gap. */
uint64_t redis_connection(const struct redis *redis);

/* --- replies -----------------------------------------------------------------------------------
 */

enum redis_type {
    REDIS_TYPE_NIL,
    REDIS_TYPE_STRING,
    REDIS_TYPE_STATUS, /* "OK" */
    REDIS_TYPE_ERROR,  /* the server's: "WRONGTYPE Operation ..." */
    REDIS_TYPE_INTEGER,
    REDIS_TYPE_ARRAY,
};

struct redis_reply {
    enum redis_type type;
    int64_t integer;
    struct span text; /* string, status, error; a '\0' follows it */
    struct redis_reply *elements;
    size_t n_elements;
};

/* Whether the reply is of this type: STORE_FAILED with the server's words when it is an error,
 * PROTOCOL_ERROR when it is something else. The detail is in the reply's arena. */
struct status redis_expect(const struct redis_reply *reply, enum redis_type type) NODISCARD;

/* --- commands ----------------------------------------------------------------------------------
 */

/* The reply is built in the arena, whose budget bounds it. OK also when the server answers with an
 * error. Arrays nest eight levels at most (PROTOCOL_ERROR beyond). */
struct status redis_command(struct redis *redis, const struct span *args, size_t n,
                            struct arena *arena, const struct redis_reply **out) NODISCARD PARKS;

/* The same of which nobody wants the reply, and that may be lost without a word. */
void redis_tell(struct redis *redis, const struct span *args, size_t n);

/* redis_command(redis, REDIS_ARGS(SPAN("GET"), key), arena, &reply) */
#define REDIS_ARGS(...)                                                                            \
    (const struct span[]){__VA_ARGS__}, sizeof((struct span[]){__VA_ARGS__}) / sizeof(struct span)

struct redis_script {
    struct span text; /* its owner's */
    char sha1[41];
};

void redis_script_init(struct redis_script *script, struct span text);

/* EVALSHA; when the server does not know the script, EVAL. */
struct status redis_eval(struct redis *redis, const struct redis_script *script,
                         const struct span *keys, size_t n_keys, const struct span *args,
                         size_t n_args, struct arena *arena,
                         const struct redis_reply **out) NODISCARD PARKS;

/* --- messages ----------------------------------------------------------------------------------
 */

struct redis_pubsub;

/* Both are called on the loop and must not park; they may subscribe and unsubscribe. */
struct redis_listener {
    void (*message)(void *arg, struct span channel, struct span payload);
    /* All channels are confirmed: for the first time, after a change, or on a new connection, and
     * then messages may have been missed. May be NULL. */
    void (*ready)(void *arg);
    void *arg;
};

/* A connection of its own. */
struct redis_pubsub *redis_pubsub_new(struct loop *loop, const struct redis_options *options,
                                      const struct redis_listener *listener) NODISCARD;
void redis_pubsub_free(struct redis_pubsub *pubsub) PARKS; /* takes NULL */

/* Remembered, and said again on each new connection. Twice is once. */
void redis_subscribe(struct redis_pubsub *pubsub, struct span channel);
void redis_unsubscribe(struct redis_pubsub *pubsub, struct span channel);

/* OK while the server has confirmed all channels, else why not. */
struct status redis_pubsub_health(const struct redis_pubsub *pubsub) NODISCARD;

#endif
