#include "simulator/faults.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/config.h"
#include "base/alloc.h"
#include "base/map.h"
#include "base/nearest.h"
#include "simulator/behaviour.h"
#include "simulator/models.h"

#define PLAN_MOST   (64u << 10)
#define PLAN_MEMORY (16u << 20) /* what a plan of that size can need */
#define MODELS_MOST 1000        /* are counted one by one */

struct rule {
    const char *model;     /* NULL: any */
    const char *operation; /* NULL: both */
    uint64_t nth;          /* 0: from and count say which calls */
    uint64_t from;
    uint64_t count; /* 0: for ever */
    double probability;
    const char *action;
    uint64_t code;
    const char *kind;
    const char *message;
    const char *error;
    const char *type;
    const char *at;
    struct fault fault; /* what it all comes to */
};

struct fault_plan {
    struct arena *arena;
    struct span text;
    uint64_t seed;
    struct rule *rules;
    size_t n_rules;
    struct map *calls; /* model -> how many, in the arena */
};

struct parse {
    struct fault_plan *plan;
    struct yaml_error *error;
};

/* Bits of a key: the actions that take it. */
enum {
    FOR_STATUS = 1 << FAULT_STATUS,
    FOR_EXCEPTION = 1 << FAULT_EXCEPTION,
    FOR_STALL = 1 << FAULT_STALL,
    FOR_STREAM = FOR_EXCEPTION | FOR_STALL | 1 << FAULT_RESET | 1 << FAULT_CLOSE |
                 1 << FAULT_TRUNCATE | 1 << FAULT_BAD_CRC,
    FOR_ANY = -1,
};

#define ACTIONS "status|retired|exception|stall|reset|close|truncate|bad_crc"
#define TYPES                                                                                      \
    "throttlingException|validationException|internalServerException|modelStreamErrorException|"   \
    "modelTimeoutException|serviceUnavailableException|error"
#define ROW(type, name, field, bounds)                                                             \
    {                                                                                              \
        name, CONFIG_TYPE_##type, offsetof(struct rule, field), "", bounds, "", NULL               \
    }

static const struct key {
    int actions;
    struct config_row row;
} keys[] = {
    {FOR_ANY, ROW(text, "model", model, "1..2048")},
    {FOR_ANY, ROW(choice, "operation", operation, "invoke|stream")},
    {FOR_ANY, ROW(count, "nth", nth, "1..1000000000")},
    {FOR_ANY, ROW(count, "from", from, "1..1000000000")},
    {FOR_ANY, ROW(count, "count", count, "1..1000000000")},
    {FOR_ANY, ROW(ratio, "probability", probability, "0..1")},
    {FOR_ANY, ROW(choice, "action", action, ACTIONS)},
    {FOR_STATUS, ROW(count, "code", code, "400..599")},
    {FOR_STATUS, ROW(text, "kind", kind, "1..64")},
    {FOR_STATUS, ROW(text, "error", error, "1..128")},
    {FOR_STATUS | FOR_EXCEPTION, ROW(text, "message", message, "0..4096")},
    {FOR_STATUS, ROW(duration, "retry_after", fault.retry_after_ms, "0s..24h")},
    {FOR_STATUS, ROW(duration, "amz_retry_after", fault.amz_retry_after_ms, "0s..24h")},
    {FOR_EXCEPTION, ROW(choice, "type", type, TYPES)},
    {FOR_STREAM, ROW(count, "after", fault.after, "0..1000000")},
    {FOR_STALL, ROW(choice, "at", at, "headers|events")},
    {FOR_STALL, ROW(duration, "for", fault.stall_ms, "0s..1h")},
};

static const struct {
    const char *name;
    enum fault_action action;
} actions[] = {
    {"status", FAULT_STATUS},     {"retired", FAULT_NONE},    {"exception", FAULT_EXCEPTION},
    {"stall", FAULT_STALL},       {"reset", FAULT_RESET},     {"close", FAULT_CLOSE},
    {"truncate", FAULT_TRUNCATE}, {"bad_crc", FAULT_BAD_CRC},
};

static const struct {
    const char *kind;
    struct refusal refusal;
} statuses[] = {
#define STATUS(code, kind, error, message) {kind, {code, error, message, false}},
#include "simulator/faults.def"
};

