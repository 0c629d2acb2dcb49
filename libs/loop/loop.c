#include "loop/loop.h"

#include <sched.h>
#include <stdlib.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "loop/core.h"
#include "loop/mailbox.h"
#include "loop/sanitizer.h"

#define WORK_INLINE (256u << 10) /* more of it would be felt by everybody else */

struct loop {
    struct core core;
    uv_loop_t uv;
    uv_async_t posted;
    uv_timer_t wake; /* ends the poll when the next timer is due */
    uint64_t wake_ms;
    struct mailbox *mailbox;
    bool posted_here; /* something is in it that posted will not tell of */
    struct list signals;
    size_t watches;
    size_t works;
    bool stopping;
    uint64_t busy_poll_us;
    bool own_clock;
    uint64_t own_now_ms;
};

/* --- turning ------------------------------------------------------------------------------------
 */

static void take_posts(struct loop *loop)
{
    loop->posted_here = false;
    struct op *next;
    for (struct op *op = mailbox_take(loop->mailbox); op != NULL; op = next) {
        next = op->next;
        op_done(op, op->result);
    }
}

static void on_posted(uv_async_t *handle)
{
    take_posts(CONTAINER_OF(handle, struct loop, posted));
}

static void on_wake(uv_timer_t *handle)
{
    CONTAINER_OF(handle, struct loop, wake)->wake_ms = UINT64_MAX;
    /* It fires before the poll when the tasks ran long: then the poll must not block. */
    uv_stop(handle->loop);
}

static void set_wake(struct loop *loop)
{
    uint64_t next = loop->own_clock ? UINT64_MAX : timers_next_ms(&loop->core.timers);
    if (next == loop->wake_ms) {
        return;
    }
    loop->wake_ms = next;
    if (next == UINT64_MAX) {
        uv_timer_stop(&loop->wake);
        return;
    }
    uint64_t now = uv_now(&loop->uv);
    uv_timer_start(&loop->wake, on_wake, next > now ? next - now : 0, 0);
}

static bool has_work(const struct loop *loop)
{
    return loop->posted_here || !list_empty(&loop->core.tasks.ready) ||
           timers_next_ms(&loop->core.timers) <= loop_now_ms(loop);
}

/* False: nothing came. Other threads get the core between two looks: what is looked for may be
 * theirs to bring. */
static bool look_out(struct loop *loop)
{
    uint64_t until_us = clock_mono_us() + loop->busy_poll_us;
    bool found = false;
    while (!found && clock_mono_us() < until_us) {
        sched_yield();
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        found = has_work(loop);
    }
    return found;
}

static void turn(struct loop *loop)
{
    struct core *core = &loop->core;
    set_wake(loop);
    if (has_work(loop)) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    } else if (loop->busy_poll_us == 0 || !look_out(loop)) {
        uv_run(&loop->uv, UV_RUN_ONCE);
    }
    if (loop->posted_here) {
        take_posts(loop);
    }
    timers_fire(&core->timers, loop_now_ms(loop));
    tasks_run(&core->tasks);
}

void loop_run(struct loop *loop)
{
    while (!loop->stopping) {
        turn(loop);
    }
    loop->stopping = false;
    take_posts(loop);
    tasks_run(&loop->core.tasks);
}

void loop_busy_poll(struct loop *loop, uint64_t us)
{
    loop->busy_poll_us = us;
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}

void loop_run_until(struct loop *loop, bool (*done)(void *arg), void *arg)
{
    while (!done(arg)) {
        turn(loop);
    }
}

void loop_post(struct loop *loop, struct op *op)
{
    (void)!mailbox_put(loop->mailbox, op);
    check(uv_async_send(&loop->posted) == 0); /* does nothing while the last one is not taken */
}

void loop_post_here(struct loop *loop, struct op *op)
{
    loop->posted_here = true;
    (void)!mailbox_put(loop->mailbox, op);
}

void loop_post_along(struct loop *loop, struct op *op)
{
    (void)!mailbox_put(loop->mailbox, op);
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->own_clock ? loop->own_now_ms : uv_now(&loop->uv);
}

void loop_test_clock(struct loop *loop, uint64_t now_ms)
{
    check(!loop->own_clock || now_ms >= loop->own_now_ms);
    loop->own_clock = true;
    loop->own_now_ms = now_ms;
}

size_t loop_tasks(const struct loop *loop)
{
    return loop->core.tasks.live;
}

size_t loop_pending(const struct loop *loop)
{
    return loop->core.timers.n + loop->watches + loop->works;
}

struct core *loop_core(struct loop *loop)
{
    return &loop->core;
}

/* --- descriptors --------------------------------------------------------------------------------
 */

struct fd_watch {
    uv_poll_t poll;
    struct loop *loop;
    unsigned events;
    void (*ready)(void *arg, unsigned events);
    void *arg;
};

static const struct {
    unsigned ours;
    int uv;
} event_names[] = {
    {FD_READ, UV_READABLE},
    {FD_WRITE, UV_WRITABLE},
    {FD_HANGUP, UV_DISCONNECT},
};

