#include "limiter/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "limiter/calls.h"
#include "limiter/look.h"
#include "limiter/reply.h"
#include "limiter/wait.h"

#define ETA_SLACK_MS   250   /* less of a change is no news */
#define LIFE_SIGN_MS   15000 /* when nothing else is said */
#define PLACE_SIGN_MS  5000  /* the same of who waits */
#define PAUSE_MS       20    /* between two looks at all resources */
#define NAMES_MOST     64
#define COME_BACK_MS   1000
#define RESOURCE_ARENA (64u << 10)

/* --- AcquireStream -----------------------------------------------------------------------------
 */

/* What the caller was told. */
struct told {
    struct wait_news news;
    struct rpc *rpc;
    struct engine_place place; /* position 0: nothing yet */
    char pool[ENGINE_NAME_MOST + 1];
    uint64_t told_ms; /* loop_now_ms */
};

static bool is_news(const struct engine_place *told, const struct engine_place *place)
{
    uint64_t off_ms =
        told->at_ms > place->at_ms ? told->at_ms - place->at_ms : place->at_ms - told->at_ms;
    return told->position != place->position || strcmp(told->pool, place->pool) != 0 ||
           told->exact != place->exact || off_ms > ETA_SLACK_MS;
}

static struct status tell(struct wait_news *news, const struct engine_place *place, uint64_t now_ms)
{
    struct told *told = CONTAINER_OF(news, struct told, news);
    uint64_t present_ms = loop_now_ms(task_loop());
    if (told->place.position > 0 && !is_news(&told->place, place) &&
        present_ms < told->told_ms + PLACE_SIGN_MS) {
        return STATUS_SUCCESS;
    }
    told->told_ms = present_ms;
    Limiter__QueuePlace queued = LIMITER__QUEUE_PLACE__INIT;
    Limiter__AcquireStreamResponse response = LIMITER__ACQUIRE_STREAM_RESPONSE__INIT;
    snprintf(told->pool, sizeof(told->pool), "%s", place->pool);
    queued.pool = told->pool;
    queued.position = place->position;
    queued.eta_ms = place->at_ms > now_ms ? place->at_ms - now_ms : 0;
    queued.exact = place->exact;
    response.event_case = LIMITER__ACQUIRE_STREAM_RESPONSE__EVENT_QUEUED;
    response.queued = &queued;
    told->place = *place;
    told->place.pool = told->pool;
    return rpc_send(told->rpc, &response);
}

struct status stream_acquire(struct rpc *rpc, const void *message)
{
    const Limiter__AcquireStreamRequest *request = message;
    struct limiter *limiter = rpc_service(rpc);
    struct told told = {.news = {tell}, .rpc = rpc, .place = {.pool = ""}};
    struct ask *ask;
    if (request->acquire == NULL) {
        return rpc_bad_field(rpc, "acquire", "is required");
    }
    TRY(calls_acquire(limiter, request->acquire, rpc_arena(rpc), &ask));
    TRY(wait_decide(limiter, ask, request->acquire->max_wait_ms, &told.news));
    const struct engine_acquire *acquire = ask->event.acquire;
    if (acquire->verdict->granted && !acquire->verdict->replayed) {
        wait_for_acceptance(limiter, &acquire->id);
    }
    Limiter__AcquireStreamResponse response = LIMITER__ACQUIRE_STREAM_RESPONSE__INIT;
    response.event_case = LIMITER__ACQUIRE_STREAM_RESPONSE__EVENT_VERDICT;
    response.verdict = ((Limiter__AcquireResponse *)ask->reply)->verdict;
    return rpc_send(rpc, &response);
}

/* --- WatchResources ----------------------------------------------------------------------------
 */

/* What was last said of a resource. */
struct said {
    uint64_t hash; /* 0: nothing */
    Limiter__ResourceState state;
    uint64_t until_ms;
    uint64_t version;
};

struct watch {
    struct list link;
    struct bell bell;
    struct rpc *rpc;
    struct limiter *limiter;
    const Limiter__WatchResourcesRequest *request;
    struct said *said; /* by slot */
    size_t n_said;
    bool all_said;     /* the present, and that it is all of it */
    uint64_t spoke_ms; /* loop_now_ms */
    uint64_t next_ms;  /* the first of the states ends then */
};

