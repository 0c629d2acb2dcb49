/* Tokens before the call: the estimator against recorded usage, and the charges of both kinds. */
#include <math.h>
#include <stdio.h>

#include "codec/estimate.h"
#include "codec/json.h"
#include "harness.h"

/* --- text ------------------------------------------------------------------------------------- */

static void test_words_digits_marks_and_scripts_are_weighed_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t least, most;
    } cases[] = {
        {"", 0, 0},
        {"a", 1, 1},
        {"How do I cross the street?", 7, 7},
        {"1234567890", 4, 4},
        {"openTelemetry", 2, 3},
        {"UNAVAILABLE", 3, 5},
        {"Verfassungsgericht", 3, 6},
        {"\n\n\n", 1, 1},
        {"    indented", 2, 3},
        {"{\"a\": [1, 2]}", 8, 13},
        {"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82", 2, 6},
        {"\xe4\xbd\xa0\xe5\xa5\xbd", 2, 4},
        {"\xf0\x9f\x98\x80", 1, 4},
        {"\xff\xfe", 1, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t tokens = estimate_text(span_str(cases[i].text), 1000);
        if (tokens < cases[i].least || tokens > cases[i].most) {
            print_error("case %zu: %lu\n", i, (unsigned long)tokens);
            fail();
        }
    }
    assert_int_equal(estimate_text(SPAN_NONE, 1000), 0);
}

static void test_a_tokenizer_scales_the_estimate(void **state)
{
    (void)state;
    struct span text = SPAN("one two three four five six seven eight nine ten");
    assert_int_equal(estimate_text(text, 1000), 10);
    assert_int_equal(estimate_text(text, 1300), 13);
    assert_int_equal(estimate_text(text, 1001), 11);
    CLEANUP(buf_clear) struct buf large;
    buf_init(&large, 32u << 20);
    char *room = buf_reserve(&large, 32u << 20);
    memset(room, 'x', 32u << 20);
    buf_commit(&large, 32u << 20);
    uint64_t tokens = estimate_text(buf_span(&large), 10000);
    assert_true(tokens > (32u << 20) && tokens < 10ull * (32u << 20));
}

/* --- recorded usage --------------------------------------------------------------------------- */

struct sample {
    uint64_t estimated;
    bool comparable; /* text only: no tools, images, schemas, thinking of earlier turns */
};

static void add_parts(const struct json *content, struct sample *s)
{
    if (json_type(content) == JSON_STRING) {
        s->estimated += estimate_text(json_string(content), 1000);
        return;
    }
    for (size_t i = 0; i < json_count(content); i++) {
        const struct json *part = json_at(content, i);
        const struct json *text = json_get(part, "text");
        s->comparable = s->comparable && (text != NULL || json_get(part, "cachePoint") != NULL);
        s->estimated += estimate_text(json_string(text), 1000);
    }
}

static struct sample sample_request(const struct json *request)
{
    struct sample s = {.estimated = ESTIMATE_SYSTEM};
    s.comparable = json_get(request, "tools") == NULL && json_get(request, "toolConfig") == NULL &&
                   json_get(request, "output_config") == NULL &&
                   json_get(request, "outputConfig") == NULL;
    add_parts(json_get(request, "system"), &s);
    const struct json *messages = json_get(request, "messages");
    for (size_t i = 0; i < json_count(messages); i++) {
        s.estimated += ESTIMATE_PER_MESSAGE;
        add_parts(json_get(json_at(messages, i), "content"), &s);
    }
    const struct json *thinking = json_get(request, "thinking");
    if (thinking == NULL) {
        thinking = json_get(json_get(request, "additionalModelRequestFields"), "thinking");
    }
    if (span_eq(json_string(json_get(thinking, "type")), SPAN("enabled"))) {
        s.estimated += ESTIMATE_THINKING;
    }
    return s;
}

/* The Messages API's and Converse's spellings; cached tokens are input that was not billed whole.
 */
static uint64_t input_used(const struct json *response)
{
    static const char *const names[] = {
        "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
        "inputTokens",  "cacheReadInputTokens",    "cacheWriteInputTokens"};
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        sum += (uint64_t)json_integer(json_get(json_get(response, "usage"), names[i]), 0);
    }
    return sum;
}

static uint64_t output_used(const struct json *response)
{
    const struct json *usage = json_get(response, "usage");
    return (uint64_t)json_integer(json_get(usage, "output_tokens"),
                                  json_integer(json_get(usage, "outputTokens"), 0));
}

static struct sample sample_answer(const struct json *response)
{
    struct sample s = {.comparable = true};
    const struct json *content = json_get(response, "content");
    add_parts(content != NULL
                  ? content
                  : json_get(json_get(json_get(response, "output"), "message"), "content"),
              &s);
    s.comparable = s.comparable && s.estimated > 0;
    return s;
}

