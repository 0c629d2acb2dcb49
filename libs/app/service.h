/*
 * service.h -- the life of a process: config, log, signals, loop, wire, servers, drain.
 *
 * Floor 5. main() of every service is one call. Order: config -> log -> RLIMIT_NOFILE raised ->
 * SIGPIPE, SIGXFSZ ignored -> loop -> wire -> start() in a task -> gRPC and admin ports -> ready.
 * SIGTERM or SIGINT: not ready -> gRPC or HTTP drains -> stop() -> exit 0; a second one ends at
 * once with 1. SIGHUP: reload(). Health (grpc.health.v1), reflection (v1, v1alpha) and the admin
 * port are everybody's.
 */
#ifndef PRISM_APP_SERVICE_H
#define PRISM_APP_SERVICE_H

#include "app/config.h"
#include "net/http_server.h"
#include "net/rpc_server.h"

struct app; /* the running process */

struct service_spec {
    struct config_spec config;
    size_t config_size;    /* sizeof the program's config struct */
    size_t address_offset; /* of its `listen` row (const char *): gRPC, or HTTP for http_handler */
    size_t admin_offset;   /* of its `admin` row */

    /* Builds the service; *state goes to stop and handlers. In a task; may park. A failure is
     * logged and ends the process with code 1. */
    struct status (*start)(struct app *app, const void *config, void **state) PARKS;
    void (*stop)(struct app *app, void *state) PARKS;

    /* When the process is told to end, before its running calls get their grace: takes on nothing
     * new and lets go of who only waits. May be NULL. */
    void (*drain)(struct app *app, void *state);

    /* On SIGHUP, in a task, one at a time: reads anew what may change while the process runs. NULL:
     * nothing may. */
    void (*reload)(struct app *app, void *state) PARKS;

    /* Filled in by start through app_serve; a process without gRPC serves HTTP instead. */
    void (*http_handler)(struct http_exchange *exchange, void *state) PARKS;
    size_t http_body_max;
    size_t http_connections_offset; /* of the count row that bounds them; 0: the server's own */
};

int service_main(int argc, char **argv, const struct service_spec *spec);

/* --- for start and stop
 * --------------------------------------------------------------------------- */

struct loop *app_loop(struct app *app);
struct wire *app_wire(struct app *app);
struct arena *app_arena(struct app *app); /* lives as long as the process */

/* The gRPC services to serve, static rows with `service` set; in start. */
void app_serve(struct app *app, const struct rpc_service *services, size_t n);

/* A further admin page ("/dump") in a task. */
void app_admin(struct app *app, const char *path,
               void (*page)(struct http_exchange *exchange, void *arg) PARKS, void *arg);

/* Readiness as seen by /readyz and grpc.health.v1; why is static, shown while not ready. A named
 * condition per cause; all must hold. */
void app_set_ready(struct app *app, const char *condition, bool ready, const char *why);

/* Such a condition that holds while the channel is connected; until the service has drained. */
struct rpc_channel;
void app_follow(struct app *app, const char *condition, struct rpc_channel *channel,
                const char *why);

/* The process is shutting down; what is left of the time that running work has to end. */
bool app_draining(const struct app *app);
uint64_t app_grace_ms(const struct app *app);

#endif
