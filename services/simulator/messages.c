#include "simulator/messages.h"

#include "base/buf.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "simulator/tokens.h"

#define PER_MESSAGE     4
#define PER_SYSTEM      3
#define PER_THINKING    29
#define PER_TOOLS       340
#define PER_BINARY      1500
#define TEXT_MOST       (32u << 20)
#define SIGNATURE_BYTES (2 * HASH_SHA256_SIZE)

struct reading {
    struct arena *arena;
    struct request *out;
    size_t cache_points;
};

/* One kind of content block: what it must have, and what it may have besides. */
static const struct block {
    const char *type;
    const char *needs[2];
    const char *may[3];
} blocks[] = {
    {"text", {"text"}, {"citations"}},
    {"image", {"source"}, {NULL}},
    {"document", {"source"}, {"title", "context", "citations"}},
    {"tool_use", {"id", "name"}, {"input"}},
    {"tool_result", {"tool_use_id"}, {"content", "is_error"}},
    {"thinking", {"thinking", "signature"}, {NULL}},
    {"redacted_thinking", {"data"}, {NULL}},
};

static const struct block *block_of(struct span type)
{
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        if (span_eq(type, span_str(blocks[i].type))) {
            return &blocks[i];
        }
    }
    return NULL;
}

static bool is_one_of(struct span key, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n && names[i] != NULL; i++) {
        if (span_eq(key, span_str(names[i]))) {
            return true;
        }
    }
    return false;
}

static struct refusal check_keys(struct reading *r, const struct json *value,
                                 const struct block *block, const char *where)
{
    struct span key;
    const struct json *member;
    for (size_t i = 0; i < ARRAY_LEN(block->needs) && block->needs[i] != NULL; i++) {
        if (json_get(value, block->needs[i]) == NULL) {
            return REFUSAL_INVALID(arena_printf(r->arena, "%s.%s.%s: Field required", where,
                                                block->type, block->needs[i]));
        }
    }
    for (size_t i = 0; json_member(value, i, &key, &member); i++) {
        bool cache = span_eq(key, SPAN("cache_control"));
        r->cache_points += cache;
        if (!cache && !span_eq(key, SPAN("type")) &&
            !is_one_of(key, block->needs, ARRAY_LEN(block->needs)) &&
            !is_one_of(key, block->may, ARRAY_LEN(block->may))) {
            return REFUSAL_INVALID(arena_printf(r->arena,
                                                "%s.%s.%.*s: Extra inputs are not permitted", where,
                                                block->type, (int)key.len, key.at));
        }
    }
    return REFUSAL_NONE;
}

static void sign(const struct model *model, struct span thinking, uint8_t out[SIGNATURE_BYTES])
{
    hash_hmac_sha256(SPAN("prism-simulator thinking"), thinking, out);
    hash_hmac_sha256(span_str(model->name), thinking, out + HASH_SHA256_SIZE);
}

struct span messages_signature(const struct model *model, struct span thinking, struct arena *arena)
{
    uint8_t signature[SIGNATURE_BYTES];
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1024);
    sign(model, thinking, signature);
    text_add_base64(&text, span_of(signature, sizeof(signature)));
    return arena_copy(arena, buf_span(&text));
}

static bool signature_holds(const struct model *model, const struct json *block)
{
    uint8_t signature[SIGNATURE_BYTES];
    CLEANUP(buf_clear) struct buf given;
    buf_init(&given, 4096);
    sign(model, json_string(json_get(block, "thinking")), signature);
    size_t compared = model->generation->own_signatures ? SIGNATURE_BYTES : HASH_SHA256_SIZE;
    return text_decode_base64(&given, json_string(json_get(block, "signature"))) &&
           given.len == SIGNATURE_BYTES && memcmp(given.at, signature, compared) == 0;
}

static void count(struct reading *r, struct span text)
{
    r->out->input_tokens += tokens_count(text, r->out->model->generation->tokens_percent);
}

static void count_json(struct reading *r, const struct json *value)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, TEXT_MOST);
    json_add(&text, value);
    count(r, buf_span(&text));
}

static struct refusal read_source(struct reading *r, const struct json *block, const char *where)
{
    const struct json *source = json_get(block, "source");
    struct span type = json_string(json_get(source, "type"));
    struct span data = json_string(json_get(source, "data"));
    struct span kind = json_string(json_get(block, "type"));
    if (span_eq(type, SPAN("text"))) {
        count(r, data);
        return REFUSAL_NONE;
    }
    if (!span_eq(type, SPAN("base64"))) {
        return REFUSAL_INVALID(arena_printf(r->arena,
                                            "%s.%.*s.source.base64.data: URL sources are not "
                                            "supported",
                                            where, (int)kind.len, kind.at));
    }
    r->out->input_tokens += PER_BINARY;
    return REFUSAL_NONE;
}

static struct refusal read_block(struct reading *r, const struct json *value, const char *where,
                                 struct buf *text)
{
    struct span type = json_string(json_get(value, "type"));
    const struct block *block = block_of(type);
    if (block == NULL) {
        return REFUSAL_INVALID(arena_printf(
            r->arena,
            "%s: Input tag '%.*s' found using 'type' does not match any of the expected tags",
            where, (int)type.len, type.at != NULL ? type.at : ""));
    }
    struct refusal refusal = check_keys(r, value, block, where);
    if (refusal.code != 0) {
        return refusal;
    }
    struct span words = json_string(json_get(value, "text"));
    if (span_eq(type, SPAN("text"))) {
        if (span_trim(words).len == 0) {
            return REFUSAL_INVALID("messages: text content blocks must be non-empty");
        }
        buf_add_str(text, text->len > 0 ? "\n" : "");
        buf_add_span(text, words);
        count(r, words);
    } else if (json_get(value, "source") != NULL) {
        return read_source(r, value, where);
    } else if (span_eq(type, SPAN("thinking"))) {
        if (!signature_holds(r->out->model, value)) {
            return REFUSAL_INVALID(
                arena_printf(r->arena, "%s: Invalid `signature` in `thinking` block", where));
        }
    } else {
        count_json(r, value);
    }
    return REFUSAL_NONE;
}

