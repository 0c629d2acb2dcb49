#include <stdlib.h>

#include "base/alloc.h"
#include "base/map.h"
#include "net/redis_internal.h"

struct redis_pubsub {
    struct redis *redis;
    struct redis_listener listener;
    struct map *channels; /* the values say nothing */
    size_t n_asked;       /* that the server has yet to confirm */
    struct status refused;
    char refusal[256];
};

static void check_ready(struct redis_pubsub *pubsub)
{
    if (status_ok(redis_pubsub_health(pubsub)) && pubsub->listener.ready != NULL) {
        pubsub->listener.ready(pubsub->listener.arg);
    }
}

static void on_confirmed(void *owner, struct status s, const struct redis_reply *reply)
{
    struct redis_pubsub *pubsub = owner;
    pubsub->n_asked--;
    if (!status_ok(s)) {
        return;
    }
    s = redis_expect(reply, REDIS_TYPE_ARRAY);
    if (!status_ok(s)) {
        snprintf(pubsub->refusal, sizeof(pubsub->refusal), "%s", status_text(s));
        s.detail = pubsub->refusal;
        pubsub->refused = s;
    }
    check_ready(pubsub);
}

/* One channel a command: then one reply answers it. */
static void say(struct redis_pubsub *pubsub, struct span verb, struct span channel)
{
    struct span args[] = {verb, channel};
    struct redis_call *call = redis_call_new(&(struct redis_part){args, ARRAY_LEN(args)}, 1,
                                             pubsub->redis->options.unsent_max);
    check(call != NULL);
    call->done = on_confirmed;
    call->owner = pubsub;
    pubsub->n_asked++;
    redis_push(pubsub->redis, call);
}

static void on_ready(void *arg)
{
    struct redis_pubsub *pubsub = arg;
    pubsub->refused = STATUS_SUCCESS;
    for (struct map_entry *it = map_first(pubsub->channels); it != NULL; it = map_next(it)) {
        say(pubsub, SPAN("SUBSCRIBE"), map_key(it));
    }
    check_ready(pubsub);
}

static bool on_reply(void *arg, const struct redis_reply *reply)
{
    struct redis_pubsub *pubsub = arg;
    const struct redis_reply *parts = reply->elements;
    if (reply->n_elements != 3 || !span_eq(parts[0].text, SPAN("message"))) {
        return false;
    }
    if (map_get(pubsub->channels, parts[1].text) != NULL) {
        pubsub->listener.message(pubsub->listener.arg, parts[1].text, parts[2].text);
    }
    return true;
}

struct redis_pubsub *redis_pubsub_new(struct loop *loop, const struct redis_options *options,
                                      const struct redis_listener *listener)
{
    struct redis_pubsub *pubsub = ALLOC(struct redis_pubsub);
    struct redis_hooks hooks = {.ready = on_ready, .took = on_reply, .arg = pubsub};
    pubsub->listener = *listener;
    pubsub->channels = map_new();
    pubsub->redis = redis_new_hooked(loop, options, &hooks);
    return pubsub;
}

void redis_pubsub_free(struct redis_pubsub *pubsub)
{
    if (pubsub == NULL) {
        return;
    }
    redis_free(pubsub->redis);
    map_free(pubsub->channels);
    free(pubsub);
}

void redis_subscribe(struct redis_pubsub *pubsub, struct span channel)
{
    if (map_get(pubsub->channels, channel) != NULL) {
        return;
    }
    map_set(pubsub->channels, channel, pubsub);
    if (pubsub->redis->state == REDIS_READY) {
        say(pubsub, SPAN("SUBSCRIBE"), channel);
    }
}

void redis_unsubscribe(struct redis_pubsub *pubsub, struct span channel)
{
    if (map_remove(pubsub->channels, channel) != NULL && pubsub->redis->state == REDIS_READY) {
        say(pubsub, SPAN("UNSUBSCRIBE"), channel);
    }
}

struct status redis_pubsub_health(const struct redis_pubsub *pubsub)
{
    struct status s = redis_health(pubsub->redis);
    if (!status_ok(s)) {
        return s;
    }
    if (pubsub->n_asked > 0) {
        return status_of(REASON_STORE_FAILED, "a channel is not confirmed yet");
    }
    return pubsub->refused;
}
