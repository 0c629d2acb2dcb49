/* AnalyzeSection: one section while the caller waits. */
#include "analyzer/analyzer.h"
#include "analyzer/document.h"
#include "analyzer/result.h"
#include "base/clock.h"
#include "base/map.h"
#include "loop/task.h"

#define EARLIER_MOST 256

struct stream_sink {
    struct event_sink sink;
    struct rpc *rpc;
    uint64_t sequence;
};

static struct status stream_put(struct event_sink *sink, Analyzer__AnalysisEvent *event) PARKS
{
    struct stream_sink *s = CONTAINER_OF(sink, struct stream_sink, sink);
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    uint64_t now = clock_wall_ms();
    time.seconds = (int64_t)(now / 1000);
    time.nanos = (int32_t)(now % 1000) * 1000000;
    event->time = &time;
    event->run = 1;
    if (event->event_case != ANALYZER__ANALYSIS_EVENT__EVENT_KEEP_ALIVE) {
        event->sequence = ++s->sequence;
    }
    Analyzer__AnalyzeSectionResponse response = ANALYZER__ANALYZE_SECTION_RESPONSE__INIT;
    response.event = event;
    return rpc_send(s->rpc, &response);
}

static void take_earlier(const Analyzer__AnalyzeSectionRequest *request, struct arena *arena,
                         struct section_job *job)
{
    struct prompt_finding *rows =
        ARENA_ARRAY(arena, struct prompt_finding, request->n_previous_findings + 1);
    for (size_t i = 0; i < request->n_previous_findings; i++) {
        rows[i].title = request->previous_findings[i]->title;
        rows[i].severity = result_level_word(request->previous_findings[i]->severity);
    }
    job->earlier = rows;
    job->n_earlier = request->n_previous_findings;
}

static struct status analyze(struct rpc *rpc, const struct section_job *job) PARKS
{
    struct analyzer *analyzer = rpc_service(rpc);
    struct stream_sink sink = {.sink = {stream_put}, .rpc = rpc};
    Analyzer__SectionResult *result;
    uint64_t begin = loop_now_ms(analyzer->loop);
    TRY(analyze_section(analyzer, job, &sink.sink, rpc_arena(rpc), &result));
    METRIC_OBSERVE(analyzer->metrics.section_seconds,
                   (double)(loop_now_ms(analyzer->loop) - begin) / 1000);
    count_result(analyzer, result);

    Analyzer__AnalysisEvent event = ANALYZER__ANALYSIS_EVENT__INIT;
    event.section_id = (char *)job->section_id;
    event.event_case = ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT;
    event.section_result = result;
    return stream_put(&sink.sink, &event);
}

/* One call at a time with the same id. */
static struct status analyze_once(struct rpc *rpc, const char *request_id,
                                  const struct section_job *job) PARKS
{
    struct analyzer *analyzer = rpc_service(rpc);
    struct span key = span_str(arena_printf(rpc_arena(rpc), "%s/%s", job->tenant, request_id));
    if (map_get(analyzer->sections, key) != NULL) {
        return status_of(REASON_REQUEST_ID_REUSED, "a call with this request_id is running");
    }
    map_set(analyzer->sections, key, rpc);
    struct status s = analyze(rpc, job);
    map_remove(analyzer->sections, key);
    return s;
}

struct status section_analyze(struct rpc *rpc, const void *arg)
{
    const Analyzer__AnalyzeSectionRequest *request = arg;
    struct analyzer *analyzer = rpc_service(rpc);
    struct document document;
    struct section_job job = {.task_id = "", .section_id = "s0001", .options = request->options};
    TRY(request_take_tenant(rpc, request->tenant, &job.tenant));
    TRY(request_options(rpc, request->options));
    if (strlen(request->request_id) > ANALYZER_REQUEST_ID_MOST) {
        return rpc_bad_field(rpc, "request_id", "longer than 64 bytes");
    }
    if (request->n_previous_findings > EARLIER_MOST) {
        return rpc_bad_field(rpc, "previous_findings", "more than 256");
    }
    TRY(request_document(rpc, analyzer, request->section, "section", true, &document));
    job.title = document.sections[0].title;
    job.text = document.sections[0].text;
    take_earlier(request, rpc_arena(rpc), &job);
    return request->request_id[0] != '\0' ? analyze_once(rpc, request->request_id, &job)
                                          : analyze(rpc, &job);
}
