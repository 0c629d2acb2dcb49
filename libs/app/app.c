#include "app/app.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/admin.h"
#include "app/health.h"
#include "app/peers.h"
#include "app/readiness.h"
#include "app/reflection.h"
#include "base/address.h"
#include "base/alloc.h"
#include "base/file.h"
#include "loop/task.h"
#include "net/listen.h"

/* The rows of common.def. */
struct common {
#define CONFIG CONFIG_FIELD
#include "app/common.def"
#undef CONFIG
};

struct app {
    const struct service_spec *spec;
    const void *config;
    struct common common;
    struct arena *arena;
    struct loop *loop;
    struct wire *wire;
    struct readiness *readiness;
    struct health *health;
    struct reflection *reflection;
    struct admin *admin;
    struct peers *peers;

    struct rpc_service *services; /* the program's, then the built-in ones */
    size_t n_services;            /* the program's */
    void *state;                  /* of start() */
    bool started;
    struct rpc_server *rpc_server;
    struct http_server *http_server;
    struct http_server *admin_server;

    struct task *starter; /* while start() runs */
    struct op start_done;
    struct task *reloader; /* while reload() runs */
    bool reload_again;
    bool serving;
    bool draining;
    uint64_t grace_until_ms; /* loop time, while draining */
};

/* --- for start and stop -------------------------------------------------------------------------
 */

struct loop *app_loop(struct app *app)
{
    return app->loop;
}

struct wire *app_wire(struct app *app)
{
    return app->wire;
}

struct arena *app_arena(struct app *app)
{
    return app->arena;
}

void app_serve(struct app *app, const struct rpc_service *services, size_t n)
{
    app->n_services = n;
    app->services = ARENA_ARRAY(app->arena, struct rpc_service, n + 1 + REFLECTION_SERVICES);
    if (n > 0) {
        memcpy(app->services, services, n * sizeof(*services));
    }
}

void app_admin(struct app *app, const char *path,
               void (*page)(struct http_exchange *exchange, void *arg), void *arg)
{
    admin_add(app->admin, path, page, arg);
}

void app_set_ready(struct app *app, const char *condition, bool ready, const char *why)
{
    readiness_set(app->readiness, condition, ready, why);
}

void app_follow(struct app *app, const char *condition, struct rpc_channel *channel,
                const char *why)
{
    peers_follow(app->peers, condition, channel, why);
}

bool app_draining(const struct app *app)
{
    return app->draining;
}

uint64_t app_grace_ms(const struct app *app)
{
    uint64_t now = loop_now_ms(app->loop);
    return app->grace_until_ms > now ? app->grace_until_ms - now : 0;
}

/* --- start --------------------------------------------------------------------------------------
 */

/* A start that fails is told to whoever started the process, in one plain line. */
static void complain(const struct app *app, const char *what, struct status why)
{
    fprintf(stderr, "%s: %s: %s\n", app->spec->config.program, what, status_text(why));
}

static void run_start(void *arg) PARKS
{
    struct app *app = arg;
    struct status result = app->spec->start(app, app->config, &app->state);
    app->starter = NULL;
    op_done(&app->start_done, result);
}

static bool start(struct app *app) PARKS
{
    app->starter = task_spawn(app->loop, &(struct task_options){.name = "start"}, run_start, app);
    struct status result = op_wait(&app->start_done);
    app->started = status_ok(result);
    if (!app->started && !app->draining) {
        complain(app, "cannot start", result);
    }
    return app->started;
}

static const char *address_at(const struct app *app, size_t offset)
{
    return *(const char *const *)((const char *)app->config + offset);
}

static struct status not_an_address(struct app *app, const char *address)
{
    return status_of(REASON_CONFIG_INVALID,
                     arena_printf(app->arena, "%s is not one host:port", address));
}

static size_t http_connections(const struct app *app)
{
    size_t offset = app->spec->http_connections_offset;
    return offset == 0 ? 0 : *(const uint64_t *)((const char *)app->config + offset);
}

static struct status open_http(struct app *app, const char *address,
                               struct http_server_options options, struct http_server **out)
{
    struct span host;
    if (!address_split(span_str(address), &host, &options.port)) {
        return not_an_address(app, address);
    }
    options.host = arena_string(app->arena, host);
    options.arena = app->arena;
    return http_server_start(app->loop, &options, out);
}

