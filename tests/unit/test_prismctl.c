/* prismctl's commands against an analyzer that plays a script. */
#include <locale.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/metric.h"
#include "fake/fake_analyzer.h"
#include "net/protojson.h"
#include "prismctl/command.h"
#include "task_test.h"

#define WORDS_MOST 16

/* One run of prismctl, and the service it talks to. */
struct scene {
    struct wire *wire;
    struct fake_analyzer fake;
    struct arena *arena;
    char directory[32];
    char *path; /* of a document in it */

    struct cli_config config;
    struct cli cli;
    char **words;
    struct op ended;
    int code;
    char *out, *err;
    size_t out_len, err_len;
};

static void scene_start(struct scene *s)
{
    *s = (struct scene){.wire = wire_start(task_loop()), .arena = arena_new(4u << 20)};
    log_init("test", LOG_ERROR);
    fake_analyzer_start(&s->fake, s->wire);
    snprintf(s->directory, sizeof(s->directory), "/tmp/prismctl.XXXXXX");
    assert_non_null(mkdtemp(s->directory));
    s->path = arena_printf(s->arena, "%s/report.md", s->directory);
    assert_null(file_write(s->path, SPAN("# Reporting\n")));
}

static void scene_stop(struct scene *s)
{
    unlink(s->path);
    rmdir(s->directory);
    free(s->out);
    free(s->err);
    fake_analyzer_stop(&s->fake);
    wire_stop(s->wire);
    arena_free(s->arena);
    metric_reset_all();
}

static void command_main(void *arg) PARKS
{
    struct scene *s = arg;
    cli_begin(&s->cli);
    s->code = command_run(&s->cli, s->words);
    cli_end(&s->cli);
    op_done(&s->ended, STATUS_SUCCESS);
}

/* A command line without the program's name, as on something that is no terminal. */
static void begin(struct scene *s, const char *line)
{
    char *argv[WORDS_MOST + 4] = {"prismctl"};
    char *no_environment[] = {NULL};
    int argc = 1;
    argv[argc++] = arena_printf(s->arena, "--analyzer=%s", s->fake.address);
    struct span rest = span_str(line), word;
    while (span_cut(&rest, ' ', &word) && argc < WORDS_MOST) {
        bool document = span_eq(word, SPAN("DOC"));
        argv[argc++] = document ? s->path : arena_string(s->arena, word);
    }
    assert_int_equal(command_load(argc, argv, no_environment, s->arena, &s->config, &s->words),
                     CONFIG_RUN);
    free(s->out);
    free(s->err);
    s->cli = (struct cli){
        .config = &s->config,
        .form = cli_form_of(s->config.output, false),
        .render = {.width = 72},
        .out = open_memstream(&s->out, &s->out_len),
        .err = open_memstream(&s->err, &s->err_len),
        .wire = s->wire,
    };
    op_init(&s->ended, task_loop(), NULL, NULL);
    task_spawn(task_loop(), &(struct task_options){.name = "command"}, command_main, s);
}

static void await(struct scene *s) PARKS
{
    assert_status_ok(op_wait(&s->ended));
    fclose(s->cli.out);
    fclose(s->cli.err);
}

static void run(struct scene *s, const char *line) PARKS
{
    begin(s, line);
    await(s);
}

