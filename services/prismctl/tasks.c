/* tasks: list, get, watch, cancel. */
#include "base/clock.h"
#include "prismctl/command.h"
#include "prismctl/names.h"
#include "prismctl/report.h"
#include "prismctl/watch.h"

#define PAGE 500 /* the most there is in one */

static const struct table_column columns[] = {
    {"Task", false, 0},      {"State", false, 0},   {"Done", true, 0},
    {"Document", false, 40}, {"Created", false, 0},
};

static void add_row(struct table *table, const Analyzer__Task *task, struct buf *text)
{
    table_cell(table, STYLE_PLAIN, span_str(task->name));
    table_cell(table, style_of_state(task->state), span_str(name_of_state(task->state)));
    buf_addf(text, "%u %%", task->progress_percent);
    table_cell(table, STYLE_PLAIN, buf_span(text));
    buf_reset(text);
    table_cell(table, STYLE_PLAIN, span_str(task->display_name));
    if (task->create_time != NULL) {
        clock_add_rfc3339(text, (uint64_t)task->create_time->seconds * 1000);
    }
    table_cell(table, STYLE_PLAIN, buf_span(text));
    buf_reset(text);
}

int tasks_list_run(struct cli *cli, char **args)
{
    (void)args;
    Analyzer__ListTasksRequest request = ANALYZER__LIST_TASKS_REQUEST__INIT;
    Analyzer__ListTasksResponse *response;
    request.tenant = (char *)cli->config->tenant;
    request.page_size = PAGE;
    struct status s = cli_call(cli, CLI_ANALYZER, "ListTasks", &request, (void **)&response);
    if (!status_ok(s)) {
        return cli_fail(cli, "cannot list the tasks", s);
    }
    int code = CLI_OK;
    if (cli->form == CLI_JSON) {
        return cli_print_json(cli, response);
    }
    if (cli->form == CLI_TEXT) {
        CLEANUP(buf_clear) struct buf text;
        buf_init(&text, RENDER_TEXT_MOST);
        struct table *table = table_new(cli->arena, columns, ARRAY_LEN(columns));
        for (size_t i = 0; i < response->n_tasks; i++) {
            add_row(table, response->tasks[i], &text);
        }
        table_add(table, &text, &cli->render);
        cli_print(cli, buf_span(&text));
    }
    for (size_t i = 0; cli->form == CLI_JSONL && i < response->n_tasks; i++) {
        code |= cli_print_json(cli, response->tasks[i]);
    }
    if (response->next_page_token[0] != '\0') {
        cli_note(cli, "there are about %d tasks, these are the latest", response->total_size);
    }
    return code;
}

static void print_task(struct cli *cli, const Analyzer__Task *task)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    struct table *table = table_new(cli->arena, columns, ARRAY_LEN(columns));
    add_row(table, task, &text);
    table_add(table, &text, &cli->render);
    if (task->result != NULL && task->result->n_sections > 0) {
        report_document(task->result, task->display_name, &cli->render, cli->arena, &text);
    }
    cli_print(cli, buf_span(&text));
}

int tasks_get_run(struct cli *cli, char **args)
{
    Analyzer__Task *task;
    Analyzer__TaskView view = cli->form == CLI_TEXT ? ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS
                                                    : ANALYZER__TASK_VIEW__TASK_VIEW_FULL;
    struct status s = watch_get(cli, cli_task_name(cli, args[0]), view, &task);
    if (!status_ok(s)) {
        return cli_fail(cli, arena_printf(cli->arena, "cannot get %s", args[0]), s);
    }
    if (cli->form != CLI_TEXT) {
        return cli_print_json(cli, task);
    }
    print_task(cli, task);
    return CLI_OK;
}

int tasks_watch_run(struct cli *cli, char **args)
{
    Analyzer__Task *task;
    struct status s =
        watch_get(cli, cli_task_name(cli, args[0]), ANALYZER__TASK_VIEW__TASK_VIEW_BASIC, &task);
    if (!status_ok(s)) {
        return cli_fail(cli, arena_printf(cli->arena, "cannot watch %s", args[0]), s);
    }
    return watch_task(cli, task, cli->config->after, false);
}

int tasks_cancel_run(struct cli *cli, char **args)
{
    Analyzer__CancelTaskRequest request = ANALYZER__CANCEL_TASK_REQUEST__INIT;
    Analyzer__CancelTaskResponse *response;
    request.name = cli_task_name(cli, args[0]);
    request.reason = "cancelled with prismctl";
    struct status s = cli_call(cli, CLI_ANALYZER, "CancelTask", &request, (void **)&response);
    if (status_ok(s) && response->task == NULL) {
        s = status_of(REASON_PROTOCOL_ERROR, "the analyzer sent no task");
    }
    if (!status_ok(s)) {
        return cli_fail(cli, arena_printf(cli->arena, "cannot cancel %s", args[0]), s);
    }
    if (cli->form != CLI_TEXT) {
        return cli_print_json(cli, response->task);
    }
    print_task(cli, response->task);
    return CLI_OK;
}
