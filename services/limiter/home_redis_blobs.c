/* What the store has becomes the copy; whoever finds that something is missing begins anew. */
#include <string.h>

#include "base/log.h"
#include "limiter/home_redis.h"
#include "limiter/pack.h"

static uint32_t own_id(const struct home_redis *home)
{
    return (uint32_t)(home->limiter->stamp >> 32);
}

static void lost(struct home_redis *home, enum engine_loss loss)
{
    if (home->loss == ENGINE_LOSS_NONE) {
        home->loss = loss;
    }
}

/* As new, with the limits of policy and catalogue. */
static void renew_resource(const struct home_redis *home, struct engine_resource *resource)
{
    struct engine_limits limits = resource->limits;
    char name[ENGINE_NAME_MOST + 1];
    memcpy(name, resource->name, sizeof(name));
    limiter_limits(home->limiter, resource, &limits);
    bool retired = resource->health.retired;
    engine_resource_init(resource, span_str(name), resource->hash, resource->kind, &limits,
                         &home->limiter->policy->rules);
    resource->health.retired = retired;
}

static void adopt_limits(struct home_redis *home, struct engine_resource *resource)
{
    struct engine_limits limits;
    if (limiter_limits(home->limiter, resource, &limits)) {
        engine_resource_adopt(resource, &limits, &home->limiter->policy->rules, home->time_ms,
                              &home->lose->scratch);
    }
}

/* Nothing that is known holds in another epoch. */
static void enter_epoch(struct home_redis *home, uint64_t epoch)
{
    home->epoch = epoch;
    home->loss = ENGINE_LOSS_NONE;
    for (size_t i = 0; i < store_slots(home->limiter->store); i++) {
        home->resources[i].read = false;
        home->resources[i].seq = 0;
    }
    for (struct map_entry *e = map_first(home->records); e != NULL; e = map_next(e)) {
        struct known_record *known = map_value(e);
        known->known.read = false;
        known->record = (struct engine_record){.id = known->record.id};
    }
}

static void note_read(struct home_redis *home, struct known *known,
                      const struct engine_header *header)
{
    known->read = true;
    known->absent = header == NULL;
    known->header = header != NULL ? *header : (struct engine_header){0};
    known->read_ms = home->limiter->clock_ms();
}

/* --- the suite ---------------------------------------------------------------------------------
 */

/* Whether what we wrote last is in it, or was covered by the closure with which a later epoch
 * began, or is so long ago that nobody remembers it. */
static bool has_own_step(struct home_redis *home, const struct engine_resource *suite)
{
    const struct engine_writer *row = engine_writers_find(suite, own_id(home));
    if (home->own_step == 0 || (row != NULL && row->step >= home->own_step)) {
        if (row != NULL) { /* a step of which we had no reply may be kept */
            home->own_step = row->step;
            home->own_ms = row->seen_ms;
        }
        return true;
    }
    if ((suite->header.epoch != home->epoch && suite->began_ms >= home->own_ms) ||
        (row == NULL && home->own_ms + ENGINE_WRITER_KEPT_MS <= home->time_ms)) {
        home->own_step = 0;
        return true;
    }
    return false;
}

static struct status take_suite(struct home_redis *home, struct span blob)
{
    struct engine_resource *suite = home->limiter->suite;
    struct known *known = &home->resources[store_resource_slot(home->limiter->store, suite)];
    if (blob.at == NULL) {
        lost(home, home->epoch != 0 ? ENGINE_LOSS_AMNESIA : ENGINE_LOSS_NEW);
        renew_resource(home, suite);
        note_read(home, known, NULL);
        return STATUS_SUCCESS;
    }
    if (!unpack_resource(blob, home->scratch) || strcmp(home->scratch->name, suite->name) != 0) {
        return status_of(REASON_STORE_CORRUPT, "the suite in Redis is not one this program reads");
    }
    const struct engine_header *header = &home->scratch->header;
    if (!has_own_step(home, home->scratch)) {
        lost(home, ENGINE_LOSS_AMNESIA);
    } else if (header->epoch != home->epoch) {
        enter_epoch(home, header->epoch);
    } else if (header->seq < known->seq) {
        lost(home, ENGINE_LOSS_AMNESIA);
    }
    *suite = *home->scratch;
    adopt_limits(home, suite);
    note_read(home, known, header);
    known->seq = header->seq > known->seq ? header->seq : known->seq;
    return STATUS_SUCCESS;
}

