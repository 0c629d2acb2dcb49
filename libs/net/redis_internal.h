/*
 * redis_internal.h -- what the redis_*.c files know of each other.
 *
 * Floor 3, loop thread. redis.c speaks the protocol and to the callers, redis_pipeline.c carries
 * commands over one connection, redis_link.c makes connections, redis_pubsub.c and
 * redis_sentinel.c are built on them.
 */
#ifndef PRISM_NET_REDIS_INTERNAL_H
#define PRISM_NET_REDIS_INTERNAL_H

#include "base/list.h"
#include "base/metric.h"
#include "net/redis.h"

/* --- the protocol: redis.c -----------------------------------------------------------------------
 */

/* Some arguments of a command, in a row. */
struct redis_part {
    const struct span *args;
    size_t n;
};

/* One command on its way. From the link it gets its end, once, and is freed then. */
struct redis_call {
    struct list link; /* redis.unsent, then redis.sent */
    char *bytes;      /* until it is sent */
    size_t len;
    bool sent;
    uint64_t asked_ms;
    uint64_t late_ms;    /* when the reply is overdue */
    struct arena *arena; /* of the reply; NULL: nobody wants it */
    /* reply is NULL unless s is OK; owner may be anybody's; NULL: nobody wants to know */
    void (*done)(void *owner, struct status s, const struct redis_reply *reply);
    void *owner;
};

/* NULL when it would be larger than most bytes. */
struct redis_call *redis_call_new(const struct redis_part *parts, size_t n, size_t most) NODISCARD;
void redis_call_free(struct redis_call *call);

bool redis_says(const struct redis_reply *reply, const char *error); /* an error of this kind */

/* Bytes in, replies out. */
struct redis_reader;
struct redis_reader *redis_reader_new(size_t reply_max) NODISCARD;
void redis_reader_free(struct redis_reader *reader);
void redis_reader_feed(struct redis_reader *reader, struct span bytes); /* not after a failure */

/* The next reply, as far as its bytes are there: *whole says whether it is complete. It is built
 * in the arena bit by bit; NULL from some call on drops the rest of it. A whole reply is NULL when
 * it was dropped or did not fit. */
struct status redis_reader_next(struct redis_reader *reader, struct arena *arena, bool *whole,
                                const struct redis_reply **reply) NODISCARD;

/* --- a client ------------------------------------------------------------------------------------
 */

/* What a connection is for, beyond commands. */
struct redis_hooks {
    void (*ready)(void *arg);
    /* Sees every reply first; true: it answers no command. */
    bool (*took)(void *arg, const struct redis_reply *reply);
    void *arg;
};

struct redis_metrics {
    struct metric *seconds;
    struct metric *connects;
    struct metric *ready;
};

enum redis_state {
    REDIS_DOWN,
    REDIS_GREETING,
    REDIS_READY,
};

struct redis {
    struct loop *loop;
    struct redis_options options; /* with the defaults filled in */
    struct redis_hooks hooks;
    struct redis_metrics metrics;
    struct task *task;
    struct op ended; /* the task has */
    enum redis_state state;
    uint64_t connection;
    uint64_t ready_ms;     /* since when it is, or was last */
    struct status why;     /* it is not ready */
    char why_detail[256];  /* its detail */
    struct list expectant; /* redis_wait_ready */
    char master[256];      /* host of the present master, if sentinels tell it */
    uint16_t master_port;
    struct redis_sentinel *sentinel;

    struct stream *stream;
    struct redis_reader *reader;
    struct arena *scratch; /* replies to the greeting, and all that a hook may take */
    uint64_t greeted_by_ms;
    struct list unsent;
    struct list sent;
    size_t n_pending;
    size_t unsent_bytes;
    struct op wake; /* the writer waits for it while idle */
    bool idle;
    struct timer timer; /* a late reply, a ping */
    uint64_t heard_ms;
    const struct redis_call *overdue; /* a turn ago; only to compare */
};

/* --- keeping connected: redis_link.c -------------------------------------------------------------
 */

struct redis *redis_new_hooked(struct loop *loop, const struct redis_options *options,
                               const struct redis_hooks *hooks) NODISCARD;

void redis_greet(struct redis *redis);
void redis_set_state(struct redis *redis, enum redis_state state);
void redis_note_failure(struct redis *redis, struct status why); /* copies the detail */

/* --- one connection: redis_pipeline.c ------------------------------------------------------------
 */

/* The stream, from connected to lost. */
void redis_serve(struct redis *redis) PARKS;

/* While greeting or ready. */
void redis_push(struct redis *redis, struct redis_call *call);

/* Takes back what was not sent and frees it. */
void redis_pull(struct redis *redis, struct redis_call *call);

/* Ends the present connection; another follows. The detail only needs to live for the call, unless
 * commands are pending: they hand it on. */
void redis_fail(struct redis *redis, struct status why);

/* --- the master: redis_sentinel.c ----------------------------------------------------------------
 */

struct redis_sentinel;
struct redis_sentinel *redis_sentinel_new(struct redis *redis) NODISCARD;
void redis_sentinel_free(struct redis_sentinel *sentinel) PARKS; /* takes NULL */

/* Asks for the master and notes it in the redis. */
struct status redis_sentinel_ask(struct redis_sentinel *sentinel,
                                 uint64_t until_ms) NODISCARD PARKS;

#endif
