/* Limiters whose Redis fails them: away, slow, silent, emptied, of an earlier time. */
#include "limiter/renew.h"
#include "limiter/reply.h"
#include "limiters_bench.h"

static const Limiter__Resource *peek(struct limiters *g, size_t i)
{
    struct limiter *limiter = g->limiters[i];
    assert_status_ok(home_look(limiter));
    return reply_resource(g->arena, limiter, limiter->suite, home_now_ms(limiter));
}

static bool closed(struct limiters *g, size_t i, uint32_t id)
{
    const Limiter__Verdict *v = limiters_acquire(g, i, id);
    return !granted(v) && v->judged[0]->reasons[0] == LIMITER__REASON__REASON_STATE_LOST;
}

static double lost_replies(const struct limiters *g, const char *step)
{
    return metric_value(g->limiters[0]->metrics.store_lost_replies_total,
                        (const char *const[]){step});
}

/* Windows of a second and a half, so that a closure ends in the test. */
static void prepare(struct limiters *g)
{
    limiters_prepare(g);
    g->config.time_scale = 20;
    g->config.lease_ttl = 60000;
}

static void await_opening(struct limiters *g, size_t i)
{
    uint64_t until_ms = loop_now_ms(task_loop()) + 60000;
    while (closed(g, i, 7777) && loop_now_ms(task_loop()) < until_ms) {
        assert_status_ok(task_sleep_ms(50));
    }
}

