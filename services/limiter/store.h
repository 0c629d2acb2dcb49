/*
 * store.h -- where resources and records live between steps.
 *
 * Floor 6, loop thread. In memory: two tables of fixed size and an index of each. Pointers stay
 * valid until the store is freed; a resource whose tenant was not heard of for as long as anything
 * of it could count may make room for another's.
 */
#ifndef PRISM_LIMITER_STORE_H
#define PRISM_LIMITER_STORE_H

#include "limiter/engine.h"

struct store;

struct store *store_new(size_t resources_most, size_t records_most, uint64_t epoch);
void store_free(struct store *store); /* takes NULL */

/* NULL when there is none. */
struct engine_resource *store_resource(const struct store *store, struct span name);
struct engine_resource *store_resource_by_hash(const struct store *store, uint64_t hash);

/* A new one. When the table is full, a pool of a tenant makes room that was not written for its
 * window and keep_ms; NULL when there is none. keep_ms ENGINE_NEVER: nobody makes room. */
struct engine_resource *store_resource_add(struct store *store, struct span name,
                                           enum engine_kind kind,
                                           const struct engine_limits *limits, uint64_t now_ms,
                                           uint64_t keep_ms);

/* All of them, by slot; one that is not in use has an empty name. */
size_t store_resources(const struct store *store);
struct engine_resource *store_resource_at(const struct store *store, size_t slot);
size_t store_resource_slot(const struct store *store, const struct engine_resource *resource);

/* The record of an id for one step, absent if there is none; NULL when the table is full. After
 * the step store_record_keep takes it in if it is new and the step left something in it. */
struct engine_record *store_record(struct store *store, const struct engine_id *id,
                                   uint64_t now_ms);
void store_record_keep(struct store *store, struct engine_record *record);

size_t store_records(const struct store *store); /* in use, those that ran out included */

#endif
