/*
 * request.h -- a Messages body, read as strictly as the provider reads it.
 *
 * Floor 6, pure. The caller owns the JSON tree and the arena; a request's spans point into both.
 */
#ifndef PRISM_SIMULATOR_REQUEST_H
#define PRISM_SIMULATOR_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "codec/json.h"
#include "simulator/models.h"
#include "simulator/refusal.h"

#define REQUEST_CACHE_POINTS 4

struct request {
    const struct model *model;
    uint64_t max_tokens;
    bool thinks;
    bool shows_thinking;
    uint64_t budget;          /* of thinking, 0: adaptive */
    const struct json *stops; /* stop_sequences, NULL: none */
    struct span system;       /* all of its text */
    struct span user;         /* all text of the last user message */
    struct span prefill;      /* the assistant's beginning of the answer */
    uint64_t input_tokens;
    uint64_t cache_points[REQUEST_CACHE_POINTS]; /* tokens from the beginning up to each */
    size_t n_cache_points;
};

/* Reads and judges a body for this model. */
struct refusal request_read(const struct json *body, const struct model *model, struct arena *arena,
                            struct request *out) NODISCARD;

#endif
