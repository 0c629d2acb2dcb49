/* A model that is in trouble: its next region or the next tier answers, says so, and the trouble is
 * remembered. */
#include "generation.h"

#define TIER_1 "us.anthropic.claude-sonnet-4-6"
#define TIER_2 "us.anthropic.claude-sonnet-5"

#define EAST "us-east-2"
#define WEST "us-west-2"

#define SCALE       20
#define COOLDOWN_MS (60000.0 / SCALE)

/* What generation_run was told, in one line. */
static void run(struct suite *suite, struct generation *g) PARKS
{
    *g = (struct generation){.suite = suite};
    generation_run(g);
}

static void assert_attempt(const struct generation *g, size_t index, const char *model,
                           const char *region, const char *reason, uint32_t http_status)
{
    const Router__Attempt *attempt = g->metadata->attempts[index];
    assert_int_equal(attempt->number, index + 1);
    assert_string_equal(attempt->model, model);
    assert_string_equal(attempt->region, region);
    assert_string_equal(attempt->reason, reason);
    assert_int_equal(attempt->http_status, http_status);
}

/* The model failed like this in both of its regions. */
static void assert_tier_failed(const struct generation *g, size_t index, const char *model,
                               const char *reason, uint32_t http_status)
{
    assert_attempt(g, index, model, EAST, reason, http_status);
    assert_attempt(g, index + 1, model, WEST, reason, http_status);
}

static void assert_skipped(const Router__SkippedModel *skipped, const char *region,
                           const char *reason)
{
    assert_string_equal(skipped->model, "models/sonnet-4.6");
    assert_string_equal(skipped->region, region);
    assert_int_equal(skipped->tier, 1);
    assert_int_equal(skipped->n_reasons, 1);
    assert_string_equal(skipped->reasons[0], reason);
}

static size_t calls_of(struct suite *suite, const char *model) PARKS
{
    return judge_of_model(suite_arrivals(suite), model, suite->arena).n;
}

static void await_open(struct suite *suite, const char *model) PARKS
{
    uint64_t until = loop_now_ms(task_loop()) + SUITE_WAIT_MS;
    while (suite_peek(suite, model)->state != LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN) {
        assert_true(loop_now_ms(task_loop()) < until);
        assert_status_ok(task_sleep_ms(20));
    }
}

/* --- refused at once ----------------------------------------------------------------------------
 */

task_test_real(a_throttled_tier_is_left_until_its_cooldown_is_over)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    struct generation first, second, third;
    suite_set_faults(suite, "rules:\n"
                            "  - {model: " TIER_1 ", count: 2, action: status, code: 429}\n");
    run(suite, &first);
    assert_generated(&first, 2, 3);
    assert_tier_failed(&first, 0, "models/sonnet-4.6", "TIER_THROTTLED", 429);
    assert_attempt(&first, 2, "models/sonnet-5", EAST, "", 200);
    assert_int_equal(first.restarted, 0); /* nothing had been said that could be void */

    run(suite, &second);
    assert_generated(&second, 2, 1);
    assert_int_equal(second.metadata->n_skipped, 2);
    assert_skipped(second.metadata->skipped[0], EAST, "COOLDOWN");
    assert_skipped(second.metadata->skipped[1], WEST, "COOLDOWN");
    assert_int_equal(second.last_admitted->n_skipped, 2);
    assert_int_equal(calls_of(suite, TIER_1), 2);

    await_open(suite, "sonnet-4.6@" EAST);
    run(suite, &third);
    assert_generated(&third, 1, 1);
    assert_int_equal(third.metadata->n_skipped, 0);

    struct judge_log tier_1 = judge_of_model(suite_arrivals(suite), TIER_1, suite->arena);
    assert_int_equal(tier_1.n, 3);
    assert_span(tier_1.calls[2].region, SPAN(EAST));
    assert_true(tier_1.calls[2].begin_ms - tier_1.calls[0].end_ms >= COOLDOWN_MS);
    suite_await_idle(suite);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_attempts_total",
                             "reason=\"TIER_THROTTLED\"") == 2);
    generation_clear(&first);
    generation_clear(&second);
    generation_clear(&third);
    suite_stop(suite);
}

