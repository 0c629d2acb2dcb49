/* How a grant ended: Complete and Cancel. */
#include "limiter/engine_parts.h"

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

/* Puts what was used in the place of the reservation. What an overrun has come to on the way is not
 * taken back. */
static uint64_t replace(struct engine_report *report, const struct engine_turn *turn,
                        struct engine_resource *resource, const struct engine_held *held)
{
    uint64_t used = used_at(report, resource, held->charge);
    if (held->overrun > 0 && used < held->charge + held->overrun) {
        return held->charge + held->overrun;
    }
    if (used > held->charge) {
        engine_window_debit(resource, turn, held->no, held->overrun, used - held->charge);
    } else {
        engine_window_lower(resource, held->no, held->charge, used);
    }
    return used;
}

/* Settles or refunds what the id holds at one resource, and frees its lease there. */
static void settle(struct engine_report *report, const struct engine_turn *turn,
                   struct engine_resource *resource)
{
    const struct engine_held *held = engine_held_at(report->record, resource);
    if (held == NULL) {
        return;
    }
    engine_touch(resource, turn);
    engine_lease_release(resource, &report->id);
    uint64_t used = 0;
    if (report->undispatched) {
        engine_window_refund(resource, held->no, held->charge);
    } else {
        used = replace(report, turn, resource, held);
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
    engine_window_debit(resource, turn, 0, 0, used);
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
    for (size_t i = 0; i < ENGINE_HELD_MOST; i++) {
        struct engine_resource *resource = report->held[i];
        if (resource == NULL) {
            continue;
        }
        if (state == ENGINE_GRANTED) {
            settle(report, turn, resource);
        } else if (!report->undispatched) {
            debit(report, turn, resource);
        }
    }
    engine_touch_record(record, turn);
    record->state = report->undispatched ? ENGINE_CANCELLED : ENGINE_SETTLED;
    record->digest = report->digest;
    record->expires_ms = turn->now_ms + turn->rules->record_done_ms;
}
