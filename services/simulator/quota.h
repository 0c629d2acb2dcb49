/*
 * quota.h -- the provider's own limits: YAML, at start (--quotas) or while it runs
 * (PUT /simulator/quotas), which begins anew with nothing used.
 *
 *     quotas:                          # for each call the first one that fits counts
 *       - model: us.anthropic.claude-sonnet-4-6 # without its ARN; "*" or absent: each for itself
 *         region: us-east-2            # of the signature; absent: each for itself
 *         requests_per_minute: 200     # of these three at least one; absent: no limit
 *         tokens_per_minute: 400000
 *         tokens_per_day: 20000000
 *         refill: sliding_minute       # or continuous
 *         burst: 10s                   # of continuous, up to 60s, which it is when absent
 *         burndown: 5                  # absent: the model's own
 *
 * How a call is counted, in the provider's own words and order:
 * 1. At its start a request and a reservation are taken: all input, read from and written to a
 *    cache included, and max_tokens, which is not multiplied. What is not left is refused with 429:
 *    first requests, then tokens, then the day. A refused call takes nothing.
 * 2. While it generates, each output token that goes out takes one off the reservation.
 * 3. At its end, however that came, it has cost input + cache writes + output x burndown. What the
 *    reservation still holds beyond that is given back; what is missing is taken then, left or not:
 *    the account may go negative and refuses until that is worked off.
 *
 * sliding_minute: what is taken counts for 60 s from that moment on; what is given back lowers what
 * was taken at the start, if that still counts. continuous: a bucket, full at first, into which a
 * sixtieth of the minute's limit flows each second; it holds what flows in in the time `burst`, so
 * that with less than a minute bursts are refused that are within the minute's limit (but one
 * request always fits). The day is 24 h long and begins with the quotas. All of this time is
 * divided by --speed, and not by --instant. Calls of count-tokens and those that a fault refuses
 * with a status are free.
 *
 * Floor 6, loop thread. Written from the provider's documentation and independent of the limiter,
 * which it must be able to prove wrong.
 */
#ifndef PRISM_SIMULATOR_QUOTA_H
#define PRISM_SIMULATOR_QUOTA_H

#include <stdint.h>

#include "base/span.h"
#include "codec/yaml.h"
#include "simulator/models.h"

struct quota_plan;
struct quota_account;

struct quota_options {
    double speed;
    uint64_t serial; /* not 0, another for every plan */
    uint64_t now_us; /* of CLOCK_MONOTONIC, as everywhere here */
};

/* NULL and *error filled when the text is none. */
struct quota_plan *quota_plan_new(struct span yaml, const struct quota_options *options,
                                  struct yaml_error *error) NODISCARD;
void quota_plan_free(struct quota_plan *plan); /* takes NULL */

struct span quota_plan_text(const struct quota_plan *plan); /* as it was given */
size_t quota_plan_count(const struct quota_plan *plan);

enum quota_verdict {
    QUOTA_ADMITTED, /* also when nothing limits it */
    QUOTA_REQUESTS,
    QUOTA_TOKENS,
    QUOTA_DAY,
};

struct quota_tokens {
    uint64_t input; /* those of the next two not included */
    uint64_t cache_read;
    uint64_t cache_write;
    uint64_t max_tokens;
};

/* One call's part in its account; its owner is the call, which may outlive the plan. */
struct quota_charge {
    uint64_t serial; /* of the plan, 0: no quota counts this call */
    struct quota_account *account;
    struct quota_tokens tokens;
    uint64_t burndown;
    uint64_t reserved; /* 0: refused */
    uint64_t held;     /* of it, not yet given back */
    uint64_t entries[2];
};

/* Step 1. *charge is filled whatever the verdict is. */
enum quota_verdict quota_plan_reserve(struct quota_plan *plan, const struct model *model,
                                      struct span model_id, struct span region,
                                      const struct quota_tokens *tokens, uint64_t now_us,
                                      struct quota_charge *charge);

/* Step 2: so many output tokens have gone out. */
void quota_plan_progress(struct quota_plan *plan, struct quota_charge *charge, uint64_t output,
                         uint64_t now_us);

/* Step 3, once; returns what the call has cost, 0 when it was refused or is not counted. */
uint64_t quota_plan_settle(struct quota_plan *plan, struct quota_charge *charge, uint64_t output,
                           uint64_t now_us);

#define QUOTA_NO_LIMIT INT64_MAX

struct quota_left {
    int64_t requests;
    int64_t tokens;
    int64_t day;
};

/* What the call's account has left. */
void quota_plan_left(struct quota_plan *plan, const struct quota_charge *charge, uint64_t now_us,
                     struct quota_left *out);

#endif
