/* The account of a call: what CallMetadata says. */
#include "router/router.h"

static Router__TokenUsage *usage_of(struct arena *arena, const struct price_usage *usage)
{
    Router__TokenUsage *out = ARENA_NEW(arena, Router__TokenUsage);
    router__token_usage__init(out);
    out->input_tokens = usage->input;
    out->output_tokens = usage->output;
    out->cache_read_tokens = usage->cache_read;
    out->cache_write_tokens = usage->cache_write;
    return out;
}

static char *model_name(struct arena *arena, const struct candidate *candidate)
{
    return arena_printf(arena, "models/%s", candidate->model->name);
}

uint64_t plan_cost(const struct plan *plan, const struct attempt *attempt)
{
    const struct price_list *prices = &attempt->candidate->model->prices;
    return price_cost(price_at(prices, plan->begin_wall_ms / 1000), &attempt->usage);
}

static Router__Attempt *attempt_of(const struct plan *plan, struct arena *arena,
                                   const struct attempt *attempt)
{
    const struct candidate *candidate = attempt->candidate;
    Router__Attempt *out = ARENA_NEW(arena, Router__Attempt);
    router__attempt__init(out);
    out->number = attempt->number;
    out->model = model_name(arena, candidate);
    out->model_id = arena_string(arena, span_str(candidate->model->model_id));
    out->tier = candidate->model->tier;
    out->region = arena_string(arena, span_str(candidate->region));
    out->reason = arena_string(arena, span_str(reason_name(attempt->reason)));
    out->http_status = attempt->http_status;
    out->duration_ms = attempt->duration_ms;
    out->ttft_ms = attempt->ttft_ms;
    out->usage = usage_of(arena, &attempt->usage);
    out->usage->thinking_tokens = attempt->thinking_tokens;
    out->usage->metered_output_tokens = attempt->metered_output;
    out->usage_partial = attempt->usage_partial;
    out->cost_micro_usd = (int64_t)plan_cost(plan, attempt);
    out->n_reshapes = candidate->n_reshapes;
    out->reshapes = candidate->reshapes;
    out->upstream_request_id = arena_string(arena, span_str(attempt->request_id));
    return out;
}

static void add_answer(const struct plan *plan, struct arena *arena, const struct attempt *last,
                       Router__CallMetadata *out)
{
    const struct candidate *candidate = last->candidate;
    out->model = model_name(arena, candidate);
    out->model_id = arena_string(arena, span_str(candidate->model->model_id));
    out->tier = candidate->model->tier;
    out->region = arena_string(arena, span_str(candidate->region));
    out->n_reshapes = candidate->n_reshapes;
    out->reshapes = candidate->reshapes;
    struct price_usage estimated = {
        .input = candidate->tokens.input,
        .output = candidate->model->estimate.expected_output > 0 &&
                          candidate->model->estimate.expected_output < candidate->tokens.max_output
                      ? candidate->model->estimate.expected_output
                      : candidate->tokens.max_output,
        .cache_read = candidate->tokens.cache_read,
        .cache_write = candidate->tokens.cache_write,
    };
    out->estimated = usage_of(arena, &estimated);
    if (catalogue_lifecycle_at(candidate->model, plan->begin_wall_ms / 1000) == CATALOGUE_LEGACY) {
        out->warnings = ARENA_ARRAY(arena, char *, 1);
        out->warnings[out->n_warnings++] = models_legacy_warning(candidate->model, arena);
    }
}

Router__CallMetadata *plan_metadata(const struct plan *plan, struct arena *arena, uint64_t now_ms)
{
    Router__CallMetadata *out = ARENA_NEW(arena, Router__CallMetadata);
    router__call_metadata__init(out);
    struct span id = arena_copy(arena, span_of(plan->call_id, ROUTER_ID_SIZE));
    out->call_id = (ProtobufCBinaryData){id.len, (uint8_t *)id.at};
    out->n_attempts = plan->n_attempts;
    out->attempts = ARENA_ARRAY(arena, Router__Attempt *, plan->n_attempts + 1);
    struct price_usage sum = {0};
    uint64_t thinking = 0, metered = 0;
    for (size_t i = 0; i < plan->n_attempts; i++) {
        const struct attempt *attempt = &plan->attempts[i];
        out->attempts[i] = attempt_of(plan, arena, attempt);
        out->cost_micro_usd += out->attempts[i]->cost_micro_usd;
        out->simulated |= attempt->simulated;
        sum.input += attempt->usage.input;
        sum.output += attempt->usage.output;
        sum.cache_read += attempt->usage.cache_read;
        sum.cache_write += attempt->usage.cache_write;
        thinking += attempt->thinking_tokens;
        metered += attempt->metered_output;
    }
    out->usage = usage_of(arena, &sum);
    out->usage->thinking_tokens = thinking;
    out->usage->metered_output_tokens = metered;
    out->n_skipped = plan->n_skipped;
    out->skipped = plan->skipped;
    out->queue_ms = plan->queue_ms;
    out->total_ms = now_ms - plan->begin_ms;
    if (plan->first_token_ms > 0) {
        out->ttft_ms = plan->first_token_ms - plan->begin_ms - plan->queue_ms;
    }
    out->baseline_input_tokens = plan->generation->baseline_input_tokens;
    const struct attempt *last =
        plan->n_attempts > 0 ? &plan->attempts[plan->n_attempts - 1] : NULL;
    if (last != NULL && last->reason == REASON_NONE) {
        add_answer(plan, arena, last, out);
    }
    return out;
}
