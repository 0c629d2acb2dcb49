/*
 * ini.h -- `key = value` lines under [section] lines, as AWS's shared files have them.
 *
 * Floor 1, pure. Lines beginning with # or ; are comments, also behind a blank in a line. Lines
 * indented deeper than the key before them belong to it and are passed over. A byte order mark and
 * CR LF are taken.
 */
#ifndef PRISM_CODEC_INI_H
#define PRISM_CODEC_INI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/span.h"

struct ini {
    struct span rest;
    struct span section;
    size_t line;       /* of what was read last, from 1 */
    bool within;       /* a section has begun */
    size_t indent;     /* of its last key; SIZE_MAX: none yet */
    const char *error; /* why reading ended early, static; NULL: it did not */
};

struct ini_entry {
    struct span section;
    struct span key; /* empty: the section begins */
    struct span value;
};

void ini_init(struct ini *ini, struct span text); /* text stays while it is read */

/* False at the end, and at a line that is neither; see error and line. */
bool ini_next(struct ini *ini, struct ini_entry *out) NODISCARD;

#endif
