/* What comes back about a grant: Complete, Cancel and Renew. */
#include "limiter/engine_parts.h"

static const struct engine_held *held_at(const struct engine_record *record,
                                         const struct engine_resource *resource)
{
    for (uint32_t i = 0; i < record->n_held; i++) {
        if (record->held[i].hash == resource->hash) {
            return &record->held[i];
        }
    }
    return NULL;
}

static uint64_t used_at(const struct engine_report *report, const struct engine_resource *resource,
                        uint64_t reserved)
{
    if (report->outcome == ENGINE_GONE) {
        return 0;
    }
    uint64_t used = resource->kind == ENGINE_MODEL ? report->model_tokens : report->pool_tokens;
    return report->partial && used < reserved ? reserved : used;
}

static void settlement_add(struct engine_report *report, const struct engine_turn *turn,
                           const struct engine_resource *resource, uint64_t reserved,
                           uint64_t charged)
{
    report->settlements[report->n_settlements++] = (struct engine_settlement){
        .resource = resource,
        .reserved = reserved,
        .charged = charged,
        .remaining = engine_remaining(turn->rules, turn->now_ms, resource),
    };
}

/* Settles or refunds what the id holds at one resource, and frees its lease there. */
static void settle(struct engine_report *report, const struct engine_turn *turn,
                   struct engine_resource *resource)
{
    const struct engine_held *held = held_at(report->record, resource);
    if (held == NULL) {
        return;
    }
    engine_touch(resource, turn);
    engine_lease_release(resource, &report->id);
    uint64_t used = 0;
    if (report->undispatched) {
        engine_window_refund(resource, held->no, held->charge);
    } else {
        used = used_at(report, resource, held->charge);
        engine_window_settle(resource, turn, held->no, held->charge, used);
    }
    if (resource->kind == ENGINE_MODEL) {
        if (report->undispatched) {
            engine_health_release(resource, &report->id);
        } else {
            engine_health_report(resource, turn, report, report->record->generation);
        }
    }
    settlement_add(report, turn, resource, held->charge, used);
}

/* The grant was forgotten, or never was. Its usage counts from now. */
static void debit(struct engine_report *report, const struct engine_turn *turn,
                  struct engine_resource *resource)
{
    uint64_t used = used_at(report, resource, 0);
    engine_touch(resource, turn);
    engine_lease_release(resource, &report->id);
    engine_window_debit(resource, turn, 0, used);
    if (resource->kind == ENGINE_MODEL) {
        engine_health_report(resource, turn, report, 0);
    }
    settlement_add(report, turn, resource, 0, used);
}

static enum engine_result ended_before(const struct engine_report *report, enum engine_state state)
{
    if (state == ENGINE_CANCELLED) {
        return report->undispatched ? ENGINE_REPLAYED : ENGINE_ALREADY_RELEASED;
    }
    return report->record->digest == report->digest ? ENGINE_REPLAYED : ENGINE_ALREADY_SETTLED;
}

void engine_report(const struct engine_turn *turn, struct engine_report *report)
{
    struct engine_record *record = report->record;
    enum engine_state state = engine_state_at(record, turn->now_ms);
    report->n_settlements = 0;
    if (state == ENGINE_SETTLED || state == ENGINE_CANCELLED) {
        report->result = ended_before(report, state);
        return;
    }
    report->result = state == ENGINE_GRANTED ? ENGINE_APPLIED : ENGINE_UNKNOWN_ID;
    if (state == ENGINE_ABSENT) {
        struct engine_header header = record->header;
        *record = (struct engine_record){.header = header, .id = report->id};
    }
    uint64_t epoch = record->header.epoch;
    for (size_t i = 0; i < ENGINE_HELD_MOST; i++) {
        struct engine_resource *resource = report->held[i];
        if (resource == NULL) {
            continue;
        }
        epoch = resource->header.epoch;
        if (state == ENGINE_GRANTED) {
            settle(report, turn, resource);
        } else if (!report->undispatched) {
            debit(report, turn, resource);
        }
    }
    engine_touch_record(record, turn, epoch);
    record->state = report->undispatched ? ENGINE_CANCELLED : ENGINE_SETTLED;
    record->digest = report->digest;
    record->expires_ms = turn->now_ms + turn->rules->record_done_ms;
}

/* A lease that is held, by the right holder; or, after a loss of state and until everything that
 * was forgotten has aged out, one that nobody knows: its call runs, so its holder is believed. */
static bool may_renew(const struct engine_resource *resource, const struct engine_turn *turn,
                      const struct engine_renew *renew, const struct engine_renewal *renewal)
{
    const struct engine_resource *suite = renewal->held[1];
    const struct engine_lease *lease = engine_lease_find(resource, &renewal->id, turn->now_ms);
    if (lease != NULL) {
        return lease->fence == renewal->fence && engine_id_eq(&lease->session, &renew->session);
    }
    return turn->now_ms < suite->closed_until_ms &&
           engine_leases_live(resource, turn->now_ms) < resource->limits.concurrency;
}

static void renew_at(struct engine_resource *resource, const struct engine_turn *turn,
                     const struct engine_renew *renew, const struct engine_renewal *renewal)
{
    engine_touch(resource, turn);
    if (engine_lease_find(resource, &renewal->id, turn->now_ms) != NULL) {
        engine_lease_renew(resource, turn, &renewal->id);
    } else {
        bool added =
            engine_lease_add(resource, turn, &renewal->id, &renew->session, renewal->fence);
        check(added);
    }
    if (resource->kind == ENGINE_MODEL) {
        engine_health_renew(resource, turn, &renewal->id);
    }
}

static void renew_one(const struct engine_turn *turn, const struct engine_renew *renew,
                      struct engine_renewal *renewal)
{
    struct engine_resource *suite = renewal->held[1];
    renewal->lost = false;
    for (size_t i = 0; i < ENGINE_HELD_MOST; i++) {
        struct engine_resource *resource = renewal->held[i];
        if (resource != NULL && resource->limits.concurrency > 0 &&
            !may_renew(resource, turn, renew, renewal)) {
            renewal->lost = true;
            return;
        }
    }
    for (size_t i = 0; i < ENGINE_HELD_MOST; i++) {
        if (renewal->held[i] != NULL) {
            renew_at(renewal->held[i], turn, renew, renewal);
        }
    }
    if (suite->fence < renewal->fence) {
        suite->fence = renewal->fence;
    }
}

void engine_renew(const struct engine_turn *turn, struct engine_renew *renew)
{
    for (size_t i = 0; i < renew->n_leases; i++) {
        renew_one(turn, renew, &renew->leases[i]);
    }
}
