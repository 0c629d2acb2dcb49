/* Calls that wait for their turn at prism-limiter, over real gRPC; its clock is moved by hand. */
#include "limiter_service_bench.h"

/* A call of its own that may wait. */
struct waiter {
    struct bench *bench;
    Limiter__AcquireRequest *request;
    struct status status;
    const Limiter__Verdict *verdict; /* NULL: it waits */
    struct task *task;
    unsigned *turn; /* counts who was answered */
    unsigned answered;
};

static void ask(void *arg) PARKS
{
    struct waiter *w = arg;
    void *reply;
    w->status =
        rpc_call(w->bench->channel, LIMITER, "Acquire", w->request, w->bench->arena, &reply);
    if (status_ok(w->status)) {
        w->verdict = ((Limiter__AcquireResponse *)reply)->verdict;
    }
    w->answered = ++*w->turn;
    w->task = NULL;
}

static void begin(struct bench *b, struct waiter *w, uint32_t id, const char *tenant,
                  Limiter__Priority priority, unsigned *turn)
{
    *w = (struct waiter){.bench = b, .request = acquire_of(b, id, "sonnet-4.6@us-east-2", tenant)};
    w->request->max_wait_ms = 600000;
    w->request->priority = priority;
    w->turn = turn;
    w->task = task_spawn(task_loop(), NULL, ask, w);
}

static size_t depth(struct bench *b)
{
    return b->limiter->queue.n;
}

/* The store's clock goes where ours was moved. */
static void follow(struct bench *b) PARKS
{
    if (on_redis) {
        redis_bench_move(&b->redis, now_ms, b->arena);
    }
    assert_status_ok(task_sleep_ms(5));
}

#define UNTIL(condition)                                                                           \
    for (unsigned tries = 0; !(condition); tries++) {                                              \
        assert_true(tries < 2000);                                                                 \
        follow(&b);                                                                                \
    }

static void fill_suite(struct bench *b)
{
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(granted(acquire(b, i, "sonnet-4.6@us-east-2", "")));
    }
    now_ms += 10000; /* the pacer is out of the way */
}

static void end_one(struct bench *b, uint32_t id)
{
    complete(b, id, "sonnet-4.6@us-east-2", 10, LIMITER__OUTCOME__OUTCOME_OK);
}

task_test_real(a_call_waits_until_somebody_ends)
{
    struct bench b;
    struct waiter w[3];
    unsigned turn = 0;
    prepare(&b);
    start(&b);
    fill_suite(&b);
    begin(&b, &w[0], 10, "", LIMITER__PRIORITY__PRIORITY_LOW, &turn);
    UNTIL(depth(&b) == 1);
    begin(&b, &w[1], 11, "", LIMITER__PRIORITY__PRIORITY_NORMAL, &turn);
    UNTIL(depth(&b) == 2);
    begin(&b, &w[2], 12, "", LIMITER__PRIORITY__PRIORITY_URGENT, &turn);
    UNTIL(depth(&b) == 3);

    /* Who does not wait is told that others do. */
    const Limiter__Verdict *v = acquire(&b, 20, "sonnet-4.6@us-east-2", "");
    assert_false(granted(v));
    assert_int_equal(v->judged[1]->reasons[v->judged[1]->n_reasons - 1],
                     LIMITER__REASON__REASON_QUEUED_BEHIND);

    for (uint32_t i = 0; i < 3; i++) {
        end_one(&b, i);
        UNTIL(turn == i + 1);
        now_ms += 100;
    }
    assert_int_equal(w[2].answered, 1);
    assert_int_equal(w[1].answered, 2);
    assert_int_equal(w[0].answered, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_status_ok(w[i].status);
        assert_true(granted(w[i].verdict));
    }
    assert_int_equal(w[0].verdict->waited_ms, 200);
    assert_int_equal(depth(&b), 0);
    const char *const labels[] = {"urgent", "granted"};
    assert_int_equal(metric_value(b.limiter->metrics.wait_seconds, labels), 1);
    stop(&b);
}

