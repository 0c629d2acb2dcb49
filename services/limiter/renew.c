#include "limiter/renew.h"

#include "limiter/request.h"
#include "limiter/wait.h"
#include "loop/task.h"

_Static_assert(1 + RENEW_STEP_MOST * ENGINE_HELD_MOST <= STATE_STEP_MOST,
               "the suite, and of each lease a model, a pool and a record");

/* Some leases of a renewal, in one step. */
struct part {
    struct ask ask;
    struct engine_renew event;
    Limiter__Lease *const *asked;
    size_t n_asked;
    const Limiter__Lease **known; /* of event.leases */
    struct span tenant;           /* of leases that do not say */
    Limiter__RenewResponse *reply;
    size_t unknown; /* they name nothing we know, so nothing can be held of it */
    const Limiter__Lease **unknowns;
};

/* A model that a new catalogue knows no longer keeps what runs there. */
static struct engine_resource *find_model(const struct limiter *limiter, const char *name,
                                          uint64_t output, uint64_t *tokens)
{
    size_t place;
    if (!limiter_model(limiter, name, &place)) {
        *tokens = output;
        return limiter_former_model(limiter, name);
    }
    const struct catalogue_model *model = &limiter->policy->catalogue->targets[place].model;
    *tokens = estimate_model_settled(&model->estimate, 0, 0, output);
    return limiter->models[place];
}

/* Where the lease says it holds something; without a word, wherever it would today. */
static bool find_held(struct limiter *limiter, const Limiter__Lease *lease, struct span tenant,
                      struct engine_resource *model, struct engine_renewal *out)
{
    struct engine_resource *pool;
    /* Nobody makes room: the step has places of other pools in hand. */
    if (!limiter_tenant_pool(limiter, tenant, false, &pool)) {
        return false;
    }
    out->held[0] = model;
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

static bool find_lease(struct limiter *limiter, const Limiter__Lease *lease, struct span tenant,
                       struct engine_renewal *out)
{
    tenant = lease->tenant[0] != '\0' ? span_str(lease->tenant) : tenant;
    *out = (struct engine_renewal){0};
    if (!request_id(lease->id, &out->id) || !limiter_tenant_valid(tenant) ||
        lease->output_tokens > REQUEST_TOKENS_MOST) {
        return false;
    }
    struct engine_resource *model =
        find_model(limiter, lease->model, lease->output_tokens, &out->model_output);
    if (model == NULL) {
        return false;
    }
    out->fence = lease->fence;
    out->record = home_record_find(limiter, &out->id);
    out->believed = home_believes(limiter, &out->id);
    out->pool_output = lease->output_tokens;
    return find_held(limiter, lease, tenant, model, out);
}

static struct status find(struct limiter *limiter, struct ask *ask, bool make_room)
{
    (void)make_room;
    struct part *part = CONTAINER_OF(ask, struct part, ask);
    part->event.n_leases = 0;
    part->unknown = 0;
    for (size_t i = 0; i < part->n_asked; i++) {
        const Limiter__Lease *lease = part->asked[i];
        if (find_lease(limiter, lease, part->tenant, &part->event.leases[part->event.n_leases])) {
            part->known[part->event.n_leases++] = lease;
        } else {
            part->unknowns[part->unknown++] = lease;
        }
    }
    return STATUS_SUCCESS;
}

static void answer(struct limiter *limiter, struct ask *ask)
{
    const struct part *part = CONTAINER_OF(ask, struct part, ask);
    Limiter__RenewResponse *reply = part->reply;
    size_t before = reply->n_lost_ids, restored = 0;
    for (size_t i = 0; i < part->unknown; i++) {
        reply->lost_ids[reply->n_lost_ids++] = part->unknowns[i]->id;
    }
    for (size_t i = 0; i < part->event.n_leases; i++) {
        restored += part->event.leases[i].restored;
        wait_heard_of(limiter, &part->event.leases[i].id);
        if (part->event.leases[i].lost) {
            reply->lost_ids[reply->n_lost_ids++] = part->known[i]->id;
        }
    }
    size_t lost = reply->n_lost_ids - before;
    METRIC_ADD(limiter->metrics.leases_lost_total, (double)lost);
    METRIC_ADD(limiter->metrics.leases_renewed_total, (double)(part->n_asked - lost));
    METRIC_ADD(limiter->metrics.leases_restored_total, (double)restored);
    reply->waited_ms = ask->waited_ms > reply->waited_ms ? ask->waited_ms : reply->waited_ms;
}

static struct ask *part_new(struct limiter *limiter, const struct engine_id *session,
                            Limiter__Lease *const *leases, size_t n, struct arena *arena,
                            Limiter__RenewResponse *reply)
{
    struct part *part = ARENA_NEW(arena, struct part);
    ask_init(limiter, &part->ask, arena, find, answer);
    part->asked = leases;
    part->n_asked = n;
    part->known = ARENA_ARRAY(arena, const Limiter__Lease *, n);
    part->unknowns = ARENA_ARRAY(arena, const Limiter__Lease *, n);
    part->tenant = arena_copy(arena, span_str(task_context()->tenant));
    part->reply = reply;
    part->event.session = *session;
    part->event.leases = ARENA_ARRAY(arena, struct engine_renewal, n);
    part->ask.event.renew = &part->event;
    return &part->ask;
}

struct status renew_take(struct limiter *limiter, const Limiter__RenewRequest *request,
                         struct arena *arena, struct renewing *out)
{
    struct engine_id session;
    size_t n = request->n_leases;
    if (!request_id(request->session, &session)) {
        return status_bad_field(arena, "session", "must be 16 bytes");
    }
    if (n > RENEW_LEASES_MOST) {
        return status_bad_field(arena, "leases", "must be at most 1024");
    }
    out->reply = ARENA_NEW(arena, Limiter__RenewResponse);
    limiter__renew_response__init(out->reply);
    out->reply->lost_ids = ARENA_ARRAY(arena, ProtobufCBinaryData, n);
    out->reply->lease_ms = limiter->policy->rules.lease_ms;
    out->n_asks = 0;
    for (size_t done = 0; done < n; done += RENEW_STEP_MOST) {
        size_t some = n - done < RENEW_STEP_MOST ? n - done : RENEW_STEP_MOST;
        out->asks[out->n_asks++] =
            part_new(limiter, &session, request->leases + done, some, arena, out->reply);
    }
    return STATUS_SUCCESS;
}

struct status renew_status(const struct renewing *renewing)
{
    for (size_t i = 0; i < renewing->n_asks; i++) {
        TRY(renewing->asks[i]->status);
    }
    return STATUS_SUCCESS;
}