/* A region in trouble is left as a tier is: one call pays for it, the others go elsewhere at once,
 * and it comes back when its own rest is over. */
task_test_real(a_throttled_region_is_left_for_the_next_of_its_tier)
{
    enum {
        LATER = 5
    };
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    struct generation first, later, back;
    suite_set_faults(suite,
                     "rules:\n"
                     "  - {model: " TIER_1 ", region: " EAST ", action: status, code: 429}\n");
    run(suite, &first);
    assert_generated(&first, 1, 2);
    assert_attempt(&first, 0, "models/sonnet-4.6", EAST, "TIER_THROTTLED", 429);
    assert_attempt(&first, 1, "models/sonnet-4.6", WEST, "", 200);
    assert_string_equal(first.metadata->region, WEST);
    for (size_t i = 0; i < LATER; i++) {
        run(suite, &later);
        assert_generated(&later, 1, 1);
        assert_attempt(&later, 0, "models/sonnet-4.6", WEST, "", 200);
        assert_int_equal(later.metadata->n_skipped, 1);
        assert_skipped(later.metadata->skipped[0], EAST, "COOLDOWN");
        generation_clear(&later);
    }
    assert_int_equal(suite_arrivals(suite).n, 2 + LATER); /* 1.00 upstream calls each */

    suite_set_faults(suite, "");
    await_open(suite, "sonnet-4.6@" EAST);
    run(suite, &back);
    assert_generated(&back, 1, 1);
    assert_attempt(&back, 0, "models/sonnet-4.6", EAST, "", 200);
    suite_await_idle(suite);
    generation_clear(&first);
    generation_clear(&back);
    suite_stop(suite);
}

task_test_real(a_retired_tier_is_never_called_again)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    struct generation first, second;
    suite_set_faults(suite, "rules:\n  - {model: " TIER_1 ", action: retired}\n");
    run(suite, &first);
    assert_generated(&first, 2, 3);
    assert_tier_failed(&first, 0, "models/sonnet-4.6", "TIER_GONE", 404);
    suite_set_faults(suite, "");
    assert_int_equal(suite_peek(suite, "sonnet-4.6@" EAST)->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE);
    for (int i = 0; i < 3; i++) {
        run(suite, &second);
        assert_generated(&second, 2, 1);
        assert_skipped(second.metadata->skipped[0], EAST, "MODEL_GONE");
        assert_skipped(second.metadata->skipped[1], WEST, "MODEL_GONE");
        generation_clear(&second);
    }
    assert_int_equal(calls_of(suite, TIER_1), 2);

    Router__GetModelRequest request = ROUTER__GET_MODEL_REQUEST__INIT;
    void *reply;
    request.name = "models/sonnet-4.6";
    assert_status_ok(rpc_call(suite->router, &router__router_service__descriptor, "GetModel",
                              &request, suite->arena, &reply));
    assert_int_equal(((Router__GetModelResponse *)reply)->model->state,
                     ROUTER__MODEL__STATE__STATE_GONE);
    suite_await_idle(suite);
    generation_clear(&first);
    suite_stop(suite);
}

task_test_real(the_callers_own_error_does_not_fall_back)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    struct generation refused, good;
    suite_set_faults(suite, "rules:\n"
                            "  - {count: 1, action: status, code: 400, kind: malformed}\n");
    run(suite, &refused);
    assert_status(refused.status, REASON_UPSTREAM_REJECTED);
    assert_int_equal(refused.status.code, STATUS_INVALID_ARGUMENT);
    assert_int_equal(suite_arrivals(suite).n, 1);
    run(suite, &good);
    assert_generated(&good, 1, 1);
    suite_await_idle(suite);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_settlements_total",
                             "outcome=\"CALLER\"") == 1);
    generation_clear(&refused);
    generation_clear(&good);
    suite_stop(suite);
}

/* --- broken in mid-stream -----------------------------------------------------------------------
 */

