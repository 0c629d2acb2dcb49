/* Sections and events in the store: claimed, told about, finished. */
#include <string.h>

#include "analyzer/store_internal.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "codec/json.h"

#define EVENTS_ARENA (16u << 20)
#define CONTEXT_MOST (64u << 10)
#define TITLE_MOST   200

/* --- claim ------------------------------------------------------------------------------------ */

struct claim_job {
    uint64_t now_ms;
    struct arena *arena;
    struct store_claim *out;
    bool found;
    uint64_t next_ms;
};

/* The gravest verified findings so far, those of one level in the order of the document. */
struct gravest {
    struct arena *arena;
    struct {
        Analyzer__RiskLevel level;
        const char *title;
    } rows[PROMPT_FINDINGS_MOST];
    size_t n;
};

static void consider(struct gravest *gravest, const Analyzer__Finding *finding)
{
    size_t at = gravest->n;
    while (at > 0 && gravest->rows[at - 1].level < finding->severity) {
        at--;
    }
    if (!finding->verified || at == PROMPT_FINDINGS_MOST) {
        return;
    }
    gravest->n += gravest->n < PROMPT_FINDINGS_MOST;
    memmove(&gravest->rows[at + 1], &gravest->rows[at],
            (gravest->n - 1 - at) * sizeof(gravest->rows[0]));
    gravest->rows[at].level = finding->severity;
    gravest->rows[at].title =
        arena_string(gravest->arena, utf8_first(span_str(finding->title), TITLE_MOST));
}

static struct status find_gravest(struct db_tx *tx, const char *task_id, struct gravest *out)
{
    CLEANUP(db_end) struct db_rows *rows = NULL;
    TRY(db_query(tx, "SELECT summary FROM sections WHERE task_id = ? AND state = ? ORDER BY place",
                 DB_BIND(DB_TEXT(span_str(task_id)), DB_INT(STORE_SUCCEEDED)), &rows));
    for (bool more;;) {
        TRY(db_row(rows, &more));
        if (!more) {
            return STATUS_SUCCESS;
        }
        CLEANUP(arena_drop) struct arena *arena = arena_new(EVENTS_ARENA);
        Analyzer__SectionResult *result;
        TRY(store_unpack(&analyzer__section_result__descriptor, db_bytes(rows, 0), arena, &result));
        for (size_t i = 0; i < result->n_findings; i++) {
            consider(out, result->findings[i]);
        }
    }
}

/* What a section is told of those that have ended, as JSON [[severity, title], ...]. */
static struct status make_context(struct db_tx *tx, const char *task_id, struct arena *arena,
                                  struct buf *out)
{
    struct gravest gravest = {.arena = arena};
    TRY(find_gravest(tx, task_id, &gravest));
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_array(&w);
    for (size_t i = 0; i < gravest.n; i++) {
        json_begin_array(&w);
        json_put_string(&w, span_str(result_level_word(gravest.rows[i].level)));
        json_put_string(&w, span_str(gravest.rows[i].title));
        json_end_array(&w);
    }
    json_end_array(&w);
    return STATUS_SUCCESS;
}

static void read_context(struct span text, struct arena *arena, struct store_claim *out)
{
    CLEANUP(json_drop) struct json *rows = json_parse(text, NULL);
    size_t n = json_count(rows);
    out->earlier = ARENA_ARRAY(arena, struct prompt_finding, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct json *row = json_at(rows, i);
        out->earlier[i].severity = arena_string(arena, json_string(json_at(row, 0)));
        out->earlier[i].title = arena_string(arena, json_string(json_at(row, 1)));
    }
    out->n_earlier = n;
}

