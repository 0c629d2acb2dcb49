#include "fake_analyzer.h"

#include <stdio.h>

#include "harness.h"
#include "loop/task.h"

#define NEW(fake, type, init)                                                                      \
    ({                                                                                             \
        type *fresh = ARENA_NEW((fake)->arena, type);                                              \
        init(fresh);                                                                               \
        fresh;                                                                                     \
    })

/* --- the task --------------------------------------------------------------------------------- */

static const char *const titles[] = {"Reporting", "What is protected", ""};

static Analyzer__Finding *finding(struct fake_analyzer *fake, const char *title,
                                  Analyzer__RiskLevel severity, const char *evidence, bool verified)
{
    Analyzer__Finding *f = NEW(fake, Analyzer__Finding, analyzer__finding__init);
    f->title = (char *)title;
    f->severity = severity;
    f->evidence = (char *)evidence;
    f->verified = verified;
    f->recommendation = "Say who answers, and by when.";
    return f;
}

static Analyzer__AnalysisMetadata *metadata(struct fake_analyzer *fake, const char *model)
{
    Analyzer__AnalysisMetadata *m =
        NEW(fake, Analyzer__AnalysisMetadata, analyzer__analysis_metadata__init);
    Router__CallMetadata *call = NEW(fake, Router__CallMetadata, router__call_metadata__init);
    call->model = (char *)model;
    call->simulated = true;
    m->calls = ARENA_ARRAY(fake->arena, Router__CallMetadata *, 1);
    m->calls[0] = call;
    m->n_calls = 1;
    m->usage = NEW(fake, Router__TokenUsage, router__token_usage__init);
    m->usage->input_tokens = 1200;
    m->usage->output_tokens = 800;
    m->cost_micro_usd = 15600;
    m->total_ms = 4200;
    m->simulated = true;
    return m;
}

static Analyzer__SectionResult *result(struct fake_analyzer *fake, size_t index, bool good)
{
    Analyzer__SectionResult *r = NEW(fake, Analyzer__SectionResult, analyzer__section_result__init);
    r->section_id = arena_printf(fake->arena, "s%04zu", index + 1);
    r->index = (uint32_t)index;
    r->title = (char *)(titles[index][0] != '\0' ? titles[index] : "report.md");
    r->outcome = good ? ANALYZER__OUTCOME__OUTCOME_OK : ANALYZER__OUTCOME__OUTCOME_FAILED;
    if (!good) {
        r->error = NEW(fake, Google__Rpc__Status, google__rpc__status__init);
        r->error->message = "all models are throttled";
        return r;
    }
    r->risk_level = ANALYZER__RISK_LEVEL__RISK_LEVEL_MEDIUM;
    r->confidence = 0.824;
    r->findings = ARENA_ARRAY(fake->arena, Analyzer__Finding *, 2);
    r->findings[r->n_findings++] =
        finding(fake, "No deadline for fixes", ANALYZER__RISK_LEVEL__RISK_LEVEL_MEDIUM,
                "You get an acknowledgement within 14 days", true);
    r->findings[r->n_findings++] =
        finding(fake, "Invented \033[31mfinding", ANALYZER__RISK_LEVEL__RISK_LEVEL_LOW,
                "nowhere to be found", index == 0);
    r->metadata = metadata(fake, "models/sonnet-4.6");
    return r;
}

static Analyzer__DocumentTotals *totals(struct fake_analyzer *fake)
{
    Analyzer__DocumentTotals *t =
        NEW(fake, Analyzer__DocumentTotals, analyzer__document_totals__init);
    t->sections = 3;
    t->sections_succeeded = 2;
    t->sections_failed = 1;
    t->findings = 4;
    t->findings_verified = 3;
    t->calls = 2;
    t->attempts = 3;
    t->usage = NEW(fake, Router__TokenUsage, router__token_usage__init);
    t->usage->input_tokens = 2400;
    t->usage->output_tokens = 1600;
    t->cost_micro_usd = 31200;
    t->saved_micro_usd = 168800;
    t->prompt_tokens = 2500;
    t->baseline_tokens = 2400;
    t->total_ms = 64200;
    return t;
}