static void until(const size_t *value, size_t expected) PARKS
{
    for (int i = 0; i < 5000 && *value != expected; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_int_equal(*value, expected);
}

#define assert_out(s, text)  assert_span(span_of((s)->out, (s)->out_len), SPAN(text))
#define assert_err(s, text)  assert_span(span_of((s)->err, (s)->err_len), SPAN(text))
#define assert_says(s, text) assert_non_null(strstr((s)->err, text))

/* Three sections: one thinks in front, one behind it, one fails. */
static void script(struct fake_analyzer *fake)
{
    fake_queued(fake, "", "WORKER", "", 2, 0);
    fake_queued(fake, "s0001", "WORKER", "", 0, 0);
    fake_queued(fake, "s0001", "REQUESTS", "suite", 2, 12400);
    fake_queued(fake, "s0001", "REQUESTS", "suite", 1, 11000);
    fake_admitted(fake, "s0001", 1, "models/sonnet-4.6", NULL);
    fake_admitted(fake, "s0002", 2, "models/haiku-4.5", "models/sonnet-4.6");
    fake_thinking(fake, "s0001", "The section says how reports are handled. It names ");
    fake_thinking(fake, "s0002", "Second thoughts, ");
    fake_thinking(fake, "s0001", "no \033[31mdeadline for fixes.\n\nThat is a ga");
    fake_admitted(fake, "s0003", 1, "models/sonnet-4.6", NULL);
    fake_restarted(fake, "s0003", "models/sonnet-4.6");
    fake_thinking(fake, "s0001", "p.");
    fake_text(fake, "s0001");
    fake_thinking(fake, "s0002", "to the end.");
    fake_section_result(fake, 0);
    fake_section_result(fake, 1);
    fake_section_result(fake, 2);
    fake_document_result(fake);
}

/* --- analyze ---------------------------------------------------------------------------------- */

#define REPORT                                                                                     \
    "\nReport: report.md\n"                                                                        \
    "Overall level: Medium  (2 of 3 sections analysed)\n"                                          \
    "The answers are simulated: prism-simulator wrote them, no model has read the document.\n"     \
    "\n"                                                                                           \
    "#  Section            Risk    Confidence  Findings  Model       Tokens     Cost\n"            \
    "1  Reporting          Medium        82 %         2  sonnet-4.6   2,000  $0.0156\n"            \
    "2  What is protected  Medium        82 %         2  sonnet-4.6   2,000  $0.0156\n"            \
    "3  report.md          failed                        -                0  $0.0000\n"            \
    "  Section 3: all models are throttled\n"                                                      \
    "\n"                                                                                           \
    "Top findings\n"                                                                               \
    "  Medium  No deadline for fixes  (section 1, Reporting)\n"                                    \
    "    “You get an acknowledgement within 14 days” ✓ verified\n"                           \
    "    → Say who answers, and by when.\n"                                                      \
    "\n"                                                                                           \
    "Totals\n"                                                                                     \
    "  Findings     4, of which 3 verified\n"                                                      \
    "  Calls        2 calls, 3 attempts\n"                                                         \
    "  Tokens       4,000: 2,400 input, 1,600 output\n"                                            \
    "  Cost         $0.0312\n"                                                                     \
    "  Against 1.0  $0.1688 less than version 1.0 cost (-84.4 %)\n"                                \
    "               2,500 prompt tokens instead of 2,400 (+4.2 %)\n"                               \
    "  Time         1 m 4 s\n"

task_test_real(text_shows_the_thinking_and_then_the_report)
{
    struct scene s;
    scene_start(&s);
    script(&s.fake);
    run(&s, "analyze -o text DOC");
    assert_out(&s,
               "report.md, 12 bytes: 3 sections to analyse\n"
               "tenants/acme/tasks/t1 (Ctrl-C cancels it)\n"
               "\n"
               "    report.md                     waits: WORKER, place 2\n"
               "1/3 Reporting                     waits: REQUESTS of suite, place 2, about 12.4 s\n"
               "1/3 Reporting                     tier 1: sonnet-4.6 in us-east-2\n"
               "2/3 What is protected             tier 2: haiku-4.5 in us-east-2; passed over "
               "sonnet-4.6 in us-east-2: COOLDOWN\n"
               "1/3 Reporting                     thinking:\n"
               "   │ The section says how reports are handled. It names no\n"
               "   │ <U+001B>[31mdeadline for fixes.\n"
               "2/3 What is protected             thinking\n"
               "   │\n"
               "   │ That is a gap.\n"
               "3/3 report.md                     tier 1: sonnet-4.6 in us-east-2\n"
               "3/3 report.md                     sonnet-4.6 broke off (TIER_STREAM_BROKEN): "
               "attempt 2 begins anew\n"
               "2/3 What is protected             thinking:\n"
               "   │ Second thoughts, to the end.\n"
               "1/3 Reporting                     done: Medium, 2 findings, 2,000 tokens, $0.0156, "
               "4.2 s\n"
               "2/3 What is protected             done: Medium, 2 findings (1 unverified), 2,000 "
               "tokens, $0.0156, 4.2 s\n"
               "3/3 report.md                     failed: all models are throttled\n" REPORT);
    assert_err(&s, "");
    assert_int_equal(s.code, CLI_OK);
    scene_stop(&s);
}

task_test_real(quiet_shows_the_report_alone)
{
    struct scene s;
    scene_start(&s);
    script(&s.fake);
    run(&s, "analyze -o text --quiet DOC");
    assert_out(&s, REPORT);
    assert_err(&s, "");
    assert_true(s.fake.results_only);
    scene_stop(&s);
}

task_test_real(without_thinking_only_that_they_think_is_said)
{
    struct scene s;
    scene_start(&s);
    script(&s.fake);
    run(&s, "analyze --output=text DOC --no-thinking");
    assert_null(strstr(s.out, "handled"));
    assert_non_null(strstr(s.out, "1/3 Reporting                     thinking\n"));
    assert_non_null(strstr(s.out, "done: Medium"));
    scene_stop(&s);
}

task_test_real(what_costs_more_than_before_is_said)
{
    struct scene s;
    scene_start(&s);
    s.fake.task->result->totals->saved_micro_usd = -15600;
    run(&s, "analyze -o text -- DOC");
    assert_non_null(strstr(s.out, "Against 1.0  $0.0156 more than version 1.0 cost (+100.0 %)\n"));
    scene_stop(&s);
}

static size_t lines_of(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++) {
        n += *text == '\n';
    }
    return n;
}

