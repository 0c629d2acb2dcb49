#include "base/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define CHUNK_FIRST 4096
#define CHUNK_MOST  65536
#define ALIGNMENT   16

struct chunk {
    struct chunk *next;
    size_t cap;
    size_t used;
    _Alignas(ALIGNMENT) char bytes[];
};

struct arena {
    struct chunk *chunks; /* the one in use first */
    size_t next_cap;      /* of the next chunk */
    size_t budget;
    size_t used;
};

struct arena *arena_new(size_t budget)
{
    struct arena *arena = ALLOC(struct arena);
    arena->budget = budget;
    arena->next_cap = CHUNK_FIRST;
    return arena;
}

void arena_free(struct arena *arena)
{
    if (arena == NULL) {
        return;
    }
    while (arena->chunks != NULL) {
        struct chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
    free(arena);
}

void arena_drop(struct arena **arena)
{
    arena_free(*arena);
    *arena = NULL;
}

/* What is large gets a chunk of its own, behind the one in use, which goes on being filled. */
static struct chunk *chunk_for(struct arena *arena, size_t size)
{
    struct chunk *chunk = arena->chunks;
    if (chunk != NULL && chunk->cap - chunk->used >= size) {
        return chunk;
    }
    bool own = size > arena->next_cap / 4;
    size_t cap = own ? size : arena->next_cap;
    struct chunk *fresh = alloc_bytes(sizeof(struct chunk) + cap);
    fresh->cap = cap;
    fresh->used = 0;
    if (own && chunk != NULL) {
        fresh->next = chunk->next;
        chunk->next = fresh;
        return fresh;
    }
    if (!own && arena->next_cap < CHUNK_MOST) {
        arena->next_cap *= 2;
    }
    fresh->next = chunk;
    arena->chunks = fresh;
    return fresh;
}

void *arena_try(struct arena *arena, size_t size)
{
    if (size > arena->budget) {
        return NULL;
    }
    size_t padded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    padded = padded == 0 ? ALIGNMENT : padded;
    if (padded > arena->budget - arena->used) {
        return NULL;
    }
    struct chunk *chunk = chunk_for(arena, padded);
    void *memory = chunk->bytes + chunk->used;
    chunk->used += padded;
    arena->used += padded;
    return memset(memory, 0, padded);
}

void *arena_alloc(struct arena *arena, size_t size)
{
    void *memory = arena_try(arena, size);
    check(memory != NULL);
    return memory;
}

char *arena_string(struct arena *arena, struct span text)
{
    char *copy = arena_alloc(arena, text.len + 1);
    if (text.len > 0) {
        memcpy(copy, text.at, text.len);
    }
    return copy;
}

struct span arena_copy(struct arena *arena, struct span bytes)
{
    return span_of(arena_string(arena, bytes), bytes.len);
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    check(len >= 0);
    char *text = arena_alloc(arena, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used;
}

size_t arena_left(const struct arena *arena)
{
    return arena->budget - arena->used;
}
