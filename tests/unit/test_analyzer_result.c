/* Answers of a model: taken strictly, grounded in the section, rolled up over a document. */
#include "analyzer/result.h"
#include "harness.h"

#define ARENA_SIZE (8u << 20)

/* An answer with one member replaced; NULL: as it should be. */
#define ANSWER(level, confidence, reasoning, findings)                                             \
    "{\"risk_level\":" level ",\"confidence\":" confidence ",\"reasoning\":" reasoning             \
    ",\"findings\":" findings "}"
#define FINDING(title, severity, evidence, recommendation)                                         \
    "[{\"title\":" title ",\"severity\":" severity ",\"evidence\":" evidence recommendation "}]"
#define GOOD_FINDING  FINDING("\"T\"", "\"High\"", "\"keys\"", ",\"recommendation\":\"R\"")
#define GOOD          ANSWER("\"High\"", "0.5", "\"because\"", GOOD_FINDING)
#define WITH(finding) ANSWER("\"High\"", "0.5", "\"because\"", finding)

static const struct span section =
    SPAN("All keys are shared.\nThey  are never\r\n\trotated at all.");

/* --- one answer ------------------------------------------------------------------------------- */

static void test_a_good_answer_is_taken_whole(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    Analyzer__SectionResult result = ANALYZER__SECTION_RESULT__INIT;
    const char *why = NULL;
    assert_true(result_parse(SPAN(" \n" GOOD "\n"), section, arena, &result, &why));
    assert_int_equal(result.outcome, ANALYZER__OUTCOME__OUTCOME_OK);
    assert_int_equal(result.risk_level, ANALYZER__RISK_LEVEL__RISK_LEVEL_HIGH);
    assert_true(result.confidence == 0.5);
    assert_string_equal(result.reasoning, "because");
    assert_int_equal(result.n_findings, 1);
    const Analyzer__Finding *finding = result.findings[0];
    assert_string_equal(finding->title, "T");
    assert_int_equal(finding->severity, ANALYZER__RISK_LEVEL__RISK_LEVEL_HIGH);
    assert_string_equal(finding->evidence, "keys");
    assert_string_equal(finding->recommendation, "R");
    assert_true(finding->verified);
    assert_int_equal(finding->evidence_offset, 4);
    assert_int_equal(finding->evidence_length, 4);
    assert_true(result_has_answer(&result));
}

