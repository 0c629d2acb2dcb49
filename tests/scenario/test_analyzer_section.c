/* One section while the caller waits: queued, admitted, thinking, text, result. */
#include <stdio.h>

#include "prism/analyzer/v1/analyzer.pb-c.h"
#include "suite.h"

#define SCALE      20
#define CROWD      35
#define WINDOW_MS  (60000.0 / SCALE)
#define ARENA_MOST (32u << 20)
#define TIER_1     "us.anthropic.claude-sonnet-4-6"

static const char section_text[] =
    "# Administration\n\nPasswords are stored in plain text in the configuration file. The "
    "administration port has no authentication and is reachable from the internet. People who left "
    "still use a shared account. Log files are reviewed weekly.\n";

/* One AnalyzeSection call and what it was told. */
struct section {
    struct suite *suite;
    size_t leave_after;     /* thinking deltas; 0: stays to the end */
    const char *request_id; /* NULL: none */

    struct arena *arena;
    struct status status;
    bool left;
    uint64_t last; /* sequence number */
    bool gap;
    size_t admitted;
    size_t restarted;
    size_t thinking;
    size_t text;
    bool out_of_order; /* thinking behind text within an attempt, or anything behind the result */
    const Analyzer__SectionResult *result;
};

static void take(struct section *c, const Analyzer__AnalysisEvent *event)
{
    if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_KEEP_ALIVE) {
        return;
    }
    c->gap |= event->sequence != c->last + 1;
    c->last = event->sequence;
    c->out_of_order |= c->result != NULL;
    switch ((int)event->event_case) {
    case ANALYZER__ANALYSIS_EVENT__EVENT_ADMITTED:
        c->admitted++;
        c->thinking = c->text = 0;
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_RESTARTED:
        c->restarted++;
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_THINKING_DELTA:
        c->thinking++;
        c->out_of_order |= c->text > 0 || c->admitted == 0;
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_TEXT_DELTA:
        c->text++;
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT:
        c->result = event->section_result;
        break;
    }
}

static struct status receive(struct section *c, struct rpc_stream *stream) PARKS
{
    for (void *message;;) {
        TRY(rpc_stream_recv(stream, c->arena, &message));
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        take(c, ((Analyzer__AnalyzeSectionResponse *)message)->event);
        if (c->leave_after > 0 && c->thinking >= c->leave_after) {
            c->left = true;
            return STATUS_SUCCESS;
        }
    }
}

static void run(void *arg) PARKS
{
    struct section *c = arg;
    struct rpc_stream *stream = NULL;
    Analyzer__AnalyzeSectionRequest request = ANALYZER__ANALYZE_SECTION_REQUEST__INIT;
    Analyzer__Document document;
    analyzer__document__init(&document);
    document.display_name = "administration.md";
    document.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document.content =
        (ProtobufCBinaryData){strlen(section_text), (uint8_t *)(uintptr_t)section_text};
    request.section = &document;
    request.request_id = (char *)(c->request_id != NULL ? c->request_id : "");
    c->arena = arena_new(ARENA_MOST);
    task_set_deadline(loop_now_ms(task_loop()) + 4 * SUITE_WAIT_MS);
    c->status = rpc_open(c->suite->analyzer, &analyzer__analyzer_service__descriptor,
                         "AnalyzeSection", &request, &stream);
    if (status_ok(c->status)) {
        c->status = receive(c, stream);
    }
    rpc_stream_close(&stream);
}

static void ask(struct section *c) PARKS
{
    struct group group;
    group_init(&group);
    group_spawn(&group, "section", run, c);
    assert_status_ok(group_wait(&group));
}

static void assert_analysed(const struct section *c, uint32_t tier, size_t attempts)
{
    assert_status_ok(c->status);
    assert_false(c->gap);
    assert_false(c->out_of_order);
    assert_int_equal(c->admitted, attempts);
    assert_true(c->thinking > 0 && c->text > 0);
    assert_non_null(c->result);
    assert_int_equal(c->result->outcome, ANALYZER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result->metadata->n_calls, 1);
    assert_int_equal(c->result->metadata->calls[0]->tier, tier);
    assert_int_equal(c->result->metadata->calls[0]->n_attempts, attempts);
    assert_true(c->result->metadata->simulated);
    assert_int_equal(c->result->n_thinking, attempts);
    for (size_t i = 0; i < attempts; i++) {
        assert_int_equal(c->result->thinking[i]->broken, i + 1 < attempts);
        assert_true(c->result->thinking[i]->n_blocks > 0);
    }
}

