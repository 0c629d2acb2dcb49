/* Base64, hex, ids, and characters that must not reach a terminal or a model unseen. */
#include "base/utf8.h"
#include "codec/text.h"
#include "harness.h"

static void test_base64(void **state)
{
    (void)state;
    static const struct {
        struct span plain;
        const char *coded;
    } cases[] = {
        /* RFC 4648 section 10 */
        {SPAN(""), ""},
        {SPAN("f"), "Zg=="},
        {SPAN("fo"), "Zm8="},
        {SPAN("foo"), "Zm9v"},
        {SPAN("foob"), "Zm9vYg=="},
        {SPAN("fooba"), "Zm9vYmE="},
        {SPAN("foobar"), "Zm9vYmFy"},
        {SPAN("\x00\xff\xfb\xf0"), "AP/78A=="},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_clear) struct buf out;
        buf_init(&out, 100);
        text_add_base64(&out, cases[i].plain);
        assert_string_equal(buf_cstr(&out), cases[i].coded);
        buf_reset(&out);
        assert_true(text_decode_base64(&out, span_str(cases[i].coded)));
        assert_span(buf_span(&out), cases[i].plain);
    }
}

static void test_base64_is_strict(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "Zg",     "Zg=",  "Zg===", "=",    "====", "Z===", "Zm8=Zm8=", "Zg==Zm9v", "Zm9vZg= ",
        "Zm9v\n", "Zm9-", "Zm9_",  "Zh==", "Zm9=", "Zm=v", "Zm9vZ=g=", "Zm9v Zg=", "Zm9\xc3v",
    };
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 100);
    buf_add_str(&out, "before");
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        if (text_decode_base64(&out, span_str(broken[i]))) {
            fail_msg("taken: %s", broken[i]);
        }
        assert_string_equal(buf_cstr(&out), "before");
    }
}

static void test_what_does_not_fit_shows_as_overflow(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 3);
    assert_true(text_decode_base64(&out, SPAN("Zm9v")));
    assert_true(buf_ok(&out));
    buf_reset(&out);
    assert_true(text_decode_base64(&out, SPAN("Zm9vYg==")));
    assert_false(buf_ok(&out));
    buf_reset(&out);
    text_add_base64(&out, SPAN("f"));
    assert_false(buf_ok(&out));
}

static void test_hex(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 100);
    text_add_hex(&out, SPAN("\x00\x7f\xa5\xff"));
    assert_string_equal(buf_cstr(&out), "007fa5ff");
    assert_false(text_decode_hex(&out, SPAN("123")));
    assert_false(text_decode_hex(&out, SPAN("12g4")));
    assert_false(text_decode_hex(&out, SPAN("0x12")));
    assert_string_equal(buf_cstr(&out), "007fa5ff");
    buf_reset(&out);
    assert_true(text_decode_hex(&out, SPAN("007fA5fF")));
    assert_span(buf_span(&out), SPAN("\x00\x7f\xa5\xff"));
}

static const struct {
    uint32_t first, last;
} hidden[] = {
    {0x00, 0x08},     {0x0b, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},
    {0x61c, 0x61c},   {0x200b, 0x200d}, {0x200e, 0x200f}, {0x202a, 0x202e},
    {0x2060, 0x2060}, {0x2066, 0x2069}, {0xfeff, 0xfeff}, {0xe0000, 0xe007f},
};

static void test_every_hidden_character_is_shown_or_removed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
        for (uint32_t c = hidden[i].first; c <= hidden[i].last; c++) {
            CLEANUP(buf_clear) struct buf text;
            CLEANUP(buf_clear) struct buf out;
            CLEANUP(buf_clear) struct buf want;
            buf_init(&text, 100);
            buf_init(&out, 100);
            buf_init(&want, 100);
            buf_add_char(&text, 'a');
            utf8_add(&text, c);
            buf_add_char(&text, 'b');
            assert_int_equal(text_add_visible(&out, buf_span(&text)), 1);
            assert_string_equal(buf_cstr(&out), "ab");
            buf_reset(&out);
            buf_addf(&want, "a<U+%04X>b", c);
            text_add_printable(&out, buf_span(&text));
            assert_string_equal(buf_cstr(&out), buf_cstr(&want));
        }
    }
}

static void test_what_is_seen_stays(void **state)
{
    (void)state;
    static const char *const plain[] = {
        "",
        "plain ~ text",
        "tab\there\nand a line\r\nor two",
        "\xc2\xa0\xc3\xa9\xe2\x82\xac\xe4\xb8\xad\xf0\x9f\x98\x80", /* NBSP, letters, an emoji */
        "\xe2\x9d\xa4\xef\xb8\x8f",                                 /* U+FE0F */
        "\xe8\x91\x9b\xf3\xa0\x84\x80",                             /* U+E0100 */
    };
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        CLEANUP(buf_clear) struct buf out;
        buf_init(&out, 100);
        assert_int_equal(text_add_visible(&out, span_str(plain[i])), 0);
        assert_string_equal(buf_cstr(&out), plain[i]);
        buf_reset(&out);
        text_add_printable(&out, span_str(plain[i]));
        assert_string_equal(buf_cstr(&out), plain[i]);
    }
}

static void test_terminals_get_no_controls(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        const char *want;
    } cases[] = {
        {SPAN("\x1b[2Jgone\r"), "<U+001B>[2Jgone<U+000D>"},
        {SPAN("a\0b"), "a<U+0000>b"},
        {SPAN("\xc2\x9b"
              "31m"),
         "<U+009B>31m"},
        {SPAN("\xff\xc3("), "\xef\xbf\xbd\xef\xbf\xbd("},
        {SPAN("cut \xf0\x9f\x98"), "cut \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {SPAN("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_clear) struct buf out;
        buf_init(&out, 100);
        text_add_printable(&out, cases[i].text);
        assert_string_equal(buf_cstr(&out), cases[i].want);
    }
}

static void test_hidden_characters_are_counted(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 100);
    size_t removed =
        text_add_visible(&out, SPAN("\xef\xbb\xbf" /* byte order mark */
                                    "ig\xe2\x80\x8bnore\r \xf3\xa0\x81\xa1\xf3\xa0\x81\xa2\n"
                                    "\x07"));
    assert_int_equal(removed, 6);
    assert_string_equal(buf_cstr(&out), "ignore \n");
}

static void test_uuid7(void **state)
{
    (void)state;
    char id[37];
    /* RFC 9562 appendix A.6 */
    text_uuid7(0x017f22e279b0,
               (const uint8_t[]){0x7c, 0xc3, 0x98, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f}, id);
    assert_string_equal(id, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    text_uuid7(UINT64_MAX,
               (const uint8_t[]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, id);
    assert_string_equal(id, "ffffffff-ffff-7fff-bfff-ffffffffffff");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_base64),
    cmocka_unit_test(test_base64_is_strict),
    cmocka_unit_test(test_what_does_not_fit_shows_as_overflow),
    cmocka_unit_test(test_hex),
    cmocka_unit_test(test_every_hidden_character_is_shown_or_removed),
    cmocka_unit_test(test_what_is_seen_stays),
    cmocka_unit_test(test_terminals_get_no_controls),
    cmocka_unit_test(test_hidden_characters_are_counted),
    cmocka_unit_test(test_uuid7),
};

HARNESS_MAIN(tests)
