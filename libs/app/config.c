/* Options: sources in their order, then each row's text becomes its value. */
#include "app/config.h"

#include <stdio.h>

#include "app/config_rows.h"
#include "app/version.h"
#include "base/file.h"

#define SECRET_MOST    (64u << 10)
#define COMPLAINT_MOST (64u << 10)
#define OUTPUT_MOST    (1u << 20)

static const char *const common_names[] = {
#define CONFIG(type, name, otherwise, bounds, help) #name,
#define CONFIG_ALIAS(name, env)
#include "app/common.def"
#undef CONFIG
#undef CONFIG_ALIAS
};

bool config_is_common(const struct config_row *row)
{
    for (size_t i = 0; i < ARRAY_LEN(common_names); i++) {
        if (strcmp(row->name, common_names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const char *spelled(struct arena *arena, const char *name, bool upper, char separator,
                           const char *suffix)
{
    char *text = arena_printf(arena, "%s%s", name, suffix);
    for (char *c = text; *c != '\0'; c++) {
        if (*c == '_') {
            *c = separator;
        } else if (upper && *c >= 'a' && *c <= 'z') {
            *c = (char)(*c - 'a' + 'A');
        }
    }
    return text;
}

struct config_names config_names_of(const struct config_row *row, struct arena *arena)
{
    bool secret = row->type == CONFIG_TYPE_secret;
    const char *file = secret ? "_file" : "";
    return (struct config_names){
        .flag = spelled(arena, row->name, false, '-', file),
        .env = spelled(arena, row->name, true, '_', ""),
        .env_file = secret ? spelled(arena, row->name, true, '_', file) : NULL,
        .key = spelled(arena, row->name, false, '_', file),
    };
}

void config_complain(struct config_load *load, const char *where, const char *what)
{
    buf_addf(load->complaints, "%s: %.300s: %.500s\n", load->spec->program, where, what);
}

static void read_secret(struct config_load *load, const struct config_setting *setting, void *field)
{
    static const struct config_row secret = {.type = CONFIG_TYPE_secret};
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, SECRET_MOST);
    const char *path = arena_string(load->arena, setting->text);
    const char *why = file_read(path, &text);
    struct span value = buf_span(&text);
    while (span_ends(value, SPAN("\n")) || span_ends(value, SPAN("\r"))) {
        value.len--;
    }
    if (why == NULL && value.len == 0) {
        why = "it is empty";
    }
    if (why != NULL || !config_parse(&secret, value, load->arena, field, &why)) {
        config_complain(load, setting->label, arena_printf(load->arena, "%s: %s", path, why));
    }
    explicit_bzero(text.at, text.len);
}

/* Every default must pass its own bounds, used or not: else the row is wrong. */
static void set_values(struct config_load *load, void *values)
{
    for (size_t i = 0; i < load->spec->n_rows; i++) {
        const struct config_row *row = &load->spec->rows[i];
        const struct config_setting *setting = &load->settings[i];
        const char *why;
        if (row->alias != NULL) {
            continue;
        }
        void *field = (char *)values + row->offset;
        check(config_parse(row, span_str(row->otherwise), load->arena, field, &why));
        if (setting->in_file) {
            read_secret(load, setting, field);
        } else if (setting->origin != NULL &&
                   !config_parse(row, setting->text, load->arena, field, &why)) {
            config_complain(load, setting->label, why);
        }
    }
}

static enum config_outcome print(struct config_load *load, enum config_action action,
                                 const void *values)
{
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, OUTPUT_MOST);
    switch (action) {
    case CONFIG_ACTION_RUN:
        return CONFIG_RUN;
    case CONFIG_ACTION_HELP:
        config_add_help(&out, load->spec, load->arena);
        break;
    case CONFIG_ACTION_VERSION:
        buf_addf(&out, "%s %s\n", load->spec->program, PRISM_VERSION);
        break;
    case CONFIG_ACTION_PRINT_CONFIG:
        config_add_effective(&out, load, values);
        break;
    case CONFIG_ACTION_PRINT_DOCS:
        config_add_docs(&out, load->spec);
        break;
    }
    fputs(buf_cstr(&out), stdout);
    return fflush(stdout) == 0 ? CONFIG_EXIT : CONFIG_ERROR;
}

static void take_configured_file(struct config_load *load)
{
    for (size_t i = 0; i < load->spec->n_rows; i++) {
        const struct config_setting *setting = &load->settings[i];
        if (strcmp(load->spec->rows[i].name, "config") == 0 && setting->text.len > 0) {
            config_take_file(load, arena_string(load->arena, setting->text));
        }
    }
}

enum config_outcome config_load(const struct config_spec *spec, int argc, char **argv, char **envp,
                                struct arena *arena, void *values, char ***rest)
{
    CLEANUP(buf_clear) struct buf complaints;
    buf_init(&complaints, COMPLAINT_MOST);
    struct config_load load = {
        .spec = spec,
        .arena = arena,
        .names = ARENA_ARRAY(arena, struct config_names, spec->n_rows),
        .settings = ARENA_ARRAY(arena, struct config_setting, spec->n_rows),
        .complaints = &complaints,
    };
    for (size_t i = 0; i < spec->n_rows; i++) {
        if (spec->rows[i].alias == NULL) {
            load.names[i] = config_names_of(&spec->rows[i], arena);
        }
    }
    enum config_action action = CONFIG_ACTION_RUN;
    int end = config_take_flags(&load, argc, argv, &action);
    if (action != CONFIG_ACTION_RUN && action != CONFIG_ACTION_PRINT_CONFIG) {
        return print(&load, action, NULL);
    }
    if (rest == NULL && end < argc) {
        config_complain(&load, argv[end], "no arguments are taken");
    }
    config_take_environment(&load, envp);
    take_configured_file(&load);
    set_values(&load, values);
    if (complaints.len > 0 || !buf_ok(&complaints)) {
        fprintf(stderr, "%sTry '%s --help'.\n", buf_cstr(&complaints), spec->program);
        return CONFIG_ERROR;
    }
    if (rest != NULL) {
        *rest = argv + end;
    }
    return print(&load, action, values);
}

const void *config_field(const struct config_spec *spec, const void *values, const char *name)
{
    for (size_t i = 0; i < spec->n_rows; i++) {
        if (spec->rows[i].alias == NULL && strcmp(spec->rows[i].name, name) == 0) {
            return (const char *)values + spec->rows[i].offset;
        }
    }
    check_failed(__FILE__, __LINE__, name);
}
