/* One value: its text becomes what its row asks for, or a sentence that says what is wanted. */
#include "app/config.h"
#include "base/address.h"
#include "base/utf8.h"
#include "codec/yaml.h"

#define VALUE_MOST     65536
#define QUOTED_MOST    64
#define ADDRESSES_MOST 16

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};
static const struct unit size_units[] = {
    {"", 1},          {"B", 1},           {"KB", 1000},        {"KiB", 1024}, {"MB", 1000000},
    {"MiB", 1048576}, {"GB", 1000000000}, {"GiB", 1073741824}, {NULL, 0}};
static const struct unit count_units[] = {{"", 1}, {NULL, 0}};

/* A number of one of the types that have bounds "lo..hi". */
union number {
    uint64_t whole;
    double real;
};

static const char *wanted(struct arena *arena, const char *what, struct span text)
{
    CLEANUP(buf_clear) struct buf quoted;
    buf_init(&quoted, 8 * QUOTED_MOST);
    utf8_add_json(&quoted, utf8_first(text, QUOTED_MOST));
    return arena_printf(arena, "%s, not %s%s", what, buf_cstr(&quoted),
                        text.len > QUOTED_MOST ? "..." : "");
}

static bool parse_units(struct span text, const struct unit *units, uint64_t *out)
{
    size_t digits = 0;
    while (digits < text.len && text.at[digits] >= '0' && text.at[digits] <= '9') {
        digits++;
    }
    uint64_t value;
    if (!span_parse_u64(span_first(text, digits), &value)) {
        return false;
    }
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (span_eq(span_from(text, digits), span_str(unit->name))) {
            return !__builtin_mul_overflow(value, unit->factor, out);
        }
    }
    return false;
}

static bool parse_ratio(struct span text, double *out)
{
    bool percent = span_ends(text, SPAN("%"));
    double value;
    if (!span_parse_double(percent ? span_first(text, text.len - 1) : text, &value)) {
        return false;
    }
    *out = percent ? value / 100 : value;
    return true;
}

static bool parse_number(enum config_type type, struct span text, union number *out)
{
    switch (type) {
    case CONFIG_TYPE_duration:
        return parse_units(text, duration_units, &out->whole);
    case CONFIG_TYPE_size:
        return parse_units(text, size_units, &out->whole);
    case CONFIG_TYPE_ratio:
        return parse_ratio(text, &out->real);
    case CONFIG_TYPE_count:
    case CONFIG_TYPE_text: /* its length */
    case CONFIG_TYPE_address:
    case CONFIG_TYPE_bool:
    case CONFIG_TYPE_choice:
    case CONFIG_TYPE_secret:
        return parse_units(text, count_units, &out->whole);
    }
    return false;
}

/* Bounds are ours, so a pair that cannot be read is a bug. */
static bool in_bounds(const struct config_row *row, union number value)
{
    struct span bounds = span_str(row->bounds);
    if (bounds.len == 0) {
        return true;
    }
    size_t dots = span_find(bounds, SPAN(".."));
    union number lo, hi;
    check(dots != SPAN_MISSING && parse_number(row->type, span_first(bounds, dots), &lo) &&
          parse_number(row->type, span_from(bounds, dots + 2), &hi));
    if (row->type == CONFIG_TYPE_ratio) {
        return value.real >= lo.real && value.real <= hi.real;
    }
    return value.whole >= lo.whole && value.whole <= hi.whole;
}

static const char *out_of_bounds(const struct config_row *row, struct span text,
                                 struct arena *arena)
{
    return wanted(arena, arena_printf(arena, "must be %s", row->bounds), text);
}

