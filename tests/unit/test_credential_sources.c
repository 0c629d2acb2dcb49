/* Each source of credentials against a peer that speaks it strictly. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aws_world.h"

#define ROLE_ARN "arn:aws:iam::123456789012:role/prism"

static void expect_keys(const struct aws_found *found, const char *access_key, const char *source)
{
    if (found->found != SOURCE_KEYS) {
        fail_msg("%s: %s", source, found->why);
    }
    assert_span(found->values.access_key, span_str(access_key));
    assert_string_equal(found->source, source);
}

static void expect_words(const struct aws_found *found, enum source_found expected,
                         const char *words)
{
    if (found->found != expected || strstr(found->why, words) == NULL) {
        fail_msg("found %d, not %d; said: %s; not said: %s", (int)found->found, (int)expected,
                 found->why, words);
    }
}

/* --- environment ------------------------------------------------------------------------------ */

task_test_real(environment)
{
    struct aws_world w;
    aws_world_start(&w);
    struct aws_found found = aws_world_look(&w, environment_find);
    expect_words(&found, SOURCE_NOTHING, "AWS_ACCESS_KEY_ID");

    aws_world_set("AWS_ACCESS_KEY_ID", "key");
    found = aws_world_look(&w, environment_find);
    expect_words(&found, SOURCE_BROKEN, "AWS_SECRET_ACCESS_KEY is not set");
    aws_world_set("AWS_SECRET_ACCESS_KEY", "secret");
    aws_world_set("AWS_SECURITY_TOKEN", "old name");
    found = aws_world_look(&w, environment_find);
    expect_keys(&found, "key", "environment");
    assert_span(found.values.secret_key, SPAN("secret"));
    assert_span(found.values.session_token, SPAN("old name"));
    assert_true(found.lives_ms == KEYS_FOR_EVER);
    aws_world_set("AWS_SESSION_TOKEN", "session");
    found = aws_world_look(&w, environment_find);
    assert_span(found.values.session_token, SPAN("session"));
    aws_world_set("AWS_BEARER_TOKEN_BEDROCK", "bearer");
    found = aws_world_look(&w, source_find);
    assert_span(found.values.bearer_token, SPAN("bearer"));

    aws_world_set("AWS_ACCESS_KEY_ID", "");
    aws_world_set("AWS_BEARER_TOKEN_BEDROCK", "");
    found = aws_world_look(&w, environment_find);
    expect_words(&found, SOURCE_BROKEN, "AWS_ACCESS_KEY_ID is not set");
    aws_world_stop(&w);
}

/* --- instance metadata ------------------------------------------------------------------------ */

task_test_real(instance_metadata_gives_keys_for_a_token)
{
    struct aws_world w;
    aws_world_start(&w);
    aws_world_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", arena_printf(w.arena, "%s/", w.url));
    struct aws_found found = aws_world_look(&w, imds_find);
    expect_keys(&found, w.access_key, "instance metadata");
    assert_span(found.values.session_token, span_str(w.session_token));
    assert_true(found.lives_ms > 3500000 && found.lives_ms <= 3600000);
    assert_int_equal(w.requests, 3);
    assert_int_equal(w.tokens, 1);

    /* What has expired is used on: AWS could not renew it. */
    w.expiration = "2020-01-01T00:00:00Z";
    found = aws_world_look(&w, imds_find);
    expect_keys(&found, w.access_key, "instance metadata");
    assert_true(found.lives_ms >= 15 * 60000 && found.lives_ms < 30 * 60000);
    aws_world_stop(&w);
}

static const struct imds_case {
    const char *name;
    int token_code;
    bool forgets;
    const char *role;
    int code;
    const char *body;
    const char *expiration;
    enum source_found found;
    const char *words;
} imds_cases[] = {
    {"switched off", .token_code = 403, .found = SOURCE_NOTHING, .words = "HTTP 403"},
    {"version 1 only", .token_code = 404, .found = SOURCE_NOTHING, .words = "version 1"},
    {"old version 1", .token_code = 405, .found = SOURCE_NOTHING, .words = "version 1"},
    {"token refused", .forgets = true, .found = SOURCE_LATER, .words = "no role: HTTP 401"},
    {"no role", .role = "", .found = SOURCE_NOTHING, .words = "no role is attached"},
    {"keys refused", .code = 500, .found = SOURCE_LATER, .words = "no keys: HTTP 500"},
    {"says so", .body = "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"trust\"}",
     .found = SOURCE_LATER, .words = "AssumeRoleUnauthorizedAccess trust"},
    {"no JSON", .body = "<html>", .found = SOURCE_LATER, .words = "no JSON object"},
    {"no keys", .body = "{\"Code\":\"Success\"}", .found = SOURCE_LATER, .words = "AccessKeyId"},
    {"no time", .expiration = "soon", .found = SOURCE_LATER, .words = "Expiration"},
    {"a key with a line end", .body = "{\"AccessKeyId\":\"a\\nb\",\"SecretAccessKey\":\"c\"}",
     .found = SOURCE_LATER, .words = "control"},
};

