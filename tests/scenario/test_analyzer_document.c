/* A document in, findings out: submitted, watched, taken up again after everything was killed. */
#include <stdio.h>

#include "prism/analyzer/v1/analyzer.pb-c.h"
#include "suite.h"

#define SCALE       20
#define SECTIONS    5
#define EVENTS_MOST 20000
#define NAME_MOST   256
#define ARENA_MOST  (64u << 20)

#define SECTION(title, weakness)                                                                   \
    "## " title "\n\n" weakness " This section describes how the service is run today, who is "    \
    "responsible for it, and what has been agreed with the people who depend on it every day.\n\n"

static const char document_text[] =
    SECTION("Access", "Passwords are stored in plain text in the configuration file.")
        SECTION("Network", "The administration port has no authentication.")
            SECTION("Backups", "Backups are copied to another building and are not encrypted.")
                SECTION("Logs", "Log files are reviewed weekly and kept for thirty days.")
                    SECTION("People", "People who left still use a shared account.");

/* What a watcher of a task has been told. */
struct watched {
    struct suite *suite;
    struct arena *arena;
    const char *task;
    uint64_t after;   /* begin behind this number */
    uint64_t stop_at; /* leave after this number; 0: stay to the end */

    struct status status;
    uint64_t last; /* number of the last event */
    size_t events;
    bool gap;        /* a number was left out or repeated */
    bool text_first; /* in some run of a section, text came before thinking */
    bool thought[SECTIONS];
    bool wrote[SECTIONS];
    const Analyzer__SectionResult *results[SECTIONS];
    size_t n_results;
    const Analyzer__DocumentResult *document;
};

static size_t section_index(const char *section_id)
{
    uint64_t number;
    assert_true(section_id[0] == 's');
    assert_true(span_parse_u64(span_str(section_id + 1), &number));
    assert_true(number >= 1 && number <= SECTIONS);
    return number - 1;
}

static void take(struct watched *w, const Analyzer__AnalysisEvent *event)
{
    if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_KEEP_ALIVE) {
        return;
    }
    w->gap |= event->sequence != w->last + 1;
    w->last = event->sequence;
    w->events++;
    switch ((int)event->event_case) {
    case ANALYZER__ANALYSIS_EVENT__EVENT_THINKING_DELTA:
        w->text_first |= w->wrote[section_index(event->section_id)];
        w->thought[section_index(event->section_id)] = true;
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_TEXT_DELTA:
        w->wrote[section_index(event->section_id)] = true;
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_ADMITTED:
        w->wrote[section_index(event->section_id)] = false;
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT:
        w->results[section_index(event->section_id)] = event->section_result;
        w->n_results++;
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_DOCUMENT_RESULT:
        w->document = event->document_result;
        break;
    }
}

static struct status receive(struct watched *w, struct rpc_stream *stream) PARKS
{
    for (void *message; w->events < EVENTS_MOST;) {
        TRY(rpc_stream_recv(stream, w->arena, &message));
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        take(w, ((Analyzer__WatchTaskResponse *)message)->event);
        if (w->stop_at > 0 && w->last >= w->stop_at) {
            return STATUS_SUCCESS;
        }
    }
    return STATUS_SUCCESS;
}

static void watch(struct watched *w) PARKS
{
    Analyzer__WatchTaskRequest request = ANALYZER__WATCH_TASK_REQUEST__INIT;
    struct rpc_stream *stream = NULL;
    request.name = (char *)w->task;
    request.after_sequence = w->last = w->after;
    w->arena = w->suite->arena;
    w->status = rpc_open(w->suite->analyzer, &analyzer__analyzer_service__descriptor, "WatchTask",
                         &request, &stream);
    if (status_ok(w->status)) {
        w->status = receive(w, stream);
    }
    rpc_stream_close(&stream);
}

static struct status call(struct suite *suite, const char *method, const void *request,
                          void **reply) PARKS
{
    return rpc_call(suite->analyzer, &analyzer__analyzer_service__descriptor, method, request,
                    suite->arena, reply);
}

static struct status submit(struct suite *suite, const char *text, const char *request_id,
                            Analyzer__Task **task) PARKS
{
    Analyzer__SubmitAnalysisRequest request = ANALYZER__SUBMIT_ANALYSIS_REQUEST__INIT;
    Analyzer__Document document;
    void *reply;
    analyzer__document__init(&document);
    document.display_name = "service.md";
    document.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document.content = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    request.document = &document;
    request.request_id = (char *)request_id;
    TRY(call(suite, "SubmitAnalysis", &request, &reply));
    *task = ((Analyzer__SubmitAnalysisResponse *)reply)->task;
    return STATUS_SUCCESS;
}