#define SAMPLES_MOST 64

struct tally {
    size_t n;
    double error;
    uint64_t estimated[SAMPLES_MOST];
    uint64_t used[SAMPLES_MOST];
};

static void compare(struct tally *tally, const char *what, struct sample s, uint64_t used)
{
    if (!s.comparable || used == 0) {
        return;
    }
    double ratio = (double)s.estimated / (double)used;
    assert_true(tally->n < SAMPLES_MOST);
    tally->estimated[tally->n] = s.estimated;
    tally->used[tally->n++] = used;
    tally->error += fabs(ratio - 1);
    if (used > 50 && (ratio > 2.5 || ratio < 1 / 2.5)) {
        print_error("%s: %lu estimated, %lu used\n", what, (unsigned long)s.estimated,
                    (unsigned long)used);
        fail();
    }
}

/* Texts that were cut out after the recording have another's usage. */
static bool edited(struct span folder)
{
    return span_find(folder, SPAN("test_prompt_cache")) != SPAN_MISSING;
}

static struct json *json_file(struct arena *arena, const char *root, struct span folder,
                              const char *name)
{
    const char *path = arena_printf(arena, "%s/%.*s/%s", root, (int)folder.len, folder.at, name);
    return json_parse(harness_read(arena, path), NULL);
}

static double off(uint64_t estimated, uint64_t used)
{
    return fabs((double)estimated / (double)used - 1);
}

/* Each request after a lesson from all the others, each of which was seen a few times; estimates
 * as if the tokenizer were taken for one that makes so many tokens of a thousand. */
static void check_lessons(const struct tally *t, uint32_t per_mille)
{
    double before = 0, after = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct estimate_lesson lesson = {0};
        for (size_t k = 0; k < 5 * t->n; k++) {
            size_t other = k % t->n;
            if (other != i) {
                estimate_learn(&lesson, t->estimated[other] * per_mille / 1000, t->used[other]);
            }
        }
        uint64_t estimated = t->estimated[i] * per_mille / 1000;
        before += off(estimated, t->used[i]);
        after += off(estimate_correct(&lesson, estimated), t->used[i]);
    }
    before *= 100 / (double)t->n;
    after *= 100 / (double)t->n;
    print_message("# estimate of %zu requests, tokenizer taken for %u per mille: off by %.1f %% "
                  "before its lesson, %.1f %% after it\n",
                  t->n, per_mille, before, after);
    assert_true(after < before || after < 10);
    assert_true(after < 12);
}

static void test_recorded_usage_is_met(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *root = harness_vectors(arena, "llm-http", 31);
    const char *index_path = arena_printf(arena, "%s/index.json", root);
    CLEANUP(json_drop) struct json *index = json_parse(harness_read(arena, index_path), NULL);
    struct tally requests = {0}, answers = {0};
    for (size_t i = 0; i < json_count(index); i++) {
        const struct json *entry = json_at(index, i);
        struct span folder = json_string(json_get(entry, "dir"));
        if (!span_eq(json_string(json_get(entry, "file")), SPAN("response.json")) ||
            edited(folder)) {
            continue;
        }
        CLEANUP(json_drop) struct json *request = json_file(arena, root, folder, "request.json");
        CLEANUP(json_drop) struct json *response = json_file(arena, root, folder, "response.json");
        struct span model = json_string(json_get(entry, "model"));
        model = model.len > 0 ? model : json_string(json_get(request, "model"));
        if (span_find(model, SPAN("claude")) == SPAN_MISSING) {
            continue;
        }
        const char *what = arena_string(arena, folder);
        compare(&requests, what, sample_request(request), input_used(response));
        compare(&answers, what, sample_answer(response), output_used(response));
    }
    print_message(
        "# estimate: mean absolute error %.1f %% of %zu requests, %.1f %% of %zu answers\n",
        100 * requests.error / (double)requests.n, requests.n,
        100 * answers.error / (double)answers.n, answers.n);
    harness_ran("estimate", requests.n + answers.n, 31);
    static const uint32_t tokenizers[] = {1000, 1350, 700};
    for (size_t i = 0; i < ARRAY_LEN(tokenizers); i++) {
        check_lessons(&requests, tokenizers[i]);
    }
    assert_true(requests.error / (double)requests.n < 0.35);
    assert_true(answers.error / (double)answers.n < 0.35);
}

