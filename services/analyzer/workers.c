/* Sections of submitted documents: claimed from the store, a few at once, run to their end. */
#include <stdlib.h>
#include <string.h>

#include "analyzer/outbox.h"
#include "analyzer/result.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "loop/task.h"

#define RUN_ARENA (64u << 20)
#define TICK_MS   5000 /* the queue is looked at this often without being told */

struct run {
    struct list link;
    struct workers *workers;
    struct arena *arena;
    struct store_claim claim;
    struct outbox outbox;
    struct task *task;   /* the analysis: what a cancellation stops */
    struct status ended; /* of the analysis */
    Analyzer__SectionResult *result;
    bool cancelled; /* the store knows already */
};

struct workers {
    struct analyzer *analyzer;
    struct list running;
    size_t n;
    struct task *dispatcher;
    struct bell work; /* there may be something to claim */
    struct op ended;
    bool stopping;
};

/* --- one run ---------------------------------------------------------------------------------- */

static struct section_job job_of(const struct run *run, const char *section_id)
{
    return (struct section_job){
        .tenant = run->claim.tenant,
        .task_id = run->claim.task_id,
        .section_id = section_id,
        .index = run->claim.index,
        .title = run->claim.title,
        .text = run->claim.text,
        .options = run->claim.options,
        .earlier = run->claim.earlier,
        .n_earlier = run->claim.n_earlier,
    };
}

static const char *section_id(const struct run *run)
{
    return arena_printf(run->arena, "s%04u", run->claim.index + 1);
}

/* The part that may be cancelled. */
static void analysis(void *arg) PARKS
{
    struct run *run = arg;
    struct analyzer *analyzer = run->workers->analyzer;
    run->task = task_self();
    uint64_t now = clock_wall_ms();
    uint64_t left = run->claim.deadline_ms > now ? run->claim.deadline_ms - now : 0;
    task_set_deadline(loop_now_ms(analyzer->loop) + left);
    struct section_job job = job_of(run, section_id(run));
    run->ended = analyze_section(analyzer, &job, &run->outbox.sink, run->arena, &run->result);
    run->task = NULL;
}

/* A service was lost or is full, or somebody else cut the call off: another run may succeed. */
static bool may_run_again(const struct run *run)
{
    bool lost = run->ended.code == STATUS_UNAVAILABLE || run->ended.code == STATUS_CANCELLED;
    return lost && run->ended.reason != REASON_ATTEMPTS_USED_UP &&
           run->claim.run < run->workers->analyzer->config->runs_most &&
           run->claim.deadline_ms > clock_wall_ms();
}

static struct status requeue(const struct run *run, uint64_t not_before_ms) PARKS
{
    const struct store_claim *claim = &run->claim;
    return store_requeue(run->workers->analyzer->store, claim->task_id, claim->index, claim->run,
                         not_before_ms);
}

static struct status run_again(struct run *run) PARKS
{
    struct analyzer *analyzer = run->workers->analyzer;
    uint64_t wait = run->ended.retry_after_ms > analyzer->config->rerun_wait
                        ? run->ended.retry_after_ms
                        : analyzer->config->rerun_wait;
    TRY(requeue(run, clock_wall_ms() + wait));
    METRIC_ADD(analyzer->metrics.reruns_total, 1, reason_name(run->ended.reason));
    LOG(WARN, "section runs again", KV("section", run->claim.index + 1), KV("run", run->claim.run),
        KV("wait_ms", wait), KV("err", run->ended));
    return STATUS_SUCCESS;
}

static struct status finish(struct run *run) PARKS
{
    struct analyzer *analyzer = run->workers->analyzer;
    const struct store_claim *claim = &run->claim;
    if (!status_ok(run->ended)) {
        struct section_job job = job_of(run, section_id(run));
        run->result = analyze_failure(&job, run->ended, run->arena);
    }
    Analyzer__Task__State ended;
    TRY(store_finish(analyzer->store, claim->task_id, claim->index, claim->run, run->result,
                     clock_wall_ms(), &ended));
    count_result(analyzer, run->result);
    if (ended != ANALYZER__TASK__STATE__STATE_UNSPECIFIED) {
        bool good = ended == ANALYZER__TASK__STATE__STATE_SUCCEEDED;
        METRIC_ADD(analyzer->metrics.tasks_total, 1, claim->tenant, good ? "SUCCEEDED" : "FAILED");
        LOG(INFO, "task ended", KV("state", good ? "SUCCEEDED" : "FAILED"));
    }
    return STATUS_SUCCESS;
}

/* Until the store has taken it: a run that ended belongs to nobody else. When the process ends
 * first, the next one finds the section running and runs it again. */
static struct status settle(struct run *run) PARKS
{
    struct workers *workers = run->workers;
    struct status stored = outbox_close(&run->outbox);
    if (stored.code == STATUS_UNAVAILABLE && status_ok(run->ended)) {
        run->ended = stored; /* its events are not whole */
    }
    for (bool told = false;; told = true) {
        struct status s;
        if (run->cancelled) {
            return STATUS_SUCCESS;
        }
        if (!status_ok(stored) && stored.code != STATUS_UNAVAILABLE) {
            return stored;
        }
        if (workers->stopping && !status_ok(run->ended)) {
            s = requeue(run, 0);
        } else {
            s = may_run_again(run) ? run_again(run) : finish(run);
        }
        if (s.code != STATUS_UNAVAILABLE || workers->stopping) {
            return s;
        }
        if (!told) {
            LOG(ERROR, "the store does not take a section: tried until it does",
                KV("section", run->claim.index + 1), KV("run", run->claim.run), KV("err", s));
        }
        TRY(task_sleep_ms(workers->analyzer->config->rerun_wait));
    }
}

