/* The loop itself: timers, descriptors, signals, work off the loop, stopping. */
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "loop/loop.h"
#include "task_test.h"

struct probe {
    struct timer timer;
    size_t fired;
    uint64_t at_ms;
    int turn;
};

static size_t fired_in_all;

/* Of this process. */
static uint64_t cpu_us(void)
{
    struct timespec used;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

static void probe_fires(struct timer *timer)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);
    probe->fired++;
    probe->at_ms = loop_now_ms(timer->loop);
    probe->turn = (int)fired_in_all++;
}

static void start(struct probe *probe, uint64_t in_ms)
{
    timer_init(&probe->timer, task_loop(), probe_fires);
    timer_start(&probe->timer, loop_now_ms(task_loop()) + in_ms);
}

task_test(timers_of_one_moment_fire_as_they_were_started)
{
    struct probe a = {0}, b = {0}, c = {0};
    fired_in_all = 0;
    start(&a, 10);
    start(&b, 5);
    start(&c, 10);
    timer_start(&a.timer, a.timer.when_ms);
    task_test_advance(10);
    assert_int_equal(b.turn, 0);
    assert_int_equal(c.turn, 1);
    assert_int_equal(a.turn, 2);
    assert_false(timer_running(&a.timer));
    task_test_advance(1000);
    assert_int_equal(fired_in_all, 3);
}

task_test(a_stopped_timer_stays_silent)
{
    struct probe a = {0}, b = {0};
    start(&a, 10);
    start(&b, 10);
    timer_stop(&a.timer);
    timer_stop(&a.timer);
    assert_false(timer_running(&a.timer));
    assert_true(timer_running(&b.timer));
    task_test_advance(10);
    assert_int_equal(a.fired, 0);
    assert_int_equal(b.fired, 1);
}

#define PROBES 512

/* Starting, moving and stopping at random; each that is due fires, at its own time, and no other.
 */
task_test(the_heap_holds_under_random_use)
{
    static struct probe probes[PROBES];
    uint32_t seed = 7;
    memset(probes, 0, sizeof(probes));
    for (size_t i = 0; i < PROBES; i++) {
        start(&probes[i], 1 + harness_random(&seed) % 1000);
    }
    for (size_t i = 0; i < 2 * (size_t)PROBES; i++) {
        struct probe *probe = &probes[harness_random(&seed) % PROBES];
        if (harness_random(&seed) % 2 == 0) {
            timer_stop(&probe->timer);
        } else {
            timer_start(&probe->timer, TASK_TEST_START_MS + 1 + harness_random(&seed) % 1000);
        }
    }
    for (uint64_t now = TASK_TEST_START_MS + 1; now <= TASK_TEST_START_MS + 1000; now++) {
        size_t due = 0;
        for (size_t i = 0; i < PROBES; i++) {
            due += timer_running(&probes[i].timer) && probes[i].timer.when_ms <= now;
        }
        fired_in_all = 0;
        task_test_advance(1);
        assert_int_equal(fired_in_all, due);
    }
    for (size_t i = 0; i < PROBES; i++) {
        assert_true(probes[i].fired <= 1);
        assert_true(probes[i].fired == 0 || probes[i].at_ms == probes[i].timer.when_ms);
    }
}

static void fires_again(struct timer *timer)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);
    if (++probe->fired < 5) {
        timer_start(timer, 0);
    }
}

task_test(a_timer_that_restarts_itself_in_the_past_leaves_room_for_others)
{
    struct probe probe = {0};
    timer_init(&probe.timer, task_loop(), fires_again);
    timer_start(&probe.timer, 0);
    task_yield();
    assert_int_equal(probe.fired, 1);
    task_test_advance(0);
    task_yield();
    task_yield();
    task_yield();
    assert_int_equal(probe.fired, 5);
}

task_test_real(timers_keep_real_time)
{
    uint64_t before = clock_mono_ms();
    assert_status_ok(task_sleep_ms(30));
    uint64_t took = clock_mono_ms() - before;
    assert_in_range(took, 29, 30 + 600);
}

/* The timer is due before the loop polls: it must not poll for ever. */
task_test_real(a_timer_that_passed_while_a_task_ran_fires)
{
    uint64_t when_ms = loop_now_ms(task_loop()) + 5;
    usleep(20000);
    assert_status_ok(task_sleep_until(when_ms));
}

static void posts_now_and_later(void *arg)
{
    struct op *ops = arg;
    op_post(&ops[0], STATUS_SUCCESS);
    usleep(20000);
    op_post(&ops[1], STATUS_SUCCESS);
}

