#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <stdlib.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "base/alloc.h"
#include "base/log.h"
#include "net/rpc_internal.h"

struct wire {
    struct loop *loop;
    grpc_completion_queue *queue;
    struct thread *thread;
    struct op drained;
    size_t held;
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

static void run(void *arg)
{
    struct wire *wire = arg;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(wire->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            break;
        }
        struct wire_tag *tag = event.tag;
        order_after_start(tag);
        tag->op.ok = event.success != 0;
        if (tag->on_wire != NULL) {
            tag->on_wire(tag);
        } else {
            wire_post(tag);
        }
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

struct wire *wire_start(struct loop *loop)
{
    gpr_set_log_function(log_for_grpc);
    grpc_init();
    struct wire *wire = ALLOC(struct wire);
    wire->loop = loop;
    wire->queue = grpc_completion_queue_create_for_next(NULL);
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
    } else if (tag->on_wire != NULL) {
        tag->on_wire(tag);
    } else if (tag->op.then != NULL) {
        wire_post(tag);
    } else {
        op_done(&tag->op, ok ? STATUS_SUCCESS : status_of(REASON_CALL_CANCELLED, NULL));
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

void wire_post(struct wire_tag *tag)
{
    op_post(&tag->op, tag->op.ok ? STATUS_SUCCESS : status_of(REASON_CALL_CANCELLED, NULL));
}
