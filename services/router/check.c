/* Checks of models that nobody has used for a while: the cheapest request there is, in their turn
 * among all calls, one for the whole fleet. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/hash.h"
#include "router/router.h"
#include "router/settlement.h"
#include "router/vitals.h"

#define ARENA_MOST  (1u << 20)
#define SPREAD_MS   1000 /* routers need not all ask at the same moment */
#define TENANT      "health"
#define ANSWER_MOST 1 /* token */

struct checks {
    struct router *router;
    struct task *task;
};

static struct status put_nowhere(struct sink *sink, const Router__GenerateResponse *event)
{
    (void)sink;
    (void)event;
    return STATUS_SUCCESS;
}

static Router__Generation *question(const char *model, struct arena *arena)
{
    Router__Generation *g = ARENA_NEW(arena, Router__Generation);
    Router__Message *message = ARENA_NEW(arena, Router__Message);
    Router__ContentBlock *block = ARENA_NEW(arena, Router__ContentBlock);
    router__generation__init(g);
    router__message__init(message);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block->text = arena_string(arena, SPAN("hi"));
    message->role = ROUTER__ROLE__ROLE_USER;
    message->content = ARENA_NEW(arena, Router__ContentBlock *);
    message->content[message->n_content++] = block;
    g->messages = ARENA_NEW(arena, Router__Message *);
    g->messages[g->n_messages++] = message;
    g->models = ARENA_NEW(arena, char *);
    g->models[g->n_models++] = arena_string(arena, span_str(model));
    g->priority = ROUTER__PRIORITY__PRIORITY_BACKGROUND;
    g->max_content_tokens = ANSWER_MOST;
    return g;
}

/* The same for every router at the same time, so that the limiter grants it to one of them. */
static void make_id(const char *resource, uint64_t slot, uint8_t id[ROUTER_ID_SIZE])
{
    uint8_t digest[HASH_SHA256_SIZE];
    struct hash_sha256 *hash = hash_sha256_begin();
    hash_sha256_add(hash, SPAN("health check\n"));
    hash_sha256_add(hash, span_str(resource));
    hash_sha256_add(hash, span_of(&slot, sizeof(slot)));
    hash_sha256_end(hash, digest);
    memcpy(id, digest, ROUTER_ID_SIZE);
}

/* In this region only. */
static void keep_only(struct plan *plan, const char *resource)
{
    for (size_t i = 0; i < plan->n_candidates; i++) {
        if (strcmp(plan->candidates[i].resource, resource) != 0) {
            plan->candidates[i].out = REASON_TIER_UNAVAILABLE;
        }
    }
}

static struct status check_admitted(struct router *router, struct plan *plan,
                                    struct grant *grant) PARKS
{
    struct sink nowhere = {put_nowhere};
    struct record_hashes hashes = {0};
    Router__Completed *completed = ARENA_NEW(plan->arena, Router__Completed);
    struct attempt *attempt = &plan->attempts[plan->n_attempts++];
    struct status s = relay(router, plan, grant, &nowhere, attempt, completed, &hashes);
    limiter_complete(router, plan, grant, attempt);
    completed->metadata = plan_metadata(plan, plan->arena, loop_now_ms(router->loop));
    records_add(router, plan, s, completed, &hashes);
    return s;
}

static void check_target(struct router *router, const char *model, const char *resource,
                         uint64_t slot) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    CLEANUP(plan_drop) struct plan *plan = ARENA_NEW(arena, struct plan);
    struct grant grant;
    uint8_t id[ROUTER_ID_SIZE];
    make_id(resource, slot, id);
    struct status s = plan_make(router, question(model, arena), TENANT, arena, plan);
    if (!status_ok(s)) {
        return; /* retired by its date */
    }
    plan->check = true;
    keep_only(plan, resource);
    const char *result;
    if (limiter_acquire_once(router, plan, id, &grant)) {
        s = check_admitted(router, plan, &grant);
        result = status_ok(s) ? "OK" : reason_name(s.reason);
        LOG(INFO, "model checked", KV("resource", resource), KV("result", result));
    } else {
        result = "left"; /* another router does it, or it is not open */
    }
    METRIC_ADD(router->metrics.checks_total, 1, resource, result);
}

/* One after the other: checks shall not be in anybody's way. */
static void check_idle(struct router *router) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct catalogue *catalogue = catalogue_ref(router->catalogue);
    uint64_t every = router->config->health_every;
    for (size_t i = 0; i < catalogue->n_targets && status_ok(task_status()); i++) {
        const struct catalogue_target *target = &catalogue->targets[i];
        if (catalogue_find_target(router->catalogue, target->name) != NULL &&
            vitals_idle(router->vitals, target->name, every)) {
            check_target(router, target->model.name, target->name, clock_wall_ms() / every);
        }
    }
    catalogue_unref(catalogue);
}

static void run(void *arg) PARKS
{
    struct checks *checks = arg;
    struct router *router = checks->router;
    uint64_t every = router->config->health_every;
    for (;;) {
        uint32_t random;
        hash_random(&random, sizeof(random));
        uint64_t spread = every < 10 * SPREAD_MS ? every / 10 : SPREAD_MS;
        uint64_t to_next = every - clock_wall_ms() % every;
        if (!status_ok(task_sleep_ms(to_next + random % (spread + 1)))) {
            break;
        }
        check_idle(router);
    }
    checks->task = NULL;
}

struct checks *checks_start(struct router *router)
{
    if (router->config->health_every == 0) {
        return NULL;
    }
    struct checks *checks = ALLOC(struct checks);
    checks->router = router;
    checks->task = task_spawn(
        router->loop, &(struct task_options){.name = "checks", .deadline_ms = TASK_DEADLINE_NONE},
        run, checks);
    return checks;
}

void checks_stop(struct checks *checks)
{
    if (checks == NULL) {
        return;
    }
    task_cancel(checks->task, status_of(REASON_SHUTTING_DOWN, NULL));
    while (checks->task != NULL) {
        (void)!status_ok(task_sleep_ms(1));
    }
    free(checks);
}
