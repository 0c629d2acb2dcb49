/* bench streams: many Generate calls held open at once, by a model that stalls in its answer. */
#include "prismctl/bench.h"
#include "prismctl/command.h"

#define STREAM_ARENA (16u << 20)
#define OPENING_MOST 64 /* at once: it is the open ones that are measured, not the rush */
#define SETTLE_MS    1000
#define WARM_MS      200

struct streams {
    struct cli *cli;
    uint64_t opening;
    uint64_t held; /* begun and not ended */
    uint64_t most; /* of them at once */
    uint64_t completed;
    uint64_t lost;
    struct status why;
    struct op *wake; /* of who waits for a stream to begin */
};

static void look(struct streams *streams)
{
    if (streams->wake != NULL) {
        struct op *op = streams->wake;
        streams->wake = NULL;
        op_done(op, STATUS_SUCCESS);
    }
}

static void wait_asked(struct op *op)
{
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

/* Until at most so many are being opened. */
static struct status wait_opening(struct streams *streams, uint64_t most) PARKS
{
    while (streams->opening > most) {
        struct op op;
        op_init(&op, task_loop(), wait_asked, NULL);
        streams->wake = &op; /* cppcheck-suppress autoVariables ; cleared before it goes */
        struct status s = op_wait(&op);
        streams->wake = NULL;
        TRY(s);
    }
    return STATUS_SUCCESS;
}

struct stream {
    struct streams *streams;
    bool began;
};

static void stream_began(void *arg)
{
    struct stream *stream = arg;
    struct streams *streams = stream->streams;
    stream->began = true;
    streams->opening--;
    streams->held++;
    streams->most = streams->held > streams->most ? streams->held : streams->most;
    look(streams);
}

static void stream_run(void *arg) PARKS
{
    struct streams *streams = arg;
    struct stream stream = {streams, false};
    struct bench_answer answer;
    CLEANUP(arena_drop) struct arena *arena = arena_new(STREAM_ARENA);
    struct status s = bench_generate(streams->cli, arena, stream_began, &stream, &answer);
    if (status_ok(s)) {
        streams->completed++;
    } else if (streams->lost++ == 0) {
        streams->why = status_copy(s, streams->cli->arena);
    }
    streams->held -= stream.began;
    streams->opening -= !stream.began;
    look(streams);
}

/* One that is not counted, so that what a first call alone allocates is not. */
static struct status warm(struct streams *streams) PARKS
{
    struct group group;
    group_init(&group);
    group_spawn(&group, "warm", stream_run, streams);
    streams->opening++;
    TRY(group_wait(&group));
    TRY(streams->why);
    streams->most = streams->completed = 0;
    return task_sleep_ms(WARM_MS);
}

static struct status open_all(struct streams *streams, struct group *group, uint64_t n) PARKS
{
    for (uint64_t i = 0; i < n; i++) {
        TRY(wait_opening(streams, OPENING_MOST - 1));
        streams->opening++;
        group_spawn(group, "stream", stream_run, streams);
    }
    TRY(wait_opening(streams, 0));
    return task_sleep_ms(SETTLE_MS);
}

static void report_memory(struct bench_report *report, const struct bench_processes *before,
                          const struct bench_processes *held, const struct bench_processes *after,
                          uint64_t n)
{
    for (size_t i = 0; i < held->n; i++) {
        const char *name = held->at[i].name;
        double from = (double)before->at[i].rss_kib, to = (double)held->at[i].rss_kib;
        bench_report_of(report, "kib_per_stream", name, (to - from) / (double)n);
        bench_report_of(report, "rss_kib_before", name, from);
        bench_report_of(report, "rss_kib_held", name, to);
        bench_report_of(report, "rss_kib_after", name, (double)after->at[i].rss_kib);
        bench_report_of(report, "cpu_us_to_open", name, held->at[i].cpu_us / (double)n);
    }
}

int bench_streams_run(struct cli *cli, char **args)
{
    (void)args;
    uint64_t n = cli->config->callers;
    struct streams streams = {.cli = cli};
    struct bench_processes before, held, after;
    struct bench_report report;
    if (!bench_processes_init(&before, cli)) {
        return CLI_USAGE;
    }
    struct status s = warm(&streams);
    if (!status_ok(s)) {
        return cli_fail(cli, "the first stream failed", s);
    }
    struct group group;
    group_init(&group);
    bench_processes_mark(&before);
    held = after = before;
    bench_processes_take(&before);
    uint64_t from_ms = loop_now_ms(task_loop());
    s = open_all(&streams, &group, n);
    uint64_t opened_ms = loop_now_ms(task_loop()) - from_ms - SETTLE_MS;
    uint64_t together = streams.held;
    bench_processes_take(&held);
    struct status ended = group_wait(&group);
    s = status_ok(s) ? ended : s;
    bench_processes_take(&after);

    bench_report_begin(&report, cli, "streams");
    bench_report_count(&report, "streams", n);
    bench_report_count(&report, "opened_ms", opened_ms);
    bench_report_count(&report, "together", together);
    bench_report_count(&report, "completed", streams.completed);
    report_memory(&report, &before, &held, &after, n);
    if (streams.lost == 0 && (!status_ok(s) || together < n)) {
        streams.lost = n - streams.completed + (together < n);
        streams.why = status_ok(s) ? status_of(REASON_TIMED_OUT,
                                               "the first streams ended before the last was open")
                                   : s;
    }
    return bench_report_end(&report, streams.lost, streams.why);
}
