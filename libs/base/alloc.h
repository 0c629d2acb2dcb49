/*
 * alloc.h -- heap memory that is always there: running out aborts the process.
 *
 * Floor 0. Every size that comes from outside is compared with its bound before it gets here.
 * Free with free().
 */
#ifndef PRISM_BASE_ALLOC_H
#define PRISM_BASE_ALLOC_H

#include <stddef.h>

#include "base/check.h"
#include "base/span.h"

void *alloc_bytes(size_t size) NODISCARD __attribute__((malloc));
void *alloc_zeroed(size_t count, size_t size) NODISCARD __attribute__((malloc));
void *alloc_resized(void *old, size_t size) NODISCARD;
char *alloc_string(struct span text) NODISCARD;

/* A zeroed structure: struct thing *t = ALLOC(struct thing). */
#define ALLOC(type) ((type *)alloc_zeroed(1, sizeof(type)))

/* For CLEANUP on a plain pointer: CLEANUP(alloc_drop) char *text. */
void alloc_drop(void *pointer_to_pointer);

#endif
