/*
 * arrivals.h -- the log of who called when: what an oracle judges limiters by.
 *
 * Floor 6, loop thread. Two JSON lines a call, at its start and at its end. The newest
 * ARRIVALS_KEPT lines are held in memory; a file gets all.
 *
 * both     event          start or end
 *          id             the call's number, in the order of arrival
 *          t_ms           when, on CLOCK_MONOTONIC; it is the time the quotas were asked with
 *          running        calls that run now, this one (still) included at its start
 *          requests_left, tokens_left, day_left
 *                         what the quota of this model and region has left after what this line
 *                         tells, and so before the next one; absent: no such limit
 * start    wall           the same moment on the wall clock, RFC 3339
 *          model, region  as they were asked for; operation: invoke, stream or count
 *          input_tokens, cache_read_tokens, cache_write_tokens, max_tokens
 *                         0 for a call that was refused for what it says; the cache's are there
 *                         with --cache only
 *          reserved       tokens taken from the quota (quota.h, step 1); 0: refused or not counted
 * end      status         HTTP, 0: none was sent
 *          outcome        ok throttled rejected failed exception reset closed truncated bad_crc
 *                         client_gone stopped
 *          cause          quota or fault: who made it so, none: nobody; a fault is also named when
 *                         it did not change the outcome
 *          kind           of that cause: requests, tokens or day; or the action of the fault plan
 *          output_tokens  that went out, whatever the answer's usage says of them
 *          settled        tokens the call has cost (quota.h, step 3)
 *
 * While a stream runs, step 2 gives back tokens that no line tells of: the next line's tokens_left
 * has them. Calls without a stream give back at their end only.
 */
#ifndef PRISM_SIMULATOR_ARRIVALS_H
#define PRISM_SIMULATOR_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "base/status.h"
#include "simulator/cache.h"
#include "simulator/quota.h"

#define ARRIVALS_KEPT 100000

struct arrivals;

struct arrivals *arrivals_new(void) NODISCARD;
void arrivals_free(struct arrivals *arrivals); /* takes NULL */

/* Appends to this file from now on. */
struct status arrivals_open(struct arrivals *arrivals, const char *path) NODISCARD;

struct arrivals_start {
    struct span model;
    struct span region;
    const char *operation;
    uint64_t input_tokens;
    const struct cache_use *cache; /* NULL: there is none */
    uint64_t max_tokens;
    uint64_t reserved;
    struct quota_left left;
};

struct arrivals_end {
    int status;
    const char *outcome;
    const char *cause;
    const char *kind; /* NULL: none */
    uint64_t output_tokens;
    uint64_t settled;
    struct quota_left left;
};

/* The call's number, which its end repeats. now_us is of CLOCK_MONOTONIC. */
uint64_t arrivals_begin(struct arrivals *arrivals, uint64_t now_us,
                        const struct arrivals_start *start);
void arrivals_finish(struct arrivals *arrivals, uint64_t now_us, uint64_t id,
                     const struct arrivals_end *end);

uint64_t arrivals_running(const struct arrivals *arrivals);
void arrivals_forget(struct arrivals *arrivals); /* the lines, not the numbers */

/* Appends lines from line number *from on while out has less than `enough` bytes, and moves *from
 * behind them; false when there was none. Lines that are gone are passed over. */
bool arrivals_add(const struct arrivals *arrivals, uint64_t *from, size_t enough, struct buf *out);

#endif
