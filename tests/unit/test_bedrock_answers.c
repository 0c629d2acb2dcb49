/* What Bedrock says and what it means: the table of errors, recorded and built answers. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bedrock_peer.h"
#include "codec/json.h"

#define REST ":http://internal.amazon.com/coral/com.amazon.bedrock/"

/* --- the table -----------------------------------------------------------------------------------
 */

static void test_no_row_stands_behind_another_that_takes_it(void **state)
{
    (void)state;
    static const struct {
        int status;
        struct span exception;
        struct span fragment;
        enum reason reason;
    } rows[] = {
#define BEDROCK_ERROR(status, name, text, reason) {status, SPAN(name), SPAN(text), REASON_##reason},
#include "aws/bedrock_errors.def"
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum reason got = bedrock_classify(rows[i].status, rows[i].exception, rows[i].fragment);
        assert_string_equal(reason_name(got), reason_name(rows[i].reason));
    }
}

static const struct {
    int status;
    const char *exception;
    const char *message;
    enum reason reason;
} answers[] = {
    {429, "ThrottlingException" REST, "Too many tokens, please wait before trying again.",
     REASON_TIER_THROTTLED},
    {429, "ThrottlingException", "Too many tokens per day, please wait before trying again.",
     REASON_TIER_THROTTLED_DAILY},
    {0, "throttlingException", "Too many requests, please wait before trying again.",
     REASON_TIER_THROTTLED_REQUESTS},
    {0, "rate_limit_error", "", REASON_TIER_THROTTLED},
    {0, "invalid_request_error", "", REASON_UPSTREAM_REJECTED},
    {429, "", "", REASON_TIER_THROTTLED},
    {429, "ModelNotReadyException", "", REASON_TIER_NOT_READY},
    {400, "ServiceQuotaExceededException", "", REASON_TIER_THROTTLED},
    {503, "ServiceUnavailableException", "Bedrock is unable to process your request.",
     REASON_TIER_UNAVAILABLE},
    {404, "ResourceNotFoundException", "Bedrock is unable to process your request.",
     REASON_TIER_UNAVAILABLE},
    {500, "InternalServerException", "", REASON_TIER_FAILED},
    {408, "ModelTimeoutException", "", REASON_TIER_TIMEOUT},
    {424, "ModelErrorException", "", REASON_TIER_FAILED},
    {0, "modelStreamErrorException", "", REASON_TIER_STREAM_BROKEN},
    {404, "com.amazon.bedrock#ResourceNotFoundException" REST,
     "This model version has reached the end of its life. Please refer to the AWS documentation "
     "for more details.",
     REASON_TIER_GONE},
    {404, "ResourceNotFoundException",
     "Access denied. This Model is marked by provider as Legacy and you have not been actively "
     "using the model in the last 30 days.",
     REASON_TIER_GONE},
    {400, "ValidationException",
     "Invocation of model ID x with on-demand throughput isn\xe2\x80\x99t supported. Retry your "
     "request with the ID or ARN of an inference profile that contains this model.",
     REASON_TIER_MISCONFIGURED},
    {400, "ValidationException",
     "Invocation of model ID x with on-demand throughput isn't supported.",
     REASON_TIER_MISCONFIGURED},
    {400, "ValidationException", "The provided model identifier is invalid.",
     REASON_TIER_MISCONFIGURED},
    {404, "ResourceNotFoundException", "Could not find it.", REASON_TIER_MISCONFIGURED},
    {403, "AccessDeniedException",
     "You don't have access to the model with the specified model ID.", REASON_TIER_REFUSED},
    {400, "ValidationException", "max_tokens: Field required", REASON_UPSTREAM_REJECTED},
    {0, "validationException",
     "The model returned the following errors: Input is too long for requested model.",
     REASON_CONTEXT_WINDOW_EXCEEDED},
    {403, "ExpiredTokenException", "The security token included in the request is expired",
     REASON_CREDENTIALS_EXPIRED},
    {403, "UnrecognizedClientException", "The security token included in the request is invalid.",
     REASON_CREDENTIALS_REJECTED},
    {403, "InvalidSignatureException", "", REASON_CREDENTIALS_REJECTED},
    {529, "", "Overloaded", REASON_TIER_UNAVAILABLE},
    {502, "", "", REASON_TIER_UNAVAILABLE},
    {302, "", "", REASON_TIER_FAILED},
    {0, "InternalFailure", "", REASON_TIER_FAILED},
    {418, "TeapotException", "short and stout", REASON_TIER_FAILED},
};

