/*
 * analyzer.h -- documents, tasks, results, and the ledger.
 *
 * Floor 6. Pure parts: document.h (split), prompt.h (ask), result.h (parse, ground, roll up). One
 * section through the router is analyze.c; a caller's stream of it section.c. A submitted document
 * is a task: tasks.c takes and shows it, workers.c runs its sections, outbox.c numbers and stores
 * its events, watch.c streams them. store.h is where everything durable lives.
 */
#ifndef PRISM_ANALYZER_ANALYZER_H
#define PRISM_ANALYZER_ANALYZER_H

#include "analyzer/prompt.h"
#include "app/config.h"
#include "app/service.h"
#include "base/list.h"
#include "base/metric.h"
#include "net/rpc_client.h"
#include "prism/analyzer/v1/analyzer.pb-c.h"
#include "prism/router/v1/router.pb-c.h"

#define ANALYZER_ID_SIZE         37 /* a UUID and NUL */
#define ANALYZER_REQUEST_ID_MOST 64

struct analyzer_config {
#define CONFIG CONFIG_FIELD
#define CONFIG_ALIAS(name, env)
/* clang-format off */
#include "app/common.def"
#include "analyzer/config.def"
    /* clang-format on */
};

struct analyzer_metrics {
#define METRIC(kind, name, labels, help) struct metric *name;
#include "analyzer/metrics.def"
};

extern const struct service_spec analyzer_spec;

struct document;
struct map;
struct store;
struct workers;

struct analyzer {
    struct app *app;
    struct loop *loop;
    const struct analyzer_config *config;
    struct analyzer_metrics metrics;
    struct rpc_channel *router;
    struct store *store;
    struct workers *workers;
    struct list watchers; /* struct watcher: woken when their task has new events */
    struct map *sections; /* AnalyzeSection calls with a request id, by "tenant/id" */
};

/* --- requests (request.c) -----------------------------------------------------------------------
 */

/* The tenant: the field, else the metadata. */
struct status request_take_tenant(struct rpc *rpc, const char *field, const char **out) NODISCARD;
struct status request_options(struct rpc *rpc, const Analyzer__AnalysisOptions *options) NODISCARD;
struct status request_document(struct rpc *rpc, const struct analyzer *analyzer,
                               const Analyzer__Document *document, const char *field,
                               bool single_section, struct document *out) NODISCARD PARKS;

/* "tenants/{tenant}/tasks/{task}" of this tenant: the id. TASK_UNKNOWN otherwise. */
struct status request_task(struct rpc *rpc, const char *tenant, const char *name,
                           const char **id) NODISCARD;

/* --- one section (analyze.c) --------------------------------------------------------------------
 */

/* Takes each event as it happens; events are only valid during the call. Fills in nothing. */
struct event_sink {
    struct status (*put)(struct event_sink *sink, Analyzer__AnalysisEvent *event) PARKS;
};

struct section_job {
    const char *tenant;
    const char *task_id;    /* "" outside tasks */
    const char *section_id; /* "s1" */
    uint32_t index;
    const char *title;
    struct span text;
    const Analyzer__AnalysisOptions *options; /* may be NULL */
    const struct prompt_finding *earlier;
    size_t n_earlier;
    uint64_t offset; /* of the section in its document */
};

/* Runs a section through the router: passes events on and ends with a result, also where the
 * model's answer is of no use (outcome). Fails where there is no answer: the status of the call.
 * The result lives in arena. */
struct status analyze_section(struct analyzer *analyzer, const struct section_job *job,
                              struct event_sink *sink, struct arena *arena,
                              Analyzer__SectionResult **result) NODISCARD PARKS;

/* A result that says why there is none. */
Analyzer__SectionResult *analyze_failure(const struct section_job *job, struct status s,
                                         struct arena *arena);

/* Counts a result by outcome. */
void count_result(struct analyzer *analyzer, const Analyzer__SectionResult *result);

/* --- workers (workers.c) ------------------------------------------------------------------------
 */

struct workers *workers_start(struct analyzer *analyzer);
void workers_drain(struct workers *workers); /* nothing more is claimed */
void workers_stop(struct workers *workers,
                  uint64_t grace_ms) PARKS; /* what still runs then goes back to the queue */
void workers_wake(struct workers *workers); /* there may be something to claim */
void workers_cancel(struct workers *workers, const char *task_id); /* stops its sections */

/* --- watchers (watch.c)
 * --------------------------------------------------------------------------- */

void watch_wake(struct analyzer *analyzer, const char *task_id);
void watch_drain(struct analyzer *analyzer); /* watchers shall come back elsewhere */
struct status tasks_watch(struct rpc *rpc, const void *request) PARKS;

/* --- methods
 * -------------------------------------------------------------------------------------- */

struct status section_analyze(struct rpc *rpc, const void *request) PARKS;
struct status tasks_submit(struct rpc *rpc, const void *request) PARKS;
struct status tasks_get(struct rpc *rpc, const void *request) PARKS;
struct status tasks_list(struct rpc *rpc, const void *request) PARKS;
struct status tasks_cancel(struct rpc *rpc, const void *request) PARKS;
struct status ledger_record(struct rpc *rpc, const void *request) PARKS;

#endif
