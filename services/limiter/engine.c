#include "limiter/engine.h"

#include <string.h>

#include "limiter/engine_parts.h"

bool engine_id_eq(const struct engine_id *a, const struct engine_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void engine_resource_init(struct engine_resource *resource, struct span name, uint64_t hash,
                          enum engine_kind kind, const struct engine_limits *limits, uint64_t epoch)
{
    check(name.len <= ENGINE_NAME_MOST);
    check(limits->concurrency <= ENGINE_LEASES_MOST);
    check(limits->window_ms > 0 || (limits->requests == 0 && limits->tokens == 0));
    memset(resource, 0, sizeof(*resource));
    resource->header.epoch = epoch;
    resource->hash = hash;
    memcpy(resource->name, name.at, name.len);
    resource->kind = kind;
    resource->limits = *limits;
    /* Generation 0 belongs to reports of unknown grants: it is never current. */
    resource->health.generation = 1;
    resource->health.breaker_since = 1;
}

void engine_touch(struct engine_resource *resource, const struct engine_turn *turn)
{
    if (resource->header.stamp != turn->stamp) {
        resource->header.stamp = turn->stamp;
        resource->header.seq++;
        resource->last_now_ms = turn->now_ms;
    }
}

void engine_touch_record(struct engine_record *record, const struct engine_turn *turn,
                         uint64_t epoch)
{
    record->header.epoch = epoch;
    record->header.seq++;
    record->header.stamp = turn->stamp;
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

static void judge(const struct engine_resource *resource, const struct engine_resource *suite,
                  const struct engine_turn *turn, uint64_t charge,
                  struct engine_judgement *judgement)
{
    *judgement = (struct engine_judgement){
        .resource = resource,
        .charge = charge,
        .exact = true,
        .epoch = resource->header.epoch,
        .seq = resource->header.seq,
    };
    if (turn->now_ms < suite->closed_until_ms) {
        engine_refuse(judgement, ENGINE_REASON_STATE_LOST, suite->closed_until_ms, true);
    }
    if (resource->kind == ENGINE_MODEL) {
        engine_health_judge(resource, turn, judgement);
    }
    engine_leases_judge(resource, turn, judgement);
    engine_window_judge(resource, turn, judgement);
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
            judge(acquire->pools[p], acquire->pools[0], turn, acquire->candidates[i].pool_charge,
                  &pool);
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
        judge(candidate->model, acquire->pools[0], turn, candidate->model_charge, model);
        if (model->reasons == 0) {
            verdict->candidate = i;
            verdict->generation = candidate->model->health.generation;
            return candidate;
        }
    }
    return NULL;
}

static void decide(const struct engine_turn *turn, const struct engine_acquire *acquire)
{
    struct engine_verdict *verdict = acquire->verdict;
    memset(verdict, 0, sizeof(*verdict));
    const struct engine_candidate *chosen = choose(turn, acquire);
    size_t models = verdict->n_judged;
    verdict->granted = chosen != NULL;
    for (size_t p = 0; chosen != NULL && p < acquire->n_pools; p++) {
        struct engine_judgement *pool = &verdict->judged[verdict->n_judged++];
        judge(acquire->pools[p], acquire->pools[0], turn, chosen->pool_charge, pool);
        verdict->granted = verdict->granted && pool->reasons == 0;
    }
    if (!verdict->granted) {
        set_retry(turn, acquire, models);
    }
}

/* Charges one resource of a grant and says what is held there. */
static void charge(struct engine_resource *resource, const struct engine_turn *turn,
                   const struct engine_acquire *acquire, struct engine_judgement *judgement)
{
    struct engine_record *record = acquire->record;
    engine_touch(resource, turn);
    uint64_t no = engine_window_charge(resource, turn, judgement->charge);
    bool added = engine_lease_add(resource, turn, &acquire->id, &acquire->session, record->fence);
    check(added);
    record->held[record->n_held++] = (struct engine_held){resource->hash, no, judgement->charge};

    const struct engine_limits *limits = &resource->limits;
    judgement->seq = resource->header.seq;
    judgement->remaining.requests -= limits->requests > 0;
    judgement->remaining.leases -= limits->concurrency > 0;
    judgement->remaining.tokens -= limits->tokens > 0 ? (int64_t)judgement->charge : 0;
}

static void grant(const struct engine_turn *turn, const struct engine_acquire *acquire)
{
    struct engine_verdict *verdict = acquire->verdict;
    struct engine_resource *model = acquire->candidates[verdict->candidate].model;
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
    engine_touch_record(record, turn, suite->header.epoch);
    charge(model, turn, acquire, &judged[0]);
    for (size_t p = 0; p < acquire->n_pools; p++) {
        charge(acquire->pools[p], turn, acquire, &judged[1 + p]);
    }
    record->probe = engine_health_grant(model, turn, &acquire->id);

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
    const struct engine_record *record = acquire->record;
    for (uint32_t i = 0; i < record->n_held; i++) {
        if (record->held[i].hash != resource->hash) {
            continue;
        }
        struct engine_judgement *held = &verdict->judged[verdict->n_judged++];
        *held = (struct engine_judgement){
            .resource = resource,
            .charge = record->held[i].charge,
            .exact = true,
            .remaining = engine_remaining(turn->rules, turn->now_ms, resource),
            .epoch = resource->header.epoch,
            .seq = resource->header.seq,
        };
        if (resource->limits.concurrency > 0) {
            const struct engine_lease *lease =
                engine_lease_find(resource, &record->id, turn->now_ms);
            uint64_t left = lease != NULL ? lease->expires_ms - turn->now_ms : 0;
            verdict->lease_ms = left < verdict->lease_ms ? left : verdict->lease_ms;
        }
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

static void acquire_one(const struct engine_turn *turn, const struct engine_acquire *acquire)
{
    enum engine_state state = engine_state_at(acquire->record, turn->now_ms);
    if (state != ENGINE_ABSENT) {
        replay(turn, acquire, state);
        return;
    }
    decide(turn, acquire);
    if (acquire->verdict->granted) {
        grant(turn, acquire);
    }
}

/* Time never runs backwards for a resource, whatever the clock of this process says. */
static uint64_t latest(uint64_t now_ms, struct engine_resource *const *resources, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (resources[i] != NULL && resources[i]->last_now_ms > now_ms) {
            now_ms = resources[i]->last_now_ms;
        }
    }
    return now_ms;
}

static uint64_t acquire_latest(uint64_t now_ms, const struct engine_acquire *acquire)
{
    for (size_t i = 0; i < acquire->n_candidates; i++) {
        now_ms = latest(now_ms, &acquire->candidates[i].model, 1);
    }
    return latest(now_ms, acquire->pools, acquire->n_pools);
}

static uint64_t event_latest(uint64_t now_ms, const struct engine_event *event)
{
    if (event->acquire != NULL) {
        return acquire_latest(now_ms, event->acquire);
    }
    if (event->report != NULL) {
        return latest(now_ms, event->report->held, ENGINE_HELD_MOST);
    }
    for (size_t i = 0; i < event->renew->n_leases; i++) {
        now_ms = latest(now_ms, event->renew->leases[i].held, ENGINE_HELD_MOST);
    }
    return now_ms;
}

uint64_t engine_step(const struct engine_rules *rules, uint64_t now_ms, uint64_t stamp,
                     struct engine_event *events, size_t n_events)
{
    for (size_t i = 0; i < n_events; i++) {
        now_ms = event_latest(now_ms, &events[i]);
    }
    const struct engine_turn turn = {rules, now_ms, stamp};
    for (size_t i = 0; i < n_events; i++) {
        if (events[i].report != NULL) {
            engine_report(&turn, events[i].report);
        } else if (events[i].renew != NULL) {
            engine_renew(&turn, events[i].renew);
        }
    }
    for (size_t i = 0; i < n_events; i++) {
        if (events[i].acquire != NULL) {
            acquire_one(&turn, events[i].acquire);
        }
    }
    return now_ms;
}

void engine_peek(const struct engine_rules *rules, uint64_t now_ms,
                 const struct engine_acquire *acquire)
{
    const struct engine_turn turn = {rules, acquire_latest(now_ms, acquire), 0};
    decide(&turn, acquire);
}

struct engine_remaining engine_remaining(const struct engine_rules *rules, uint64_t now_ms,
                                         const struct engine_resource *resource)
{
    const struct engine_turn turn = {rules, now_ms, 0};
    struct engine_judgement judgement = {.resource = resource};
    engine_leases_judge(resource, &turn, &judgement);
    engine_window_judge(resource, &turn, &judgement);
    return judgement.remaining;
}
