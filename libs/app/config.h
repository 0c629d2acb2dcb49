/*
 * config.h -- options: one row each, from which flags, environment, YAML, help and docs come.
 *
 * Floor 5, at start only. A program's rows stand in its config.def:
 *
 *     CONFIG(duration, first_byte_wait, "60s", "1s..3600s", "longest silence before a tier is given
 * up") CONFIG_ALIAS(bedrock_region, "BEDROCK_REGION")
 *
 * and become a struct by CONFIG_FIELD, a table by CONFIG_ROW. Order: flag (--first-byte-wait) >
 * environment (PRISM_ROUTER_FIRST_BYTE_WAIT, then aliases) > YAML file (first_byte_wait) > default.
 * Unknown keys and values out of bounds are errors that name their source ("router.yaml:12").
 */
#ifndef PRISM_APP_CONFIG_H
#define PRISM_APP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/status.h"

enum config_type {
    CONFIG_TYPE_address,  /* const char *: "127.0.0.1:7401", "[::]:0"; lists: "a:1,b:2" */
    CONFIG_TYPE_duration, /* uint64_t ms: "500ms", "5s", "2m", "1h" */
    CONFIG_TYPE_size,     /* uint64_t bytes: "4096", "64KiB", "25MB" */
    CONFIG_TYPE_count,    /* uint64_t */
    CONFIG_TYPE_ratio,    /* double: "0.5", "50%" */
    CONFIG_TYPE_bool,     /* bool */
    CONFIG_TYPE_text,     /* const char *, "" when unset */
    CONFIG_TYPE_choice,   /* const char *, one of the bounds: "closed|open" */
    CONFIG_TYPE_secret,   /* struct secret; prints *** */
};

/* stdbool.h's bool is a macro, which a row's type may pass through on its way. */
#define CONFIG_TYPE__Bool CONFIG_TYPE_bool

/* The C type of a field. */
#define CONFIG_C_address  const char *
#define CONFIG_C_duration uint64_t
#define CONFIG_C_size     uint64_t
#define CONFIG_C_count    uint64_t
#define CONFIG_C_ratio    double
#define CONFIG_C_bool     bool
#define CONFIG_C_text     const char *
#define CONFIG_C_choice   const char *
#define CONFIG_C_secret   struct secret

/* A row is a field, or (alias != NULL) another environment name of the field before it in `name`.
 */
struct config_row {
    const char *name;
    enum config_type type;
    size_t offset;
    const char *otherwise; /* the default, as it would be written */
    const char *bounds;    /* "1s..3600s", "a|b", "" */
    const char *help;
    const char *alias;
};

/*
 * struct router_config {
 * #define CONFIG CONFIG_FIELD
 * #define CONFIG_ALIAS(name, env)
 * #include "app/common.def"
 * #include "router/config.def"
 * };
 * static const struct config_row rows[] = {
 * #define CONFIG(...) CONFIG_ROW(struct router_config, __VA_ARGS__)
 * #define CONFIG_ALIAS CONFIG_ROW_ALIAS
 * #include "app/common.def"
 * #include "router/config.def"
 * };
 *
 * app/common.def leaves the macros defined, the program's own .def undefines both at its end.
 */
#define CONFIG_FIELD(type, name, otherwise, bounds, help) CONFIG_C_##type name;
#define CONFIG_ROW(structure, type, name, otherwise, bounds, help)                                 \
    {#name, CONFIG_TYPE_##type, offsetof(structure, name), otherwise, bounds, help, NULL},
#define CONFIG_ROW_ALIAS(name, env) {#name, CONFIG_TYPE_text, 0, NULL, NULL, NULL, env},

struct config_spec {
    const char *program; /* "prism-router" */
    const char *env;     /* "PRISM_ROUTER_"; common rows also read "PRISM_" + NAME */
    const char *about;   /* one sentence for --help */
    const char *usage;   /* what stands behind the options, "" for services */
    const struct config_row *rows;
    size_t n_rows;
};

enum config_outcome {
    CONFIG_RUN,   /* *values is filled */
    CONFIG_EXIT,  /* --help, --version, --print-config, --print-docs: printed to stdout */
    CONFIG_ERROR, /* said on stderr, exit code 2 */
};

/* Fills values (of the program's struct) in arena. rest: arguments behind the options (argv from
 * the first that is not one), NULL where the program takes none. */
enum config_outcome config_load(const struct config_spec *spec, int argc, char **argv, char **envp,
                                struct arena *arena, void *values, char ***rest);

/* One value; pure, for tests and other tables. False: *error says why (static or in arena). */
bool config_parse(const struct config_row *row, struct span text, struct arena *arena, void *field,
                  const char **error);

/* The field of a row in the program's struct; check()s that there is one of this name. */
const void *config_field(const struct config_spec *spec, const void *values, const char *name);

/* The table as Markdown. */
void config_add_docs(struct buf *out, const struct config_spec *spec);

#endif