/* gRPC does not say why it could not bind; the kernel does. */
static struct status why_not_bound(struct app *app, const char *address, struct status otherwise)
{
    struct span host;
    uint16_t port;
    int fd;
    if (!address_split(span_str(address), &host, &port)) {
        return not_an_address(app, address);
    }
    struct status s = listen_open(arena_string(app->arena, host), port, app->arena, &fd, &port);
    if (status_ok(s)) {
        close(fd);
        return otherwise;
    }
    return s;
}

static struct status open_rpc(struct app *app, const char *address)
{
    if (app->services == NULL) {
        app_serve(app, NULL, 0);
    }
    struct rpc_service *built_in = app->services + app->n_services;
    size_t n = app->n_services + 1 + REFLECTION_SERVICES;
    app->reflection = reflection_new(app->services, n);
    built_in[0] = health_service(app->health, app->services, app->n_services);
    reflection_services(app->reflection, built_in + 1);
    const struct rpc_server_options options = {
        .address = address,
        .max_inflight = app->common.max_inflight,
        .max_call_age_ms = app->common.max_call_age,
        .services = app->services,
        .n_services = n,
    };
    struct status s = rpc_server_start(app->wire, &options, &app->rpc_server);
    return status_ok(s) ? s : why_not_bound(app, address, s);
}

static bool open_ports(struct app *app)
{
    const struct service_spec *spec = app->spec;
    const char *address = address_at(app, spec->address_offset);
    struct status s;
    if (spec->http_handler != NULL) {
        s = open_http(app, address,
                      (struct http_server_options){.handler = spec->http_handler,
                                                   .arg = app->state,
                                                   .body_max = spec->http_body_max,
                                                   .max_connections = http_connections(app)},
                      &app->http_server);
    } else {
        s = open_rpc(app, address);
    }
    if (!status_ok(s)) {
        complain(app, spec->http_handler != NULL ? "HTTP port" : "gRPC port", s);
        return false;
    }
    s = open_http(app, address_at(app, spec->admin_offset),
                  (struct http_server_options){.handler = admin_handle, .arg = app->admin},
                  &app->admin_server);
    if (!status_ok(s)) {
        complain(app, "admin port", s);
        return false;
    }
    return true;
}

/* The address as it was bound: what was written, with the port that the kernel gave. */
static const char *bound(struct app *app, size_t offset, uint16_t port)
{
    const char *address = address_at(app, offset);
    int host = (int)(strrchr(address, ':') - address);
    return arena_printf(app->arena, "%.*s:%u", host, address, (unsigned)port);
}

/* Whoever waits for the file must not find the one of an earlier life. */
static void forget_ready_file(const struct app *app)
{
    if (app->common.ready_file[0] != '\0') {
        unlink(app->common.ready_file);
    }
}

static bool announce(struct app *app)
{
    const char *kind = app->http_server != NULL ? "http" : "grpc";
    uint16_t port = app_port(app), admin_port = app_admin_port(app);
    readiness_set(app->readiness, "serving", true, "");
    app->serving = true;
    LOG(INFO, "serving", KV(kind, bound(app, app->spec->address_offset, port)),
        KV("admin", bound(app, app->spec->admin_offset, admin_port)),
        KV("ready", readiness_verdict(app->readiness)));
    if (app->common.ready_file[0] == '\0') {
        return true;
    }
    const char *text =
        arena_printf(app->arena, "%s=%u\nadmin=%u\n", kind, (unsigned)port, (unsigned)admin_port);
    const char *why = file_write(app->common.ready_file, span_str(text));
    if (why != NULL) {
        complain(app, app->common.ready_file, status_of(REASON_FILE_UNREADABLE, why));
    }
    return why == NULL;
}

bool app_open(struct app *app)
{
    forget_ready_file(app);
    return start(app) && open_ports(app) && announce(app);
}

void app_interrupt(struct app *app)
{
    app->draining = true;
    if (app->starter != NULL) {
        task_cancel(app->starter, status_of(REASON_SHUTTING_DOWN, NULL));
    }
}

/* --- reload -------------------------------------------------------------------------------------
 */

static void run_reload(void *arg) PARKS
{
    struct app *app = arg;
    do {
        app->reload_again = false;
        app->spec->reload(app, app->state);
    } while (app->reload_again && !app->draining);
    app->reloader = NULL;
}

