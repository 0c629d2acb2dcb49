/* YAML: the tree and its positions, and what is refused with which line. */
#include <ftw.h>
#include <stdio.h>

#include "codec/yaml.h"
#include "harness.h"

#define BUDGET (8u << 20)

static const struct yaml *parsed(struct arena *arena, struct span text)
{
    struct yaml_error error;
    const struct yaml *root = NULL;
    if (!yaml_parse(text, arena, &root, &error)) {
        print_error("%zu: %s\n", error.line, error.text);
        fail();
    }
    return root;
}

static void test_values_keep_their_lines(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(BUDGET);
    const struct yaml *root = parsed(arena, SPAN("# models\n"
                                                 "name: \"two\\twords\"\n"
                                                 "empty:\n"
                                                 "text: ''\n"
                                                 "'quoted key': 60s # base\n"
                                                 "list:\n"
                                                 "  - us-east-2\n"
                                                 "  - {a: 1, b: [x, y]}\n"
                                                 "block: |\n"
                                                 "  one\n"
                                                 "  two\n"));
    assert_int_equal(root->kind, YAML_MAPPING);
    assert_int_equal(root->count, 6);
    assert_int_equal(root->line, 2);
    assert_span(root->children->key, SPAN("name"));
    assert_span(yaml_get(root, "name")->text, SPAN("two\twords"));
    assert_true(yaml_get(root, "name")->quoted);

    const struct yaml *empty = yaml_get(root, "empty");
    assert_int_equal(empty->kind, YAML_SCALAR);
    assert_int_equal(empty->text.len, 0);
    assert_false(empty->quoted);
    assert_int_equal(empty->key_line, 3);
    assert_true(yaml_get(root, "text")->quoted);
    assert_span(yaml_get(root, "quoted key")->text, SPAN("60s"));

    const struct yaml *list = yaml_get(root, "list");
    assert_int_equal(list->kind, YAML_SEQUENCE);
    assert_int_equal(list->key_line, 6);
    assert_int_equal(list->line, 7);
    assert_int_equal(list->count, 2);
    assert_span(list->children->text, SPAN("us-east-2"));
    const struct yaml *inner = list->children->next;
    assert_int_equal(inner->line, 8);
    assert_span(yaml_get(inner, "a")->text, SPAN("1"));
    assert_span(yaml_get(inner, "b")->children->next->text, SPAN("y"));
    assert_null(inner->next);
    assert_span(yaml_get(root, "block")->text, SPAN("one\ntwo\n"));

    assert_null(yaml_get(root, "none"));
    assert_null(yaml_get(list, "none"));
    assert_null(yaml_get(NULL, "none"));
}

static void test_nothing_is_an_empty_mapping(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(BUDGET);
    static const char *const cases[] = {"", "\n", "# nothing\n", "---\n", "---\n...\n", "{}"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct yaml *root = parsed(arena, span_str(cases[i]));
        assert_int_equal(root->kind, YAML_MAPPING);
        assert_int_equal(root->count, 0);
    }
    assert_int_equal(parsed(arena, SPAN_NONE)->kind, YAML_MAPPING);
    assert_int_equal(parsed(arena, SPAN("''"))->kind, YAML_SCALAR);
    assert_span(parsed(arena, SPAN("\xef\xbb\xbf"
                                   "a: 1"))
                    ->children->key,
                SPAN("a"));
}

static void assert_refused(struct span text, size_t line, const char *says)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(BUDGET);
    struct yaml_error error;
    const struct yaml *root = NULL;
    bool ok = yaml_parse(text, arena, &root, &error);
    if (ok || root != NULL || error.line != line || strstr(error.text, says) == NULL) {
        print_error("%.*s\n  got  %zu: %s\n  want %zu: %s\n", (int)(text.len < 80 ? text.len : 80),
                    text.at, ok ? 0 : error.line, ok ? "(read)" : error.text, line, says);
        fail();
    }
}

static void test_what_is_not_read_here_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        size_t line;
        const char *says;
    } cases[] = {
        {SPAN("a: 1\nb: &x 2"), 2, "anchors"},
        {SPAN("a: 1\nb: &x [2]"), 2, "anchors"},
        {SPAN("a: 1\nb: &x\n  c: 2"), 2, "anchors"},
        {SPAN("&x a: 1"), 1, "anchors"},
        {SPAN("a: 1\n\nb: *x"), 3, "aliases"},
        {SPAN("*x : 1"), 1, "aliases"},
        {SPAN("a: 1\nb: !!int 2"), 2, "tags"},
        {SPAN("a: ! 2"), 1, "tags"},
        {SPAN("a: !mine {b: 1}"), 1, "tags"},
        {SPAN("!!str a: 1"), 1, "tags"},
        {SPAN("a:\n  <<: {b: 1}"), 2, "merge keys"},
        {SPAN("a: 1\nb: 2\na: 3"), 3, "\"a\" is there already, in line 1"},
        {SPAN("x:\n  a: 1\n  \"a\": 3"), 3, "\"a\" is there already, in line 2"},
        {SPAN("{a: 1,\n a: 2}"), 2, "\"a\" is there already"},
        {SPAN("a: 1\n? [b]\n: 2"), 2, "a key must be text"},
        {SPAN("a: 1\n? {b: 1}\n: 2"), 2, "a key must be text"},
        {SPAN("a: 1\n?\n: 2"), 2, "a key must be text"},
        {SPAN("---\na: 1\n---\nb: 2"), 3, "more than one document"},
        {SPAN("---\na: 1\n---\n"), 3, "more than one document"},
        {SPAN("a: 1\nb: x\0y"), 2, "NUL"},
        {SPAN("a: 1\nb: \xff"), 2, "UTF-8"},
        {SPAN("a: 1\nb: \x01"), 2, "control characters"},
        {SPAN("a: 1\n\tb: 2"), 2, "tab character"},
        {SPAN("a: [1,\n2"), 2, "from line 1 on"},
        {SPAN("a: \"x\nb: 1\n"), 3, "while scanning a quoted scalar from line 1 on"},
        {SPAN("a: 1\n b: 2"), 2, "mapping values are not allowed"},
        {SPAN("a: 1\nb"), 2, "could not find expected ':'"},
        {SPAN("a: 1\n- b"), 2, "did not find expected key"},
        {SPAN("a: @b"), 1, "cannot start any token"},
        {SPAN("%YAML 3.1\n---\na: 1"), 1, "incompatible YAML document"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_refused(cases[i].text, cases[i].line, cases[i].says);
    }
}

