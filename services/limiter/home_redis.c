#include "limiter/home_redis.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/hash.h"

#define TICK_MS       1000
#define ACTIVE_MS     1000
#define PAUSE_MOST_MS 20

/* --- asks and records --------------------------------------------------------------------------
 */

void home_redis_serve(struct home_redis *home)
{
    bell_ring(&home->bell);
}

void home_redis_enqueue(struct home_redis *home, struct ask *ask)
{
    op_init(&ask->decided, home->loop, NULL, NULL);
    ask->taken_ms = home->limiter->clock_ms();
    list_push_back(&home->queue, &ask->link);
}

void home_redis_submit(struct home_redis *home, struct ask *ask)
{
    home_redis_enqueue(home, ask);
    bell_ring(&home->bell);
}

struct engine_record *home_redis_record(struct home_redis *home, const struct engine_id *id)
{
    struct span key = span_of(id->bytes, sizeof(id->bytes));
    struct known_record *known = map_get(home->records, key);
    if (known == NULL) {
        known = ALLOC(struct known_record);
        known->record.id = *id;
        map_set(home->records, key, known);
    }
    return &known->record;
}

uint64_t home_redis_now_ms(const struct home_redis *home)
{
    return home->time_ms == 0 ? 0 : home->time_ms + (home->clock_us() - home->time_at_us) / 1000;
}

/* --- looking -----------------------------------------------------------------------------------
 */

/* Reads all resources there are, some at a time. */
static struct status read_all(struct home_redis *home)
{
    const struct store *store = home->limiter->store;
    struct status why = STATUS_SUCCESS;
    size_t slot = 0;
    while (slot < store_slots(store)) {
        home_redis_name_none(home);
        while (slot < store_slots(store) && home->step.n_keys < STEP_ASKS) {
            bool named = home_redis_name_resource(home, store_resource_at(store, slot++));
            check(named);
        }
        if (home_redis_send(home, true, &why) != TRIP_AGED) {
            return why;
        }
    }
    return STATUS_SUCCESS;
}

/* Who watches hears of what other limiters wrote: the suite tells that they did. */
static void look_for_watchers(struct home_redis *home)
{
    const struct limiter *limiter = home->limiter;
    uint64_t now_ms = loop_now_ms(home->loop);
    if (list_empty(&limiter->watches) || now_ms < home->watched_ms + TICK_MS ||
        limiter->suite->header.stamp == home->watched_stamp || home->misses > 0) {
        return;
    }
    home->watched_ms = now_ms;
    if (status_ok(read_all(home))) {
        home->watched_stamp = limiter->suite->header.stamp;
    }
}

static void look(struct home_redis *home)
{
    struct list *first;
    struct status s = list_empty(&home->lookers) ? STATUS_SUCCESS : home_redis_check(home);
    if (status_ok(s) && !list_empty(&home->lookers)) {
        s = read_all(home);
    }
    while ((first = list_pop_front(&home->lookers)) != NULL) {
        op_done(&CONTAINER_OF(first, struct looker, link)->seen,
                status_ok(s) ? s : status_retry(REASON_STORE_FAILED, TICK_MS, NULL));
    }
}

struct status home_redis_look(struct home_redis *home)
{
    struct looker looker;
    op_init(&looker.seen, task_loop(), NULL, NULL);
    list_push_back(&home->lookers, &looker.link);
    bell_ring(&home->bell);
    return op_wait_firmly(&looker.seen);
}

/* --- the standing task -------------------------------------------------------------------------
 */

static void heard(void *arg, struct span channel, struct span payload)
{
    struct home_redis *home = arg;
    uint64_t id;
    if (!span_eq(channel, span_str(home->busy))) { /* our turn */
        bell_ring(&home->bell);
        return;
    }
    if (!span_parse_u64(payload, &id) || id == home->limiter->stamp >> 32) {
        return;
    }
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(home->others); i++) {
        if (home->others[i].limiter == (uint32_t)id) {
            at = i;
            break;
        }
        at = home->others[i].heard_ms < home->others[at].heard_ms ? i : at;
    }
    home->others[at].limiter = (uint32_t)id;
    home->others[at].heard_ms = loop_now_ms(home->loop);
}

/* Who has kept a step leaves the next one to the others: without it the winner, whose copy is new,
 * wins again. Pauses are shorter than the loop's clock ticks, so they are saved up. */
