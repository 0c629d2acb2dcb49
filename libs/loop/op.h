/*
 * op.h -- one pending thing: a socket, a timer, a row being written, a message on its way.
 *
 * Floor 2. An op completes exactly once, on the loop thread. It may live on the stack of the task
 * that waits for it, because op_wait never abandons: a deadline or a cancellation *asks* the op to
 * end early (cancel) and still waits until it has. What cannot be recalled keeps its state in a
 * heap cell of its own.
 *
 * Fields are for libs/loop and libs/net; a reader of `result` waits for `done` first.
 */
#ifndef PRISM_LOOP_OP_H
#define PRISM_LOOP_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/status.h"

/* Marks a declaration that may switch to other tasks before it returns. What was read from shared
 * state before such a call is read again after it. */
#define PARKS

struct loop;
struct task;

struct op {
    unsigned magic;
    struct loop *loop;
    void (*cancel)(
        struct op *); /* asks for an early end, may complete it at once; NULL: cannot be hurried */
    void (*then)(
        struct op *); /* optional: runs on the loop thread at completion, before the waiter */
    struct status result;
    struct task *waiter;
    bool done;
    bool asked;      /* cancel was called */
    bool ok;         /* wire thread's note: the event's success flag */
    struct op *next; /* mailbox */
};

void op_init(struct op *op, struct loop *loop, void (*cancel)(struct op *),
             void (*then)(struct op *));

/* Loop thread. Queues the waiter, never switches to it. */
void op_done(struct op *op, struct status result);

/* Any thread: op_done on the loop thread, soon. The op must not be touched by the poster after. */
void op_post(struct op *op, struct status result);

/* The same from the loop thread, which need not be woken: op_done in its next turn. */
void op_post_here(struct op *op, struct status result);

/* The same for what is in no hurry: does not wake the loop thread, which finds it with the next
 * op_post. */
void op_post_along(struct op *op, struct status result);

/* Returns the result once the op is done. When the task is cancelled or its deadline passes, the
 * op is asked to end early and its own result is returned when that says how it ended OK, else the
 * task's status (CALL_CANCELLED, DEADLINE_PASSED). A task that is already cancelled asks at once.
 */
struct status op_wait(struct op *op) NODISCARD PARKS;

/* The same, and asks the op at when_ms (loop_now_ms time) at the latest; *in_time says whether it
 * was done without being asked. For waiting with a tick, such as keep-alives. */
struct status op_wait_until(struct op *op, uint64_t when_ms, bool *in_time) NODISCARD PARKS;

/* The same without heeding the task's own cancellation and deadline: for the few waits that end
 * by themselves and whose memory others still use. */
struct status op_wait_firmly(struct op *op) NODISCARD PARKS;

#endif
