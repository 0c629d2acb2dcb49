/* What a model counts, the router learns to estimate: its own, a model at a time. */
#include <math.h>
#include <string.h>

#include "router_fixture.h"

#define PROMPT_WORDS 300

/* An answer whose prompt came to so many tokens. */
static const char *const *answer(struct router_fixture *f, uint64_t input, uint64_t cached)
{
    const char *begin =
        arena_printf(f->arena,
                     "{'type':'message_start','message':{'usage':{'input_tokens':%lu,"
                     "'cache_read_input_tokens':%lu,'output_tokens':1}}}",
                     (unsigned long)input, (unsigned long)cached);
    return router_fixture_events(
        f, begin, "{'type':'content_block_start','index':0,'content_block':{'type':'text'}}",
        "{'type':'content_block_delta','index':0,'delta':{'type':'text_delta','text':'x'}}",
        "{'type':'content_block_stop','index':0}",
        "{'type':'message_delta','delta':{'stop_reason':'end_turn'},'usage':{'output_tokens':2}}",
        "{'type':'message_stop'}", NULL);
}

static void ask_much(struct router_fixture *f)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 64u << 10);
    for (size_t i = 0; i < PROMPT_WORDS; i++) {
        buf_add_str(&text, "word ");
    }
    f->generation->messages[0]->content[0]->text = arena_string(f->arena, buf_span(&text));
    f->generation->thinking_budget_tokens = 0;
}

/* How far the estimate of one call was off, in percent. */
static double off(struct router_fixture *f, size_t candidate, uint64_t input, uint64_t cached) PARKS
{
    const struct fake_reply reply = {.events = answer(f, input, cached)};
    const struct fake_verdict verdict = {.decision = FAKE_GRANT, .candidate = (uint32_t)candidate};
    f->bedrock.replies = &reply;
    f->bedrock.n_replies = 1;
    f->limiter.verdicts = &verdict;
    f->limiter.n_verdicts = 1;
    assert_status_ok(router_fixture_generate(f));
    fake_limiter_check_settled(&f->limiter);
    f->limiter.n_granted = f->limiter.n_reports = 0;
    const Router__CallMetadata *m = f->completed->metadata;
    uint64_t counted = m->usage->input_tokens + m->usage->cache_read_tokens;
    assert_int_equal(counted, input + cached);
    return 100 * fabs((double)m->estimated->input_tokens / (double)counted - 1);
}

task_test_real(an_estimate_becomes_what_the_model_counts)
{
    struct router_fixture f;
    router_fixture_start(&f);
    ask_much(&f);
    double first = off(&f, 0, 500, 100), last = 0;
    for (size_t i = 0; i < 20; i++) {
        last = off(&f, 0, 500, 100); /* cached tokens are of the prompt too */
    }
    print_message("# estimate of a model that counts twice as much: off by %.0f %% at first, "
                  "%.0f %% after twenty calls\n",
                  first, last);
    assert_true(first > 40);
    assert_true(last < 8);
    /* The other model has taught nothing yet, and says the same as before. */
    assert_true(off(&f, 1, 304, 0) < 2);
    assert_true(metric_value(f.router.metrics.estimate_error_percent, METRIC_LABELS("first")) ==
                21);
    assert_true(metric_value(f.router.metrics.estimate_error_percent, METRIC_LABELS("last")) == 1);
    router_fixture_stop(&f);
}

task_test_real(what_broke_teaches_nothing)
{
    struct router_fixture f;
    router_fixture_start(&f);
    ask_much(&f);
    const struct fake_reply replies[] = {
        {.events = router_fixture_events(
             &f, "{'type':'message_start','message':{'usage':{'input_tokens':600}}}", NULL)},
        {.status = 500, .exception = "InternalServerException", .message = "x"},
    };
    const struct fake_verdict verdicts[] = {{.decision = FAKE_GRANT}, {.decision = FAKE_GRANT}};
    f.config.max_attempts = 2;
    f.bedrock.replies = replies;
    f.bedrock.n_replies = ARRAY_LEN(replies);
    f.limiter.verdicts = verdicts;
    f.limiter.n_verdicts = ARRAY_LEN(verdicts);
    assert_status(router_fixture_generate(&f), REASON_ATTEMPTS_USED_UP);
    fake_limiter_check_settled(&f.limiter);
    f.limiter.n_granted = f.limiter.n_reports = 0;
    assert_true(metric_value(f.router.metrics.estimate_error_percent, METRIC_LABELS("first")) == 0);
    assert_true(off(&f, 0, 304, 0) < 2);
    router_fixture_stop(&f);
}

/* What cannot count is asked once, what has trouble is asked again; calls go on as estimated. */
task_test_real(a_call_goes_on_without_a_count)
{
    static const char cannot[] = "The provided model doesn't support counting tokens.";
    static const struct {
        struct fake_reply count;
        size_t requests; /* of two calls */
    } cases[] = {
        {{.status = 400, .exception = "ValidationException", .message = cannot}, 3},
        {{.status = 429, .exception = "ThrottlingException", .message = "x"}, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct router_fixture f;
        router_fixture_start(&f);
        f.config.count_tokens = true;
        const struct fake_reply hello = {.events = answer(&f, 20, 0)};
        const struct fake_reply replies[] = {
            cases[i].count, hello, cases[i].requests == 4 ? cases[i].count : hello, hello};
        f.bedrock.replies = replies;
        f.bedrock.n_replies = ARRAY_LEN(replies);
        assert_status_ok(router_fixture_generate(&f));
        assert_status_ok(router_fixture_generate(&f));
        assert_int_equal(f.bedrock.requests, cases[i].requests);
        assert_int_equal(f.completed->metadata->n_attempts, 1);
        router_fixture_stop(&f);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_estimate_becomes_what_the_model_counts),
    cmocka_unit_test(what_broke_teaches_nothing),
    cmocka_unit_test(a_call_goes_on_without_a_count),
};

HARNESS_MAIN(tests)
