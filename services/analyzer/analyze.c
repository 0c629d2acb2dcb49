/* One section through the router: asked, listened to, judged. */
#include <string.h>

#include "analyzer/analyzer.h"
#include "analyzer/result.h"
#include "codec/hash.h"
#include "loop/task.h"

#define ANSWER_MOST   (1u << 20)
#define THINKING_MOST (4u << 20)
#define EVENT_ARENA   (2u << 20)
#define DOMAIN        analyzer__analyzer_service__descriptor.name
#define TRACES_MOST   128

/* The baseline measured on version 1.0: a request cost 0.10 USD. */
#define BASELINE_MICRO_USD 100000

struct analysis {
    struct analyzer *analyzer;
    const struct section_job *job;
    struct event_sink *sink;
    struct arena *arena;
    struct prompt prompt;
    struct buf answer;
    struct buf thinking;  /* text of the open thinking block */
    struct buf signature; /* and its signature */
    Router__BlockType open;
    const char *model;
    Analyzer__ThinkingTrace *traces[TRACES_MOST];
    size_t n_traces;
    Router__Completed *completed;
};

/* --- the request ------------------------------------------------------------------------------ */

static Router__ContentBlock *text_block(struct arena *arena, struct span text)
{
    Router__ContentBlock *block = ARENA_NEW(arena, Router__ContentBlock);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block->text = arena_string(arena, text);
    return block;
}

static Router__Generation *generation(struct analysis *a)
{
    struct arena *arena = a->arena;
    const struct analyzer_config *config = a->analyzer->config;
    const Analyzer__AnalysisOptions *options = a->job->options;
    Router__Generation *g = ARENA_NEW(arena, Router__Generation);
    router__generation__init(g);
    g->task_id = (char *)a->job->task_id;
    g->section_id = (char *)a->job->section_id;
    g->system = ARENA_NEW(arena, Router__ContentBlock *);
    g->system[0] = text_block(arena, a->prompt.system);
    g->n_system = 1;
    Router__Message *message = ARENA_NEW(arena, Router__Message);
    router__message__init(message);
    message->role = ROUTER__ROLE__ROLE_USER;
    message->content = ARENA_NEW(arena, Router__ContentBlock *);
    message->content[0] = text_block(arena, a->prompt.user);
    message->n_content = 1;
    g->messages = ARENA_NEW(arena, Router__Message *);
    g->messages[0] = message;
    g->n_messages = 1;
    g->max_content_tokens = (uint32_t)config->max_content_tokens;
    g->thinking_budget_tokens = (uint32_t)config->thinking_budget;
    g->baseline_input_tokens = a->prompt.baseline_tokens;
    if (options == NULL) {
        return g;
    }
    g->priority = options->priority;
    g->models = options->models;
    g->n_models = options->n_models;
    g->tiers = options->tiers;
    g->n_tiers = options->n_tiers;
    if (options->max_content_tokens > 0) {
        g->max_content_tokens = options->max_content_tokens;
    }
    if (options->_thinking_budget_tokens_case ==
        ANALYZER__ANALYSIS_OPTIONS___THINKING_BUDGET_TOKENS_THINKING_BUDGET_TOKENS) {
        g->thinking_budget_tokens = options->thinking_budget_tokens;
    }
    if (options->_temperature_case == ANALYZER__ANALYSIS_OPTIONS___TEMPERATURE_TEMPERATURE) {
        g->_temperature_case = ROUTER__GENERATION___TEMPERATURE_TEMPERATURE;
        g->temperature = options->temperature;
    }
    return g;
}

/* --- traces ----------------------------------------------------------------------------------- */

