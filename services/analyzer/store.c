#include "analyzer/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "analyzer/store_internal.h"
#include "base/alloc.h"

static const char *const schema[] = {
    "CREATE TABLE tasks("
    " id TEXT PRIMARY KEY, tenant TEXT NOT NULL, request_id TEXT, request_sha256 BLOB NOT NULL,"
    " caller_request TEXT NOT NULL, display_name TEXT NOT NULL, options BLOB NOT NULL, sha256 BLOB "
    "NOT NULL,"
    " priority INTEGER NOT NULL, state INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " started_ms INTEGER NOT NULL DEFAULT 0, updated_ms INTEGER NOT NULL, ended_ms INTEGER NOT "
    "NULL DEFAULT 0,"
    " deadline_ms INTEGER NOT NULL, sections INTEGER NOT NULL, ended INTEGER NOT NULL DEFAULT 0,"
    " failed INTEGER NOT NULL DEFAULT 0, last_sequence INTEGER NOT NULL DEFAULT 0);"
    "CREATE UNIQUE INDEX tasks_request ON tasks(tenant, request_id) WHERE request_id IS NOT NULL;"
    "CREATE INDEX tasks_newest ON tasks(tenant, created_ms DESC, id DESC);"
    "CREATE INDEX tasks_open ON tasks(tenant) WHERE ended_ms = 0;"
    "CREATE TABLE sections("
    " task_id TEXT NOT NULL REFERENCES tasks(id) ON DELETE CASCADE, place INTEGER NOT NULL,"
    " title TEXT NOT NULL, level INTEGER NOT NULL, start INTEGER NOT NULL, text BLOB NOT NULL,"
    " priority INTEGER NOT NULL, created_ms INTEGER NOT NULL, not_before_ms INTEGER NOT NULL "
    "DEFAULT 0,"
    " state INTEGER NOT NULL, run INTEGER NOT NULL DEFAULT 0, context BLOB,"
    " outcome INTEGER NOT NULL DEFAULT 0, risk_level INTEGER NOT NULL DEFAULT 0, summary BLOB, "
    "result "
    "BLOB,"
    " UNIQUE(task_id, place));"
    "CREATE INDEX sections_queue ON sections(priority, created_ms, task_id, place) WHERE state = 1;"
    "CREATE TABLE events("
    " task_id TEXT NOT NULL REFERENCES tasks(id) ON DELETE CASCADE, sequence INTEGER NOT NULL,"
    " event BLOB NOT NULL, PRIMARY KEY(task_id, sequence)) WITHOUT ROWID;"
    "CREATE TABLE calls("
    " call_id BLOB PRIMARY KEY, tenant TEXT NOT NULL, router BLOB NOT NULL, sequence INTEGER NOT "
    "NULL,"
    " task_id TEXT NOT NULL, started_ms INTEGER NOT NULL, recorded_ms INTEGER NOT NULL,"
    " record BLOB NOT NULL);"
    "CREATE UNIQUE INDEX calls_sequence ON calls(router, sequence);"
    "CREATE INDEX calls_newest ON calls(tenant, started_ms DESC);",
};

char *store_section_id(uint32_t index, struct arena *arena)
{
    return arena_printf(arena, STORE_SECTION_ID, index + 1);
}

Google__Protobuf__Timestamp *store_timestamp(uint64_t wall_ms, struct arena *arena)
{
    if (wall_ms == 0) {
        return NULL;
    }
    Google__Protobuf__Timestamp *t = ARENA_NEW(arena, Google__Protobuf__Timestamp);
    google__protobuf__timestamp__init(t);
    t->seconds = (int64_t)(wall_ms / 1000);
    t->nanos = (int32_t)(wall_ms % 1000) * 1000000;
    return t;
}

struct status store_one_int(struct db_tx *tx, const char *sql, const struct db_value *values,
                            size_t n, int64_t *out, bool *found)
{
    CLEANUP(db_end) struct db_rows *rows = NULL;
    TRY(db_query(tx, sql, values, n, &rows));
    TRY(db_row(rows, found));
    if (*found) {
        *out = db_int(rows, 0);
    }
    return STATUS_SUCCESS;
}

struct status store_unpack(const struct ProtobufCMessageDescriptor *type, struct span bytes,
                           struct arena *arena, void *out)
{
    void *message;
    struct status s = rpc_unpack(type, bytes, arena, &message);
    if (s.reason == REASON_MESSAGE_TOO_COMPLEX) {
        return status_of(REASON_MESSAGE_TOO_LARGE, "what is stored does not fit one answer");
    }
    if (!status_ok(s)) {
        return status_of(REASON_STORE_CORRUPT, "a stored message cannot be read");
    }
    *(void **)out = message;
    return STATUS_SUCCESS;
}

