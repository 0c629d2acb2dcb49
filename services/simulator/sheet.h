/*
 * sheet.h -- the simulator's YAML files: one named list of mappings, read strictly.
 *
 *     rules:               # the file's only member
 *       - model: "*"       # an item: keys and bounds are rows of a table
 *         action: reset
 *
 * Floor 6, pure. Whatever is not in the table is refused with its line. Everything read is in the
 * arena, which needs SHEET_MEMORY.
 */
#ifndef PRISM_SIMULATOR_SHEET_H
#define PRISM_SIMULATOR_SHEET_H

#include <stdbool.h>
#include <stddef.h>

#include "app/config.h"
#include "base/arena.h"
#include "base/span.h"
#include "codec/yaml.h"

#define SHEET_MOST   (64u << 10)
#define SHEET_MEMORY (64u << 20) /* what a text of that size can need */

/* row.otherwise is what an absent key stands for, "" for the zero of its type. */
struct sheet_key {
    struct config_row row;
    int tag; /* the owner's */
};

#define SHEET_KEY(structure, tag, type, name, field, otherwise, bounds)                            \
    {                                                                                              \
        {name, CONFIG_TYPE_##type, offsetof(structure, field), otherwise, bounds, "", NULL}, tag   \
    }

struct sheet {
    const char *whole; /* "a plan", in complaints */
    const char *list;  /* "rules" */
    const char *item;  /* "a rule" */
    const struct sheet_key *keys;
    size_t n_keys;
    size_t item_size;
    /* Judges an item that was filled from node, and completes it. */
    bool (*settle)(const struct yaml *node, void *item, struct yaml_error *error);
};

/* False and *error filled when the text is no such sheet; an empty one has no items. */
bool sheet_read(const struct sheet *sheet, struct span yaml, struct arena *arena, void **items,
                size_t *n, struct yaml_error *error);

/* NULL when the sheet has no such key. */
const struct sheet_key *sheet_key(const struct sheet *sheet, struct span name);

/* For settle: fills *error and returns false. */
bool sheet_refuse(struct yaml_error *error, size_t line, const char *format, ...) FORMAT(3, 4);

/* For settle: "*" becomes NULL, which is any model; one that the simulator does not know is
 * refused. */
bool sheet_settle_model(const struct yaml *node, const char **model, struct yaml_error *error);

#endif