static const char *set_number(const struct config_row *row, struct span text, struct arena *arena,
                              void *field)
{
    static const char *const what[] = {
        [CONFIG_TYPE_duration] = "wants a duration such as 500ms, 5s, 2m or 1h",
        [CONFIG_TYPE_size] = "wants a size such as 4096, 64KiB or 25MB",
        [CONFIG_TYPE_count] = "wants a whole number",
        [CONFIG_TYPE_ratio] = "wants a ratio such as 0.5 or 50%",
    };
    union number value;
    if (!parse_number(row->type, text, &value)) {
        return wanted(arena, what[row->type], text);
    }
    if (!in_bounds(row, value)) {
        return out_of_bounds(row, text, arena);
    }
    if (row->type == CONFIG_TYPE_ratio) {
        *(double *)field = value.real;
    } else {
        *(uint64_t *)field = value.whole;
    }
    return NULL;
}

static const char *set_bool(struct span text, struct arena *arena, void *field)
{
    if (span_eq(text, SPAN("1")) || span_eq(text, SPAN("0"))) {
        *(bool *)field = text.at[0] == '1';
        return NULL;
    }
    return yaml_bool(text, field) ? NULL : wanted(arena, "wants true or false", text);
}

static const char *set_text(const struct config_row *row, struct span text, struct arena *arena,
                            void *field)
{
    if (!utf8_valid(text) || span_find_char(text, '\0') != SPAN_MISSING) {
        return "wants UTF-8 text without NUL";
    }
    if (!in_bounds(row, (union number){.whole = text.len})) {
        return arena_printf(arena, "must be %s bytes long, not %zu", row->bounds, text.len);
    }
    *(const char **)field = arena_string(arena, text);
    return NULL;
}

/* None is allowed where none is the default. */
static const char *set_address(const struct config_row *row, struct span text, struct arena *arena,
                               void *field)
{
    struct span rest = text, one, host;
    uint16_t port;
    size_t n = 0;
    while (text.len > 0 && span_cut(&rest, ',', &one)) {
        if (!address_split(one, &host, &port)) {
            return wanted(arena, "wants host:port", one);
        }
        n++;
    }
    if (n == 0 && row->otherwise[0] != '\0') {
        return wanted(arena, "wants host:port", text);
    }
    if (n > ADDRESSES_MOST) {
        return arena_printf(arena, "wants at most %d addresses, not %zu", ADDRESSES_MOST, n);
    }
    *(const char **)field = arena_string(arena, text);
    return NULL;
}

static const char *set_choice(const struct config_row *row, struct span text, struct arena *arena,
                              void *field)
{
    CLEANUP(buf_clear) struct buf list;
    buf_init(&list, 4096);
    struct span rest = span_str(row->bounds), one;
    while (span_cut(&rest, '|', &one)) {
        if (span_eq(one, text)) {
            *(const char **)field = arena_string(arena, text);
            return NULL;
        }
        buf_add_str(&list, list.len > 0 ? ", " : "wants one of ");
        buf_add_span(&list, one);
    }
    return wanted(arena, buf_cstr(&list), text);
}

static const char *set_secret(struct span text, struct arena *arena, void *field)
{
    if (span_find_char(text, '\0') != SPAN_MISSING) {
        return "has a NUL byte in it";
    }
    ((struct secret *)field)->at = text.len > 0 ? arena_string(arena, text) : NULL;
    return NULL;
}

static const char *set(const struct config_row *row, struct span text, struct arena *arena,
                       void *field)
{
    switch (row->type) {
    case CONFIG_TYPE_duration:
    case CONFIG_TYPE_size:
    case CONFIG_TYPE_count:
    case CONFIG_TYPE_ratio:
        return set_number(row, text, arena, field);
    case CONFIG_TYPE_bool:
        return set_bool(text, arena, field);
    case CONFIG_TYPE_text:
        return set_text(row, text, arena, field);
    case CONFIG_TYPE_address:
        return set_address(row, text, arena, field);
    case CONFIG_TYPE_choice:
        return set_choice(row, text, arena, field);
    case CONFIG_TYPE_secret:
        return set_secret(text, arena, field);
    }
    return NULL;
}

bool config_parse(const struct config_row *row, struct span text, struct arena *arena, void *field,
                  const char **error)
{
    const char *complaint =
        text.len <= VALUE_MOST ? set(row, text, arena, field) : "is longer than 64KiB";
    if (complaint != NULL) {
        *error = complaint;
    }
    return complaint == NULL;
}
