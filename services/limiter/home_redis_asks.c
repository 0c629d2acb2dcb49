/* The asks of a step: who joins, and how they end. */
#include "limiter/home_redis.h"
#include "limiter/wait.h"

#define RETRY_MS    1000
#define TRIES_HALVE 4

/* What one that waits names may be another by the next step. */
static void out_of_hand(struct ask *ask)
{
    if (ask->event.acquire != NULL) {
        ask->event.acquire->pools[0] = NULL;
    }
}

/* One that waits goes on waiting. */
static void end(struct ask *ask, struct status s)
{
    if (wait_tries(ask)) {
        out_of_hand(ask);
    }
    ask->status = s;
    op_done(&ask->decided, STATUS_SUCCESS);
}

/* It waits no more, if it did. */
static void end_wait(struct home_redis *home, struct ask *ask, struct status s)
{
    struct engine_waiter *waiter = ask->event.acquire != NULL ? ask->event.acquire->waiter : NULL;
    if (waiter != NULL && waiter->entered != 0) {
        engine_queue_leave(&home->limiter->queue, waiter);
        wait_ended(home->limiter, waiter);
    }
    end(ask, s);
}

static void leave(struct home_redis *home, struct ask *ask)
{
    list_remove(&ask->link);
    home->step.n_asks--;
}

void home_redis_answer(struct home_redis *home, struct ask *ask)
{
    leave(home, ask);
    ask->now_ms = home->step.now_ms;
    ask->waited_ms = home->limiter->clock_ms() - ask->asked_ms;
    if (wait_tries(ask)) {
        end(ask, STATUS_SUCCESS);
        return;
    }
    ask->answer(home->limiter, ask);
    end_wait(home, ask, STATUS_SUCCESS);
}

void home_redis_answer_all(struct home_redis *home)
{
    home->step.served = true;
    while (engine_queue_take_ended(&home->limiter->queue) != NULL) {
        /* they are among the asks */
    }
    METRIC_ADD(home->limiter->metrics.store_decisions_total, (double)home->step.n_asks);
    LIST_EACH (it, &home->step.asks) {
        home_redis_answer(home, CONTAINER_OF(it, struct ask, link));
    }
}

static void fail(struct home_redis *home, struct ask *ask, struct status why)
{
    if (wait_tries(ask)) {
        end(ask, STATUS_SUCCESS);
        return;
    }
    if (home->away && home_alone_decide(home->alone, ask)) {
        op_done(&ask->decided, STATUS_SUCCESS);
        return;
    }
    end(ask,
        status_retry(REASON_STORE_FAILED, RETRY_MS,
                     arena_printf(ask->arena, "nothing can be decided: %s", status_text(why))));
}

void home_redis_fail_all(struct home_redis *home, struct list *asks, struct status why)
{
    struct list *first;
    while ((first = list_pop_front(asks)) != NULL) {
        fail(home, CONTAINER_OF(first, struct ask, link), why);
    }
}

void home_redis_fail_step(struct home_redis *home, struct status why)
{
    home_redis_fail_all(home, &home->step.asks, why);
    home->step.n_asks = 0;
}

bool home_redis_fail_late(struct home_redis *home, struct status why)
{
    uint64_t now_ms = home->limiter->clock_ms();
    size_t before = home->step.n_asks;
    LIST_EACH (it, &home->step.asks) {
        struct ask *ask = CONTAINER_OF(it, struct ask, link);
        if (ask->taken_ms + BUDGET_MS <= now_ms) {
            leave(home, ask);
            fail(home, ask, why);
        }
    }
    return home->step.n_asks < before;
}

/* --- gathering ---------------------------------------------------------------------------------
 */

/* Into the step, if there is room for what it touches. False: the step is full. */
static bool join(struct home_redis *home, struct ask *ask, struct list *back)
{
    struct step *step = &home->step;
    struct status s = ask->find(home->limiter, ask, step->n_asks == 0);
    bool full = status_ok(s) ? !home_redis_name(home, ask, true) : s.reason == REASON_OVERLOADED;
    if (full && step->n_asks > 0) {
        out_of_hand(ask);
        list_push_front(back, &ask->link);
        return false;
    }
    if (!status_ok(s)) {
        end_wait(home, ask, s);
        return true;
    }
    list_push_back(&step->asks, &ask->link);
    step->n_asks++;
    return true;
}

/* Who loses again and again tries with less: the sooner it is decided and sent, the less others can
 * come before it. */
static size_t asks_most(const struct step *step)
{
    unsigned halvings = step->tries / TRIES_HALVE;
    return halvings < 6 ? (size_t)STEP_ASKS >> halvings : 1;
}

void home_redis_gather(struct home_redis *home)
{
    struct step *step = &home->step;
    struct list *first, again;
    bool room = true;
    size_t most = asks_most(step);
    list_init(&again);
    while ((first = list_pop_front(&step->asks)) != NULL) {
        list_push_back(&again, first);
    }
    step->n_asks = 0;
    home_redis_name_none(home);
    while (room && step->n_asks < most && (first = list_pop_front(&again)) != NULL) {
        room = join(home, CONTAINER_OF(first, struct ask, link), &again);
    }
    while ((first = again.prev) != &again) { /* they have become too many */
        list_remove(first);
        out_of_hand(CONTAINER_OF(first, struct ask, link));
        list_push_front(&home->queue, first);
    }
    while (room && !step->checked && step->n_asks < most &&
           (first = list_pop_front(&home->queue)) != NULL) {
        room = join(home, CONTAINER_OF(first, struct ask, link), &home->queue);
    }
}
