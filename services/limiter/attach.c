/* Attach: the session of one router, as one stream of batches. */
#include "limiter/attach.h"

#include <string.h>

#include "limiter/calls.h"
#include "limiter/limiter.h"
#include "limiter/renew.h"

#define ITEMS_MOST  64
#define BATCH_ARENA (32u << 20) /* of items as large as they may be, each of them wrong */
#define ASKS_MOST   (ITEMS_MOST + RENEW_ASKS_MOST)

/* One message while it is decided. Everything lives in its arena. */
struct batch {
    struct limiter *limiter;
    struct arena *arena;
    struct span session;
    const Limiter__AttachRequest *request;
    struct item {
        struct status refused; /* before it was asked */
        struct ask *ask;       /* NULL: a renewal, or refused */
    } items[ITEMS_MOST];
    struct renewing renewing; /* one item at most */
    bool renews;
    struct ask *asks[ASKS_MOST]; /* in the order of the items */
    size_t n_asks;
};

static ProtobufCBinaryData data_of(struct span span)
{
    return (ProtobufCBinaryData){span.len, (uint8_t *)(uintptr_t)span.at};
}

static struct status take_acquire(struct batch *batch, const Limiter__AcquireRequest *given,
                                  struct ask **out)
{
    Limiter__AcquireRequest *request = ARENA_NEW(batch->arena, Limiter__AcquireRequest);
    *request = *given;
    if (request->session.len == 0) {
        request->session = data_of(batch->session);
    }
    return calls_acquire(batch->limiter, request, batch->arena, out);
}

static struct status take_renew(struct batch *batch, const Limiter__RenewRequest *given)
{
    if (batch->renews) {
        return status_bad_field(batch->arena, "items.renew", "must be in at most one item");
    }
    Limiter__RenewRequest *request = ARENA_NEW(batch->arena, Limiter__RenewRequest);
    *request = *given;
    request->session = data_of(batch->session);
    TRY(renew_take(batch->limiter, request, batch->arena, &batch->renewing));
    batch->renews = true;
    memcpy(batch->asks + batch->n_asks, batch->renewing.asks,
           batch->renewing.n_asks * sizeof(batch->asks[0]));
    batch->n_asks += batch->renewing.n_asks;
    return STATUS_SUCCESS;
}

static struct status take(struct batch *batch, const Limiter__AttachItem *item, struct ask **out)
{
    switch (item->request_case) {
    case LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE:
        return take_acquire(batch, item->acquire, out);
    case LIMITER__ATTACH_ITEM__REQUEST_COMPLETE:
        return calls_complete(batch->limiter, item->complete, batch->arena, out);
    case LIMITER__ATTACH_ITEM__REQUEST_CANCEL:
        return calls_cancel(batch->limiter, item->cancel, batch->arena, out);
    case LIMITER__ATTACH_ITEM__REQUEST_RENEW:
        return take_renew(batch, item->renew);
    default:
        return status_bad_field(batch->arena, "items.request", "must be one that is known");
    }
}

static void take_all(struct batch *batch)
{
    for (size_t i = 0; i < batch->request->n_items; i++) {
        struct item *item = &batch->items[i];
        item->refused = take(batch, batch->request->items[i], &item->ask);
        if (item->ask != NULL) {
            batch->asks[batch->n_asks++] = item->ask;
        }
    }
}

/* --- replies -----------------------------------------------------------------------------------
 */

static ProtobufCBinaryData id_of(const Limiter__AttachItem *item)
{
    switch (item->request_case) {
    case LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE:
        return item->acquire->id;
    case LIMITER__ATTACH_ITEM__REQUEST_COMPLETE:
        return item->complete->id;
    case LIMITER__ATTACH_ITEM__REQUEST_CANCEL:
        return item->cancel->id;
    default:
        return (ProtobufCBinaryData){0};
    }
}

