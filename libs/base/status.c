#include "base/status.h"

#include <string.h>

#include "base/arena.h"

#define COPY_TEXT   1024
#define COPY_ROWS   16
#define DETAIL_TEXT 512 /* of a field or resource */

static const struct {
    const char *name;
    enum status_code code;
    enum reason_class class;
    const char *text;
} rows[REASON_COUNT] = {
    [REASON_NONE] = {"", STATUS_UNKNOWN, CLASS_GIVE_UP, "unknown error"},
#define REASON(name, code, class, text)                                                            \
    [REASON_##name] = {#name, STATUS_##code, CLASS_##class, text},
#include "base/reasons.def"
};

static const char *const code_names[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

struct status status_of(enum reason reason, const char *detail)
{
    return status_retry(reason, 0, detail);
}

struct status status_retry(enum reason reason, uint32_t retry_after_ms, const char *detail)
{
    check(reason > REASON_NONE && reason < REASON_COUNT);
    return (struct status){
        .code = rows[reason].code,
        .reason = reason,
        .retry_after_ms = retry_after_ms,
        .detail = detail,
    };
}

struct status status_foreign(enum status_code code, enum reason reason, const char *detail)
{
    return (struct status){.code = code, .reason = reason, .detail = detail};
}

static const char *cut_copy(const char *text, size_t most, struct arena *arena)
{
    return text != NULL ? arena_string(arena, span_first(span_str(text), most)) : NULL;
}

static const char *copy_text(const char *text, struct arena *arena)
{
    return cut_copy(text, COPY_TEXT, arena);
}

struct status status_bad_field(struct arena *arena, const char *field, const char *description)
{
    struct status_more *more = ARENA_NEW(arena, struct status_more);
    struct status_violation *violation = ARENA_NEW(arena, struct status_violation);
    violation->subject = cut_copy(field, DETAIL_TEXT, arena);
    violation->description = cut_copy(description, DETAIL_TEXT, arena);
    more->fields = violation;
    more->n_fields = 1;
    struct status s =
        status_of(REASON_BAD_REQUEST,
                  arena_printf(arena, "%s: %s", violation->subject, violation->description));
    s.more = more;
    return s;
}

struct status status_not_found(struct arena *arena, enum reason reason, const char *type,
                               const char *name)
{
    struct status_more *more = ARENA_NEW(arena, struct status_more);
    more->resource_type = cut_copy(type, DETAIL_TEXT, arena);
    more->resource_name = cut_copy(name, DETAIL_TEXT, arena);
    struct status s = status_of(reason, arena_printf(arena, "%s %s: %s", more->resource_type,
                                                     more->resource_name, reason_text(reason)));
    s.more = more;
    return s;
}

static size_t copy_rows(const struct status_violation **from, size_t n, struct arena *arena)
{
    n = n < COPY_ROWS ? n : COPY_ROWS;
    struct status_violation *copies = ARENA_ARRAY(arena, struct status_violation, n);
    for (size_t i = 0; i < n; i++) {
        copies[i].subject = copy_text((*from)[i].subject, arena);
        copies[i].description = copy_text((*from)[i].description, arena);
    }
    *from = copies;
    return n;
}

struct status status_copy(struct status s, struct arena *arena)
{
    s.detail = copy_text(s.detail, arena);
    if (s.more != NULL) {
        struct status_more *more = ARENA_NEW(arena, struct status_more);
        *more = *s.more;
        more->n_fields = copy_rows(&more->fields, more->n_fields, arena);
        more->n_quotas = copy_rows(&more->quotas, more->n_quotas, arena);
        more->resource_type = copy_text(more->resource_type, arena);
        more->resource_name = copy_text(more->resource_name, arena);
        s.more = more;
    }
    return s;
}

const char *status_text(struct status s)
{
    if (s.detail != NULL && s.detail[0] != '\0') {
        return s.detail;
    }
    return status_ok(s) ? "OK" : reason_text(s.reason);
}

const char *status_code_name(enum status_code c)
{
    return (size_t)c < ARRAY_LEN(code_names) ? code_names[c] : "UNKNOWN";
}

const char *reason_name(enum reason r)
{
    return r < REASON_COUNT ? rows[r].name : "";
}

enum reason reason_by_name(const char *name)
{
    for (enum reason r = REASON_NONE + 1; r < REASON_COUNT; r++) {
        if (strcmp(rows[r].name, name) == 0) {
            return r;
        }
    }
    return REASON_NONE;
}

enum reason_class reason_class(enum reason r)
{
    return r < REASON_COUNT ? rows[r].class : CLASS_GIVE_UP;
}

enum status_code reason_code(enum reason r)
{
    return r < REASON_COUNT ? rows[r].code : STATUS_UNKNOWN;
}

const char *reason_text(enum reason r)
{
    return r < REASON_COUNT ? rows[r].text : rows[REASON_NONE].text;
}
