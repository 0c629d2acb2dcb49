/* What is wrong is refused with a word that says what and where, and nothing is lost by it. */
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "generation.h"
#include "prism/analyzer/v1/analyzer.pb-c.h"

#define SCALE         20
#define START_WAIT_MS 30000
#define ARENA_MOST    (64u << 20)

#define GOOD_TEXT                                                                                  \
    "# Access\n\nPasswords are stored in plain text. The administration port has no "              \
    "authentication.\n"

/* --- at the start -------------------------------------------------------------------------------
 */

/* A program that must refuse to start: with this code, and these words in what it says. */
struct refusal {
    const char *program;
    const char *arguments[4];
    const char *file; /* what FILE in the arguments and words stands for holds */
    int code;
    const char *words[4];
};

static const struct refusal refusals[] = {
    {"prism-router", {"--lisen=127.0.0.1:0"}, NULL, 2, {"--lisen", "--listen"}},
    {"prism-limiter", {"--suite-request=3"}, NULL, 2, {"--suite-request", "--suite-requests"}},
    {"prism-simulator", {"--speed=fast"}, NULL, 2, {"--speed", "fast"}},
    {"prism-analyzer", {"--workers=0"}, NULL, 2, {"--workers", "1..256"}},
    {"prism-router", {"--listen"}, NULL, 2, {"--listen", "value"}},
    {"prism-router",
     {"--config=FILE"},
     "max_attempts: 3\nmax_attempt: 4\n",
     2,
     {"FILE:2", "max_attempts"}},
    {"prism-router", {"--config=FILE"}, "max_attempts: 3\nlisten: [\n", 2, {"FILE:3"}},
    {"prism-limiter",
     {"--config=FILE"},
     "suite_window: 60s\nsuite_concurrency: 65\n",
     2,
     {"FILE:2", "0..64"}},
    {"prism-analyzer", {"--config=FILE"}, "workers: many\n", 2, {"FILE:1", "many"}},
    {"prism-simulator", {"--config=FILE"}, "instant: &x true\n", 2, {"FILE:1"}},
    {"prism-router", {"--config=/nonexistent/router.yaml"}, NULL, 2, {"/nonexistent/router.yaml"}},
    {"prism-router",
     {"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--catalogue=FILE"},
     "models:\n  - name: a\n    tier: one\n",
     1,
     {"FILE:3"}},
    {"prism-router",
     {"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--bedrock-region=mars-1"},
     NULL,
     1,
     {"bedrock_region"}},
    {"prism-limiter",
     {"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--catalogue=FILE"},
     "models:\n  - name: a\n    colour: red\n",
     1,
     {"FILE:3", "colour"}},
    {"prism-limiter",
     {"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--policy=FILE"},
     "tenants: {acme: {requests: [}\n",
     1,
     {"FILE:1"}},
    {"prism-simulator",
     {"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--faults=FILE"},
     "rules:\n  - action: status\n    code: 777\n",
     1,
     {"FILE:3", "777"}},
    {"prism-simulator",
     {"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--quotas=FILE"},
     "quotas:\n  - model: gpt\n",
     1,
     {"FILE:2", "gpt"}},
    {"prism-simulator",
     {"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--latency=FILE"},
     "latency:\n  - ttft: 1s\n",
     1,
     {"FILE:2", "constant(X)"}},
    {"prism-analyzer",
     {"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--state-dir=/nonexistent/store"},
     NULL,
     1,
     {"/nonexistent/store"}},
    {"prismctl", {"--analyser=127.0.0.1:1", "tasks"}, NULL, 2, {"--analyser", "--analyzer"}},
    {"prismctl", {"analyse"}, NULL, 2, {"analyse", "analyze"}},
    {"prismctl", {"analyze", "/nonexistent/document.md"}, NULL, 1, {"/nonexistent/document.md"}},
};

static const char *with_file(struct arena *arena, const char *text, const char *path)
{
    const char *at = strstr(text, "FILE");
    return at != NULL ? arena_printf(arena, "%.*s%s%s", (int)(at - text), text, path, at + 4)
                      : text;
}

static const char *temporary(struct arena *arena, const char *name)
{
    const char *out = getenv("PRISM_OUT");
    return arena_printf(arena, "%s/bad_input.%d.%s", out != NULL ? out : "out/release", getpid(),
                        name);
}