struct status store_append(struct db_tx *tx, const char *task_id, Analyzer__AnalysisEvent **events,
                           size_t n, uint64_t now_ms, struct arena *arena)
{
    int64_t last;
    bool found;
    TRY(store_one_int(tx, "SELECT last_sequence FROM tasks WHERE id = ?",
                      DB_BIND(DB_TEXT(span_str(task_id))), &last, &found));
    if (!found) {
        return status_of(REASON_TASK_UNKNOWN, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        events[i]->sequence = (uint64_t)(last + 1 + (int64_t)i);
        if (events[i]->time == NULL) {
            events[i]->time = store_timestamp(now_ms, arena);
        }
        TRY(db_exec(tx, "INSERT INTO events(task_id, sequence, event) VALUES(?, ?, ?)",
                    DB_BIND(DB_TEXT(span_str(task_id)), DB_INT(events[i]->sequence),
                            DB_BLOB(rpc_pack(events[i], arena))),
                    NULL));
    }
    return db_exec(tx, "UPDATE tasks SET last_sequence = ?, updated_ms = ? WHERE id = ?",
                   DB_BIND(DB_INT(last + (int64_t)n), DB_INT(now_ms), DB_TEXT(span_str(task_id))),
                   NULL);
}

struct status store_append_state(struct db_tx *tx, const char *task_id, uint32_t index,
                                 uint32_t run, Analyzer__Task__State state, const char *reason,
                                 uint32_t percent, uint64_t now_ms, struct arena *arena)
{
    Analyzer__StateChange change = ANALYZER__STATE_CHANGE__INIT;
    change.state = state;
    change.reason = (char *)reason;
    change.progress_percent = percent;
    Analyzer__AnalysisEvent event = ANALYZER__ANALYSIS_EVENT__INIT;
    event.event_case = ANALYZER__ANALYSIS_EVENT__EVENT_STATE_CHANGE;
    event.state_change = &change;
    event.run = run;
    if (index != UINT32_MAX) {
        event.section_id = store_section_id(index, arena);
    }
    return store_append(tx, task_id, (Analyzer__AnalysisEvent *[]){&event}, 1, now_ms, arena);
}

bool store_wants(const struct store_view *view, const char *section_id)
{
    for (size_t i = 0; i < view->n_section_ids; i++) {
        if (strcmp(view->section_ids[i], section_id) == 0) {
            return true;
        }
    }
    return view->n_section_ids == 0;
}

struct status store_results(struct db_tx *tx, const char *task_id, const struct store_view *view,
                            struct arena *arena, Analyzer__SectionResult ***out, size_t *n)
{
    int64_t most;
    bool found, more;
    TRY(store_one_int(tx, "SELECT count(*) FROM sections WHERE task_id = ? AND result IS NOT NULL",
                      DB_BIND(DB_TEXT(span_str(task_id))), &most, &found));
    CLEANUP(db_end) struct db_rows *rows = NULL;
    TRY(db_query(tx,
                 "SELECT place, summary, result FROM sections WHERE task_id = ?"
                 " AND result IS NOT NULL ORDER BY place",
                 DB_BIND(DB_TEXT(span_str(task_id))), &rows));
    Analyzer__SectionResult **results =
        ARENA_ARRAY(arena, Analyzer__SectionResult *, (size_t)most + 1);
    for (int64_t i = 0; i < most; i++) {
        TRY(db_row(rows, &more));
        char id[16];
        snprintf(id, sizeof(id), STORE_SECTION_ID, (uint32_t)db_int(rows, 0) + 1);
        bool whole = view->view == ANALYZER__TASK_VIEW__TASK_VIEW_FULL && store_wants(view, id);
        TRY(store_unpack(&analyzer__section_result__descriptor, db_bytes(rows, whole ? 2 : 1),
                         arena, &results[i]));
    }
    *out = results;
    *n = (size_t)most;
    return STATUS_SUCCESS;
}

/* Only one process has the file, so what runs when it is opened runs nowhere. */
static struct status requeue_all(struct db_tx *tx, void *arg)
{
    (void)arg;
    return db_exec(tx, "UPDATE sections SET state = ?, not_before_ms = 0 WHERE state = ?",
                   DB_BIND(DB_INT(STORE_QUEUED), DB_INT(STORE_RUNNING)), NULL);
}

struct status store_open(struct loop *loop, const char *state_dir, struct store **out)
{
    static char detail[512]; /* at start only; outlives the call */
    struct stat info;
    if (stat(state_dir, &info) != 0 || !S_ISDIR(info.st_mode)) {
        snprintf(detail, sizeof(detail), "state_dir %s: no such directory", state_dir);
        return status_of(REASON_STORE_FAILED, detail);
    }
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    struct db_options options = {.path = arena_printf(arena, "%s/analyzer.sqlite", state_dir),
                                 .schema = schema,
                                 .n_schema = ARRAY_LEN(schema),
                                 .arena = arena};
    struct db *db;
    struct status s = db_open(loop, &options, &db);
    if (!status_ok(s)) {
        snprintf(detail, sizeof(detail), "%s", status_text(s));
        return status_of(s.reason, detail);
    }
    s = db_write(db, requeue_all, NULL);
    if (!status_ok(s)) {
        db_close(db);
        return s;
    }
    struct store *store = ALLOC(struct store);
    store->loop = loop;
    store->db = db;
    *out = store;
    return STATUS_SUCCESS;
}

void store_close(struct store *store)
{
    db_close(store->db);
    free(store);
}
