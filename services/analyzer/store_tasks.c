/* Tasks in the store: submitted, shown, listed, cancelled. */
#include <string.h>

#include "analyzer/store_internal.h"

#define ARENA_ROOM 65536

/* --- submit ----------------------------------------------------------------------------------- */

struct submit_job {
    const struct store_submit *submit;
    struct arena *arena;
    const char *id;
    bool existed;
};

static struct status find_repeated(struct db_tx *tx, struct submit_job *job)
{
    const struct store_submit *submit = job->submit;
    if (submit->request_id[0] == '\0') {
        return STATUS_SUCCESS;
    }
    CLEANUP(db_end) struct db_rows *rows = NULL;
    bool found;
    TRY(db_query(
        tx, "SELECT id, request_sha256, created_ms FROM tasks WHERE tenant = ? AND request_id = ?",
        DB_BIND(DB_TEXT(span_str(submit->tenant)), DB_TEXT(span_str(submit->request_id))), &rows));
    TRY(db_row(rows, &found));
    if (!found) {
        return STATUS_SUCCESS;
    }
    if (!span_eq(db_bytes(rows, 1), span_of(submit->request_sha256, 32))) {
        return status_of(REASON_REQUEST_ID_REUSED, "the request id was used with another request");
    }
    job->id = arena_string(job->arena, db_bytes(rows, 0));
    job->existed = true;
    return STATUS_SUCCESS;
}

static struct status check_room(struct db_tx *tx, const struct store_submit *submit)
{
    int64_t open;
    bool found;
    TRY(store_one_int(tx, "SELECT count(*) FROM tasks WHERE ended_ms = 0", NULL, 0, &open, &found));
    if ((size_t)open >= submit->tasks_most) {
        return status_retry(REASON_OVERLOADED, 5000, "too many tasks wait");
    }
    TRY(store_one_int(tx, "SELECT count(*) FROM tasks WHERE ended_ms = 0 AND tenant = ?",
                      DB_BIND(DB_TEXT(span_str(submit->tenant))), &open, &found));
    if ((size_t)open >= submit->tenant_tasks_most) {
        return status_retry(REASON_TENANT_QUEUE_FULL, 5000, NULL);
    }
    return STATUS_SUCCESS;
}

static struct status insert_sections(struct db_tx *tx, const struct store_submit *submit)
{
    for (size_t i = 0; i < submit->document->n_sections; i++) {
        const struct document_section *section = &submit->document->sections[i];
        TRY(db_exec(tx,
                    "INSERT INTO sections(task_id, place, title, level, start, text, priority, "
                    "created_ms, state)"
                    " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    DB_BIND(DB_TEXT(span_str(submit->id)), DB_INT(i),
                            DB_TEXT(span_str(section->title)), DB_INT(section->level),
                            DB_INT(section->offset), DB_BLOB(section->text),
                            DB_INT(submit->priority), DB_INT(submit->now_ms), DB_INT(STORE_QUEUED)),
                    NULL));
    }
    return STATUS_SUCCESS;
}

static struct status submit_tx(struct db_tx *tx, void *arg)
{
    struct submit_job *job = arg;
    const struct store_submit *submit = job->submit;
    TRY(find_repeated(tx, job));
    if (job->existed) {
        return STATUS_SUCCESS;
    }
    TRY(check_room(tx, submit));
    TRY(db_exec(
        tx,
        "INSERT INTO tasks(id, tenant, request_id, request_sha256, caller_request, display_name,"
        " options, sha256, priority, state, created_ms, updated_ms, deadline_ms, sections)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        DB_BIND(DB_TEXT(span_str(submit->id)), DB_TEXT(span_str(submit->tenant)),
                submit->request_id[0] != '\0' ? DB_TEXT(span_str(submit->request_id)) : DB_NULL,
                DB_BLOB(span_of(submit->request_sha256, 32)),
                DB_TEXT(span_str(submit->caller_request)), DB_TEXT(span_str(submit->display_name)),
                DB_BLOB(submit->options), DB_BLOB(span_of(submit->sha256, 32)),
                DB_INT(submit->priority), DB_INT(STORE_QUEUED), DB_INT(submit->now_ms),
                DB_INT(submit->now_ms), DB_INT(submit->deadline_ms),
                DB_INT(submit->document->n_sections)),
        NULL));
    TRY(insert_sections(tx, submit));
    job->id = submit->id;
    return store_append_state(tx, submit->id, UINT32_MAX, 0, STORE_QUEUED, "", 0, submit->now_ms,
                              job->arena);
}