static void run_section(void *arg) PARKS
{
    struct run *run = arg;
    struct workers *workers = run->workers;
    struct analyzer *analyzer = workers->analyzer;
    uint64_t begin = loop_now_ms(analyzer->loop);
    struct group group;
    outbox_init(&run->outbox, analyzer, &run->claim);
    group_init(&group);
    group_spawn(&group, "analysis", analysis, run);
    struct status s = group_wait(&group);
    if (status_ok(s)) {
        s = settle(run);
    }
    if (!status_ok(s)) {
        LOG(ERROR, "section not stored", KV("section", run->claim.index + 1),
            KV("run", run->claim.run), KV("err", s));
    }
    METRIC_OBSERVE(analyzer->metrics.section_seconds,
                   (double)(loop_now_ms(analyzer->loop) - begin) / 1000);
    watch_wake(analyzer, run->claim.task_id);
    list_remove(&run->link);
    METRIC_SET(analyzer->metrics.sections_running, (double)--workers->n);
    arena_free(run->arena);
    workers_wake(workers);
}

static void start_run(struct workers *workers, struct run *run)
{
    struct task_context context = {0};
    snprintf(context.request_id, sizeof(context.request_id), "%s", run->claim.caller_request);
    snprintf(context.tenant, sizeof(context.tenant), "%s", run->claim.tenant);
    snprintf(context.task_id, sizeof(context.task_id), "%s", run->claim.task_id);
    struct task_options options = {
        .name = "section",
        .deadline_ms = TASK_DEADLINE_NONE, /* the analysis inside has one */
        .context = &context,
    };
    list_push_back(&workers->running, &run->link);
    METRIC_SET(workers->analyzer->metrics.sections_running, (double)++workers->n);
    watch_wake(workers->analyzer, run->claim.task_id);
    task_spawn(workers->analyzer->loop, &options, run_section, run);
}

/* --- dispatcher ------------------------------------------------------------------------------- */

/* Claims until all workers are busy or nothing is due; *next_ms: wall time to look again. */
static struct status claim_all(struct workers *workers, uint64_t *next_ms) PARKS
{
    struct analyzer *analyzer = workers->analyzer;
    *next_ms = 0;
    while (workers->n < analyzer->config->workers && !workers->stopping) {
        struct arena *arena = arena_new(RUN_ARENA);
        struct run *run = ARENA_NEW(arena, struct run);
        run->arena = arena;
        run->workers = workers;
        bool found = false;
        struct status s =
            store_claim(analyzer->store, clock_wall_ms(), arena, &run->claim, &found, next_ms);
        if (!status_ok(s) || !found) {
            arena_free(arena);
            return s;
        }
        start_run(workers, run);
    }
    return STATUS_SUCCESS;
}

static void dispatch(void *arg) PARKS
{
    struct workers *workers = arg;
    while (!workers->stopping) {
        uint64_t next_wall;
        struct status s = claim_all(workers, &next_wall);
        uint64_t wait = TICK_MS, wall = clock_wall_ms();
        if (!status_ok(s)) {
            LOG(ERROR, "no section claimed", KV("err", s));
            wait = workers->analyzer->config->rerun_wait;
        } else if (next_wall > 0) {
            wait = next_wall <= wall ? 1 : next_wall - wall < TICK_MS ? next_wall - wall : TICK_MS;
        }
        bool told;
        s = bell_wait_until(&workers->work, loop_now_ms(workers->analyzer->loop) + wait, &told);
        (void)s; /* told or not: the queue is looked at */
    }
    op_done(&workers->ended, STATUS_SUCCESS);
}

struct workers *workers_start(struct analyzer *analyzer)
{
    struct workers *workers = ALLOC(struct workers);
    workers->analyzer = analyzer;
    list_init(&workers->running);
    op_init(&workers->ended, analyzer->loop, NULL, NULL);
    struct task_options options = {.name = "dispatcher", .deadline_ms = TASK_DEADLINE_NONE};
    workers->dispatcher = task_spawn(analyzer->loop, &options, dispatch, workers);
    return workers;
}

void workers_wake(struct workers *workers)
{
    bell_ring(&workers->work);
}

void workers_cancel(struct workers *workers, const char *task_id)
{
    LIST_EACH (it, &workers->running) {
        struct run *run = CONTAINER_OF(it, struct run, link);
        if (strcmp(run->claim.task_id, task_id) == 0) {
            run->cancelled = true;
            if (run->task != NULL) {
                task_cancel(run->task, status_of(REASON_CALL_CANCELLED, "the task was cancelled"));
            }
        }
    }
}

void workers_drain(struct workers *workers)
{
    workers->stopping = true;
    workers_wake(workers);
}

/* Until none runs any more, or until_ms. */
static void await_runs(const struct workers *workers, uint64_t until_ms) PARKS
{
    while (workers->n > 0 && loop_now_ms(workers->analyzer->loop) < until_ms) {
        struct status s = task_sleep_ms(10);
        check(status_ok(s));
    }
}

void workers_stop(struct workers *workers, uint64_t grace_ms)
{
    workers_drain(workers);
    struct status s = op_wait_firmly(&workers->ended);
    check(status_ok(s));
    await_runs(workers, loop_now_ms(workers->analyzer->loop) + grace_ms);
    LIST_EACH (it, &workers->running) {
        struct run *run = CONTAINER_OF(it, struct run, link);
        if (run->task != NULL) {
            task_cancel(run->task, status_of(REASON_SHUTTING_DOWN, NULL));
        }
    }
    await_runs(workers, UINT64_MAX);
    free(workers);
}
