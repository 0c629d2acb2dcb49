/* The limiter's engine: who goes first among tenants, and among limiters. */
#include "limiter_yard.h"

/* --- fairness ----------------------------------------------------------------------------------
 */

/* Two tenants, demand ten to one in favour of the first; the share of the second in per mille, and
 * the longest that one of its calls waited. */
struct share {
    uint32_t second;
    uint64_t longest_ms;
};

static struct share shares(uint32_t limiters, uint32_t weight_first, uint32_t weight_second)
{
    struct yard *y = yard_new(limiters > 1);
    only_concurrency(y, 1);
    y->b->rules.record_done_ms = HOUR;
    struct call *running = ask(y, (struct want){.tenant = 7});
    struct share share = {0};
    uint32_t served = 0;
    while (y->n + 12 < WAITERS_MOST) {
        for (uint32_t i = 0; i < 11; i++) { /* more than is served: both are always there */
            ask(y, (struct want){.limiter = i % limiters,
                                 .tenant = i == 10 ? 2 : 1,
                                 .weight = i == 10 ? weight_second : weight_first,
                                 .priority = 1,
                                 .wait_ms = HOUR});
        }
        for (uint32_t i = 0; i < 2; i++) {
            y->b->now_ms += 5;
            uint32_t turns = y->turns;
            end(y, running->id % limiters, running);
            for (uint32_t l = 0; l < limiters && y->turns == turns; l++) {
                tick(y, l);
            }
            assert_int_equal(y->turns, turns + 1);
            running = NULL;
            for (uint32_t c = 0; running == NULL; c++) {
                running = y->calls[c].turn == y->turns ? &y->calls[c] : NULL;
            }
            served++;
            if (running->acquire.tenant == 2) {
                uint64_t waited_ms = y->b->now_ms - running->asked_ms;
                share.longest_ms = waited_ms > share.longest_ms ? waited_ms : share.longest_ms;
                share.second++;
            }
        }
    }
    share.second = share.second * 1000 / served;
    return share;
}

static void test_tenants_share_by_weight_at_ten_to_one(void **state)
{
    (void)state;
    struct {
        uint32_t limiters, first, second, share;
    } rows[] = {{1, 1, 1, 500}, {1, 3, 1, 250}, {1, 2, 1, 333}, {3, 1, 1, 500}, {3, 3, 1, 250}};
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct share share = shares(rows[i].limiters, rows[i].first, rows[i].second);
        print_message("# %u limiters, weights %u:%u, demand 10:1: %u of 1000 to the second\n",
                      rows[i].limiters, rows[i].first, rows[i].second, share.second);
        assert_in_range(share.second, rows[i].share * 95 / 100, rows[i].share * 105 / 100);
    }
}

/* L1: under a flood of urgent calls of others, each waits no longer than aging and one round. */
static void test_nobody_starves(void **state)
{
    (void)state;
    struct yard *y = yard_new(false);
    only_concurrency(y, 1);
    struct call *running = ask(y, (struct want){.tenant = 1});
    struct call *low = ask(y, (struct want){.tenant = 2, .priority = 3, .wait_ms = HOUR});
    uint64_t start_ms = y->b->now_ms;
    while (waits(low)) {
        assert_true(y->b->now_ms < start_ms + 91000);
        ask(y, (struct want){.tenant = 1, .wait_ms = HOUR});
        y->b->now_ms += 100;
        end(y, 0, running);
        for (uint32_t c = 0; c < y->n; c++) {
            running = y->calls[c].turn == y->turns ? &y->calls[c] : running;
        }
    }
    assert_in_range(low->ended_ms - start_ms, 90000, 90200);
}

/* --- several limiters --------------------------------------------------------------------------
 */

static void test_three_limiters_keep_one_order(void **state)
{
    (void)state;
    struct yard *y = yard_new(true);
    only_concurrency(y, 1);
    y->b->rules.lease_ms = HOUR;
    struct call *running = ask(y, (struct want){0});
    struct call *calls[6];
    for (uint32_t i = 0; i < 6; i++) {
        y->b->now_ms += 10;
        calls[i] = ask(y, (struct want){.limiter = 2 - i % 3, .wait_ms = HOUR});
    }
    assert_int_equal(y->b->suite.n_heads, 3);
    /* Who has nobody waiting may not pass either. */
    assert_false(ask(y, (struct want){0})->verdict.granted);
    for (uint32_t i = 0; i < 6; i++) {
        end(y, 0, running);
        if (waits(calls[i])) { /* of another limiter: it is told */
            assert_int_equal(y->n_wakes, 1);
            assert_ptr_equal(y->wakes[0].pool, &y->b->suite);
            assert_int_equal(y->wakes[0].limiter, 3 - i % 3);
            tick(y, 2 - i % 3);
        }
        assert_int_equal(calls[i]->turn, i + 2);
        running = calls[i];
    }
    assert_int_equal(y->b->suite.n_heads, 0);
}