static void begin_trace(struct analysis *a, const Router__Admitted *admitted)
{
    buf_reset(&a->answer);
    buf_reset(&a->thinking);
    buf_reset(&a->signature);
    a->open = ROUTER__BLOCK_TYPE__BLOCK_TYPE_UNSPECIFIED;
    a->model = arena_string(a->arena, span_str(admitted->model));
    if (a->n_traces == TRACES_MOST) {
        return;
    }
    Analyzer__ThinkingTrace *trace = ARENA_NEW(a->arena, Analyzer__ThinkingTrace);
    analyzer__thinking_trace__init(trace);
    trace->attempt = admitted->attempt;
    trace->model = (char *)a->model;
    trace->broken = true; /* until it turns out to be whole */
    a->traces[a->n_traces++] = trace;
}

static void add_to_trace(struct analysis *a, Router__ContentBlock *block)
{
    Analyzer__ThinkingTrace *trace = a->traces[a->n_traces - 1];
    Router__ContentBlock **blocks =
        ARENA_ARRAY(a->arena, Router__ContentBlock *, trace->n_blocks + 1);
    if (trace->n_blocks > 0) {
        memcpy(blocks, trace->blocks, trace->n_blocks * sizeof(*blocks));
    }
    blocks[trace->n_blocks++] = block;
    trace->blocks = blocks;
}

static ProtobufCBinaryData bytes_of(struct arena *arena, struct span bytes)
{
    struct span copy = arena_copy(arena, bytes);
    return (ProtobufCBinaryData){copy.len, (uint8_t *)copy.at};
}

/* Also of an attempt that broke inside the block: what was thought is kept. */
static void end_thinking(struct analysis *a)
{
    if (a->open != ROUTER__BLOCK_TYPE__BLOCK_TYPE_THINKING || a->n_traces == 0) {
        return;
    }
    Router__ThinkingBlock *thinking = ARENA_NEW(a->arena, Router__ThinkingBlock);
    router__thinking_block__init(thinking);
    if (span_find_char(buf_span(&a->thinking), '\0') != SPAN_MISSING) {
        thinking->text_bytes = bytes_of(a->arena, buf_span(&a->thinking));
    } else {
        thinking->text = arena_string(a->arena, buf_span(&a->thinking));
    }
    thinking->signature = bytes_of(a->arena, buf_span(&a->signature));
    thinking->model = (char *)a->model;
    Router__ContentBlock *block = ARENA_NEW(a->arena, Router__ContentBlock);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_THINKING;
    block->thinking = thinking;
    add_to_trace(a, block);
    a->open = ROUTER__BLOCK_TYPE__BLOCK_TYPE_UNSPECIFIED;
    buf_reset(&a->thinking);
    buf_reset(&a->signature);
}

static void keep_redacted(struct analysis *a, const Router__RedactedThinking *redacted)
{
    if (a->n_traces == 0) {
        return;
    }
    Router__RedactedThinkingBlock *copy = ARENA_NEW(a->arena, Router__RedactedThinkingBlock);
    router__redacted_thinking_block__init(copy);
    copy->data = bytes_of(a->arena, span_of(redacted->data.data, redacted->data.len));
    copy->model = (char *)a->model;
    Router__ContentBlock *block = ARENA_NEW(a->arena, Router__ContentBlock);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING;
    block->redacted_thinking = copy;
    add_to_trace(a, block);
}

/* --- events ----------------------------------------------------------------------------------- */

static void add_piece(struct buf *out, const char *text, ProtobufCBinaryData bytes)
{
    if (bytes.len > 0) {
        buf_add(out, bytes.data, bytes.len);
    } else {
        buf_add_str(out, text);
    }
}

/* The event as the analyzer passes it on; false: it is not passed on. */
#define PASS(kind, member)                                                                         \
    case ROUTER__GENERATE_RESPONSE__EVENT_##kind:                                                  \
        out->event_case = ANALYZER__ANALYSIS_EVENT__EVENT_##kind;                                  \
        out->member = in->member;                                                                  \
        return true;

