/* The analyzer's store on SQLite: tasks, sections, events, and what survives. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/result.h"
#include "analyzer/store.h"
#include "base/utf8.h"
#include "task_test.h"

#define ARENA_SIZE (64u << 20)

#define QUEUED    ANALYZER__TASK__STATE__STATE_QUEUED
#define RUNNING   ANALYZER__TASK__STATE__STATE_RUNNING
#define SUCCEEDED ANALYZER__TASK__STATE__STATE_SUCCEEDED
#define FAILED    ANALYZER__TASK__STATE__STATE_FAILED
#define CANCELLED ANALYZER__TASK__STATE__STATE_CANCELLED
#define BASIC     ANALYZER__TASK_VIEW__TASK_VIEW_BASIC
#define RESULTS   ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS
#define FULL      ANALYZER__TASK_VIEW__TASK_VIEW_FULL

struct fixture {
    char folder[64];
    struct store *store;
    struct arena *arena;
};

static void start(struct fixture *f)
{
    snprintf(f->folder, sizeof(f->folder), "/tmp/prism-test-store-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->arena = arena_new(ARENA_SIZE);
    assert_status_ok(store_open(task_loop(), f->folder, &f->store));
}

static void reopen(struct fixture *f)
{
    store_close(f->store);
    assert_status_ok(store_open(task_loop(), f->folder, &f->store));
}

static void stop(struct fixture *f)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    store_close(f->store);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        unlink(arena_printf(f->arena, "%s/analyzer.sqlite%s", f->folder, suffixes[i]));
    }
    assert_int_equal(rmdir(f->folder), 0);
    arena_free(f->arena);
}

/* --- shorthand -------------------------------------------------------------------------------- */

struct task_row {
    const char *id;
    const char *tenant; /* NULL: "acme" */
    const char *request_id;
    uint32_t priority; /* 0: normal */
    uint64_t now_ms;   /* 0: 1000 */
    size_t sections;   /* 0: 1 */
    uint8_t digest;
    size_t tasks_most, tenant_tasks_most; /* 0: 100 */
};

static struct status submit(struct fixture *f, const struct task_row *row, const char **id,
                            bool *existed)
{
    static struct document_section sections[] = {
        {SPAN("# One\ntext\n"), "One", 1, 0, 3},
        {SPAN("## Two\ntext\n"), "Two", 2, 11, 3},
        {SPAN("text"), "Three", 0, 23, 1},
    };
    const struct document document = {.sections = sections,
                                      .n_sections = row->sections > 0 ? row->sections : 1};
    Analyzer__AnalysisOptions options = ANALYZER__ANALYSIS_OPTIONS__INIT;
    options.focus = "money";
    uint64_t now = row->now_ms > 0 ? row->now_ms : 1000;
    struct store_submit s = {
        .id = row->id,
        .tenant = row->tenant != NULL ? row->tenant : "acme",
        .request_id = row->request_id != NULL ? row->request_id : "",
        .caller_request = "caller-1",
        .display_name = "name.md",
        .options = rpc_pack(&options, f->arena),
        .sha256 = {7},
        .request_sha256 = {row->digest},
        .priority = row->priority > 0 ? row->priority : 2,
        .now_ms = now,
        .deadline_ms = now + 60000,
        .document = &document,
        .tasks_most = row->tasks_most > 0 ? row->tasks_most : 100,
        .tenant_tasks_most = row->tenant_tasks_most > 0 ? row->tenant_tasks_most : 100,
    };
    return store_submit(f->store, &s, f->arena, id, existed);
}

static void add(struct fixture *f, struct task_row row)
{
    const char *id;
    bool existed = true;
    assert_status_ok(submit(f, &row, &id, &existed));
    assert_string_equal(id, row.id);
    assert_false(existed);
}

static struct store_claim claim(struct fixture *f, uint64_t now_ms)
{
    struct store_claim out = {0};
    bool found;
    uint64_t next_ms;
    assert_status_ok(store_claim(f->store, now_ms, f->arena, &out, &found, &next_ms));
    if (!found) {
        out.task_id = "";
        out.deadline_ms = next_ms;
    }
    return out;
}

static void assert_claimed(struct fixture *f, const char *task_id, uint32_t index, uint32_t run)
{
    struct store_claim c = claim(f, 5000);
    assert_string_equal(c.task_id, task_id);
    assert_int_equal(c.index, index);
    assert_int_equal(c.run, run);
}

static Analyzer__Task *get(struct fixture *f, const char *id, Analyzer__TaskView view)
{
    Analyzer__Task *task;
    struct store_view v = {.view = view};
    assert_status_ok(store_get(f->store, "acme", id, &v, f->arena, &task));
    return task;
}

