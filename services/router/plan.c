/* The candidates of a call and what becomes of them. */
#include <string.h>

#include "base/clock.h"
#include "codec/hash.h"
#include "codec/retry.h"
#include "loop/task.h"
#include "router/lessons.h"
#include "router/router.h"

static void skip(struct plan *plan, const struct catalogue_target *target, const char *reason)
{
    const struct catalogue_model *model = &target->model;
    if (plan->n_skipped == ROUTER_SKIPPED_MOST) {
        return;
    }
    Router__SkippedModel *skipped = ARENA_NEW(plan->arena, Router__SkippedModel);
    router__skipped_model__init(skipped);
    skipped->model = arena_printf(plan->arena, "models/%s", model->name);
    skipped->region = arena_string(plan->arena, span_str(target->region));
    skipped->tier = model->tier;
    skipped->n_reasons = 1;
    skipped->reasons = ARENA_NEW(plan->arena, char *);
    skipped->reasons[0] = arena_string(plan->arena, span_str(reason));
    plan->skipped[plan->n_skipped++] = skipped;
}

struct choice {
    struct router *router;
    struct plan *plan;
    const struct estimate_lesson *lessons; /* one a model of the catalogue */
};

/* The shape of a request depends on the model, not on the region it is called in. */
static void shape(const struct choice *choice, const struct catalogue_model *model,
                  const struct catalogue_target *target, struct candidate *candidate)
{
    struct plan *plan = choice->plan;
    const struct candidate *before = plan->n_candidates > 0 ? candidate - 1 : NULL;
    if (before != NULL && strcmp(before->model->name, model->name) == 0) {
        *candidate = *before;
        candidate->model = &target->model;
    } else {
        reshape(choice->router, plan->generation, &target->model, plan->arena, candidate);
        candidate->estimated_input = candidate->tokens.input;
        candidate->tokens.input = estimate_correct(
            &choice->lessons[model - plan->catalogue->models], candidate->estimated_input);
    }
    candidate->region = target->region;
    candidate->resource = target->name;
}

static void consider(const struct choice *choice, const struct catalogue_model *model,
                     const struct catalogue_target *target)
{
    struct plan *plan = choice->plan;
    if (catalogue_lifecycle_at(&target->model, plan->begin_wall_ms / 1000) == CATALOGUE_GONE) {
        skip(plan, target, reason_name(REASON_TIER_GONE));
        return;
    }
    if (plan->n_candidates == ROUTER_CANDIDATES_MOST) {
        return;
    }
    struct candidate *candidate = &plan->candidates[plan->n_candidates];
    shape(choice, model, target, candidate);
    if (candidate->tokens.input + candidate->tokens.max_output > model->context_window) {
        skip(plan, target, reason_name(REASON_CONTEXT_WINDOW_EXCEEDED));
        return;
    }
    plan->n_candidates++;
}

/* In its regions, the one that is to be called first before the others. */
static void consider_regions(const struct choice *choice, const struct catalogue_model *model)
{
    const struct catalogue *catalogue = choice->plan->catalogue;
    const char *preferred = choice->router->config->bedrock_region;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < catalogue->n_targets; i++) {
            const struct catalogue_target *target = &catalogue->targets[i];
            bool first = strcmp(target->region, preferred) == 0;
            if (strcmp(target->model.name, model->name) == 0 && first == (round == 0)) {
                consider(choice, model, target);
            }
        }
    }
}

static bool wanted(const Router__Generation *g, const struct catalogue_model *model)
{
    for (size_t i = 0; i < g->n_tiers; i++) {
        if (g->tiers[i] == model->tier) {
            return true;
        }
    }
    return g->n_tiers == 0 && model->tier > 0;
}

/* Any thread: the task waits, its plan and arena are left alone, and router is read only. */
static void choose(void *arg)
{
    const struct choice *choice = arg;
    struct plan *plan = choice->plan;
    const Router__Generation *g = plan->generation;
    for (size_t i = 0; i < g->n_models; i++) {
        consider_regions(choice, models_find(plan->catalogue, g->models[i]));
    }
    if (g->n_models > 0) {
        return;
    }
    for (size_t i = 0; i < plan->catalogue->n_models; i++) {
        const struct catalogue_model *model = &plan->catalogue->models[i];
        if (wanted(g, model)) {
            consider_regions(choice, model);
        }
    }
}

