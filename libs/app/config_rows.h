/*
 * config_rows.h -- what the parts of config share: the spellings of a row, where its value came
 * from, and what there is to complain about.
 *
 * Floor 5, private to config*.c. Everything lives in the arena of config_load.
 */
#ifndef PRISM_APP_CONFIG_ROWS_H
#define PRISM_APP_CONFIG_ROWS_H

#include "app/config.h"

/* Secrets stand for the file that holds them, except in the environment. */
struct config_names {
    const char *flag;     /* "first-byte-wait", "api-key-file" */
    const char *env;      /* "FIRST_BYTE_WAIT", behind the prefix */
    const char *env_file; /* "API_KEY_FILE"; NULL unless secret */
    const char *key;      /* "first_byte_wait", "api_key_file" */
};

struct config_names config_names_of(const struct config_row *row, struct arena *arena);

/* A row of common.def: every program has it, and PRISM_ + NAME sets it for all of them. */
bool config_is_common(const struct config_row *row);

/* One row's value before it is parsed. */
struct config_setting {
    const char *origin; /* "--drain", "PRISM_DRAIN", "router.yaml:12"; NULL: the default */
    const char *label;  /* what complaints begin with: the origin, for YAML also the key */
    struct span text;
    bool in_file; /* text is the path of the file that holds the secret */
};

struct config_load {
    const struct config_spec *spec;
    struct arena *arena;
    struct config_names *names;      /* one a row; of aliases not filled */
    struct config_setting *settings; /* one a row */
    struct buf *complaints;
};

void config_complain(struct config_load *load, const char *where, const char *what);

/* --- sources: each leaves alone what an earlier one has set -------------------------------------
 */

enum config_action {
    CONFIG_ACTION_RUN,
    CONFIG_ACTION_HELP,
    CONFIG_ACTION_VERSION,
    CONFIG_ACTION_PRINT_CONFIG,
    CONFIG_ACTION_PRINT_DOCS,
};

/* Returns where in argv the options end. */
int config_take_flags(struct config_load *load, int argc, char **argv, enum config_action *action);
void config_take_environment(struct config_load *load, char **envp);
void config_take_file(struct config_load *load, const char *path);

/* --- texts --------------------------------------------------------------------------------------
 */

void config_add_help(struct buf *out, const struct config_spec *spec, struct arena *arena);

/* The effective options as a YAML file that loads again, each with its origin. */
void config_add_effective(struct buf *out, const struct config_load *load, const void *values);

#endif