static Analyzer__Task *get(struct suite *suite, const char *name, Analyzer__TaskView view) PARKS
{
    Analyzer__GetTaskRequest request = ANALYZER__GET_TASK_REQUEST__INIT;
    void *reply;
    request.name = (char *)name;
    request.view = view;
    assert_status_ok(call(suite, "GetTask", &request, &reply));
    return ((Analyzer__GetTaskResponse *)reply)->task;
}

static void await_state(struct suite *suite, const char *name, Analyzer__Task__State state) PARKS
{
    uint64_t until = loop_now_ms(task_loop()) + 2 * SUITE_WAIT_MS;
    while (get(suite, name, ANALYZER__TASK_VIEW__TASK_VIEW_BASIC)->state != state) {
        assert_true(loop_now_ms(task_loop()) < until);
        assert_status_ok(task_sleep_ms(50));
    }
}

/* Everything that a document's result sums up, counted again from its sections. */
static void assert_rolled_up(const Analyzer__DocumentResult *document,
                             Analyzer__SectionResult *const *sections, size_t n)
{
    size_t by_level[ANALYZER__RISK_LEVEL__RISK_LEVEL_CRITICAL + 1] = {0};
    size_t findings_by_level[ANALYZER__RISK_LEVEL__RISK_LEVEL_CRITICAL + 1] = {0};
    size_t findings = 0, verified = 0;
    uint64_t output = 0;
    Analyzer__RiskLevel worst = ANALYZER__RISK_LEVEL__RISK_LEVEL_UNSPECIFIED;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sections[i]->outcome, ANALYZER__OUTCOME__OUTCOME_OK);
        by_level[sections[i]->risk_level]++;
        worst = sections[i]->risk_level > worst ? sections[i]->risk_level : worst;
        findings += sections[i]->n_findings;
        for (size_t k = 0; k < sections[i]->n_findings; k++) {
            verified += sections[i]->findings[k]->verified;
            findings_by_level[sections[i]->findings[k]->severity]++;
        }
        output += sections[i]->metadata->usage->output_tokens;
    }
    assert_int_equal(document->overall_level, worst);
    assert_int_equal(document->totals->sections, n);
    assert_int_equal(document->totals->sections_succeeded, n);
    assert_int_equal(document->totals->findings, findings);
    assert_int_equal(document->totals->findings_verified, verified);
    assert_int_equal(document->totals->usage->output_tokens, output);
    for (size_t i = 0; i < document->n_counts; i++) {
        const Analyzer__LevelCount *count = document->counts[i];
        assert_int_equal(count->sections, by_level[count->level]);
        assert_int_equal(count->findings, findings_by_level[count->level]);
        by_level[count->level] = 0;
        findings_by_level[count->level] = 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(by_level); i++) {
        assert_int_equal(by_level[i] + findings_by_level[i], 0);
    }
    assert_true(document->simulated);
}

static struct suite *start(const char *simulator) PARKS
{
    return suite_start(&(struct suite_options){
        .analyzer = true, .time_scale = SCALE, .flags[SUITE_SIMULATOR] = simulator});
}

static void assert_whole(const struct watched *w)
{
    assert_status_ok(w->status);
    assert_false(w->gap);
    assert_false(w->text_first);
    assert_non_null(w->document);
    assert_int_equal(w->n_results, SECTIONS);
    for (size_t i = 0; i < SECTIONS; i++) {
        assert_non_null(w->results[i]);
        assert_true(w->thought[i]);
        assert_true(w->wrote[i]);
        assert_true(w->results[i]->n_thinking > 0);
    }
}

/* --- the stories --------------------------------------------------------------------------------
 */