static void assert_refused(const struct refusal *refusal, struct arena *arena)
{
    const char *file = temporary(arena, "yaml"), *log = temporary(arena, "log");
    const char *arguments[ARRAY_LEN(refusal->arguments) + 1] = {NULL};
    if (refusal->file != NULL) {
        assert_null(file_write(file, span_str(refusal->file)));
    }
    for (size_t i = 0; i < ARRAY_LEN(refusal->arguments) && refusal->arguments[i] != NULL; i++) {
        arguments[i] = with_file(arena, refusal->arguments[i], file);
    }
    int code = process_run(refusal->program, arguments, NULL, log, START_WAIT_MS);
    struct span said = harness_read(arena, log);
    bool good = code == refusal->code;
    for (size_t i = 0; i < ARRAY_LEN(refusal->words) && refusal->words[i] != NULL; i++) {
        struct span word = span_str(with_file(arena, refusal->words[i], file));
        good &= span_find(said, word) != SPAN_MISSING;
    }
    (void)unlink(file);
    (void)unlink(log);
    if (!good) {
        print_error("%s %s: code %d, said: %.*s\n", refusal->program, arguments[0], code,
                    (int)said.len, said.at);
        fail();
    }
}

static void what_is_wrong_at_the_start_is_said(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        assert_refused(&refusals[i], arena);
    }
    harness_ran("refused starts", ARRAY_LEN(refusals), ARRAY_LEN(refusals));
}

