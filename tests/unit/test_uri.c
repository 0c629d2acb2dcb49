/* Percent-encoding and the parts of a URL. */
#include "codec/uri.h"
#include "harness.h"

static void test_encoding(void **state)
{
    (void)state;
    static const struct {
        struct span plain;
        const char *keep;
        const char *encoded;
    } cases[] = {
        {SPAN("AZaz09-._~"), "", "AZaz09-._~"},
        {SPAN("us.anthropic.claude-v1:0"), "", "us.anthropic.claude-v1%3A0"},
        {SPAN("a/b c"), "", "a%2Fb%20c"},
        {SPAN("a/b c"), "/", "a/b%20c"},
        {SPAN("100%+\0\x7f"), "", "100%25%2B%00%7F"},
        {SPAN("\xe1\x88\xb4"), "/", "%E1%88%B4"},
        {SPAN(""), "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_clear) struct buf encoded;
        CLEANUP(buf_clear) struct buf decoded;
        buf_init(&encoded, 100);
        buf_init(&decoded, 100);
        uri_add_encoded(&encoded, cases[i].plain, cases[i].keep);
        assert_string_equal(buf_cstr(&encoded), cases[i].encoded);
        assert_true(uri_decode(&decoded, buf_span(&encoded)));
        assert_span(buf_span(&decoded), cases[i].plain);
    }
}

static void test_broken_escapes_leave_the_output_alone(void **state)
{
    (void)state;
    static const char *const broken[] = {"%", "abc%2", "%zz", "a%2fb%G0", "%%41", "%-1"};
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 100);
    buf_add_str(&out, "before");
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        assert_false(uri_decode(&out, span_str(broken[i])));
        assert_string_equal(buf_cstr(&out), "before");
    }
    assert_true(uri_decode(&out, SPAN("+%2f%2F")));
    assert_string_equal(buf_cstr(&out), "before+//");
}

static void test_parts_of_a_url(void **state)
{
    (void)state;
    static const struct {
        const char *text, *scheme, *authority, *host;
        uint16_t port;
        const char *path, *query;
    } cases[] = {
        {"https://bedrock-runtime.us-east-1.amazonaws.com", "https",
         "bedrock-runtime.us-east-1.amazonaws.com", "bedrock-runtime.us-east-1.amazonaws.com", 0,
         "", ""},
        {"http://127.0.0.1:8080/a/b%20c?x=1&y=/?", "http", "127.0.0.1:8080", "127.0.0.1", 8080,
         "/a/b%20c", "x=1&y=/?"},
        {"HTTP://[::1]:65535/", "HTTP", "[::1]:65535", "::1", 65535, "/", ""},
        {"https://[fd00:ec2::23]?q", "https", "[fd00:ec2::23]", "fd00:ec2::23", 0, "", "q"},
        {"s3://bucket/docs/a+b@c.md", "s3", "bucket", "bucket", 0, "/docs/a+b@c.md", ""},
        {"https://host/?", "https", "host", "host", 0, "/", ""},
        {"https://host/a://b", "https", "host", "host", 0, "/a://b", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct uri uri;
        assert_true(uri_parse(span_str(cases[i].text), &uri));
        assert_span(uri.scheme, span_str(cases[i].scheme));
        assert_span(uri.authority, span_str(cases[i].authority));
        assert_span(uri.host, span_str(cases[i].host));
        assert_int_equal(uri.port, cases[i].port);
        assert_span(uri.path, span_str(cases[i].path));
        assert_span(uri.query, span_str(cases[i].query));
    }
}

static void test_what_is_no_url_of_ours(void **state)
{
    (void)state;
    static const struct span refused[] = {
        SPAN(""),
        SPAN("host/path"),
        SPAN("/path"),
        SPAN("ftp://host/"),
        SPAN("https:/host/"),
        SPAN("https://"),
        SPAN("https:///path"),
        SPAN("s3:///key"),
        SPAN("https://user@host/"),
        SPAN("https://user:pw@host/"),
        SPAN("https://host/#part"),
        SPAN("https://host#part"),
        SPAN("https://host:/"),
        SPAN("https://host:0/"),
        SPAN("https://host:65536/"),
        SPAN("https://host:80x/"),
        SPAN("https://:80/"),
        SPAN("https://[::1/"),
        SPAN("https://[]/"),
        SPAN("https://[::1]x/"),
        SPAN("https://[fe80::1%25eth0]/"),
        SPAN("https://host/a b"),
        SPAN("https://host/a\r\nX: y"),
        SPAN("https://ho\0st/"),
        SPAN("https://host/%2"),
        SPAN("https://h%zz/"),
        SPAN("https://host/?a=%"),
        SPAN("https://host\\@other/"),
        SPAN("https://host/\xe1\x88\xb4"),
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct uri uri = {.port = 7};
        if (uri_parse(refused[i], &uri)) {
            fail_msg("taken: %s", refused[i].at);
        }
        assert_int_equal(uri.port, 7);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_encoding),
    cmocka_unit_test(test_broken_escapes_leave_the_output_alone),
    cmocka_unit_test(test_parts_of_a_url),
    cmocka_unit_test(test_what_is_no_url_of_ours),
};

HARNESS_MAIN(tests)
