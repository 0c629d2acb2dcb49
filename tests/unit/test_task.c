/* Tasks and ops: waiting, cancelling, deadlines, groups, stacks. */
#include "base/log.h"
#include "loop/sanitizer.h"
#include "task_test.h"

#ifdef SANITIZER_THREAD
#define MANY 1000 /* it cannot have more fibers */
#else
#define MANY 10000
#endif

static void say_done(struct op *op)
{
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

static void say_ok(struct op *op)
{
    op_done(op, STATUS_SUCCESS);
}

task_test(an_op_on_the_stack_wakes_its_waiter)
{
    struct op op;
    op_init(&op, task_loop(), NULL, NULL);
    op_post(&op, status_of(REASON_OVERLOADED, "why"));
    struct status s = op_wait(&op);
    assert_status(s, REASON_OVERLOADED);
    assert_string_equal(s.detail, "why");
}

static int order[16];
static int ordered;

static void then_notes(struct op *op)
{
    (void)op;
    order[ordered++] = 1;
}

static void note_after_wait(void *arg)
{
    assert_status_ok(op_wait(arg));
    order[ordered++] = 3;
}

task_test(completion_runs_then_before_the_waiter_and_never_switches)
{
    ordered = 0;
    struct op op;
    op_init(&op, task_loop(), NULL, then_notes);
    task_spawn(task_loop(), NULL, note_after_wait, &op);
    task_yield();
    op_done(&op, STATUS_SUCCESS);
    order[ordered++] = 2;
    task_yield();
    assert_int_equal(ordered, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(order[i], i + 1);
    }
}

static void sleeps(void *arg)
{
    uint64_t ms = *(uint64_t *)arg;
    assert_status_ok(task_sleep_ms(ms));
    order[ordered++] = (int)ms;
}

task_test(sleepers_wake_in_the_order_of_time)
{
    static uint64_t times[] = {300, 100, 200, 100};
    ordered = 0;
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        task_spawn(task_loop(), NULL, sleeps, &times[i]);
    }
    task_test_advance(99);
    assert_int_equal(ordered, 0);
    task_test_advance(1);
    assert_int_equal(ordered, 2);
    task_test_advance(1000);
    assert_int_equal(ordered, 4);
    assert_int_equal(order[2], 200);
    assert_int_equal(order[3], 300);
}

struct waiter {
    struct task *task;
    struct op op;
    struct status result;
    struct status later;
    uint64_t until_ms;
    bool in_time;
    bool ended;
};

static void wait_main(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = op_wait(&waiter->op);
    waiter->later = task_sleep_ms(1000);
    waiter->ended = true;
}

static void wait_firmly_main(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = op_wait_firmly(&waiter->op);
    waiter->later = task_status();
    waiter->ended = true;
}

static void wait_until_main(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = op_wait_until(&waiter->op, waiter->until_ms, &waiter->in_time);
    waiter->ended = true;
}

static void start(struct waiter *waiter, void (*main)(void *), void (*cancel)(struct op *),
                  uint64_t deadline_ms)
{
    op_init(&waiter->op, task_loop(), cancel, NULL);
    waiter->task = task_spawn(task_loop(),
                              &(struct task_options){.name = "waiter", .deadline_ms = deadline_ms},
                              main, waiter);
    task_test_advance(0);
}

task_test(cancelling_a_parked_task_asks_its_op_and_fails_every_later_wait)
{
    struct waiter waiter = {0};
    start(&waiter, wait_main, say_done, 0);
    assert_false(waiter.op.asked);
    task_cancel(waiter.task, status_of(REASON_SHUTTING_DOWN, NULL));
    task_cancel(waiter.task, status_of(REASON_OVERLOADED, NULL));
    assert_true(waiter.op.done);
    assert_false(waiter.ended);
    task_test_advance(0);
    assert_true(waiter.ended);
    assert_status(waiter.result, REASON_SHUTTING_DOWN);
    assert_status(waiter.later, REASON_SHUTTING_DOWN);
}

