/* prismctl: the process. SIGPIPE keeps its default: a filter dies with who reads it. */
#include <locale.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "loop/loop.h"
#include "prismctl/command.h"

#define ARENA_MOST (16u << 20) /* of the options */

struct process {
    struct cli cli;
    struct loop *loop;
    char **words;
    int code;
};

static void command_main(void *arg) PARKS
{
    struct process *process = arg;
    struct cli *cli = &process->cli;
    cli->wire = wire_start(process->loop);
    cli_begin(cli);
    process->code = command_run(cli, process->words);
    cli_end(cli);
    wire_stop(cli->wire);
    loop_stop(process->loop);
}

static void on_signal(void *arg, int signal)
{
    struct process *process = arg;
    (void)signal;
    if (process->cli.interrupted) {
        _exit(CLI_INTERRUPTED);
    }
    cli_interrupt(&process->cli);
}

static int run(struct process *process)
{
    process->loop = loop_new();
    loop_on_signal(process->loop, SIGINT, on_signal, process);
    loop_on_signal(process->loop, SIGTERM, on_signal, process);
    task_spawn(process->loop,
               &(struct task_options){.name = "command", .deadline_ms = TASK_DEADLINE_NONE},
               command_main, process);
    loop_run(process->loop);
    loop_free(process->loop);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return cli_complain(&process->cli, "cannot write to stdout", "something is missing in it");
    }
    return process->code;
}

int main(int argc, char **argv, char **envp)
{
    struct cli_config config;
    struct process process = {.cli = {.config = &config, .out = stdout, .err = stderr}};
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    log_init("prismctl", LOG_ERROR);
    setlocale(LC_CTYPE, "C.UTF-8");
    switch (command_load(argc, argv, envp, arena, &config, &process.words)) {
    case CONFIG_EXIT:
        return CLI_OK;
    case CONFIG_ERROR:
        return CLI_USAGE;
    case CONFIG_RUN:
        break;
    }
    process.cli.form = cli_form_of(config.output, isatty(STDOUT_FILENO) == 1);
    process.cli.render = cli_render_of(stdout);
    return run(&process);
}
