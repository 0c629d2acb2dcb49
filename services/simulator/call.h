/*
 * call.h -- one call of the Bedrock Runtime, between bedrock.c, which lets it in, and delivery.c,
 * which answers it.
 *
 * Floor 6, loop thread; lives on its task's stack.
 */
#ifndef PRISM_SIMULATOR_CALL_H
#define PRISM_SIMULATOR_CALL_H

#include "simulator/sim.h"

enum call_operation {
    CALL_INVOKE,
    CALL_STREAM,
    CALL_COUNT,
};

struct call {
    struct sim *sim;
    struct http_exchange *exchange;
    struct arena *arena;
    struct span model_id; /* decoded */
    enum call_operation operation;
    uint64_t begun_ms; /* what is due is due so much later */
    struct json *json;
    struct span region;
    struct request request;
    struct fault fault;
    struct cache_use cache;
    enum quota_verdict verdict;
    struct quota_charge charge;
    struct arrivals_end end;
};

/* Answers with a refusal. */
void call_refuse(struct call *call, const struct refusal *refusal);

/* Begins a stream that says nothing but this. */
void call_refuse_late(struct call *call, const struct refusal *refusal) PARKS;

/* Sends the answer the way its operation and fault want it. */
void call_deliver(struct call *call, const struct answer *answer) PARKS;

/* Before anything is answered, when the fault says so; false when nobody waits any more. */
bool call_stall(struct call *call) PARKS;

#endif
