#include "app/limiter_link.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "codec/hash.h"
#include "codec/retry.h"
#include "loop/task.h"

#define ITEMS_MOST    64          /* of a message, as the protocol has it */
#define MESSAGE_ARENA (18u << 20) /* bounded by RPC_MESSAGE_MOST before */
#define SESSION_SIZE  16
#define BACKOFF_MS    100
#define BACKOFF_MOST  2000

struct limiter_message {
    struct arena *arena; /* holds this too */
    size_t readers;
};

/* On the stack of who asks. */
struct ask {
    struct op op;
    struct list link; /* in asked or sent */
    const Limiter__AttachItem *item;
    struct limiter_reply *reply;
};

struct limiter_link {
    struct loop *loop;
    struct rpc_channel *channel;
    uint8_t session[SESSION_SIZE];
    uint64_t silence_ms;
    struct list asked; /* not sent yet */
    struct list sent;  /* not answered yet, in the order of sending */
    struct bell bell;  /* something to do for who sends */
    struct task *task;
    struct op ended;

    /* Of the stream there is now. */
    struct rpc_stream *stream;
    bool underway; /* a message that is not answered yet */
    uint64_t sent_ms;
    bool answered; /* at least once */
    struct task *reader;
    struct op reader_ended; /* its result: how the stream ended */
};

/* --- replies -----------------------------------------------------------------------------------
 */

static void message_let_go(struct limiter_message *message)
{
    if (--message->readers == 0) {
        arena_free(message->arena);
    }
}

void limiter_reply_drop(struct limiter_reply *reply)
{
    if (reply->message != NULL) {
        message_let_go(reply->message);
        *reply = (struct limiter_reply){0};
    }
}

static struct span id_of(const Limiter__AttachItem *item)
{
    const ProtobufCBinaryData *id;
    switch (item->request_case) {
    case LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE:
        id = &item->acquire->id;
        break;
    case LIMITER__ATTACH_ITEM__REQUEST_COMPLETE:
        id = &item->complete->id;
        break;
    case LIMITER__ATTACH_ITEM__REQUEST_CANCEL:
        id = &item->cancel->id;
        break;
    default:
        return SPAN_NONE; /* a renewal */
    }
    return span_of(id->data, id->len);
}

static bool answers(const Limiter__AttachReply *reply, const Limiter__AttachItem *item)
{
    bool kind = false;
    switch (reply->reply_case) {
    case LIMITER__ATTACH_REPLY__REPLY_ACQUIRE:
        kind = item->request_case == LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE;
        break;
    case LIMITER__ATTACH_REPLY__REPLY_COMPLETE:
        kind = item->request_case == LIMITER__ATTACH_ITEM__REQUEST_COMPLETE;
        break;
    case LIMITER__ATTACH_REPLY__REPLY_CANCEL:
        kind = item->request_case == LIMITER__ATTACH_ITEM__REQUEST_CANCEL;
        break;
    case LIMITER__ATTACH_REPLY__REPLY_RENEW:
        kind = item->request_case == LIMITER__ATTACH_ITEM__REQUEST_RENEW;
        break;
    case LIMITER__ATTACH_REPLY__REPLY_ERROR:
        kind = true;
        break;
    default:
        break; /* it waits, or is nothing we know */
    }
    return kind && span_eq(id_of(item), span_of(reply->id.data, reply->id.len));
}

static struct status status_of_reply(const Limiter__AttachReply *reply, struct arena *arena)
{
    return reply->reply_case == LIMITER__ATTACH_REPLY__REPLY_ERROR
               ? rpc_status_of_message(reply->error, arena)
               : STATUS_SUCCESS;
}

