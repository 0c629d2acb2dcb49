/* A task of two sections with everything going wrong, one thing a run: it ends as it should, each
 * section stands once in its events and in its result, and a watcher that comes back sees neither
 * gap nor repetition. */
#include "fault_walk.h"
#include "faulty_disk.h"
#include "small_suite.h"

#define DOCUMENT                                                                                   \
    "# Access\n\nPasswords are stored in plain text.\n\n# Logs\n\nLog files are reviewed "         \
    "weekly.\n"
#define SECTIONS 2

#define ARENA_MOST  (32u << 20)
#define DEADLINE_MS 20000
#define TRIES_MOST  100

struct world {
    struct small_suite suite;
    struct small_account account;
    struct arena *arena; /* of the run */
    uint32_t runs;
    const char *name; /* of the task, once it is known */
    uint64_t last;    /* number of the last event */
    size_t results[SECTIONS];
    size_t documents;
    struct status status; /* of the whole run: of a step that failed for good */
    const Analyzer__Task *task;
    bool cancelled; /* a cancellation was answered */
    size_t succeeded;
    size_t settled;
};

static struct status ask(struct world *w, const char *method, const void *request,
                         void **reply) PARKS
{
    struct status s = STATUS_SUCCESS;
    for (int try = 0; try < TRIES_MOST; try++) {
        s = rpc_call(w->suite.to_analyzer, &analyzer__analyzer_service__descriptor, method, request,
                     w->arena, reply);
        if (s.code != STATUS_UNAVAILABLE && s.code != STATUS_CANCELLED) {
            break;
        }
        TRY(task_sleep_ms(2));
    }
    return s;
}

static struct status submit(struct world *w) PARKS
{
    Analyzer__SubmitAnalysisRequest request = ANALYZER__SUBMIT_ANALYSIS_REQUEST__INIT;
    Analyzer__Document document;
    void *reply;
    analyzer__document__init(&document);
    document.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document.content = (ProtobufCBinaryData){strlen(DOCUMENT), (uint8_t *)DOCUMENT};
    request.document = &document;
    request.request_id = arena_printf(w->arena, "run-%u", w->runs++);
    TRY(ask(w, "SubmitAnalysis", &request, &reply));
    w->name = ((Analyzer__SubmitAnalysisResponse *)reply)->task->name;
    return STATUS_SUCCESS;
}

static void take(struct world *w, const Analyzer__AnalysisEvent *event)
{
    if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_KEEP_ALIVE) {
        return;
    }
    assert_int_equal(event->sequence, ++w->last);
    if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT) {
        assert_true(event->section_result->index < SECTIONS);
        w->results[event->section_result->index]++;
    }
    w->documents += event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_DOCUMENT_RESULT;
}

static struct status listen_to(struct world *w, struct rpc_stream *stream) PARKS
{
    for (void *message;;) {
        CLEANUP(arena_drop) struct arena *scratch = arena_new(ARENA_MOST);
        struct status s = rpc_stream_recv(stream, scratch, &message);
        if (!status_ok(s)) {
            return status_copy(s, w->arena);
        }
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        take(w, ((Analyzer__WatchTaskResponse *)message)->event);
    }
}

/* Comes back until the task has ended. */
static struct status watch(struct world *w) PARKS
{
    struct status s = STATUS_SUCCESS;
    for (int try = 0; try < TRIES_MOST; try++) {
        Analyzer__WatchTaskRequest request = ANALYZER__WATCH_TASK_REQUEST__INIT;
        struct rpc_stream *stream = NULL;
        request.name = (char *)w->name;
        request.after_sequence = w->last;
        s = rpc_open(w->suite.to_analyzer, &analyzer__analyzer_service__descriptor, "WatchTask",
                     &request, &stream);
        if (status_ok(s)) {
            s = listen_to(w, stream);
        }
        rpc_stream_close(&stream);
        if (s.code != STATUS_UNAVAILABLE && s.code != STATUS_CANCELLED) {
            break;
        }
        TRY(task_sleep_ms(2));
    }
    return s;
}

static struct status get(struct world *w) PARKS
{
    Analyzer__GetTaskRequest request = ANALYZER__GET_TASK_REQUEST__INIT;
    void *reply;
    request.name = (char *)w->name;
    request.view = ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS;
    TRY(ask(w, "GetTask", &request, &reply));
    w->task = ((Analyzer__GetTaskResponse *)reply)->task;
    return STATUS_SUCCESS;
}

static struct status tell(struct world *w) PARKS
{
    task_set_deadline(loop_now_ms(task_loop()) + DEADLINE_MS);
    TRY(submit(w));
    TRY(watch(w));
    return get(w);
}

static void call(void *arg) PARKS
{
    struct world *w = arg;
    w->status = tell(w);
}

static void run(void *arg) PARKS
{
    struct world *w = arg;
    struct group group;
    arena_free(w->arena);
    w->arena = arena_new(ARENA_MOST);
    w->name = NULL;
    w->task = NULL;
    w->last = w->documents = 0;
    memset(w->results, 0, sizeof(w->results));
    w->cancelled = false;
    small_suite_begin(&w->suite, &w->account);
    group_init(&group);
    group_spawn(&group, "caller", call, w);
    assert_status_ok(group_wait(&group));
}

