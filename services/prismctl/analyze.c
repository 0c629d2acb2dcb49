/* analyze, section: documents in. */
#include "prismctl/command.h"
#include "prismctl/document.h"
#include "prismctl/names.h"
#include "prismctl/report.h"
#include "prismctl/watch.h"

/* --- requests --------------------------------------------------------------------------------- */

static Router__Priority priority_of(const char *name)
{
    static const struct {
        const char *name;
        Router__Priority priority;
    } all[] = {
        {"urgent", ROUTER__PRIORITY__PRIORITY_URGENT},
        {"normal", ROUTER__PRIORITY__PRIORITY_NORMAL},
        {"low", ROUTER__PRIORITY__PRIORITY_LOW},
        {"background", ROUTER__PRIORITY__PRIORITY_BACKGROUND},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (strcmp(all[i].name, name) == 0) {
            return all[i].priority;
        }
    }
    return ROUTER__PRIORITY__PRIORITY_UNSPECIFIED;
}

static Analyzer__AnalysisOptions *options_of(struct cli *cli)
{
    Analyzer__AnalysisOptions *options = ARENA_NEW(cli->arena, Analyzer__AnalysisOptions);
    analyzer__analysis_options__init(options);
    options->priority = priority_of(cli->config->priority);
    struct span rest = span_str(cli->config->models), name;
    options->models = ARENA_ARRAY(cli->arena, char *, rest.len + 1);
    while (rest.len > 0 && span_cut(&rest, ',', &name)) {
        options->models[options->n_models++] = cli_model_name(cli, span_trim(name));
    }
    return options;
}

static char *request_id(void)
{
    return task_context()->request_id;
}

/* --- analyze ---------------------------------------------------------------------------------- */

static struct status submit(struct cli *cli, Analyzer__Document *document,
                            Analyzer__Task **task) PARKS
{
    Analyzer__SubmitAnalysisRequest request = ANALYZER__SUBMIT_ANALYSIS_REQUEST__INIT;
    Analyzer__SubmitAnalysisResponse *response;
    request.tenant = (char *)cli->config->tenant;
    request.request_id = request_id();
    request.document = document;
    request.options = options_of(cli);
    TRY(cli_call(cli, CLI_ANALYZER, "SubmitAnalysis", &request, (void **)&response));
    if (response->task == NULL) {
        return status_of(REASON_PROTOCOL_ERROR, "the analyzer sent no task");
    }
    *task = response->task;
    return STATUS_SUCCESS;
}

static void announce(struct cli *cli, const Analyzer__Document *document,
                     const Analyzer__Task *task)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    render_begin(&text, &cli->render, STYLE_BOLD);
    render_add_line(&text, span_str(document->display_name), cli->render.width);
    render_end(&text, &cli->render, STYLE_BOLD);
    if (document->source_case == ANALYZER__DOCUMENT__SOURCE_CONTENT) {
        buf_add_str(&text, ", ");
        render_add_plural(&text, document->content.len, "byte");
    }
    buf_add_str(&text, ": ");
    render_add_plural(&text, task->n_sections, "section");
    buf_add_str(&text, " to analyse\n");
    render_begin(&text, &cli->render, STYLE_DIM);
    render_add_line(&text, span_str(task->name), cli->render.width);
    buf_add_str(&text, " (Ctrl-C cancels it)");
    render_end(&text, &cli->render, STYLE_DIM);
    buf_add_str(&text, "\n\n");
    cli_print(cli, buf_span(&text));
}

static int print_name(struct cli *cli, const Analyzer__Task *task)
{
    if (cli->form != CLI_TEXT) {
        return cli_print_json(cli, task);
    }
    cli_print(cli, span_str(arena_printf(cli->arena, "%s\n", task->name)));
    return CLI_OK;
}

