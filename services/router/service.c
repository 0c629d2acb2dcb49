/* prism-router: its options, its beginning and its end. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "codec/hash.h"
#include "loop/task.h"
#include "router/lessons.h"
#include "router/router.h"
#include "router/settlement.h"
#include "router/vitals.h"

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct router_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
#include "app/common.def"
#include "router/config.def"
};

static void metrics_init(struct router_metrics *m)
{
#define METRIC(kind, name, labels, help)                                                           \
    m->name = metric_##kind("prism_router_" #name, labels, help);
#include "router/metrics.def"
}

/* A region that is to be called first must be one that is called. */
static struct status check_region(const struct router_config *config,
                                  const struct catalogue *catalogue)
{
    for (size_t i = 0; i < catalogue->n_targets; i++) {
        if (strcmp(catalogue->targets[i].region, config->bedrock_region) == 0) {
            return STATUS_SUCCESS;
        }
    }
    return config->bedrock_region[0] == '\0'
               ? STATUS_SUCCESS
               : status_of(REASON_CONFIG_INVALID,
                           "bedrock_region: no model of the catalogue is called there");
}

/* Says which credentials are used, never what they are. */
static void credentials_told(void *arg, const struct credentials_news *news)
{
    struct router *router = arg;
    METRIC_ADD(router->metrics.credential_looks_total, 1, news->source,
               reason_name(news->status.reason));
    if (!status_ok(news->status)) {
        LOG(WARN, "no new AWS credentials", KV("old_ones_last_s", news->left_ms / 1000),
            KV("err", news->status));
    } else if (news->fresh && news->lives_ms == UINT64_MAX) {
        LOG(INFO, "AWS credentials", KV("source", news->source));
    } else if (news->fresh) {
        LOG(INFO, "AWS credentials", KV("source", news->source),
            KV("last_s", news->lives_ms / 1000));
    }
}

static struct status start(struct app *app, const void *config, void **state) PARKS
{
    static struct rpc_service services[1]; /* outlives the server */
    static char catalogue_error[256];
    struct router *router = ALLOC(struct router);
    router->app = app;
    router->loop = app_loop(app);
    router->config = config;
    metrics_init(&router->metrics);
    hash_random(router->session, sizeof(router->session));
    struct status s =
        catalogue_open(router->config->catalogue, catalogue_error, &router->catalogue);
    if (status_ok(s)) {
        s = check_region(router->config, router->catalogue);
    }
    if (!status_ok(s)) {
        catalogue_unref(router->catalogue);
        free(router);
        return s;
    }
    router->running = map_new();
    router->lessons = lessons_new();
    router->vitals = vitals_new(router->loop);
    router->http = http_client_new(
        router->loop,
        &(struct http_client_options){
            .max_per_host = router->config->max_connections,
            .ca_file = router->config->ca_file[0] != '\0' ? router->config->ca_file : NULL,
        });
    router->credentials = credentials_new(
        router->loop, &(struct credentials_options){
                          .http = router->http, .told = credentials_told, .arg = router});
    router->bedrock = bedrock_new(&(struct bedrock_options){
        .http = router->http,
        .credentials = router->credentials,
        .endpoint =
            router->config->bedrock_endpoint[0] != '\0' ? router->config->bedrock_endpoint : NULL,
    });
    router->limiter = rpc_channel_new(
        app_wire(app), &(struct rpc_channel_options){.targets = router->config->limiter,
                                                     .call_ms = router->config->limiter_wait});
    if (router->config->ledger[0] != '\0') {
        router->ledger = rpc_channel_new(
            app_wire(app),
            &(struct rpc_channel_options){.targets = router->config->ledger, .call_ms = 10000});
    }
    router->link =
        limiter_link_start(router->limiter, span_of(router->session, sizeof(router->session)),
                           router->config->limiter_wait);
    router->leases = leases_start(router);
    router->records = records_start(router);
    router->states = states_start(router);
    router->checks = checks_start(router);
    /* Without it no call can be admitted. */
    app_follow(app, "limiter", router->limiter, "the limiter is not connected");
    services[0] = (struct rpc_service){&router__router_service__descriptor, router_methods,
                                       router_n_methods, router};
    app_serve(app, services, ARRAY_LEN(services));
    *state = router;
    return STATUS_SUCCESS;
}

/* Calls that run keep the snapshot they began with. */
static const char *take_catalogue(struct router *router, struct catalogue *fresh)
{
    if (memcmp(fresh->hash, router->catalogue->hash, sizeof(fresh->hash)) == 0) {
        catalogue_unref(fresh);
        return "unchanged";
    }
    catalogue_unref(router->catalogue);
    router->catalogue = fresh;
    vitals_new_catalogue(router->vitals);
    return "taken";
}

static void reload(struct app *app, void *state) PARKS
{
    struct router *router = state;
    struct catalogue *fresh = NULL;
    char error_text[256];
    struct status s =
        catalogue_reload(app_loop(app), router->config->catalogue, error_text, &fresh);
    if (status_ok(s)) {
        s = check_region(router->config, fresh);
    }
    if (!status_ok(s)) {
        LOG(ERROR, "the catalogue is not taken, the old one stays", KV("err", s));
        METRIC_ADD(router->metrics.catalogue_reloads_total, 1, "refused");
        catalogue_unref(fresh);
        return;
    }
    const char *result = take_catalogue(router, fresh);
    METRIC_ADD(router->metrics.catalogue_reloads_total, 1, result);
    LOG(INFO, "catalogue", KV("result", result), KV("source", router->catalogue->source),
        KV("models", router->catalogue->n_models), KV("targets", router->catalogue->n_targets));
}

/* Watchers are told to come back; nobody is checked any more. */
static void drain(struct app *app, void *state)
{
    struct router *router = state;
    (void)app;
    vitals_wake(router->vitals);
}

static void stop(struct app *app, void *state) PARKS
{
    struct router *router = state;
    (void)app;
    checks_stop(router->checks);
    states_stop(router->states);
    settlements_end(router);
    leases_stop(router->leases);
    records_stop(router->records);
    if (router->ledger != NULL) {
        rpc_channel_free(router->ledger);
    }
    limiter_link_stop(router->link);
    rpc_channel_free(router->limiter);
    bedrock_free(router->bedrock);
    credentials_free(router->credentials);
    http_client_free(router->http);
    map_free(router->running);
    vitals_free(router->vitals);
    lessons_free(router->lessons);
    catalogue_unref(router->catalogue);
    free(router);
}

const struct service_spec router_spec = {
    .config = {.program = "prism-router",
               .env = "PRISM_ROUTER_",
               .about = "Sends prompts to the best model that is open now, with one deadline over "
                        "waiting, tiers and retries.",
               .usage = "",
               .rows = rows,
               .n_rows = ARRAY_LEN(rows)},
    .config_size = sizeof(struct router_config),
    .address_offset = offsetof(struct router_config, listen),
    .admin_offset = offsetof(struct router_config, admin),
    .start = start,
    .stop = stop,
    .drain = drain,
    .reload = reload,
};
