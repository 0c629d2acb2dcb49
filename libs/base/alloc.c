#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

void *alloc_bytes(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);
    check(memory != NULL);
    return memory;
}

void *alloc_zeroed(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    check(memory != NULL);
    return memory;
}

void *alloc_resized(void *old, size_t size)
{
    void *memory = realloc(old, size > 0 ? size : 1);
    check(memory != NULL);
    return memory;
}

char *alloc_string(struct span text)
{
    char *copy = alloc_bytes(text.len + 1);
    if (text.len > 0) {
        memcpy(copy, text.at, text.len);
    }
    copy[text.len] = '\0';
    return copy;
}

void alloc_drop(void *pointer_to_pointer)
{
    void **pointer = pointer_to_pointer;
    free(*pointer);
    *pointer = NULL;
}
