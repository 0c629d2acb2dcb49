#include "limiter/policy.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/map.h"
#include "catalogue/column.h"
#include "codec/yaml.h"
#include "limiter/limiter.h"

#define TREE_BUDGET   (16u << 20)
#define TENANTS_MOST  4096
#define STORE_LAG_MS  50 /* a grant may be recorded that much early */
#define MINUTE_MS     60000
#define BURST_DEFAULT 5

/* A pool as it is written. */
struct pool {
    uint64_t requests;
    uint64_t window_ms;
    uint64_t concurrency;
    uint64_t tokens;
    uint64_t burst;
    uint64_t interval_ms;
    uint64_t weight;
};

/* A tenant by name. */
struct tenant_row {
    struct engine_limits limits;
    uint32_t weight;
};

#define POOL(member, ...) COLUMN(struct pool, member, __VA_ARGS__)

static const struct column pool_columns[] = {
    POOL(requests, COUNT, "requests", .least = 1, .most = 100000000),
    POOL(window_ms, DURATION, "window", .least = 1000, .most = 86400000),
    POOL(concurrency, COUNT, "concurrency", .least = 1, .most = ENGINE_LEASES_MOST),
    POOL(tokens, COUNT, "tokens", .least = 1, .most = 1000000000000),
    POOL(burst, COUNT, "burst", .least = 1, .most = 1000000),
    POOL(interval_ms, DURATION, "interval", .least = 1, .most = 86400000),
    POOL(weight, COUNT, "weight", .least = 1, .most = 1000),
};

static uint64_t scaled(const struct limiter_config *config, uint64_t ms)
{
    return ms == 0 || ms >= config->time_scale ? ms / config->time_scale : 1;
}

static struct engine_limits limits_of(const struct limiter_config *config, const struct pool *pool)
{
    struct engine_limits limits = {
        .version = ENGINE_VERSION_FIRST,
        .requests = pool->requests,
        .tokens = pool->tokens,
        .window_ms = scaled(config, pool->window_ms),
        .concurrency = (uint32_t)pool->concurrency,
    };
    if (pool->requests > 0) {
        limits.pacer_interval_ms = pool->interval_ms > 0 ? scaled(config, pool->interval_ms)
                                                         : limits.window_ms / pool->requests;
        limits.pacer_burst = pool->burst > 0         ? (uint32_t)pool->burst
                             : pool->concurrency > 0 ? limits.concurrency
                                                     : BURST_DEFAULT;
    }
    return limits;
}

struct engine_limits policy_model(const struct policy *policy, const struct catalogue_model *model)
{
    const struct limiter_config *config = policy->config;
    struct pool grant = {
        .requests = model->requests_per_minute,
        .tokens = model->tokens_per_minute,
        .window_ms = MINUTE_MS,
        /* Beyond what is counted one by one it is no limit of ours. */
        .concurrency = model->concurrency <= ENGINE_LEASES_MOST ? model->concurrency : 0,
    };
    struct engine_limits limits = limits_of(config, &grant);
    uint64_t override_ms = model->tier == 1 ? config->cooldown_first : config->cooldown_others;
    limits.cooldown_ms = scaled(config, override_ms > 0 ? override_ms : model->cooldown_ms);
    return limits;
}

static struct engine_rules rules_of(const struct limiter_config *config)
{
    struct engine_rules rules = {
        .guard_ms = config->guard,
        .lease_ms = scaled(config, config->lease_ttl),
        .use_by_ms = config->use_by,
        .cooldown_most_ms = scaled(config, config->cooldown_most),
        .breaker_open_ms = scaled(config, config->breaker_open),
        .breaker_age_ms = scaled(config, config->breaker_age),
        .breaker_outcomes = (uint32_t)config->breaker_outcomes,
        .breaker_least = (uint32_t)config->breaker_least,
        .breaker_ratio = config->breaker_ratio,
        .record_open_ms = config->record_open,
        .record_done_ms = config->record_done,
        .ramp = config->ramp,
        .aging_ms = scaled(config, config->aging),
        .head_ms = config->head_life,
        .waiters_most = (uint32_t)config->waiters,
        .tenant_waiters_most = (uint32_t)config->tenant_waiters,
    };
    for (int level = 1; level < ENGINE_LEVELS; level++) {
        rules.cooldown_steps_ms[level] = scaled(config, config->cooldown_step << (level - 1));
    }
    return rules;
}

/* --- the file ----------------------------------------------------------------------------------
 */

static bool read_pool(struct policy *policy, const struct column_source *s, const struct yaml *row,
                      struct engine_limits *out, uint32_t *weight)
{
    struct pool pool = {.window_ms = MINUTE_MS, .weight = 1};
    if (!column_read(s, row, pool_columns, ARRAY_LEN(pool_columns), &pool)) {
        return false;
    }
    *out = limits_of(policy->config, &pool);
    *weight = (uint32_t)pool.weight;
    return true;
}

