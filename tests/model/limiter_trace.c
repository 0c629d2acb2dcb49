/*
 * limiter_trace -- the limiter's engine as a filter, for comparison with its reference model.
 *
 * Lines in, one reply a line out; events that follow each other with the same step number are one
 * step. Ids and sessions are numbers, results are the engine's numbers. Tenant 1 has a pool, others
 * have none. Step s is of limiter s modulo their number. Behind the replies of a step come W, a
 * waiter that has its verdict; K, another limiter to be woken; X, when a step is wanted by itself.
 *
 *   Q n                                                           so many limiters share it all
 *   R name pool|model requests tokens window concurrency burst interval cooldown    a resource
 *   Z step now closed                 all that was counted is lost; nothing is granted for so long
 *   E step now closed                 something of it is lost
 *   A step now id session tenant priority weight deadline n
 *     {model model_charge pool_charge model_prompt pool_prompt}*n                 deadline 0: it
 * does not wait G step now id                                                 the caller of a
 * waiter has left T step now                                                    nothing but time C
 * step now id model tenant outcome model_tokens pool_tokens partial retry digest undispatched N
 * step now session id fence model tenant model_output pool_output seq           Renew L step now
 * name requests tokens window concurrency burst interval version       limits O step now
 * close|breaker|reopen name force                                      an order
 *
 * After each step everything it wrote is packed and unpacked again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limiter/engine_queue.h"
#include "limiter/pack.h"

#define RESOURCES_MOST 8
#define RECORDS        65536
#define BATCH_MOST     16
#define QUEUES_MOST    4
#define WAITERS_MOST   40 /* at one limiter; it is full then */

static const struct engine_rules rules = {
    .guard_ms = 500,
    .lease_ms = 15000,
    .use_by_ms = 350,
    .cooldown_steps_ms = {0, 5000, 10000, 20000, 40000},
    .cooldown_most_ms = 3600000,
    .breaker_open_ms = 60000,
    .breaker_age_ms = 600000,
    .breaker_outcomes = 20,
    .breaker_least = 6,
    .breaker_ratio = 0.5,
    .record_open_ms = 4200000,
    .record_done_ms = 600000,
    .ramp = true,
    .aging_ms = 30000,
    .head_ms = 2000,
    .waiters_most = WAITERS_MOST,
    .tenant_waiters_most = 12,
};

/* A request, for as long as it waits. */
struct call {
    struct engine_waiter waiter;
    struct engine_acquire acquire;
    struct engine_candidate candidates[ENGINE_CANDIDATES_MOST];
    struct engine_verdict verdict;
    uint64_t id;
};

struct item {
    char what;
    struct engine_event event;
    struct call *call;
    struct engine_report report;
    struct engine_renew renew;
    struct engine_renewal lease;
    struct engine_order order;
    uint64_t id;
};

static struct engine_resource resources[RESOURCES_MOST];
static size_t n_resources;
static struct engine_record records[RECORDS];
static struct item items[BATCH_MOST];
static size_t n_items;
static uint64_t step, now_ms, epoch;
static struct engine_queue queues[QUEUES_MOST];
static size_t n_queues;
static struct call *waiting[QUEUES_MOST * WAITERS_MOST];
static size_t n_waiting;

static const char *word(char **rest)
{
    const char *at = strsep(rest, " \n");
    check(at != NULL);
    return at;
}

static uint64_t number(char **rest)
{
    return strtoull(word(rest), NULL, 10);
}

static struct engine_resource *resource(const char *name)
{
    for (size_t i = 0; i < n_resources; i++) {
        if (strcmp(resources[i].name, name) == 0) {
            return &resources[i];
        }
    }
    fprintf(stderr, "no resource %s\n", name);
    exit(1);
}

static struct engine_id id_of(uint64_t n)
{
    struct engine_id id = {{0}};
    memcpy(id.bytes, &n, sizeof(n));
    return id;
}

static void take_limits(char **rest, struct engine_limits *limits)
{
    limits->requests = number(rest);
    limits->tokens = number(rest);
    limits->window_ms = number(rest);
    limits->concurrency = (uint32_t)number(rest);
    limits->pacer_burst = (uint32_t)number(rest);
    limits->pacer_interval_ms = number(rest);
}

static void add_resource(char *rest)
{
    const char *name = word(&rest);
    enum engine_kind kind = strcmp(word(&rest), "model") == 0 ? ENGINE_MODEL : ENGINE_POOL;
    struct engine_limits limits = {0};
    take_limits(&rest, &limits);
    limits.cooldown_ms = number(&rest);
    check(n_resources < RESOURCES_MOST);
    engine_resource_init(&resources[n_resources], span_str(name), n_resources + 1, kind, &limits,
                         &rules);
    n_resources++;
}

