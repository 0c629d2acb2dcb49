/*
 * Leases of this process: one Renew for all of them every few seconds, and the fence. A lease that
 * was not renewed in time is taken for lost a guard before the limiter gives it to somebody else;
 * its call is stopped, so that really running calls never exceed what was granted. With on_fence
 * finish it runs to its end instead, and goes on asking for its lease while nobody has refused it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "loop/task.h"
#include "prism/limiter/v1/limiter.pb-c.h"
#include "router/router.h"

#define RENEW_ARENA (4u << 20)
#define RENEW_MOST  1000 /* in one request; the limiter takes 1,024 */

struct leases {
    struct router *router;
    struct list held;
    size_t n;
    uint64_t requests; /* Renew so far */
    struct task *task;
    struct bell hurry; /* a lease that must be renewed at once */
    struct timer fence;
    struct op ended;
};

static bool calls_finish(const struct leases *leases)
{
    return strcmp(leases->router->config->on_fence, "finish") == 0;
}

/* The limiter has it no longer. */
static void lose(struct leases *leases, struct grant *grant)
{
    METRIC_ADD(leases->router->metrics.leases_lost_total, 1, "lost");
    leases_drop(leases, grant);
    if (!calls_finish(leases)) {
        task_cancel(grant->task, status_of(REASON_LEASE_LOST, NULL));
    }
}

/* Nobody has said that it is lost, but soon it may be. */
static void cut_off(struct leases *leases, struct grant *grant)
{
    METRIC_ADD(leases->router->metrics.leases_lost_total, 1, "fenced");
    if (calls_finish(leases)) {
        grant->lost_at_ms = UINT64_MAX;
        return;
    }
    leases_drop(leases, grant);
    task_cancel(grant->task, status_of(REASON_LEASE_LOST, NULL));
}

/* A timer and not the renewing task: that one may be waiting for a limiter that does not answer. */
static void set_fence(struct leases *leases)
{
    uint64_t next = UINT64_MAX;
    LIST_EACH (it, &leases->held) {
        const struct grant *grant = CONTAINER_OF(it, struct grant, link);
        next = grant->lost_at_ms < next ? grant->lost_at_ms : next;
    }
    if (next == UINT64_MAX) {
        timer_stop(&leases->fence);
    } else {
        timer_start(&leases->fence, next);
    }
}

/* Too early at worst, as leases come and go and are renewed: then it only looks again. */
static void fence(struct timer *timer)
{
    struct leases *leases = CONTAINER_OF(timer, struct leases, fence);
    uint64_t now = loop_now_ms(leases->router->loop);
    LIST_EACH (it, &leases->held) {
        struct grant *grant = CONTAINER_OF(it, struct grant, link);
        if (grant->lost_at_ms <= now) {
            cut_off(leases, grant);
        }
    }
    set_fence(leases);
}

static ProtobufCBinaryData id_of(uint8_t *id)
{
    return (ProtobufCBinaryData){ROUTER_ID_SIZE, id};
}

/* All of a lease is copied: the grant may be gone while the request is on its way. */
static Limiter__Holding **holding_rows(const struct grant *grant, struct arena *arena)
{
    Limiter__Holding **rows = ARENA_ARRAY(arena, Limiter__Holding *, grant->n_holdings);
    for (size_t i = 0; i < grant->n_holdings; i++) {
        const struct holding *holding = &grant->holdings[i];
        rows[i] = ARENA_NEW(arena, Limiter__Holding);
        limiter__holding__init(rows[i]);
        rows[i]->resource = arena_string(arena, span_str(holding->resource));
        rows[i]->charge = holding->charge;
        rows[i]->epoch = holding->epoch;
        rows[i]->seq = holding->seq;
    }
    return rows;
}

/* Some of the leases that were not in a request since the one numbered `since`. */
static void add_rows(struct leases *leases, uint64_t since, struct arena *arena,
                     Limiter__RenewRequest *request)
{
    request->leases = ARENA_ARRAY(arena, Limiter__Lease *, RENEW_MOST);
    LIST_EACH (it, &leases->held) {
        struct grant *grant = CONTAINER_OF(it, struct grant, link);
        if (grant->renewal > since) {
            continue;
        }
        if (request->n_leases == RENEW_MOST) {
            break;
        }
        Limiter__Lease *row = ARENA_NEW(arena, Limiter__Lease);
        limiter__lease__init(row);
        row->id = id_of((uint8_t *)arena_copy(arena, span_of(grant->id, ROUTER_ID_SIZE)).at);
        row->fence = grant->fence;
        row->model = arena_string(arena, span_str(grant->candidate->resource));
        row->tenant = arena_string(arena, span_str(grant->tenant));
        row->output_tokens = grant->output_tokens;
        row->holdings = holding_rows(grant, arena);
        row->n_holdings = grant->n_holdings;
        request->leases[request->n_leases++] = row;
        grant->renewal = leases->requests;
    }
}

