#include "app/service.h"

#include <signal.h>
#include <unistd.h>

#include "app/app.h"
#include "app/process.h"
#include "app/version.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/metric.h"
#include "loop/task.h"

#define ARENA_MOST         (64u << 20)
#define STRAGGLERS_MS      5000 /* for tasks of the service that outlive its stop() */
#define STRAGGLERS_TICK_MS 10

struct service {
    struct app *app;
    struct loop *loop;
    struct wire *wire;
    struct op terminated; /* the first signal */
    bool failed;
};

static void await_stragglers(const struct service *service) PARKS
{
    for (uint64_t waited = 0; loop_tasks(service->loop) > 1; waited += STRAGGLERS_TICK_MS) {
        if (waited >= STRAGGLERS_MS) {
            LOG(ERROR, "tasks do not end", KV("tasks", loop_tasks(service->loop) - 1));
            _exit(1);
        }
        (void)!status_ok(task_sleep_ms(STRAGGLERS_TICK_MS));
    }
}

static void on_signal(void *arg, int signal)
{
    struct service *service = arg;
    if (service->terminated.done) {
        LOG(WARN, "signal while shutting down: ending at once", KV("signal", strsignal(signal)));
        _exit(1);
    }
    LOG(INFO, "shutting down", KV("signal", strsignal(signal)));
    app_interrupt(service->app);
    op_done(&service->terminated, STATUS_SUCCESS);
}

static void on_hangup(void *arg, int signal)
{
    const struct service *service = arg;
    LOG(INFO, "reading anew", KV("signal", strsignal(signal)));
    app_reload(service->app);
}

static void live(void *arg) PARKS
{
    struct service *service = arg;
    if (app_open(service->app)) {
        (void)!status_ok(op_wait(&service->terminated));
    } else {
        service->failed = !service->terminated.done;
    }
    app_close(service->app);
    await_stragglers(service);
    wire_stop(service->wire);
    LOG(DEBUG, "drain: wire has stopped");
    loop_stop(service->loop);
}

static void collect_tasks(void *loop)
{
    METRIC_SET(
        metric_gauge("prism_loop_tasks", "", "Tasks that have not ended, this scrape's too."),
        (double)loop_tasks(loop));
}

static int run(const struct service_spec *spec, const void *config, struct arena *arena)
{
    struct service service = {.loop = loop_new()};
    service.wire = wire_start(service.loop);
    service.app = app_new(&(struct app_options){
        .spec = spec,
        .config = config,
        .arena = arena,
        .loop = service.loop,
        .wire = service.wire,
    });
    op_init(&service.terminated, service.loop, NULL, NULL);
    process_metrics_start();
    metric_on_collect(collect_tasks, service.loop);
    loop_on_signal(service.loop, SIGTERM, on_signal, &service);
    loop_on_signal(service.loop, SIGINT, on_signal, &service);
    loop_on_signal(service.loop, SIGHUP, on_hangup, &service);
    struct task_options options = {.name = "main", .deadline_ms = TASK_DEADLINE_NONE};
    task_spawn(service.loop, &options, live, &service);
    loop_run(service.loop);
    app_free(service.app);
    loop_free(service.loop);
    metric_reset_all();
    return service.failed ? 1 : 0;
}

int service_main(int argc, char **argv, const struct service_spec *spec)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    void *config = arena_alloc(arena, spec->config_size);
    switch (config_load(&spec->config, argc, argv, environ, arena, config, NULL)) {
    case CONFIG_EXIT:
        return 0;
    case CONFIG_ERROR:
        return 2;
    case CONFIG_RUN:
        break;
    }
    enum log_level level;
    const char *const *name = config_field(&spec->config, config, "log_level");
    check(log_level_by_name(span_str(*name), &level));
    log_init(spec->config.program, level);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow any more is as good as a full disk */
    LOG(INFO, "starting", KV("version", PRISM_VERSION),
        KV("open_files", process_raise_open_files()));
    int code = run(spec, config, arena);
    LOG(INFO, "stopped", KV("exit_code", code));
    return code;
}
