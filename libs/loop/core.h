/*
 * core.h -- what the files of libs/loop know of each other. For this folder and its tests only.
 *
 * Floor 2, loop thread. struct core is the part of a loop that needs no foreign library: timers
 * (timer.c) and tasks (task.c). loop.c turns it.
 */
#ifndef PRISM_LOOP_CORE_H
#define PRISM_LOOP_CORE_H

#include "base/list.h"
#include "loop/loop.h"
#include "loop/task.h"

/* A heap, earliest first; started at the same time: first started first. */
struct timers {
    struct timer **heap;
    size_t n;
    size_t cap;
    uint64_t started;
};

void timers_clear(struct timers *timers);
uint64_t timers_next_ms(const struct timers *timers);     /* UINT64_MAX: none runs */
void timers_fire(struct timers *timers, uint64_t now_ms); /* what was due before the call */

#define TASK_MAGIC 0x7461736bu
#define OP_MAGIC   0x6f705f5fu

struct stack;

struct task {
    unsigned magic;
    struct loop *loop;
    const char *name;
    void (*fn)(void *arg);
    void *arg;
    struct stack *stack; /* from the first turn on */
    struct list all;     /* tasks.all */
    struct list queue;   /* tasks.ready or tasks.now */
    struct op *waits;    /* what it is parked on */
    bool firm;           /* that wait heeds neither cancellation nor deadline */
    bool ended;
    struct status cancelled;
    uint64_t deadline_ms;
    struct timer alarm; /* runs during waits */
    struct task_context context;
};

enum op_fault {
    OP_SOUND,
    OP_BREAKS, /* not done yet: asked to end at once, although the task goes on; if it succeeds all
                * the same, the task is told CALL_CANCELLED */
    OP_LOST,   /* ends as it would have, and the task is told CONNECTION_LOST */
};

struct scheduler; /* the stack everything else runs on, and the pool */

struct tasks {
    struct list all;
    struct list ready; /* for the next turn */
    struct list now;   /* still to run in this one */
    size_t live;
    struct scheduler *scheduler;

    /* For tests, else NULL: told of each wait that a task comes to; and asked, when that is for
     * something from outside (op_wait), how it is to fail. */
    void (*on_wait)(struct task *task);
    enum op_fault (*on_op)(struct task *task, const struct op *op);
};

void tasks_init(struct tasks *tasks);
void tasks_clear(struct tasks *tasks); /* none may be live */
void tasks_run(struct tasks *tasks);   /* each that is ready at the call, once; not from a task */

void task_ready(struct task *task); /* queues it; it waits for nothing any more */
void task_park(void) PARKS;         /* until task_ready */

/* Asks the op to end early, once. */
void op_ask(struct op *op);

struct core {
    struct timers timers;
    struct tasks tasks;
};

struct core *loop_core(struct loop *loop);

/* Any thread: completes the op at the loop's next turn. */
void loop_post(struct loop *loop, struct op *op);
void loop_post_here(struct loop *loop, struct op *op);  /* loop thread */
void loop_post_along(struct loop *loop, struct op *op); /* wakes nobody: with the next post */

/* Running timers, watches, off-loop work and posts not yet taken. */
size_t loop_pending(const struct loop *loop);

#endif
