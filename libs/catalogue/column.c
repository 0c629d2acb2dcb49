#include "catalogue/column.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_MOST 63 /* of one in a list */
#define SHOWN     40 /* bytes of a wrong value in an error */

bool column_refuse(const struct column_source *s, size_t line, const char *format, ...)
{
    size_t len = strlen(s->path), most = COLUMN_ERROR_SIZE / 2; /* of a long path the end */
    const char *path = len > most ? s->path + len - most : s->path;
    int used = line > 0 ? snprintf(s->error_text, COLUMN_ERROR_SIZE, "%s:%zu: ", path, line)
                        : snprintf(s->error_text, COLUMN_ERROR_SIZE, "%s: ", path);
    va_list args;
    va_start(args, format);
    vsnprintf(s->error_text + used, COLUMN_ERROR_SIZE - (size_t)used, format, args);
    va_end(args);
    return false;
}

static int shown(struct span text)
{
    return (int)(text.len < SHOWN ? text.len : SHOWN);
}

/* --- values ----------------------------------------------------------------------------------- */

static bool only(struct span text, bool (*allowed)(unsigned char c))
{
    for (size_t i = 0; i < text.len; i++) {
        if (!allowed((unsigned char)text.at[i])) {
            return false;
        }
    }
    return true;
}

static bool in_name(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static bool in_id(unsigned char c)
{
    return c > 0x20 && c < 0x7f;
}

static bool in_title(unsigned char c)
{
    return c >= 0x20 && c != 0x7f;
}

static bool parse_count(struct span text, uint64_t *out)
{
    char digits[32];
    size_t n = 0;
    if (text.len == 0 || text.len > sizeof(digits) || text.at[0] == '_' ||
        text.at[text.len - 1] == '_') {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] != '_') {
            digits[n++] = text.at[i];
        }
    }
    return span_parse_u64(span_of(digits, n), out);
}

static bool parse_duration(struct span text, uint64_t *out_ms)
{
    static const struct {
        struct span name;
        uint64_t ms;
    } units[] = {{SPAN("ms"), 1}, {SPAN("s"), 1000}, {SPAN("m"), 60000}, {SPAN("h"), 3600000}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t value;
        if (span_ends(text, units[i].name) &&
            span_parse_u64(span_first(text, text.len - units[i].name.len), &value)) {
            return !__builtin_mul_overflow(value, units[i].ms, out_ms);
        }
    }
    return false;
}

/* Days since the epoch times a day; years count from March, so that the leap day comes last. */
static bool parse_date(struct span text, uint64_t *out_s)
{
    static const uint8_t days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t year, month, day;
    if (text.len != 10 || text.at[4] != '-' || text.at[7] != '-' ||
        !span_parse_u64(span_first(text, 4), &year) ||
        !span_parse_u64(span_of(text.at + 5, 2), &month) ||
        !span_parse_u64(span_of(text.at + 8, 2), &day)) {
        return false;
    }
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days[month - 1] ||
        (month == 2 && day == 29 && !leap)) {
        return false;
    }
    uint64_t y = month > 2 ? year : year - 1;
    uint64_t m = month > 2 ? month - 3 : month + 9;
    uint64_t before_year = y * 365 + y / 4 - y / 100 + y / 400;
    *out_s = (before_year + (153 * m + 2) / 5 + day - 1 - 719468) * 86400;
    return true;
}

/* USD as micro-USD. */
static bool parse_usd(struct span text, uint64_t *out)
{
    struct span whole, decimals = text;
    uint64_t usd, part = 0;
    span_cut(&decimals, '.', &whole);
    bool has_decimals = decimals.at != NULL;
    if (!span_parse_u64(whole, &usd) || usd > UINT32_MAX || decimals.len > 6 ||
        (has_decimals && !span_parse_u64(decimals, &part))) {
        return false;
    }
    for (size_t i = decimals.len; i < 6; i++) {
        part *= 10;
    }
    *out = usd * 1000000 + part;
    return true;
}

