/* Signatures: AWS's own suite, two paths of smithy-rs, S3's documented examples, Bedrock's. */
#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#include "codec/sigv4.h"
#include "harness.h"

#define SUITE      "sigv4/aws-c-auth/tests/aws-signing-test-suite/v4"
#define SUITE_SIZE 38
#define SMITHY     "sigv4/smithy-rs/v4"

#define EXAMPLE_ID     "AKIDEXAMPLE"
#define EXAMPLE_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

/* --- requests as files have them --- */

struct message {
    struct span method;
    struct span path;
    struct span query;
    struct sigv4_header headers[16];
    size_t n_headers;
    struct span body;
};

/* A line that starts with a blank goes on with the value before it; spans stay as written. */
static void read_headers(struct span *text, struct message *out)
{
    struct span line;
    while (span_cut(text, '\n', &line) && line.len > 0) {
        if (line.at[0] == ' ') {
            assert_true(out->n_headers > 0);
            struct sigv4_header *last = &out->headers[out->n_headers - 1];
            last->value.len = (size_t)(line.at + line.len - last->value.at);
            continue;
        }
        assert_true(out->n_headers < ARRAY_LEN(out->headers));
        size_t colon = span_find_char(line, ':');
        out->headers[out->n_headers++] =
            (struct sigv4_header){span_first(line, colon), span_from(line, colon + 1)};
    }
}

static struct message read_message(struct span text)
{
    struct message out = {0};
    struct span line;
    assert_true(span_cut(&text, '\n', &line));
    assert_true(span_cut(&line, ' ', &out.method));
    if (span_ends(line, SPAN(" HTTP/1.1"))) {
        line.len -= strlen(" HTTP/1.1");
    }
    size_t mark = span_find_char(line, '?');
    out.path = span_first(line, mark);
    out.query = mark != SPAN_MISSING ? span_from(line, mark + 1) : SPAN_NONE;
    read_headers(&text, &out);
    out.body = text;
    return out;
}

static struct sigv4_request request_of(const struct message *message)
{
    return (struct sigv4_request){message->method,  message->path,      message->query,
                                  message->headers, message->n_headers, message->body};
}

static int header_order(const void *left, const void *right)
{
    const struct sigv4_header *a = left, *b = right;
    char first[32], second[32];
    snprintf(first, sizeof(first), "%.*s", (int)a->name.len, a->name.at);
    snprintf(second, sizeof(second), "%.*s", (int)b->name.len, b->name.at);
    int order = strcasecmp(first, second);
    return order != 0 ? order : span_compare(a->value, b->value);
}

/* What goes out is what the file says, in whatever order of headers. */
static void assert_signed_request(const struct message *request, const struct sigv4_result *result,
                                  struct span want_text)
{
    struct message got = *request;
    struct message want = read_message(want_text);
    got.query = result->query;
    for (size_t i = 0; i < result->n_added; i++) {
        got.headers[got.n_headers++] = result->added[i];
    }
    qsort(got.headers, got.n_headers, sizeof(got.headers[0]), header_order);
    qsort(want.headers, want.n_headers, sizeof(want.headers[0]), header_order);
    assert_span(got.method, want.method);
    assert_span(got.path, want.path);
    assert_span(got.query, want.query);
    assert_span(got.body, want.body);
    assert_int_equal(got.n_headers, want.n_headers);
    for (size_t i = 0; i < got.n_headers; i++) {
        assert_true(span_eq_nocase(got.headers[i].name, want.headers[i].name));
        assert_span(span_trim(got.headers[i].value), span_trim(want.headers[i].value));
    }
}

/* --- aws-c-auth --- */

static struct span member(const json_t *object, const char *key)
{
    return span_str(json_string_value(json_object_get(object, key)));
}

static uint64_t seconds_of(const char *rfc3339)
{
    struct tm utc = {0};
    assert_non_null(strptime(rfc3339, "%Y-%m-%dT%H:%M:%SZ", &utc));
    return (uint64_t)timegm(&utc);
}

static struct sigv4_options options_of(const json_t *context)
{
    const json_t *credentials = json_object_get(context, "credentials");
    return (struct sigv4_options){
        .access_key = member(credentials, "access_key_id"),
        .secret_key = member(credentials, "secret_access_key"),
        .session_token = member(credentials, "token"),
        .region = member(context, "region"),
        .service = member(context, "service"),
        .wall_s = seconds_of(member(context, "timestamp").at),
        .no_normalize = json_is_false(json_object_get(context, "normalize")),
        .sign_body_header = json_is_true(json_object_get(context, "sign_body")),
        .token_unsigned = json_is_true(json_object_get(context, "omit_session_token")),
        .expires_s =
            (uint32_t)json_integer_value(json_object_get(context, "expiration_in_seconds")),
    };
}

static struct span part(struct arena *arena, const char *folder, const char *kind, const char *name)
{
    return harness_read(arena, arena_printf(arena, "%s/%s-%s.txt", folder, kind, name));
}