task_test_real(a_section_is_thought_about_written_about_and_judged)
{
    struct suite *suite =
        suite_start(&(struct suite_options){.analyzer = true, .time_scale = SCALE});
    struct section c = {.suite = suite};
    ask(&c);
    assert_analysed(&c, 1, 1);
    assert_true(c.result->risk_level >= ANALYZER__RISK_LEVEL__RISK_LEVEL_MEDIUM);
    assert_true(c.result->confidence > 0 && c.result->confidence <= 1);
    assert_true(c.result->n_findings >= 2);
    for (size_t i = 0; i < c.result->n_findings; i++) {
        const Analyzer__Finding *finding = c.result->findings[i];
        assert_true(finding->verified);
        assert_span(span_first(span_from(span_str(section_text), finding->evidence_offset),
                               finding->evidence_length),
                    span_str(finding->evidence));
    }
    arena_free(c.arena);
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(a_stream_that_breaks_is_told_and_every_trace_is_kept)
{
    struct suite *suite = suite_start(&(struct suite_options){
        .analyzer = true, .time_scale = SCALE, .flags[SUITE_SIMULATOR] = "--instant"});
    struct section c = {.suite = suite};
    suite_set_faults(suite, "rules:\n  - {model: " TIER_1
                            ", action: exception, type: modelStreamErrorException, after: 8}\n");
    ask(&c);
    assert_int_equal(c.restarted, 2); /* in both regions */
    assert_analysed(&c, 2, 3);
    assert_string_equal(c.result->thinking[0]->model, "models/sonnet-4.6");
    assert_string_equal(c.result->thinking[1]->model, "models/sonnet-4.6");
    assert_string_equal(c.result->thinking[2]->model, "models/sonnet-5");
    arena_free(c.arena);
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(a_caller_who_leaves_ends_the_model_call_two_services_on)
{
    struct suite *suite =
        suite_start(&(struct suite_options){.analyzer = true, .time_scale = SCALE});
    struct section warm = {.suite = suite}, c = {.suite = suite, .leave_after = 3};
    double analyzer = suite_metric(suite, SUITE_ANALYZER, "prism_loop_tasks", "");
    double router = suite_metric(suite, SUITE_ROUTER, "prism_loop_tasks", "");
    ask(&warm);
    assert_analysed(&warm, 1, 1);
    arena_free(warm.arena);
    suite_await_idle(suite);
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 10, for: 10m}\n");
    ask(&c);
    assert_true(c.left);
    arena_free(c.arena);

    suite_await_idle(suite);
    struct judge_log log = suite_arrivals(suite);
    assert_int_equal(log.n, 2);
    assert_span(log.calls[1].outcome, SPAN("client_gone"));
    assert_int_equal(suite_peek(suite, "suite")->live_leases, 0);
    suite_await_metric(suite, SUITE_ANALYZER, "prism_loop_tasks", "", analyzer);
    suite_await_metric(suite, SUITE_ROUTER, "prism_loop_tasks", "", router);
    suite_stop(suite);
}

task_test_real(the_same_request_id_does_not_run_twice_at_once)
{
    struct suite *suite =
        suite_start(&(struct suite_options){.analyzer = true, .time_scale = SCALE});
    struct section first = {.suite = suite, .request_id = "r1"}, same = first, other = first;
    struct group group;
    other.request_id = "r2";
    suite_set_faults(suite, "rules:\n  - {nth: 1, action: stall, at: events, after: 8, for: 3s}\n");
    group_init(&group);
    group_spawn(&group, "section", run, &first);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 1);
    ask(&same);
    assert_status(same.status, REASON_REQUEST_ID_REUSED);
    assert_int_equal(same.status.code, STATUS_ALREADY_EXISTS);
    arena_free(same.arena);
    ask(&other);
    assert_analysed(&other, 1, 1);
    arena_free(other.arena);
    assert_status_ok(group_wait(&group));
    assert_analysed(&first, 1, 1);
    arena_free(first.arena);

    struct section again = {.suite = suite, .request_id = "r1"};
    ask(&again);
    assert_analysed(&again, 1, 1);
    arena_free(again.arena);
    suite_await_idle(suite);
    assert_int_equal(suite_arrivals(suite).n, 3);
    suite_stop(suite);
}

/* The story of the default pool, through all services. */
task_test_real(thirty_five_at_once_are_all_done_on_tier_1)
{
    struct suite *suite =
        suite_start(&(struct suite_options){.analyzer = true, .time_scale = SCALE});
    struct section *all = ARENA_ARRAY(suite->arena, struct section, CROWD);
    struct group group;
    group_init(&group);
    for (size_t i = 0; i < CROWD; i++) {
        all[i] = (struct section){.suite = suite};
        group_spawn(&group, "section", run, &all[i]);
    }
    assert_status_ok(group_wait(&group));
    for (size_t i = 0; i < CROWD; i++) {
        assert_analysed(&all[i], 1, 1);
        assert_int_equal(all[i].result->metadata->calls[0]->n_skipped, 0);
        arena_free(all[i].arena);
    }
    suite_await_idle(suite);
    struct judge_log log = suite_arrivals(suite);
    assert_int_equal(log.n, CROWD);
    assert_int_equal(judge_of_model(log, TIER_1, suite->arena).n, CROWD);
    assert_int_equal(judge_most_at_once(log), 5);
    assert_true(judge_most_in_window(log, WINDOW_MS) <= 30);
    suite_await_metric(suite, SUITE_ANALYZER, "prism_analyzer_records_total", "result=\"stored\"",
                       CROWD);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_section_is_thought_about_written_about_and_judged),
        SUITE_TEST(a_stream_that_breaks_is_told_and_every_trace_is_kept),
        SUITE_TEST(a_caller_who_leaves_ends_the_model_call_two_services_on),
        SUITE_TEST(the_same_request_id_does_not_run_twice_at_once),
        SUITE_TEST(thirty_five_at_once_are_all_done_on_tier_1),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