struct events {
    Analyzer__AnalysisEvent **rows;
    size_t n;
    Analyzer__Task__State state;
};

/* All events of a task, numbered from 1 without gaps. */
static struct events events_of(struct fixture *f, const char *id)
{
    struct events e;
    assert_status_ok(
        store_read_events(f->store, "acme", id, 0, 1000, f->arena, &e.rows, &e.n, &e.state));
    for (size_t i = 0; i < e.n; i++) {
        assert_int_equal(e.rows[i]->sequence, i + 1);
        assert_non_null(e.rows[i]->time);
    }
    return e;
}

static Analyzer__SectionResult *new_result(struct fixture *f, uint32_t index,
                                           Analyzer__Outcome outcome)
{
    Analyzer__SectionResult *result = ARENA_NEW(f->arena, Analyzer__SectionResult);
    analyzer__section_result__init(result);
    result->section_id = arena_printf(f->arena, "s%04u", index + 1);
    result->index = index;
    result->outcome = outcome;
    result->risk_level = outcome == ANALYZER__OUTCOME__OUTCOME_OK ? 4 : 0;
    result->findings = ARENA_ARRAY(f->arena, Analyzer__Finding *, 64);
    if (!result_has_answer(result)) {
        result->error = ARENA_NEW(f->arena, Google__Rpc__Status);
        google__rpc__status__init(result->error);
        result->error->message = result->section_id;
    }
    return result;
}

static void add_finding(struct fixture *f, Analyzer__SectionResult *result, const char *title,
                        Analyzer__RiskLevel severity, bool verified)
{
    Analyzer__Finding *finding = ARENA_NEW(f->arena, Analyzer__Finding);
    analyzer__finding__init(finding);
    finding->title = (char *)title;
    finding->severity = severity;
    finding->verified = verified;
    result->findings[result->n_findings++] = finding;
}

static void add_thinking(struct fixture *f, Analyzer__SectionResult *result, size_t bytes)
{
    Analyzer__ThinkingTrace *trace = ARENA_NEW(f->arena, Analyzer__ThinkingTrace);
    Router__ContentBlock *block = ARENA_NEW(f->arena, Router__ContentBlock);
    analyzer__thinking_trace__init(trace);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block->text = arena_alloc(f->arena, bytes + 1);
    memset(block->text, 't', bytes);
    trace->blocks = ARENA_NEW(f->arena, Router__ContentBlock *);
    trace->blocks[trace->n_blocks++] = block;
    result->thinking = ARENA_NEW(f->arena, Analyzer__ThinkingTrace *);
    result->thinking[result->n_thinking++] = trace;
    result->raw_output = (ProtobufCBinaryData){3, (uint8_t *)"raw"};
}

/* Ends a section that run 1 has claimed; returns what became of the task. */
static Analyzer__Task__State finish(struct fixture *f, const char *id,
                                    const Analyzer__SectionResult *result)
{
    Analyzer__Task__State ended;
    assert_status_ok(store_finish(f->store, id, result->index, 1, result, 9000, &ended));
    return ended;
}

static Analyzer__Task__State finish_as(struct fixture *f, const char *id, uint32_t index,
                                       Analyzer__Outcome outcome)
{
    return finish(f, id, new_result(f, index, outcome));
}

/* --- submitting ------------------------------------------------------------------------------- */

task_test_real(a_submitted_task_can_be_seen)
{
    struct fixture f;
    start(&f);
    add(&f, (struct task_row){.id = "t1", .request_id = "r1", .sections = 2, .priority = 1});
    const Analyzer__Task *task = get(&f, "t1", FULL);
    assert_string_equal(task->name, "tenants/acme/tasks/t1");
    assert_string_equal(task->display_name, "name.md");
    assert_string_equal(task->request_id, "r1");
    assert_string_equal(task->options->focus, "money");
    assert_int_equal(task->priority, 1);
    assert_int_equal(task->state, QUEUED);
    assert_int_equal(task->document_sha256.data[0], 7);
    assert_int_equal(task->create_time->seconds, 1);
    assert_null(task->start_time);
    assert_null(task->end_time);
    assert_int_equal(task->last_sequence, 1);
    assert_int_equal(task->n_sections, 2);
    const Analyzer__SectionProgress *two = task->sections[1];
    assert_string_equal(two->section_id, "s0002");
    assert_string_equal(two->title, "Two");
    assert_int_equal(two->level, 2);
    assert_int_equal(two->offset, 11);
    assert_int_equal(two->length, 12);
    assert_int_equal(two->state, QUEUED);
    assert_int_equal(task->result->n_sections, 0);

    struct events e = events_of(&f, "t1");
    assert_int_equal(e.n, 1);
    assert_int_equal(e.rows[0]->state_change->state, QUEUED);
    assert_string_equal(e.rows[0]->section_id, "");
    stop(&f);
}

