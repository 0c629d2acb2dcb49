#include <string.h>

#include "recorded.h"

#define RAW_MOST (1u << 20)

static ProtobufCBinaryData binary(struct span bytes, struct arena *arena)
{
    struct span copy = arena_copy(arena, bytes);
    return (ProtobufCBinaryData){copy.len, (uint8_t *)copy.at};
}

static char *text_of(const struct json *value, struct arena *arena)
{
    return arena_string(arena, json_string(value));
}

static void fill_thinking(Router__ContentBlock *out, const struct json *block, struct arena *arena)
{
    out->block_case = ROUTER__CONTENT_BLOCK__BLOCK_THINKING;
    out->thinking = ARENA_NEW(arena, Router__ThinkingBlock);
    router__thinking_block__init(out->thinking);
    out->thinking->text = text_of(json_get(block, "thinking"), arena);
    out->thinking->signature = binary(json_string(json_get(block, "signature")), arena);
}

static void fill_redacted(Router__ContentBlock *out, const struct json *block, struct arena *arena)
{
    out->block_case = ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING;
    out->redacted_thinking = ARENA_NEW(arena, Router__RedactedThinkingBlock);
    router__redacted_thinking_block__init(out->redacted_thinking);
    out->redacted_thinking->data = binary(json_string(json_get(block, "data")), arena);
}

static void fill_raw(Router__ContentBlock *out, const struct json *block, struct arena *arena)
{
    CLEANUP(buf_clear) struct buf raw;
    buf_init(&raw, RAW_MOST);
    json_add(&raw, block);
    out->block_case = ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON;
    out->raw_json = binary(buf_span(&raw), arena);
}

static Router__ContentBlock *block_of(const struct json *block, struct arena *arena)
{
    Router__ContentBlock *out = ARENA_NEW(arena, Router__ContentBlock);
    router__content_block__init(out);
    struct span type = json_string(json_get(block, "type"));
    const struct json *point = json_get(block, "cache_control");
    if (json_type(block) == JSON_STRING) {
        out->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
        out->text = text_of(block, arena);
    } else if (span_eq(type, SPAN("text"))) {
        out->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
        out->text = text_of(json_get(block, "text"), arena);
        out->cache_point = point == NULL ? ROUTER__CACHE_POINT__CACHE_POINT_UNSPECIFIED
                           : span_eq(json_string(json_get(point, "ttl")), SPAN("1h"))
                               ? ROUTER__CACHE_POINT__CACHE_POINT_ONE_HOUR
                               : ROUTER__CACHE_POINT__CACHE_POINT_FIVE_MINUTES;
    } else if (span_eq(type, SPAN("thinking"))) {
        fill_thinking(out, block, arena);
    } else if (span_eq(type, SPAN("redacted_thinking"))) {
        fill_redacted(out, block, arena);
    } else {
        fill_raw(out, block, arena);
    }
    return out;
}

/* A string, or a list of blocks. */
static Router__ContentBlock **content_of(const struct json *content, struct arena *arena, size_t *n)
{
    bool whole = json_type(content) == JSON_STRING;
    *n = whole ? 1 : json_count(content);
    Router__ContentBlock **blocks = ARENA_ARRAY(arena, Router__ContentBlock *, *n + 1);
    for (size_t i = 0; i < *n; i++) {
        blocks[i] = block_of(whole ? content : json_at(content, i), arena);
    }
    return blocks;
}

static void fill_messages(Router__Generation *g, const struct json *messages, struct arena *arena)
{
    g->n_messages = json_count(messages);
    g->messages = ARENA_ARRAY(arena, Router__Message *, g->n_messages + 1);
    for (size_t i = 0; i < g->n_messages; i++) {
        const struct json *message = json_at(messages, i);
        bool user = span_eq(json_string(json_get(message, "role")), SPAN("user"));
        g->messages[i] = ARENA_NEW(arena, Router__Message);
        router__message__init(g->messages[i]);
        g->messages[i]->role = user ? ROUTER__ROLE__ROLE_USER : ROUTER__ROLE__ROLE_ASSISTANT;
        g->messages[i]->content =
            content_of(json_get(message, "content"), arena, &g->messages[i]->n_content);
    }
}

Router__Generation *recorded_request(const struct json *request, struct arena *arena)
{
    Router__Generation *g = ARENA_NEW(arena, Router__Generation);
    router__generation__init(g);
    const struct json *system = json_get(request, "system");
    const struct json *stops = json_get(request, "stop_sequences");
    const struct json *temperature = json_get(request, "temperature");
    int64_t budget = json_integer(json_get(json_get(request, "thinking"), "budget_tokens"), 0);
    if (system != NULL) {
        g->system = content_of(system, arena, &g->n_system);
    }
    fill_messages(g, json_get(request, "messages"), arena);
    g->thinking_budget_tokens = (uint32_t)budget;
    g->max_content_tokens = (uint32_t)(json_integer(json_get(request, "max_tokens"), 0) - budget);
    if (temperature != NULL) {
        g->_temperature_case = ROUTER__GENERATION___TEMPERATURE_TEMPERATURE;
        g->temperature = (float)json_number(temperature, 0);
    }
    g->n_stop_sequences = json_count(stops);
    g->stop_sequences = ARENA_ARRAY(arena, char *, g->n_stop_sequences + 1);
    for (size_t i = 0; i < g->n_stop_sequences; i++) {
        g->stop_sequences[i] = text_of(json_at(stops, i), arena);
    }
    return g;
}