/* Whatever happened: the task has ended, and what it says of itself is what its events said. */
static void judge_anyhow(struct world *w) PARKS
{
    small_suite_judge(&w->suite, &w->account);
    w->settled += w->account.settled;
    if (!status_ok(w->status)) {
        print_error("the caller was told: %s\n", status_text(w->status));
    }
    assert_status_ok(w->status);
    for (size_t i = 0; i < w->task->n_sections; i++) {
        const Google__Rpc__Status *error = w->task->sections[i]->error;
        if (error != NULL) {
            print_error("section %zu: %d %s\n", i, error->code, error->message);
        }
    }
    assert_int_equal(w->task->last_sequence, w->last);
    size_t there = 0;
    for (size_t i = 0; i < SECTIONS; i++) {
        assert_true(w->results[i] <= 1);
        there += w->results[i];
    }
    assert_int_equal(w->task->result->n_sections, there);
    for (size_t i = 1; i < there; i++) {
        assert_true(w->task->result->sections[i - 1]->index < w->task->result->sections[i]->index);
    }
}

static void judge_done(void *arg) PARKS
{
    struct world *w = arg;
    judge_anyhow(w);
    assert_int_equal(w->task->state, ANALYZER__TASK__STATE__STATE_SUCCEEDED);
    assert_int_equal(w->task->result->n_sections, SECTIONS);
    assert_int_equal(w->documents, 1);
    w->succeeded++;
}

static void judge_cancelled(void *arg) PARKS
{
    struct world *w = arg;
    judge_anyhow(w);
    bool done = w->task->state == ANALYZER__TASK__STATE__STATE_SUCCEEDED;
    assert_true(done || w->task->state == ANALYZER__TASK__STATE__STATE_CANCELLED);
    assert_int_equal(w->documents, done);
    w->succeeded += done;
}

/* --- the things that go wrong ------------------------------------------------------------------
 */

static void cancel(void *arg) PARKS
{
    struct world *w = arg;
    Analyzer__CancelTaskRequest request = ANALYZER__CANCEL_TASK_REQUEST__INIT;
    void *reply;
    request.name = (char *)w->name;
    if (status_ok(ask(w, "CancelTask", &request, &reply))) {
        w->cancelled = true;
    }
}

static void cancel_task(void *arg)
{
    struct world *w = arg;
    if (w->name != NULL) {
        task_spawn(task_loop(), &(struct task_options){.name = "canceller"}, cancel, w);
    }
}

static void cut_watcher(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_ANALYZER);
}

static void cut_router(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_ROUTER);
}

static void cut_models(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_SIMULATOR);
}

task_test_real(a_task_survives_every_fault)
{
    struct world w = {.arena = arena_new(ARENA_MOST)};
    struct fault_walk callers = {
        "task", {"SubmitAnalysis", "WatchTask", "GetTask"}, run, judge_done, &w};
    struct fault_walk sections = {"task", {"analysis"}, run, judge_done, &w};
    struct fault_walk all = {
        "task", {"analysis", "WatchTask", "SubmitAnalysis", "GetTask"}, run, judge_done, &w};
    struct fault_walk cancelled = {
        "task", {"analysis", "section", "outbox", "dispatcher"}, run, judge_cancelled, &w};
    small_suite_start(&w.suite, &(struct small_suite_options){
                                    .analyzer = true,
                                    .flags[SUITE_ANALYZER] = "--section-words-least=0",
                                });
    size_t failed = fault_walk_fail(&all);
    size_t cancels = fault_walk_cancel(&callers);
    cancels += fault_walk_strike(&cancelled, cancel_task);
    size_t dropped = fault_walk_strike(&all, cut_watcher);
    dropped += fault_walk_strike(&sections, cut_router);
    dropped += fault_walk_strike(&sections, cut_models);
    assert_true(w.succeeded > 0);
    print_message("# fault walk task: %zu ops failed, %zu cancels, %zu drops, %zu grants\n", failed,
                  cancels, dropped, w.settled);
    small_suite_stop(&w.suite);
    arena_free(w.arena);
}

/* The nth commit finds the disk full, the next one does not. */
task_test_real(a_task_survives_a_disk_that_is_full)
{
    struct world w = {.arena = arena_new(ARENA_MOST)};
    size_t n = 1;
    faulty_disk_install();
    small_suite_start(&w.suite, &(struct small_suite_options){
                                    .analyzer = true,
                                    .flags[SUITE_ANALYZER] = "--section-words-least=0",
                                });
    for (;; n++) {
        faulty_disk_fail(n, 1, n % 2 == 0 ? DISK_FULL : DISK_BROKEN);
        run(&w);
        judge_done(&w);
        if (faulty_disk_commits() < n) {
            break;
        }
    }
    print_message("# fault walk task: %zu commits failed\n", n - 1);
    assert_true(n > 5);
    small_suite_stop(&w.suite);
    arena_free(w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_WALK_TEST(a_task_survives_every_fault),
        cmocka_unit_test(a_task_survives_a_disk_that_is_full),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
