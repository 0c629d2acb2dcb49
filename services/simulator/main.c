#include "app/service.h"
#include "base/buf.h"
#include "base/file.h"
#include "simulator/sim.h"

#define PLAN_MOST (128u << 10)

struct simulator_config {
#define CONFIG CONFIG_FIELD
#define CONFIG_ALIAS(name, env)
#include "app/common.def"
#include "simulator/config.def"
};

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct simulator_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
#include "app/common.def"
#include "simulator/config.def"
};

/* A file larger than a plan may be is told so by the plan. */
static struct status load(struct app *app, struct sim *sim, const char *path,
                          bool (*set)(struct sim *, struct span, struct yaml_error *))
{
    if (path[0] == '\0') {
        return STATUS_SUCCESS;
    }
    CLEANUP(buf_clear) struct buf text;
    struct yaml_error error;
    buf_init(&text, PLAN_MOST);
    const char *why = file_read(path, &text);
    if (why != NULL) {
        return status_of(REASON_FILE_UNREADABLE, arena_printf(app_arena(app), "%s: %s", path, why));
    }
    if (!set(sim, buf_span(&text), &error)) {
        return status_of(REASON_CONFIG_INVALID,
                         arena_printf(app_arena(app), "%s:%zu: %s", path, error.line, error.text));
    }
    return STATUS_SUCCESS;
}

static struct status prepare(struct app *app, struct sim *sim, const struct simulator_config *c)
{
    TRY(load(app, sim, c->faults, sim_set_faults));
    TRY(load(app, sim, c->quotas, sim_set_quotas));
    TRY(load(app, sim, c->latency, sim_set_latency));
    return c->arrivals[0] != '\0' ? arrivals_open(sim->arrivals, c->arrivals) : STATUS_SUCCESS;
}

static struct status start(struct app *app, const void *config, void **state) PARKS
{
    const struct simulator_config *c = config;
    struct sim *sim = sim_new(app_loop(app), &(struct sim_options){
                                                 .access_key = c->access_key,
                                                 .secret_key = c->secret_key.at,
                                                 .api_key = c->api_key.at,
                                                 .seed = c->seed,
                                                 .ttft_ms = c->ttft,
                                                 .token_rate = c->token_rate,
                                                 .speed = c->speed,
                                                 .instant = c->instant,
                                                 .cache = c->cache,
                                                 .body_max = c->max_body,
                                             });
    struct status s = prepare(app, sim, c);
    if (!status_ok(s)) {
        sim_free(sim);
        return s;
    }
    *state = sim;
    return STATUS_SUCCESS;
}

static void stop(struct app *app, void *state) PARKS
{
    (void)app;
    sim_free(state);
}

int main(int argc, char **argv)
{
    static const struct service_spec spec = {
        .config =
            {
                .program = "prism-simulator",
                .env = "PRISM_SIMULATOR_",
                .about = "A Bedrock Runtime that behaves and misbehaves like the real one.",
                .usage = "",
                .rows = rows,
                .n_rows = ARRAY_LEN(rows),
            },
        .config_size = sizeof(struct simulator_config),
        .address_offset = offsetof(struct simulator_config, listen),
        .admin_offset = offsetof(struct simulator_config, admin),
        .start = start,
        .stop = stop,
        .http_handler = sim_handle,
        .http_body_max = SIM_BODY_MOST,
        .http_connections_offset = offsetof(struct simulator_config, max_connections),
    };
    return service_main(argc, argv, &spec);
}
