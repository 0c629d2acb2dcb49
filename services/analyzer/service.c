/* prism-analyzer: its options, its beginning and its end. */
#include <stdlib.h>

#include "analyzer/analyzer.h"
#include "analyzer/store.h"
#include "base/alloc.h"
#include "base/map.h"
#include "loop/task.h"

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct analyzer_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
/* clang-format off */
#include "app/common.def"
#include "analyzer/config.def"
    /* clang-format on */
};

static const struct rpc_method analyzer_methods[] = {
    {"AnalyzeSection", RPC_SERVER_STREAM, section_analyze},
    {"Chat", RPC_SERVER_STREAM, NULL},
    {"SubmitAnalysis", RPC_UNARY, tasks_submit},
    {"GetTask", RPC_UNARY, tasks_get},
    {"ListTasks", RPC_UNARY, tasks_list},
    {"WatchTask", RPC_SERVER_STREAM, tasks_watch},
    {"CancelTask", RPC_UNARY, tasks_cancel},
    {"CreateSession", RPC_UNARY, NULL},
    {"GetSession", RPC_UNARY, NULL},
    {"ListSessions", RPC_UNARY, NULL},
    {"DeleteSession", RPC_UNARY, NULL},
};

static const struct rpc_method ledger_methods[] = {
    {"Record", RPC_UNARY, ledger_record},     {"GetUsage", RPC_UNARY, NULL},
    {"GetCallRecord", RPC_UNARY, NULL},       {"ListCallRecords", RPC_UNARY, NULL},
    {"ExportAudit", RPC_SERVER_STREAM, NULL}, {"GetCheckpoint", RPC_UNARY, NULL},
};

static void metrics_init(struct analyzer_metrics *m)
{
#define METRIC(kind, name, labels, help)                                                           \
    m->name = metric_##kind("prism_analyzer_" #name, labels, help);
#include "analyzer/metrics.def"
}

static struct status start(struct app *app, const void *config, void **state) PARKS
{
    static struct rpc_service services[2]; /* outlive the server */
    struct analyzer *analyzer = ALLOC(struct analyzer);
    analyzer->app = app;
    analyzer->loop = app_loop(app);
    analyzer->config = config;
    list_init(&analyzer->watchers);
    metrics_init(&analyzer->metrics);
    struct status s = store_open(analyzer->loop, analyzer->config->state_dir, &analyzer->store);
    if (!status_ok(s)) {
        free(analyzer);
        return s;
    }
    analyzer->router = rpc_channel_new(
        app_wire(app), &(struct rpc_channel_options){.targets = analyzer->config->router});
    app_follow(app, "router", analyzer->router, "no router is connected");
    analyzer->sections = map_new();
    analyzer->workers = workers_start(analyzer);
    services[0] = (struct rpc_service){&analyzer__analyzer_service__descriptor, analyzer_methods,
                                       ARRAY_LEN(analyzer_methods), analyzer};
    services[1] = (struct rpc_service){&analyzer__ledger_service__descriptor, ledger_methods,
                                       ARRAY_LEN(ledger_methods), analyzer};
    app_serve(app, services, ARRAY_LEN(services));
    *state = analyzer;
    return STATUS_SUCCESS;
}

static void drain(struct app *app, void *state)
{
    struct analyzer *analyzer = state;
    (void)app;
    workers_drain(analyzer->workers);
    watch_drain(analyzer);
}

static void stop(struct app *app, void *state) PARKS
{
    struct analyzer *analyzer = state;
    workers_stop(analyzer->workers, app_grace_ms(app));
    rpc_channel_free(analyzer->router);
    store_close(analyzer->store);
    map_free(analyzer->sections);
    free(analyzer);
}

const struct service_spec analyzer_spec = {
    .config = {.program = "prism-analyzer",
               .env = "PRISM_ANALYZER_",
               .about =
                   "Analyses documents: splits them, asks the router about each section, keeps "
                   "tasks, results and the ledger.",
               .usage = "",
               .rows = rows,
               .n_rows = ARRAY_LEN(rows)},
    .config_size = sizeof(struct analyzer_config),
    .address_offset = offsetof(struct analyzer_config, listen),
    .admin_offset = offsetof(struct analyzer_config, admin),
    .start = start,
    .stop = stop,
    .drain = drain,
};
