/* Where values are named: flags, environment, file. */
#include "app/config_rows.h"
#include "base/file.h"
#include "base/nearest.h"
#include "codec/yaml.h"

#define FILE_MOST (64u << 10)
#define TREE_MOST (32u << 20) /* what a file of that size may unfold to */

static const char *const action_names[] = {
    [CONFIG_ACTION_HELP] = "help",
    [CONFIG_ACTION_VERSION] = "version",
    [CONFIG_ACTION_PRINT_CONFIG] = "print-config",
    [CONFIG_ACTION_PRINT_DOCS] = "print-docs",
};

/* What somebody wrote, short enough for a complaint. */
static const char *quoted(struct config_load *load, struct span text)
{
    return arena_string(load->arena, span_first(text, 128));
}

static void complain_unknown(struct config_load *load, const char *where,
                             const struct nearest *near, const char *prefix)
{
    config_complain(
        load, where,
        near->name == NULL
            ? "no such option"
            : arena_printf(load->arena, "no such option; did you mean %s%s?", prefix, near->name));
}

static void complain_clear(struct config_load *load, const char *where, const char *prefix,
                           const char *name)
{
    config_complain(
        load, where,
        arena_printf(load->arena, "secrets are not given in clear; use %s%s", prefix, name));
}

static bool is_without_file(struct span name, const char *full)
{
    return span_eq(name, span_first(span_str(full), strlen(full) - strlen("-file")));
}

static void settle(struct config_load *load, size_t row, struct config_setting setting)
{
    if (load->settings[row].origin == NULL) {
        load->settings[row] = setting;
    }
}

/* --- flags --------------------------------------------------------------------------------------
 */

struct flag {
    struct span name;  /* without the dashes */
    struct span value; /* behind '=', at is NULL without one */
    const char *label; /* with the dashes */
};

static struct flag flag_of(struct config_load *load, const char *argument)
{
    struct span rest = span_str(argument + 2);
    struct flag flag = {0};
    span_cut(&rest, '=', &flag.name);
    flag.value = rest;
    flag.label = quoted(load, span_of(argument, flag.name.len + 2));
    return flag;
}

/* The last flag for a row counts, unlike among sources. */
static void set_by_flag(struct config_load *load, size_t row, const struct flag *flag,
                        struct span value)
{
    load->settings[row] = (struct config_setting){
        .origin = flag->label,
        .label = flag->label,
        .text = value,
        .in_file = load->spec->rows[row].type == CONFIG_TYPE_secret,
    };
}

/* next: the argument behind the flag, NULL when there is none. Returns whether it was used. */
static bool take_named(struct config_load *load, size_t row, const struct flag *flag,
                       const char *next)
{
    if (flag->value.at != NULL || load->spec->rows[row].type == CONFIG_TYPE_bool) {
        set_by_flag(load, row, flag, flag->value.at != NULL ? flag->value : SPAN("true"));
        return false;
    }
    if (next == NULL) {
        config_complain(load, flag->label, "wants a value");
        return false;
    }
    set_by_flag(load, row, flag, span_str(next));
    return true;
}

/* Of a flag that is refused, so that its value is not complained about as well. */
static bool would_use(const struct flag *flag, const char *next)
{
    return flag->value.at == NULL && next != NULL && next[0] != '-';
}

static bool take_flag(struct config_load *load, const struct flag *flag, const char *next)
{
    struct nearest near = {.slip = flag->name};
    for (size_t i = 0; i < load->spec->n_rows; i++) {
        const struct config_row *row = &load->spec->rows[i];
        const char *name = load->names[i].flag;
        if (row->alias != NULL) {
            continue;
        }
        if (span_eq(flag->name, span_str(name))) {
            return take_named(load, i, flag, next);
        }
        if (row->type == CONFIG_TYPE_bool && span_starts(flag->name, SPAN("no-")) &&
            span_eq(span_from(flag->name, 3), span_str(name))) {
            if (flag->value.at != NULL) {
                config_complain(load, flag->label, "takes no value");
            }
            set_by_flag(load, i, flag, SPAN("false"));
            return false;
        }
        if (row->type == CONFIG_TYPE_secret && is_without_file(flag->name, name)) {
            complain_clear(load, flag->label, "--", name);
            return would_use(flag, next);
        }
        nearest_offer(&near, name);
    }
    for (size_t i = CONFIG_ACTION_HELP; i < ARRAY_LEN(action_names); i++) {
        nearest_offer(&near, action_names[i]);
    }
    complain_unknown(load, flag->label, &near, "--");
    return would_use(flag, next);
}

static enum config_action action_of(const char *argument)
{
    if (strcmp(argument, "-h") == 0) {
        return CONFIG_ACTION_HELP;
    }
    for (size_t i = CONFIG_ACTION_HELP; i < ARRAY_LEN(action_names); i++) {
        if (strncmp(argument, "--", 2) == 0 && strcmp(argument + 2, action_names[i]) == 0) {
            return (enum config_action)i;
        }
    }
    return CONFIG_ACTION_RUN;
}

