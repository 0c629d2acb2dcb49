#include "loop/op.h"

#include "loop/core.h"

void op_init(struct op *op, struct loop *loop, void (*cancel)(struct op *),
             void (*then)(struct op *))
{
    *op = (struct op){.magic = OP_MAGIC, .loop = loop, .cancel = cancel, .then = then};
}

void op_done(struct op *op, struct status result)
{
    check(op->magic == OP_MAGIC && !op->done);
    op->result = result;
    op->done = true;
    /* `then` may free an op that nobody waits for. */
    struct task *waiter = op->waiter;
    if (op->then != NULL) {
        op->then(op);
    }
    if (waiter != NULL) {
        task_ready(waiter);
    }
}

void op_post(struct op *op, struct status result)
{
    op->result = result;
    loop_post(op->loop, op);
}

void op_post_here(struct op *op, struct status result)
{
    op->result = result;
    loop_post_here(op->loop, op);
}

void op_post_along(struct op *op, struct status result)
{
    op->result = result;
    loop_post_along(op->loop, op);
}

void op_ask(struct op *op)
{
    if (op->asked || op->done) {
        return;
    }
    op->asked = true;
    if (op->cancel != NULL) {
        op->cancel(op);
    }
}

/* Parks until the op is done; asks it at until_ms unless the wait is firm. */
static void park_on(struct task *task, struct op *op, uint64_t until_ms, bool firm)
{
    if (!firm && !op->asked && until_ms != UINT64_MAX) {
        timer_start(&task->alarm, until_ms);
    }
    op->waiter = task;
    task->waits = op;
    task->firm = firm;
    task_park();
    check(op->done);
    op->waiter = NULL;
}

static struct status wait(struct op *op, uint64_t until_ms)
{
    struct task *task = task_self();
    check(task != NULL && task->loop == op->loop);
    check(op->magic == OP_MAGIC && op->waiter == NULL);
    struct tasks *tasks = &loop_core(op->loop)->tasks;
    if (!op->done && tasks->on_wait != NULL) {
        tasks->on_wait(task);
    }
    if (!op->done && (until_ms <= loop_now_ms(op->loop) || !status_ok(task_status()))) {
        op_ask(op);
    }
    if (!op->done) {
        park_on(task, op, until_ms < task->deadline_ms ? until_ms : task->deadline_ms, false);
    }
    if (op->asked && !status_ok(op->result) && !status_ok(task_status())) {
        return task_status();
    }
    return op->result;
}

/* For tests of what follows a failure. */
static struct status wait_to_fail(struct op *op, enum op_fault fault)
{
    if (fault == OP_BREAKS) {
        op_ask(op);
    }
    struct status result = wait(op, UINT64_MAX);
    if (fault == OP_SOUND || !status_ok(result)) {
        return result;
    }
    return status_of(fault == OP_LOST ? REASON_CONNECTION_LOST : REASON_CALL_CANCELLED, NULL);
}

struct status op_wait(struct op *op)
{
    const struct tasks *tasks = &loop_core(op->loop)->tasks;
    if (tasks->on_op != NULL) {
        return wait_to_fail(op, tasks->on_op(task_self(), op));
    }
    return wait(op, UINT64_MAX);
}

struct status op_wait_until(struct op *op, uint64_t when_ms, bool *in_time)
{
    struct status result = wait(op, when_ms);
    *in_time = !op->asked;
    return result;
}

struct status op_wait_firmly(struct op *op)
{
    struct task *task = task_self();
    check(task != NULL && task->loop == op->loop);
    check(op->magic == OP_MAGIC && op->waiter == NULL);
    if (!op->done) {
        park_on(task, op, UINT64_MAX, true);
    }
    return op->result;
}