static bool read_tenants(struct policy *policy, const struct column_source *s,
                         const struct yaml *rows)
{
    if (rows->kind != YAML_MAPPING || rows->count > TENANTS_MOST) {
        return column_refuse(s, rows->line, "at most %d tenants by name are wanted here",
                             TENANTS_MOST);
    }
    for (const struct yaml *row = rows->children; row != NULL; row = row->next) {
        if (!limiter_tenant_valid(row->key)) {
            return column_refuse(s, row->key_line, "a tenant is 1 to 63 of a-z, 0-9 and -");
        }
        struct tenant_row *tenant = ARENA_NEW(policy->arena, struct tenant_row);
        if (!read_pool(policy, s, row, &tenant->limits, &tenant->weight)) {
            return false;
        }
        map_set(policy->tenants, row->key, tenant);
    }
    return true;
}

static bool read_root(struct policy *policy, const struct column_source *s, const struct yaml *root)
{
    if (root->kind != YAML_MAPPING) {
        return column_refuse(s, root->line, "a mapping is wanted here");
    }
    for (const struct yaml *it = root->children; it != NULL; it = it->next) {
        bool ok;
        uint32_t weight; /* the suite has nobody to share with */
        if (span_eq(it->key, SPAN("suite"))) {
            ok = read_pool(policy, s, it, &policy->suite, &weight);
        } else if (span_eq(it->key, SPAN("tenant_default"))) {
            ok = read_pool(policy, s, it, &policy->tenant_default, &policy->default_weight);
            policy->every_tenant = true;
        } else if (span_eq(it->key, SPAN("tenants"))) {
            ok = read_tenants(policy, s, it);
        } else {
            ok = column_refuse(s, it->key_line, "\"%.*s\" is not known here",
                               (int)span_first(it->key, 40).len, it->key.at);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

static struct status read_file(struct policy *policy, char error_text[256])
{
    const char *path = policy->config->policy;
    const struct column_source s = {.path = path, .error_text = error_text};
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, YAML_SIZE_MOST);
    const char *why = file_read(path, &text);
    if (why != NULL) {
        column_refuse(&s, 0, "%s", why);
        return status_of(REASON_FILE_UNREADABLE, error_text);
    }
    CLEANUP(arena_drop) struct arena *tree = arena_new(TREE_BUDGET);
    const struct yaml *root;
    struct yaml_error error;
    if (!yaml_parse(buf_span(&text), tree, &root, &error)) {
        column_refuse(&s, error.line, "%s", error.text);
        return status_of(REASON_CONFIG_INVALID, error_text);
    }
    return read_root(policy, &s, root) ? STATUS_SUCCESS
                                       : status_of(REASON_CONFIG_INVALID, error_text);
}

/* --- all together ------------------------------------------------------------------------------
 */

static struct status fill(struct policy *policy, char error_text[256])
{
    const struct limiter_config *config = policy->config;
    if (config->guard < config->use_by + config->jitter + STORE_LAG_MS) {
        return status_of(REASON_CONFIG_INVALID, "guard must be at least use_by + jitter + 50 ms");
    }
    TRY(catalogue_open(config->catalogue, error_text, &policy->catalogue));
    policy->rules = rules_of(config);
    const struct pool suite = {
        .requests = config->suite_requests,
        .window_ms = config->suite_window,
        .concurrency = config->suite_concurrency,
        .tokens = config->suite_tokens,
    };
    policy->suite = limits_of(config, &suite);
    return config->policy[0] != '\0' ? read_file(policy, error_text) : STATUS_SUCCESS;
}

struct status policy_new(const struct limiter_config *config, char error_text[256],
                         struct policy **out)
{
    struct policy *policy = ALLOC(struct policy);
    policy->config = config;
    policy->tenants = map_new();
    policy->default_weight = 1;
    policy->arena = arena_new(TENANTS_MOST * 2 * sizeof(struct tenant_row));
    struct status s = fill(policy, error_text);
    if (!status_ok(s)) {
        policy_free(policy);
        return s;
    }
    *out = policy;
    return STATUS_SUCCESS;
}

void policy_free(struct policy *policy)
{
    if (policy == NULL) {
        return;
    }
    catalogue_unref(policy->catalogue);
    map_free(policy->tenants);
    arena_free(policy->arena);
    free(policy);
}

const struct engine_limits *policy_tenant(const struct policy *policy, struct span tenant)
{
    const struct tenant_row *own = map_get(policy->tenants, tenant);
    if (own != NULL) {
        return &own->limits;
    }
    return policy->every_tenant ? &policy->tenant_default : NULL;
}

uint32_t policy_weight(const struct policy *policy, struct span tenant)
{
    const struct tenant_row *own = map_get(policy->tenants, tenant);
    return own != NULL ? own->weight : policy->default_weight;
}
