/* The catalogue as callers see it, with the limiter's present opinion of each model. */
#include <string.h>

#include "base/clock.h"
#include "prism/limiter/v1/limiter.pb-c.h"
#include "router/router.h"
#include "router/vitals.h"

#define PEEK_MOST  64 /* that the limiter shows at once */
#define POLL_ARENA (8u << 20)
#define PAGE_MOST  200
#define PAGE_USUAL 50

const struct catalogue_model *models_find(const struct catalogue *catalogue, const char *name)
{
    struct span wanted = span_str(name);
    if (span_starts(wanted, SPAN("models/"))) {
        name += strlen("models/");
    }
    return catalogue_find(catalogue, name);
}

static char *date(struct arena *arena, uint64_t wall_s)
{
    if (wall_s == 0) {
        return arena_string(arena, SPAN_NONE);
    }
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 64);
    clock_add_rfc3339(&text, wall_s * 1000);
    return arena_string(arena, span_first(buf_span(&text), strlen("2026-01-02")));
}

char *models_legacy_warning(const struct catalogue_model *model, struct arena *arena)
{
    return model->gone_from_s > 0 ? arena_printf(arena, "%s is a legacy model; it ends on %s",
                                                 model->name, date(arena, model->gone_from_s))
                                  : arena_printf(arena, "%s is a legacy model", model->name);
}

static Router__ModelCapabilities *capabilities(const struct catalogue_model *model,
                                               struct arena *arena)
{
    static const Router__ModelCapabilities__Temperature temperatures[] = {
        [CATALOGUE_TEMPERATURE_YES] = ROUTER__MODEL_CAPABILITIES__TEMPERATURE__TEMPERATURE_ANY,
        [CATALOGUE_TEMPERATURE_ONLY_1] =
            ROUTER__MODEL_CAPABILITIES__TEMPERATURE__TEMPERATURE_ONLY_ONE,
        [CATALOGUE_TEMPERATURE_NEVER] = ROUTER__MODEL_CAPABILITIES__TEMPERATURE__TEMPERATURE_NEVER,
    };
    Router__ModelCapabilities *out = ARENA_NEW(arena, Router__ModelCapabilities);
    router__model_capabilities__init(out);
    out->thinking_budget = model->thinking == CATALOGUE_THINKING_BUDGET;
    out->thinking_adaptive = model->thinking == CATALOGUE_THINKING_ADAPTIVE;
    out->temperature = temperatures[model->temperature];
    return out;
}

static Router__ModelLimits *limits(const struct catalogue_model *model, struct arena *arena)
{
    Router__ModelLimits *out = ARENA_NEW(arena, Router__ModelLimits);
    router__model_limits__init(out);
    out->context_window_tokens = model->context_window;
    out->max_output_tokens = model->max_output;
    out->requests_per_minute = model->requests_per_minute;
    out->tokens_per_minute = model->tokens_per_minute;
    out->concurrency = (uint32_t)model->concurrency;
    out->output_burndown = model->estimate.burn;
    out->expected_output_tokens = model->estimate.expected_output;
    return out;
}

static Router__ModelPrices *prices(const struct catalogue_model *model, struct arena *arena)
{
    const struct price *price = price_at(&model->prices, clock_wall_ms() / 1000);
    Router__ModelPrices *out = ARENA_NEW(arena, Router__ModelPrices);
    router__model_prices__init(out);
    out->input_micro_usd_per_million = (int64_t)price->input;
    out->output_micro_usd_per_million = (int64_t)price->output;
    out->cache_read_micro_usd_per_million = (int64_t)price->cache_read;
    out->cache_write_micro_usd_per_million = (int64_t)price->cache_write;
    return out;
}

static Router__ModelRegion *region_of(const struct catalogue_target *target, struct arena *arena)
{
    Router__ModelRegion *out = ARENA_NEW(arena, Router__ModelRegion);
    router__model_region__init(out);
    out->region = arena_string(arena, span_str(target->region));
    out->model_id = arena_string(arena, span_str(target->model.model_id));
    out->resource = arena_string(arena, span_str(target->name));
    if (catalogue_lifecycle_at(&target->model, clock_wall_ms() / 1000) == CATALOGUE_GONE) {
        out->state = ROUTER__MODEL__STATE__STATE_GONE;
    }
    return out;
}

static void add_regions(Router__Model *out, const struct router *router,
                        const struct catalogue *catalogue, const struct catalogue_model *model,
                        struct arena *arena)
{
    out->regions = ARENA_ARRAY(arena, char *, model->n_regions);
    out->calls = ARENA_ARRAY(arena, Router__ModelRegion *, model->n_regions);
    for (size_t i = 0; i < catalogue->n_targets; i++) {
        const struct catalogue_target *target = &catalogue->targets[i];
        if (strcmp(target->model.name, model->name) == 0) {
            out->regions[out->n_regions++] = arena_string(arena, span_str(target->region));
            out->calls[out->n_calls] = region_of(target, arena);
            vitals_put_history(router->vitals, out->calls[out->n_calls++], arena);
        }
    }
}