static void lose_state(bool all_of_it, char *rest)
{
    static struct engine_order order;
    uint64_t at_ms = number(&rest);
    order = (struct engine_order){.kind = ENGINE_LOSE,
                                  .suite = resource("suite"),
                                  .loss = ENGINE_LOSS_AMNESIA,
                                  .epoch = ++epoch,
                                  .closed_ms = number(&rest)};
    for (size_t i = 0; i < n_resources && all_of_it; i++) {
        engine_resource_forget(&resources[i], &rules);
    }
    if (all_of_it) {
        memset(records, 0, sizeof(records));
    }
    engine_step(&rules, at_ms, step, &(struct engine_event){.order = &order}, 1, NULL);
}

static void take_acquire(struct item *item, char *rest)
{
    struct call *call = calloc(1, sizeof(*call));
    check(call != NULL);
    struct engine_acquire *a = &call->acquire;
    item->call = call;
    item->id = call->id = number(&rest);
    *a = (struct engine_acquire){.id = id_of(item->id),
                                 .session = id_of(number(&rest)),
                                 .candidates = call->candidates,
                                 .pools = {resource("suite"), resource("tenant")},
                                 .record = &records[item->id % RECORDS],
                                 .verdict = &call->verdict};
    a->tenant = number(&rest);
    a->priority = (uint32_t)number(&rest);
    a->weight = (uint32_t)number(&rest);
    a->n_pools = a->tenant == 1 ? 2 : 1;
    a->deadline_ms = number(&rest);
    a->waiter = a->deadline_ms > 0 ? &call->waiter : NULL;
    a->n_candidates = number(&rest);
    check(a->n_candidates <= ENGINE_CANDIDATES_MOST);
    for (size_t i = 0; i < a->n_candidates; i++) {
        call->candidates[i].model = resource(word(&rest));
        call->candidates[i].model_charge = number(&rest);
        call->candidates[i].pool_charge = number(&rest);
        call->candidates[i].model_prompt = number(&rest);
        call->candidates[i].pool_prompt = number(&rest);
    }
    item->event.acquire = a;
}

static void take_held(char **rest, struct engine_resource **held)
{
    held[0] = resource(word(rest));
    held[1] = resource("suite");
    held[2] = number(rest) == 1 ? resource("tenant") : NULL;
}

static void take_report(struct item *item, char *rest)
{
    struct engine_report *r = &item->report;
    item->id = number(&rest);
    *r = (struct engine_report){.id = id_of(item->id), .record = &records[item->id % RECORDS]};
    take_held(&rest, r->held);
    r->outcome = (enum engine_outcome_kind)number(&rest);
    r->model_tokens = number(&rest);
    r->pool_tokens = number(&rest);
    r->partial = number(&rest);
    r->server_retry_ms = number(&rest);
    r->digest = number(&rest);
    r->undispatched = number(&rest);
    item->event.report = r;
}

static void take_renew(struct item *item, char *rest)
{
    item->renew = (struct engine_renew){
        .session = id_of(number(&rest)), .leases = &item->lease, .n_leases = 1};
    item->id = number(&rest);
    item->lease = (struct engine_renewal){
        .id = id_of(item->id), .fence = number(&rest), .record = &records[item->id % RECORDS]};
    take_held(&rest, item->lease.held);
    item->lease.model_output = number(&rest);
    item->lease.pool_output = number(&rest);
    item->lease.seqs[1] = number(&rest);
    item->event.renew = &item->renew;
}

static void take_order(struct item *item, char *rest, bool limits)
{
    struct engine_order *o = &item->order;
    *o = (struct engine_order){.kind = ENGINE_LIMIT, .suite = resource("suite")};
    if (!limits) {
        const char *what = word(&rest);
        o->kind = strcmp(what, "close") == 0    ? ENGINE_CLOSE
                  : strcmp(what, "reopen") == 0 ? ENGINE_REOPEN
                                                : ENGINE_CLOSE_BREAKER;
    }
    o->resource = resource(word(&rest));
    if (limits) {
        take_limits(&rest, &o->limits);
        o->limits.version = number(&rest);
    } else {
        o->note = SPAN("for a test");
        o->force = number(&rest);
    }
    item->event.order = o;
}

static void print_remaining(const struct engine_remaining *left)
{
    printf(":%" PRIu64 ":%" PRIu64 ":%" PRId64, left->requests, left->leases, left->tokens);
}

static void print_verdict(char what, const struct call *call)
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

static void print_report(const struct item *item)
{
    const struct engine_report *r = &item->report;
    printf("C %" PRIu64 " %d", item->id, r->result);
    for (size_t i = 0; i < r->n_settlements; i++) {
        const struct engine_settlement *s = &r->settlements[i];
        printf(" %s:%" PRIu64 ":%" PRIu64, s->resource->name, s->reserved, s->charged);
        print_remaining(&s->remaining);
    }
    putchar('\n');
}

static void print_renew(const struct item *item)
{
    if (item->renew.amnesia) {
        printf("N %" PRIu64 " amnesia\n", item->id);
    } else {
        printf("N %" PRIu64 " %d\n", item->id, item->lease.lost);
    }
}

static void take_leave(struct item *item, char *rest)
{
    item->id = number(&rest);
    for (struct item *it = items; it < item; it++) { /* leaves once */
        if (it->what == 'G' && it->id == item->id) {
            return;
        }
    }
    for (size_t i = 0; i < n_waiting; i++) {
        if (waiting[i]->id == item->id) {
            item->call = waiting[i];
            item->event.leave = &waiting[i]->waiter;
        }
    }
}