/* To the first that asked for it; whoever has left has none. */
static void hand_out(struct limiter_link *link, const Limiter__AttachReply *reply,
                     struct limiter_message *message)
{
    LIST_EACH (it, &link->sent) {
        struct ask *ask = CONTAINER_OF(it, struct ask, link);
        if (answers(reply, ask->item)) {
            list_remove(it);
            message->readers++;
            *ask->reply = (struct limiter_reply){.is = reply, .message = message};
            op_done(&ask->op, status_of_reply(reply, message->arena));
            return;
        }
    }
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* False: the stream has ended, *s says how. */
static bool read_one(struct limiter_link *link, struct status *s) PARKS
{
    struct arena *arena = arena_new(MESSAGE_ARENA);
    void *received;
    *s = rpc_stream_recv(link->stream, arena, &received);
    if (!status_ok(*s) || received == NULL) {
        *s = status_ok(*s) ? status_of(REASON_CONNECTION_LOST, NULL) : *s;
        s->detail = NULL; /* in the arena */
        s->more = NULL;
        arena_free(arena);
        return false;
    }
    const Limiter__AttachResponse *response = received;
    struct limiter_message *message = ARENA_NEW(arena, struct limiter_message);
    *message = (struct limiter_message){.arena = arena, .readers = 1};
    for (size_t i = 0; i < response->n_replies; i++) {
        hand_out(link, response->replies[i], message);
    }
    message_let_go(message);
    link->underway = false;
    link->answered = true;
    bell_ring(&link->bell);
    return true;
}

static void read_all(void *arg) PARKS
{
    struct limiter_link *link = arg;
    struct status s;
    while (read_one(link, &s)) {
    }
    op_done(&link->reader_ended, s);
    bell_ring(&link->bell);
}

/* --- sending -----------------------------------------------------------------------------------
 */

static struct status send_some(struct limiter_link *link) PARKS
{
    Limiter__AttachItem *items[ITEMS_MOST];
    Limiter__AttachRequest request = LIMITER__ATTACH_REQUEST__INIT;
    request.session = (ProtobufCBinaryData){SESSION_SIZE, link->session};
    request.items = items;
    while (request.n_items < ITEMS_MOST && !list_empty(&link->asked)) {
        struct list *it = list_pop_front(&link->asked);
        list_push_back(&link->sent, it);
        /* Packing only reads. */
        items[request.n_items++] =
            (Limiter__AttachItem *)(uintptr_t)CONTAINER_OF(it, struct ask, link)->item;
    }
    link->underway = true;
    link->sent_ms = loop_now_ms(link->loop);
    return rpc_stream_send(link->stream, &request);
}

/* Until the stream is over, or better not used any more. */
static struct status send_all(struct limiter_link *link) PARKS
{
    while (!link->reader_ended.done) {
        if (!link->underway && !list_empty(&link->asked)) {
            if (!rpc_stream_preferred(link->stream)) {
                return STATUS_SUCCESS;
            }
            TRY(send_some(link));
        }
        bool rung;
        uint64_t until_ms = link->underway ? link->sent_ms + link->silence_ms : UINT64_MAX;
        TRY(bell_wait_until(&link->bell, until_ms, &rung));
        if (!rung && link->underway) {
            return status_of(REASON_PEER_UNREACHABLE, "the limiter does not answer");
        }
    }
    return link->reader_ended.result;
}

static void fail_all(struct list *asks, struct status s)
{
    for (struct list *it; (it = list_pop_front(asks)) != NULL;) {
        op_done(&CONTAINER_OF(it, struct ask, link)->op, s);
    }
}

/* --- the session -------------------------------------------------------------------------------
 */

/* Until the stream is over; how it ended, OK: there is a better one to have. */
static struct status talk(struct limiter_link *link) PARKS
{
    struct task_options options = {.name = "limiter replies", .deadline_ms = TASK_DEADLINE_NONE};
    link->underway = false;
    op_init(&link->reader_ended, link->loop, NULL, NULL);
    link->reader = task_spawn(link->loop, &options, read_all, link);
    struct status s = send_all(link);
    if (!link->reader_ended.done) {
        task_cancel(link->reader, status_of(REASON_CONNECTION_LOST, NULL));
    }
    struct status read = op_wait_firmly(&link->reader_ended);
    (void)read; /* it is s, or comes of it */
    rpc_stream_close(&link->stream);
    link->underway = false;
    return s;
}

static bool is_outage(struct status s)
{
    return status_ok(s) || s.code == STATUS_UNAVAILABLE || s.code == STATUS_DEADLINE_EXCEEDED;
}

/* One stream from its beginning to its end. */
static void attach(struct limiter_link *link) PARKS
{
    link->answered = false;
    struct status s = rpc_open(link->channel, &limiter__limiter_service__descriptor, "Attach", NULL,
                               &link->stream);
    if (status_ok(s)) {
        LOG(DEBUG, "attached to the limiter");
        s = talk(link);
        LOG(INFO, "limiter session ended", KV("err", s));
    }
    fail_all(&link->sent, status_ok(s) ? status_of(REASON_CONNECTION_LOST, NULL) : s);
    if (!is_outage(s)) {
        fail_all(&link->asked, s); /* it is no use to wait for another stream */
    }
}

static void keep(void *arg) PARKS
{
    struct limiter_link *link = arg;
    unsigned failures = 0;
    while (status_ok(task_status())) {
        attach(link);
        failures = link->answered ? 0 : failures + 1;
        if (failures > 0) {
            uint32_t random;
            hash_random(&random, sizeof(random));
            struct status s =
                task_sleep_ms(1 + retry_backoff_ms(failures - 1, BACKOFF_MS, BACKOFF_MOST, random));
            (void)s; /* the loop looks */
        }
    }
    op_done(&link->ended, STATUS_SUCCESS);
}

struct limiter_link *limiter_link_start(struct rpc_channel *channel, struct span session,
                                        uint64_t silence_ms)
{
    struct limiter_link *link = ALLOC(struct limiter_link);
    check(session.len == SESSION_SIZE);
    link->loop = task_loop();
    link->channel = channel;
    memcpy(link->session, session.at, SESSION_SIZE);
    link->silence_ms = silence_ms;
    list_init(&link->asked);
    list_init(&link->sent);
    op_init(&link->ended, link->loop, NULL, NULL);
    struct task_options options = {.name = "limiter link", .deadline_ms = TASK_DEADLINE_NONE};
    link->task = task_spawn(link->loop, &options, keep, link);
    return link;
}

void limiter_link_stop(struct limiter_link *link)
{
    task_cancel(link->task, status_of(REASON_SHUTTING_DOWN, NULL));
    struct status s = op_wait_firmly(&link->ended);
    check(status_ok(s) && list_empty(&link->asked) && list_empty(&link->sent));
    free(link);
}

/* --- asking ------------------------------------------------------------------------------------
 */

static void ask_given_up(struct op *op)
{
    list_remove(&CONTAINER_OF(op, struct ask, op)->link);
    op_done(op, status_of(REASON_PEER_UNREACHABLE, "the limiter did not answer in time"));
}

struct status limiter_link_ask(struct limiter_link *link, const Limiter__AttachItem *item,
                               uint64_t wait_ms, struct limiter_reply *reply)
{
    struct ask ask = {.item = item, .reply = reply};
    bool in_time;
    TRY(task_status());
    /* Without a stream at most half of what is left, so that the asker can still tell. */
    uint64_t left_ms = link->stream != NULL ? task_left_ms() : task_left_ms() / 2;
    op_init(&ask.op, link->loop, ask_given_up, NULL);
    list_push_back(&link->asked, &ask.link);
    if (!link->underway) {
        bell_ring(&link->bell);
    }
    return op_wait_until(&ask.op, loop_now_ms(link->loop) + (left_ms < wait_ms ? left_ms : wait_ms),
                         &in_time);
}
