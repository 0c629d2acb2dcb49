#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* Shared by all empty bufs and only ever read, so that `at` is never NULL. */
static char nothing[1];

void buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){.at = nothing, .max = max};
}

void buf_clear(struct buf *buf)
{
    if (buf->cap > 0) {
        free(buf->at);
    }
    buf_init(buf, buf->max);
}

void buf_reset(struct buf *buf)
{
    buf->overflow = false;
    buf_truncate(buf, 0);
}

char *buf_reserve(struct buf *buf, size_t len)
{
    if (buf->overflow || len > buf->max - buf->len) {
        buf->overflow = true;
        return NULL;
    }
    size_t need = buf->len + len + 1;
    if (need > buf->cap) {
        size_t cap = buf->cap > 0 ? buf->cap * 2 : 64;
        if (cap > buf->max + 1) {
            cap = buf->max + 1;
        }
        if (cap < need) {
            cap = need;
        }
        buf->at = alloc_resized(buf->cap > 0 ? buf->at : NULL, cap);
        buf->cap = cap;
        buf->at[buf->len] = '\0';
    }
    return buf->at + buf->len;
}

void buf_commit(struct buf *buf, size_t len)
{
    if (len == 0) {
        return;
    }
    check(buf->len + len < buf->cap);
    buf->len += len;
    buf->at[buf->len] = '\0';
}

void buf_add(struct buf *buf, const void *bytes, size_t len)
{
    if (len == 0) {
        return;
    }
    char *room = buf_reserve(buf, len);
    if (room != NULL) {
        memcpy(room, bytes, len);
        buf_commit(buf, len);
    }
}

void buf_add_span(struct buf *buf, struct span text)
{
    buf_add(buf, text.at, text.len);
}

void buf_add_str(struct buf *buf, const char *text)
{
    buf_add_span(buf, span_str(text));
}

void buf_add_char(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_add_u64(struct buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buf_add(buf, digits + at, sizeof(digits) - at);
}

void buf_add_i64(struct buf *buf, int64_t value)
{
    if (value < 0) {
        buf_add_char(buf, '-');
        buf_add_u64(buf, 0 - (uint64_t)value);
    } else {
        buf_add_u64(buf, (uint64_t)value);
    }
}

void buf_add_be16(struct buf *buf, uint16_t value)
{
    buf_add(buf, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

void buf_add_be32(struct buf *buf, uint32_t value)
{
    buf_add_be16(buf, (uint16_t)(value >> 16));
    buf_add_be16(buf, (uint16_t)value);
}

void buf_add_be64(struct buf *buf, uint64_t value)
{
    buf_add_be32(buf, (uint32_t)(value >> 32));
    buf_add_be32(buf, (uint32_t)value);
}

void buf_addf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_addfv(buf, format, args);
    va_end(args);
}

void buf_addfv(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    check(len >= 0);
    char *room = buf_reserve(buf, (size_t)len);
    if (room != NULL && len > 0) {
        vsnprintf(room, (size_t)len + 1, format, args);
        buf_commit(buf, (size_t)len);
    }
}

void buf_drop(struct buf *buf, size_t len)
{
    check(len <= buf->len);
    if (len > 0) {
        memmove(buf->at, buf->at + len, buf->len - len + 1);
        buf->len -= len;
    }
}

void buf_truncate(struct buf *buf, size_t len)
{
    check(len <= buf->len);
    if (len < buf->len) {
        buf->len = len;
        buf->at[len] = '\0';
    }
}

char *buf_take(struct buf *buf)
{
    char *text = buf->cap > 0 ? buf->at : alloc_string(SPAN_NONE);
    buf_init(buf, buf->max);
    return text;
}
