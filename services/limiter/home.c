/* One of two homes: this process's memory, or a Redis that is shared. */
#include "limiter/home.h"

#include "limiter/home_redis.h"

void ask_init(struct limiter *limiter, struct ask *ask, struct arena *arena,
              struct status (*find)(struct limiter *, struct ask *, bool),
              void (*answer)(struct limiter *, struct ask *))
{
    ask->find = find;
    ask->answer = answer;
    ask->arena = arena;
    ask->asked_ms = limiter->clock_ms();
    list_init(&ask->link);
}

void home_decide_all(struct limiter *limiter, struct ask *const *asks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (limiter->redis == NULL) {
            asks[i]->status = home_memory_decide(limiter, asks[i]);
        } else {
            home_redis_submit(limiter->redis, asks[i]);
        }
    }
    for (size_t i = 0; limiter->redis != NULL && i < n; i++) {
        /* Nothing can take an ask back, and none takes long: its memory is in use until then. */
        struct status s = op_wait_firmly(&asks[i]->decided);
        check(status_ok(s));
    }
}

struct status home_decide(struct limiter *limiter, struct ask *ask)
{
    home_decide_all(limiter, &ask, 1);
    return ask->status;
}

void home_serve(struct limiter *limiter)
{
    if (limiter->redis != NULL) {
        home_redis_serve(limiter->redis);
    } else {
        limiter_serve(limiter);
    }
}

void home_offer(struct limiter *limiter, struct ask *ask)
{
    ask->offered = true;
    if (limiter->redis != NULL) {
        home_redis_serve(limiter->redis);
    }
}

bool home_has(const struct limiter *limiter, const struct ask *ask)
{
    return limiter->redis != NULL && !ask->decided.done;
}

void home_recall(const struct limiter *limiter, struct ask *ask)
{
    ask->offered = false;
    if (home_has(limiter, ask)) {
        struct status s = op_wait_firmly(&ask->decided);
        check(status_ok(s));
    }
}

struct status home_look(struct limiter *limiter)
{
    return limiter->redis != NULL ? home_redis_look(limiter->redis) : STATUS_SUCCESS;
}

struct engine_record *home_record(struct limiter *limiter, const struct engine_id *id)
{
    return limiter->redis != NULL ? home_redis_record(limiter->redis, id)
                                  : store_record(limiter->store, id, home_now_ms(limiter));
}

struct engine_record *home_record_find(struct limiter *limiter, const struct engine_id *id)
{
    return limiter->redis != NULL ? home_redis_record(limiter->redis, id)
                                  : store_record_find(limiter->store, id);
}

bool home_believes(const struct limiter *limiter, const struct engine_id *id)
{
    return limiter->believes ||
           (limiter->redis != NULL && home_alone_believes(limiter->redis->alone, id));
}

uint64_t home_now_ms(const struct limiter *limiter)
{
    return limiter->redis != NULL ? home_redis_now_ms(limiter->redis) : limiter->clock_ms();
}