task_test_real(json_is_the_task_in_full)
{
    struct scene s;
    scene_start(&s);
    script(&s.fake);
    run(&s, "analyze DOC");
    CLEANUP(buf_clear) struct buf want;
    buf_init(&want, 1u << 20);
    protojson_add(&want, s.fake.task);
    buf_add_char(&want, '\n');
    assert_span(span_of(s.out, s.out_len), buf_span(&want));
    assert_err(&s, "prismctl: tenants/acme/tasks/t1 is submitted; Ctrl-C cancels it\n");
    assert_true(s.fake.results_only);
    scene_stop(&s);
}

task_test_real(a_task_too_large_for_a_message_comes_section_by_section)
{
    struct scene s;
    scene_start(&s);
    s.fake.too_large = true;
    run(&s, "tasks get " FAKE_TASK " -ojson");
    size_t raw = 0;
    for (const char *at = s.out; (at = strstr(at, "\"rawOutput\":\"cmF3\"")) != NULL; at++) {
        raw++;
    }
    assert_int_equal(raw, 3);
    assert_int_equal(lines_of(s.out), 1);
    scene_stop(&s);
}

task_test_real(jsonl_is_every_event)
{
    struct scene s;
    scene_start(&s);
    script(&s.fake);
    run(&s, "analyze -o jsonl DOC --quiet");
    assert_int_equal(lines_of(s.out), s.fake.n);
    assert_true(span_starts(span_str(s.out), SPAN("{\"sequence\":\"1\",\"queued\":{\"reason\":")));
    assert_false(s.fake.results_only);
    assert_err(&s, "");
    scene_stop(&s);
}

task_test_real(without_following_the_name_is_printed)
{
    struct scene s;
    scene_start(&s);
    run(&s, "analyze --no-follow -o text DOC");
    assert_out(&s, FAKE_TASK "\n");
    run(&s, "analyze --no-follow DOC");
    assert_true(span_starts(span_str(s.out), SPAN("{\"name\":\"" FAKE_TASK "\",\"state\":")));
    assert_int_equal(s.fake.watched, 0);
    scene_stop(&s);
}

task_test_real(the_request_says_what_the_options_say)
{
    struct scene s;
    scene_start(&s);
    run(&s, "analyze DOC --tenant acme --priority urgent --models sonnet-4.6,models/haiku-4.5");
    assert_string_equal(s.fake.tenant, "acme");
    assert_string_equal(s.fake.display_name, "report.md");
    assert_int_equal(s.fake.content_len, 12);
    assert_string_equal(s.fake.models, "models/sonnet-4.6 models/haiku-4.5 ");
    assert_int_equal(s.fake.priority, ROUTER__PRIORITY__PRIORITY_URGENT);
    scene_stop(&s);
}

task_test_real(a_failed_task_is_a_failure)
{
    struct scene s;
    scene_start(&s);
    s.fake.task->state = ANALYZER__TASK__STATE__STATE_FAILED;
    run(&s, "analyze -o text --quiet DOC");
    assert_int_equal(s.code, CLI_FAILED);
    assert_err(&s, "prismctl: tenants/acme/tasks/t1: failed\n");
    scene_stop(&s);
}

/* --- broken streams, patience, Ctrl-C --------------------------------------------------------- */