task_test_real(instance_metadata_that_does_not_give)
{
    struct aws_world w;
    aws_world_start(&w);
    aws_world_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w.url);
    for (size_t i = 0; i < ARRAY_LEN(imds_cases); i++) {
        const struct imds_case *c = &imds_cases[i];
        w.token_code = c->token_code;
        w.forgets_its_tokens = c->forgets;
        w.role = c->role != NULL ? c->role : "a-role";
        w.code = c->code;
        w.body = c->body;
        w.expiration = c->expiration;
        struct aws_found found = aws_world_look(&w, imds_find);
        expect_words(&found, c->found, c->words);
    }
    /* An answer that a router in between dropped, as for too many hops. */
    w.silent = true;
    struct aws_found found = aws_world_look(&w, imds_find);
    expect_words(&found, SOURCE_NOTHING, "hop limit");

    w.requests = 0;
    aws_world_set("AWS_EC2_METADATA_DISABLED", "True");
    found = aws_world_look(&w, imds_find);
    expect_words(&found, SOURCE_NOTHING, "AWS_EC2_METADATA_DISABLED");
    aws_world_set("AWS_EC2_METADATA_DISABLED", NULL);
    aws_world_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "not a url");
    found = aws_world_look(&w, imds_find);
    expect_words(&found, SOURCE_BROKEN, "no URL");
    assert_int_equal(w.requests, 0);
    aws_world_stop(&w);
}

/* --- container -------------------------------------------------------------------------------- */

static const struct {
    const char *relative;
    const char *full;
    const char *url; /* NULL: refused, and the words are */
    const char *words;
} container_urls[] = {
    {"/v2/credentials/x", "http://evil/", "http://169.254.170.2/v2/credentials/x", ""},
    {"@evil/x", "", NULL, "no path"},
    {"", "http://169.254.170.23/v1/credentials", "http://169.254.170.23/v1/credentials", ""},
    {"", "http://[fd00:ec2::23]/v1/credentials", "http://[fd00:ec2::23]/v1/credentials", ""},
    {"", "http://127.0.0.1:80/x", "http://127.0.0.1:80/x", ""},
    {"", "http://127.3.2.1/x", "http://127.3.2.1/x", ""},
    {"", "http://[::1]:80/x", "http://[::1]:80/x", ""},
    {"", "http://localhost/x", "http://localhost/x", ""},
    {"", "https://example.com/x", "https://example.com/x", ""},
    {"", "http://example.com/x", NULL, "example.com"},
    {"", "http://127.evil.com/x", NULL, "127.evil.com"},
    {"", "http://127.0.0.1.evil.com/x", NULL, "127.0.0.1.evil.com"},
    {"", "http://169.254.169.254/x", NULL, "169.254.169.254"},
    {"", "http://169.254.170.2@evil/x", NULL, "no URL"},
    {"", "s3://bucket/x", NULL, "no URL"},
    {"", "/x", NULL, "no URL"},
};

static void a_containers_url_is_its_own_machines_or_https(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    for (size_t i = 0; i < ARRAY_LEN(container_urls); i++) {
        const char *why = "";
        const char *url = container_url(span_str(container_urls[i].relative),
                                        span_str(container_urls[i].full), arena, &why);
        if (container_urls[i].url != NULL) {
            assert_non_null(url);
            assert_string_equal(url, container_urls[i].url);
        } else {
            assert_null(url);
            assert_non_null(strstr(why, container_urls[i].words));
        }
    }
}

