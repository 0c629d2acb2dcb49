#include "simulator/request.h"

#include "simulator/messages.h"

#define BUDGET_LEAST 1024
#define INTERLEAVED  "interleaved-thinking-2025-05-14"
#define REPORTED     "The model returned the following errors: "

enum need {
    OPTIONAL,
    REQUIRED,
};

/* The body's members; anything else is an extra input. */
static const struct {
    const char *key;
    enum need need;
    enum json_type type;
    const char *fault;
} members[] = {
    {"anthropic_version", REQUIRED, JSON_STRING, "Input should be a valid string"},
    {"max_tokens", REQUIRED, JSON_INTEGER, "Input should be a valid integer"},
    {"messages", REQUIRED, JSON_ARRAY, "Input should be a valid list"},
    {"system", OPTIONAL, JSON_NULL, NULL},
    {"thinking", OPTIONAL, JSON_OBJECT, "Input should be a valid dictionary"},
    {"temperature", OPTIONAL, JSON_REAL, "Input should be a valid number"},
    {"top_p", OPTIONAL, JSON_REAL, "Input should be a valid number"},
    {"top_k", OPTIONAL, JSON_INTEGER, "Input should be a valid integer"},
    {"stop_sequences", OPTIONAL, JSON_ARRAY, "Input should be a valid list"},
    {"tools", OPTIONAL, JSON_ARRAY, "Input should be a valid list"},
    {"tool_choice", OPTIONAL, JSON_OBJECT, "Input should be a valid dictionary"},
    {"anthropic_beta", OPTIONAL, JSON_ARRAY, "Input should be a valid list"},
    {"metadata", OPTIONAL, JSON_OBJECT, "Input should be a valid dictionary"},
    {"output_config", OPTIONAL, JSON_OBJECT, "Input should be a valid dictionary"},
};

static bool has_type(const struct json *value, enum json_type type)
{
    return type == JSON_NULL || json_type(value) == type ||
           (type == JSON_REAL && json_type(value) == JSON_INTEGER);
}

static bool is_member(struct span key)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (span_eq(key, span_str(members[i].key))) {
            return true;
        }
    }
    return false;
}

static struct refusal check_members(const struct json *body, struct arena *arena,
                                    struct request *out)
{
    struct span key;
    const struct json *value;
    (void)out;
    if (json_type(body) != JSON_OBJECT) {
        return REFUSAL_INVALID(
            "Malformed input request, please reformat your input and try again.");
    }
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        value = json_get(body, members[i].key);
        if (value == NULL && members[i].need == REQUIRED) {
            return REFUSAL_INVALID(arena_printf(arena, "%s: Field required", members[i].key));
        }
        if (value != NULL && !has_type(value, members[i].type)) {
            return REFUSAL_INVALID(arena_printf(arena, "%s: %s", members[i].key, members[i].fault));
        }
    }
    for (size_t i = 0; json_member(body, i, &key, &value); i++) {
        if (!is_member(key)) {
            return REFUSAL_INVALID(
                arena_printf(arena, "%.*s: Extra inputs are not permitted", (int)key.len, key.at));
        }
    }
    if (!span_eq(json_string(json_get(body, "anthropic_version")), SPAN("bedrock-2023-05-31"))) {
        return REFUSAL_INVALID("anthropic_version: Input should be 'bedrock-2023-05-31'");
    }
    return REFUSAL_NONE;
}

static struct refusal check_max_tokens(const struct json *body, struct arena *arena,
                                       struct request *out)
{
    int64_t wanted = json_integer(json_get(body, "max_tokens"), 0);
    const struct model *model = out->model;
    if (wanted < 1) {
        return REFUSAL_INVALID("max_tokens: Input should be greater than or equal to 1");
    }
    if (wanted > (int64_t)model->max_output) {
        const char *text =
            model->max_output <= 4096
                ? arena_printf(arena,
                               "The maximum tokens you requested exceed the model limit of %u. Try "
                               "again with a maximum tokens value that is lower than %u.",
                               model->max_output, model->max_output)
                : arena_printf(arena,
                               "max_tokens: %lld > %u, which is the maximum allowed number of "
                               "output tokens for %s",
                               (long long)wanted, model->max_output, model->name);
        return REFUSAL_INVALID(text);
    }
    out->max_tokens = (uint64_t)wanted;
    return REFUSAL_NONE;
}

