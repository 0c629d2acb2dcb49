/* JSON: what is read, what is refused and where, and that what is written is read again. */
#include <float.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/json.h"
#include "harness.h"

static struct json *parsed(struct span text)
{
    struct json_error error;
    struct json *root = json_parse(text, &error);
    if (root == NULL) {
        print_error("%zu:%zu: %s\n", error.line, error.column, error.text);
        fail();
    }
    return root;
}

static void test_lookups_chain_through_what_is_absent(void **state)
{
    (void)state;
    CLEANUP(json_drop)
    struct json *root =
        parsed(SPAN(" {\"a\": {\"b\": [1, 2.5, true, null, \"x\\u0000y\"]}, \"\": -7}\n"));
    const struct json *list = json_get(json_get(root, "a"), "b");
    assert_int_equal(json_type(root), JSON_OBJECT);
    assert_int_equal(json_count(list), 5);
    assert_int_equal(json_integer(json_at(list, 0), 9), 1);
    assert_true(json_number(json_at(list, 0), 9) == 1.0);
    assert_true(json_number(json_at(list, 1), 9) == 2.5);
    assert_int_equal(json_integer(json_at(list, 1), 9), 9);
    assert_true(json_bool(json_at(list, 2), false));
    assert_int_equal(json_type(json_at(list, 3)), JSON_NULL);
    assert_span(json_string(json_at(list, 4)), SPAN("x\0y"));
    assert_int_equal(json_integer(json_get(root, ""), 9), -7);
    const struct json *absent = json_at(json_get(json_get(root, "none"), "b"), 3);
    assert_null(absent);
    assert_int_equal(json_type(absent), JSON_NULL);
    assert_int_equal(json_count(absent), 0);
    assert_int_equal(json_string(absent).len, 0);
    assert_true(json_bool(absent, true));
    assert_null(json_at(list, 5));
    assert_null(json_at(root, 0));
    assert_null(json_get(list, "a"));
    json_free(NULL);
}

static void test_members_come_in_the_order_of_the_text(void **state)
{
    (void)state;
    CLEANUP(json_drop) struct json *root = parsed(SPAN("{\"z\":1,\"a\":2,\"m\":3}"));
    static const char *const want[] = {"z", "a", "m"};
    struct span key;
    const struct json *value;
    size_t i;
    for (i = 0; json_member(root, i, &key, &value); i++) {
        assert_span(key, span_str(want[i]));
        assert_int_equal(json_integer(value, 0), i + 1);
    }
    assert_int_equal(i, ARRAY_LEN(want));
    assert_false(json_member(value, 0, &key, &value));
}

static void test_what_is_no_json_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        size_t line;
        const char *says;
    } cases[] = {
        {SPAN(""), 1, "near end of file"},
        {SPAN("{\n\"a\": 1,\n\"a\": 2}"), 3, "duplicate object key"},
        {SPAN("[1,\n2,\n]"), 3, "unexpected token"},
        {SPAN("1 2"), 1, "end of file expected"},
        {SPAN("\"\xff\""), 1, "unable to decode"},
        {SPAN("\"a\0b\""), 1, "control character"},
        {SPAN("{\"a\\u0000\": 1}"), 1, "NUL byte"},
        {SPAN("[99999999999999999999]"), 1, "too big"},
        {SPAN("1e999"), 1, "overflow"},
        {SPAN("nul"), 1, "invalid token"},
        {SPAN("\"\\ud800\""), 1, "invalid Unicode"},
        {SPAN("'a'"), 1, "invalid token"},
        {SPAN("[1,2"), 1, "near end of file"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_error error;
        struct json *root = json_parse(cases[i].text, &error);
        assert_null(root);
        if (error.line != cases[i].line || strstr(error.text, cases[i].says) == NULL) {
            print_error("case %zu: line %zu, %s\n", i, error.line, error.text);
            fail();
        }
        assert_null(json_parse(cases[i].text, NULL));
    }
}

static void add_nested(struct buf *out, size_t depth)
{
    buf_reset(out);
    for (size_t i = 0; i < depth; i++) {
        buf_add_str(out, "\n[");
    }
    for (size_t i = 0; i < depth; i++) {
        buf_add_char(out, ']');
    }
}

