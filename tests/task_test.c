#include "task_test.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "loop/core.h"

#define LINGER_MS     5000 /* for tasks and watches that are ending when the body returns */
#define WATCHDOG_S    300  /* a test that waits for ever is killed */
#define SETTLED_TURNS 1000

static struct {
    struct loop *loop;
    pid_t thread;
    bool own_clock;
    void (*body)(void);
    bool ended;
    void (*failure)(const char *file, int line); /* cmocka's _fail or _skip */
    const char *file;
    int line;
    const char *cancel_name; /* static */
    size_t cancel_at;
    size_t waits;
} run;

/* cmocka's asserts call these two through the dynamic linker, so these definitions come first. */

static void end_test(const char *verdict, const char *file, int line)
{
    void (*cmocka)(const char *, int);
    *(void **)&cmocka = dlsym(RTLD_NEXT, verdict);
    if (run.loop != NULL && gettid() != run.thread) {
        fprintf(stderr, "%s:%d: an assert failed on another thread\n", file, line);
        abort();
    }
    if (task_self() == NULL) {
        cmocka(file, line);
        abort();
    }
    run.failure = cmocka;
    run.file = file;
    run.line = line;
    struct op never;
    op_init(&never, task_loop(), NULL, NULL);
    for (;;) {
        struct status s = op_wait_firmly(&never);
        (void)s;
    }
}

__attribute__((visibility("default"))) void _fail(const char *const file, const int line)
{
    end_test("_fail", file, line);
}

__attribute__((visibility("default"))) void _skip(const char *const file, const int line)
{
    end_test("_skip", file, line);
}

static bool settled(void)
{
    return loop_tasks(run.loop) == 1 && loop_pending(run.loop) == 0;
}

static void main_task(void *arg)
{
    (void)arg;
    run.body();
    for (uint64_t i = 0; i < LINGER_MS && !settled(); i++) {
        if (run.own_clock) {
            task_yield();
        } else {
            assert_status_ok(task_sleep_ms(1));
        }
    }
    LIST_EACH (link, &loop_core(run.loop)->tasks.all) {
        struct task *task = CONTAINER_OF(link, struct task, all);
        if (task != task_self()) {
            print_error("task \"%s\" is still alive\n", task_name(task));
        }
    }
    assert_int_equal(loop_tasks(run.loop), 1);
    assert_int_equal(loop_pending(run.loop), 0);
    run.ended = true;
}

static bool is_over(void *arg)
{
    (void)arg;
    return run.ended || run.failure != NULL;
}

void task_test_run(void (*body)(void), bool own_clock)
{
    run.body = body;
    run.thread = gettid();
    run.own_clock = own_clock;
    run.ended = false;
    run.failure = NULL;
    run.loop = loop_new();
    if (own_clock) {
        loop_test_clock(run.loop, TASK_TEST_START_MS);
    }
    task_spawn(run.loop, &(struct task_options){.name = "test"}, main_task, NULL);
    alarm(WATCHDOG_S);
    loop_run_until(run.loop, is_over, NULL);
    alarm(0);
    struct loop *loop = run.loop;
    run.loop = NULL;
    if (run.failure != NULL) {
        run.failure(run.file, run.line);
    }
    loop_free(loop);
}

static void settle(void)
{
    struct tasks *tasks = &loop_core(run.loop)->tasks;
    for (int i = 0; i < SETTLED_TURNS; i++) {
        task_yield();
        if (list_empty(&tasks->ready) && list_empty(&tasks->now)) {
            return;
        }
    }
}

void task_test_advance(uint64_t ms)
{
    settle();
    if (ms > 0) {
        loop_test_clock(run.loop, loop_now_ms(run.loop) + ms);
        settle();
    }
}

static void on_wait(struct task *task)
{
    if (strcmp(task_name(task), run.cancel_name) == 0 && ++run.waits == run.cancel_at) {
        task_cancel(task, status_of(REASON_CALL_CANCELLED, NULL));
    }
}

void task_test_cancel_at(const char *name, size_t n)
{
    run.cancel_name = name;
    run.cancel_at = n;
    run.waits = 0;
    loop_core(run.loop)->tasks.on_wait = on_wait;
}

size_t task_test_waits(void)
{
    return run.waits;
}