static void run_case(struct arena *arena, const char *folder, bool in_query)
{
    const char *kind = in_query ? "query" : "header";
    print_message("# %s, %s\n", folder, kind);
    json_t *context = json_load_file(arena_printf(arena, "%s/context.json", folder), 0, NULL);
    assert_non_null(context);
    struct sigv4_options options = options_of(context);
    options.in_query = in_query;
    struct message message =
        read_message(harness_read(arena, arena_printf(arena, "%s/request.txt", folder)));
    struct sigv4_request request = request_of(&message);
    struct sigv4_result result;
    sigv4_sign(&request, &options, arena, &result);
    assert_span(result.canonical_request, part(arena, folder, kind, "canonical-request"));
    assert_span(result.string_to_sign, part(arena, folder, kind, "string-to-sign"));
    assert_span(result.signature, part(arena, folder, kind, "signature"));
    assert_signed_request(&message, &result, part(arena, folder, kind, "signed-request"));
    assert_true(!in_query || result.n_added == 0);
    /* One key for all cases: it is derived again when the options ask for another. */
    static struct sigv4_key kept;
    struct sigv4_result again;
    sigv4_derive(&options, &kept);
    options.key = kept.bytes;
    sigv4_sign(&request, &options, arena, &again);
    assert_span(again.signature, result.signature);
    json_decref(context);
}

static void run_suite(bool in_query)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *root = harness_vectors(arena, SUITE, SUITE_SIZE);
    DIR *folder = opendir(root);
    assert_non_null(folder);
    size_t ran = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            run_case(arena, arena_printf(arena, "%s/%s", root, entry->d_name), in_query);
            ran++;
        }
    }
    closedir(folder);
    harness_ran(in_query ? "sigv4 aws-c-auth, query" : "sigv4 aws-c-auth, header", ran, SUITE_SIZE);
}

static void test_aws_suite_in_headers(void **state)
{
    (void)state;
    run_suite(false);
}

static void test_aws_suite_in_the_query(void **state)
{
    (void)state;
    run_suite(true);
}

/* --- smithy-rs: paths that are encoded once more --- */

static void test_a_kept_key_is_the_one_of_its_options(void **state)
{
    (void)state;
    const struct sigv4_options usual = {.secret_key = SPAN(EXAMPLE_SECRET),
                                        .region = SPAN("us-east-1"),
                                        .service = SPAN("bedrock"),
                                        .wall_s = 86400};
    char long_secret[300];
    memset(long_secret, 's', sizeof(long_secret));
    struct sigv4_options others[] = {usual, usual, usual, usual, usual};
    others[0].secret_key = SPAN("another");
    others[1].region = SPAN("us-west-2");
    others[2].service = SPAN("s3");
    others[3].wall_s = 2 * 86400;
    others[4].secret_key = span_of(long_secret, sizeof(long_secret)); /* not kept, but derived */
    struct sigv4_key kept = {0};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct sigv4_key fresh = {0}, other = {0};
        sigv4_derive(&usual, &kept);
        sigv4_derive(&usual, &fresh);
        assert_memory_equal(kept.bytes, fresh.bytes, sizeof(kept.bytes));
        sigv4_derive(&others[i], &kept);
        sigv4_derive(&others[i], &other);
        assert_memory_equal(kept.bytes, other.bytes, sizeof(kept.bytes));
        assert_memory_not_equal(kept.bytes, fresh.bytes, sizeof(kept.bytes));
    }
}

static struct sigv4_result sign_smithy(struct arena *arena, const char *folder, const char *region,
                                       const char *service, struct message *message)
{
    *message = read_message(harness_read(arena, arena_printf(arena, "%s/request.txt", folder)));
    /* The date is the signer's to add; it stands last. */
    message->n_headers--;
    assert_true(span_eq_nocase(message->headers[message->n_headers].name, SPAN("x-amz-date")));
    struct sigv4_options options = {
        .access_key = SPAN(EXAMPLE_ID),
        .secret_key = SPAN(EXAMPLE_SECRET),
        .region = span_str(region),
        .service = span_str(service),
        .wall_s = seconds_of("2021-05-11T15:40:45Z"),
    };
    struct sigv4_request request = request_of(message);
    struct sigv4_result result;
    sigv4_sign(&request, &options, arena, &result);
    assert_span(result.canonical_request,
                span_trim(part(arena, folder, "header", "canonical-request")));
    return result;
}

static void test_smithy_double_encoding(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    const char *root = harness_vectors(arena, SMITHY, 2);
    struct message message;
    sign_smithy(arena, arena_printf(arena, "%s/double-encode-path", root), "us-east-1",
                "execute-api", &message);
    const char *folder = arena_printf(arena, "%s/double-url-encode", root);
    struct sigv4_result result = sign_smithy(arena, folder, "us-east-2", "lambda", &message);
    assert_span(result.string_to_sign, span_trim(part(arena, folder, "header", "string-to-sign")));
    assert_signed_request(&message, &result,
                          span_trim(part(arena, folder, "header", "signed-request")));
    harness_ran("sigv4 smithy-rs", 2, 2);
}

