/*
 * wire.h -- headers, error bodies and frames as the Bedrock Runtime writes them.
 *
 * Floor 6, loop thread. Nothing parks.
 */
#ifndef PRISM_SIMULATOR_WIRE_H
#define PRISM_SIMULATOR_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "net/http_server.h"
#include "simulator/faults.h"
#include "simulator/refusal.h"

#define WIRE_HEADERS   12
#define WIRE_BODY_MOST (2u << 20)

/* The headers of one answer; values live in the exchange's arena. */
struct wire_headers {
    struct http_exchange *exchange;
    struct http_header at[WIRE_HEADERS];
    size_t n;
};

/* Begins with those that every answer has: a fresh request id, the type, the simulator's mark. */
void wire_begin(struct wire_headers *headers, struct http_exchange *exchange, const char *type);
void wire_add(struct wire_headers *headers, const char *name, const char *value);
void wire_add_count(struct wire_headers *headers, const char *name, uint64_t value);

/* Answers with a refusal and, when a fault says so, when to come back. fault may be NULL. */
void wire_refuse(struct http_exchange *exchange, const struct refusal *refusal,
                 const struct fault *fault);

/* A frame with one Messages event in base64 beside padding of random length. */
void wire_add_chunk(struct buf *frame, struct span event, uint64_t *random);

/* The frame of a refusal that comes too late for a status. unmodelled: one without a type. */
void wire_add_exception(struct buf *frame, const struct refusal *refusal, bool unmodelled);

#endif
