/* What the table says about itself: --help, --print-config, --print-docs. */
#include "app/config_rows.h"
#include "app/version.h"
#include "base/utf8.h"

#define WIDTH     100
#define TEXT_AT   34
#define DOCS_MOST (1u << 20)

static const struct {
    const char *name;
    const char *placeholder;
} types[] = {
    [CONFIG_TYPE_address] = {"address", " HOST:PORT"},
    [CONFIG_TYPE_duration] = {"duration", " TIME"},
    [CONFIG_TYPE_size] = {"size", " SIZE"},
    [CONFIG_TYPE_count] = {"count", " N"},
    [CONFIG_TYPE_ratio] = {"ratio", " RATIO"},
    [CONFIG_TYPE_bool] = {"bool", ""},
    [CONFIG_TYPE_text] = {"text", " TEXT"},
    [CONFIG_TYPE_choice] = {"choice", " CHOICE"},
    [CONFIG_TYPE_secret] = {"secret", " FILE"},
};

/* Every variable that sets the row, best first. */
static void add_env_names(struct buf *out, const struct config_spec *spec,
                          const struct config_row *row, const struct config_names *names,
                          const char *quote)
{
    buf_addf(out, "%s%s%s%s", quote, spec->env, names->env, quote);
    if (names->env_file != NULL) {
        buf_addf(out, ", %s%s%s%s", quote, spec->env, names->env_file, quote);
    }
    if (config_is_common(row)) {
        buf_addf(out, ", %sPRISM_%s%s", quote, names->env, quote);
    }
    for (size_t i = 0; i < spec->n_rows; i++) {
        if (spec->rows[i].alias != NULL && strcmp(spec->rows[i].name, row->name) == 0) {
            buf_addf(out, ", %s%s%s", quote, spec->rows[i].alias, quote);
        }
    }
}

/* --- help ---------------------------------------------------------------------------------------
 */

/* Words from column TEXT_AT to WIDTH; column is where out stands. */
static void add_wrapped(struct buf *out, struct span text, size_t column)
{
    struct span word;
    while (span_cut(&text, ' ', &word)) {
        if (column + 1 + word.len > WIDTH && column > TEXT_AT) {
            buf_addf(out, "\n%*s", TEXT_AT, "");
            column = TEXT_AT;
        } else if (column > TEXT_AT) {
            buf_add_char(out, ' ');
            column++;
        }
        buf_add_span(out, word);
        column += word.len;
    }
    buf_add_char(out, '\n');
}

static void add_option(struct buf *out, const char *option, struct span text)
{
    buf_addf(out, "  %s", option);
    if (strlen(option) + 2 < TEXT_AT) {
        buf_addf(out, "%*s", (int)(TEXT_AT - 2 - strlen(option)), "");
    } else {
        buf_addf(out, "\n%*s", TEXT_AT, "");
    }
    add_wrapped(out, text, TEXT_AT);
}

static void add_row_help(struct buf *out, const struct config_spec *spec,
                         const struct config_row *row, struct arena *arena)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 4096);
    struct config_names names = config_names_of(row, arena);
    buf_addf(&text, "%s [", row->help);
    if (row->otherwise[0] != '\0') {
        buf_addf(&text, "default %s; ", row->otherwise);
    }
    if (row->bounds[0] != '\0') {
        buf_addf(&text, "%s; ", row->bounds);
    }
    add_env_names(&text, spec, row, &names, "");
    buf_add_char(&text, ']');
    const char *option =
        arena_printf(arena, "--%s%s%s", row->type == CONFIG_TYPE_bool ? "[no-]" : "", names.flag,
                     types[row->type].placeholder);
    add_option(out, option, buf_span(&text));
}

static void add_group(struct buf *out, const struct config_spec *spec, bool common,
                      const char *title, struct arena *arena)
{
    for (size_t i = 0; i < spec->n_rows; i++) {
        const struct config_row *row = &spec->rows[i];
        if (row->alias == NULL && config_is_common(row) == common) {
            buf_addf(out, "%s", title);
            title = "";
            add_row_help(out, spec, row, arena);
        }
    }
}

static void add_order(struct buf *out, const struct config_spec *spec)
{
    for (size_t i = 0; i < spec->n_rows; i++) {
        if (strcmp(spec->rows[i].name, "config") == 0) {
            buf_add_str(out, "\nFlags win over the environment, that over the file, that over "
                             "defaults. An empty variable\ncounts as unset. In the file an option "
                             "is its name with underscores: first_byte_wait: 60s\n");
            return;
        }
    }
    buf_add_str(out, "\nFlags win over the environment, that over defaults. An empty variable "
                     "counts as unset.\n");
}

