/*
 * router.h -- one call, from the first tier to an answer.
 *
 * Floor 6. The story is generate.c; the words it is told in are here:
 *
 *   call     what the caller asked, checked once (request.c)
 *   plan     the candidates in order, each reshaped for its model, and what was tried (plan.h)
 *   grant    one admission: a reservation and a lease at the limiter (admission.c,
 *            leases.c, settlement.c)
 *   attempt  one request to the provider (attempt.c), its events passed on (relay.h)
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
#include "router/plan.h"
#include "router/sink.h"

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

struct checks;
struct vitals;
struct leases;
struct lessons;
struct map;
struct records;
struct states;

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
    struct limiter_link *link;  /* all that is asked of the limiter goes over it */
    struct rpc_channel *ledger; /* NULL: calls are not recorded */
    struct leases *leases;
    struct records *records;
    struct lessons *lessons;
    struct vitals *vitals;
    struct checks *checks;           /* NULL: none are made */
    struct states *states;           /* what the limiter says of models, as it changes */
    uint8_t session[ROUTER_ID_SIZE]; /* this process, for limiter and ledger */
    size_t handed_over;              /* settlements on their way (settlement.h) */
    uint64_t settle_end_ms;          /* loop time when they are given up; 0: router runs */
    struct map *running;             /* call id -> plan */
    size_t upstream_open;
    uint64_t answer_ms; /* what whole answers take of late; 0: none is known */
};

/* --- request ---------------------------------------------------------------------------------- */

/* Checks the request as a whole: BAD_REQUEST with all its field violations, MODEL_UNKNOWN. */
struct status request_check(struct rpc *rpc, const char *tenant, const Router__Generation *g,
                            const struct router *router, const char **tenant_out) NODISCARD PARKS;

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
    bool unaccepted;        /* the limiter wants a Renew at once */
};

/* Asks until one candidate is granted, waiting as long as the limiter says and the deadline
 * allows, and tells the sink about the wait. Reasons: TENANT_LIMIT, SUITE_LIMIT,
 * NO_TIER_AVAILABLE, TOO_LARGE_FOR_LIMIT, LIMITER_UNREACHABLE, the task's own. */
struct status limiter_acquire(struct router *router, struct plan *plan, struct sink *sink,
                              struct grant *grant) NODISCARD PARKS;

/* One question with an id of the caller's, and no wait: false when it is refused, not answered, or
 * somebody else has been granted it. */
bool limiter_acquire_once(struct router *router, struct plan *plan, const uint8_t *id,
                          struct grant *grant) PARKS;

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

/* --- attempt ---------------------------------------------------------------------------------- */

/* One attempt: sends, passes events on, fills *attempt. OK with *completed filled when the answer
 * is complete. What breaks becomes a status whose class says what is next. */
struct status attempt_make(struct router *router, struct plan *plan, struct grant *grant,
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
struct status models_watch(struct rpc *rpc, const void *request) PARKS; /* watch.c */

/* A model as a message, with what vitals know of it. */
Router__Model *models_known(const struct router *router, const struct catalogue *catalogue,
                            const struct catalogue_model *model, struct arena *arena);

extern const struct rpc_method router_methods[];
extern const size_t router_n_methods;

#endif
