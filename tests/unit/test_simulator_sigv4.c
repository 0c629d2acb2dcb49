/* The simulator's check of signatures, against signatures that botocore made and against ours. */
#include "codec/sigv4.h"
#include "harness.h"
#include "simulator/sigv4_check.h"

#define HOST "bedrock-runtime.us-east-1.amazonaws.com"
#define BODY                                                                                       \
    "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":16,\"messages\":[{\"role\":"     \
    "\"user\",\"content\":\"hi\"}]}"
#define KEY    "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define NOW    1767323045 /* 2026-01-02T03:04:05Z */

static const struct sigv4_check_keys keys = {
    {KEY, sizeof(KEY) - 1}, {SECRET, sizeof(SECRET) - 1}, {"an-api-key", 10}};

struct sent {
    struct http_header headers[8];
    struct sigv4_check_request request;
};

static void send_header(struct sent *sent, const char *name, const char *value)
{
    sent->headers[sent->request.n_headers++] =
        (struct http_header){span_str(name), span_str(value)};
}

static void begin(struct sent *sent, const char *path, const char *body)
{
    *sent = (struct sent){.request = {.method = SPAN("POST"),
                                      .path = span_str(path),
                                      .headers = sent->headers,
                                      .body = span_str(body)}};
    send_header(sent, "Host", HOST);
    send_header(sent, "Accept", "application/json");
    send_header(sent, "Content-Type", "application/json");
}

static const char *verdict(const struct sent *sent, uint64_t wall_s, struct arena *arena)
{
    struct span region;
    struct refusal refusal = sigv4_check(&sent->request, &keys, wall_s, arena, &region);
    assert_true(refusal.code == 0 || refusal.code == 403);
    return refusal.code == 0 ? "" : arena_printf(arena, "%s: %s", refusal.error, refusal.message);
}

/* Made with botocore, with and without a session token. */
static const struct {
    const char *path;
    const char *signature;
    const char *with_token;
} vectors[] = {
    {"/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke",
     "4f6d10cd51fe9cfdd74b3c194883c55499f94cc064b019f39d5f7e1657459337",
     "59525d4e8ba81bb053b98edb54f0e846adaa1c092ecf57b55cf88b96b77d0bb1"},
    {"/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/invoke",
     "5d9a8a23cabba5f4c22b57ade332273633e1200a6d743109a6add52c687fb2d6",
     "e23ffa924ab77f87650a88bbded29b0aaca54dc707096fed5f4aecd67c3b98b5"},
    {"/model/us.anthropic.claude-sonnet-4-6/invoke-with-response-stream",
     "1baa8078e378c03b3ae28bc5547c0d5ef2bb7b47ad91567d9652c5dc20cf9ec1",
     "c75b19cca3f92fa61334aa074102b89e748c9516676a5395f3935fe120264de9"},
    {"/model/"
     "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123/"
     "invoke",
     "bbda52674b231921bb7b9d00deaa773596c96af4c3a8d1fecbc44525ed78ca85",
     "99b7e9e656166048291ff1da4d9c89567fdf3c12a1902137f33e0ad6b02db0e3"},
};

static void foreign_signatures_hold(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < 2 * ARRAY_LEN(vectors); i++) {
        bool token = i % 2 == 1;
        struct sent sent;
        struct span region = SPAN_NONE;
        begin(&sent, vectors[i / 2].path, BODY);
        send_header(&sent, "X-Amz-Date", "20260102T030405Z");
        if (token) {
            send_header(&sent, "X-Amz-Security-Token", "SESSIONTOKEN");
        }
        send_header(&sent, "Authorization",
                    arena_printf(arena,
                                 "AWS4-HMAC-SHA256 Credential=" KEY
                                 "/20260102/us-east-1/bedrock/aws4_request, SignedHeaders=accept;"
                                 "content-type;host;x-amz-date%s, Signature=%s",
                                 token ? ";x-amz-security-token" : "",
                                 token ? vectors[i / 2].with_token : vectors[i / 2].signature));
        assert_int_equal(sigv4_check(&sent.request, &keys, NOW, arena, &region).code, 0);
        assert_span(region, SPAN("us-east-1"));
        sent.request.body = SPAN("{}");
        assert_int_equal(sigv4_check(&sent.request, &keys, NOW, arena, &region).code, 403);
    }
    arena_free(arena);
}

