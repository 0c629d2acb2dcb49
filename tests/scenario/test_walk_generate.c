/* Generate and GenerateOnce with everything going wrong, one thing a run: an answer or a clear
 * error, one settlement a grant, one call record and one log line a call, and nothing left. */
#include "fault_walk.h"
#include "generation.h"
#include "small_suite.h"

#define PROMPT "Passwords are stored in plain text."

#define DEADLINE_MS  20000
#define CALLERS_MOST 2

struct world {
    struct small_suite suite;
    struct small_account account;
    const char *faults; /* what the models do in each run anyway */
    bool once;          /* GenerateOnce */
    struct generation callers[CALLERS_MOST];
    size_t n_callers;
    size_t good; /* calls that were answered */
    size_t settled;
    size_t recorded;
    size_t failed, cancelled, dropped;
};

static void run(void *arg) PARKS
{
    struct world *w = arg;
    struct group group;
    small_suite_set_faults(&w->suite, w->faults);
    small_suite_begin(&w->suite, &w->account);
    group_init(&group);
    for (size_t i = 0; i < w->n_callers; i++) {
        w->callers[i] = (struct generation){.router = w->suite.to_router,
                                            .once = w->once,
                                            .bare = true,
                                            .prompt = PROMPT,
                                            .deadline_ms = DEADLINE_MS};
        generation_spawn(&w->callers[i], &group);
    }
    assert_status_ok(group_wait(&group));
}

static void judge(void *arg) PARKS
{
    struct world *w = arg;
    small_suite_judge(&w->suite, &w->account);
    w->settled += w->account.settled;
    w->recorded += w->account.recorded;
    for (size_t i = 0; i < w->n_callers; i++) {
        struct generation *caller = &w->callers[i];
        assert_int_not_equal(caller->status.code, STATUS_DEADLINE_EXCEEDED);
        if (status_ok(caller->status)) {
            assert_true(caller->nothing_behind && caller->text.len > 0);
            w->good++;
        }
        generation_clear(caller);
    }
}

/* --- the things that go wrong ------------------------------------------------------------------
 */

static void leave(void *arg)
{
    struct world *w = arg;
    for (size_t i = 0; i < w->n_callers; i++) {
        if (w->callers[i].task != NULL) {
            task_cancel(w->callers[i].task, status_of(REASON_CALL_CANCELLED, NULL));
        }
    }
}

static void cut_callers(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_ROUTER);
}

static void cut_models(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_SIMULATOR);
}

static void cut_limiter(void *arg)
{
    small_suite_cut(&((struct world *)arg)->suite, SUITE_LIMITER);
}

static void walk(struct world *w, const char *faults, size_t n_callers) PARKS
{
    const char *method = w->once ? "GenerateOnce" : "Generate";
    struct fault_walk handler = {method, {method}, run, judge, w};
    struct fault_walk behind = {method, {method, "report"}, run, judge, w};
    struct fault_walk reports = {method, {"report"}, run, judge, w};
    w->faults = faults;
    w->n_callers = n_callers;
    w->good = 0;
    w->failed += fault_walk_fail(&behind);
    /* Who waits for the only slot, another's or that of his last attempt, receives a stream: of the
     * limiter's queue. */
    w->failed += fault_walk_lose(n_callers == 1 && faults[0] == '\0' ? &behind : &reports);
    w->cancelled += fault_walk_cancel(&handler);
    w->dropped += fault_walk_strike(&handler, leave);
    w->dropped += fault_walk_strike(&handler, cut_callers);
    w->dropped += fault_walk_strike(&handler, cut_models);
    w->dropped += fault_walk_strike(&behind, cut_limiter);
    assert_true(w->good > 0);
}

/* The router's session at the limiter. */
static void walk_session(struct world *w) PARKS
{
    struct fault_walk both = {"the session", {"limiter link", "limiter replies"}, run, judge, w};
    struct fault_walk sending = {"the session", {"limiter link"}, run, judge, w};
    struct fault_walk limiter = {"the session", {"Attach"}, run, judge, w};
    w->failed += fault_walk_fail(&both);
    w->failed += fault_walk_lose(&sending);
    w->failed += fault_walk_fail(&limiter);
    w->dropped += fault_walk_strike(&limiter, cut_limiter);
}

/* The call records on their way to the ledger. */
static void walk_records(struct world *w) PARKS
{
    struct fault_walk records = {"Generate", {"records"}, run, judge, w};
    w->failed += fault_walk_fail(&records);
    w->failed += fault_walk_lose(&records);
}

/* One model is throttled, the next breaks in mid-answer, the third answers. */
static const char two_fail[] =
    "rules:\n"
    "  - {model: us.anthropic.claude-sonnet-4-6, action: status, code: 429}\n"
    "  - {model: us.anthropic.claude-sonnet-5, action: truncate, after: 6}\n";

static void walk_all(bool once) PARKS
{
    struct world w = {.once = once};
    small_suite_start(&w.suite, &(struct small_suite_options){
                                    .analyzer = true,
                                    .flags[SUITE_LIMITER] = "--suite-concurrency=1",
                                });
    walk(&w, "", 1);
    if (!once) {
        walk_records(&w);
        walk_session(&w);
    }
    walk(&w, two_fail, 1);
    walk(&w, "", 2); /* one waits for the other */
    print_message(
        "# fault walk %s: %zu ops failed, %zu cancels, %zu drops; %zu grants, each settled "
        "once; %zu call records\n",
        once ? "GenerateOnce" : "Generate", w.failed, w.cancelled, w.dropped, w.settled,
        w.recorded);
    small_suite_stop(&w.suite);
}

task_test_real(generate_survives_every_fault)
{
    walk_all(false);
}

task_test_real(generate_once_survives_every_fault)
{
    walk_all(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_WALK_TEST(generate_survives_every_fault),
        FAULT_WALK_TEST(generate_once_survives_every_fault),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