static void on_poll(uv_poll_t *poll, int status, int uv_events)
{
    struct fd_watch *watch = CONTAINER_OF(poll, struct fd_watch, poll);
    unsigned events = 0;
    for (size_t i = 0; i < ARRAY_LEN(event_names); i++) {
        if (status < 0 || (uv_events & event_names[i].uv) != 0) {
            events |= event_names[i].ours;
        }
    }
    if (status < 0) {
        /* libuv stops watching after an error; ours stays level-triggered. */
        fd_watch_change(watch, watch->events);
    }
    events &= watch->events;
    if (events != 0) {
        watch->ready(watch->arg, events);
    }
}

struct fd_watch *fd_watch_start(struct loop *loop, int fd, unsigned events,
                                void (*ready)(void *arg, unsigned events), void *arg)
{
    struct fd_watch *watch = ALLOC(struct fd_watch);
    watch->loop = loop;
    watch->ready = ready;
    watch->arg = arg;
    check(uv_poll_init(&loop->uv, &watch->poll, fd) == 0);
    loop->watches++;
    fd_watch_change(watch, events);
    return watch;
}

void fd_watch_change(struct fd_watch *watch, unsigned events)
{
    int uv_events = 0;
    for (size_t i = 0; i < ARRAY_LEN(event_names); i++) {
        if ((events & event_names[i].ours) != 0) {
            uv_events |= event_names[i].uv;
        }
    }
    watch->events = events;
    check(uv_poll_start(&watch->poll, uv_events, on_poll) == 0);
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF((uv_poll_t *)handle, struct fd_watch, poll));
}

void fd_watch_stop(struct fd_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    watch->loop->watches--;
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

/* --- signals ------------------------------------------------------------------------------------
 */

struct signal_watch {
    struct list link;
    uv_signal_t uv;
    void (*fn)(void *arg, int signal);
    void *arg;
};

static void on_signal(uv_signal_t *handle, int signal)
{
    struct signal_watch *watch = CONTAINER_OF(handle, struct signal_watch, uv);
    watch->fn(watch->arg, signal);
}

void loop_on_signal(struct loop *loop, int signal, void (*fn)(void *arg, int signal), void *arg)
{
    struct signal_watch *watch = ALLOC(struct signal_watch);
    watch->fn = fn;
    watch->arg = arg;
    list_push_back(&loop->signals, &watch->link);
    check(uv_signal_init(&loop->uv, &watch->uv) == 0);
    check(uv_signal_start(&watch->uv, on_signal, signal) == 0);
}

static void on_signal_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF((uv_signal_t *)handle, struct signal_watch, uv));
}

/* --- work off the loop --------------------------------------------------------------------------
 */

struct work {
    uv_work_t uv;
    struct op op;
    void (*fn)(void *arg);
    void *arg;
};

static void work_run(uv_work_t *uv)
{
    struct work *work = CONTAINER_OF(uv, struct work, uv);
    HANDOVER_TAKE(work);
    work->fn(work->arg);
    HANDOVER_GIVE(work);
}

static void work_after(uv_work_t *uv, int status)
{
    struct work *work = CONTAINER_OF(uv, struct work, uv);
    HANDOVER_TAKE(work);
    work->op.loop->works--;
    op_done(&work->op, status == 0 ? STATUS_SUCCESS : status_of(REASON_CALL_CANCELLED, NULL));
}

/* Succeeds while it still waits for a pool thread; work_after is called either way. */
static void work_cancel(struct op *op)
{
    uv_cancel((uv_req_t *)&CONTAINER_OF(op, struct work, op)->uv);
}

struct status loop_work(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct work work = {.fn = fn, .arg = arg};
    op_init(&work.op, loop, work_cancel, NULL);
    HANDOVER_GIVE(&work);
    check(uv_queue_work(&loop->uv, &work.uv, work_run, work_after) == 0);
    loop->works++;
    return op_wait(&work.op);
}

struct status loop_work_over(size_t bytes, void (*fn)(void *arg), void *arg)
{
    if (bytes > WORK_INLINE) {
        return loop_work(task_loop(), fn, arg);
    }
    fn(arg);
    return STATUS_SUCCESS;
}

/* --- beginning and end --------------------------------------------------------------------------
 */

struct loop *loop_new(void)
{
    struct loop *loop = ALLOC(struct loop);
    loop->wake_ms = UINT64_MAX;
    loop->mailbox = mailbox_new();
    list_init(&loop->signals);
    tasks_init(&loop->core.tasks);
    check(uv_loop_init(&loop->uv) == 0);
    check(uv_async_init(&loop->uv, &loop->posted, on_posted) == 0);
    check(uv_timer_init(&loop->uv, &loop->wake) == 0);
    return loop;
}

void loop_free(struct loop *loop)
{
    check(loop->core.tasks.live == 0 && loop_pending(loop) == 0);
    LIST_EACH (link, &loop->signals) {
        uv_close((uv_handle_t *)&CONTAINER_OF(link, struct signal_watch, link)->uv,
                 on_signal_closed);
    }
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->posted, NULL);
    /* Handles are only free in their close callbacks. */
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    check(uv_loop_close(&loop->uv) == 0);
    tasks_clear(&loop->core.tasks);
    timers_clear(&loop->core.timers);
    mailbox_free(loop->mailbox);
    free(loop);
}
