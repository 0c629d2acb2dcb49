/*
 * faults.h -- the plan of what goes wrong: YAML, at start (--faults) or while it runs
 * (PUT /simulator/faults).
 *
 *     rules:                           # for each call the first rule that matches acts
 *       - model: us.anthropic.claude-sonnet-4-6    # as callers write it; "*" or absent: any
 *         region: us-east-2            # of the signature; absent: any
 *         operation: stream            # invoke or stream; absent: both
 *         nth: 3                       # only the third call of that model since the plan was set
 *         from: 2                      # or: from the second on ...
 *         count: 4                     # ... four calls; absent: for ever
 *         probability: 0.25            # of those; absent: all. The same seed, the same choice
 *         action: status               # see below; what an action does not know is refused
 *         code: 429
 *
 * action     its keys
 * status     code; kind: one of those faults.def has for the code (429: tokens, requests, day,
 *            not_ready; 404: end_of_life, legacy; ...), absent: its first; message, error: instead
 *            of the real text and exception name; original: what a model error says its model
 *            answered (500); retry_after: a duration, sent as Retry-After in
 *            whole seconds; amz_retry_after: sent as x-amz-retry-after in milliseconds
 * retired    none: the 404 of a model that reached its end of life
 * exception  type: a member of the stream's union (throttlingException, ...), or "error" for a
 *            frame that no model describes; message; after: events sent before it (0).
 *            A call without stream gets the matching HTTP status
 * stall      at: headers (before any byte of the answer), events or thinking; after: how many
 *            events, or tokens of thinking, go out before it (0); for: a duration, never scaled by
 *            speed or instant. Then it goes on. Thinking that is not shown does not stall
 * drip       bytes: so many go out at once, every: duration, never scaled; after: events that go
 *            out as always before (0)
 * reset      after: events sent before the connection is reset (0)
 * close      after: events sent before the connection is closed without ending the answer (0)
 * truncate   after: events sent before half a frame, behind which the answer ends (0)
 * bad_crc    after: events sent before one whose checksum is wrong; then it goes on (0)
 * insert     event: message_start (once more), ping, unknown (a type that does not exist) or error
 *            (overloaded_error); after: events sent before it (0). Then it goes on
 * omit       event: message_start, message_delta or message_stop is never sent
 * usage      usage, metrics: what the answer's usage or its invocationMetrics say of tokens:
 *            missing, smaller (half of the truth) or larger (twice); absent: the truth
 *
 * Without a stream, `after` means nothing, a stall inside thinking is one before the body, truncate
 * cuts the body, metrics are the headers with counts, and bad_crc, insert and omit never match.
 *
 * Floor 6, loop thread. A plan owns its rules; a fault that a call got is the call's own.
 */
#ifndef PRISM_SIMULATOR_FAULTS_H
#define PRISM_SIMULATOR_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "codec/yaml.h"
#include "simulator/behaviour.h"
#include "simulator/events.h"
#include "simulator/refusal.h"

enum fault_action {
    FAULT_NONE,
    FAULT_STATUS,
    FAULT_EXCEPTION,
    FAULT_STALL,
    FAULT_DRIP,
    FAULT_RESET,
    FAULT_CLOSE,
    FAULT_TRUNCATE,
    FAULT_BAD_CRC,
    FAULT_INSERT,
    FAULT_OMIT,
    FAULT_USAGE,
};

enum fault_at {
    FAULT_AT_HEADERS,
    FAULT_AT_EVENTS,
    FAULT_AT_THINKING,
};

struct fault {
    enum fault_action action;
    struct refusal refusal; /* of STATUS and EXCEPTION; a frame's type begins in lower case */
    bool unmodelled;        /* EXCEPTION: a frame that no model describes */
    uint64_t original;      /* STATUS: of a model error, 0: 500 */
    uint64_t retry_after_ms;
    uint64_t amz_retry_after_ms;
    uint64_t after; /* events or tokens */
    enum fault_at at;
    uint64_t stall_ms;
    uint64_t drip_bytes;
    uint64_t drip_ms;
    enum events_kind event; /* INSERT and OMIT */
    enum figures usage;
    enum figures metrics;
};

struct fault_plan;

/* NULL and *error filled when the text is no plan. */
struct fault_plan *fault_plan_new(struct span yaml, uint64_t seed,
                                  struct yaml_error *error) NODISCARD;
void fault_plan_free(struct fault_plan *plan); /* takes NULL */

struct span fault_plan_text(const struct fault_plan *plan); /* as it was given */
size_t fault_plan_rules(const struct fault_plan *plan);

struct fault_call {
    struct span model;
    struct span region; /* of the signature; empty with an API key */
    bool stream;
};

/* Counts a call of this model and says what happens to it; its texts are in the arena. */
void fault_plan_next(struct fault_plan *plan, const struct fault_call *what, struct arena *arena,
                     struct fault *out);

const char *fault_name(enum fault_action action); /* "none", "status", ... */

/* A refusal of faults.def, which has to be there; kind NULL: the first of its code. */
struct refusal fault_refusal(int code, const char *kind);

#endif
