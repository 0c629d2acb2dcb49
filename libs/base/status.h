/*
 * status.h -- how things ended, by value.
 *
 * Floor 0. The code is gRPC's, the reason is one row of reasons.def, and policy reads the class
 * of the reason, never codes or texts. `detail` and `more` are static or live in the call's arena,
 * which outlives the status. Foreign errors become a status once, at the border.
 */
#ifndef PRISM_BASE_STATUS_H
#define PRISM_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct arena;

/* gRPC's own numbers: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
enum status_code {
    STATUS_OK = 0,
    STATUS_CANCELLED = 1,
    STATUS_UNKNOWN = 2,
    STATUS_INVALID_ARGUMENT = 3,
    STATUS_DEADLINE_EXCEEDED = 4,
    STATUS_NOT_FOUND = 5,
    STATUS_ALREADY_EXISTS = 6,
    STATUS_PERMISSION_DENIED = 7,
    STATUS_RESOURCE_EXHAUSTED = 8,
    STATUS_FAILED_PRECONDITION = 9,
    STATUS_ABORTED = 10,
    STATUS_OUT_OF_RANGE = 11,
    STATUS_UNIMPLEMENTED = 12,
    STATUS_INTERNAL = 13,
    STATUS_UNAVAILABLE = 14,
    STATUS_DATA_LOSS = 15,
    STATUS_UNAUTHENTICATED = 16,
};

enum reason {
    REASON_NONE,
#define REASON(name, code, class, text) REASON_##name,
#include "base/reasons.def"
    REASON_COUNT,
};

/* What a reason asks of whoever decides what happens next. */
enum reason_class {
    CLASS_NONE,
    CLASS_GIVE_UP,       /* the call ends with this status */
    CLASS_WAIT,          /* the same call may succeed later; see retry_after_ms */
    CLASS_TRY_NEXT_TIER, /* this attempt failed, another model may serve */
    CLASS_SKIP_TIER,     /* as before, and this model must not be tried again */
    CLASS_REFRESH,       /* once: fetch new credentials and repeat the same attempt */
};

/* google.rpc details beyond ErrorInfo and RetryInfo. All strings UTF-8, all optional. */
struct status_violation {
    const char *subject;     /* BadRequest: path of the field; QuotaFailure: what is limited */
    const char *description; /* for people */
};

struct status_more {
    const struct status_violation *fields; /* BadRequest */
    size_t n_fields;
    const struct status_violation *quotas; /* QuotaFailure */
    size_t n_quotas;
    const char *resource_type; /* ResourceInfo, NULL: none */
    const char *resource_name;
};

struct status {
    enum status_code code;
    enum reason reason;
    uint32_t retry_after_ms; /* 0: unknown */
    const char *detail;      /* for people; NULL: the reason's own text */
    const struct status_more *more;
};

#define STATUS_SUCCESS ((struct status){0})

static inline bool status_ok(struct status s)
{
    return s.code == STATUS_OK;
}

/* A failure for this reason, with the reason's code. detail may be NULL. */
struct status status_of(enum reason reason, const char *detail);
struct status status_retry(enum reason reason, uint32_t retry_after_ms, const char *detail);

/* What another process said: its code and text; the reason when it named one we know. */
struct status status_foreign(enum status_code code, enum reason reason, const char *detail);

/* A field violation: BAD_REQUEST with BadRequest details; or what is not there, with ResourceInfo.
 * In the arena. */
struct status status_bad_field(struct arena *arena, const char *field, const char *description);
struct status status_not_found(struct arena *arena, enum reason reason, const char *type,
                               const char *name);

/* The same with its texts in arena, cut where they are long: for who outlives the arena they are
 * in.
 */
struct status status_copy(struct status s, struct arena *arena);

const char *status_text(struct status s);         /* detail, else the reason's text; "OK" */
const char *status_code_name(enum status_code c); /* "UNAVAILABLE" */
const char *reason_name(enum reason r);           /* "TIER_THROTTLED"; "" for none */
enum reason reason_by_name(const char *name);     /* REASON_NONE when unknown */
enum reason_class reason_class(enum reason r);
enum status_code reason_code(enum reason r);
const char *reason_text(enum reason r);

/* Returns the status from the function unless it is OK: only where nothing but arena memory or
 * CLEANUP variables is held. */
#define TRY(expression)                                                                            \
    do {                                                                                           \
        struct status try_status = (expression);                                                   \
        if (!status_ok(try_status)) {                                                              \
            return try_status;                                                                     \
        }                                                                                          \
    } while (0)

#endif
