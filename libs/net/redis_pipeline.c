#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "loop/task.h"
#include "net/redis_internal.h"

#define BATCH         (64u << 10) /* more begins a send of its own, unless one command is larger */
#define SCRATCH_SPARE (64u << 10) /* beyond one string: arrays of ours are small */

/* --- calls ---------------------------------------------------------------------------------------
 */

static struct redis_call *first(const struct list *list)
{
    return list_empty(list) ? NULL : CONTAINER_OF(list->next, struct redis_call, link);
}

static void wake_writer(struct redis *redis)
{
    if (redis->idle) {
        redis->idle = false;
        op_done(&redis->wake, STATUS_SUCCESS);
    }
}

void redis_push(struct redis *redis, struct redis_call *call)
{
    check(redis->state != REDIS_DOWN);
    uint64_t now = loop_now_ms(redis->loop);
    call->asked_ms = now;
    call->late_ms =
        redis->state == REDIS_GREETING ? redis->greeted_by_ms : now + redis->options.command_ms;
    list_push_back(&redis->unsent, &call->link);
    redis->n_pending++;
    redis->unsent_bytes += call->len;
    if (!timer_running(&redis->timer) || redis->timer.when_ms > call->late_ms) {
        timer_start(&redis->timer, call->late_ms);
    }
    wake_writer(redis);
}

static void leave_unsent(struct redis *redis, struct redis_call *call)
{
    list_remove(&call->link);
    redis->unsent_bytes -= call->len;
}

static void end_call(struct redis *redis, struct redis_call *call, struct status s,
                     const struct redis_reply *reply)
{
    list_remove(&call->link);
    redis->n_pending--;
    if (call->done != NULL) {
        call->done(call->owner, s, reply);
    }
    redis_call_free(call);
}

void redis_pull(struct redis *redis, struct redis_call *call)
{
    leave_unsent(redis, call);
    redis->n_pending--;
    redis_call_free(call);
}

/* What is known of a command that was sent when the connection ended. */
static struct status lost(const struct redis_call *call, struct status why, uint64_t now_ms)
{
    if (why.reason == REASON_TIMED_OUT && now_ms < call->late_ms) {
        return status_of(REASON_CONNECTION_LOST, "an earlier reply took too long");
    }
    bool known = why.reason == REASON_TIMED_OUT || why.reason == REASON_PROTOCOL_ERROR;
    return known ? why : status_of(REASON_CONNECTION_LOST, why.detail);
}

void redis_fail(struct redis *redis, struct status why)
{
    if (redis->state == REDIS_DOWN) {
        return;
    }
    redis_set_state(redis, REDIS_DOWN);
    timer_stop(&redis->timer);
    uint64_t now = loop_now_ms(redis->loop);
    struct redis_call *call;
    while ((call = first(&redis->sent)) != NULL) {
        end_call(redis, call, lost(call, why, now), NULL);
    }
    while ((call = first(&redis->unsent)) != NULL) {
        leave_unsent(redis, call);
        end_call(redis, call, status_of(REASON_CONNECT_FAILED, "the connection ended before"),
                 NULL);
    }
    redis_note_failure(redis, why);
    stream_abort(redis->stream, status_of(REASON_CONNECTION_LOST, "the connection was given up"));
    wake_writer(redis);
}

/* --- a late reply, a long silence ----------------------------------------------------------------
 */

static void ping(struct redis *redis)
{
    struct span word = SPAN("PING");
    struct redis_call *call = redis_call_new(&(struct redis_part){&word, 1}, 1, BATCH);
    check(call != NULL);
    redis_push(redis, call);
}

static void tick(struct timer *timer)
{
    struct redis *redis = CONTAINER_OF(timer, struct redis, timer);
    uint64_t now = loop_now_ms(redis->loop);
    const struct redis_call *oldest = first(&redis->sent);
    oldest = oldest != NULL ? oldest : first(&redis->unsent);
    if (oldest == NULL) {
        if (now < redis->heard_ms + redis->options.ping_ms) {
            timer_start(timer, redis->heard_ms + redis->options.ping_ms);
        } else {
            ping(redis);
        }
    } else if (now < oldest->late_ms) {
        timer_start(timer, oldest->late_ms);
    } else if (redis->overdue != oldest) {
        /* When it was our own loop that stood still, the reply may be there: a turn more. */
        redis->overdue = oldest;
        timer_start(timer, now);
    } else {
        redis_fail(redis, status_of(REASON_TIMED_OUT, "Redis did not answer in time"));
    }
}

/* --- the two tasks of a connection ---------------------------------------------------------------
 */

