/*
 * sink.h -- where the events of a call go: straight to a stream, or into a whole answer.
 *
 * Floor 6, tasks on the loop thread. A sink is its owner's memory; what a whole answer is made of
 * lives in the call's arena.
 */
#ifndef PRISM_ROUTER_SINK_H
#define PRISM_ROUTER_SINK_H

#include "base/arena.h"
#include "base/buf.h"
#include "net/rpc_server.h"
#include "prism/router/v1/router.pb-c.h"

/* Takes each event as it happens; the event is only valid during the call. */
struct sink {
    struct status (*put)(struct sink *sink, const Router__GenerateResponse *event) PARKS;
};

struct sink_stream {
    struct sink sink;
    struct rpc *rpc;
};

/* Keeps the blocks of the attempt that runs; Restarted and Admitted begin anew. */
struct sink_whole {
    struct sink sink;
    struct arena *arena;
    Router__ContentBlock **blocks;
    size_t n_blocks;
    size_t cap_blocks;
    const char *model; /* "models/x" of the attempt, noted in thinking blocks */
    struct buf text;   /* of the open block */
    struct buf extra;  /* its signature */
    uint32_t open;     /* BlockType of the open block, 0: none */
    Router__Completed *completed;
};

void sink_stream_init(struct sink_stream *sink, struct rpc *rpc);
void sink_whole_init(struct sink_whole *sink, struct arena *arena, size_t most);
void sink_whole_clear(struct sink_whole *sink); /* for CLEANUP */

#endif
