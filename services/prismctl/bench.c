/* The load generator. */
#include "prismctl/bench.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"

#define CALL_ARENA   (16u << 20)
#define SAMPLES_MOST (16u << 20)
#define PAUSE_MS     10 /* after a call that failed: who is down is not hammered */

struct samples {
    uint32_t *at; /* microseconds */
    size_t n;
    size_t room;
};

struct bench {
    struct cli *cli;
    const struct bench_kind *kind;
    struct bench_processes processes;
    double rate;
    uint64_t begin_us;
    uint64_t tickets; /* calls that were given a moment to begin at */
    uint64_t begun;
    bool measuring;
    bool over;

    struct samples times;
    struct samples firsts; /* until the first of the answer */
    uint64_t errors;
    struct status first_error;

    /* With a rate: callers wait for their moment, in its order. The loop's milliseconds would be
     * too coarse for it. */
    int timer;
    struct fd_watch *watch;
    struct list waiting;
};

/* --- the moment to begin ------------------------------------------------------------------------
 */

struct waiter {
    struct op op;
    struct list link;
    uint64_t due_us;
};

static void set_timer(struct bench *bench)
{
    struct itimerspec when = {{0}, {0}};
    if (!list_empty(&bench->waiting)) {
        uint64_t due_us = CONTAINER_OF(bench->waiting.next, struct waiter, link)->due_us;
        when.it_value.tv_sec = (time_t)(due_us / 1000000);
        when.it_value.tv_nsec = (long)(due_us % 1000000) * 1000;
    }
    check(timerfd_settime(bench->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

/* Everyone whose moment has come; all when it is over. */
static void wake_due(struct bench *bench)
{
    uint64_t now_us = clock_mono_us();
    LIST_EACH (it, &bench->waiting) {
        struct waiter *waiter = CONTAINER_OF(it, struct waiter, link);
        if (waiter->due_us > now_us && !bench->over) {
            break;
        }
        list_remove(it);
        op_done(&waiter->op, STATUS_SUCCESS);
    }
    set_timer(bench);
}

static void timer_ready(void *arg, unsigned events)
{
    struct bench *bench = arg;
    uint64_t times;
    (void)events;
    (void)!read(bench->timer, &times, sizeof(times));
    wake_due(bench);
}

static void waiter_asked(struct op *op)
{
    list_remove(&CONTAINER_OF(op, struct waiter, op)->link);
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

static void wait_until(struct bench *bench, uint64_t due_us) PARKS
{
    if (clock_mono_us() >= due_us) {
        return;
    }
    struct waiter waiter = {.due_us = due_us};
    op_init(&waiter.op, task_loop(), waiter_asked, NULL);
    list_push_back(&bench->waiting, &waiter.link);
    set_timer(bench);
    struct status s = op_wait(&waiter.op);
    (void)s; /* who is cancelled finds that out with the call */
}

static void pace_start(struct bench *bench)
{
    list_init(&bench->waiting);
    bench->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    check(bench->timer >= 0);
    bench->watch = fd_watch_start(task_loop(), bench->timer, FD_READ, timer_ready, bench);
}

static void pace_stop(struct bench *bench)
{
    fd_watch_stop(bench->watch);
    close(bench->timer);
}

/* --- calls --------------------------------------------------------------------------------------
 */

static void note_time(struct bench *bench, struct samples *samples, uint64_t us)
{
    if (samples->n == SAMPLES_MOST) {
        bench->over = true;
        return;
    }
    if (samples->n == samples->room) {
        samples->room = samples->room > 0 ? 2 * samples->room : 4096;
        samples->at = alloc_resized(samples->at, samples->room * sizeof(*samples->at));
    }
    samples->at[samples->n++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void note_error(struct bench *bench, struct status why)
{
    if (bench->errors++ == 0) {
        bench->first_error = status_copy(why, bench->cli->arena);
    }
}

static void call_once(struct bench *bench, uint64_t due_us) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(CALL_ARENA);
    uint64_t first_us = 0;
    bench->begun++;
    struct status s = bench->kind->call(bench->kind->arg, arena, &first_us);
    if (!status_ok(s)) {
        note_error(bench, s);
        bench->over |= !status_ok(task_sleep_ms(PAUSE_MS));
    } else if (bench->measuring) {
        note_time(bench, &bench->times, clock_mono_us() - due_us);
        if (first_us > 0) {
            note_time(bench, &bench->firsts, first_us - due_us);
        }
    }
}

static void caller(void *arg) PARKS
{
    struct bench *bench = arg;
    while (!bench->over) {
        uint64_t due_us = clock_mono_us();
        if (bench->rate > 0) {
            due_us = bench->begin_us + (uint64_t)((double)bench->tickets++ * 1e6 / bench->rate);
            wait_until(bench, due_us);
        }
        if (!bench->over) {
            call_once(bench, due_us);
        }
    }
}

/* --- the figures ---------------------------------------------------------------------------------
 */

static int by_size(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Nearest rank. */
static double percentile(const struct samples *samples, double p)
{
    if (samples->n == 0) {
        return 0;
    }
    size_t rank = (size_t)(p / 100 * (double)samples->n);
    return samples->at[rank < samples->n ? rank : samples->n - 1];
}

static double mean(const struct samples *samples)
{
    double sum = 0;
    for (size_t i = 0; i < samples->n; i++) {
        sum += samples->at[i];
    }
    return samples->n > 0 ? sum / (double)samples->n : 0;
}

static void report_times(struct bench *bench, struct bench_report *report, double seconds)
{
    struct samples *times = &bench->times, *firsts = &bench->firsts;
    size_t n = times->n;
    qsort(times->at, n, sizeof(*times->at), by_size);
    bench_report_count(report, "calls", n);
    bench_report_number(report, "per_second", (double)n / seconds);
    bench_report_number(report, "mean_us", mean(times));
    bench_report_number(report, "p50_us", percentile(times, 50));
    bench_report_number(report, "p90_us", percentile(times, 90));
    bench_report_number(report, "p99_us", percentile(times, 99));
    bench_report_number(report, "max_us", percentile(times, 100));
    if (firsts->n > 0) {
        qsort(firsts->at, firsts->n, sizeof(*firsts->at), by_size);
        bench_report_number(report, "first_p50_us", percentile(firsts, 50));
        bench_report_number(report, "first_p99_us", percentile(firsts, 99));
    }
    for (size_t i = 0; i < bench->processes.n; i++) {
        const struct bench_process *process = &bench->processes.at[i];
        bench_report_of(report, "cpu_us", process->name, n > 0 ? process->cpu_us / (double)n : 0);
        bench_report_of(report, "rss_kib", process->name, (double)process->rss_kib);
    }
}

/* Calls that were due and could not be begun, as all callers had one running. */
static uint64_t count_behind(const struct bench *bench, uint64_t end_us)
{
    uint64_t due = (uint64_t)((double)(end_us - bench->begin_us) / 1e6 * bench->rate);
    return due > bench->begun ? due - bench->begun : 0;
}

/* --- a run
 * ----------------------------------------------------------------------------------------
 */

static void measure(struct bench *bench, struct bench_report *report) PARKS
{
    const struct cli_config *config = bench->cli->config;
    struct group callers;
    group_init(&callers);
    pace_start(bench);
    bench->begin_us = clock_mono_us();
    for (uint64_t i = 0; i < config->callers; i++) {
        group_spawn(&callers, bench->kind->name, caller, bench);
    }
    struct status s = task_sleep_ms(config->warmup);
    bench_processes_mark(&bench->processes);
    bench->measuring = true;
    uint64_t from_us = clock_mono_us();
    s = status_ok(s) ? task_sleep_ms(config->duration) : s;
    uint64_t to_us = clock_mono_us();
    bench->measuring = false;
    bench->over = true;
    bench_processes_take(&bench->processes);
    uint64_t behind = count_behind(bench, to_us);
    wake_due(bench);
    struct status ended = group_wait(&callers);
    pace_stop(bench);
    s = status_ok(s) ? ended : s;
    if (!status_ok(s)) {
        note_error(bench, s);
    }
    double seconds = (double)(to_us - from_us) / 1e6;
    bench_report_number(report, "seconds", seconds);
    bench_report_number(report, "rate", bench->rate);
    bench_report_count(report, "behind", behind);
    report_times(bench, report, seconds);
}

/* One call alone: the connection is made, and the answer is what it should be. */
static struct status try_one(struct bench *bench, struct bench_report *report) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(CALL_ARENA);
    uint64_t from_us = clock_mono_us(), unused = 0;
    struct status s = bench->kind->call(bench->kind->arg, arena, &unused);
    bench_report_number(report, "first_us", (double)(clock_mono_us() - from_us));
    bench_report_count(report, "first_at_us", clock_wall_ns() / 1000);
    return status_copy(s, bench->cli->arena);
}

int bench_run(struct cli *cli, const struct bench_kind *kind)
{
    struct bench_report report;
    struct bench bench = {.cli = cli, .kind = kind, .rate = cli->config->rate};
    if (!bench_processes_init(&bench.processes, cli)) {
        return CLI_USAGE;
    }
    bench_report_begin(&report, cli, kind->name);
    bench_report_count(&report, "callers", cli->config->callers);
    struct status s = try_one(&bench, &report);
    if (!status_ok(s)) {
        note_error(&bench, s);
    } else if (cli->config->duration > 0) {
        measure(&bench, &report);
    }
    free(bench.times.at);
    free(bench.firsts.at);
    return bench_report_end(&report, bench.errors, bench.first_error);
}
