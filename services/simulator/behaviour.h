/*
 * behaviour.h -- what the simulator answers, and how long that takes.
 *
 * Floor 6, pure: the same request, body and seed give the same answer, byte for byte, times
 * included. Everything is in the arena.
 */
#ifndef PRISM_SIMULATOR_BEHAVIOUR_H
#define PRISM_SIMULATOR_BEHAVIOUR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "simulator/request.h"

struct behaviour {
    uint64_t seed;
    uint64_t ttft_ms;  /* of a model with 100 percent */
    double token_rate; /* tokens a second */
};

/* What an answer says of its tokens. */
enum figures {
    FIGURES_TRUE,
    FIGURES_MISSING,
    FIGURES_SMALLER, /* half of the truth */
    FIGURES_LARGER,  /* twice */
};

struct answer {
    const struct model *model;
    char id[40]; /* "msg_bdrk_..." */
    bool thinks;
    struct span thinking; /* as shown, may be empty */
    struct span signature;
    struct span text; /* empty when max_tokens was used up before */
    const char *stop_reason;
    struct span stop_sequence; /* empty: none */
    uint64_t input_tokens;     /* those of the next two not included */
    uint64_t cache_read;
    uint64_t cache_write;
    uint64_t thinking_tokens;
    uint64_t output_tokens; /* thinking and text */
    uint64_t metric_tokens; /* as invocationMetrics has them */
    uint64_t first_ms;      /* when the first event is due, after the call began */
    double token_ms;
    uint64_t random; /* for whoever cuts the answer into pieces */
    enum figures usage;
    enum figures metrics;
};

void behaviour_answer(const struct behaviour *behaviour, const struct request *request,
                      struct span body, struct arena *arena, struct answer *out);

/* The next number of a sequence (SplitMix64). */
uint64_t behaviour_random(uint64_t *state);

#endif
