/* The harness itself: what fails in a task fails its test, and only that one. */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "task_test.h"

static void says_false(void *arg)
{
    (void)arg;
    assert_true(false);
}

task_test(fails_in_its_body)
{
    task_yield();
    assert_int_equal(1, 2);
}

task_test(fails_in_another_task)
{
    task_spawn(task_loop(), NULL, says_false, NULL);
    assert_status_ok(task_sleep_ms(1000));
}

static void sleeps_on(void *arg)
{
    *(struct status *)arg = task_sleep_ms(1000);
}

static struct status never_written;

task_test(leaves_a_task)
{
    task_spawn(task_loop(), NULL, sleeps_on, &never_written);
}

static void fires(struct timer *timer)
{
    (void)timer;
}

task_test(leaves_a_timer)
{
    static struct timer timer;
    timer_init(&timer, task_loop(), fires);
    timer_start(&timer, UINT64_MAX - 1);
}

task_test(skips)
{
    task_yield();
    skip();
}

task_test(passes)
{
    task_yield();
    assert_true(true);
}

static const struct CMUnitTest inner[] = {
    cmocka_unit_test(fails_in_its_body),
    cmocka_unit_test(passes),
    cmocka_unit_test(fails_in_another_task),
    cmocka_unit_test(passes),
    cmocka_unit_test(leaves_a_task),
    cmocka_unit_test(passes),
    cmocka_unit_test(leaves_a_timer),
    cmocka_unit_test(passes),
    cmocka_unit_test(skips),
    cmocka_unit_test(passes),
};

static void test_failures_in_tasks_are_counted(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        _exit(cmocka_run_group_tests_name("inner", inner, NULL, NULL));
    }
    int how = 0;
    waitpid(child, &how, 0);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 4);
}

struct steps {
    size_t done;
    struct status end;
};

static void three_waits(void *arg)
{
    struct steps *steps = arg;
    for (int i = 0; i < 3 && status_ok(steps->end); i++) {
        steps->end = task_sleep_ms(1);
        steps->done += status_ok(steps->end);
    }
}

task_test(a_walk_cancels_at_each_wait_once)
{
    size_t rounds = 0;
    for (size_t n = 1; n == 1 || task_test_waits() >= n - 1; n++) {
        struct steps steps = {0};
        task_test_cancel_at("walked", n);
        task_spawn(task_loop(), &(struct task_options){.name = "walked"}, three_waits, &steps);
        while (loop_tasks(task_loop()) > 1) {
            task_test_advance(1);
        }
        assert_int_equal(steps.done, n <= 3 ? n - 1 : 3);
        assert_status(steps.end, n <= 3 ? REASON_CALL_CANCELLED : REASON_NONE);
        rounds++;
    }
    assert_int_equal(rounds, 4);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_failures_in_tasks_are_counted),
    cmocka_unit_test(a_walk_cancels_at_each_wait_once),
};

HARNESS_MAIN(tests)
