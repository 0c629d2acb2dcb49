#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>

#include "base/utf8.h"
#include "net/rpc_internal.h"

#define TYPE_PREFIX     "type.googleapis.com/"
#define TEXT_MOST       1024
#define TEXT_LEAST      64
#define VIOLATIONS_MOST 8
#define SCRATCH_MOST    (256u << 10)

/* The part before the first byte that is not UTF-8, at most len bytes. */
static struct span valid_first(struct span text, size_t most)
{
    struct span cut = utf8_first(text, most);
    size_t end = 0;
    for (size_t len; end < cut.len && (len = utf8_sequence(span_from(cut, end))) > 0;) {
        end += len;
    }
    return span_first(cut, end);
}

struct span rpc_status_text(struct status status)
{
    struct span text = valid_first(span_str(status_text(status)), TEXT_MOST);
    size_t end = 0;
    for (size_t cost = 0; end < text.len;) {
        char c = text.at[end];
        size_t len = utf8_sequence(span_from(text, end));
        cost += c >= ' ' && c <= '~' && c != '%' ? 1 : 3 * len; /* percent-encoded */
        if (cost > RPC_HEADER_TEXT_MOST) {
            break;
        }
        end += len;
    }
    return span_first(text, end);
}

const ProtobufCMessageDescriptor *rpc_detail_type(struct span url)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &google__rpc__error_info__descriptor,    &google__rpc__retry_info__descriptor,
        &google__rpc__bad_request__descriptor,   &google__rpc__quota_failure__descriptor,
        &google__rpc__resource_info__descriptor,
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct span name = span_str(types[i]->name);
        if (url.len > name.len && span_ends(url, name) && url.at[url.len - name.len - 1] == '/') {
            return types[i];
        }
    }
    return NULL;
}

/* --- status to wire --------------------------------------------------------------------------- */

struct encoder {
    struct arena *arena;
    size_t text_most;
    Google__Rpc__Status *status;
};

#define DETAILS_COUNT 5 /* ErrorInfo and what add_* below may add */

#define NEW_MESSAGE(encoder, type, init) new_message((encoder)->arena, sizeof(type), init)

static void *new_message(struct arena *arena, size_t size, const ProtobufCMessageDescriptor *type)
{
    check(size == type->sizeof_message);
    void *message = arena_alloc(arena, size);
    type->message_init(message);
    return message;
}

static char *text(struct encoder *e, const char *from)
{
    return arena_string(e->arena, valid_first(span_str(from), e->text_most));
}

static void add_detail(struct encoder *e, const void *message)
{
    const ProtobufCMessageDescriptor *type = ((const ProtobufCMessage *)message)->descriptor;
    Google__Protobuf__Any *any =
        NEW_MESSAGE(e, Google__Protobuf__Any, &google__protobuf__any__descriptor);
    any->type_url = arena_printf(e->arena, TYPE_PREFIX "%s", type->name);
    struct span value = rpc_pack(message, e->arena);
    any->value.len = value.len;
    any->value.data = (uint8_t *)value.at;
    check(e->status->n_details < DETAILS_COUNT);
    e->status->details[e->status->n_details++] = any;
}

static void add_error_info(struct encoder *e, struct status status, const char *domain)
{
    Google__Rpc__ErrorInfo *info =
        NEW_MESSAGE(e, Google__Rpc__ErrorInfo, &google__rpc__error_info__descriptor);
    const char *reason =
        status.reason != REASON_NONE ? reason_name(status.reason) : status_code_name(status.code);
    info->reason = (char *)reason;
    info->domain = (char *)domain;
    add_detail(e, info);
}

static void add_retry_info(struct encoder *e, uint32_t retry_after_ms)
{
    Google__Rpc__RetryInfo *retry =
        NEW_MESSAGE(e, Google__Rpc__RetryInfo, &google__rpc__retry_info__descriptor);
    retry->retry_delay =
        NEW_MESSAGE(e, Google__Protobuf__Duration, &google__protobuf__duration__descriptor);
    retry->retry_delay->seconds = retry_after_ms / 1000;
    retry->retry_delay->nanos = (int32_t)(retry_after_ms % 1000) * 1000000;
    add_detail(e, retry);
}