static Router__Model *model_of(const struct router *router, const struct catalogue *catalogue,
                               const struct catalogue_model *model, struct arena *arena)
{
    static const Router__Model__Lifecycle lifecycles[] = {
        [CATALOGUE_ACTIVE] = ROUTER__MODEL__LIFECYCLE__LIFECYCLE_ACTIVE,
        [CATALOGUE_LEGACY] = ROUTER__MODEL__LIFECYCLE__LIFECYCLE_LEGACY,
        [CATALOGUE_GONE] = ROUTER__MODEL__LIFECYCLE__LIFECYCLE_GONE,
    };
    Router__Model *out = ARENA_NEW(arena, Router__Model);
    router__model__init(out);
    out->name = arena_printf(arena, "models/%s", model->name);
    out->display_name = arena_string(arena, span_str(model->title));
    out->tier = model->tier;
    out->model_id = arena_string(arena, span_str(model->model_id));
    add_regions(out, router, catalogue, model, arena);
    out->lifecycle = lifecycles[catalogue_lifecycle_at(model, clock_wall_ms() / 1000)];
    out->legacy_date = date(arena, model->legacy_from_s);
    out->end_of_life_date = date(arena, model->gone_from_s);
    out->capabilities = capabilities(model, arena);
    out->limits = limits(model, arena);
    out->prices = prices(model, arena);
    return out;
}

static Router__Model__State state_of(Limiter__ResourceState state)
{
    switch (state) {
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN:
        return ROUTER__MODEL__STATE__STATE_OPEN;
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_COOLDOWN:
        return ROUTER__MODEL__STATE__STATE_COOLDOWN;
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_BREAKER_OPEN:
        return ROUTER__MODEL__STATE__STATE_BREAKER_OPEN;
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_HALF_OPEN:
        return ROUTER__MODEL__STATE__STATE_HALF_OPEN;
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE:
        return ROUTER__MODEL__STATE__STATE_GONE;
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_CLOSED:
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_STATE_LOST:
        return ROUTER__MODEL__STATE__STATE_CLOSED;
    case LIMITER__RESOURCE_STATE__RESOURCE_STATE_UNSPECIFIED:
    case _LIMITER__RESOURCE_STATE_IS_INT_SIZE:
        break;
    }
    return ROUTER__MODEL__STATE__STATE_UNSPECIFIED;
}

static void take_state(Router__ModelRegion *region, const Limiter__Resource *resource,
                       struct arena *arena)
{
    if (region->state == ROUTER__MODEL__STATE__STATE_GONE) {
        return; /* the catalogue's dates are final */
    }
    region->state = state_of(resource->state);
    region->state_reason = arena_string(arena, span_str(resource->note));
    if (resource->state_ms > 0) {
        uint64_t until = clock_wall_ms() + resource->state_ms;
        region->state_until = ARENA_NEW(arena, Google__Protobuf__Timestamp);
        google__protobuf__timestamp__init(region->state_until);
        region->state_until->seconds = (int64_t)(until / 1000);
        region->state_until->nanos = (int32_t)(until % 1000) * 1000000;
    }
}

/* A model is as good as the best of its regions, the first of equals. */
static void take_best(Router__Model *model)
{
    static const Router__Model__State order[] = {
        ROUTER__MODEL__STATE__STATE_OPEN,     ROUTER__MODEL__STATE__STATE_HALF_OPEN,
        ROUTER__MODEL__STATE__STATE_COOLDOWN, ROUTER__MODEL__STATE__STATE_BREAKER_OPEN,
        ROUTER__MODEL__STATE__STATE_CLOSED,   ROUTER__MODEL__STATE__STATE_UNSPECIFIED,
        ROUTER__MODEL__STATE__STATE_GONE,
    };
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        for (size_t k = 0; k < model->n_calls; k++) {
            if (model->calls[k]->state == order[i]) {
                model->state = model->calls[k]->state;
                model->state_until = model->calls[k]->state_until;
                model->state_reason = model->calls[k]->state_reason;
                return;
            }
        }
    }
}