/* Tier 1 breaks like this after some thinking was shown. */
static void breaks(const char *fault, const char *reason) PARKS
{
    struct suite *suite = suite_start(&(struct suite_options){
        .time_scale = SCALE,
        .flags[SUITE_SIMULATOR] = "--instant",
        .flags[SUITE_ROUTER] = "--stall-wait=1s",
    });
    struct generation g;
    suite_set_faults(suite,
                     arena_printf(suite->arena, "rules:\n  - {model: " TIER_1 ", %s}\n", fault));
    run(suite, &g);
    assert_generated(&g, 2, 3);
    assert_int_equal(g.restarted, 2);
    assert_int_equal(g.last_restarted->attempt, 3);
    assert_string_equal(g.last_restarted->model, "models/sonnet-4.6");
    assert_string_equal(g.last_restarted->reason, reason);
    assert_tier_failed(&g, 0, "models/sonnet-4.6", reason, 200);
    assert_attempt(&g, 2, "models/sonnet-5", EAST, "", 200);
    assert_true(g.metadata->attempts[0]->usage_partial);
    assert_int_equal(suite_arrivals(suite).n, 3);
    suite_await_idle(suite);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_restarts_total", reason) == 2);
    generation_clear(&g);
    suite_stop(suite);
}

task_test_real(an_exception_in_mid_stream_goes_on_at_the_next_tier)
{
    breaks("action: exception, type: modelStreamErrorException, after: 6", "TIER_STREAM_BROKEN");
}

task_test_real(a_throttle_in_mid_stream_goes_on_at_the_next_tier)
{
    breaks("action: exception, type: throttlingException, after: 6", "TIER_THROTTLED");
}

task_test_real(a_stall_goes_on_at_the_next_tier)
{
    breaks("action: stall, at: events, after: 6, for: 60s", "TIER_STALLED");
}

task_test_real(a_reset_goes_on_at_the_next_tier)
{
    breaks("action: reset, after: 6", "TIER_STREAM_BROKEN");
}

task_test_real(an_end_without_its_end_goes_on_at_the_next_tier)
{
    breaks("action: close, after: 6", "TIER_STREAM_BROKEN");
}

task_test_real(a_damaged_frame_goes_on_at_the_next_tier)
{
    breaks("action: bad_crc, after: 6", "TIER_STREAM_BROKEN");
}

/* --- the whole chain ----------------------------------------------------------------------------
 */

task_test_real(the_fifth_tier_answers_when_four_are_in_trouble)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    struct generation g;
    suite_set_faults(suite,
                     "rules:\n"
                     "  - {model: " TIER_1 ", action: status, code: 429}\n"
                     "  - {model: " TIER_2 ", action: status, code: 503}\n"
                     "  - {model: us.anthropic.claude-haiku-4-5-20251001-v1:0, action: retired}\n"
                     "  - {model: us.anthropic.claude-opus-4-6-v1, action: status, code: 500}\n");
    run(suite, &g);
    assert_generated(&g, 5, 9);
    assert_tier_failed(&g, 0, "models/sonnet-4.6", "TIER_THROTTLED", 429);
    assert_tier_failed(&g, 2, "models/sonnet-5", "TIER_UNAVAILABLE", 503);
    assert_tier_failed(&g, 4, "models/haiku-4.5", "TIER_GONE", 404);
    assert_tier_failed(&g, 6, "models/opus-4.6", "TIER_FAILED", 500);
    assert_attempt(&g, 8, "models/sonnet-4.5", EAST, "", 200);
    assert_true(g.metadata->n_warnings > 0); /* the fifth is a legacy model */
    suite_await_idle(suite);
    generation_clear(&g);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_throttled_tier_is_left_until_its_cooldown_is_over),
        SUITE_TEST(a_throttled_region_is_left_for_the_next_of_its_tier),
        SUITE_TEST(a_retired_tier_is_never_called_again),
        SUITE_TEST(the_callers_own_error_does_not_fall_back),
        SUITE_TEST(an_exception_in_mid_stream_goes_on_at_the_next_tier),
        SUITE_TEST(a_throttle_in_mid_stream_goes_on_at_the_next_tier),
        SUITE_TEST(a_stall_goes_on_at_the_next_tier),
        SUITE_TEST(a_reset_goes_on_at_the_next_tier),
        SUITE_TEST(an_end_without_its_end_goes_on_at_the_next_tier),
        SUITE_TEST(a_damaged_frame_goes_on_at_the_next_tier),
        SUITE_TEST(the_fifth_tier_answers_when_four_are_in_trouble),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
