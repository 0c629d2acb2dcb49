/*
 * arrivals.h -- the log of who called when: what an oracle judges limiters by.
 *
 * Floor 6, loop thread. Two JSON lines a call, at its start and at its end, on the simulator's own
 * clock (CLOCK_MONOTONIC). The newest ARRIVALS_KEPT lines are held in memory; a file gets all.
 */
#ifndef PRISM_SIMULATOR_ARRIVALS_H
#define PRISM_SIMULATOR_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "base/status.h"

#define ARRIVALS_KEPT 100000

struct arrivals;

struct arrivals *arrivals_new(void) NODISCARD;
void arrivals_free(struct arrivals *arrivals); /* takes NULL */

/* Appends to this file from now on. */
struct status arrivals_open(struct arrivals *arrivals, const char *path) NODISCARD;

struct arrivals_start {
    struct span model; /* as it was asked for */
    struct span region;
    const char *operation; /* "invoke", "stream", "count" */
    uint64_t input_tokens;
    uint64_t max_tokens;
};

struct arrivals_end {
    int status;          /* HTTP, 0: none was sent */
    const char *outcome; /* ok throttled rejected failed exception reset closed truncated bad_crc
                          * client_gone stopped */
    uint64_t output_tokens;
};

/* The call's number, which its end repeats. */
uint64_t arrivals_begin(struct arrivals *arrivals, const struct arrivals_start *start);
void arrivals_finish(struct arrivals *arrivals, uint64_t id, const struct arrivals_end *end);

uint64_t arrivals_running(const struct arrivals *arrivals);
void arrivals_forget(struct arrivals *arrivals); /* the lines, not the numbers */

/* Appends lines from line number *from on while out has less than `enough` bytes, and moves *from
 * behind them; false when there was none. Lines that are gone are passed over. */
bool arrivals_add(const struct arrivals *arrivals, uint64_t *from, size_t enough, struct buf *out);

#endif
