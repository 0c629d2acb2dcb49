#include "limiter/engine.h"

#include <string.h>

#include "limiter/engine_parts.h"

bool engine_id_eq(const struct engine_id *a, const struct engine_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void engine_resource_init(struct engine_resource *resource, struct span name, uint64_t hash,
                          enum engine_kind kind, const struct engine_limits *limits,
                          const struct engine_rules *rules)
{
    check(name.len <= ENGINE_NAME_MOST);
    check(limits->concurrency <= ENGINE_LEASES_MOST);
    check(limits->window_ms > 0 || (limits->requests == 0 && limits->tokens == 0));
    memset(resource, 0, sizeof(*resource));
    resource->hash = hash;
    memcpy(resource->name, name.at, name.len);
    resource->kind = kind;
    resource->limits = *limits;
    /* Generation 0 belongs to reports of unknown grants: it is never current. */
    resource->health.generation = 1;
    resource->health.breaker_since = 1;
    engine_window_form(resource, rules);
}

void engine_resource_adopt(struct engine_resource *resource, const struct engine_limits *limits,
                           const struct engine_rules *rules, uint64_t now_ms,
                           struct engine_window *scratch)
{
    struct engine_limits wanted =
        limits->version >= resource->limits.version ? *limits : resource->limits;
    wanted.cooldown_ms = limits->cooldown_ms;
    now_ms = now_ms > resource->last_now_ms ? now_ms : resource->last_now_ms;
    if (memcmp(&wanted, &resource->limits, sizeof(wanted)) != 0) {
        const struct engine_turn turn = {.rules = rules, .now_ms = now_ms};
        engine_window_clear_away(resource, &turn);
        resource->limits = wanted;
    }
    engine_window_reshape(resource, rules, now_ms, scratch);
}

void engine_resource_forget(struct engine_resource *resource, const struct engine_rules *rules)
{
    struct engine_window *window = &resource->window;
    resource->header = (struct engine_header){0};
    resource->last_now_ms = 0;
    *window = (struct engine_window){0};
    engine_window_form(resource, rules);
    resource->n_leases = 0;
    resource->health = (struct engine_health){
        .generation = 1,
        .breaker_since = 1,
        .gone = resource->health.gone,
    };
    resource->virtual_now = 0;
    resource->n_tags = 0;
    resource->n_heads = 0;
    resource->loss = ENGINE_LOSS_NONE;
    resource->closed_until_ms = 0;
    resource->fence = 0;
}

void engine_resource_shed(struct engine_resource *resource)
{
    const struct engine_window *window = &resource->window;
    resource->window = (struct engine_window){
        .kind = window->kind,
        .shape = window->shape + 1,
        .slot_ms = window->slot_ms,
        .last_no = window->last_no,
        .tat_ms = window->tat_ms,
    };
    resource->n_leases = 0;
}

void engine_touch(struct engine_resource *resource, const struct engine_turn *turn)
{
    if (resource->header.stamp != turn->stamp) {
        resource->header.epoch = turn->suite->header.epoch;
        resource->header.stamp = turn->stamp;
        resource->header.seq++;
        resource->last_now_ms = turn->now_ms;
    }
}

void engine_touch_record(struct engine_record *record, const struct engine_turn *turn)
{
    if (turn->suite != NULL) {
        record->header.epoch = turn->suite->header.epoch;
    }
    record->header.seq++;
    record->header.stamp = turn->stamp;
}

struct engine_held *engine_held_at(struct engine_record *record,
                                   const struct engine_resource *resource)
{
    for (uint32_t i = 0; i < record->n_held; i++) {
        if (record->held[i].hash == resource->hash) {
            return &record->held[i];
        }
    }
    return NULL;
}

enum engine_state engine_state_at(const struct engine_record *record, uint64_t now_ms)
{
    return now_ms < record->expires_ms ? record->state : ENGINE_ABSENT;
}

void engine_refuse(struct engine_judgement *judgement, enum engine_reason reason, uint64_t until_ms,
                   bool exact)
{
    judgement->reasons |= 1u << reason;
    if (until_ms > judgement->retry_at_ms) {
        judgement->retry_at_ms = until_ms;
    }
    judgement->exact = judgement->exact && exact;
}

static void judge(const struct engine_resource *resource, const struct engine_acquire *acquire,
                  const struct engine_turn *turn, uint64_t charge,
                  struct engine_judgement *judgement)
{
    const struct engine_resource *suite = acquire->pools[0];
    *judgement = (struct engine_judgement){
        .resource = resource,
        .charge = charge,
        .exact = true,
        .epoch = suite->header.epoch,
        .seq = resource->header.seq,
    };
    if (resource->closed) {
        engine_refuse(judgement, ENGINE_REASON_CLOSED, ENGINE_NEVER, true);
    }
    if (turn->now_ms < suite->closed_until_ms) {
        engine_refuse(judgement, ENGINE_REASON_STATE_LOST, suite->closed_until_ms, true);
    }
    if (resource->kind == ENGINE_MODEL) {
        engine_health_judge(resource, turn, judgement);
    }
    engine_leases_judge(resource, turn, judgement);
    engine_window_judge(resource, turn, judgement);
    if (resource->kind == ENGINE_POOL) {
        engine_queue_judge(resource, turn, acquire, judgement);
    }
}

/* A time at which something opens, and whether that rests on no hint. */
struct when {
    uint64_t at_ms;
    bool exact;
};

static void later(struct when *when, const struct engine_judgement *judgement)
{
    if (judgement->reasons == 0) {
        return;
    }
    if (judgement->retry_at_ms > when->at_ms) {
        when->at_ms = judgement->retry_at_ms;
    }
    when->exact = when->exact && judgement->exact;
}

/* When a refused request would go through. A candidate is the chosen one from the time its model
 * opens until the model of an earlier candidate does: the answer is the first moment at which the
 * pools admit the candidate that is chosen then. models: how many were judged. */
static void set_retry(const struct engine_turn *turn, const struct engine_acquire *acquire,
                      size_t models)
{
    struct engine_verdict *verdict = acquire->verdict;
    struct when best = {ENGINE_NEVER, false};
    uint64_t earlier_opens_ms = ENGINE_NEVER;
    for (size_t i = 0; i < models; i++) {
        const struct engine_judgement *model = &verdict->judged[i];
        struct when when = {0, true};
        later(&when, model);
        for (size_t p = 0; p < acquire->n_pools; p++) {
            struct engine_judgement pool;
            judge(acquire->pools[p], acquire, turn, acquire->candidates[i].pool_charge, &pool);
            later(&when, &pool);
        }
        if (when.at_ms < best.at_ms && when.at_ms < earlier_opens_ms) {
            best = when;
        }
        if (model->retry_at_ms < earlier_opens_ms) {
            earlier_opens_ms = model->retry_at_ms;
        }
    }
    if (best.at_ms != ENGINE_NEVER) {
        verdict->retry_at_ms = best.at_ms;
        verdict->exact = best.exact;
    }
}

/* The first candidate whose model is open; NULL when none is. */
static const struct engine_candidate *choose(const struct engine_turn *turn,
                                             const struct engine_acquire *acquire)
{
    struct engine_verdict *verdict = acquire->verdict;
    for (uint32_t i = 0; i < acquire->n_candidates; i++) {
        const struct engine_candidate *candidate = &acquire->candidates[i];
        struct engine_judgement *model = &verdict->judged[verdict->n_judged++];
        judge(candidate->model, acquire, turn, candidate->model_charge, model);
        if (model->reasons == 0) {
            verdict->candidate = i;
            verdict->generation = candidate->model->health.generation;
            return candidate;
        }
    }
    return NULL;
}

void engine_decide(const struct engine_turn *turn, const struct engine_acquire *acquire)
{
    struct engine_verdict *verdict = acquire->verdict;
    memset(verdict, 0, sizeof(*verdict));
    const struct engine_candidate *chosen = choose(turn, acquire);
    size_t models = verdict->n_judged;
    verdict->granted = chosen != NULL;
    for (size_t p = 0; chosen != NULL && p < acquire->n_pools; p++) {
        struct engine_judgement *pool = &verdict->judged[verdict->n_judged++];
        judge(acquire->pools[p], acquire, turn, chosen->pool_charge, pool);
        verdict->granted = verdict->granted && pool->reasons == 0;
    }
    if (!verdict->granted) {
        set_retry(turn, acquire, models);
    }
}

/* Charges one resource of a grant and says what is held there. */
static void charge(struct engine_resource *resource, const struct engine_turn *turn,
                   const struct engine_acquire *acquire, struct engine_judgement *judgement,
                   uint64_t prompt)
{
    struct engine_record *record = acquire->record;
    engine_touch(resource, turn);
    uint64_t no = engine_window_charge(resource, turn, judgement->charge);
    bool added = engine_lease_add(resource, turn, &acquire->id, &acquire->session, record->fence);
    check(added);
    const struct engine_limits *limits = &resource->limits;
    bool leased = engine_leases_most(resource) > 0;
    record->held[record->n_held++] = (struct engine_held){
        .hash = resource->hash,
        .no = no,
        .charge = judgement->charge,
        .prompt = prompt,
        .leased = leased,
    };
    judgement->seq = resource->header.seq;
    judgement->remaining.requests -= limits->requests > 0;
    judgement->remaining.leases -= leased;
    judgement->remaining.tokens -= limits->tokens > 0 ? (int64_t)judgement->charge : 0;
}

static void grant(const struct engine_turn *turn, const struct engine_acquire *acquire)
{
    struct engine_verdict *verdict = acquire->verdict;
    const struct engine_candidate *chosen = &acquire->candidates[verdict->candidate];
    struct engine_resource *model = chosen->model;
    struct engine_resource *suite = acquire->pools[0];
    struct engine_judgement *judged = &verdict->judged[verdict->n_judged - acquire->n_pools - 1];
    struct engine_record *record = acquire->record;

    struct engine_header header = record->header;
    *record = (struct engine_record){
        .header = header,
        .id = acquire->id,
        .session = acquire->session,
        .state = ENGINE_GRANTED,
        .candidate = verdict->candidate,
        .generation = verdict->generation,
        .fence = ++suite->fence,
        .granted_ms = turn->now_ms,
        .expires_ms = turn->now_ms + turn->rules->record_open_ms,
    };
    engine_touch_record(record, turn);
    charge(model, turn, acquire, &judged[0], chosen->model_prompt);
    for (size_t p = 0; p < acquire->n_pools; p++) {
        charge(acquire->pools[p], turn, acquire, &judged[1 + p], chosen->pool_prompt);
    }
    record->probe = engine_health_grant(model, turn, &acquire->id);
    engine_tags_charge(suite, acquire, chosen->pool_charge);

    verdict->probe = record->probe;
    verdict->fence = record->fence;
    verdict->lease_ms = turn->rules->lease_ms;
    verdict->use_by_ms = turn->rules->use_by_ms;
    verdict->holder = acquire->session;
}

/* A resource the id holds something of, as it is now. */
static void replay_held(const struct engine_turn *turn, const struct engine_acquire *acquire,
                        const struct engine_resource *resource)
{
    struct engine_verdict *verdict = acquire->verdict;
    const struct engine_held *held = engine_held_at(acquire->record, resource);
    if (held == NULL) {
        return;
    }
    verdict->judged[verdict->n_judged++] = (struct engine_judgement){
        .resource = resource,
        .charge = held->charge,
        .exact = true,
        .remaining = engine_remaining(turn->rules, turn->now_ms, resource),
        .epoch = turn->suite->header.epoch,
        .seq = resource->header.seq,
    };
    if (held->leased && resource->limits.concurrency > 0) {
        const struct engine_lease *lease = engine_lease_find(resource, &acquire->id, turn->now_ms);
        uint64_t left = lease != NULL ? lease->expires_ms - turn->now_ms : 0;
        verdict->lease_ms = left < verdict->lease_ms ? left : verdict->lease_ms;
    }
}

/* The answer that was given to this id before. What is left of its lease and of the time to use it
 * is told as of now, because that is what the holder counts from. */
static void replay(const struct engine_turn *turn, const struct engine_acquire *acquire,
                   enum engine_state state)
{
    struct engine_verdict *verdict = acquire->verdict;
    const struct engine_record *record = acquire->record;
    memset(verdict, 0, sizeof(*verdict));
    if (record->n_held == 0 || state == ENGINE_CANCELLED) {
        verdict->cancelled = true;
        return;
    }
    verdict->granted = true;
    verdict->replayed = true;
    verdict->probe = record->probe;
    verdict->candidate = record->candidate;
    verdict->generation = record->generation;
    verdict->fence = record->fence;
    verdict->holder = record->session;
    if (state == ENGINE_GRANTED) {
        uint64_t use_by_ms = record->granted_ms + turn->rules->use_by_ms;
        verdict->use_by_ms = use_by_ms > turn->now_ms ? use_by_ms - turn->now_ms : 0;
        verdict->lease_ms = turn->rules->lease_ms;
    }
    if (record->candidate < acquire->n_candidates) {
        replay_held(turn, acquire, acquire->candidates[record->candidate].model);
    }
    for (size_t p = 0; p < acquire->n_pools; p++) {
        replay_held(turn, acquire, acquire->pools[p]);
    }
}

void engine_acquire(const struct engine_turn *turn, const struct engine_acquire *acquire)
{
    enum engine_state state = engine_state_at(acquire->record, turn->now_ms);
    if (state != ENGINE_ABSENT) {
        replay(turn, acquire, state);
        return;
    }
    engine_decide(turn, acquire);
    if (acquire->verdict->granted) {
        grant(turn, acquire);
        if (turn->queue != NULL) {
            turn->queue->freed = true; /* the next in the order has come to the front */
        }
    }
}

struct engine_remaining engine_remaining(const struct engine_rules *rules, uint64_t now_ms,
                                         const struct engine_resource *resource)
{
    const struct engine_turn turn = {.rules = rules, .now_ms = now_ms};
    struct engine_judgement judgement = {.resource = resource};
    engine_leases_judge(resource, &turn, &judgement);
    engine_window_judge(resource, &turn, &judgement);
    return judgement.remaining;
}
