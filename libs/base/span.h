/*
 * span.h -- bytes that somebody else owns.
 *
 * Floor 0. Passed by value, never freed, not NUL-terminated, may hold any byte; an empty span may
 * have at == NULL. Valid as long as its owner says.
 */
#ifndef PRISM_BASE_SPAN_H
#define PRISM_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *at;
    size_t len;
};

#define SPAN(literal) ((struct span){"" literal, sizeof(literal) - 1})
#define SPAN_NONE     ((struct span){NULL, 0})
#define SPAN_MISSING  SIZE_MAX

static inline struct span span_of(const void *at, size_t len)
{
    return (struct span){at, len};
}

/* NULL counts as "". */
static inline struct span span_str(const char *text)
{
    return (struct span){text, text != NULL ? strlen(text) : 0};
}

bool span_eq(struct span a, struct span b);
bool span_eq_nocase(struct span a, struct span b); /* ASCII letters */
bool span_starts(struct span text, struct span prefix);
bool span_ends(struct span text, struct span suffix);

/* memcmp order, shorter first. */
int span_compare(struct span a, struct span b);

/* Offset of the first occurrence, SPAN_MISSING when there is none. An empty needle is at 0. */
size_t span_find(struct span hay, struct span needle);
size_t span_find_nocase(struct span hay, struct span needle);
size_t span_find_char(struct span hay, char c);

/* The part from offset (clamped) on; the first len bytes (clamped). */
struct span span_from(struct span text, size_t offset);
struct span span_first(struct span text, size_t len);

/* Without spaces, tabs, CR and LF at both ends. */
struct span span_trim(struct span text);

/* Takes what stands before the next separator off *rest. False when *rest was used up. */
bool span_cut(struct span *rest, char separator, struct span *head);

/* The whole span must be one decimal number in range; false otherwise, *out untouched. */
bool span_parse_u64(struct span text, uint64_t *out);
bool span_parse_i64(struct span text, int64_t *out);
bool span_parse_double(struct span text, double *out);

#endif
