#include "limiter/request.h"

#include <string.h>

#include "loop/task.h"

#define BUSY_RETRY_MS 1000

bool request_id(ProtobufCBinaryData data, struct engine_id *out)
{
    if (data.len != sizeof(out->bytes)) {
        return false;
    }
    memcpy(out->bytes, data.data, sizeof(out->bytes));
    return true;
}

struct status request_tenant(struct arena *arena, const char *given, struct span *out)
{
    *out = span_str(given[0] != '\0' ? given : task_context()->tenant);
    return limiter_tenant_valid(*out)
               ? STATUS_SUCCESS
               : status_bad_field(arena, "tenant", "must be 1 to 63 of a-z, 0-9 and -");
}

struct status request_no_room(void)
{
    return status_retry(REASON_OVERLOADED, BUSY_RETRY_MS, "no room for another request or tenant");
}

struct status request_resource(struct limiter *limiter, struct arena *arena, const char *name,
                               bool make_room, struct engine_resource **out)
{
    struct span span = span_str(name), prefix = SPAN("tenant:");
    struct engine_resource *resource = store_resource(limiter->store, span);
    if (resource == NULL && span_starts(span, prefix) &&
        limiter_tenant_valid(span_from(span, prefix.len)) &&
        !limiter_tenant_pool(limiter, span_from(span, prefix.len), make_room, &resource)) {
        return request_no_room();
    }
    if (resource == NULL) {
        return status_not_found(arena, REASON_RESOURCE_UNKNOWN, "resource", name);
    }
    *out = resource;
    return STATUS_SUCCESS;
}

static struct status take_tokens(struct arena *arena, const Limiter__TokenEstimate *tokens,
                                 struct estimate_tokens *out)
{
    if (tokens == NULL || tokens->max_tokens == 0) {
        return status_bad_field(arena, "candidates.tokens.max_tokens", "must be 1 or more");
    }
    if (tokens->input_tokens > REQUEST_TOKENS_MOST ||
        tokens->cache_read_tokens > REQUEST_TOKENS_MOST ||
        tokens->cache_write_tokens > REQUEST_TOKENS_MOST ||
        tokens->max_tokens > REQUEST_TOKENS_MOST) {
        return status_bad_field(arena, "candidates.tokens", "must be at most 1,000,000,000 each");
    }
    *out = (struct estimate_tokens){
        .input = tokens->input_tokens,
        .cache_read = tokens->cache_read_tokens,
        .cache_write = tokens->cache_write_tokens,
        .max_output = tokens->max_tokens,
    };
    return STATUS_SUCCESS;
}

static struct status take_candidate(const struct limiter *limiter, struct arena *arena,
                                    const Limiter__Candidate *candidate, struct span tenant,
                                    struct engine_candidate *out)
{
    size_t place;
    struct estimate_tokens tokens;
    if (!limiter_model(limiter, candidate->model, &place)) {
        out->model = limiter_former_model(limiter, candidate->model);
        if (out->model != NULL) {
            return STATUS_SUCCESS; /* it is retired: there is nothing to be charged */
        }
        return status_not_found(arena, REASON_MODEL_UNKNOWN, "model", candidate->model);
    }
    TRY(take_tokens(arena, candidate->tokens, &tokens));
    const struct catalogue_model *model = &limiter->policy->catalogue->targets[place].model;
    uint64_t q95 = outputs_q95(limiter->outputs, span_str(model->name), tenant);
    out->model = limiter->models[place];
    out->model_charge = estimate_model_charge(&tokens, &model->estimate, q95);
    out->pool_charge =
        estimate_pool_charge(&tokens, q95 > 0 ? q95 : model->estimate.expected_output);
    out->model_prompt =
        estimate_model_settled(&model->estimate, tokens.input, tokens.cache_write, 0);
    out->pool_prompt =
        estimate_pool_settled(tokens.input, tokens.cache_read, tokens.cache_write, 0);
    return STATUS_SUCCESS;
}

struct status request_acquire(const struct limiter *limiter, struct arena *arena,
                              Limiter__Candidate *const *candidates, size_t n, struct span tenant,
                              struct engine_acquire *out)
{
    if (n == 0 || n > ENGINE_CANDIDATES_MOST) {
        return status_bad_field(arena, "candidates", "must be 1 to 32");
    }
    struct engine_candidate *rows = ARENA_ARRAY(arena, struct engine_candidate, n);
    for (size_t i = 0; i < n; i++) {
        TRY(take_candidate(limiter, arena, candidates[i], tenant, &rows[i]));
    }
    *out = (struct engine_acquire){
        .tenant = limiter_tenant_hash(tenant),
        .weight = policy_weight(limiter->policy, tenant),
        .candidates = rows,
        .n_candidates = n,
        .verdict = ARENA_NEW(arena, struct engine_verdict),
    };
    return STATUS_SUCCESS;
}

struct status request_pools(struct limiter *limiter, struct span tenant, bool make_room,
                            struct engine_acquire *out)
{
    out->pools[0] = limiter->suite;
    if (!limiter_tenant_pool(limiter, tenant, make_room, &out->pools[1])) {
        return request_no_room();
    }
    out->n_pools = out->pools[1] != NULL ? 2 : 1;
    return STATUS_SUCCESS;
}

/* Some of what a record holds may be gone: a model that the catalogue no longer has. */
bool request_held(struct limiter *limiter, const struct engine_record *record, const char *model,
                  struct span tenant, bool make_room, struct engine_resource **held)
{
    struct engine_resource *pool = NULL;
    if (record->n_held == ENGINE_HELD_MOST &&
        store_resource_by_hash(limiter->store, record->held[ENGINE_HELD_MOST - 1].hash) == NULL) {
        /* Another limiter granted it, and this one has not heard of the tenant yet. */
        (void)limiter_tenant_pool(limiter, tenant, make_room, &pool);
    }
    if (record->n_held > 0) {
        for (uint32_t i = 0; i < record->n_held; i++) {
            held[i] = store_resource_by_hash(limiter->store, record->held[i].hash);
        }
        return true;
    }
    size_t place;
    struct engine_resource *resource = limiter_model(limiter, model, &place)
                                           ? limiter->models[place]
                                           : limiter_former_model(limiter, model);
    if (resource == NULL) {
        return false;
    }
    held[0] = resource;
    held[1] = limiter->suite;
    /* Without room for its pool the tenant's own budget misses this report. */
    if (!limiter_tenant_pool(limiter, tenant, make_room, &held[2])) {
        held[2] = NULL;
    }
    return true;
}