/* --- Bedrock and S3 --- */

static void test_bedrock(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *plain;
        const char *with_token;
    } cases[] = {
        {"/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke",
         "4f6d10cd51fe9cfdd74b3c194883c55499f94cc064b019f39d5f7e1657459337",
         "59525d4e8ba81bb053b98edb54f0e846adaa1c092ecf57b55cf88b96b77d0bb1"},
        {"/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/invoke",
         "5d9a8a23cabba5f4c22b57ade332273633e1200a6d743109a6add52c687fb2d6",
         "e23ffa924ab77f87650a88bbded29b0aaca54dc707096fed5f4aecd67c3b98b5"},
        {"/model/us.anthropic.claude-sonnet-4-6/invoke-with-response-stream",
         "1baa8078e378c03b3ae28bc5547c0d5ef2bb7b47ad91567d9652c5dc20cf9ec1",
         "c75b19cca3f92fa61334aa074102b89e748c9516676a5395f3935fe120264de9"},
        {"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3A"
         "application-inference-profile%2Fabc123/invoke",
         "bbda52674b231921bb7b9d00deaa773596c96af4c3a8d1fecbc44525ed78ca85",
         "99b7e9e656166048291ff1da4d9c89567fdf3c12a1902137f33e0ad6b02db0e3"},
    };
    /* The last three are on the wire but never signed. */
    static const struct sigv4_header headers[] = {
        {SPAN("Host"), SPAN("bedrock-runtime.us-east-1.amazonaws.com")},
        {SPAN("Content-Type"), SPAN("application/json")},
        {SPAN("Accept"), SPAN("application/json")},
        {SPAN("User-Agent"), SPAN("prism")},
        {SPAN("Expect"), SPAN("100-continue")},
        {SPAN("X-Amzn-Trace-Id"), SPAN("Root=1-2-3")},
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    size_t ran = 0;
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        bool token = i % 2 == 1;
        struct sigv4_request request = {
            .method = SPAN("POST"),
            .path = span_str(cases[i / 2].path),
            .headers = headers,
            .n_headers = ARRAY_LEN(headers),
            .body = SPAN("{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":16,"
                         "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"),
        };
        struct sigv4_options options = {
            .access_key = SPAN(EXAMPLE_ID),
            .secret_key = SPAN(EXAMPLE_SECRET),
            .session_token = token ? SPAN("SESSIONTOKEN") : SPAN_NONE,
            .region = SPAN("us-east-1"),
            .service = SPAN("bedrock"),
            .wall_s = seconds_of("2026-01-02T03:04:05Z"),
        };
        struct sigv4_result result;
        sigv4_sign(&request, &options, arena, &result);
        assert_span(result.signature,
                    span_str(token ? cases[i / 2].with_token : cases[i / 2].plain));
        assert_int_equal(result.n_added, token ? 3 : 2);
        ran++;
    }
    harness_ran("sigv4 Bedrock", ran, 8);
}

/* docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html: GET and PUT Object. */
static void test_s3_signs_the_path_as_sent(void **state)
{
    (void)state;
    static const struct sigv4_header get_headers[] = {
        {SPAN("Host"), SPAN("examplebucket.s3.amazonaws.com")},
        {SPAN("Range"), SPAN("bytes=0-9")},
    };
    static const struct sigv4_header put_headers[] = {
        {SPAN("Host"), SPAN("examplebucket.s3.amazonaws.com")},
        {SPAN("Date"), SPAN("Fri, 24 May 2013 00:00:00 GMT")},
        {SPAN("x-amz-storage-class"), SPAN("REDUCED_REDUNDANCY")},
    };
    const struct {
        struct sigv4_request request;
        const char *signature;
    } cases[] = {
        {{SPAN("GET"), SPAN("/test.txt"), SPAN_NONE, get_headers, ARRAY_LEN(get_headers),
          SPAN_NONE},
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
        {{SPAN("PUT"), SPAN("/test%24file.text"), SPAN_NONE, put_headers, ARRAY_LEN(put_headers),
          SPAN("Welcome to Amazon S3.")},
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    };
    struct sigv4_options options = {
        .access_key = SPAN("AKIAIOSFODNN7EXAMPLE"),
        .secret_key = SPAN("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        .region = SPAN("us-east-1"),
        .service = SPAN("s3"),
        .wall_s = seconds_of("2013-05-24T00:00:00Z"),
        .single_encode = true,
        .no_normalize = true,
        .sign_body_header = true,
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sigv4_result result;
        sigv4_sign(&cases[i].request, &options, arena, &result);
        assert_span(result.signature, span_str(cases[i].signature));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_kept_key_is_the_one_of_its_options),
    cmocka_unit_test(test_aws_suite_in_headers),
    cmocka_unit_test(test_aws_suite_in_the_query),
    cmocka_unit_test(test_smithy_double_encoding),
    cmocka_unit_test(test_bedrock),
    cmocka_unit_test(test_s3_signs_the_path_as_sent),
};

HARNESS_MAIN(tests)
