/* LedgerService: call records are taken in. */
#include <string.h>

#include "analyzer/analyzer.h"
#include "analyzer/store.h"
#include "base/clock.h"
#include "base/log.h"

#define RECORDS_MOST 256
#define ID_SIZE      16

static const char *broken(const Analyzer__CallRecord *record, const Analyzer__CallRecord *first)
{
    if (record->call_id.len != ID_SIZE) {
        return "call_id must be 16 bytes";
    }
    if (record->router_instance.len != ID_SIZE) {
        return "router_instance must be 16 bytes";
    }
    if (memcmp(record->router_instance.data, first->router_instance.data, ID_SIZE) != 0) {
        return "all records of a request must come from one router";
    }
    if (record->sequence == 0 || record->sequence > INT64_MAX) {
        return "sequence counts from 1";
    }
    return rpc_tenant_valid(span_str(record->tenant)) ? NULL : "tenant is required";
}

struct status ledger_record(struct rpc *rpc, const void *arg)
{
    const Analyzer__RecordRequest *request = arg;
    struct analyzer *analyzer = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    if (request->n_records > RECORDS_MOST) {
        return rpc_bad_field(rpc, "records", "more than 256");
    }
    for (size_t i = 0; i < request->n_records; i++) {
        const char *why = broken(request->records[i], request->records[0]);
        if (why != NULL) {
            return rpc_bad_field(rpc, arena_printf(arena, "records[%zu]", i), why);
        }
    }
    Analyzer__RecordResponse response = ANALYZER__RECORD_RESPONSE__INIT;
    TRY(store_take_records(analyzer->store, request, clock_wall_ms(), arena, &response));
    METRIC_ADD(analyzer->metrics.records_total, response.stored, "stored");
    METRIC_ADD(analyzer->metrics.records_total, response.duplicates, "duplicate");
    METRIC_ADD(analyzer->metrics.records_total, (double)response.n_conflicting_call_ids,
               "conflict");
    for (size_t i = 0; i < response.n_gaps; i++) {
        LOG(WARN, "call records missing", KV("first", response.gaps[i]->first_sequence),
            KV("last", response.gaps[i]->last_sequence));
    }
    if (request->dropped > 0) {
        LOG(WARN, "a router dropped call records", KV("dropped", request->dropped));
    }
    return rpc_send(rpc, &response);
}
