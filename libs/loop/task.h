/*
 * task.h -- a stack per call: sequential code that parks instead of blocking.
 *
 * Floor 2, loop thread only. A task runs until it waits for an op; then others run. Stacks are
 * 256 KiB of guarded, pooled address space. Every task runs to its end: its clean-up always
 * happens, cancelled or not. Every task has a deadline. Clean-up that needs the network is handed
 * to a fresh task with a deadline of its own.
 */
#ifndef PRISM_LOOP_TASK_H
#define PRISM_LOOP_TASK_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "loop/op.h"

#define TASK_DEADLINE_DEFAULT_MS 3600000    /* for who gives none */
#define TASK_DEADLINE_NONE       UINT64_MAX /* services' own standing tasks */

/* Who a task works for: in every log line and on every outgoing call. Copied at spawn. */
struct task_context {
    char request_id[129];
    char tenant[65];
    char task_id[65];
};

struct task_options {
    const char *name;     /* static, for people and debuggers */
    uint64_t deadline_ms; /* loop_now_ms time; 0: the spawner's, else the default from now */
    const struct task_context *context; /* NULL: the spawner's, else empty */
};

/* Starts fn(arg) on a fresh task at the loop's next turn. options may be NULL. */
struct task *task_spawn(struct loop *loop, const struct task_options *options,
                        void (*fn)(void *arg) PARKS, void *arg);

struct task *task_self(void); /* NULL outside tasks */
struct loop *task_loop(void); /* the running task's */
const char *task_name(const struct task *task);

/* Every later wait of the task returns this status at once; the present one is asked to end. The
 * first cancellation stays. */
void task_cancel(struct task *task, struct status why);

/* OK, why the running task was cancelled, or DEADLINE_PASSED. */
struct status task_status(void) NODISCARD;

uint64_t task_deadline_ms(void);              /* of the running task, loop_now_ms time */
uint64_t task_left_ms(void);                  /* until then, 0 when passed */
void task_set_deadline(uint64_t deadline_ms); /* only ever nearer than it was */

struct task_context *task_context(void); /* of the running task; may be written */

/* OK after the whole time, else why not. */
struct status task_sleep_ms(uint64_t ms) NODISCARD PARKS;
struct status task_sleep_until(uint64_t when_ms) NODISCARD PARKS;

/* Lets everybody else who is ready run first. */
void task_yield(void) PARKS;

/* A bell: rung by anybody, heard by the one task that waits for it. A ring that nobody waits for is
 * kept, several are one. All zero: not rung. */
struct bell {
    bool rung;
    struct op *listener;
};

void bell_ring(struct bell *bell);

/* Until it is rung, which is then taken, or until when_ms (loop_now_ms time); *rung says which.
 * Else the task's status. */
struct status bell_wait_until(struct bell *bell, uint64_t when_ms, bool *rung) NODISCARD PARKS;

/* n things done at once by child tasks: spawn, then wait for all. Children inherit deadline and
 * context; cancelling the waiter cancels them. */
struct group {
    struct loop *loop;
    struct op all;
    struct list members;
    size_t running;
};

void group_init(struct group *group);
void group_spawn(struct group *group, const char *name, void (*fn)(void *arg) PARKS, void *arg);
struct status group_wait(struct group *group) NODISCARD PARKS; /* returns when the last has ended */

#endif