/* What the suite's own signer adds, sent with the rest. */
static void sign(struct sent *sent, struct sigv4_options options, struct arena *arena)
{
    struct sigv4_header headers[8];
    struct sigv4_result result;
    size_t n = sent->request.n_headers;
    for (size_t i = 0; i < n; i++) {
        headers[i] = (struct sigv4_header){sent->headers[i].name, sent->headers[i].value};
    }
    struct sigv4_request request = {
        sent->request.method, sent->request.path, sent->request.query, headers, n,
        sent->request.body};
    sigv4_sign(&request, &options, arena, &result);
    for (size_t i = 0; i < result.n_added; i++) {
        sent->headers[sent->request.n_headers++] =
            (struct http_header){result.added[i].name, result.added[i].value};
    }
}

static const struct sigv4_options good = {
    .access_key = {KEY, sizeof(KEY) - 1},
    .secret_key = {SECRET, sizeof(SECRET) - 1},
    .region = {"eu-west-1", 9},
    .service = {"bedrock", 7},
    .wall_s = NOW,
};

static void our_signatures_hold(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/model/a/invoke",
        "/model/a%3A0/invoke",
        "/model/a:0/invoke",
        "/model/%F0%9F%98%80/invoke",
        "/model/a%2Fb~c_d.e-f/invoke-with-response-stream",
    };
    static const char *const queries[] = {"", "b=2&a=1", "a=%20&a=%2F"};
    struct arena *arena = arena_new(4u << 20);
    for (size_t i = 0; i < ARRAY_LEN(paths) * ARRAY_LEN(queries) * 4; i++) {
        struct sent sent;
        struct sigv4_options options = good;
        begin(&sent, paths[i % ARRAY_LEN(paths)], BODY);
        sent.request.query = span_str(queries[i / ARRAY_LEN(paths) % ARRAY_LEN(queries)]);
        options.session_token = i % 2 == 0 ? SPAN("TOKEN/with+signs==") : SPAN_NONE;
        options.sign_body_header = i % 4 < 2;
        sign(&sent, options, arena);
        assert_string_equal(verdict(&sent, NOW, arena), "");
    }
    arena_free(arena);
}

static void clocks_may_differ_by_five_minutes(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1u << 20);
    struct sent sent;
    begin(&sent, "/model/a/invoke", BODY);
    sign(&sent, good, arena);
    assert_string_equal(verdict(&sent, NOW + 300, arena), "");
    assert_string_equal(verdict(&sent, NOW - 300, arena), "");
    assert_string_equal(verdict(&sent, NOW + 301, arena),
                        "InvalidSignatureException: Signature expired: 20260102T030405Z is more "
                        "than 5 min. old.");
    assert_string_equal(verdict(&sent, NOW - 301, arena),
                        "InvalidSignatureException: Signature not yet current: 20260102T030405Z "
                        "is more than 5 min. ahead.");
    arena_free(arena);
}

static void wrong_credentials_are_refused(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1u << 20);
    struct sigv4_options other_key = good, other_secret = good, other_service = good;
    other_key.access_key = SPAN("AKIDOTHER");
    other_secret.secret_key = SPAN("other");
    other_service.service = SPAN("s3");
    const struct {
        const struct sigv4_options *options;
        const char *verdict;
    } rows[] = {
        {&other_key, "UnrecognizedClientException: The security token included in the request is "
                     "invalid."},
        {&other_secret,
         "InvalidSignatureException: The request signature we calculated does not match the "
         "signature you provided. Check your AWS Secret Access Key and signing method. Consult the "
         "service documentation for details."},
        {&other_service, "InvalidSignatureException: Credential should be scoped to correct "
                         "service: 'bedrock'."},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sent sent;
        begin(&sent, "/model/a/invoke", BODY);
        sign(&sent, *rows[i].options, arena);
        assert_string_equal(verdict(&sent, NOW, arena), rows[i].verdict);
    }
    arena_free(arena);
}