static struct status find_next(struct db_tx *tx, struct claim_job *job, struct buf *context)
{
    struct store_claim *out = job->out;
    CLEANUP(db_end) struct db_rows *rows = NULL;
    TRY(db_query(tx,
                 "SELECT s.task_id, s.place, s.title, s.text, s.start, s.run, s.context, t.tenant,"
                 " t.caller_request, t.deadline_ms, t.options FROM sections s JOIN tasks t ON t.id "
                 "= s.task_id"
                 " WHERE s.state = 1 AND s.not_before_ms <= ?"
                 " ORDER BY s.priority, s.created_ms, s.task_id, s.place LIMIT 1",
                 DB_BIND(DB_INT(job->now_ms)), &rows));
    TRY(db_row(rows, &job->found));
    if (!job->found) {
        return STATUS_SUCCESS;
    }
    out->task_id = arena_string(job->arena, db_bytes(rows, 0));
    out->index = (uint32_t)db_int(rows, 1);
    out->title = arena_string(job->arena, db_bytes(rows, 2));
    out->text = arena_copy(job->arena, db_bytes(rows, 3));
    out->offset = (uint64_t)db_int(rows, 4);
    out->run = (uint32_t)db_int(rows, 5) + 1;
    out->tenant = arena_string(job->arena, db_bytes(rows, 7));
    out->caller_request = arena_string(job->arena, db_bytes(rows, 8));
    out->deadline_ms = (uint64_t)db_int(rows, 9);
    TRY(store_unpack(&analyzer__analysis_options__descriptor, db_bytes(rows, 10), job->arena,
                     &out->options));
    if (!db_is_null(rows, 6)) {
        buf_add_span(context, db_bytes(rows, 6));
    }
    return STATUS_SUCCESS;
}

static struct status claim_tx(struct db_tx *tx, void *arg)
{
    struct claim_job *job = arg;
    struct store_claim *out = job->out;
    CLEANUP(buf_clear) struct buf context;
    buf_init(&context, CONTEXT_MOST);
    TRY(find_next(tx, job, &context));
    if (!job->found) {
        int64_t next = 0;
        bool any;
        TRY(store_one_int(
            tx, "SELECT not_before_ms FROM sections WHERE state = 1 ORDER BY not_before_ms LIMIT 1",
            NULL, 0, &next, &any));
        job->next_ms = any ? (uint64_t)next : 0;
        return STATUS_SUCCESS;
    }
    if (context.len == 0) {
        CLEANUP(arena_drop) struct arena *scratch = arena_new(EVENTS_ARENA);
        TRY(make_context(tx, out->task_id, scratch, &context));
    }
    read_context(buf_span(&context), job->arena, out);
    TRY(db_exec(
        tx, "UPDATE sections SET state = ?, run = ?, context = ? WHERE task_id = ? AND place = ?",
        DB_BIND(DB_INT(STORE_RUNNING), DB_INT(out->run), DB_BLOB(buf_span(&context)),
                DB_TEXT(span_str(out->task_id)), DB_INT(out->index)),
        NULL));
    size_t started;
    TRY(db_exec(
        tx, "UPDATE tasks SET state = ?, started_ms = ? WHERE id = ? AND started_ms = 0",
        DB_BIND(DB_INT(STORE_RUNNING), DB_INT(job->now_ms), DB_TEXT(span_str(out->task_id))),
        &started));
    if (started > 0) {
        TRY(store_append_state(tx, out->task_id, UINT32_MAX, 0, STORE_RUNNING, "", 0, job->now_ms,
                               job->arena));
    }
    return store_append_state(tx, out->task_id, out->index, out->run, STORE_RUNNING, "", 0,
                              job->now_ms, job->arena);
}

struct status store_claim(struct store *store, uint64_t now_ms, struct arena *arena,
                          struct store_claim *out, bool *found, uint64_t *next_ms)
{
    struct claim_job job = {.now_ms = now_ms, .arena = arena, .out = out};
    TRY(db_write(store->db, claim_tx, &job));
    *found = job.found;
    *next_ms = job.next_ms;
    return STATUS_SUCCESS;
}

/* --- what a run writes ------------------------------------------------------------------------ */

struct run_job {
    const char *task_id;
    uint32_t index;
    uint32_t run;
    uint64_t now_ms;
    struct arena *arena;
    Analyzer__AnalysisEvent **events;
    size_t n_events;
    const Analyzer__SectionResult *result;
    uint64_t not_before_ms;
    Analyzer__Task__State ended;
};

/* The fence: only the run that owns the section writes. */
static struct status check_owner(struct db_tx *tx, const struct run_job *job)
{
    int64_t mine;
    bool found;
    TRY(store_one_int(
        tx, "SELECT 1 FROM sections WHERE task_id = ? AND place = ? AND run = ? AND state = ?",
        DB_BIND(DB_TEXT(span_str(job->task_id)), DB_INT(job->index), DB_INT(job->run),
                DB_INT(STORE_RUNNING)),
        &mine, &found));
    return found ? STATUS_SUCCESS
                 : status_of(REASON_LEASE_LOST, "the section belongs to another run");
}