static void test_the_schema_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        const char *why; /* NULL: it is taken */
    } cases[] = {
        {ANSWER("\"low\"", "0", "\"r\"", "[]"), NULL},
        {ANSWER("\"Medium-High\"", "1", "\"r\"", "[]"), NULL},
        {WITH(FINDING("\"T\"", "\"Low\"", "\"e\"", "")), NULL},
        {WITH(FINDING("\"T\"", "\"Low\"", "\"e\"", ",\"further\":{}")), NULL},

        {ANSWER("\"Severe\"", "0.5", "\"r\"", "[]"), "risk_level is not one of the six levels"},
        {ANSWER("5", "0.5", "\"r\"", "[]"), "risk_level is not one of the six levels"},
        {"{\"confidence\":1,\"reasoning\":\"r\",\"findings\":[]}",
         "risk_level is not one of the six levels"},

        {ANSWER("\"Low\"", "1.01", "\"r\"", "[]"), "confidence is not a number from 0 to 1"},
        {ANSWER("\"Low\"", "2", "\"r\"", "[]"), "confidence is not a number from 0 to 1"},
        {ANSWER("\"Low\"", "-0.1", "\"r\"", "[]"), "confidence is not a number from 0 to 1"},
        {ANSWER("\"Low\"", "\"0.5\"", "\"r\"", "[]"), "confidence is not a number from 0 to 1"},
        {ANSWER("\"Low\"", "true", "\"r\"", "[]"), "confidence is not a number from 0 to 1"},
        {ANSWER("\"Low\"", "null", "\"r\"", "[]"), "confidence is not a number from 0 to 1"},

        {ANSWER("\"Low\"", "1", "\"\"", "[]"), "reasoning is not a text of at most 8192 bytes"},
        {ANSWER("\"Low\"", "1", "[]", "[]"), "reasoning is not a text of at most 8192 bytes"},
        {ANSWER("\"Low\"", "1", "\"a\\u0000b\"", "[]"),
         "reasoning is not a text of at most 8192 bytes"},

        {ANSWER("\"Low\"", "1", "\"r\"", "{}"), "findings is not an array of at most 50"},
        {ANSWER("\"Low\"", "1", "\"r\"", "null"), "findings is not an array of at most 50"},
        {"{\"risk_level\":\"Low\",\"confidence\":1,\"reasoning\":\"r\"}",
         "findings is not an array of at most 50"},
        {ANSWER("\"Low\"", "1", "\"r\"", "[1]"), "a finding is not an object"},

        {WITH(FINDING("1", "\"Low\"", "\"e\"", "")), "title is not a text of at most 8192 bytes"},
        {WITH("[{\"severity\":\"Low\",\"evidence\":\"e\"}]"),
         "title is not a text of at most 8192 bytes"},
        {WITH(FINDING("\"T\"", "\"Bad\"", "\"e\"", "")), "severity is not one of the six levels"},
        {WITH(FINDING("\"T\"", "\"Low\"", "\"\"", "")),
         "evidence is not a text of at most 8192 bytes"},
        {WITH(FINDING("\"T\"", "\"Low\"", "\"e\"", ",\"recommendation\":null")),
         "recommendation is not a text of at most 8192 bytes"},

        {"[]", "the answer is not a JSON object"},
        {"\"text\"", "the answer is not a JSON object"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
        Analyzer__SectionResult result = ANALYZER__SECTION_RESULT__INIT;
        const char *why = NULL;
        bool taken = result_parse(span_str(cases[i].answer), section, arena, &result, &why);
        if (taken != (cases[i].why == NULL) || (!taken && strcmp(why, cases[i].why) != 0)) {
            print_error("%s\n  got  %s\n  want %s\n", cases[i].answer, why, cases[i].why);
            fail();
        }
        assert_int_equal(result.outcome, taken ? ANALYZER__OUTCOME__OUTCOME_OK
                                               : ANALYZER__OUTCOME__OUTCOME_UNPARSEABLE);
        assert_true(taken || result.n_findings == 0);
    }
}

static void test_what_surrounds_the_object_is_repaired(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        bool taken;
    } cases[] = {
        {"```json\n" GOOD "\n```", true},
        {"Here it is:\n" GOOD "\nAnything else?", true},
        {"<json>" GOOD "</json>", true},
        {GOOD GOOD, false},
        {"{" GOOD, false},
        {"I see {no} risk: " GOOD, false},
        {"```json\n" WITH("[1]") "\n```", false},
        {"{\"risk_level\":\"High\",\"confidence\":0.5,\"reasoning\":\"cut o", false},
        {"I cannot help with that.", false},
        {"}{", false},
        {"", false},
        {"NaN", false},
        {ANSWER("\"Low\"", "NaN", "\"r\"", "[]"), false},
        {ANSWER("\"Low\"", "1e999", "\"r\"", "[]"), false},
        {ANSWER("\"Low\"", "1", "\"r\"", "[],\"findings\":[]"), false}, /* twice */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
        Analyzer__SectionResult result = ANALYZER__SECTION_RESULT__INIT;
        const char *why = NULL;
        bool taken = result_parse(span_str(cases[i].answer), section, arena, &result, &why);
        if (taken != cases[i].taken) {
            fail_msg("%s", cases[i].answer);
        }
        assert_int_equal(result.outcome, taken ? ANALYZER__OUTCOME__OUTCOME_REPAIRED
                                               : ANALYZER__OUTCOME__OUTCOME_UNPARSEABLE);
        assert_int_equal(result.n_findings, taken ? 1 : 0);
        assert_true(taken || (why != NULL && why[0] != '\0'));
    }
}

