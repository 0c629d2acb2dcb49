/*
 * router.h -- one call, from the first tier to an answer.
 *
 * Floor 6. The story is generate.c; the words it is told in are here:
 *
 *   call     what the caller asked, checked once (request.c)
 *   plan     the candidates in order, each reshaped for its model, and what was tried (plan.c)
 *   grant    one admission: a reservation and a lease at the limiter (admission.c,
 *            leases.c, settlement.c)
 *   attempt  one request to the provider (relay.c)
 *   sink     where events go: a stream, or a whole answer (sink.c)
 *   record   one CallRecord a call (records.c)
 *
 * A call's memory is its arena. What outlives it (settlements, records) is copied into tasks of
 * its own.
 */
#ifndef PRISM_ROUTER_ROUTER_H
#define PRISM_ROUTER_ROUTER_H

#include "app/config.h"
#include "app/limiter_link.h"
#include "app/service.h"
#include "aws/bedrock.h"
#include "base/list.h"
#include "base/metric.h"
#include "catalogue/catalogue.h"
#include "net/rpc_client.h"
#include "prism/router/v1/router.pb-c.h"
#include "router/sink.h"

#define ROUTER_CANDIDATES_MOST 16
#define ROUTER_ID_SIZE         16

struct router_config {
#define CONFIG CONFIG_FIELD
#define CONFIG_ALIAS(name, env)
#include "app/common.def"
#include "router/config.def"
};

struct router_metrics {
#define METRIC(kind, name, labels, help) struct metric *name;
#include "router/metrics.def"
};

extern const struct service_spec router_spec;

struct leases;
struct lessons;
struct map;
struct records;

struct router {
    struct app *app;
    struct loop *loop;
    const struct router_config *config;
    struct router_metrics metrics;
    struct catalogue *catalogue;
    struct http_client *http;
    struct credentials *credentials;
    struct bedrock *bedrock;
    struct rpc_channel *limiter;
    struct limiter_link *link; /* all that is asked of the limiter goes over it */
    struct rpc_channel *ledger; /* NULL: calls are not recorded */
    struct leases *leases;
    struct records *records;
    struct lessons *lessons;
    uint8_t session[ROUTER_ID_SIZE]; /* this process, for limiter and ledger */
    size_t handed_over;              /* settlements on their way; drain waits for them */
    struct map *running;             /* call id -> plan */
    size_t upstream_open;
};

/* --- plan ------------------------------------------------------------------------------------- */

/* A model and the request as it would be sent there. */
struct candidate {
    const struct catalogue_model *model;
    const char *region;
    const char *resource; /* the limiter's name for it */
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
    struct candidate candidates[ROUTER_CANDIDATES_MOST];
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
    uint8_t call_id[ROUTER_ID_SIZE];
};

/* Checks the request as a whole: BAD_REQUEST with all its field violations, MODEL_UNKNOWN. */
struct status request_check(struct rpc *rpc, const char *tenant, const Router__Generation *g,
                            const struct router *router, const char **tenant_out) NODISCARD PARKS;

/* Candidates in order, each reshaped; CONTEXT_WINDOW_EXCEEDED when the prompt fits none. */
struct status plan_make(struct router *router, const Router__Generation *g, const char *tenant,
                        struct arena *arena, struct plan *plan) NODISCARD PARKS;
void plan_drop(struct plan **plan); /* for CLEANUP: gives the catalogue back */

/* What follows an attempt that ended with s: true when there is to be another one. Reads the class
 * of the reason only. Parks for fallback_wait or the backoff between rounds. */
bool plan_goes_on(struct router *router, struct plan *plan, struct status *s) PARKS;

/* One of the model's quotas is used up. */
bool plan_throttled(enum reason reason);

/* The account so far. In arena. */
Router__CallMetadata *plan_metadata(const struct plan *plan, struct arena *arena, uint64_t now_ms);

/* Decides what of the request the model can take; fills everything of candidate but out. */
void reshape(const struct router *router, const Router__Generation *g,
             const struct catalogue_model *model, struct arena *arena, struct candidate *candidate);

