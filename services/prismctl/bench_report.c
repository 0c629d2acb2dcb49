/* What a measurement says, and what it says of other processes. */
#include <unistd.h>

#include "base/file.h"
#include "prismctl/bench.h"

#define REPORT_MOST (64u << 10)
#define STATM_MOST  256

/* --- processes ----------------------------------------------------------------------------------
 */

static bool process_init(struct bench_process *process, struct span text, struct arena *arena)
{
    struct span name;
    if (!span_cut(&text, '=', &name) || name.len == 0 || !span_parse_u64(text, &process->pid) ||
        process->pid > INT32_MAX) {
        return false;
    }
    process->name = arena_string(arena, name);
    return clock_getcpuclockid((pid_t)process->pid, &process->clock) == 0;
}

bool bench_processes_init(struct bench_processes *processes, struct cli *cli)
{
    struct span rest = span_str(cli->config->processes), item;
    processes->n = 0;
    while (rest.len > 0 && span_cut(&rest, ',', &item)) {
        if (processes->n == BENCH_PROCESSES_MOST ||
            !process_init(&processes->at[processes->n], item, cli->arena)) {
            cli_complain(cli, arena_string(cli->arena, item),
                         "not one of at most 8 NAME=PID of processes that run");
            return false;
        }
        processes->n++;
    }
    processes->at[processes->n++] = (struct bench_process){
        .name = "generator", .pid = (uint64_t)getpid(), .clock = CLOCK_PROCESS_CPUTIME_ID};
    return true;
}

/* 0 when it has ended. */
static uint64_t cpu_ns(const struct bench_process *process)
{
    struct timespec used;
    return clock_gettime(process->clock, &used) == 0
               ? (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec
               : 0;
}

static uint64_t rss_kib(const struct bench_process *process)
{
    char path[64];
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, STATM_MOST);
    snprintf(path, sizeof(path), "/proc/%llu/statm", (unsigned long long)process->pid);
    struct span rest, size, resident;
    uint64_t pages = 0;
    if (file_read(path, &text) == NULL) {
        rest = buf_span(&text);
        (void)(span_cut(&rest, ' ', &size) && span_cut(&rest, ' ', &resident) &&
               span_parse_u64(resident, &pages));
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

void bench_processes_mark(struct bench_processes *processes)
{
    for (size_t i = 0; i < processes->n; i++) {
        processes->at[i].marked_ns = cpu_ns(&processes->at[i]);
    }
}

void bench_processes_take(struct bench_processes *processes)
{
    for (size_t i = 0; i < processes->n; i++) {
        struct bench_process *process = &processes->at[i];
        process->cpu_us = ((double)cpu_ns(process) - (double)process->marked_ns) / 1000;
        process->rss_kib = rss_kib(process);
    }
}

/* --- the report ---------------------------------------------------------------------------------
 */

static bool as_text(const struct bench_report *report)
{
    return report->cli->form == CLI_TEXT;
}

void bench_report_begin(struct bench_report *report, struct cli *cli, const char *name)
{
    report->cli = cli;
    buf_init(&report->text, REPORT_MOST);
    json_writer_init(&report->json, &report->text);
    if (as_text(report)) {
        buf_addf(&report->text, "bench %s\n", name);
        return;
    }
    json_begin_object(&report->json);
    json_key(&report->json, "bench");
    json_put_string(&report->json, span_str(name));
}

void bench_report_count(struct bench_report *report, const char *key, uint64_t value)
{
    if (as_text(report)) {
        buf_addf(&report->text, "%s %llu\n", key, (unsigned long long)value);
        return;
    }
    json_key(&report->json, key);
    json_put_integer(&report->json, (int64_t)value);
}

void bench_report_number(struct bench_report *report, const char *key, double value)
{
    if (as_text(report)) {
        buf_addf(&report->text, "%s %.3f\n", key, value);
        return;
    }
    json_key(&report->json, key);
    json_put_number(&report->json, value);
}

void bench_report_of(struct bench_report *report, const char *key, const char *name, double value)
{
    bench_report_number(report, arena_printf(report->cli->arena, "%s.%s", key, name), value);
}

int bench_report_end(struct bench_report *report, uint64_t errors, struct status first)
{
    bench_report_count(report, "errors", errors);
    if (!as_text(report)) {
        json_end_object(&report->json);
        buf_add_char(&report->text, '\n');
    }
    cli_print(report->cli, buf_span(&report->text));
    buf_clear(&report->text);
    return errors == 0 ? CLI_OK : cli_fail(report->cli, "the first call that failed", first);
}