static void test_size_depth_and_memory_are_bounded(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 2 * YAML_SIZE_MOST);
    for (size_t i = 1; i < YAML_DEPTH_MOST; i++) {
        buf_add_str(&text, "[\n");
    }
    size_t half = text.len / 2;
    for (size_t i = 0; i < half; i++) {
        buf_add_char(&text, ']');
    }
    CLEANUP(arena_drop) struct arena *arena = arena_new(BUDGET);
    assert_int_equal(parsed(arena, buf_span(&text))->kind, YAML_SEQUENCE);
    buf_reset(&text);
    for (size_t i = 0; i < 10000; i++) {
        buf_add_str(&text, "[\n");
    }
    assert_refused(buf_span(&text), YAML_DEPTH_MOST + 1, "nested too deeply");

    buf_reset(&text);
    while (text.len <= YAML_SIZE_MOST) {
        buf_add_str(&text, "- a\n");
    }
    assert_refused(buf_span(&text), 0, "too large");
    buf_truncate(&text, YAML_SIZE_MOST);
    struct yaml_error error;
    const struct yaml *root = NULL;
    assert_false(yaml_parse(buf_span(&text), arena, &root, &error));
    assert_string_equal(error.text, "too much content");
    assert_true(error.line > 1000);
}

static void test_every_cut_of_a_file_is_read_or_refused(void **state)
{
    (void)state;
    struct span text = SPAN("a: {b: [1, 'x''y', \"q\\u0041\"], c: |-\n  no\n}\nb:\n  - c: >\n"
                            "      folded\n      text\n  - ? d\n    : e\n");
    for (size_t len = 0; len <= text.len; len++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(BUDGET);
        struct yaml_error error = {0};
        const struct yaml *root = NULL;
        bool ok = yaml_parse(span_first(text, len), arena, &root, &error);
        assert_true(ok ? root != NULL : error.line > 0 && error.text[0] != '\0');
    }
}

static void test_truth_has_many_spellings(void **state)
{
    (void)state;
    bool truth = false;
    assert_true(yaml_bool(SPAN("true"), &truth) && truth);
    assert_true(yaml_bool(SPAN("Off"), &truth) && !truth);
    assert_true(yaml_bool(SPAN("YES"), &truth) && truth);
    assert_true(yaml_bool(SPAN("no"), &truth) && !truth);
    assert_true(yaml_bool(SPAN("on"), &truth) && truth);
    assert_false(yaml_bool(SPAN("1"), &truth));
    assert_false(yaml_bool(SPAN(""), &truth));
    assert_true(truth);
}

/* --- third-party files ------------------------------------------------------------------------ */

/* nftw has no argument of the caller's. */
static size_t files_seen;

static int see_file(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    if (type != FTW_F || !span_ends(span_str(path), SPAN(".yaml"))) {
        return 0;
    }
    CLEANUP(arena_drop) struct arena *arena = arena_new(BUDGET);
    struct yaml_error error = {0};
    const struct yaml *root = NULL;
    bool ok = yaml_parse(harness_read(arena, path), arena, &root, &error);
    bool broken = strcmp(path + where->base, "bad_yaml.yaml") == 0;
    if (ok == broken || (ok && root->count == 0)) {
        print_error("%s:%zu: %s\n", path, error.line, error.text);
        fail();
    }
    if (broken) {
        assert_int_equal(error.line, 2);
        assert_non_null(strstr(error.text, "quoted scalar from line 1 on"));
    }
    files_seen++;
    return 0;
}

static void test_ratelimit_files_are_read_but_for_the_broken_one(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(8192);
    const char *path = harness_vectors(arena, "ratelimit-config", 22);
    files_seen = 0;
    assert_int_equal(nftw(path, see_file, 16, FTW_PHYS), 0);
    harness_ran("ratelimit-config", files_seen, 22);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_values_keep_their_lines),
    cmocka_unit_test(test_nothing_is_an_empty_mapping),
    cmocka_unit_test(test_what_is_not_read_here_is_refused_with_its_line),
    cmocka_unit_test(test_size_depth_and_memory_are_bounded),
    cmocka_unit_test(test_every_cut_of_a_file_is_read_or_refused),
    cmocka_unit_test(test_truth_has_many_spellings),
    cmocka_unit_test(test_ratelimit_files_are_read_but_for_the_broken_one),
};

HARNESS_MAIN(tests)
