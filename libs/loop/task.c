#include "loop/task.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/utf8.h"
#include "loop/core.h"
#include "loop/sanitizer.h"

#define STACK_SIZE   ((size_t)256 * 1024)
#define STACK_GUARD  ((size_t)64 * 1024) /* whole pages, however large they are */
#define STACKS_SPARE 256                 /* kept for reuse; more go back to the system */

/* --- stacks, and the one place where they are changed ------------------------------------------
 *
 * makecontext enters a stack for the first time; from then on sigsetjmp without the signal mask
 * and siglongjmp go back and forth: two orders of magnitude cheaper than swapcontext's two system
 * calls. Only the scheduler enters a stack and a stack only leaves to the scheduler. A stack never
 * returns: between two tasks it is parked at the end of stack_main's loop.
 */

/* One side of a change. The sanitizers want to know where a stack lies and who runs on it. */
struct side {
    sigjmp_buf here;
    const void *low;
    size_t size;
    void *fake;  /* ASan */
    void *fiber; /* TSan */
};

struct stack {
    struct stack *next;
    struct side side;
    char *memory;
    bool entered;
    struct task *task;
    struct scheduler *scheduler;
};

struct scheduler {
    struct side side;
    struct stack *spare;
    size_t n_spare;
};

/* Which task runs on this thread: what task_self answers. */
static _Thread_local struct task *running;

/* UNWATCHED: frames that are left without being returned from. */
#if defined(SANITIZER_ADDRESS)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
/* ends: nothing of the left stack's frames is needed again, but stack_main's. */
#define SIDE_LEAVE(from, to, ends)                                                                 \
    __sanitizer_start_switch_fiber((ends) ? NULL : &(from)->fake, (to)->low, (to)->size)
#define SIDE_ARRIVE(to, from)                                                                      \
    __sanitizer_finish_switch_fiber((to)->fake, &(from)->low, &(from)->size);                      \
    (to)->fake = NULL
#define SIDE_NEW(side)  __asan_unpoison_memory_region((side)->low, (side)->size)
#define SIDE_FREE(side) ((void)(side))
#define UNWATCHED       __attribute__((noinline, no_sanitize("address")))
#elif defined(SANITIZER_THREAD)
#define SIDE_LEAVE(from, to, ends)                                                                 \
    __tsan_switch_to_fiber((to)->fiber, 0);                                                        \
    (void)(ends)
#define SIDE_ARRIVE(to, from) ((void)(to), (void)(from))
#define SIDE_NEW(side)        ((side)->fiber = __tsan_create_fiber(0))
#define SIDE_FREE(side)       __tsan_destroy_fiber((side)->fiber)
#define UNWATCHED             __attribute__((noinline))
#else
#define SIDE_LEAVE(from, to, ends) ((void)(from), (void)(to), (void)(ends))
#define SIDE_ARRIVE(to, from)      ((void)(to), (void)(from))
#define SIDE_NEW(side)             ((void)(side))
#define SIDE_FREE(side)            ((void)(side))
#define UNWATCHED                  __attribute__((noinline))
#endif

/* From the task back to the scheduler. */
UNWATCHED static void stack_leave(struct stack *stack, bool ends)
{
    struct side *to = &stack->scheduler->side;
    if (sigsetjmp(stack->side.here, 0) == 0) {
        SIDE_LEAVE(&stack->side, to, ends);
        siglongjmp(to->here, 1);
    }
    SIDE_ARRIVE(&stack->side, &stack->scheduler->side);
}

/* makecontext passes ints only. */
UNWATCHED static void stack_main(unsigned high, unsigned low)
{
    struct stack *stack = (struct stack *)(((uintptr_t)high << 32) | low);
    SIDE_ARRIVE(&stack->side, &stack->scheduler->side);
    for (;;) {
        struct task *task = stack->task;
        task->fn(task->arg);
        task->ended = true;
        stack_leave(stack, true);
    }
}