static struct status events_tx(struct db_tx *tx, void *arg)
{
    struct run_job *job = arg;
    TRY(check_owner(tx, job));
    return store_append(tx, job->task_id, job->events, job->n_events, job->now_ms, job->arena);
}

struct status store_events(struct store *store, const char *task_id, uint32_t index, uint32_t run,
                           Analyzer__AnalysisEvent **events, size_t n)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(EVENTS_ARENA);
    struct run_job job = {.task_id = task_id,
                          .index = index,
                          .run = run,
                          .now_ms = clock_wall_ms(),
                          .arena = arena,
                          .events = events,
                          .n_events = n};
    return db_write(store->db, events_tx, &job);
}

static struct status end_task(struct db_tx *tx, struct run_job *job)
{
    CLEANUP(db_end) struct db_rows *rows = NULL;
    bool found;
    TRY(db_query(tx, "SELECT sections, ended, failed, created_ms FROM tasks WHERE id = ?",
                 DB_BIND(DB_TEXT(span_str(job->task_id))), &rows));
    TRY(db_row(rows, &found));
    int64_t sections = db_int(rows, 0), ended = db_int(rows, 1), failed = db_int(rows, 2);
    uint64_t created_ms = (uint64_t)db_int(rows, 3);
    if (ended < sections) {
        return STATUS_SUCCESS;
    }
    job->ended = failed > 0 ? STORE_FAILED : STORE_SUCCEEDED;
    TRY(db_exec(tx, "UPDATE tasks SET state = ?, ended_ms = ? WHERE id = ?",
                DB_BIND(DB_INT(job->ended), DB_INT(job->now_ms), DB_TEXT(span_str(job->task_id))),
                NULL));
    TRY(store_append_state(tx, job->task_id, UINT32_MAX, 0, job->ended,
                           failed > 0 ? "SECTIONS_FAILED" : "", 100, job->now_ms, job->arena));

    Analyzer__SectionResult **results;
    size_t n;
    const struct store_view summaries = {.view = ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS};
    TRY(store_results(tx, job->task_id, &summaries, job->arena, &results, &n));
    Analyzer__AnalysisEvent event = ANALYZER__ANALYSIS_EVENT__INIT;
    event.event_case = ANALYZER__ANALYSIS_EVENT__EVENT_DOCUMENT_RESULT;
    event.document_result = result_roll_up(results, n, job->arena);
    event.document_result->totals->total_ms = job->now_ms - created_ms;
    event.document_result->n_sections = 0; /* each had its own event */
    return store_append(tx, job->task_id, (Analyzer__AnalysisEvent *[]){&event}, 1, job->now_ms,
                        job->arena);
}

static struct status finish_tx(struct db_tx *tx, void *arg)
{
    struct run_job *job = arg;
    const Analyzer__SectionResult *result = job->result;
    bool good = result_has_answer(result);
    TRY(check_owner(tx, job));
    Analyzer__SectionResult summary = *result;
    summary.n_thinking = 0;
    summary.raw_output = (ProtobufCBinaryData){0, NULL};
    TRY(db_exec(
        tx,
        "UPDATE sections SET state = ?, outcome = ?, risk_level = ?, summary = ?, result = ?"
        " WHERE task_id = ? AND place = ?",
        DB_BIND(DB_INT(good ? STORE_SUCCEEDED : STORE_FAILED), DB_INT(result->outcome),
                DB_INT(result->risk_level), DB_BLOB(rpc_pack(&summary, job->arena)),
                DB_BLOB(rpc_pack(result, job->arena)), DB_TEXT(span_str(job->task_id)),
                DB_INT(job->index)),
        NULL));
    TRY(db_exec(tx, "UPDATE tasks SET ended = ended + 1, failed = failed + ? WHERE id = ?",
                DB_BIND(DB_INT(good ? 0 : 1), DB_TEXT(span_str(job->task_id))), NULL));

