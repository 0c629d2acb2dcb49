/*
 * plan.h -- where a call may go, in which order and shape, and what was tried.
 *
 * Floor 6, loop thread; memory of a call's arena. A candidate is a model in one of its regions.
 * plan.c chooses and goes on, reshape.c fits the request to a model, account.c tells of it.
 */
#ifndef PRISM_ROUTER_PLAN_H
#define PRISM_ROUTER_PLAN_H

#include "base/buf.h"
#include "catalogue/catalogue.h"
#include "loop/task.h"
#include "prism/router/v1/router.pb-c.h"

#define ROUTER_CANDIDATES_MOST 32 /* as many as the limiter takes */
#define ROUTER_SKIPPED_MOST    64 /* that the account of a call names */
#define ROUTER_ID_SIZE         16

struct router;

/* A model in one of its regions, and the request as it would be sent there. */
struct candidate {
    const struct catalogue_model *model; /* as it is in the region */
    const char *region;
    const char *resource; /* the limiter's name for it: "sonnet-4.6@us-east-2" */
    struct estimate_tokens tokens;
    uint64_t estimated_input; /* tokens.input before what the model has taught */
    uint64_t thinking_budget; /* 0: none, or adaptive */
    bool adaptive;
    bool send_temperature;
    Router__Reshape **reshapes; /* what differs from what was asked */
    size_t n_reshapes;
    enum reason out;   /* why it is not asked for in this round; REASON_NONE: it is */
    bool out_for_good; /* also not in later rounds */
};

/* One request to the provider, as it ended. */
struct attempt {
    const struct candidate *candidate;
    uint32_t number;
    enum reason reason; /* REASON_NONE: it gave the answer */
    uint32_t http_status;
    uint64_t duration_ms;
    uint64_t ttft_ms;
    struct price_usage usage;
    uint64_t thinking_tokens;
    uint64_t metered_output;
    bool usage_partial;
    bool simulated;
    bool dispatched; /* the provider may have seen it */
    uint32_t server_retry_ms;
    const char *request_id; /* the provider's */
    bool output_sent;       /* the caller has seen output of it */
};

struct plan {
    struct catalogue *catalogue; /* a reference */
    const Router__Generation *generation;
    const char *tenant;
    const char *tenant_pool; /* the limiter's name for its pool: "tenant:acme" */
    struct arena *arena;
    struct candidate *candidates; /* room for ROUTER_CANDIDATES_MOST, the first to try first */
    size_t n_candidates;
    struct attempt *attempts; /* room for attempts_most */
    size_t n_attempts;
    size_t attempts_most;
    uint32_t rounds; /* whole chains that failed */
    uint64_t begin_ms;
    uint64_t begin_wall_ms;
    uint64_t queue_ms;
    uint64_t first_token_ms;        /* loop time of the answer's first token, 0: none yet */
    Router__SkippedModel **skipped; /* by the plan itself, then by the last decision */
    size_t n_skipped;
    size_t n_unfit; /* of them by the plan */
    bool check;     /* of a model that nobody uses */
    uint8_t call_id[ROUTER_ID_SIZE];
};

/* Candidates in order, each reshaped; CONTEXT_WINDOW_EXCEEDED when the prompt fits none. */
struct status plan_make(struct router *router, const Router__Generation *g, const char *tenant,
                        struct arena *arena, struct plan *plan) NODISCARD PARKS;
void plan_drop(struct plan **plan); /* for CLEANUP: gives the catalogue back */

/* What follows an attempt that ended with s: true when there is to be another one. Reads the class
 * of the reason only. Parks for fallback_wait or the backoff between rounds. */
bool plan_goes_on(struct router *router, struct plan *plan, struct status *s) PARKS;

/* One of the model's quotas is used up. */
bool plan_throttled(enum reason reason);

/* Of an attempt in micro-USD, by the price in force when the call began. */
uint64_t plan_cost(const struct plan *plan, const struct attempt *attempt);

/* The account so far. In arena. */
Router__CallMetadata *plan_metadata(const struct plan *plan, struct arena *arena, uint64_t now_ms);

/* Decides what of the request the model can take, which is the same in all its regions; fills
 * everything of candidate but region, resource and out. */
void reshape(const struct router *router, const Router__Generation *g,
             const struct catalogue_model *model, struct arena *arena, struct candidate *candidate);

/* The Messages body for a candidate. Overflow of out: the request is too large. */
void reshape_add_body(struct buf *out, const Router__Generation *g,
                      const struct candidate *candidate);

/* Bytes of the content, for who must know whether that is much. */
size_t reshape_bytes(const Router__Generation *g);

/* Estimated prompt tokens at a model. */
uint64_t reshape_input_tokens(const Router__Generation *g, const struct catalogue_model *model);

#endif
