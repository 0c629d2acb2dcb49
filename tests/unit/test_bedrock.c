/* The Bedrock client: what it sends, how it ends, what it makes of time and broken connections. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bedrock_peer.h"
#include "codec/eventstream.h"
#include "codec/text.h"
#include "net/listen.h"

static void add_frame(struct buf *out, const char *const names[3], const char *const values[3],
                      struct span payload)
{
    struct eventstream_header headers[3];
    for (size_t i = 0; i < 3; i++) {
        headers[i] = (struct eventstream_header){
            .name = span_str(names[i]), .type = EVENTSTREAM_STRING, .bytes = span_str(values[i])};
    }
    eventstream_encode(out, headers, 3, payload);
}

static void add_event(struct buf *out, const char *type, struct span payload)
{
    add_frame(out, (const char *const[]){":event-type", ":content-type", ":message-type"},
              (const char *const[]){type, "application/json", "event"}, payload);
}

static void add_chunk(struct buf *out, struct span event)
{
    CLEANUP(buf_clear) struct buf payload;
    buf_init(&payload, 4u << 20);
    buf_add_str(&payload, "{\"bytes\":\"");
    text_add_base64(&payload, event);
    buf_add_str(&payload, "\",\"p\":\"abcdefg\"}");
    add_event(out, "chunk", buf_span(&payload));
}

static void add_exception(struct buf *out, const char *name, struct span payload)
{
    add_frame(out, (const char *const[]){":exception-type", ":content-type", ":message-type"},
              (const char *const[]){name, "application/json", "exception"}, payload);
}

/* Streams the script; the events must be these and the end this. */
static void expect_stream(struct peer *peer, const char *events, enum reason reason) PARKS
{
    struct bedrock_request request = peer_request();
    CLEANUP(buf_clear) struct buf got;
    buf_init(&got, 4u << 20);
    size_t n = 0;
    struct status s = peer_stream(peer, &request, &got, &n);
    assert_status(s, reason);
    assert_span(buf_span(&got), span_str(events));
    assert_null(peer->refused);
}

/* --- what is sent --------------------------------------------------------------------------------
 */

task_test_real(test_a_request_is_signed_and_addressed)
{
    static const struct {
        const char *model;
        const char *path;
    } rows[] = {
        {PEER_MODEL, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"},
        {"us.anthropic.claude-sonnet-4-6", "/model/us.anthropic.claude-sonnet-4-6/invoke"},
        {"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc 1~",
         "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile"
         "%2Fabc%201~/invoke"},
    };
    static const struct credentials_values credentials[] = {
        {.access_key = {PEER_KEY, sizeof(PEER_KEY) - 1},
         .secret_key = {PEER_SECRET, sizeof(PEER_SECRET) - 1}},
        {.access_key = {PEER_KEY, sizeof(PEER_KEY) - 1},
         .secret_key = {PEER_SECRET, sizeof(PEER_SECRET) - 1},
         .session_token = {"a/session+token=", 16}},
        {.access_key = {"wrong", 5},
         .secret_key = {"wrong", 5},
         .bearer_token = {PEER_TOKEN, sizeof(PEER_TOKEN) - 1}},
    };
    for (size_t c = 0; c < ARRAY_LEN(credentials); c++) {
        struct peer peer;
        peer_start(&peer, &credentials[c]);
        peer.script.body = SPAN("{\"type\":\"message\"}");
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            struct bedrock_request request = peer_request();
            request.model_id = rows[i].model;
            CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
            struct span body;
            assert_status_ok(bedrock_invoke(peer.bedrock, &request, &call, &body));
            assert_span(body, peer.script.body);
            assert_null(peer.refused);
            assert_string_equal(peer.target, rows[i].path);
            assert_string_equal(peer.type, "application/json");
            assert_string_equal(peer.accept, "application/json");
            assert_int_equal(peer.body_len, request.body.len);
        }
        expect_stream(&peer, "", REASON_TIER_STREAM_BROKEN); /* the script is no stream */
        assert_string_equal(
            peer.target,
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream");
        peer_stop(&peer);
    }
}

task_test_real(test_wrong_keys_are_noticed_by_the_peer)
{
    struct credentials_values values = {.access_key = SPAN(PEER_KEY), .secret_key = SPAN("wrong")};
    struct peer peer;
    peer_start(&peer, &values);
    peer.script.body = SPAN("{}");
    struct bedrock_request request = peer_request();
    struct bedrock_call *call = NULL;
    struct span body;
    assert_status_ok(bedrock_invoke(peer.bedrock, &request, &call, &body));
    assert_string_equal(peer.refused, "InvalidSignatureException");
    bedrock_close(&call);
    peer_stop(&peer);
}

task_test_real(test_a_large_body_is_signed_off_the_loop)
{
    struct peer peer;
    peer_start(&peer, NULL);
    peer.script.body = SPAN("{}");
    size_t len = 20u << 20;
    char *large = malloc(len);
    memset(large, 'x', len);
    struct bedrock_request request = peer_request();
    request.body = span_of(large, len);
    struct bedrock_call *call = NULL;
    struct span body;
    assert_status_ok(bedrock_invoke(peer.bedrock, &request, &call, &body));
    assert_null(peer.refused);
    assert_int_equal(peer.body_len, len);
    bedrock_close(&call);
    free(large);
    peer_stop(&peer);
}

task_test_real(test_without_credentials_nothing_is_sent)
{
    struct peer peer;
    peer_start(&peer, &(struct credentials_values){.access_key = SPAN(PEER_KEY)});
    struct bedrock_request request = peer_request();
    struct bedrock_call *call = NULL;
    struct span body;
    assert_status(bedrock_invoke(peer.bedrock, &request, &call, &body), REASON_CREDENTIALS_MISSING);
    assert_false(bedrock_reply(call)->dispatched);
    bedrock_close(&call);
    bedrock_close(&call);
    assert_int_equal(peer.calls, 0);
    peer_stop(&peer);
}

task_test_real(test_what_makes_no_url_is_a_misconfigured_tier)
{
    struct http_client *http = http_client_new(task_loop(), &(struct http_client_options){0});
    struct credentials *credentials = credentials_fixed(
        &(struct credentials_values){.access_key = SPAN("k"), .secret_key = SPAN("s")});
    static char long_model[20000];
    memset(long_model, 'm', sizeof(long_model) - 1);
    const char *endpoints[] = {"ftp://x", "", "http://127.0.0.1:1"};
    const char *models[] = {"m", "m", long_model};
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        struct bedrock *bedrock = bedrock_new(&(struct bedrock_options){
            .http = http, .credentials = credentials, .endpoint = endpoints[i]});
        struct bedrock_request request = peer_request();
        request.model_id = models[i];
        CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
        assert_status(bedrock_invoke_stream(bedrock, &request, &call), REASON_TIER_MISCONFIGURED);
        assert_false(bedrock_reply(call)->dispatched);
        bedrock_free(bedrock);
    }
    credentials_free(credentials);
    http_client_free(http);
}