task_test(an_op_that_ends_well_although_asked_says_so)
{
    struct waiter waiter = {0};
    start(&waiter, wait_main, say_ok, 0);
    task_cancel(waiter.task, status_of(REASON_SHUTTING_DOWN, NULL));
    task_test_advance(0);
    assert_status_ok(waiter.result);
    assert_status(waiter.later, REASON_SHUTTING_DOWN);
}

task_test(an_op_that_cannot_be_hurried_is_waited_for)
{
    struct waiter waiter = {0};
    start(&waiter, wait_main, NULL, 0);
    task_cancel(waiter.task, status_of(REASON_SHUTTING_DOWN, NULL));
    task_test_advance(1000);
    assert_true(waiter.op.asked);
    assert_false(waiter.ended);
    op_done(&waiter.op, status_of(REASON_CONNECTION_LOST, NULL));
    task_test_advance(0);
    assert_true(waiter.ended);
    assert_status(waiter.result, REASON_SHUTTING_DOWN);
}

task_test(a_cancelled_task_asks_at_once)
{
    struct waiter waiter = {0};
    op_init(&waiter.op, task_loop(), say_done, NULL);
    waiter.task = task_spawn(task_loop(), NULL, wait_main, &waiter);
    task_cancel(waiter.task, status_of(REASON_CALL_CANCELLED, NULL));
    task_test_advance(0);
    assert_true(waiter.ended);
    assert_status(waiter.result, REASON_CALL_CANCELLED);
}

task_test(a_deadline_asks_like_a_cancellation)
{
    struct waiter waiter = {0};
    start(&waiter, wait_main, say_done, TASK_TEST_START_MS + 50);
    task_test_advance(49);
    assert_false(waiter.ended);
    task_test_advance(1);
    assert_true(waiter.ended);
    assert_status(waiter.result, REASON_DEADLINE_PASSED);
    assert_status(waiter.later, REASON_DEADLINE_PASSED);
}

task_test(a_firm_wait_heeds_nothing)
{
    struct waiter waiter = {0};
    start(&waiter, wait_firmly_main, say_done, TASK_TEST_START_MS + 50);
    task_cancel(waiter.task, status_of(REASON_CALL_CANCELLED, NULL));
    task_test_advance(100);
    assert_false(waiter.op.asked);
    assert_false(waiter.ended);
    op_done(&waiter.op, status_of(REASON_STORE_FAILED, NULL));
    task_test_advance(0);
    assert_true(waiter.ended);
    assert_status(waiter.result, REASON_STORE_FAILED);
    assert_status(waiter.later, REASON_CALL_CANCELLED);
}

task_test(a_wait_with_a_tick_asks_at_the_tick)
{
    struct waiter late = {.until_ms = TASK_TEST_START_MS + 10};
    start(&late, wait_until_main, say_done, 0);
    struct waiter early = {.until_ms = TASK_TEST_START_MS + 10};
    start(&early, wait_until_main, say_done, 0);
    op_done(&early.op, STATUS_SUCCESS);
    task_test_advance(9);
    assert_true(early.ended);
    assert_true(early.in_time);
    assert_status_ok(early.result);
    assert_false(late.ended);
    task_test_advance(1);
    assert_true(late.ended);
    assert_false(late.in_time);
    assert_status(late.result, REASON_CALL_CANCELLED);
}

task_test(a_tick_in_the_past_asks_without_parking)
{
    struct op op;
    bool in_time = true;
    op_init(&op, task_loop(), say_done, NULL);
    assert_status(op_wait_until(&op, 5, &in_time), REASON_CALL_CANCELLED);
    assert_false(in_time);
    op_init(&op, task_loop(), say_done, NULL);
    op_done(&op, STATUS_SUCCESS);
    assert_status_ok(op_wait_until(&op, 5, &in_time));
    assert_true(in_time);
}

