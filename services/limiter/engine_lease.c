#include "limiter/engine_parts.h"

uint32_t engine_leases_live(const struct engine_resource *resource, uint64_t now_ms)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < resource->n_leases; i++) {
        live += now_ms < resource->leases[i].expires_ms;
    }
    return live;
}

/* How many live leases have run out by then. */
static uint32_t expired_by(const struct engine_resource *resource, uint64_t now_ms,
                           uint64_t then_ms)
{
    return engine_leases_live(resource, now_ms) - engine_leases_live(resource, then_ms);
}

uint32_t engine_leases_most(const struct engine_resource *resource)
{
    uint32_t most = resource->limits.concurrency, ramp = resource->health.ramp;
    return ramp > 0 && (most == 0 || ramp < most) ? ramp : most;
}

void engine_leases_judge(const struct engine_resource *resource, const struct engine_turn *turn,
                         struct engine_judgement *judgement)
{
    uint32_t most = engine_leases_most(resource);
    uint32_t live = engine_leases_live(resource, turn->now_ms);
    if (live < most) {
        judgement->remaining.leases = most - live;
    }
    if (most == 0 || live < most) {
        return;
    }
    /* If nobody renews or releases: when enough of them have run out. */
    uint64_t free_ms = ENGINE_NEVER;
    for (uint32_t i = 0; i < resource->n_leases; i++) {
        uint64_t then_ms = resource->leases[i].expires_ms;
        if (turn->now_ms < then_ms && then_ms < free_ms &&
            expired_by(resource, turn->now_ms, then_ms) > live - most) {
            free_ms = then_ms;
        }
    }
    engine_refuse(judgement, ENGINE_REASON_CONCURRENCY, free_ms, false);
}

static struct engine_lease *find(struct engine_resource *resource, const struct engine_id *id)
{
    for (uint32_t i = 0; i < resource->n_leases; i++) {
        if (engine_id_eq(&resource->leases[i].id, id)) {
            return &resource->leases[i];
        }
    }
    return NULL;
}

const struct engine_lease *engine_lease_find(const struct engine_resource *resource,
                                             const struct engine_id *id, uint64_t now_ms)
{
    for (uint32_t i = 0; i < resource->n_leases; i++) {
        const struct engine_lease *lease = &resource->leases[i];
        if (engine_id_eq(&lease->id, id) && now_ms < lease->expires_ms) {
            return lease;
        }
    }
    return NULL;
}

static void drop_expired(struct engine_resource *resource, uint64_t now_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < resource->n_leases; i++) {
        if (now_ms < resource->leases[i].expires_ms) {
            resource->leases[kept++] = resource->leases[i];
        }
    }
    resource->n_leases = kept;
}

bool engine_lease_add(struct engine_resource *resource, const struct engine_turn *turn,
                      const struct engine_id *id, const struct engine_id *session, uint64_t fence)
{
    if (engine_leases_most(resource) == 0) {
        return true;
    }
    drop_expired(resource, turn->now_ms);
    uint32_t most = resource->limits.concurrency;
    if (resource->n_leases >= (most > 0 ? most : ENGINE_LEASES_MOST)) {
        return false;
    }
    resource->leases[resource->n_leases++] = (struct engine_lease){
        .id = *id,
        .session = *session,
        .fence = fence,
        .expires_ms = turn->now_ms + turn->rules->lease_ms,
    };
    return true;
}

void engine_lease_renew(struct engine_resource *resource, const struct engine_turn *turn,
                        const struct engine_id *id)
{
    struct engine_lease *lease = find(resource, id);
    if (lease != NULL) {
        lease->expires_ms = turn->now_ms + turn->rules->lease_ms;
    }
}

void engine_lease_release(struct engine_resource *resource, const struct engine_id *id)
{
    struct engine_lease *lease = find(resource, id);
    if (lease != NULL) {
        *lease = resource->leases[--resource->n_leases];
    }
}
