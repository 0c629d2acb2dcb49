#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "codec/hash.h"
#include "codec/retry.h"
#include "loop/task.h"
#include "net/redis_internal.h"

#define CONNECT_MS      2000
#define COMMAND_MS      1000
#define PING_MS         5000
#define BACKOFF_BASE_MS 50
#define BACKOFF_MOST_MS 1000
#define REPLY_MAX       (16u << 20)
#define PENDING_MAX     16384
#define UNSENT_MAX      (32u << 20)
#define BATCH           (64u << 10) /* more begins a send of its own, unless one command is larger */
#define SCRATCH_SPARE   (64u << 10) /* beyond one string: arrays of ours are small */

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

static void set_state(struct redis *redis, enum redis_state state)
{
    int change = (state == REDIS_READY) - (redis->state == REDIS_READY);
    METRIC_ADD(redis->metrics.ready, change, redis->options.name);
    redis->state = state;
}

static void note_failure(struct redis *redis, struct status why)
{
    redis->why = why;
    if (why.detail != redis->why_detail) {
        snprintf(redis->why_detail, sizeof(redis->why_detail), "%s", status_text(why));
    }
    redis->why.detail = redis->why_detail;
}

void redis_fail(struct redis *redis, struct status why)
{
    if (redis->state == REDIS_DOWN) {
        return;
    }
    set_state(redis, REDIS_DOWN);
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
    note_failure(redis, why);
    stream_abort(redis->stream, status_of(REASON_CONNECTION_LOST, "the connection was given up"));
    wake_writer(redis);
}

/* --- waiting for it ------------------------------------------------------------------------------
 */

struct expectant {
    struct list link;
    struct op op;
};

static void expectant_ends(struct op *op)
{
    list_remove(&CONTAINER_OF(op, struct expectant, op)->link);
    op_done(op, status_of(REASON_CONNECT_FAILED, NULL));
}

static void wake_expectants(struct redis *redis, struct status s)
{
    struct list *link;
    while ((link = list_pop_front(&redis->expectant)) != NULL) {
        op_done(&CONTAINER_OF(link, struct expectant, link)->op, s);
    }
}

struct status redis_wait_ready(struct redis *redis, uint64_t until_ms)
{
    if (redis->state == REDIS_READY) {
        return STATUS_SUCCESS;
    }
    struct expectant expectant;
    op_init(&expectant.op, redis->loop, expectant_ends, NULL);
    list_push_back(&redis->expectant, &expectant.link);
    bool in_time;
    struct status s = op_wait_until(&expectant.op, until_ms, &in_time);
    return in_time || status_ok(s) || !status_ok(task_status()) ? s : redis->why;
}

/* --- greeting ------------------------------------------------------------------------------------
 */

static void greet(struct redis *redis, const struct span *args, size_t n,
                  void (*done)(void *, struct status, const struct redis_reply *))
{
    struct redis_call *call = redis_call_new(&(struct redis_part){args, n}, 1);
    check(call != NULL);
    call->done = done;
    call->owner = redis;
    redis_push(redis, call);
}

/* False when the server refused, or the connection has ended. */
static bool greeting_goes_on(struct redis *redis, struct status s, const struct redis_reply *reply)
{
    if (!status_ok(s) || redis->state != REDIS_GREETING) {
        return false;
    }
    if (reply->type == REDIS_TYPE_ERROR) {
        redis_fail(redis, status_of(REASON_CONNECT_FAILED, reply->text.at));
        return false;
    }
    return true;
}

static void on_greeting(void *owner, struct status s, const struct redis_reply *reply)
{
    (void)greeting_goes_on(owner, s, reply);
}

static void on_role(void *owner, struct status s, const struct redis_reply *reply)
{
    struct redis *redis = owner;
    if (greeting_goes_on(redis, s, reply) &&
        (reply->n_elements == 0 || !span_eq(reply->elements[0].text, SPAN("master")))) {
        redis_fail(redis, status_of(REASON_CONNECT_FAILED, "the server is no master"));
    }
}