static void forget(struct call *call)
{
    for (size_t i = 0; i < n_waiting; i++) {
        if (waiting[i] == call) {
            waiting[i] = waiting[--n_waiting];
            break;
        }
    }
    free(call);
}

/* Who has asked waits from now on, or is done with. */
static void settle_call(struct item *item)
{
    if (item->event.acquire != NULL && item->call->verdict.queued) {
        check(n_waiting < QUEUES_MOST * WAITERS_MOST);
        waiting[n_waiting++] = item->call;
    } else if (item->call != NULL) {
        forget(item->call);
    }
}

static void print_queue(struct engine_queue *queue)
{
    for (struct engine_waiter *w; (w = engine_queue_take_ended(queue)) != NULL;) {
        struct call *call = CONTAINER_OF(w, struct call, waiter);
        print_verdict('W', call);
        uint8_t bytes[PACK_RECORD_MOST];
        struct engine_record *record = call->acquire.record;
        if (record->header.stamp == step) {
            size_t len = pack_record(record, bytes);
            check(unpack_record(span_of(bytes, len), record));
        }
        forget(call);
    }
    for (size_t i = 0; i < queue->n_wakes; i++) {
        printf("K %u %s\n", queue->wakes[i].limiter, queue->wakes[i].pool->name);
    }
    if (queue->wake_ms != ENGINE_NEVER) {
        printf("X %" PRIu64 "\n", queue->wake_ms);
    }
}

/* What was written is from now on what a store would give back. */
static void pack_all(void)
{
    uint8_t bytes[PACK_RESOURCE_MOST];
    for (size_t i = 0; i < n_resources; i++) {
        if (resources[i].header.stamp == step) {
            size_t len = pack_resource(&resources[i], bytes);
            check(unpack_resource(span_of(bytes, len), &resources[i]));
        }
    }
    for (size_t i = 0; i < n_items; i++) {
        struct engine_record *record = &records[items[i].id % RECORDS];
        if (record->header.stamp == step) {
            size_t len = pack_record(record, bytes);
            check(unpack_record(span_of(bytes, len), record));
        }
    }
}

static void print_reply(const struct item *item)
{
    switch (item->what) {
    case 'A':
        print_verdict('A', item->call);
        break;
    case 'C':
        print_report(item);
        break;
    case 'N':
        print_renew(item);
        break;
    case 'G':
        printf("G %" PRIu64 " %d\n", item->id, item->event.leave != NULL);
        break;
    case 'T':
        printf("T\n");
        break;
    default:
        printf("%c %s %d\n", item->what, item->order.resource->name, item->order.refused);
    }
}

static void flush(void)
{
    struct engine_event events[BATCH_MOST];
    struct engine_queue *queue = &queues[step % n_queues];
    size_t n_events = 0;
    for (size_t i = 0; i < n_items; i++) {
        if (items[i].what != 'T' && (items[i].what != 'G' || items[i].event.leave != NULL)) {
            events[n_events++] = items[i].event;
        }
    }
    if (n_items > 0) {
        engine_step(&rules, now_ms, step, events, n_events, queue);
    }
    for (size_t i = 0; i < n_items; i++) {
        print_reply(&items[i]);
    }
    if (n_items > 0) {
        print_queue(queue);
    }
    pack_all();
    for (size_t i = 0; i < n_items; i++) {
        settle_call(&items[i]);
    }
    n_items = 0;
}

static void make_queues(size_t n)
{
    check(n > 0 && n <= QUEUES_MOST);
    n_queues = n;
    for (size_t i = 0; i < n; i++) {
        engine_queue_init(&queues[i], (uint32_t)i, true);
    }
}

int main(void)
{
    char line[1024];
    engine_queue_init(&queues[0], 0, false);
    n_queues = 1;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *rest = line;
        char what = word(&rest)[0];
        if (what == 'R') {
            add_resource(rest);
            continue;
        }
        if (what == 'Q') {
            make_queues(number(&rest));
            continue;
        }
        uint64_t this_step = number(&rest);
        bool loss = what == 'Z' || what == 'E';
        if (this_step != step || loss) {
            flush();
        }
        step = this_step;
        if (loss) {
            lose_state(what == 'Z', rest);
            continue;
        }
        check(n_items < BATCH_MOST);
        struct item *item = &items[n_items];
        item->what = what;
        item->call = NULL;
        item->event = (struct engine_event){0};
        uint64_t line_now_ms = number(&rest);
        now_ms = n_items++ == 0 ? line_now_ms : now_ms;
        switch (what) {
        case 'A':
            take_acquire(item, rest);
            break;
        case 'C':
            take_report(item, rest);
            break;
        case 'N':
            take_renew(item, rest);
            break;
        case 'G':
            take_leave(item, rest);
            break;
        case 'L':
        case 'O':
            take_order(item, rest, what == 'L');
            break;
        }
    }
    flush();
    return 0;
}