static bool is_lost(const Limiter__RenewResponse *reply, const uint8_t *id)
{
    for (size_t i = 0; i < reply->n_lost_ids; i++) {
        if (reply->lost_ids[i].len == ROUTER_ID_SIZE &&
            memcmp(reply->lost_ids[i].data, id, ROUTER_ID_SIZE) == 0) {
            return true;
        }
    }
    return false;
}

/* False: there is nothing left to renew, or nobody who would. */
static bool renew_some(struct leases *leases, uint64_t since) PARKS
{
    struct router *router = leases->router;
    CLEANUP(arena_drop) struct arena *arena = arena_new(RENEW_ARENA);
    Limiter__RenewRequest request = LIMITER__RENEW_REQUEST__INIT;
    uint64_t number = ++leases->requests;
    add_rows(leases, since, arena, &request);
    if (request.n_leases == 0) {
        return false;
    }
    Limiter__AttachItem item = LIMITER__ATTACH_ITEM__INIT;
    item.request_case = LIMITER__ATTACH_ITEM__REQUEST_RENEW;
    item.renew = &request;
    uint64_t sent = loop_now_ms(router->loop);
    CLEANUP(limiter_reply_drop) struct limiter_reply answer = {0};
    struct status s = limiter_link_ask(router->link, &item, router->config->limiter_wait, &answer);
    if (!status_ok(s)) {
        LOG(WARN, "leases not renewed", KV("leases", request.n_leases), KV("err", s));
        return false;
    }
    const Limiter__RenewResponse *reply = answer.is->renew;
    uint64_t until = sent + reply->waited_ms + reply->lease_ms;
    LIST_EACH (it, &leases->held) {
        struct grant *grant = CONTAINER_OF(it, struct grant, link);
        if (grant->renewal == number && is_lost(reply, grant->id)) {
            lose(leases, grant);
        } else if (grant->renewal == number && until > router->config->fence_guard) {
            grant->lost_at_ms = until - router->config->fence_guard;
        }
    }
    set_fence(leases);
    return request.n_leases == RENEW_MOST;
}

static void keep(void *arg) PARKS
{
    struct leases *leases = arg;
    bool hurried;
    while (status_ok(bell_wait_until(
        &leases->hurry, loop_now_ms(leases->router->loop) + leases->router->config->renew,
        &hurried))) {
        uint64_t since = leases->requests;
        bool more;
        do {
            more = renew_some(leases, since);
        } while (more);
    }
    op_done(&leases->ended, STATUS_SUCCESS);
}

struct leases *leases_start(struct router *router)
{
    struct leases *leases = ALLOC(struct leases);
    leases->router = router;
    list_init(&leases->held);
    timer_init(&leases->fence, router->loop, fence);
    op_init(&leases->ended, router->loop, NULL, NULL);
    struct task_options options = {.name = "leases", .deadline_ms = TASK_DEADLINE_NONE};
    leases->task = task_spawn(router->loop, &options, keep, leases);
    return leases;
}

void leases_stop(struct leases *leases)
{
    task_cancel(leases->task, status_of(REASON_SHUTTING_DOWN, NULL));
    struct status s = op_wait_firmly(&leases->ended);
    check(status_ok(s) && list_empty(&leases->held));
    free(leases);
}

void leases_hold(struct leases *leases, struct grant *grant)
{
    grant->task = task_self();
    list_push_back(&leases->held, &grant->link);
    leases->n++;
    if (grant->unaccepted) {
        bell_ring(&leases->hurry);
    }
    if (!timer_running(&leases->fence) || grant->lost_at_ms < leases->fence.when_ms) {
        timer_start(&leases->fence, grant->lost_at_ms);
    }
    METRIC_SET(leases->router->metrics.leases, (double)leases->n);
}

void leases_drop(struct leases *leases, struct grant *grant)
{
    if (list_empty(&grant->link)) {
        return;
    }
    list_remove(&grant->link);
    leases->n--;
    if (leases->n == 0) {
        timer_stop(&leases->fence);
    }
    METRIC_SET(leases->router->metrics.leases, (double)leases->n);
}