static bool parse_with(size_t findings, size_t reasoning)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    CLEANUP(buf_clear) struct buf answer;
    Analyzer__SectionResult result = ANALYZER__SECTION_RESULT__INIT;
    const char *why = NULL;
    buf_init(&answer, 1u << 20);
    buf_add_str(&answer, "{\"risk_level\":\"Low\",\"confidence\":1,\"reasoning\":\"");
    for (size_t i = 0; i < reasoning; i++) {
        buf_add_char(&answer, 'r');
    }
    buf_add_str(&answer, "\",\"findings\":[");
    for (size_t i = 0; i < findings; i++) {
        buf_addf(&answer, "%s{\"title\":\"%zu\",\"severity\":\"Low\",\"evidence\":\"x\"}",
                 i > 0 ? "," : "", i);
    }
    buf_add_str(&answer, "]}");
    bool taken = result_parse(buf_span(&answer), section, arena, &result, &why);
    assert_int_equal(result.n_findings, taken ? findings : 0);
    return taken;
}

static void test_the_bounds_of_an_answer(void **state)
{
    (void)state;
    assert_true(parse_with(50, 8192));
    assert_false(parse_with(51, 10));
    assert_false(parse_with(1, 8193));
    assert_true(parse_with(0, 1));
}

static void test_levels(void **state)
{
    (void)state;
    static const char *const words[] = {"",     "Low",     "Medium-Low", "Medium", "Medium-High",
                                        "High", "Critical"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_int_equal(result_level(span_str(words[i])), i);
        assert_string_equal(result_level_word((Analyzer__RiskLevel)i), words[i]);
    }
    assert_int_equal(result_level(SPAN("cRITICAL")), 6);
    assert_int_equal(result_level(SPAN("Medium ")), 0);
    assert_int_equal(result_level(SPAN_NONE), 0);
    assert_string_equal(result_level_word(99), "");
}

/* --- evidence --------------------------------------------------------------------------------- */

