#include "prismctl/watch.h"

#include "loop/loop.h"
#include "prismctl/names.h"
#include "prismctl/report.h"

#define TRIES          6 /* to resume without hearing anything new */
#define RETRY_FIRST_MS 250
#define RETRY_MOST_MS  10000
#define CANCEL_MS      10000 /* for the cancellation of a task whose watcher was interrupted */

/* --- results ---------------------------------------------------------------------------------- */

static struct status get(struct cli *cli, const char *name, Analyzer__TaskView view,
                         const char *section_id, Analyzer__Task **task) PARKS
{
    Analyzer__GetTaskRequest request = ANALYZER__GET_TASK_REQUEST__INIT;
    Analyzer__GetTaskResponse *response;
    char *ids[] = {(char *)section_id};
    request.name = (char *)name;
    request.view = view;
    request.section_ids = ids;
    request.n_section_ids = section_id != NULL;
    TRY(cli_call(cli, CLI_ANALYZER, "GetTask", &request, (void **)&response));
    if (response->task == NULL) {
        return status_of(REASON_PROTOCOL_ERROR, "the analyzer sent no task");
    }
    *task = response->task;
    return STATUS_SUCCESS;
}

/* Puts the full results of all sections into a task that has short ones. */
static struct status fill_in(struct cli *cli, Analyzer__Task *task) PARKS
{
    Analyzer__DocumentResult *result = task->result;
    for (size_t i = 0; result != NULL && i < result->n_sections; i++) {
        Analyzer__Task *part;
        const char *id = result->sections[i]->section_id;
        TRY(get(cli, task->name, ANALYZER__TASK_VIEW__TASK_VIEW_FULL, id, &part));
        if (part->result != NULL && part->result->n_sections == 1) {
            result->sections[i] = part->result->sections[0];
        }
    }
    return STATUS_SUCCESS;
}

struct status watch_get(struct cli *cli, const char *name, Analyzer__TaskView view,
                        Analyzer__Task **task)
{
    struct status s = get(cli, name, view, NULL, task);
    if (view != ANALYZER__TASK_VIEW__TASK_VIEW_FULL || s.code != STATUS_RESOURCE_EXHAUSTED) {
        return s;
    }
    Analyzer__Task *whole;
    TRY(get(cli, name, ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS, NULL, &whole));
    TRY(fill_in(cli, whole));
    *task = whole;
    return STATUS_SUCCESS;
}

/* --- events ----------------------------------------------------------------------------------- */

void watch_show(struct cli *cli, struct view *view, const Analyzer__AnalysisEvent *event)
{
    if (cli->form == CLI_JSONL) {
        cli_print_json(cli, event);
        return;
    }
    if (view != NULL) {
        CLEANUP(buf_clear) struct buf text;
        buf_init(&text, RENDER_TEXT_MOST);
        view_event(view, event, loop_now_ms(task_loop()), &text);
        cli_print(cli, buf_span(&text));
    }
}

struct watch {
    struct cli *cli;
    const char *name;
    struct view *view; /* NULL: events are not shown as text */
    uint64_t last;     /* sequence number */
};

/* Everything in between is of interest only to who reads the events. */
static bool wants_all(const struct watch *watch)
{
    return watch->view != NULL || (watch->cli->form == CLI_JSONL && watch->cli->config->thinking);
}

static struct status take_events(struct watch *watch, struct rpc_stream *stream) PARKS
{
    for (;;) {
        Analyzer__WatchTaskResponse *response;
        TRY(rpc_stream_recv(stream, cli_fresh(watch->cli), (void **)&response));
        if (response == NULL) {
            return STATUS_SUCCESS;
        }
        const Analyzer__AnalysisEvent *event = response->event;
        if (event != NULL && event->sequence > watch->last) {
            watch->last = event->sequence;
            watch_show(watch->cli, watch->view, event);
        }
    }
}

static struct status watch_once(struct watch *watch) PARKS
{
    Analyzer__WatchTaskRequest request = ANALYZER__WATCH_TASK_REQUEST__INIT;
    struct rpc_stream *stream;
    request.name = (char *)watch->name;
    request.after_sequence = watch->last;
    request.results_only = !wants_all(watch);
    TRY(cli_open(watch->cli, CLI_ANALYZER, "WatchTask", &request, &stream));
    struct status s = take_events(watch, stream);
    rpc_stream_close(&stream);
    return s;
}

/* The task goes on when its watcher's stream ends: for want of a server, or of patience. */
static bool may_resume(struct status s)
{
    return status_ok(task_status()) &&
           (s.code == STATUS_UNAVAILABLE || s.code == STATUS_DEADLINE_EXCEEDED);
}

static void end_line(struct watch *watch)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    if (watch->view != NULL) {
        view_break(watch->view, &text);
        cli_print(watch->cli, buf_span(&text));
    }
}