static void add_bad_request(struct encoder *e, const struct status_more *more)
{
    Google__Rpc__BadRequest *bad =
        NEW_MESSAGE(e, Google__Rpc__BadRequest, &google__rpc__bad_request__descriptor);
    size_t n = more->n_fields < VIOLATIONS_MOST ? more->n_fields : VIOLATIONS_MOST;
    bad->field_violations = ARENA_ARRAY(e->arena, Google__Rpc__BadRequest__FieldViolation *, n);
    for (; bad->n_field_violations < n; bad->n_field_violations++) {
        Google__Rpc__BadRequest__FieldViolation *violation =
            NEW_MESSAGE(e, Google__Rpc__BadRequest__FieldViolation,
                        &google__rpc__bad_request__field_violation__descriptor);
        violation->field = text(e, more->fields[bad->n_field_violations].subject);
        violation->description = text(e, more->fields[bad->n_field_violations].description);
        bad->field_violations[bad->n_field_violations] = violation;
    }
    add_detail(e, bad);
}

static void add_quota_failure(struct encoder *e, const struct status_more *more)
{
    Google__Rpc__QuotaFailure *quota =
        NEW_MESSAGE(e, Google__Rpc__QuotaFailure, &google__rpc__quota_failure__descriptor);
    size_t n = more->n_quotas < VIOLATIONS_MOST ? more->n_quotas : VIOLATIONS_MOST;
    quota->violations = ARENA_ARRAY(e->arena, Google__Rpc__QuotaFailure__Violation *, n);
    for (; quota->n_violations < n; quota->n_violations++) {
        Google__Rpc__QuotaFailure__Violation *violation =
            NEW_MESSAGE(e, Google__Rpc__QuotaFailure__Violation,
                        &google__rpc__quota_failure__violation__descriptor);
        violation->subject = text(e, more->quotas[quota->n_violations].subject);
        violation->description = text(e, more->quotas[quota->n_violations].description);
        quota->violations[quota->n_violations] = violation;
    }
    add_detail(e, quota);
}

static void add_resource_info(struct encoder *e, const struct status_more *more)
{
    Google__Rpc__ResourceInfo *resource =
        NEW_MESSAGE(e, Google__Rpc__ResourceInfo, &google__rpc__resource_info__descriptor);
    resource->resource_type = text(e, more->resource_type);
    resource->resource_name = text(e, more->resource_name);
    add_detail(e, resource);
}

static void build(struct encoder *e, struct status status, const char *domain)
{
    e->status = NEW_MESSAGE(e, Google__Rpc__Status, &google__rpc__status__descriptor);
    e->status->details = ARENA_ARRAY(e->arena, Google__Protobuf__Any *, DETAILS_COUNT);
    e->status->code = (int32_t)status.code;
    e->status->message = arena_string(e->arena, utf8_first(rpc_status_text(status), e->text_most));
    add_error_info(e, status, domain);
    if (status.retry_after_ms != 0) {
        add_retry_info(e, status.retry_after_ms);
    }
    const struct status_more *more = status.more;
    if (more != NULL && more->n_fields > 0) {
        add_bad_request(e, more);
    }
    if (more != NULL && more->n_quotas > 0) {
        add_quota_failure(e, more);
    }
    if (more != NULL && more->resource_type != NULL) {
        add_resource_info(e, more);
    }
}

void *rpc_status_message(struct status status, const char *domain, struct arena *arena)
{
    struct encoder e = {.arena = arena, .text_most = TEXT_MOST};
    build(&e, status, domain);
    /* Texts are halved until all fits; at TEXT_LEAST the rest does not matter to anybody. */
    while (protobuf_c_message_get_packed_size(&e.status->base) > RPC_DETAILS_MOST &&
           e.text_most > TEXT_LEAST) {
        e.text_most /= 2;
        build(&e, status, domain);
    }
    return e.status;
}

void rpc_status_encode(struct status status, const char *domain, struct buf *out)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(SCRATCH_MOST);
    buf_add_span(out, rpc_pack(rpc_status_message(status, domain, arena), arena));
}

/* --- wire to status --------------------------------------------------------------------------- */

static const char *copy(struct arena *arena, const char *from)
{
    size_t len = strlen(from);
    char *to = arena != NULL ? arena_try(arena, len + 1) : NULL;
    if (to != NULL) {
        memcpy(to, from, len);
    }
    return to;
}

static void read_bad_request(const Google__Rpc__BadRequest *bad, struct arena *arena,
                             struct status_more *more)
{
    size_t n = bad->n_field_violations;
    struct status_violation *fields = arena_try(arena, n * sizeof(*fields));
    for (size_t i = 0; fields != NULL && i < n; i++) {
        fields[i].subject = copy(arena, bad->field_violations[i]->field);
        fields[i].description = copy(arena, bad->field_violations[i]->description);
    }
    more->fields = fields;
    more->n_fields = fields != NULL ? n : 0;
}