static struct status ended(const struct batch *batch, size_t i)
{
    const struct item *item = &batch->items[i];
    TRY(item->refused);
    return item->ask != NULL ? item->ask->status : renew_status(&batch->renewing);
}

static void fill(const struct batch *batch, size_t i, Limiter__AttachReply *reply)
{
    const struct item *item = &batch->items[i];
    struct status s = ended(batch, i);
    if (!status_ok(s)) {
        reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_ERROR;
        reply->error =
            rpc_status_message(s, limiter__limiter_service__descriptor.name, batch->arena);
        return;
    }
    switch (batch->request->items[i]->request_case) {
    case LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE:
        reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_ACQUIRE;
        reply->acquire = item->ask->reply;
        break;
    case LIMITER__ATTACH_ITEM__REQUEST_COMPLETE:
        reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_COMPLETE;
        reply->complete = item->ask->reply;
        break;
    case LIMITER__ATTACH_ITEM__REQUEST_CANCEL:
        reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_CANCEL;
        reply->cancel = item->ask->reply;
        break;
    default:
        reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_RENEW;
        reply->renew = batch->renewing.reply;
        break;
    }
}

static struct status send_replies(struct rpc *rpc, const struct batch *batch) PARKS
{
    Limiter__AttachResponse response = LIMITER__ATTACH_RESPONSE__INIT;
    size_t n = batch->request->n_items;
    Limiter__AttachReply *replies = ARENA_ARRAY(batch->arena, Limiter__AttachReply, n);
    response.replies = ARENA_ARRAY(batch->arena, Limiter__AttachReply *, n);
    for (size_t i = 0; i < n; i++) {
        limiter__attach_reply__init(&replies[i]);
        replies[i].id = id_of(batch->request->items[i]);
        fill(batch, i, &replies[i]);
        response.replies[response.n_replies++] = &replies[i];
    }
    return rpc_send(rpc, &response);
}

/* --- the session -------------------------------------------------------------------------------
 */

static struct status handle(struct rpc *rpc, struct span session,
                            const Limiter__AttachRequest *request) PARKS
{
    struct limiter *limiter = rpc_service(rpc);
    if (request->n_items > ITEMS_MOST) {
        return rpc_bad_field(rpc, "items", "must be at most 64");
    }
    METRIC_ADD(limiter->metrics.session_messages_total, 1);
    METRIC_ADD(limiter->metrics.session_items_total, (double)request->n_items);
    CLEANUP(arena_drop) struct arena *arena = arena_new(BATCH_ARENA);
    struct batch *batch = ARENA_NEW(arena, struct batch);
    batch->limiter = limiter;
    batch->arena = arena;
    batch->session = session;
    batch->request = request;
    take_all(batch);
    home_decide_all(limiter, batch->asks, batch->n_asks);
    return send_replies(rpc, batch);
}

static struct status serve(struct rpc *rpc) PARKS
{
    uint8_t session[sizeof((struct engine_id){0}.bytes)];
    const void *message;
    TRY(rpc_recv(rpc, &message));
    const Limiter__AttachRequest *first = message;
    if (first != NULL && first->session.len != sizeof(session)) {
        return rpc_bad_field(rpc, "session", "must be 16 bytes");
    }
    if (first != NULL) {
        memcpy(session, first->session.data, sizeof(session));
    }
    while (message != NULL) {
        TRY(handle(rpc, span_of(session, sizeof(session)), message));
        TRY(rpc_recv(rpc, &message));
    }
    return STATUS_SUCCESS;
}

struct status attach_session(struct rpc *rpc, const void *nothing)
{
    struct limiter *limiter = rpc_service(rpc);
    (void)nothing;
    TRY(rpc_stand(rpc));
    METRIC_SET(limiter->metrics.sessions, (double)++limiter->sessions);
    struct status s = serve(rpc);
    METRIC_SET(limiter->metrics.sessions, (double)--limiter->sessions);
    return s;
}