static void tells_its_deadline(void *arg)
{
    uint64_t *deadline = arg;
    *deadline = task_deadline_ms();
    task_set_deadline(UINT64_MAX - 1);
    assert_int_equal(task_deadline_ms(), *deadline);
    task_set_deadline(TASK_TEST_START_MS + 7);
    assert_int_equal(task_left_ms(), 7);
}

task_test(deadlines_are_inherited_and_only_come_nearer)
{
    uint64_t deadline = 0;
    task_set_deadline(TASK_TEST_START_MS + 1234);
    task_spawn(task_loop(), NULL, tells_its_deadline, &deadline);
    task_test_advance(0);
    assert_int_equal(deadline, TASK_TEST_START_MS + 1234);
}

static struct task_context seen;

static void tells_its_context(void *arg)
{
    (void)arg;
    seen = *task_context();
}

static char logged[512];

static void sink(struct span line)
{
    assert_true(line.len < sizeof(logged));
    memcpy(logged, line.at, line.len);
    logged[line.len] = '\0';
}

task_test(the_context_is_inherited_and_logged)
{
    struct task_context *context = task_context();
    snprintf(context->request_id, sizeof(context->request_id), "r\"1");
    snprintf(context->tenant, sizeof(context->tenant), "acme");
    task_spawn(task_loop(), NULL, tells_its_context, NULL);
    log_set_sink(sink);
    LOG(ERROR, "hello");
    log_set_sink(NULL);
    assert_non_null(
        strstr(logged, "\"msg\":\"hello\",\"request_id\":\"r\\\"1\",\"tenant\":\"acme\"}"));
    task_test_advance(0);
    assert_string_equal(seen.request_id, "r\"1");
    assert_string_equal(seen.tenant, "acme");
    assert_string_equal(seen.task_id, "");
}

struct fan {
    uint64_t ms;
    struct status result;
};

static void fan_main(void *arg)
{
    struct fan *fan = arg;
    fan->result = task_sleep_ms(fan->ms);
}

task_test_real(a_group_waits_for_the_last)
{
    struct group group;
    struct fan fans[8] = {0};
    group_init(&group);
    for (size_t i = 0; i < ARRAY_LEN(fans); i++) {
        fans[i] = (struct fan){.ms = i, .result = status_of(REASON_INTERNAL_ERROR, NULL)};
        group_spawn(&group, "fan", fan_main, &fans[i]);
    }
    assert_status_ok(group_wait(&group));
    assert_int_equal(loop_tasks(task_loop()), 1);
    for (size_t i = 0; i < ARRAY_LEN(fans); i++) {
        assert_status_ok(fans[i].result);
    }
    assert_status_ok(group_wait(&group));
}

struct fanning {
    struct fan fans[3];
    struct status result;
    bool ended;
};

static void fanning_main(void *arg)
{
    struct fanning *fanning = arg;
    struct group group;
    group_init(&group);
    for (size_t i = 0; i < ARRAY_LEN(fanning->fans); i++) {
        group_spawn(&group, "fan", fan_main, &fanning->fans[i]);
    }
    fanning->result = group_wait(&group);
    fanning->ended = true;
}

task_test(cancelling_who_waits_for_a_group_cancels_its_members)
{
    struct fanning fanning = {.fans = {{.ms = 10}, {.ms = 1000}, {.ms = 1000}}};
    struct task *task = task_spawn(task_loop(), NULL, fanning_main, &fanning);
    task_test_advance(10);
    assert_false(fanning.ended);
    task_cancel(task, status_of(REASON_SHUTTING_DOWN, NULL));
    task_test_advance(0);
    assert_true(fanning.ended);
    assert_status(fanning.result, REASON_SHUTTING_DOWN);
    assert_status_ok(fanning.fans[0].result);
    assert_status(fanning.fans[1].result, REASON_CALL_CANCELLED);
    assert_status(fanning.fans[2].result, REASON_CALL_CANCELLED);
}

