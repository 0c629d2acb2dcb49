#include "simulator/faults.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/map.h"
#include "simulator/sheet.h"

#define MODELS_MOST 1000 /* are counted one by one */

struct rule {
    const char *model;     /* NULL: any */
    const char *region;    /* NULL: any */
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
    const char *event;
    const char *usage;
    const char *metrics;
    struct fault fault; /* what it all comes to */
};

struct fault_plan {
    struct arena *arena;
    struct span text;
    uint64_t seed;
    const struct rule *rules;
    size_t n_rules;
    struct map *calls; /* model -> how many, in the arena */
};

/* Tags of a key: bits of the actions that take it. */
enum {
    FOR_STATUS = 1 << FAULT_STATUS,
    FOR_EXCEPTION = 1 << FAULT_EXCEPTION,
    FOR_STALL = 1 << FAULT_STALL,
    FOR_DRIP = 1 << FAULT_DRIP,
    FOR_EVENT = 1 << FAULT_INSERT | 1 << FAULT_OMIT,
    FOR_USAGE = 1 << FAULT_USAGE,
    FOR_STREAM = FOR_EXCEPTION | FOR_STALL | FOR_DRIP | 1 << FAULT_RESET | 1 << FAULT_CLOSE |
                 1 << FAULT_TRUNCATE | 1 << FAULT_BAD_CRC | 1 << FAULT_INSERT,
    FOR_ANY = -1,

    STREAMS_ONLY = 1 << FAULT_BAD_CRC | FOR_EVENT,
};

#define ACTIONS "status|retired|exception|stall|drip|reset|close|truncate|bad_crc|insert|omit|usage"
#define TYPES                                                                                      \
    "throttlingException|validationException|internalServerException|modelStreamErrorException|"   \
    "modelTimeoutException|serviceUnavailableException|error"
#define EVENTS  "message_start|message_delta|message_stop|ping|unknown|error"
#define FIGURES "missing|smaller|larger"
#define KEY(takers, type, name, field, bounds)                                                     \
    SHEET_KEY(struct rule, takers, type, name, field, "", bounds)

static const struct sheet_key keys[] = {
    KEY(FOR_ANY, text, "model", model, "1..2048"),
    KEY(FOR_ANY, text, "region", region, "1..64"),
    KEY(FOR_ANY, choice, "operation", operation, "invoke|stream"),
    KEY(FOR_ANY, count, "nth", nth, "1..1000000000"),
    KEY(FOR_ANY, count, "from", from, "1..1000000000"),
    KEY(FOR_ANY, count, "count", count, "1..1000000000"),
    SHEET_KEY(struct rule, FOR_ANY, ratio, "probability", probability, "1", "0..1"),
    KEY(FOR_ANY, choice, "action", action, ACTIONS),
    KEY(FOR_STATUS, count, "code", code, "400..599"),
    KEY(FOR_STATUS, text, "kind", kind, "1..64"),
    KEY(FOR_STATUS, text, "error", error, "1..128"),
    KEY(FOR_STATUS | FOR_EXCEPTION, text, "message", message, "0..4096"),
    KEY(FOR_STATUS, count, "original", fault.original, "400..599"),
    KEY(FOR_STATUS, duration, "retry_after", fault.retry_after_ms, "0s..24h"),
    KEY(FOR_STATUS, duration, "amz_retry_after", fault.amz_retry_after_ms, "0s..24h"),
    KEY(FOR_EXCEPTION, choice, "type", type, TYPES),
    KEY(FOR_STREAM, count, "after", fault.after, "0..1000000"),
    KEY(FOR_STALL, choice, "at", at, "headers|events|thinking"),
    KEY(FOR_STALL, duration, "for", fault.stall_ms, "0s..1h"),
    KEY(FOR_DRIP, count, "bytes", fault.drip_bytes, "1..1000000"),
    KEY(FOR_DRIP, duration, "every", fault.drip_ms, "1ms..1h"),
    KEY(FOR_EVENT, choice, "event", event, EVENTS),
    KEY(FOR_USAGE, choice, "usage", usage, FIGURES),
    KEY(FOR_USAGE, choice, "metrics", metrics, FIGURES),
};

static bool settle(const struct yaml *node, void *item, struct yaml_error *error);

static const struct sheet sheet = {
    .whole = "a plan",
    .list = "rules",
    .item = "a rule",
    .keys = keys,
    .n_keys = ARRAY_LEN(keys),
    .item_size = sizeof(struct rule),
    .settle = settle,
};