static void test_lessons_are_bounded_and_fade(void **state)
{
    (void)state;
    struct estimate_lesson lesson = {0};
    assert_int_equal(estimate_correct(&lesson, 1234), 1234);
    estimate_learn(&lesson, 10, 20); /* a small one proves little */
    assert_in_range(estimate_correct(&lesson, 1000), 1001, 1100);
    for (int i = 0; i < 500; i++) {
        estimate_learn(&lesson, 1000, 1500);
    }
    assert_in_range(estimate_correct(&lesson, 1000), 1480, 1500);
    for (int i = 0; i < 500; i++) { /* the model has changed */
        estimate_learn(&lesson, 1000, 800);
    }
    assert_in_range(estimate_correct(&lesson, 1000), 800, 810);
    struct estimate_lesson same = lesson;
    estimate_learn(&lesson, 1000, 8001); /* of something that is no text */
    estimate_learn(&lesson, 8001, 1000);
    estimate_learn(&lesson, 0, 5);
    estimate_learn(&lesson, 5, 0);
    assert_memory_equal(&lesson, &same, sizeof(lesson));
    for (int i = 0; i < 500; i++) {
        estimate_learn(&lesson, 100000, 799999);
    }
    assert_int_equal(estimate_correct(&lesson, 1000), 4000);
    for (int i = 0; i < 2000; i++) {
        estimate_learn(&lesson, 799999, 100000);
    }
    assert_int_equal(estimate_correct(&lesson, 1000), 250);
    assert_true(estimate_correct(&(struct estimate_lesson){0}, UINT64_MAX) == UINT64_MAX);
}

/* --- charges ---------------------------------------------------------------------------------- */

static void test_models_are_charged_by_their_burn(void **state)
{
    (void)state;
    static const struct estimate_tokens t = {.input = 2000, .max_output = 4096};
    static const struct {
        uint32_t burn;
        uint64_t strict, settled, predicted_600;
    } cases[] = {
        {1, 6096, 2600, 6096},
        {5, 22480, 5000, 6096},
        {10, 42960, 8000, 8000},
        {15, 63440, 11000, 11000},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct estimate_model m = {.burn = cases[i].burn, .strict = true};
        assert_int_equal(estimate_model_charge(&t, &m, 600), cases[i].strict);
        assert_int_equal(estimate_model_settled(&m, 2000, 0, 600), cases[i].settled);
        m.strict = false;
        assert_int_equal(estimate_model_charge(&t, &m, 600), cases[i].predicted_600);
        /* Nothing known of outputs: all of max_tokens is expected, which is strict. */
        assert_int_equal(estimate_model_charge(&t, &m, 0), cases[i].strict);
        m.expected_output = 600;
        assert_int_equal(estimate_model_charge(&t, &m, 0), cases[i].predicted_600);
        /* What is known wins over the catalogue, max_tokens over both. */
        assert_int_equal(estimate_model_charge(&t, &m, 9999), cases[i].strict);
    }
}

static void test_cached_tokens_count_where_the_provider_counts_them(void **state)
{
    (void)state;
    static const struct estimate_tokens t = {
        .input = 100, .cache_read = 10000, .cache_write = 1000, .max_output = 500};
    struct estimate_model m = {.burn = 1};
    assert_int_equal(estimate_model_charge(&t, &m, 0), 1600);
    m.reserve_counts_cache_read = true;
    assert_int_equal(estimate_model_charge(&t, &m, 0), 11600);
    assert_int_equal(estimate_model_settled(&m, 100, 1000, 500), 1600);
}

static void test_pools_count_everything_once(void **state)
{
    (void)state;
    static const struct estimate_tokens t = {
        .input = 100, .cache_read = 10000, .cache_write = 1000, .max_output = 500};
    assert_int_equal(estimate_pool_charge(&t, 0), 11600);
    assert_int_equal(estimate_pool_charge(&t, 200), 11300);
    assert_int_equal(estimate_pool_charge(&t, 501), 11600);
    assert_int_equal(estimate_pool_settled(100, 10000, 1000, 0), 11100);
}

static void test_charges_do_not_wrap(void **state)
{
    (void)state;
    static const struct estimate_tokens t = {
        .input = 5, .cache_read = UINT64_MAX, .cache_write = 5, .max_output = UINT64_MAX / 2};
    static const struct estimate_model m = {.burn = 10, .reserve_counts_cache_read = true};
    assert_true(estimate_pool_charge(&t, 0) == UINT64_MAX);
    assert_true(estimate_model_charge(&t, &m, 0) == UINT64_MAX);
    assert_true(estimate_model_charge(&t, &m, 1) == UINT64_MAX);
    assert_true(estimate_model_settled(&m, 0, 0, UINT64_MAX / 9) == UINT64_MAX);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_words_digits_marks_and_scripts_are_weighed_apart),
    cmocka_unit_test(test_a_tokenizer_scales_the_estimate),
    cmocka_unit_test(test_recorded_usage_is_met),
    cmocka_unit_test(test_lessons_are_bounded_and_fade),
    cmocka_unit_test(test_models_are_charged_by_their_burn),
    cmocka_unit_test(test_cached_tokens_count_where_the_provider_counts_them),
    cmocka_unit_test(test_pools_count_everything_once),
    cmocka_unit_test(test_charges_do_not_wrap),
};

HARNESS_MAIN(tests)
