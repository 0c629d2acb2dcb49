#include "base/span.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool span_eq_nocase(struct span a, struct span b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.at[i]) != lower(b.at[i])) {
            return false;
        }
    }
    return true;
}

bool span_starts(struct span text, struct span prefix)
{
    return text.len >= prefix.len && span_eq(span_first(text, prefix.len), prefix);
}

bool span_ends(struct span text, struct span suffix)
{
    return text.len >= suffix.len && span_eq(span_from(text, text.len - suffix.len), suffix);
}

int span_compare(struct span a, struct span b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter > 0 ? memcmp(a.at, b.at, shorter) : 0;
    if (order != 0) {
        return order;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

size_t span_find(struct span hay, struct span needle)
{
    if (needle.len == 0) {
        return 0;
    }
    if (hay.len < needle.len) {
        return SPAN_MISSING;
    }
    const char *found = memmem(hay.at, hay.len, needle.at, needle.len);
    return found != NULL ? (size_t)(found - hay.at) : SPAN_MISSING;
}

size_t span_find_nocase(struct span hay, struct span needle)
{
    for (size_t i = 0; i + needle.len <= hay.len; i++) {
        if (span_eq_nocase(span_of(hay.at + i, needle.len), needle)) {
            return i;
        }
    }
    return SPAN_MISSING;
}

size_t span_find_char(struct span hay, char c)
{
    const char *found = hay.len > 0 ? memchr(hay.at, c, hay.len) : NULL;
    return found != NULL ? (size_t)(found - hay.at) : SPAN_MISSING;
}

struct span span_from(struct span text, size_t offset)
{
    if (offset >= text.len) {
        return SPAN_NONE;
    }
    return span_of(text.at + offset, text.len - offset);
}

struct span span_first(struct span text, size_t len)
{
    return span_of(text.at, len < text.len ? len : text.len);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span text)
{
    while (text.len > 0 && blank(text.at[0])) {
        text = span_of(text.at + 1, text.len - 1);
    }
    while (text.len > 0 && blank(text.at[text.len - 1])) {
        text.len--;
    }
    return text;
}

bool span_cut(struct span *rest, char separator, struct span *head)
{
    if (rest->at == NULL) {
        return false;
    }
    size_t at = span_find_char(*rest, separator);
    if (at == SPAN_MISSING) {
        *head = *rest;
        *rest = SPAN_NONE;
        return true;
    }
    *head = span_first(*rest, at);
    *rest = span_of(rest->at + at + 1, rest->len - at - 1);
    return true;
}

bool span_parse_u64(struct span text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(c - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

bool span_parse_i64(struct span text, int64_t *out)
{
    bool negative = text.len > 0 && text.at[0] == '-';
    uint64_t magnitude;
    if (!span_parse_u64(negative ? span_from(text, 1) : text, &magnitude) ||
        magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool span_parse_double(struct span text, double *out)
{
    char copy[64];
    char *end;
    if (text.len == 0 || text.len >= sizeof(copy) || blank(text.at[0])) {
        return false;
    }
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    errno = 0;
    double value = strtod(copy, &end);
    if (end != copy + text.len || errno == ERANGE || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}