static void test_answers_have_their_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        enum reason got = bedrock_classify(answers[i].status, span_str(answers[i].exception),
                                           span_str(answers[i].message));
        if (got != answers[i].reason) {
            print_error("%s \"%s\"\n", answers[i].exception, answers[i].message);
        }
        assert_string_equal(reason_name(got), reason_name(answers[i].reason));
    }
}

/* Every exception of the service's API model is known by its name, whatever the status. */
static void test_the_api_model_is_covered(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *path = harness_vectors(arena, "bedrock-api/bedrock-runtime-service-2.json", 12);
    CLEANUP(json_drop) struct json *root = json_parse(harness_read(arena, path), NULL);
    struct span name;
    const struct json *shape;
    size_t ran = 0;
    for (size_t i = 0; json_member(json_get(root, "shapes"), i, &name, &shape); i++) {
        if (!json_bool(json_get(shape, "exception"), false)) {
            continue;
        }
        bool by_name = bedrock_classify(418, name, SPAN_NONE) != REASON_TIER_FAILED;
        bool failed = span_eq(name, SPAN("InternalServerException")) ||
                      span_eq(name, SPAN("ModelErrorException")) ||
                      span_eq(name, SPAN("ConflictException"));
        if (by_name == failed) {
            print_error("%.*s\n", (int)name.len, name.at);
        }
        assert_true(by_name != failed);
        ran++;
    }
    harness_ran("exceptions of the API model", ran, 12);
}

/* --- answers with an error -----------------------------------------------------------------------
 */

static void expect_error(struct peer *peer, enum reason reason, const char *detail) PARKS
{
    for (int stream = 0; stream < 2; stream++) {
        struct bedrock_request request = peer_request();
        CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
        struct span body;
        struct status s = stream ? bedrock_invoke_stream(peer->bedrock, &request, &call)
                                 : bedrock_invoke(peer->bedrock, &request, &call, &body);
        assert_status(s, reason);
        if (detail != NULL) {
            assert_string_equal(status_text(s), detail);
        }
        assert_int_equal(bedrock_reply(call)->http_status, peer->script.code);
        assert_true(bedrock_reply(call)->dispatched);
    }
}

task_test_real(test_errors_are_read_from_header_and_body)
{
    static char huge[200000];
    memset(huge, ' ', sizeof(huge) - 1);
    static const struct {
        const char *header; /* x-amzn-ErrorType */
        const char *body;
        const char *detail;
    } rows[] = {
        {"ThrottlingException" REST, "{\"message\":\"Slow down\"}",
         "ThrottlingException: Slow down"},
        {"aws.protocols#ThrottlingException", "{\"Message\":\"S\"}", "ThrottlingException: S"},
        {"throttlingexception", "<html>", "throttlingexception"},
        {"ThrottlingException", huge, "ThrottlingException"},
        {NULL, "{\"code\":\"ThrottlingException\",\"message\":\"m\"}", "ThrottlingException: m"},
        {NULL, "{\"__type\":\"x#ThrottlingException\"}", "ThrottlingException"},
    };
    struct peer peer;
    peer_start(&peer, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_header header = {SPAN("x-amzn-ErrorType"), span_str(rows[i].header)};
        peer.script = (struct peer_script){.code = 418,
                                           .headers = &header,
                                           .n_headers = rows[i].header != NULL ? 1 : 0,
                                           .body = span_str(rows[i].body)};
        expect_error(&peer, REASON_TIER_THROTTLED, rows[i].detail);
    }
    peer.script = (struct peer_script){.code = 503, .body = SPAN("{\"mess"), .end = PEER_RESETS};
    expect_error(&peer, REASON_TIER_UNAVAILABLE, NULL);
    peer_stop(&peer);
}

task_test_real(test_the_facts_of_a_reply_are_told)
{
    struct http_header headers[] = {
        {SPAN("x-amzn-RequestId"), SPAN("83f6d884-3370-4485-8ca3-4551e0d49791")},
        {SPAN("Retry-After"), SPAN("7")},
        {SPAN("X-Prism-Simulated"), SPAN("true")},
        {SPAN("x-amz-retry-after"), SPAN("1234")},
    };
    static const uint32_t retries[] = {0, 0, 7000, 7000, 1234}; /* by number of headers */
    struct peer peer;
    peer_start(&peer, NULL);
    for (size_t n = 0; n <= ARRAY_LEN(headers); n++) {
        peer.script = (struct peer_script){.code = 429, .headers = headers, .n_headers = n};
        struct bedrock_request request = peer_request();
        CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
        struct status s = bedrock_invoke_stream(peer.bedrock, &request, &call);
        assert_status(s, REASON_TIER_THROTTLED);
        assert_int_equal(s.retry_after_ms, retries[n]);
        const struct bedrock_reply *reply = bedrock_reply(call);
        assert_int_equal(reply->server_retry_ms, retries[n]);
        assert_span(reply->request_id, n > 0 ? headers[0].value : SPAN_NONE);
        assert_int_equal(reply->simulated, n > 2);
        assert_int_equal(reply->http_status, 429);
    }
    assert_int_equal(peer.calls, 5); /* one call is one attempt */
    peer_stop(&peer);
}

