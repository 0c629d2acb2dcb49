/* Calls through the router: what the caller sees of an attempt, and how each grant is given back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "router_fixture.h"

#define REPLIES(f, ...)                                                                            \
    const struct fake_reply replies[] = {__VA_ARGS__};                                             \
    (f)->bedrock.replies = replies;                                                                \
    (f)->bedrock.n_replies = ARRAY_LEN(replies)

#define VERDICTS(f, ...)                                                                           \
    const struct fake_verdict verdicts[] = {__VA_ARGS__};                                          \
    (f)->limiter.verdicts = verdicts;                                                              \
    (f)->limiter.n_verdicts = ARRAY_LEN(verdicts)

#define assert_log(f, text) assert_string_equal(buf_cstr(&(f)->log), text)

/* --- events ----------------------------------------------------------------------------------- */

#define BEGIN "{'type':'message_start','message':{'usage':{'input_tokens':10,'output_tokens':1}}}"
#define THINKING                                                                                   \
    "{'type':'content_block_start','index':0,'content_block':{'type':'thinking','thinking':'','"   \
    "signature':''}}"
#define THINKS(text)                                                                               \
    "{'type':'content_block_delta','index':0,'delta':{'type':'thinking_delta','thinking':'" text   \
    "'}}"
#define SIGNS(text)                                                                                \
    "{'type':'content_block_delta','index':0,'delta':{'type':'signature_delta','signature':'" text \
    "'}}"
#define TEXT(index)                                                                                \
    "{'type':'content_block_start','index':" #index ",'content_block':{'type':'text','text':''}}"
#define SAYS(index, text)                                                                          \
    "{'type':'content_block_delta','index':" #index ",'delta':{'type':'text_delta','text':'" text  \
    "'}}"
#define STOP(index) "{'type':'content_block_stop','index':" #index "}"
#define DONE(reason, usage)                                                                        \
    "{'type':'message_delta','delta':{'stop_reason':'" reason                                      \
    "','stop_sequence':null},'usage':{" usage "}}"
#define END                                                                                        \
    "{'type':'message_stop','amazon-bedrock-invocationMetrics':{'inputTokenCount':10,"             \
    "'outputTokenCount':7}}"

/* A whole short answer; in the words of the log. */
#define HELLO     BEGIN, TEXT(0), SAYS(0, "Hello"), STOP(0), DONE("end_turn", "'output_tokens':9"), END
#define HELLO_LOG "start 0 text\nsays Hello\nstop 0\ncompleted end_turn\n"

/* --- what is passed on ------------------------------------------------------------------------ */

