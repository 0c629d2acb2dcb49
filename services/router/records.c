/*
 * The spool of call records: bounded, in memory, sent to the ledger in batches by one task. A
 * record that finds the spool full is dropped and counted, and the gap in the sequence numbers
 * tells the ledger so.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "loop/task.h"
#include "prism/analyzer/v1/ledger.pb-c.h"
#include "router/router.h"

#define BATCH_MOST  64
#define BATCH_ARENA (8u << 20)
#define RECORD_MOST (256u << 10)
#define GATHER_MS   20 /* a ledger commits a batch as fast as a record */
#define RETRY_MS    1000
#define STOP_MS     3000

struct spooled {
    struct list link;
    size_t len;
    char bytes[];
};

struct records {
    struct router *router;
    struct list spool;
    size_t n;
    uint64_t sequence;
    uint64_t dropped;
    struct task *task;
    struct bell news; /* there is something to send, or the end has come */
    struct op ended;
    uint64_t stop_ms; /* loop time by which the task ends, 0: not stopping */
};

static void show(struct records *records)
{
    const struct router_config *config = records->router->config;
    METRIC_SET(records->router->metrics.records_waiting, (double)records->n);
    app_set_ready(records->router->app, "ledger", records->n < (config->spool + 1) / 2,
                  "the spool of call records is half full");
}

static Google__Protobuf__Timestamp *timestamp(struct arena *arena, uint64_t wall_ms)
{
    Google__Protobuf__Timestamp *t = ARENA_NEW(arena, Google__Protobuf__Timestamp);
    google__protobuf__timestamp__init(t);
    t->seconds = (int64_t)(wall_ms / 1000);
    t->nanos = (int32_t)(wall_ms % 1000) * 1000000;
    return t;
}

static ProtobufCBinaryData digest(const uint8_t *bytes, bool there)
{
    return (ProtobufCBinaryData){there ? 32 : 0, (uint8_t *)bytes};
}

void records_add(struct router *router, const struct plan *plan, struct status s,
                 const Router__Completed *completed, const struct record_hashes *hashes)
{
    struct records *records = router->records;
    if (records == NULL) {
        return;
    }
    struct arena *arena = plan->arena;
    Analyzer__CallRecord record = ANALYZER__CALL_RECORD__INIT;
    record.call_id = (ProtobufCBinaryData){ROUTER_ID_SIZE, (uint8_t *)plan->call_id};
    record.tenant = (char *)plan->tenant;
    record.request_id = task_context()->request_id;
    record.task_id = plan->generation->task_id;
    record.section_id = plan->generation->section_id;
    record.router_instance = (ProtobufCBinaryData){ROUTER_ID_SIZE, router->session};
    record.sequence = ++records->sequence;
    record.priority = plan->generation->priority;
    record.start_time = timestamp(arena, plan->begin_wall_ms);
    record.end_time = timestamp(arena, clock_wall_ms());
    record.status_code = s.code;
    record.reason = (char *)reason_name(s.reason);
    record.stop_reason = completed->stop_reason;
    record.metadata = plan_metadata(plan, arena, loop_now_ms(router->loop));
    record.prompt_sha256 = digest(hashes->prompt, hashes->has_prompt);
    record.thinking_sha256 = digest(hashes->thinking, hashes->has_thinking);
    record.answer_sha256 = digest(hashes->answer, hashes->has_answer);

    struct span packed = rpc_pack(&record, arena);
    if (records->n >= router->config->spool || packed.len > RECORD_MOST) {
        records->dropped++;
        METRIC_ADD(router->metrics.records_total, 1, "dropped");
        return;
    }
    struct spooled *spooled = alloc_bytes(sizeof(*spooled) + packed.len);
    spooled->len = packed.len;
    memcpy(spooled->bytes, packed.at, packed.len);
    list_push_back(&records->spool, &spooled->link);
    records->n++;
    show(records);
    bell_ring(&records->news);
}

static Analyzer__CallRecord **batch(struct records *records, struct arena *arena, size_t *n)
{
    Analyzer__CallRecord **rows = ARENA_ARRAY(arena, Analyzer__CallRecord *, BATCH_MOST);
    *n = 0;
    LIST_EACH (it, &records->spool) {
        struct spooled *spooled = CONTAINER_OF(it, struct spooled, link);
        void *record;
        if (*n == BATCH_MOST ||
            !status_ok(rpc_unpack(&analyzer__call_record__descriptor,
                                  span_of(spooled->bytes, spooled->len), arena, &record))) {
            break; /* the arena is full: the rest goes next time */
        }
        rows[(*n)++] = record;
    }
    return rows;
}

static void drop_first(struct records *records, size_t n)
{
    for (; n > 0; n--) {
        free(CONTAINER_OF(list_pop_front(&records->spool), struct spooled, link));
        records->n--;
    }
}

static bool send_batch(struct records *records) PARKS
{
    struct router *router = records->router;
    CLEANUP(arena_drop) struct arena *arena = arena_new(BATCH_ARENA);
    Analyzer__RecordRequest request = ANALYZER__RECORD_REQUEST__INIT;
    request.records = batch(records, arena, &request.n_records);
    if (request.n_records == 0) { /* the first one cannot be read: it must not hold up the rest */
        drop_first(records, 1);
        records->dropped++;
        METRIC_ADD(router->metrics.records_total, 1, "dropped");
        return true;
    }
    request.dropped = records->dropped;
    void *reply;
    struct status s = rpc_call(router->ledger, &analyzer__ledger_service__descriptor, "Record",
                               &request, arena, &reply);
    if (!status_ok(s)) {
        LOG(DEBUG, "ledger did not take records", KV("waiting", records->n), KV("err", s));
        return false;
    }
    drop_first(records, request.n_records);
    METRIC_ADD(router->metrics.records_total, (double)request.n_records, "sent");
    show(records);
    return true;
}

static void run(void *arg) PARKS
{
    struct records *records = arg;
    for (;;) {
        bool stopping = records->stop_ms > 0;
        if (records->n == 0) {
            if (stopping) {
                break;
            }
            bool news;
            struct status s = bell_wait_until(&records->news, UINT64_MAX, &news);
            (void)s; /* either way the spool is looked at again */
            continue;
        }
        if (!stopping && records->n < BATCH_MOST) {
            struct status s = task_sleep_ms(GATHER_MS);
            (void)s;
        }
        if (send_batch(records)) {
            continue;
        }
        if (stopping && loop_now_ms(records->router->loop) >= records->stop_ms) {
            break;
        }
        struct status s = task_sleep_ms(stopping ? RETRY_MS / 10 : RETRY_MS);
        (void)s;
    }
    op_done(&records->ended, STATUS_SUCCESS);
}

struct records *records_start(struct router *router)
{
    if (router->ledger == NULL) {
        return NULL;
    }
    struct records *records = ALLOC(struct records);
    records->router = router;
    list_init(&records->spool);
    op_init(&records->ended, router->loop, NULL, NULL);
    struct task_options options = {.name = "records", .deadline_ms = TASK_DEADLINE_NONE};
    records->task = task_spawn(router->loop, &options, run, records);
    return records;
}

void records_stop(struct records *records)
{
    if (records == NULL) {
        return;
    }
    records->stop_ms = loop_now_ms(records->router->loop) + STOP_MS;
    bell_ring(&records->news);
    struct status s = op_wait_firmly(&records->ended);
    check(status_ok(s));
    if (records->n > 0) {
        LOG(ERROR, "call records lost at the end", KV("records", records->n));
    }
    drop_first(records, records->n);
    free(records);
}