static void make_task(struct fake_analyzer *fake)
{
    Analyzer__Task *task = NEW(fake, Analyzer__Task, analyzer__task__init);
    Analyzer__DocumentResult *document =
        NEW(fake, Analyzer__DocumentResult, analyzer__document_result__init);
    task->name = FAKE_TASK;
    task->display_name = "report.md";
    task->state = ANALYZER__TASK__STATE__STATE_SUCCEEDED;
    task->progress_percent = 100;
    task->sections = ARENA_ARRAY(fake->arena, Analyzer__SectionProgress *, 3);
    document->sections = ARENA_ARRAY(fake->arena, Analyzer__SectionResult *, 3);
    for (size_t i = 0; i < 3; i++) {
        document->sections[document->n_sections++] = result(fake, i, i < 2);
        Analyzer__SectionProgress *progress =
            NEW(fake, Analyzer__SectionProgress, analyzer__section_progress__init);
        progress->section_id = document->sections[i]->section_id;
        progress->index = (uint32_t)i;
        progress->title = (char *)titles[i];
        task->sections[task->n_sections++] = progress;
    }
    Analyzer__LocatedFinding *top =
        NEW(fake, Analyzer__LocatedFinding, analyzer__located_finding__init);
    top->section_id = document->sections[0]->section_id;
    top->finding = document->sections[0]->findings[0];
    document->top_findings = ARENA_ARRAY(fake->arena, Analyzer__LocatedFinding *, 1);
    document->top_findings[document->n_top_findings++] = top;
    document->overall_level = ANALYZER__RISK_LEVEL__RISK_LEVEL_MEDIUM;
    document->totals = totals(fake);
    document->simulated = true;
    task->result = document;
    fake->task = task;
}

/* --- the script ------------------------------------------------------------------------------- */

Analyzer__AnalysisEvent *fake_event(struct fake_analyzer *fake, const char *section_id,
                                    Analyzer__AnalysisEvent__EventCase what, void *member)
{
    Analyzer__AnalysisEvent *event =
        NEW(fake, Analyzer__AnalysisEvent, analyzer__analysis_event__init);
    check(fake->n < FAKE_EVENTS_MOST);
    fake->events[fake->n++] = event;
    event->sequence = fake->n;
    event->section_id = (char *)section_id;
    event->run = section_id[0] != '\0';
    event->event_case = what;
    event->queued = member; /* a union of pointers */
    return event;
}

void fake_queued(struct fake_analyzer *fake, const char *section_id, const char *reason,
                 const char *resource, uint32_t position, uint64_t eta_ms)
{
    Router__Queued *queued = NEW(fake, Router__Queued, router__queued__init);
    queued->reason = (char *)reason;
    queued->resource = (char *)resource;
    queued->position = position;
    queued->eta_ms = eta_ms;
    fake_event(fake, section_id, ANALYZER__ANALYSIS_EVENT__EVENT_QUEUED, queued);
}

void fake_admitted(struct fake_analyzer *fake, const char *section_id, uint32_t tier,
                   const char *model, const char *passed_over)
{
    Router__Admitted *admitted = NEW(fake, Router__Admitted, router__admitted__init);
    admitted->tier = tier;
    admitted->model = (char *)model;
    admitted->region = "us-east-2";
    admitted->attempt = 1;
    if (passed_over != NULL) {
        Router__SkippedModel *skipped =
            NEW(fake, Router__SkippedModel, router__skipped_model__init);
        skipped->model = (char *)passed_over;
        skipped->region = "us-east-2";
        skipped->reasons = ARENA_ARRAY(fake->arena, char *, 1);
        skipped->reasons[skipped->n_reasons++] = "COOLDOWN";
        admitted->skipped = ARENA_ARRAY(fake->arena, Router__SkippedModel *, 1);
        admitted->skipped[admitted->n_skipped++] = skipped;
    }
    fake_event(fake, section_id, ANALYZER__ANALYSIS_EVENT__EVENT_ADMITTED, admitted);
}

void fake_thinking(struct fake_analyzer *fake, const char *section_id, const char *text)
{
    Router__ThinkingDelta *delta = NEW(fake, Router__ThinkingDelta, router__thinking_delta__init);
    delta->text = (char *)text;
    fake_event(fake, section_id, ANALYZER__ANALYSIS_EVENT__EVENT_THINKING_DELTA, delta);
}

