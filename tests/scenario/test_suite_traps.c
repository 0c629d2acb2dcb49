/* The whole suite among peers that know no manners (trap 16), and what one refusal costs upstream
 * (trap 18). */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "generation.h"
#include "prism/analyzer/v1/analyzer.pb-c.h"

#define SCALE  20
#define TIER_1 "us.anthropic.claude-sonnet-4-6"
#define TIER_2 "us.anthropic.claude-sonnet-5"
#define ROUNDS 20
#define NOISE  65536

static const char section_text[] =
    "# Administration\n\nPasswords are stored in plain text in the configuration file. The "
    "administration port has no authentication and is reachable from the internet.\n";

/* AnalyzeSection to its end; NULL when it fails or has no result. */
static const Analyzer__SectionResult *analyze(struct suite *suite) PARKS
{
    const Analyzer__SectionResult *result = NULL;
    Analyzer__AnalyzeSectionRequest request = ANALYZER__ANALYZE_SECTION_REQUEST__INIT;
    Analyzer__Document document = {0};
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    analyzer__document__init(&document);
    document.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document.content.data = (uint8_t *)(uintptr_t)section_text;
    document.content.len = strlen(section_text);
    request.section = &document;
    assert_status_ok(rpc_open(suite->analyzer, &analyzer__analyzer_service__descriptor,
                              "AnalyzeSection", &request, &stream));
    for (void *message;;) {
        assert_status_ok(rpc_stream_recv(stream, suite->arena, &message));
        if (message == NULL) {
            return result;
        }
        const Analyzer__AnalysisEvent *event = ((Analyzer__AnalyzeSectionResponse *)message)->event;
        if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT) {
            result = event->section_result;
        }
    }
}

static void assert_analyzed(struct suite *suite) PARKS
{
    const Analyzer__SectionResult *result = analyze(suite);
    assert_non_null(result);
    assert_int_equal(result->outcome, ANALYZER__OUTCOME__OUTCOME_OK);
}

/* --- 16: bad peers ------------------------------------------------------------------------------
 */

