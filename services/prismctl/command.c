#include "prismctl/command.h"

#include "base/nearest.h"

#define USAGE                                                                                      \
    "COMMAND\n"                                                                                    \
    "\n"                                                                                           \
    "Examples:\n"                                                                                  \
    "  prismctl analyze report.md                   watch it think, then read the report\n"        \
    "  prismctl analyze report.docx -o json >r.json\n"                                             \
    "  cat notes.md | prismctl analyze - --priority urgent\n"                                      \
    "  prismctl analyze s3://bucket/report.md --no-follow\n"                                       \
    "  prismctl tasks watch NAME --after 120 -o jsonl\n"                                           \
    "\n"                                                                                           \
    "Commands:\n"                                                                                  \
    "  analyze FILE          submit a document, watch it and print the report; Ctrl-C cancels "    \
    "it\n"                                                                                         \
    "  section FILE          analyse a text as one section, without a task\n"                      \
    "  models                the models: tier, lifecycle, state, price\n"                          \
    "  quota                 limits, and what is left of them\n"                                   \
    "  quota set RESOURCE LIMIT=VALUE...\n"                                                        \
    "                        change limits: requests, window, concurrency, tokens, burst,\n"       \
    "                        interval; what is not named stays, 0 is no limit\n"                   \
    "  quota close RESOURCE  refuse everything there, with a --note for people\n"                  \
    "  quota open RESOURCE   close a model's circuit breaker: calls flow again\n"                  \
    "  quota reopen RESOURCE admit calls to what was closed or is gone\n"                          \
    "  tasks list            the latest tasks\n"                                                   \
    "  tasks get NAME        a task and its results\n"                                             \
    "  tasks watch NAME      its events, resumed where the stream breaks, then the report\n"       \
    "  tasks cancel NAME     end it; results that exist are kept\n"                                \
    "  bench KIND            measure: echo (the smallest call, at the limiter), router "           \
    "(Generate),\n"                                                                                \
    "                        once (GenerateOnce), direct and direct-once (the same without the "   \
    "router),\n"                                                                                   \
    "                        limiter (Acquire and Complete), submit, streams (held open by a\n"    \
    "                        simulator that stalls)\n"                                             \
    "FILE may be - for stdin, NAME the last part of the task's name. Options may stand "           \
    "anywhere.\n"                                                                                  \
    "Colours: NO_COLOR switches them off, CLICOLOR_FORCE on.\n"                                    \
    "\n"                                                                                           \
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 64 + gRPC status code when a service refused,\n" \
    "130 interrupted"

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct cli_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
#include "prismctl/config.def"
};

static const struct config_spec spec = {
    .program = "prismctl",
    .env = "PRISMCTL_",
    .about = "the terminal of AI-Prism: analyse documents, watch them, look into the suite.",
    .usage = USAGE,
    .rows = rows,
    .n_rows = ARRAY_LEN(rows),
};

/* --- the command line ------------------------------------------------------------------------- */

/* "--models" names the row `models`, and wants a value behind it. */
static bool takes_value(const char *option)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].alias == NULL && rows[i].type != CONFIG_TYPE_bool &&
            strcmp(option + 2, rows[i].name) == 0) {
            return true;
        }
    }
    return false;
}

char **command_arrange(int *argc, char **argv, struct arena *arena)
{
    char **options = ARENA_ARRAY(arena, char *, (size_t)*argc + 2);
    char **words = ARENA_ARRAY(arena, char *, (size_t)*argc);
    int n = 0, n_words = 0, i = 0;
    options[n++] = argv[i++];
    for (; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        char *option = argv[i];
        if (option[0] != '-' || option[1] == '\0') {
            words[n_words++] = option;
            continue;
        }
        if (strncmp(option, "-o", 2) == 0) {
            option =
                option[2] == '\0' ? "--output" : arena_printf(arena, "--output=%s", option + 2);
        }
        options[n++] = option;
        if (option[1] == '-' && takes_value(option) && i + 1 < *argc) {
            options[n++] = argv[++i];
        }
    }
    for (i += i < *argc; i < *argc; i++) {
        words[n_words++] = argv[i];
    }
    options[n++] = "--";
    memcpy(options + n, words, sizeof(*words) * (size_t)n_words);
    *argc = n + n_words;
    return options;
}