task_test_real(test_observed_errors_have_their_reason)
{
    static const struct {
        const char *id;
        enum reason reason;
    } wanted[] = {
        {"bedrock-429-throttling-tokens", REASON_TIER_THROTTLED},
        {"bedrock-429-throttling-requests", REASON_TIER_THROTTLED_REQUESTS},
        {"bedrock-429-throttling-daily", REASON_TIER_THROTTLED_DAILY},
        {"bedrock-400-on-demand-unsupported", REASON_TIER_MISCONFIGURED},
        {"bedrock-403-no-model-access", REASON_TIER_REFUSED},
        {"bedrock-403-marketplace", REASON_TIER_REFUSED},
        {"anthropic-529-overloaded", REASON_TIER_UNAVAILABLE},
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *path = harness_vectors(arena, "llm-http/errors-observed.json", ARRAY_LEN(wanted));
    CLEANUP(json_drop) struct json *root = json_parse(harness_read(arena, path), NULL);
    const struct json *cases = json_get(root, "cases");
    struct peer peer;
    peer_start(&peer, NULL);
    size_t ran = 0;
    for (size_t i = 0; i < json_count(cases); i++) {
        const struct json *one = json_at(cases, i);
        for (size_t w = 0; w < ARRAY_LEN(wanted); w++) {
            if (span_eq(json_string(json_get(one, "id")), span_str(wanted[w].id))) {
                struct http_header header = {SPAN("x-amzn-ErrorType"),
                                             json_string(json_get(one, "errortype"))};
                peer.script =
                    (struct peer_script){.code = (int)json_integer(json_get(one, "status"), 0),
                                         .headers = &header,
                                         .n_headers = header.value.len > 0 ? 1 : 0,
                                         .body = json_string(json_get(one, "body"))};
                expect_error(&peer, wanted[w].reason, NULL);
                ran++;
            }
        }
    }
    peer_stop(&peer);
    harness_ran("observed errors", ran, ARRAY_LEN(wanted));
}

/* --- recorded exchanges --------------------------------------------------------------------------
 */

/* Calls fn for every folder below the path with its meta.json, whose names contain part. */
static size_t each_exchange(struct arena *arena, const char *path, const char *part,
                            void (*fn)(struct arena *arena, const char *folder,
                                       const struct json *meta, struct peer *peer) PARKS,
                            struct peer *peer) PARKS
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    size_t ran = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.' || strstr(entry->d_name, part) == NULL) {
            continue;
        }
        const char *folder = arena_printf(arena, "%s/%s", path, entry->d_name);
        print_message("# %s\n", entry->d_name);
        struct span text = harness_read(arena, arena_printf(arena, "%s/meta.json", folder));
        CLEANUP(json_drop) struct json *meta = json_parse(text, NULL);
        assert_non_null(meta);
        fn(arena, folder, meta, peer);
        ran++;
    }
    closedir(dir);
    return ran;
}

static void replay_error(struct arena *arena, const char *folder, const struct json *meta,
                         struct peer *peer) PARKS
{
    const struct json *headers = json_get(meta, "response_headers");
    struct http_header header = {SPAN("x-amzn-errortype"),
                                 json_string(json_get(headers, "x-amzn-errortype"))};
    struct span body = harness_read(arena, arena_printf(arena, "%s/response.json", folder));
    peer->script = (struct peer_script){.code = (int)json_integer(json_get(meta, "status"), 0),
                                        .headers = &header,
                                        .n_headers = header.value.len > 0 ? 1 : 0,
                                        .body = body};
    bool model = span_find(body, SPAN("model identifier is invalid")) != SPAN_MISSING ||
                 span_find(body, SPAN("support counting tokens")) != SPAN_MISSING;
    expect_error(peer, model ? REASON_TIER_MISCONFIGURED : REASON_UPSTREAM_REJECTED, NULL);
}

task_test_real(test_recorded_errors_have_their_reason)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *path = harness_vectors(arena, "llm-http/bedrock/error", 9);
    struct peer peer;
    peer_start(&peer, NULL);
    size_t ran = each_exchange(arena, path, "", replay_error, &peer);
    peer_stop(&peer);
    harness_ran("recorded errors", ran, 9);
}

