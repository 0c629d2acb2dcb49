#include "limiter/renew.h"

#include <string.h>

#include "limiter/request.h"
#include "loop/task.h"

#define LEASES_MOST 1024
#define STEP_MOST   32 /* leases in a step: with all they hold they fit one step of the store */

_Static_assert(1 + STEP_MOST * ENGINE_HELD_MOST <= STATE_STEP_MOST,
               "the suite, and of each lease a model, a pool and a record");

/* Where the lease says it holds something; without a word, wherever it would today. */
static bool take_held(struct limiter *limiter, const Limiter__Lease *lease, struct span tenant,
                      size_t model, struct engine_renewal *out)
{
    struct engine_resource *pool;
    /* Nobody makes room: the batch has places of other pools in hand. */
    if (!limiter_tenant_pool(limiter, tenant, false, &pool)) {
        return false;
    }
    out->held[0] = limiter->models[model];
    out->held[1] = limiter->suite;
    out->held[2] = lease->n_holdings == 0 ? pool : NULL;
    for (size_t i = 0; i < lease->n_holdings; i++) {
        const Limiter__Holding *holding = lease->holdings[i];
        struct engine_resource *held = store_resource(limiter->store, span_str(holding->resource));
        size_t at = held == out->held[0] ? 0 : held == limiter->suite ? 1 : 2;
        if (held == NULL || (at == 2 && held != pool)) {
            continue; /* it counts nothing any more */
        }
        out->held[at] = held;
        out->seqs[at] = holding->epoch == limiter->suite->header.epoch ? holding->seq : 0;
    }
    return true;
}

/* False: it names nothing we know, so nothing can be held of it. */
static bool take_lease(struct limiter *limiter, const Limiter__Lease *lease,
                       struct engine_renewal *out)
{
    size_t place;
    struct span tenant =
        span_str(lease->tenant[0] != '\0' ? lease->tenant : task_context()->tenant);
    if (!request_id(lease->id, &out->id) || !limiter_tenant_valid(tenant) ||
        lease->output_tokens > REQUEST_TOKENS_MOST ||
        !limiter_model(limiter, lease->model, &place)) {
        return false;
    }
    const struct estimate_model *estimate =
        &limiter->policy->catalogue->targets[place].model.estimate;
    out->fence = lease->fence;
    out->record = store_record_find(limiter->store, &out->id);
    out->model_output = estimate_model_settled(estimate, 0, 0, lease->output_tokens);
    out->pool_output = lease->output_tokens;
    return take_held(limiter, lease, tenant, place, out);
}

/* A grant that is younger than all we know: what we know is of an earlier time. */
static void begin_anew(struct limiter *limiter, struct engine_renewal *leases, size_t n)
{
    limiter_lose(limiter, ENGINE_LOSS_AMNESIA);
    for (size_t i = 0; i < n; i++) {
        memset(leases[i].seqs, 0, sizeof(leases[i].seqs));
    }
}

static void step_all(struct limiter *limiter, const struct engine_id *session,
                     struct engine_renewal *leases, size_t n)
{
    for (size_t done = 0; done < n; done += STEP_MOST) {
        struct engine_renew event = {
            .session = *session,
            .leases = leases + done,
            .n_leases = n - done < STEP_MOST ? n - done : STEP_MOST,
        };
        limiter_step(limiter, (struct engine_event){.renew = &event});
        if (event.amnesia) {
            begin_anew(limiter, leases, n);
            limiter_step(limiter, (struct engine_event){.renew = &event});
        }
    }
}

struct status renew_leases(struct rpc *rpc, const void *message)
{
    const Limiter__RenewRequest *request = message;
    struct limiter *limiter = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    struct engine_id session;
    size_t n = request->n_leases, known = 0, restored = 0;
    if (!request_id(request->session, &session)) {
        return rpc_bad_field(rpc, "session", "must be 16 bytes");
    }
    if (n > LEASES_MOST) {
        return rpc_bad_field(rpc, "leases", "must be at most 1024");
    }
    struct engine_renewal *leases = ARENA_ARRAY(arena, struct engine_renewal, n);
    const Limiter__Lease **asked = ARENA_ARRAY(arena, const Limiter__Lease *, n);
    Limiter__RenewResponse reply = LIMITER__RENEW_RESPONSE__INIT;
    reply.lost_ids = ARENA_ARRAY(arena, ProtobufCBinaryData, n);
    for (size_t i = 0; i < n; i++) {
        const Limiter__Lease *lease = request->leases[i];
        leases[known] = (struct engine_renewal){0};
        if (take_lease(limiter, lease, &leases[known])) {
            asked[known++] = lease;
        } else {
            reply.lost_ids[reply.n_lost_ids++] = lease->id;
        }
    }
    step_all(limiter, &session, leases, known);
    for (size_t i = 0; i < known; i++) {
        restored += leases[i].restored;
        if (leases[i].lost) {
            reply.lost_ids[reply.n_lost_ids++] = asked[i]->id;
        }
    }
    METRIC_ADD(limiter->metrics.leases_lost_total, (double)reply.n_lost_ids);
    METRIC_ADD(limiter->metrics.leases_renewed_total, (double)(n - reply.n_lost_ids));
    METRIC_ADD(limiter->metrics.leases_restored_total, (double)restored);
    reply.lease_ms = limiter->policy->rules.lease_ms;
    return rpc_send(rpc, &reply);
}
