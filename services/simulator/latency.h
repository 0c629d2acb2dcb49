/*
 * latency.h -- how long models take: YAML, at start (--latency) or while it runs
 * (PUT /simulator/latency).
 *
 *     latency:                       # for each call the first one that fits counts
 *       - model: us.anthropic.claude-sonnet-4-6 # as callers write it; "*" or absent: any
 *         ttft: lognormal(800ms, 2500ms)        # to the first token
 *         token_rate: uniform(60, 100)          # tokens a second after that
 *
 * constant(X); uniform(LEAST, MOST); lognormal(MEDIAN, P95): one call in twenty takes longer than
 * P95, or is faster than it. What a rule does not name, and calls no rule names, take the time of
 * --ttft and --token-rate.
 *
 * The n-th call of a rule draws the same for the same seed, whatever it asks; so answers are still
 * the same byte for byte but for what they say of latency.
 *
 * Floor 6, loop thread.
 */
#ifndef PRISM_SIMULATOR_LATENCY_H
#define PRISM_SIMULATOR_LATENCY_H

#include <stdint.h>

#include "base/span.h"
#include "codec/yaml.h"
#include "simulator/behaviour.h"

struct latency_plan;

/* NULL and *error filled when the text is none. */
struct latency_plan *latency_plan_new(struct span yaml, uint64_t seed,
                                      struct yaml_error *error) NODISCARD;
void latency_plan_free(struct latency_plan *plan); /* takes NULL */

struct span latency_plan_text(const struct latency_plan *plan); /* as it was given */
size_t latency_plan_count(const struct latency_plan *plan);

/* Draws for a call of this model and changes its answer's times. */
void latency_plan_apply(struct latency_plan *plan, struct span model, struct answer *answer);

#endif