/* --- streams -------------------------------------------------------------------------------------
 */

task_test_real(test_a_stream_gives_its_inner_events)
{
    struct peer peer;
    peer_start(&peer, NULL);
    CLEANUP(buf_clear) struct buf stream;
    buf_init(&stream, 1u << 20);
    add_chunk(&stream, SPAN("{\"type\":\"message_start\"}"));
    add_event(&stream, "someFutureEvent", SPAN("[not even an object"));
    add_frame(&stream, (const char *const[]){"a", "b", "c"}, (const char *const[]){"", "", ""},
              SPAN("no types at all"));
    add_chunk(&stream, SPAN("{\"type\":\"message_stop\"}"));
    peer.script.body = buf_span(&stream);
    size_t cuts[] = {0, 1, 7, SIZE_MAX};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        peer.script.cut = cuts[i];
        expect_stream(&peer, "{\"type\":\"message_start\"}\n{\"type\":\"message_stop\"}\n",
                      REASON_NONE);
        assert_string_equal(peer.accept, "application/json");
    }
    peer_stop(&peer);
}

task_test_real(test_the_end_may_come_at_any_byte)
{
    struct peer peer;
    peer_start(&peer, NULL);
    CLEANUP(buf_clear) struct buf stream;
    buf_init(&stream, 1u << 20);
    add_chunk(&stream, SPAN("1"));
    size_t one = stream.len;
    add_chunk(&stream, SPAN("2"));
    for (size_t len = 0; len <= stream.len; len++) {
        peer.script.body = span_first(buf_span(&stream), len);
        bool whole = len == 0 || len == one || len == stream.len;
        expect_stream(&peer,
                      len < one          ? ""
                      : len < stream.len ? "1\n"
                                         : "1\n2\n",
                      whole ? REASON_NONE : REASON_TIER_STREAM_BROKEN);
    }
    peer_stop(&peer);
}

