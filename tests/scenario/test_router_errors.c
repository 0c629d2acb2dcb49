/* Each thing that Bedrock may say instead of an answer, through router, limiter and simulator as
 * they are: what the caller is told, what the call costs the model's books, and what the next call
 * makes of it. For callers of Generate and of GenerateOnce alike. */
#include "generation.h"
#include "small_suite.h"

#define TIER_1 "us.anthropic.claude-sonnet-4-6"
#define TIER_2 "us.anthropic.claude-sonnet-5"

#define ARENA_MOST (16u << 20)

#define MINUTE_MS 60000 /* the first cooldown of the first tier */
#define HOUR_MS   3600000

enum then {
    THEN_NEXT,     /* tier 2 answers */
    THEN_RESTART,  /* the same, and what was shown is void */
    THEN_ENDS,     /* the call ends with the reason; nobody else is asked */
    THEN_ANSWERED, /* tier 1 answers all the same */
};

enum after {
    AFTER_AGAIN, /* the next call goes to tier 1 */
    AFTER_RESTS, /* not before rests_ms are over */
    AFTER_GONE,  /* never again */
};

struct row {
    const char *fault; /* of tier 1, in the words of a fault plan */
    enum reason reason;
    enum then then;
    const char *outcome; /* as the attempt is settled */
    enum after after;
    uint64_t rests_ms;
};

#define STATUS(code, kind) "action: status, code: " code ", kind: " kind
#define SAYS(code, error, text)                                                                    \
    "action: status, code: " code ", error: " error ", message: \"" text "\""
#define INVALID(text)  SAYS("400", "ValidationException", text)
#define FRAME(type, n) "action: exception, type: " type "Exception, after: " n
#define STALL(at, n)   "action: stall, for: 60s, at: " at ", after: " n
#define WRAPPED        "The model returned the following errors: "
#define ON_DEMAND(quote)                                                                           \
    "Invocation of model ID x with on-demand throughput isn" quote "t supported. "