/* Best effort: without the limiter the states stay unspecified and say why. */
static void ask_regions(struct router *router, struct arena *arena, Router__ModelRegion **regions,
                        size_t n) PARKS
{
    Limiter__PeekRequest request = LIMITER__PEEK_REQUEST__INIT;
    request.resources = ARENA_ARRAY(arena, char *, n);
    request.n_resources = n;
    for (size_t i = 0; i < n; i++) {
        request.resources[i] = regions[i]->resource;
    }
    void *answer;
    struct status s = rpc_call(router->limiter, &limiter__limiter_service__descriptor, "Peek",
                               &request, arena, &answer);
    for (size_t i = 0; i < n; i++) {
        if (!status_ok(s)) {
            regions[i]->state_reason =
                arena_string(arena, span_str("the limiter could not be asked"));
            continue;
        }
        const Limiter__PeekResponse *reply = answer;
        for (size_t k = 0; k < reply->n_resources; k++) {
            if (strcmp(reply->resources[k]->name, regions[i]->resource) == 0) {
                take_state(regions[i], reply->resources[k], arena);
            }
        }
    }
}

static void ask_states(struct router *router, struct arena *arena, Router__Model **models,
                       size_t n) PARKS
{
    Router__ModelRegion *regions[PEEK_MOST];
    size_t waiting = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < models[i]->n_calls; k++) {
            regions[waiting++] = models[i]->calls[k];
            if (waiting == PEEK_MOST) {
                ask_regions(router, arena, regions, waiting);
                waiting = 0;
            }
        }
    }
    if (waiting > 0) {
        ask_regions(router, arena, regions, waiting);
    }
    for (size_t i = 0; i < n; i++) {
        take_best(models[i]);
    }
}

Router__Model *models_known(const struct router *router, const struct catalogue *catalogue,
                            const struct catalogue_model *model, struct arena *arena)
{
    Router__Model *out = model_of(router, catalogue, model, arena);
    for (size_t i = 0; i < out->n_calls; i++) {
        vitals_put_state(router->vitals, out->calls[i], arena);
    }
    take_best(out);
    return out;
}

void models_poll(struct router *router)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(POLL_ARENA);
    const struct catalogue *catalogue = router->catalogue;
    size_t n = catalogue->n_targets;
    Router__ModelRegion **regions = ARENA_ARRAY(arena, Router__ModelRegion *, n);
    for (size_t i = 0; i < n; i++) {
        regions[i] = region_of(&catalogue->targets[i], arena);
    }
    for (size_t i = 0; i < n; i += PEEK_MOST) {
        ask_regions(router, arena, regions + i, n - i < PEEK_MOST ? n - i : PEEK_MOST);
    }
    for (size_t i = 0; i < n; i++) {
        vitals_take_state(router->vitals, regions[i]);
    }
}

struct status models_list(struct rpc *rpc, const void *arg)
{
    const Router__ListModelsRequest *request = arg;
    struct router *router = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    uint64_t first = 0;
    if (request->page_size < 0) {
        return rpc_bad_field(rpc, "page_size", "is negative");
    }
    if (request->page_token[0] != '\0' && !span_parse_u64(span_str(request->page_token), &first)) {
        return rpc_bad_field(rpc, "page_token", "is not a token of this method");
    }
    size_t most = request->page_size == 0          ? PAGE_USUAL
                  : request->page_size > PAGE_MOST ? PAGE_MOST
                                                   : (size_t)request->page_size;
    struct catalogue *catalogue = catalogue_ref(router->catalogue);
    Router__ListModelsResponse response = ROUTER__LIST_MODELS_RESPONSE__INIT;
    response.models = ARENA_ARRAY(arena, Router__Model *, catalogue->n_models);
    for (size_t i = 0; i < catalogue->n_models; i++) {
        Router__Model *model = model_of(router, catalogue, &catalogue->models[i], arena);
        if (request->hide_gone && model->lifecycle == ROUTER__MODEL__LIFECYCLE__LIFECYCLE_GONE) {
            continue;
        }
        uint64_t place = (uint64_t)response.total_size++;
        if (place >= first && response.n_models < most) {
            response.models[response.n_models++] = model;
        }
    }
    catalogue_unref(catalogue);
    if (first + response.n_models < (uint64_t)response.total_size) {
        response.next_page_token = arena_printf(arena, "%lu", first + response.n_models);
    }
    ask_states(router, arena, response.models, response.n_models);
    return rpc_send(rpc, &response);
}

struct status models_get(struct rpc *rpc, const void *arg)
{
    const Router__GetModelRequest *request = arg;
    struct router *router = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    const struct catalogue_model *found = models_find(router->catalogue, request->name);
    if (found == NULL) {
        return rpc_not_found(rpc, REASON_MODEL_UNKNOWN, "prism.router.v1.Model", request->name);
    }
    Router__GetModelResponse response = ROUTER__GET_MODEL_RESPONSE__INIT;
    response.model = model_of(router, router->catalogue, found, arena);
    ask_states(router, arena, &response.model, 1);
    return rpc_send(rpc, &response);
}