task_test(a_deadline_ends_a_group)
{
    struct fanning fanning = {.fans = {{.ms = 10}, {.ms = 1000}, {.ms = 1000}}};
    task_spawn(task_loop(), &(struct task_options){.deadline_ms = TASK_TEST_START_MS + 20},
               fanning_main, &fanning);
    task_test_advance(20);
    assert_true(fanning.ended);
    assert_status(fanning.result, REASON_DEADLINE_PASSED);
    assert_false(status_ok(fanning.fans[2].result));
}

static size_t woken;

static void park_main(void *arg)
{
    char depth[1024];
    memset(depth, (int)(uintptr_t)arg, sizeof(depth));
    assert_status_ok(op_wait(arg));
    for (size_t i = 0; i < sizeof(depth); i++) {
        assert_int_equal(depth[i], (char)(uintptr_t)arg);
    }
    woken++;
}

task_test(thousands_of_tasks_park_and_wake)
{
    struct op *ops = calloc(MANY, sizeof(*ops));
    woken = 0;
    for (size_t i = 0; i < MANY; i++) {
        op_init(&ops[i], task_loop(), NULL, NULL);
        task_spawn(task_loop(), NULL, park_main, &ops[i]);
    }
    task_test_advance(0);
    assert_int_equal(loop_tasks(task_loop()), MANY + 1);
    for (size_t i = MANY; i-- > 0;) {
        op_done(&ops[i], STATUS_SUCCESS);
    }
    task_test_advance(0);
    assert_int_equal(woken, MANY);
    free(ops);
}

static uintptr_t stack_of_last;

static void tells_its_stack(void *arg)
{
    (void)arg;
    stack_of_last = (uintptr_t)__builtin_frame_address(0);
}

task_test(stacks_are_used_again)
{
    task_spawn(task_loop(), NULL, tells_its_stack, NULL);
    task_test_advance(0);
    uintptr_t first = stack_of_last;
    task_spawn(task_loop(), NULL, tells_its_stack, NULL);
    task_test_advance(0);
    assert_true(first == stack_of_last);
}

static uint64_t depth_of(struct op *ops, size_t n)
{
    volatile uint64_t here = n;
    if (n == 0) {
        return 0;
    }
    assert_status_ok(op_wait(&ops[n - 1]));
    return here + depth_of(ops, n - 1);
}

task_test(waits_nest_through_frames)
{
    struct op ops[16];
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        op_init(&ops[i], task_loop(), NULL, NULL);
        op_post(&ops[i], STATUS_SUCCESS);
    }
    assert_int_equal(depth_of(ops, ARRAY_LEN(ops)), 136);
}

static bool stop_yielding;

static void yields(void *arg)
{
    (void)arg;
    while (!stop_yielding) {
        task_yield();
    }
}

task_test_real(who_yields_for_ever_does_not_keep_others_from_timers_and_posts)
{
    stop_yielding = false;
    task_spawn(task_loop(), NULL, yields, NULL);
    struct op op;
    op_init(&op, task_loop(), NULL, NULL);
    op_post(&op, STATUS_SUCCESS);
    assert_status_ok(op_wait(&op));
    assert_status_ok(task_sleep_ms(2));
    stop_yielding = true;
}

task_test(sleeping_no_time_lets_others_run)
{
    stop_yielding = false;
    woken = 0;
    task_spawn(task_loop(), NULL, tells_its_context, NULL);
    assert_int_equal(loop_tasks(task_loop()), 2);
    assert_status_ok(task_sleep_ms(0));
    assert_int_equal(loop_tasks(task_loop()), 1);
}

struct ringer {
    struct bell *bell;
    uint64_t when_ms;
    bool rang;
};

static void rings(void *arg)
{
    struct ringer *ringer = arg;
    assert_status_ok(task_sleep_until(ringer->when_ms));
    bell_ring(ringer->bell);
    bell_ring(ringer->bell); /* is one */
    ringer->rang = true;
}

struct listener {
    struct bell *bell;
    uint64_t until_ms;
    bool ended;
    bool rung;
    struct status status;
};

static void listens(void *arg)
{
    struct listener *listener = arg;
    listener->status = bell_wait_until(listener->bell, listener->until_ms, &listener->rung);
    listener->ended = true;
}