static void test_the_head_of_a_dead_limiter_runs_out(void **state)
{
    (void)state;
    struct yard *y = yard_new(true);
    only_concurrency(y, 1);
    struct call *running = ask(y, (struct want){0});
    struct call *lost = ask(y, (struct want){.limiter = 1, .wait_ms = HOUR});
    y->b->now_ms += 10;
    struct call *ours = ask(y, (struct want){.wait_ms = HOUR});
    assert_true(y->queues[0].wake_ms <= y->b->now_ms + 1000);
    end(y, 0, running);
    assert_true(waits(lost) && waits(ours));
    for (uint32_t i = 0; i < 2; i++) {
        y->b->now_ms += 1000;
        tick(y, 0);
    }
    assert_true(ours->turn == 2 && waits(lost));
}

static void test_a_head_is_refreshed_and_goes_with_its_waiter(void **state)
{
    (void)state;
    struct yard *y = yard_new(true);
    only_concurrency(y, 1);
    y->b->rules.lease_ms = HOUR;
    ask(y, (struct want){0});
    struct call *call = ask(y, (struct want){.wait_ms = HOUR});
    uint64_t seq = y->b->suite.header.seq;
    y->b->now_ms += 500;
    tick(y, 0);
    assert_int_equal(y->b->suite.header.seq, seq); /* young: nothing is written */
    y->b->now_ms += 500;
    tick(y, 0);
    assert_int_equal(y->b->suite.header.seq, seq + 1);
    assert_int_equal(y->b->suite.heads[0].expires_ms, y->b->now_ms + 2000);
    step(y, 0, &(struct engine_event){.leave = &call->waiter}, 1);
    assert_int_equal(y->b->suite.n_heads, 0);
    assert_int_equal(y->queues[0].n, 0);
}

/* --- at random ---------------------------------------------------------------------------------
 */

/* I9: those of one tenant and class go in the order they came. Between limiters it may slip, until
 * one has seen that its foremost is another because of what the others granted. */
static void test_order_under_random_events(void **state)
{
    (void)state;
    uint32_t seed = 20260101, granted = 0, pairs = 0, slips = 0;
    for (uint32_t round = 0; round < 40; round++) {
        uint32_t limiters = 1 + round % 3;
        struct yard *y = yard_new(limiters > 1);
        y->b->suite.limits.concurrency = 3;
        y->b->suite.limits.requests = 20;
        y->b->suite.limits.window_ms = 5000;
        y->b->rules.aging_ms = 0; /* classes stay as they are */
        while (y->n + 1 < 400) {
            pass(y, limiters, harness_random(&seed) % 200);
            uint32_t limiter = harness_random(&seed) % limiters;
            struct call *any = &y->calls[y->n > 0 ? harness_random(&seed) % y->n : 0];
            switch (harness_random(&seed) % 4) {
            case 0:
            case 1:
                ask(y, (struct want){.limiter = limiter,
                                     .tenant = harness_random(&seed) % 3,
                                     .priority = harness_random(&seed) % 3,
                                     .charge = 1 + harness_random(&seed) % 5000,
                                     .wait_ms = HOUR});
                break;
            case 2:
                if (y->n > 0 && any->turn > 0) {
                    end(y, limiter, any);
                }
                break;
            default:
                tick(y, limiter);
            }
        }
        for (uint32_t i = 0; i < y->n; i++) {
            granted += y->calls[i].turn > 0;
            for (uint32_t j = i + 1; j < y->n; j++) {
                const struct call *a = &y->calls[i], *b = &y->calls[j];
                bool same = a->acquire.tenant == b->acquire.tenant &&
                            a->acquire.priority == b->acquire.priority;
                if (same && b->turn > 0 && a->asked_ms < b->asked_ms) {
                    bool kept = a->turn > 0 && a->turn < b->turn;
                    assert_true(kept || a->limiter != b->limiter);
                    pairs++;
                    slips += !kept;
                }
            }
        }
    }
    print_message("# %u granted, %u pairs, %u out of order between limiters\n", granted, pairs,
                  slips);
    assert_true(granted > 500 && slips * 500 < pairs);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_tenants_share_by_weight_at_ten_to_one),
    cmocka_unit_test(test_nobody_starves),
    cmocka_unit_test(test_three_limiters_keep_one_order),
    cmocka_unit_test(test_the_head_of_a_dead_limiter_runs_out),
    cmocka_unit_test(test_a_head_is_refreshed_and_goes_with_its_waiter),
    cmocka_unit_test(test_order_under_random_events),
};

HARNESS_MAIN(tests)