/* The prefix up to here may be kept by a cache. Too many are complained about at the end. */
static void note_cache_point(struct reading *r)
{
    if (r->cache_points <= REQUEST_CACHE_POINTS) {
        r->out->n_cache_points = r->cache_points;
        r->out->cache_points[r->cache_points - 1] = r->out->input_tokens;
    }
}

/* A string, or a list of blocks. The text of it is appended. */
static struct refusal read_content(struct reading *r, const struct json *content, const char *where,
                                   struct buf *text)
{
    if (json_type(content) == JSON_STRING) {
        struct span words = json_string(content);
        if (span_trim(words).len == 0) {
            return REFUSAL_INVALID("messages: text content blocks must be non-empty");
        }
        buf_add_span(text, words);
        count(r, words);
        return REFUSAL_NONE;
    }
    if (json_type(content) != JSON_ARRAY || json_count(content) == 0) {
        return REFUSAL_INVALID(arena_printf(r->arena, "%s: Input should be a valid list", where));
    }
    for (size_t i = 0; i < json_count(content); i++) {
        const char *here = arena_printf(r->arena, "%s.%zu", where, i);
        size_t points = r->cache_points;
        struct refusal refusal = read_block(r, json_at(content, i), here, text);
        if (refusal.code != 0) {
            return refusal;
        }
        if (r->cache_points > points) {
            note_cache_point(r);
        }
    }
    return REFUSAL_NONE;
}

static struct refusal read_message(struct reading *r, const struct json *message, size_t index)
{
    bool user_turn = index % 2 == 0;
    struct span role = json_string(json_get(message, "role"));
    bool is_user = span_eq(role, SPAN("user"));
    struct span key;
    const struct json *value;
    if (!is_user && !span_eq(role, SPAN("assistant"))) {
        return REFUSAL_INVALID(arena_printf(
            r->arena, "messages.%zu.role: Input should be 'user' or 'assistant'", index));
    }
    if (is_user != user_turn) {
        return REFUSAL_INVALID(
            index == 0 ? "messages: first message must use the \"user\" role"
                       : arena_printf(r->arena,
                                      "messages: roles must alternate between \"user\" and "
                                      "\"assistant\", but found multiple \"%.*s\" roles in a row",
                                      (int)role.len, role.at));
    }
    for (size_t i = 0; json_member(message, i, &key, &value); i++) {
        if (!span_eq(key, SPAN("role")) && !span_eq(key, SPAN("content"))) {
            return REFUSAL_INVALID(arena_printf(r->arena,
                                                "messages.%zu.%.*s: Extra inputs are not permitted",
                                                index, (int)key.len, key.at));
        }
    }
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, TEXT_MOST);
    const char *where = arena_printf(r->arena, "messages.%zu.content", index);
    struct refusal refusal = read_content(r, json_get(message, "content"), where, &text);
    r->out->input_tokens += PER_MESSAGE;
    if (refusal.code == 0 && is_user) {
        r->out->user = arena_copy(r->arena, buf_span(&text));
        r->out->prefill = SPAN_NONE;
    } else if (refusal.code == 0) {
        r->out->prefill = arena_copy(r->arena, buf_span(&text));
    }
    return refusal;
}

static struct refusal read_system(struct reading *r, const struct json *system)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, TEXT_MOST);
    if (system == NULL) {
        return REFUSAL_NONE;
    }
    struct refusal refusal = read_content(r, system, "system", &text);
    r->out->input_tokens += PER_SYSTEM;
    r->out->system = arena_copy(r->arena, buf_span(&text));
    return refusal;
}

/* Tools come before everything else, and a cache keeps all of them or none. */
static void read_tools(struct reading *r, const struct json *tools)
{
    if (json_count(tools) == 0) {
        return;
    }
    r->out->input_tokens += PER_TOOLS;
    count_json(r, tools);
    for (size_t i = 0; i < json_count(tools); i++) {
        if (json_get(json_at(tools, i), "cache_control") != NULL) {
            r->cache_points++;
            note_cache_point(r);
            return;
        }
    }
}

struct refusal messages_read(const struct json *body, struct arena *arena, struct request *out)
{
    struct reading r = {.arena = arena, .out = out};
    const struct json *messages = json_get(body, "messages");
    if (json_count(messages) == 0) {
        return REFUSAL_INVALID("messages: at least one message is required");
    }
    read_tools(&r, json_get(body, "tools"));
    struct refusal refusal = read_system(&r, json_get(body, "system"));
    for (size_t i = 0; refusal.code == 0 && i < json_count(messages); i++) {
        refusal = read_message(&r, json_at(messages, i), i);
    }
    if (refusal.code == 0 && r.cache_points > REQUEST_CACHE_POINTS) {
        refusal = REFUSAL_INVALID(arena_printf(
            arena, "A maximum of 4 blocks with cache_control may be provided. Found %zu.",
            r.cache_points));
    }
    out->input_tokens += out->thinks ? PER_THINKING : 0;
    return refusal;
}