void config_add_help(struct buf *out, const struct config_spec *spec, struct arena *arena)
{
    buf_addf(out, "%s: %s\n\nUsage: %s [OPTION]...%s%s\n", spec->program, spec->about,
             spec->program, spec->usage[0] != '\0' ? " " : "", spec->usage);
    add_group(out, spec, false, "\nOptions:\n", arena);
    add_group(out, spec, true, "\nOptions of every program of the suite:\n", arena);
    buf_add_str(out, "\nInstead of running:\n");
    add_option(out, "--help, -h", SPAN("print this"));
    add_option(out, "--version", SPAN("print the version"));
    add_option(out, "--print-config",
               SPAN("print the effective options and where each comes from"));
    add_option(out, "--print-docs", SPAN("print the options as a Markdown table"));
    add_order(out, spec);
}

/* --- the effective options ----------------------------------------------------------------------
 */

static void add_value(struct buf *out, const struct config_row *row, struct span text,
                      const void *values)
{
    switch (row->type) {
    case CONFIG_TYPE_bool:
        buf_add_str(out, *(const bool *)((const char *)values + row->offset) ? "true" : "false");
        break;
    case CONFIG_TYPE_duration:
    case CONFIG_TYPE_size:
    case CONFIG_TYPE_count:
    case CONFIG_TYPE_ratio:
        buf_add_span(out, text);
        break;
    case CONFIG_TYPE_address:
    case CONFIG_TYPE_text:
    case CONFIG_TYPE_choice:
    case CONFIG_TYPE_secret: /* the path of its file */
        utf8_add_json(out, text);
        break;
    }
}

void config_add_effective(struct buf *out, const struct config_load *load, const void *values)
{
    buf_addf(out, "# %s %s\n", load->spec->program, PRISM_VERSION);
    for (size_t i = 0; i < load->spec->n_rows; i++) {
        const struct config_row *row = &load->spec->rows[i];
        const struct config_setting *setting = &load->settings[i];
        bool set = setting->origin != NULL;
        const char *origin = set ? setting->origin : "default";
        if (row->alias != NULL) {
            continue;
        }
        if (row->type == CONFIG_TYPE_secret && !setting->in_file) {
            buf_addf(out, "# %s: %s  # %s\n", row->name, set ? "***" : "not set", origin);
            continue;
        }
        buf_addf(out, "%s%s: ", strcmp(row->name, "config") == 0 ? "# " : "", load->names[i].key);
        add_value(out, row, set ? setting->text : span_str(row->otherwise), values);
        buf_addf(out, "  # %s\n", origin);
    }
}

/* --- Markdown -----------------------------------------------------------------------------------
 */

static void add_cell(struct buf *out, const char *text)
{
    if (text[0] == '\0') {
        buf_add_str(out, " |");
        return;
    }
    buf_addf(out, " `%s` |", text);
}

static void add_bounds_cell(struct buf *out, const struct config_row *row)
{
    if (row->type != CONFIG_TYPE_choice) {
        add_cell(out, row->bounds);
        return;
    }
    struct span rest = span_str(row->bounds), one;
    const char *before = " ";
    while (span_cut(&rest, '|', &one)) {
        buf_addf(out, "%s`%.*s`", before, (int)one.len, one.at);
        before = ", ";
    }
    buf_add_str(out, " |");
}

void config_add_docs(struct buf *out, const struct config_spec *spec)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(DOCS_MOST);
    buf_addf(out, "## %s\n\n%s\n\n", spec->program, spec->about);
    buf_add_str(out, "| Option | Type | Default | Bounds | Environment | Meaning |\n"
                     "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < spec->n_rows; i++) {
        const struct config_row *row = &spec->rows[i];
        if (row->alias != NULL) {
            continue;
        }
        struct config_names names = config_names_of(row, arena);
        buf_addf(out, "| `--%s` | %s |", names.flag, types[row->type].name);
        add_cell(out, row->otherwise);
        add_bounds_cell(out, row);
        buf_add_char(out, ' ');
        add_env_names(out, spec, row, &names, "`");
        buf_addf(out, " | %s |\n", row->help);
    }
}
