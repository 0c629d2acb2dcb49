/*
 * events.h -- an answer as the Messages API says it: one body, or one event after the other.
 *
 * Floor 6, pure.
 */
#ifndef PRISM_SIMULATOR_EVENTS_H
#define PRISM_SIMULATOR_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "simulator/behaviour.h"

enum events_stage {
    EVENTS_MESSAGE_START,
    EVENTS_THINKING_START,
    EVENTS_THINKING,
    EVENTS_SIGNATURE,
    EVENTS_THINKING_STOP,
    EVENTS_TEXT_START,
    EVENTS_TEXT,
    EVENTS_TEXT_STOP,
    EVENTS_MESSAGE_DELTA,
    EVENTS_MESSAGE_STOP,
    EVENTS_END,
};

enum events_kind {
    EVENTS_KIND_MESSAGE_START,
    EVENTS_KIND_THINKING, /* a thinking_delta */
    EVENTS_KIND_CONTENT,
    EVENTS_KIND_MESSAGE_DELTA,
    EVENTS_KIND_MESSAGE_STOP,
    EVENTS_KIND_PING, /* from here on: no part of an answer */
    EVENTS_KIND_UNKNOWN,
    EVENTS_KIND_ERROR,
};

struct events {
    const struct answer *answer;
    enum events_stage stage; /* of the next event */
    enum events_kind kind;   /* of the last one */
    struct span rest;        /* of the block that is being sent */
    uint64_t sent;           /* tokens so far, out of output_tokens */
    uint64_t random;
};

void events_init(struct events *events, const struct answer *answer);

/* Appends the next event's JSON; false at the end. *due_ms is when it is to be sent, after the
 * call began. */
bool events_next(struct events *events, struct buf *json, uint64_t *due_ms);

/* An event that does not belong where it stands: message_start, or one of no answer. */
void events_add_stray(const struct answer *answer, enum events_kind kind, struct buf *json);

/* The whole answer as one body, and when it is complete. */
void events_add_body(const struct answer *answer, struct buf *json);
uint64_t events_last_ms(const struct answer *answer);

/* What the invocation's metrics say in place of a true count. */
uint64_t events_metric(const struct answer *answer, uint64_t truth);

#endif
