/* Looking without touching: Peek for programs, Dump for people. */
#include "limiter/look.h"

#include <inttypes.h>
#include <string.h>

#include "limiter/home.h"
#include "limiter/reply.h"
#include "limiter/request.h"

#define SHOWN_MOST     64 /* that Peek is asked for by name */
#define SHOWN_ALL_MOST 1000
#define DUMP_PAGE      (1u << 20)
#define DUMP_RESOURCE  (400u << 10) /* more than one resource ever takes */

/* Which resources a Peek shows: those it names, else those of its request, else all. */
static struct status choose_shown(struct rpc *rpc, const Limiter__PeekRequest *request,
                                  const struct engine_acquire *acquire,
                                  struct engine_resource **shown, size_t *n)
{
    struct limiter *limiter = rpc_service(rpc);
    for (size_t i = 0; i < request->n_resources; i++) {
        TRY(request_resource(limiter, rpc_arena(rpc), request->resources[i], true, &shown[(*n)++]));
    }
    if (*n > 0) {
        return STATUS_SUCCESS;
    }
    for (size_t i = 0; i < acquire->n_candidates; i++) {
        shown[(*n)++] = acquire->candidates[i].model;
    }
    for (size_t i = 0; i < acquire->n_pools; i++) {
        shown[(*n)++] = acquire->pools[i];
    }
    for (size_t i = 0; acquire->n_candidates == 0 && i < store_slots(limiter->store); i++) {
        struct engine_resource *resource = store_resource_at(limiter->store, i);
        if (resource != NULL && *n < SHOWN_ALL_MOST) {
            shown[(*n)++] = resource;
        }
    }
    return STATUS_SUCCESS;
}

/* What a Peek is about. */
struct view {
    struct engine_acquire acquire; /* hypothetical */
    struct engine_resource **shown;
    size_t n;
};

static struct status find_view(struct rpc *rpc, const Limiter__PeekRequest *request,
                               struct span tenant, struct view *view)
{
    struct limiter *limiter = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    if (request->n_candidates > 0) {
        TRY(request_acquire(limiter, arena, request->candidates, request->n_candidates, tenant,
                            &view->acquire));
        TRY(request_pools(limiter, tenant, true, &view->acquire));
    }
    view->n = 0;
    return choose_shown(rpc, request, &view->acquire, view->shown, &view->n);
}

struct status look_peek(struct rpc *rpc, const void *message)
{
    const Limiter__PeekRequest *request = message;
    struct limiter *limiter = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    struct view view = {.shown = ARENA_ARRAY(arena, struct engine_resource *, SHOWN_ALL_MOST)};
    struct span tenant;
    if (request->n_resources > SHOWN_MOST) {
        return rpc_bad_field(rpc, "resources", "must be at most 64");
    }
    TRY(request_tenant(arena, request->tenant, &tenant));
    TRY(find_view(rpc, request, tenant, &view)); /* what is asked for is looked at too */
    TRY(home_look(limiter));
    TRY(find_view(rpc, request, tenant, &view));
    uint64_t now_ms = home_now_ms(limiter);
    limiter_look_at_dates(limiter);
    Limiter__PeekResponse reply = LIMITER__PEEK_RESPONSE__INIT;
    if (request->n_candidates > 0) {
        engine_peek(&limiter->policy->rules, now_ms, &view.acquire, &limiter->queue);
        reply.verdict = reply_verdict(arena, view.acquire.verdict, now_ms);
    }
    reply.resources = ARENA_ARRAY(arena, Limiter__Resource *, view.n);
    for (size_t i = 0; i < view.n; i++) {
        reply.resources[reply.n_resources++] =
            reply_resource(arena, limiter, view.shown[i], now_ms);
    }
    reply.now_ms = now_ms;
    return rpc_send(rpc, &reply);
}

/* --- dump --------------------------------------------------------------------------------------
 */

static const char *const whats[] = {"granted", "refused", "settled", "refunded"};
static const char *const breakers[] = {"closed", "open", "half_open"};

static void add_id(struct buf *out, const struct engine_id *id)
{
    for (size_t i = 0; i < sizeof(id->bytes); i++) {
        buf_addf(out, "%02x", id->bytes[i]);
    }
}

static void dump_state(struct buf *out, const struct limiter *limiter,
                       const struct engine_resource *r, uint64_t now_ms)
{
    uint64_t until_ms;
    Limiter__ResourceState state = reply_state(limiter, r, now_ms, &until_ms);
    struct engine_remaining left = engine_remaining(&limiter->policy->rules, now_ms, r);
    buf_addf(out, "resource=%s kind=%s state=%s until_ms=%" PRIu64 " now_ms=%" PRIu64 "\n", r->name,
             r->kind == ENGINE_POOL ? "pool" : "model", reply_state_name(state), until_ms, now_ms);
    buf_addf(out, "resource=%s epoch=%" PRIu64 " seq=%" PRIu64 " last_now_ms=%" PRIu64 "\n",
             r->name, r->header.epoch, r->header.seq, r->last_now_ms);
    buf_addf(out,
             "resource=%s version=%" PRIu64 " requests=%" PRIu64 " tokens=%" PRIu64
             " window_ms=%" PRIu64 " concurrency=%u burst=%u interval_ms=%" PRIu64
             " cooldown_ms=%" PRIu64 "\n",
             r->name, r->limits.version, r->limits.requests, r->limits.tokens, r->limits.window_ms,
             r->limits.concurrency, r->limits.pacer_burst, r->limits.pacer_interval_ms,
             r->limits.cooldown_ms);
    buf_addf(out,
             "resource=%s requests_left=%" PRIu64 " leases_left=%" PRIu64 " tokens_left=%" PRIi64
             " tat_ms=%" PRIu64 "\n",
             r->name, left.requests, left.leases, left.tokens, r->window.tat_ms);
    if (r->closed) {
        buf_addf(out, "resource=%s closed=1 note=%s\n", r->name, r->note);
    }
    if (r == limiter->suite) {
        buf_addf(out, "resource=%s fence=%" PRIu64 " closed_until_ms=%" PRIu64 " loss=%s\n",
                 r->name, r->fence, r->closed_until_ms, limiter_loss_text(r->loss));
    }
}

