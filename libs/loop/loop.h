/*
 * loop.h -- the one thread that owns our state: timers, descriptors, signals, off-loop work.
 *
 * Floor 2, loop thread only unless said otherwise. libuv is behind it and in loop.c only. Time is
 * loop_now_ms: monotonic milliseconds, constant within a turn, moved by hand in tests.
 */
#ifndef PRISM_LOOP_LOOP_H
#define PRISM_LOOP_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/op.h"

struct loop;

struct loop *loop_new(void) NODISCARD;

/* All tasks must have ended, all timers and watches be stopped, threads that post be joined;
 * check()s that. */
void loop_free(struct loop *loop);

/* Turns until loop_stop; pending posts of other threads are taken before it returns. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Before the loop sleeps it looks for so long whether something comes: who is woken from sleep pays
 * for it, on virtual machines tens of microseconds, and who looks burns its core. 0: never. */
void loop_busy_poll(struct loop *loop, uint64_t us);

/* Turns until the predicate holds; for tests and orderly ends. */
void loop_run_until(struct loop *loop, bool (*done)(void *arg), void *arg);

uint64_t loop_now_ms(const struct loop *loop);
size_t loop_tasks(const struct loop *loop); /* tasks that have not ended */

/* Ends the loop's use of the real clock and moves its own; due timers fire at the next turn. */
void loop_test_clock(struct loop *loop, uint64_t now_ms);

/* --- timers: plain memory of their owner -------------------------------------------------------
 */

struct timer {
    struct loop *loop;
    void (*fire)(struct timer *);
    uint64_t when_ms;
    uint64_t order; /* of starting, among timers of one millisecond */
    size_t slot;    /* place in the loop's heap + 1, 0: not running */
};

void timer_init(struct timer *timer, struct loop *loop, void (*fire)(struct timer *));
void timer_start(struct timer *timer, uint64_t when_ms); /* loop_now_ms time; restarts */
void timer_stop(struct timer *timer);                    /* harmless when not running */
bool timer_running(const struct timer *timer);

/* --- descriptors -------------------------------------------------------------------------------
 */

enum fd_events {
    FD_READ = 1,
    FD_WRITE = 2,
    FD_HANGUP = 4, /* the peer closed its writing side, or all */
};

struct fd_watch;

/* The descriptor stays its owner's and must stay open until fd_watch_stop; one watch at a time. It
 * is made non-blocking. Told again each turn while it lasts. Errors count as all events that were
 * asked for. */
struct fd_watch *fd_watch_start(struct loop *loop, int fd, unsigned events,
                                void (*ready)(void *arg, unsigned events), void *arg);
void fd_watch_change(struct fd_watch *watch, unsigned events); /* 0: pause */
void fd_watch_stop(struct fd_watch *watch);                    /* takes NULL; frees it */

/* --- signals, work off the loop, clock of others ------------------------------------------------
 */

void loop_on_signal(struct loop *loop, int signal, void (*fn)(void *arg, int signal), void *arg);

/* Runs fn(arg) on a pool thread and waits. fn touches nothing that somebody else holds. For CPU
 * work that would silence the loop (beyond about 256 KB of hashing or encoding). */
struct status loop_work(struct loop *loop, void (*fn)(void *arg), void *arg) NODISCARD PARKS;

/* loop_work of the running task for work over so many bytes; over a few, fn runs at once. */
struct status loop_work_over(size_t bytes, void (*fn)(void *arg), void *arg) NODISCARD PARKS;

/* A thread that blocks elsewhere and speaks to the loop by op_post (wire, disk). */
struct thread;
struct thread *thread_start(const char *name, void (*fn)(void *arg), void *arg);
void thread_join(struct thread *thread); /* frees it */

#endif