struct status plan_make(struct router *router, const Router__Generation *g, const char *tenant,
                        struct arena *arena, struct plan *plan)
{
    *plan = (struct plan){
        .catalogue = catalogue_ref(router->catalogue),
        .generation = g,
        .tenant = tenant,
        .tenant_pool = arena_printf(arena, "tenant:%s", tenant),
        .arena = arena,
        .candidates = ARENA_ARRAY(arena, struct candidate, ROUTER_CANDIDATES_MOST),
        .attempts_most = router->config->max_attempts,
        .begin_ms = loop_now_ms(router->loop),
        .begin_wall_ms = clock_wall_ms(),
        .skipped = ARENA_ARRAY(arena, Router__SkippedModel *, ROUTER_SKIPPED_MOST),
    };
    if (g->max_attempts > 0 && g->max_attempts < plan->attempts_most) {
        plan->attempts_most = g->max_attempts;
    }
    plan->attempts = ARENA_ARRAY(arena, struct attempt, plan->attempts_most);
    if (g->call_id.len == ROUTER_ID_SIZE) {
        memcpy(plan->call_id, g->call_id.data, ROUTER_ID_SIZE);
    } else {
        hash_random(plan->call_id, ROUTER_ID_SIZE);
    }
    struct choice choice = {router, plan, lessons_of(router->lessons, plan->catalogue, arena)};
    TRY(loop_work_over(reshape_bytes(g), choose, &choice));
    plan->n_unfit = plan->n_skipped;
    if (plan->n_candidates > 0) {
        return STATUS_SUCCESS;
    }
    for (size_t i = 0; i < plan->n_skipped; i++) {
        if (strcmp(plan->skipped[i]->reasons[0], reason_name(REASON_CONTEXT_WINDOW_EXCEEDED)) ==
            0) {
            return status_of(REASON_CONTEXT_WINDOW_EXCEEDED, NULL);
        }
    }
    return status_of(REASON_NO_TIER_AVAILABLE, g->n_tiers > 0
                                                   ? "no living model has one of these tiers"
                                                   : "every model is retired");
}

void plan_drop(struct plan **plan)
{
    catalogue_unref((*plan)->catalogue);
}

/* --- what is next ----------------------------------------------------------------------------- */

/* The first that is still asked for; NULL: none. */
static const struct candidate *next_candidate(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_candidates; i++) {
        if (plan->candidates[i].out == REASON_NONE) {
            return &plan->candidates[i];
        }
    }
    return NULL;
}

bool plan_throttled(enum reason reason)
{
    return reason == REASON_TIER_THROTTLED || reason == REASON_TIER_THROTTLED_REQUESTS ||
           reason == REASON_TIER_THROTTLED_DAILY;
}

/* Every model that may come back was throttled: the limiter knows how long each of them rests. */
static bool all_throttled(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_candidates; i++) {
        const struct candidate *c = &plan->candidates[i];
        if (!c->out_for_good && !plan_throttled(c->out)) {
            return false;
        }
    }
    return true;
}

/* The whole chain failed: everything that may come back does, after a wait. */
static bool next_round(struct router *router, struct plan *plan, struct status *s) PARKS
{
    bool known = all_throttled(plan);
    for (size_t i = 0; i < plan->n_candidates; i++) {
        if (!plan->candidates[i].out_for_good) {
            plan->candidates[i].out = REASON_NONE;
        }
    }
    if (next_candidate(plan) == NULL) {
        *s = status_of(
            REASON_NO_TIER_AVAILABLE,
            arena_printf(plan->arena, "no model is left; the last one said: %s", status_text(*s)));
        return false;
    }
    if (known) {
        task_yield(); /* the report of the last attempt goes first */
        return true;
    }
    uint32_t random;
    hash_random(&random, sizeof(random));
    uint64_t wait = retry_backoff_ms(plan->rounds++, router->config->backoff,
                                     router->config->backoff_most, random);
    if (wait >= task_left_ms()) {
        *s = status_retry(REASON_NO_TIER_AVAILABLE, (uint32_t)wait,
                          arena_printf(plan->arena, "every model failed; the last one said: %s",
                                       status_text(*s)));
        return false;
    }
    struct status slept = task_sleep_ms(wait);
    if (!status_ok(slept)) {
        *s = slept;
        return false;
    }
    return true;
}

bool plan_goes_on(struct router *router, struct plan *plan, struct status *s)
{
    struct attempt *last = &plan->attempts[plan->n_attempts - 1];
    enum reason_class class = reason_class(s->reason);
    bool expired = s->reason == REASON_GRANT_EXPIRED;
    if (class != CLASS_TRY_NEXT_TIER && class != CLASS_SKIP_TIER && !expired) {
        return false;
    }
    struct status mine = task_status();
    if (!status_ok(mine)) {
        *s = mine;
        return false;
    }
    if (last->usage_partial && strcmp(router->config->replay, "never") == 0) {
        return false; /* it may be answered, and paid for, where nobody hears it */
    }
    if (expired) {
        plan->n_attempts--; /* nothing was sent: ask for another grant */
        return true;
    }
    struct candidate *failed = &plan->candidates[last->candidate - plan->candidates];
    failed->out = s->reason;
    failed->out_for_good = class == CLASS_SKIP_TIER;
    if (plan->n_attempts >= plan->attempts_most) {
        *s = status_of(REASON_ATTEMPTS_USED_UP,
                       arena_printf(plan->arena, "%zu requests failed; the last one: %s",
                                    plan->n_attempts, status_text(*s)));
        return false;
    }
    const struct candidate *next = next_candidate(plan);
    if (next == NULL) {
        return next_round(router, plan, s);
    }
    if (router->config->fallback_wait > 0 && next->model->tier != failed->model->tier) {
        struct status slept = task_sleep_ms(router->config->fallback_wait);
        if (!status_ok(slept)) {
            *s = slept;
            return false;
        }
    }
    return true;
}