task_test_real(test_exceptions_inside_a_stream_end_it)
{
    struct peer peer;
    peer_start(&peer, NULL);
    static const struct {
        const char *name;
        const char *payload;
        enum reason reason;
    } rows[] = {
        {"throttlingException", "{\"message\":\"Too many tokens per day, please wait\"}",
         REASON_TIER_THROTTLED_DAILY},
        {"throttlingException", "{\"message\":\"Too many tokens\"}", REASON_TIER_THROTTLED},
        {"modelStreamErrorException", "{\"originalStatusCode\":500,\"originalMessage\":\"x\"}",
         REASON_TIER_STREAM_BROKEN},
        {"validationException", "not JSON", REASON_UPSTREAM_REJECTED},
        {"somethingNew", "", REASON_TIER_FAILED},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf stream;
        buf_init(&stream, 1u << 20);
        add_chunk(&stream, SPAN("1"));
        add_exception(&stream, rows[i].name, span_str(rows[i].payload));
        add_chunk(&stream, SPAN("never"));
        peer.script.body = buf_span(&stream);
        expect_stream(&peer, "1\n", rows[i].reason);
    }
    peer_stop(&peer);
}

/* The usual spelling is read without a JSON parser; it must make no difference. */
task_test_real(test_chunks_are_json_however_they_are_spelled)
{
    static const char *const payloads[] = {
        "{\"bytes\":\"MQ==\"}",
        "{\"bytes\":\"MQ==\",\"p\":\"\"}",
        "{\"bytes\":\"MQ==\",\"p\":\"a\\\"}\"}",
        "{\"bytes\":\"MQ==\",\"p\":\"abc\",\"q\":\"x\"}",
        "{\"bytes\":\"MQ==\",\"q\":\"x\"}",
        "{\"p\":\"abc\",\"bytes\":\"MQ==\"}",
        "{\"bytes\":\"M\\u0051==\",\"p\":\"abc\"}",
        " { \"bytes\" : \"MQ==\" , \"p\" : 1 } ",
    };
    struct peer peer;
    peer_start(&peer, NULL);
    for (size_t i = 0; i < ARRAY_LEN(payloads); i++) {
        CLEANUP(buf_clear) struct buf stream;
        buf_init(&stream, 1u << 20);
        add_event(&stream, "chunk", span_str(payloads[i]));
        peer.script.body = buf_span(&stream);
        expect_stream(&peer, "1\n", REASON_NONE);
    }
    peer_stop(&peer);
}

task_test_real(test_chunks_that_hold_nothing_break_the_stream)
{
    struct peer peer;
    peer_start(&peer, NULL);
    const char *payloads[] = {"{}",
                              "{\"bytes\":1}",
                              "{\"bytes\":\"*\"}",
                              "[]",
                              "",
                              "{\"bytes\":",
                              "{\"bytes\":\"\"}",
                              "{\"bytes\":\"MQ==\"\"}",
                              "{\"bytes\":\"MQ==\",\"p\":\"\"\"}",
                              "{\"bytes\":\"MQ==\",\"p\":\"a\\\"}"};
    for (size_t i = 0; i < ARRAY_LEN(payloads); i++) {
        CLEANUP(buf_clear) struct buf stream;
        buf_init(&stream, 1u << 20);
        add_event(&stream, "chunk", span_str(payloads[i]));
        peer.script.body = buf_span(&stream);
        expect_stream(&peer, "", REASON_TIER_STREAM_BROKEN);
    }
    peer_stop(&peer);
}

task_test_real(test_a_reset_breaks_the_stream)
{
    struct peer peer;
    peer_start(&peer, NULL);
    CLEANUP(buf_clear) struct buf stream;
    buf_init(&stream, 1u << 20);
    add_chunk(&stream, SPAN("1"));
    peer.script = (struct peer_script){.body = buf_span(&stream), .end = PEER_RESETS};
    expect_stream(&peer, "1\n", REASON_TIER_STREAM_BROKEN);
    peer_stop(&peer);
}

/* --- before the answer ---------------------------------------------------------------------------
 */

static void expect_no_answer(struct bedrock *bedrock, enum reason reason, bool dispatched) PARKS
{
    struct bedrock_request request = peer_request();
    request.first_byte_ms = 50;
    CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
    assert_status(bedrock_invoke_stream(bedrock, &request, &call), reason);
    assert_int_equal(bedrock_reply(call)->http_status, 0);
    assert_int_equal(bedrock_reply(call)->dispatched, dispatched);
}

task_test_real(test_whether_a_request_was_sent_is_known)
{
    struct peer peer;
    peer_start(&peer, NULL);
    peer.script = (struct peer_script){.end = PEER_DROPS};
    expect_no_answer(peer.bedrock, REASON_CONNECTION_LOST, true);
    peer.script = (struct peer_script){.before_ms = 60000};
    expect_no_answer(peer.bedrock, REASON_TIER_TIMEOUT, true);

    int fd = -1;
    uint16_t port = 0;
    assert_status_ok(listen_open("127.0.0.1", 0, NULL, &fd, &port));
    close(fd);
    char endpoint[64];
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", (unsigned)port);
    struct bedrock *closed = bedrock_new(&(struct bedrock_options){
        .http = peer.http, .credentials = peer.credentials, .endpoint = endpoint});
    expect_no_answer(closed, REASON_CONNECT_FAILED, false);
    bedrock_free(closed);
    peer_stop(&peer);
}