task_test(a_ring_is_heard_now_or_at_the_next_wait)
{
    struct bell bell = {0};
    uint64_t now = loop_now_ms(task_loop());
    struct ringer ringer = {.bell = &bell, .when_ms = now + 10};
    struct listener listener = {.bell = &bell, .until_ms = UINT64_MAX};
    bool rung;
    task_spawn(task_loop(), NULL, rings, &ringer);
    task_spawn(task_loop(), NULL, listens, &listener);
    task_test_advance(9);
    assert_false(listener.ended);
    task_test_advance(1);
    assert_true(listener.ended && listener.rung);

    bell_ring(&bell); /* nobody waits */
    assert_status_ok(bell_wait_until(&bell, UINT64_MAX, &rung));
    assert_true(rung);
    assert_status_ok(bell_wait_until(&bell, loop_now_ms(task_loop()), &rung));
    assert_false(rung);
}

/* In the turn in which the wait ends by itself: before its task has had its turn. */
task_test(a_ring_in_the_moment_a_wait_ends_is_not_lost)
{
    for (int cancels = 0; cancels < 2; cancels++) {
        struct bell bell = {0};
        uint64_t when = loop_now_ms(task_loop()) + 10;
        struct ringer ringer = {.bell = &bell, .when_ms = when};
        struct listener listener = {.bell = &bell, .until_ms = cancels ? UINT64_MAX : when};
        task_spawn(task_loop(), NULL, rings, &ringer); /* its timer is the first of the two */
        struct task *task = task_spawn(task_loop(), NULL, listens, &listener);
        task_test_advance(0);
        if (cancels) {
            task_cancel(task, status_of(REASON_CALL_CANCELLED, NULL));
            bell_ring(&bell);
            task_test_advance(0);
            assert_true(listener.ended);
            assert_status(listener.status, REASON_CALL_CANCELLED);
        }
        task_test_advance(10);
        assert_true(ringer.rang && listener.ended);
        assert_true(cancels || (status_ok(listener.status) && listener.rung));
        assert_true(bell.rung == (cancels > 0)); /* for the next one */
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_op_on_the_stack_wakes_its_waiter),
    cmocka_unit_test(completion_runs_then_before_the_waiter_and_never_switches),
    cmocka_unit_test(sleepers_wake_in_the_order_of_time),
    cmocka_unit_test(cancelling_a_parked_task_asks_its_op_and_fails_every_later_wait),
    cmocka_unit_test(an_op_that_ends_well_although_asked_says_so),
    cmocka_unit_test(an_op_that_cannot_be_hurried_is_waited_for),
    cmocka_unit_test(a_cancelled_task_asks_at_once),
    cmocka_unit_test(a_deadline_asks_like_a_cancellation),
    cmocka_unit_test(a_firm_wait_heeds_nothing),
    cmocka_unit_test(a_wait_with_a_tick_asks_at_the_tick),
    cmocka_unit_test(a_tick_in_the_past_asks_without_parking),
    cmocka_unit_test(deadlines_are_inherited_and_only_come_nearer),
    cmocka_unit_test(the_context_is_inherited_and_logged),
    cmocka_unit_test(a_group_waits_for_the_last),
    cmocka_unit_test(cancelling_who_waits_for_a_group_cancels_its_members),
    cmocka_unit_test(a_deadline_ends_a_group),
    cmocka_unit_test(thousands_of_tasks_park_and_wake),
    cmocka_unit_test(stacks_are_used_again),
    cmocka_unit_test(waits_nest_through_frames),
    cmocka_unit_test(who_yields_for_ever_does_not_keep_others_from_timers_and_posts),
    cmocka_unit_test(sleeping_no_time_lets_others_run),
    cmocka_unit_test(a_ring_is_heard_now_or_at_the_next_wait),
    cmocka_unit_test(a_ring_in_the_moment_a_wait_ends_is_not_lost),
};

HARNESS_MAIN(tests)
