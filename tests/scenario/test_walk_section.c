/* AnalyzeSection with everything going wrong, one thing a run, at the analyzer and at the router
 * behind it. */
#include "fault_walk.h"
#include "small_suite.h"

#define TEXT "The administration port has no authentication. Log files are reviewed weekly."

#define CALL_ARENA  (8u << 20)
#define DEADLINE_MS 20000

struct world {
    struct small_suite suite;
    struct small_account account;
    struct task *caller; /* while its call runs */
    struct status status;
    size_t good; /* calls that were answered */
    size_t settled;
};

static struct status listen_to(struct rpc_stream *stream, struct arena *arena) PARKS
{
    uint64_t sequence = 0;
    bool ended = false;
    for (void *message;;) {
        TRY(rpc_stream_recv(stream, arena, &message));
        if (message == NULL) {
            assert_true(ended);
            return STATUS_SUCCESS;
        }
        const Analyzer__AnalysisEvent *event = ((Analyzer__AnalyzeSectionResponse *)message)->event;
        assert_false(ended);
        assert_int_equal(event->sequence, ++sequence);
        ended = event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT;
    }
}

static void call(void *arg) PARKS
{
    struct world *w = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_new(CALL_ARENA);
    struct rpc_stream *stream = NULL;
    Analyzer__AnalyzeSectionRequest request = ANALYZER__ANALYZE_SECTION_REQUEST__INIT;
    Analyzer__Document section;
    analyzer__document__init(&section);
    section.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    section.content = (ProtobufCBinaryData){strlen(TEXT), (uint8_t *)TEXT};
    request.section = &section;
    w->caller = task_self();
    task_set_deadline(loop_now_ms(task_loop()) + DEADLINE_MS);
    w->status = rpc_open(w->suite.to_analyzer, &analyzer__analyzer_service__descriptor,
                         "AnalyzeSection", &request, &stream);
    if (status_ok(w->status)) {
        w->status = listen_to(stream, arena);
    }
    rpc_stream_close(&stream);
    w->caller = NULL;
}

static void run(void *arg) PARKS
{
    struct world *w = arg;
    struct group group;
    small_suite_begin(&w->suite, &w->account);
    group_init(&group);
    group_spawn(&group, "caller", call, w);
    assert_status_ok(group_wait(&group));
}

static void judge(void *arg) PARKS
{
    struct world *w = arg;
    small_suite_judge(&w->suite, &w->account);
    assert_int_not_equal(w->status.code, STATUS_DEADLINE_EXCEEDED);
    w->settled += w->account.settled;
    w->good += status_ok(w->status);
}

/* --- the things that go wrong ------------------------------------------------------------------
 */

static void leave(void *arg)
{
    struct world *w = arg;
    if (w->caller != NULL) {
        task_cancel(w->caller, status_of(REASON_CALL_CANCELLED, NULL));
    }
}

static void cut_caller(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_ANALYZER);
}

static void cut_router(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_ROUTER);
}

static void cut_model(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_SIMULATOR);
}

task_test_real(a_section_survives_every_fault)
{
    struct world w = {0};
    struct fault_walk both = {"AnalyzeSection", {"AnalyzeSection", "Generate"}, run, judge, &w};
    struct fault_walk router = {"AnalyzeSection", {"Generate"}, run, judge, &w};
    struct fault_walk analyzer = {"AnalyzeSection", {"AnalyzeSection"}, run, judge, &w};
    small_suite_start(&w.suite, &(struct small_suite_options){.analyzer = true});
    size_t failed = fault_walk_fail(&both);
    failed += fault_walk_lose(&router);
    size_t cancelled = fault_walk_cancel(&both);
    size_t dropped = fault_walk_strike(&both, leave);
    dropped += fault_walk_strike(&analyzer, cut_caller);
    dropped += fault_walk_strike(&both, cut_router);
    dropped += fault_walk_strike(&analyzer, cut_model);
    assert_true(w.good > 0);
    print_message("# fault walk AnalyzeSection: %zu ops failed, %zu cancels, %zu drops, "
                  "%zu grants\n",
                  failed, cancelled, dropped, w.settled);
    small_suite_stop(&w.suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_WALK_TEST(a_section_survives_every_fault),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