task_test_real(a_task_is_its_tenants)
{
    struct fixture f;
    Analyzer__Task *task;
    struct events e;
    const struct store_view basic = {.view = BASIC};
    start(&f);
    add(&f, (struct task_row){.id = "t1"});
    assert_status(store_get(f.store, "other", "t1", &basic, f.arena, &task), REASON_TASK_UNKNOWN);
    assert_status(store_get(f.store, "acme", "t2", &basic, f.arena, &task), REASON_TASK_UNKNOWN);
    assert_status(store_read_events(f.store, "other", "t1", 0, 9, f.arena, &e.rows, &e.n, &e.state),
                  REASON_TASK_UNKNOWN);
    assert_status(store_cancel(f.store, "other", "t1", "", 1), REASON_TASK_UNKNOWN);
    stop(&f);
}

task_test_real(a_request_id_makes_one_task)
{
    static const struct {
        struct task_row row;
        enum reason reason;
        const char *id;
        bool existed;
    } steps[] = {
        {{.id = "t1", .request_id = "r1", .digest = 1}, REASON_NONE, "t1", false},
        {{.id = "t2", .request_id = "r1", .digest = 1}, REASON_NONE, "t1", true},
        {{.id = "t3", .request_id = "r1", .digest = 2}, REASON_REQUEST_ID_REUSED, NULL, false},
        {{.id = "t4", .request_id = "r1", .digest = 1, .tenant = "other"},
         REASON_NONE,
         "t4",
         false},
        {{.id = "t5", .digest = 1}, REASON_NONE, "t5", false},
        {{.id = "t6", .digest = 1}, REASON_NONE, "t6", false},
        /* a repetition is answered where nothing new is taken */
        {{.id = "t7", .request_id = "r1", .digest = 1, .tasks_most = 1}, REASON_NONE, "t1", true},
    };
    struct fixture f;
    start(&f);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        const char *id = NULL;
        bool existed = false;
        assert_status(submit(&f, &steps[i].row, &id, &existed), steps[i].reason);
        assert_int_equal(existed, steps[i].existed);
        assert_true(steps[i].id == NULL || strcmp(id, steps[i].id) == 0);
    }
    stop(&f);
}

task_test_real(queues_are_bounded)
{
    static const struct {
        struct task_row row;
        enum reason reason;
    } steps[] = {
        {{.id = "t1", .tenant_tasks_most = 1}, REASON_NONE},
        {{.id = "t2", .tenant_tasks_most = 1}, REASON_TENANT_QUEUE_FULL},
        {{.id = "t3", .tenant = "other", .tenant_tasks_most = 1}, REASON_NONE},
        {{.id = "t4", .tasks_most = 2}, REASON_OVERLOADED},
        {{.id = "t5", .tasks_most = 3}, REASON_NONE},
    };
    struct fixture f;
    const char *id;
    bool existed;
    start(&f);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct status s = submit(&f, &steps[i].row, &id, &existed);
        assert_status(s, steps[i].reason);
        assert_true(status_ok(s) || s.retry_after_ms > 0);
    }
    /* What has ended does not count. */
    assert_status_ok(store_cancel(f.store, "acme", "t1", "", 2000));
    assert_status_ok(store_cancel(f.store, "acme", "t5", "", 2000));
    add(&f, (struct task_row){.id = "t6", .tenant_tasks_most = 1, .tasks_most = 2});
    stop(&f);
}

/* --- listing ---------------------------------------------------------------------------------- */

static void assert_page(struct fixture *f, struct store_page page, const char *ids,
                        size_t expected_total)
{
    CLEANUP(buf_clear) struct buf got;
    Analyzer__Task **tasks;
    size_t n, total;
    buf_init(&got, 4096);
    page.before_id = page.before_id != NULL ? page.before_id : "";
    assert_status_ok(store_list(f->store, "acme", &page, f->arena, &tasks, &n, &total));
    for (size_t i = 0; i < n; i++) {
        buf_addf(&got, "%s%s", i > 0 ? " " : "", strrchr(tasks[i]->name, '/') + 1);
        assert_int_equal(tasks[i]->n_sections, 0);
    }
    assert_string_equal(buf_cstr(&got), ids);
    assert_int_equal(total, expected_total);
}