static void test_depth_size_and_number_of_values_are_bounded(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, JSON_SIZE_MOST + 2);
    struct json_error error;
    add_nested(&text, JSON_DEPTH_MOST);
    CLEANUP(json_drop) struct json *deepest = parsed(buf_span(&text));
    assert_int_equal(json_count(deepest), 1);
    add_nested(&text, JSON_DEPTH_MOST + 1);
    assert_null(json_parse(buf_span(&text), &error));
    assert_string_equal(error.text, "nested too deeply");
    assert_int_equal(error.line, JSON_DEPTH_MOST + 2);
    assert_int_equal(error.column, 1);

    CLEANUP(json_drop) struct json *quoted = parsed(SPAN("\"[[\\\"[[\""));
    assert_span(json_string(quoted), SPAN("[[\"[["));

    buf_reset(&text);
    buf_add_char(&text, '[');
    for (size_t i = 0; i < JSON_VALUES_MOST; i++) {
        buf_add_str(&text, "0,");
    }
    buf_add_str(&text, "0]");
    assert_null(json_parse(buf_span(&text), &error));
    assert_string_equal(error.text, "too many values");

    buf_reset(&text);
    char *blank = buf_reserve(&text, JSON_SIZE_MOST + 1);
    memset(blank, ' ', JSON_SIZE_MOST + 1);
    buf_commit(&text, JSON_SIZE_MOST + 1);
    assert_null(json_parse(buf_span(&text), &error));
    assert_string_equal(error.text, "too large");
}

static void test_the_writer_places_every_comma(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 1000);
    struct json_writer w;
    json_writer_init(&w, &out);
    json_begin_object(&w);
    json_key(&w, "empty");
    json_begin_array(&w);
    json_end_array(&w);
    json_key(&w, "list");
    json_begin_array(&w);
    json_put_integer(&w, INT64_MIN);
    json_put_number(&w, 0.1);
    json_put_number(&w, NAN);
    json_put_bool(&w, false);
    json_begin_object(&w);
    json_end_object(&w);
    json_put_raw(&w, SPAN("[1,2]"));
    json_end_array(&w);
    json_key(&w, "a\"b");
    json_put_string(&w, SPAN("line\n\0\x7f"));
    json_end_object(&w);
    assert_string_equal(buf_cstr(&out),
                        "{\"empty\":[],\"list\":[-9223372036854775808,0.1,null,false,{},[1,2]],"
                        "\"a\\\"b\":\"line\\n\\u0000\\u007f\"}");
    CLEANUP(json_drop) struct json *root = parsed(buf_span(&out));
    assert_int_equal(json_integer(json_at(json_get(root, "list"), 0), 0), INT64_MIN);
    assert_span(json_string(json_get(root, "a\"b")), SPAN("line\n\0\x7f"));
}

static void test_numbers_survive_with_15_digits(void **state)
{
    (void)state;
    static const double cases[] = {
        0,      1,       -2.5,    0.7,   1e20,   1e-9,    123456789012345.0,
        3.3e-7, 5000000, 1.0 / 3, 1e308, -0.001, DBL_MAX, -DBL_MAX};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_clear) struct buf out;
        buf_init(&out, 100);
        struct json_writer w;
        json_writer_init(&w, &out);
        json_put_number(&w, cases[i]);
        CLEANUP(json_drop) struct json *root = parsed(buf_span(&out));
        assert_true(fabs(json_number(root, NAN) - cases[i]) <= fabs(cases[i]) * 1e-15);
    }
}

/* --- third-party files ------------------------------------------------------------------------ */

static bool same(const struct json *a, const struct json *b)
{
    bool numbers = json_type(a) == JSON_REAL || json_type(b) == JSON_REAL;
    if (numbers) {
        double wanted = json_number(a, NAN);
        return fabs(json_number(b, NAN) - wanted) <= fabs(wanted) * 1e-14;
    }
    if (json_type(a) != json_type(b) || json_count(a) != json_count(b) ||
        json_bool(a, false) != json_bool(b, false) || json_integer(a, 0) != json_integer(b, 0) ||
        !span_eq(json_string(a), json_string(b))) {
        return false;
    }
    for (size_t i = 0; i < json_count(a); i++) {
        struct span key_a = SPAN_NONE, key_b = SPAN_NONE;
        const struct json *child_a = json_at(a, i), *child_b = json_at(b, i);
        json_member(a, i, &key_a, &child_a);
        json_member(b, i, &key_b, &child_b);
        if (!span_eq(key_a, key_b) || !same(child_a, child_b)) {
            return false;
        }
    }
    return true;
}

static void assert_survives(const char *path)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 20);
    struct json_error error;
    CLEANUP(json_drop) struct json *first = json_parse(harness_read(arena, path), &error);
    if (first == NULL) {
        print_error("%s:%zu:%zu: %s\n", path, error.line, error.column, error.text);
        fail();
    }
    CLEANUP(buf_clear) struct buf again;
    buf_init(&again, 64u << 20);
    json_add(&again, first);
    CLEANUP(json_drop) struct json *second = json_parse(buf_span(&again), &error);
    if (second == NULL || !same(first, second)) {
        print_error("%s: another value when written again\n", path);
        fail();
    }
}