enum config_outcome command_load(int argc, char **argv, char **envp, struct arena *arena,
                                 struct cli_config *config, char ***rest)
{
    char **arranged = command_arrange(&argc, argv, arena);
    return config_load(&spec, argc, arranged, envp, arena, config, rest);
}

/* --- commands --------------------------------------------------------------------------------- */

struct command {
    const char *noun;
    const char *verb;     /* NULL: none */
    const char *argument; /* NULL: none */
    bool more;            /* takes further ones behind it */
    int (*run)(struct cli *cli, char **args) PARKS;
};

static const struct command commands[] = {
    {"analyze", NULL, "FILE", false, analyze_run},
    {"section", NULL, "FILE", false, section_run},
    {"models", NULL, NULL, false, models_run},
    {"quota", NULL, NULL, false, quota_run},
    {"quota", "set", "RESOURCE", true, quota_set_run},
    {"quota", "close", "RESOURCE", false, quota_close_run},
    {"quota", "open", "RESOURCE", false, quota_open_run},
    {"quota", "reopen", "RESOURCE", false, quota_reopen_run},
    {"tasks", "list", NULL, false, tasks_list_run},
    {"tasks", "get", "NAME", false, tasks_get_run},
    {"tasks", "watch", "NAME", false, tasks_watch_run},
    {"tasks", "cancel", "NAME", false, tasks_cancel_run},
    {"bench", "echo", NULL, false, bench_echo_run},
    {"bench", "router", NULL, false, bench_router_run},
    {"bench", "once", NULL, false, bench_once_run},
    {"bench", "direct", NULL, false, bench_direct_run},
    {"bench", "direct-once", NULL, false, bench_direct_once_run},
    {"bench", "limiter", NULL, false, bench_limiter_run},
    {"bench", "submit", NULL, false, bench_submit_run},
    {"bench", "streams", NULL, false, bench_streams_run},
};

static int misuse(struct cli *cli, const char *what, const char *why)
{
    cli_complain(cli, what, why);
    cli_complain(cli, "usage", "prismctl [OPTION]... COMMAND; prismctl --help tells more");
    return CLI_USAGE;
}

static int unknown(struct cli *cli, const char *word, const char *noun)
{
    struct nearest near = {.slip = span_str(word)};
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (noun == NULL) {
            nearest_offer(&near, commands[i].noun);
        } else if (strcmp(noun, commands[i].noun) == 0 && commands[i].verb != NULL) {
            nearest_offer(&near, commands[i].verb);
        }
    }
    const char *why =
        near.name == NULL
            ? "no such command"
            : arena_printf(cli->arena, "no such command; did you mean %s%s%s?",
                           noun != NULL ? noun : "", noun != NULL ? " " : "", near.name);
    return misuse(cli, word, why);
}

static int run(struct cli *cli, const struct command *command, char **args)
{
    size_t n = 0;
    while (args[n] != NULL) {
        n++;
    }
    const char *name = command->verb != NULL ? command->verb : command->noun;
    if (command->argument != NULL && n == 0) {
        return misuse(cli, name, arena_printf(cli->arena, "%s is missing", command->argument));
    }
    size_t most = command->argument != NULL;
    if (n > most && !command->more) {
        return misuse(cli, args[most], "one argument too many");
    }
    return command->run(cli, args);
}

int command_run(struct cli *cli, char **words)
{
    if (words[0] == NULL) {
        return misuse(cli, "nothing to do", "a command is missing");
    }
    const struct command *plain = NULL; /* the noun alone */
    bool known = false, verbs = false;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *command = &commands[i];
        if (strcmp(words[0], command->noun) != 0) {
            continue;
        }
        known = true;
        if (command->verb == NULL) {
            plain = command;
            continue;
        }
        verbs = true;
        if (words[1] != NULL && strcmp(words[1], command->verb) == 0) {
            return run(cli, command, words + 2);
        }
    }
    if (plain != NULL && (words[1] == NULL || !verbs)) {
        return run(cli, plain, words + 1);
    }
    if (!known) {
        return unknown(cli, words[0], NULL);
    }
    return words[1] != NULL ? unknown(cli, words[1], words[0])
                            : misuse(cli, words[0], "a verb is missing");
}