int config_take_flags(struct config_load *load, int argc, char **argv, enum config_action *action)
{
    int i = 1;
    for (; i < argc && buf_ok(load->complaints); i++) {
        const char *argument = argv[i];
        enum config_action asked = action_of(argument);
        if (asked != CONFIG_ACTION_RUN) {
            *action = *action == CONFIG_ACTION_RUN ? asked : *action;
        } else if (strcmp(argument, "--") == 0) {
            return i + 1;
        } else if (argument[0] != '-' || argument[1] == '\0') {
            return i;
        } else if (argument[1] != '-') {
            config_complain(load, quoted(load, span_str(argument)), "no such option");
        } else {
            struct flag flag = flag_of(load, argument);
            i += take_flag(load, &flag, i + 1 < argc ? argv[i + 1] : NULL);
        }
    }
    return i;
}

/* --- environment --------------------------------------------------------------------------------
 */

/* An empty variable counts as absent: that is what `X=${Y:-}` in a manifest means. */
static void take_variable(struct config_load *load, char **envp, size_t row, const char *name,
                          bool in_file)
{
    size_t len = strlen(name);
    for (char **e = envp; *e != NULL; e++) {
        if (strncmp(*e, name, len) == 0 && (*e)[len] == '=' && (*e)[len + 1] != '\0') {
            settle(load, row, (struct config_setting){name, name, span_str(*e + len + 1), in_file});
            return;
        }
    }
}

static void take_variables(struct config_load *load, char **envp, size_t i)
{
    const struct config_spec *spec = load->spec;
    const struct config_row *row = &spec->rows[i];
    const struct config_names *names = &load->names[i];
    take_variable(load, envp, i, arena_printf(load->arena, "%s%s", spec->env, names->env), false);
    if (names->env_file != NULL) {
        take_variable(load, envp, i, arena_printf(load->arena, "%s%s", spec->env, names->env_file),
                      true);
    }
    if (config_is_common(row)) {
        take_variable(load, envp, i, arena_printf(load->arena, "PRISM_%s", names->env), false);
    }
    for (size_t j = 0; j < spec->n_rows; j++) {
        if (spec->rows[j].alias != NULL && strcmp(spec->rows[j].name, row->name) == 0) {
            take_variable(load, envp, i, spec->rows[j].alias, false);
        }
    }
}

/* Strangers with our prefix are nobody's fault (Kubernetes sets PRISM_ROUTER_PORT for a Service of
 * that name), but what is a slip away from one of our names is a slip. */
static void find_slip(struct config_load *load, struct span name, struct span prefix)
{
    struct nearest near = {.slip = span_from(name, prefix.len)};
    for (size_t i = 0; i < load->spec->n_rows; i++) {
        if (load->spec->rows[i].alias == NULL) {
            nearest_offer(&near, load->names[i].env);
        }
        if (load->names[i].env_file != NULL) {
            nearest_offer(&near, load->names[i].env_file);
        }
    }
    if (near.name != NULL && near.slips > 0) {
        complain_unknown(load, quoted(load, name), &near, load->spec->env);
    }
}

void config_take_environment(struct config_load *load, char **envp)
{
    for (size_t i = 0; i < load->spec->n_rows; i++) {
        if (load->spec->rows[i].alias == NULL) {
            take_variables(load, envp, i);
        }
    }
    struct span prefix = span_str(load->spec->env);
    for (char **e = envp; *e != NULL && buf_ok(load->complaints); e++) {
        struct span rest = span_str(*e), name;
        if (span_starts(rest, prefix) && span_cut(&rest, '=', &name)) {
            find_slip(load, name, prefix);
        }
    }
}

/* --- file ---------------------------------------------------------------------------------------
 */

static void take_member(struct config_load *load, const char *path, const struct yaml *member)
{
    const char *origin = arena_printf(load->arena, "%s:%zu", path, member->key_line);
    const char *label = arena_printf(load->arena, "%s: %s", origin, quoted(load, member->key));
    struct nearest near = {.slip = member->key};
    for (size_t i = 0; i < load->spec->n_rows; i++) {
        const struct config_row *row = &load->spec->rows[i];
        const char *name = load->names[i].key;
        bool secret = row->type == CONFIG_TYPE_secret;
        if (row->alias != NULL || strcmp(row->name, "config") == 0) {
            continue;
        }
        if (span_eq(member->key, span_str(name)) && member->kind != YAML_SCALAR) {
            config_complain(load, label, "wants one value, not a list or a mapping");
            return;
        }
        if (span_eq(member->key, span_str(name))) {
            struct span text = arena_copy(load->arena, member->text);
            settle(load, i, (struct config_setting){origin, label, text, secret});
            return;
        }
        if (secret && is_without_file(member->key, name)) {
            complain_clear(load, label, "", name);
            return;
        }
        nearest_offer(&near, name);
    }
    complain_unknown(load, label, &near, "");
}

void config_take_file(struct config_load *load, const char *path)
{
    CLEANUP(buf_clear) struct buf text;
    CLEANUP(arena_drop) struct arena *tree = arena_new(TREE_MOST);
    const struct yaml *root;
    struct yaml_error error;
    buf_init(&text, FILE_MOST);
    const char *why = file_read(path, &text);
    if (why != NULL) {
        config_complain(load, path, why);
        return;
    }
    if (!yaml_parse(buf_span(&text), tree, &root, &error)) {
        const char *where =
            error.line > 0 ? arena_printf(load->arena, "%s:%zu", path, error.line) : path;
        config_complain(load, where, error.text);
        return;
    }
    if (root->kind != YAML_MAPPING) {
        config_complain(load, path, "wants a mapping of options");
        return;
    }
    const struct yaml *member = root->children;
    for (; member != NULL && buf_ok(load->complaints); member = member->next) {
        take_member(load, path, member);
    }
}