void fake_text(struct fake_analyzer *fake, const char *section_id)
{
    Router__TextDelta *delta = NEW(fake, Router__TextDelta, router__text_delta__init);
    delta->text = "{\"risk_level\":";
    fake_event(fake, section_id, ANALYZER__ANALYSIS_EVENT__EVENT_TEXT_DELTA, delta);
}

void fake_restarted(struct fake_analyzer *fake, const char *section_id, const char *model)
{
    Router__Restarted *restarted = NEW(fake, Router__Restarted, router__restarted__init);
    restarted->attempt = 2;
    restarted->model = (char *)model;
    restarted->reason = "TIER_STREAM_BROKEN";
    fake_event(fake, section_id, ANALYZER__ANALYSIS_EVENT__EVENT_RESTARTED, restarted);
}

void fake_section_result(struct fake_analyzer *fake, size_t index)
{
    Analyzer__SectionResult *section = fake->task->result->sections[index];
    fake_event(fake, section->section_id, ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT, section);
}

void fake_document_result(struct fake_analyzer *fake)
{
    Analyzer__DocumentResult *roll_up =
        NEW(fake, Analyzer__DocumentResult, analyzer__document_result__init);
    roll_up->overall_level = fake->task->result->overall_level;
    fake_event(fake, "", ANALYZER__ANALYSIS_EVENT__EVENT_DOCUMENT_RESULT, roll_up);
}

/* --- the service ------------------------------------------------------------------------------ */

static void see(struct fake_analyzer *fake, const Analyzer__Document *document,
                const Analyzer__AnalysisOptions *options)
{
    snprintf(fake->display_name, sizeof(fake->display_name), "%s", document->display_name);
    snprintf(fake->tenant, sizeof(fake->tenant), "%s", task_context()->tenant);
    fake->content_len = document->content.len;
    fake->priority = options->priority;
    CLEANUP(buf_clear) struct buf models;
    buf_init(&models, sizeof(fake->models) - 1);
    for (size_t i = 0; i < options->n_models; i++) {
        buf_addf(&models, "%s ", options->models[i]);
    }
    snprintf(fake->models, sizeof(fake->models), "%s", buf_cstr(&models));
}

static struct status submit(struct rpc *rpc, const void *message) PARKS
{
    struct fake_analyzer *fake = rpc_service(rpc);
    const Analyzer__SubmitAnalysisRequest *request = message;
    Analyzer__SubmitAnalysisResponse response = ANALYZER__SUBMIT_ANALYSIS_RESPONSE__INIT;
    TRY(fake->refusal);
    fake->submitted++;
    see(fake, request->document, request->options);
    Analyzer__Task task = *fake->task;
    task.state = ANALYZER__TASK__STATE__STATE_QUEUED;
    task.result = NULL;
    response.task = &task;
    return rpc_send(rpc, &response);
}

static struct status hold(struct fake_analyzer *fake) PARKS
{
    fake->holding++;
    return task_sleep_until(task_deadline_ms());
}

static struct status watch(struct rpc *rpc, const void *message) PARKS
{
    struct fake_analyzer *fake = rpc_service(rpc);
    const Analyzer__WatchTaskRequest *request = message;
    TRY(fake->watch_refusal);
    size_t stream = ++fake->watched;
    fake->after = request->after_sequence;
    fake->results_only = request->results_only;
    for (size_t i = request->after_sequence; i < fake->n; i++) {
        Analyzer__WatchTaskResponse response = ANALYZER__WATCH_TASK_RESPONSE__INIT;
        if (stream <= fake->breaks && i >= request->after_sequence + stream) {
            return status_of(REASON_SHUTTING_DOWN, NULL);
        }
        response.event = fake->events[i];
        TRY(rpc_send(rpc, &response));
    }
    return fake->holds ? hold(fake) : STATUS_SUCCESS;
}

static struct status analyze(struct rpc *rpc, const void *message) PARKS
{
    struct fake_analyzer *fake = rpc_service(rpc);
    const Analyzer__AnalyzeSectionRequest *request = message;
    see(fake, request->section, request->options);
    for (size_t i = 0; i < fake->n; i++) {
        Analyzer__AnalyzeSectionResponse response = ANALYZER__ANALYZE_SECTION_RESPONSE__INIT;
        response.event = fake->events[i];
        TRY(rpc_send(rpc, &response));
    }
    TRY(fake->refusal);
    return fake->holds ? hold(fake) : STATUS_SUCCESS;
}

