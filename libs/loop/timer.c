#include <stdlib.h>

#include "base/alloc.h"
#include "loop/core.h"

static bool earlier(const struct timer *a, const struct timer *b)
{
    return a->when_ms != b->when_ms ? a->when_ms < b->when_ms : a->order < b->order;
}

static void place(struct timers *timers, size_t i, struct timer *timer)
{
    timers->heap[i] = timer;
    timer->slot = i + 1;
}

static void sift_up(struct timers *timers, size_t i, struct timer *timer)
{
    while (i > 0 && earlier(timer, timers->heap[(i - 1) / 2])) {
        place(timers, i, timers->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(timers, i, timer);
}

static void sift_down(struct timers *timers, size_t i, struct timer *timer)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < timers->n && earlier(timers->heap[child + 1], timers->heap[child])) {
            child++;
        }
        if (child >= timers->n || !earlier(timers->heap[child], timer)) {
            break;
        }
        place(timers, i, timers->heap[child]);
        i = child;
    }
    place(timers, i, timer);
}

void timer_init(struct timer *timer, struct loop *loop, void (*fire)(struct timer *))
{
    *timer = (struct timer){.loop = loop, .fire = fire};
}

void timer_start(struct timer *timer, uint64_t when_ms)
{
    timer_stop(timer);
    struct timers *timers = &loop_core(timer->loop)->timers;
    if (timers->n == timers->cap) {
        timers->cap = timers->cap > 0 ? 2 * timers->cap : 64;
        timers->heap = alloc_resized(timers->heap, timers->cap * sizeof(struct timer *));
    }
    timer->when_ms = when_ms;
    timer->order = timers->started++;
    sift_up(timers, timers->n++, timer);
}

void timer_stop(struct timer *timer)
{
    if (timer->slot == 0) {
        return;
    }
    struct timers *timers = &loop_core(timer->loop)->timers;
    size_t hole = timer->slot - 1;
    check(hole < timers->n && timers->heap[hole] == timer);
    struct timer *last = timers->heap[--timers->n];
    timer->slot = 0;
    if (last == timer) {
        return;
    }
    if (hole > 0 && earlier(last, timers->heap[(hole - 1) / 2])) {
        sift_up(timers, hole, last);
    } else {
        sift_down(timers, hole, last);
    }
}

bool timer_running(const struct timer *timer)
{
    return timer->slot != 0;
}

void timers_clear(struct timers *timers)
{
    check(timers->n == 0);
    free(timers->heap);
    timers->heap = NULL;
}

uint64_t timers_next_ms(const struct timers *timers)
{
    return timers->n > 0 ? timers->heap[0]->when_ms : UINT64_MAX;
}

void timers_fire(struct timers *timers, uint64_t now_ms)
{
    /* What is started meanwhile, due or not, is for the next turn. */
    uint64_t started = timers->started;
    while (timers_next_ms(timers) <= now_ms && timers->n > 0 && timers->heap[0]->order < started) {
        struct timer *timer = timers->heap[0];
        timer_stop(timer);
        timer->fire(timer);
    }
}
