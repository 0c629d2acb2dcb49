/* A store that is full, read-only, damaged or has no room for more tasks: said clearly, nothing
 * lost, and all is well again when the store is. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "document_task.h"
#include "faulty_disk.h"
#include "small_suite.h"
#include "suite.h"

#define SCALE       40
#define SECTIONS    5
#define DOCUMENT_MS 60000
#define PAGE        4096

#define SECTION(title)                                                                             \
    "## " title                                                                                    \
    "\n\nPasswords are stored in plain text. This section describes how the service is "           \
    "run today, who is responsible for it, and what has been agreed with the people who depend "   \
    "on "                                                                                          \
    "it every day.\n\n"

static const char text[] =
    SECTION("Access") SECTION("Network") SECTION("Backups") SECTION("Logs") SECTION("People");

static struct suite *start(const char *simulator, const char *analyzer) PARKS
{
    return suite_start(&(struct suite_options){
        .analyzer = true,
        .time_scale = SCALE,
        .flags[SUITE_SIMULATOR] = simulator,
        .flags[SUITE_ANALYZER] = analyzer,
    });
}

/* One try, unlike document_task. */
static struct status submit(struct rpc_channel *analyzer, const char *tenant, struct arena *arena,
                            const char **name) PARKS
{
    Analyzer__SubmitAnalysisRequest request = ANALYZER__SUBMIT_ANALYSIS_REQUEST__INIT;
    Analyzer__Document document;
    void *reply;
    analyzer__document__init(&document);
    document.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document.content = (ProtobufCBinaryData){sizeof(text) - 1, (uint8_t *)(uintptr_t)text};
    request.document = &document;
    request.tenant = (char *)tenant;
    TRY(rpc_call(analyzer, &analyzer__analyzer_service__descriptor, "SubmitAnalysis", &request,
                 arena, &reply));
    *name = ((Analyzer__SubmitAnalysisResponse *)reply)->task->name;
    return STATUS_SUCCESS;
}

static struct status cancel(struct rpc_channel *analyzer, const char *tenant, struct arena *arena,
                            const char *name) PARKS
{
    Analyzer__CancelTaskRequest request = ANALYZER__CANCEL_TASK_REQUEST__INIT;
    void *reply;
    request.tenant = (char *)tenant;
    request.name = (char *)name;
    return rpc_call(analyzer, &analyzer__analyzer_service__descriptor, "CancelTask", &request,
                    arena, &reply);
}

static void run_document(void *arg) PARKS
{
    struct document_task *t = arg;
    task_set_deadline(loop_now_ms(task_loop()) + DOCUMENT_MS);
    assert_status_ok(document_task_run(t));
}

