/* What a caller may ask: every bound of router.proto, checked before anything is charged. */
#include <string.h>

#include "codec/json.h"
#include "loop/task.h"
#include "router/router.h"

#define VIOLATIONS_MOST   16
#define MESSAGES_MOST     1000
#define BLOCKS_MOST       256
#define SYSTEM_MOST       16
#define STOPS_MOST        8
#define NAME_MOST         256
#define TOKENS_MOST       128000
#define THINKING_LEAST    1024
#define CACHE_POINTS_MOST 4
#define MODELS_MOST       16

struct violations {
    struct arena *arena;
    struct status_violation rows[VIOLATIONS_MOST];
    size_t n;
};

static void violate(struct violations *v, const char *field, const char *description)
{
    if (v->n < VIOLATIONS_MOST) {
        v->rows[v->n++] = (struct status_violation){field, description};
    }
}

static bool raw_is_object(struct span json)
{
    CLEANUP(json_drop) struct json *root = json_parse(json, NULL);
    return json_type(root) == JSON_OBJECT && json_string(json_get(root, "type")).len > 0;
}

static void check_block(struct violations *v, const Router__ContentBlock *block, const char *field)
{
    switch (block->block_case) {
    case ROUTER__CONTENT_BLOCK__BLOCK_TEXT:
    case ROUTER__CONTENT_BLOCK__BLOCK_TEXT_BYTES:
    case ROUTER__CONTENT_BLOCK__BLOCK_THINKING:
        break;
    case ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING:
        if (block->redacted_thinking->data.len == 0) {
            violate(v, field, "redacted_thinking without data");
        }
        break;
    case ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON:
        if (!raw_is_object(span_of(block->raw_json.data, block->raw_json.len))) {
            violate(v, field, "raw_json is not a JSON object with a type");
        }
        break;
    case ROUTER__CONTENT_BLOCK__BLOCK__NOT_SET:
    case _ROUTER__CONTENT_BLOCK__BLOCK__CASE_IS_INT_SIZE:
        violate(v, field,
                "one of text, text_bytes, thinking, redacted_thinking, raw_json must be set");
        break;
    }
}

static bool is_text(const Router__ContentBlock *block)
{
    return block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_TEXT ||
           block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_TEXT_BYTES;
}

struct content_check {
    struct violations *violations;
    const Router__Generation *generation;
};

/* Any thread: the task waits and leaves its arena alone. */
static void check_content(void *arg)
{
    const struct content_check *check = arg;
    struct violations *v = check->violations;
    const Router__Generation *g = check->generation;
    size_t cache_points = 0;
    if (g->n_system > SYSTEM_MOST) {
        violate(v, "generation.system", "more than 16 blocks");
    }
    for (size_t i = 0; i < g->n_system; i++) {
        cache_points += g->system[i]->cache_point != ROUTER__CACHE_POINT__CACHE_POINT_UNSPECIFIED;
        if (!is_text(g->system[i])) {
            violate(v, arena_printf(v->arena, "generation.system[%zu]", i), "only text is allowed");
        }
    }
    if (g->n_messages == 0 || g->n_messages > MESSAGES_MOST) {
        violate(v, "generation.messages", "1 to 1,000 messages are needed");
        return;
    }
    if (g->messages[0]->role != ROUTER__ROLE__ROLE_USER) {
        violate(v, "generation.messages[0].role", "the first message must be the user's");
    }
    for (size_t i = 0; i < g->n_messages && v->n < VIOLATIONS_MOST; i++) {
        const Router__Message *m = g->messages[i];
        if (m->role != ROUTER__ROLE__ROLE_USER && m->role != ROUTER__ROLE__ROLE_ASSISTANT) {
            violate(v, arena_printf(v->arena, "generation.messages[%zu].role", i), "unknown role");
        }
        if (m->n_content == 0 || m->n_content > BLOCKS_MOST) {
            violate(v, arena_printf(v->arena, "generation.messages[%zu].content", i),
                    "1 to 256 blocks are needed");
            continue;
        }
        for (size_t k = 0; k < m->n_content && v->n < VIOLATIONS_MOST; k++) {
            cache_points += m->content[k]->cache_point != 0;
            check_block(v, m->content[k],
                        arena_printf(v->arena, "generation.messages[%zu].content[%zu]", i, k));
        }
    }
    if (cache_points > CACHE_POINTS_MOST) {
        violate(v, "generation", "more than four cache points");
    }
}