/* The Messages body for a candidate. Overflow of out: the request is too large. */
void reshape_add_body(struct buf *out, const Router__Generation *g,
                      const struct candidate *candidate);

/* Bytes of the content, for who must know whether that is much. */
size_t reshape_bytes(const Router__Generation *g);

/* Estimated prompt tokens at a model. */
uint64_t reshape_input_tokens(const Router__Generation *g, const struct catalogue_model *model);

/* --- admission -------------------------------------------------------------------------------- */

/* What a grant holds at one resource of the limiter. */
struct holding {
    const char *resource;
    uint64_t charge;
    uint64_t epoch;
    uint64_t seq;
};

#define ROUTER_HOLDINGS_MOST 4

struct grant {
    struct list link; /* in leases */
    uint8_t id[ROUTER_ID_SIZE];
    struct candidate *candidate;
    const char *tenant;
    uint64_t fence;
    uint64_t generation;
    uint64_t use_by_ms;  /* loop time: not dispatched later than this */
    uint64_t lost_at_ms; /* loop time: by then the call must have stopped, unless renewed */
    struct holding holdings[ROUTER_HOLDINGS_MOST];
    size_t n_holdings;
    struct task *task;
    uint64_t output_tokens; /* so far, for Renew */
    uint64_t renewal;       /* number of the Renew that it was in last */
};

/* Asks until one candidate is granted, waiting as long as the limiter says and the deadline
 * allows, and tells the sink about the wait. Reasons: TENANT_LIMIT, SUITE_LIMIT,
 * NO_TIER_AVAILABLE, TOO_LARGE_FOR_LIMIT, LIMITER_UNREACHABLE, the task's own. */
struct status limiter_acquire(struct router *router, struct plan *plan, struct sink *sink,
                              struct grant *grant) NODISCARD PARKS;

/* Settles in a task of its own, which also happens when the caller has left. */
void limiter_complete(struct router *router, const struct plan *plan, const struct grant *grant,
                      const struct attempt *attempt);

/* Takes an admission back that was not used, likewise; also one that may never have been made. */
void limiter_cancel(struct router *router, const struct plan *plan, const uint8_t *id,
                    const char *resource);

struct leases *leases_start(struct router *router);
void leases_stop(struct leases *leases) PARKS;
void leases_hold(struct leases *leases,
                 struct grant *grant); /* the running task's; until dropped */
void leases_drop(struct leases *leases, struct grant *grant);

/* SHA-256 of the last attempt's prompt, thinking and answer; has_*: there was any. */
struct record_hashes {
    uint8_t prompt[32];
    uint8_t thinking[32];
    uint8_t answer[32];
    bool has_prompt;
    bool has_thinking;
    bool has_answer;
};

/* --- relay ------------------------------------------------------------------------------------ */

/* One attempt: sends, passes events on, fills *attempt. OK with *completed filled when the answer
 * is complete. What breaks becomes a status whose class says what is next. */
struct status relay(struct router *router, struct plan *plan, struct grant *grant,
                    struct sink *sink, struct attempt *attempt, Router__Completed *completed,
                    struct record_hashes *hashes) NODISCARD PARKS;

/* --- records ---------------------------------------------------------------------------------- */

struct records *records_start(struct router *router);
void records_stop(struct records *records) PARKS; /* sends what is left, for a few seconds */

/* Spools one CallRecord; never blocks, drops the newest when the spool is full and counts it. */
void records_add(struct router *router, const struct plan *plan, struct status s,
                 const Router__Completed *completed, const struct record_hashes *hashes);

/* --- methods ---------------------------------------------------------------------------------- */

/* "models/x" or "x"; NULL when there is none. */
const struct catalogue_model *models_find(const struct catalogue *catalogue, const char *name);
char *models_legacy_warning(const struct catalogue_model *model, struct arena *arena);
struct status models_list(struct rpc *rpc, const void *request) PARKS;
struct status models_get(struct rpc *rpc, const void *request) PARKS;

extern const struct rpc_method router_methods[];
extern const size_t router_n_methods;

#endif
