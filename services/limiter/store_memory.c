#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "codec/hash.h"
#include "limiter/store.h"

struct store {
    uint64_t epoch;
    struct engine_resource *resources;
    size_t resources_most;
    size_t n_resources;
    struct map *names;  /* name -> resource */
    struct map *hashes; /* hash of the name -> resource */

    struct engine_record *records;
    size_t records_most;
    size_t cursor; /* where the search for room goes on */
    struct map *ids;
};

struct store *store_new(size_t resources_most, size_t records_most, uint64_t epoch)
{
    struct store *store = ALLOC(struct store);
    store->epoch = epoch;
    store->resources_most = resources_most;
    store->records_most = records_most;
    store->resources = alloc_zeroed(resources_most, sizeof(struct engine_resource));
    store->records = alloc_zeroed(records_most, sizeof(struct engine_record));
    store->names = map_new();
    store->hashes = map_new();
    store->ids = map_new();
    return store;
}

void store_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    map_free(store->names);
    map_free(store->hashes);
    map_free(store->ids);
    free(store->resources);
    free(store->records);
    free(store);
}

/* --- resources ---------------------------------------------------------------------------------
 */

static struct span hash_key(const uint64_t *hash)
{
    return span_of(hash, sizeof(*hash));
}

/* Names come from outside: a hash that nobody can aim. */
static uint64_t hash_name(struct span name)
{
    uint8_t digest[HASH_SHA256_SIZE];
    uint64_t hash;
    hash_sha256(name, digest);
    memcpy(&hash, digest, sizeof(hash));
    return hash;
}

struct engine_resource *store_resource(const struct store *store, struct span name)
{
    return map_get(store->names, name);
}

struct engine_resource *store_resource_by_hash(const struct store *store, uint64_t hash)
{
    return map_get(store->hashes, hash_key(&hash));
}

/* Nothing of it counts any more, and no grant of it can still be reported. */
static bool may_go(const struct engine_resource *resource, uint64_t now_ms, uint64_t keep_ms)
{
    return span_starts(span_str(resource->name), SPAN("tenant:")) &&
           (resource->header.seq == 0 ||
            resource->last_now_ms + resource->limits.window_ms + keep_ms < now_ms);
}

static struct engine_resource *make_room(struct store *store, uint64_t now_ms, uint64_t keep_ms)
{
    if (store->n_resources < store->resources_most) {
        return &store->resources[store->n_resources++];
    }
    for (size_t i = 0; keep_ms != ENGINE_NEVER && i < store->resources_most; i++) {
        struct engine_resource *resource = &store->resources[i];
        if (may_go(resource, now_ms, keep_ms)) {
            map_remove(store->names, span_str(resource->name));
            map_remove(store->hashes, hash_key(&resource->hash));
            return resource;
        }
    }
    return NULL;
}

struct engine_resource *store_resource_add(struct store *store, struct span name,
                                           enum engine_kind kind,
                                           const struct engine_limits *limits, uint64_t now_ms,
                                           uint64_t keep_ms)
{
    struct engine_resource *resource = make_room(store, now_ms, keep_ms);
    if (resource == NULL) {
        return NULL;
    }
    uint64_t hash = hash_name(name);
    engine_resource_init(resource, name, hash, kind, limits, store->epoch);
    map_set(store->names, name, resource);
    map_set(store->hashes, hash_key(&hash), resource);
    return resource;
}

size_t store_resources(const struct store *store)
{
    return store->n_resources;
}

struct engine_resource *store_resource_at(const struct store *store, size_t slot)
{
    return &store->resources[slot];
}

size_t store_resource_slot(const struct store *store, const struct engine_resource *resource)
{
    return (size_t)(resource - store->resources);
}

/* --- records -----------------------------------------------------------------------------------
 */

static struct span id_key(const struct engine_id *id)
{
    return span_of(id->bytes, sizeof(id->bytes));
}

struct engine_record *store_record(struct store *store, const struct engine_id *id, uint64_t now_ms)
{
    struct engine_record *record = map_get(store->ids, id_key(id));
    for (size_t i = 0; record == NULL && i < store->records_most; i++) {
        struct engine_record *next = &store->records[store->cursor];
        store->cursor = (store->cursor + 1) % store->records_most;
        if (next->expires_ms <= now_ms) {
            record = next;
            if (map_get(store->ids, id_key(&record->id)) == record) {
                map_remove(store->ids, id_key(&record->id));
            }
            memset(record, 0, sizeof(*record));
        }
    }
    return record;
}

void store_record_keep(struct store *store, struct engine_record *record)
{
    if (record->state != ENGINE_ABSENT) {
        map_set(store->ids, id_key(&record->id), record);
    }
}

size_t store_records(const struct store *store)
{
    return map_count(store->ids);
}
