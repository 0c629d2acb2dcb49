/* SIGTERM with calls in flight: not ready first, what runs ends or is handed back, the process ends
 * with 0 within its grace, and nothing is lost. */
#include <signal.h>

#include "base/clock.h"
#include "document_task.h"
#include "generation.h"

#define SCALE       40
#define SECTIONS    4
#define DOCUMENT_MS 60000
#define GRACE_MS    3000
#define FAREWELL_MS 5000 /* on top of it: trailers, settlements, records, and a busy machine */

#define SECTION(title)                                                                             \
    "## " title                                                                                    \
    "\n\nPasswords are stored in plain text. This section describes how the service is "           \
    "run today, who is responsible for it, and what has been agreed with the people who depend "   \
    "on "                                                                                          \
    "it every day.\n\n"

static const char text[] = SECTION("Access") SECTION("Network") SECTION("Backups") SECTION("Logs");

static struct suite *start(bool analyzer) PARKS
{
    return suite_start(&(struct suite_options){
        .analyzer = analyzer,
        .time_scale = SCALE,
        .flags[SUITE_LIMITER] = "--drain=3s",
        .flags[SUITE_ROUTER] = "--drain=3s",
        .flags[SUITE_ANALYZER] = "--drain=3s --rerun-wait=50ms",
    });
}

static void stall(struct suite *suite, size_t calls, const char *pause) PARKS
{
    suite_set_faults(suite, arena_printf(suite->arena,
                                         "rules:\n  - {count: %zu, action: stall, at: events, "
                                         "after: 8, for: %s}\n",
                                         calls, pause));
}

static int ready(struct suite *suite, enum suite_program program) PARKS
{
    return suite_http(suite, "GET", suite->admin_ports[program], "/readyz", SPAN_NONE, NULL);
}

/* SIGTERM; returns once readiness is off. */
static uint64_t terminate(struct suite *suite, enum suite_program program) PARKS
{
    uint64_t begin = clock_mono_ms();
    assert_int_equal(ready(suite, program), 200);
    process_signal(&suite->processes[program], SIGTERM);
    while (ready(suite, program) == 200) {
        assert_true(clock_mono_ms() - begin < SUITE_WAIT_MS);
        assert_status_ok(task_sleep_ms(1));
    }
    return begin;
}

static void assert_ended(struct suite *suite, enum suite_program program, uint64_t begin) PARKS
{
    struct process *process = &suite->processes[program];
    assert_true(process_wait(process, SUITE_WAIT_MS));
    assert_int_equal(process->code, 0);
    assert_true(clock_mono_ms() - begin <= GRACE_MS + FAREWELL_MS);
}

static void begin_call(struct suite *suite, struct generation *g, struct group *group,
                       const char *pause) PARKS
{
    stall(suite, 1, pause);
    *g = (struct generation){.suite = suite};
    group_init(group);
    generation_spawn(g, group);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", 1);
}

static void run_document(void *arg) PARKS
{
    struct document_task *t = arg;
    task_set_deadline(loop_now_ms(task_loop()) + DOCUMENT_MS);
    assert_status_ok(document_task_run(t));
}

static void begin_document(struct suite *suite, struct document_task *t, struct group *group,
                           const char *pause) PARKS
{
    stall(suite, SECTIONS, pause);
    document_task_init(t, suite->analyzer, text, "one");
    group_init(group);
    group_spawn(group, "document", run_document, t);
    suite_await_metric(suite, SUITE_SIMULATOR, "prism_simulator_running", "", SECTIONS);
}

static void end_document(struct suite *suite, struct document_task *t, struct group *group) PARKS
{
    assert_status_ok(group_wait(group));
    document_task_assert_done(t, SECTIONS);
    document_task_clear(t);
    suite_await_idle(suite);
}

/* --- router ------------------------------------------------------------------------------------
 */

task_test_real(a_router_is_not_ready_and_its_calls_end)
{
    struct suite *suite = start(false);
    struct generation g, late = {.suite = suite};
    struct group group;
    begin_call(suite, &g, &group, "1500ms");
    uint64_t begin = terminate(suite, SUITE_ROUTER);
    assert_true(process_running(&suite->processes[SUITE_ROUTER]));
    generation_run(&late); /* nobody is let in any more */
    assert_int_equal(late.status.code, STATUS_UNAVAILABLE);
    generation_clear(&late);
    assert_status_ok(group_wait(&group));
    assert_generated(&g, 1, 1);
    generation_clear(&g);
    assert_ended(suite, SUITE_ROUTER, begin);
    assert_int_equal(suite_peek(suite, "suite")->live_leases, 0);
    assert_int_equal(suite_arrivals(suite).n, 1);
    suite_start_again(suite, SUITE_ROUTER);
    suite_stop(suite);
}

