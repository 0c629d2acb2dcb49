/* What the limiter says of the models, as it changes: one stream for the whole router, so that
 * watchers hear of it at once and a call need not ask about models that are known to be closed. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "codec/hash.h"
#include "codec/retry.h"
#include "prism/limiter/v1/limiter.pb-c.h"
#include "router/router.h"
#include "router/vitals.h"

#define MESSAGE_ARENA (1u << 20)
#define BACKOFF_MS    100
#define BACKOFF_MOST  5000
#define TENANT        "health" /* none of the others' pools */

struct states {
    struct router *router;
    struct task *task;
    struct op ended;
    bool known;          /* all of them, by the stream there is */
    struct list waiting; /* until they are */
};

struct expectant {
    struct op known;
    struct list link;
};

static void all_known(struct states *states)
{
    states->known = true;
    for (struct list *it; (it = list_pop_front(&states->waiting)) != NULL;) {
        op_done(&CONTAINER_OF(it, struct expectant, link)->known, STATUS_SUCCESS);
    }
}

static struct status read_one(struct states *states, struct rpc_stream *stream) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(MESSAGE_ARENA);
    void *message;
    struct status s = rpc_stream_recv(stream, arena, &message);
    if (!status_ok(s) || message == NULL) {
        s = status_ok(s) ? status_of(REASON_CONNECTION_LOST, NULL) : s;
        s.detail = NULL; /* in the arena */
        s.more = NULL;
        return s;
    }
    const Limiter__WatchResourcesResponse *response = message;
    if (response->resource == NULL) {
        all_known(states); /* the first sign of life comes after the present state of all */
    } else if (response->resource->kind == LIMITER__RESOURCE_KIND__RESOURCE_KIND_MODEL) {
        vitals_take_state(states->router->vitals, response->resource);
    }
    return STATUS_SUCCESS;
}

/* One stream, from its beginning to its end. */
static struct status follow(struct states *states) PARKS
{
    Limiter__WatchResourcesRequest request = LIMITER__WATCH_RESOURCES_REQUEST__INIT;
    struct rpc_stream *stream;
    request.tenant = (char *)TENANT;
    TRY(rpc_open(states->router->limiter, &limiter__limiter_service__descriptor, "WatchResources",
                 &request, &stream));
    struct status s = STATUS_SUCCESS;
    while (status_ok(s)) {
        s = read_one(states, stream);
    }
    rpc_stream_close(&stream);
    vitals_forget_states(states->router->vitals);
    return s;
}

static void run(void *arg) PARKS
{
    struct states *states = arg;
    unsigned failures = 0;
    while (status_ok(task_status())) {
        struct status s = follow(states);
        LOG(DEBUG, "the limiter's states end", KV("err", s));
        uint32_t random;
        hash_random(&random, sizeof(random));
        failures = states->known ? 0 : failures + 1;
        states->known = false;
        s = task_sleep_ms(1 + retry_backoff_ms(failures, BACKOFF_MS, BACKOFF_MOST, random));
        (void)s; /* the loop looks */
    }
    op_done(&states->ended, STATUS_SUCCESS);
}

struct states *states_start(struct router *router)
{
    struct states *states = ALLOC(struct states);
    states->router = router;
    list_init(&states->waiting);
    op_init(&states->ended, router->loop, NULL, NULL);
    states->task = task_spawn(
        router->loop, &(struct task_options){.name = "states", .deadline_ms = TASK_DEADLINE_NONE},
        run, states);
    return states;
}

void states_stop(struct states *states)
{
    task_cancel(states->task, status_of(REASON_SHUTTING_DOWN, NULL));
    struct status s = op_wait_firmly(&states->ended);
    check(status_ok(s));
    free(states);
}

static void gives_up(struct op *op)
{
    list_remove(&CONTAINER_OF(op, struct expectant, known)->link);
    op_done(op, status_of(REASON_PEER_UNREACHABLE, NULL));
}

void states_await(struct states *states)
{
    const struct router *router = states->router;
    struct expectant me;
    bool in_time;
    if (!states->known) {
        op_init(&me.known, router->loop, gives_up, NULL);
        list_push_back(&states->waiting, &me.link);
        struct status s = op_wait_until(
            &me.known, loop_now_ms(router->loop) + router->config->limiter_wait, &in_time);
        (void)s; /* what is not known says so itself */
    }
}