static void test_evidence_is_found_exactly_or_with_white_space_folded(void **state)
{
    (void)state;
    static const struct {
        const char *evidence;
        const char *found; /* NULL: it does not occur */
    } cases[] = {
        {"All", "All"},
        {"keys are shared", "keys are shared"},
        {"  keys are shared\n", "keys are shared"},
        {"They are never rotated", "They  are never\r\n\trotated"},
        {"They\n\n\nare never", "They  are never"},
        {"shared. They", "shared.\nThey"},
        {"rotated at all.", "rotated at all."},
        {"All keys are shared. They are never rotated at all.",
         "All keys are shared.\nThey  are never\r\n\trotated at all."},
        {"Theyare", NULL},
        {"T hey", NULL},
        {"all keys", NULL}, /* case matters */
        {"rotated at all. And more", NULL},
        {" \n ", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t offset = 77, len = 77;
        bool found = result_locate(section, span_str(cases[i].evidence), &offset, &len);
        assert_int_equal(found, cases[i].found != NULL);
        if (found) {
            assert_span(span_of(section.at + offset, len), span_str(cases[i].found));
        } else {
            assert_int_equal(offset, 77);
        }
    }
    size_t offset, len;
    assert_false(result_locate(SPAN_NONE, SPAN("x"), &offset, &len));
}

/* A hostile document must not make the search for a quote quadratic. */
static void test_evidence_is_sought_in_linear_time(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf text, evidence;
    size_t offset, len;
    buf_init(&text, 3u << 20);
    buf_init(&evidence, RESULT_TEXT_MOST);
    for (size_t i = 0; i < 3u << 19; i++) {
        buf_add_str(&text, "a ");
    }
    for (size_t i = 0; i < RESULT_TEXT_MOST / 2 - 1; i++) {
        buf_add_str(&evidence, "a\n");
    }
    buf_add_str(&evidence, "b");
    assert_false(result_locate(buf_span(&text), buf_span(&evidence), &offset, &len));
}

static void test_evidence_that_is_nowhere_stays_unverified(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    Analyzer__SectionResult result = ANALYZER__SECTION_RESULT__INIT;
    const char *why;
    struct span answer = SPAN(WITH(FINDING("\"T\"", "\"Low\"", "\"passwords are shared\"", "")));
    assert_true(result_parse(answer, section, arena, &result, &why));
    assert_int_equal(result.outcome, ANALYZER__OUTCOME__OUTCOME_OK);
    assert_false(result.findings[0]->verified);
    assert_int_equal(result.findings[0]->evidence_length, 0);
    assert_string_equal(result.findings[0]->evidence, "passwords are shared");
}

static void test_evidence_moves_to_the_text_with_its_hidden_characters(void **state)
{
    (void)state;
    static const struct {
        const char *data, *text, *evidence, *want;
    } cases[] = {
        {"one two", "one two", "two", "two"},
        {"one two", "\xe2\x80\x8bone \xe2\x80\x8btwo", "one", "one"},
        {"one two", "\xe2\x80\x8bone \xe2\x80\x8btwo\xe2\x80\x8b", "two", "two"},
        {"one two", "o\xe2\x80\x8bne t\xe2\x80\x8bwo", "one two",
         "o\xe2\x80\x8bne t\xe2\x80\x8bwo"},
        /* a dash and a zero width space begin with the same bytes */
        {"a\xe2\x80\x94"
         "b c",
         "a\xe2\x80\x8b\xe2\x80\x94"
         "b\xe2\x80\x8b c",
         "b", "b"},
        {"\xe2\x80\x94 c", "\xe2\x80\x8b\xe2\x80\x94 c", "\xe2\x80\x94", "\xe2\x80\x94"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Analyzer__Finding finding = ANALYZER__FINDING__INIT;
        Analyzer__Finding unverified = ANALYZER__FINDING__INIT;
        Analyzer__SectionResult result = ANALYZER__SECTION_RESULT__INIT;
        struct span text = span_str(cases[i].text);
        size_t offset, len;
        assert_true(
            result_locate(span_str(cases[i].data), span_str(cases[i].evidence), &offset, &len));
        finding.verified = true;
        finding.evidence_offset = offset;
        finding.evidence_length = len;
        result.findings = (Analyzer__Finding *[]){&unverified, &finding};
        result.n_findings = 2;
        result_move_evidence(&result, span_str(cases[i].data), text);
        assert_span(span_of(text.at + finding.evidence_offset, finding.evidence_length),
                    span_str(cases[i].want));
        assert_int_equal(unverified.evidence_length, 0);
    }
}

/* --- roll-up ---------------------------------------------------------------------------------- */

static Analyzer__SectionResult *new_result(struct arena *arena, const char *id,
                                           Analyzer__Outcome outcome, Analyzer__RiskLevel level)
{
    Analyzer__SectionResult *result = ARENA_NEW(arena, Analyzer__SectionResult);
    analyzer__section_result__init(result);
    result->section_id = (char *)id;
    result->outcome = outcome;
    result->risk_level = level;
    result->findings = ARENA_ARRAY(arena, Analyzer__Finding *, 20);
    return result;
}

static void add_finding(struct arena *arena, Analyzer__SectionResult *result, const char *title,
                        Analyzer__RiskLevel severity, bool verified)
{
    Analyzer__Finding *finding = ARENA_NEW(arena, Analyzer__Finding);
    analyzer__finding__init(finding);
    finding->title = (char *)title;
    finding->severity = severity;
    finding->verified = verified;
    result->findings[result->n_findings++] = finding;
}

static void add_metadata(struct arena *arena, Analyzer__SectionResult *result, uint64_t tokens,
                         size_t attempts)
{
    Analyzer__AnalysisMetadata *m = ARENA_NEW(arena, Analyzer__AnalysisMetadata);
    analyzer__analysis_metadata__init(m);
    m->usage = ARENA_NEW(arena, Router__TokenUsage);
    router__token_usage__init(m->usage);
    m->usage->input_tokens = tokens;
    m->usage->output_tokens = 2 * tokens;
    m->usage->cache_read_tokens = 3 * tokens;
    m->usage->cache_write_tokens = 4 * tokens;
    m->usage->thinking_tokens = 5 * tokens;
    m->cost_micro_usd = 7;
    m->saved_micro_usd = -9;
    m->prompt = ARENA_NEW(arena, Analyzer__PromptReport);
    analyzer__prompt_report__init(m->prompt);
    m->prompt->prompt_tokens = 100;
    m->prompt->baseline_tokens = 120;
    m->calls = ARENA_ARRAY(arena, Router__CallMetadata *, 1);
    m->calls[m->n_calls++] = ARENA_NEW(arena, Router__CallMetadata);
    router__call_metadata__init(m->calls[0]);
    m->calls[0]->n_attempts = attempts;
    result->metadata = m;
}

static void test_a_result_fits_a_message_whatever_was_thought(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 20);
    Analyzer__SectionResult *result = new_result(arena, "s0001", ANALYZER__OUTCOME__OUTCOME_OK, 1);
    Analyzer__ThinkingTrace *traces[10];
    char *thought = arena_alloc(arena, (1u << 20) + 1);
    memset(thought, 't', 1u << 20);
    thought[1u << 20] = '\0';
    for (uint32_t i = 0; i < ARRAY_LEN(traces); i++) {
        Router__ContentBlock *block = ARENA_NEW(arena, Router__ContentBlock);
        router__content_block__init(block);
        block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_THINKING;
        block->thinking = ARENA_NEW(arena, Router__ThinkingBlock);
        router__thinking_block__init(block->thinking);
        block->thinking->text = thought;
        traces[i] = ARENA_NEW(arena, Analyzer__ThinkingTrace);
        analyzer__thinking_trace__init(traces[i]);
        traces[i]->attempt = i + 1;
        traces[i]->blocks = ARENA_NEW(arena, Router__ContentBlock *);
        traces[i]->blocks[0] = block;
        traces[i]->n_blocks = 1;
    }
    result->thinking = traces;
    result->n_thinking = ARRAY_LEN(traces);
    result_bound(result);
    assert_int_equal(result->n_thinking, 2);
    assert_int_equal(result->thinking[0]->attempt, 9);
    assert_true(analyzer__section_result__get_packed_size(result) <= RESULT_MOST);
}

static void test_levels_and_findings_are_counted(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    Analyzer__SectionResult *results[] = {
        new_result(arena, "s0001", ANALYZER__OUTCOME__OUTCOME_OK, 1),
        new_result(arena, "s0002", ANALYZER__OUTCOME__OUTCOME_REPAIRED, 5),
        new_result(arena, "s0003", ANALYZER__OUTCOME__OUTCOME_FAILED, 0),
        new_result(arena, "s0004", ANALYZER__OUTCOME__OUTCOME_OK, 5),
    };
    add_finding(arena, results[0], "a", 1, true);
    add_finding(arena, results[1], "b", 6, false);
    add_finding(arena, results[1], "c", 5, true);
    add_metadata(arena, results[0], 10, 1);
    add_metadata(arena, results[1], 1, 3);
    results[1]->metadata->simulated = true;
    const Analyzer__DocumentResult *d = result_roll_up(results, ARRAY_LEN(results), arena);

    assert_int_equal(d->n_sections, 4);
    assert_int_equal(d->overall_level, 5);
    assert_true(d->simulated);
    static const struct {
        uint32_t level, sections, findings;
    } counts[] = {{1, 1, 1}, {5, 2, 1}, {6, 0, 1}};
    assert_int_equal(d->n_counts, ARRAY_LEN(counts));
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        assert_int_equal(d->counts[i]->level, counts[i].level);
        assert_int_equal(d->counts[i]->sections, counts[i].sections);
        assert_int_equal(d->counts[i]->findings, counts[i].findings);
    }
    const Analyzer__DocumentTotals *t = d->totals;
    assert_int_equal(t->sections, 4);
    assert_int_equal(t->sections_succeeded, 3);
    assert_int_equal(t->sections_failed, 1);
    assert_int_equal(t->findings, 3);
    assert_int_equal(t->findings_verified, 2);
    assert_int_equal(t->calls, 2);
    assert_int_equal(t->attempts, 4);
    assert_int_equal(t->usage->input_tokens, 11);
    assert_int_equal(t->usage->output_tokens, 22);
    assert_int_equal(t->usage->cache_read_tokens, 33);
    assert_int_equal(t->usage->cache_write_tokens, 44);
    assert_int_equal(t->usage->thinking_tokens, 55);
    assert_int_equal(t->cost_micro_usd, 14);
    assert_int_equal(t->saved_micro_usd, -18);
    assert_int_equal(t->prompt_tokens, 200);
    assert_int_equal(t->baseline_tokens, 240);
}

