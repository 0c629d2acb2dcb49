/* What a call gives back waits for a limiter that is away, but not for ever, and does not hold up
 * the end of the router. */
#include "base/clock.h"
#include "router/settlement.h"
#include "router_fixture.h"

static const char *const hello[] = {
    "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5}}}",
    "{\"type\":\"message_stop\"}",
    NULL,
};

static const struct fake_reply reply = {.events = hello};

static void start(struct router_fixture *f, size_t deaf) PARKS
{
    router_fixture_start(f);
    f->config.limiter_wait = 100;
    f->bedrock.replies = &reply;
    f->bedrock.n_replies = 1;
    f->limiter.deaf = deaf;
}

static double lost(const struct router_fixture *f)
{
    return metric_value(f->router.metrics.settlements_lost_total, METRIC_LABELS());
}

task_test_real(a_settlement_waits_for_a_limiter_that_is_away)
{
    struct router_fixture f;
    start(&f, 6); /* 6.6 s of pauses */
    assert_status_ok(router_fixture_generate(&f));
    for (uint64_t until = clock_mono_ms() + 60000; f.router.handed_over > 0;) {
        assert_true(clock_mono_ms() < until);
        assert_status_ok(task_sleep_ms(10));
    }
    assert_int_equal(f.limiter.deaf, 0);
    assert_int_equal(f.limiter.n_reports, 1);
    assert_true(lost(&f) == 0);
    router_fixture_stop(&f);
}

task_test_real(a_settlement_that_frees_nothing_any_more_is_given_up)
{
    struct router_fixture f;
    start(&f, 1000);
    f.config.settle_wait = 1000;
    assert_status_ok(router_fixture_generate(&f));
    router_fixture_until(&f.router.handed_over, 0);
    assert_true(lost(&f) == 1);
    assert_int_equal(f.limiter.n_reports, 0);
    f.limiter.n_granted = 0; /* its lease ends by itself */
    router_fixture_stop(&f);
}

task_test_real(the_end_of_the_router_waits_a_few_seconds)
{
    struct router_fixture f;
    start(&f, 1000);
    assert_status_ok(router_fixture_generate(&f));
    uint64_t begin = clock_mono_ms();
    assert_int_equal(f.router.handed_over, 1);
    settlements_end(&f.router);
    assert_int_equal(f.router.handed_over, 0);
    assert_true(clock_mono_ms() - begin < 60000); /* not the 75 s it would have been kept */
    assert_true(lost(&f) == 1);
    f.limiter.n_granted = 0;
    router_fixture_stop(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_settlement_waits_for_a_limiter_that_is_away),
    cmocka_unit_test(a_settlement_that_frees_nothing_any_more_is_given_up),
    cmocka_unit_test(the_end_of_the_router_waits_a_few_seconds),
};

HARNESS_MAIN(tests)
