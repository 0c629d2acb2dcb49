/* Channels: ordered targets, of which the first that is connected is called. */
#include "net/rpc_channel.h"

#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "loop/task.h"

/* How long a call waits for a connection, and what its caller is told to wait then. */
#define CONNECT_MS       2000
#define CONNECT_RETRY_MS 1000

#define KEEPALIVE_TIME_MS    30000
#define KEEPALIVE_TIMEOUT_MS 10000
#define BACKOFF_FIRST_MS     100
#define BACKOFF_MOST_MS      2000

struct target {
    struct rpc_channel *channel;
    grpc_channel *grpc;
    grpc_connectivity_state seen;
    struct wire_tag watch;
    bool watching;
};

struct rpc_channel {
    struct wire *wire;
    size_t calls; /* open */
    uint64_t call_ms;
    const struct rpc_header *headers;
    size_t n_headers;
    struct target *targets;
    size_t n_targets;
    size_t watching; /* watches that gRPC has not ended */
    bool freed;      /* waits only for these */
    struct list waiters;
    char *unreachable;
};

struct waiter {
    struct op op;
    struct list link;
};

static grpc_arg arg_int(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

static grpc_channel *target_create(const char *name, size_t max_message)
{
    grpc_arg args[] = {
        arg_int(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)max_message),
        /* One call is one attempt, and nobody but us configures it. */
        arg_int(GRPC_ARG_ENABLE_RETRIES, 0),
        arg_int(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
        arg_int(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        arg_int(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        arg_int(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS),
        arg_int(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
        arg_int(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        arg_int(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, BACKOFF_FIRST_MS),
        arg_int(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_MS),
        arg_int(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, BACKOFF_MOST_MS),
    };
    grpc_channel_args all = {.num_args = ARRAY_LEN(args), .args = args};
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(name, plain, &all);
    grpc_channel_credentials_release(plain);
    return channel;
}

struct rpc_channel *rpc_channel_new(struct wire *wire, const struct rpc_channel_options *options)
{
    size_t max_message = options->max_message != 0 ? options->max_message : RPC_MESSAGE_MOST;
    check(max_message <= INT32_MAX);
    struct rpc_channel *channel = ALLOC(struct rpc_channel);
    channel->wire = wire;
    channel->call_ms = options->call_ms != 0 ? options->call_ms : UINT64_MAX;
    check(options->n_headers <= RPC_HEADERS_COUNT);
    channel->headers = options->headers;
    channel->n_headers = options->n_headers;
    struct span rest = span_str(options->targets);
    size_t most = 1;
    for (size_t i = 0; i < rest.len; i++) {
        most += rest.at[i] == ',';
    }
    channel->targets = alloc_zeroed(most, sizeof(*channel->targets));
    list_init(&channel->waiters);
    wire_hold(wire);
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1024);
    buf_addf(&text, "no connection to %s", options->targets);
    channel->unreachable = buf_take(&text);
    for (struct span name; span_cut(&rest, ',', &name);) {
        CLEANUP(alloc_drop) char *copy = alloc_string(span_trim(name));
        struct target *target = &channel->targets[channel->n_targets++];
        target->channel = channel;
        target->grpc = target_create(copy, max_message);
    }
    return channel;
}

static void free_when_unwatched(struct rpc_channel *channel)
{
    if (channel->freed && channel->watching == 0) {
        wire_let_go(channel->wire);
        free(channel->unreachable);
        free(channel->targets);
        free(channel);
    }
}

void rpc_channel_free(struct rpc_channel *channel)
{
    check(channel->calls == 0 && list_empty(&channel->waiters));
    for (size_t i = 0; i < channel->n_targets; i++) {
        grpc_channel_destroy(channel->targets[i].grpc);
    }
    channel->freed = true;
    free_when_unwatched(channel);
}

uint64_t rpc_channel_call_ms(const struct rpc_channel *channel)
{
    return channel->call_ms;
}

size_t rpc_channel_headers(const struct rpc_channel *channel, const struct rpc_header **headers)
{
    *headers = channel->headers;
    return channel->n_headers;
}

struct wire *rpc_channel_hold(struct rpc_channel *channel)
{
    channel->calls++;
    return channel->wire;
}

void rpc_channel_let_go(struct rpc_channel *channel)
{
    channel->calls--;
}

/* Asking is also what makes an idle target connect, so all in front of the chosen one are kept
 * awake. */
grpc_channel *rpc_channel_first(const struct rpc_channel *channel)
{
    for (size_t i = 0; i < channel->n_targets; i++) {
        struct target *target = &channel->targets[i];
        target->seen = grpc_channel_check_connectivity_state(target->grpc, 1);
        if (target->seen == GRPC_CHANNEL_READY) {
            return target->grpc;
        }
    }
    return NULL;
}

bool rpc_channel_ready(const struct rpc_channel *channel)
{
    return rpc_channel_first(channel) != NULL;
}

static void target_changed(struct op *op)
{
    struct target *target = CONTAINER_OF(op, struct target, watch.op);
    struct rpc_channel *channel = target->channel;
    target->watching = false;
    channel->watching--;
    for (struct list *it; (it = list_pop_front(&channel->waiters)) != NULL;) {
        op_done(&CONTAINER_OF(it, struct waiter, link)->op, STATUS_SUCCESS);
    }
    free_when_unwatched(channel);
}

static void target_watch(struct target *target)
{
    if (target->watching) {
        return;
    }
    target->watching = true;
    target->channel->watching++;
    wire_tag_init(&target->watch, target->channel->wire, NULL, target_changed);
    wire_tag_release(&target->watch);
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(CONNECT_MS, GPR_TIMESPAN));
    grpc_channel_watch_connectivity_state(target->grpc, target->seen, until,
                                          wire_queue(target->channel->wire), &target->watch);
}

static void waiter_asked(struct op *op)
{
    list_remove(&CONTAINER_OF(op, struct waiter, op)->link);
    op_done(op, STATUS_SUCCESS);
}

struct status rpc_channel_pick(struct rpc_channel *channel, grpc_channel **out)
{
    struct loop *loop = wire_loop(channel->wire);
    /* At most half of what is left, so that the caller can still be told. */
    uint64_t half = task_left_ms() / 2;
    uint64_t until_ms = loop_now_ms(loop) + (half < CONNECT_MS ? half : CONNECT_MS);
    grpc_channel *ready;
    while ((ready = rpc_channel_first(channel)) == NULL) {
        TRY(task_status());
        if (loop_now_ms(loop) >= until_ms) {
            return status_retry(REASON_PEER_UNREACHABLE, CONNECT_RETRY_MS, channel->unreachable);
        }
        for (size_t i = 0; i < channel->n_targets; i++) {
            target_watch(&channel->targets[i]);
        }
        struct waiter waiter;
        bool in_time;
        op_init(&waiter.op, loop, waiter_asked, NULL);
        list_push_back(&channel->waiters, &waiter.link);
        struct status s = op_wait_until(&waiter.op, until_ms, &in_time);
        check(status_ok(s));
    }
    *out = ready;
    return STATUS_SUCCESS;
}
