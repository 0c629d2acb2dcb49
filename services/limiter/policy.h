/*
 * policy.h -- the numbers: rules of the engine, limits of suite, tenants and models.
 *
 * Floor 6. Made once at the start from options, policy file and catalogue; immutable then, but for
 * the catalogue, which may be exchanged (reload.c). The policy file:
 *
 *     suite: {requests: 30, window: 60s, concurrency: 5, tokens: 120_000}
 *     tenant_default: {requests: 10}      # absent: tenants without a row have no pool
 *     tenants:
 *       acme: {concurrency: 2, tokens: 50_000, burst: 2, interval: 2s, weight: 3}
 *
 * What a pool leaves out is no limit of it; window is 60s, burst its concurrency (5 without one),
 * interval window / requests. Among waiters a tenant's share goes by its weight, 1 unless it is
 * given.
 */
#ifndef PRISM_LIMITER_POLICY_H
#define PRISM_LIMITER_POLICY_H

#include "base/status.h"
#include "catalogue/catalogue.h"
#include "limiter/engine.h"

struct limiter_config;

struct policy {
    struct engine_rules rules;
    struct engine_limits suite;
    struct catalogue *catalogue;
    /* private */
    const struct limiter_config *config;
    bool every_tenant;
    struct engine_limits tenant_default;
    uint32_t default_weight;
    struct map *tenants; /* name -> struct tenant_row * */
    struct arena *arena;
};

/* CONFIG_INVALID or FILE_UNREADABLE with error_text as detail. config outlives the policy. */
struct status policy_new(const struct limiter_config *config, char error_text[256],
                         struct policy **out) NODISCARD;
void policy_free(struct policy *policy); /* takes NULL */

/* NULL: the tenant has no pool. */
const struct engine_limits *policy_tenant(const struct policy *policy, struct span tenant);

uint32_t policy_weight(const struct policy *policy, struct span tenant);

struct engine_limits policy_model(const struct policy *policy, const struct catalogue_model *model);

#endif