static void on_last_greeting(void *owner, struct status s, const struct redis_reply *reply)
{
    struct redis *redis = owner;
    if (!greeting_goes_on(redis, s, reply)) {
        return;
    }
    set_state(redis, REDIS_READY);
    redis->connection++;
    redis->ready_ms = loop_now_ms(redis->loop);
    METRIC_ADD(redis->metrics.connects, 1, redis->options.name, "ok");
    if (redis->hooks.ready != NULL) {
        redis->hooks.ready(redis->hooks.arg);
    }
    wake_expectants(redis, STATUS_SUCCESS);
}

static void begin_greeting(struct redis *redis)
{
    const struct redis_options *options = &redis->options;
    struct span password = span_str(options->password.at);
    if (options->user != NULL) {
        greet(redis, REDIS_ARGS(SPAN("AUTH"), span_str(options->user), password), on_greeting);
    } else if (password.len > 0) {
        greet(redis, REDIS_ARGS(SPAN("AUTH"), password), on_greeting);
    }
    if (options->database != 0) {
        char number[16];
        snprintf(number, sizeof(number), "%u", options->database);
        greet(redis, REDIS_ARGS(SPAN("SELECT"), span_str(number)), on_greeting);
    }
    if (options->sentinels != NULL) {
        greet(redis, REDIS_ARGS(SPAN("ROLE")), on_role);
    }
    /* A name is only for people: who may not give it is served all the same. */
    greet(redis, REDIS_ARGS(SPAN("CLIENT"), SPAN("SETNAME"), span_str(options->name)), NULL);
    greet(redis, REDIS_ARGS(SPAN("PING")), on_last_greeting);
}

/* --- a late reply, a long silence ----------------------------------------------------------------
 */

static void ping(struct redis *redis)
{
    struct span word = SPAN("PING");
    struct redis_call *call = redis_call_new(&(struct redis_part){&word, 1}, 1);
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
    wake_writer(CONTAINER_OF(op, struct redis, wake));
}

