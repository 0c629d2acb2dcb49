/*
 * column.h -- rows of a YAML file as structures, by a table of columns.
 *
 * Floor 4, pure. A table says which keys a mapping may have, what each value must be and where in
 * the structure it goes; what is absent and not required keeps the structure's former value. The
 * first thing that is wrong ends the reading and is named as "file:line: what".
 */
#ifndef PRISM_CATALOGUE_COLUMN_H
#define PRISM_CATALOGUE_COLUMN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/check.h"
#include "codec/yaml.h"

#define COLUMN_ERROR_SIZE 256

enum column_type {
    COLUMN_NAME,     /* const char *: lower case letters, digits, '.', '-' */
    COLUMN_ID,       /* const char *: printable ASCII */
    COLUMN_TITLE,    /* const char *: text without control characters */
    COLUMN_COUNT,    /* uint64_t, uint32_t: digits, '_' among them */
    COLUMN_DURATION, /* uint64_t ms: "500ms", "60s", "2m", "1h" */
    COLUMN_DATE,     /* uint64_t s since the epoch: "2027-04-08", midnight UTC */
    COLUMN_USD,      /* uint64_t micro-USD: "3.30", at most 6 decimals */
    COLUMN_CHOICE,   /* an enum, in the order of choices */
    COLUMN_SWITCH,   /* bool */
    COLUMN_NAMES,    /* const char *[most] of different NAMEs, and how many at n_offset */
    COLUMN_GROUP,    /* a structure with a table of its own */
    COLUMN_GROUPS,   /* the same [most], of one mapping or a list, and how many at n_offset */
    COLUMN_FOREIGN,  /* anything: only known here, and read by somebody else */
};

struct column {
    const char *name;
    enum column_type type;
    size_t offset;
    size_t size;
    bool required;
    uint64_t least, most; /* of the value; of a text: bytes; of a list: elements */
    const char *choices;  /* "a|b" */
    const struct column *group;
    size_t n_group;
    size_t n_offset;
};

/* A row of a table; what stands behind the name are designated members. */
#define COLUMN(structure, member, column_type, column_name, ...)                                   \
    {                                                                                              \
        .name = column_name, .type = COLUMN_##column_type, .offset = offsetof(structure, member),  \
        .size = sizeof(((structure *)0)->member), __VA_ARGS__                                      \
    }

struct column_source {
    const char *path;    /* named in errors */
    char *error_text;    /* COLUMN_ERROR_SIZE bytes */
    struct arena *arena; /* where texts go */
};

/* False always, for return; line 0: the file as a whole. */
bool column_refuse(const struct column_source *s, size_t line, const char *format, ...)
    FORMAT(3, 4);

/* A mapping into record, which may be half filled when false. */
bool column_read(const struct column_source *s, const struct yaml *row,
                 const struct column *columns, size_t n_columns, void *record) NODISCARD;

#endif
