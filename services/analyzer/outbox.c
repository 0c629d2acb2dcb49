#include "analyzer/outbox.h"

#include "base/clock.h"
#include "loop/task.h"

static void write_batch(void *arg) PARKS
{
    struct outbox *outbox = arg;
    const struct store_claim *claim = outbox->claim;
    struct status s = task_sleep_ms(outbox->analyzer->config->flush);
    (void)s; /* sooner than planned is no harm */
    if (outbox->n > 0) {
        struct arena *arena = outbox->arena;
        size_t n = outbox->n;
        Analyzer__AnalysisEvent **batch = ARENA_ARRAY(arena, Analyzer__AnalysisEvent *, n);
        for (size_t i = 0; i < n; i++) {
            batch[i] = outbox->events[i];
        }
        outbox->arena = NULL;
        outbox->n = 0;
        s = store_events(outbox->analyzer->store, claim->task_id, claim->index, claim->run, batch,
                         n);
        arena_free(arena);
        if (status_ok(s)) {
            METRIC_ADD(outbox->analyzer->metrics.events_total, (double)n);
            watch_wake(outbox->analyzer, claim->task_id);
        } else {
            outbox->failed = s;
            outbox->failed.detail = NULL;
        }
    }
    outbox->writing = false;
    if (outbox->waiting != NULL) {
        struct op *waiting = outbox->waiting;
        outbox->waiting = NULL;
        op_done(waiting, STATUS_SUCCESS);
    }
}

static void schedule(struct outbox *outbox)
{
    if (outbox->writing) {
        return;
    }
    outbox->writing = true;
    struct task_options options = {.name = "outbox", .deadline_ms = TASK_DEADLINE_NONE};
    task_spawn(outbox->analyzer->loop, &options, write_batch, outbox);
}

/* The writing task touches the outbox: its end is waited for, whatever happens to the waiter. */
static void wait_for_write(struct outbox *outbox) PARKS
{
    struct op op;
    op_init(&op, outbox->analyzer->loop, NULL, NULL);
    outbox->waiting = &op;
    struct status s = op_wait_firmly(&op);
    check(status_ok(s));
}

static struct status outbox_put(struct event_sink *sink, Analyzer__AnalysisEvent *event) PARKS
{
    struct outbox *outbox = CONTAINER_OF(sink, struct outbox, sink);
    if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_KEEP_ALIVE) {
        return STATUS_SUCCESS; /* watchers have their own */
    }
    event->run = outbox->claim->run;
    CLEANUP(arena_drop) struct arena *scratch = arena_new(OUTBOX_BYTES);
    struct span packed = rpc_pack(event, scratch);
    while (
        outbox->n == OUTBOX_EVENTS ||
        (outbox->arena != NULL && arena_left(outbox->arena) < OUTBOX_BYTES / 2 + 16 * packed.len)) {
        wait_for_write(outbox);
    }
    TRY(outbox->failed);
    if (outbox->arena == NULL) {
        outbox->arena = arena_new(2 * OUTBOX_BYTES);
    }
    void *copy;
    TRY(rpc_unpack(&analyzer__analysis_event__descriptor, packed, outbox->arena, &copy));
    Analyzer__AnalysisEvent *kept = copy;
    uint64_t now = clock_wall_ms();
    kept->time = ARENA_NEW(outbox->arena, Google__Protobuf__Timestamp);
    google__protobuf__timestamp__init(kept->time);
    kept->time->seconds = (int64_t)(now / 1000);
    kept->time->nanos = (int32_t)(now % 1000) * 1000000;
    outbox->events[outbox->n++] = kept;
    schedule(outbox);
    return STATUS_SUCCESS;
}

void outbox_init(struct outbox *outbox, struct analyzer *analyzer, const struct store_claim *claim)
{
    *outbox = (struct outbox){.sink = {outbox_put}, .analyzer = analyzer, .claim = claim};
}

struct status outbox_close(struct outbox *outbox)
{
    while (outbox->writing || outbox->n > 0) {
        schedule(outbox);
        wait_for_write(outbox);
    }
    return outbox->failed;
}
