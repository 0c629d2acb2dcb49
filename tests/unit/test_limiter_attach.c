/* Attach over real gRPC: batches, wrong items, and streams that break. */
#include "limiter_service_bench.h"

#define FIRST      "sonnet-4.6@us-east-2"
#define FIRST_TWO  FIRST " sonnet-5@us-east-2"
#define ITEMS_MOST 80

/* A message to be. */
struct batch {
    struct bench *b;
    Limiter__AttachItem rows[ITEMS_MOST];
    Limiter__AttachItem *items[ITEMS_MOST];
    size_t n;
};

static Limiter__AttachItem *add(struct batch *batch, Limiter__AttachItem__RequestCase kind)
{
    assert_true(batch->n < ITEMS_MOST);
    Limiter__AttachItem *item = &batch->rows[batch->n];
    limiter__attach_item__init(item);
    item->request_case = kind;
    batch->items[batch->n++] = item;
    return item;
}

static Limiter__AcquireRequest *add_acquire(struct batch *batch, uint32_t id, const char *models)
{
    Limiter__AcquireRequest *request = acquire_of(batch->b, id, models, "");
    request->session = (ProtobufCBinaryData){0}; /* the stream's */
    add(batch, LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE)->acquire = request;
    return request;
}

static Limiter__CompleteRequest *add_complete(struct batch *batch, uint32_t id, const char *model)
{
    Limiter__CompleteRequest *request = ARENA_NEW(batch->b->arena, Limiter__CompleteRequest);
    limiter__complete_request__init(request);
    request->id = id_of(batch->b, id);
    request->model = (char *)model;
    request->outcome = LIMITER__OUTCOME__OUTCOME_OK;
    add(batch, LIMITER__ATTACH_ITEM__REQUEST_COMPLETE)->complete = request;
    return request;
}

static void add_cancel(struct batch *batch, uint32_t id)
{
    Limiter__CancelRequest *request = ARENA_NEW(batch->b->arena, Limiter__CancelRequest);
    limiter__cancel_request__init(request);
    request->id = id_of(batch->b, id);
    add(batch, LIMITER__ATTACH_ITEM__REQUEST_CANCEL)->cancel = request;
}

/* Of one lease. */
static void add_renew(struct batch *batch, uint32_t id, uint64_t fence)
{
    Limiter__RenewRequest *request = ARENA_NEW(batch->b->arena, Limiter__RenewRequest);
    Limiter__Lease *lease = ARENA_NEW(batch->b->arena, Limiter__Lease);
    limiter__renew_request__init(request);
    limiter__lease__init(lease);
    lease->id = id_of(batch->b, id);
    lease->fence = fence;
    lease->model = FIRST;
    request->leases = ARENA_NEW(batch->b->arena, Limiter__Lease *);
    request->leases[request->n_leases++] = lease;
    add(batch, LIMITER__ATTACH_ITEM__REQUEST_RENEW)->renew = request;
}

static struct rpc_stream *attach(struct bench *b) PARKS
{
    struct rpc_stream *stream;
    assert_status_ok(rpc_open(b->channel, LIMITER, "Attach", NULL, &stream));
    return stream;
}

static struct status put(struct rpc_stream *stream, struct batch *batch) PARKS
{
    Limiter__AttachRequest request = LIMITER__ATTACH_REQUEST__INIT;
    request.session = id_of(batch->b, 900);
    request.items = batch->items;
    request.n_items = batch->n;
    if (on_redis) {
        redis_bench_move(&batch->b->redis, now_ms, batch->b->arena);
    }
    return rpc_stream_send(stream, &request);
}

static const Limiter__AttachResponse *get(struct bench *b, struct rpc_stream *stream) PARKS
{
    void *message;
    assert_status_ok(rpc_stream_recv(stream, b->arena, &message));
    assert_non_null(message);
    return message;
}

static Limiter__AttachReply *const *exchange(struct rpc_stream *stream, struct batch *batch) PARKS
{
    assert_status_ok(put(stream, batch));
    const Limiter__AttachResponse *response = get(batch->b, stream);
    assert_int_equal(response->n_replies, batch->n);
    batch->n = 0;
    return response->replies;
}

static const Limiter__Verdict *verdict_of(const Limiter__AttachReply *reply)
{
    assert_int_equal(reply->reply_case, LIMITER__ATTACH_REPLY__REPLY_ACQUIRE);
    return reply->acquire->verdict;
}

static void assert_error(struct bench *b, const Limiter__AttachReply *reply, enum reason reason)
{
    assert_int_equal(reply->reply_case, LIMITER__ATTACH_REPLY__REPLY_ERROR);
    assert_status(rpc_status_of_message(reply->error, b->arena), reason);
}

