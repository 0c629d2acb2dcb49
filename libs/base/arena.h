/*
 * arena.h -- memory that dies together.
 *
 * Floor 0. One owner, one thread. Chunks are freed by arena_free only; nothing in it is freed
 * alone. The budget is stated at birth: sizes that come from outside ask arena_try and take NULL
 * for an answer, our own sizes ask arena_alloc, for which passing the budget is a bug.
 */
#ifndef PRISM_BASE_ARENA_H
#define PRISM_BASE_ARENA_H

#include <stddef.h>

#include "base/check.h"
#include "base/span.h"

struct arena;

struct arena *arena_new(size_t budget) NODISCARD;
void arena_free(struct arena *arena);  /* takes NULL */
void arena_drop(struct arena **arena); /* for CLEANUP */

/* Zeroed, aligned to 16. arena_try returns NULL when the budget would be passed. */
void *arena_alloc(struct arena *arena, size_t size) NODISCARD;
void *arena_try(struct arena *arena, size_t size) NODISCARD;

#define ARENA_NEW(arena, type)          ((type *)arena_alloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_alloc((arena), sizeof(type) * (count)))

/* NUL-terminated copies. */
char *arena_string(struct arena *arena, struct span text) NODISCARD;
struct span arena_copy(struct arena *arena, struct span bytes) NODISCARD;
char *arena_printf(struct arena *arena, const char *format, ...) FORMAT(2, 3) NODISCARD;

size_t arena_used(const struct arena *arena); /* bytes handed out, with padding */
size_t arena_left(const struct arena *arena); /* bytes of budget left */

#endif
