#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
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

/* --- state ---------------------------------------------------------------------------------------
 */

void redis_set_state(struct redis *redis, enum redis_state state)
{
    int change = (state == REDIS_READY) - (redis->state == REDIS_READY);
    METRIC_ADD(redis->metrics.ready, change, redis->options.name);
    redis->state = state;
}

void redis_note_failure(struct redis *redis, struct status why)
{
    redis->why = why;
    if (why.detail != redis->why_detail) {
        snprintf(redis->why_detail, sizeof(redis->why_detail), "%s", status_text(why));
    }
    redis->why.detail = redis->why_detail;
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
    op_done(op, status_of(REASON_CONNECT_FAILED, "Redis is not ready yet"));
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
    return op_wait_until(&expectant.op, until_ms, &in_time);
}

/* --- greeting ------------------------------------------------------------------------------------
 */

static void greet(struct redis *redis, const struct span *args, size_t n,
                  void (*done)(void *, struct status, const struct redis_reply *))
{
    struct redis_call *call =
        redis_call_new(&(struct redis_part){args, n}, 1, redis->options.unsent_max);
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
    redis_set_state(redis, REDIS_READY);
    redis->connection++;
    redis->ready_ms = loop_now_ms(redis->loop);
    METRIC_ADD(redis->metrics.connects, 1, redis->options.name, "ok");
    if (redis->hooks.ready != NULL) {
        redis->hooks.ready(redis->hooks.arg);
    }
    wake_expectants(redis, STATUS_SUCCESS);
}

void redis_greet(struct redis *redis)
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
    greet(redis, REDIS_ARGS(SPAN("PING")), on_last_greeting);
    /* A name is only for people: who may not give it is served all the same. */
    greet(redis, REDIS_ARGS(SPAN("CLIENT"), SPAN("SETNAME"), span_str(options->name)), NULL);
}

/* --- connecting, again and again ----------------------------------------------------------------
 */

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
            redis_serve(redis);
        } else {
            redis_note_failure(redis, s);
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
    check(options->unsent_max <= INT_MAX); /* hiredis counts so */
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
    op_init(&redis->ended, loop, NULL, NULL);
    redis_note_failure(redis, status_of(REASON_CONNECT_FAILED, "there was no connection yet"));
    redis_set_state(redis, REDIS_DOWN);
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
