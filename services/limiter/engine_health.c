#include <string.h>

#include "limiter/engine_parts.h"

static bool probe_runs(const struct engine_health *health, uint64_t now_ms)
{
    return health->breaker == ENGINE_BREAKER_HALF_OPEN && now_ms < health->probe_expires_ms;
}

static bool is_probe(const struct engine_health *health, const struct engine_id *id,
                     uint64_t now_ms)
{
    return probe_runs(health, now_ms) && engine_id_eq(&health->probe, id);
}

void engine_health_judge(const struct engine_resource *resource, const struct engine_turn *turn,
                         struct engine_judgement *judgement)
{
    const struct engine_health *health = &resource->health;
    if (health->gone || health->retired) {
        engine_refuse(judgement, ENGINE_REASON_MODEL_GONE, ENGINE_NEVER, true);
    }
    if (turn->now_ms < health->cooldown_until_ms) {
        engine_refuse(judgement, ENGINE_REASON_COOLDOWN, health->cooldown_until_ms, true);
    }
    if (health->breaker == ENGINE_BREAKER_OPEN && turn->now_ms < health->open_until_ms) {
        engine_refuse(judgement, ENGINE_REASON_BREAKER_OPEN, health->open_until_ms, true);
    }
    if (probe_runs(health, turn->now_ms)) {
        engine_refuse(judgement, ENGINE_REASON_PROBE_RUNNING, health->probe_expires_ms, false);
    }
}

bool engine_health_grant(struct engine_resource *resource, const struct engine_turn *turn,
                         const struct engine_id *id)
{
    struct engine_health *health = &resource->health;
    if (health->breaker == ENGINE_BREAKER_CLOSED) {
        return false;
    }
    health->breaker = ENGINE_BREAKER_HALF_OPEN;
    health->probe = *id;
    health->probe_expires_ms = turn->now_ms + turn->rules->lease_ms;
    return true;
}

void engine_health_renew(struct engine_resource *resource, const struct engine_turn *turn,
                         const struct engine_id *id)
{
    struct engine_health *health = &resource->health;
    if (is_probe(health, id, turn->now_ms)) {
        health->probe_expires_ms = turn->now_ms + turn->rules->lease_ms;
    }
}

void engine_health_release(struct engine_resource *resource, const struct engine_id *id)
{
    struct engine_health *health = &resource->health;
    if (health->breaker == ENGINE_BREAKER_HALF_OPEN && engine_id_eq(&health->probe, id)) {
        health->probe_expires_ms = 0;
    }
}

/* Joins the cooldown: nothing ever shortens it. A generation climbs one step however many of its
 * calls are throttled at once, and a late report of an older one climbs none. */
static void cool_down(struct engine_resource *resource, const struct engine_turn *turn,
                      uint64_t server_retry_ms, bool current)
{
    struct engine_health *health = &resource->health;
    const struct engine_rules *rules = turn->rules;
    health->ramp = rules->ramp;
    uint64_t wait_ms = resource->limits.cooldown_ms;
    if (current) {
        wait_ms += rules->cooldown_steps_ms[health->level];
        health->level += health->level + 1 < ENGINE_LEVELS;
        health->generation++;
    }
    if (server_retry_ms > rules->cooldown_most_ms) {
        server_retry_ms = rules->cooldown_most_ms;
    }
    if (server_retry_ms > wait_ms) {
        wait_ms = server_retry_ms;
    }
    if (turn->now_ms + wait_ms > health->cooldown_until_ms) {
        health->cooldown_until_ms = turn->now_ms + wait_ms;
    }
}

/* A success while it recovers: twice as many may run. */
static void ramp_up(struct engine_resource *resource)
{
    struct engine_health *health = &resource->health;
    uint32_t limit = resource->limits.concurrency;
    health->ramp *= 2;
    if (health->ramp >= (limit > 0 ? limit : ENGINE_LEASES_MOST)) {
        health->ramp = 0;
    }
}

static void breaker_set(struct engine_health *health, enum engine_breaker breaker)
{
    health->breaker = breaker;
    health->breaker_since = ++health->generation;
    health->probe_expires_ms = 0;
    health->n_outcomes = 0;
}

void engine_health_close_breaker(struct engine_resource *resource)
{
    breaker_set(&resource->health, ENGINE_BREAKER_CLOSED);
}

static void breaker_open(struct engine_health *health, const struct engine_turn *turn)
{
    breaker_set(health, ENGINE_BREAKER_OPEN);
    health->ramp = turn->rules->ramp;
    health->open_until_ms = turn->now_ms + turn->rules->breaker_open_ms;
}

static void breaker_count(struct engine_health *health, const struct engine_turn *turn, bool failed)
{
    const struct engine_rules *rules = turn->rules;
    if (health->n_outcomes >= rules->breaker_outcomes) {
        health->n_outcomes--;
        memmove(health->outcomes, health->outcomes + 1,
                health->n_outcomes * sizeof(health->outcomes[0]));
    }
    health->outcomes[health->n_outcomes++] = (struct engine_outcome){turn->now_ms, failed};

    uint32_t counted = 0, failures = 0;
    for (uint32_t i = 0; i < health->n_outcomes; i++) {
        if (turn->now_ms < health->outcomes[i].at_ms + rules->breaker_age_ms) {
            counted++;
            failures += health->outcomes[i].failed;
        }
    }
    if (counted >= rules->breaker_least && failures >= rules->breaker_ratio * counted) {
        breaker_open(health, turn);
    }
}

static void breaker_report(struct engine_health *health, const struct engine_turn *turn,
                           const struct engine_report *report, uint64_t generation)
{
    bool verdict = report->outcome == ENGINE_OK || report->outcome == ENGINE_FAILED;
    bool failed = report->outcome == ENGINE_FAILED;
    if (health->breaker == ENGINE_BREAKER_CLOSED) {
        if (verdict && generation >= health->breaker_since) {
            breaker_count(health, turn, failed);
        }
    } else if (is_probe(health, &report->id, turn->now_ms)) {
        if (!verdict) {
            health->probe_expires_ms = 0;
        } else if (failed) {
            breaker_open(health, turn);
        } else {
            breaker_set(health, ENGINE_BREAKER_CLOSED);
        }
    }
}

void engine_health_report(struct engine_resource *resource, const struct engine_turn *turn,
                          const struct engine_report *report, uint64_t generation)
{
    struct engine_health *health = &resource->health;
    bool current = generation == health->generation;
    bool asked_to_wait = report->outcome == ENGINE_FAILED && report->server_retry_ms > 0;
    if (report->outcome == ENGINE_THROTTLED || asked_to_wait) {
        cool_down(resource, turn, report->server_retry_ms, current);
    } else if (report->outcome == ENGINE_OK && current) {
        health->level = 0;
        ramp_up(resource);
    } else if (report->outcome == ENGINE_GONE) {
        health->gone = true;
    }
    breaker_report(health, turn, report, generation);
}