task_test_real(a_port_in_use_is_said_and_its_owner_goes_on)
{
    struct suite *suite = suite_start(&(struct suite_options){
        .analyzer = true, .time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    static const char *const programs[] = {"prism-simulator", "prism-limiter", "prism-router"};
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        const char *taken = arena_printf(suite->arena, "%u", (unsigned)suite->ports[i]);
        const char *arguments[] = {arena_printf(suite->arena, "--listen=127.0.0.1:%s", taken),
                                   "--admin=127.0.0.1:0", NULL};
        const char *log = suite_path(suite, arena_printf(suite->arena, "second-%zu.log", i));
        assert_int_equal(process_run(programs[i], arguments, NULL, log, START_WAIT_MS), 1);
        struct span said = harness_read(suite->arena, log);
        assert_true(span_find(said, span_str(taken)) != SPAN_MISSING);
        assert_true(span_find_nocase(said, SPAN("in use")) != SPAN_MISSING);
    }
    struct generation g = {.suite = suite};
    generation_run(&g);
    assert_generated(&g, 1, 1);
    generation_clear(&g);
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(a_bad_fault_plan_is_refused_and_the_old_one_stays)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    struct span reply;
    suite_set_faults(suite,
                     "rules:\n  - {model: us.anthropic.claude-sonnet-4-6, action: retired}\n");
    assert_int_equal(suite_http(suite, "PUT", suite->ports[SUITE_SIMULATOR], "/simulator/faults",
                                SPAN("rules:\n  - action: status\n    cod: 500\n"), &reply),
                     400);
    assert_true(span_find(reply, SPAN("\"line\":3")) != SPAN_MISSING);
    assert_true(span_find(reply, SPAN("cod")) != SPAN_MISSING);
    struct generation g = {.suite = suite};
    generation_run(&g);
    assert_generated(&g, 2, 3); /* the old plan has retired tier 1 in both regions */
    generation_clear(&g);
    suite_await_idle(suite);
    suite_stop(suite);
}

/* --- at the router ------------------------------------------------------------------------------
 */

static void assert_field(struct status s, const char *field)
{
    assert_status(s, REASON_BAD_REQUEST);
    assert_int_equal(s.code, STATUS_INVALID_ARGUMENT);
    assert_non_null(s.more);
    assert_true(s.more->n_fields > 0);
    assert_string_equal(s.more->fields[0].subject, field);
    assert_true(s.more->fields[0].description[0] != '\0');
}

static void assert_resource(struct status s, enum reason reason, const char *name)
{
    assert_status(s, reason);
    assert_int_equal(s.code, STATUS_NOT_FOUND);
    assert_non_null(s.more);
    assert_string_equal(s.more->resource_name, name);
}

static struct status ask_router(struct suite *suite, const char *tenant,
                                Router__Generation *what) PARKS
{
    Router__GenerateOnceRequest request = ROUTER__GENERATE_ONCE_REQUEST__INIT;
    void *reply;
    request.tenant = (char *)tenant;
    request.generation = what;
    return rpc_call(suite->router, &router__router_service__descriptor, "GenerateOnce", &request,
                    suite->arena, &reply);
}

/* One message of the user with this text. */
static Router__Generation generation_of(struct suite *suite, char *text)
{
    Router__Generation what = ROUTER__GENERATION__INIT;
    Router__Message *message = ARENA_NEW(suite->arena, Router__Message);
    Router__ContentBlock *block = ARENA_NEW(suite->arena, Router__ContentBlock);
    router__message__init(message);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block->text = text;
    message->role = ROUTER__ROLE__ROLE_USER;
    message->n_content = 1;
    message->content = ARENA_ARRAY(suite->arena, Router__ContentBlock *, 1);
    message->content[0] = block;
    what.n_messages = 1;
    what.messages = ARENA_ARRAY(suite->arena, Router__Message *, 1);
    what.messages[0] = message;
    return what;
}

static char *long_text(struct suite *suite, size_t len)
{
    char *text = arena_alloc(suite->arena, len + 1);
    memset(text, 'a', len);
    return text;
}

task_test_real(the_router_refuses_what_it_must_and_charges_nothing)
{
    struct suite *suite = suite_start(
        &(struct suite_options){.time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    Router__Generation good = generation_of(suite, "hello"), bad;
    char *unknown[] = {"models/gpt-1"};
    uint8_t id[3] = {1, 2, 3};

    assert_field(ask_router(suite, "", NULL), "generation");
    assert_field(ask_router(suite, "Not A Tenant!", &good), "tenant");
    bad = (Router__Generation)ROUTER__GENERATION__INIT;
    assert_field(ask_router(suite, "", &bad), "generation.messages");
    bad = good;
    bad.thinking_budget_tokens = 12;
    assert_field(ask_router(suite, "", &bad), "generation.thinking_budget_tokens");
    bad = good;
    bad.call_id = (ProtobufCBinaryData){sizeof(id), id};
    assert_field(ask_router(suite, "", &bad), "generation.call_id");
    bad = good;
    bad.n_models = 1;
    bad.models = unknown;
    assert_resource(ask_router(suite, "", &bad), REASON_MODEL_UNKNOWN, "models/gpt-1");
    bad = generation_of(suite, "not \xff UTF-8");
    assert_status(ask_router(suite, "", &bad), REASON_BAD_ENCODING);
    bad = generation_of(suite, long_text(suite, 5u << 20));
    assert_int_equal(ask_router(suite, "", &bad).code, STATUS_RESOURCE_EXHAUSTED);

    assert_int_equal(suite_arrivals(suite).n, 0);
    assert_int_equal(suite_peek(suite, "suite")->remaining->requests, 30);
    assert_int_equal(suite_peek(suite, "suite")->remaining->tokens, 120000);
    assert_status_ok(ask_router(suite, "acme", &good));
    assert_int_equal(suite_arrivals(suite).n, 1);
    assert_int_equal(suite_peek(suite, "suite")->remaining->requests, 29);
    suite_await_idle(suite);
    suite_stop(suite);
}

/* --- at the analyzer ----------------------------------------------------------------------------
 */

static Analyzer__Document document_of(const void *content, size_t len, const char *name)
{
    Analyzer__Document document;
    analyzer__document__init(&document);
    document.display_name = (char *)name;
    document.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document.content = (ProtobufCBinaryData){len, (uint8_t *)content};
    return document;
}

static struct status ask_section(struct suite *suite, Analyzer__Document *document,
                                 Analyzer__AnalysisOptions *options) PARKS
{
    Analyzer__AnalyzeSectionRequest request = ANALYZER__ANALYZE_SECTION_REQUEST__INIT;
    struct rpc_stream *stream = NULL;
    void *message;
    request.section = document;
    request.options = options;
    struct status s = rpc_open(suite->analyzer, &analyzer__analyzer_service__descriptor,
                               "AnalyzeSection", &request, &stream);
    while (status_ok(s)) {
        s = rpc_stream_recv(stream, suite->arena, &message);
        if (status_ok(s) && message == NULL) {
            break;
        }
    }
    rpc_stream_close(&stream);
    return s;
}

static struct status ask_analyzer(struct suite *suite, const char *method,
                                  const void *request) PARKS
{
    void *reply;
    return rpc_call(suite->analyzer, &analyzer__analyzer_service__descriptor, method, request,
                    suite->arena, &reply);
}

static void bad_documents(struct suite *suite) PARKS
{
    Analyzer__Document document = document_of("caf\xe9 is Latin-1", 15, "menu.md");
    assert_status(ask_section(suite, &document, NULL), REASON_BAD_ENCODING);
    document = document_of("", 0, "empty.md");
    assert_status(ask_section(suite, &document, NULL), REASON_DOCUMENT_EMPTY);
    document = document_of(" \n\t\n", 4, "blank.md");
    assert_status(ask_section(suite, &document, NULL), REASON_DOCUMENT_EMPTY);
    document = document_of(long_text(suite, 100000), 100000, "large.md");
    assert_status(ask_section(suite, &document, NULL), REASON_DOCUMENT_TOO_LARGE);
    document = document_of(GOOD_TEXT, strlen(GOOD_TEXT), "picture.png");
    document.media_type = "image/png";
    assert_status(ask_section(suite, &document, NULL), REASON_DOCUMENT_TYPE);
    document = document_of(long_text(suite, 5u << 20), 5u << 20, "huge.md");
    assert_int_equal(ask_section(suite, &document, NULL).code, STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(ask_section(suite, NULL, NULL).code, STATUS_INVALID_ARGUMENT);
}

static void bad_tasks(struct suite *suite) PARKS
{
    Analyzer__GetTaskRequest get = ANALYZER__GET_TASK_REQUEST__INIT;
    Analyzer__CancelTaskRequest cancel = ANALYZER__CANCEL_TASK_REQUEST__INIT;
    Analyzer__ListTasksRequest list = ANALYZER__LIST_TASKS_REQUEST__INIT;
    Analyzer__ChatRequest chat = ANALYZER__CHAT_REQUEST__INIT;
    get.name = "tenants/default/tasks/nobody";
    assert_resource(ask_analyzer(suite, "GetTask", &get), REASON_TASK_UNKNOWN, get.name);
    cancel.name = get.name;
    assert_resource(ask_analyzer(suite, "CancelTask", &cancel), REASON_TASK_UNKNOWN, get.name);
    get.name = "nonsense";
    assert_field(ask_analyzer(suite, "GetTask", &get), "name");
    list.page_token = "nonsense";
    assert_field(ask_analyzer(suite, "ListTasks", &list), "page_token");
    list.page_token = "";
    list.page_size = -1;
    assert_field(ask_analyzer(suite, "ListTasks", &list), "page_size");
    list.page_size = 0;
    list.tenant = "Not A Tenant!";
    assert_field(ask_analyzer(suite, "ListTasks", &list), "tenant");
    struct rpc_stream *stream = NULL;
    void *message;
    struct status s =
        rpc_open(suite->analyzer, &analyzer__analyzer_service__descriptor, "Chat", &chat, &stream);
    s = status_ok(s) ? rpc_stream_recv(stream, suite->arena, &message) : s;
    assert_status(s, REASON_METHOD_NOT_BUILT);
    rpc_stream_close(&stream);
}

task_test_real(the_analyzer_refuses_what_it_must_and_charges_nothing)
{
    struct suite *suite = suite_start(&(struct suite_options){
        .analyzer = true,
        .time_scale = SCALE,
        .flags[SUITE_SIMULATOR] = "--instant",
        .flags[SUITE_ANALYZER] = "--document-most=64KiB",
    });
    Analyzer__Document good = document_of(GOOD_TEXT, strlen(GOOD_TEXT), "access.md");
    Analyzer__AnalysisOptions options = ANALYZER__ANALYSIS_OPTIONS__INIT;
    char *unknown[] = {"models/gpt-1"};
    options.n_models = 1;
    options.models = unknown;

    bad_documents(suite);
    bad_tasks(suite);
    assert_resource(ask_section(suite, &good, &options), REASON_MODEL_UNKNOWN, "models/gpt-1");
    assert_int_equal(suite_arrivals(suite).n, 0);
    assert_int_equal(suite_peek(suite, "suite")->remaining->requests, 30);

    assert_status_ok(ask_section(suite, &good, NULL));
    assert_int_equal(suite_arrivals(suite).n, 1);
    suite_await_idle(suite);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_at_the_start_is_said),
        SUITE_TEST(a_port_in_use_is_said_and_its_owner_goes_on),
        SUITE_TEST(a_bad_fault_plan_is_refused_and_the_old_one_stays),
        SUITE_TEST(the_router_refuses_what_it_must_and_charges_nothing),
        SUITE_TEST(the_analyzer_refuses_what_it_must_and_charges_nothing),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
