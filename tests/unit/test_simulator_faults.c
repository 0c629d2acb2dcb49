/* The fault plan: what is refused with which line, and which call gets which fault. */
#include "harness.h"
#include "simulator/faults.h"

#define SONNET "us.anthropic.claude-sonnet-4-6"
#define HAIKU  "us.anthropic.claude-haiku-4-5-20251001-v1:0"

static struct fault_plan *plan_of(const char *yaml)
{
    struct yaml_error error = {0};
    struct fault_plan *plan = fault_plan_new(span_str(yaml), 1, &error);
    if (plan == NULL) {
        print_error("line %zu: %s\n", error.line, error.text);
    }
    assert_non_null(plan);
    return plan;
}

static void slips_are_refused_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        size_t line;
        const char *text;
    } rows[] = {
        {"rules: [", 1, NULL},
        {"- a\n", 1, "a plan is a mapping with the member rules"},
        {"rules: 7\n", 1, "rules is a list"},
        {"# plan\nrule: []\n", 2, "there is no key \"rule\", only rules"},
        {"rules:\n  - reset\n", 2, "a rule is a mapping"},
        {"rules:\n  - model: \"*\"\n", 2, "a rule has no action"},
        {"rules:\n  - action: explode\n", 2, NULL},
        {"rules:\n  - action: reset\n    modell: x\n", 3,
         "there is no key \"modell\", did you mean model"},
        {"rules:\n  - action: reset\n    model: gpt\n", 2, "there is no model \"gpt\""},
        {"rules:\n  - action: reset\n    code: 429\n", 3, "reset takes no key \"code\""},
        {"rules:\n  - action: retired\n    after: 1\n", 3, "retired takes no key \"after\""},
        {"rules:\n  - action: reset\n    after: [1]\n", 3, "after wants one value"},
        {"rules:\n  - action: reset\n    after: soon\n", 3,
         "after wants a whole number, not \"soon\""},
        {"rules:\n  - action: reset\n    nth: 0\n", 3, NULL},
        {"rules:\n  - action: reset\n    nth: 1\n    from: 2\n", 2,
         "nth stands alone, without from and count"},
        {"rules:\n  - action: reset\n    probability: 2\n", 3, NULL},
        {"rules:\n  - action: status\n", 2, "a status has no code"},
        {"rules:\n  - action: status\n    code: 418\n", 2, "code 418 is none of the provider's"},
        {"rules:\n  - action: status\n    code: 429\n    kind: legacy\n", 2,
         "code 429 has no kind \"legacy\""},
        {"rules:\n  - action: status\n    code: 429\n    error: \"a b\"\n", 2,
         "error is not the name of an exception"},
        {"rules:\n  - action: exception\n", 2, "an exception has no type"},
        {"rules:\n  - action: exception\n    type: noException\n", 3, NULL},
        {"rules:\n  - action: stall\n    for: 1s\n", 2, "a stall needs at and for"},
        {"rules:\n  - action: stall\n    at: headers\n    for: 1\n", 4, NULL},
        {"rules:\n  - action: reset\n\n  - action: close\n    after: x\n", 5, NULL},
        {"rules:\n  - action: drip\n    bytes: 5\n", 2, "a drip needs bytes and every"},
        {"rules:\n  - action: insert\n", 2, "insert needs event"},
        {"rules:\n  - {action: insert, event: message_stop}\n", 2,
         "insert takes no event message_stop"},
        {"rules:\n  - {action: omit, event: ping}\n", 2, "omit takes no event ping"},
        {"rules:\n  - {action: omit, event: message_stop, after: 2}\n", 2,
         "omit takes no key \"after\""},
        {"rules:\n  - action: usage\n", 2, "usage needs usage or metrics"},
        {"rules:\n  - {action: usage, usage: wrong}\n", 2, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct yaml_error error = {0};
        struct fault_plan *plan = fault_plan_new(span_str(rows[i].yaml), 1, &error);
        assert_null(plan);
        assert_int_equal(error.line, rows[i].line);
        assert_true(error.text[0] != '\0');
        if (rows[i].text != NULL) {
            assert_string_equal(error.text, rows[i].text);
        }
    }
}