/* clang-format off */
static const struct row rows[] = {
    /* Quotas: of a minute, of requests, of the day; an answer that is a 400 is one too. */
    {STATUS("429", "tokens"), REASON_TIER_THROTTLED, THEN_NEXT, "THROTTLED", AFTER_RESTS, MINUTE_MS},
    {STATUS("429", "requests"), REASON_TIER_THROTTLED_REQUESTS, THEN_NEXT, "THROTTLED", AFTER_RESTS, MINUTE_MS},
    {SAYS("429", "ThrottlingException", "Too many requests, please wait before trying again. You have sent too many requests.  Wait before trying again."),
     REASON_TIER_THROTTLED_REQUESTS, THEN_NEXT, "THROTTLED", AFTER_RESTS, MINUTE_MS},
    {STATUS("429", "day"), REASON_TIER_THROTTLED_DAILY, THEN_NEXT, "THROTTLED", AFTER_RESTS, HOUR_MS},
    {STATUS("429", "tokens") ", retry_after: 2s", REASON_TIER_THROTTLED, THEN_NEXT, "THROTTLED", AFTER_RESTS, MINUTE_MS},
    {STATUS("429", "tokens") ", retry_after: 300s", REASON_TIER_THROTTLED, THEN_NEXT, "THROTTLED", AFTER_RESTS, 300000},
    {STATUS("429", "tokens") ", amz_retry_after: 90s", REASON_TIER_THROTTLED, THEN_NEXT, "THROTTLED", AFTER_RESTS, 90000},
    {SAYS("429", "SomethingNewException", "x"), REASON_TIER_THROTTLED, THEN_NEXT, "THROTTLED", AFTER_RESTS, MINUTE_MS},
    {STATUS("400", "quota"), REASON_TIER_THROTTLED, THEN_NEXT, "THROTTLED", AFTER_RESTS, MINUTE_MS},

    /* The model or its service is in trouble: that call goes on, the next one tries again. */
    {STATUS("429", "not_ready"), REASON_TIER_NOT_READY, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("503", "capacity"), REASON_TIER_UNAVAILABLE, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("503", "capacity") ", retry_after: 120s", REASON_TIER_UNAVAILABLE, THEN_NEXT, "FAILED", AFTER_RESTS, 120000},
    {SAYS("503", "SomethingNewException", "x"), REASON_TIER_UNAVAILABLE, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("529", "overloaded"), REASON_TIER_UNAVAILABLE, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("500", "internal"), REASON_TIER_FAILED, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("408", "timeout"), REASON_TIER_TIMEOUT, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("424", "model_error"), REASON_TIER_FAILED, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("424", "model_error") ", original: 429", REASON_TIER_THROTTLED, THEN_NEXT, "THROTTLED", AFTER_RESTS, MINUTE_MS},
    {STATUS("424", "model_error") ", original: 400", REASON_UPSTREAM_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {STATUS("424", "stream_error"), REASON_TIER_STREAM_BROKEN, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("400", "conflict"), REASON_TIER_FAILED, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STATUS("404", "no_profile"), REASON_TIER_UNAVAILABLE, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},

    /* Retired: nothing is ever sent there again. */
    {STATUS("404", "end_of_life"), REASON_TIER_GONE, THEN_NEXT, "GONE", AFTER_GONE, 0},
    {STATUS("404", "legacy"), REASON_TIER_GONE, THEN_NEXT, "GONE", AFTER_GONE, 0},

    /* Our own configuration: another tier may do, and the model is not to blame. */
    {STATUS("403", "no_access"), REASON_TIER_REFUSED, THEN_NEXT, "CALLER", AFTER_AGAIN, 0},
    {STATUS("403", "marketplace"), REASON_TIER_REFUSED, THEN_NEXT, "CALLER", AFTER_AGAIN, 0},
    {SAYS("404", "ResourceNotFoundException", "Could not find it."), REASON_TIER_MISCONFIGURED, THEN_NEXT, "CALLER", AFTER_AGAIN, 0},
    {STATUS("400", "no_model"), REASON_TIER_MISCONFIGURED, THEN_NEXT, "CALLER", AFTER_AGAIN, 0},
    {INVALID(ON_DEMAND("'")), REASON_TIER_MISCONFIGURED, THEN_NEXT, "CALLER", AFTER_AGAIN, 0},
    {INVALID(ON_DEMAND("\xe2\x80\x99")), REASON_TIER_MISCONFIGURED, THEN_NEXT, "CALLER", AFTER_AGAIN, 0},

    /* Our credentials: every tier would say the same, and none is to blame. */
    {STATUS("403", "expired"), REASON_CREDENTIALS_EXPIRED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {STATUS("403", "unknown_key"), REASON_CREDENTIALS_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {STATUS("403", "signature"), REASON_CREDENTIALS_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},

    /* The caller's own error never falls back. */
    {STATUS("400", "malformed"), REASON_UPSTREAM_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {INVALID("This model doesn't support the s3Uri field. Remove s3Uri and try again."), REASON_UPSTREAM_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {INVALID("messages.0.content.1.image.source.base64.data: URL sources are not supported"), REASON_UPSTREAM_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {INVALID(WRAPPED "`max_tokens` must be greater than `thinking.budget_tokens`"), REASON_UPSTREAM_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {INVALID(WRAPPED "`temperature` may only be set to 1 when thinking is enabled."), REASON_UPSTREAM_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {INVALID("Input is too long for requested model."), REASON_CONTEXT_WINDOW_EXCEEDED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},

    /* Accepted with 200, and refused by the first frame. */
    {FRAME("throttling", "0"), REASON_TIER_THROTTLED, THEN_NEXT, "THROTTLED", AFTER_RESTS, MINUTE_MS},
    {FRAME("throttling", "0") ", message: \"Too many tokens per day, please wait before trying again.\"", REASON_TIER_THROTTLED_DAILY, THEN_NEXT, "THROTTLED", AFTER_RESTS, HOUR_MS},
    {FRAME("validation", "0") ", message: \"" WRAPPED "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024\"",
     REASON_UPSTREAM_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {FRAME("validation", "0") ", message: \"" WRAPPED "prompt is too long\"", REASON_CONTEXT_WINDOW_EXCEEDED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {FRAME("internalServer", "0"), REASON_TIER_FAILED, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {FRAME("serviceUnavailable", "0"), REASON_TIER_UNAVAILABLE, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {FRAME("modelStreamError", "0"), REASON_TIER_STREAM_BROKEN, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {FRAME("modelTimeout", "0"), REASON_TIER_TIMEOUT, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {"action: exception, type: error, after: 0", REASON_TIER_FAILED, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},

    /* Broken in the middle of an answer. */
    {FRAME("throttling", "6"), REASON_TIER_THROTTLED, THEN_RESTART, "THROTTLED", AFTER_RESTS, MINUTE_MS},
    {FRAME("validation", "6"), REASON_UPSTREAM_REJECTED, THEN_ENDS, "CALLER", AFTER_AGAIN, 0},
    {FRAME("internalServer", "6"), REASON_TIER_FAILED, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {FRAME("serviceUnavailable", "6"), REASON_TIER_UNAVAILABLE, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {FRAME("modelStreamError", "6"), REASON_TIER_STREAM_BROKEN, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {FRAME("modelTimeout", "6"), REASON_TIER_TIMEOUT, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {"action: exception, type: error, after: 6", REASON_TIER_FAILED, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {"action: insert, event: error, after: 6", REASON_TIER_UNAVAILABLE, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {"action: reset, after: 0", REASON_CONNECTION_LOST, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {"action: close, after: 0", REASON_CONNECTION_LOST, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {"action: reset, after: 6", REASON_TIER_STREAM_BROKEN, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {"action: close, after: 6", REASON_TIER_STREAM_BROKEN, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {"action: truncate, after: 6", REASON_TIER_STREAM_BROKEN, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {"action: bad_crc, after: 6", REASON_TIER_STREAM_BROKEN, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {"action: omit, event: message_stop", REASON_TIER_STREAM_BROKEN, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},

    /* Silence: before the first byte, before the first event, between tokens, inside thinking. */
    {STALL("headers", "0"), REASON_TIER_TIMEOUT, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STALL("events", "0"), REASON_TIER_TIMEOUT, THEN_NEXT, "FAILED", AFTER_AGAIN, 0},
    {STALL("events", "6"), REASON_TIER_STALLED, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},
    {STALL("thinking", "3"), REASON_TIER_STALLED, THEN_RESTART, "FAILED", AFTER_AGAIN, 0},

    /* Odd, and no reason to give up. */
    {"action: insert, event: ping, after: 3", REASON_NONE, THEN_ANSWERED, "OK", AFTER_AGAIN, 0},
    {"action: insert, event: unknown, after: 3", REASON_NONE, THEN_ANSWERED, "OK", AFTER_AGAIN, 0},
    {"action: insert, event: message_start, after: 3", REASON_NONE, THEN_ANSWERED, "OK", AFTER_AGAIN, 0},
    {"action: usage, usage: smaller, metrics: missing", REASON_NONE, THEN_ANSWERED, "OK", AFTER_AGAIN, 0},
};
/* clang-format on */

static size_t calls_of(const struct small_suite *s, const char *model, struct arena *arena)
{
    return judge_of_model(small_suite_arrivals(s, arena), model, arena).n;
}

static void ask(const struct small_suite *s, bool once, struct generation *g) PARKS
{
    *g = (struct generation){.router = s->to_router, .once = once};
    generation_run(g);
}

/* NULL: it went as the row says. */
static const char *judge_call(const struct row *row, const struct generation *g, size_t second)
{
    if (row->then == THEN_ENDS) {
        return g->status.reason != row->reason              ? "another reason"
               : g->status.code != reason_code(row->reason) ? "another code"
               : second > 0                                 ? "it fell back"
                                                            : NULL;
    }
    if (!status_ok(g->status) || g->metadata == NULL) {
        return "no answer";
    }
    size_t attempts = row->then == THEN_ANSWERED ? 1 : 2;
    if (g->metadata->n_attempts != attempts || g->metadata->tier != attempts) {
        return "another number of attempts";
    }
    if (strcmp(g->metadata->attempts[0]->reason, reason_name(row->reason)) != 0) {
        return "another reason of the attempt";
    }
    return !g->once && g->restarted != (row->then == THEN_RESTART) ? "Restarted, or not" : NULL;
}

static const char *judge_next(const struct row *row, const struct generation *g, size_t first)
{
    if (!status_ok(g->status) || g->metadata == NULL || g->metadata->n_attempts != 1) {
        return "the next call cost more than one request";
    }
    if (row->after == AFTER_AGAIN) {
        return g->metadata->tier == 1 ? NULL : "the next call passed tier 1 over";
    }
    const char *why = row->after == AFTER_GONE ? "MODEL_GONE" : "COOLDOWN";
    return first != 1                   ? "tier 1 was called again"
           : g->metadata->tier != 2     ? "another tier took the next call"
           : g->metadata->n_skipped < 1 ? "nothing is said of tier 1"
           : strcmp(g->metadata->skipped[0]->reasons[0], why) != 0
               ? "tier 1 was passed over for another reason"
               : NULL;
}

static const char *judge_state(const struct row *row, const Limiter__Resource *tier_1)
{
    static const Limiter__ResourceState states[] = {
        [AFTER_AGAIN] = LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN,
        [AFTER_RESTS] = LIMITER__RESOURCE_STATE__RESOURCE_STATE_COOLDOWN,
        [AFTER_GONE] = LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE,
    };
    if (tier_1->state != states[row->after]) {
        return "another state of tier 1";
    }
    bool rests = row->after == AFTER_RESTS;
    bool apart = tier_1->state_ms > row->rests_ms || tier_1->state_ms + 20000 < row->rests_ms;
    return rests && apart ? "another length of the rest" : NULL;
}

static double settled_as(const struct small_suite *s, const char *outcome)
{
    return metric_value(s->router->metrics.settlements_total, METRIC_LABELS(outcome));
}

static const char *run_row(struct small_suite *s, const struct row *row, bool once,
                           struct arena *arena) PARKS
{
    struct generation first, next;
    struct small_account account;
    small_suite_set_faults(
        s, arena_printf(arena, "rules:\n  - {model: " TIER_1 ", %s}\n", row->fault));
    small_suite_begin(s, &account);
    ask(s, once, &first);
    const char *lacks = judge_call(row, &first, calls_of(s, TIER_2, arena));
    generation_clear(&first);
    small_suite_judge(s, &account);
    bool answered = row->then == THEN_ANSWERED || row->then == THEN_ENDS;
    if (lacks == NULL && settled_as(s, row->outcome) != 1) {
        lacks = "settled as something else";
    } else if (lacks == NULL && account.settled != (answered ? 1 : 2)) {
        lacks = "another number of settlements";
    }
    if (lacks == NULL) {
        lacks = judge_state(row, small_suite_peek(s, "sonnet-4.6", arena));
    }
    small_suite_set_faults(s, "");
    small_suite_begin(s, &account);
    ask(s, once, &next);
    if (lacks == NULL) {
        lacks = judge_next(row, &next, calls_of(s, TIER_1, arena));
    }
    generation_clear(&next);
    small_suite_judge(s, &account);
    return lacks;
}

/* A suite for each: what one row leaves behind must not help the next. */
static void run_rows(bool once) PARKS
{
    size_t passed = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
        struct small_suite s;
        small_suite_start(&s, &(struct small_suite_options){
                                  .one_region = true,
                                  .flags[SUITE_LIMITER] = "--time-scale=1 --cooldown-first=60s "
                                                          "--cooldown-others=30s",
                                  .flags[SUITE_ROUTER] = "--stall-wait=1s --first-byte-wait=1s",
                              });
        const char *lacks = run_row(&s, &rows[i], once, arena);
        small_suite_stop(&s);
        if (lacks != NULL) {
            print_error("{%s}: %s\n", rows[i].fault, lacks);
        }
        passed += lacks == NULL;
    }
    harness_ran(once ? "rows of the error tables, GenerateOnce"
                     : "rows of the error tables, Generate",
                passed, ARRAY_LEN(rows));
}

task_test_real(each_error_has_its_effect_on_a_stream)
{
    run_rows(false);
}

task_test_real(each_error_has_its_effect_on_a_whole_answer)
{
    run_rows(true);
}

/* --- what a row does not show -------------------------------------------------------------------
 */

/* So many calls while tier 1 does this; how many of them came to it. */
static size_t call_often(struct small_suite *s, const char *fault, size_t n,
                         struct arena *arena) PARKS
{
    size_t before = calls_of(s, TIER_1, arena);
    small_suite_set_faults(s, arena_printf(arena, "rules:\n  - {model: " TIER_1 ", %s}\n", fault));
    for (size_t i = 0; i < n; i++) {
        struct generation g;
        struct small_account account;
        small_suite_begin(s, &account);
        ask(s, i % 2 == 0, &g);
        generation_clear(&g);
        small_suite_judge(s, &account);
    }
    small_suite_set_faults(s, "");
    return calls_of(s, TIER_1, arena) - before;
}

task_test_real(trouble_that_lasts_opens_the_breaker_and_what_is_ours_never_does)
{
    static const char *const ours[] = {STATUS("403", "expired"), STATUS("403", "signature"),
                                       STATUS("403", "no_access"), STATUS("400", "malformed")};
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct small_suite s;
    small_suite_start(&s, &(struct small_suite_options){
                              .one_region = true, .flags[SUITE_LIMITER] = "--breaker-open=10m"});
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        assert_true(call_often(&s, ours[i], 8, arena) >= 8);
        assert_int_equal(small_suite_peek(&s, "sonnet-4.6", arena)->state,
                         LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    }
    assert_int_equal(call_often(&s, STATUS("500", "internal"), 10, arena), 6);
    assert_int_equal(small_suite_peek(&s, "sonnet-4.6", arena)->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_BREAKER_OPEN);
    small_suite_stop(&s);
}

/* With --replay=never what may be answered unheard ends the call; what was refused does not. */
task_test_real(what_may_be_paid_for_is_not_asked_again_when_that_is_not_wanted)
{
    static const struct {
        const char *fault;
        enum reason reason; /* NONE: tier 2 answers */
    } cases[] = {
        {STALL("headers", "0"), REASON_TIER_TIMEOUT},
        {STALL("events", "6"), REASON_TIER_STALLED},
        {"action: reset, after: 0", REASON_CONNECTION_LOST},
        {"action: reset, after: 6", REASON_TIER_STREAM_BROKEN},
        {FRAME("internalServer", "6"), REASON_TIER_FAILED},
        {STATUS("503", "capacity"), REASON_NONE},
        {STATUS("408", "timeout"), REASON_NONE},
        {FRAME("serviceUnavailable", "0"), REASON_NONE},
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct small_suite s;
    small_suite_start(
        &s, &(struct small_suite_options){
                .one_region = true,
                .flags[SUITE_LIMITER] = "--breaker-least=20",
                .flags[SUITE_ROUTER] = "--replay=never --stall-wait=1s --first-byte-wait=1s",
            });
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct generation g;
        struct small_account account;
        enum reason reason = cases[i / 2].reason;
        size_t before = calls_of(&s, TIER_2, arena);
        small_suite_set_faults(
            &s, arena_printf(arena, "rules:\n  - {model: " TIER_1 ", %s}\n", cases[i / 2].fault));
        small_suite_begin(&s, &account);
        ask(&s, i % 2 == 0, &g);
        assert_status(g.status, reason);
        assert_int_equal(calls_of(&s, TIER_2, arena) - before, reason == REASON_NONE);
        generation_clear(&g);
        small_suite_judge(&s, &account);
    }
    small_suite_stop(&s);
}

/* The seed waited between two tiers; whoever wants that back can have it. */
task_test_real(the_next_tier_is_asked_at_once_or_when_the_seed_would_have)
{
    static const struct {
        const char *flag;
        double least_ms, most_ms;
    } cases[] = {{"", 0, 900}, {"--fallback-wait=1s", 1000, 20000}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
        struct small_suite s;
        struct generation g;
        struct small_account account;
        small_suite_start(&s, &(struct small_suite_options){.one_region = true,
                                                            .flags[SUITE_ROUTER] = cases[i].flag});
        small_suite_set_faults(&s, "rules:\n  - {model: " TIER_1 ", action: status, code: 429}\n");
        small_suite_begin(&s, &account);
        ask(&s, false, &g);
        assert_generated(&g, 2, 2);
        generation_clear(&g);
        small_suite_judge(&s, &account);
        struct judge_log log = small_suite_arrivals(&s, arena);
        assert_int_equal(log.n, 2);
        double waited_ms = log.calls[1].begin_ms - log.calls[0].end_ms;
        assert_true(waited_ms >= cases[i].least_ms - 1 && waited_ms < cases[i].most_ms);
        small_suite_stop(&s);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_error_has_its_effect_on_a_stream),
    cmocka_unit_test(each_error_has_its_effect_on_a_whole_answer),
    cmocka_unit_test(trouble_that_lasts_opens_the_breaker_and_what_is_ours_never_does),
    cmocka_unit_test(what_may_be_paid_for_is_not_asked_again_when_that_is_not_wanted),
    cmocka_unit_test(the_next_tier_is_asked_at_once_or_when_the_seed_would_have),
};

HARNESS_MAIN(tests)
