/* Leases that go on, and what their calls have produced so far. */
#include "limiter/engine_parts.h"

static enum engine_state state_of(const struct engine_renewal *renewal,
                                  const struct engine_turn *turn)
{
    return renewal->record != NULL ? engine_state_at(renewal->record, turn->now_ms) : ENGINE_ABSENT;
}

/* What the call holds there; NULL: nothing, or it is not known. */
static struct engine_held *held_at(const struct engine_renewal *renewal,
                                   const struct engine_turn *turn,
                                   const struct engine_resource *resource)
{
    bool known = state_of(renewal, turn) != ENGINE_ABSENT;
    return known ? engine_held_at(renewal->record, resource) : NULL;
}

static bool is_leaseless(const struct engine_renewal *renewal, const struct engine_turn *turn,
                         const struct engine_resource *resource)
{
    const struct engine_held *held = held_at(renewal, turn, resource);
    return held != NULL && !held->leased;
}

/* A lease that is held, by the right holder; or none, where none was needed when the call was
 * granted; or, after a loss of state and until everything that was forgotten has aged out, one that
 * nobody knows: its call runs, so its holder is believed, as is one that is vouched for. */
static bool may_renew(const struct engine_resource *resource, const struct engine_turn *turn,
                      const struct engine_renew *renew, const struct engine_renewal *renewal)
{
    const struct engine_resource *suite = renewal->held[1];
    const struct engine_lease *lease = engine_lease_find(resource, &renewal->id, turn->now_ms);
    if (lease != NULL) {
        return lease->fence == renewal->fence && engine_id_eq(&lease->session, &renew->session);
    }
    return is_leaseless(renewal, turn, resource) ||
           ((renewal->believed || turn->now_ms < suite->closed_until_ms) &&
            engine_leases_live(resource, turn->now_ms) < resource->limits.concurrency);
}

static void renew_at(struct engine_resource *resource, const struct engine_turn *turn,
                     const struct engine_renew *renew, struct engine_renewal *renewal)
{
    engine_touch(resource, turn);
    if (engine_lease_find(resource, &renewal->id, turn->now_ms) != NULL) {
        engine_lease_renew(resource, turn, &renewal->id);
    } else if (resource->limits.concurrency > 0 && !is_leaseless(renewal, turn, resource)) {
        bool added =
            engine_lease_add(resource, turn, &renewal->id, &renew->session, renewal->fence);
        check(added);
        renewal->restored = true;
    }
    if (resource->kind == ENGINE_MODEL) {
        engine_health_renew(resource, turn, &renewal->id);
    }
}

/* What was produced beyond the reservation counts from now, and not only in the end. */
static void top_up(struct engine_resource *resource, const struct engine_turn *turn,
                   const struct engine_renewal *renewal)
{
    struct engine_held *held = held_at(renewal, turn, resource);
    if (held == NULL) {
        return;
    }
    uint64_t output = resource->kind == ENGINE_MODEL ? renewal->model_output : renewal->pool_output;
    uint64_t used = held->prompt + output;
    if (used > held->charge + held->overrun) {
        engine_window_debit(resource, turn, held->no, held->overrun, used - held->charge);
        held->overrun = used - held->charge;
        engine_touch_record(renewal->record, turn);
    }
}

static void renew_one(const struct engine_turn *turn, const struct engine_renew *renew,
                      struct engine_renewal *renewal)
{
    struct engine_resource *suite = renewal->held[1];
    enum engine_state state = state_of(renewal, turn);
    renewal->restored = false;
    renewal->lost = state == ENGINE_SETTLED || state == ENGINE_CANCELLED;
    for (size_t i = 0; i < ENGINE_HELD_MOST; i++) {
        const struct engine_resource *resource = renewal->held[i];
        if (resource != NULL && resource->limits.concurrency > 0 &&
            !may_renew(resource, turn, renew, renewal)) {
            renewal->lost = true;
        }
    }
    for (size_t i = 0; i < ENGINE_HELD_MOST && !renewal->lost; i++) {
        if (renewal->held[i] != NULL) {
            renew_at(renewal->held[i], turn, renew, renewal);
        }
        if (renewal->held[i] != NULL) {
            top_up(renewal->held[i], turn, renewal);
        }
    }
    if (!renewal->lost && suite->fence < renewal->fence) {
        suite->fence = renewal->fence;
    }
}

static bool is_younger(const struct engine_renewal *renewal)
{
    for (size_t i = 0; i < ENGINE_HELD_MOST; i++) {
        if (renewal->held[i] != NULL && renewal->seqs[i] > renewal->held[i]->header.seq) {
            return true;
        }
    }
    return false;
}

void engine_renew(const struct engine_turn *turn, struct engine_renew *renew)
{
    renew->amnesia = false;
    for (size_t i = 0; i < renew->n_leases; i++) {
        renew->amnesia = renew->amnesia || is_younger(&renew->leases[i]);
    }
    for (size_t i = 0; i < renew->n_leases && !renew->amnesia; i++) {
        renew_one(turn, renew, &renew->leases[i]);
    }
}