static bool pass(const Router__GenerateResponse *in, Analyzer__AnalysisEvent *out)
{
    switch (in->event_case) {
        PASS(QUEUED, queued)
        PASS(ADMITTED, admitted)
        PASS(BLOCK_START, block_start)
        PASS(THINKING_DELTA, thinking_delta)
        PASS(SIGNATURE_DELTA, signature_delta)
        PASS(REDACTED_THINKING, redacted_thinking)
        PASS(TEXT_DELTA, text_delta)
        PASS(RAW_BLOCK, raw_block)
        PASS(BLOCK_STOP, block_stop)
        PASS(RESTARTED, restarted)
        PASS(KEEP_ALIVE, keep_alive)
    case ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED:
    case ROUTER__GENERATE_RESPONSE__EVENT__NOT_SET:
    case _ROUTER__GENERATE_RESPONSE__EVENT__CASE_IS_INT_SIZE:
        break;
    }
    return false;
}

static void note(struct analysis *a, const Router__GenerateResponse *event)
{
    switch (event->event_case) {
    case ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED:
        begin_trace(a, event->admitted);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_START:
        a->open = event->block_start->type;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_THINKING_DELTA:
        add_piece(&a->thinking, event->thinking_delta->text, event->thinking_delta->text_bytes);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_SIGNATURE_DELTA:
        buf_add(&a->signature, event->signature_delta->signature.data,
                event->signature_delta->signature.len);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_REDACTED_THINKING:
        keep_redacted(a, event->redacted_thinking);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA:
        add_piece(&a->answer, event->text_delta->text, event->text_delta->text_bytes);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_STOP:
    case ROUTER__GENERATE_RESPONSE__EVENT_RESTARTED:
        end_thinking(a);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED:
    case ROUTER__GENERATE_RESPONSE__EVENT_QUEUED:
    case ROUTER__GENERATE_RESPONSE__EVENT_RAW_BLOCK:
    case ROUTER__GENERATE_RESPONSE__EVENT_KEEP_ALIVE:
    case ROUTER__GENERATE_RESPONSE__EVENT__NOT_SET:
    case _ROUTER__GENERATE_RESPONSE__EVENT__CASE_IS_INT_SIZE:
        break;
    }
}

static struct status listen_to(struct analysis *a, struct rpc_stream *stream) PARKS
{
    for (;;) {
        CLEANUP(arena_drop) struct arena *scratch = arena_new(EVENT_ARENA);
        void *message;
        struct status s = rpc_stream_recv(stream, scratch, &message);
        if (!status_ok(s)) {
            return status_copy(s, a->arena);
        }
        if (message == NULL) {
            return a->completed != NULL
                       ? STATUS_SUCCESS
                       : status_of(REASON_PROTOCOL_ERROR, "the router ended without an answer");
        }
        const Router__GenerateResponse *event = message;
        note(a, event);
        if (event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED) {
            void *kept;
            TRY(rpc_unpack(&router__completed__descriptor, rpc_pack(event->completed, scratch),
                           a->arena, &kept));
            a->completed = kept;
            continue;
        }
        Analyzer__AnalysisEvent out = ANALYZER__ANALYSIS_EVENT__INIT;
        out.section_id = (char *)a->job->section_id;
        if (pass(event, &out)) {
            TRY(a->sink->put(a->sink, &out));
        }
    }
}

/* --- the result ------------------------------------------------------------------------------- */

static Analyzer__PromptReport *prompt_report(const struct analysis *a)
{
    const struct prompt *p = &a->prompt;
    Analyzer__PromptReport *report = ARENA_NEW(a->arena, Analyzer__PromptReport);
    analyzer__prompt_report__init(report);
    report->encoding = a->job->n_earlier > 0 ? ANALYZER__PROMPT_ENCODING__PROMPT_ENCODING_JSON
                                             : ANALYZER__PROMPT_ENCODING__PROMPT_ENCODING_NONE;
    report->prompt_tokens = p->tokens;
    report->template_tokens = p->template_tokens;
    report->section_tokens = p->section_tokens;
    report->context_json_tokens = p->context_tokens;
    report->baseline_tokens = p->baseline_tokens;
    report->saved_by_template_tokens = (int64_t)PROMPT_VERBOSE_TOKENS - (int64_t)p->template_tokens;
    return report;
}

