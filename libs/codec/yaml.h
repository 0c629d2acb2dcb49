/*
 * yaml.h -- YAML configuration files as a tree with positions.
 *
 * Floor 1, pure. libyaml is in yaml.c only. The subset that configuration needs: one document,
 * mappings with plain or quoted string keys, sequences, scalars. Anchors and aliases, tags, merge
 * keys and duplicate keys are refused with their line. Values are text; who reads them parses.
 */
#ifndef PRISM_CODEC_YAML_H
#define PRISM_CODEC_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/span.h"

#define YAML_DEPTH_MOST 32
#define YAML_SIZE_MOST  (1u << 20)

enum yaml_kind {
    YAML_SCALAR,
    YAML_SEQUENCE,
    YAML_MAPPING,
};

struct yaml {
    enum yaml_kind kind;
    size_t line;     /* 1-based, of the value */
    struct span key; /* when it is a mapping's member */
    size_t key_line;
    struct span text; /* YAML_SCALAR; empty and plain: null */
    bool quoted;
    const struct yaml *children; /* first child */
    const struct yaml *next;     /* next sibling */
    size_t count;                /* children */
};

struct yaml_error {
    size_t line; /* 1-based; 0: the file as a whole */
    char text[160];
};

/* The tree lives in arena. False and *error filled when the text is not what is read here. An
 * empty document is an empty mapping. */
bool yaml_parse(struct span text, struct arena *arena, const struct yaml **root,
                struct yaml_error *error);

/* The member of a mapping; NULL when absent or not a mapping (also for NULL). */
const struct yaml *yaml_get(const struct yaml *mapping, const char *key);

/* true/false, yes/no, on/off in YAML 1.2's and everyday spelling. */
bool yaml_bool(struct span text, bool *out);

#endif