/* What comes while it looks and what wakes it later is taken alike, and it does go to sleep. */
task_test_real(a_loop_that_looks_out_misses_nothing_and_sleeps)
{
    struct op ops[2];
    uint64_t before_us = cpu_us();
    loop_busy_poll(task_loop(), 500);
    op_init(&ops[0], task_loop(), NULL, NULL);
    op_init(&ops[1], task_loop(), NULL, NULL);
    struct thread *thread = thread_start("poster", posts_now_and_later, ops);
    assert_status_ok(op_wait(&ops[0]));
    assert_status_ok(op_wait(&ops[1]));
    thread_join(thread);
    uint64_t began_ms = clock_mono_ms();
    assert_status_ok(task_sleep_ms(300));
    assert_in_range(clock_mono_ms() - began_ms, 299, 300 + 600);
    assert_in_range(cpu_us() - before_us, 0, 150000); /* measured: 2,000 */
    loop_busy_poll(task_loop(), 0);
}

task_test(a_clock_of_its_own_stands_still)
{
    uint64_t before = loop_now_ms(task_loop());
    usleep(5000);
    task_yield();
    assert_int_equal(loop_now_ms(task_loop()), before);
}

/* --- descriptors --------------------------------------------------------------------------------
 */

struct end {
    int fd;
    struct fd_watch *watch;
    unsigned seen;
    size_t calls;
    bool stop_at_once;
};

static void end_ready(void *arg, unsigned events)
{
    struct end *end = arg;
    end->seen |= events;
    end->calls++;
    if (end->stop_at_once) {
        fd_watch_stop(end->watch);
        end->watch = NULL;
    }
}

static void pair(struct end ends[2])
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    for (size_t i = 0; i < 2; i++) {
        ends[i] = (struct end){.fd = fds[i]};
    }
}

static void watch(struct end *end, unsigned events)
{
    end->watch = fd_watch_start(task_loop(), end->fd, events, end_ready, end);
}

static void close_ends(struct end ends[2])
{
    for (size_t i = 0; i < 2; i++) {
        fd_watch_stop(ends[i].watch);
        if (ends[i].fd >= 0) {
            close(ends[i].fd);
        }
    }
}

task_test(a_watch_tells_what_was_asked_and_goes_on_telling)
{
    struct end ends[2];
    pair(ends);
    watch(&ends[0], FD_READ);
    task_test_advance(0);
    assert_int_equal(ends[0].calls, 0);
    assert_int_equal(write(ends[1].fd, "x", 1), 1);
    task_yield();
    task_yield();
    assert_int_equal(ends[0].seen, FD_READ);
    assert_true(ends[0].calls >= 2);
    fd_watch_change(ends[0].watch, 0);
    ends[0].calls = 0;
    task_yield();
    assert_int_equal(ends[0].calls, 0);
    ends[0].seen = 0;
    fd_watch_change(ends[0].watch, FD_READ | FD_WRITE);
    task_yield();
    assert_int_equal(ends[0].seen, FD_READ | FD_WRITE);
    close_ends(ends);
}

task_test(a_watch_tells_that_the_peer_left)
{
    struct end ends[2];
    pair(ends);
    watch(&ends[0], FD_HANGUP);
    task_test_advance(0);
    assert_int_equal(ends[0].seen, 0);
    close(ends[1].fd);
    ends[1].fd = -1;
    task_yield();
    assert_int_equal(ends[0].seen, FD_HANGUP);
    close_ends(ends);
}

task_test(a_watch_may_be_stopped_from_its_own_call_and_the_number_used_again)
{
    struct end ends[2];
    pair(ends);
    ends[0].stop_at_once = true;
    watch(&ends[0], FD_WRITE);
    task_yield();
    assert_int_equal(ends[0].calls, 1);
    assert_null(ends[0].watch);
    /* The first handle is closed by the loop later than the descriptor by us. */
    watch(&ends[0], FD_WRITE);
    fd_watch_stop(ends[0].watch);
    ends[0].stop_at_once = false;
    watch(&ends[0], FD_WRITE);
    task_yield();
    assert_int_equal(ends[0].calls, 2);
    close_ends(ends);
}

/* A pipe whose reader is gone is in error: said to whoever wants to write, each time. */
task_test(an_error_counts_as_what_was_asked)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct end ends[2] = {{.fd = fds[1]}, {.fd = -1}};
    watch(&ends[0], FD_WRITE);
    close(fds[0]);
    task_yield();
    task_yield();
    assert_int_equal(ends[0].seen, FD_WRITE);
    assert_true(ends[0].calls >= 2);
    close_ends(ends);
}

/* --- signals, work, threads, stopping -----------------------------------------------------------
 */

static int signalled;