task_test_real(a_script_that_is_forgotten_is_sent_again)
{
    struct limiters g;
    prepare(&g);
    limiters_start(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    limiters_command(&g, "SCRIPT", "FLUSH", NULL);
    assert_true(granted(limiters_acquire(&g, 0, 2)));
    assert_true(limiters_losses(&g) == 0);
    limiters_stop(&g);
}

task_test_real(an_emptied_store_closes_everything_for_a_time)
{
    struct limiters g;
    prepare(&g);
    limiters_start(&g, 2);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    assert_true(granted(limiters_acquire(&g, 1, 2)));
    uint64_t epoch = peek(&g, 0)->epoch;
    limiters_command(&g, "FLUSHALL", NULL, NULL);
    assert_true(closed(&g, 0, 3));
    assert_true(closed(&g, 1, 4));
    assert_true(limiters_losses(&g) >= 1);
    assert_true(peek(&g, 0)->epoch != epoch);
    assert_int_equal(peek(&g, 0)->epoch, peek(&g, 1)->epoch);
    await_opening(&g, 0);
    assert_true(granted(limiters_acquire(&g, 0, 5)));
    assert_true(granted(limiters_acquire(&g, 1, 6)));
    assert_true(limiters_losses(&g) == 1); /* one found it, the other followed */
    limiters_stop(&g);
}

/* All keys as they are, or as they were. */
static size_t save(struct limiters *g, struct span *keys, struct span *values, size_t most)
{
    const struct redis_reply *all = limiters_command(g, "KEYS", "*", NULL);
    assert_true(all->n_elements <= most);
    for (size_t i = 0; i < all->n_elements; i++) {
        keys[i] = all->elements[i].text;
        values[i] = redis_bench_ask(&g->redis, REDIS_ARGS(SPAN("GET"), keys[i]), g->arena)->text;
    }
    return all->n_elements;
}

static void restore(struct limiters *g, const struct span *keys, const struct span *values,
                    size_t n)
{
    limiters_command(g, "FLUSHALL", NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        redis_bench_ask(&g->redis, REDIS_ARGS(SPAN("SET"), keys[i], values[i]), g->arena);
    }
}

/* A limiter with a grant, and its store as it is then. */
static size_t start_and_save(struct limiters *g, struct span *keys, struct span *values,
                             size_t most)
{
    prepare(g);
    limiters_start(g, 1);
    assert_true(granted(limiters_acquire(g, 0, 1)));
    return save(g, keys, values, most);
}

task_test_real(a_store_of_an_earlier_time_is_noticed_by_who_wrote_last)
{
    struct limiters g;
    struct span keys[16], values[16];
    prepare(&g);
    limiters_start(&g, 2);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    assert_true(granted(limiters_acquire(&g, 1, 2)));
    size_t n = save(&g, keys, values, ARRAY_LEN(keys));
    assert_true(granted(limiters_acquire(&g, 0, 3)));
    restore(&g, keys, values, n);
    /* The other one wrote nothing since: it cannot know, until the first has looked. */
    assert_true(closed(&g, 0, 4));
    assert_true(closed(&g, 1, 5));
    assert_true(limiters_losses(&g) == 1);
    await_opening(&g, 1);
    assert_true(granted(limiters_acquire(&g, 1, 6)));
    limiters_stop(&g);
}

task_test_real(an_idle_limiter_notices_within_a_second)
{
    struct limiters g;
    struct span keys[16], values[16];
    size_t n = start_and_save(&g, keys, values, ARRAY_LEN(keys));
    assert_true(granted(limiters_acquire(&g, 0, 2)));
    restore(&g, keys, values, n);
    uint64_t until_ms = loop_now_ms(task_loop()) + 30000;
    while (limiters_losses(&g) == 0 && loop_now_ms(task_loop()) < until_ms) {
        assert_status_ok(task_sleep_ms(50));
    }
    assert_true(limiters_losses(&g) == 1);
    limiters_stop(&g);
}

task_test_real(a_model_that_vanished_is_noticed)
{
    struct limiters g;
    prepare(&g);
    limiters_start(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    limiters_command(&g, "DEL", "{lim:main}:s:" MODEL, NULL);
    assert_true(closed(&g, 0, 2));
    assert_true(limiters_losses(&g) == 1);
    limiters_stop(&g);
}

/* Of a grant, at the first limiter. */
static bool renewed(struct limiters *g, uint32_t id, const Limiter__Verdict *v)
{
    struct renewing renewing;
    Limiter__RenewRequest request = LIMITER__RENEW_REQUEST__INIT;
    Limiter__Lease lease = LIMITER__LEASE__INIT, *leases[] = {&lease};
    Limiter__Holding holdings[2], *held[2];
    for (size_t i = 0; i < 2; i++) {
        limiter__holding__init(&holdings[i]);
        holdings[i].resource = i == 0 ? MODEL : "suite";
        holdings[i].epoch = v->judged[i]->epoch;
        holdings[i].seq = v->judged[i]->seq;
        held[i] = &holdings[i];
    }
    lease.id = limiters_id(id, g->arena);
    lease.model = MODEL;
    lease.tenant = "default";
    lease.fence = v->fence;
    lease.holdings = held;
    lease.n_holdings = 2;
    request.session = limiters_id(900, g->arena);
    request.leases = leases;
    request.n_leases = 1;
    assert_status_ok(renew_take(g->limiters[0], &request, g->arena, &renewing));
    home_decide_all(g->limiters[0], renewing.asks, renewing.n_asks);
    assert_status_ok(renew_status(&renewing));
    return renewing.reply->n_lost_ids == 0;
}

/* A renewal with a grant that nobody has heard of: neither of the limiters that wrote is alive. */
task_test_real(a_renewal_tells_of_grants_that_are_forgotten)
{
    struct limiters g;
    struct span keys[16], values[16];
    size_t n = start_and_save(&g, keys, values, ARRAY_LEN(keys));
    const Limiter__Verdict *v = limiters_acquire(&g, 0, 2);
    assert_true(granted(v));
    limiters_halt(&g);
    redis_bench_connect(&g.redis);
    restore(&g, keys, values, n);
    redis_free(g.redis.client);
    limiters_begin(&g, 1);
    for (unsigned twice = 0; twice < 2; twice++) {
        assert_true(renewed(&g, 2, v));
        assert_true(limiters_losses(&g) == 1);
    }
    assert_true(closed(&g, 0, 3));
    limiters_stop(&g);
}

/* --- away, slow, silent ------------------------------------------------------------------------
 */

task_test_real(a_server_that_comes_back_with_its_data_goes_on)
{
    struct limiters g;
    prepare(&g);
    limiters_keep_on_disk(&g);
    limiters_start(&g, 1);
    const Limiter__Verdict *v = limiters_acquire(&g, 0, 1);
    uint64_t epoch = peek(&g, 0)->epoch;
    redis_server_kill(&g.redis.server);
    struct ask *ask = limiters_ask(g.limiters[0], 2, g.arena);
    assert_status(home_decide(g.limiters[0], ask), REASON_STORE_FAILED);
    assert_int_equal(ask->status.code, STATUS_UNAVAILABLE);
    redis_server_start(&g.redis.server);
    const Limiter__Verdict *again = limiters_acquire(&g, 0, 1);
    assert_true(granted(again) && again->replayed);
    assert_int_equal(again->fence, v->fence);
    assert_true(granted(limiters_acquire(&g, 0, 2)));
    assert_int_equal(peek(&g, 0)->epoch, epoch);
    assert_true(limiters_losses(&g) == 0);
    limiters_stop(&g);
}

task_test_real(a_server_that_comes_back_without_data_closes_everything)
{
    struct limiters g;
    prepare(&g);
    limiters_start(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    redis_server_kill(&g.redis.server);
    redis_server_start(&g.redis.server);
    assert_true(closed(&g, 0, 2));
    assert_true(limiters_losses(&g) == 1);
    await_opening(&g, 0);
    assert_true(granted(limiters_acquire(&g, 0, 3)));
    limiters_stop(&g);
}

task_test_real(a_server_that_is_paused_grants_each_id_once)
{
    struct limiters g;
    prepare(&g);
    g.config.suite_requests = g.config.suite_tokens = 0;
    g.config.lease_ttl = 600000;
    limiters_start(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    limiters_command(&g, "CLIENT", "PAUSE", "600");
    assert_true(granted(limiters_acquire(&g, 0, 2)));
    assert_int_equal(peek(&g, 0)->live_leases, 2);
    assert_true(
        lost_replies(&g, "kept") + lost_replies(&g, "not_kept") + lost_replies(&g, "unknown") >= 1);
    assert_true(limiters_losses(&g) == 0);
    limiters_stop(&g);
}

/* The script does its work and then says nothing for longer than anybody waits. */
static void be_silent_once(struct limiters *g)
{
    const char *text =
        arena_printf(g->arena,
                     "local function silent() if redis.call('DEL', 'silent') == 1 then "
                     "local e = redis.call('TIME')[1] + 1 repeat until redis.call('TIME')[1] + 0 > "
                     "e end end\n%s",
                     arena_string(g->arena, span_of(limiter_txn_lua, limiter_txn_lua_len)));
    struct span whole = span_str(text), last = SPAN("return {1, ms}");
    size_t at = span_find(whole, last);
    assert_true(at != SPAN_MISSING);
    text = arena_printf(g->arena, "%.*ssilent()\nreturn {1, ms}\n", (int)at, whole.at);
    redis_script_init(&g->limiters[0]->redis->txn, span_str(text));
    limiters_command(g, "SET", "silent", "1");
}

task_test_real(a_reply_that_is_lost_is_found_in_the_suite)
{
    struct limiters g;
    prepare(&g);
    g.config.suite_requests = g.config.suite_tokens = 0;
    g.config.lease_ttl = 600000;
    limiters_start(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    be_silent_once(&g);
    struct ask *ask = limiters_ask(g.limiters[0], 2, g.arena);
    struct status s = home_decide(g.limiters[0], ask);
    assert_true(lost_replies(&g, "kept") + lost_replies(&g, "unknown") == 1);
    if (status_ok(s)) { /* the server spoke again soon enough */
        assert_true(limiters_granted(ask) && !limiters_verdict(ask)->replayed);
    }
    const Limiter__Verdict *v = limiters_acquire(&g, 0, 2);
    assert_true(granted(v) && v->replayed);
    assert_int_equal(peek(&g, 0)->live_leases, 2);
    assert_true(limiters_losses(&g) == 0);
    limiters_stop(&g);
}

/* --- on_store_loss open ------------------------------------------------------------------------
 */

#define ALONE 100

static double alone(const struct limiters *g)
{
    return metric_value(g->limiters[0]->metrics.alone, (const char *const[]){NULL});
}

/* How many of many are admitted, and that the rest is told why. */
static size_t admitted(struct limiters *g, size_t i)
{
    size_t n = 0;
    for (uint32_t id = 0; id < 12; id++) {
        struct ask *ask = limiters_ask(g->limiters[i], ALONE * (uint32_t)(i + 1) + id, g->arena);
        assert_status_ok(home_decide(g->limiters[i], ask));
        n += limiters_granted(ask);
        if (!limiters_granted(ask)) {
            const Limiter__Verdict *v = limiters_verdict(ask);
            assert_int_equal(v->judged[v->n_judged - 1]->reasons[0],
                             LIMITER__REASON__REASON_REQUESTS);
        }
    }
    return n;
}

static void await_store(struct limiters *g) PARKS
{
    uint64_t until_ms = loop_now_ms(task_loop()) + 60000;
    while (!status_ok(home_look(g->limiters[0])) && loop_now_ms(task_loop()) < until_ms) {
        assert_status_ok(task_sleep_ms(50));
    }
}

/* Each with the full numbers; what they granted is believed by the store when it is back. */
task_test_real(limiters_that_may_decide_alone_while_the_store_is_away)
{
    struct limiters g;
    prepare(&g);
    g.config.time_scale = 1;
    g.config.on_store_loss = "open";
    g.config.suite_requests = 5;
    g.config.suite_concurrency = 60;
    limiters_keep_on_disk(&g);
    limiters_start(&g, 2);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    uint64_t epoch = peek(&g, 0)->epoch;
    redis_server_kill(&g.redis.server);
    assert_int_equal(admitted(&g, 0), 5);
    assert_int_equal(admitted(&g, 1), 5);
    assert_true(alone(&g) == 1);
    const Limiter__Verdict *v = limiters_acquire(&g, 0, ALONE);
    assert_true(granted(v) && v->replayed);
    assert_true(renewed(&g, ALONE, v));
    /* What the store has granted is settled there; what was granted here, here. */
    assert_status(home_decide(g.limiters[0], limiters_report(g.limiters[0], 1, g.arena)),
                  REASON_STORE_FAILED);
    assert_int_equal(limiters_complete(&g, 0, ALONE + 1),
                     LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);

    redis_server_start(&g.redis.server);
    await_store(&g);
    assert_true(alone(&g) == 0);
    assert_int_equal(peek(&g, 0)->epoch, epoch);
    assert_true(limiters_losses(&g) == 0);
    assert_int_equal(peek(&g, 0)->live_leases, 1);
    assert_true(renewed(&g, ALONE, v));
    assert_int_equal(peek(&g, 0)->live_leases, 2);
    assert_int_equal(limiters_complete(&g, 0, ALONE),
                     LIMITER__REPORT_RESULT__REPORT_RESULT_UNKNOWN_ID);
    assert_int_equal(limiters_complete(&g, 0, 1), LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(peek(&g, 0)->live_leases, 0);
    assert_true(granted(limiters_acquire(&g, 0, 2)));
    limiters_stop(&g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_script_that_is_forgotten_is_sent_again),
    cmocka_unit_test(an_emptied_store_closes_everything_for_a_time),
    cmocka_unit_test(a_store_of_an_earlier_time_is_noticed_by_who_wrote_last),
    cmocka_unit_test(an_idle_limiter_notices_within_a_second),
    cmocka_unit_test(a_model_that_vanished_is_noticed),
    cmocka_unit_test(a_renewal_tells_of_grants_that_are_forgotten),
    cmocka_unit_test(a_server_that_comes_back_with_its_data_goes_on),
    cmocka_unit_test(a_server_that_comes_back_without_data_closes_everything),
    cmocka_unit_test(a_server_that_is_paused_grants_each_id_once),
    cmocka_unit_test(a_reply_that_is_lost_is_found_in_the_suite),
    cmocka_unit_test(limiters_that_may_decide_alone_while_the_store_is_away),
};

HARNESS_MAIN(tests)
