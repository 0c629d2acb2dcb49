/* protobuf-c messages as proto3 JSON: https://protobuf.dev/programming-guides/json/ */
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <math.h>
#include <prism/analyzer/v1/ledger.pb-c.h>
#include <prism/limiter/v1/limiter.pb-c.h>
#include <prism/router/v1/router.pb-c.h>

#include "harness.h"
#include "net/protojson.h"
#include "net/rpc.h"

static void check_json(const void *message, const char *want)
{
    CLEANUP(buf_clear) struct buf json;
    buf_init(&json, 65536);
    protojson_add(&json, message);
    assert_string_equal(buf_cstr(&json), want);
    assert_true(buf_ok(&json));
}

static void test_defaults_are_left_out(void **state)
{
    (void)state;
    Router__Model model;
    router__model__init(&model);
    check_json(&model, "{}");
    Limiter__Remaining remaining;
    limiter__remaining__init(&remaining);
    check_json(&remaining, "{}");
    /* Unless their presence says something. */
    remaining._requests_case = LIMITER__REMAINING___REQUESTS_REQUESTS;
    remaining._tokens_case = LIMITER__REMAINING___TOKENS_TOKENS;
    remaining.tokens = -9007199254740993;
    check_json(&remaining, "{\"requests\":\"0\",\"tokens\":\"-9007199254740993\"}");
}

static void test_names_enums_lists_and_nesting(void **state)
{
    (void)state;
    Router__Model model;
    Router__ModelCapabilities capabilities;
    Google__Protobuf__Timestamp until;
    router__model__init(&model);
    router__model_capabilities__init(&capabilities);
    google__protobuf__timestamp__init(&until);
    model.name = "models/a \"b\"\n";
    model.tier = 4294967295u;
    model.regions = (char *[]){"eu-west-1", "us-east-1"};
    model.n_regions = 2;
    model.lifecycle = ROUTER__MODEL__LIFECYCLE__LIFECYCLE_LEGACY;
    model.state = 99; /* newer than we are */
    capabilities.thinking_budget = 1;
    model.capabilities = &capabilities;
    until.seconds = 1767323045;
    model.state_until = &until;
    check_json(&model, "{\"name\":\"models/a \\\"b\\\"\\n\",\"tier\":4294967295,"
                       "\"regions\":[\"eu-west-1\",\"us-east-1\"],"
                       "\"lifecycle\":\"LIFECYCLE_LEGACY\","
                       "\"capabilities\":{\"thinkingBudget\":true},\"state\":99,"
                       "\"stateUntil\":\"2026-01-02T03:04:05Z\"}");
}

