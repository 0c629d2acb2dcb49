#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "codec/hash.h"
#include "limiter/pack.h"
#include "limiter/store.h"

struct store {
    const struct engine_rules *rules;
    struct engine_resource *resources;
    size_t resources_most;
    size_t slots;       /* that were ever in use */
    struct map *names;  /* name -> resource */
    struct map *hashes; /* hash of the name -> resource */

    struct engine_record *records;
    size_t records_most;
    size_t cursor; /* where the search for room goes on */
    struct map *ids;

    struct state_file *file;
    bool following;
    uint64_t *written; /* by slot: stamp of the last write that the file has */
};

static void make_indices(struct store *store)
{
    store->names = map_new();
    store->hashes = map_new();
    store->ids = map_new();
}

static void free_indices(struct store *store)
{
    map_free(store->names);
    map_free(store->hashes);
    map_free(store->ids);
}

struct store *store_new(const struct store_options *options)
{
    struct store *store = ALLOC(struct store);
    store->rules = options->rules;
    store->file = options->file;
    store->resources_most =
        store->file != NULL ? state_file_places(store->file, STATE_RESOURCES) : options->resources;
    store->records_most =
        store->file != NULL ? state_file_places(store->file, STATE_RECORDS) : options->records;
    store->resources = alloc_zeroed(store->resources_most, sizeof(struct engine_resource));
    store->written = alloc_zeroed(store->resources_most, sizeof(store->written[0]));
    store->records = alloc_zeroed(store->records_most, sizeof(struct engine_record));
    make_indices(store);
    return store;
}

void store_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    state_file_close(store->file);
    free_indices(store);
    free(store->resources);
    free(store->written);
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

/* Nothing of it counts any more, no grant of it can still be reported, and no operator has said
 * anything about it. */
static bool may_go(const struct engine_resource *resource, uint64_t now_ms, uint64_t keep_ms)
{
    return span_starts(span_str(resource->name), SPAN("tenant:")) && !resource->closed &&
           resource->limits.version <= ENGINE_VERSION_FIRST &&
           (resource->header.seq == 0 ||
            resource->last_now_ms + resource->limits.window_ms + keep_ms < now_ms);
}

void store_resource_drop(struct store *store, struct engine_resource *resource)
{
    map_remove(store->names, span_str(resource->name));
    map_remove(store->hashes, hash_key(&resource->hash));
    memset(resource, 0, sizeof(*resource));
    if (store->following) { /* it must not come back beside a new one of its name */
        state_file_put(store->file, STATE_RESOURCES, store_resource_slot(store, resource), 0);
        state_file_commit(store->file);
    }
}

static struct engine_resource *make_room(struct store *store, uint64_t now_ms, uint64_t keep_ms)
{
    for (size_t i = 0; i < store->resources_most; i++) {
        if (store->resources[i].name[0] == '\0') {
            store->slots = i < store->slots ? store->slots : i + 1;
            return &store->resources[i];
        }
    }
    for (size_t i = 0; keep_ms != ENGINE_NEVER && i < store->resources_most; i++) {
        struct engine_resource *resource = &store->resources[i];
        if (may_go(resource, now_ms, keep_ms)) {
            store_resource_drop(store, resource);
            return resource;
        }
    }
    return NULL;
}

static void index_resource(struct store *store, struct engine_resource *resource)
{
    map_set(store->names, span_str(resource->name), resource);
    map_set(store->hashes, hash_key(&resource->hash), resource);
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
    engine_resource_init(resource, name, hash_name(name), kind, limits, store->rules);
    index_resource(store, resource);
    return resource;
}

size_t store_slots(const struct store *store)
{
    return store->slots;
}

size_t store_room(const struct store *store)
{
    return store->resources_most;
}

struct engine_resource *store_resource_at(const struct store *store, size_t slot)
{
    struct engine_resource *resource = &store->resources[slot];
    return resource->name[0] != '\0' ? resource : NULL;
}

