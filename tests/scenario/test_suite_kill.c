/* kill -9 of the analyzer, the router and the limiter in turn while a document runs, ten times
 * over: the task finishes, each section stands once, the watcher misses nothing and sees nothing
 * twice, the slots of the dead come back in time, and what the limiter promises holds. */
#include "base/clock.h"
#include "document_task.h"
#include "suite.h"

#define ROUNDS    10
#define SCALE     40
#define SECTIONS  15
#define LEASE_MS  1000
#define SLOTS     5
#define CALLS     30 /* in a window */
#define WINDOW_MS (60000.0 / SCALE)

#define DOCUMENT_MS 120000

/* Leases of a second of real time; renewed and fenced accordingly. */
static struct suite *start(void) PARKS
{
    return suite_start(&(struct suite_options){
        .analyzer = true,
        .time_scale = SCALE,
        .flags[SUITE_LIMITER] = "--lease-ttl=40s",
        .flags[SUITE_ROUTER] = "--renew=250ms --fence-guard=100ms",
        .flags[SUITE_ANALYZER] = "--workers=8 --rerun-wait=50ms",
    });
}

static const char *document(struct arena *arena)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1u << 16);
    for (unsigned i = 1; i <= SECTIONS; i++) {
        buf_addf(&text,
                 "## Part %u\n\nPasswords of machine %u are stored in plain text. This section "
                 "describes how the machine is run today, who is responsible for it, and what has "
                 "been agreed with the people who depend on it every day.\n\n",
                 i, i);
    }
    return arena_string(arena, buf_span(&text));
}

struct watcher {
    struct document_task task;
    struct status status;
};

static void watch(void *arg) PARKS
{
    struct watcher *w = arg;
    task_set_deadline(loop_now_ms(task_loop()) + DOCUMENT_MS);
    w->status = document_task_run(&w->task);
}

/* Sections that have a result when the next process is killed: spread over the document. */
static void await_results(const struct watcher *w, size_t n) PARKS
{
    uint64_t until = clock_mono_ms() + SUITE_WAIT_MS;
    for (;;) {
        size_t there = 0;
        for (size_t i = 0; i < SECTIONS; i++) {
            there += w->task.results[i];
        }
        if (there >= n) {
            return;
        }
        assert_true(clock_mono_ms() < until);
        assert_status_ok(task_sleep_ms(1));
    }
}

/* Nobody else is there to take leases, so all that are counted are those of the dead. */
static void assert_leases_end(struct suite *suite) PARKS
{
    uint64_t begin = clock_mono_ms();
    while (suite_metric(suite, SUITE_LIMITER, "prism_limiter_leases", "resource=\"suite\"") > 0) {
        assert_true(clock_mono_ms() - begin <= LEASE_MS + 1000);
        assert_status_ok(task_sleep_ms(20));
    }
}

static void kill_and_start(struct suite *suite, enum suite_program program) PARKS
{
    suite_kill(suite, program);
    if (program == SUITE_ROUTER) {
        assert_leases_end(suite);
    }
    suite_start_again(suite, program);
}

task_test_real(a_document_survives_kill_9_of_everybody_in_turn)
{
    static const enum suite_program programs[] = {SUITE_ANALYZER, SUITE_ROUTER, SUITE_LIMITER};
    struct suite *suite = start();
    size_t comebacks = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        struct watcher w;
        struct group group;
        char id[32];
        snprintf(id, sizeof(id), "round-%zu", round);
        document_task_init(&w.task, suite->analyzer, document(suite->arena), id);
        group_init(&group);
        group_spawn(&group, "watcher", watch, &w);
        for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
            await_results(&w, 1 + 4 * i + round % 4);
            kill_and_start(suite, programs[(round + i) % ARRAY_LEN(programs)]);
        }
        assert_status_ok(group_wait(&group));
        assert_status_ok(w.status);
        document_task_assert_done(&w.task, SECTIONS);
        comebacks += w.task.comebacks;
        document_task_clear(&w.task);
    }
    suite_await_idle(suite);
    struct judge_log log = suite_arrivals(suite);
    assert_true(log.n >= ROUNDS * SECTIONS);
    assert_true(judge_most_at_once(log) <= SLOTS);
    assert_true(judge_most_in_window(log, WINDOW_MS) <= CALLS);
    /* Of the watchers, to an analyzer that was dead; a document may be done before its turn comes.
     */
    assert_true(comebacks >= ROUNDS / 2);
    print_message("# %d rounds: %zu calls for %d sections, at most %zu at once, watchers came back "
                  "%zu times\n",
                  ROUNDS, log.n, ROUNDS * SECTIONS, judge_most_at_once(log), comebacks);
    suite_stop(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TEST(a_document_survives_kill_9_of_everybody_in_turn),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
