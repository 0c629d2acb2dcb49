/*
 * buf.h -- bytes that we own and that grow, up to a maximum stated at birth.
 *
 * Floor 0. A buf is a plain value in its owner's memory; buf_clear frees. `at` is never NULL and
 * at[len] is always '\0', so buf_cstr needs no copy. Appending never fails visibly: what would pass
 * the maximum sets a sticky overflow that the owner asks for once, at the end (buf_ok); from then
 * on appends do nothing.
 */
#ifndef PRISM_BASE_BUF_H
#define PRISM_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/span.h"

struct buf {
    char *at;
    size_t len;
    size_t cap; /* bytes allocated, 0 while `at` is the shared empty string */
    size_t max;
    bool overflow;
};

void buf_init(struct buf *buf, size_t max);
void buf_clear(struct buf *buf); /* frees; usable again, same maximum */
void buf_reset(struct buf *buf); /* empty, no overflow, keeps its memory */

static inline bool buf_ok(const struct buf *buf)
{
    return !buf->overflow;
}

/* Valid until the next append or clear. */
static inline struct span buf_span(const struct buf *buf)
{
    return span_of(buf->at, buf->len);
}

static inline const char *buf_cstr(const struct buf *buf)
{
    return buf->at;
}

void buf_add(struct buf *buf, const void *bytes, size_t len);
void buf_add_span(struct buf *buf, struct span text);
void buf_add_str(struct buf *buf, const char *text);
void buf_add_char(struct buf *buf, char c);
void buf_add_u64(struct buf *buf, uint64_t value);
void buf_add_i64(struct buf *buf, int64_t value);
void buf_add_be16(struct buf *buf, uint16_t value);
void buf_add_be32(struct buf *buf, uint32_t value);
void buf_add_be64(struct buf *buf, uint64_t value);
void buf_addf(struct buf *buf, const char *format, ...) FORMAT(2, 3);
void buf_addfv(struct buf *buf, const char *format, va_list args) FORMAT(2, 0);

/* Room for len bytes behind the end, NULL past the maximum; buf_commit makes them count. */
char *buf_reserve(struct buf *buf, size_t len);
void buf_commit(struct buf *buf, size_t len);

/* Drops the first len bytes; shortens to len bytes. */
void buf_drop(struct buf *buf, size_t len);
void buf_truncate(struct buf *buf, size_t len);

/* Hands the memory over as a NUL-terminated string; free with free(). The buf is empty again. */
char *buf_take(struct buf *buf) NODISCARD;

#endif
