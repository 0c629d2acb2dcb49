/* What operators want of a resource, and the beginning of a new epoch. */
#include <string.h>

#include "limiter/engine_parts.h"

static void limit(const struct engine_turn *turn, struct engine_order *order)
{
    struct engine_resource *resource = order->resource;
    order->refused = order->limits.version <= resource->limits.version;
    if (order->refused) {
        return;
    }
    engine_touch(resource, turn);
    engine_window_clear_away(resource, turn);
    uint64_t cooldown_ms = resource->limits.cooldown_ms;
    resource->limits = order->limits;
    resource->limits.cooldown_ms = cooldown_ms;
    engine_window_reshape(resource, turn->rules, turn->now_ms, &order->scratch);
}

static void adopt(const struct engine_turn *turn, struct engine_order *order)
{
    struct engine_resource *resource = order->resource;
    bool reopened = order->reopen && resource->health.gone;
    struct engine_limits before = resource->limits;
    engine_resource_adopt(resource, &order->limits, turn->rules, turn->now_ms, &order->scratch);
    if (reopened || memcmp(&before, &resource->limits, sizeof(before)) != 0) {
        engine_touch(resource, turn);
        resource->health.gone &= !order->reopen;
    }
}

static void close_all(const struct engine_turn *turn, const struct engine_order *order)
{
    struct engine_resource *resource = order->resource;
    check(order->note.len <= ENGINE_NOTE_MOST);
    engine_touch(resource, turn);
    resource->closed = true;
    memset(resource->note, 0, sizeof(resource->note));
    memcpy(resource->note, order->note.at, order->note.len);
}

static void close_breaker(const struct engine_turn *turn, struct engine_order *order)
{
    struct engine_resource *resource = order->resource;
    order->refused = resource->kind != ENGINE_MODEL;
    if (!order->refused && resource->health.breaker != ENGINE_BREAKER_CLOSED) {
        engine_touch(resource, turn);
        engine_health_close_breaker(resource);
    }
}

static void reopen(const struct engine_turn *turn, const struct engine_order *order)
{
    struct engine_resource *resource = order->resource;
    engine_touch(resource, turn);
    resource->health.gone = false;
    resource->closed = false;
    memset(resource->note, 0, sizeof(resource->note));
    if (order->force) {
        engine_touch(order->suite, turn);
        order->suite->closed_until_ms = 0;
    }
}

/* All others follow into the new epoch when they are written. */
static void lose(const struct engine_turn *turn, const struct engine_order *order)
{
    struct engine_resource *suite = order->suite;
    engine_touch(suite, turn);
    suite->header.epoch = order->epoch;
    suite->loss = order->loss;
    suite->began_ms = turn->now_ms;
    if (turn->now_ms + order->closed_ms > suite->closed_until_ms) {
        suite->closed_until_ms = turn->now_ms + order->closed_ms;
    }
}

void engine_order(const struct engine_turn *turn, struct engine_order *order)
{
    order->refused = false;
    switch (order->kind) {
    case ENGINE_LIMIT:
        limit(turn, order);
        break;
    case ENGINE_CLOSE:
        close_all(turn, order);
        break;
    case ENGINE_CLOSE_BREAKER:
        close_breaker(turn, order);
        break;
    case ENGINE_REOPEN:
        reopen(turn, order);
        break;
    case ENGINE_ADOPT:
        adopt(turn, order);
        break;
    case ENGINE_LOSE:
        lose(turn, order);
        break;
    }
}