static void check_numbers(struct violations *v, const Router__Generation *g)
{
    if (g->call_id.len != 0 && g->call_id.len != ROUTER_ID_SIZE) {
        violate(v, "generation.call_id", "must be 16 bytes or empty");
    }
    if (strlen(g->task_id) > NAME_MOST) {
        violate(v, "generation.task_id", "longer than 256 bytes");
    }
    if (strlen(g->section_id) > NAME_MOST) {
        violate(v, "generation.section_id", "longer than 256 bytes");
    }
    if (g->max_content_tokens > TOKENS_MOST) {
        violate(v, "generation.max_content_tokens", "more than 128,000");
    }
    if (g->thinking_budget_tokens != 0 &&
        (g->thinking_budget_tokens < THINKING_LEAST || g->thinking_budget_tokens > TOKENS_MOST)) {
        violate(v, "generation.thinking_budget_tokens", "must be 0 or 1,024 to 128,000");
    }
    bool warm = g->_temperature_case == ROUTER__GENERATION___TEMPERATURE_TEMPERATURE;
    if (warm && !(g->temperature >= 0 && g->temperature <= 1)) {
        violate(v, "generation.temperature", "must be 0 to 1");
    }
    if (g->n_stop_sequences > STOPS_MOST) {
        violate(v, "generation.stop_sequences", "more than eight");
    }
    for (size_t i = 0; i < g->n_stop_sequences; i++) {
        size_t len = strlen(g->stop_sequences[i]);
        if (len == 0 || len > NAME_MOST) {
            violate(v, "generation.stop_sequences", "each must have 1 to 256 bytes");
        }
    }
    if (g->n_models > MODELS_MOST || g->n_tiers > MODELS_MOST) {
        violate(v, "generation.models", "more than 16 models or tiers");
    }
    if (g->n_models > 0 && g->n_tiers > 0) {
        violate(v, "generation.tiers", "models and tiers cannot both be given");
    }
}

static const char *check_tenant(struct violations *v, struct rpc *rpc, const char *tenant)
{
    bool said = rpc_metadata(rpc, RPC_KEY_TENANT).len > 0;
    const char *from_metadata = task_context()->tenant;
    if (tenant[0] == '\0') {
        return from_metadata;
    }
    if (said && strcmp(tenant, from_metadata) != 0) {
        violate(v, "tenant", "differs from the metadata key " RPC_KEY_TENANT);
    }
    if (!rpc_tenant_valid(span_str(tenant))) {
        violate(v, "tenant", "must be 1 to 63 characters of a-z, 0-9 and -");
    }
    return tenant;
}

static bool has_tier(const struct catalogue *catalogue, uint32_t tier)
{
    for (size_t i = 0; i < catalogue->n_models; i++) {
        if (catalogue->models[i].tier == tier) {
            return true;
        }
    }
    return false;
}

struct status request_check(struct rpc *rpc, const char *tenant, const Router__Generation *g,
                            const struct router *router, const char **tenant_out)
{
    struct violations *v = ARENA_NEW(rpc_arena(rpc), struct violations);
    v->arena = rpc_arena(rpc);
    const char *who = check_tenant(v, rpc, tenant);
    if (g == NULL) {
        violate(v, "generation", "is required");
    } else {
        check_numbers(v, g);
        struct content_check content = {v, g};
        TRY(loop_work_over(reshape_bytes(g), check_content, &content));
    }
    if (v->n > 0) {
        struct status_more *more = ARENA_NEW(v->arena, struct status_more);
        more->fields = v->rows;
        more->n_fields = v->n;
        struct status s =
            status_of(REASON_BAD_REQUEST,
                      arena_printf(v->arena, "%s: %s", v->rows[0].subject, v->rows[0].description));
        s.more = more;
        return s;
    }
    for (size_t i = 0; i < g->n_models; i++) {
        if (models_find(router->catalogue, g->models[i]) == NULL) {
            return rpc_not_found(rpc, REASON_MODEL_UNKNOWN, "prism.router.v1.Model", g->models[i]);
        }
    }
    for (size_t i = 0; i < g->n_tiers; i++) {
        if (!has_tier(router->catalogue, g->tiers[i])) {
            return rpc_not_found(rpc, REASON_MODEL_UNKNOWN, "prism.router.v1.Model",
                                 arena_printf(rpc_arena(rpc), "tier %u", g->tiers[i]));
        }
    }
    *tenant_out = who;
    return STATUS_SUCCESS;
}
