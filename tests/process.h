/*
 * process.h -- programs, run as whole processes by a test.
 *
 * Ours are taken from PRISM_BIN (else out/release/bin), others are named by their absolute path.
 * Their output goes to a log file. They are forked and exec'ed only, so gRPC in the test does not
 * mind, and the kernel kills them when the test dies. Main thread only. Waiting parks when called
 * from a task, else it blocks.
 */
#ifndef PRISM_TESTS_PROCESS_H
#define PRISM_TESTS_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "loop/op.h"

#define PROCESS_SIGNALLED 128 /* added to the number of the signal that ended a program */

struct process {
    pid_t pid; /* 0: not running */
    int code;  /* how it ended: the exit code, or PROCESS_SIGNALLED + signal */
};

/* arguments: argv without the program's name, NULL-terminated; environment: "NAME=value" to add to
 * the test's own, NULL-terminated, or NULL. log is appended to. */
void process_start(struct process *process, const char *program, const char *const *arguments,
                   const char *const *environment, const char *log);

/* Runs a program to its end and returns its code; -1 when it has not ended by then. */
int process_run(const char *program, const char *const *arguments, const char *const *environment,
                const char *log, uint64_t most_ms) PARKS;

/* False once it has ended; code says how. */
bool process_running(struct process *process);

/* False when it has not ended by then. */
bool process_wait(struct process *process, uint64_t most_ms) PARKS;

void process_signal(const struct process *process, int signal);

/* kill -9, and the end of it; harmless when it does not run. */
void process_kill(struct process *process);

#endif