/* Behind a fraction all of it is the library's, which is to find the same as json_plain.c. */
static void assert_read_alike(struct span text)
{
    CLEANUP(buf_clear) struct buf wrapped;
    buf_init(&wrapped, 65536);
    buf_add_str(&wrapped, "[0.5,");
    buf_add_span(&wrapped, text);
    buf_add_char(&wrapped, ']');
    CLEANUP(json_drop) struct json *alone = json_parse(text, NULL);
    CLEANUP(json_drop) struct json *inside = json_parse(buf_span(&wrapped), NULL);
    if ((alone == NULL) != (inside == NULL) ||
        (alone != NULL && !same(alone, json_at(inside, 1)))) {
        print_error("%.*s: read in two ways\n", (int)text.len, text.at);
        fail();
    }
}

static void test_both_readers_agree(void **state)
{
    (void)state;
    static const struct span cases[] = {
        SPAN("{}"),
        SPAN("[]"),
        SPAN(" \t\r\n[ 1 , 2 ] "),
        SPAN("{ \"a\" : { \"b\" : [ null , true , false ] } , \"c\" : \"\" }"),
        SPAN("[0,-0,-1,10,999999999999999999,1000000000000000000,9223372036854775807]"),
        SPAN("[-999999999999999999,-9223372036854775808]"),
        SPAN("9223372036854775808"),
        SPAN("01"),
        SPAN("-"),
        SPAN("- 1"),
        SPAN("-01"),
        SPAN("1e2"),
        SPAN("[1.]"),
        SPAN("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
        SPAN("\"\\u00e9\\ud83d\\ude00\\u0000\""),
        SPAN("\"\\x\""),
        SPAN("\"\\"),
        SPAN("\"a"),
        SPAN("\"a\tb\""),
        SPAN("\"\x7f\xc3\xa9\xf0\x9f\x98\x80\""),
        SPAN("\"\xc3\""),
        SPAN("\"\xed\xa0\x80\""),
        SPAN("\"\xc0\xaf\""),
        SPAN("{\"a\":1,\"a\":2}"),
        SPAN("{\"a\":1,\"\\u0061\":2}"),
        SPAN("{\"\":1}"),
        SPAN("{\"a\"}"),
        SPAN("{\"a\":}"),
        SPAN("{\"a\":1,}"),
        SPAN("{1:2}"),
        SPAN("[1,]"),
        SPAN("[,1]"),
        SPAN("[1 2]"),
        SPAN("nullx"),
        SPAN("tru"),
        SPAN("\v1"),
        SPAN("1\f"),
        SPAN("[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"),
        SPAN("[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]"),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_read_alike(cases[i]);
    }
    /* Every way to cut an event off, or to damage one byte of it. */
    static const char event[] =
        "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":"
        "\"a \\\"b\\\" \xc3\xa9\"},\"n\":[1,-2,null,true]}";
    for (size_t i = 1; i < sizeof(event); i++) {
        char damaged[sizeof(event)];
        assert_read_alike(span_of(event, i));
        static const char bytes[] = "\"\\,:{}[]0-.e \xff\x01";
        for (size_t b = 0; b < sizeof(bytes); b++) {
            memcpy(damaged, event, sizeof(event));
            damaged[i - 1] = bytes[b];
            assert_read_alike(span_of(damaged, sizeof(event) - 1));
        }
    }
    CLEANUP(buf_clear) struct buf many;
    buf_init(&many, 4096);
    buf_add_str(&many, "[0");
    for (size_t i = 1; i < 300; i++) { /* more than the plain reader takes */
        buf_addf(&many, ",%zu", i);
    }
    buf_add_char(&many, ']');
    assert_read_alike(buf_span(&many));
}

/* Two of the recorded requests have no body. nftw has no argument of the caller's. */
static size_t files_seen;

static int see_file(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)where;
    if (type == FTW_F && info->st_size > 0 && span_ends(span_str(path), SPAN(".json"))) {
        assert_survives(path);
        files_seen++;
    }
    return 0;
}

static void all_files_survive(const char *folder, size_t cases)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(8192);
    const char *path = harness_vectors(arena, folder, cases);
    files_seen = 0;
    assert_int_equal(nftw(path, see_file, 16, FTW_PHYS), 0);
    harness_ran(folder, files_seen, cases);
}

static void test_the_api_model_survives(void **state)
{
    (void)state;
    all_files_survive("bedrock-api", 6);
}

static void test_recorded_answers_survive(void **state)
{
    (void)state;
    all_files_survive("llm-http", 348);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_lookups_chain_through_what_is_absent),
    cmocka_unit_test(test_members_come_in_the_order_of_the_text),
    cmocka_unit_test(test_what_is_no_json_is_refused_with_its_place),
    cmocka_unit_test(test_depth_size_and_number_of_values_are_bounded),
    cmocka_unit_test(test_the_writer_places_every_comma),
    cmocka_unit_test(test_numbers_survive_with_15_digits),
    cmocka_unit_test(test_the_api_model_survives),
    cmocka_unit_test(test_recorded_answers_survive),
    cmocka_unit_test(test_both_readers_agree),
};

HARNESS_MAIN(tests)