UNWATCHED static void stack_enter_first(struct stack *stack)
{
    ucontext_t context;
    check(getcontext(&context) == 0);
    context.uc_stack.ss_sp = stack->memory + STACK_GUARD;
    context.uc_stack.ss_size = STACK_SIZE;
    context.uc_link = NULL;
    uintptr_t self = (uintptr_t)stack;
    makecontext(&context, (void (*)(void))stack_main, 2, (unsigned)(self >> 32), (unsigned)self);
    stack->entered = true;
    setcontext(&context);
    check(false);
}

/* From the scheduler to the stack's task, until that parks or ends. */
UNWATCHED static void stack_enter(struct stack *stack)
{
    struct side *from = &stack->scheduler->side;
    if (sigsetjmp(from->here, 0) == 0) {
        SIDE_LEAVE(from, &stack->side, false);
        if (!stack->entered) {
            stack_enter_first(stack);
        }
        siglongjmp(stack->side.here, 1);
    }
    SIDE_ARRIVE(&stack->scheduler->side, &stack->side);
}

static struct stack *stack_new(struct scheduler *scheduler)
{
    struct stack *stack = ALLOC(struct stack);
    stack->scheduler = scheduler;
    stack->memory = mmap(NULL, STACK_GUARD + STACK_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    check(stack->memory != MAP_FAILED);
    check(mprotect(stack->memory, STACK_GUARD, PROT_NONE) == 0);
    stack->side.low = stack->memory + STACK_GUARD;
    stack->side.size = STACK_SIZE;
    SIDE_NEW(&stack->side);
    return stack;
}

static void stack_free(struct stack *stack)
{
    SIDE_FREE(&stack->side);
    check(munmap(stack->memory, STACK_GUARD + STACK_SIZE) == 0);
    free(stack);
}

static struct stack *stack_take(struct scheduler *scheduler)
{
    struct stack *stack = scheduler->spare;
    if (stack == NULL) {
        return stack_new(scheduler);
    }
    scheduler->spare = stack->next;
    scheduler->n_spare--;
    return stack;
}

static void stack_give(struct scheduler *scheduler, struct stack *stack)
{
    if (scheduler->n_spare >= STACKS_SPARE) {
        stack_free(stack);
        return;
    }
    stack->task = NULL;
    stack->next = scheduler->spare;
    scheduler->spare = stack;
    scheduler->n_spare++;
}

/* --- the scheduler ------------------------------------------------------------------------------
 */

static void log_context(struct buf *line)
{
    if (running == NULL) {
        return;
    }
    const struct {
        const char *key;
        const char *value;
    } members[] = {
        {",\"request_id\":", running->context.request_id},
        {",\"tenant\":", running->context.tenant},
        {",\"task_id\":", running->context.task_id},
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (members[i].value[0] != '\0') {
            buf_add_str(line, members[i].key);
            utf8_add_json(line, span_str(members[i].value));
        }
    }
}

void tasks_init(struct tasks *tasks)
{
    list_init(&tasks->all);
    list_init(&tasks->ready);
    list_init(&tasks->now);
    tasks->live = 0;
    tasks->scheduler = ALLOC(struct scheduler);
    log_set_context(log_context);
}

void tasks_clear(struct tasks *tasks)
{
    check(tasks->live == 0 && running == NULL);
    struct stack *next;
    for (struct stack *stack = tasks->scheduler->spare; stack != NULL; stack = next) {
        next = stack->next;
        stack_free(stack);
    }
    free(tasks->scheduler);
}

static void run(struct tasks *tasks, struct task *task)
{
    check(task->magic == TASK_MAGIC && running == NULL);
    if (task->stack == NULL) {
        task->stack = stack_take(tasks->scheduler);
        task->stack->task = task;
    }
    running = task;
    stack_enter(task->stack);
    running = NULL;
    if (task->ended) {
        stack_give(tasks->scheduler, task->stack);
        list_remove(&task->all);
        tasks->live--;
        task->magic = 0;
        free(task);
    }
}

void tasks_run(struct tasks *tasks)
{
#ifdef SANITIZER_THREAD
    tasks->scheduler->side.fiber = __tsan_get_current_fiber();
#endif
    /* Whoever becomes ready meanwhile runs in the next turn: tasks that wake each other for ever
     * cannot keep the loop from its descriptors. */
    while (!list_empty(&tasks->ready)) {
        list_push_back(&tasks->now, list_pop_front(&tasks->ready));
    }
    struct list *link;
    while ((link = list_pop_front(&tasks->now)) != NULL) {
        run(tasks, CONTAINER_OF(link, struct task, queue));
    }
}

void task_ready(struct task *task)
{
    check(task->magic == TASK_MAGIC && list_empty(&task->queue));
    task->waits = NULL;
    timer_stop(&task->alarm);
    list_push_back(&loop_core(task->loop)->tasks.ready, &task->queue);
}

void task_park(void)
{
    struct task *task = running;
    check(task != NULL);
    stack_leave(task->stack, false);
}

/* --- tasks --------------------------------------------------------------------------------------
 */

static void alarm_fired(struct timer *alarm)
{
    op_ask(CONTAINER_OF(alarm, struct task, alarm)->waits);
}

struct task *task_spawn(struct loop *loop, const struct task_options *options,
                        void (*fn)(void *arg) PARKS, void *arg)
{
    static const struct task_options none = {0};
    if (options == NULL) {
        options = &none;
    }
    struct task *task = ALLOC(struct task);
    task->magic = TASK_MAGIC;
    task->loop = loop;
    task->name = options->name != NULL ? options->name : "task";
    task->fn = fn;
    task->arg = arg;
    task->deadline_ms = options->deadline_ms;
    if (task->deadline_ms == 0) {
        task->deadline_ms =
            running != NULL ? running->deadline_ms : loop_now_ms(loop) + TASK_DEADLINE_DEFAULT_MS;
    }
    if (options->context != NULL) {
        task->context = *options->context;
    } else if (running != NULL) {
        task->context = running->context;
    }
    timer_init(&task->alarm, loop, alarm_fired);
    struct tasks *tasks = &loop_core(loop)->tasks;
    list_push_back(&tasks->all, &task->all);
    list_push_back(&tasks->ready, &task->queue);
    tasks->live++;
    return task;
}

struct task *task_self(void)
{
    return running;
}

struct loop *task_loop(void)
{
    check(running != NULL);
    return running->loop;
}

const char *task_name(const struct task *task)
{
    return task->name;
}

void task_cancel(struct task *task, struct status why)
{
    check(task->magic == TASK_MAGIC && !status_ok(why));
    if (!status_ok(task->cancelled)) {
        return;
    }
    task->cancelled = why;
    if (task->waits != NULL && !task->firm) {
        op_ask(task->waits);
    }
}

struct status task_status(void)
{
    check(running != NULL);
    if (!status_ok(running->cancelled)) {
        return running->cancelled;
    }
    return task_left_ms() > 0 ? STATUS_SUCCESS : status_of(REASON_DEADLINE_PASSED, NULL);
}

uint64_t task_deadline_ms(void)
{
    check(running != NULL);
    return running->deadline_ms;
}

uint64_t task_left_ms(void)
{
    check(running != NULL);
    uint64_t now = loop_now_ms(running->loop);
    return running->deadline_ms > now ? running->deadline_ms - now : 0;
}

void task_set_deadline(uint64_t deadline_ms)
{
    check(running != NULL);
    if (deadline_ms < running->deadline_ms) {
        running->deadline_ms = deadline_ms;
    }
}

struct task_context *task_context(void)
{
    check(running != NULL);
    return &running->context;
}
