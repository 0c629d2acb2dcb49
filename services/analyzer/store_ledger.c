/* Call records in the store: each once, and the gaps between them. */
#include <string.h>

#include "analyzer/store_internal.h"

#define GAPS_MOST    16
#define LOOK_BACK    100000 /* numbers of a router that are searched for gaps */
#define RECORD_ARENA (4u << 20)

struct record_job {
    const Analyzer__RecordRequest *request;
    uint64_t now_ms;
    struct arena *arena;
    Analyzer__RecordResponse *response;
};

static struct span bytes_of(ProtobufCBinaryData data)
{
    return span_of(data.data, data.len);
}

/* What is stored is the record as it came: when it was taken stands beside it. */
static struct status take(struct db_tx *tx, struct record_job *job,
                          const Analyzer__CallRecord *record)
{
    Analyzer__RecordResponse *response = job->response;
    CLEANUP(arena_drop) struct arena *arena = arena_new(RECORD_ARENA);
    const Google__Protobuf__Timestamp *start = record->start_time;
    int64_t started = start != NULL ? start->seconds * 1000 + start->nanos / 1000000 : 0;
    struct span packed = rpc_pack(record, arena);
    size_t stored;
    TRY(db_exec(tx,
                "INSERT INTO calls(call_id, tenant, router, sequence, task_id, started_ms, "
                "recorded_ms, record)"
                " VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                DB_BIND(DB_BLOB(bytes_of(record->call_id)), DB_TEXT(span_str(record->tenant)),
                        DB_BLOB(bytes_of(record->router_instance)), DB_INT(record->sequence),
                        DB_TEXT(span_str(record->task_id)), DB_INT(started), DB_INT(job->now_ms),
                        DB_BLOB(packed)),
                &stored));
    if (stored > 0) {
        response->stored++;
        return STATUS_SUCCESS;
    }
    int64_t same;
    bool found;
    TRY(store_one_int(tx, "SELECT 1 FROM calls WHERE call_id = ? AND record = ?",
                      DB_BIND(DB_BLOB(bytes_of(record->call_id)), DB_BLOB(packed)), &same, &found));
    if (found) {
        response->duplicates++;
    } else {
        response->conflicting_call_ids[response->n_conflicting_call_ids++] = record->call_id;
    }
    return STATUS_SUCCESS;
}

/* Numbers that are missing below the highest one seen of a router. */
static struct status find_gaps(struct db_tx *tx, struct record_job *job, ProtobufCBinaryData router)
{
    Analyzer__RecordResponse *response = job->response;
    CLEANUP(db_end) struct db_rows *rows = NULL;
    TRY(db_query(
        tx,
        "SELECT sequence + 1, next - 1 FROM (SELECT sequence, lead(sequence) OVER (ORDER BY "
        "sequence)"
        " AS next FROM (SELECT max(0, max(sequence) - ?2) AS sequence FROM calls WHERE router = ?1"
        " UNION SELECT sequence FROM calls WHERE router = ?1"
        " AND sequence > (SELECT max(sequence) FROM calls WHERE router = ?1) - ?2))"
        " WHERE next > sequence + 1 LIMIT ?3",
        DB_BIND(DB_BLOB(bytes_of(router)), DB_INT(LOOK_BACK), DB_INT(GAPS_MOST)), &rows));
    for (bool more; response->n_gaps < GAPS_MOST;) {
        TRY(db_row(rows, &more));
        if (!more) {
            break;
        }
        Analyzer__SequenceGap *gap = ARENA_NEW(job->arena, Analyzer__SequenceGap);
        analyzer__sequence_gap__init(gap);
        gap->router_instance = router;
        gap->first_sequence = (uint64_t)db_int(rows, 0);
        gap->last_sequence = (uint64_t)db_int(rows, 1);
        response->gaps[response->n_gaps++] = gap;
    }
    return STATUS_SUCCESS;
}

static struct status record_tx(struct db_tx *tx, void *arg)
{
    struct record_job *job = arg;
    const Analyzer__RecordRequest *request = job->request;
    for (size_t i = 0; i < request->n_records; i++) {
        TRY(take(tx, job, request->records[i]));
    }
    return request->n_records > 0 ? find_gaps(tx, job, request->records[0]->router_instance)
                                  : STATUS_SUCCESS;
}

struct status store_take_records(struct store *store, const Analyzer__RecordRequest *request,
                                 uint64_t now_ms, struct arena *arena,
                                 Analyzer__RecordResponse *response)
{
    response->conflicting_call_ids =
        ARENA_ARRAY(arena, ProtobufCBinaryData, request->n_records + 1);
    response->gaps = ARENA_ARRAY(arena, Analyzer__SequenceGap *, GAPS_MOST);
    struct record_job job = {request, now_ms, arena, response};
    return db_write(store->db, record_tx, &job);
}
