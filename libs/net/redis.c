#include "net/redis.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "loop/task.h"
#include "net/redis_internal.h"

#define ARGS_MOST   (64u << 10)
#define LINE_MOST   (64u << 10) /* of a reply: statuses, errors, numbers */
#define LENGTH_MOST 32          /* of the line in front of a string */

/* --- commands out --------------------------------------------------------------------------------
 */

/* n_bytes: no fewer than it takes. */
static bool fits(const struct redis_part *parts, size_t n, size_t most, size_t *n_args,
                 size_t *n_bytes)
{
    size_t args = 0, left = most;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < parts[i].n; k++) {
            size_t len = parts[i].args[k].len;
            if (++args > ARGS_MOST || left < LENGTH_MOST || len > left - LENGTH_MOST) {
                return false;
            }
            left -= len + LENGTH_MOST;
        }
    }
    *n_args = args;
    *n_bytes = most - left;
    return true;
}

static void add_length(struct buf *command, char kind, size_t n)
{
    buf_add_char(command, kind);
    buf_add_u64(command, n);
    buf_add(command, "\r\n", 2);
}

struct redis_call *redis_call_new(const struct redis_part *parts, size_t n, size_t most)
{
    size_t n_args, n_bytes;
    if (!fits(parts, n, most, &n_args, &n_bytes)) {
        return NULL;
    }
    struct buf command;
    buf_init(&command, most + LENGTH_MOST);
    (void)buf_reserve(&command, n_bytes + LENGTH_MOST);
    add_length(&command, '*', n_args);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < parts[i].n; k++) {
            add_length(&command, '$', parts[i].args[k].len);
            buf_add_span(&command, parts[i].args[k]);
            buf_add(&command, "\r\n", 2);
        }
    }
    struct redis_call *call = ALLOC(struct redis_call);
    check(buf_ok(&command));
    call->len = command.len;
    call->bytes = buf_take(&command);
    return call;
}

void redis_call_free(struct redis_call *call)
{
    free(call->bytes);
    free(call);
}

/* --- replies in ----------------------------------------------------------------------------------
 */

struct redis_reader {
    redisReader *hiredis;
    size_t reply_max;
    struct arena *arena; /* NULL: drop it */
    bool too_large;      /* the present reply did not fit */
    struct redis_reply dropped;
};

/* Where the item belongs: the root of a reply, or its place in the array around it. What is dropped
 * must have a place too, for hiredis takes NULL for the end. */
static struct redis_reply *reader_place(const redisReadTask *item)
{
    struct redis_reader *reader = item->privdata;
    if (reader->arena == NULL || reader->too_large) {
        return &reader->dropped;
    }
    if (item->parent != NULL) {
        struct redis_reply *array = item->parent->obj;
        return &array->elements[item->idx];
    }
    struct redis_reply *root = arena_try(reader->arena, sizeof(*root));
    if (root == NULL) {
        reader->too_large = true;
        return &reader->dropped;
    }
    return root;
}

/* size bytes for what stands at this place, NULL when it is dropped or too large. */
static void *reader_memory(const redisReadTask *item, const struct redis_reply *place, size_t size)
{
    struct redis_reader *reader = item->privdata;
    if (place == &reader->dropped) {
        return NULL;
    }
    void *memory = arena_try(reader->arena, size);
    if (memory == NULL) {
        reader->too_large = true;
    }
    return memory;
}

static void *on_string(const redisReadTask *item, char *text, size_t len)
{
    struct redis_reply *place = reader_place(item);
    char *copy = reader_memory(item, place, len + 1);
    if (copy != NULL) {
        memcpy(copy, text, len);
        place->type = item->type == REDIS_REPLY_ERROR    ? REDIS_TYPE_ERROR
                      : item->type == REDIS_REPLY_STATUS ? REDIS_TYPE_STATUS
                                                         : REDIS_TYPE_STRING;
        place->text = span_of(copy, len);
    }
    return place;
}

static void *on_array(const redisReadTask *item, int n)
{
    struct redis_reply *place = reader_place(item);
    struct redis_reply *elements = reader_memory(item, place, (size_t)n * sizeof(*elements));
    if (elements != NULL) {
        place->type = REDIS_TYPE_ARRAY;
        place->elements = elements;
        place->n_elements = (size_t)n;
    }
    return place;
}

