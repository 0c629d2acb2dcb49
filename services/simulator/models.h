/*
 * models.h -- the models the simulator knows, with what each generation accepts.
 *
 * Floor 6, a constant table: nothing is owned. What is said here is what the provider documents
 * and what callers report; the suite's own catalogue is not read, so that it can be proved wrong.
 */
#ifndef PRISM_SIMULATOR_MODELS_H
#define PRISM_SIMULATOR_MODELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum model_thinking {
    THINKS_NEVER,
    THINKS_BY_BUDGET,
    THINKS_BOTH, /* budgets, and adaptive */
    THINKS_ADAPTIVE,
};

enum model_sampling {
    SAMPLES_FREELY,
    SAMPLES_BY_ONE, /* temperature or top_p, not both */
    SAMPLES_ALONE,  /* temperature, top_p and top_k are refused */
};

struct model_generation {
    enum model_thinking thinking;
    enum model_sampling sampling;
    bool prefill;            /* the last message may be the assistant's */
    bool hides_thinking;     /* unless display is "summarized" */
    bool repeats_input;      /* message_delta's usage has input and cache counts again */
    bool always_thinks;      /* thinking "disabled" and forced tools are refused */
    bool own_signatures;     /* thinking blocks of other models are refused */
    uint32_t tokens_percent; /* of what tokens.h counts */
};

struct model {
    const char *id;   /* base id */
    const char *name; /* as replies have it */
    const struct model_generation *generation;
    bool profile_only; /* the base id is not served on demand */
    bool global;       /* has a "global." profile */
    uint32_t max_output;
    uint32_t context;
    uint32_t ttft_percent; /* of the configured time to the first token */
    uint32_t rate_percent; /* of the configured token rate */
    uint32_t burndown;     /* an output token counts so often against the quota when settled */
    uint32_t cache_least;  /* tokens that a cached prefix has */
};

/* A base id, "us." or "global." profile, or an ARN that ends in one of them; NULL: none of ours.
 * *profile: it was not the base id. */
const struct model *model_find(struct span id, bool *profile);

/* The last part of an ARN; what is none stays as it is. */
struct span model_without_arn(struct span id);

#endif