/* --- the others --------------------------------------------------------------------------------
 */

static struct status take_resource(struct home_redis *home, struct engine_resource *resource,
                                   struct span blob)
{
    const struct engine_resource *suite = home->limiter->suite;
    struct known *known = &home->resources[store_resource_slot(home->limiter->store, resource)];
    if (blob.at == NULL) {
        if (known->seq > 0) {
            lost(home, ENGINE_LOSS_AMNESIA);
        }
        renew_resource(home, resource);
        note_read(home, known, NULL);
        return STATUS_SUCCESS;
    }
    if (!unpack_resource(blob, home->scratch) || strcmp(home->scratch->name, resource->name) != 0) {
        return status_of(REASON_STORE_CORRUPT, "a resource in Redis is not one this program reads");
    }
    const struct engine_header *header = &home->scratch->header;
    home->scratch->health.retired = resource->health.retired; /* that is the catalogue's to say */
    *resource = *home->scratch;
    if (header->epoch != suite->header.epoch) {
        engine_resource_shed(resource);
    } else {
        if (header->seq < known->seq) {
            lost(home, ENGINE_LOSS_AMNESIA);
        }
        known->seq = header->seq > known->seq ? header->seq : known->seq;
    }
    adopt_limits(home, resource);
    note_read(home, known, header);
    return STATUS_SUCCESS;
}

static struct status take_record(struct home_redis *home, struct known_record *known,
                                 struct span blob)
{
    struct engine_id id = known->record.id;
    if (blob.at == NULL) {
        known->record = (struct engine_record){.id = id};
        note_read(home, &known->known, NULL);
        return STATUS_SUCCESS;
    }
    if (!unpack_record(blob, &known->record) || !engine_id_eq(&known->record.id, &id)) {
        known->record = (struct engine_record){.id = id};
        return status_of(REASON_STORE_CORRUPT, "a record in Redis is not one this program reads");
    }
    note_read(home, &known->known, &known->record.header);
    return STATUS_SUCCESS;
}

struct status home_redis_take(struct home_redis *home, const struct redis_reply *values)
{
    const struct step *step = &home->step;
    if (values->type != REDIS_TYPE_ARRAY || values->n_elements != step->n_keys) {
        return status_of(REASON_PROTOCOL_ERROR, "the script's reply");
    }
    for (size_t i = 0; i < step->n_keys; i++) {
        const struct step_key *key = &step->keys[i];
        bool there = values->elements[i].type == REDIS_TYPE_STRING;
        struct span blob = there ? values->elements[i].text : SPAN_NONE;
        if (key->record != NULL) {
            TRY(take_record(home, key->record, blob));
        } else if (key->resource == home->limiter->suite) {
            TRY(take_suite(home, blob));
        } else {
            TRY(take_resource(home, key->resource, blob));
        }
    }
    limiter_look_at_dates(home->limiter);
    return STATUS_SUCCESS;
}

/* --- after a step ------------------------------------------------------------------------------
 */

static void keep_key(struct home_redis *home, const struct step_key *key, bool writes)
{
    const struct engine_header *header =
        key->record != NULL ? &key->record->record.header : &key->resource->header;
    struct known *known =
        key->record != NULL
            ? &key->record->known
            : &home->resources[store_resource_slot(home->limiter->store, key->resource)];
    if (writes && header->stamp == home->step.stamp) {
        note_read(home, known, header);
        known->seq = header->seq;
    } else {
        known->absent = !known->read || known->absent; /* a record that was to be absent, and is */
        known->read = true;
        known->read_ms = home->limiter->clock_ms();
    }
}

void home_redis_kept(struct home_redis *home)
{
    const struct step *step = &home->step;
    const struct engine_resource *suite = home->limiter->suite;
    if (step->writes && suite->header.epoch != home->epoch) {
        enter_epoch(home, suite->header.epoch);
        limiter_lost(home->limiter, home->lose);
    }
    for (size_t i = 0; i < step->n_keys; i++) {
        keep_key(home, &step->keys[i], step->writes);
    }
    if (step->writes) {
        home->own_step = (uint32_t)step->stamp;
        home->own_ms = step->now_ms;
    }
}