struct status store_submit(struct store *store, const struct store_submit *submit,
                           struct arena *arena, const char **id, bool *existed)
{
    struct submit_job job = {.submit = submit, .arena = arena};
    TRY(db_write(store->db, submit_tx, &job));
    *id = job.id;
    *existed = job.existed;
    return STATUS_SUCCESS;
}

/* --- get and list ----------------------------------------------------------------------------- */

#define TASK_COLUMNS                                                                               \
    "id, tenant, request_id, display_name, options, sha256, priority, state, created_ms, "         \
    "started_ms,"                                                                                  \
    " updated_ms, ended_ms, sections, ended, last_sequence"

static struct status task_of(const struct db_rows *rows, struct arena *arena, Analyzer__Task **out)
{
    Analyzer__Task *task = ARENA_NEW(arena, Analyzer__Task);
    analyzer__task__init(task);
    struct span id = db_bytes(rows, 0), tenant = db_bytes(rows, 1);
    task->name = arena_printf(arena, "tenants/%.*s/tasks/%.*s", (int)tenant.len, tenant.at,
                              (int)id.len, id.at);
    task->request_id = arena_string(arena, db_bytes(rows, 2));
    task->display_name = arena_string(arena, db_bytes(rows, 3));
    TRY(store_unpack(&analyzer__analysis_options__descriptor, db_bytes(rows, 4), arena,
                     &task->options));
    struct span sha256 = arena_copy(arena, db_bytes(rows, 5));
    task->document_sha256 = (ProtobufCBinaryData){sha256.len, (uint8_t *)sha256.at};
    task->priority = (Router__Priority)db_int(rows, 6);
    task->state = (Analyzer__Task__State)db_int(rows, 7);
    task->create_time = store_timestamp((uint64_t)db_int(rows, 8), arena);
    task->start_time = store_timestamp((uint64_t)db_int(rows, 9), arena);
    task->update_time = store_timestamp((uint64_t)db_int(rows, 10), arena);
    task->end_time = store_timestamp((uint64_t)db_int(rows, 11), arena);
    int64_t sections = db_int(rows, 12);
    task->progress_percent = sections > 0 ? (uint32_t)(100 * db_int(rows, 13) / sections) : 0;
    task->last_sequence = (uint64_t)db_int(rows, 14);
    *out = task;
    return STATUS_SUCCESS;
}

/* Unpacking may take all but a little of it, and what is ours to allocate must fit. */
static struct status check_arena(const struct arena *arena)
{
    return arena_left(arena) >= ARENA_ROOM
               ? STATUS_SUCCESS
               : status_of(REASON_MESSAGE_TOO_LARGE, "what is stored does not fit one answer");
}

