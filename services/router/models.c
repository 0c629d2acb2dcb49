/* The catalogue as callers see it, with what the limiter and the provider said of each model last.
 */
#include <string.h>

#include "base/clock.h"
#include "router/router.h"
#include "router/vitals.h"

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
            vitals_put_state(router->vitals, out->calls[out->n_calls], arena);
            vitals_put_history(router->vitals, out->calls[out->n_calls++], arena);
        }
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

Router__Model *models_known(const struct router *router, const struct catalogue *catalogue,
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
    take_best(out);
    return out;
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
    states_await(router->states);
    struct catalogue *catalogue = catalogue_ref(router->catalogue);
    Router__ListModelsResponse response = ROUTER__LIST_MODELS_RESPONSE__INIT;
    response.models = ARENA_ARRAY(arena, Router__Model *, catalogue->n_models);
    for (size_t i = 0; i < catalogue->n_models; i++) {
        Router__Model *model = models_known(router, catalogue, &catalogue->models[i], arena);
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
    return rpc_send(rpc, &response);
}

struct status models_get(struct rpc *rpc, const void *arg)
{
    const Router__GetModelRequest *request = arg;
    struct router *router = rpc_service(rpc);
    states_await(router->states);
    const struct catalogue_model *found = models_find(router->catalogue, request->name);
    if (found == NULL) {
        return rpc_not_found(rpc, REASON_MODEL_UNKNOWN, "prism.router.v1.Model", request->name);
    }
    Router__GetModelResponse response = ROUTER__GET_MODEL_RESPONSE__INIT;
    response.model = models_known(router, router->catalogue, found, rpc_arena(rpc));
    return rpc_send(rpc, &response);
}