static bool refuse(struct parse *p, size_t line, const char *format, ...) FORMAT(3, 4);
static bool refuse(struct parse *p, size_t line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    p->error->line = line;
    vsnprintf(p->error->text, sizeof(p->error->text), format, args);
    va_end(args);
    return false;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* --- what a rule comes to ----------------------------------------------------------------------
 */

static bool find_status(struct parse *p, size_t line, const struct rule *rule, struct refusal *out)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        if ((uint64_t)statuses[i].refusal.code == rule->code &&
            (rule->kind == NULL || same(rule->kind, statuses[i].kind))) {
            *out = statuses[i].refusal;
            return true;
        }
    }
    return rule->kind != NULL
               ? refuse(p, line, "code %d has no kind \"%.64s\"", (int)rule->code, rule->kind)
               : refuse(p, line, "code %d is none of the provider's", (int)rule->code);
}

static void find_exception(const char *type, struct fault *out)
{
    out->unmodelled = same(type, "error");
    struct span error = span_str(out->unmodelled ? "InternalServerException" : type);
    size_t i = 0;
    while (!span_eq_nocase(span_str(statuses[i].refusal.error), error)) {
        check(++i < ARRAY_LEN(statuses));
    }
    out->refusal = statuses[i].refusal;
}

/* An exception's name goes into a header. */
static bool is_name(const char *text)
{
    return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] == '\0';
}

static bool settle_status(struct parse *p, size_t line, struct rule *rule)
{
    if (rule->code == 0) {
        return refuse(p, line, "a status has no code");
    }
    if (rule->error != NULL && !is_name(rule->error)) {
        return refuse(p, line, "error is not the name of an exception");
    }
    if (!find_status(p, line, rule, &rule->fault.refusal)) {
        return false;
    }
    if (rule->error != NULL) {
        rule->fault.refusal.error = rule->error;
    }
    return true;
}

static bool settle(struct parse *p, size_t line, struct rule *rule)
{
    bool profile;
    struct fault *fault = &rule->fault;
    if (rule->model != NULL && same(rule->model, "*")) {
        rule->model = NULL;
    }
    if (rule->model != NULL && model_find(span_str(rule->model), &profile) == NULL) {
        return refuse(p, line, "there is no model \"%.100s\"", rule->model);
    }
    if (rule->nth != 0 && (rule->from != 0 || rule->count != 0)) {
        return refuse(p, line, "nth stands alone, without from and count");
    }
    if (same(rule->action, "retired")) {
        fault->action = FAULT_STATUS;
        rule->code = 404;
    }
    if (fault->action == FAULT_STATUS && !settle_status(p, line, rule)) {
        return false;
    }
    if (fault->action == FAULT_EXCEPTION) {
        if (rule->type == NULL) {
            return refuse(p, line, "an exception has no type");
        }
        find_exception(rule->type, fault);
    }
    if (fault->action == FAULT_STALL) {
        if (rule->at == NULL || fault->stall_ms == 0) {
            return refuse(p, line, "a stall needs at and for");
        }
        fault->before_headers = same(rule->at, "headers");
    }
    if (rule->message != NULL) {
        fault->refusal.message = rule->message;
    }
    return true;
}

/* --- reading -----------------------------------------------------------------------------------
 */

static const struct key *find_key(struct parse *p, const struct yaml *member)
{
    struct nearest nearest = {.slip = member->key};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (span_eq(member->key, span_str(keys[i].row.name))) {
            return &keys[i];
        }
        nearest_offer(&nearest, keys[i].row.name);
    }
    (void)refuse(p, member->key_line, "there is no key \"%.*s\"%s%s",
                 (int)span_first(member->key, 40).len, member->key.at,
                 nearest.name != NULL ? ", did you mean " : "",
                 nearest.name != NULL ? nearest.name : "");
    return NULL;
}

static bool set(struct parse *p, const struct yaml *member, const struct key *key,
                struct rule *rule)
{
    const char *complaint;
    if (member->kind != YAML_SCALAR) {
        return refuse(p, member->line, "%s wants one value", key->row.name);
    }
    if (!config_parse(&key->row, member->text, p->plan->arena, (char *)rule + key->row.offset,
                      &complaint)) {
        return refuse(p, member->line, "%s %.120s", key->row.name, complaint);
    }
    return true;
}

static bool read_action(struct parse *p, const struct yaml *node, struct rule *rule)
{
    for (size_t i = 0; rule->action != NULL && i < ARRAY_LEN(actions); i++) {
        if (same(rule->action, actions[i].name)) {
            rule->fault.action = actions[i].action;
            return true;
        }
    }
    return refuse(p, node->line, "a rule has no action");
}

static bool read_rule(struct parse *p, const struct yaml *node, struct rule *rule)
{
    *rule = (struct rule){.probability = 1};
    if (node->kind != YAML_MAPPING) {
        return refuse(p, node->line, "a rule is a mapping");
    }
    for (const struct yaml *member = node->children; member != NULL; member = member->next) {
        const struct key *key = find_key(p, member);
        if (key == NULL || !set(p, member, key, rule)) {
            return false;
        }
    }
    if (!read_action(p, node, rule)) {
        return false;
    }
    for (const struct yaml *member = node->children; member != NULL; member = member->next) {
        if ((find_key(p, member)->actions & 1 << rule->fault.action) == 0) {
            return refuse(p, member->key_line, "%s takes no key \"%.*s\"", rule->action,
                          (int)member->key.len, member->key.at);
        }
    }
    return settle(p, node->line, rule);
}