task_test_real(a_container_gives_keys_for_the_token_in_a_file)
{
    struct aws_world w;
    aws_world_start(&w);
    const char *path = aws_world_file(&w, "token", "first\n");
    aws_world_set("AWS_CONTAINER_CREDENTIALS_FULL_URI",
                  arena_printf(w.arena, "%s/v1/credentials", w.url));
    aws_world_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "not this one");
    aws_world_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path);
    w.pass = "first";
    struct aws_found found = aws_world_look(&w, container_find);
    expect_keys(&found, w.access_key, "container");
    assert_span(found.values.session_token, span_str(w.session_token));
    assert_true(found.lives_ms > 3500000 && found.lives_ms <= 3600000);

    w.pass = "second"; /* rotated */
    found = aws_world_look(&w, container_find);
    expect_words(&found, SOURCE_BROKEN, "HTTP 401: who are you?");
    aws_world_file(&w, "token", "second");
    found = aws_world_look(&w, source_find);
    expect_keys(&found, w.access_key, "container");

    aws_world_file(&w, "token", "sec\nond");
    found = aws_world_look(&w, container_find);
    expect_words(&found, SOURCE_LATER, "more than one line");
    aws_world_file(&w, "token", "\n");
    found = aws_world_look(&w, container_find);
    expect_words(&found, SOURCE_LATER, "it is empty");
    aws_world_file(&w, "token", NULL);
    found = aws_world_look(&w, container_find);
    expect_words(&found, SOURCE_LATER, "No such file");

    aws_world_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", NULL);
    aws_world_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\r\nb: c");
    found = aws_world_look(&w, container_find);
    expect_words(&found, SOURCE_LATER, "more than one line");
    aws_world_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "second");
    found = aws_world_look(&w, container_find);
    expect_keys(&found, w.access_key, "container");
    aws_world_stop(&w);
}

