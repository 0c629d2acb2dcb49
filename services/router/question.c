#include "router/question.h"

#include "loop/task.h"
#include "router/vitals.h"

static Limiter__Candidate *candidate_row(const struct candidate *c, struct arena *arena)
{
    Limiter__TokenEstimate *tokens = ARENA_NEW(arena, Limiter__TokenEstimate);
    limiter__token_estimate__init(tokens);
    tokens->input_tokens = c->tokens.input;
    tokens->cache_read_tokens = c->tokens.cache_read;
    tokens->cache_write_tokens = c->tokens.cache_write;
    tokens->max_tokens = c->tokens.max_output;
    Limiter__Candidate *row = ARENA_NEW(arena, Limiter__Candidate);
    limiter__candidate__init(row);
    row->model = (char *)c->resource;
    row->tokens = tokens;
    return row;
}

static Limiter__Judgement *judgement(const char *resource, Limiter__Reason reason,
                                     struct arena *arena)
{
    Limiter__Judgement *j = ARENA_NEW(arena, Limiter__Judgement);
    limiter__judgement__init(j);
    j->resource = (char *)resource;
    j->reasons = ARENA_NEW(arena, Limiter__Reason);
    j->reasons[j->n_reasons++] = reason;
    return j;
}

/* The first that opens ends the refusal; one that does not open by itself leaves no time. */
static void leave_out(struct question *q, const struct router *router, const struct candidate *c,
                      Limiter__Reason reason, uint64_t until_ms, struct arena *arena)
{
    uint64_t left_ms = until_ms - loop_now_ms(router->loop);
    Limiter__Verdict *v = q->known;
    v->judged[v->n_judged++] = judgement(c->resource, reason, arena);
    if (until_ms != UINT64_MAX && (v->retry_after_ms == 0 || left_ms < v->retry_after_ms)) {
        v->retry_after_ms = left_ms;
        v->retry_at_ms = until_ms;
    }
    if (v->n_reasons == 0) {
        v->reasons = v->judged[0]->reasons;
        v->n_reasons = 1;
    }
}

static Limiter__Verdict *nothing_known(size_t n, struct arena *arena)
{
    Limiter__Verdict *v = ARENA_NEW(arena, Limiter__Verdict);
    limiter__verdict__init(v);
    v->decision = LIMITER__DECISION__DECISION_REFUSED;
    v->judged = ARENA_ARRAY(arena, Limiter__Judgement *, n);
    v->retry_exact = true;
    return v;
}

struct question question_of(const struct router *router, const struct plan *plan, const uint8_t *id,
                            bool all, struct arena *arena)
{
    Limiter__AcquireRequest *request = ARENA_NEW(arena, Limiter__AcquireRequest);
    limiter__acquire_request__init(request);
    request->tenant = (char *)plan->tenant;
    request->id = (ProtobufCBinaryData){ROUTER_ID_SIZE, (uint8_t *)id};
    request->session = (ProtobufCBinaryData){ROUTER_ID_SIZE, (uint8_t *)router->session};
    request->priority = (Limiter__Priority)plan->generation->priority;
    request->candidates = ARENA_ARRAY(arena, Limiter__Candidate *, plan->n_candidates);
    struct question q = {.request = request, .known = nothing_known(plan->n_candidates, arena)};
    for (size_t i = 0; i < plan->n_candidates; i++) {
        const struct candidate *c = &plan->candidates[i];
        uint64_t until_ms;
        if (c->out != REASON_NONE) {
            continue;
        }
        Limiter__Reason closed = all ? LIMITER__REASON__REASON_UNSPECIFIED
                                     : vitals_closed(router->vitals, c->resource, &until_ms);
        if (closed != LIMITER__REASON__REASON_UNSPECIFIED) {
            leave_out(&q, router, c, closed, until_ms, arena);
            continue;
        }
        q.index[request->n_candidates] = i;
        request->candidates[request->n_candidates++] = candidate_row(c, arena);
    }
    return q;
}