task_test_real(tasks_are_listed_newest_first_and_paged)
{
    struct fixture f;
    start(&f);
    static const struct task_row rows[] = {
        {.id = "a", .now_ms = 1000}, {.id = "b", .now_ms = 2000}, {.id = "c", .now_ms = 2000},
        {.id = "d", .now_ms = 2000}, {.id = "e", .now_ms = 3000}, {.id = "x", .tenant = "other"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        add(&f, rows[i]);
    }
    assert_status_ok(store_cancel(f.store, "acme", "c", "", 4000));
    assert_page(&f, (struct store_page){.most = 10}, "e d c b a", 5);
    assert_page(&f, (struct store_page){.most = 2}, "e d", 5);
    assert_page(&f, (struct store_page){.most = 2, .before_ms = 2000, .before_id = "d"}, "c b", 5);
    assert_page(&f, (struct store_page){.most = 2, .before_ms = 2000, .before_id = "b"}, "a", 5);
    assert_page(&f, (struct store_page){.most = 2, .before_ms = 1000, .before_id = "a"}, "", 5);
    assert_page(&f, (struct store_page){.most = 9, .states = 1u << CANCELLED}, "c", 1);
    assert_page(&f, (struct store_page){.most = 9, .states = 1u << QUEUED}, "e d b a", 4);
    assert_page(&f, (struct store_page){.most = 9, .states = 1u << RUNNING | 1u << FAILED}, "", 0);
    stop(&f);
}

/* --- claiming --------------------------------------------------------------------------------- */

task_test_real(sections_are_claimed_by_priority_then_age_then_place)
{
    struct fixture f;
    start(&f);
    add(&f, (struct task_row){.id = "low", .priority = 3, .now_ms = 1000});
    add(&f, (struct task_row){.id = "old", .now_ms = 2000, .sections = 2});
    add(&f, (struct task_row){.id = "young", .now_ms = 3000});
    add(&f, (struct task_row){.id = "urgent", .priority = 1, .now_ms = 4000});
    assert_claimed(&f, "urgent", 0, 1);
    assert_claimed(&f, "old", 0, 1);
    assert_claimed(&f, "old", 1, 1);
    assert_claimed(&f, "young", 0, 1);
    assert_claimed(&f, "low", 0, 1);
    assert_string_equal(claim(&f, 5000).task_id, "");
    stop(&f);
}

task_test_real(a_claim_says_all_that_a_run_needs)
{
    struct fixture f;
    start(&f);
    add(&f, (struct task_row){.id = "t1", .sections = 3});
    assert_claimed(&f, "t1", 0, 1);
    struct store_claim c = claim(&f, 2000);
    assert_int_equal(c.index, 1);
    assert_string_equal(c.tenant, "acme");
    assert_string_equal(c.caller_request, "caller-1");
    assert_string_equal(c.title, "Two");
    assert_span(c.text, SPAN("## Two\ntext\n"));
    assert_int_equal(c.offset, 11);
    assert_int_equal(c.deadline_ms, 61000);
    assert_string_equal(c.options->focus, "money");
    assert_int_equal(c.n_earlier, 0);

    const Analyzer__Task *task = get(&f, "t1", BASIC);
    assert_int_equal(task->state, RUNNING);
    assert_int_equal(task->start_time->seconds, 5);
    assert_int_equal(task->sections[1]->state, RUNNING);
    assert_int_equal(task->sections[1]->runs, 1);
    assert_int_equal(task->sections[2]->state, QUEUED);
    struct events e = events_of(&f, "t1");
    assert_int_equal(e.n, 4); /* queued; running: the task, two sections */
    assert_string_equal(e.rows[1]->section_id, "");
    assert_string_equal(e.rows[3]->section_id, "s0002");
    assert_int_equal(e.rows[3]->state_change->state, RUNNING);
    assert_int_equal(e.rows[3]->run, 1);
    stop(&f);
}

task_test_real(a_section_given_back_waits_for_its_time)
{
    struct fixture f;
    start(&f);
    add(&f, (struct task_row){.id = "t1"});
    assert_claimed(&f, "t1", 0, 1);
    assert_int_equal(claim(&f, 5000).deadline_ms, 0); /* nothing waits */
    assert_status_ok(store_requeue(f.store, "t1", 0, 1, 8000));
    struct store_claim none = claim(&f, 7999);
    assert_string_equal(none.task_id, "");
    assert_int_equal(none.deadline_ms, 8000); /* when it becomes due */
    struct store_claim c = claim(&f, 8000);
    assert_string_equal(c.task_id, "t1");
    assert_int_equal(c.run, 2);
    assert_int_equal(get(&f, "t1", BASIC)->sections[0]->runs, 2);
    stop(&f);
}

static void assert_earlier(const struct store_claim *c, const char *rows)
{
    CLEANUP(buf_clear) struct buf got;
    buf_init(&got, 65536);
    for (size_t i = 0; i < c->n_earlier; i++) {
        buf_addf(&got, "%s%s:%s", i > 0 ? "|" : "", c->earlier[i].severity, c->earlier[i].title);
    }
    assert_string_equal(buf_cstr(&got), rows);
}

task_test_real(the_context_of_a_section_is_fixed_when_it_is_first_claimed)
{
    struct fixture f;
    start(&f);
    add(&f, (struct task_row){.id = "t1", .sections = 3});
    assert_claimed(&f, "t1", 0, 1);
    Analyzer__SectionResult *one = new_result(&f, 0, ANALYZER__OUTCOME__OUTCOME_OK);
    add_finding(&f, one, "low", 1, true);
    add_finding(&f, one, "high", 5, true);
    add_finding(&f, one, "invented", 6, false);
    add_finding(&f, one, "high too", 5, true);
    assert_int_equal(finish(&f, "t1", one), 0);

    struct store_claim two = claim(&f, 5000);
    assert_earlier(&two, "High:high|High:high too|Low:low");
    assert_status_ok(store_requeue(f.store, "t1", 1, 1, 0));

    struct store_claim again = claim(&f, 5000);
    assert_int_equal(again.index, 1);
    struct store_claim three = claim(&f, 5000);
    Analyzer__SectionResult *third = new_result(&f, 2, ANALYZER__OUTCOME__OUTCOME_OK);
    add_finding(&f, third, "critical", 6, true);
    assert_int_equal(three.index, 2);
    assert_int_equal(finish(&f, "t1", third), 0);
    assert_status_ok(store_requeue(f.store, "t1", 1, 2, 0));
    reopen(&f);
    struct store_claim last = claim(&f, 5000);
    assert_int_equal(last.run, 3);
    assert_earlier(&again, "High:high|High:high too|Low:low");
    assert_earlier(&last, "High:high|High:high too|Low:low");
    stop(&f);
}

task_test_real(a_context_is_bounded)
{
    struct fixture f;
    start(&f);
    add(&f, (struct task_row){.id = "t1", .sections = 2});
    assert_claimed(&f, "t1", 0, 1);
    Analyzer__SectionResult *one = new_result(&f, 0, ANALYZER__OUTCOME__OUTCOME_OK);
    char *title = arena_alloc(f.arena, 402); /* cut at 200 bytes inside a character */
    title[0] = 'x';
    for (size_t i = 1; i < 401; i += 2) {
        memcpy(title + i, "\xc3\xa9", 2);
    }
    for (size_t i = 0; i < 50; i++) {
        add_finding(&f, one, i == 49 ? title : "low", i == 49 ? 6 : 1, true);
    }
    assert_int_equal(finish(&f, "t1", one), 0);
    struct store_claim c = claim(&f, 5000);
    assert_int_equal(c.n_earlier, PROMPT_FINDINGS_MOST);
    assert_string_equal(c.earlier[0].severity, "Critical");
    assert_int_equal(strlen(c.earlier[0].title), 199);
    assert_true(utf8_valid(span_str(c.earlier[0].title)));
    assert_string_equal(c.earlier[19].title, "low");
    stop(&f);
}

/* --- what runs write -------------------------------------------------------------------------- */

static struct status write_events(struct fixture *f, uint32_t run, size_t n)
{
    Analyzer__AnalysisEvent *rows = ARENA_ARRAY(f->arena, Analyzer__AnalysisEvent, n);
    Analyzer__AnalysisEvent **events = ARENA_ARRAY(f->arena, Analyzer__AnalysisEvent *, n);
    Router__TextDelta *deltas = ARENA_ARRAY(f->arena, Router__TextDelta, n);
    for (size_t i = 0; i < n; i++) {
        analyzer__analysis_event__init(&rows[i]);
        router__text_delta__init(&deltas[i]);
        deltas[i].index = (uint32_t)i;
        rows[i].section_id = "s0001";
        rows[i].event_case = ANALYZER__ANALYSIS_EVENT__EVENT_TEXT_DELTA;
        rows[i].text_delta = &deltas[i];
        events[i] = &rows[i];
    }
    return store_events(f->store, "t1", 0, run, events, n);
}

task_test_real(events_are_numbered_without_gaps_and_read_in_pieces)
{
    struct fixture f;
    struct events e;
    start(&f);
    add(&f, (struct task_row){.id = "t1"});
    add(&f, (struct task_row){.id = "t2", .now_ms = 9999});
    assert_claimed(&f, "t1", 0, 1);
    assert_status_ok(write_events(&f, 1, 3));
    reopen(&f);
    assert_claimed(&f, "t1", 0, 2);
    assert_status_ok(write_events(&f, 2, 2));
    e = events_of(&f, "t1");
    assert_int_equal(e.n, 3 + 3 + 1 + 2);
    assert_int_equal(e.state, RUNNING);
    assert_int_equal(e.rows[5]->text_delta->index, 2);
    assert_int_equal(events_of(&f, "t2").n, 1);
    assert_int_equal(get(&f, "t1", BASIC)->last_sequence, 9);

    assert_status_ok(
        store_read_events(f.store, "acme", "t1", 4, 3, f.arena, &e.rows, &e.n, &e.state));
    assert_int_equal(e.n, 3);
    assert_int_equal(e.rows[0]->sequence, 5);
    assert_status_ok(
        store_read_events(f.store, "acme", "t1", 9, 3, f.arena, &e.rows, &e.n, &e.state));
    assert_int_equal(e.n, 0);
    assert_status(store_read_events(f.store, "acme", "t1", 10, 3, f.arena, &e.rows, &e.n, &e.state),
                  REASON_SEQUENCE_UNKNOWN);
    stop(&f);
}

/* Every write of a run that no longer owns its section is refused and changes nothing. */
static void assert_fenced(struct fixture *f, uint32_t run)
{
    Analyzer__Task__State ended;
    const Analyzer__SectionResult *result = new_result(f, 0, ANALYZER__OUTCOME__OUTCOME_OK);
    size_t before = events_of(f, "t1").n;
    assert_status(write_events(f, run, 1), REASON_LEASE_LOST);
    assert_status(store_finish(f->store, "t1", 0, run, result, 1, &ended), REASON_LEASE_LOST);
    assert_status(store_requeue(f->store, "t1", 0, run, 0), REASON_LEASE_LOST);
    assert_int_equal(events_of(f, "t1").n, before);
}

task_test_real(only_the_run_that_owns_a_section_writes)
{
    struct fixture f;
    Analyzer__Task__State ended;
    start(&f);
    add(&f, (struct task_row){.id = "t1"});
    assert_fenced(&f, 0);
    assert_fenced(&f, 1);
    assert_claimed(&f, "t1", 0, 1);
    assert_fenced(&f, 2);
    assert_status_ok(store_requeue(f.store, "t1", 0, 1, 0));
    assert_fenced(&f, 1);
    assert_claimed(&f, "t1", 0, 2);
    assert_fenced(&f, 1);
    assert_status_ok(write_events(&f, 2, 1));
    assert_status_ok(store_finish(f.store, "t1", 0, 2,
                                  new_result(&f, 0, ANALYZER__OUTCOME__OUTCOME_OK), 1, &ended));
    assert_int_equal(ended, SUCCEEDED);
    assert_fenced(&f, 2);
    stop(&f);
}

/* --- ends ------------------------------------------------------------------------------------- */

task_test_real(a_task_ends_with_its_last_section)
{
    static const struct {
        Analyzer__Outcome outcomes[2];
        Analyzer__Task__State ended;
        const char *why;
    } cases[] = {
        {{ANALYZER__OUTCOME__OUTCOME_OK, ANALYZER__OUTCOME__OUTCOME_REPAIRED}, SUCCEEDED, NULL},
        {{ANALYZER__OUTCOME__OUTCOME_FAILED, ANALYZER__OUTCOME__OUTCOME_OK}, FAILED, "s0001"},
        {{ANALYZER__OUTCOME__OUTCOME_OK, ANALYZER__OUTCOME__OUTCOME_UNPARSEABLE}, FAILED, "s0002"},
        {{ANALYZER__OUTCOME__OUTCOME_REFUSED, ANALYZER__OUTCOME__OUTCOME_TRUNCATED},
         FAILED,
         "s0001"},
    };
    struct fixture f;
    start(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *id = arena_printf(f.arena, "t%zu", i);
        add(&f, (struct task_row){.id = id, .sections = 2, .now_ms = 2000});
        assert_claimed(&f, id, 0, 1);
        assert_claimed(&f, id, 1, 1);
        assert_int_equal(finish_as(&f, id, 1, cases[i].outcomes[1]), 0);
        assert_int_equal(get(&f, id, BASIC)->progress_percent, 50);
        assert_int_equal(finish_as(&f, id, 0, cases[i].outcomes[0]), cases[i].ended);

        const Analyzer__Task *task = get(&f, id, RESULTS);
        assert_int_equal(task->state, cases[i].ended);
        assert_int_equal(task->progress_percent, 100);
        assert_int_equal(task->end_time->seconds, 9);
        assert_int_equal(task->result->totals->total_ms, 7000);
        assert_int_equal(task->result->n_sections, 2);
        assert_int_equal(task->result->sections[1]->outcome, cases[i].outcomes[1]);
        if (cases[i].why != NULL) {
            assert_string_equal(task->error->message, cases[i].why);
        } else {
            assert_null(task->error);
        }
        struct events e = events_of(&f, id);
        assert_int_equal(e.n, 4 + 2 + 2);
        assert_int_equal(e.state, cases[i].ended);
        assert_int_equal(e.rows[4]->section_result->outcome, cases[i].outcomes[1]);
        assert_string_equal(e.rows[4]->section_id, "s0002");
        assert_int_equal(e.rows[6]->state_change->state, cases[i].ended);
        assert_int_equal(e.rows[6]->state_change->progress_percent, 100);
        assert_int_equal(e.rows[7]->event_case, ANALYZER__ANALYSIS_EVENT__EVENT_DOCUMENT_RESULT);
        assert_int_equal(e.rows[7]->document_result->n_sections, 0);
        assert_int_equal(e.rows[7]->document_result->totals->sections, 2);
    }
    stop(&f);
}

task_test_real(views_hold_as_much_as_was_asked_for)
{
    struct fixture f;
    Analyzer__Task *task;
    start(&f);
    add(&f, (struct task_row){.id = "t1", .sections = 3});
    for (uint32_t i = 0; i < 2; i++) {
        Analyzer__SectionResult *result = new_result(&f, i, ANALYZER__OUTCOME__OUTCOME_OK);
        add_thinking(&f, result, 10);
        assert_claimed(&f, "t1", i, 1);
        assert_int_equal(finish(&f, "t1", result), 0);
    }
    assert_null(get(&f, "t1", BASIC)->result);
    assert_null(get(&f, "t1", 0)->result);
    task = get(&f, "t1", RESULTS);
    assert_int_equal(task->result->n_sections, 2);
    assert_int_equal(task->result->sections[1]->n_thinking, 0);
    assert_int_equal(task->result->sections[1]->raw_output.len, 0);
    task = get(&f, "t1", FULL);
    assert_int_equal(task->result->sections[1]->n_thinking, 1);
    assert_int_equal(task->result->sections[1]->raw_output.len, 3);

    char *only[] = {"s0002", "s0009"};
    struct store_view two = {FULL, only, 2};
    assert_status_ok(store_get(f.store, "acme", "t1", &two, f.arena, &task));
    assert_int_equal(task->result->n_sections, 1);
    assert_string_equal(task->result->sections[0]->section_id, "s0002");
    assert_int_equal(task->result->sections[0]->n_thinking, 1);
    assert_int_equal(task->result->totals->sections, 2); /* of all */
    stop(&f);
}

/* Thinking is most of a result: it must not hinder what does without it. */
task_test_real(large_results_are_refused_where_they_do_not_fit_and_hinder_nothing)
{
    struct fixture f;
    Analyzer__Task *task;
    start(&f);
    add(&f, (struct task_row){.id = "t1", .sections = 3});
    for (uint32_t i = 0; i < 2; i++) {
        Analyzer__SectionResult *result = new_result(&f, i, ANALYZER__OUTCOME__OUTCOME_OK);
        add_finding(&f, result, "large", 5, true);
        add_thinking(&f, result, 9u << 20);
        assert_claimed(&f, "t1", i, 1);
        assert_int_equal(finish(&f, "t1", result), 0);
    }
    struct store_claim third = claim(&f, 5000);
    assert_int_equal(third.index, 2);
    assert_int_equal(third.n_earlier, 2);

    CLEANUP(arena_drop) struct arena *little = arena_new(12u << 20);
    CLEANUP(arena_drop) struct arena *less = arena_new(12u << 20);
    struct store_view full = {.view = FULL}, results = {.view = RESULTS};
    char *only[] = {"s0002"};
    struct store_view one = {FULL, only, 1};
    assert_status(store_get(f.store, "acme", "t1", &full, little, &task), REASON_MESSAGE_TOO_LARGE);
    assert_status_ok(store_get(f.store, "acme", "t1", &results, less, &task));
    assert_status_ok(store_get(f.store, "acme", "t1", &one, less, &task));
    assert_int_equal(task->result->sections[0]->thinking[0]->n_blocks, 1);

    /* However little room there is, it is a refusal. */
    for (size_t size = 9u << 20; size < (9u << 20) + (80u << 10); size += 5000) {
        CLEANUP(arena_drop) struct arena *tight = arena_new(size);
        struct status s = store_get(f.store, "acme", "t1", &one, tight, &task);
        assert_true(status_ok(s) || s.reason == REASON_MESSAGE_TOO_LARGE);
    }
    stop(&f);
}

task_test_real(a_cancelled_task_keeps_what_it_has)
{
    struct fixture f;
    start(&f);
    add(&f, (struct task_row){.id = "t1", .sections = 3});
    assert_claimed(&f, "t1", 0, 1);
    assert_claimed(&f, "t1", 1, 1);
    assert_int_equal(finish_as(&f, "t1", 1, ANALYZER__OUTCOME__OUTCOME_OK), 0);
    assert_status_ok(store_cancel(f.store, "acme", "t1", "changed my mind", 7000));
    assert_fenced(&f, 1);
    assert_string_equal(claim(&f, 9000).task_id, "");

    const Analyzer__Task *task = get(&f, "t1", RESULTS);
    assert_int_equal(task->state, CANCELLED);
    assert_int_equal(task->end_time->seconds, 7);
    assert_int_equal(task->progress_percent, 100);
    assert_int_equal(task->sections[0]->state, CANCELLED);
    assert_int_equal(task->sections[1]->state, SUCCEEDED);
    assert_int_equal(task->sections[2]->outcome, ANALYZER__OUTCOME__OUTCOME_CANCELLED);
    assert_int_equal(task->result->n_sections, 1);
    struct events e = events_of(&f, "t1");
    assert_int_equal(e.rows[e.n - 1]->state_change->state, CANCELLED);
    assert_string_equal(e.rows[e.n - 1]->state_change->reason, "changed my mind");

    assert_status(store_cancel(f.store, "acme", "t1", "", 8000), REASON_TASK_FINISHED);
    assert_int_equal(events_of(&f, "t1").n, e.n);
    stop(&f);
}

/* --- opening ---------------------------------------------------------------------------------- */

task_test_real(what_ran_when_the_process_died_runs_again)
{
    struct fixture f;
    start(&f);
    add(&f, (struct task_row){.id = "t1", .sections = 3});
    assert_claimed(&f, "t1", 0, 1);
    assert_claimed(&f, "t1", 1, 1);
    assert_int_equal(finish_as(&f, "t1", 1, ANALYZER__OUTCOME__OUTCOME_OK), 0);
    reopen(&f);
    assert_fenced(&f, 1);
    assert_claimed(&f, "t1", 0, 2);
    assert_fenced(&f, 1);
    assert_claimed(&f, "t1", 2, 1);
    assert_string_equal(claim(&f, 9000).task_id, "");
    assert_int_equal(get(&f, "t1", RESULTS)->result->n_sections, 1);
    stop(&f);
}

task_test_real(a_store_that_cannot_be_opened_is_named)
{
    struct fixture f;
    struct store *second;
    start(&f);
    struct status s = store_open(task_loop(), "/nowhere/at/all", &second);
    assert_status(s, REASON_STORE_FAILED);
    assert_string_equal(s.detail, "state_dir /nowhere/at/all: no such directory");
    stop(&f);
    start(&f);
    store_close(f.store);
    const char *path = arena_printf(f.arena, "%s/analyzer.sqlite", f.folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("this is no database, whatever its name says, and it is longer than a header", file);
    fclose(file);
    s = store_open(task_loop(), f.folder, &second);
    assert_false(status_ok(s));
    assert_true(span_starts(span_str(s.detail), span_str(path)));
    unlink(path);
    assert_status_ok(store_open(task_loop(), f.folder, &f.store));
    stop(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_submitted_task_can_be_seen),
    cmocka_unit_test(a_task_is_its_tenants),
    cmocka_unit_test(a_request_id_makes_one_task),
    cmocka_unit_test(queues_are_bounded),
    cmocka_unit_test(tasks_are_listed_newest_first_and_paged),
    cmocka_unit_test(sections_are_claimed_by_priority_then_age_then_place),
    cmocka_unit_test(a_claim_says_all_that_a_run_needs),
    cmocka_unit_test(a_section_given_back_waits_for_its_time),
    cmocka_unit_test(the_context_of_a_section_is_fixed_when_it_is_first_claimed),
    cmocka_unit_test(a_context_is_bounded),
    cmocka_unit_test(events_are_numbered_without_gaps_and_read_in_pieces),
    cmocka_unit_test(only_the_run_that_owns_a_section_writes),
    cmocka_unit_test(a_task_ends_with_its_last_section),
    cmocka_unit_test(views_hold_as_much_as_was_asked_for),
    cmocka_unit_test(large_results_are_refused_where_they_do_not_fit_and_hinder_nothing),
    cmocka_unit_test(a_cancelled_task_keeps_what_it_has),
    cmocka_unit_test(what_ran_when_the_process_died_runs_again),
    cmocka_unit_test(a_store_that_cannot_be_opened_is_named),
};

HARNESS_MAIN(tests)
