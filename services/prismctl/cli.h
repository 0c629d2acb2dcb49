/*
 * cli.h -- what the commands share: options, outputs, connections, and how things are said.
 *
 * Floor 6. One struct cli a run, owned by main (or a test); commands run in a task on the loop.
 * stdout has the data, stderr the remarks. Exit codes: enum cli_exit, and 64 + its code for a
 * status that a service gave.
 */
#ifndef PRISM_PRISMCTL_CLI_H
#define PRISM_PRISMCTL_CLI_H

#include <stdio.h>

#include "app/config.h"
#include "loop/task.h"
#include "net/rpc_client.h"
#include "prismctl/render.h"

struct cli_config {
#define CONFIG CONFIG_FIELD
#define CONFIG_ALIAS(name, env)
#include "prismctl/config.def"
};

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_STATUS = 64, /* + the status code */
    CLI_INTERRUPTED = 130,
};

enum cli_form {
    CLI_TEXT,
    CLI_JSON,
    CLI_JSONL,
};

enum cli_service {
    CLI_ANALYZER,
    CLI_ROUTER,
    CLI_LIMITER,
    CLI_SERVICES,
};

struct cli {
    const struct cli_config *config;
    enum cli_form form;
    struct render render; /* of out */
    FILE *out;
    FILE *err;
    struct wire *wire;

    /* Filled in by cli_begin. */
    struct arena *arena; /* lives as long as the command */
    struct arena *reply; /* of the message received last */
    struct rpc_channel *channels[CLI_SERVICES];
    struct task *task;
    bool interrupted;
};

/* The form that auto means for an output, and whether to colour it, how wide it is. */
enum cli_form cli_form_of(const char *output, bool terminal);
struct render cli_render_of(FILE *out);

/* Around a command, in its task. */
void cli_begin(struct cli *cli);
void cli_end(struct cli *cli);

/* Loop thread: ends the command's waits, as Ctrl-C wants. */
void cli_interrupt(struct cli *cli);

/* --- talking to services ------------------------------------------------------------------------
 */

/* A fresh arena for a message; what the one before it held is gone, unless it was kept. */
struct arena *cli_fresh(struct cli *cli);
struct arena *cli_keep(struct cli *cli); /* the caller's from now on */

/* The reply lives as long as the command. */
struct status cli_call(struct cli *cli, enum cli_service service, const char *method,
                       const void *request, void **reply) NODISCARD PARKS;
struct status cli_open(struct cli *cli, enum cli_service service, const char *method,
                       const void *request, struct rpc_stream **stream) NODISCARD PARKS;

/* The resource name, where a bare id may be given: "sonnet-4.6", "0197...". */
char *cli_model_name(struct cli *cli, struct span name);
char *cli_task_name(struct cli *cli, const char *name);

/* --- saying things ------------------------------------------------------------------------------
 */

/* Text to stdout, at once. */
void cli_print(struct cli *cli, struct span text);

/* A message as one line of JSON to stdout. Returns the exit code. */
int cli_print_json(struct cli *cli, const void *message);

/* A remark on stderr, unless --quiet; printable text. */
void cli_note(struct cli *cli, const char *format, ...) FORMAT(2, 3);

/* Says on one line of stderr why something failed, in the words of the status, with its reason and
 * when to try again. Returns the exit code. */
int cli_fail(struct cli *cli, const char *what, struct status why);

/* The same for failures of our own: CLI_FAILED. */
int cli_complain(struct cli *cli, const char *what, const char *why);

#endif
