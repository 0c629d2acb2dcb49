/* WatchModels: every model as it is, then each whose state has changed (states.c, vitals.c). */
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "router/router.h"
#include "router/vitals.h"

#define COME_BACK_MS 1000
#define NAMES_MOST   64
#define ARENA_MOST   (4u << 20)

/* What one watcher has been sent. */
struct watch {
    struct rpc *rpc;
    const Router__WatchModelsRequest *request;
    struct vitals_watcher watcher;
    uint64_t seen[CATALOGUE_MODELS_MOST]; /* versions, as the catalogue has the models */
    uint8_t catalogue[32];                /* its hash */
};

static bool wanted(const struct watch *watch, const struct catalogue *catalogue,
                   const struct catalogue_model *model)
{
    for (size_t i = 0; i < watch->request->n_names; i++) {
        if (models_find(catalogue, watch->request->names[i]) == model) {
            return true;
        }
    }
    return watch->request->n_names == 0;
}

static struct status send_model(struct watch *watch, const struct catalogue *catalogue,
                                const struct catalogue_model *model) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    Router__WatchModelsResponse response = ROUTER__WATCH_MODELS_RESPONSE__INIT;
    response.event_case = ROUTER__WATCH_MODELS_RESPONSE__EVENT_MODEL;
    response.model = models_known(rpc_service(watch->rpc), catalogue, model, arena);
    return rpc_send(watch->rpc, &response);
}

/* However much has changed since, a model is sent once, as it is now. */
static struct status send_news(struct watch *watch, const struct catalogue *catalogue) PARKS
{
    const struct router *router = rpc_service(watch->rpc);
    if (memcmp(watch->catalogue, catalogue->hash, sizeof(watch->catalogue)) != 0) {
        memcpy(watch->catalogue, catalogue->hash, sizeof(watch->catalogue));
        memset(watch->seen, 0, sizeof(watch->seen));
    }
    for (size_t i = 0; i < catalogue->n_models; i++) {
        const struct catalogue_model *model = &catalogue->models[i];
        uint64_t version = vitals_version(router->vitals, catalogue, model);
        if (wanted(watch, catalogue, model) && watch->seen[i] != version) {
            watch->seen[i] = version;
            TRY(send_model(watch, catalogue, model));
        }
    }
    return STATUS_SUCCESS;
}

static struct status send_alive(struct watch *watch, uint64_t begin_ms) PARKS
{
    Router__KeepAlive alive = ROUTER__KEEP_ALIVE__INIT;
    alive.elapsed_ms = loop_now_ms(task_loop()) - begin_ms;
    Router__WatchModelsResponse response = ROUTER__WATCH_MODELS_RESPONSE__INIT;
    response.event_case = ROUTER__WATCH_MODELS_RESPONSE__EVENT_KEEP_ALIVE;
    response.keep_alive = &alive;
    return rpc_send(watch->rpc, &response);
}

static struct status run(struct watch *watch) PARKS
{
    struct router *router = rpc_service(watch->rpc);
    uint64_t begin_ms = loop_now_ms(router->loop);
    states_await(router->states);
    for (;;) {
        struct catalogue *catalogue = catalogue_ref(router->catalogue);
        struct status s = send_news(watch, catalogue);
        catalogue_unref(catalogue);
        TRY(s);
        if (app_draining(router->app)) {
            return status_retry(REASON_SHUTTING_DOWN, COME_BACK_MS, NULL);
        }
        bool news;
        uint64_t until_ms = loop_now_ms(router->loop) + router->config->keep_alive;
        TRY(bell_wait_until(&watch->watcher.news, until_ms, &news));
        if (!news) {
            TRY(send_alive(watch, begin_ms));
        }
    }
}

struct status models_watch(struct rpc *rpc, const void *arg)
{
    const Router__WatchModelsRequest *request = arg;
    struct router *router = rpc_service(rpc);
    if (request->n_names > NAMES_MOST) {
        return rpc_bad_field(rpc, "names", "must be at most 64");
    }
    for (size_t i = 0; i < request->n_names; i++) {
        if (models_find(router->catalogue, request->names[i]) == NULL) {
            return rpc_not_found(rpc, REASON_MODEL_UNKNOWN, "prism.router.v1.Model",
                                 request->names[i]);
        }
    }
    TRY(rpc_stand(rpc));
    struct watch *watch = ARENA_NEW(rpc_arena(rpc), struct watch);
    watch->rpc = rpc;
    watch->request = request;
    vitals_watch(router->vitals, &watch->watcher);
    struct status s = run(watch);
    vitals_unwatch(&watch->watcher);
    return s;
}