task_test_real(a_broken_watch_goes_on_where_it_was)
{
    struct scene s;
    scene_start(&s);
    script(&s.fake);
    s.fake.breaks = 3;
    run(&s, "analyze -o jsonl DOC");
    assert_int_equal(s.code, CLI_OK);
    assert_int_equal(s.fake.watched, 4);
    assert_int_equal(s.fake.after, 6);
    assert_int_equal(lines_of(s.out), s.fake.n);
    const char *at = s.out;
    for (size_t i = 1; i <= s.fake.n; i++) {
        const char *want = arena_printf(s.arena, "{\"sequence\":\"%zu\",", i);
        assert_true(span_starts(span_str(at), span_str(want)));
        at = strchr(at, '\n') + 1;
    }
    assert_says(&s, "the service is shutting down (UNAVAILABLE); watching again after event 6\n");
    scene_stop(&s);
}

task_test_real(a_watch_that_is_refused_ends)
{
    struct scene s;
    scene_start(&s);
    s.fake.watch_refusal = status_of(REASON_BAD_REQUEST, "no");
    run(&s, "tasks watch " FAKE_TASK);
    assert_int_equal(s.code, CLI_STATUS + STATUS_INVALID_ARGUMENT);
    assert_err(&s,
               "prismctl: watching ended: no (BAD_REQUEST)\n"
               "prismctl: the task goes on; prismctl tasks watch tenants/acme/tasks/t1 shows it\n");
    scene_stop(&s);
}

task_test_real(patience_ends_and_the_task_goes_on)
{
    struct scene s;
    scene_start(&s);
    s.fake.watch_refusal = status_of(REASON_OVERLOADED, NULL);
    run(&s, "analyze DOC --timeout 400ms");
    assert_int_equal(s.code, CLI_STATUS + STATUS_DEADLINE_EXCEEDED);
    assert_says(&s, "prismctl: watching ended: the deadline passed (DEADLINE_PASSED)\n"
                    "prismctl: the task goes on; ");
    assert_int_equal(s.fake.cancelled, 0);
    scene_stop(&s);
}

task_test_real(an_interruption_cancels_the_task)
{
    struct scene s;
    scene_start(&s);
    s.fake.holds = true;
    begin(&s, "analyze DOC");
    until(&s.fake.holding, 1);
    cli_interrupt(&s.cli);
    await(&s);
    assert_int_equal(s.code, CLI_INTERRUPTED);
    assert_int_equal(s.fake.cancelled, 1);
    assert_out(&s, "");
    assert_says(&s, "prismctl: interrupted: cancelling the task (once more to leave at once)\n"
                    "prismctl: tenants/acme/tasks/t1: cancelled\n");
    scene_stop(&s);
}

task_test_real(a_cancellation_that_fails_is_said)
{
    struct scene s;
    scene_start(&s);
    s.fake.holds = true;
    begin(&s, "analyze DOC --quiet");
    until(&s.fake.holding, 1);
    s.fake.refusal = status_of(REASON_STORE_FULL, NULL);
    cli_interrupt(&s.cli);
    await(&s);
    assert_int_equal(s.code, CLI_INTERRUPTED);
    assert_err(&s,
               "prismctl: tenants/acme/tasks/t1 goes on, it could not be cancelled: the store's "
               "disk is full\n");
    scene_stop(&s);
}

task_test_real(an_interruption_of_a_watch_leaves_the_task_alone)
{
    struct scene s;
    scene_start(&s);
    s.fake.holds = true;
    begin(&s, "tasks watch t1 --tenant acme");
    until(&s.fake.holding, 1);
    cli_interrupt(&s.cli);
    await(&s);
    assert_int_equal(s.code, CLI_INTERRUPTED);
    assert_int_equal(s.fake.cancelled, 0);
    assert_says(&s, "prismctl: watching ended: interrupted\nprismctl: the task goes on; ");
    scene_stop(&s);
}

/* --- section ---------------------------------------------------------------------------------- */

task_test_real(a_section_is_shown_while_it_is_analysed)
{
    struct scene s;
    scene_start(&s);
    fake_admitted(&s.fake, "s0001", 1, "models/sonnet-4.6", NULL);
    fake_thinking(&s.fake, "s0001", "Hm.");
    fake_section_result(&s.fake, 0);
    run(&s, "section -o text DOC");
    assert_true(span_starts(
        span_str(s.out),
        SPAN(
            "report.md                     tier 1: sonnet-4.6 in us-east-2\n"
            "report.md                     thinking:\n"
            "   │ Hm.\n"
            "report.md                     done: Medium, 2 findings, 2,000 tokens, $0.0156, 4.2 s\n"
            "\n"
            "Report: report.md\n"
            "Overall level: Medium  (1 of 1 sections analysed)\n")));
    assert_non_null(strstr(s.out, "  Low  Invented <U+001B>[31mfinding  (section 1, Reporting)\n"));
    assert_int_equal(s.code, CLI_OK);
    run(&s, "section DOC");
    assert_true(span_starts(span_str(s.out), SPAN("{\"sectionId\":\"s0001\",")));
    assert_int_equal(lines_of(s.out), 1);
    scene_stop(&s);
}