static void read_quota_failure(const Google__Rpc__QuotaFailure *quota, struct arena *arena,
                               struct status_more *more)
{
    size_t n = quota->n_violations;
    struct status_violation *quotas = arena_try(arena, n * sizeof(*quotas));
    for (size_t i = 0; quotas != NULL && i < n; i++) {
        quotas[i].subject = copy(arena, quota->violations[i]->subject);
        quotas[i].description = copy(arena, quota->violations[i]->description);
    }
    more->quotas = quotas;
    more->n_quotas = quotas != NULL ? n : 0;
}

static uint32_t duration_ms(const Google__Protobuf__Duration *duration)
{
    if (duration == NULL || duration->seconds < 0 || duration->nanos < 0) {
        return 0;
    }
    if (duration->seconds > UINT32_MAX / 1000) {
        return UINT32_MAX;
    }
    uint64_t ms =
        (uint64_t)duration->seconds * 1000 + ((uint64_t)duration->nanos + 999999) / 1000000;
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static void read_detail(const Google__Protobuf__Any *any, struct arena *scratch,
                        struct arena *arena, struct status *status, struct status_more *more)
{
    const ProtobufCMessageDescriptor *type = rpc_detail_type(span_str(any->type_url));
    void *message;
    if (type == NULL ||
        !status_ok(rpc_unpack(type, span_of(any->value.data, any->value.len), scratch, &message))) {
        return;
    }
    if (type == &google__rpc__error_info__descriptor) {
        status->reason = reason_by_name(((const Google__Rpc__ErrorInfo *)message)->reason);
    } else if (type == &google__rpc__retry_info__descriptor) {
        status->retry_after_ms =
            duration_ms(((const Google__Rpc__RetryInfo *)message)->retry_delay);
    } else if (arena == NULL) {
        return;
    } else if (type == &google__rpc__bad_request__descriptor) {
        read_bad_request(message, arena, more);
    } else if (type == &google__rpc__quota_failure__descriptor) {
        read_quota_failure(message, arena, more);
    } else if (type == &google__rpc__resource_info__descriptor) {
        const Google__Rpc__ResourceInfo *resource = message;
        more->resource_type = copy(arena, resource->resource_type);
        more->resource_name = copy(arena, resource->resource_name);
    }
}

/* What gRPC itself says in our place: these three never come with details. */
static enum reason own_reason(enum status_code code)
{
    switch ((int)code) {
    case STATUS_UNAVAILABLE:
        return REASON_PEER_UNREACHABLE;
    case STATUS_DEADLINE_EXCEEDED:
        return REASON_DEADLINE_PASSED;
    case STATUS_CANCELLED:
        return REASON_CALL_CANCELLED;
    default:
        return REASON_NONE;
    }
}

static struct status read_details(struct status status, const Google__Rpc__Status *wire,
                                  struct arena *scratch, struct arena *arena)
{
    struct status_more more = {0};
    for (size_t i = 0; i < wire->n_details; i++) {
        read_detail(wire->details[i], scratch, arena, &status, &more);
    }
    if (more.n_fields > 0 || more.n_quotas > 0 || more.resource_type != NULL) {
        struct status_more *kept = arena_try(arena, sizeof(*kept));
        if (kept != NULL) {
            *kept = more;
            status.more = kept;
        }
    }
    return status;
}

struct status rpc_status_decode(enum status_code code, struct span message, struct span details,
                                struct arena *arena)
{
    CLEANUP(arena_drop) struct arena *scratch = arena_new(SCRATCH_MOST);
    struct status status = status_foreign(code, own_reason(code), NULL);
    char *detail = arena != NULL ? arena_try(arena, message.len + 1) : NULL;
    if (detail != NULL && message.len > 0) {
        memcpy(detail, message.at, message.len);
    }
    status.detail = detail;
    void *wire;
    if (details.len == 0 ||
        !status_ok(rpc_unpack(&google__rpc__status__descriptor, details, scratch, &wire))) {
        return status;
    }
    return read_details(status, wire, scratch, arena);
}

struct status rpc_status_of_message(const void *message, struct arena *arena)
{
    CLEANUP(arena_drop) struct arena *scratch = arena_new(SCRATCH_MOST);
    const Google__Rpc__Status *wire = message;
    bool known = wire->code > STATUS_OK && wire->code <= STATUS_UNAUTHENTICATED;
    enum status_code code = known ? (enum status_code)wire->code : STATUS_UNKNOWN;
    return read_details(status_foreign(code, own_reason(code), wire->message), wire, scratch,
                        arena);
}