static bool has_beta(const struct json *body, const char *name)
{
    const struct json *betas = json_get(body, "anthropic_beta");
    for (size_t i = 0; i < json_count(betas); i++) {
        if (span_eq(json_string(json_at(betas, i)), span_str(name))) {
            return true;
        }
    }
    return false;
}

static struct refusal check_budget(const struct json *body, struct request *out)
{
    const struct json *budget = json_get(json_get(body, "thinking"), "budget_tokens");
    if (budget == NULL) {
        return REFUSAL_INVALID("thinking.enabled.budget_tokens: Field required");
    }
    if (json_type(budget) != JSON_INTEGER || json_integer(budget, 0) < BUDGET_LEAST) {
        return REFUSAL_INVALID("thinking.enabled.budget_tokens: Input should be greater than or "
                               "equal to 1024");
    }
    out->budget = (uint64_t)json_integer(budget, 0);
    if (out->budget >= out->max_tokens && !has_beta(body, INTERLEAVED)) {
        return REFUSAL_INVALID("`max_tokens` must be greater than `thinking.budget_tokens`");
    }
    return REFUSAL_NONE;
}

static struct refusal check_thinking_members(const struct json *thinking, struct span type,
                                             struct arena *arena)
{
    struct span key;
    const struct json *value;
    for (size_t i = 0; json_member(thinking, i, &key, &value); i++) {
        bool known = span_eq(key, SPAN("type")) ||
                     (span_eq(key, SPAN("budget_tokens")) && span_eq(type, SPAN("enabled"))) ||
                     (span_eq(key, SPAN("display")) && !span_eq(type, SPAN("disabled")));
        if (!known) {
            return REFUSAL_INVALID(
                arena_printf(arena, "thinking.%.*s.%.*s: Extra inputs are not permitted",
                             (int)type.len, type.at, (int)key.len, key.at));
        }
    }
    return REFUSAL_NONE;
}

static struct refusal check_thinking(const struct json *body, struct arena *arena,
                                     struct request *out)
{
    const struct model_generation *generation = out->model->generation;
    const struct json *thinking = json_get(body, "thinking");
    struct span type = json_string(json_get(thinking, "type"));
    struct span display = json_string(json_get(thinking, "display"));
    bool enabled = span_eq(type, SPAN("enabled"));
    bool adaptive = span_eq(type, SPAN("adaptive"));
    bool disabled = span_eq(type, SPAN("disabled"));

    out->thinks = enabled || adaptive || generation->always_thinks;
    out->shows_thinking =
        display.len > 0 ? span_eq(display, SPAN("summarized")) : !generation->hides_thinking;
    if (thinking == NULL) {
        return REFUSAL_NONE;
    }
    if (!enabled && !adaptive && !disabled) {
        return REFUSAL_INVALID("thinking: Input tag does not match any of the expected tags: "
                               "'adaptive', 'disabled', 'enabled'");
    }
    if (generation->thinking == THINKS_NEVER && !disabled) {
        return REFUSAL_INVALID("thinking: Extra inputs are not permitted");
    }
    if (disabled && generation->always_thinks) {
        return REFUSAL_INVALID("\"thinking.type.disabled\" is not supported for this model.");
    }
    if (adaptive && generation->thinking == THINKS_BY_BUDGET) {
        return REFUSAL_INVALID("adaptive thinking is not supported on this model");
    }
    if (enabled && generation->thinking == THINKS_ADAPTIVE) {
        return REFUSAL_INVALID("\"thinking.type.enabled\" is not supported for this model. Use "
                               "\"thinking.type.adaptive\" and \"output_config.effort\" to control "
                               "thinking behavior.");
    }
    struct refusal refusal = check_thinking_members(thinking, type, arena);
    return refusal.code == 0 && enabled ? check_budget(body, out) : refusal;
}

/* The model itself says these, so a stream has begun by then. */
static struct refusal reported(const char *text)
{
    return (struct refusal){400, "ValidationException", text, true};
}