static bool read_plan(struct parse *p, const struct yaml *root)
{
    struct fault_plan *plan = p->plan;
    const struct yaml *rules = yaml_get(root, "rules");
    if (root->kind != YAML_MAPPING) {
        return refuse(p, root->line, "a plan is a mapping with the member rules");
    }
    for (const struct yaml *member = root->children; member != NULL; member = member->next) {
        if (member != rules) {
            return refuse(p, member->key_line, "there is no key \"%.*s\", only rules",
                          (int)span_first(member->key, 40).len, member->key.at);
        }
    }
    if (rules == NULL || (rules->kind == YAML_SCALAR && rules->text.len == 0)) {
        return true;
    }
    if (rules->kind != YAML_SEQUENCE) {
        return refuse(p, rules->line, "rules is a list");
    }
    plan->rules = ARENA_ARRAY(plan->arena, struct rule, rules->count);
    for (const struct yaml *rule = rules->children; rule != NULL; rule = rule->next) {
        if (!read_rule(p, rule, &plan->rules[plan->n_rules++])) {
            return false;
        }
    }
    return true;
}

struct fault_plan *fault_plan_new(struct span yaml, uint64_t seed, struct yaml_error *error)
{
    struct fault_plan *plan = ALLOC(struct fault_plan);
    struct parse p = {.plan = plan, .error = error};
    const struct yaml *root;
    plan->arena = arena_new(PLAN_MEMORY);
    plan->calls = map_new();
    plan->seed = seed;
    if (yaml.len > PLAN_MOST) {
        (void)refuse(&p, 0, "a plan has at most %u bytes", PLAN_MOST);
        fault_plan_free(plan);
        return NULL;
    }
    if (!yaml_parse(yaml, plan->arena, &root, error) || !read_plan(&p, root)) {
        fault_plan_free(plan);
        return NULL;
    }
    plan->text = arena_copy(plan->arena, yaml);
    return plan;
}

void fault_plan_free(struct fault_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    map_free(plan->calls);
    arena_free(plan->arena);
    free(plan);
}

struct span fault_plan_text(const struct fault_plan *plan)
{
    return plan->text;
}

size_t fault_plan_rules(const struct fault_plan *plan)
{
    return plan->n_rules;
}

/* --- use ---------------------------------------------------------------------------------------
 */

static uint64_t count_call(struct fault_plan *plan, struct span model)
{
    struct span key = map_count(plan->calls) < MODELS_MOST ? model : SPAN("");
    uint64_t *calls = map_get(plan->calls, key);
    if (calls == NULL) {
        calls = ARENA_NEW(plan->arena, uint64_t);
        map_set(plan->calls, key, calls);
    }
    return ++*calls;
}

/* The same plan, seed and call: the same choice. */
static bool is_drawn(const struct fault_plan *plan, size_t rule, uint64_t call)
{
    uint64_t state = plan->seed ^ call << 20 ^ rule;
    return (double)(behaviour_random(&state) >> 11) * 0x1p-53 < plan->rules[rule].probability;
}

static bool matches(const struct rule *rule, struct span model, bool stream, uint64_t call)
{
    if (rule->model != NULL && !span_eq(model, span_str(rule->model))) {
        return false;
    }
    if (rule->operation != NULL && stream != same(rule->operation, "stream")) {
        return false;
    }
    if (!stream && rule->fault.action == FAULT_BAD_CRC) {
        return false;
    }
    if (rule->nth != 0) {
        return call == rule->nth;
    }
    uint64_t from = rule->from != 0 ? rule->from : 1;
    return call >= from && (rule->count == 0 || call < from + rule->count);
}

void fault_plan_next(struct fault_plan *plan, struct span model, bool stream, struct arena *arena,
                     struct fault *out)
{
    uint64_t call = count_call(plan, model);
    *out = (struct fault){0};
    for (size_t i = 0; i < plan->n_rules; i++) {
        if (matches(&plan->rules[i], model, stream, call) && is_drawn(plan, i, call)) {
            *out = plan->rules[i].fault;
            break;
        }
    }
    if (out->refusal.code != 0) {
        out->refusal.error = arena_string(arena, span_str(out->refusal.error));
        out->refusal.message = arena_string(arena, span_str(out->refusal.message));
    }
}
