/*
 * bench.h -- measuring the suite: how many calls of a kind a second, how long each takes, and what
 * it costs whom.
 *
 * Floor 6, loop thread. A command hands its kind of call to bench_run, which makes one alone, then
 * goes on from --callers tasks: one after the other, or begun at --rate whether or not earlier ones
 * have ended. What ends within --duration, after --warmup, is measured. With --rate a call's time
 * counts from the moment it was due, however late it was begun. A call that fails or whose answer
 * is not complete is counted, and fails the command. Among the processes whose cost is shown is the
 * command's own, "generator".
 *
 * The report is one flat object: JSON, or with -o text a line for each member.
 */
#ifndef PRISM_PRISMCTL_BENCH_H
#define PRISM_PRISMCTL_BENCH_H

#include <prism/router/v1/router.pb-c.h>
#include <time.h>

#include "codec/json.h"
#include "prismctl/cli.h"

struct bench_kind {
    const char *name;
    /* One call, from its beginning to its checked end; what it allocates is arena's. *first_us: to
     * be set to clock_mono_us() when the first of the answer is there, where that means anything.
     */
    struct status (*call)(void *arg, struct arena *arena, uint64_t *first_us) PARKS;
    void *arg;
};

/* A call that came to an end, but not to the right one; what is static. */
struct status bench_incomplete(const char *what);

/* Measures and reports. Returns the exit code. */
int bench_run(struct cli *cli, const struct bench_kind *kind) PARKS;

/* --- processes that are watched ------------------------------------------------------------------
 */

#define BENCH_PROCESSES_MOST 8

struct bench_process {
    const char *name;
    uint64_t pid;
    clockid_t clock; /* its CPU time */
    uint64_t marked_ns;
    double cpu_us; /* between mark and take */
    uint64_t rss_kib;
};

struct bench_processes {
    struct bench_process at[BENCH_PROCESSES_MOST + 1];
    size_t n;
};

/* "router=4711,limiter=4712" of --processes. Complains and returns false where it cannot. */
bool bench_processes_init(struct bench_processes *processes, struct cli *cli);
void bench_processes_mark(struct bench_processes *processes);
void bench_processes_take(struct bench_processes *processes); /* fills cpu_us and rss_kib */

/* --- the report ----------------------------------------------------------------------------------
 */

struct bench_report {
    struct cli *cli;
    struct buf text;
    struct json_writer json;
};

void bench_report_begin(struct bench_report *report, struct cli *cli, const char *name);
void bench_report_count(struct bench_report *report, const char *key, uint64_t value);
void bench_report_number(struct bench_report *report, const char *key, double value);
/* The member "key.name". */
void bench_report_of(struct bench_report *report, const char *key, const char *name, double value);
/* The last members: how many failed, and the words of the first. Prints; returns the exit code. */
int bench_report_end(struct bench_report *report, uint64_t errors, struct status first);

/* --- a Generate call ----------------------------------------------------------------------------
 */

/* What is asked of the router, and directly of the model behind it. */
#define BENCH_PROMPT     "The admin port has no authentication. Passwords are kept in plain text."
#define BENCH_MAX_TOKENS 256

struct bench_answer {
    char *model_id;
    char *region;
    uint64_t input_tokens;
    uint64_t output_tokens;
};

/* Opens the stream, reads it to its end and checks that the answer is complete. first: called when
 * the first text of the model's answer is there, may be NULL. */
struct status bench_generate(struct cli *cli, struct arena *arena, void (*first)(void *arg) PARKS,
                             void *arg, struct bench_answer *out) NODISCARD PARKS;

#endif
