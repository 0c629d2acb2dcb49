/* gRPC calls of all kinds, what travels with them, and what is refused. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metric.h"
#include "base/utf8.h"
#include "net/rpc_internal.h"
#include "rpc_fixture.h"

#define LIMITER (&limiter__limiter_service__descriptor)

task_test_real(unary_calls_carry_the_callers_context)
{
    struct fixture f;
    const char *text;
    fixture_start(&f, NULL);
    assert_status_ok(fixture_dump(&f, "echo", "gr\303\274n", &text));
    assert_string_equal(text, "gr\303\274n");

    struct task_context *context = task_context();
    snprintf(context->request_id, sizeof(context->request_id), "req-7 %%");
    snprintf(context->tenant, sizeof(context->tenant), "team-a");
    snprintf(context->task_id, sizeof(context->task_id), "task-9");
    assert_status_ok(fixture_dump(&f, "who", "", &text));
    const char *want = "req-7 % team-a task-9 prism.limiter.v1.LimiterService/Dump ipv4:127.0.0.1:";
    assert_span(span_first(span_str(text), strlen(want)), span_str(want));

    /* A name that is none of ours is replaced, a tenant that is not one is refused. */
    memset(context, 0, sizeof(*context));
    assert_status_ok(fixture_dump(&f, "who", "", &text));
    assert_int_equal(strcspn(text, " "), 36);
    assert_int_equal(text[14], '7');
    assert_non_null(strstr(text, " default  prism"));
    snprintf(context->tenant, sizeof(context->tenant), "Team_A");
    struct status s = fixture_dump(&f, "who", "", &text);
    assert_status(s, REASON_BAD_REQUEST);
    assert_string_equal(s.more->fields[0].subject, "x-prism-tenant");
    memset(context, 0, sizeof(*context));
    fixture_stop(&f);
}

task_test_real(a_server_stream_delivers_in_order)
{
    struct fixture f;
    void *message;
    fixture_start(&f, NULL);
    f.count = 500;
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    assert_status_ok(fixture_generate(&f, "count", &stream));
    for (size_t i = 0; i < f.count; i++) {
        assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
        assert_non_null(message);
        const Router__GenerateResponse *event = message;
        assert_int_equal(event->event_case, ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA);
        assert_int_equal(strtoul(event->text_delta->text, NULL, 10), i);
    }
    assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
    assert_null(message);
    rpc_stream_close(&stream);
    assert_null(stream);

    /* An error comes after what was sent before it. */
    f.count = 2;
    f.answer = status_retry(REASON_TIER_STALLED, 1500, "too slow");
    assert_status_ok(fixture_generate(&f, "break", &stream));
    assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
    assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
    assert_non_null(message);
    struct status s = rpc_stream_recv(stream, f.arena, &message);
    assert_status(s, REASON_TIER_STALLED);
    assert_int_equal(s.retry_after_ms, 1500);
    assert_string_equal(s.detail, "too slow");
    rpc_stream_close(&stream);
    fixture_stop(&f);
}

/* Headers would make a retrying client hold the call for begun. */
task_test_real(a_call_refused_at_once_has_trailers_only)
{
    struct fixture f;
    void *message;
    fixture_start(&f, NULL);
    f.answer = status_retry(REASON_OVERLOADED, 1000, NULL);
    for (f.count = 0; f.count < 2; f.count++) {
        struct rpc_stream *stream;
        snprintf(task_context()->request_id, sizeof(task_context()->request_id), "req-%zu",
                 f.count);
        assert_status_ok(fixture_generate(&f, "break", &stream));
        if (f.count > 0) {
            assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
        }
        assert_status(rpc_stream_recv(stream, f.arena, &message), REASON_OVERLOADED);
        struct span header = rpc_stream_header(stream, RPC_KEY_REQUEST_ID);
        struct span trailer = rpc_stream_trailer(stream, RPC_KEY_REQUEST_ID);
        assert_span(header, f.count > 0 ? SPAN("req-1") : SPAN_NONE);
        assert_span(trailer, f.count > 0 ? SPAN_NONE : SPAN("req-0"));
        rpc_stream_close(&stream);
    }
    task_context()->request_id[0] = '\0';
    fixture_stop(&f);
}

