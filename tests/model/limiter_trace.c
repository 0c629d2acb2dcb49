/*
 * limiter_trace -- the limiter's engine as a filter, for comparison with its reference model.
 *
 * Lines in (limiter_lines.h), one reply a line out; events that follow each other with the same
 * step number are one step. Step s is of limiter s modulo their number. Behind the replies of a
 * step come W, a waiter that has its verdict; K, another limiter to be woken; X, when a step is
 * wanted by itself. Besides:
 *
 *   Q n                   so many limiters share it all
 *   Z step now closed     all that was counted is lost; nothing is granted for so long
 *   E step now closed     something of it is lost
 *   G step now id         the caller of a waiter has left
 *   T step now            nothing but time
 *
 * After each step everything it wrote is packed and unpacked again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limiter/pack.h"
#include "limiter_lines.h"

#define RESOURCES_MOST 8
#define RECORDS        65536
#define BATCH_MOST     16
#define QUEUES_MOST    4
#define WAITERS_MOST   LIMITER_LINES_WAITERS

static const struct engine_rules *const rules = &limiter_lines_rules;
static struct engine_resource resources[RESOURCES_MOST];
static size_t n_resources;
static struct engine_record records[RECORDS];
static struct limiter_line items[BATCH_MOST];
static size_t n_items;
static uint64_t step, now_ms, epoch;
static struct engine_queue queues[QUEUES_MOST];
static size_t n_queues;
static struct limiter_call *waiting[QUEUES_MOST * WAITERS_MOST];
static size_t n_waiting;

static struct engine_resource *find(void *nothing, const char *name)
{
    (void)nothing;
    for (size_t i = 0; i < n_resources; i++) {
        if (strcmp(resources[i].name, name) == 0) {
            return &resources[i];
        }
    }
    return NULL;
}

static struct engine_record *record_of(uint64_t id)
{
    return &records[id % RECORDS];
}

static struct engine_record *find_record(void *nothing, const struct engine_id *id)
{
    uint64_t number;
    (void)nothing;
    memcpy(&number, id->bytes, sizeof(number));
    return record_of(number);
}

static const struct limiter_place place = {find, find_record, NULL};

static void add_resource(char *rest)
{
    const char *name = limiter_word(&rest);
    enum engine_kind kind = strcmp(limiter_word(&rest), "model") == 0 ? ENGINE_MODEL : ENGINE_POOL;
    struct engine_limits limits = limiter_line_limits(&rest);
    limits.cooldown_ms = limiter_number(&rest);
    check(n_resources < RESOURCES_MOST);
    engine_resource_init(&resources[n_resources], span_str(name), n_resources + 1, kind, &limits,
                         rules);
    n_resources++;
}

static void lose_state(bool all_of_it, char *rest)
{
    static struct engine_order order;
    uint64_t at_ms = limiter_number(&rest);
    order = (struct engine_order){.kind = ENGINE_LOSE,
                                  .suite = find(NULL, "suite"),
                                  .loss = ENGINE_LOSS_AMNESIA,
                                  .epoch = ++epoch,
                                  .closed_ms = limiter_number(&rest)};
    for (size_t i = 0; i < n_resources && all_of_it; i++) {
        engine_resource_forget(&resources[i], rules);
    }
    if (all_of_it) {
        memset(records, 0, sizeof(records));
    }
    engine_step(rules, at_ms, step, &(struct engine_event){.order = &order}, 1, NULL);
}

static void take_leave(struct limiter_line *item, char *rest)
{
    item->id = limiter_number(&rest);
    for (struct limiter_line *it = items; it < item; it++) { /* leaves once */
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

static void forget(struct limiter_call *call)
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
static void settle_call(struct limiter_line *item)
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
        struct limiter_call *call = CONTAINER_OF(w, struct limiter_call, waiter);
        limiter_verdict_print('W', call);
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
        struct engine_record *record = record_of(items[i].id);
        if (record->header.stamp == step) {
            size_t len = pack_record(record, bytes);
            check(unpack_record(span_of(bytes, len), record));
        }
    }
}

static void print_reply(const struct limiter_line *item)
{
    if (item->what == 'G') {
        printf("G %" PRIu64 " %d\n", item->id, item->event.leave != NULL);
    } else if (item->what == 'T') {
        printf("T\n");
    } else {
        limiter_line_print(item);
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
        engine_step(rules, now_ms, step, events, n_events, queue);
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
        char what = limiter_word(&rest)[0];
        if (what == 'R') {
            add_resource(rest);
            continue;
        }
        if (what == 'Q') {
            make_queues(limiter_number(&rest));
            continue;
        }
        uint64_t this_step = limiter_number(&rest);
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
        struct limiter_line *item = &items[n_items];
        item->what = what;
        item->call = NULL;
        item->event = (struct engine_event){0};
        uint64_t line_now_ms = limiter_number(&rest);
        now_ms = n_items++ == 0 ? line_now_ms : now_ms;
        if (what == 'G') {
            take_leave(item, rest);
        } else if (what != 'T') {
            limiter_line_take(&place, what, rest, item);
        }
    }
    flush();
    return 0;
}
