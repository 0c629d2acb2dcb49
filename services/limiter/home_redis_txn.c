/* One transaction: the keys of a step, what the store must have under them, what it gets. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "codec/text.h"
#include "limiter/home_redis.h"
#include "limiter/pack.h"
#include "limiter/stream.h"

/* All that a step sends, and all that may come back. */
#define TRIP_MOST (2u * STEP_KEYS * (PACK_RESOURCE_MOST + 1024u))

/* --- naming ------------------------------------------------------------------------------------
 */

void home_redis_name_none(struct home_redis *home)
{
    home->step.mark++;
    home->step.n_keys = 0;
    bool named = home_redis_name_resource(home, home->limiter->suite);
    check(named);
}

static bool name(struct home_redis *home, struct known *known, struct step_key key)
{
    struct step *step = &home->step;
    if (known->mark == step->mark) {
        return true;
    }
    if (step->n_keys == STEP_KEYS) {
        return false;
    }
    known->mark = step->mark;
    step->keys[step->n_keys++] = key;
    return true;
}

bool home_redis_name_resource(struct home_redis *home, const struct engine_resource *resource)
{
    if (resource == NULL) {
        return true;
    }
    size_t slot = store_resource_slot(home->limiter->store, resource);
    return name(home, &home->resources[slot],
                (struct step_key){.resource = store_resource_at(home->limiter->store, slot)});
}

static bool name_record(struct home_redis *home, struct engine_record *record, bool fresh)
{
    if (record == NULL) {
        return true;
    }
    struct known_record *known = CONTAINER_OF(record, struct known_record, record);
    return name(home, &known->known, (struct step_key){.record = known, .fresh = fresh});
}

static bool name_held(struct home_redis *home, struct engine_resource *const *held)
{
    bool ok = true;
    for (size_t i = 0; i < ENGINE_HELD_MOST; i++) {
        ok = ok && home_redis_name_resource(home, held[i]);
    }
    return ok;
}

static bool name_acquire(struct home_redis *home, const struct engine_acquire *acquire, bool all)
{
    const struct engine_verdict *verdict = acquire->verdict;
    bool ok = name_record(home, acquire->record, true);
    for (size_t i = 0; all && i < acquire->n_candidates; i++) {
        ok = ok && home_redis_name_resource(home, acquire->candidates[i].model);
    }
    for (size_t i = 0; !all && i < verdict->n_judged; i++) {
        ok = ok && home_redis_name_resource(home, verdict->judged[i].resource);
    }
    for (size_t i = 0; i < acquire->n_pools; i++) {
        ok = ok && home_redis_name_resource(home, acquire->pools[i]);
    }
    return ok;
}

static bool name_renew(struct home_redis *home, const struct engine_renew *renew)
{
    bool ok = true;
    for (size_t i = 0; i < renew->n_leases; i++) {
        ok = ok && name_held(home, renew->leases[i].held) &&
             name_record(home, renew->leases[i].record, false);
    }
    return ok;
}

bool home_redis_name(struct home_redis *home, const struct ask *ask, bool all)
{
    const struct engine_event *event = &ask->event;
    if (event->acquire != NULL) {
        return name_acquire(home, event->acquire, all);
    }
    if (event->report != NULL) {
        return name_held(home, event->report->held) &&
               name_record(home, event->report->record, false);
    }
    if (event->renew != NULL) {
        return name_renew(home, event->renew);
    }
    return home_redis_name_resource(home, event->order->resource);
}

static struct known *known_of(const struct home_redis *home, const struct step_key *key)
{
    return key->record != NULL
               ? &key->record->known
               : &home->resources[store_resource_slot(home->limiter->store, key->resource)];
}

void home_redis_forget_step(struct home_redis *home)
{
    for (size_t i = 0; i < home->step.n_keys; i++) {
        const struct step_key *key = &home->step.keys[i];
        known_of(home, key)->read = false;
        if (key->record != NULL) { /* a new id wants it absent, so it must look so */
            key->record->record = (struct engine_record){.id = key->record->record.id};
        }
    }
}

/* --- the transaction ---------------------------------------------------------------------------
 */

static struct span key_text(const struct home_redis *home, const struct step_key *key,
                            struct arena *arena)
{
    struct buf text;
    buf_init(&text, 512);
    buf_add_str(&text, home->prefix);
    if (key->record != NULL) {
        buf_add_str(&text, "i:");
        text_add_hex(&text, span_of(key->record->record.id.bytes, sizeof(struct engine_id)));
    } else {
        buf_add_str(&text, "s:");
        buf_add_str(&text, key->resource->name);
    }
    struct span copy = arena_copy(arena, buf_span(&text));
    buf_clear(&text);
    return copy;
}

/* The first bytes that the store must have: none where nothing is to be there, zeroes where it is
 * not known, which nothing ever has. */
static struct span want(const struct known *known, bool fresh, bool reading, struct arena *arena)
{
    static const char nothing_has[PACK_HEADER];
    if (reading || (!known->read && !fresh)) {
        return span_of(nothing_has, sizeof(nothing_has));
    }
    if (!known->read || known->absent) {
        return SPAN("");
    }
    uint8_t *bytes = arena_alloc(arena, PACK_HEADER);
    pack_header(&known->header, bytes);
    return span_of(bytes, PACK_HEADER);
}