static void a_plan_is_bounded(void **state)
{
    (void)state;
    struct buf text;
    struct yaml_error error = {0};
    buf_init(&text, 1u << 20);
    buf_add_str(&text, "rules:\n");
    while (text.len + 16 < 65536) {
        buf_add_str(&text, "- action: reset\n");
    }
    struct fault_plan *plan = fault_plan_new(buf_span(&text), 1, &error);
    assert_non_null(plan);
    assert_int_equal(fault_plan_rules(plan), 4095);
    fault_plan_free(plan);
    buf_add_str(&text, "- action: reset\n- action: reset\n");
    assert_null(fault_plan_new(buf_span(&text), 1, &error));
    assert_string_equal(error.text, "a plan has at most 65536 bytes");
    buf_clear(&text);
}

/* The actions of calls 1 to n of a model, one letter each. */
static const char *story(struct fault_plan *plan, const char *model, bool stream, size_t n,
                         struct arena *arena)
{
    static const char letters[] = {
        [FAULT_NONE] = '.',  [FAULT_STATUS] = 'S', [FAULT_EXCEPTION] = 'E', [FAULT_STALL] = 'W',
        [FAULT_RESET] = 'R', [FAULT_CLOSE] = 'C',  [FAULT_TRUNCATE] = 'T',  [FAULT_BAD_CRC] = 'B',
        [FAULT_DRIP] = 'D',  [FAULT_INSERT] = 'I', [FAULT_OMIT] = 'O',      [FAULT_USAGE] = 'U'};
    char *out = arena_alloc(arena, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct fault fault;
        const struct fault_call what = {span_str(model), SPAN("us-east-2"), stream};
        fault_plan_next(plan, &what, arena, &fault);
        out[i] = letters[fault.action];
    }
    return out;
}

static void rules_choose_their_calls(void **state)
{
    (void)state;
    static const struct {
        const char *rules;
        bool stream;
        const char *sonnet;
        const char *haiku;
    } rows[] = {
        {"", true, "......", "......"},
        {"- {action: reset}", true, "RRRRRR", "RRRRRR"},
        {"- {action: reset, model: \"*\"}", false, "RRRRRR", "RRRRRR"},
        {"- {action: reset, model: " SONNET "}", true, "RRRRRR", "......"},
        {"- {action: reset, region: us-east-2}", true, "RRRRRR", "RRRRRR"},
        {"- {action: reset, region: us-west-2}", true, "......", "......"},
        {"- {action: reset, nth: 3}", true, "..R...", "..R..."},
        {"- {action: reset, from: 3}", true, "..RRRR", "..RRRR"},
        {"- {action: reset, count: 2}", true, "RR....", "RR...."},
        {"- {action: reset, from: 2, count: 2}", true, ".RR...", ".RR..."},
        {"- {action: reset, nth: 2}\n- {action: close, from: 2}", true, ".RCCCC", ".RCCCC"},
        {"- {action: reset, operation: stream}", true, "RRRRRR", "RRRRRR"},
        {"- {action: reset, operation: stream}", false, "......", "......"},
        {"- {action: reset, operation: invoke}", false, "RRRRRR", "RRRRRR"},
        {"- {action: bad_crc}\n- {action: close}", true, "BBBBBB", "BBBBBB"},
        {"- {action: bad_crc}\n- {action: close}", false, "CCCCCC", "CCCCCC"},
        {"- {action: retired, probability: 0}", true, "......", "......"},
        {"- {action: retired, probability: 100%}", true, "SSSSSS", "SSSSSS"},
        {"- {action: stall, at: events, for: 1s}", true, "WWWWWW", "WWWWWW"},
        {"- {action: truncate}", true, "TTTTTT", "TTTTTT"},
        {"- {action: exception, type: error}", true, "EEEEEE", "EEEEEE"},
        {"- {action: drip, bytes: 1, every: 1s, nth: 2}", false, ".D....", ".D...."},
        {"- {action: insert, event: ping}", true, "IIIIII", "IIIIII"},
        {"- {action: insert, event: ping}", false, "......", "......"},
        {"- {action: omit, event: message_stop}", true, "OOOOOO", "OOOOOO"},
        {"- {action: omit, event: message_stop}", false, "......", "......"},
        {"- {action: usage, usage: missing}", false, "UUUUUU", "UUUUUU"},
    };
    struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fault_plan *plan = plan_of(arena_printf(arena, "rules:\n%s\n", rows[i].rules));
        assert_string_equal(story(plan, SONNET, rows[i].stream, 6, arena), rows[i].sonnet);
        assert_string_equal(story(plan, HAIKU, rows[i].stream, 6, arena), rows[i].haiku);
        fault_plan_free(plan);
    }
    arena_free(arena);
}

