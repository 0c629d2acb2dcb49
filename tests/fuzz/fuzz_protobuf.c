/* Messages from a peer, in a bounded arena: what unpacks is valid text throughout, packs and
 * unpacks to the same, and is JSON. The first byte chooses the type. An error's details are also
 * read as such, and sent on. */
#include <google/rpc/status.pb-c.h>

#include "base/utf8.h"
#include "codec/json.h"
#include "fuzz.h"
#include "net/protojson.h"
#include "net/rpc_internal.h"
#include "prism/analyzer/v1/analyzer.pb-c.h"
#include "prism/analyzer/v1/ledger.pb-c.h"
#include "prism/limiter/v1/limiter.pb-c.h"
#include "prism/router/v1/router.pb-c.h"

#define BUDGET    (256u << 10)
#define JSON_MOST (8u << 20)

static const ProtobufCMessageDescriptor *const types[] = {
    &google__rpc__status__descriptor,
    &router__generate_request__descriptor,
    &router__generate_response__descriptor,
    &router__list_models_response__descriptor,
    &limiter__acquire_request__descriptor,
    &limiter__acquire_response__descriptor,
    &limiter__attach_request__descriptor,
    &limiter__complete_request__descriptor,
    &limiter__set_limits_request__descriptor,
    &analyzer__analyze_section_request__descriptor,
    &analyzer__submit_analysis_request__descriptor,
    &analyzer__analysis_event__descriptor,
    &analyzer__list_tasks_request__descriptor,
    &analyzer__record_request__descriptor,
};

static void check_json(struct span text)
{
    struct json_error error;
    CLEANUP(json_drop) struct json *value = json_parse(text, &error);
    /* A map with the same key twice is one that JSON has no words for. */
    check(value != NULL || span_starts(span_str(error.text), SPAN("duplicate object key")));
}

static void check_message(const ProtobufCMessageDescriptor *type, const void *message)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(16 * BUDGET);
    CLEANUP(buf_clear) struct buf json;
    CLEANUP(buf_clear) struct buf json_again;
    buf_init(&json, JSON_MOST);
    buf_init(&json_again, JSON_MOST);
    struct span bytes = rpc_pack(message, arena);
    void *again;
    check(status_ok(rpc_unpack(type, bytes, arena, &again)));
    check(span_eq(rpc_pack(again, arena), bytes));
    protojson_add(&json, message);
    protojson_add(&json_again, again);
    check(span_eq(buf_span(&json), buf_span(&json_again)));
    if (buf_ok(&json)) {
        check(utf8_valid(buf_span(&json)));
        check_json(buf_span(&json));
    }
}

static void check_details(struct span details)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(BUDGET);
    CLEANUP(buf_clear) struct buf encoded;
    buf_init(&encoded, RPC_DETAILS_MOST);
    struct status s = rpc_status_decode(STATUS_UNAVAILABLE, SPAN("\xff text"), details, arena);
    rpc_status_encode(s, "prism", &encoded);
    check(buf_ok(&encoded));
    struct status again = rpc_status_decode(s.code, SPAN(""), buf_span(&encoded), NULL);
    check(s.code == STATUS_UNAVAILABLE && again.retry_after_ms == s.retry_after_ms);
    check(again.reason == s.reason);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const ProtobufCMessageDescriptor *type = types[data[0] % ARRAY_LEN(types)];
    struct span bytes = span_of(data + 1, size - 1);
    CLEANUP(arena_drop) struct arena *arena = arena_new(BUDGET);
    void *message = NULL;
    struct status s = rpc_unpack(type, bytes, arena, &message);
    if (status_ok(s)) {
        check_message(type, message);
    } else {
        check(s.reason == REASON_MESSAGE_MALFORMED || s.reason == REASON_MESSAGE_TOO_COMPLEX ||
              s.reason == REASON_BAD_ENCODING);
    }
    if (type == &google__rpc__status__descriptor) {
        check_details(bytes);
    }
    return 0;
}
