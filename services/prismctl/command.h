/*
 * command.h -- what can be asked of prismctl: one row a command.
 *
 * Floor 6.
 */
#ifndef PRISM_PRISMCTL_COMMAND_H
#define PRISM_PRISMCTL_COMMAND_H

#include "prismctl/cli.h"

/* Options anywhere, -o for --output, and the command in between: becomes what config_load reads,
 * the options first. A fresh argv in arena, *argc is its length. */
char **command_arrange(int *argc, char **argv, struct arena *arena);

/* Options of a command line; outcome CONFIG_RUN: *rest is the command and its arguments. */
enum config_outcome command_load(int argc, char **argv, char **envp, struct arena *arena,
                                 struct cli_config *config, char ***rest);

/* In a task, between cli_begin and cli_end. Returns the exit code. */
int command_run(struct cli *cli, char **words) PARKS;

/* --- the commands: args has as many as the table says, and ends with NULL
 * ------------------------------------------
 */

int analyze_run(struct cli *cli, char **args) PARKS;
int section_run(struct cli *cli, char **args) PARKS;
int models_run(struct cli *cli, char **args) PARKS;
int quota_run(struct cli *cli, char **args) PARKS;
int quota_set_run(struct cli *cli, char **args) PARKS;
int quota_close_run(struct cli *cli, char **args) PARKS;
int quota_open_run(struct cli *cli, char **args) PARKS;
int quota_reopen_run(struct cli *cli, char **args) PARKS;
int tasks_list_run(struct cli *cli, char **args) PARKS;
int tasks_get_run(struct cli *cli, char **args) PARKS;
int tasks_watch_run(struct cli *cli, char **args) PARKS;
int tasks_cancel_run(struct cli *cli, char **args) PARKS;
int bench_echo_run(struct cli *cli, char **args) PARKS;
int bench_router_run(struct cli *cli, char **args) PARKS;
int bench_once_run(struct cli *cli, char **args) PARKS;
int bench_direct_once_run(struct cli *cli, char **args) PARKS;
int bench_direct_run(struct cli *cli, char **args) PARKS;
int bench_limiter_run(struct cli *cli, char **args) PARKS;
int bench_submit_run(struct cli *cli, char **args) PARKS;
int bench_streams_run(struct cli *cli, char **args) PARKS;

#endif
