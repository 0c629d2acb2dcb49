#include "base/log.h"

#include <math.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define LINE_MOST 16384

static struct {
    const char *logger;
    enum log_level level;
    void (*context)(struct buf *);
    void (*sink)(struct span);
} state = {.logger = "prism", .level = LOG_INFO};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

struct kv kv_bool(const char *key, bool value)
{
    return (struct kv){.key = key, .type = KV_TYPE_BOOL, .truth = value};
}

struct kv kv_i64(const char *key, long long value)
{
    return (struct kv){.key = key, .type = KV_TYPE_I64, .i64 = value};
}

struct kv kv_u64(const char *key, unsigned long long value)
{
    return (struct kv){.key = key, .type = KV_TYPE_U64, .u64 = value};
}

struct kv kv_double(const char *key, double value)
{
    return (struct kv){.key = key, .type = KV_TYPE_DOUBLE, .number = value};
}

struct kv kv_string(const char *key, const char *value)
{
    return kv_span(key, span_str(value));
}

struct kv kv_span(const char *key, struct span value)
{
    return (struct kv){.key = key, .type = KV_TYPE_SPAN, .span = value};
}

struct kv kv_status(const char *key, struct status value)
{
    return (struct kv){.key = key, .type = KV_TYPE_STATUS, .status = value};
}

struct kv kv_secret(const char *key, struct secret value)
{
    return (struct kv){.key = key, .type = KV_TYPE_SECRET, .truth = value.at != NULL};
}

static void add_member(struct buf *line, const char *key, struct span text)
{
    buf_add_char(line, ',');
    utf8_add_json(line, span_str(key));
    buf_add_char(line, ':');
    utf8_add_json(line, utf8_first(text, LOG_TEXT_MOST));
}

static void add_raw(struct buf *line, const char *key)
{
    buf_add_char(line, ',');
    utf8_add_json(line, span_str(key));
    buf_add_char(line, ':');
}

static void add_kv(struct buf *line, const struct kv *kv)
{
    switch (kv->type) {
    case KV_TYPE_BOOL:
        add_raw(line, kv->key);
        buf_add_str(line, kv->truth ? "true" : "false");
        break;
    case KV_TYPE_I64:
        add_raw(line, kv->key);
        buf_add_i64(line, kv->i64);
        break;
    case KV_TYPE_U64:
        add_raw(line, kv->key);
        buf_add_u64(line, kv->u64);
        break;
    case KV_TYPE_DOUBLE:
        add_raw(line, kv->key);
        if (isfinite(kv->number)) {
            buf_addf(line, "%.6g", kv->number);
        } else {
            buf_add_str(line, "null");
        }
        break;
    case KV_TYPE_SPAN:
        add_member(line, kv->key, kv->span);
        break;
    case KV_TYPE_STATUS:
        add_member(line, "code", span_str(status_code_name(kv->status.code)));
        if (!status_ok(kv->status)) {
            add_member(line, "reason", span_str(reason_name(kv->status.reason)));
            add_member(line, kv->key, span_str(status_text(kv->status)));
        }
        break;
    case KV_TYPE_SECRET:
        add_member(line, kv->key, kv->truth ? SPAN("***") : SPAN(""));
        break;
    }
}

bool log_enabled(enum log_level level)
{
    return level >= state.level;
}

void log_write(enum log_level level, const char *message, const struct kv *kvs, size_t n)
{
    CLEANUP(buf_clear) struct buf line;
    buf_init(&line, LINE_MOST);
    buf_add_str(&line, "{\"ts\":\"");
    clock_add_rfc3339(&line, clock_wall_ms());
    buf_addf(&line, "\",\"level\":\"%s\"", level_names[level]);
    add_member(&line, "logger", span_str(state.logger));
    add_member(&line, "msg", span_str(message));
    if (state.context != NULL) {
        state.context(&line);
    }
    for (size_t i = 0; i < n; i++) {
        size_t before = line.len;
        add_kv(&line, &kvs[i]);
        if (!buf_ok(&line)) {
            buf_truncate(&line, before);
            break;
        }
    }
    line.overflow = false;
    line.max += 2;
    buf_add_str(&line, "}\n");
    if (state.sink != NULL) {
        state.sink(buf_span(&line));
        return;
    }
    /* A log that cannot be written has nowhere to say so. */
    ssize_t written = write(STDERR_FILENO, line.at, line.len);
    (void)written;
}

void log_init(const char *logger, enum log_level level)
{
    state.logger = logger;
    state.level = level;
}

bool log_level_by_name(struct span name, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (span_eq(name, span_str(level_names[i]))) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_set_context(void (*append)(struct buf *line))
{
    state.context = append;
}

void log_set_sink(void (*sink)(struct span line))
{
    state.sink = sink;
}