static void *on_integer(const redisReadTask *item, long long value)
{
    struct redis_reply *place = reader_place(item);
    place->type = REDIS_TYPE_INTEGER;
    place->integer = value;
    return place;
}

static void *on_nil(const redisReadTask *item)
{
    struct redis_reply *place = reader_place(item);
    place->type = REDIS_TYPE_NIL;
    return place;
}

struct redis_reader *redis_reader_new(size_t reply_max)
{
    static redisReplyObjectFunctions functions = {
        .createString = on_string,
        .createArray = on_array,
        .createInteger = on_integer,
        .createNil = on_nil,
    };
    struct redis_reader *reader = ALLOC(struct redis_reader);
    reader->reply_max = reply_max;
    reader->hiredis = redisReaderCreateWithFunctions(&functions);
    check(reader->hiredis != NULL);
    reader->hiredis->privdata = reader;
    return reader;
}

void redis_reader_free(struct redis_reader *reader)
{
    redisReaderFree(reader->hiredis);
    free(reader);
}

void redis_reader_feed(struct redis_reader *reader, struct span bytes)
{
    check(redisReaderFeed(reader->hiredis, bytes.at, bytes.len) == REDIS_OK);
}

/* hiredis keeps whatever it cannot use yet, and looks for the end of a line from its beginning. */
static struct status reader_bound(const struct redis_reader *reader)
{
    const redisReader *hiredis = reader->hiredis;
    struct span held = span_of(hiredis->buf + hiredis->pos, hiredis->len - hiredis->pos);
    bool string = span_find(span_first(held, LENGTH_MOST), SPAN("\r\n")) != SPAN_MISSING;
    if (held.len > (string ? reader->reply_max + LENGTH_MOST : LINE_MOST)) {
        return status_of(REASON_PROTOCOL_ERROR, "a reply is larger than the limit");
    }
    return STATUS_SUCCESS;
}

struct status redis_reader_next(struct redis_reader *reader, struct arena *arena, bool *whole,
                                const struct redis_reply **reply)
{
    reader->arena = arena;
    void *root = NULL;
    if (redisReaderGetReply(reader->hiredis, &root) != REDIS_OK) {
        return status_of(REASON_PROTOCOL_ERROR, "the server does not speak RESP2");
    }
    *whole = root != NULL;
    if (root == NULL) {
        return reader_bound(reader);
    }
    *reply = arena == NULL || reader->too_large ? NULL : root;
    reader->too_large = false;
    return STATUS_SUCCESS;
}

bool redis_says(const struct redis_reply *reply, const char *error)
{
    return reply != NULL && reply->type == REDIS_TYPE_ERROR &&
           span_starts(reply->text, span_str(error));
}

struct status redis_expect(const struct redis_reply *reply, enum redis_type type)
{
    if (reply->type == type) {
        return STATUS_SUCCESS;
    }
    return reply->type == REDIS_TYPE_ERROR
               ? status_of(REASON_STORE_FAILED, reply->text.at)
               : status_of(REASON_PROTOCOL_ERROR, "a reply of another kind was expected");
}

/* --- the callers ---------------------------------------------------------------------------------
 */

struct asker {
    struct op op;
    struct redis *redis;
    struct redis_call *call; /* NULL when it has ended */
    const struct redis_reply *reply;
};

static void note(const struct redis *redis, uint64_t asked_ms, const char *outcome)
{
    double seconds = (double)(loop_now_ms(redis->loop) - asked_ms) / 1000;
    METRIC_OBSERVE(redis->metrics.seconds, seconds, redis->options.name, outcome);
}

static const char *outcome_of(struct status s, const struct redis_reply *reply)
{
    if (status_ok(s)) {
        return reply->type == REDIS_TYPE_ERROR ? "error" : "ok";
    }
    switch ((int)s.reason) {
    case REASON_CONNECT_FAILED:
        return "unsent";
    case REASON_TIMED_OUT:
        return "timed_out";
    case REASON_MESSAGE_TOO_COMPLEX:
        return "too_large";
    default:
        return "lost";
    }
}