static bool parse_choice(struct span text, const char *choices, uint64_t *out)
{
    struct span rest = span_str(choices), choice;
    for (uint64_t i = 0; span_cut(&rest, '|', &choice); i++) {
        if (span_eq(text, choice)) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* --- columns ---------------------------------------------------------------------------------- */

static bool refuse_value(const struct column_source *s, const struct column *c,
                         const struct yaml *value)
{
    static const char *const wanted[] = {
        [COLUMN_NAME] = "lower case letters, digits, '.' and '-'",
        [COLUMN_ID] = "printable ASCII without spaces",
        [COLUMN_TITLE] = "text",
        [COLUMN_COUNT] = "a count",
        [COLUMN_DURATION] = "a duration like 500ms, 60s, 2m, 1h",
        [COLUMN_DATE] = "a date like 2027-04-08",
        [COLUMN_USD] = "USD like 3.30",
        [COLUMN_CHOICE] = "one of ",
        [COLUMN_SWITCH] = "yes or no",
        [COLUMN_NAMES] = "a list of different names",
        [COLUMN_GROUP] = "a mapping",
        [COLUMN_GROUPS] = "a mapping or a list of mappings",
        [COLUMN_FOREIGN] = "",
    };
    uint64_t unit = c->type == COLUMN_USD ? 1000000 : 1;
    char bounds[80] = "";
    if (c->most > 0) {
        snprintf(bounds, sizeof(bounds), ", %llu to %llu%s", (unsigned long long)(c->least / unit),
                 (unsigned long long)(c->most / unit), c->type == COLUMN_DURATION ? " ms" : "");
    }
    const char *choices = c->choices != NULL ? c->choices : "";
    if (value->kind != YAML_SCALAR) {
        return column_refuse(s, value->line, "%s must be %s%s%s", c->name, wanted[c->type], choices,
                             bounds);
    }
    return column_refuse(s, value->line, "%s must be %s%s%s, not \"%.*s\"", c->name,
                         wanted[c->type], choices, bounds, shown(value->text), value->text.at);
}

static bool read_names(const struct column_source *s, const struct column *c,
                       const struct yaml *value, void *record)
{
    const char **names = (const char **)((char *)record + c->offset);
    size_t *n = (size_t *)((char *)record + c->n_offset);
    if (value->kind != YAML_SEQUENCE || value->count < c->least || value->count > c->most) {
        return refuse_value(s, c, value);
    }
    for (const struct yaml *it = value->children; it != NULL; it = it->next) {
        bool ok = it->kind == YAML_SCALAR && it->text.len > 0 && it->text.len <= NAME_MOST &&
                  only(it->text, in_name);
        for (size_t i = 0; ok && i < *n; i++) {
            ok = !span_eq(it->text, span_str(names[i]));
        }
        if (!ok) {
            return refuse_value(s, c, it);
        }
        names[(*n)++] = arena_string(s->arena, it->text);
    }
    return true;
}

static bool read_text(const struct column_source *s, const struct column *c,
                      const struct yaml *value, const char **field)
{
    bool (*allowed)(unsigned char) = c->type == COLUMN_NAME ? in_name
                                     : c->type == COLUMN_ID ? in_id
                                                            : in_title;
    if (value->text.len < c->least || value->text.len > c->most || !only(value->text, allowed)) {
        return refuse_value(s, c, value);
    }
    *field = arena_string(s->arena, value->text);
    return true;
}

static bool parse_number(const struct column *c, struct span text, uint64_t *out)
{
    switch (c->type) {
    case COLUMN_COUNT:
        return parse_count(text, out);
    case COLUMN_DURATION:
        return parse_duration(text, out);
    case COLUMN_DATE:
        return parse_date(text, out);
    case COLUMN_USD:
        return parse_usd(text, out);
    case COLUMN_CHOICE:
        return parse_choice(text, c->choices, out);
    case COLUMN_NAME:
    case COLUMN_ID:
    case COLUMN_TITLE:
    case COLUMN_SWITCH:
    case COLUMN_NAMES:
    case COLUMN_GROUP:
    case COLUMN_GROUPS:
    case COLUMN_FOREIGN:
        break;
    }
    return false;
}

static bool read_number(const struct column_source *s, const struct column *c,
                        const struct yaml *value, void *field)
{
    uint64_t number;
    if (!parse_number(c, value->text, &number) || number < c->least ||
        (c->most > 0 && number > c->most)) {
        return refuse_value(s, c, value);
    }
    if (c->size == sizeof(uint32_t)) {
        *(uint32_t *)field = (uint32_t)number;
    } else {
        *(uint64_t *)field = number;
    }
    return true;
}

/* Replaces what the structure had. */
static bool read_groups(const struct column_source *s, const struct column *c,
                        const struct yaml *value, void *record)
{
    char *groups = (char *)record + c->offset;
    size_t *n = (size_t *)((char *)record + c->n_offset);
    bool list = value->kind == YAML_SEQUENCE;
    size_t count = list ? value->count : 1;
    if (value->kind == YAML_SCALAR || count < c->least || count > c->most) {
        return refuse_value(s, c, value);
    }
    memset(groups, 0, c->size);
    const struct yaml *it = list ? value->children : value;
    for (*n = 0; *n < count; (*n)++, it = it->next) {
        if (!column_read(s, it, c->group, c->n_group, groups + *n * (c->size / c->most))) {
            return false;
        }
    }
    return true;
}

static bool read_value(const struct column_source *s, const struct column *c,
                       const struct yaml *value, void *record)
{
    void *field = (char *)record + c->offset;
    if (c->type == COLUMN_FOREIGN) {
        return true;
    }
    if (c->type == COLUMN_NAMES) {
        return read_names(s, c, value, record);
    }
    if (c->type == COLUMN_GROUPS) {
        return read_groups(s, c, value, record);
    }
    if (value->kind != (c->type == COLUMN_GROUP ? YAML_MAPPING : YAML_SCALAR)) {
        return refuse_value(s, c, value);
    }
    if (c->type == COLUMN_GROUP) {
        return column_read(s, value, c->group, c->n_group, field);
    }
    if (c->type == COLUMN_SWITCH) {
        return yaml_bool(value->text, field) || refuse_value(s, c, value);
    }
    if (c->type == COLUMN_NAME || c->type == COLUMN_ID || c->type == COLUMN_TITLE) {
        return read_text(s, c, value, field);
    }
    return read_number(s, c, value, field);
}

bool column_read(const struct column_source *s, const struct yaml *row,
                 const struct column *columns, size_t n_columns, void *record)
{
    if (row->kind != YAML_MAPPING) {
        return column_refuse(s, row->line, "a mapping is wanted here");
    }
    for (const struct yaml *it = row->children; it != NULL; it = it->next) {
        const struct column *c = columns, *end = columns + n_columns;
        while (c < end && !span_eq(it->key, span_str(c->name))) {
            c++;
        }
        if (c == end) {
            return column_refuse(s, it->key_line, "\"%.*s\" is not known here", shown(it->key),
                                 it->key.at);
        }
        if (!read_value(s, c, it, record)) {
            return false;
        }
    }
    for (size_t i = 0; i < n_columns; i++) {
        if (columns[i].required && yaml_get(row, columns[i].name) == NULL) {
            return column_refuse(s, row->line, "%s is missing", columns[i].name);
        }
    }
    return true;
}