static void replay_stream(struct arena *arena, const char *folder, const struct json *meta,
                          struct peer *peer) PARKS
{
    struct span body = harness_read(arena, arena_printf(arena, "%s/response.eventstream", folder));
    struct bedrock_request request = peer_request();
    CLEANUP(buf_clear) struct buf whole;
    buf_init(&whole, 4u << 20);
    size_t cuts[] = {0, 1, SIZE_MAX};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        CLEANUP(buf_clear) struct buf got;
        buf_init(&got, 4u << 20);
        size_t n;
        peer->script = (struct peer_script){.body = body, .cut = cuts[i]};
        assert_status_ok(peer_stream(peer, &request, i == 0 ? &whole : &got, &n));
        assert_int_equal(n, json_integer(json_get(meta, "frames"), -1));
        if (i > 0) {
            assert_span(buf_span(&got), buf_span(&whole));
        }
    }
    struct span rest = buf_span(&whole), line;
    while (span_cut(&rest, '\n', &line) && line.len > 0) {
        CLEANUP(json_drop) struct json *event = json_parse(line, NULL);
        assert_int_equal(json_type(event), JSON_OBJECT);
    }
}

task_test_real(test_recorded_streams_survive_any_cut)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *path = harness_vectors(arena, "llm-http/bedrock/stream", 7);
    struct peer peer;
    peer_start(&peer, NULL);
    size_t ran = each_exchange(arena, path, "invoke", replay_stream, &peer);
    peer_stop(&peer);
    harness_ran("recorded streams", ran, 7);
}

static enum reason wanted_of(const struct json *built)
{
    static const struct {
        const char *exception;
        enum reason reason;
    } wanted[] = {
        {"throttlingException", REASON_TIER_THROTTLED},
        {"modelStreamErrorException", REASON_TIER_STREAM_BROKEN},
        {"internalServerException", REASON_TIER_FAILED},
        {"serviceUnavailableException", REASON_TIER_UNAVAILABLE},
        {"validationException", REASON_CONTEXT_WINDOW_EXCEEDED},
        {"modelTimeoutException", REASON_TIER_TIMEOUT},
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (span_eq(json_string(json_get(built, "exception_type")),
                    span_str(wanted[i].exception))) {
            return wanted[i].reason;
        }
    }
    struct span file = json_string(json_get(built, "file"));
    if (span_starts(file, SPAN("unmodeled-error"))) {
        return REASON_TIER_FAILED;
    }
    return span_starts(file, SPAN("truncated")) || span_starts(file, SPAN("bad-message-crc"))
               ? REASON_TIER_STREAM_BROKEN
               : REASON_NONE;
}

/* They are built from a ConverseStream, whose events are unknown here and are passed over. */
task_test_real(test_built_streams_end_as_they_should)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *path = harness_vectors(arena, "llm-http/bedrock-synthetic-exceptions", 23);
    CLEANUP(json_drop)
    struct json *index =
        json_parse(harness_read(arena, arena_printf(arena, "%s/index.json", path)), NULL);
    struct peer peer;
    peer_start(&peer, NULL);
    for (size_t i = 0; i < json_count(index); i++) {
        const struct json *built = json_at(index, i);
        struct span file = json_string(json_get(built, "file"));
        const char *name = arena_printf(arena, "%s/%.*s", path, (int)file.len, file.at);
        size_t cuts[] = {0, 1, SIZE_MAX};
        for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
            struct bedrock_request request = peer_request();
            CLEANUP(buf_clear) struct buf got;
            buf_init(&got, 1u << 20);
            size_t n;
            peer.script = (struct peer_script){.body = harness_read(arena, name), .cut = cuts[c]};
            assert_status(peer_stream(&peer, &request, &got, &n), wanted_of(built));
            assert_int_equal(n, 0);
        }
    }
    peer_stop(&peer);
    harness_ran("built streams", json_count(index), 23);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_no_row_stands_behind_another_that_takes_it),
    cmocka_unit_test(test_answers_have_their_reason),
    cmocka_unit_test(test_the_api_model_is_covered),
    cmocka_unit_test(test_errors_are_read_from_header_and_body),
    cmocka_unit_test(test_the_facts_of_a_reply_are_told),
    cmocka_unit_test(test_observed_errors_have_their_reason),
    cmocka_unit_test(test_recorded_errors_have_their_reason),
    cmocka_unit_test(test_recorded_streams_survive_any_cut),
    cmocka_unit_test(test_built_streams_end_as_they_should),
};

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as every service does */
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
