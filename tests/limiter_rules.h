/*
 * limiter_rules.h -- the defaults of the limiter's rules, for tests of its engine without its
 * options.
 */
#ifndef PRISM_TESTS_LIMITER_RULES_H
#define PRISM_TESTS_LIMITER_RULES_H

#include "limiter/engine.h"

/* Nobody waits, and a model that comes back takes all calls at once: more stands behind it where a
 * test is about that. */
#define LIMITER_RULES                                                                              \
    .guard_ms = 500, .lease_ms = 15000, .use_by_ms = 350,                                          \
    .cooldown_steps_ms = {0, 5000, 10000, 20000, 40000}, .cooldown_most_ms = 3600000,              \
    .breaker_open_ms = 60000, .breaker_age_ms = 600000, .breaker_outcomes = 20,                    \
    .breaker_least = 6, .breaker_ratio = 0.5, .record_open_ms = 4200000, .record_done_ms = 600000

#endif