static const char *const action_names[] = {
    [FAULT_NONE] = "none",     [FAULT_STATUS] = "status",     [FAULT_EXCEPTION] = "exception",
    [FAULT_STALL] = "stall",   [FAULT_DRIP] = "drip",         [FAULT_RESET] = "reset",
    [FAULT_CLOSE] = "close",   [FAULT_TRUNCATE] = "truncate", [FAULT_BAD_CRC] = "bad_crc",
    [FAULT_INSERT] = "insert", [FAULT_OMIT] = "omit",         [FAULT_USAGE] = "usage",
};

static const struct {
    const char *name;
    enum events_kind event;
    int takers;
} event_names[] = {
    {"message_start", EVENTS_KIND_MESSAGE_START, FOR_EVENT},
    {"message_delta", EVENTS_KIND_MESSAGE_DELTA, 1 << FAULT_OMIT},
    {"message_stop", EVENTS_KIND_MESSAGE_STOP, 1 << FAULT_OMIT},
    {"ping", EVENTS_KIND_PING, 1 << FAULT_INSERT},
    {"unknown", EVENTS_KIND_UNKNOWN, 1 << FAULT_INSERT},
    {"error", EVENTS_KIND_ERROR, 1 << FAULT_INSERT},
};

static const struct {
    const char *kind;
    struct refusal refusal;
} statuses[] = {
#define STATUS(code, kind, error, message) {kind, {code, error, message, false}},
#include "simulator/faults.def"
};

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* --- what a rule comes to ----------------------------------------------------------------------
 */

/* NULL when there is none. */
static const struct refusal *find_refusal(uint64_t code, const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        if ((uint64_t)statuses[i].refusal.code == code &&
            (kind == NULL || same(kind, statuses[i].kind))) {
            return &statuses[i].refusal;
        }
    }
    return NULL;
}

struct refusal fault_refusal(int code, const char *kind)
{
    const struct refusal *refusal = find_refusal((uint64_t)code, kind);
    check(refusal != NULL);
    return *refusal;
}

const char *fault_name(enum fault_action action)
{
    return action_names[action];
}

/* An exception's name goes into a header. */
static bool is_name(const char *text)
{
    return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] == '\0';
}

static bool settle_status(struct rule *rule, size_t line, struct yaml_error *error)
{
    if (rule->code == 0) {
        return sheet_refuse(error, line, "a status has no code");
    }
    if (rule->error != NULL && !is_name(rule->error)) {
        return sheet_refuse(error, line, "error is not the name of an exception");
    }
    const struct refusal *refusal = find_refusal(rule->code, rule->kind);
    if (refusal == NULL) {
        return rule->kind != NULL ? sheet_refuse(error, line, "code %d has no kind \"%.64s\"",
                                                 (int)rule->code, rule->kind)
                                  : sheet_refuse(error, line, "code %d is none of the provider's",
                                                 (int)rule->code);
    }
    rule->fault.refusal = *refusal;
    if (rule->error != NULL) {
        rule->fault.refusal.error = rule->error;
    }
    return true;
}

static bool settle_exception(struct rule *rule, size_t line, struct yaml_error *error)
{
    struct fault *fault = &rule->fault;
    if (rule->type == NULL) {
        return sheet_refuse(error, line, "an exception has no type");
    }
    fault->unmodelled = same(rule->type, "error");
    struct span name = span_str(fault->unmodelled ? "InternalServerException" : rule->type);
    size_t i = 0;
    while (!span_eq_nocase(span_str(statuses[i].refusal.error), name)) {
        check(++i < ARRAY_LEN(statuses));
    }
    fault->refusal = statuses[i].refusal;
    return true;
}

static bool settle_stall(struct rule *rule, size_t line, struct yaml_error *error)
{
    if (rule->at == NULL || rule->fault.stall_ms == 0) {
        return sheet_refuse(error, line, "a stall needs at and for");
    }
    rule->fault.at = same(rule->at, "headers")  ? FAULT_AT_HEADERS
                     : same(rule->at, "events") ? FAULT_AT_EVENTS
                                                : FAULT_AT_THINKING;
    return true;
}

static bool settle_drip(struct rule *rule, size_t line, struct yaml_error *error)
{
    return (rule->fault.drip_bytes > 0 && rule->fault.drip_ms > 0) ||
           sheet_refuse(error, line, "a drip needs bytes and every");
}

static bool settle_event(struct rule *rule, size_t line, struct yaml_error *error)
{
    size_t i = 0;
    if (rule->event == NULL) {
        return sheet_refuse(error, line, "%s needs event", rule->action);
    }
    while (!same(rule->event, event_names[i].name)) {
        check(++i < ARRAY_LEN(event_names));
    }
    rule->fault.event = event_names[i].event;
    return (event_names[i].takers & 1 << rule->fault.action) != 0 ||
           sheet_refuse(error, line, "%s takes no event %s", rule->action, rule->event);
}

static enum figures figures_of(const char *name)
{
    return name == NULL            ? FIGURES_TRUE
           : same(name, "missing") ? FIGURES_MISSING
           : same(name, "smaller") ? FIGURES_SMALLER
                                   : FIGURES_LARGER;
}