static struct status get(struct rpc *rpc, const void *message) PARKS
{
    struct fake_analyzer *fake = rpc_service(rpc);
    const Analyzer__GetTaskRequest *request = message;
    Analyzer__GetTaskResponse response = ANALYZER__GET_TASK_RESPONSE__INIT;
    Analyzer__Task task = *fake->task;
    Analyzer__DocumentResult document = *task.result;
    Analyzer__SectionResult section;
    Analyzer__SectionResult *one[] = {&section};
    bool full = request->view == ANALYZER__TASK_VIEW__TASK_VIEW_FULL;
    if (strcmp(request->name, FAKE_TASK) != 0) {
        return rpc_not_found(rpc, REASON_TASK_UNKNOWN, "task", request->name);
    }
    if (full && fake->too_large && request->n_section_ids != 1) {
        return status_of(REASON_MESSAGE_TOO_LARGE, NULL);
    }
    for (size_t i = 0; request->n_section_ids == 1 && i < task.result->n_sections; i++) {
        if (strcmp(task.result->sections[i]->section_id, request->section_ids[0]) == 0) {
            section = *task.result->sections[i];
            section.raw_output = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)"raw"};
            document.sections = one;
            document.n_sections = 1;
        }
    }
    task.result = request->view >= ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS ? &document : NULL;
    response.task = &task;
    return rpc_send(rpc, &response);
}

static struct status list(struct rpc *rpc, const void *message) PARKS
{
    struct fake_analyzer *fake = rpc_service(rpc);
    Analyzer__ListTasksResponse response = ANALYZER__LIST_TASKS_RESPONSE__INIT;
    (void)message;
    TRY(fake->refusal);
    Analyzer__Task task = *fake->task;
    task.result = NULL;
    response.tasks = &(Analyzer__Task *){&task};
    response.n_tasks = 1;
    return rpc_send(rpc, &response);
}

static struct status cancel(struct rpc *rpc, const void *message) PARKS
{
    struct fake_analyzer *fake = rpc_service(rpc);
    Analyzer__CancelTaskResponse response = ANALYZER__CANCEL_TASK_RESPONSE__INIT;
    (void)message;
    TRY(fake->refusal);
    fake->cancelled++;
    Analyzer__Task task = *fake->task;
    task.state = ANALYZER__TASK__STATE__STATE_CANCELLED;
    task.result = NULL;
    response.task = &task;
    return rpc_send(rpc, &response);
}

void fake_analyzer_start(struct fake_analyzer *fake, struct wire *wire)
{
    static const struct rpc_method methods[] = {
        {"AnalyzeSection", RPC_SERVER_STREAM, analyze},
        {"Chat", RPC_SERVER_STREAM, NULL},
        {"SubmitAnalysis", RPC_UNARY, submit},
        {"GetTask", RPC_UNARY, get},
        {"ListTasks", RPC_UNARY, list},
        {"WatchTask", RPC_SERVER_STREAM, watch},
        {"CancelTask", RPC_UNARY, cancel},
        {"CreateSession", RPC_UNARY, NULL},
        {"GetSession", RPC_UNARY, NULL},
        {"ListSessions", RPC_UNARY, NULL},
        {"DeleteSession", RPC_UNARY, NULL},
    };
    *fake = (struct fake_analyzer){.arena = arena_new(4u << 20)};
    make_task(fake);
    fake->services[0] = (struct rpc_service){&analyzer__analyzer_service__descriptor, methods,
                                             ARRAY_LEN(methods), fake};
    const struct rpc_server_options options = {
        .address = "127.0.0.1:0", .services = fake->services, .n_services = 1};
    assert_status_ok(rpc_server_start(wire, &options, &fake->server));
    snprintf(fake->address, sizeof(fake->address), "127.0.0.1:%u", rpc_server_port(fake->server));
}

void fake_analyzer_stop(struct fake_analyzer *fake)
{
    rpc_server_stop(fake->server, 0);
    arena_free(fake->arena);
}