void app_reload(struct app *app)
{
    if (app->spec->reload == NULL || !app->serving || app->draining) {
        LOG(INFO, "nothing to read anew");
    } else if (app->reloader != NULL) {
        app->reload_again = true;
    } else {
        struct task_options options = {.name = "reload", .deadline_ms = TASK_DEADLINE_NONE};
        app->reloader = task_spawn(app->loop, &options, run_reload, app);
    }
}

static void end_reload(struct app *app) PARKS
{
    if (app->reloader != NULL) {
        task_cancel(app->reloader, status_of(REASON_SHUTTING_DOWN, NULL));
    }
    while (app->reloader != NULL) {
        (void)!status_ok(task_sleep_ms(1));
    }
}

/* --- end ----------------------------------------------------------------------------------------
 */

void app_close(struct app *app)
{
    app->draining = true;
    app->grace_until_ms = loop_now_ms(app->loop) + (app->serving ? app->common.drain : 0);
    forget_ready_file(app);
    readiness_set(app->readiness, "serving", false, "the process is shutting down");
    health_end(app->health);
    LOG(DEBUG, "drain: not ready any more");
    if (app->started && app->spec->drain != NULL) {
        app->spec->drain(app, app->state);
    }
    if (app->rpc_server != NULL) {
        LOG(DEBUG, "drain: no new calls", KV("running", rpc_server_inflight(app->rpc_server)));
        rpc_server_stop(app->rpc_server, app_grace_ms(app));
        LOG(DEBUG, "drain: calls have ended");
    }
    if (app->http_server != NULL) {
        http_server_drain(app->http_server, app_grace_ms(app));
        http_server_stop(app->http_server);
        LOG(DEBUG, "drain: requests have ended");
    }
    peers_stop(app->peers);
    end_reload(app);
    if (app->started && app->spec->stop != NULL) {
        app->spec->stop(app, app->state);
        LOG(DEBUG, "drain: service has stopped");
    }
    if (app->admin_server != NULL) {
        http_server_stop(app->admin_server);
        LOG(DEBUG, "drain: ports are closed");
    }
}

/* --- the whole life -----------------------------------------------------------------------------
 */

static void on_verdict(void *arg, bool ready)
{
    struct app *app = arg;
    health_set_serving(app->health, ready);
    if (!app->serving || app->draining) {
        return;
    }
    CLEANUP(buf_clear) struct buf report;
    buf_init(&report, LOG_TEXT_MOST);
    readiness_add_report(&report, app->readiness);
    if (ready) {
        LOG(INFO, "ready again", KV("conditions", buf_span(&report)));
    } else {
        LOG(WARN, "not ready", KV("conditions", buf_span(&report)));
    }
}

static struct common common_of(const struct config_spec *spec, const void *config)
{
    struct common common;
#define CONFIG(type, name, otherwise, bounds, help)                                                \
    memcpy(&common.name, config_field(spec, config, #name), sizeof(common.name));
#include "app/common.def"
#undef CONFIG
    return common;
}

struct app *app_new(const struct app_options *options)
{
    struct app *app = ALLOC(struct app);
    app->spec = options->spec;
    app->config = options->config;
    app->common = common_of(&options->spec->config, options->config);
    app->arena = options->arena;
    app->loop = options->loop;
    loop_busy_poll(app->loop, app->common.busy_poll_us);
    app->wire = options->wire;
    app->health = health_new(app->loop);
    app->readiness = readiness_new(on_verdict, app);
    app->admin = admin_new(app->readiness);
    app->peers = peers_new(app->loop, app->readiness);
    op_init(&app->start_done, app->loop, NULL, NULL);
    readiness_set(app->readiness, "serving", false, "the process is starting");
    return app;
}

void app_free(struct app *app)
{
    peers_free(app->peers);
    admin_free(app->admin);
    reflection_free(app->reflection);
    readiness_free(app->readiness);
    health_free(app->health);
    free(app);
}

void *app_state(const struct app *app)
{
    return app->state;
}

uint16_t app_port(const struct app *app)
{
    return app->http_server != NULL ? http_server_port(app->http_server)
                                    : rpc_server_port(app->rpc_server);
}

uint16_t app_admin_port(const struct app *app)
{
    return http_server_port(app->admin_server);
}