static void until_sessions(struct bench *b, size_t n) PARKS
{
    for (int i = 0; i < 5000 && b->limiter->sessions != n; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_int_equal(b->limiter->sessions, n);
}

/* --- tests -------------------------------------------------------------------------------------
 */

task_test_real(a_batch_is_decided_in_its_order)
{
    struct bench b;
    struct batch batch = {.b = &b};
    prepare(&b);
    start(&b);
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = attach(&b);
    add_cancel(&batch, 9);
    add_acquire(&batch, 9, FIRST);
    add_acquire(&batch, 1, FIRST_TWO);
    add_complete(&batch, 1, FIRST);
    add_acquire(&batch, 1, FIRST_TWO);
    add_renew(&batch, 2, 1);
    Limiter__AttachReply *const *replies = exchange(stream, &batch);
    for (size_t i = 0; i < 5; i++) {
        uint32_t id = i < 2 ? 9 : 1;
        assert_memory_equal(replies[i]->id.data, id_of(&b, id).data, 16);
    }
    assert_int_equal(replies[0]->reply_case, LIMITER__ATTACH_REPLY__REPLY_CANCEL);
    assert_int_equal(replies[0]->cancel->result, LIMITER__REPORT_RESULT__REPORT_RESULT_UNKNOWN_ID);
    assert_int_equal(verdict_of(replies[1])->reasons[0], LIMITER__REASON__REASON_CANCELLED);
    assert_true(granted(verdict_of(replies[2])));
    assert_string_equal(verdict_of(replies[2])->judged[1]->resource, "suite");
    assert_int_equal(replies[3]->reply_case, LIMITER__ATTACH_REPLY__REPLY_COMPLETE);
    assert_int_equal(replies[3]->complete->result, LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(replies[3]->complete->n_settlements, 2);
    assert_true(verdict_of(replies[4])->replayed);
    assert_int_equal(replies[5]->reply_case, LIMITER__ATTACH_REPLY__REPLY_RENEW);
    assert_int_equal(replies[5]->id.len, 0);
    assert_int_equal(replies[5]->renew->n_lost_ids, 1);
    /* As many as fit, whatever is in one message: the sixth is one too many. */
    for (uint32_t i = 10; i < 16; i++) {
        add_acquire(&batch, i, FIRST);
    }
    now_ms += 60000;
    replies = exchange(stream, &batch);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(granted(verdict_of(replies[i])), i < 5);
    }
    assert_int_equal(verdict_of(replies[0])->lease_ms, 15000);
    add_renew(&batch, 10, verdict_of(replies[0])->fence);
    assert_int_equal(exchange(stream, &batch)[0]->renew->n_lost_ids, 0);
    rpc_stream_close(&stream);
    until_sessions(&b, 0);
    stop(&b);
}

task_test_real(a_wrong_item_gets_its_error_and_loses_nothing)
{
    struct bench b;
    struct batch batch = {.b = &b};
    prepare(&b);
    start(&b);
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = attach(&b);
    add_acquire(&batch, 1, FIRST);
    add_acquire(&batch, 2, FIRST)->id.len = 3;
    add_acquire(&batch, 3, "nobody");
    add_acquire(&batch, 4, FIRST)->n_candidates = 0;
    add_complete(&batch, 5, "nobody");
    add_complete(&batch, 1, FIRST)->outcome = 99;
    add_renew(&batch, 1, 1);
    add_renew(&batch, 1, 1);
    add(&batch, LIMITER__ATTACH_ITEM__REQUEST__NOT_SET);
    add_acquire(&batch, 6, FIRST)->tenant = "Not A Tenant";
    add_acquire(&batch, 7, FIRST);
    Limiter__AttachReply *const *replies = exchange(stream, &batch);
    assert_true(granted(verdict_of(replies[0])));
    assert_error(&b, replies[1], REASON_BAD_REQUEST);
    assert_int_equal(replies[1]->id.len, 3);
    assert_error(&b, replies[2], REASON_MODEL_UNKNOWN);
    assert_error(&b, replies[3], REASON_BAD_REQUEST);
    assert_error(&b, replies[4], REASON_MODEL_UNKNOWN);
    assert_error(&b, replies[5], REASON_BAD_REQUEST);
    assert_int_equal(replies[6]->renew->n_lost_ids, 0);
    assert_error(&b, replies[7], REASON_BAD_REQUEST); /* one renewal a message */
    assert_error(&b, replies[8], REASON_BAD_REQUEST);
    assert_error(&b, replies[9], REASON_BAD_REQUEST);
    assert_true(granted(verdict_of(replies[10])));
    assert_int_equal(engine_leases_live(b.limiter->suite, now_ms), 2);
    rpc_stream_close(&stream);
    stop(&b);
}

/* Sixty-four items, all as wrong and as long as they may be. */
task_test_real(the_largest_batch_is_answered)
{
    struct bench b;
    struct batch batch = {.b = &b};
    prepare(&b);
    start(&b);
    char *name = arena_alloc(b.arena, 40001);
    memset(name, 'm', 40000);
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = attach(&b);
    for (uint32_t i = 0; i < 64; i++) {
        add_acquire(&batch, i, name);
    }
    Limiter__AttachReply *const *replies = exchange(stream, &batch);
    for (size_t i = 0; i < 64; i++) {
        assert_error(&b, replies[i], REASON_MODEL_UNKNOWN);
    }
    rpc_stream_close(&stream);
    stop(&b);
}

task_test_real(what_is_no_session_is_told)
{
    struct bench b;
    struct batch batch = {.b = &b};
    void *message;
    prepare(&b);
    start(&b);
    struct rpc_stream *stream = attach(&b);
    Limiter__AttachRequest request = LIMITER__ATTACH_REQUEST__INIT;
    assert_status_ok(rpc_stream_send(stream, &request));
    assert_status(rpc_stream_recv(stream, b.arena, &message), REASON_BAD_REQUEST);
    rpc_stream_close(&stream);

    stream = attach(&b);
    exchange(stream, &batch); /* nothing yet: attached is what it is */
    until_sessions(&b, 1);
    for (uint32_t i = 0; i < 65; i++) {
        add_acquire(&batch, i, FIRST);
    }
    assert_status_ok(put(stream, &batch));
    struct status s = rpc_stream_recv(stream, b.arena, &message);
    assert_status(s, REASON_BAD_REQUEST);
    assert_string_equal(s.more->fields[0].subject, "items");
    assert_int_equal(engine_leases_live(b.limiter->suite, now_ms), 0);
    rpc_stream_close(&stream);

    stream = attach(&b);
    assert_status_ok(rpc_stream_send_end(stream));
    assert_status_ok(rpc_stream_recv(stream, b.arena, &message));
    assert_null(message);
    rpc_stream_close(&stream);
    until_sessions(&b, 0);
    stop(&b);
}

/* The caller leaves without its replies, and asks again: nothing is charged twice, and nobody's
 * lease has ended. */
task_test_real(what_was_granted_outlives_the_stream)
{
    struct bench b;
    struct batch batch = {.b = &b};
    prepare(&b);
    start(&b);
    for (int round = 0; round < 20; round++) {
        uint32_t first = 100u * (uint32_t)round;
        now_ms += 60500;
        struct rpc_stream *stream = attach(&b);
        add_acquire(&batch, first, FIRST);
        exchange(stream, &batch);
        for (uint32_t i = 0; i < 3; i++) {
            add_acquire(&batch, first + i, FIRST);
        }
        assert_status_ok(put(stream, &batch));
        rpc_stream_close(&stream);
        until_sessions(&b, 0);
        size_t live = engine_leases_live(b.limiter->suite, now_ms);
        assert_true(live == 1 || live == 3);

        stream = attach(&b);
        Limiter__AttachReply *const *replies = exchange(stream, &batch);
        for (size_t i = 0; i < 3; i++) {
            assert_true(granted(verdict_of(replies[i])));
            assert_int_equal(verdict_of(replies[i])->replayed, i < live);
        }
        assert_int_equal(engine_leases_live(b.limiter->suite, now_ms), 3);
        rpc_stream_close(&stream);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(
                complete(&b, first + i, FIRST, 1, LIMITER__OUTCOME__OUTCOME_OK)->result,
                LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
        }
    }
    stop(&b);
}

/* --- who does not read --------------------------------------------------------------------------
 */

#define FLOOD 3000 /* messages: more than all buffers hold */

struct flood {
    struct rpc_stream *stream;
    struct batch batch;
    size_t sent;
};

static void pour(void *arg) PARKS
{
    struct flood *flood = arg;
    while (flood->sent < FLOOD) {
        assert_status_ok(put(flood->stream, &flood->batch));
        flood->sent++;
    }
}

task_test_real(a_session_that_does_not_read_holds_up_itself_alone)
{
    struct bench b;
    struct group group;
    prepare(&b);
    start(&b);
    struct flood *flood = ARENA_NEW(b.arena, struct flood);
    flood->stream = attach(&b);
    flood->batch.b = &b;
    for (uint32_t i = 0; i < 64; i++) {
        add_acquire(&flood->batch, i, "nobody");
    }
    group_init(&group);
    group_spawn(&group, "flood", pour, flood);
    size_t before;
    do {
        before = flood->sent;
        assert_status_ok(task_sleep_ms(500));
    } while (flood->sent != before);
    assert_true(flood->sent < FLOOD);
    assert_true(granted(acquire(&b, 1000, FIRST, "")));
    for (size_t i = 0; i < FLOOD; i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(4u << 20);
        void *message;
        assert_status_ok(rpc_stream_recv(flood->stream, arena, &message));
        assert_int_equal(((Limiter__AttachResponse *)message)->n_replies, 64);
    }
    assert_status_ok(group_wait(&group));
    rpc_stream_close(&flood->stream);
    stop(&b);
}

static const struct CMUnitTest tests[] = {
    /* In Redis a message is one step, in which what ends and is renewed comes first. */
    cmocka_unit_test(a_batch_is_decided_in_its_order),
    cmocka_unit_test(a_wrong_item_gets_its_error_and_loses_nothing),
    ON_BOTH_HOMES(the_largest_batch_is_answered),
    ON_BOTH_HOMES(what_is_no_session_is_told),
    ON_BOTH_HOMES(what_was_granted_outlives_the_stream),
    ON_BOTH_HOMES(a_session_that_does_not_read_holds_up_itself_alone),
};

HARNESS_MAIN(tests)