static void asker_done(void *owner, struct status s, const struct redis_reply *reply)
{
    struct asker *asker = owner;
    note(asker->redis, asker->call->asked_ms, outcome_of(s, reply));
    asker->call = NULL;
    asker->reply = reply;
    op_done(&asker->op, s);
}

/* A command that was sent cannot be recalled: its reply is dropped when it comes. */
static void asker_leaves(struct op *op)
{
    struct asker *asker = CONTAINER_OF(op, struct asker, op);
    struct redis_call *call = asker->call;
    note(asker->redis, call->asked_ms, "left");
    asker->call = NULL;
    call->done = NULL;
    call->arena = NULL;
    if (!call->sent) {
        redis_pull(asker->redis, call);
    }
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

/* A call that may be pushed. */
static struct status call_for(struct redis *redis, const struct redis_part *parts, size_t n,
                              struct redis_call **out)
{
    if (redis->state != REDIS_READY) {
        note(redis, loop_now_ms(redis->loop), "unsent");
        return status_of(REASON_CONNECT_FAILED, "there is no connection to Redis");
    }
    struct redis_call *call = redis_call_new(parts, n, redis->options.unsent_max);
    if (call == NULL) {
        return status_of(REASON_MESSAGE_TOO_LARGE, "the command is larger than the limit");
    }
    if (redis->n_pending >= redis->options.pending_max ||
        redis->unsent_bytes + call->len > redis->options.unsent_max) {
        redis_call_free(call);
        return status_of(REASON_OVERLOADED, "too many commands wait for Redis");
    }
    *out = call;
    return STATUS_SUCCESS;
}

static struct status ask(struct redis *redis, const struct redis_part *parts, size_t n,
                         struct arena *arena, const struct redis_reply **out) PARKS
{
    struct redis_call *call;
    TRY(call_for(redis, parts, n, &call));
    struct asker asker = {.redis = redis, .call = call};
    op_init(&asker.op, redis->loop, asker_leaves, NULL);
    call->arena = arena;
    call->done = asker_done;
    call->owner = &asker;
    redis_push(redis, call);
    TRY(op_wait(&asker.op));
    *out = asker.reply;
    return STATUS_SUCCESS;
}

struct status redis_command(struct redis *redis, const struct span *args, size_t n,
                            struct arena *arena, const struct redis_reply **out)
{
    check(n > 0);
    return ask(redis, &(struct redis_part){args, n}, 1, arena, out);
}

void redis_tell(struct redis *redis, const struct span *args, size_t n)
{
    struct redis_call *call;
    if (status_ok(call_for(redis, &(struct redis_part){args, n}, 1, &call))) {
        redis_push(redis, call);
    }
}

void redis_script_init(struct redis_script *script, struct span text)
{
    uint8_t digest[HASH_SHA1_SIZE];
    CLEANUP(buf_clear) struct buf hex;
    hash_sha1(text, digest);
    buf_init(&hex, sizeof(script->sha1) - 1);
    text_add_hex(&hex, span_of(digest, sizeof(digest)));
    script->text = text;
    memcpy(script->sha1, buf_cstr(&hex), sizeof(script->sha1));
}

struct status redis_eval(struct redis *redis, const struct redis_script *script,
                         const struct span *keys, size_t n_keys, const struct span *args,
                         size_t n_args, struct arena *arena, const struct redis_reply **out)
{
    char count[24];
    snprintf(count, sizeof(count), "%zu", n_keys);
    struct span by_sha1[] = {SPAN("EVALSHA"), span_str(script->sha1), span_str(count)};
    struct span by_text[] = {SPAN("EVAL"), script->text, span_str(count)};
    struct redis_part parts[] = {{by_sha1, ARRAY_LEN(by_sha1)}, {keys, n_keys}, {args, n_args}};
    const struct redis_reply *reply;
    TRY(ask(redis, parts, ARRAY_LEN(parts), arena, &reply));
    if (redis_says(reply, "NOSCRIPT ")) {
        parts[0].args = by_text;
        TRY(ask(redis, parts, ARRAY_LEN(parts), arena, &reply));
    }
    *out = reply;
    return STATUS_SUCCESS;
}

struct status redis_health(const struct redis *redis)
{
    return redis->state == REDIS_READY ? STATUS_SUCCESS : redis->why;
}

uint64_t redis_connection(const struct redis *redis)
{
    return redis->connection;
}