/* No timer of the caller's: the limiter wakes by itself when the window opens. */
task_test_real(a_turn_comes_with_time)
{
    struct bench b;
    struct waiter w;
    unsigned turn = 0;
    prepare(&b);
    b.config.suite_requests = 1;
    b.config.suite_window = 1000;
    start(&b);
    assert_true(granted(acquire(&b, 1, "sonnet-4.6@us-east-2", "")));
    begin(&b, &w, 2, "", LIMITER__PRIORITY__PRIORITY_NORMAL, &turn);
    UNTIL(depth(&b) == 1);
    now_ms += 1500; /* window and guard */
    UNTIL(turn == 1);
    assert_true(granted(w.verdict));
    stop(&b);
}

task_test_real(whoever_leaves_is_not_waited_for)
{
    struct bench b;
    struct waiter w[2];
    unsigned turn = 0;
    prepare(&b);
    start(&b);
    fill_suite(&b);
    begin(&b, &w[0], 10, "", LIMITER__PRIORITY__PRIORITY_NORMAL, &turn);
    UNTIL(depth(&b) == 1);
    begin(&b, &w[1], 11, "", LIMITER__PRIORITY__PRIORITY_NORMAL, &turn);
    UNTIL(depth(&b) == 2);
    task_cancel(w[0].task, status_of(REASON_CALL_CANCELLED, NULL));
    UNTIL(depth(&b) == 1);
    end_one(&b, 0);
    UNTIL(turn == 2);
    assert_false(status_ok(w[0].status));
    assert_true(granted(w[1].verdict));
    stop(&b);
}

task_test_real(a_cancelled_id_waits_no_longer)
{
    struct bench b;
    struct waiter w;
    unsigned turn = 0;
    prepare(&b);
    start(&b);
    fill_suite(&b);
    begin(&b, &w, 10, "", LIMITER__PRIORITY__PRIORITY_NORMAL, &turn);
    UNTIL(depth(&b) == 1);
    Limiter__CancelRequest request = LIMITER__CANCEL_REQUEST__INIT;
    request.id = id_of(&b, 10);
    call(&b, "Cancel", &request);
    UNTIL(turn == 1);
    assert_false(granted(w.verdict));
    assert_int_equal(w.verdict->reasons[0], LIMITER__REASON__REASON_CANCELLED);
    assert_int_equal(depth(&b), 0);
    assert_int_equal(engine_leases_live(b.limiter->suite, now_ms), 5);
    stop(&b);
}

task_test_real(who_would_come_too_late_is_told_at_once)
{
    struct bench b;
    prepare(&b);
    b.config.suite_requests = 1;
    b.config.suite_concurrency = 0;
    b.config.tenant_waiters = 1;
    start(&b);
    assert_true(granted(acquire(&b, 1, "sonnet-4.6@us-east-2", "")));
    Limiter__AcquireRequest *request = acquire_of(&b, 2, "sonnet-4.6@us-east-2", "");
    request->max_wait_ms = 60000; /* the window takes 60.5 s */
    const Limiter__AcquireResponse *reply = call(&b, "Acquire", request);
    assert_false(granted(reply->verdict));
    assert_int_equal(reply->verdict->reasons[0], LIMITER__REASON__REASON_WOULD_MISS_DEADLINE);
    assert_int_equal(reply->verdict->retry_after_ms, 60500);
    /* And if there is no room. */
    struct waiter w;
    unsigned turn = 0;
    begin(&b, &w, 3, "", LIMITER__PRIORITY__PRIORITY_NORMAL, &turn);
    UNTIL(depth(&b) == 1);
    request->max_wait_ms = 600000;
    reply = call(&b, "Acquire", request);
    assert_int_equal(reply->verdict->reasons[0], LIMITER__REASON__REASON_QUEUE_FULL);
    assert_int_equal(reply->verdict->retry_after_ms, 121000);
    task_cancel(w.task, status_of(REASON_CALL_CANCELLED, NULL));
    UNTIL(depth(&b) == 0 && turn == 1);
    stop(&b);
}

task_test_real(nobody_waits_longer_than_it_said)
{
    struct bench b;
    prepare(&b);
    start(&b);
    fill_suite(&b);
    Limiter__AcquireRequest *request = acquire_of(&b, 10, "sonnet-4.6@us-east-2", "");
    request->max_wait_ms = 50;
    const Limiter__AcquireResponse *reply = call(&b, "Acquire", request);
    assert_false(granted(reply->verdict));
    assert_int_equal(reply->verdict->reasons[0], LIMITER__REASON__REASON_WOULD_MISS_DEADLINE);
    assert_int_equal(depth(&b), 0);
    stop(&b);
}