static struct status watch_to_the_end(struct watch *watch) PARKS
{
    uint64_t wait_ms = RETRY_FIRST_MS;
    for (int tries = 1;; tries++) {
        uint64_t before = watch->last;
        struct status s = watch_once(watch);
        end_line(watch);
        if (watch->last > before) {
            tries = 1;
            wait_ms = RETRY_FIRST_MS;
        }
        if (tries == TRIES || !may_resume(s)) {
            return s;
        }
        cli_note(watch->cli, "%s (%s); watching again after event %llu", status_text(s),
                 status_code_name(s.code), (unsigned long long)watch->last);
        uint64_t asked_ms = s.retry_after_ms < RETRY_MOST_MS ? s.retry_after_ms : RETRY_MOST_MS;
        TRY(task_sleep_ms(asked_ms > wait_ms ? asked_ms : wait_ms));
        wait_ms *= 2;
    }
}

/* --- interruption ----------------------------------------------------------------------------- */

/* The command's own task waits for nothing any more, so this one speaks to the analyzer. */
struct cancellation {
    struct cli *cli;
    const char *name;
    struct op ended;
    struct status result;
    Analyzer__CancelTaskResponse *response;
};

static void cancel_main(void *arg) PARKS
{
    struct cancellation *c = arg;
    Analyzer__CancelTaskRequest request = ANALYZER__CANCEL_TASK_REQUEST__INIT;
    request.name = (char *)c->name;
    request.reason = "interrupted at the terminal";
    c->result = cli_call(c->cli, CLI_ANALYZER, "CancelTask", &request, (void **)&c->response);
    op_done(&c->ended, STATUS_SUCCESS);
}

static int cancel_task(struct cli *cli, const char *name) PARKS
{
    struct cancellation c = {.cli = cli, .name = name};
    struct loop *loop = task_loop();
    op_init(&c.ended, loop, NULL, NULL);
    cli_note(cli, "interrupted: cancelling the task (once more to leave at once)");
    task_spawn(
        loop,
        &(struct task_options){.name = "cancel", .deadline_ms = loop_now_ms(loop) + CANCEL_MS},
        cancel_main, &c);
    struct status s = op_wait_firmly(&c.ended);
    check(status_ok(s));
    const Analyzer__Task *task = status_ok(c.result) ? c.response->task : NULL;
    if (task == NULL) {
        const char *why = status_ok(c.result) ? "the analyzer sent no task" : status_text(c.result);
        cli_complain(cli, arena_printf(cli->arena, "%s goes on, it could not be cancelled", name),
                     why);
    } else {
        cli_note(cli, "%s: %s", task->name, name_of_state(task->state));
    }
    return CLI_INTERRUPTED;
}

/* --- all -------------------------------------------------------------------------------------- */

static int broke_off(struct cli *cli, const char *name, struct status why, bool ours) PARKS
{
    if (cli->interrupted && ours) {
        return cancel_task(cli, name);
    }
    int code = cli_fail(cli, "watching ended", why);
    cli_note(cli, "the task goes on; prismctl tasks watch %s shows it", name);
    return code;
}

static const char *reason_of(const Analyzer__Task *task)
{
    return task->error != NULL && task->error->message[0] != '\0' ? task->error->message
                                                                  : name_of_state(task->state);
}

static int print_result(struct cli *cli, const Analyzer__Task *task)
{
    int code = CLI_OK;
    if (cli->form == CLI_JSON) {
        code = cli_print_json(cli, task);
    } else if (cli->form == CLI_TEXT && task->result != NULL) {
        CLEANUP(buf_clear) struct buf text;
        buf_init(&text, RENDER_TEXT_MOST);
        report_document(task->result, task->display_name, &cli->render, cli->arena, &text);
        cli_print(cli, buf_span(&text));
    }
    if (task->state != ANALYZER__TASK__STATE__STATE_SUCCEEDED) {
        code = cli_complain(cli, task->name, reason_of(task));
    }
    return code;
}

int watch_task(struct cli *cli, const Analyzer__Task *task, uint64_t after, bool ours)
{
    static const Analyzer__TaskView views[] = {
        [CLI_TEXT] = ANALYZER__TASK_VIEW__TASK_VIEW_RESULTS,
        [CLI_JSON] = ANALYZER__TASK_VIEW__TASK_VIEW_FULL,
        [CLI_JSONL] = ANALYZER__TASK_VIEW__TASK_VIEW_BASIC,
    };
    struct watch watch = {.cli = cli, .name = task->name, .last = after};
    if (cli->form == CLI_TEXT && !cli->config->quiet) {
        watch.view = view_new(&cli->render, task->display_name, cli->config->thinking);
        view_sections(watch.view, task);
    }
    struct status s = watch_to_the_end(&watch);
    view_free(watch.view);
    if (!status_ok(s)) {
        return broke_off(cli, task->name, s, ours);
    }
    Analyzer__Task *ended;
    s = watch_get(cli, task->name, views[cli->form], &ended);
    if (!status_ok(s)) {
        return broke_off(cli, task->name, s, false);
    }
    return print_result(cli, ended);
}