static void on_signal(void *arg, int signal)
{
    signalled = signal;
    op_done(arg, STATUS_SUCCESS);
}

task_test_real(a_signal_is_told_on_the_loop)
{
    struct op op;
    op_init(&op, task_loop(), NULL, NULL);
    loop_on_signal(task_loop(), SIGUSR1, on_signal, &op);
    kill(getpid(), SIGUSR1);
    assert_status_ok(op_wait(&op));
    assert_int_equal(signalled, SIGUSR1);
}

struct sum {
    uint64_t upto;
    uint64_t result;
    bool in_task;
    struct status status;
};

static void sum_up(void *arg)
{
    struct sum *sum = arg;
    sum->in_task = task_self() != NULL;
    for (uint64_t i = 1; i <= sum->upto; i++) {
        sum->result += i;
    }
}

task_test_real(work_runs_on_another_thread_and_its_result_is_there)
{
    struct sum sum = {.upto = 1000};
    assert_status_ok(loop_work(task_loop(), sum_up, &sum));
    assert_int_equal(sum.result, 500500);
    assert_false(sum.in_task);
}

static atomic_bool released;

static void wait_for_release(void *arg)
{
    (void)arg;
    while (!released) {
        usleep(1000);
    }
}

static void holder(void *arg)
{
    *(struct status *)arg = loop_work(task_loop(), wait_for_release, NULL);
}

static void summer(void *arg)
{
    struct sum *sum = arg;
    sum->status = loop_work(task_loop(), sum_up, sum);
}

/* Work that has begun is waited for; work that has not is taken back. */
task_test_real(cancelled_work_is_waited_for_or_never_begins)
{
    struct task *holders[16];
    struct status results[16];
    struct sum sum = {.upto = 10};
    released = false;
    for (size_t i = 0; i < ARRAY_LEN(holders); i++) {
        results[i] = status_of(REASON_INTERNAL_ERROR, NULL);
        holders[i] = task_spawn(task_loop(), NULL, holder, &results[i]);
    }
    struct task *task = task_spawn(task_loop(), NULL, summer, &sum);
    assert_status_ok(task_sleep_ms(5));
    task_cancel(task, status_of(REASON_SHUTTING_DOWN, NULL));
    task_cancel(holders[0], status_of(REASON_SHUTTING_DOWN, NULL));
    assert_status_ok(task_sleep_ms(5));
    assert_status(sum.status, REASON_SHUTTING_DOWN);
    assert_int_equal(sum.result, 0);
    assert_int_equal(loop_tasks(task_loop()), 1 + ARRAY_LEN(holders));
    released = true;
    while (loop_tasks(task_loop()) > 1) {
        task_yield();
    }
    for (size_t i = 0; i < ARRAY_LEN(holders); i++) {
        assert_status_ok(results[i]);
    }
}

static void stops_the_loop(void *arg)
{
    struct op *posted = arg;
    op_post(posted, STATUS_SUCCESS);
    loop_stop(task_loop());
}

static void test_a_loop_takes_what_was_posted_before_it_returns(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    for (int i = 0; i < 2; i++) {
        struct op posted;
        op_init(&posted, loop, NULL, NULL);
        task_spawn(loop, NULL, stops_the_loop, &posted);
        loop_run(loop);
        assert_true(posted.done);
        assert_int_equal(loop_tasks(loop), 0);
    }
    loop_free(loop);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(timers_of_one_moment_fire_as_they_were_started),
    cmocka_unit_test(a_stopped_timer_stays_silent),
    cmocka_unit_test(the_heap_holds_under_random_use),
    cmocka_unit_test(a_timer_that_restarts_itself_in_the_past_leaves_room_for_others),
    cmocka_unit_test(timers_keep_real_time),
    cmocka_unit_test(a_timer_that_passed_while_a_task_ran_fires),
    cmocka_unit_test(a_loop_that_looks_out_misses_nothing_and_sleeps),
    cmocka_unit_test(a_clock_of_its_own_stands_still),
    cmocka_unit_test(a_watch_tells_what_was_asked_and_goes_on_telling),
    cmocka_unit_test(a_watch_tells_that_the_peer_left),
    cmocka_unit_test(a_watch_may_be_stopped_from_its_own_call_and_the_number_used_again),
    cmocka_unit_test(an_error_counts_as_what_was_asked),
    cmocka_unit_test(a_signal_is_told_on_the_loop),
    cmocka_unit_test(work_runs_on_another_thread_and_its_result_is_there),
    cmocka_unit_test(cancelled_work_is_waited_for_or_never_begins),
    cmocka_unit_test(test_a_loop_takes_what_was_posted_before_it_returns),
};

HARNESS_MAIN(tests)