/* A tenant with three times the weight gets three times as much, however many wait. */
task_test_real(tenants_share_by_weight)
{
    struct bench b;
    static struct waiter w[40];
    unsigned turn = 0;
    prepare(&b);
    write_policy(&b, "tenants:\n  big: {weight: 3}\n  small: {weight: 1}\n");
    b.config.suite_concurrency = 1;
    b.config.suite_requests = 0;
    b.config.suite_tokens = 0;
    start(&b);
    assert_true(granted(acquire(&b, 1, "sonnet-4.6@us-east-2", "")));
    for (uint32_t i = 0; i < 40; i++) {
        begin(&b, &w[i], 100 + i, i < 20 ? "small" : "big", LIMITER__PRIORITY__PRIORITY_NORMAL,
              &turn);
        UNTIL(depth(&b) == i + 1);
    }
    end_one(&b, 1);
    unsigned big = 0;
    for (uint32_t served = 1; served <= 20; served++) {
        UNTIL(turn == served);
        for (uint32_t i = 0; i < 40; i++) {
            if (w[i].answered == served) {
                big += i >= 20;
                end_one(&b, 100 + i);
            }
        }
    }
    assert_int_equal(big, 15);
    for (uint32_t i = 0; i < 40; i++) {
        if (w[i].task != NULL) {
            task_cancel(w[i].task, status_of(REASON_CALL_CANCELLED, NULL));
        }
    }
    UNTIL(turn == 40 && depth(&b) == 0);
    stop(&b);
}

/* --- streams -----------------------------------------------------------------------------------
 */

static struct rpc_stream *open_acquire(struct bench *b, uint32_t id)
{
    Limiter__AcquireStreamRequest request = LIMITER__ACQUIRE_STREAM_REQUEST__INIT;
    struct rpc_stream *stream;
    request.acquire = acquire_of(b, id, "sonnet-4.6@us-east-2", "");
    request.acquire->max_wait_ms = 600000;
    assert_status_ok(rpc_open(b->channel, LIMITER, "AcquireStream", &request, &stream));
    return stream;
}

static const Limiter__AcquireStreamResponse *next(struct bench *b, struct rpc_stream *stream)
{
    void *message;
    assert_status_ok(rpc_stream_recv(stream, b->arena, &message));
    return message;
}

static void accept(struct bench *b, uint32_t id, uint64_t fence)
{
    Limiter__Lease lease = LIMITER__LEASE__INIT, *leases[] = {&lease};
    Limiter__RenewRequest request = LIMITER__RENEW_REQUEST__INIT;
    lease.id = id_of(b, id);
    lease.fence = fence;
    lease.model = (char *)"sonnet-4.6@us-east-2";
    request.session = id_of(b, 900);
    request.leases = leases;
    request.n_leases = 1;
    const Limiter__RenewResponse *reply = call(b, "Renew", &request);
    assert_int_equal(reply->n_lost_ids, 0);
}

task_test_real(a_stream_tells_where_it_is_and_how_it_ends)
{
    struct bench b;
    prepare(&b);
    b.config.suite_concurrency = 0;
    b.config.suite_requests = 2;
    start(&b);
    assert_true(granted(acquire(&b, 1, "sonnet-4.6@us-east-2", "")));
    now_ms += 30000; /* the pacer's distance is 30 s */
    assert_true(granted(acquire(&b, 2, "sonnet-4.6@us-east-2", "")));
    struct rpc_stream *first = open_acquire(&b, 10);
    const Limiter__AcquireStreamResponse *r = next(&b, first);
    assert_int_equal(r->event_case, LIMITER__ACQUIRE_STREAM_RESPONSE__EVENT_QUEUED);
    assert_string_equal(r->queued->pool, "suite");
    assert_int_equal(r->queued->position, 1);
    assert_int_equal(r->queued->eta_ms, 30500);
    assert_true(r->queued->exact);
    struct rpc_stream *second = open_acquire(&b, 11);
    r = next(&b, second);
    assert_int_equal(r->queued->position, 2);
    assert_int_equal(r->queued->eta_ms, 60500);

    now_ms += 30500;
    acquire(&b, 20, "sonnet-4.6@us-east-2", ""); /* whoever comes finds that it is time */
    r = next(&b, first);
    assert_int_equal(r->event_case, LIMITER__ACQUIRE_STREAM_RESPONSE__EVENT_VERDICT);
    assert_true(granted(r->verdict));
    accept(&b, 10, r->verdict->fence);
    r = next(&b, second);
    assert_int_equal(r->queued->position, 1);
    rpc_stream_close(&second);
    UNTIL(depth(&b) == 0);
    rpc_stream_close(&first);
    stop(&b);
}