static void test_bytes_and_oneofs(void **state)
{
    (void)state;
    Limiter__AttachReply reply;
    limiter__attach_reply__init(&reply);
    reply.id.data = (uint8_t *)"\0\377abc";
    reply.id.len = 5;
    Limiter__AcquireResponse acquire;
    limiter__acquire_response__init(&acquire);
    reply.reply_case = LIMITER__ATTACH_REPLY__REPLY_ACQUIRE;
    reply.acquire = &acquire;
    check_json(&reply, "{\"id\":\"AP9hYmM=\",\"acquire\":{}}");
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        int32_t nanos;
        const char *want;
    } stamps[] = {
        {0, 0, "\"1970-01-01T00:00:00Z\""},
        {0, 10000000, "\"1970-01-01T00:00:00.010Z\""},
        {0, 10000, "\"1970-01-01T00:00:00.000010Z\""},
        {0, 1, "\"1970-01-01T00:00:00.000000001Z\""},
        {-62135596800, 0, "\"0001-01-01T00:00:00Z\""},
        {253402300799, 999999999, "\"9999-12-31T23:59:59.999999999Z\""},
        {253402300800, 0, "{\"seconds\":\"253402300800\"}"},
        {0, -1, "{\"nanos\":-1}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(stamps); i++) {
        Google__Protobuf__Timestamp stamp;
        google__protobuf__timestamp__init(&stamp);
        stamp.seconds = stamps[i].seconds;
        stamp.nanos = stamps[i].nanos;
        check_json(&stamp, stamps[i].want);
    }
    static const struct {
        int64_t seconds;
        int32_t nanos;
        const char *want;
    } durations[] = {
        {0, 0, "\"0s\""},
        {90, 0, "\"90s\""},
        {1, 500000000, "\"1.500s\""},
        {-1, -500000000, "\"-1.500s\""},
        {0, -1, "\"-0.000000001s\""},
        {315576000001, 0, "{\"seconds\":\"315576000001\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        Google__Protobuf__Duration duration;
        google__protobuf__duration__init(&duration);
        duration.seconds = durations[i].seconds;
        duration.nanos = durations[i].nanos;
        check_json(&duration, durations[i].want);
    }
}

static void test_doubles_are_short_and_exact(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *want;
    } cases[] = {
        {0, "{\"temperature\":0}"},
        {0.1, "{\"temperature\":0.1}"},
        {1.0 / 3, "{\"temperature\":0.3333333333333333}"},
        {1e300, "{\"temperature\":1e+300}"},
        {123456789012345680, "{\"temperature\":1.2345678901234568e+17}"},
        {NAN, "{\"temperature\":\"NaN\"}"},
        {INFINITY, "{\"temperature\":\"Infinity\"}"},
        {-INFINITY, "{\"temperature\":\"-Infinity\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Router__Generation generation;
        router__generation__init(&generation);
        generation._temperature_case = ROUTER__GENERATION___TEMPERATURE_TEMPERATURE;
        generation.temperature = cases[i].value;
        check_json(&generation, cases[i].want);
    }
}

/* What none of our protos has: float, and a map with numbers as keys. */
struct entry {
    ProtobufCMessage base;
    int32_t key;
    char *value;
};

struct sample {
    ProtobufCMessage base;
    float ratio;
    size_t n_by_number;
    struct entry **by_number;
};

static void test_floats_and_number_keys(void **state)
{
    (void)state;
    const ProtobufCFieldDescriptor entry_fields[] = {
        {.name = "key",
         .id = 1,
         .label = PROTOBUF_C_LABEL_NONE,
         .type = PROTOBUF_C_TYPE_INT32,
         .offset = offsetof(struct entry, key)},
        {.name = "value",
         .id = 2,
         .label = PROTOBUF_C_LABEL_NONE,
         .type = PROTOBUF_C_TYPE_STRING,
         .offset = offsetof(struct entry, value)},
    };
    const ProtobufCMessageDescriptor entry_type = {
        .name = "test.Sample.ByNumberEntry", .n_fields = 2, .fields = entry_fields};
    const ProtobufCFieldDescriptor sample_fields[] = {
        {.name = "ratio",
         .id = 1,
         .label = PROTOBUF_C_LABEL_NONE,
         .type = PROTOBUF_C_TYPE_FLOAT,
         .offset = offsetof(struct sample, ratio)},
        {.name = "by_number",
         .id = 2,
         .label = PROTOBUF_C_LABEL_REPEATED,
         .type = PROTOBUF_C_TYPE_MESSAGE,
         .quantifier_offset = offsetof(struct sample, n_by_number),
         .offset = offsetof(struct sample, by_number),
         .descriptor = &entry_type},
    };
    const ProtobufCMessageDescriptor sample_type = {
        .name = "test.Sample", .n_fields = 2, .fields = sample_fields};
    struct entry a = {{.descriptor = &entry_type}, 0, "zero"};
    struct entry b = {{.descriptor = &entry_type}, -7, NULL};
    struct sample sample = {{.descriptor = &sample_type}, 0.1f, 2, (struct entry *[]){&a, &b}};
    check_json(&sample, "{\"ratio\":0.1,\"byNumber\":{\"0\":\"zero\",\"-7\":\"\"}}");
}

static void test_maps_and_any(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    Google__Rpc__ErrorInfo__MetadataEntry entry;
    Google__Rpc__ErrorInfo info;
    Google__Protobuf__Any known, strange;
    Google__Rpc__Status status;
    google__rpc__error_info__metadata_entry__init(&entry);
    google__rpc__error_info__init(&info);
    google__protobuf__any__init(&known);
    google__protobuf__any__init(&strange);
    google__rpc__status__init(&status);
    entry.key = "model";
    entry.value = "m\"1";
    info.reason = "TIER_GONE";
    info.metadata = (Google__Rpc__ErrorInfo__MetadataEntry *[]){&entry};
    info.n_metadata = 1;
    check_json(&info, "{\"reason\":\"TIER_GONE\",\"metadata\":{\"model\":\"m\\\"1\"}}");

    struct span packed = rpc_pack(&info, arena);
    known.type_url = "type.googleapis.com/google.rpc.ErrorInfo";
    known.value.data = (uint8_t *)packed.at;
    known.value.len = packed.len;
    strange.type_url = "example.com/other.Thing";
    strange.value.data = (uint8_t *)"xy";
    strange.value.len = 2;
    status.code = 5;
    status.details = (Google__Protobuf__Any *[]){&known, &strange};
    status.n_details = 2;
    check_json(&status,
               "{\"code\":5,\"details\":["
               "{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"TIER_GONE\","
               "\"metadata\":{\"model\":\"m\\\"1\"}},"
               "{\"@type\":\"example.com/other.Thing\",\"value\":\"eHk=\"}]}");
}

static void test_a_status_as_a_message(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    struct status s = status_retry(REASON_TENANT_LIMIT, 1500, "slow down");
    check_json(rpc_status_message(s, "prism.limiter.v1.LimiterService", arena),
               "{\"code\":8,\"message\":\"slow down\",\"details\":["
               "{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\","
               "\"reason\":\"TENANT_LIMIT\",\"domain\":\"prism.limiter.v1.LimiterService\"},"
               "{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\","
               "\"retryDelay\":\"1.500s\"}]}");
}

static void test_the_bufs_maximum_holds(void **state)
{
    (void)state;
    char text[1000] = {0};
    memset(text, 'x', sizeof(text) - 1);
    Router__Model model;
    router__model__init(&model);
    model.name = text;
    CLEANUP(buf_clear) struct buf json;
    buf_init(&json, 100);
    protojson_add(&json, &model);
    assert_false(buf_ok(&json));
    assert_true(json.len <= 100);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_defaults_are_left_out),
    cmocka_unit_test(test_names_enums_lists_and_nesting),
    cmocka_unit_test(test_bytes_and_oneofs),
    cmocka_unit_test(test_times),
    cmocka_unit_test(test_doubles_are_short_and_exact),
    cmocka_unit_test(test_floats_and_number_keys),
    cmocka_unit_test(test_maps_and_any),
    cmocka_unit_test(test_a_status_as_a_message),
    cmocka_unit_test(test_the_bufs_maximum_holds),
};

HARNESS_MAIN(tests)