static void test_the_top_findings_are_the_gravest_verified(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    Analyzer__SectionResult *results[] = {
        new_result(arena, "s0001", ANALYZER__OUTCOME__OUTCOME_OK, 3),
        new_result(arena, "s0002", ANALYZER__OUTCOME__OUTCOME_OK, 6),
    };
    add_finding(arena, results[0], "medium", 3, true);
    add_finding(arena, results[0], "high 1", 5, true);
    add_finding(arena, results[0], "high 2", 5, true);
    add_finding(arena, results[1], "invented", 6, false);
    add_finding(arena, results[1], "critical", 6, true);
    add_finding(arena, results[1], "high 3", 5, true);
    for (size_t i = 0; i < 8; i++) {
        add_finding(arena, results[1], "low", 1, true);
    }
    static const char *const want[] = {"critical", "high 1", "high 2", "high 3", "medium",
                                       "low",      "low",    "low",    "low",    "low"};
    const Analyzer__DocumentResult *d = result_roll_up(results, ARRAY_LEN(results), arena);
    assert_int_equal(d->n_top_findings, RESULT_TOP_MOST);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_string_equal(d->top_findings[i]->finding->title, want[i]);
    }
    assert_string_equal(d->top_findings[0]->section_id, "s0002");
    assert_string_equal(d->top_findings[1]->section_id, "s0001");
}

static void test_nothing_rolls_up_to_nothing(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    const Analyzer__DocumentResult *d = result_roll_up(NULL, 0, arena);
    assert_int_equal(d->overall_level, 0);
    assert_int_equal(d->n_counts + d->n_top_findings + d->totals->sections, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_good_answer_is_taken_whole),
    cmocka_unit_test(test_the_schema_is_strict),
    cmocka_unit_test(test_what_surrounds_the_object_is_repaired),
    cmocka_unit_test(test_the_bounds_of_an_answer),
    cmocka_unit_test(test_levels),
    cmocka_unit_test(test_evidence_is_found_exactly_or_with_white_space_folded),
    cmocka_unit_test(test_evidence_is_sought_in_linear_time),
    cmocka_unit_test(test_evidence_that_is_nowhere_stays_unverified),
    cmocka_unit_test(test_evidence_moves_to_the_text_with_its_hidden_characters),
    cmocka_unit_test(test_a_result_fits_a_message_whatever_was_thought),
    cmocka_unit_test(test_levels_and_findings_are_counted),
    cmocka_unit_test(test_the_top_findings_are_the_gravest_verified),
    cmocka_unit_test(test_nothing_rolls_up_to_nothing),
};

HARNESS_MAIN(tests)