static struct refusal check_sampling(const struct json *body, struct arena *arena,
                                     struct request *out)
{
    (void)arena;
    const struct model_generation *generation = out->model->generation;
    const struct json *temperature = json_get(body, "temperature");
    const struct json *top_p = json_get(body, "top_p");
    const struct json *top_k = json_get(body, "top_k");
    double degrees = json_number(temperature, 1);
    if (generation->sampling == SAMPLES_ALONE) {
        return temperature != NULL
                   ? reported(REPORTED "`temperature` is deprecated for this model.")
               : top_p != NULL ? reported(REPORTED "`top_p` is deprecated for this model.")
               : top_k != NULL ? reported(REPORTED "`top_k` is deprecated for this model.")
                               : REFUSAL_NONE;
    }
    if (degrees < 0 || degrees > 1) {
        return REFUSAL_INVALID("temperature: range: 0..1");
    }
    if (out->thinks && degrees != 1) {
        return reported(generation->thinking == THINKS_BOTH ? REPORTED
                            "`temperature` may only be set to 1 when thinking is enabled "
                            "or in adaptive mode."
                                                            : REPORTED
                            "`temperature` may only be set to 1 when thinking is "
                            "enabled.");
    }
    if (out->thinks && top_k != NULL) {
        return reported(REPORTED "`top_k` must be unset when thinking is enabled.");
    }
    if (out->thinks && top_p != NULL && json_number(top_p, 1) < 0.95) {
        return reported(REPORTED "`top_p` must be greater than or equal to 0.95 or unset when "
                                 "thinking is enabled.");
    }
    if (generation->sampling == SAMPLES_BY_ONE && temperature != NULL && top_p != NULL) {
        return reported(REPORTED "`temperature` and `top_p` cannot both be specified for this "
                                 "model. Please use only one.");
    }
    return REFUSAL_NONE;
}

static struct refusal check_tool_choice(const struct json *body, struct arena *arena,
                                        struct request *out)
{
    (void)arena;
    struct span type = json_string(json_get(json_get(body, "tool_choice"), "type"));
    bool forced = span_eq(type, SPAN("any")) || span_eq(type, SPAN("tool"));
    return forced && out->thinks
               ? REFUSAL_INVALID("Thinking may not be enabled when tool_choice forces tool use.")
               : REFUSAL_NONE;
}

static struct refusal check_prefill(const struct json *body, struct arena *arena,
                                    struct request *out)
{
    (void)body;
    (void)arena;
    if (out->prefill.len > 0 && (out->thinks || !out->model->generation->prefill)) {
        return REFUSAL_INVALID("This model does not support assistant message prefill. The "
                               "conversation must end with a user message.");
    }
    return REFUSAL_NONE;
}

static struct refusal check_window(const struct json *body, struct arena *arena,
                                   struct request *out)
{
    (void)body;
    uint64_t context = out->model->context;
    if (out->input_tokens > context) {
        return REFUSAL_INVALID(arena_printf(arena, "prompt is too long: %llu tokens > %llu maximum",
                                            (unsigned long long)out->input_tokens,
                                            (unsigned long long)context));
    }
    bool refuses = out->model->generation->thinking != THINKS_NEVER;
    if (refuses && out->input_tokens + out->max_tokens > context) {
        return REFUSAL_INVALID(arena_printf(
            arena,
            "input length and `max_tokens` exceed context limit: %llu + %llu > %llu, decrease "
            "input length or `max_tokens` and try again",
            (unsigned long long)out->input_tokens, (unsigned long long)out->max_tokens,
            (unsigned long long)context));
    }
    return REFUSAL_NONE;
}

struct refusal request_read(const struct json *body, const struct model *model, struct arena *arena,
                            struct request *out)
{
    /* In this order: what comes first is what is complained about. */
    static struct refusal (*const checks[])(const struct json *, struct arena *,
                                            struct request *) = {
        check_members,  check_max_tokens,  check_thinking, messages_read,
        check_sampling, check_tool_choice, check_prefill,  check_window,
    };
    struct request read = {.model = model, .stops = json_get(body, "stop_sequences")};
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        struct refusal refusal = checks[i](body, arena, &read);
        if (refusal.code != 0) {
            return refusal;
        }
    }
    *out = read;
    return REFUSAL_NONE;
}
