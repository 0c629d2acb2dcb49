/* Waits that are made of ops: sleeping, yielding, bells, groups. */
#include <stdlib.h>

#include "base/alloc.h"
#include "loop/core.h"

void task_yield(void)
{
    task_ready(task_self());
    task_park();
}

static void sleep_ends(struct op *op)
{
    op_done(op, STATUS_SUCCESS);
}

struct status task_sleep_until(uint64_t when_ms)
{
    struct loop *loop = task_loop();
    TRY(task_status());
    if (when_ms <= loop_now_ms(loop)) {
        task_yield();
        return STATUS_SUCCESS;
    }
    struct op op;
    bool in_time;
    op_init(&op, loop, sleep_ends, NULL);
    struct status s = op_wait_until(&op, when_ms, &in_time);
    return loop_now_ms(loop) >= when_ms ? s : task_status();
}

struct status task_sleep_ms(uint64_t ms)
{
    uint64_t now = loop_now_ms(task_loop());
    return task_sleep_until(ms < UINT64_MAX - now ? now + ms : UINT64_MAX);
}

struct listener {
    struct op op;
    struct bell *bell;
};

/* From here on nobody rings for it: the op is done, and its task only has to get its turn. */
static void listener_asked(struct op *op)
{
    CONTAINER_OF(op, struct listener, op)->bell->listener = NULL;
    op_done(op, STATUS_SUCCESS);
}

void bell_ring(struct bell *bell)
{
    bell->rung = true;
    if (bell->listener != NULL) {
        struct op *listener = bell->listener;
        bell->listener = NULL;
        op_done(listener, STATUS_SUCCESS);
    }
}

struct status bell_wait_until(struct bell *bell, uint64_t when_ms, bool *rung)
{
    check(bell->listener == NULL);
    if (!bell->rung) {
        struct listener listener = {.bell = bell};
        bool in_time;
        op_init(&listener.op, task_loop(), listener_asked, NULL);
        bell->listener =
            &listener.op; /* cppcheck-suppress autoVariables ; cleared before it goes */
        struct status s = op_wait_until(&listener.op, when_ms, &in_time);
        check(status_ok(s));
    }
    TRY(task_status());
    *rung = bell->rung;
    bell->rung = false;
    return STATUS_SUCCESS;
}

struct member {
    struct list link;
    struct group *group;
    struct task *task;
    void (*fn)(void *arg);
    void *arg;
};

static void group_cancel(struct op *all)
{
    struct group *group = CONTAINER_OF(all, struct group, all);
    LIST_EACH (link, &group->members) {
        task_cancel(CONTAINER_OF(link, struct member, link)->task,
                    status_of(REASON_CALL_CANCELLED, NULL));
    }
}

void group_init(struct group *group)
{
    group->loop = task_loop();
    group->running = 0;
    list_init(&group->members);
    op_init(&group->all, group->loop, group_cancel, NULL);
}

static void member_main(void *arg)
{
    struct member *member = arg;
    struct group *group = member->group;
    member->fn(member->arg);
    list_remove(&member->link);
    free(member);
    if (--group->running == 0 && group->all.waiter != NULL) {
        op_done(&group->all,
                group->all.asked ? status_of(REASON_CALL_CANCELLED, NULL) : STATUS_SUCCESS);
    }
}

void group_spawn(struct group *group, const char *name, void (*fn)(void *arg), void *arg)
{
    struct member *member = ALLOC(struct member);
    member->group = group;
    member->fn = fn;
    member->arg = arg;
    list_push_back(&group->members, &member->link);
    group->running++;
    member->task =
        task_spawn(group->loop, &(struct task_options){.name = name}, member_main, member);
}

struct status group_wait(struct group *group)
{
    if (group->running == 0) {
        return STATUS_SUCCESS;
    }
    op_init(&group->all, group->loop, group_cancel, NULL);
    return op_wait(&group->all);
}