static struct status add_progress(struct db_tx *tx, const char *id, struct arena *arena,
                                  Analyzer__Task *task)
{
    int64_t most;
    bool found;
    TRY(store_one_int(tx, "SELECT count(*) FROM sections WHERE task_id = ?",
                      DB_BIND(DB_TEXT(span_str(id))), &most, &found));
    task->sections = ARENA_ARRAY(arena, Analyzer__SectionProgress *, (size_t)most + 1);
    CLEANUP(db_end) struct db_rows *rows = NULL;
    TRY(db_query(
        tx,
        "SELECT place, title, level, start, length(text), state, run, outcome, risk_level, summary"
        " FROM sections WHERE task_id = ? ORDER BY place",
        DB_BIND(DB_TEXT(span_str(id))), &rows));
    for (bool more; task->n_sections < (size_t)most;) {
        TRY(db_row(rows, &more));
        if (!more) {
            break;
        }
        TRY(check_arena(arena));
        Analyzer__SectionProgress *row = ARENA_NEW(arena, Analyzer__SectionProgress);
        analyzer__section_progress__init(row);
        row->index = (uint32_t)db_int(rows, 0);
        row->section_id = store_section_id(row->index, arena);
        row->title = arena_string(arena, db_bytes(rows, 1));
        row->level = (uint32_t)db_int(rows, 2);
        row->offset = (uint64_t)db_int(rows, 3);
        row->length = (uint64_t)db_int(rows, 4);
        row->state = (Analyzer__Task__State)db_int(rows, 5);
        row->runs = (uint32_t)db_int(rows, 6);
        row->outcome = (Analyzer__Outcome)db_int(rows, 7);
        row->risk_level = (Analyzer__RiskLevel)db_int(rows, 8);
        if (row->state == STORE_FAILED && !db_is_null(rows, 9)) {
            Analyzer__SectionResult *result;
            TRY(store_unpack(&analyzer__section_result__descriptor, db_bytes(rows, 9), arena,
                             &result));
            row->error = result->error;
            if (task->state == STORE_FAILED && task->error == NULL) {
                task->error = row->error;
            }
        }
        task->sections[task->n_sections++] = row;
    }
    return STATUS_SUCCESS;
}

struct get_job {
    const char *tenant;
    const char *id;
    const struct store_view *view;
    struct arena *arena;
    Analyzer__Task *task;
};

static struct status add_results(struct db_tx *tx, const struct get_job *job)
{
    Analyzer__SectionResult **results;
    size_t n, kept = 0;
    TRY(store_results(tx, job->id, job->view, job->arena, &results, &n));
    TRY(check_arena(job->arena));
    Analyzer__DocumentResult *result = result_roll_up(results, n, job->arena);
    for (size_t i = 0; i < n; i++) {
        if (store_wants(job->view, results[i]->section_id)) {
            results[kept++] = results[i];
        }
    }
    result->n_sections = kept;
    job->task->result = result;
    return STATUS_SUCCESS;
}

static struct status get_tx(struct db_tx *tx, void *arg)
{
    struct get_job *job = arg;
    CLEANUP(db_end) struct db_rows *rows = NULL;
    bool found;
    TRY(db_query(tx, "SELECT " TASK_COLUMNS " FROM tasks WHERE id = ? AND tenant = ?",
                 DB_BIND(DB_TEXT(span_str(job->id)), DB_TEXT(span_str(job->tenant))), &rows));
    TRY(db_row(rows, &found));
    if (!found) {
        return status_of(REASON_TASK_UNKNOWN, NULL);
    }
    TRY(task_of(rows, job->arena, &job->task));
    TRY(add_progress(tx, job->id, job->arena, job->task));
    if (job->view->view != ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS &&
        job->view->view != ANALYZER__TASK_VIEW__TASK_VIEW_FULL) {
        return STATUS_SUCCESS;
    }
    TRY(add_results(tx, job));
    uint64_t begin = (uint64_t)db_int(rows, 8), end = (uint64_t)db_int(rows, 11);
    job->task->result->totals->total_ms = end > begin ? end - begin : 0;
    return STATUS_SUCCESS;
}

struct status store_get(struct store *store, const char *tenant, const char *id,
                        const struct store_view *view, struct arena *arena, Analyzer__Task **out)
{
    struct get_job job = {tenant, id, view, arena, NULL};
    TRY(db_read(store->db, get_tx, &job));
    *out = job.task;
    return STATUS_SUCCESS;
}

struct list_job {
    const char *tenant;
    const struct store_page *page;
    struct arena *arena;
    Analyzer__Task **tasks;
    size_t n;
    int64_t total;
};

