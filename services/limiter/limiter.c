#include "limiter/limiter.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "codec/hash.h"
#include "limiter/home_redis.h"

#define PAIRS_MOST 4096 /* models x tenants whose answers are followed */

static void metrics_init(struct limiter_metrics *m)
{
#define METRIC(kind, name, labels, help)                                                           \
    m->name = metric_##kind("prism_limiter_" #name, labels, help);
#include "limiter/metrics.def"
}

struct status limiter_new(const struct limiter_config *config, uint64_t (*clock_ms)(void),
                          char error_text[256], struct limiter **out)
{
    struct policy *policy;
    TRY(policy_new(config, error_text, &policy));
    struct limiter *limiter = ALLOC(struct limiter);
    limiter->config = config;
    limiter->policy = policy;
    limiter->clock_ms = clock_ms;
    limiter->wall_ms = clock_wall_ms;
    metrics_init(&limiter->metrics);
    limiter->outputs = outputs_new(PAIRS_MOST);
    limiter->waiters = map_new();
    limiter->unaccepted = map_new();
    list_init(&limiter->watches);

    uint32_t instance;
    hash_random(&instance, sizeof(instance));
    limiter->stamp = (uint64_t)instance << 32;
    engine_queue_init(&limiter->queue, instance, false);
    size_t resources = 1 + policy->catalogue->n_targets + config->tenant_pools;
    struct status s = limiter_begin(limiter, resources, error_text);
    if (status_ok(s) && strcmp(config->store, "redis") == 0) {
        s = home_redis_new(limiter, error_text, &limiter->redis);
    }
    if (!status_ok(s)) {
        limiter_free(limiter);
        return s;
    }
    *out = limiter;
    return STATUS_SUCCESS;
}

void limiter_free(struct limiter *limiter)
{
    if (limiter == NULL) {
        return;
    }
    home_redis_free(limiter->redis);
    check(limiter->queue.n == 0 && limiter->grants == 0);
    if (limiter->loop != NULL) {
        timer_stop(&limiter->wake);
    }
    map_free(limiter->waiters);
    map_free(limiter->unaccepted);
    audit_free(limiter->audit);
    outputs_free(limiter->outputs);
    store_free(limiter->store);
    policy_free(limiter->policy);
    free(limiter);
}

void limiter_set_ready(const struct limiter *limiter, bool ready, const char *why)
{
    METRIC_SET(limiter->metrics.store_ready, ready);
    if (limiter->on_ready != NULL) {
        limiter->on_ready(limiter->on_ready_arg, ready, why);
    }
}

/* --- what there is -----------------------------------------------------------------------------
 */

uint64_t limiter_tenant_hash(struct span tenant)
{
    uint8_t digest[HASH_SHA256_SIZE];
    uint64_t hash;
    hash_sha256(tenant, digest);
    memcpy(&hash, digest, sizeof(hash));
    return hash;
}

bool limiter_tenant_valid(struct span tenant)
{
    for (size_t i = 0; i < tenant.len; i++) {
        char c = tenant.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
    }
    return tenant.len > 0 && tenant.len <= 63;
}

bool limiter_tenant_pool(struct limiter *limiter, struct span tenant, bool make_room,
                         struct engine_resource **out)
{
    const struct engine_limits *limits = policy_tenant(limiter->policy, tenant);
    if (limits == NULL) {
        *out = NULL;
        return true;
    }
    char name[sizeof("tenant:") + 63];
    check(tenant.len <= 63);
    memcpy(name, "tenant:", 7);
    memcpy(name + 7, tenant.at, tenant.len);
    struct span span = span_of(name, 7 + tenant.len);
    struct engine_resource *pool = store_resource(limiter->store, span);
    if (pool == NULL) {
        uint64_t keep_ms = make_room ? limiter->policy->rules.record_open_ms : ENGINE_NEVER;
        pool = store_resource_add(limiter->store, span, ENGINE_POOL, limits, home_now_ms(limiter),
                                  keep_ms);
        if (pool == NULL) {
            return false;
        }
        audit_forget(limiter->audit, store_resource_slot(limiter->store, pool));
    }
    *out = pool;
    return true;
}

/* Models retire while the process runs. */
static void look_at_date(const struct limiter *limiter, size_t i)
{
    const struct catalogue_model *model = &limiter->policy->catalogue->targets[i].model;
    limiter->models[i]->health.retired =
        catalogue_lifecycle_at(model, limiter->wall_ms() / 1000) == CATALOGUE_GONE;
}

bool limiter_model(const struct limiter *limiter, const char *name, size_t *out)
{
    const struct catalogue *catalogue = limiter->policy->catalogue;
    const struct catalogue_target *target = catalogue_find_target(catalogue, name);
    if (target == NULL) {
        return false;
    }
    *out = (size_t)(target - catalogue->targets);
    look_at_date(limiter, *out);
    return true;
}

struct engine_resource *limiter_former_model(const struct limiter *limiter, const char *name)
{
    struct engine_resource *resource = store_resource(limiter->store, span_str(name));
    return resource != NULL && resource->kind == ENGINE_MODEL && resource->health.retired ? resource
                                                                                          : NULL;
}

void limiter_look_at_dates(const struct limiter *limiter)
{
    for (size_t i = 0; i < limiter->policy->catalogue->n_targets; i++) {
        look_at_date(limiter, i);
    }
}

void limiter_collect(void *arg)
{
    const struct limiter *limiter = arg;
    const struct limiter_metrics *m = &limiter->metrics;
    uint64_t now_ms = home_now_ms(limiter);
    size_t parked = limiter->queue.n;
    for (size_t i = 0; i < store_slots(limiter->store); i++) {
        const struct engine_resource *resource = store_resource_at(limiter->store, i);
        if (resource == NULL) {
            continue;
        }
        METRIC_SET(m->leases, engine_leases_live(resource, now_ms), resource->name);
        if (resource->kind == ENGINE_MODEL) {
            METRIC_SET(m->cooldown_level, resource->health.level, resource->name);
        } else {
            size_t depth = engine_queue_depth(&limiter->queue, resource);
            METRIC_SET(m->waiters, (double)depth, resource->name);
            parked -= depth;
        }
    }
    METRIC_SET(m->waiters, (double)parked, "");
    METRIC_SET(m->resources, (double)store_resources(limiter->store));
    METRIC_SET(m->records, (double)store_records(limiter->store));
    METRIC_SET(m->closed, now_ms < limiter->suite->closed_until_ms);
}
