/* prism-limiter: its options, its beginning and its end. */
#include "base/clock.h"
#include "base/log.h"
#include "limiter/home_redis.h"
#include "limiter/stream.h"
#include "limiter/wait.h"
#include "prism/limiter/v1/limiter.pb-c.h"

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct limiter_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
/* clang-format off */
#include "app/common.def"
#include "limiter/config.def"
    /* clang-format on */
};

static void store_ready(void *arg, bool ready, const char *why)
{
    app_set_ready(arg, "store", ready, why);
}

/* The state is elsewhere: not ready before it has been seen. */
static struct status follow_store(struct app *app, struct limiter *limiter) PARKS
{
    limiter->on_ready = store_ready;
    limiter->on_ready_arg = app;
    limiter_set_ready(limiter, false, "Redis has not answered yet");
    return home_redis_first(limiter->redis);
}

static struct status start(struct app *app, const void *config, void **state) PARKS
{
    static struct rpc_service services[1]; /* outlives the server */
    char *error_text = arena_alloc(app_arena(app), 256);
    struct limiter *limiter;
    TRY(limiter_new(config, clock_boot_ms, error_text, &limiter));
    if (limiter->redis != NULL) {
        struct status s = follow_store(app, limiter);
        if (!status_ok(s)) {
            s.detail = arena_string(app_arena(app), span_str(status_text(s)));
            limiter_free(limiter);
            return s;
        }
    }
    metric_on_collect(limiter_collect, limiter);
    LOG(INFO, "limits", KV("catalogue", limiter->policy->catalogue->source),
        KV("models", limiter->policy->catalogue->n_targets),
        KV("requests", limiter->policy->suite.requests),
        KV("window_ms", limiter->policy->suite.window_ms),
        KV("concurrency", limiter->policy->suite.concurrency),
        KV("tokens", limiter->policy->suite.tokens));
    services[0] = (struct rpc_service){&limiter__limiter_service__descriptor, limiter_methods,
                                       limiter_n_methods, limiter};
    app_serve(app, services, ARRAY_LEN(services));
    *state = limiter;
    return STATUS_SUCCESS;
}

static void reload(struct app *app, void *state) PARKS
{
    limiter_reload(state, app_loop(app));
}

static void drain(struct app *app, void *state)
{
    (void)app;
    stream_drain(state);
}

static void stop(struct app *app, void *state) PARKS
{
    (void)app;
    wait_stop(state);
    limiter_free(state);
}

const struct service_spec limiter_spec = {
    .config = {.program = "prism-limiter",
               .env = "PRISM_LIMITER_",
               .about = "Decides which call may go to which model now, and says when for those "
                        "that may not: one place for every limit that is shared.",
               .usage = "",
               .rows = rows,
               .n_rows = ARRAY_LEN(rows)},
    .config_size = sizeof(struct limiter_config),
    .address_offset = offsetof(struct limiter_config, listen),
    .admin_offset = offsetof(struct limiter_config, admin),
    .start = start,
    .stop = stop,
    .drain = drain,
    .reload = reload,
};