static void idle_ends(struct op *op)
{
    CONTAINER_OF(op, struct redis, wake)->idle = false;
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

static struct status wait_for_calls(struct redis *redis) PARKS
{
    op_init(&redis->wake, redis->loop, idle_ends, NULL);
    redis->idle = true;
    return op_wait(&redis->wake);
}

/* What has gathered since the last send. */
static void take_batch(struct redis *redis, struct buf *batch)
{
    struct redis_call *call;
    while ((call = first(&redis->unsent)) != NULL &&
           (batch->len == 0 || batch->len + call->len <= BATCH)) {
        leave_unsent(redis, call);
        buf_add(batch, call->bytes, call->len);
        free(call->bytes);
        call->bytes = NULL;
        call->sent = true;
        list_push_back(&redis->sent, &call->link);
    }
}

static void write_calls(void *arg) PARKS
{
    struct redis *redis = arg;
    CLEANUP(buf_clear) struct buf batch;
    buf_init(&batch, BATCH + redis->options.unsent_max);
    struct status s = STATUS_SUCCESS;
    while (status_ok(s) && redis->state != REDIS_DOWN) {
        take_batch(redis, &batch);
        if (batch.len == 0) {
            s = wait_for_calls(redis);
            continue;
        }
        s = stream_write(redis->stream, buf_span(&batch));
        if (batch.cap > 2 * BATCH) {
            buf_clear(&batch);
        }
        buf_reset(&batch);
    }
    /* When writing failed, reading ends too, and says why. */
}

static struct arena *arena_of_next(struct redis *redis)
{
    if (redis->hooks.took != NULL || redis->state == REDIS_GREETING) {
        return redis->scratch;
    }
    const struct redis_call *call = first(&redis->sent);
    return call != NULL ? call->arena : NULL;
}

static struct arena *scratch_new(const struct redis *redis)
{
    return arena_new(redis->options.reply_max + SCRATCH_SPARE);
}

static struct status take_reply(struct redis *redis, const struct redis_reply *reply)
{
    if (redis->hooks.took != NULL) {
        if (reply == NULL) {
            return status_of(REASON_PROTOCOL_ERROR, "a message is larger than the limit");
        }
        if (redis->hooks.took(redis->hooks.arg, reply)) {
            return STATUS_SUCCESS;
        }
    }
    struct redis_call *call = first(&redis->sent);
    if (call == NULL) {
        return status_of(REASON_PROTOCOL_ERROR, "the server answers what nobody asked");
    }
    bool demoted = redis_says(reply, "READONLY ");
    end_call(redis, call,
             reply != NULL ? STATUS_SUCCESS
                           : status_of(REASON_MESSAGE_TOO_COMPLEX, "the reply does not fit"),
             reply);
    return demoted ? status_of(REASON_CONNECTION_LOST, "the server became a replica")
                   : STATUS_SUCCESS;
}

static struct status take_bytes(struct redis *redis, struct span bytes)
{
    redis_reader_feed(redis->reader, bytes);
    for (;;) {
        bool whole;
        const struct redis_reply *reply;
        TRY(redis_reader_next(redis->reader, arena_of_next(redis), &whole, &reply));
        if (!whole) {
            return STATUS_SUCCESS;
        }
        TRY(take_reply(redis, reply));
        if (redis->state == REDIS_DOWN) {
            return redis->why;
        }
        if (arena_used(redis->scratch) > 0) {
            arena_free(redis->scratch);
            redis->scratch = scratch_new(redis);
        }
    }
}

/* Never OK. */
static struct status read_replies(struct redis *redis) PARKS
{
    for (;;) {
        struct span chunk;
        TRY(stream_read(redis->stream, &chunk));
        if (chunk.len == 0) {
            return status_of(REASON_CONNECTION_LOST, "Redis closed the connection");
        }
        redis->heard_ms = loop_now_ms(redis->loop);
        TRY(take_bytes(redis, chunk));
    }
}

void redis_serve(struct redis *redis)
{
    struct group group;
    redis->reader = redis_reader_new(redis->options.reply_max);
    redis->scratch = scratch_new(redis);
    redis->heard_ms = loop_now_ms(redis->loop);
    redis->overdue = NULL;
    timer_init(&redis->timer, redis->loop, tick);
    redis_set_state(redis, REDIS_GREETING);
    redis_greet(redis);
    group_init(&group);
    group_spawn(&group, "redis writer", write_calls, redis);
    redis_fail(redis, read_replies(redis));
    struct status s = group_wait(&group);
    (void)s; /* has ended either way */
    stream_close(&redis->stream);
    redis_reader_free(redis->reader);
    arena_free(redis->scratch);
}