/* Says something and goes: with a reset, or an orderly close. */
static void say_and_go(uint16_t port, struct span words, bool reset)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(port),
    };
    const struct linger at_once = {.l_onoff = reset};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    (void)send(fd, words.at, words.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void pester(struct suite *suite)
{
    char noise[NOISE];
    uint32_t random = 7;
    for (size_t i = 0; i < sizeof(noise); i++) {
        noise[i] = (char)harness_random(&random);
    }
    const struct span words[] = {
        SPAN(""),
        SPAN("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        SPAN("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
        SPAN("POST /model/m/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n[[[["),
        SPAN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        SPAN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x01\x05\x00\x00\x00\x01"),
        SPAN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00"
             "\x00\x01\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
        SPAN("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), /* somebody speaks TLS */
        span_of(noise, sizeof(noise)),
    };
    for (size_t p = 0; p < SUITE_PROGRAMS; p++) {
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            say_and_go(suite->ports[p], words[i], i % 2 == 0);
            say_and_go(suite->admin_ports[p], words[i], i % 2 == 1);
        }
    }
}

/* Leaves while an answer is on its way. */
static void leave_in_the_middle(struct suite *suite) PARKS
{
    struct generation generation = {.suite = suite, .leave_after = 1};
    generation_run(&generation);
    assert_status_ok(generation.status);
    assert_true(generation.left);
    generation_clear(&generation);
}

static void send_deep_json(struct suite *suite) PARKS
{
    const size_t depth = 1000000;
    char *deep = arena_alloc(suite->arena, depth);
    struct span reply;
    memset(deep, '[', depth);
    int code = suite_http(suite, "PUT", suite->ports[SUITE_SIMULATOR], "/simulator/faults",
                          span_of(deep, 60000), &reply);
    assert_int_equal(code / 100, 4);
    code = suite_http(suite, "POST", suite->ports[SUITE_SIMULATOR], "/model/" TIER_1 "/invoke",
                      span_of(deep, depth), &reply);
    assert_int_equal(code / 100, 4);

    Router__GenerateOnceRequest request = ROUTER__GENERATE_ONCE_REQUEST__INIT;
    Router__Generation generation = ROUTER__GENERATION__INIT;
    Router__Message said = ROUTER__MESSAGE__INIT;
    Router__ContentBlock block = ROUTER__CONTENT_BLOCK__INIT;
    void *nothing;
    block.block_case = ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON;
    block.raw_json = (ProtobufCBinaryData){depth, (uint8_t *)deep};
    said.role = ROUTER__ROLE__ROLE_USER;
    said.n_content = 1;
    said.content = (Router__ContentBlock *[]){&block};
    generation.n_messages = 1;
    generation.messages = (Router__Message *[]){&said};
    request.generation = &generation;
    struct status s = rpc_call(suite->router, &router__router_service__descriptor, "GenerateOnce",
                               &request, suite->arena, &nothing);
    assert_int_equal(s.code, STATUS_INVALID_ARGUMENT);
}

/* Nobody dies, everybody still works, and what gRPC has to say about it is JSON too: suite_stop
 * reads all logs. */
task_test_real(bad_peers_are_survived_and_logged_as_json)
{
    setenv("GRPC_VERBOSITY", "debug", 1);
    setenv("GRPC_TRACE", "http_keepalive,server_channel,tcp", 1);
    struct suite *suite =
        suite_start(&(struct suite_options){.analyzer = true, .time_scale = SCALE});
    unsetenv("GRPC_TRACE");
    unsetenv("GRPC_VERBOSITY");
    for (int i = 0; i < ROUNDS; i++) {
        pester(suite);
        leave_in_the_middle(suite);
    }
    send_deep_json(suite);
    suite_await_idle(suite);
    assert_analyzed(suite);
    struct span log = suite_log(suite, SUITE_ROUTER);
    assert_true(span_find(log, SPAN("\"msg\":\"grpc\"")) != SPAN_MISSING);
    suite_stop(suite);
}

/* --- 18: retries that nobody asked for ----------------------------------------------------------
 */

static size_t calls_of(struct suite *suite, const char *model) PARKS
{
    return judge_of_model(suite_arrivals(suite), model, suite->arena).n;
}

/* From the analyzer's caller to the provider: libcurl, gRPC, router and analyzer send once. */
task_test_real(a_429_is_seen_exactly_once)
{
    struct suite *suite = suite_start(&(struct suite_options){
        .analyzer = true, .time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    suite_set_faults(suite, "rules:\n  - {model: " TIER_1 ", action: status, code: 429}\n");
    assert_analyzed(suite);
    suite_await_idle(suite);
    struct judge_log all = suite_arrivals(suite);
    assert_int_equal(all.n, 3);
    assert_int_equal(calls_of(suite, TIER_1), 2); /* in each of its regions */
    assert_span(all.calls[0].region, SPAN("us-east-2"));
    assert_span(all.calls[1].region, SPAN("us-west-2"));
    assert_int_equal(calls_of(suite, TIER_2), 1);
    assert_int_equal(all.calls[0].status, 429);
    assert_int_equal(all.calls[1].status, 429);
    assert_int_equal(all.calls[2].status, 200);
    assert_true(suite_metric(suite, SUITE_ROUTER, "grpc_server_started_total", "Generate") == 1);
    assert_true(
        suite_metric(suite, SUITE_ANALYZER, "grpc_server_started_total", "AnalyzeSection") == 1);
    suite_stop(suite);
}

static const struct CMUnitTest tests[] = {
    SUITE_TEST(bad_peers_are_survived_and_logged_as_json),
    SUITE_TEST(a_429_is_seen_exactly_once),
};

HARNESS_MAIN(tests)