static Analyzer__AnalysisMetadata *metadata(const struct analysis *a)
{
    Router__CallMetadata *call = a->completed->metadata;
    Analyzer__AnalysisMetadata *out = ARENA_NEW(a->arena, Analyzer__AnalysisMetadata);
    analyzer__analysis_metadata__init(out);
    out->prompt = prompt_report(a);
    if (call == NULL) {
        return out;
    }
    out->calls = ARENA_NEW(a->arena, Router__CallMetadata *);
    out->calls[0] = call;
    out->n_calls = 1;
    out->usage = call->usage;
    out->cost_micro_usd = call->cost_micro_usd;
    out->saved_micro_usd = BASELINE_MICRO_USD - call->cost_micro_usd;
    out->queue_ms = call->queue_ms;
    out->ttft_ms = call->ttft_ms;
    out->total_ms = call->total_ms;
    out->simulated = call->simulated;
    return out;
}

static void add_notices(const struct analysis *a, Analyzer__SectionResult *out)
{
    if (a->prompt.removed == 0) {
        return;
    }
    Analyzer__InputNotice *notice = ARENA_NEW(a->arena, Analyzer__InputNotice);
    analyzer__input_notice__init(notice);
    notice->kind = "INVISIBLE_CHARACTERS";
    notice->count = a->prompt.removed;
    notice->first_offset = a->prompt.first_removed;
    notice->detail =
        "characters that a reader cannot see were taken out before the model read the section";
    out->notices = ARENA_NEW(a->arena, Analyzer__InputNotice *);
    out->notices[0] = notice;
    out->n_notices = 1;
    METRIC_ADD(a->analyzer->metrics.removed_characters_total, (double)a->prompt.removed);
}

static Analyzer__SectionResult *new_result(const struct section_job *job,
                                           const uint8_t sha256[HASH_SHA256_SIZE],
                                           struct arena *arena)
{
    Analyzer__SectionResult *out = ARENA_NEW(arena, Analyzer__SectionResult);
    analyzer__section_result__init(out);
    out->section_id = (char *)job->section_id;
    out->index = job->index;
    out->title = (char *)job->title;
    out->text_sha256 = bytes_of(arena, span_of(sha256, HASH_SHA256_SIZE));
    return out;
}

struct reading {
    const struct analysis *analysis;
    Analyzer__SectionResult *out;
    const char *why; /* it could not be read */
};

/* Any thread: the task waits and leaves its arena alone. */
static void read_answer(void *arg)
{
    struct reading *r = arg;
    const struct analysis *a = r->analysis;
    if (result_parse(buf_span(&a->answer), a->prompt.data, a->arena, r->out, &r->why) &&
        a->prompt.removed > 0) {
        result_move_evidence(r->out, a->prompt.data, a->job->text);
    }
}

static struct status judge(struct analysis *a, Analyzer__SectionResult *out) PARKS
{
    struct reading reading = {.analysis = a, .out = out};
    out->metadata = metadata(a);
    out->thinking = ARENA_ARRAY(a->arena, Analyzer__ThinkingTrace *, a->n_traces + 1);
    memcpy(out->thinking, a->traces, a->n_traces * sizeof(*out->thinking));
    out->n_thinking = a->n_traces;
    if (a->n_traces > 0) {
        a->traces[a->n_traces - 1]->broken = false;
    }
    add_notices(a, out);
    if (a->completed->stop_reason == ROUTER__STOP_REASON__STOP_REASON_REFUSAL) {
        out->outcome = ANALYZER__OUTCOME__OUTCOME_REFUSED;
    } else {
        TRY(loop_work_over(a->prompt.data.len, read_answer, &reading));
    }
    if (out->outcome == ANALYZER__OUTCOME__OUTCOME_UNPARSEABLE) {
        out->error =
            rpc_status_message(status_of(REASON_OUTPUT_UNPARSABLE, reading.why), DOMAIN, a->arena);
        if (a->completed->stop_reason == ROUTER__STOP_REASON__STOP_REASON_MAX_TOKENS) {
            out->outcome = ANALYZER__OUTCOME__OUTCOME_TRUNCATED;
        }
    }
    if (out->outcome != ANALYZER__OUTCOME__OUTCOME_OK) {
        out->raw_output = bytes_of(a->arena, buf_span(&a->answer));
    }
    result_bound(out);
    return STATUS_SUCCESS;
}

