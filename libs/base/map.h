/*
 * map.h -- bytes to pointer.
 *
 * Floor 0. Owns its keys, not the values. Order of iteration is order of insertion. uthash does
 * the work behind it.
 */
#ifndef PRISM_BASE_MAP_H
#define PRISM_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"
#include "base/span.h"

struct map;
struct map_entry;

struct map *map_new(void) NODISCARD;
void map_free(struct map *map); /* takes NULL; the values stay the owner's */

void *map_get(const struct map *map, struct span key);       /* NULL when absent */
void map_set(struct map *map, struct span key, void *value); /* value is not NULL; replaces */
void *map_remove(struct map *map, struct span key);          /* the value that was there, or NULL */
size_t map_count(const struct map *map);

/* for (e = map_first(m); e != NULL; e = map_next(e)); to remove while walking, take next first. */
struct map_entry *map_first(const struct map *map);
struct map_entry *map_next(const struct map_entry *entry);
struct span map_key(const struct map_entry *entry);
void *map_value(const struct map_entry *entry);

#endif
