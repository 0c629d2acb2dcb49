#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "loop/task.h"
#include "net/redis_internal.h"

#define ANSWER_MOST (16u << 10)
#define PUBSUB_NAME "+switch-master"

struct redis_sentinel {
    struct redis *redis;
    struct redis_options *options; /* one for each sentinel */
    struct redis_pubsub **watches; /* likewise: any of them may be the first to tell */
    size_t n;
    size_t last;   /* that answered */
    char why[256]; /* none did */
};

static bool is_master(const struct redis *redis, struct span host, struct span port)
{
    uint64_t number;
    return span_eq(host, span_str(redis->master)) && span_parse_u64(port, &number) &&
           number == redis->master_port;
}

/* "name old-host old-port new-host new-port" */
static void on_switch(void *arg, struct span channel, struct span payload)
{
    struct redis_sentinel *sentinel = arg;
    struct redis *redis = sentinel->redis;
    struct span words[5] = {{0}};
    (void)channel;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        (void)span_cut(&payload, ' ', &words[i]);
    }
    if (span_eq(words[0], span_str(redis->options.sentinels->master)) &&
        !is_master(redis, words[3], words[4])) {
        redis_fail(redis, status_of(REASON_CONNECTION_LOST, "another server became the master"));
    }
}

static struct status note_master(struct redis *redis, const struct redis_reply *reply)
{
    if (reply->type == REDIS_TYPE_NIL) {
        return status_of(REASON_CONNECT_FAILED, "a sentinel does not know the master");
    }
    TRY(redis_expect(reply, REDIS_TYPE_ARRAY));
    uint64_t port;
    if (reply->n_elements != 2 || !span_parse_u64(reply->elements[1].text, &port) || port == 0 ||
        port > UINT16_MAX || reply->elements[0].text.len >= sizeof(redis->master)) {
        return status_of(REASON_PROTOCOL_ERROR, "a sentinel tells no address");
    }
    snprintf(redis->master, sizeof(redis->master), "%s", reply->elements[0].text.at);
    redis->master_port = (uint16_t)port;
    return STATUS_SUCCESS;
}

static struct status ask_connected(struct redis *asked, struct redis *redis, uint64_t until_ms,
                                   struct arena *arena) PARKS
{
    struct status s = redis_wait_ready(asked, until_ms);
    if (!status_ok(s)) {
        return status_ok(task_status()) ? redis_health(asked) : s;
    }
    const struct redis_reply *reply;
    TRY(redis_command(asked,
                      REDIS_ARGS(SPAN("SENTINEL"), SPAN("GET-MASTER-ADDR-BY-NAME"),
                                 span_str(redis->options.sentinels->master)),
                      arena, &reply));
    return note_master(redis, reply);
}

/* The answer of one, with a detail that stays. */
static struct status ask_one(struct redis_sentinel *sentinel, size_t which, uint64_t until_ms) PARKS
{
    struct redis *redis = sentinel->redis;
    struct redis *asked = redis_new(redis->loop, &sentinel->options[which]);
    struct arena *arena = arena_new(ANSWER_MOST);
    struct status s = ask_connected(asked, redis, until_ms, arena);
    snprintf(sentinel->why, sizeof(sentinel->why), "%s", status_text(s));
    s.detail = sentinel->why;
    arena_free(arena);
    redis_free(asked);
    return s;
}

struct status redis_sentinel_ask(struct redis_sentinel *sentinel, uint64_t until_ms)
{
    struct redis *redis = sentinel->redis;
    struct status s = status_of(REASON_CONNECT_FAILED, "no sentinel is configured");
    for (size_t i = 0; i < sentinel->n; i++) {
        size_t which = (sentinel->last + i) % sentinel->n;
        uint64_t now = loop_now_ms(redis->loop);
        uint64_t share = until_ms > now ? (until_ms - now) / (sentinel->n - i) : 0;
        s = ask_one(sentinel, which, now + share);
        if (status_ok(s)) {
            sentinel->last = which;
            break;
        }
        TRY(task_status());
    }
    return s;
}

struct redis_sentinel *redis_sentinel_new(struct redis *redis)
{
    const struct redis_sentinels *given = redis->options.sentinels;
    struct redis_sentinel *sentinel = ALLOC(struct redis_sentinel);
    sentinel->redis = redis;
    sentinel->n = given->n_addresses;
    sentinel->options = alloc_zeroed(sentinel->n, sizeof(*sentinel->options));
    sentinel->watches = alloc_zeroed(sentinel->n, sizeof(struct redis_pubsub *));
    struct redis_listener listener = {.message = on_switch, .arg = sentinel};
    for (size_t i = 0; i < sentinel->n; i++) {
        sentinel->options[i] = (struct redis_options){
            .name = "sentinel",
            .address = given->addresses[i],
            .tls = given->tls,
            .user = given->user,
            .password = given->password,
            .connect_ms = redis->options.connect_ms,
            .command_ms = redis->options.command_ms,
            .ping_ms = redis->options.ping_ms,
        };
        sentinel->watches[i] = redis_pubsub_new(redis->loop, &sentinel->options[i], &listener);
        redis_subscribe(sentinel->watches[i], SPAN(PUBSUB_NAME));
    }
    return sentinel;
}

void redis_sentinel_free(struct redis_sentinel *sentinel)
{
    if (sentinel == NULL) {
        return;
    }
    for (size_t i = 0; i < sentinel->n; i++) {
        redis_pubsub_free(sentinel->watches[i]);
    }
    free(sentinel->watches);
    free(sentinel->options);
    free(sentinel);
}
