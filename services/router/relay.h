/*
 * relay.h -- the events of one attempt, passed on as they come.
 *
 * Floor 6, a call's task. relay.c reads the provider's stream and puts events into the sink;
 * attempt.c makes the attempt around it.
 */
#ifndef PRISM_ROUTER_RELAY_H
#define PRISM_ROUTER_RELAY_H

#include "codec/hash.h"
#include "router/router.h"

struct relay {
    struct router *router;
    struct plan *plan;
    struct grant *grant;
    struct sink *sink;
    struct attempt *attempt;
    Router__Completed *completed;
    struct hash_sha256 *thinking;
    struct hash_sha256 *answer;
    bool has_thinking;
    bool has_answer;
    uint64_t sent_ms;
    uint64_t credentials; /* serial of those it was sent with */
    bool began;           /* an event was seen */
    bool stopped;         /* and message_stop */

    /* The open block: blocks come one after the other. */
    Router__BlockType type;
    uint32_t index;
    struct buf start;   /* of a raw block: the object it began with */
    struct buf partial; /* and the pieces of its input */
    struct buf piece;   /* text of it that arrived together and has not gone out yet */
};

/* Of a relay that has its first six members. */
void relay_init(struct relay *r);

/* Frees what it holds; what it has hashed is in *hashes then. */
void relay_end(struct relay *r, struct record_hashes *hashes);

/* One event, behind the text that was gathered. */
struct status relay_put(struct relay *r, Router__GenerateResponse__EventCase what,
                        void *event) NODISCARD PARKS;

/* The text that was gathered. */
struct status relay_flush(struct relay *r) NODISCARD PARKS;

/* The stream to its end: OK when the answer is complete. */
struct status relay_read(struct relay *r, struct bedrock_call *call) NODISCARD PARKS;

#endif