task_test_real(a_call_beyond_the_grace_is_ended_and_settled)
{
    struct suite *suite = start(false);
    struct generation g;
    struct group group;
    begin_call(suite, &g, &group, "10m");
    uint64_t begin = terminate(suite, SUITE_ROUTER);
    assert_status_ok(group_wait(&group));
    assert_status(g.status, REASON_SHUTTING_DOWN);
    assert_int_equal(g.status.code, STATUS_UNAVAILABLE);
    assert_true(clock_mono_ms() - begin >= GRACE_MS);
    generation_clear(&g);
    assert_ended(suite, SUITE_ROUTER, begin);
    assert_int_equal(suite_peek(suite, "suite")->live_leases, 0);
    assert_span(suite_arrivals(suite).calls[0].outcome, SPAN("client_gone"));
    suite_start_again(suite, SUITE_ROUTER);
    suite_stop(suite);
}

/* The ledger was away when the calls ended and is back when the router is told to end. */
task_test_real(a_router_sends_its_records_before_it_ends)
{
    struct suite *suite = start(true);
    suite_kill(suite, SUITE_ANALYZER);
    for (int i = 0; i < 3; i++) {
        struct generation g = {.suite = suite};
        generation_run(&g);
        assert_generated(&g, 1, 1);
        generation_clear(&g);
    }
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_records_waiting", "") == 3);
    suite_start_again(suite, SUITE_ANALYZER);
    uint64_t begin = terminate(suite, SUITE_ROUTER);
    assert_ended(suite, SUITE_ROUTER, begin);
    assert_true(suite_metric(suite, SUITE_ANALYZER, "prism_analyzer_records_total",
                             "result=\"stored\"") == 3);
    suite_start_again(suite, SUITE_ROUTER);
    suite_stop(suite);
}

/* --- analyzer ----------------------------------------------------------------------------------
 */

task_test_real(an_analyzer_lets_its_sections_end)
{
    struct suite *suite = start(true);
    struct document_task t;
    struct group group;
    begin_document(suite, &t, &group, "1500ms");
    uint64_t begin = terminate(suite, SUITE_ANALYZER);
    assert_ended(suite, SUITE_ANALYZER, begin);
    suite_start_again(suite, SUITE_ANALYZER);
    end_document(suite, &t, &group);
    assert_int_equal(suite_arrivals(suite).n, SECTIONS); /* none was paid for twice */
    suite_stop(suite);
}

task_test_real(what_an_analyzer_cannot_end_is_handed_back)
{
    struct suite *suite = start(true);
    struct document_task t;
    struct group group;
    begin_document(suite, &t, &group, "10m");
    uint64_t begin = terminate(suite, SUITE_ANALYZER);
    assert_ended(suite, SUITE_ANALYZER, begin);
    assert_true(clock_mono_ms() - begin >= GRACE_MS);
    suite_await_idle(suite); /* its model calls are stopped and settled */
    suite_start_again(suite, SUITE_ANALYZER);
    end_document(suite, &t, &group);
    assert_int_equal(suite_arrivals(suite).n, 2 * SECTIONS);
    assert_true(t.comebacks > 0);
    suite_stop(suite);
}

task_test_real(an_analyzer_without_a_router_is_not_ready)
{
    struct suite *suite = start(true);
    struct span report;
    uint64_t until = clock_mono_ms() + SUITE_WAIT_MS;
    suite_kill(suite, SUITE_ROUTER);
    while (ready(suite, SUITE_ANALYZER) == 200) {
        assert_true(clock_mono_ms() < until);
        assert_status_ok(task_sleep_ms(10));
    }
    assert_int_equal(suite_http(suite, "GET", suite->admin_ports[SUITE_ANALYZER], "/readyz?verbose",
                                SPAN_NONE, &report),
                     503);
    assert_true(span_find(report, SPAN("[-] router: no router is connected")) != SPAN_MISSING);
    suite_start_again(suite, SUITE_ROUTER);
    while (ready(suite, SUITE_ANALYZER) != 200) {
        assert_true(clock_mono_ms() < until);
        assert_status_ok(task_sleep_ms(10));
    }
    suite_stop(suite);
}

/* --- limiter -----------------------------------------------------------------------------------
 */

task_test_real(calls_go_on_while_a_limiter_is_replaced)
{
    struct suite *suite = start(false);
    struct generation g;
    struct group group;
    begin_call(suite, &g, &group, "2s");
    uint64_t begin = terminate(suite, SUITE_LIMITER);
    assert_ended(suite, SUITE_LIMITER, begin);
    suite_start_again(suite, SUITE_LIMITER);
    assert_status_ok(group_wait(&group));
    assert_generated(&g, 1, 1);
    generation_clear(&g);
    suite_await_idle(suite);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_settlements_lost_total", "") == 0);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_router_is_not_ready_and_its_calls_end),
        SUITE_TEST(a_call_beyond_the_grace_is_ended_and_settled),
        SUITE_TEST(a_router_sends_its_records_before_it_ends),
        SUITE_TEST(an_analyzer_lets_its_sections_end),
        SUITE_TEST(what_an_analyzer_cannot_end_is_handed_back),
        SUITE_TEST(an_analyzer_without_a_router_is_not_ready),
        SUITE_TEST(calls_go_on_while_a_limiter_is_replaced),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