size_t store_resources(const struct store *store)
{
    return map_count(store->names);
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

struct engine_record *store_record_find(const struct store *store, const struct engine_id *id)
{
    return map_get(store->ids, id_key(id));
}

struct engine_record *store_record(struct store *store, const struct engine_id *id, uint64_t now_ms)
{
    struct engine_record *record = store_record_find(store, id);
    for (size_t i = 0; record == NULL && i < store->records_most; i++) {
        struct engine_record *next = &store->records[store->cursor];
        store->cursor = (store->cursor + 1) % store->records_most;
        if (next->expires_ms <= now_ms) {
            record = next;
            if (store_record_find(store, &record->id) == record) {
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

/* --- the file ----------------------------------------------------------------------------------
 */

static bool load_resource(struct store *store, size_t slot, struct span blob)
{
    struct engine_resource *resource = &store->resources[slot];
    if (!unpack_resource(blob, resource) || resource->hash != hash_name(span_str(resource->name)) ||
        store_resource(store, span_str(resource->name)) != NULL) {
        return false;
    }
    store->slots = slot + 1;
    store->written[slot] = resource->header.stamp;
    index_resource(store, resource);
    return true;
}

static bool load_record(struct store *store, size_t i, struct span blob, uint64_t now_ms)
{
    struct engine_record *record = &store->records[i];
    if (!unpack_record(blob, record)) {
        return false;
    }
    if (now_ms < record->expires_ms) {
        store_record_keep(store, record);
    }
    return true;
}

bool store_load(struct store *store, bool records, uint64_t now_ms)
{
    for (size_t i = 0; i < store->resources_most; i++) {
        struct span blob = state_file_get(store->file, STATE_RESOURCES, i);
        if (blob.len > 0 && !load_resource(store, i, blob)) {
            return false;
        }
    }
    for (size_t i = 0; records && i < store->records_most; i++) {
        struct span blob = state_file_get(store->file, STATE_RECORDS, i);
        if (blob.len > 0 && !load_record(store, i, blob, now_ms)) {
            return false;
        }
    }
    return true;
}

void store_clear(struct store *store)
{
    free_indices(store);
    make_indices(store);
    memset(store->resources, 0, store->resources_most * sizeof(store->resources[0]));
    memset(store->records, 0, store->records_most * sizeof(store->records[0]));
    memset(store->written, 0, store->resources_most * sizeof(store->written[0]));
    store->slots = 0;
}

static void write_all(struct store *store)
{
    memset(store->written, 0, store->resources_most * sizeof(store->written[0]));
    for (size_t i = 0; i < store->slots; i++) {
        if (store_resource_at(store, i) != NULL) {
            state_file_put(store->file, STATE_RESOURCES, i,
                           pack_resource(&store->resources[i], state_file_room(store->file)));
            state_file_commit(store->file);
        }
    }
    for (size_t i = 0; i < store->records_most; i++) {
        if (store->records[i].state != ENGINE_ABSENT) {
            store_write_record(store, &store->records[i]);
            store_commit(store);
        }
    }
}

struct status store_follow(struct store *store, bool anew, char error_text[256])
{
    if (store->file == NULL) {
        return STATUS_SUCCESS;
    }
    if (anew) {
        TRY(state_file_reset(store->file, error_text));
    }
    store->following = true;
    if (anew) {
        write_all(store);
        state_file_seal(store->file);
    }
    return STATUS_SUCCESS;
}

void store_write(struct store *store, const struct engine_resource *resource)
{
    size_t slot = store_resource_slot(store, resource);
    if (store->following && store->written[slot] != resource->header.stamp) {
        store->written[slot] = resource->header.stamp;
        state_file_put(store->file, STATE_RESOURCES, slot,
                       pack_resource(resource, state_file_room(store->file)));
    }
}

void store_write_record(struct store *store, const struct engine_record *record)
{
    if (store->following) {
        state_file_put(store->file, STATE_RECORDS, (size_t)(record - store->records),
                       pack_record(record, state_file_room(store->file)));
    }
}

void store_commit(struct store *store)
{
    if (store->following) {
        state_file_commit(store->file);
    }
}