task_test_real(events_come_in_order_and_bytes_as_they_were)
{
    struct router_fixture f;
    router_fixture_start(&f);
    REPLIES(&f, {.events = router_fixture_events(
                     &f, BEGIN, "{'type':'ping'}", THINKING, THINKS("hm"), THINKS(""),
                     THINKS(" \\u00e9"), SIGNS("EqQB+/w=="), STOP(0),
                     "{'type':'content_block_start','index':1,'content_block':{'type':"
                     "'redacted_thinking','data':'b3Bh+/cXVl=='}}",
                     STOP(1), TEXT(2), SAYS(2, "Hel"),
                     "{'type':'content_block_delta','index':2,'delta':{'type':'future_delta'}}",
                     SAYS(2, "lo \\\"x\\\""), STOP(2), "{'type':'future_event'}",
                     DONE("end_turn", "'output_tokens':9"), END, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    assert_log(&f, "admitted 1 first\n"
                   "start 0 thinking\nthinks hm \xc3\xa9\nsigns EqQB+/w==\nstop 0\n"
                   "start 1 redacted\nhides b3Bh+/cXVl==\nstop 1\n"
                   "start 2 text\nsays Hello \"x\"\nstop 2\n"
                   "completed end_turn\n");
    assert_span(f.bedrock.target,
                SPAN("/model/us.anthropic.first-v1%3A0/invoke-with-response-stream"));
    assert_non_null(strstr(f.bedrock.body.at, "\"max_tokens\":8192"));
    const Router__CallMetadata *m = f.completed->metadata;
    assert_string_equal(m->model, "models/first");
    assert_int_equal(m->n_attempts, 1);
    assert_string_equal(m->attempts[0]->upstream_request_id, "request-1");
    assert_int_equal(m->attempts[0]->http_status, 200);
    assert_int_equal(m->usage->metered_output_tokens, 7);
    assert_string_equal(f.limiter.tenant, "acme");
    router_fixture_stop(&f);
}

task_test_real(values_of_usage_are_cumulative_and_the_last_ones_count)
{
    struct router_fixture f;
    router_fixture_start(&f);
    REPLIES(&f, {.events = router_fixture_events(
                     &f,
                     "{'type':'message_start','message':{'usage':{'input_tokens':10,"
                     "'cache_creation_input_tokens':20,'cache_read_input_tokens':30,"
                     "'output_tokens':1}}}",
                     TEXT(0), SAYS(0, "x"), STOP(0), DONE("tool_use", "'output_tokens':5"),
                     DONE("max_tokens", "'input_tokens':12,'output_tokens':9,"
                                        "'output_tokens_details':{'thinking_tokens':4}"),
                     END, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    const Router__TokenUsage *u = f.completed->metadata->usage;
    assert_int_equal(u->input_tokens, 12);
    assert_int_equal(u->cache_write_tokens, 20);
    assert_int_equal(u->cache_read_tokens, 30);
    assert_int_equal(u->output_tokens, 9);
    assert_int_equal(u->thinking_tokens, 4);
    assert_int_equal(f.completed->stop_reason, ROUTER__STOP_REASON__STOP_REASON_MAX_TOKENS);
    fake_limiter_wait(&f.limiter, 1);
    const struct fake_report *r = &f.limiter.reports[0];
    assert_int_equal(r->outcome, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(r->input, 12);
    assert_int_equal(r->cache_write, 20);
    assert_int_equal(r->cache_read, 30);
    assert_int_equal(r->output, 9);
    assert_false(r->usage_partial);
    assert_string_equal(r->model, "first@us-east-2");
    router_fixture_stop(&f);
}

#define TOOL(input)                                                                                \
    "{'type':'content_block_start','index':0,'content_block':{'type':'tool_use','id':'t1',"        \
    "'name':'find','input':" input "}}"
#define PIECE(json)                                                                                \
    "{'type':'content_block_delta','index':0,'delta':{'type':'input_json_delta','partial_json':"   \
    "'" json "'}}"

task_test_real(other_blocks_come_whole)
{
    static const struct {
        const char *events[4];
        const char *raw;
    } cases[] = {
        {{TOOL("{}"), PIECE(""), PIECE("{\\\"a\\\": 1.50,"), PIECE("\\\"b\\\":[]}")},
         "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"find\",\"input\":{\"a\": "
         "1.50,\"b\":[]}}"},
        {{TOOL("{}")}, "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"find\",\"input\":{}}"},
        {{TOOL("{'x':1}")},
         "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"find\",\"input\":{\"x\":1}}"},
        /* cut off by max_tokens: still JSON, and nothing is lost */
        {{TOOL("{}"), PIECE("{\\\"a\\\": \\\"b")},
         "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"find\",\"input\":\"{\\\"a\\\": \\\"b\"}"},
        {{"{'type':'content_block_start','index':0,'content_block':{'type':'new_kind','z':[1,"
          "{'y':null}],'a':'\\u00e9'}}"},
         "{\"type\":\"new_kind\",\"z\":[1,{\"y\":null}],\"a\":\"\xc3\xa9\"}"},
    };
    struct router_fixture f;
    router_fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const *e = cases[i].events;
        const char *const *events = router_fixture_events(
            &f, BEGIN, e[0], e[1] != NULL ? e[1] : "{}", e[2] != NULL ? e[2] : "{}",
            e[3] != NULL ? e[3] : "{}", STOP(0), DONE("tool_use", "'output_tokens':9"), END, NULL);
        REPLIES(&f, {.events = events});
        assert_status_ok(router_fixture_generate(&f));
        assert_log(&f, arena_printf(f.arena,
                                    "admitted 1 first\nstart 0 raw\nraw %s\nstop 0\n"
                                    "completed tool_use\n",
                                    cases[i].raw));
    }
    router_fixture_stop(&f);
}

task_test_real(text_with_u0000_comes_as_bytes)
{
    struct router_fixture f;
    router_fixture_start(&f);
    REPLIES(&f, {.events = router_fixture_events(
                     &f, BEGIN, THINKING, THINKS("a\\u0000b"), STOP(0), TEXT(1), SAYS(1, "d"),
                     STOP(1), TEXT(2), SAYS(2, "\\u0000"), STOP(2),
                     DONE("end_turn", "'output_tokens':9"), END, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    assert_log(&f, "admitted 1 first\nstart 0 thinking\nthinks bytes a<U+0000>b\nstop 0\n"
                   "start 1 text\nsays d\nstop 1\nstart 2 text\nsays bytes <U+0000>\nstop 2\n"
                   "completed end_turn\n");
    router_fixture_stop(&f);
}

task_test_real(pieces_that_arrive_together_leave_together)
{
    struct router_fixture f;
    router_fixture_start(&f);
    REPLIES(&f, {.events = router_fixture_events(
                     &f, BEGIN, THINKING, THINKS("so"), "{'type':'ping'}", THINKS(" be"),
                     THINKS(" it"), STOP(0), TEXT(1), SAYS(1, "Hel"), SAYS(1, "lo"), STOP(1),
                     TEXT(2), SAYS(2, "b"), SAYS(2, "\\u0000"), SAYS(2, "ye"), STOP(2),
                     DONE("end_turn", "'output_tokens':9"), END, NULL),
                 .together = true});
    assert_status_ok(router_fixture_generate(&f));
    assert_log(&f, "admitted 1 first\nstart 0 thinking\nthinks so be it\nstop 0\n"
                   "start 1 text\nsays Hello\nstop 1\n"
                   "start 2 text\nsays bytes b<U+0000>ye\nstop 2\ncompleted end_turn\n");
    assert_int_equal(f.pieces, 3);
    router_fixture_stop(&f);
}

task_test_real(stop_reasons_have_words_and_numbers)
{
    static const struct {
        const char *word;
        Router__StopReason reason;
    } cases[] = {
        {"end_turn", ROUTER__STOP_REASON__STOP_REASON_END_TURN},
        {"stop_sequence", ROUTER__STOP_REASON__STOP_REASON_STOP_SEQUENCE},
        {"refusal", ROUTER__STOP_REASON__STOP_REASON_REFUSAL},
        {"pause_turn", ROUTER__STOP_REASON__STOP_REASON_PAUSE_TURN},
        {"model_context_window_exceeded", ROUTER__STOP_REASON__STOP_REASON_CONTEXT_WINDOW},
        {"what_comes_next", ROUTER__STOP_REASON__STOP_REASON_OTHER},
    };
    struct router_fixture f;
    router_fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *done = arena_printf(f.arena,
                                        "{'type':'message_delta','delta':{'stop_reason':'%s','stop_"
                                        "sequence':'END'},'usage':{}}",
                                        cases[i].word);
        REPLIES(&f,
                {.events = router_fixture_events(&f, BEGIN, TEXT(0), STOP(0), done, END, NULL)});
        assert_status_ok(router_fixture_generate(&f));
        assert_int_equal(f.completed->stop_reason, cases[i].reason);
        assert_string_equal(f.completed->stop_detail, cases[i].word);
        assert_string_equal(f.completed->stop_sequence, "END");
    }
    router_fixture_stop(&f);
}

/* --- whole answers ---------------------------------------------------------------------------- */

/* The deltas of a stream joined per block, as a whole answer has them. */
static void join_deltas(const char *log, struct buf *out)
{
    struct span rest = span_str(log), line, word = SPAN_NONE;
    while (span_cut(&rest, '\n', &line)) {
        struct span first = span_first(line, span_find_char(line, ' '));
        bool content = span_eq(first, SPAN("thinks")) || span_eq(first, SPAN("says")) ||
                       span_eq(first, SPAN("signs")) || span_eq(first, SPAN("hides")) ||
                       span_eq(first, SPAN("raw"));
        if (content && span_eq(first, word)) {
            buf_truncate(out, out->len - 1); /* goes on */
            buf_add_span(out, span_from(line, first.len + 1));
            buf_add_char(out, '\n');
        } else if (content) {
            buf_add_span(out, line);
            buf_add_char(out, '\n');
        }
        word = content ? first : SPAN_NONE;
    }
}

task_test_real(a_whole_answer_is_the_streams)
{
    CLEANUP(buf_clear) struct buf stream;
    CLEANUP(buf_clear) struct buf whole;
    struct router_fixture f;
    Router__GenerateOnceResponse *response;
    buf_init(&stream, 65536);
    buf_init(&whole, 65536);
    router_fixture_start(&f);
    const char *const *broken = router_fixture_events(
        &f, BEGIN, THINKING, THINKS("void"), SIGNS("v"), STOP(0), TEXT(1), SAYS(1, "void"), NULL);
    const char *const *good = router_fixture_events(
        &f, BEGIN, THINKING, THINKS("so"), THINKS(" be it"), SIGNS("Eq"), SIGNS("QB"), STOP(0),
        TEXT(1), SAYS(1, "Hel"), SAYS(1, "lo"), STOP(1), TOOL("{'x':1}"), STOP(0), TEXT(3),
        SAYS(3, "bye"), STOP(3), DONE("end_turn", "'output_tokens':9"), END, NULL);
    REPLIES(&f, {.events = broken, .ending = FAKE_RESET}, {.events = good},
            {.events = broken, .ending = FAKE_RESET}, {.events = good});
    assert_status_ok(router_fixture_generate(&f));
    const char *second = strstr(buf_cstr(&f.log), "admitted 2");
    assert_non_null(second);
    join_deltas(second, &stream);
    assert_string_equal(
        buf_cstr(&stream),
        "thinks so be it\nsigns EqQB\nsays Hello\nraw {\"type\":\"tool_use\",\"id\":"
        "\"t1\",\"name\":\"find\",\"input\":{\"x\":1}}\nsays bye\n");

    assert_status_ok(router_fixture_generate_once(&f, &response));
    router_fixture_add_content(&whole, response);
    assert_string_equal(buf_cstr(&whole), buf_cstr(&stream));
    assert_string_equal(response->completed->stop_detail, "end_turn");
    assert_int_equal(response->completed->metadata->n_attempts, 2);
    assert_int_equal(response->completed->metadata->usage->output_tokens, 1 + 9);
    router_fixture_stop(&f);
}

/* --- attempts that fail ----------------------------------------------------------------------- */

task_test_real(a_broken_answer_is_void_and_the_next_tier_begins_anew)
{
    struct router_fixture f;
    router_fixture_start(&f);
    VERDICTS(&f, {.decision = FAKE_GRANT}, {.decision = FAKE_GRANT});
    REPLIES(&f,
            {.events = router_fixture_events(&f, BEGIN, TEXT(0), SAYS(0, "Hel"), NULL),
             .ending = FAKE_RESET},
            {.events = router_fixture_events(&f, HELLO, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    assert_log(&f, "admitted 1 first\nstart 0 text\nsays Hel\n"
                   "restarted 2 first TIER_STREAM_BROKEN\nadmitted 2 last\n" HELLO_LOG);
    assert_string_equal(f.limiter.candidates,
                        "last@us-east-2"); /* the first one is not asked for again */
    const Router__CallMetadata *m = f.completed->metadata;
    assert_int_equal(m->n_attempts, 2);
    assert_string_equal(m->attempts[0]->reason, "TIER_STREAM_BROKEN");
    assert_true(m->attempts[0]->usage_partial);
    assert_int_equal(m->usage->input_tokens, 20);
    assert_int_equal(m->usage->output_tokens, 10);
    assert_true(m->ttft_ms < 5000 && m->ttft_ms <= m->total_ms);
    fake_limiter_wait(&f.limiter, 2);
    assert_int_equal(f.limiter.reports[0].outcome, LIMITER__OUTCOME__OUTCOME_FAILED);
    assert_true(f.limiter.reports[0].usage_partial);
    assert_int_equal(f.limiter.reports[1].outcome, LIMITER__OUTCOME__OUTCOME_OK);
    router_fixture_stop(&f);
}

/* The second admission waits; that is no part of the time to the first token. */
task_test_real(the_time_to_the_first_token_is_the_answers)
{
    struct router_fixture f;
    router_fixture_start(&f);
    VERDICTS(&f, {.decision = FAKE_GRANT}, {.decision = FAKE_GRANT, .delay_ms = 300});
    REPLIES(&f,
            {.events = router_fixture_events(&f, BEGIN, TEXT(0), SAYS(0, "Hel"), NULL),
             .ending = FAKE_RESET},
            {.events = router_fixture_events(&f, HELLO, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    const Router__CallMetadata *m = f.completed->metadata;
    assert_true(m->queue_ms >= 300);
    assert_true(m->ttft_ms + m->queue_ms <= m->total_ms);
    router_fixture_stop(&f);
}

#define STARTED BEGIN, TEXT(0), SAYS(0, "Hel")

enum next {
    NEXT_TIER, /* and the caller saw nothing of the failed attempt */
    RESTARTED, /* the caller did */
    GIVES_UP,  /* the call ends with the reason */
};

struct failure_case {
    struct fake_reply reply;
    const char *const *events; /* in front of it */
    enum reason reason;
    Limiter__Outcome outcome;
    enum next next;
};

#define THROTTLED LIMITER__OUTCOME__OUTCOME_THROTTLED
#define BROKE     LIMITER__OUTCOME__OUTCOME_FAILED
#define OURS      LIMITER__OUTCOME__OUTCOME_CALLER
#define ENDED     LIMITER__OUTCOME__OUTCOME_GONE

/* clang-format off */
#define REFUSES(code, name, text) {.status = code, .exception = name, .message = text}
#define THROWS(name)              {.exception = name, .message = "x"}
#define ENDS(how)                 {.ending = how}
/* clang-format on */

#define PER_MINUTE  "Too many tokens, please wait before trying again."
#define PER_DAY     "Too many tokens per day, please wait before trying again."
#define END_OF_LIFE "This model version has reached the end of its life."
#define NO_SUCH_ID  "The provided model identifier is invalid."

static const char *const nothing[4] = {NULL};
static const char *const head[4] = {BEGIN};
static const char *const begun[4] = {BEGIN, TEXT(0)};
static const char *const told[4] = {STARTED};
static const char *const no_json[4] = {BEGIN, TEXT(0), "{'type':"};
static const char *const error[4] = {BEGIN, TEXT(0), "{'type':'error','error':{'message':'x'}}"};

static const struct failure_case failures[] = {
    /* refused before a stream began */
    {REFUSES(429, "ThrottlingException:http://x/", PER_MINUTE), nothing, REASON_TIER_THROTTLED,
     THROTTLED, NEXT_TIER},
    {REFUSES(429, "ThrottlingException", PER_DAY), nothing, REASON_TIER_THROTTLED_DAILY, THROTTLED,
     NEXT_TIER},
    {REFUSES(400, "ServiceQuotaExceededException", "x"), nothing, REASON_TIER_THROTTLED, THROTTLED,
     NEXT_TIER},
    {REFUSES(500, "InternalServerException", "x"), nothing, REASON_TIER_FAILED, BROKE, NEXT_TIER},
    {REFUSES(503, "ServiceUnavailableException", "x"), nothing, REASON_TIER_UNAVAILABLE, BROKE,
     NEXT_TIER},
    {REFUSES(408, "ModelTimeoutException", "x"), nothing, REASON_TIER_TIMEOUT, BROKE, NEXT_TIER},
    {REFUSES(404, "ResourceNotFoundException", END_OF_LIFE), nothing, REASON_TIER_GONE, ENDED,
     NEXT_TIER},
    {REFUSES(403, "AccessDeniedException", "x"), nothing, REASON_TIER_REFUSED, OURS, NEXT_TIER},
    {REFUSES(400, "ValidationException", NO_SUCH_ID), nothing, REASON_TIER_MISCONFIGURED, OURS,
     NEXT_TIER},
    {REFUSES(400, "ValidationException", "x"), nothing, REASON_UPSTREAM_REJECTED, OURS, GIVES_UP},
    {REFUSES(403, "UnrecognizedClientException", "x"), nothing, REASON_CREDENTIALS_REJECTED, OURS,
     GIVES_UP},
    {ENDS(FAKE_MUTE), nothing, REASON_TIER_TIMEOUT, BROKE, NEXT_TIER},
    /* accepted, and refused by the first frame */
    {THROWS("throttlingException"), nothing, REASON_TIER_THROTTLED, THROTTLED, NEXT_TIER},
    {THROWS("validationException"), nothing, REASON_UPSTREAM_REJECTED, OURS, GIVES_UP},
    {ENDS(FAKE_SILENT), nothing, REASON_TIER_TIMEOUT, BROKE, NEXT_TIER},
    /* broken later */
    {THROWS("modelStreamErrorException"), told, REASON_TIER_STREAM_BROKEN, BROKE, RESTARTED},
    {THROWS("throttlingException"), told, REASON_TIER_THROTTLED, THROTTLED, RESTARTED},
    {THROWS("internalServerException"), begun, REASON_TIER_FAILED, BROKE, RESTARTED},
    {ENDS(FAKE_END), told, REASON_TIER_STREAM_BROKEN, BROKE, RESTARTED},
    {ENDS(FAKE_END), head, REASON_TIER_STREAM_BROKEN, BROKE, NEXT_TIER},
    {ENDS(FAKE_RESET), told, REASON_TIER_STREAM_BROKEN, BROKE, RESTARTED},
    {ENDS(FAKE_BREAK), told, REASON_TIER_STREAM_BROKEN, BROKE, RESTARTED},
    {ENDS(FAKE_SPOIL), told, REASON_TIER_STREAM_BROKEN, BROKE, RESTARTED},
    {ENDS(FAKE_SILENT), told, REASON_TIER_STALLED, BROKE, RESTARTED},
    {ENDS(FAKE_END), no_json, REASON_PROTOCOL_ERROR, BROKE, RESTARTED},
    {ENDS(FAKE_END), error, REASON_TIER_FAILED, BROKE, RESTARTED},
};

static void check_failure(struct router_fixture *f, const struct failure_case *c, struct status s)
{
    fake_limiter_wait(&f->limiter, c->next == GIVES_UP ? 1 : 2);
    const struct fake_report *r = &f->limiter.reports[0];
    assert_false(r->cancel);
    assert_int_equal(r->outcome, c->outcome);
    bool refused = c->reply.status != 0 || (c->reply.exception != NULL && c->events == nothing);
    assert_int_equal(r->usage_partial, !refused); /* more may have been used */
    if (c->next == GIVES_UP) {
        assert_status(s, c->reason);
        return;
    }
    assert_status_ok(s);
    assert_string_equal(f->completed->metadata->attempts[0]->reason, reason_name(c->reason));
    bool restarted = strstr(buf_cstr(&f->log), "restarted") != NULL;
    assert_int_equal(restarted, c->next == RESTARTED);
    assert_true(span_ends(buf_span(&f->log), SPAN("admitted 2 last\n" HELLO_LOG)));
    assert_int_equal(f->limiter.reports[1].outcome, LIMITER__OUTCOME__OUTCOME_OK);
}

task_test_real(each_kind_of_failure_is_settled_once_as_what_it_was)
{
    struct router_fixture f;
    router_fixture_start(&f);
    f.config.first_byte_wait = 150;
    f.config.stall_wait = 150;
    const char *const *hello = router_fixture_events(&f, HELLO, NULL);
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        const struct failure_case *c = &failures[i];
        struct fake_reply failed = c->reply;
        failed.events =
            router_fixture_events(&f, c->events[0], c->events[1], c->events[2], c->events[3], NULL);
        REPLIES(&f, failed, {.events = hello});
        f.bedrock.requests = 0;
        struct status s = router_fixture_generate(&f);
        check_failure(&f, c, s);
        fake_limiter_check_settled(&f.limiter);
        f.limiter.n_reports = f.limiter.n_granted = 0;
    }
    router_fixture_stop(&f);
}

task_test_real(a_wait_that_the_provider_asks_for_is_passed_on)
{
    struct router_fixture f;
    router_fixture_start(&f);
    REPLIES(&f,
            {.status = 429, .exception = "ThrottlingException", .message = "x", .retry_after = "7"},
            {.events = router_fixture_events(&f, HELLO, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    fake_limiter_wait(&f.limiter, 2);
    assert_int_equal(f.limiter.reports[0].server_retry_ms, 7000);
    assert_int_equal(f.limiter.reports[1].server_retry_ms, 0);
    router_fixture_stop(&f);
}

task_test_real(a_complete_answer_stays_complete_however_the_connection_ends)
{
    static const enum fake_ending endings[] = {FAKE_END, FAKE_RESET, FAKE_BREAK, FAKE_SPOIL,
                                               FAKE_SILENT};
    struct router_fixture f;
    router_fixture_start(&f);
    f.config.stall_wait = 150;
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        REPLIES(&f, {.events = router_fixture_events(&f, HELLO, NULL), .ending = endings[i]});
        assert_status_ok(router_fixture_generate(&f));
        assert_log(&f, "admitted 1 first\n" HELLO_LOG);
        assert_false(f.completed->metadata->attempts[0]->usage_partial);
    }
    router_fixture_stop(&f);
}

task_test_real(a_provider_that_cannot_be_reached_costs_the_next_tier_nothing)
{
    struct router_fixture f;
    router_fixture_start(&f);
    f.generation->max_attempts = 2;
    http_server_stop(f.bedrock.server); /* nobody listens now */
    assert_status(router_fixture_generate(&f), REASON_ATTEMPTS_USED_UP);
    assert_log(&f, "admitted 1 first\nadmitted 2 last\n");
    fake_limiter_wait(&f.limiter, 2);
    assert_int_equal(f.limiter.reports[0].outcome, LIMITER__OUTCOME__OUTCOME_FAILED);
    assert_false(f.limiter.reports[0].usage_partial);
    const struct http_server_options again = {.host = "127.0.0.1", .handler = NULL};
    assert_status_ok(http_server_start(task_loop(), &again, &f.bedrock.server));
    router_fixture_stop(&f);
}

/* --- callers and leases ----------------------------------------------------------------------- */

task_test_real(a_caller_who_leaves_stops_the_model)
{
    struct router_fixture f;
    router_fixture_start(&f);
    REPLIES(&f, {.events = router_fixture_events(&f, STARTED, NULL), .ending = FAKE_SILENT});
    f.leave_after = 3;
    assert_status_ok(router_fixture_generate(&f));
    assert_log(&f, "admitted 1 first\nstart 0 text\nsays Hel\n");
    router_fixture_until(&f.bedrock.left, 1);
    fake_limiter_wait(&f.limiter, 1);
    assert_false(f.limiter.reports[0].cancel);
    assert_int_equal(f.limiter.reports[0].outcome, LIMITER__OUTCOME__OUTCOME_CANCELLED);
    assert_true(f.limiter.reports[0].usage_partial);
    assert_int_equal(f.limiter.reports[0].input, 10);
    router_fixture_stop(&f);
}

task_test_real(a_deadline_that_passes_stops_the_model)
{
    struct router_fixture f;
    router_fixture_start(&f);
    REPLIES(&f, {.events = router_fixture_events(&f, STARTED, NULL), .ending = FAKE_SILENT});
    f.call_ms = 200;
    assert_int_equal(router_fixture_generate(&f).code, STATUS_DEADLINE_EXCEEDED);
    router_fixture_until(&f.bedrock.left, 1);
    fake_limiter_wait(&f.limiter, 1);
    assert_int_equal(f.limiter.reports[0].outcome, LIMITER__OUTCOME__OUTCOME_CANCELLED);
    router_fixture_stop(&f);
}

/* Cancelled at its first wait, then at its second, ...: each grant is given back once, and nothing
 * is left behind. */
task_test_real(a_call_may_be_cancelled_at_any_wait)
{
    struct router_fixture f;
    size_t cancelled = 0, n;
    router_fixture_start(&f);
    const char *const *broken = router_fixture_events(&f, STARTED, NULL);
    const char *const *hello = router_fixture_events(&f, HELLO, NULL);
    REPLIES(&f, {.events = broken, .ending = FAKE_RESET}, {.events = hello});
    for (n = 1; n == 1 || task_test_waits() >= n - 1; n++) {
        f.bedrock.requests = 0;
        task_test_cancel_at("Generate", n);
        struct status s = router_fixture_generate(&f);
        /* Cut while it was sending, the call has no trailers: the client sees a broken line. */
        assert_true(status_ok(s) || s.code == STATUS_CANCELLED ||
                    s.reason == REASON_CONNECTION_LOST);
        cancelled += !status_ok(s);
        router_fixture_until(&f.router.handed_over, 0);
        fake_limiter_check_settled(&f.limiter);
        assert_int_equal(f.router.upstream_open, 0);
        assert_true(metric_value(f.router.metrics.leases, METRIC_LABELS()) == 0);
        f.limiter.n_reports = f.limiter.n_granted = 0;
    }
    print_message("# cancelled at each of %zu waits, %zu calls felt it\n", n - 2, cancelled);
    assert_true(cancelled >= 10);
    router_fixture_stop(&f);
}

/* What may have been granted without our knowing is taken back. */
task_test_real(a_question_without_answer_is_taken_back)
{
    struct router_fixture f;
    router_fixture_start(&f);
    VERDICTS(&f, {.decision = FAKE_HANG});
    f.call_ms = 200;
    assert_int_equal(router_fixture_generate(&f).code, STATUS_DEADLINE_EXCEEDED);
    fake_limiter_wait(&f.limiter, 1);
    assert_true(f.limiter.reports[0].cancel);
    assert_int_equal(f.bedrock.requests, 0);
    router_fixture_stop(&f);
}

task_test_real(a_grant_that_came_too_late_is_given_back_and_another_asked_for)
{
    struct router_fixture f;
    router_fixture_start(&f);
    VERDICTS(&f, {.decision = FAKE_GRANT, .delay_ms = 50, .use_by_ms = 1},
             {.decision = FAKE_GRANT});
    REPLIES(&f, {.events = router_fixture_events(&f, HELLO, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    assert_log(&f, "admitted 1 first\n" HELLO_LOG);
    assert_int_equal(f.bedrock.requests, 1);
    assert_int_equal(f.completed->metadata->n_attempts, 1);
    fake_limiter_wait(&f.limiter, 2);
    assert_true(f.limiter.reports[0].cancel);
    assert_int_equal(f.limiter.reports[1].outcome, LIMITER__OUTCOME__OUTCOME_OK);
    router_fixture_stop(&f);
}

static const struct {
    bool lose; /* the limiter says so; else it says nothing at all, and the lease runs out */
    uint64_t lease_ms;
    const char *how;
} losses[] = {{true, 60000, "lost"}, {false, 300, "fenced"}};

static void start_losing(struct router_fixture *f, size_t i) PARKS
{
    static struct fake_verdict verdict;
    router_fixture_start(f);
    verdict = (struct fake_verdict){.decision = FAKE_GRANT, .lease_ms = losses[i].lease_ms};
    f->limiter.verdicts = &verdict;
    f->limiter.n_verdicts = 1;
    f->config.renew = 50;
    f->config.fence_guard = 50;
    f->limiter.lose_leases = losses[i].lose;
    f->limiter.hang_renew = !losses[i].lose;
}

task_test_real(a_lease_that_is_lost_stops_its_call)
{
    for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
        struct router_fixture f;
        start_losing(&f, i);
        REPLIES(&f, {.events = router_fixture_events(&f, STARTED, NULL), .ending = FAKE_SILENT});
        assert_status(router_fixture_generate(&f), REASON_LEASE_LOST);
        assert_log(&f, "admitted 1 first\nstart 0 text\nsays Hel\n");
        router_fixture_until(&f.bedrock.left, 1);
        fake_limiter_wait(&f.limiter, 1);
        assert_int_equal(f.limiter.reports[0].outcome, LIMITER__OUTCOME__OUTCOME_CANCELLED);
        assert_true(
            metric_value(f.router.metrics.leases_lost_total, METRIC_LABELS(losses[i].how)) == 1);
        router_fixture_stop(&f);
    }
}

task_test_real(with_on_fence_finish_the_call_goes_on)
{
    for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
        struct router_fixture f;
        start_losing(&f, i);
        REPLIES(&f, {.events = router_fixture_events(&f, STARTED, NULL), .ending = FAKE_SILENT});
        f.config.on_fence = "finish";
        f.config.stall_wait = 1000;
        f.generation->max_attempts = 1;
        assert_status(router_fixture_generate(&f), REASON_ATTEMPTS_USED_UP); /* by its own stall */
        fake_limiter_wait(&f.limiter, 1);
        assert_int_equal(f.limiter.reports[0].outcome, LIMITER__OUTCOME__OUTCOME_FAILED);
        assert_true(
            metric_value(f.router.metrics.leases_lost_total, METRIC_LABELS(losses[i].how)) == 1);
        router_fixture_stop(&f);
    }
}

task_test_real(leases_that_are_renewed_hold)
{
    struct router_fixture f;
    router_fixture_start(&f);
    VERDICTS(&f, {.decision = FAKE_GRANT, .lease_ms = 400});
    REPLIES(&f, {.events = router_fixture_events(&f, STARTED, NULL), .ending = FAKE_SILENT});
    f.config.renew = 50;
    f.config.fence_guard = 50;
    f.config.stall_wait = 1000;
    f.generation->max_attempts = 1;
    assert_status(router_fixture_generate(&f), REASON_ATTEMPTS_USED_UP); /* by its own stall */
    assert_true(f.limiter.renews >= 2);
    router_fixture_stop(&f);
}

/* A limiter refuses a Renew of more than 1,024. */
task_test_real(thousands_of_leases_are_renewed_in_parts)
{
    enum {
        MANY = 2500
    };
    struct router_fixture f;
    router_fixture_start(&f);
    f.config.renew = 50;
    struct candidate candidate = {.resource = "first@us-east-2"};
    struct grant *grants = alloc_zeroed(MANY, sizeof(*grants));
    uint64_t lost_at_ms = loop_now_ms(task_loop()) + 30000; /* renewed ones last for 60 s */
    for (uint32_t i = 0; i < MANY; i++) {
        grants[i].candidate = &candidate;
        grants[i].tenant = "default";
        grants[i].lost_at_ms = lost_at_ms;
        memcpy(grants[i].id, &i, sizeof(i));
        list_init(&grants[i].link);
        leases_hold(f.router.leases, &grants[i]);
    }
    size_t renewed = 0;
    for (int i = 0; i < 5000 && renewed < MANY; i++) {
        assert_status_ok(task_sleep_ms(1));
        renewed = 0;
        for (size_t k = 0; k < MANY; k++) {
            renewed += grants[k].lost_at_ms > lost_at_ms;
        }
    }
    assert_int_equal(renewed, MANY);
    assert_true(f.limiter.renews >= 3 && f.limiter.renew_most <= 1024);
    for (size_t i = 0; i < MANY; i++) {
        leases_drop(f.router.leases, &grants[i]);
    }
    free(grants);
    router_fixture_stop(&f);
}

/* --- admission -------------------------------------------------------------------------------- */

task_test_real(a_refusal_is_waited_for_where_the_deadline_allows)
{
    struct router_fixture f;
    router_fixture_start(&f);
    VERDICTS(&f,
             {.decision = FAKE_REFUSE,
              .resource = "suite",
              .reason = LIMITER__REASON__REASON_REQUESTS,
              .retry_after_ms = 200},
             {.decision = FAKE_GRANT, .candidate = 1, .passed_model = "first@us-east-2"});
    REPLIES(&f, {.events = router_fixture_events(&f, HELLO, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    assert_log(&f, "queued REQUESTS suite\nadmitted 1 last\n" HELLO_LOG);
    assert_string_equal(f.limiter.candidates, "first@us-east-2 last@us-east-2");
    assert_true(f.admitted->queue_ms >= 200);
    /* Models left out by the plan stay named beside those of the decision. */
    assert_int_equal(f.admitted->n_skipped, 2);
    assert_string_equal(f.admitted->skipped[0]->model, "models/retired");
    assert_string_equal(f.admitted->skipped[0]->reasons[0], "TIER_GONE");
    assert_string_equal(f.admitted->skipped[1]->model, "models/first");
    assert_string_equal(f.admitted->skipped[1]->reasons[0], "COOLDOWN");
    router_fixture_stop(&f);
}

task_test_real(a_refusal_beyond_the_deadline_is_told_at_once)
{
    static const struct {
        struct fake_verdict verdict;
        enum reason reason;
        enum status_code code;
        uint32_t retry_ms;
    } cases[] = {
        {{.decision = FAKE_REFUSE,
          .resource = "suite",
          .reason = LIMITER__REASON__REASON_TOKENS,
          .retry_after_ms = 60000},
         REASON_SUITE_LIMIT,
         STATUS_UNAVAILABLE,
         60000},
        {{.decision = FAKE_REFUSE,
          .resource = "tenant:acme",
          .reason = LIMITER__REASON__REASON_REQUESTS,
          .retry_after_ms = 60000},
         REASON_TENANT_LIMIT,
         STATUS_RESOURCE_EXHAUSTED,
         60000},
        {{.decision = FAKE_REFUSE,
          .resource = "suite",
          .reason = LIMITER__REASON__REASON_TOO_LARGE},
         REASON_TOO_LARGE_FOR_LIMIT,
         STATUS_INVALID_ARGUMENT,
         0},
        {{.decision = FAKE_REFUSE,
          .resource = "first@us-east-2",
          .reason = LIMITER__REASON__REASON_COOLDOWN,
          .retry_after_ms = 30000},
         REASON_NO_TIER_AVAILABLE,
         STATUS_UNAVAILABLE,
         30000},
        {{.decision = FAKE_REFUSE,
          .resource = "first@us-east-2",
          .reason = LIMITER__REASON__REASON_MODEL_GONE},
         REASON_NO_TIER_AVAILABLE,
         STATUS_UNAVAILABLE,
         0},
    };
    struct router_fixture f;
    router_fixture_start(&f);
    f.call_ms = 5000;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        VERDICTS(&f, cases[i].verdict);
        struct status s = router_fixture_generate(&f);
        assert_status(s, cases[i].reason);
        assert_int_equal(s.code, cases[i].code);
        assert_int_equal(s.retry_after_ms, cases[i].retry_ms);
        assert_log(&f, "");
    }
    assert_int_equal(f.limiter.n_granted, 0);
    router_fixture_stop(&f);
}

task_test_real(a_limiter_that_cannot_decide_is_asked_a_few_times)
{
    struct router_fixture f;
    router_fixture_start(&f);
    VERDICTS(&f, {.decision = FAKE_FAIL}, {.decision = FAKE_FAIL}, {.decision = FAKE_GRANT});
    REPLIES(&f, {.events = router_fixture_events(&f, HELLO, NULL)});
    assert_status_ok(router_fixture_generate(&f));
    assert_int_equal(f.limiter.acquires, 3);
    const struct fake_verdict never[] = {{.decision = FAKE_FAIL}};
    f.limiter.verdicts = never;
    f.limiter.n_verdicts = 1;
    struct status s = router_fixture_generate(&f);
    assert_status(s, REASON_LIMITER_UNREACHABLE);
    assert_true(s.retry_after_ms > 0);
    fake_limiter_wait(&f.limiter, 2); /* and what it may have granted is taken back */
    assert_true(f.limiter.reports[1].cancel);
    router_fixture_stop(&f);
}

/* --- requests --------------------------------------------------------------------------------- */

task_test_real(what_cannot_be_asked_costs_nothing)
{
    struct router_fixture f;
    router_fixture_start(&f);
    Router__Generation usual = *f.generation;
    f.generation->models = (char *[]){"models/none"};
    f.generation->n_models = 1;
    assert_status(router_fixture_generate(&f), REASON_MODEL_UNKNOWN);
    *f.generation = usual;
    f.generation->tiers = (uint32_t[]){1, 9};
    f.generation->n_tiers = 2;
    assert_status(router_fixture_generate(&f), REASON_MODEL_UNKNOWN);
    *f.generation = usual;
    f.generation->n_messages = 0;
    assert_status(router_fixture_generate(&f), REASON_BAD_REQUEST);
    *f.generation = usual;
    f.generation->models = (char *[]){"retired"};
    f.generation->n_models = 1;
    assert_status(router_fixture_generate(&f), REASON_NO_TIER_AVAILABLE);
    assert_int_equal(f.limiter.acquires, 0);
    router_fixture_stop(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(events_come_in_order_and_bytes_as_they_were),
    cmocka_unit_test(values_of_usage_are_cumulative_and_the_last_ones_count),
    cmocka_unit_test(other_blocks_come_whole),
    cmocka_unit_test(text_with_u0000_comes_as_bytes),
    cmocka_unit_test(pieces_that_arrive_together_leave_together),
    cmocka_unit_test(stop_reasons_have_words_and_numbers),
    cmocka_unit_test(a_whole_answer_is_the_streams),
    cmocka_unit_test(a_broken_answer_is_void_and_the_next_tier_begins_anew),
    cmocka_unit_test(the_time_to_the_first_token_is_the_answers),
    cmocka_unit_test(each_kind_of_failure_is_settled_once_as_what_it_was),
    cmocka_unit_test(a_wait_that_the_provider_asks_for_is_passed_on),
    cmocka_unit_test(a_complete_answer_stays_complete_however_the_connection_ends),
    cmocka_unit_test(a_provider_that_cannot_be_reached_costs_the_next_tier_nothing),
    cmocka_unit_test(a_caller_who_leaves_stops_the_model),
    cmocka_unit_test(a_deadline_that_passes_stops_the_model),
    cmocka_unit_test(a_call_may_be_cancelled_at_any_wait),
    cmocka_unit_test(a_question_without_answer_is_taken_back),
    cmocka_unit_test(a_grant_that_came_too_late_is_given_back_and_another_asked_for),
    cmocka_unit_test(a_lease_that_is_lost_stops_its_call),
    cmocka_unit_test(with_on_fence_finish_the_call_goes_on),
    cmocka_unit_test(leases_that_are_renewed_hold),
    cmocka_unit_test(thousands_of_leases_are_renewed_in_parts),
    cmocka_unit_test(a_refusal_is_waited_for_where_the_deadline_allows),
    cmocka_unit_test(a_refusal_beyond_the_deadline_is_told_at_once),
    cmocka_unit_test(a_limiter_that_cannot_decide_is_asked_a_few_times),
    cmocka_unit_test(what_cannot_be_asked_costs_nothing),
};

HARNESS_MAIN(tests)
