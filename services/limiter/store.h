/*
 * store.h -- where resources and records live between steps.
 *
 * Floor 6, loop thread. In memory: two tables of fixed size and an index of each; with a file, all
 * that steps write goes there too, in the same place. Pointers stay valid until the store is freed;
 * a resource whose tenant was not heard of for as long as anything of it could count may make room
 * for another's.
 */
#ifndef PRISM_LIMITER_STORE_H
#define PRISM_LIMITER_STORE_H

#include "limiter/engine.h"
#include "limiter/state_file.h"

struct store_options {
    const struct engine_rules *rules; /* outlive the store */
    size_t resources;
    size_t records;
    struct state_file *file; /* NULL: none. The store's from now on; its numbers of places count */
};

struct store;

struct store *store_new(const struct store_options *options);
void store_free(struct store *store); /* takes NULL */

/* Takes in what the file was found with; records that ran out are passed over. False: something in
 * it is none of ours. */
bool store_load(struct store *store, bool records, uint64_t now_ms) NODISCARD;
void store_clear(struct store *store); /* back to nothing, before it follows */

/* From now on the file follows. anew: it is written from the beginning, as the store is now. */
struct status store_follow(struct store *store, bool anew, char error_text[256]) NODISCARD;

/* NULL when there is none. */
struct engine_resource *store_resource(const struct store *store, struct span name);
struct engine_resource *store_resource_by_hash(const struct store *store, uint64_t hash);

/* A new one. When the table is full, a pool of a tenant makes room that was not written for its
 * window and keep_ms; NULL when there is none. keep_ms ENGINE_NEVER: nobody makes room. */
struct engine_resource *store_resource_add(struct store *store, struct span name,
                                           enum engine_kind kind,
                                           const struct engine_limits *limits, uint64_t now_ms,
                                           uint64_t keep_ms);

void store_resource_drop(struct store *store, struct engine_resource *resource);

/* All of them, by slot; NULL: the slot is not in use. */
size_t store_slots(const struct store *store);
size_t store_room(const struct store *store); /* slots there can be */
struct engine_resource *store_resource_at(const struct store *store, size_t slot);
size_t store_resources(const struct store *store); /* in use */
size_t store_resource_slot(const struct store *store, const struct engine_resource *resource);

/* The record of an id; NULL when there is none. */
struct engine_record *store_record_find(const struct store *store, const struct engine_id *id);

/* The record of an id for one step, absent if there is none; NULL when the table is full. After
 * the step store_record_keep takes it in if it is new and the step left something in it. */
struct engine_record *store_record(struct store *store, const struct engine_id *id,
                                   uint64_t now_ms);
void store_record_keep(struct store *store, struct engine_record *record);

size_t store_records(const struct store *store); /* in use, those that ran out included */

/* After a step: notes what it wrote, each resource once however often it is told; all of it is kept
 * by store_commit, or none. At most STATE_STEP_MOST. */
void store_write(struct store *store, const struct engine_resource *resource);
void store_write_record(struct store *store, const struct engine_record *record);
void store_commit(struct store *store);

#endif
