#include "limiter_lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "limiter_rules.h"

const struct engine_rules limiter_lines_rules = {
    LIMITER_RULES,
    .ramp = true,
    .aging_ms = 30000,
    .head_ms = 2000,
    .waiters_most = LIMITER_LINES_WAITERS,
    .tenant_waiters_most = 12,
};

/* --- reading ------------------------------------------------------------------------------------
 */

const char *limiter_word(char **rest)
{
    const char *at = strsep(rest, " \n");
    check(at != NULL);
    return at;
}

uint64_t limiter_number(char **rest)
{
    return strtoull(limiter_word(rest), NULL, 10);
}

struct engine_id limiter_line_id(uint64_t n)
{
    struct engine_id id = {{0}};
    memcpy(id.bytes, &n, sizeof(n));
    return id;
}

struct engine_limits limiter_line_limits(char **rest)
{
    struct engine_limits limits = {0};
    limits.requests = limiter_number(rest);
    limits.tokens = limiter_number(rest);
    limits.window_ms = limiter_number(rest);
    limits.concurrency = (uint32_t)limiter_number(rest);
    limits.pacer_burst = (uint32_t)limiter_number(rest);
    limits.pacer_interval_ms = limiter_number(rest);
    return limits;
}

static struct engine_resource *at(const struct limiter_place *place, const char *name)
{
    struct engine_resource *resource = place->resource(place->arg, name);
    if (resource == NULL) {
        fprintf(stderr, "no resource %s\n", name);
        exit(1);
    }
    return resource;
}

static struct engine_record *record(const struct limiter_place *place, uint64_t id)
{
    struct engine_id bytes = limiter_line_id(id);
    return place->record(place->arg, &bytes);
}

static void take_acquire(const struct limiter_place *place, char *rest, struct limiter_line *line)
{
    line->call = line->call != NULL ? line->call : ALLOC(struct limiter_call);
    struct limiter_call *call = line->call;
    struct engine_acquire *a = &call->acquire;
    line->id = call->id = limiter_number(&rest);
    *a = (struct engine_acquire){.id = limiter_line_id(line->id),
                                 .session = limiter_line_id(limiter_number(&rest)),
                                 .candidates = call->candidates,
                                 .pools = {at(place, "suite"), at(place, "tenant")},
                                 .record = record(place, line->id),
                                 .verdict = &call->verdict};
    a->tenant = limiter_number(&rest);
    a->priority = (uint32_t)limiter_number(&rest);
    a->weight = (uint32_t)limiter_number(&rest);
    a->n_pools = a->tenant == 1 ? 2 : 1;
    a->deadline_ms = limiter_number(&rest);
    a->waiter = a->deadline_ms > 0 ? &call->waiter : NULL;
    a->n_candidates = limiter_number(&rest);
    check(a->n_candidates <= ENGINE_CANDIDATES_MOST);
    for (size_t i = 0; i < a->n_candidates; i++) {
        call->candidates[i].model = at(place, limiter_word(&rest));
        call->candidates[i].model_charge = limiter_number(&rest);
        call->candidates[i].pool_charge = limiter_number(&rest);
        call->candidates[i].model_prompt = limiter_number(&rest);
        call->candidates[i].pool_prompt = limiter_number(&rest);
    }
    line->event.acquire = a;
}

static void take_held(const struct limiter_place *place, char **rest, struct engine_resource **held)
{
    held[0] = at(place, limiter_word(rest));
    held[1] = at(place, "suite");
    held[2] = limiter_number(rest) == 1 ? at(place, "tenant") : NULL;
}

static void take_report(const struct limiter_place *place, char *rest, struct limiter_line *line)
{
    struct engine_report *r = &line->report;
    line->id = limiter_number(&rest);
    *r = (struct engine_report){.id = limiter_line_id(line->id), .record = record(place, line->id)};
    take_held(place, &rest, r->held);
    r->outcome = (enum engine_outcome_kind)limiter_number(&rest);
    r->model_tokens = limiter_number(&rest);
    r->pool_tokens = limiter_number(&rest);
    r->partial = limiter_number(&rest);
    r->server_retry_ms = limiter_number(&rest);
    r->digest = limiter_number(&rest);
    r->undispatched = limiter_number(&rest);
    line->event.report = r;
}

