#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <stdlib.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "base/alloc.h"
#include "base/log.h"
#include "loop/mailbox.h"
#include "net/rpc_internal.h"

struct wire {
    struct loop *loop;
    grpc_completion_queue *queue;
    struct thread *thread;
    struct op drained;
    size_t held;
    struct mailbox *soon; /* tags for the wire thread's next turn */
    struct timer late;    /* when that does not come */
};

/* gRPC is not built with the sanitizer, which therefore does not see that an event comes after
 * the start of its batch. */
static void order_before_event(void *tag)
{
#ifdef __SANITIZE_THREAD__
    __tsan_release(tag);
#endif
    (void)tag;
}

static void order_after_start(void *tag)
{
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(tag);
#endif
    (void)tag;
}

static struct status result_of(bool ok)
{
    return ok ? STATUS_SUCCESS : status_of(REASON_CALL_CANCELLED, NULL);
}

static void take_soon(struct wire *wire)
{
    struct op *next;
    for (struct op *op = mailbox_take(wire->soon); op != NULL; op = next) {
        next = op->next;
        struct wire_tag *tag = CONTAINER_OF(op, struct wire_tag, op);
        tag->on_wire(tag);
        op_post_along(op, STATUS_SUCCESS);
    }
}

static void run(void *arg)
{
    struct wire *wire = arg;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(wire->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            break;
        }
        take_soon(wire); /* first: what this posts goes along with the event */
        struct wire_tag *tag = event.tag;
        order_after_start(tag);
        tag->op.ok = event.success != 0;
        if (tag->on_wire != NULL) {
            tag->on_wire(tag);
        }
        op_post(&tag->op, result_of(tag->op.ok));
    }
    op_post(&wire->drained, STATUS_SUCCESS);
}

/* Any of gRPC's threads. */
static void log_for_grpc(gpr_log_func_args *args)
{
    switch (args->severity) {
    case GPR_LOG_SEVERITY_DEBUG:
    case GPR_LOG_SEVERITY_INFO:
        LOG(DEBUG, "grpc", KV("text", args->message), KV("file", args->file),
            KV("line", args->line));
        break;
    case GPR_LOG_SEVERITY_ERROR:
        LOG(WARN, "grpc", KV("text", args->message), KV("file", args->file),
            KV("line", args->line));
        break;
    }
}

void wire_hurry(struct wire *wire)
{
    struct op *first = mailbox_take(wire->soon);
    if (first == NULL) {
        return;
    }
    struct op *next;
    for (struct op *op = first->next; op != NULL; op = next) {
        next = op->next;
        (void)!mailbox_put(wire->soon, op);
    }
    struct wire_tag *tag = CONTAINER_OF(first, struct wire_tag, op);
    wire_batch(tag, *tag->call, NULL, 0); /* its event takes the others along */
}

static void late(struct timer *timer)
{
    wire_hurry(CONTAINER_OF(timer, struct wire, late));
}

void wire_soon(struct wire_tag *tag)
{
    struct wire *wire = tag->wire;
    (void)!mailbox_put(wire->soon, &tag->op);
    if (!timer_running(&wire->late)) {
        timer_start(&wire->late, loop_now_ms(wire->loop) + WIRE_LATE_MS);
    }
}

struct wire *wire_start(struct loop *loop)
{
    gpr_set_log_function(log_for_grpc);
    grpc_init();
    struct wire *wire = ALLOC(struct wire);
    wire->loop = loop;
    wire->queue = grpc_completion_queue_create_for_next(NULL);
    wire->soon = mailbox_new();
    timer_init(&wire->late, loop, late);
    op_init(&wire->drained, loop, NULL, NULL);
    wire->thread = thread_start("wire", run, wire);
    return wire;
}

void wire_stop(struct wire *wire)
{
    grpc_completion_queue_shutdown(wire->queue);
    /* The last post of the thread: when it is here, so are all others. */
    struct status s = op_wait_firmly(&wire->drained);
    check(status_ok(s) && wire->held == 0);
    thread_join(wire->thread);
    timer_stop(&wire->late);
    mailbox_free(wire->soon);
    grpc_completion_queue_destroy(wire->queue);
    grpc_shutdown_blocking();
    free(wire);
}

struct loop *wire_loop(const struct wire *wire)
{
    return wire->loop;
}

grpc_completion_queue *wire_queue(const struct wire *wire)
{
    return wire->queue;
}

void wire_hold(struct wire *wire)
{
    wire->held++;
}

void wire_let_go(struct wire *wire)
{
    wire->held--;
}

void wire_tag_init(struct wire_tag *tag, struct wire *wire, void (*cancel)(struct op *),
                   void (*then)(struct op *))
{
    op_init(&tag->op, wire->loop, cancel, then);
    tag->wire = wire;
    tag->on_wire = NULL;
}

void wire_tag_release(struct wire_tag *tag)
{
    order_before_event(tag);
}

void wire_batch(struct wire_tag *tag, grpc_call *call, const grpc_op *ops, size_t n)
{
    order_before_event(tag);
    grpc_call_error refused = grpc_call_start_batch(call, ops, n, tag, NULL);
    check(refused == GRPC_CALL_OK);
}

/* An event that came up on the loop thread: any, as who holds gRPC's locks does others' work too.
 * `then` must not run inside whatever started the batch. */
static void take_here(struct wire_tag *tag, bool ok)
{
    order_after_start(tag);
    tag->op.ok = ok;
    if (tag->on_wire != NULL && ok) {
        wire_batch(tag, *tag->call, NULL, 0); /* again, there */
        return;
    }
    if (tag->on_wire != NULL) {
        tag->on_wire(tag);
    }
    if (tag->op.then != NULL) {
        op_post_here(&tag->op, result_of(ok));
    } else {
        op_done(&tag->op, result_of(ok));
    }
}

void wire_batch_here(struct wire_tag *tag, grpc_call *call, const grpc_op *ops, size_t n)
{
    grpc_completion_queue *queue = tag->wire->queue;
    void *early;
    int ok;
    grpc_completion_queue_thread_local_cache_init(queue);
    wire_batch(tag, call, ops, n);
    if (grpc_completion_queue_thread_local_cache_flush(queue, &early, &ok) != 0) {
        take_here(early, ok != 0);
    }
}