task_test_real(a_section_without_an_answer_is_a_failure)
{
    struct scene s;
    scene_start(&s);
    fake_section_result(&s.fake, 2);
    run(&s, "section -o text --quiet DOC");
    assert_int_equal(s.code, CLI_FAILED);
    assert_err(&s, "prismctl: report.md: all models are throttled\n");
    s.fake.n = 0;
    run(&s, "section DOC");
    assert_says(&s, "the analyzer sent no result (PROTOCOL_ERROR)\n");
    s.fake.refusal = status_retry(REASON_TENANT_LIMIT, 12400, NULL);
    run(&s, "section DOC");
    assert_int_equal(s.code, CLI_STATUS + STATUS_RESOURCE_EXHAUSTED);
    assert_says(&s, "the tenant's own limit is used up (TENANT_LIMIT); try again in 12.4 s\n");
    scene_stop(&s);
}

/* --- tasks ------------------------------------------------------------------------------------ */

task_test_real(tasks_are_listed_shown_and_cancelled)
{
    struct scene s;
    scene_start(&s);
    run(&s, "tasks list -o text");
    assert_out(&s, "Task                   State       Done  Document   Created\n"
                   "tenants/acme/tasks/t1  succeeded  100 %  report.md\n");
    run(&s, "tasks list");
    assert_true(span_starts(span_str(s.out), SPAN("{\"tasks\":[{\"name\":\"" FAKE_TASK "\",")));
    run(&s, "tasks list -ojsonl");
    assert_true(span_starts(span_str(s.out), SPAN("{\"name\":\"" FAKE_TASK "\",")));
    run(&s, "tasks get t1 --tenant=acme -o text");
    assert_out(&s, "Task                   State       Done  Document   Created\n"
                   "tenants/acme/tasks/t1  succeeded  100 %  report.md\n" REPORT);
    run(&s, "tasks cancel t1 --tenant=acme -o text");
    assert_out(&s, "Task                   State       Done  Document   Created\n"
                   "tenants/acme/tasks/t1  cancelled  100 %  report.md\n");
    run(&s, "tasks get t2");
    assert_int_equal(s.code, CLI_STATUS + STATUS_NOT_FOUND);
    assert_err(&s, "prismctl: cannot get t2: task tenants/default/tasks/t2: there is no such task "
                   "(TASK_UNKNOWN)\n");
    scene_stop(&s);
}

task_test_real(a_watch_may_begin_in_the_middle)
{
    struct scene s;
    scene_start(&s);
    script(&s.fake);
    run(&s, "tasks watch t1 --tenant acme --after 16 -o jsonl");
    assert_int_equal(lines_of(s.out), s.fake.n - 16);
    assert_int_equal(s.fake.after, 16);
    scene_stop(&s);
}

/* --- what goes wrong before anything is sent -------------------------------------------------- */

task_test_real(documents_that_cannot_be_sent_are_refused)
{
    struct scene s;
    scene_start(&s);
    run(&s, "analyze /nonexistent/report.md");
    assert_err(&s, "prismctl: cannot read /nonexistent/report.md: No such file or directory\n");
    assert_int_equal(s.code, CLI_FAILED);
    assert_null(file_write(s.path, SPAN("")));
    run(&s, "analyze DOC");
    assert_says(&s, "report.md: it is empty\n");
    assert_int_equal(truncate(s.path, 5 << 20), 0);
    run(&s, "analyze DOC");
    assert_says(&s, "report.md: it is larger than 4128768 bytes; put it into S3 and give its "
                    "s3:// address\n");
    assert_int_equal(s.code, CLI_FAILED);
    assert_int_equal(s.fake.submitted, 0);
    scene_stop(&s);
}

