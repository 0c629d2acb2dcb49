/*
 * limiter.h -- the service around the engine: what one process holds.
 *
 * Floor 6, loop thread. A request is taken apart (request.c), decided by the engine in one step
 * where the state lives (home.h), and its reply put together (reply.c).
 */
#ifndef PRISM_LIMITER_LIMITER_H
#define PRISM_LIMITER_LIMITER_H

#include "app/service.h"
#include "base/metric.h"
#include "limiter/audit.h"
#include "limiter/engine_queue.h"
#include "limiter/outputs.h"
#include "limiter/policy.h"
#include "limiter/store.h"
#include "loop/loop.h"
#include "net/rpc_server.h"

struct limiter_config {
#define CONFIG CONFIG_FIELD
#define CONFIG_ALIAS(name, env)
#include "app/common.def"
#include "limiter/config.def"
};

extern const struct service_spec limiter_spec;

struct limiter_metrics {
#define METRIC(kind, name, labels, help) struct metric *name;
#include "limiter/metrics.def"
};

struct home_redis;

struct limiter {
    const struct limiter_config *config;
    struct policy *policy;
    struct store *store;
    struct home_redis *redis; /* NULL: the store is all there is; else it is a copy */
    struct outputs *outputs;
    struct audit *audit;
    struct limiter_metrics metrics;
    struct engine_resource *suite;
    struct engine_resource *models[CATALOGUE_TARGETS_MOST]; /* as the catalogue has its targets */
    uint64_t (*clock_ms)(void);                             /* steady; in memory the authority's */
    uint64_t (*wall_ms)(void);                              /* for the dates of the catalogue */
    uint64_t stamp;                                         /* of the last step */

    struct engine_queue queue;
    struct map *waiters;    /* id -> struct engine_waiter * */
    struct map *unaccepted; /* id -> grant that was sent on a stream (wait.c) */
    struct loop *loop;      /* the timer's; NULL: nobody has waited yet */
    struct timer wake;      /* somebody's turn comes */
    size_t grants;          /* tasks that watch over one */
    struct list watches;    /* streams of changes (stream.c) */
    bool draining;          /* they are to end */
    bool believes;          /* who renews a lease that is not known (home_alone.c) */
    size_t sessions;        /* attached */
    void (*on_ready)(void *arg, bool ready, const char *why); /* of the store; may be NULL */
    void *on_ready_arg;
};

/* config outlives the limiter. CONFIG_INVALID, FILE_UNREADABLE, STORE_FAILED or STORE_FULL, detail
 * in error_text. */
struct status limiter_new(const struct limiter_config *config, uint64_t (*clock_ms)(void),
                          char error_text[256], struct limiter **out) NODISCARD;
void limiter_free(struct limiter *limiter) PARKS; /* takes NULL */

/* Part of limiter_new: takes in what the process before has left. */
struct status limiter_begin(struct limiter *limiter, size_t resources,
                            char error_text[256]) NODISCARD;

/* Part of it too: a resource for each target of a catalogue, found or made, and models as it has
 * them. False: no room, and nothing has changed. */
bool limiter_take_models(struct limiter *limiter, const struct catalogue *catalogue,
                         uint64_t keep_ms);

/* Reads the catalogue anew and takes it; a bad one changes nothing and is logged. */
void limiter_reload(struct limiter *limiter, struct loop *loop) PARKS;

/* One event through the engine in this process's memory; what it wrote is kept when this returns.
 * Returns the present it was decided at. */
uint64_t limiter_step(struct limiter *limiter, struct engine_event event);

/* State was lost: a new epoch, and nothing is granted until all that was forgotten has aged out. In
 * memory; elsewhere the order is prepared, and counted when it is kept. */
void limiter_lose(struct limiter *limiter, enum engine_loss loss);
void limiter_losing(const struct limiter *limiter, enum engine_loss loss,
                    struct engine_order *order);
void limiter_lost(const struct limiter *limiter, const struct engine_order *order);
const char *limiter_loss_text(enum engine_loss loss); /* for people; "" for none */

/* Those whose turn it is are taken. */
void limiter_serve(struct limiter *limiter);

/* How the engine knows a tenant. */
uint64_t limiter_tenant_hash(struct span tenant);
/* The limits that policy and catalogue have for it. False: they do not know it. */
bool limiter_limits(const struct limiter *limiter, const struct engine_resource *resource,
                    struct engine_limits *out);

/* 1 to 63 of a-z, 0-9 and '-'. */
bool limiter_tenant_valid(struct span tenant);

/* The pool of a tenant, made on first use; *out NULL when the policy gives it none. False: there is
 * no room for it, now or (make_room false) without an idle one going. */
bool limiter_tenant_pool(struct limiter *limiter, struct span tenant, bool make_room,
                         struct engine_resource **out);

/* The place of a model in a region ("sonnet-4.6@us-east-2") among the catalogue's targets and in
 * models; false when there is none of that name. */
bool limiter_model(const struct limiter *limiter, const char *name, size_t *out);

/* A model that only a former catalogue knew: what runs there goes on, nothing new begins. NULL:
 * there is none of that name. */
struct engine_resource *limiter_former_model(const struct limiter *limiter, const char *name);

/* Models whose date has come are retired; limiter_model does that for one. */
void limiter_look_at_dates(const struct limiter *limiter);

/* The service's rows for rpc_server. */
extern const struct rpc_method limiter_methods[];
extern const size_t limiter_n_methods;

/* Whether the store can be used; why is static. */
void limiter_set_ready(const struct limiter *limiter, bool ready, const char *why);

/* Sets the gauges, for metric_on_collect. */
void limiter_collect(void *limiter);

#endif