static void send_session(struct rpc_stream *stream, const char *session)
{
    Limiter__AttachRequest request;
    limiter__attach_request__init(&request);
    request.session.data = (uint8_t *)session;
    request.session.len = strlen(session);
    assert_status_ok(rpc_stream_send(stream, &request));
}

static void expect_session(struct fixture *f, struct rpc_stream *stream, const char *session)
{
    void *message;
    assert_status_ok(rpc_stream_recv(stream, f->arena, &message));
    assert_non_null(message);
    const Limiter__AttachResponse *response = message;
    assert_int_equal(response->n_replies, 1);
    assert_span(span_of(response->replies[0]->id.data, response->replies[0]->id.len),
                span_str(session));
}

task_test_real(a_bidi_stream_goes_both_ways)
{
    struct fixture f;
    void *message;
    fixture_start(&f, NULL);
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    assert_status_ok(rpc_open(f.channel, LIMITER, "Attach", NULL, &stream));
    fixture_until(&f.running, 1); /* before the first message */
    for (int i = 0; i < 100; i++) {
        send_session(stream, "ping");
        expect_session(&f, stream, "ping");
    }
    /* Two sends in a row: gRPC holds one at a time, each waits for its turn. */
    send_session(stream, "one");
    send_session(stream, "two");
    expect_session(&f, stream, "one");
    expect_session(&f, stream, "two");
    assert_status_ok(rpc_stream_send_end(stream));
    assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
    assert_null(message);
    assert_status_ok(f.seen);
    rpc_stream_close(&stream);
    fixture_stop(&f);
}

/* Together more than the memory of a call: each message has its own. */
task_test_real(a_stream_may_be_as_long_as_it_likes)
{
    struct fixture f;
    void *message;
    fixture_start(&f, &(struct rpc_server_options){.arena_budget = 4u << 20});
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    assert_status_ok(rpc_open(f.channel, LIMITER, "Attach", NULL, &stream));
    char *session = arena_alloc(f.arena, (1u << 20) + 1);
    memset(session, 's', 1u << 20);
    for (int i = 0; i < 20; i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(4u << 20);
        send_session(stream, session);
        assert_status_ok(rpc_stream_recv(stream, arena, &message));
        const Limiter__AttachResponse *response = message;
        assert_int_equal(response->replies[0]->id.len, 1u << 20);
    }
    rpc_stream_close(&stream);
    fixture_stop(&f);
}

/* --- client streams: Attach once more, as its table says -------------------------------------- */

static struct status collect(struct rpc *rpc, const void *nothing)
{
    const void *message;
    size_t n = 0;
    (void)nothing;
    for (;; n++) {
        TRY(rpc_recv(rpc, &message));
        if (message == NULL) {
            break;
        }
    }
    Limiter__AttachResponse response;
    limiter__attach_response__init(&response);
    response.replies = ARENA_ARRAY(rpc_arena(rpc), Limiter__AttachReply *, n);
    for (; response.n_replies < n; response.n_replies++) {
        Limiter__AttachReply *reply = ARENA_NEW(rpc_arena(rpc), Limiter__AttachReply);
        limiter__attach_reply__init(reply);
        response.replies[response.n_replies] = reply;
    }
    return rpc_send(rpc, &response);
}

task_test_real(a_client_stream_ends_in_one_reply)
{
    struct fixture f;
    void *message;
    fixture_start(&f, NULL);
    struct rpc_method methods[32];
    memcpy(methods, f.services[0].methods, f.services[0].n_methods * sizeof(methods[0]));
    methods[2] = (struct rpc_method){"Attach", RPC_CLIENT_STREAM, collect};
    f.services[0].methods = methods;
    struct rpc_server *server;
    assert_status_ok(fixture_serve(&f, NULL, "127.0.0.1:0", &server));
    char address[32];
    snprintf(address, sizeof(address), "127.0.0.1:%u", rpc_server_port(server));
    struct rpc_channel *channel =
        rpc_channel_new(f.wire, &(struct rpc_channel_options){.targets = address});
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    assert_status_ok(rpc_open(channel, LIMITER, "Attach", NULL, &stream));
    for (int i = 0; i < 5; i++) {
        send_session(stream, "x");
    }
    assert_status_ok(rpc_stream_send_end(stream));
    assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
    assert_int_equal(((Limiter__AttachResponse *)message)->n_replies, 5);
    assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
    assert_null(message);
    rpc_stream_close(&stream);
    rpc_channel_free(channel);
    rpc_server_stop(server, 1000);
    fixture_stop(&f);
}