static void dump_health(struct buf *out, const struct engine_resource *r)
{
    const struct engine_health *h = &r->health;
    buf_addf(out,
             "resource=%s generation=%" PRIu64 " cooldown_until_ms=%" PRIu64
             " level=%u gone=%d retired=%d breaker=%s open_until_ms=%" PRIu64
             " probe_expires_ms=%" PRIu64 "\n",
             r->name, h->generation, h->cooldown_until_ms, h->level, h->gone, h->retired,
             breakers[h->breaker], h->open_until_ms, h->probe_expires_ms);
    for (uint32_t i = 0; i < h->n_outcomes; i++) {
        buf_addf(out, "resource=%s outcome=%s at_ms=%" PRIu64 "\n", r->name,
                 h->outcomes[i].failed ? "failed" : "ok", h->outcomes[i].at_ms);
    }
}

static void dump_leases(struct buf *out, const struct engine_resource *r, uint64_t now_ms)
{
    for (uint32_t i = 0; i < r->n_leases; i++) {
        const struct engine_lease *lease = &r->leases[i];
        buf_addf(out, "resource=%s lease=", r->name);
        add_id(out, &lease->id);
        buf_add_str(out, " session=");
        add_id(out, &lease->session);
        buf_addf(out, " fence=%" PRIu64 " expires_ms=%" PRIu64 " live=%d\n", lease->fence,
                 lease->expires_ms, now_ms < lease->expires_ms);
    }
}

static void dump_audit(struct buf *out, const struct limiter *limiter,
                       const struct engine_resource *r, size_t most)
{
    size_t slot = store_resource_slot(limiter->store, r);
    size_t n = audit_count(limiter->audit, slot);
    for (size_t back = n < most ? n : most; back-- > 0;) {
        const struct audit_entry *e = audit_at(limiter->audit, slot, back);
        buf_addf(out,
                 "resource=%s audit=%s at_ms=%" PRIu64 " seq=%" PRIu64 " tokens=%" PRIu64 " id=",
                 r->name, whats[e->what], e->now_ms, e->seq, e->tokens);
        add_id(out, &e->id);
        buf_add_str(out, " reasons=");
        reply_add_reasons(out, e->reasons);
        buf_add_char(out, '\n');
    }
}

bool look_concerns(const struct engine_resource *r, const char *tenant)
{
    struct span name = span_str(r->name), prefix = SPAN("tenant:");
    return tenant[0] == '\0' || !span_starts(name, prefix) ||
           span_eq(span_from(name, prefix.len), span_str(tenant));
}

static bool dumped(const Limiter__DumpRequest *request, const struct engine_resource *r)
{
    return (request->resource[0] == '\0' || strcmp(r->name, request->resource) == 0) &&
           look_concerns(r, request->tenant);
}

/* Pages end between resources: one has at most about 200 KB. */
struct status look_dump(struct rpc *rpc, const void *message)
{
    const Limiter__DumpRequest *request = message;
    struct limiter *limiter = rpc_service(rpc);
    uint64_t slot = 0;
    if (request->page_token[0] != '\0' && !span_parse_u64(span_str(request->page_token), &slot)) {
        return rpc_bad_field(rpc, "page_token", "must be one that was given before");
    }
    if (request->audit_entries > AUDIT_KEPT) {
        return rpc_bad_field(rpc, "audit_entries", "must be at most 1000");
    }
    TRY(home_look(limiter));
    uint64_t now_ms = home_now_ms(limiter);
    limiter_look_at_dates(limiter);
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, DUMP_PAGE);
    Limiter__DumpResponse reply = LIMITER__DUMP_RESPONSE__INIT;
    for (; slot < store_slots(limiter->store); slot++) {
        const struct engine_resource *r = store_resource_at(limiter->store, slot);
        if (r == NULL || !dumped(request, r)) {
            continue;
        }
        if (text.len > DUMP_PAGE - DUMP_RESOURCE) {
            reply.next_page_token = arena_printf(rpc_arena(rpc), "%" PRIu64, slot);
            break;
        }
        dump_state(&text, limiter, r, now_ms);
        if (r->kind == ENGINE_MODEL) {
            dump_health(&text, r);
        }
        dump_leases(&text, r, now_ms);
        dump_audit(&text, limiter, r, request->audit_entries > 0 ? request->audit_entries : 100);
    }
    check(buf_ok(&text));
    reply.text = (char *)buf_cstr(&text);
    return rpc_send(rpc, &reply);
}