task_test_real(a_grant_that_is_not_accepted_is_taken_back)
{
    struct bench b;
    prepare(&b);
    b.config.grant_accept = 1000;
    start(&b);
    struct rpc_stream *accepted = open_acquire(&b, 1), *silent = open_acquire(&b, 2);
    const Limiter__Verdict *v = next(&b, accepted)->verdict;
    assert_true(granted(v) && granted(next(&b, silent)->verdict));
    accept(&b, 1, v->fence);
    assert_int_equal(engine_leases_live(b.limiter->suite, now_ms), 2);
    const char *const labels[] = {"silent"};
    UNTIL(metric_value(b.limiter->metrics.grants_taken_back_total, labels) == 1);
    UNTIL(b.limiter->grants == 0);
    assert_int_equal(engine_leases_live(b.limiter->suite, now_ms), 1);
    rpc_stream_close(&accepted);
    rpc_stream_close(&silent);
    stop(&b);
}

task_test_real(changes_of_resources_are_told)
{
    struct bench b;
    prepare(&b);
    start(&b);
    Limiter__WatchResourcesRequest request = LIMITER__WATCH_RESOURCES_REQUEST__INIT;
    char *names[] = {(char *)"sonnet-4.6@us-east-2", (char *)"suite"};
    request.resources = names;
    request.n_resources = ARRAY_LEN(names);
    struct rpc_stream *stream;
    assert_status_ok(rpc_open(b.channel, LIMITER, "WatchResources", &request, &stream));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const Limiter__WatchResourcesResponse *r = (const void *)next(&b, stream);
        assert_int_equal(r->resource->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    }
    assert_null(((const Limiter__WatchResourcesResponse *)next(&b, stream))->resource);
    /* A grant changes no state; a throttle does, and so does the end of the cooldown. */
    assert_true(granted(acquire(&b, 1, "sonnet-4.6@us-east-2", "")));
    complete(&b, 1, "sonnet-4.6@us-east-2", 0, LIMITER__OUTCOME__OUTCOME_THROTTLED);
    const Limiter__WatchResourcesResponse *r = (const void *)next(&b, stream);
    assert_string_equal(r->resource->name, "sonnet-4.6@us-east-2");
    assert_int_equal(r->resource->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_COOLDOWN);
    assert_true(r->resource->state_ms > 0);
    now_ms += r->resource->state_ms;
    acquire(&b, 2, "sonnet-4.6@us-east-2", "");
    r = (const void *)next(&b, stream);
    assert_int_equal(r->resource->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    rpc_stream_close(&stream);
    stop(&b);
}

static const struct CMUnitTest tests[] = {
    ON_BOTH_HOMES(a_call_waits_until_somebody_ends),
    ON_BOTH_HOMES(a_turn_comes_with_time),
    ON_BOTH_HOMES(whoever_leaves_is_not_waited_for),
    ON_BOTH_HOMES(a_cancelled_id_waits_no_longer),
    ON_BOTH_HOMES(who_would_come_too_late_is_told_at_once),
    ON_BOTH_HOMES(nobody_waits_longer_than_it_said),
    ON_BOTH_HOMES(tenants_share_by_weight),
    ON_BOTH_HOMES(a_stream_tells_where_it_is_and_how_it_ends),
    ON_BOTH_HOMES(a_grant_that_is_not_accepted_is_taken_back),
    ON_BOTH_HOMES(changes_of_resources_are_told),
};

HARNESS_MAIN(tests)
