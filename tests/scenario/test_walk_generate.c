/* Generate with everything going wrong, one thing a run: an answer or a clear error, one settlement
 * a grant, one log line a call, and nothing left. */
#include "fault_walk.h"
#include "small_suite.h"

#define PROMPT "Passwords are stored in plain text."

#define CALL_ARENA   (8u << 20)
#define DEADLINE_MS  20000
#define CALLERS_MOST 2

struct caller {
    struct world *world;
    struct task *task; /* while its call runs */
    struct status status;
};

struct world {
    struct small_suite suite;
    struct small_account account;
    const char *faults; /* what the models do in each run anyway */
    struct caller callers[CALLERS_MOST];
    size_t n_callers;
    size_t good; /* calls that were answered */
    size_t settled;
    size_t failed, cancelled, dropped;
};

static void fill(Router__Generation *g, Router__Message *message, Router__ContentBlock *block,
                 Router__Message **messages, Router__ContentBlock **blocks)
{
    router__generation__init(g);
    router__message__init(message);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block->text = PROMPT;
    blocks[0] = block;
    message->role = ROUTER__ROLE__ROLE_USER;
    message->n_content = 1;
    message->content = blocks;
    messages[0] = message;
    g->n_messages = 1;
    g->messages = messages;
}

static struct status listen_to(struct rpc_stream *stream, struct arena *arena) PARKS
{
    bool completed = false;
    for (void *message;;) {
        TRY(rpc_stream_recv(stream, arena, &message));
        if (message == NULL) {
            assert_true(completed);
            return STATUS_SUCCESS;
        }
        const Router__GenerateResponse *event = message;
        completed = event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED;
    }
}

static void call(void *arg) PARKS
{
    struct caller *caller = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_new(CALL_ARENA);
    Router__GenerateRequest request = ROUTER__GENERATE_REQUEST__INIT;
    Router__Generation g;
    Router__Message message, *messages[1];
    Router__ContentBlock block, *blocks[1];
    struct rpc_stream *stream = NULL;
    fill(&g, &message, &block, messages, blocks);
    request.generation = &g;
    caller->task = task_self();
    task_set_deadline(loop_now_ms(task_loop()) + DEADLINE_MS);
    caller->status = rpc_open(caller->world->suite.to_router, &router__router_service__descriptor,
                              "Generate", &request, &stream);
    if (status_ok(caller->status)) {
        caller->status = listen_to(stream, arena);
    }
    rpc_stream_close(&stream);
    caller->task = NULL;
}

static void run(void *arg) PARKS
{
    struct world *w = arg;
    struct group group;
    small_suite_set_faults(&w->suite, w->faults);
    small_suite_begin(&w->suite, &w->account);
    group_init(&group);
    for (size_t i = 0; i < w->n_callers; i++) {
        w->callers[i] = (struct caller){.world = w};
        group_spawn(&group, "caller", call, &w->callers[i]);
    }
    assert_status_ok(group_wait(&group));
}

static void judge(void *arg) PARKS
{
    struct world *w = arg;
    small_suite_judge(&w->suite, &w->account);
    w->settled += w->account.settled;
    for (size_t i = 0; i < w->n_callers; i++) {
        assert_int_not_equal(w->callers[i].status.code, STATUS_DEADLINE_EXCEEDED);
        w->good += status_ok(w->callers[i].status);
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
    struct fault_walk handler = {"Generate", {"Generate"}, run, judge, w};
    struct fault_walk behind = {"Generate", {"Generate", "report"}, run, judge, w};
    w->faults = faults;
    w->n_callers = n_callers;
    w->good = 0;
    w->failed += fault_walk_fail(&behind);
    w->failed += fault_walk_lose(&behind);
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

task_test_real(generate_survives_every_fault)
{
    struct world w = {0};
    small_suite_start(&w.suite, &(struct small_suite_options){
                                    .analyzer = true,
                                    .flags[SUITE_LIMITER] = "--suite-concurrency=1",
                                });
    walk(&w, "", 1);
    walk_records(&w);
    walk_session(&w);
    walk(&w, two_fail, 1);
    walk(&w, "", 2); /* one waits for the other */
    print_message("# fault walk Generate: %zu ops failed, %zu cancels, %zu drops, %zu grants\n",
                  w.failed, w.cancelled, w.dropped, w.settled);
    small_suite_stop(&w.suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_WALK_TEST(generate_survives_every_fault),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