task_test_real(a_document_is_watched_from_its_first_event_to_its_result)
{
    struct suite *suite = start(NULL);
    Analyzer__Task *task;
    assert_status_ok(submit(suite, document_text, "", &task));
    struct watched all = {.suite = suite, .task = task->name};
    watch(&all);
    assert_whole(&all);

    Analyzer__Task *done = get(suite, task->name, ANALYZER__TASK_VIEW__TASK_VIEW_FULL);
    assert_int_equal(done->state, ANALYZER__TASK__STATE__STATE_SUCCEEDED);
    assert_int_equal(done->progress_percent, 100);
    assert_int_equal(done->last_sequence, all.last);
    assert_int_equal(done->n_sections, SECTIONS);
    assert_int_equal(done->result->n_sections, SECTIONS);
    assert_rolled_up(done->result, done->result->sections, SECTIONS);
    assert_int_equal(done->result->overall_level, all.document->overall_level);
    assert_int_equal(done->result->totals->findings, all.document->totals->findings);
    assert_true(done->result->totals->findings_verified >= 4); /* four sections name a weakness */

    /* The numbers are the same for everybody, from wherever he begins. */
    struct watched later = {.suite = suite, .task = task->name, .after = all.last / 2};
    watch(&later);
    assert_status_ok(later.status);
    assert_false(later.gap);
    assert_int_equal(later.last, all.last);
    assert_int_equal(later.events, all.last - all.last / 2);

    struct watched beyond = {.suite = suite, .task = task->name, .after = all.last + 1};
    watch(&beyond);
    assert_int_equal(beyond.status.code, STATUS_OUT_OF_RANGE);

    suite_await_idle(suite);
    assert_int_equal(suite_arrivals(suite).n, SECTIONS);
    assert_true(judge_most_at_once(suite_arrivals(suite)) <= 4); /* workers */
    suite_await_metric(suite, SUITE_ANALYZER, "prism_analyzer_records_total", "result=\"stored\"",
                       SECTIONS);
    suite_stop(suite);
}

task_test_real(a_watcher_that_left_goes_on_where_it_was)
{
    struct suite *suite = start(NULL);
    Analyzer__Task *task;
    assert_status_ok(submit(suite, document_text, "", &task));
    struct watched w = {.suite = suite, .task = task->name, .stop_at = 10};
    watch(&w);
    while (w.document == NULL) {
        w.after = w.last;
        w.stop_at = w.last + 25;
        watch(&w);
        assert_status_ok(w.status);
    }
    assert_whole(&w);
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(tasks_are_listed_page_by_page)
{
    struct suite *suite = start("--instant");
    Analyzer__ListTasksRequest request = ANALYZER__LIST_TASKS_REQUEST__INIT;
    char seen[7][NAME_MOST];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
        Analyzer__Task *task;
        assert_status_ok(submit(suite, document_text, "", &task));
    }
    request.page_size = 3;
    for (;;) {
        void *reply;
        assert_status_ok(call(suite, "ListTasks", &request, &reply));
        const Analyzer__ListTasksResponse *page = reply;
        for (size_t i = 0; i < page->n_tasks; i++) {
            assert_true(n < ARRAY_LEN(seen));
            for (size_t k = 0; k < n; k++) {
                assert_string_not_equal(seen[k], page->tasks[i]->name);
            }
            snprintf(seen[n++], NAME_MOST, "%s", page->tasks[i]->name);
        }
        if (page->next_page_token[0] == '\0') {
            break;
        }
        request.page_token = page->next_page_token;
    }
    assert_int_equal(n, ARRAY_LEN(seen));
    Analyzer__Task__State state = ANALYZER__TASK__STATE__STATE_FAILED;
    request.n_states = 1; /* another question: the token belongs to the first */
    request.states = &state;
    void *reply;
    assert_status(call(suite, "ListTasks", &request, &reply), REASON_BAD_REQUEST);
    for (size_t i = 0; i < n; i++) {
        await_state(suite, seen[i], ANALYZER__TASK__STATE__STATE_SUCCEEDED);
    }
    suite_await_idle(suite);
    suite_stop(suite);
}

task_test_real(the_same_request_id_is_the_same_task)
{
    struct suite *suite = start("--instant");
    static const char id[] = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    Analyzer__Task *first, *second, *other;
    assert_status_ok(submit(suite, document_text, id, &first));
    assert_status_ok(submit(suite, document_text, id, &second));
    assert_string_equal(first->name, second->name);
    struct status s = submit(suite, "# Other\n\nThis is another document.\n", id, &other);
    assert_status(s, REASON_REQUEST_ID_REUSED);
    assert_int_equal(s.code, STATUS_ALREADY_EXISTS);
    await_state(suite, first->name, ANALYZER__TASK__STATE__STATE_SUCCEEDED);
    suite_await_idle(suite);
    assert_int_equal(suite_arrivals(suite).n, SECTIONS);
    suite_stop(suite);
}

