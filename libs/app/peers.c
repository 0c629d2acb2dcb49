#include "app/peers.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/list.h"
#include "loop/task.h"

#define CONNECTED_MS 500 /* a connection that is there is looked at this often */
#define MISSING_MS   50

struct peer {
    struct list link;
    struct peers *peers;
    const char *condition;
    const char *why;
    struct rpc_channel *channel;
    struct task *task;
    struct op ended;
};

struct peers {
    struct loop *loop;
    struct readiness *readiness;
    struct list all;
};

static void follow(void *arg) PARKS
{
    struct peer *peer = arg;
    bool connected;
    do {
        connected = rpc_channel_ready(peer->channel);
        readiness_set(peer->peers->readiness, peer->condition, connected, peer->why);
    } while (status_ok(task_sleep_ms(connected ? CONNECTED_MS : MISSING_MS)));
    op_done(&peer->ended, STATUS_SUCCESS);
}

struct peers *peers_new(struct loop *loop, struct readiness *readiness)
{
    struct peers *peers = ALLOC(struct peers);
    peers->loop = loop;
    peers->readiness = readiness;
    list_init(&peers->all);
    return peers;
}

void peers_free(struct peers *peers)
{
    check(peers == NULL || list_empty(&peers->all));
    free(peers);
}

void peers_follow(struct peers *peers, const char *condition, struct rpc_channel *channel,
                  const char *why)
{
    struct peer *peer = ALLOC(struct peer);
    peer->peers = peers;
    peer->condition = condition;
    peer->why = why;
    peer->channel = channel;
    list_push_back(&peers->all, &peer->link);
    op_init(&peer->ended, peers->loop, NULL, NULL);
    readiness_set(peers->readiness, condition, false, why);
    struct task_options options = {.name = "peer", .deadline_ms = TASK_DEADLINE_NONE};
    peer->task = task_spawn(peers->loop, &options, follow, peer);
}

void peers_stop(struct peers *peers)
{
    for (struct list *it; (it = list_pop_front(&peers->all)) != NULL;) {
        struct peer *peer = CONTAINER_OF(it, struct peer, link);
        task_cancel(peer->task, status_of(REASON_SHUTTING_DOWN, NULL));
        struct status s = op_wait_firmly(&peer->ended);
        check(status_ok(s));
        free(peer);
    }
}