static bool settle_usage(struct rule *rule, size_t line, struct yaml_error *error)
{
    rule->fault.usage = figures_of(rule->usage);
    rule->fault.metrics = figures_of(rule->metrics);
    return rule->usage != NULL || rule->metrics != NULL ||
           sheet_refuse(error, line, "usage needs usage or metrics");
}

static bool settle_action(struct rule *rule, size_t line, struct yaml_error *error)
{
    switch (rule->fault.action) {
    case FAULT_STATUS:
        return settle_status(rule, line, error);
    case FAULT_EXCEPTION:
        return settle_exception(rule, line, error);
    case FAULT_STALL:
        return settle_stall(rule, line, error);
    case FAULT_DRIP:
        return settle_drip(rule, line, error);
    case FAULT_INSERT:
    case FAULT_OMIT:
        return settle_event(rule, line, error);
    case FAULT_USAGE:
        return settle_usage(rule, line, error);
    case FAULT_NONE:
    case FAULT_RESET:
    case FAULT_CLOSE:
    case FAULT_TRUNCATE:
    case FAULT_BAD_CRC:
        return true;
    }
    return true;
}

/* Of "retired" there is no action: it takes no keys, and is settled as a status. */
static enum fault_action find_action(const char *name)
{
    size_t i = 0;
    while (i < ARRAY_LEN(action_names) && !same(name, action_names[i])) {
        i++;
    }
    return i < ARRAY_LEN(action_names) ? (enum fault_action)i : FAULT_NONE;
}

static bool settle(const struct yaml *node, void *item, struct yaml_error *error)
{
    struct rule *rule = item;
    if (rule->action == NULL) {
        return sheet_refuse(error, node->line, "a rule has no action");
    }
    rule->fault.action = find_action(rule->action);
    for (const struct yaml *member = node->children; member != NULL; member = member->next) {
        if ((sheet_key(&sheet, member->key)->tag & 1 << rule->fault.action) == 0) {
            return sheet_refuse(error, member->key_line, "%s takes no key \"%.*s\"", rule->action,
                                (int)member->key.len, member->key.at);
        }
    }
    if (!sheet_settle_model(node, &rule->model, error)) {
        return false;
    }
    if (rule->nth != 0 && (rule->from != 0 || rule->count != 0)) {
        return sheet_refuse(error, node->line, "nth stands alone, without from and count");
    }
    if (rule->fault.action == FAULT_NONE) {
        rule->fault.action = FAULT_STATUS;
        rule->code = 404;
    }
    if (!settle_action(rule, node->line, error)) {
        return false;
    }
    if (rule->message != NULL) {
        rule->fault.refusal.message = rule->message;
    }
    return true;
}

/* --- the plan ----------------------------------------------------------------------------------
 */

struct fault_plan *fault_plan_new(struct span yaml, uint64_t seed, struct yaml_error *error)
{
    struct fault_plan *plan = ALLOC(struct fault_plan);
    void *rules;
    plan->arena = arena_new(SHEET_MEMORY);
    plan->calls = map_new();
    plan->seed = seed;
    if (!sheet_read(&sheet, yaml, plan->arena, &rules, &plan->n_rules, error)) {
        fault_plan_free(plan);
        return NULL;
    }
    plan->rules = rules;
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

static bool matches(const struct rule *rule, const struct fault_call *what, uint64_t call)
{
    bool stream = what->stream;
    if (rule->model != NULL && !span_eq(what->model, span_str(rule->model))) {
        return false;
    }
    if (rule->region != NULL && !span_eq(what->region, span_str(rule->region))) {
        return false;
    }
    if (rule->operation != NULL && stream != same(rule->operation, "stream")) {
        return false;
    }
    if (!stream && (1 << rule->fault.action & STREAMS_ONLY) != 0) {
        return false;
    }
    if (rule->nth != 0) {
        return call == rule->nth;
    }
    uint64_t from = rule->from != 0 ? rule->from : 1;
    return call >= from && (rule->count == 0 || call < from + rule->count);
}

void fault_plan_next(struct fault_plan *plan, const struct fault_call *what, struct arena *arena,
                     struct fault *out)
{
    uint64_t call = count_call(plan, what->model);
    *out = (struct fault){0};
    for (size_t i = 0; i < plan->n_rules; i++) {
        if (matches(&plan->rules[i], what, call) && is_drawn(plan, i, call)) {
            *out = plan->rules[i].fault;
            break;
        }
    }
    if (out->refusal.code != 0) {
        out->refusal.error = arena_string(arena, span_str(out->refusal.error));
        out->refusal.message = arena_string(arena, span_str(out->refusal.message));
    }
}