/* Files of the process may not grow beyond so many bytes. */
static void limit_files(const struct suite *suite, rlim_t bytes)
{
    const struct rlimit limit = {bytes, RLIM_INFINITY};
    assert_int_equal(prlimit(suite->processes[SUITE_ANALYZER].pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

task_test_real(a_full_disk_is_said_and_nothing_is_lost)
{
    struct suite *suite = start(NULL, "--rerun-wait=50ms");
    struct document_task t;
    struct group group;
    const char *name;
    suite_set_faults(suite,
                     "rules:\n  - {count: 4, action: stall, at: events, after: 8, for: 2s}\n");
    document_task_init(&t, suite->analyzer, text, "before");
    group_init(&group);
    group_spawn(&group, "document", run_document, &t);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 4);
    limit_files(suite, 1);

    struct status s;
    while (status_ok(s = submit(suite->analyzer, "", suite->arena, &name))) {
        assert_status_ok(task_sleep_ms(10)); /* a commit that was under way */
    }
    assert_status(s, REASON_STORE_FULL);
    assert_int_equal(s.code, STATUS_UNAVAILABLE);
    assert_status_ok(document_task_get(&t)); /* what is there can be read */
    assert_true(t.task->state == ANALYZER__TASK__STATE__STATE_RUNNING);
    suite_await_idle(suite); /* the calls have ended, their ends wait for the disk */

    limit_files(suite, RLIM_INFINITY);
    assert_status_ok(submit(suite->analyzer, "", suite->arena, &name));
    assert_status_ok(group_wait(&group));
    document_task_assert_done(&t, SECTIONS);
    document_task_clear(&t);

    struct document_task later;
    document_task_init(&later, suite->analyzer, text, "after");
    group_init(&group);
    group_spawn(&group, "document", run_document, &later);
    assert_status_ok(group_wait(&group));
    document_task_assert_done(&later, SECTIONS);
    document_task_clear(&later);
    suite_await_idle(suite);
    suite_await_metric(suite, SUITE_ANALYZER, "prism_analyzer_records_total", "result=\"stored\"",
                       (double)suite_arrivals(suite).n);
    suite_stop(suite);
}

task_test_real(a_store_that_cannot_be_written_is_said_and_reads_go_on)
{
    struct small_suite s;
    struct document_task t;
    struct group group;
    const char *name;
    faulty_disk_install();
    small_suite_start(&s, &(struct small_suite_options){.analyzer = true});
    document_task_init(&t, s.to_analyzer, text, "before");
    group_init(&group);
    group_spawn(&group, "document", run_document, &t);
    assert_status_ok(group_wait(&group));
    document_task_assert_done(&t, SECTIONS);

    faulty_disk_fail(1, SIZE_MAX, DISK_BROKEN);
    struct status refused = submit(s.to_analyzer, "", s.arena, &name);
    assert_status(refused, REASON_STORE_FAILED);
    assert_int_equal(refused.code, STATUS_UNAVAILABLE);
    refused = document_task_get(&t);
    assert_status_ok(refused);
    document_task_assert_done(&t, SECTIONS);
    document_task_clear(&t);

    faulty_disk_fail(1, 0, DISK_BROKEN);
    document_task_init(&t, s.to_analyzer, text, "after");
    group_init(&group);
    group_spawn(&group, "document", run_document, &t);
    assert_status_ok(group_wait(&group));
    document_task_assert_done(&t, SECTIONS);
    document_task_clear(&t);
    small_suite_stop(&s);
}

/* The queue has room for three tasks, and for two of one tenant. */
task_test_real(a_full_queue_says_so_and_takes_more_later)
{
    struct suite *suite = start("--instant", "--tasks-most=3 --tenant-tasks-most=2");
    const char *names[4];
    suite_set_faults(suite, "rules:\n  - {action: stall, at: headers, for: 10m}\n");
    for (size_t i = 0; i < 2; i++) {
        assert_status_ok(submit(suite->analyzer, "acme", suite->arena, &names[i]));
    }
    struct status s = submit(suite->analyzer, "acme", suite->arena, &names[2]);
    assert_status(s, REASON_TENANT_QUEUE_FULL);
    assert_int_equal(s.code, STATUS_RESOURCE_EXHAUSTED);
    assert_true(s.retry_after_ms > 0);
    assert_status_ok(submit(suite->analyzer, "globex", suite->arena, &names[2]));
    s = submit(suite->analyzer, "globex", suite->arena, &names[3]);
    assert_status(s, REASON_OVERLOADED);
    assert_int_equal(s.code, STATUS_UNAVAILABLE);
    assert_true(s.retry_after_ms > 0);

    assert_status_ok(cancel(suite->analyzer, "globex", suite->arena, names[2]));
    assert_status_ok(submit(suite->analyzer, "globex", suite->arena, &names[3]));
    suite_stop(suite);
}

/* --- starting on a store that is of no use ------------------------------------------------------
 */

/* It ends with 1 and says why in one line that names the path. */
static void assert_refused(struct suite *suite, const char *state_dir, const char *what) PARKS
{
    const char *const arguments[] = {
        "--listen=127.0.0.1:0",
        "--admin=127.0.0.1:0",
        "--router=127.0.0.1:1",
        arena_printf(suite->arena, "--state-dir=%s", state_dir),
        NULL,
    };
    const char *log = suite_path(suite, "refused.log");
    CLEANUP(buf_clear) struct buf said;
    buf_init(&said, 1u << 16);
    (void)unlink(log);
    assert_int_equal(process_run("prism-analyzer", arguments, NULL, log, SUITE_WAIT_MS), 1);
    assert_null(file_read(log, &said));
    const char *line =
        arena_printf(suite->arena, "prism-analyzer: cannot start: %s/analyzer.sqlite: ", state_dir);
    if (span_find(buf_span(&said), span_str(line)) == SPAN_MISSING ||
        span_find(buf_span(&said), span_str(what)) == SPAN_MISSING) {
        print_error("want \"%s...%s\", got:\n%s\n", line, what, buf_cstr(&said));
        fail();
    }
}

task_test_real(a_store_of_no_use_is_refused_by_its_name)
{
    struct suite *suite = start("--instant", NULL);
    struct document_task t;
    struct group group;
    document_task_init(&t, suite->analyzer, text, "one");
    group_init(&group);
    group_spawn(&group, "document", run_document, &t);
    assert_status_ok(group_wait(&group));
    document_task_clear(&t);
    suite_await_idle(suite);
    struct process *analyzer = &suite->processes[SUITE_ANALYZER];
    process_signal(analyzer, SIGTERM);
    assert_true(process_wait(analyzer, SUITE_WAIT_MS));
    assert_int_equal(analyzer->code, 0);

    const char *path = suite_path(suite, "analyzer/analyzer.sqlite");
    CLEANUP(buf_clear) struct buf whole;
    buf_init(&whole, 64u << 20);
    assert_null(file_read(path, &whole));
    assert_true(whole.len > 4 * PAGE);
    char *page = whole.at + 2 * PAGE;
    char good[PAGE];
    memcpy(good, page, PAGE);
    memset(page, 0xa5, PAGE);
    assert_null(file_write(path, buf_span(&whole)));
    assert_refused(suite, suite_path(suite, "analyzer"), "");

    memcpy(page, good, PAGE);
    assert_null(file_write(path, buf_span(&whole)));
    suite_start_again(suite, SUITE_ANALYZER); /* whole again: it was left as it was */

    assert_refused(suite, suite_path(suite, "analyzer"), "open in another process");
    assert_refused(suite, "/sys", "denied"); /* nobody creates files there */
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_full_disk_is_said_and_nothing_is_lost),
        cmocka_unit_test(a_store_that_cannot_be_written_is_said_and_reads_go_on),
        SUITE_TEST(a_full_queue_says_so_and_takes_more_later),
        SUITE_TEST(a_store_of_no_use_is_refused_by_its_name),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
