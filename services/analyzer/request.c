/* What callers may ask: the bounds of analyzer.proto. */
#include <string.h>

#include "analyzer/analyzer.h"
#include "analyzer/document.h"
#include "base/utf8.h"
#include "loop/task.h"

#define TOKENS_MOST    128000
#define THINKING_LEAST 1024
#define MODELS_MOST    16
#define NAME_MOST      256

struct status request_take_tenant(struct rpc *rpc, const char *field, const char **out)
{
    const char *from_metadata = task_context()->tenant;
    if (field[0] == '\0') {
        *out = from_metadata;
        return STATUS_SUCCESS;
    }
    if (!rpc_tenant_valid(span_str(field))) {
        return rpc_bad_field(rpc, "tenant", "must be 1 to 63 characters of a-z, 0-9 and -");
    }
    if (rpc_metadata(rpc, RPC_KEY_TENANT).len > 0 && strcmp(field, from_metadata) != 0) {
        return rpc_bad_field(rpc, "tenant", "differs from the metadata key " RPC_KEY_TENANT);
    }
    *out = field;
    return STATUS_SUCCESS;
}

struct status request_options(struct rpc *rpc, const Analyzer__AnalysisOptions *options)
{
    if (options == NULL) {
        return STATUS_SUCCESS;
    }
    if (options->n_models > MODELS_MOST || options->n_tiers > MODELS_MOST) {
        return rpc_bad_field(rpc, "options.models", "more than 16 models or tiers");
    }
    for (size_t i = 0; i < options->n_models; i++) {
        if (strlen(options->models[i]) > NAME_MOST) {
            return rpc_bad_field(rpc, "options.models", "a name longer than 256 bytes");
        }
    }
    if (options->n_models > 0 && options->n_tiers > 0) {
        return rpc_bad_field(rpc, "options.tiers", "models and tiers cannot both be given");
    }
    uint32_t budget =
        options->_thinking_budget_tokens_case ==
                ANALYZER__ANALYSIS_OPTIONS___THINKING_BUDGET_TOKENS_THINKING_BUDGET_TOKENS
            ? options->thinking_budget_tokens
            : 0;
    if (budget != 0 && (budget < THINKING_LEAST || budget > TOKENS_MOST)) {
        return rpc_bad_field(rpc, "options.thinking_budget_tokens",
                             "must be 0 or 1,024 to 128,000");
    }
    if (options->max_content_tokens > TOKENS_MOST) {
        return rpc_bad_field(rpc, "options.max_content_tokens", "more than 128,000");
    }
    if (options->_temperature_case == ANALYZER__ANALYSIS_OPTIONS___TEMPERATURE_TEMPERATURE &&
        !(options->temperature >= 0 && options->temperature <= 1)) {
        return rpc_bad_field(rpc, "options.temperature", "must be 0 to 1");
    }
    if (strlen(options->focus) > 1024) {
        return rpc_bad_field(rpc, "options.focus", "longer than 1,024 bytes");
    }
    return STATUS_SUCCESS;
}

struct split {
    struct span bytes;
    struct span name;
    enum document_type type;
    const struct document_limits *limits;
    bool single_section;
    struct arena *arena;
    struct document *out;
    struct status status;
};

/* Any thread: the task waits and leaves its arena alone. */
static void run_split(void *arg)
{
    struct split *s = arg;
    s->status = s->single_section ? document_whole(s->bytes, s->name, s->limits, s->arena, s->out)
                                  : document_split(s->bytes, s->type, s->limits, s->arena, s->out);
}

struct status request_document(struct rpc *rpc, const struct analyzer *analyzer,
                               const Analyzer__Document *document, const char *field,
                               bool single_section, struct document *out)
{
    const struct analyzer_config *config = analyzer->config;
    const struct document_limits limits = {
        .bytes_most = config->document_most,
        .sections_most = config->sections_most,
        .words_most = config->section_words,
        .words_least = config->section_words_least,
    };
    if (document == NULL || document->source_case == ANALYZER__DOCUMENT__SOURCE__NOT_SET) {
        return rpc_bad_field(rpc, field, "a document with content is required");
    }
    if (strlen(document->display_name) > 256) {
        return rpc_bad_field(rpc, arena_printf(rpc_arena(rpc), "%s.display_name", field),
                             "longer than 256 bytes");
    }
    if (document->source_case == ANALYZER__DOCUMENT__SOURCE_URI) {
        return status_of(REASON_SOURCE_NOT_BUILT, NULL);
    }
    struct split split = {
        .bytes = span_of(document->content.data, document->content.len),
        .name = span_str(document->display_name),
        .limits = &limits,
        .single_section = single_section,
        .arena = rpc_arena(rpc),
        .out = out,
    };
    TRY(document_type(span_str(document->media_type), split.name, &split.type));
    TRY(loop_work_over(split.bytes.len, run_split, &split));
    return split.status;
}

struct status request_task(struct rpc *rpc, const char *tenant, const char *name, const char **id)
{
    const char *prefix = arena_printf(rpc_arena(rpc), "tenants/%s/tasks/", tenant);
    size_t len = strlen(prefix);
    if (!span_starts(span_str(name), SPAN("tenants/"))) {
        return rpc_bad_field(rpc, "name", "must be tenants/{tenant}/tasks/{task}");
    }
    if (strncmp(name, prefix, len) != 0 || strlen(name + len) != ANALYZER_ID_SIZE - 1) {
        return rpc_not_found(rpc, REASON_TASK_UNKNOWN, "prism.analyzer.v1.Task", name);
    }
    *id = name + len;
    return STATUS_SUCCESS;
}
