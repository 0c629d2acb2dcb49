/* WatchTask: the events of a task, old ones first, then as they are stored. */
#include <string.h>

#include "analyzer/analyzer.h"
#include "analyzer/store.h"
#include "loop/task.h"

#define BATCH_EVENTS 256
#define BATCH_ARENA  (16u << 20)
#define COME_BACK_MS 1000

struct watcher {
    struct list link;
    const char *task_id;
    struct bell news;
};

void watch_wake(struct analyzer *analyzer, const char *task_id)
{
    LIST_EACH (it, &analyzer->watchers) {
        struct watcher *watcher = CONTAINER_OF(it, struct watcher, link);
        if (strcmp(watcher->task_id, task_id) == 0) {
            bell_ring(&watcher->news);
        }
    }
}

void watch_drain(struct analyzer *analyzer)
{
    LIST_EACH (it, &analyzer->watchers) {
        bell_ring(&CONTAINER_OF(it, struct watcher, link)->news);
    }
}

static bool is_result(const Analyzer__AnalysisEvent *event)
{
    return event->event_case < ANALYZER__ANALYSIS_EVENT__EVENT_QUEUED;
}

static struct status send_batch(struct rpc *rpc, const Analyzer__WatchTaskRequest *request,
                                const char *tenant, const char *id, uint64_t *after,
                                bool *end) PARKS
{
    struct analyzer *analyzer = rpc_service(rpc);
    CLEANUP(arena_drop) struct arena *arena = arena_new(BATCH_ARENA);
    Analyzer__AnalysisEvent **events;
    Analyzer__Task__State state;
    size_t n;
    TRY(store_read_events(analyzer->store, tenant, id, *after, BATCH_EVENTS, arena, &events, &n,
                          &state));
    for (size_t i = 0; i < n; i++) {
        *after = events[i]->sequence;
        if (request->results_only && !is_result(events[i])) {
            continue;
        }
        Analyzer__WatchTaskResponse response = ANALYZER__WATCH_TASK_RESPONSE__INIT;
        response.event = events[i];
        TRY(rpc_send(rpc, &response));
    }
    *end = n == 0 && state > ANALYZER__TASK__STATE__STATE_RUNNING;
    return STATUS_SUCCESS;
}

/* Until the task has new events; an event shows now and then that the stream is alive. */
static struct status wait_for_more(struct rpc *rpc, struct watcher *watcher, uint64_t begin) PARKS
{
    struct analyzer *analyzer = rpc_service(rpc);
    for (;;) {
        bool news;
        TRY(bell_wait_until(&watcher->news,
                            loop_now_ms(analyzer->loop) + analyzer->config->keep_alive, &news));
        if (news) {
            return STATUS_SUCCESS;
        }
        Router__KeepAlive alive = ROUTER__KEEP_ALIVE__INIT;
        alive.elapsed_ms = loop_now_ms(analyzer->loop) - begin;
        Analyzer__AnalysisEvent event = ANALYZER__ANALYSIS_EVENT__INIT;
        event.event_case = ANALYZER__ANALYSIS_EVENT__EVENT_KEEP_ALIVE;
        event.keep_alive = &alive;
        Analyzer__WatchTaskResponse response = ANALYZER__WATCH_TASK_RESPONSE__INIT;
        response.event = &event;
        TRY(rpc_send(rpc, &response));
    }
}

static struct status watch(struct rpc *rpc, const Analyzer__WatchTaskRequest *request,
                           const char *tenant, struct watcher *watcher) PARKS
{
    struct analyzer *analyzer = rpc_service(rpc);
    uint64_t begin = loop_now_ms(analyzer->loop), after = request->after_sequence;
    for (;;) {
        bool end = false;
        uint64_t before = after;
        TRY(send_batch(rpc, request, tenant, watcher->task_id, &after, &end));
        if (end) {
            return STATUS_SUCCESS;
        }
        if (app_draining(analyzer->app)) {
            return status_retry(REASON_SHUTTING_DOWN, COME_BACK_MS, NULL);
        }
        if (after == before) {
            TRY(wait_for_more(rpc, watcher, begin));
        }
    }
}

struct status tasks_watch(struct rpc *rpc, const void *arg)
{
    const Analyzer__WatchTaskRequest *request = arg;
    struct analyzer *analyzer = rpc_service(rpc);
    const char *tenant;
    struct watcher watcher = {0};
    TRY(request_take_tenant(rpc, request->tenant, &tenant));
    TRY(request_task(rpc, tenant, request->name, &watcher.task_id));
    list_push_back(&analyzer->watchers, &watcher.link);
    METRIC_ADD(analyzer->metrics.watchers, 1);
    struct status s = watch(rpc, request, tenant, &watcher);
    METRIC_ADD(analyzer->metrics.watchers, -1);
    list_remove(&watcher.link);
    if (s.reason == REASON_TASK_UNKNOWN) {
        return rpc_not_found(rpc, REASON_TASK_UNKNOWN, "prism.analyzer.v1.Task", request->name);
    }
    return s;
}