int analyze_run(struct cli *cli, char **args)
{
    Analyzer__Document document;
    Analyzer__Task *task = NULL;
    int code = document_read(cli, args[0], &document);
    if (code != CLI_OK) {
        return code;
    }
    struct status s = submit(cli, &document, &task);
    if (!status_ok(s)) {
        code = cli_fail(cli, arena_printf(cli->arena, "cannot submit %s", args[0]), s);
        if (cli->interrupted) {
            cli_note(cli, "it may have been accepted all the same; prismctl tasks list shows it");
        }
        return code;
    }
    if (!cli->config->follow) {
        return print_name(cli, task);
    }
    if (cli->form == CLI_TEXT && !cli->config->quiet) {
        announce(cli, &document, task);
    } else {
        cli_note(cli, "%s is submitted; Ctrl-C cancels it", task->name);
    }
    return watch_task(cli, task, 0, true);
}

/* --- section ---------------------------------------------------------------------------------- */

struct section_call {
    struct cli *cli;
    struct view *view;
    struct arena *kept; /* of the result */
    Analyzer__SectionResult *result;
};

static struct status take_section(struct section_call *call, struct rpc_stream *stream) PARKS
{
    struct cli *cli = call->cli;
    for (;;) {
        Analyzer__AnalyzeSectionResponse *response;
        TRY(rpc_stream_recv(stream, cli_fresh(cli), (void **)&response));
        if (response == NULL) {
            return call->result != NULL
                       ? STATUS_SUCCESS
                       : status_of(REASON_PROTOCOL_ERROR, "the analyzer sent no result");
        }
        const Analyzer__AnalysisEvent *event = response->event;
        if (event == NULL) {
            continue;
        }
        watch_show(cli, call->view, event);
        if (event->event_case == ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT) {
            arena_free(call->kept);
            call->result = event->section_result;
            call->kept = cli_keep(cli);
        }
    }
}

static struct status analyse_section(struct section_call *call,
                                     const Analyzer__AnalyzeSectionRequest *request) PARKS
{
    struct rpc_stream *stream;
    TRY(cli_open(call->cli, CLI_ANALYZER, "AnalyzeSection", request, &stream));
    struct status s = take_section(call, stream);
    rpc_stream_close(&stream);
    return s;
}

static int print_section(struct cli *cli, Analyzer__SectionResult *result, const char *title)
{
    int code = CLI_OK;
    if (cli->form == CLI_JSON) {
        code = cli_print_json(cli, result);
    } else if (cli->form == CLI_TEXT) {
        CLEANUP(buf_clear) struct buf text;
        buf_init(&text, RENDER_TEXT_MOST);
        report_section(result, title, &cli->render, cli->arena, &text);
        cli_print(cli, buf_span(&text));
    }
    if (!outcome_is_good(result->outcome)) {
        bool said = result->error != NULL && result->error->message[0] != '\0';
        const char *why = said ? result->error->message : name_of_outcome(result->outcome);
        code = cli_complain(cli, title, why);
    }
    return code;
}

int section_run(struct cli *cli, char **args)
{
    Analyzer__Document document;
    int code = document_read(cli, args[0], &document);
    if (code != CLI_OK) {
        return code;
    }
    Analyzer__AnalyzeSectionRequest request = ANALYZER__ANALYZE_SECTION_REQUEST__INIT;
    request.tenant = (char *)cli->config->tenant;
    request.request_id = request_id();
    request.section = &document;
    request.options = options_of(cli);
    struct section_call call = {.cli = cli};
    if (cli->form == CLI_TEXT && !cli->config->quiet) {
        call.view = view_new(&cli->render, document.display_name, cli->config->thinking);
    }
    struct status s = analyse_section(&call, &request);
    view_free(call.view);
    code = status_ok(s) ? print_section(cli, call.result, document.display_name)
                        : cli_fail(cli, arena_printf(cli->arena, "cannot analyse %s", args[0]), s);
    arena_free(call.kept);
    return code;
}
