/* A task of two sections with everything going wrong, one thing a run: it ends as it should, each
 * section stands once in its events and in its result, and a watcher that comes back sees neither
 * gap nor repetition. */
#include "document_task.h"
#include "fault_walk.h"
#include "faulty_disk.h"
#include "small_suite.h"

#define SECTIONS 2

#define DEADLINE_MS 20000

static const char text[] =
    "# Access\n\nPasswords are stored in plain text.\n\n# Logs\n\nLog files are reviewed weekly.\n";

struct world {
    struct small_suite suite;
    struct small_account account;
    struct document_task task;
    struct status status;
    uint32_t runs;
    size_t succeeded;
    size_t settled;
};

static void start(struct world *w) PARKS
{
    *w = (struct world){0};
    document_task_init(&w->task, NULL, text, "");
    small_suite_start(&w->suite, &(struct small_suite_options){
                                     .analyzer = true,
                                     .flags[SUITE_ANALYZER] = "--section-words-least=0",
                                 });
}

static void stop(struct world *w) PARKS
{
    small_suite_stop(&w->suite);
    document_task_clear(&w->task);
}

static void call(void *arg) PARKS
{
    struct world *w = arg;
    task_set_deadline(loop_now_ms(task_loop()) + DEADLINE_MS);
    w->status = document_task_run(&w->task);
}

static void run(void *arg) PARKS
{
    struct world *w = arg;
    struct group group;
    char id[32];
    snprintf(id, sizeof(id), "run-%u", ++w->runs);
    document_task_clear(&w->task);
    document_task_init(&w->task, w->suite.to_analyzer, text, id);
    small_suite_begin(&w->suite, &w->account);
    group_init(&group);
    group_spawn(&group, "caller", call, w);
    assert_status_ok(group_wait(&group));
}

static void judge_done(void *arg) PARKS
{
    struct world *w = arg;
    small_suite_judge(&w->suite, &w->account);
    assert_status_ok(w->status);
    document_task_assert_done(&w->task, SECTIONS);
    w->settled += w->account.settled;
    w->succeeded++;
}

static void judge_cancelled(void *arg) PARKS
{
    struct world *w = arg;
    assert_status_ok(w->status);
    if (w->task.task->state == ANALYZER__TASK__STATE__STATE_SUCCEEDED) {
        judge_done(w);
        return;
    }
    small_suite_judge(&w->suite, &w->account);
    assert_int_equal(w->task.task->state, ANALYZER__TASK__STATE__STATE_CANCELLED);
    assert_int_equal(w->task.documents, 0);
    w->settled += w->account.settled;
}

/* --- the things that go wrong ------------------------------------------------------------------
 */

static void cancel(void *arg) PARKS
{
    struct world *w = arg;
    assert_status_ok(document_task_cancel(&w->task));
}

static void cancel_task(void *arg)
{
    struct world *w = arg;
    if (w->task.name != NULL) {
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
    struct world w;
    struct fault_walk calls = {
        "task", {"SubmitAnalysis", "WatchTask", "GetTask"}, run, judge_done, &w};
    struct fault_walk watchers = {"task", {"WatchTask"}, run, judge_done, &w};
    struct fault_walk runs = {"task", {"analysis"}, run, judge_done, &w};
    struct fault_walk all = {
        "task", {"SubmitAnalysis", "WatchTask", "GetTask", "analysis"}, run, judge_done, &w};
    struct fault_walk cancelled = {
        "task", {"analysis", "section", "outbox", "dispatcher"}, run, judge_cancelled, &w};
    start(&w);
    size_t failed = fault_walk_fail(&all);
    failed += fault_walk_lose(&watchers);
    size_t cancels = fault_walk_cancel(&calls);
    cancels += fault_walk_strike(&cancelled, cancel_task);
    size_t dropped = fault_walk_strike(&all, cut_watcher);
    dropped += fault_walk_strike(&runs, cut_router);
    dropped += fault_walk_strike(&runs, cut_models);
    assert_true(w.succeeded > 0);
    print_message("# fault walk task: %zu ops failed, %zu cancels, %zu drops, %zu grants\n", failed,
                  cancels, dropped, w.settled);
    stop(&w);
}

/* The nth commit finds the disk full, the next one does not. */
task_test_real(a_task_survives_a_disk_that_is_full)
{
    struct world w;
    size_t n = 1;
    faulty_disk_install();
    start(&w);
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
    stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_WALK_TEST(a_task_survives_every_fault),
        cmocka_unit_test(a_task_survives_a_disk_that_is_full),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
