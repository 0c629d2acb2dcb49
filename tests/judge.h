/*
 * judge.h -- what the simulator's arrival log proves.
 *
 * Pure. Times are the simulator's own; nothing the limiter or the router say is believed.
 * Everything lives in the arena of judge_read.
 */
#ifndef PRISM_TESTS_JUDGE_H
#define PRISM_TESTS_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"

struct judge_call {
    uint64_t id;
    struct span model; /* as it was asked for */
    struct span region;
    struct span operation;
    double begin_ms;
    double end_ms; /* of a call that runs: infinitely late */
    bool ended;
    int status;
    struct span outcome; /* empty while it runs */
    uint64_t output_tokens;
};

/* In the order of arrival. */
struct judge_log {
    const struct judge_call *calls;
    size_t n;
};

/* False when a line is none of the log's. */
bool judge_read(struct span lines, struct arena *arena, struct judge_log *out);

/* The calls of one model; of those that arrived after the first n. */
struct judge_log judge_of_model(struct judge_log log, const char *model, struct arena *arena);
struct judge_log judge_after(struct judge_log log, size_t n);

size_t judge_running(struct judge_log log);
size_t judge_most_at_once(struct judge_log log);

/* Most arrivals in any stretch of time that is `window_ms` long, its end not included. */
size_t judge_most_in_window(struct judge_log log, double window_ms);

#endif
