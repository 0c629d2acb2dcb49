#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "loop/task.h"

#define TICK_MS        5
#define ARGUMENTS_MOST 64
#define PATH_MOST      4096
#define NOT_STARTED    127

static void become(const char *path, const char *const *arguments, const char *const *environment,
                   const char *log) NORETURN;
static void become(const char *path, const char *const *arguments, const char *const *environment,
                   const char *log)
{
    const char *argv[ARGUMENTS_MOST + 2] = {path};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (null < 0 || out < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        _exit(NOT_STARTED);
    }
    close_range(3, ~0u, 0);
    for (size_t i = 0; environment != NULL && environment[i] != NULL; i++) {
        putenv((char *)environment[i]);
    }
    for (size_t i = 0; arguments[i] != NULL && i < ARGUMENTS_MOST; i++) {
        argv[i + 1] = arguments[i];
    }
    execv(path, (char *const *)argv);
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    _exit(NOT_STARTED);
}

void process_start(struct process *process, const char *program, const char *const *arguments,
                   const char *const *environment, const char *log)
{
    const char *folder = getenv("PRISM_BIN");
    CLEANUP(buf_clear) struct buf path;
    buf_init(&path, PATH_MOST);
    if (program[0] != '/') {
        buf_addf(&path, "%s/", folder != NULL ? folder : "out/release/bin");
    }
    buf_add_str(&path, program);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        become(buf_cstr(&path), arguments, environment, log);
    }
    *process = (struct process){.pid = pid};
}

static bool reap(struct process *process, int flags)
{
    int status;
    pid_t got;
    do {
        got = waitpid(process->pid, &status, flags);
    } while (got < 0 && errno == EINTR);
    if (got != process->pid) {
        return false;
    }
    process->code = WIFEXITED(status) ? WEXITSTATUS(status) : PROCESS_SIGNALLED + WTERMSIG(status);
    process->pid = 0;
    return true;
}

bool process_running(struct process *process)
{
    return process->pid != 0 && !reap(process, WNOHANG);
}

bool process_wait(struct process *process, uint64_t most_ms)
{
    uint64_t until = clock_mono_ms() + most_ms;
    while (process_running(process)) {
        if (clock_mono_ms() >= until) {
            return false;
        }
        if (task_self() == NULL || !status_ok(task_sleep_ms(TICK_MS))) {
            usleep(TICK_MS * 1000);
        }
    }
    return true;
}

void process_signal(const struct process *process, int signal)
{
    if (process->pid != 0) {
        kill(process->pid, signal);
    }
}

void process_kill(struct process *process)
{
    if (process->pid != 0) {
        kill(process->pid, SIGKILL);
        reap(process, 0);
    }
}

int process_run(const char *program, const char *const *arguments, const char *const *environment,
                const char *log, uint64_t most_ms)
{
    struct process process;
    process_start(&process, program, arguments, environment, log);
    bool ended = process_wait(&process, most_ms);
    process_kill(&process);
    return ended ? process.code : -1;
}
