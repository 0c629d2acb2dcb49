/* While the store is away: a limiter of its own in this process's memory decides instead, with the
 * full numbers. Nothing of it ever reaches the store but what its calls report when that is back,
 * and that their leases are believed then. */
#include "limiter/home_alone.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "limiter/limiter.h"

struct home_alone {
    struct limiter_config config;
    struct limiter *limiter; /* whose store is away */
    struct limiter *own;
    bool deciding;
};

struct status home_alone_new(struct limiter *limiter, char error_text[256], struct home_alone **out)
{
    struct home_alone *alone = ALLOC(struct home_alone);
    alone->config = *limiter->config;
    alone->config.store = "memory";
    alone->config.state_dir = "";
    alone->config.assume_new_store = true;
    alone->limiter = limiter;
    struct status s = limiter_new(&alone->config, limiter->clock_ms, error_text, &alone->own);
    if (!status_ok(s)) {
        free(alone);
        return s;
    }
    alone->own->believes = true;
    /* What is known of callers is known once. */
    map_free(alone->own->unaccepted);
    outputs_free(alone->own->outputs);
    alone->own->unaccepted = limiter->unaccepted;
    alone->own->outputs = limiter->outputs;
    *out = alone;
    return STATUS_SUCCESS;
}

void home_alone_free(struct home_alone *alone)
{
    if (alone != NULL) {
        alone->own->unaccepted = NULL;
        alone->own->outputs = NULL;
        limiter_free(alone->own);
        free(alone);
    }
}

struct limiter *home_alone_limiter(const struct home_alone *alone)
{
    return alone != NULL ? alone->own : NULL;
}

/* --- when it begins and ends --------------------------------------------------------------------
 */

static uint64_t shifted(uint64_t until_ms, uint64_t from_ms, uint64_t to_ms)
{
    return until_ms > from_ms ? to_ms + (until_ms - from_ms) : 0;
}

/* What was said of a resource holds here too: by operators, and of a model's health. What was
 * counted does not. */
static void take_over(const struct home_alone *alone, const struct engine_resource *from,
                      struct engine_resource *to, uint64_t from_ms)
{
    uint64_t to_ms = home_now_ms(alone->own);
    if (from->limits.version > to->limits.version) {
        engine_resource_init(to, span_str(from->name), to->hash, to->kind, &from->limits,
                             &alone->own->policy->rules);
    }
    to->closed = from->closed;
    memcpy(to->note, from->note, sizeof(to->note));
    to->health.gone = from->health.gone;
    to->health.retired = from->health.retired;
    uint64_t until_ms = shifted(from->health.cooldown_until_ms, from_ms, to_ms);
    if (until_ms > to->health.cooldown_until_ms) {
        to->health.cooldown_until_ms = until_ms;
    }
    if (from->health.breaker == ENGINE_BREAKER_OPEN) {
        to->health.breaker = ENGINE_BREAKER_OPEN;
        to->health.open_until_ms = shifted(from->health.open_until_ms, from_ms, to_ms);
    }
}

static void begin(struct home_alone *alone)
{
    const struct limiter *limiter = alone->limiter;
    uint64_t from_ms = home_now_ms(limiter);
    for (size_t i = 0; i < store_slots(limiter->store); i++) {
        const struct engine_resource *from = store_resource_at(limiter->store, i);
        struct engine_resource *to =
            from != NULL ? store_resource(alone->own->store, span_str(from->name)) : NULL;
        if (to != NULL) {
            take_over(alone, from, to, from_ms);
        }
    }
    alone->deciding = true;
    METRIC_SET(limiter->metrics.alone, 1);
    LOG(WARN, "the store is away: this limiter decides alone, with the full numbers");
}

void home_alone_end(struct home_alone *alone)
{
    if (alone != NULL && alone->deciding) {
        alone->deciding = false;
        METRIC_SET(alone->limiter->metrics.alone, 0);
        LOG(INFO, "the store is back: it decides again");
    }
}

/* --- asks ---------------------------------------------------------------------------------------
 */

/* A call that the store has granted is settled there, when it is back: its router goes on trying.
 */
static bool is_ours(const struct home_alone *alone, const struct ask *ask)
{
    const struct engine_report *report = ask->event.report;
    return ask->event.order == NULL &&
           (report == NULL || store_record_find(alone->own->store, &report->id) != NULL);
}

/* Nobody waits here: who is refused may ask again. */
static void bring_over(const struct home_alone *alone, struct engine_acquire *acquire,
                       struct arena *arena)
{
    size_t n = acquire->n_candidates;
    struct engine_candidate *candidates = ARENA_ARRAY(arena, struct engine_candidate, n);
    for (size_t i = 0; i < n; i++) {
        const char *name = acquire->candidates[i].model->name;
        candidates[i] = acquire->candidates[i];
        candidates[i].model = store_resource(alone->own->store, span_str(name));
        check(candidates[i].model != NULL);
    }
    acquire->candidates = candidates;
    acquire->waiter = NULL;
}

bool home_alone_decide(struct home_alone *alone, struct ask *ask)
{
    if (alone == NULL || !is_ours(alone, ask)) {
        return false;
    }
    if (!alone->deciding) {
        begin(alone);
    }
    if (ask->event.acquire != NULL) {
        bring_over(alone, ask->event.acquire, ask->arena);
    }
    METRIC_ADD(alone->limiter->metrics.alone_decisions_total, 1);
    ask->waited_ms = alone->limiter->clock_ms() - ask->asked_ms;
    ask->status = home_memory_decide(alone->own, ask);
    return true;
}

bool home_alone_believes(const struct home_alone *alone, const struct engine_id *id)
{
    if (alone == NULL) {
        return false;
    }
    const struct engine_record *record = store_record_find(alone->own->store, id);
    return (record != NULL && record->state == ENGINE_GRANTED) ||
           engine_lease_find(alone->own->suite, id, home_now_ms(alone->own)) != NULL;
}