static void wait_for_calls(struct redis *redis) PARKS
{
    op_init(&redis->wake, redis->loop, idle_ends, NULL);
    redis->idle = true;
    struct status s = op_wait(&redis->wake);
    (void)s; /* the state says it */
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
    buf_init(&batch, SIZE_MAX);
    while (redis->state != REDIS_DOWN) {
        take_batch(redis, &batch);
        if (batch.len == 0) {
            wait_for_calls(redis);
            continue;
        }
        struct status s = stream_write(redis->stream, buf_span(&batch));
        if (!status_ok(s)) {
            redis_fail(redis, s);
        }
        if (batch.cap > 2 * BATCH) {
            buf_clear(&batch);
        }
        buf_reset(&batch);
    }
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
    TRY(redis_reader_feed(redis->reader, bytes));
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

/* From connected to lost. */
static void serve(struct redis *redis) PARKS
{
    struct group group;
    redis->reader = redis_reader_new(redis->options.reply_max);
    redis->scratch = scratch_new(redis);
    redis->heard_ms = loop_now_ms(redis->loop);
    redis->overdue = NULL;
    set_state(redis, REDIS_GREETING);
    begin_greeting(redis);
    group_init(&group);
    group_spawn(&group, "redis writer", write_calls, redis);
    redis_fail(redis, read_replies(redis));
    struct status s = group_wait(&group);
    (void)s; /* has ended either way */
    stream_close(&redis->stream);
    redis_reader_free(redis->reader);
    arena_free(redis->scratch);
}

static struct status connect_once(struct redis *redis) PARKS
{
    const struct redis_options *options = &redis->options;
    redis->greeted_by_ms = loop_now_ms(redis->loop) + options->connect_ms;
    struct stream_options stream = {
        .host = options->address.host,
        .port = options->address.port,
        .path = options->path,
        .tls = options->tls,
    };
    if (redis->sentinel != NULL) {
        TRY(redis_sentinel_ask(redis->sentinel, redis->greeted_by_ms));
        stream.host = redis->master;
        stream.port = redis->master_port;
        stream.path = NULL;
    }
    uint64_t now = loop_now_ms(redis->loop);
    stream.connect_ms = redis->greeted_by_ms > now ? redis->greeted_by_ms - now : 1;
    return stream_open(&stream, &redis->stream);
}

static void keep_connected(void *arg) PARKS
{
    struct redis *redis = arg;
    unsigned misses = 0;
    struct status s;
    do {
        uint64_t connection = redis->connection;
        s = connect_once(redis);
        if (status_ok(s)) {
            serve(redis);
        } else {
            note_failure(redis, s);
        }
        bool was_ready = redis->connection != connection;
        if (!was_ready) {
            METRIC_ADD(redis->metrics.connects, 1, redis->options.name, "failed");
        }
        /* One that ends as soon as it is ready counts as missed too. */
        bool lasted = was_ready && loop_now_ms(redis->loop) - redis->ready_ms > BACKOFF_MOST_MS;
        misses = lasted ? 0 : misses;
        uint32_t chance;
        hash_random(&chance, sizeof(chance));
        s = task_sleep_ms(retry_backoff_ms(misses++, BACKOFF_BASE_MS, BACKOFF_MOST_MS, chance));
    } while (status_ok(s));
    op_done(&redis->ended, STATUS_SUCCESS);
}

/* --- beginning and end ---------------------------------------------------------------------------
 */

static void set_defaults(struct redis_options *options)
{
    options->name = options->name != NULL ? options->name : "prism";
    options->connect_ms = options->connect_ms != 0 ? options->connect_ms : CONNECT_MS;
    options->command_ms = options->command_ms != 0 ? options->command_ms : COMMAND_MS;
    options->ping_ms = options->ping_ms != 0 ? options->ping_ms : PING_MS;
    options->reply_max = options->reply_max != 0 ? options->reply_max : REPLY_MAX;
    options->pending_max = options->pending_max != 0 ? options->pending_max : PENDING_MAX;
    options->unsent_max = options->unsent_max != 0 ? options->unsent_max : UNSENT_MAX;
}

struct redis *redis_new_hooked(struct loop *loop, const struct redis_options *options,
                               const struct redis_hooks *hooks)
{
    struct redis *redis = ALLOC(struct redis);
    redis->loop = loop;
    redis->options = *options;
    redis->hooks = *hooks;
    set_defaults(&redis->options);
    redis->metrics = (struct redis_metrics){
        .seconds = metric_seconds("prism_redis_command_seconds", "client,outcome",
                                  "Commands from asked to ended, by how they did."),
        .connects = metric_counter("prism_redis_connects_total", "client,outcome",
                                   "Attempts to connect to Redis."),
        .ready = metric_gauge("prism_redis_ready", "client", "Connections that take commands."),
    };
    list_init(&redis->unsent);
    list_init(&redis->sent);
    list_init(&redis->expectant);
    timer_init(&redis->timer, loop, tick);
    op_init(&redis->ended, loop, NULL, NULL);
    note_failure(redis, status_of(REASON_CONNECT_FAILED, "there was no connection yet"));
    set_state(redis, REDIS_DOWN);
    if (options->sentinels != NULL) {
        redis->sentinel = redis_sentinel_new(redis);
    }
    redis->task =
        task_spawn(loop, &(struct task_options){.name = "redis", .deadline_ms = TASK_DEADLINE_NONE},
                   keep_connected, redis);
    return redis;
}

struct redis *redis_new(struct loop *loop, const struct redis_options *options)
{
    return redis_new_hooked(loop, options, &(struct redis_hooks){0});
}

void redis_free(struct redis *redis)
{
    if (redis == NULL) {
        return;
    }
    if (!redis->ended.done) {
        task_cancel(redis->task, status_of(REASON_SHUTTING_DOWN, NULL));
    }
    struct status s = op_wait_firmly(&redis->ended);
    (void)s;
    wake_expectants(redis, status_of(REASON_CONNECT_FAILED, "the client was closed"));
    redis_sentinel_free(redis->sentinel);
    free(redis);
}