void stream_changed(const struct limiter *limiter)
{
    LIST_EACH (it, &limiter->watches) {
        bell_ring(&CONTAINER_OF(it, struct watch, link)->bell);
    }
}

void stream_drain(struct limiter *limiter)
{
    limiter->draining = true;
    stream_changed(limiter);
}

static bool is_watched(const struct watch *watch, const struct engine_resource *r)
{
    const Limiter__WatchResourcesRequest *request = watch->request;
    bool named = request->n_resources == 0;
    for (size_t i = 0; i < request->n_resources; i++) {
        named = named || strcmp(request->resources[i], r->name) == 0;
    }
    return named && look_concerns(r, request->tenant);
}

static struct status say(struct watch *watch, const struct engine_resource *r) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(RESOURCE_ARENA);
    Limiter__WatchResourcesResponse response = LIMITER__WATCH_RESOURCES_RESPONSE__INIT;
    if (r != NULL) {
        response.resource = reply_resource(arena, watch->limiter, r, home_now_ms(watch->limiter));
    }
    watch->spoke_ms = loop_now_ms(task_loop());
    return rpc_send(watch->rpc, &response);
}

static struct said *said_of(struct watch *watch, size_t slot)
{
    if (slot >= watch->n_said) {
        size_t n = 2 * (slot + 1);
        watch->said = alloc_resized(watch->said, n * sizeof(*watch->said));
        memset(watch->said + watch->n_said, 0, (n - watch->n_said) * sizeof(*watch->said));
        watch->n_said = n;
    }
    return &watch->said[slot];
}

static struct status look(struct watch *watch, size_t slot) PARKS
{
    struct limiter *limiter = watch->limiter;
    const struct engine_resource *r = store_resource_at(limiter->store, slot);
    if (r == NULL || !is_watched(watch, r)) {
        return STATUS_SUCCESS;
    }
    struct said now = {.hash = r->hash, .version = r->limits.version};
    now.state = reply_state(limiter, r, home_now_ms(limiter), &now.until_ms);
    if (now.until_ms > 0 && now.until_ms < watch->next_ms) {
        watch->next_ms = now.until_ms;
    }
    struct said *said = said_of(watch, slot);
    if (said->hash == now.hash && said->state == now.state && said->until_ms == now.until_ms &&
        said->version == now.version) {
        return STATUS_SUCCESS;
    }
    *said = now;
    return say(watch, r);
}

static struct status watch_all(struct watch *watch) PARKS
{
    for (;;) {
        limiter_look_at_dates(watch->limiter);
        watch->next_ms = ENGINE_NEVER;
        for (size_t slot = 0; slot < store_slots(watch->limiter->store); slot++) {
            TRY(look(watch, slot));
        }
        if (watch->limiter->draining) {
            return status_retry(REASON_SHUTTING_DOWN, COME_BACK_MS, NULL);
        }
        uint64_t present_ms = loop_now_ms(task_loop()), now_ms = home_now_ms(watch->limiter);
        if (!watch->all_said || present_ms >= watch->spoke_ms + LIFE_SIGN_MS) {
            watch->all_said = true;
            TRY(say(watch, NULL));
        }
        uint64_t until_ms = watch->spoke_ms + LIFE_SIGN_MS;
        uint64_t ends_ms = watch->next_ms > now_ms ? watch->next_ms - now_ms : 1;
        if (watch->next_ms != ENGINE_NEVER && present_ms + ends_ms < until_ms) {
            until_ms = present_ms + ends_ms;
        }
        bool rung;
        TRY(task_sleep_ms(PAUSE_MS));
        TRY(bell_wait_until(&watch->bell, until_ms, &rung));
    }
}

struct status stream_watch(struct rpc *rpc, const void *message)
{
    struct watch watch = {.rpc = rpc, .limiter = rpc_service(rpc), .request = message};
    if (watch.request->n_resources > NAMES_MOST) {
        return rpc_bad_field(rpc, "resources", "must be at most 64");
    }
    TRY(rpc_stand(rpc));
    const struct limiter_metrics *m = &watch.limiter->metrics;
    list_push_back(&watch.limiter->watches, &watch.link);
    METRIC_ADD(m->watchers, 1);
    struct status s = watch_all(&watch);
    METRIC_ADD(m->watchers, -1);
    list_remove(&watch.link);
    free(watch.said);
    return s;
}