static void pause_for_others(struct home_redis *home)
{
    const struct engine_resource *suite = home->limiter->suite;
    uint64_t now_ms = home_redis_now_ms(home);
    size_t n = engine_writers_active(suite, now_ms, (uint32_t)(home->limiter->stamp >> 32));
    for (size_t i = 0; i < ARRAY_LEN(home->others); i++) {
        const struct engine_writer *row = engine_writers_find(suite, home->others[i].limiter);
        bool counted = row != NULL && row->request_ms + ACTIVE_MS > now_ms;
        n += home->others[i].heard_ms + ACTIVE_MS > loop_now_ms(home->loop) && !counted;
    }
    if (n == 0) {
        return;
    }
    uint8_t dice;
    hash_random(&dice, sizeof(dice));
    home->pause_us += home->trip_us * n * (128u + dice) / 256;
    if (home->pause_us >= 1000) {
        uint64_t most_us = 1000 * (uint64_t)PAUSE_MOST_MS;
        uint64_t us = home->pause_us < most_us ? home->pause_us : most_us;
        home->pause_us %= 1000;
        struct status s = task_sleep_ms(us / 1000);
        check(status_ok(s));
    }
}

/* Until the turn of somebody who waits may have come. */
static uint64_t idle_ms(const struct home_redis *home)
{
    const struct engine_queue *queue = &home->limiter->queue;
    uint64_t now_ms = home_redis_now_ms(home);
    if (queue->n == 0 || queue->wake_ms >= now_ms + TICK_MS) {
        return TICK_MS;
    }
    return queue->wake_ms > now_ms ? queue->wake_ms - now_ms : 1;
}

static void run(void *arg)
{
    struct home_redis *home = arg;
    while (!home->stopping) {
        look(home);
        uint64_t kept = home->own_step;
        home_redis_step(home);
        if (home->own_step != kept) {
            pause_for_others(home);
        }
        look_for_watchers(home);
        if (list_empty(&home->queue) && list_empty(&home->lookers) && !home->stopping) {
            bool rung;
            struct status s =
                bell_wait_until(&home->bell, loop_now_ms(home->loop) + idle_ms(home), &rung);
            check(status_ok(s));
        }
    }
    op_done(&home->ended, STATUS_SUCCESS);
}

/* --- beginning and end -------------------------------------------------------------------------
 */

struct status home_redis_new(struct limiter *limiter, char error_text[256], struct home_redis **out)
{
    struct home_redis *home = ALLOC(struct home_redis);
    struct redis_options options;
    home->limiter = limiter;
    home->config = limiter->config;
    home->loop = task_loop();
    home->clock_us = clock_mono_us;
    home->arena = arena_new(64u << 10);
    list_init(&home->queue);
    list_init(&home->lookers);
    list_init(&home->step.asks);
    struct status s = home_redis_options(home, error_text, &options);
    if (status_ok(s) && strcmp(home->config->on_store_loss, "open") == 0) {
        s = home_alone_new(limiter, error_text, &home->alone);
    }
    if (!status_ok(s)) {
        arena_free(home->arena);
        free(home);
        return s;
    }
    home->records = map_new();
    home->resources = alloc_zeroed(store_room(limiter->store), sizeof(home->resources[0]));
    home->lose = ALLOC(struct engine_order);
    home->scratch = ALLOC(struct engine_resource);
    redis_script_init(&home->txn, span_of(limiter_txn_lua, limiter_txn_lua_len));
    home->redis = redis_new(home->loop, &options);
    home->pubsub = redis_pubsub_new(home->loop, &options,
                                    &(struct redis_listener){.message = heard, .arg = home});
    redis_subscribe(home->pubsub, span_str(home->busy));
    redis_subscribe(home->pubsub, span_str(arena_printf(home->arena, "%s%u", home->wake,
                                                        (unsigned)(limiter->stamp >> 32))));
    limiter->queue.shared = true;
    op_init(&home->ended, home->loop, NULL, NULL);
    task_spawn(home->loop,
               &(struct task_options){.name = "redis home", .deadline_ms = TASK_DEADLINE_NONE}, run,
               home);
    *out = home;
    return STATUS_SUCCESS;
}

void home_redis_free(struct home_redis *home)
{
    if (home == NULL) {
        return;
    }
    home->stopping = true;
    bell_ring(&home->bell);
    struct status s = op_wait_firmly(&home->ended);
    check(status_ok(s));
    redis_pubsub_free(home->pubsub);
    redis_free(home->redis);
    for (struct map_entry *e = map_first(home->records); e != NULL; e = map_next(e)) {
        free(map_value(e));
    }
    map_free(home->records);
    free(home->resources);
    free(home->lose);
    free(home->scratch);
    home_alone_free(home->alone);
    arena_free(home->arena);
    free(home);
}