/* --- time ----------------------------------------------------------------------------------------
 */

task_test_real(test_the_first_event_has_its_time_and_the_next_another)
{
    struct peer peer;
    peer_start(&peer, NULL);
    CLEANUP(buf_clear) struct buf stream, got;
    buf_init(&stream, 1u << 20);
    buf_init(&got, 1u << 20);
    add_chunk(&stream, SPAN("1"));
    size_t one = stream.len;
    add_chunk(&stream, SPAN("2"));
    struct bedrock_request request = peer_request();
    size_t n;

    request.first_byte_ms = 100; /* nothing behind the headers */
    peer.script = (struct peer_script){.body = buf_span(&stream), .after_ms = 60000};
    assert_status(peer_stream(&peer, &request, &got, &n), REASON_TIER_TIMEOUT);
    assert_int_equal(n, 0);

    request.idle_ms = 100; /* silence behind the first event */
    request.first_byte_ms = 60000;
    peer.script =
        (struct peer_script){.body = span_first(buf_span(&stream), one), .end = PEER_STALLS};
    assert_status(peer_stream(&peer, &request, &got, &n), REASON_TIER_STALLED);
    assert_int_equal(n, 1);

    /* Bytes that make no event are silence: one each 20 ms would otherwise hold the call. */
    uint64_t begin = clock_mono_ms();
    peer.script = (struct peer_script){.body = buf_span(&stream), .cut = 1, .between_ms = 20};
    request.idle_ms = 300;
    assert_status(peer_stream(&peer, &request, &got, &n), REASON_TIER_STALLED);
    assert_int_equal(n, 1);
    assert_true(clock_mono_ms() - begin < 20 * stream.len);
    peer_stop(&peer);
}

static void stream_in_task(void *arg) PARKS
{
    struct peer *peer = arg;
    struct bedrock_request request = peer_request();
    CLEANUP(buf_clear) struct buf got;
    buf_init(&got, 1000);
    size_t n;
    struct status s = peer_stream(peer, &request, &got, &n);
    assert_status(s, REASON_DEADLINE_PASSED);
}

task_test_real(test_a_deadline_ends_a_call_wherever_it_is)
{
    struct peer peer;
    peer_start(&peer, NULL);
    struct peer_script scripts[] = {
        {.before_ms = 60000},
        {.after_ms = 60000},
        {.body = SPAN("\0\0"), .end = PEER_STALLS},
    };
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        peer.script = scripts[i];
        struct task_options options = {.name = "caller",
                                       .deadline_ms = loop_now_ms(task_loop()) + 80};
        task_spawn(task_loop(), &options, stream_in_task, &peer);
        do {
            assert_status_ok(task_sleep_ms(5));
        } while (http_client_open(peer.http) > 0 || peer.calls <= i);
    }
    peer_stop(&peer);
}

task_test_real(test_an_error_does_not_wait_for_its_text)
{
    struct peer peer;
    peer_start(&peer, NULL);
    peer.script = (struct peer_script){.code = 429, .body = SPAN("{\"mess"), .end = PEER_STALLS};
    uint64_t begin = clock_mono_ms();
    expect_stream(&peer, "", REASON_TIER_THROTTLED);
    assert_in_range(clock_mono_ms() - begin, 1900, 40000);
    peer_stop(&peer);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_request_is_signed_and_addressed),
    cmocka_unit_test(test_wrong_keys_are_noticed_by_the_peer),
    cmocka_unit_test(test_a_large_body_is_signed_off_the_loop),
    cmocka_unit_test(test_without_credentials_nothing_is_sent),
    cmocka_unit_test(test_what_makes_no_url_is_a_misconfigured_tier),
    cmocka_unit_test(test_a_stream_gives_its_inner_events),
    cmocka_unit_test(test_the_end_may_come_at_any_byte),
    cmocka_unit_test(test_exceptions_inside_a_stream_end_it),
    cmocka_unit_test(test_chunks_are_json_however_they_are_spelled),
    cmocka_unit_test(test_chunks_that_hold_nothing_break_the_stream),
    cmocka_unit_test(test_a_reset_breaks_the_stream),
    cmocka_unit_test(test_whether_a_request_was_sent_is_known),
    cmocka_unit_test(test_the_first_event_has_its_time_and_the_next_another),
    cmocka_unit_test(test_a_deadline_ends_a_call_wherever_it_is),
    cmocka_unit_test(test_an_error_does_not_wait_for_its_text),
};

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as every service does */
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