task_test_real(a_container_that_does_not_give)
{
    struct aws_world w;
    aws_world_start(&w);
    struct aws_found found = aws_world_look(&w, container_find);
    expect_words(&found, SOURCE_NOTHING, "_FULL_URI");
    aws_world_set("AWS_CONTAINER_CREDENTIALS_FULL_URI",
                  arena_printf(w.arena, "%s/v1/credentials", w.url));
    static const struct {
        int code;
        const char *body;
        const char *expiration;
        enum source_found found;
        const char *words;
    } cases[] = {
        {500, "", NULL, SOURCE_LATER, "HTTP 500"},
        {429, "{\"message\":\"slowly\"}", NULL, SOURCE_LATER, "HTTP 429: slowly"},
        {404, "x", NULL, SOURCE_BROKEN, "HTTP 404"},
        {302, "x", NULL, SOURCE_BROKEN, "HTTP 302"},
        {0, "[]", NULL, SOURCE_LATER, "no JSON object"},
        {0, NULL, "2020-01-01T00:00:00Z", SOURCE_LATER, "have expired"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        w.code = cases[i].code;
        w.body = cases[i].body;
        w.expiration = cases[i].expiration;
        found = aws_world_look(&w, container_find);
        expect_words(&found, cases[i].found, cases[i].words);
    }
    char *large = arena_alloc(w.arena, 300001);
    memset(large, 'x', 300000);
    w.code = 0;
    w.body = large;
    found = aws_world_look(&w, container_find);
    expect_words(&found, SOURCE_LATER, "larger than the limit");
    w.silent = true;
    found = aws_world_look(&w, container_find);
    expect_words(&found, SOURCE_LATER, "no answer in time");
    aws_world_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/");
    found = aws_world_look(&w, source_find);
    expect_words(&found, SOURCE_LATER, "http://127.0.0.1:1/");
    aws_world_stop(&w);
}

/* --- web identity ------------------------------------------------------------------------------
 */

static void set_web_identity(struct aws_world *w, const char *token)
{
    aws_world_set("AWS_WEB_IDENTITY_TOKEN_FILE", aws_world_file(w, "token", token));
    aws_world_set("AWS_ROLE_ARN", ROLE_ARN);
    aws_world_set("AWS_ENDPOINT_URL_STS", w->url);
    aws_world_set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
}

task_test_real(a_web_identity_is_exchanged_for_keys)
{
    struct aws_world w;
    aws_world_start(&w);
    set_web_identity(&w, "header.payload.signature\n");
    aws_world_set("AWS_ROLE_SESSION_NAME", "a session");
    struct aws_found found = aws_world_look(&w, source_find);
    expect_keys(&found, w.access_key, "web identity");
    assert_span(found.values.secret_key, span_str(w.secret_key));
    assert_span(found.values.session_token, span_str(w.session_token));
    assert_true(found.lives_ms > 3500000 && found.lives_ms <= 3600000);
    assert_string_equal(w.form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn="
                                "arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fprism&"
                                "RoleSessionName=a%20session&WebIdentityToken="
                                "header.payload.signature");

    w.web_token = "next.payload.signature"; /* the file is read again each time */
    found = aws_world_look(&w, web_identity_find);
    expect_words(&found, SOURCE_BROKEN, "HTTP 400 InvalidIdentityToken: no such token");
    assert_null(strstr(found.why, "payload"));
    aws_world_file(&w, "token", "next.payload.signature");
    found = aws_world_look(&w, web_identity_find);
    expect_keys(&found, w.access_key, "web identity");
    aws_world_stop(&w);
}

task_test_real(a_web_identity_that_is_refused)
{
    struct aws_world w;
    aws_world_start(&w);
    struct aws_found found = aws_world_look(&w, web_identity_find);
    expect_words(&found, SOURCE_NOTHING, "AWS_WEB_IDENTITY_TOKEN_FILE");
    set_web_identity(&w, "header.payload.signature");
    aws_world_set("AWS_ROLE_ARN", NULL);
    found = aws_world_look(&w, web_identity_find);
    expect_words(&found, SOURCE_BROKEN, "AWS_ROLE_ARN");
    aws_world_set("AWS_ROLE_ARN", ROLE_ARN);
    static const struct {
        int code;
        const char *error;
        enum source_found found;
        const char *words;
    } cases[] = {
        {400, "IDPCommunicationError", SOURCE_LATER, "IDPCommunicationError: it <says> why"},
        {400, "ExpiredTokenException", SOURCE_LATER, "ExpiredTokenException"},
        {403, "IDPRejectedClaim", SOURCE_BROKEN, "HTTP 403 IDPRejectedClaim"},
        {403, "AccessDenied", SOURCE_BROKEN, "AccessDenied"},
        {503, "ServiceUnavailable", SOURCE_LATER, "HTTP 503"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        w.code = cases[i].code;
        w.error_code = cases[i].error;
        found = aws_world_look(&w, web_identity_find);
        expect_words(&found, cases[i].found, cases[i].words);
    }
    w.error_code = NULL;
    static const char *const bodies[][2] = {
        {"", "it is empty"},
        {"<a><b></a>", "mismatched tag"},
        {"<a/>", "no credentials"},
        {"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "document type"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        w.body = bodies[i][0];
        found = aws_world_look(&w, web_identity_find);
        expect_words(&found, SOURCE_LATER, bodies[i][1]);
    }
    w.body = NULL;
    w.lives_ms = 0;
    found = aws_world_look(&w, web_identity_find);
    expect_words(&found, SOURCE_LATER, "have expired");
    aws_world_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    aws_world_set("AWS_REGION", "no such region");
    found = aws_world_look(&w, web_identity_find);
    expect_words(&found, SOURCE_BROKEN, "sts.no such region.amazonaws.com");
    aws_world_stop(&w);
}

/* --- nothing -----------------------------------------------------------------------------------
 */

task_test_real(without_any_source_all_are_named)
{
    struct aws_world w;
    aws_world_start(&w);
    aws_world_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    struct aws_found found = aws_world_look(&w, source_find);
    static const char *const words[] = {"environment: ", "; web identity: ", "; profile: ",
                                        "; container: ", "; instance metadata: "};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        expect_words(&found, SOURCE_NOTHING, words[i]);
    }
    aws_world_stop(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(environment),
    cmocka_unit_test(instance_metadata_gives_keys_for_a_token),
    cmocka_unit_test(instance_metadata_that_does_not_give),
    cmocka_unit_test(a_containers_url_is_its_own_machines_or_https),
    cmocka_unit_test(a_container_gives_keys_for_the_token_in_a_file),
    cmocka_unit_test(a_container_that_does_not_give),
    cmocka_unit_test(a_web_identity_is_exchanged_for_keys),
    cmocka_unit_test(a_web_identity_that_is_refused),
    cmocka_unit_test(without_any_source_all_are_named),
};

HARNESS_MAIN(tests)