Analyzer__SectionResult *analyze_failure(const struct section_job *job, struct status s,
                                         struct arena *arena)
{
    uint8_t sha256[HASH_SHA256_SIZE];
    hash_sha256(job->text, sha256);
    Analyzer__SectionResult *out = new_result(job, sha256, arena);
    out->outcome = s.code == STATUS_CANCELLED ? ANALYZER__OUTCOME__OUTCOME_CANCELLED
                                              : ANALYZER__OUTCOME__OUTCOME_FAILED;
    out->error = rpc_status_message(s, DOMAIN, arena);
    return out;
}

void count_result(struct analyzer *analyzer, const Analyzer__SectionResult *result)
{
    const ProtobufCEnumValue *outcome =
        protobuf_c_enum_descriptor_get_value(&analyzer__outcome__descriptor, result->outcome);
    METRIC_ADD(analyzer->metrics.sections_total, 1, outcome->name + strlen("OUTCOME_"));
    for (size_t i = 0; i < result->n_findings; i++) {
        METRIC_ADD(analyzer->metrics.findings_total, 1,
                   result_level_word(result->findings[i]->severity),
                   result->findings[i]->verified ? "true" : "false");
    }
}

static struct status ask(struct analysis *a) PARKS
{
    Router__GenerateRequest request = ROUTER__GENERATE_REQUEST__INIT;
    request.tenant = (char *)a->job->tenant;
    request.generation = generation(a);
    struct rpc_stream *stream = NULL;
    TRY(rpc_open(a->analyzer->router, &router__router_service__descriptor, "Generate", &request,
                 &stream));
    struct status s = listen_to(a, stream);
    rpc_stream_close(&stream);
    if (status_ok(s) && !(buf_ok(&a->answer) && buf_ok(&a->thinking) && buf_ok(&a->signature))) {
        s = status_of(REASON_OUTPUT_UNPARSABLE, "the answer is larger than 1 MiB");
    }
    return s;
}

struct asking {
    const struct prompt_input *input;
    struct arena *arena;
    struct prompt *prompt;
};

/* Any thread: the task waits and leaves its arena alone. */
static void build_prompt(void *arg)
{
    const struct asking *asking = arg;
    prompt_build(asking->input, asking->arena, asking->prompt);
}

struct status analyze_section(struct analyzer *analyzer, const struct section_job *job,
                              struct event_sink *sink, struct arena *arena,
                              Analyzer__SectionResult **result)
{
    struct analysis *a = ARENA_NEW(arena, struct analysis);
    *a = (struct analysis){
        .analyzer = analyzer, .job = job, .sink = sink, .arena = arena, .model = ""};
    struct prompt_input input = {
        .title = span_str(job->title),
        .text = job->text,
        .focus = job->options != NULL ? span_str(job->options->focus) : SPAN_NONE,
        .earlier = job->earlier,
        .n_earlier = job->n_earlier,
    };
    hash_random(input.nonce, sizeof(input.nonce));
    struct asking asking = {&input, arena, &a->prompt};
    TRY(loop_work_over(job->text.len, build_prompt, &asking));
    buf_init(&a->answer, ANSWER_MOST);
    buf_init(&a->thinking, THINKING_MOST);
    buf_init(&a->signature, ANSWER_MOST);
    struct status s = ask(a);
    if (status_ok(s)) {
        *result = new_result(job, a->prompt.text_sha256, arena);
        s = judge(a, *result);
    }
    buf_clear(&a->answer);
    buf_clear(&a->thinking);
    buf_clear(&a->signature);
    return s;
}