static struct status list_tx(struct db_tx *tx, void *arg)
{
    struct list_job *job = arg;
    const struct store_page *page = job->page;
    int64_t before = page->before_ms > 0 ? (int64_t)page->before_ms : INT64_MAX;
    int64_t states = page->states > 0 ? page->states : INT32_MAX;
    bool found;
    TRY(store_one_int(tx, "SELECT count(*) FROM tasks WHERE tenant = ? AND ((1 << state) & ?) != 0",
                      DB_BIND(DB_TEXT(span_str(job->tenant)), DB_INT(states)), &job->total,
                      &found));
    CLEANUP(db_end) struct db_rows *rows = NULL;
    TRY(db_query(tx,
                 "SELECT " TASK_COLUMNS " FROM tasks WHERE tenant = ? AND ((1 << state) & ?) != 0"
                 " AND (created_ms, id) < (?, ?) ORDER BY created_ms DESC, id DESC LIMIT ?",
                 DB_BIND(DB_TEXT(span_str(job->tenant)), DB_INT(states), DB_INT(before),
                         DB_TEXT(span_str(page->before_id)), DB_INT(page->most)),
                 &rows));
    job->tasks = ARENA_ARRAY(job->arena, Analyzer__Task *, page->most + 1);
    for (bool more; job->n < page->most; job->n++) {
        TRY(db_row(rows, &more));
        if (!more) {
            break;
        }
        TRY(task_of(rows, job->arena, &job->tasks[job->n]));
    }
    return STATUS_SUCCESS;
}

struct status store_list(struct store *store, const char *tenant, const struct store_page *page,
                         struct arena *arena, Analyzer__Task ***out, size_t *n, size_t *total)
{
    struct list_job job = {.tenant = tenant, .page = page, .arena = arena};
    TRY(db_read(store->db, list_tx, &job));
    *out = job.tasks;
    *n = job.n;
    *total = (size_t)job.total;
    return STATUS_SUCCESS;
}

/* --- cancel ----------------------------------------------------------------------------------- */

struct cancel_job {
    const char *tenant;
    const char *id;
    const char *reason;
    uint64_t now_ms;
    struct arena *arena;
};

static struct status cancel_tx(struct db_tx *tx, void *arg)
{
    struct cancel_job *job = arg;
    int64_t ended;
    bool found;
    TRY(store_one_int(tx, "SELECT ended_ms FROM tasks WHERE id = ? AND tenant = ?",
                      DB_BIND(DB_TEXT(span_str(job->id)), DB_TEXT(span_str(job->tenant))), &ended,
                      &found));
    if (!found) {
        return status_of(REASON_TASK_UNKNOWN, NULL);
    }
    if (ended > 0) {
        return status_of(REASON_TASK_FINISHED, NULL);
    }
    TRY(db_exec(tx,
                "UPDATE sections SET state = ?, outcome = ? WHERE task_id = ? AND state IN (?, ?)",
                DB_BIND(DB_INT(STORE_CANCELLED), DB_INT(ANALYZER__OUTCOME__OUTCOME_CANCELLED),
                        DB_TEXT(span_str(job->id)), DB_INT(STORE_QUEUED), DB_INT(STORE_RUNNING)),
                NULL));
    TRY(db_exec(
        tx,
        "UPDATE tasks SET state = ?, ended_ms = ?, ended = (SELECT count(*) FROM sections WHERE"
        " task_id = tasks.id AND state > ?) WHERE id = ?",
        DB_BIND(DB_INT(STORE_CANCELLED), DB_INT(job->now_ms), DB_INT(STORE_RUNNING),
                DB_TEXT(span_str(job->id))),
        NULL));
    return store_append_state(tx, job->id, UINT32_MAX, 0, STORE_CANCELLED, job->reason, 0,
                              job->now_ms, job->arena);
}

struct status store_cancel(struct store *store, const char *tenant, const char *id,
                           const char *reason, uint64_t now_ms)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    struct cancel_job job = {tenant, id, reason, now_ms, arena};
    return db_write(store->db, cancel_tx, &job);
}
