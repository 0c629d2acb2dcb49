#include "fault_walk.h"

#include <string.h>

#include "loop/core.h"

#define RUNS_MOST 5000
#define RUN_MS    60000 /* a run that takes longer hangs */

static struct {
    const struct fault_walk *walk;
    const char *what;
    void (*strike)(void *arg);
    size_t n;    /* whose turn it is */
    size_t seen; /* in this run */
} at;

static bool counts(const struct task *task)
{
    for (size_t i = 0; i < FAULT_WALK_TASKS && at.walk->tasks[i] != NULL; i++) {
        if (strcmp(task_name(task), at.walk->tasks[i]) == 0) {
            return ++at.seen == at.n;
        }
    }
    return false;
}

static enum op_fault break_it(struct task *task, const struct op *op)
{
    return !op->done && counts(task) ? OP_BREAKS : OP_SOUND;
}

static enum op_fault lose_it(struct task *task, const struct op *op)
{
    (void)op;
    return counts(task) ? OP_LOST : OP_SOUND;
}

static void cancel_it(struct task *task)
{
    if (counts(task)) {
        task_cancel(task, status_of(REASON_CALL_CANCELLED, NULL));
    }
}

static void strike_it(struct task *task)
{
    if (counts(task)) {
        at.strike(at.walk->arg);
    }
}

/* Without the fault first: what always holds must hold then too. */
static size_t walk_on(const struct fault_walk *walk, const char *what,
                      void (*on_wait)(struct task *task),
                      enum op_fault (*on_op)(struct task *task, const struct op *op)) PARKS
{
    struct tasks *tasks = &loop_core(task_loop())->tasks;
    at.walk = walk;
    at.what = what;
    for (at.n = 0; at.n < RUNS_MOST; at.n++) {
        uint64_t begin = loop_now_ms(task_loop());
        at.seen = 0;
        tasks->on_wait = on_wait;
        tasks->on_op = on_op;
        walk->run(walk->arg);
        walk->judge(walk->arg); /* what the calls left behind may still run, and fail */
        tasks->on_wait = NULL;
        tasks->on_op = NULL;
        assert_true(loop_now_ms(task_loop()) - begin < RUN_MS);
        if (at.seen < at.n) {
            at.walk = NULL;
            return at.n - 1;
        }
    }
    fail_msg("%s has more than %d steps", walk->name, RUNS_MOST);
    return 0;
}

size_t fault_walk_fail(const struct fault_walk *walk)
{
    return walk_on(walk, "breaking off", NULL, break_it);
}

size_t fault_walk_lose(const struct fault_walk *walk)
{
    return walk_on(walk, "losing", NULL, lose_it);
}

size_t fault_walk_cancel(const struct fault_walk *walk)
{
    return walk_on(walk, "cancelling", cancel_it, NULL);
}

size_t fault_walk_strike(const struct fault_walk *walk, void (*strike)(void *arg))
{
    at.strike = strike;
    return walk_on(walk, "striking", strike_it, NULL);
}

int fault_walk_teardown(void **state)
{
    (void)state;
    if (at.walk != NULL) {
        print_message("# %s: the walk ended while %s at wait %zu\n", at.walk->name, at.what, at.n);
        at.walk = NULL;
    }
    return 0;
}