static struct span number(uint64_t value, struct arena *arena)
{
    return span_str(arena_printf(arena, "%" PRIu64, value));
}

/* What this step has written under the key; empty when nothing. */
static void value_of(const struct step *step, const struct step_key *key, struct arena *arena,
                     struct span *value, struct span *px)
{
    uint8_t bytes[PACK_RECORD_MOST];
    *value = *px = SPAN("");
    if (key->record != NULL && key->record->record.header.stamp == step->stamp) {
        const struct engine_record *record = &key->record->record;
        *value = arena_copy(arena, span_of(bytes, pack_record(record, bytes)));
        *px = number(record->expires_ms > step->now_ms ? record->expires_ms - step->now_ms : 1,
                     arena);
    } else if (key->record == NULL && key->resource->header.stamp == step->stamp) {
        uint8_t *room = arena_alloc(arena, PACK_RESOURCE_MOST);
        *value = span_of(room, pack_resource(key->resource, room));
    }
}

static void note(struct home_redis *home, const char *outcome, uint64_t us)
{
    METRIC_ADD(home->limiter->metrics.store_trips_total, 1, outcome);
    METRIC_ADD(home->limiter->metrics.store_trip_seconds_total, (double)us / 1e6);
}

/* The server is not there, does not take it, or did not say. What only reads may well be lost. */
static enum trip failed(struct home_redis *home, bool reading, struct status s, struct status *why)
{
    bool told = s.reason == REASON_CONNECT_FAILED || s.reason == REASON_OVERLOADED ||
                s.reason == REASON_MESSAGE_TOO_LARGE || s.reason == REASON_STORE_FAILED;
    bool lost = !told && !reading && home->step.writes;
    snprintf(home->why_text, sizeof(home->why_text), "%s", status_text(s));
    *why = s;
    why->detail = home->why_text;
    note(home, lost ? "lost" : s.reason == REASON_STORE_FAILED ? "refused" : "unsent", 0);
    return lost ? TRIP_LOST : TRIP_UNSENT;
}

static enum trip taken(struct home_redis *home, const struct redis_reply *reply, bool reading,
                       uint64_t us, struct status *why)
{
    struct status s = redis_expect(reply, REDIS_TYPE_ARRAY);
    if (!status_ok(s)) {
        return failed(home, reading, s, why);
    }
    if (reply->n_elements < 2 || reply->elements[1].type != REDIS_TYPE_INTEGER) {
        return failed(home, reading, status_of(REASON_PROTOCOL_ERROR, "the script's reply"), why);
    }
    home->time_ms = (uint64_t)reply->elements[1].integer;
    home->time_at_us = home->clock_us();
    home->trip_ms = loop_now_ms(home->loop);
    home->trip_us = us;
    home->misses = 0;
    home->away = false;
    home_alone_end(home->alone);
    limiter_set_ready(home->limiter, true, "");
    stream_changed(home->limiter);
    if (reply->elements[0].integer == 1) {
        note(home, home->step.n_asks > 0 ? "kept" : "idle", us);
        home_redis_kept(home);
        return TRIP_KEPT;
    }
    note(home, reading ? "read" : "aged", us);
    s = reply->n_elements == 3 ? home_redis_take(home, &reply->elements[2])
                               : status_of(REASON_PROTOCOL_ERROR, "the script's reply");
    if (!status_ok(s)) {
        *why = s;
        return TRIP_UNSENT;
    }
    return TRIP_AGED;
}

enum trip home_redis_send(struct home_redis *home, bool reading, struct status *why)
{
    const struct step *step = &home->step;
    CLEANUP(arena_drop) struct arena *arena = arena_new(TRIP_MOST);
    struct span *keys = ARENA_ARRAY(arena, struct span, step->n_keys);
    const struct engine_queue *queue = &home->limiter->queue;
    struct span *args =
        ARENA_ARRAY(arena, struct span, 1 + 3 * step->n_keys + 2 * ENGINE_WAKES_MOST);
    size_t n_args = 1 + 3 * step->n_keys;
    args[0] = number(step->now_ms, arena);
    for (size_t i = 0; i < step->n_keys; i++) {
        const struct step_key *key = &step->keys[i];
        keys[i] = key_text(home, key, arena);
        args[1 + 3 * i] = want(known_of(home, key), key->fresh, reading, arena);
        args[2 + 3 * i] = args[3 + 3 * i] = SPAN("");
        if (!reading && step->writes) {
            value_of(step, key, arena, &args[2 + 3 * i], &args[3 + 3 * i]);
        }
    }
    for (size_t i = 0; !reading && !step->losing && i < queue->n_wakes; i++) {
        args[n_args++] = span_str(arena_printf(arena, "%s%u", home->wake, queue->wakes[i].limiter));
        args[n_args++] = span_str(queue->wakes[i].pool->name);
    }
    const struct redis_reply *reply;
    uint64_t sent_us = clock_mono_us();
    struct status s =
        redis_eval(home->redis, &home->txn, keys, step->n_keys, args, n_args, arena, &reply);
    return status_ok(s) ? taken(home, reply, reading, clock_mono_us() - sent_us, why)
                        : failed(home, reading, s, why);
}
