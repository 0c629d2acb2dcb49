#include "document_task.h"

#define ARENA_MOST (64u << 20)
#define PAUSE_MS   5

/* Something between us and the service broke: it may be there again. */
static bool may_come_back(struct status s)
{
    return (s.code == STATUS_UNAVAILABLE || s.code == STATUS_CANCELLED) && status_ok(task_status());
}

static struct status ask(struct document_task *t, const char *method, const void *request,
                         void **reply) PARKS
{
    for (;;) {
        struct status s = rpc_call(t->analyzer, &analyzer__analyzer_service__descriptor, method,
                                   request, t->arena, reply);
        if (!may_come_back(s)) {
            return s;
        }
        TRY(task_sleep_ms(PAUSE_MS));
    }
}

void document_task_init(struct document_task *t, struct rpc_channel *analyzer, const char *text,
                        const char *request_id)
{
    *t = (struct document_task){
        .analyzer = analyzer,
        .text = text,
        .arena = arena_new(ARENA_MOST),
    };
    t->request_id = arena_string(t->arena, span_str(request_id));
}

void document_task_clear(struct document_task *t)
{
    arena_free(t->arena);
}

struct status document_task_submit(struct document_task *t)
{
    Analyzer__SubmitAnalysisRequest request = ANALYZER__SUBMIT_ANALYSIS_REQUEST__INIT;
    Analyzer__Document document;
    void *reply;
    analyzer__document__init(&document);
    document.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document.content = (ProtobufCBinaryData){strlen(t->text), (uint8_t *)t->text};
    request.document = &document;
    request.request_id = (char *)t->request_id;
    TRY(ask(t, "SubmitAnalysis", &request, &reply));
    t->name = ((Analyzer__SubmitAnalysisResponse *)reply)->task->name;
    return STATUS_SUCCESS;
}

static void take(struct document_task *t, const Analyzer__AnalysisEvent *event)
{
    if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_KEEP_ALIVE) {
        return;
    }
    assert_int_equal(event->sequence, ++t->last);
    if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT) {
        assert_true(event->section_result->index < DOCUMENT_TASK_SECTIONS);
        assert_int_equal(++t->results[event->section_result->index], 1);
    }
    t->documents += event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_DOCUMENT_RESULT;
}

static struct status listen_to(struct document_task *t, struct rpc_stream *stream) PARKS
{
    for (void *message;;) {
        CLEANUP(arena_drop) struct arena *scratch = arena_new(ARENA_MOST);
        struct status s = rpc_stream_recv(stream, scratch, &message);
        if (!status_ok(s)) {
            return status_copy(s, t->arena);
        }
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        take(t, ((Analyzer__WatchTaskResponse *)message)->event);
    }
}

struct status document_task_watch(struct document_task *t)
{
    for (;;) {
        Analyzer__WatchTaskRequest request = ANALYZER__WATCH_TASK_REQUEST__INIT;
        struct rpc_stream *stream = NULL;
        request.name = (char *)t->name;
        request.after_sequence = t->last;
        struct status s = rpc_open(t->analyzer, &analyzer__analyzer_service__descriptor,
                                   "WatchTask", &request, &stream);
        if (status_ok(s)) {
            s = listen_to(t, stream);
        }
        rpc_stream_close(&stream);
        if (!may_come_back(s)) {
            return s;
        }
        t->comebacks++;
        TRY(task_sleep_ms(PAUSE_MS));
    }
}

struct status document_task_get(struct document_task *t)
{
    Analyzer__GetTaskRequest request = ANALYZER__GET_TASK_REQUEST__INIT;
    void *reply;
    request.name = (char *)t->name;
    request.view = ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS;
    TRY(ask(t, "GetTask", &request, &reply));
    t->task = ((Analyzer__GetTaskResponse *)reply)->task;
    return STATUS_SUCCESS;
}

struct status document_task_cancel(struct document_task *t)
{
    Analyzer__CancelTaskRequest request = ANALYZER__CANCEL_TASK_REQUEST__INIT;
    void *reply;
    request.name = (char *)t->name;
    return ask(t, "CancelTask", &request, &reply);
}

static void assert_consistent(const struct document_task *t)
{
    const Analyzer__DocumentResult *result = t->task->result;
    size_t there = 0;
    assert_int_equal(t->task->last_sequence, t->last);
    for (size_t i = 0; i < DOCUMENT_TASK_SECTIONS; i++) {
        if (t->results[i] > 0) {
            assert_true(there < result->n_sections);
            assert_int_equal(result->sections[there++]->index, i);
        }
    }
    assert_int_equal(result->n_sections, there);
}

struct status document_task_run(struct document_task *t)
{
    TRY(document_task_submit(t));
    TRY(document_task_watch(t));
    TRY(document_task_get(t));
    assert_consistent(t);
    return STATUS_SUCCESS;
}

void document_task_assert_done(const struct document_task *t, size_t sections)
{
    for (size_t i = 0; i < t->task->n_sections; i++) {
        const Google__Rpc__Status *error = t->task->sections[i]->error;
        if (error != NULL) {
            print_error("section %zu failed: %d %s\n", i + 1, error->code, error->message);
        }
    }
    assert_int_equal(t->task->state, ANALYZER__TASK__STATE__STATE_SUCCEEDED);
    assert_int_equal(t->task->result->n_sections, sections);
    assert_int_equal(t->documents, 1);
}