/* --- errors ----------------------------------------------------------------------------------- */

task_test_real(unknown_and_unbuilt_methods_say_so_at_once)
{
    struct fixture f;
    void *reply;
    Limiter__DumpRequest request;
    ProtobufCServiceDescriptor stranger = *LIMITER;
    limiter__dump_request__init(&request);
    fixture_start(&f, NULL);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL)); /* connected */
    stranger.name = "prism.limiter.v1.NoSuchService";
    for (int i = 0; i < 3; i++) {
        uint64_t begin_ms = loop_now_ms(task_loop());
        struct status s = rpc_call(f.channel, &stranger, "Dump", &request, f.arena, &reply);
        assert_status(s, REASON_METHOD_UNKNOWN);
        assert_int_equal(s.code, STATUS_UNIMPLEMENTED);
        assert_true(loop_now_ms(task_loop()) - begin_ms < 200);
    }
    assert_status(rpc_call(f.channel, LIMITER, "SetLimits", &request, f.arena, &reply),
                  REASON_METHOD_NOT_BUILT);
    fixture_stop(&f);
}

task_test_real(error_details_come_back_as_they_were)
{
    struct fixture f;
    fixture_start(&f, NULL);
    struct status s = fixture_dump(&f, "field", "", NULL);
    assert_status(s, REASON_BAD_REQUEST);
    assert_int_equal(s.code, STATUS_INVALID_ARGUMENT);
    assert_string_equal(s.detail, "generation.prompt: must not be empty");
    assert_int_equal(s.more->n_fields, 1);
    assert_string_equal(s.more->fields[0].subject, "generation.prompt");
    assert_string_equal(s.more->fields[0].description, "must not be empty");

    s = fixture_dump(&f, "missing", "", NULL);
    assert_status(s, REASON_MODEL_UNKNOWN);
    assert_string_equal(s.more->resource_type, "model");
    assert_string_equal(s.more->resource_name, "models/none");

    const struct status_violation quota = {"tenant:a", "1,000 tokens a minute"};
    const struct status_more more = {.quotas = &quota, .n_quotas = 1};
    f.answer = status_retry(REASON_TENANT_LIMIT, 12345, NULL);
    f.answer.more = &more;
    s = fixture_dump(&f, "fail", "", NULL);
    assert_status(s, REASON_TENANT_LIMIT);
    assert_int_equal(s.code, STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(s.retry_after_ms, 12345);
    assert_string_equal(s.detail, reason_text(REASON_TENANT_LIMIT));
    assert_string_equal(s.more->quotas[0].subject, "tenant:a");
    assert_string_equal(s.more->quotas[0].description, "1,000 tokens a minute");

    /* A status of somebody else passes through without a reason of ours. */
    f.answer = status_foreign(STATUS_OUT_OF_RANGE, REASON_NONE, "beyond");
    s = fixture_dump(&f, "fail", "", NULL);
    assert_int_equal(s.code, STATUS_OUT_OF_RANGE);
    assert_int_equal(s.reason, REASON_NONE);
    assert_string_equal(s.detail, "beyond");

    assert_status(fixture_dump(&f, "silent", "", NULL), REASON_INTERNAL_ERROR);
    fixture_stop(&f);
}

task_test_real(long_details_are_cut_and_the_connection_lives)
{
    struct fixture f;
    fixture_start(&f, NULL);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    char *text = arena_alloc(f.arena, 30001);
    for (size_t i = 0; i + 1 < 30000; i += 2) {
        memcpy(text + i, "\303\274", 2);
    }
    struct status_violation violations[20];
    for (size_t i = 0; i < ARRAY_LEN(violations); i++) {
        violations[i] = (struct status_violation){text, text};
    }
    const struct status_more more = {
        .fields = violations,
        .n_fields = ARRAY_LEN(violations),
        .quotas = violations,
        .n_quotas = ARRAY_LEN(violations),
        .resource_type = text,
        .resource_name = text,
    };
    f.answer = status_retry(REASON_TIER_FAILED, 4000000000u, text);
    f.answer.more = &more;
    struct status s = fixture_dump(&f, "trailers", "", NULL);
    assert_status(s, REASON_TIER_FAILED);
    assert_int_equal(s.retry_after_ms, 4000000000u);
    assert_true(strlen(s.detail) > 400 && utf8_valid(span_str(s.detail)));
    assert_memory_equal(s.detail, text, strlen(s.detail));
    assert_true(s.more->n_fields > 0 && s.more->n_quotas > 0);
    assert_true(utf8_valid(span_str(s.more->fields[0].description)));
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    assert_true(rpc_channel_ready(f.channel));
    fixture_stop(&f);
}

/* --- messages that nobody should send --------------------------------------------------------- */

/* Dump with raw bytes behind its own fields: tag is the field's number. */
static struct status dump_raw(struct fixture *f, uint32_t tag, struct span raw)
{
    void *reply;
    Limiter__DumpRequest request;
    ProtobufCMessageUnknownField field = {
        .tag = tag,
        .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        .len = raw.len,
        .data = (uint8_t *)raw.at,
    };
    limiter__dump_request__init(&request);
    request.resource = "echo";
    request.base.unknown_fields = &field;
    request.base.n_unknown_fields = 1;
    return rpc_call(f->channel, LIMITER, "Dump", &request, f->arena, &reply);
}

task_test_real(malformed_messages_are_refused_cleanly)
{
    struct fixture f;
    void *reply;
    fixture_start(&f, NULL);
    assert_status_ok(dump_raw(&f, 1, SPAN("\5abcde")));
    assert_status_ok(dump_raw(&f, 999, SPAN("\5abcde")));                     /* unknown to us */
    assert_status(dump_raw(&f, 1, SPAN("\77abc")), REASON_MESSAGE_MALFORMED); /* ends too early */
    assert_status(dump_raw(&f, 3, SPAN("\1a")), REASON_MESSAGE_MALFORMED);    /* a number's field */
    assert_status(fixture_dump(&f, "echo", "caf\351", NULL), REASON_BAD_ENCODING);

    /* Deeper, in a list and in a oneof. */
    Limiter__AcquireRequest acquire;
    Limiter__AcquireStreamRequest outer;
    Limiter__Candidate candidate;
    limiter__candidate__init(&candidate);
    limiter__acquire_request__init(&acquire);
    limiter__acquire_stream_request__init(&outer);
    candidate.model = "caf\351";
    acquire.candidates = (Limiter__Candidate *[]){&candidate};
    acquire.n_candidates = 1;
    outer.acquire = &acquire;
    struct span packed = rpc_pack(&outer, f.arena);
    assert_status(rpc_unpack(&limiter__acquire_stream_request__descriptor, packed, f.arena, &reply),
                  REASON_BAD_ENCODING);
    candidate.model = "caf\303\251";
    packed = rpc_pack(&outer, f.arena);
    assert_status_ok(
        rpc_unpack(&limiter__acquire_stream_request__descriptor, packed, f.arena, &reply));
    assert_string_equal(((Limiter__AcquireStreamRequest *)reply)->acquire->candidates[0]->model,
                        "caf\303\251");

    /* A field 0, which protobuf-c reads in two bytes and writes in one that it does not read. */
    assert_status(
        rpc_unpack(&limiter__acquire_stream_request__descriptor, SPAN("\x80\0\1"), f.arena, &reply),
        REASON_MESSAGE_MALFORMED);
    fixture_stop(&f);
}

/* Two bytes a sub-message on the wire, a hundred times as much in memory. */
task_test_real(empty_sub_messages_are_bounded)
{
    struct fixture f;
    void *message;
    fixture_start(&f, NULL);
    size_t len = 4190000;
    char *raw = arena_alloc(f.arena, len);
    for (size_t i = 0; i < len; i += 2) {
        raw[i] = 3 << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED; /* AcquireRequest.candidates */
    }
    CLEANUP(arena_drop) struct arena *small = arena_new(8u << 20);
    assert_status(
        rpc_unpack(&limiter__acquire_request__descriptor, span_of(raw, len), small, &message),
        REASON_MESSAGE_TOO_COMPLEX);

    /* Through the wire, inside the request of a stream. */
    Limiter__AcquireRequest acquire;
    Limiter__AttachItem item;
    Limiter__AttachRequest request;
    limiter__acquire_request__init(&acquire);
    limiter__attach_item__init(&item);
    limiter__attach_request__init(&request);
    ProtobufCMessageUnknownField field = {
        .tag = 3,
        .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        .len = len - 1, /* the first tag is the packer's */
        .data = (uint8_t *)raw + 1,
    };
    acquire.base.unknown_fields = &field;
    acquire.base.n_unknown_fields = 1;
    item.request_case = LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE;
    item.acquire = &acquire;
    request.items = (Limiter__AttachItem *[]){&item};
    request.n_items = 1;
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    assert_status_ok(rpc_open(f.channel, LIMITER, "Attach", &request, &stream));
    struct status s = rpc_stream_recv(stream, f.arena, &message);
    assert_status(s, REASON_MESSAGE_TOO_COMPLEX);
    assert_int_equal(s.code, STATUS_RESOURCE_EXHAUSTED);
    rpc_stream_close(&stream);
    fixture_stop(&f);
}

/* A peer's RetryInfo with more nanoseconds than a second has. */
static void test_a_delay_beyond_all_bounds_is_the_longest(void **state)
{
    (void)state;
    static const char details[] = "\x1a\x39\x0a\x28"
                                  "type.googleapis.com/google.rpc.RetryInfo"
                                  "\x12\x0d\x0a\x0b\x08\xb6\x92\x86\x02\x10\xff\xff\xff\xff\x07";
    CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
    struct status s = rpc_status_decode(STATUS_UNAVAILABLE, SPAN(""),
                                        span_of(details, sizeof(details) - 1), arena);
    assert_true(s.retry_after_ms == UINT32_MAX);
}

static void test_types_that_contain_themselves_are_found(void **state)
{
    (void)state;
    ProtobufCMessageDescriptor outer = {0}, inner = {0};
    ProtobufCFieldDescriptor outer_field = {.type = PROTOBUF_C_TYPE_MESSAGE, .descriptor = &inner};
    ProtobufCFieldDescriptor inner_field = {.type = PROTOBUF_C_TYPE_MESSAGE, .descriptor = &outer};
    outer.fields = &outer_field;
    outer.n_fields = 1;
    inner.fields = &inner_field;
    assert_true(rpc_message_acyclic(&outer));
    inner.n_fields = 1;
    assert_false(rpc_message_acyclic(&outer));
    assert_true(rpc_message_acyclic(&limiter__attach_request__descriptor));
}

task_test_real(oversized_messages_end_their_call_only)
{
    struct fixture f;
    fixture_start(&f, &(struct rpc_server_options){.max_message = 65536});
    char *text = arena_alloc(f.arena, 100001);
    memset(text, 'x', 100000);
    struct status s = fixture_dump(&f, "echo", text, NULL);
    assert_int_equal(s.code, STATUS_RESOURCE_EXHAUSTED);
    text[60000] = '\0';
    assert_status_ok(fixture_dump(&f, "echo", text, NULL));

    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    void *message;
    assert_status_ok(rpc_open(f.channel, LIMITER, "Attach", NULL, &stream));
    Limiter__AttachRequest request;
    limiter__attach_request__init(&request);
    request.session.data = (uint8_t *)text;
    request.session.len = 100000;
    assert_status_ok(rpc_stream_send(stream, &request));
    s = rpc_stream_recv(stream, f.arena, &message);
    assert_false(status_ok(s));
    rpc_stream_close(&stream);
    fixture_until(&f.ended, 1);

    struct rpc_channel *narrow = rpc_channel_new(
        f.wire, &(struct rpc_channel_options){.targets = f.address, .max_message = 1000});
    struct rpc_channel *wide = f.channel;
    f.channel = narrow;
    assert_int_equal(fixture_dump(&f, "echo", text, NULL).code, STATUS_RESOURCE_EXHAUSTED);
    f.channel = wide;
    rpc_channel_free(narrow);
    assert_status_ok(fixture_dump(&f, "echo", text, NULL));
    fixture_stop(&f);
}

/* --- what operators see ----------------------------------------------------------------------- */

static struct buf log_lines;

static void log_take(struct span line)
{
    buf_add_span(&log_lines, line);
}

task_test_real(each_call_is_one_line_and_counted)
{
    struct fixture f;
    fixture_start(&f, NULL);
    buf_init(&log_lines, 65536);
    log_init("test_rpc", LOG_INFO);
    log_set_sink(log_take);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    f.answer = status_of(REASON_TIER_GONE, NULL);
    assert_status(fixture_dump(&f, "fail", "", NULL), REASON_TIER_GONE);
    log_set_sink(NULL);
    log_init("test_rpc", LOG_ERROR);

    struct span rest = buf_span(&log_lines), line;
    assert_true(span_cut(&rest, '\n', &line));
    assert_true(span_find(line, SPAN("\"method\":\"prism.limiter.v1.LimiterService/Dump\"")) !=
                SPAN_MISSING);
    assert_true(span_find(line, SPAN("\"code\":\"OK\"")) != SPAN_MISSING);
    assert_true(span_cut(&rest, '\n', &line));
    assert_true(span_find(line, SPAN("\"reason\":\"TIER_GONE\"")) != SPAN_MISSING);
    assert_true(span_cut(&rest, '\n', &line));
    assert_int_equal(line.len + rest.len, 0);
    buf_clear(&log_lines);

    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1u << 20);
    metric_render(&text);
    static const char labels[] = "{grpc_type=\"unary\",grpc_service=\"prism.limiter.v1."
                                 "LimiterService\",grpc_method=\"Dump\"";
    static const struct {
        const char *name;
        const char *rest;
    } want[] = {
        {"grpc_server_started_total", "} 2\n"},
        {"grpc_server_handled_total", ",grpc_code=\"OK\"} 1\n"},
        {"grpc_server_handled_total", ",grpc_code=\"NOT_FOUND\"} 1\n"},
        {"grpc_server_msg_received_total", "} 2\n"},
        {"grpc_server_msg_sent_total", "} 1\n"},
        {"grpc_server_handling_seconds_count", "} 2\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const char *sample = arena_printf(f.arena, "%s%s%s", want[i].name, labels, want[i].rest);
        if (span_find(buf_span(&text), span_str(sample)) == SPAN_MISSING) {
            print_error("no sample %s in\n%s", sample, buf_cstr(&text));
            fail();
        }
    }
    fixture_stop(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(unary_calls_carry_the_callers_context),
    cmocka_unit_test(a_server_stream_delivers_in_order),
    cmocka_unit_test(a_call_refused_at_once_has_trailers_only),
    cmocka_unit_test(a_bidi_stream_goes_both_ways),
    cmocka_unit_test(a_stream_may_be_as_long_as_it_likes),
    cmocka_unit_test(a_client_stream_ends_in_one_reply),
    cmocka_unit_test(unknown_and_unbuilt_methods_say_so_at_once),
    cmocka_unit_test(error_details_come_back_as_they_were),
    cmocka_unit_test(long_details_are_cut_and_the_connection_lives),
    cmocka_unit_test(malformed_messages_are_refused_cleanly),
    cmocka_unit_test(empty_sub_messages_are_bounded),
    cmocka_unit_test(test_a_delay_beyond_all_bounds_is_the_longest),
    cmocka_unit_test(test_types_that_contain_themselves_are_found),
    cmocka_unit_test(oversized_messages_end_their_call_only),
    cmocka_unit_test(each_call_is_one_line_and_counted),
};

HARNESS_MAIN(tests)