static void what_is_sent_unsigned_is_refused(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1u << 20);
    struct sent sent;
    begin(&sent, "/model/a/invoke", BODY);
    sign(&sent, good, arena);
    send_header(&sent, "X-Amz-Security-Token", "unsigned");
    assert_string_equal(verdict(&sent, NOW, arena),
                        "InvalidSignatureException: Every 'X-Amz-' header must be a "
                        "'SignedHeader' in the AWS Authorization.");
    begin(&sent, "/model/a/invoke", BODY);
    sign(&sent, good, arena);
    send_header(&sent, "X-Amzn-Trace-Id", "may be unsigned");
    assert_string_equal(verdict(&sent, NOW, arena), "");
    sent.headers[1].value = SPAN("text/plain");
    assert_true(span_starts(span_str(verdict(&sent, NOW, arena)),
                            SPAN("InvalidSignatureException: The request signature")));
    arena_free(arena);
}

static void malformed_authorization_is_refused(void **state)
{
    (void)state;
#define SCOPE "/20260102/us-east-1/bedrock/aws4_request"
    static const struct {
        const char *authorization; /* NULL: not sent */
        const char *error;
    } rows[] = {
        {NULL, "MissingAuthenticationTokenException: Missing Authentication Token"},
        {"Basic dXNlcg==", "IncompleteSignatureException: Unsupported AWS 'algorithm'."},
        {"AWS4-HMAC-SHA256", "IncompleteSignatureException: Authorization header requires"},
        {"AWS4-HMAC-SHA256 Credential=" KEY ", SignedHeaders=host, Signature=0",
         "IncompleteSignatureException: Credential must have five elements."},
        {"AWS4-HMAC-SHA256 Credential=" KEY SCOPE ", SignedHeaders=Host;x-amz-date, Signature=0",
         "IncompleteSignatureException: 'SignedHeaders' must be in lower case and in order."},
        {"AWS4-HMAC-SHA256 Credential=" KEY SCOPE ", SignedHeaders=x-amz-date;host, Signature=0",
         "IncompleteSignatureException: 'SignedHeaders' must be in lower case and in order."},
        {"AWS4-HMAC-SHA256 Credential=" KEY SCOPE ", SignedHeaders=accept;x-amz-date, Signature=0",
         "InvalidSignatureException: 'Host' or ':authority' must be a 'SignedHeader'"},
        {"AWS4-HMAC-SHA256 Credential=" KEY SCOPE ", SignedHeaders=host, Signature=0",
         "InvalidSignatureException: Every 'X-Amz-' header must be a 'SignedHeader'"},
        {"AWS4-HMAC-SHA256 Credential=" KEY SCOPE
         ", SignedHeaders=absent;host;x-amz-date, Signature=0",
         "InvalidSignatureException: The request signature"},
        {"AWS4-HMAC-SHA256 Credential=" KEY "/20260103/us-east-1/bedrock/aws4_request, "
         "SignedHeaders=host;x-amz-date, Signature=0",
         "InvalidSignatureException: Date in Credential scope"},
        {"Bearer an-api-key", ""},
        {"Bearer another", "AccessDeniedException: Authentication failed: Please make sure your "
                           "API Key is valid."},
    };
    struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sent sent;
        begin(&sent, "/model/a/invoke", BODY);
        send_header(&sent, "X-Amz-Date", "20260102T030405Z");
        if (rows[i].authorization != NULL) {
            send_header(&sent, "Authorization", rows[i].authorization);
        }
        struct span got = span_str(verdict(&sent, NOW, arena));
        assert_span(span_first(got, strlen(rows[i].error)), span_str(rows[i].error));
        assert_int_equal(got.len == 0, rows[i].error[0] == '\0');
    }
    arena_free(arena);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(foreign_signatures_hold),
    cmocka_unit_test(our_signatures_hold),
    cmocka_unit_test(clocks_may_differ_by_five_minutes),
    cmocka_unit_test(wrong_credentials_are_refused),
    cmocka_unit_test(what_is_sent_unsigned_is_refused),
    cmocka_unit_test(malformed_authorization_is_refused),
};
HARNESS_MAIN(tests)
