#include "net/protojson.h"

#include <math.h>
#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "codec/text.h"
#include "net/rpc.h"

#define NAME_MOST       128
#define ANY_BUDGET      (1u << 20)
#define TIMESTAMP_FIRST (-62135596800) /* 0001-01-01T00:00:00Z */
#define TIMESTAMP_LAST  253402300799   /* 9999-12-31T23:59:59Z */
#define DURATION_MOST   315576000000   /* 10,000 years */

static void add_message(struct buf *out, const ProtobufCMessage *message);
static void add_members(struct buf *out, const ProtobufCMessage *message, const char *separator);

/* snake_case as lowerCamelCase, or UpperCamelCase. */
static void add_camel(struct buf *out, const char *name, bool upper)
{
    for (; *name != '\0'; name++) {
        bool letter = *name >= 'a' && *name <= 'z';
        if (*name != '_') {
            buf_add_char(out, upper && letter ? (char)(*name - 'a' + 'A') : *name);
        }
        upper = *name == '_';
    }
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* The shortest form that reads back as the same number. */
static void add_real(struct buf *out, double value, bool single)
{
    if (!isfinite(value)) {
        buf_add_str(out, isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    char text[32];
    for (int digits = single ? 6 : 15;; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        double back = single ? (double)strtof(text, NULL) : strtod(text, NULL);
        if (back == value || digits == 17) {
            break;
        }
    }
    buf_add_str(out, text);
}

static void add_enum(struct buf *out, const ProtobufCEnumDescriptor *type, int32_t number)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);
    if (value != NULL) {
        utf8_add_json(out, span_str(value->name));
    } else {
        buf_add_i64(out, number);
    }
}

/* --- well-known types ------------------------------------------------------------------------- */

static int64_t seconds_of(const ProtobufCMessage *message)
{
    return *(const int64_t *)((const char *)message + message->descriptor->fields[0].offset);
}

static int32_t nanos_of(const ProtobufCMessage *message)
{
    return *(const int32_t *)((const char *)message + message->descriptor->fields[1].offset);
}

/* Nothing, or 3, 6 or 9 digits. */
static void add_fraction(struct buf *out, int32_t nanos)
{
    if (nanos == 0) {
        return;
    }
    if (nanos % 1000000 == 0) {
        buf_addf(out, ".%03d", nanos / 1000000);
    } else if (nanos % 1000 == 0) {
        buf_addf(out, ".%06d", nanos / 1000);
    } else {
        buf_addf(out, ".%09d", nanos);
    }
}

static bool add_timestamp(struct buf *out, const ProtobufCMessage *message)
{
    time_t seconds = seconds_of(message);
    int32_t nanos = nanos_of(message);
    struct tm utc;
    if (seconds < TIMESTAMP_FIRST || seconds > TIMESTAMP_LAST || nanos < 0 || nanos > 999999999 ||
        gmtime_r(&seconds, &utc) == NULL) {
        return false;
    }
    buf_addf(out, "\"%04d-%02d-%02dT%02d:%02d:%02d", utc.tm_year + 1900, utc.tm_mon + 1,
             utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
    add_fraction(out, nanos);
    buf_add_str(out, "Z\"");
    return true;
}

static bool add_duration(struct buf *out, const ProtobufCMessage *message)
{
    int64_t seconds = seconds_of(message);
    int32_t nanos = nanos_of(message);
    if (seconds < -DURATION_MOST || seconds > DURATION_MOST || nanos < -999999999 ||
        nanos > 999999999 || (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0)) {
        return false;
    }
    buf_add_str(out, seconds < 0 || nanos < 0 ? "\"-" : "\"");
    buf_add_u64(out, (uint64_t)llabs(seconds));
    add_fraction(out, abs(nanos));
    buf_add_str(out, "s\"");
    return true;
}

/* Error details with their members, anything else as the bytes it is. */
static bool add_any(struct buf *out, const ProtobufCMessage *message)
{
    const char *base = (const char *)message;
    const char *url = *(const char *const *)(base + message->descriptor->fields[0].offset);
    const ProtobufCBinaryData *value =
        (const ProtobufCBinaryData *)(base + message->descriptor->fields[1].offset);
    struct span bytes = span_of(value->data, value->len);
    const ProtobufCMessageDescriptor *type = rpc_detail_type(span_str(url));
    CLEANUP(arena_drop) struct arena *arena = arena_new(ANY_BUDGET);
    void *inside;
    buf_add_str(out, "{\"@type\":");
    utf8_add_json(out, span_str(url));
    if (type != NULL && status_ok(rpc_unpack(type, bytes, arena, &inside))) {
        add_members(out, inside, ",");
    } else {
        buf_add_str(out, ",\"value\":\"");
        text_add_base64(out, bytes);
        buf_add_char(out, '"');
    }
    buf_add_char(out, '}');
    return true;
}

/* False when the message has no form of its own, or a value that has none. */
static bool add_well_known(struct buf *out, const ProtobufCMessage *message)
{
    static const struct {
        const char *name;
        bool (*add)(struct buf *out, const ProtobufCMessage *message);
    } types[] = {
        {"google.protobuf.Timestamp", add_timestamp},
        {"google.protobuf.Duration", add_duration},
        {"google.protobuf.Any", add_any},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(types[i].name, message->descriptor->name) == 0) {
            return types[i].add(out, message);
        }
    }
    return false;
}

/* --- fields ----------------------------------------------------------------------------------- */

static size_t size_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    }
    return 0;
}

