#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define uthash_fatal(message) check(!message)
#include <uthash.h>

struct map_entry {
    UT_hash_handle hh;
    void *value;
    size_t len;
    char key[];
};

struct map {
    struct map_entry *entries;
};

struct map *map_new(void)
{
    return ALLOC(struct map);
}

void map_free(struct map *map)
{
    if (map == NULL) {
        return;
    }
    struct map_entry *entry, *next;
    HASH_ITER(hh, map->entries, entry, next)
    {
        HASH_DEL(map->entries, entry);
        free(entry);
    }
    free(map);
}

static struct map_entry *find(const struct map *map, struct span key)
{
    struct map_entry *entry;
    HASH_FIND(hh, map->entries, key.len > 0 ? key.at : "", key.len, entry);
    return entry;
}

void *map_get(const struct map *map, struct span key)
{
    struct map_entry *entry = find(map, key);
    return entry != NULL ? entry->value : NULL;
}

void map_set(struct map *map, struct span key, void *value)
{
    check(value != NULL);
    struct map_entry *entry = find(map, key);
    if (entry == NULL) {
        entry = alloc_zeroed(1, sizeof(struct map_entry) + key.len + 1);
        entry->len = key.len;
        if (key.len > 0) {
            memcpy(entry->key, key.at, key.len);
        }
        HASH_ADD_KEYPTR(hh, map->entries, entry->key, entry->len, entry);
    }
    entry->value = value;
}

void *map_remove(struct map *map, struct span key)
{
    struct map_entry *entry = find(map, key);
    if (entry == NULL) {
        return NULL;
    }
    void *value = entry->value;
    HASH_DEL(map->entries, entry);
    free(entry);
    return value;
}

size_t map_count(const struct map *map)
{
    return HASH_COUNT(map->entries);
}

struct map_entry *map_first(const struct map *map)
{
    return map->entries;
}

struct map_entry *map_next(const struct map_entry *entry)
{
    return entry->hh.next;
}

struct span map_key(const struct map_entry *entry)
{
    return span_of(entry->key, entry->len);
}

void *map_value(const struct map_entry *entry)
{
    return entry->value;
}
