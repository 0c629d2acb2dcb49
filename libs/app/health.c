#include "app/health.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "grpc/health/v1/health.pb-c.h"
#include "loop/task.h"

#define UNKNOWN     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
#define SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING

/* Names beside those of the services; the first two follow the verdict. */
static const char *const own_names[] = {"", "readiness", "liveness", "startup"};
#define OWN_FOLLOWING 2

struct health {
    struct loop *loop;
    const struct rpc_service *services;
    size_t n_services;
    bool serving;
    bool ended;
    struct list watchers;
};

/* A Watch call that waits for news. */
struct watcher {
    struct list link;
    struct op news;
};

struct health *health_new(struct loop *loop)
{
    struct health *health = ALLOC(struct health);
    health->loop = loop;
    list_init(&health->watchers);
    return health;
}

void health_free(struct health *health)
{
    check(health == NULL || list_empty(&health->watchers));
    free(health);
}

static void tell(struct health *health)
{
    for (struct list *it; (it = list_pop_front(&health->watchers)) != NULL;) {
        op_done(&CONTAINER_OF(it, struct watcher, link)->news, STATUS_SUCCESS);
    }
}

void health_set_serving(struct health *health, bool serving)
{
    health->serving = serving;
    tell(health);
}

void health_end(struct health *health)
{
    health->ended = true;
    tell(health);
}

static int status_now(const struct health *health, const char *name)
{
    int verdict = health->serving && !health->ended ? SERVING : NOT_SERVING;
    for (size_t i = 0; i < ARRAY_LEN(own_names); i++) {
        if (strcmp(name, own_names[i]) == 0) {
            return i < OWN_FOLLOWING ? verdict : SERVING;
        }
    }
    for (size_t i = 0; i < health->n_services; i++) {
        if (strcmp(name, health->services[i].descriptor->name) == 0) {
            return verdict;
        }
    }
    return UNKNOWN;
}

static struct status check_health(struct rpc *rpc, const void *message)
{
    const Grpc__Health__V1__HealthCheckRequest *request = message;
    Grpc__Health__V1__HealthCheckResponse reply = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    reply.status = status_now(rpc_service(rpc), request->service);
    if (reply.status == UNKNOWN) {
        return rpc_not_found(rpc, REASON_RESOURCE_UNKNOWN, "service", request->service);
    }
    return rpc_send(rpc, &reply);
}

static void list_name(struct rpc *rpc, Grpc__Health__V1__HealthListResponse *reply,
                      const char *name)
{
    Grpc__Health__V1__HealthListResponse__StatusesEntry *entry =
        ARENA_NEW(rpc_arena(rpc), Grpc__Health__V1__HealthListResponse__StatusesEntry);
    grpc__health__v1__health_list_response__statuses_entry__init(entry);
    entry->key = arena_string(rpc_arena(rpc), span_str(name));
    entry->value = ARENA_NEW(rpc_arena(rpc), Grpc__Health__V1__HealthCheckResponse);
    grpc__health__v1__health_check_response__init(entry->value);
    entry->value->status = status_now(rpc_service(rpc), name);
    reply->statuses[reply->n_statuses++] = entry;
}

static struct status list_health(struct rpc *rpc, const void *message)
{
    (void)message;
    struct health *health = rpc_service(rpc);
    Grpc__Health__V1__HealthListResponse reply = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    reply.statuses =
        ARENA_ARRAY(rpc_arena(rpc), Grpc__Health__V1__HealthListResponse__StatusesEntry *,
                    ARRAY_LEN(own_names) + health->n_services);
    for (size_t i = 0; i < ARRAY_LEN(own_names); i++) {
        list_name(rpc, &reply, own_names[i]);
    }
    for (size_t i = 0; i < health->n_services; i++) {
        list_name(rpc, &reply, health->services[i].descriptor->name);
    }
    return rpc_send(rpc, &reply);
}

static void stop_waiting(struct op *op)
{
    list_remove(&CONTAINER_OF(op, struct watcher, news)->link);
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

static struct status wait_for_news(struct health *health)
{
    struct watcher watcher;
    op_init(&watcher.news, health->loop, stop_waiting, NULL);
    list_init(&watcher.link);
    list_push_back(&health->watchers, &watcher.link);
    return op_wait(&watcher.news);
}

/* A name that is not known may become known: the specification wants the call to stay. */
static struct status watch_health(struct rpc *rpc, const void *message)
{
    const Grpc__Health__V1__HealthCheckRequest *request = message;
    struct health *health = rpc_service(rpc);
    Grpc__Health__V1__HealthCheckResponse reply = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    int told = -1;
    TRY(rpc_stand(rpc));
    for (;;) {
        reply.status = status_now(health, request->service);
        if ((int)reply.status != told) {
            told = (int)reply.status;
            TRY(rpc_send(rpc, &reply));
        } else if (health->ended) {
            return status_of(REASON_SHUTTING_DOWN, NULL);
        } else {
            TRY(wait_for_news(health));
        }
    }
}

static const struct rpc_method methods[] = {
    {"Check", RPC_UNARY, check_health},
    {"List", RPC_UNARY, list_health},
    {"Watch", RPC_SERVER_STREAM, watch_health},
};

struct rpc_service health_service(struct health *health, const struct rpc_service *services,
                                  size_t n)
{
    health->services = services;
    health->n_services = n;
    return (struct rpc_service){
        .descriptor = &grpc__health__v1__health__descriptor,
        .methods = methods,
        .n_methods = ARRAY_LEN(methods),
        .service = health,
    };
}