static void add_value(struct buf *out, const ProtobufCFieldDescriptor *field, const void *at)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        buf_add_i64(out, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buf_add_u64(out, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        buf_addf(out, "\"%lld\"", (long long)*(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        buf_addf(out, "\"%llu\"", (unsigned long long)*(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        add_real(out, (double)*(const float *)at, true);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        add_real(out, *(const double *)at, false);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buf_add_str(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        add_enum(out, field->descriptor, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_STRING:
        utf8_add_json(out, span_str(*(const char *const *)at));
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = at;
        buf_add_char(out, '"');
        text_add_base64(out, span_of(bytes->data, bytes->len));
        buf_add_char(out, '"');
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        add_message(out, *(const ProtobufCMessage *const *)at);
        break;
    }
}

/* protobuf-c forgets that a repeated field was written as a map; the compiler names its type. */
static bool is_map(const ProtobufCMessageDescriptor *parent, const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE || entry->n_fields != 2 ||
        strcmp(entry->fields[0].name, "key") != 0 || strcmp(entry->fields[1].name, "value") != 0) {
        return false;
    }
    CLEANUP(buf_clear) struct buf name;
    buf_init(&name, 4 * NAME_MOST);
    buf_addf(&name, "%s.", parent->name);
    add_camel(&name, field->name, true);
    buf_add_str(&name, "Entry");
    return strcmp(buf_cstr(&name), entry->name) == 0;
}

static void add_map_entry(struct buf *out, const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
    size_t before = out->len;
    add_value(out, key, (const char *)entry + key->offset);
    if (buf_ok(out) && out->at[before] != '"') {
        CLEANUP(buf_clear) struct buf number;
        buf_init(&number, NAME_MOST);
        buf_add_span(&number, span_from(buf_span(out), before));
        buf_truncate(out, before);
        buf_addf(out, "\"%s\"", buf_cstr(&number));
    }
    buf_add_char(out, ':');
    add_value(out, value, (const char *)entry + value->offset);
}

static void add_repeated(struct buf *out, const ProtobufCMessage *message,
                         const ProtobufCFieldDescriptor *field)
{
    const char *base = (const char *)message;
    size_t n = *(const size_t *)(base + field->quantifier_offset);
    const char *elements = *(const char *const *)(base + field->offset);
    size_t size = size_of(field->type);
    bool map = is_map(message->descriptor, field);
    buf_add_char(out, map ? '{' : '[');
    for (size_t i = 0; i < n; i++) {
        buf_add_str(out, i > 0 ? "," : "");
        if (map) {
            add_map_entry(out, *(const ProtobufCMessage *const *)(elements + i * size));
        } else {
            add_value(out, field, elements + i * size);
        }
    }
    buf_add_char(out, map ? '}' : ']');
}

static bool all_zero(const char *at, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (at[i] != 0) {
            return false;
        }
    }
    return true;
}

static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const char *at = (const char *)message + field->offset;
    const char *quantifier = (const char *)message + field->quantifier_offset;
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        return *(const uint32_t *)quantifier == field->id;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return *(const size_t *)quantifier > 0;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return *(const void *const *)at != NULL;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)at;
        return text != NULL && text[0] != '\0';
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        return ((const ProtobufCBinaryData *)at)->len > 0;
    }
    return !all_zero(at, size_of(field->type));
}

static void add_members(struct buf *out, const ProtobufCMessage *message, const char *separator)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (!is_set(message, field)) {
            continue;
        }
        buf_addf(out, "%s\"", separator);
        add_camel(out, field->name, false);
        buf_add_str(out, "\":");
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            add_repeated(out, message, field);
        } else {
            add_value(out, field, (const char *)message + field->offset);
        }
        separator = ",";
    }
}

static void add_message(struct buf *out, const ProtobufCMessage *message)
{
    if (message != NULL && add_well_known(out, message)) {
        return;
    }
    buf_add_char(out, '{');
    if (message != NULL) {
        add_members(out, message, "");
    }
    buf_add_char(out, '}');
}

void protojson_add(struct buf *out, const void *message)
{
    add_message(out, message);
}
