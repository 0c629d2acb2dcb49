#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

#include "base/utf8.h"
#include "net/rpc_internal.h"

/* Deeper than any of our types. */
#define DEPTH_MOST 32

/* protobuf-c knows no bounds: this one gives it memory of the call's arena until the budget is
 * used up. What it frees stays in the arena until the call ends. */
struct budget {
    struct arena *arena;
    size_t left;
    bool denied;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *budget = data;
    size_t before = arena_used(budget->arena);
    void *memory = size <= budget->left ? arena_try(budget->arena, size) : NULL;
    if (memory == NULL) {
        budget->denied = true;
        return NULL;
    }
    size_t used = arena_used(budget->arena) - before;
    budget->left -= used < budget->left ? used : budget->left;
    return memory;
}

static void budget_free(void *data, void *memory)
{
    (void)data;
    (void)memory;
}

/* What protobuf-c lets through although nobody may send it; REASON_NONE: nothing. */
static enum reason fault_of(const ProtobufCMessage *message);

static enum reason member_fault(const ProtobufCFieldDescriptor *field, const void *member)
{
    const void *pointer = *(void *const *)member;
    if (pointer == NULL) {
        return REASON_NONE;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return utf8_valid(span_str(pointer)) ? REASON_NONE : REASON_BAD_ENCODING;
    }
    return fault_of(pointer);
}

static enum reason field_fault(const ProtobufCMessage *message,
                               const ProtobufCFieldDescriptor *field)
{
    if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return REASON_NONE;
    }
    const char *base = (const char *)message;
    const char *member = base + field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = *(const size_t *)(base + field->quantifier_offset);
        const char *const *members = *(const char *const *const *)member;
        enum reason fault = REASON_NONE;
        for (size_t i = 0; i < n && fault == REASON_NONE; i++) {
            fault = member_fault(field, &members[i]);
        }
        return fault;
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
        *(const uint32_t *)(base + field->quantifier_offset) != field->id) {
        return REASON_NONE;
    }
    return member_fault(field, member);
}

static enum reason fault_of(const ProtobufCMessage *message)
{
    /* Field number 0, in a longer spelling than its own: packed again, it would not unpack. */
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        if (message->unknown_fields[i].tag == 0) {
            return REASON_MESSAGE_MALFORMED;
        }
    }
    enum reason fault = REASON_NONE;
    for (unsigned i = 0; i < message->descriptor->n_fields && fault == REASON_NONE; i++) {
        fault = field_fault(message, &message->descriptor->fields[i]);
    }
    return fault;
}

static struct status unpack(const ProtobufCMessageDescriptor *type, struct span bytes,
                            struct arena *arena, size_t limit, void **message)
{
    struct budget budget = {.arena = arena, .left = limit};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
    ProtobufCMessage *unpacked =
        protobuf_c_message_unpack(type, &allocator, bytes.len, (const uint8_t *)bytes.at);
    if (unpacked == NULL) {
        return status_of(budget.denied ? REASON_MESSAGE_TOO_COMPLEX : REASON_MESSAGE_MALFORMED,
                         NULL);
    }
    enum reason fault = fault_of(unpacked);
    if (fault != REASON_NONE) {
        return status_of(fault, NULL);
    }
    *message = unpacked;
    return STATUS_SUCCESS;
}

struct status rpc_unpack(const struct ProtobufCMessageDescriptor *type, struct span bytes,
                         struct arena *arena, void **message)
{
    return unpack(type, bytes, arena, arena_left(arena), message);
}

struct status rpc_message_unpack(const ProtobufCMessageDescriptor *type, grpc_byte_buffer *bytes,
                                 struct arena *arena, size_t limit, void **message)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, bytes)) {
        return status_of(REASON_MESSAGE_MALFORMED, NULL);
    }
    /* One slice is read where it lies, more are joined first. */
    grpc_slice joined = grpc_empty_slice();
    grpc_slice *whole = &joined;
    size_t slices = bytes->data.raw.slice_buffer.count;
    if (slices == 1) {
        grpc_byte_buffer_reader_peek(&reader, &whole);
    } else if (slices > 1) {
        joined = grpc_byte_buffer_reader_readall(&reader);
    }
    struct span span = span_of(GRPC_SLICE_START_PTR(*whole), GRPC_SLICE_LENGTH(*whole));
    struct status s = unpack(type, span, arena, limit, message);
    grpc_slice_unref(joined);
    grpc_byte_buffer_reader_destroy(&reader);
    return s;
}

struct span rpc_pack(const void *message, struct arena *arena)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = arena_alloc(arena, len);
    protobuf_c_message_pack(message, bytes);
    return span_of(bytes, len);
}

grpc_byte_buffer *rpc_message_pack(const void *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

static bool acyclic(const ProtobufCMessageDescriptor *type, const ProtobufCMessageDescriptor **path,
                    size_t depth)
{
    if (depth == DEPTH_MOST) {
        return false;
    }
    for (size_t i = 0; i < depth; i++) {
        if (path[i] == type) {
            return false;
        }
    }
    path[depth] = type;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->type == PROTOBUF_C_TYPE_MESSAGE &&
            !acyclic(field->descriptor, path, depth + 1)) {
            return false;
        }
    }
    return true;
}

bool rpc_message_acyclic(const ProtobufCMessageDescriptor *type)
{
    const ProtobufCMessageDescriptor *path[DEPTH_MOST];
    return acyclic(type, path, 0);
}
