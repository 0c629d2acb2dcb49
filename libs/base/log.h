/*
 * log.h -- one JSON line an event, on stderr.
 *
 * Floor 0. Services log; library code never does. Any thread may write: a line is one write(2).
 *
 *     LOG(INFO, "tier answered", KV("tier", tier->name), KV("ms", elapsed));
 *
 * KV picks the encoder by type; there are no format strings. Secrets have a type of their own and
 * print as "***". Text is cut at LOG_TEXT_MOST bytes. Who the line is about (request id, task id,
 * tenant) is appended by the hook of log_set_context.
 */
#ifndef PRISM_BASE_LOG_H
#define PRISM_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "base/status.h"

#define LOG_TEXT_MOST 2048

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
};

/* A value nobody may print. at is NUL-terminated, NULL when unset; memory is its owner's. */
struct secret {
    const char *at;
};

enum kv_type {
    KV_TYPE_BOOL,
    KV_TYPE_I64,
    KV_TYPE_U64,
    KV_TYPE_DOUBLE,
    KV_TYPE_SPAN,
    KV_TYPE_STATUS, /* prints code, reason and err */
    KV_TYPE_SECRET,
};

struct kv {
    const char *key;
    enum kv_type type;
    union {
        bool truth;
        int64_t i64;
        uint64_t u64;
        double number;
        struct span span;
        struct status status;
    };
};

struct kv kv_bool(const char *key, bool value);
struct kv kv_i64(const char *key, long long value);
struct kv kv_u64(const char *key, unsigned long long value);
struct kv kv_double(const char *key, double value);
struct kv kv_string(const char *key, const char *value);
struct kv kv_span(const char *key, struct span value);
struct kv kv_status(const char *key, struct status value);
struct kv kv_secret(const char *key, struct secret value);

#define KV(key, value)                                                                             \
    _Generic((value), bool                                                                        \
             : kv_bool, char *                                                                    \
             : kv_string, const char *                                                            \
             : kv_string, struct span                                                             \
             : kv_span, struct status                                                             \
             : kv_status, struct secret                                                           \
             : kv_secret, float                                                                   \
             : kv_double, double                                                                  \
             : kv_double, unsigned char                                                           \
             : kv_u64, unsigned short                                                             \
             : kv_u64, unsigned                                                                   \
             : kv_u64, unsigned long                                                              \
             : kv_u64, unsigned long long                                                         \
             : kv_u64, default                                                                    \
             : kv_i64)(key, value)

#define LOG(level, message, ...)                                                                   \
    do {                                                                                           \
        if (log_enabled(LOG_##level)) {                                                            \
            const struct kv log_kvs[] = {{0}, ##__VA_ARGS__};                                      \
            log_write(LOG_##level, message, log_kvs + 1, ARRAY_LEN(log_kvs) - 1);                  \
        }                                                                                          \
    } while (0)

bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *message, const struct kv *kvs, size_t n);

/* At start, before other threads exist. logger: the program's name, static. */
void log_init(const char *logger, enum log_level level);
bool log_level_by_name(struct span name, enum log_level *out); /* debug info warn error */

/* Appends `,"key":value` members for the running context to each line; NULL: none. */
void log_set_context(void (*append)(struct buf *line));

/* Where lines go instead of stderr (tests); NULL: stderr. */
void log_set_sink(void (*sink)(struct span line));

#endif