static void chance_is_the_same_every_time(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1u << 20);
    struct fault_plan *plan = plan_of("rules:\n- {action: reset, probability: 0.25}\n");
    const char *first = story(plan, SONNET, true, 2000, arena);
    fault_plan_free(plan);
    plan = plan_of("rules:\n- {action: reset, probability: 0.25}\n");
    assert_string_equal(story(plan, SONNET, true, 2000, arena), first);
    fault_plan_free(plan);
    size_t hits = 0;
    for (size_t i = 0; i < 2000; i++) {
        hits += first[i] == 'R';
    }
    assert_in_range(hits, 420, 580);
    arena_free(arena);
}

static void statuses_look_like_the_providers(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        int code;
        const char *error;
        const char *message;
    } rows[] = {
        {"{action: status, code: 429}", 429, "ThrottlingException",
         "Too many tokens, please wait before trying again."},
        {"{action: status, code: 429, kind: requests}", 429, "ThrottlingException",
         "Too many requests, please wait before trying again."},
        {"{action: status, code: 429, kind: day}", 429, "ThrottlingException",
         "Too many tokens per day, please wait before trying again."},
        {"{action: status, code: 429, kind: not_ready}", 429, "ModelNotReadyException", NULL},
        {"{action: status, code: 400}", 400, "ValidationException", NULL},
        {"{action: status, code: 403}", 403, "AccessDeniedException",
         "You don't have access to the model with the specified model ID."},
        {"{action: status, code: 403, kind: expired}", 403, "ExpiredTokenException", NULL},
        {"{action: retired}", 404, "ResourceNotFoundException",
         "This model version has reached the end of its life. Please refer to the AWS "
         "documentation for more details."},
        {"{action: status, code: 404, kind: legacy}", 404, "ResourceNotFoundException", NULL},
        {"{action: status, code: 408}", 408, "ModelTimeoutException", NULL},
        {"{action: status, code: 424}", 424, "ModelErrorException", NULL},
        {"{action: status, code: 500}", 500, "InternalServerException", NULL},
        {"{action: status, code: 503}", 503, "ServiceUnavailableException",
         "Bedrock is unable to process your request."},
        {"{action: status, code: 503, message: gone fishing, error: FishingException}", 503,
         "FishingException", "gone fishing"},
        {"{action: exception, type: throttlingException}", 429, "ThrottlingException",
         "Too many tokens, please wait before trying again."},
        {"{action: exception, type: modelStreamErrorException, message: m}", 424,
         "ModelStreamErrorException", "m"},
        {"{action: exception, type: error}", 500, "InternalServerException", NULL},
    };
    struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fault fault;
        struct fault_plan *plan = plan_of(arena_printf(arena, "rules:\n- %s\n", rows[i].rule));
        const struct fault_call what = {.model = SPAN(SONNET), .stream = true};
        fault_plan_next(plan, &what, arena, &fault);
        fault_plan_free(plan);
        assert_int_equal(fault.refusal.code, rows[i].code);
        assert_string_equal(fault.refusal.error, rows[i].error);
        assert_true(rows[i].message == NULL || strcmp(fault.refusal.message, rows[i].message) == 0);
        assert_int_equal(fault.unmodelled, i == ARRAY_LEN(rows) - 1);
    }
    arena_free(arena);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(slips_are_refused_with_their_line),
    cmocka_unit_test(a_plan_is_bounded),
    cmocka_unit_test(rules_choose_their_calls),
    cmocka_unit_test(chance_is_the_same_every_time),
    cmocka_unit_test(statuses_look_like_the_providers),
};
HARNESS_MAIN(tests)