static void take_renew(const struct limiter_place *place, char *rest, struct limiter_line *line)
{
    line->renew = (struct engine_renew){
        .session = limiter_line_id(limiter_number(&rest)), .leases = &line->lease, .n_leases = 1};
    line->id = limiter_number(&rest);
    line->lease = (struct engine_renewal){.id = limiter_line_id(line->id),
                                          .fence = limiter_number(&rest),
                                          .record = record(place, line->id)};
    take_held(place, &rest, line->lease.held);
    line->lease.model_output = limiter_number(&rest);
    line->lease.pool_output = limiter_number(&rest);
    line->lease.seqs[1] = limiter_number(&rest);
    line->event.renew = &line->renew;
}

static void take_order(const struct limiter_place *place, char *rest, bool limits,
                       struct limiter_line *line)
{
    struct engine_order *o = &line->order;
    *o = (struct engine_order){.kind = ENGINE_LIMIT, .suite = at(place, "suite")};
    if (!limits) {
        const char *what = limiter_word(&rest);
        o->kind = strcmp(what, "close") == 0    ? ENGINE_CLOSE
                  : strcmp(what, "reopen") == 0 ? ENGINE_REOPEN
                                                : ENGINE_CLOSE_BREAKER;
    }
    o->resource = at(place, limiter_word(&rest));
    if (limits) {
        o->limits = limiter_line_limits(&rest);
        o->limits.version = limiter_number(&rest);
    } else {
        o->note = SPAN("for a test");
        o->force = limiter_number(&rest);
    }
    line->event.order = o;
}

void limiter_line_take(const struct limiter_place *place, char what, char *rest,
                       struct limiter_line *line)
{
    line->what = what;
    switch (what) {
    case 'A':
        take_acquire(place, rest, line);
        break;
    case 'C':
        take_report(place, rest, line);
        break;
    case 'N':
        take_renew(place, rest, line);
        break;
    default:
        take_order(place, rest, what == 'L', line);
    }
}

/* --- printing -----------------------------------------------------------------------------------
 */

static void print_remaining(const struct engine_remaining *left)
{
    printf(":%" PRIu64 ":%" PRIu64 ":%" PRId64, left->requests, left->leases, left->tokens);
}

void limiter_verdict_print(char what, const struct limiter_call *call)
{
    const struct engine_verdict *v = &call->verdict;
    printf("%c %" PRIu64 " %s %u %" PRIu64 " %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
           " %d %u",
           what, call->id,
           v->cancelled  ? "cancelled"
           : v->queued   ? "queued"
           : v->replayed ? "replayed"
           : v->granted  ? "granted"
                         : "refused",
           v->candidate, v->retry_at_ms, v->exact, v->generation, v->fence, v->lease_ms,
           v->use_by_ms, v->probe, v->reasons);
    for (size_t i = 0; i < v->n_judged; i++) {
        const struct engine_judgement *j = &v->judged[i];
        bool timed = j->reasons != 0 && j->retry_at_ms != ENGINE_NEVER;
        printf(" %s:%u:%" PRIu64 ":%" PRIu64 ":%d", j->resource->name, j->reasons, j->charge,
               timed ? j->retry_at_ms : 0, timed && j->exact);
        print_remaining(&j->remaining);
        printf(":%" PRIu64, j->seq);
    }
    putchar('\n');
}

static void print_report(const struct limiter_line *line)
{
    const struct engine_report *r = &line->report;
    printf("C %" PRIu64 " %d", line->id, r->result);
    for (size_t i = 0; i < r->n_settlements; i++) {
        const struct engine_settlement *s = &r->settlements[i];
        printf(" %s:%" PRIu64 ":%" PRIu64, s->resource->name, s->reserved, s->charged);
        print_remaining(&s->remaining);
    }
    putchar('\n');
}

static void print_renew(const struct limiter_line *line)
{
    if (line->renew.amnesia) {
        printf("N %" PRIu64 " amnesia\n", line->id);
    } else {
        printf("N %" PRIu64 " %d\n", line->id, line->lease.lost);
    }
}

void limiter_line_print(const struct limiter_line *line)
{
    switch (line->what) {
    case 'A':
        limiter_verdict_print('A', line->call);
        break;
    case 'C':
        print_report(line);
        break;
    case 'N':
        print_renew(line);
        break;
    default:
        printf("%c %s %d\n", line->what, line->order.resource->name, line->order.refused);
    }
}