    Analyzer__AnalysisEvent event = ANALYZER__ANALYSIS_EVENT__INIT;
    event.event_case = ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT;
    event.section_result = (Analyzer__SectionResult *)result;
    event.section_id = store_section_id(job->index, job->arena);
    event.run = job->run;
    TRY(store_append(tx, job->task_id, (Analyzer__AnalysisEvent *[]){&event}, 1, job->now_ms,
                     job->arena));
    return end_task(tx, job);
}

struct status store_finish(struct store *store, const char *task_id, uint32_t index, uint32_t run,
                           const Analyzer__SectionResult *result, uint64_t now_ms,
                           Analyzer__Task__State *ended)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(8 * EVENTS_ARENA);
    struct run_job job = {.task_id = task_id,
                          .index = index,
                          .run = run,
                          .now_ms = now_ms,
                          .arena = arena,
                          .result = result};
    TRY(db_write(store->db, finish_tx, &job));
    *ended = job.ended;
    return STATUS_SUCCESS;
}

static struct status requeue_tx(struct db_tx *tx, void *arg)
{
    struct run_job *job = arg;
    TRY(check_owner(tx, job));
    return db_exec(
        tx, "UPDATE sections SET state = ?, not_before_ms = ? WHERE task_id = ? AND place = ?",
        DB_BIND(DB_INT(STORE_QUEUED), DB_INT(job->not_before_ms), DB_TEXT(span_str(job->task_id)),
                DB_INT(job->index)),
        NULL);
}

struct status store_requeue(struct store *store, const char *task_id, uint32_t index, uint32_t run,
                            uint64_t not_before_ms)
{
    struct run_job job = {
        .task_id = task_id, .index = index, .run = run, .not_before_ms = not_before_ms};
    return db_write(store->db, requeue_tx, &job);
}

/* --- events ----------------------------------------------------------------------------------- */

struct read_job {
    const char *tenant;
    const char *id;
    uint64_t after;
    size_t most;
    struct arena *arena;
    Analyzer__AnalysisEvent **events;
    size_t n;
    Analyzer__Task__State state;
};

static struct status read_tx(struct db_tx *tx, void *arg)
{
    struct read_job *job = arg;
    CLEANUP(db_end) struct db_rows *task = NULL;
    bool found, more;
    TRY(db_query(tx, "SELECT state, last_sequence FROM tasks WHERE id = ? AND tenant = ?",
                 DB_BIND(DB_TEXT(span_str(job->id)), DB_TEXT(span_str(job->tenant))), &task));
    TRY(db_row(task, &found));
    if (!found) {
        return status_of(REASON_TASK_UNKNOWN, NULL);
    }
    job->state = (Analyzer__Task__State)db_int(task, 0);
    if (job->after > (uint64_t)db_int(task, 1)) {
        return status_of(REASON_SEQUENCE_UNKNOWN, NULL);
    }
    CLEANUP(db_end) struct db_rows *rows = NULL;
    TRY(db_query(
        tx, "SELECT event FROM events WHERE task_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        DB_BIND(DB_TEXT(span_str(job->id)), DB_INT(job->after), DB_INT(job->most)), &rows));
    job->events = ARENA_ARRAY(job->arena, Analyzer__AnalysisEvent *, job->most);
    while (job->n < job->most) {
        TRY(db_row(rows, &more));
        if (!more) {
            break;
        }
        /* A large event may fill the arena: what fits is sent first. */
        struct status s = store_unpack(&analyzer__analysis_event__descriptor, db_bytes(rows, 0),
                                       job->arena, &job->events[job->n]);
        if (!status_ok(s) && job->n > 0) {
            break;
        }
        TRY(s);
        job->n++;
    }
    return STATUS_SUCCESS;
}

struct status store_read_events(struct store *store, const char *tenant, const char *id,
                                uint64_t after, size_t most, struct arena *arena,
                                Analyzer__AnalysisEvent ***out, size_t *n,
                                Analyzer__Task__State *state)
{
    struct read_job job = {
        .tenant = tenant, .id = id, .after = after, .most = most, .arena = arena};
    TRY(db_read(store->db, read_tx, &job));
    *out = job.events;
    *n = job.n;
    *state = job.state;
    return STATUS_SUCCESS;
}