task_test_real(a_refusal_is_one_line_with_its_reason)
{
    struct scene s;
    scene_start(&s);
    s.fake.refusal = status_retry(REASON_OVERLOADED, 850, NULL);
    run(&s, "analyze s3://bucket/report.md");
    assert_int_equal(s.code, CLI_STATUS + STATUS_UNAVAILABLE);
    assert_err(&s, "prismctl: cannot submit s3://bucket/report.md: the service is overloaded "
                   "(OVERLOADED); try again in 850 ms\n");
    scene_stop(&s);
}

task_test_real(wrong_usage_is_explained)
{
    static const struct {
        const char *line;
        const char *why;
    } cases[] = {
        {"-o text", "nothing to do: a command is missing"},
        {"anlyze DOC", "anlyze: no such command; did you mean analyze?"},
        {"tasks", "tasks: a verb is missing"},
        {"tasks lits", "lits: no such command; did you mean tasks list?"},
        {"tasks get", "get: NAME is missing"},
        {"analyze DOC second", "second: one argument too many"},
        {"models all", "all: one argument too many"},
    };
    struct scene s;
    scene_start(&s);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run(&s, cases[i].line);
        const char *want =
            arena_printf(s.arena,
                         "prismctl: %s\nprismctl: usage: prismctl [OPTION]... COMMAND; "
                         "prismctl --help tells more\n",
                         cases[i].why);
        assert_span(span_of(s.err, s.err_len), span_str(want));
        assert_int_equal(s.code, CLI_USAGE);
    }
    scene_stop(&s);
}

static void options_may_stand_anywhere(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *want;
    } cases[] = {
        {"p analyze a.md", "p -- analyze a.md "},
        {"p analyze -o text a.md", "p --output text -- analyze a.md "},
        {"p analyze a.md -ojson", "p --output=json -- analyze a.md "},
        {"p --quiet analyze -", "p --quiet -- analyze - "},
        {"p analyze --tenant acme a.md --no-follow",
         "p --tenant acme --no-follow -- analyze a.md "},
        {"p analyze --tenant=acme a.md", "p --tenant=acme -- analyze a.md "},
        {"p analyze -- -o", "p -- analyze -o "},
        {"p analyze a.md -h", "p -h -- analyze a.md "},
        {"p models --timeout", "p --timeout -- models "},
        {"p", "p -- "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
        CLEANUP(buf_clear) struct buf got;
        char *argv[WORDS_MOST];
        int argc = 0;
        buf_init(&got, 4096);
        struct span rest = span_str(cases[i].line), word;
        while (span_cut(&rest, ' ', &word)) {
            argv[argc++] = arena_string(arena, word);
        }
        char **arranged = command_arrange(&argc, argv, arena);
        for (int j = 0; j < argc; j++) {
            buf_addf(&got, "%s ", arranged[j]);
        }
        assert_null(arranged[argc]);
        assert_span(buf_span(&got), span_str(cases[i].want));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(text_shows_the_thinking_and_then_the_report),
    cmocka_unit_test(quiet_shows_the_report_alone),
    cmocka_unit_test(without_thinking_only_that_they_think_is_said),
    cmocka_unit_test(what_costs_more_than_before_is_said),
    cmocka_unit_test(json_is_the_task_in_full),
    cmocka_unit_test(a_task_too_large_for_a_message_comes_section_by_section),
    cmocka_unit_test(jsonl_is_every_event),
    cmocka_unit_test(without_following_the_name_is_printed),
    cmocka_unit_test(the_request_says_what_the_options_say),
    cmocka_unit_test(a_failed_task_is_a_failure),
    cmocka_unit_test(a_broken_watch_goes_on_where_it_was),
    cmocka_unit_test(a_watch_that_is_refused_ends),
    cmocka_unit_test(patience_ends_and_the_task_goes_on),
    cmocka_unit_test(an_interruption_cancels_the_task),
    cmocka_unit_test(a_cancellation_that_fails_is_said),
    cmocka_unit_test(an_interruption_of_a_watch_leaves_the_task_alone),
    cmocka_unit_test(a_section_is_shown_while_it_is_analysed),
    cmocka_unit_test(a_section_without_an_answer_is_a_failure),
    cmocka_unit_test(tasks_are_listed_shown_and_cancelled),
    cmocka_unit_test(a_watch_may_begin_in_the_middle),
    cmocka_unit_test(documents_that_cannot_be_sent_are_refused),
    cmocka_unit_test(a_refusal_is_one_line_with_its_reason),
    cmocka_unit_test(wrong_usage_is_explained),
    cmocka_unit_test(options_may_stand_anywhere),
};

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