/* --- the same? -------------------------------------------------------------------------------- */

static bool same_members(const struct json *a, const struct json *b)
{
    struct span key;
    const struct json *value;
    for (size_t i = 0; json_member(a, i, &key, &value); i++) {
        char name[128];
        assert_true(key.len < sizeof(name));
        memcpy(name, key.at, key.len);
        name[key.len] = '\0';
        if (!recorded_same(value, json_get(b, name))) {
            return false;
        }
    }
    return true;
}

bool recorded_same(const struct json *a, const struct json *b)
{
    if (a == NULL || b == NULL || json_type(a) != json_type(b)) {
        return a == b;
    }
    switch (json_type(a)) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return json_bool(a, false) == json_bool(b, false);
    case JSON_INTEGER:
        return json_integer(a, 0) == json_integer(b, 0);
    case JSON_REAL:
        return json_number(a, 0) == json_number(b, 0);
    case JSON_STRING:
        return span_eq(json_string(a), json_string(b));
    case JSON_ARRAY:
        for (size_t i = 0; i < json_count(a) && json_count(a) == json_count(b); i++) {
            if (!recorded_same(json_at(a, i), json_at(b, i))) {
                return false;
            }
        }
        return json_count(a) == json_count(b);
    case JSON_OBJECT:
        return json_count(a) == json_count(b) && same_members(a, b);
    }
    return false;
}

/* Five minutes are said or not: they are the usual. */
static bool same_point(const struct json *a, const struct json *b)
{
    bool hour = span_eq(json_string(json_get(a, "ttl")), SPAN("1h"));
    return (a == NULL) == (b == NULL) &&
           hour == span_eq(json_string(json_get(b, "ttl")), SPAN("1h")) &&
           recorded_same(json_get(a, "type"), json_get(b, "type"));
}

static bool same_block(const struct json *sent, const struct json *block)
{
    if (json_type(block) == JSON_STRING) {
        return recorded_same(json_get(sent, "text"), block);
    }
    if (!span_eq(json_string(json_get(block, "type")), SPAN("text"))) {
        return recorded_same(sent, block);
    }
    return recorded_same(json_get(sent, "type"), json_get(block, "type")) &&
           recorded_same(json_get(sent, "text"), json_get(block, "text")) &&
           same_point(json_get(sent, "cache_control"), json_get(block, "cache_control"));
}

static void assert_content(const struct json *sent, const struct json *content)
{
    bool whole = json_type(content) == JSON_STRING;
    assert_int_equal(json_count(sent), whole ? 1 : json_count(content));
    for (size_t i = 0; i < json_count(sent); i++) {
        assert_true(same_block(json_at(sent, i), whole ? content : json_at(content, i)));
    }
}

void recorded_assert_asked(const struct json *sent, const struct json *request)
{
    const struct json *messages = json_get(request, "messages"),
                      *asked = json_get(sent, "messages");
    assert_int_equal(json_count(asked), json_count(messages));
    for (size_t i = 0; i < json_count(messages); i++) {
        assert_true(recorded_same(json_get(json_at(asked, i), "role"),
                                  json_get(json_at(messages, i), "role")));
        assert_content(json_get(json_at(asked, i), "content"),
                       json_get(json_at(messages, i), "content"));
    }
    if (json_get(request, "system") != NULL) {
        assert_content(json_get(sent, "system"), json_get(request, "system"));
    }
    assert_true(recorded_same(json_get(sent, "max_tokens"), json_get(request, "max_tokens")));
    assert_true(
        recorded_same(json_get(sent, "stop_sequences"), json_get(request, "stop_sequences")));
    const struct json *thinking = json_get(request, "thinking");
    if (span_eq(json_string(json_get(thinking, "type")), SPAN("enabled"))) {
        assert_true(recorded_same(json_get(sent, "thinking"), thinking));
    }
    if (json_get(request, "temperature") != NULL) {
        double off = json_number(json_get(sent, "temperature"), -1) -
                     json_number(json_get(request, "temperature"), -2);
        assert_true(off < 1e-6 && off > -1e-6);
    }
    assert_span(json_string(json_get(sent, "anthropic_version")), SPAN("bedrock-2023-05-31"));
    assert_null(json_get(sent, "model"));
}