task_test_real(a_cancelled_task_stops_its_model_calls)
{
    struct suite *suite = start(NULL);
    Analyzer__CancelTaskRequest request = ANALYZER__CANCEL_TASK_REQUEST__INIT;
    Analyzer__Task *task;
    void *reply;
    suite_set_faults(suite, "rules:\n  - {action: stall, at: events, after: 8, for: 10m}\n");
    assert_status_ok(submit(suite, document_text, "", &task));
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 4);
    request.name = task->name;
    request.reason = "not wanted any more";
    assert_status_ok(call(suite, "CancelTask", &request, &reply));
    assert_int_equal(((Analyzer__CancelTaskResponse *)reply)->task->state,
                     ANALYZER__TASK__STATE__STATE_CANCELLED);
    suite_await_idle(suite);
    struct judge_log log = suite_arrivals(suite);
    assert_int_equal(log.n, 4);
    for (size_t i = 0; i < log.n; i++) {
        assert_span(log.calls[i].outcome, SPAN("client_gone"));
    }
    struct watched w = {.suite = suite, .task = task->name};
    watch(&w);
    assert_status_ok(w.status);
    assert_false(w.gap);
    assert_null(w.document);

    /* Again: as it ended before. */
    assert_status_ok(call(suite, "CancelTask", &request, &reply));
    assert_int_equal(((Analyzer__CancelTaskResponse *)reply)->task->state,
                     ANALYZER__TASK__STATE__STATE_CANCELLED);
    suite_stop(suite);
}

task_test_real(a_task_survives_kill_9_of_the_analyzer)
{
    struct suite *suite = start(NULL);
    Analyzer__Task *task;
    /* The first three calls answer, the rest hang until the analyzer is dead. */
    suite_set_faults(suite,
                     "rules:\n  - {from: 4, action: stall, at: events, after: 8, for: 10m}\n");
    assert_status_ok(submit(suite, document_text, "", &task));
    const char *name = task->name;
    suite_await_metric(suite, SUITE_ANALYZER, "prism_analyzer_sections_total", "", 3);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 2);
    suite_kill(suite, SUITE_ANALYZER);
    suite_await_idle(suite); /* its calls were its own: they are stopped */
    suite_set_faults(suite, "");
    suite_start_again(suite, SUITE_ANALYZER);

    await_state(suite, name, ANALYZER__TASK__STATE__STATE_SUCCEEDED);
    struct watched w = {.suite = suite, .task = name};
    watch(&w);
    assert_whole(&w);
    Analyzer__Task *done = get(suite, name, ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS);
    assert_int_equal(done->result->n_sections, SECTIONS);
    for (size_t i = 0; i < SECTIONS; i++) {
        assert_int_equal(done->result->sections[i]->index, i);
    }
    assert_rolled_up(done->result, done->result->sections, SECTIONS);
    suite_await_idle(suite);
    assert_int_equal(suite_arrivals(suite).n, SECTIONS + 2);
    suite_stop(suite);
}

task_test_real(a_router_that_dies_costs_a_section_a_second_run)
{
    struct suite *suite = suite_start(&(struct suite_options){
        .analyzer = true,
        .time_scale = SCALE,
        .flags[SUITE_ANALYZER] = "--rerun-wait=100ms",
    });
    Analyzer__Task *task;
    suite_set_faults(suite,
                     "rules:\n  - {count: 4, action: stall, at: events, after: 8, for: 10m}\n");
    assert_status_ok(submit(suite, document_text, "", &task));
    const char *name = task->name;
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 4);
    suite_kill(suite, SUITE_ROUTER);
    suite_start_again(suite, SUITE_ROUTER);
    await_state(suite, name, ANALYZER__TASK__STATE__STATE_SUCCEEDED);
    struct watched w = {.suite = suite, .task = name};
    watch(&w);
    assert_whole(&w);
    assert_true(suite_metric(suite, SUITE_ANALYZER, "prism_analyzer_reruns_total", "") >= 4);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_document_is_watched_from_its_first_event_to_its_result),
        SUITE_TEST(a_watcher_that_left_goes_on_where_it_was),
        SUITE_TEST(tasks_are_listed_page_by_page),
        SUITE_TEST(the_same_request_id_is_the_same_task),
        SUITE_TEST(a_cancelled_task_stops_its_model_calls),
        SUITE_TEST(a_task_survives_kill_9_of_the_analyzer),
        SUITE_TEST(a_router_that_dies_costs_a_section_a_second_run),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
