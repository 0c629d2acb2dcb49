/* A new catalogue while calls are admitted. What is in use stays: a model that the new one does not
 * know gets no calls any more, its running ones are renewed and settled. */
#include <string.h>

#include "base/log.h"
#include "limiter/home_redis.h"
#include "limiter/limiter.h"

#define ARENA_MOST (1u << 20)

/* The limits that the catalogue has now, as an order. */
struct adoption {
    struct ask ask;
    struct engine_order order;
    struct engine_resource *resource;
};

static struct status find(struct limiter *limiter, struct ask *ask, bool make_room)
{
    (void)make_room;
    struct adoption *adoption = CONTAINER_OF(ask, struct adoption, ask);
    adoption->order.suite = limiter->suite;
    adoption->order.resource = adoption->resource;
    return STATUS_SUCCESS;
}

static void answer(struct limiter *limiter, struct ask *ask)
{
    (void)limiter;
    (void)ask;
}

static void adopt(struct limiter *limiter, const struct catalogue *old, size_t i) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    const struct catalogue_target *target = &limiter->policy->catalogue->targets[i];
    const struct catalogue_target *before = catalogue_find_target(old, target->name);
    struct adoption *adoption = ARENA_NEW(arena, struct adoption);
    ask_init(limiter, &adoption->ask, arena, find, answer);
    adoption->resource = limiter->models[i];
    adoption->order.kind = ENGINE_ADOPT;
    adoption->order.limits = policy_model(limiter->policy, &target->model);
    adoption->order.reopen =
        before != NULL && strcmp(before->model.model_id, target->model.model_id) != 0;
    adoption->ask.event.order = &adoption->order;
    struct status s = home_decide(limiter, &adoption->ask);
    if (!status_ok(s)) {
        LOG(WARN, "limits of the new catalogue could not be kept",
            KV("resource", adoption->resource->name), KV("err", s));
    }
}

/* Who still asks for what the catalogue has no longer is told that it is gone. */
static void retire_former_models(const struct limiter *limiter)
{
    for (size_t i = 0; i < store_slots(limiter->store); i++) {
        struct engine_resource *resource = store_resource_at(limiter->store, i);
        if (resource != NULL && resource->kind == ENGINE_MODEL &&
            catalogue_find_target(limiter->policy->catalogue, resource->name) == NULL) {
            resource->health.retired = true;
        }
    }
}

static struct status take(struct limiter *limiter, struct catalogue *fresh)
{
    return limiter_take_models(limiter, fresh, limiter->policy->rules.record_open_ms)
               ? STATUS_SUCCESS
               : status_of(REASON_CONFIG_INVALID,
                           "no room for its models beside those in use: start anew, or raise "
                           "tenant_pools");
}

/* The limiter has taken its models. */
static void follow(struct limiter *limiter, struct catalogue *fresh) PARKS
{
    struct catalogue *old = limiter->policy->catalogue;
    limiter->policy->catalogue = fresh;
    retire_former_models(limiter);
    limiter_look_at_dates(limiter);
    for (size_t i = 0; i < fresh->n_targets; i++) {
        adopt(limiter, old, i);
    }
    catalogue_unref(old);
}

void limiter_reload(struct limiter *limiter, struct loop *loop)
{
    const struct catalogue *old = limiter->policy->catalogue;
    struct catalogue *fresh = NULL;
    char error_text[256];
    struct status s = catalogue_reload(loop, limiter->config->catalogue, error_text, &fresh);
    bool same = status_ok(s) && memcmp(fresh->hash, old->hash, sizeof(old->hash)) == 0;
    if (status_ok(s) && !same) {
        s = take(limiter, fresh);
    }
    const char *result = !status_ok(s) ? "refused" : same ? "unchanged" : "taken";
    METRIC_ADD(limiter->metrics.catalogue_reloads_total, 1, result);
    if (!status_ok(s)) {
        LOG(ERROR, "the catalogue is not taken, the old one stays", KV("err", s));
    } else {
        LOG(INFO, "catalogue", KV("result", result), KV("source", fresh->source),
            KV("models", fresh->n_models), KV("targets", fresh->n_targets));
    }
    if (!status_ok(s) || same) {
        catalogue_unref(fresh);
        return;
    }
    follow(limiter, fresh);
    struct limiter *alone =
        limiter->redis != NULL ? home_alone_limiter(limiter->redis->alone) : NULL;
    if (alone != NULL && status_ok(take(alone, fresh))) {
        follow(alone, catalogue_ref(fresh));
    }
}
