/*
 * render.h -- text for people: colours, columns, figures, flowing paragraphs, tables.
 *
 * Floor 6, pure. What a model, a document or a peer wrote comes in through render_add_line,
 * flow_add or table_cell only: they make it printable (codec/text.h), so that it cannot steer the
 * terminal.
 */
#ifndef PRISM_PRISMCTL_RENDER_H
#define PRISM_PRISMCTL_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/span.h"

#define RENDER_TEXT_MOST (64u << 20) /* of one thing to print */

enum style {
    STYLE_PLAIN,
    STYLE_BOLD,
    STYLE_DIM,
    STYLE_GREEN,
    STYLE_YELLOW,
    STYLE_RED,
    STYLE_ALARM, /* red and bold */
};

struct render {
    bool colour;
    size_t width; /* columns of a line */
};

/* CLICOLOR_FORCE (neither empty nor "0") wins over NO_COLOR (not empty), that over what the output
 * is: a terminal that is not dumb. NULL: the variable is not set. */
bool render_wants_colour(bool terminal, const char *force, const char *no_colour, const char *term);

void render_begin(struct buf *out, const struct render *render, enum style style);
void render_end(struct buf *out, const struct render *render, enum style style);
void render_add(struct buf *out, const struct render *render, enum style style, const char *text);

/* Columns that printable text takes: wide characters two, combining ones none. The C library knows,
 * where LC_CTYPE is a UTF-8 locale; elsewhere every character counts as one. */
size_t render_columns(struct span text);

/* Anybody's text as one printable line of at most so many columns, cut with an ellipsis. */
void render_add_line(struct buf *out, struct span text, size_t most);

/* Takes spaces off the end. */
void render_trim(struct buf *out);

/* --- figures ------------------------------------------------------------------------------------
 */

void render_add_count(struct buf *out, uint64_t count);  /* 12,345 */
void render_add_usd(struct buf *out, int64_t micro_usd); /* -$0.0123 */
void render_add_time(struct buf *out, uint64_t ms);      /* 850 ms, 4.2 s, 3 m 5 s */
void render_add_plural(struct buf *out, uint64_t count, const char *thing); /* 3 findings */

/* --- flowing text: arrives in pieces, leaves in lines -------------------------------------------
 */

struct flow {
    const struct render *render;
    enum style style;
    const char *prefix; /* begins every line; printable, static */
    size_t column;      /* where the line stands; 0: it has not begun */
    bool gap;           /* a space is due before the next word */
    struct buf word;    /* not yet placed */
    /* After the end of a line; whole: the text's own, not one for want of room. NULL: nobody
     * asks. */
    void (*ended)(void *arg, struct buf *out, bool whole);
    void *arg;
};

void flow_init(struct flow *flow, const struct render *render, enum style style,
               const char *prefix);
void flow_clear(struct flow *flow);

/* Anybody's text. Words move to the next line where they do not fit; newlines stay. */
void flow_add(struct flow *flow, struct buf *out, struct span text);

/* Places the last word and ends the line, if one has begun. */
void flow_break(struct flow *flow, struct buf *out);

/* --- tables -------------------------------------------------------------------------------------
 */

struct table_column {
    const char *title;
    bool right;  /* figures */
    size_t most; /* columns; 0: as many as it takes */
};

struct table;

/* Lives in arena; columns outlive it. */
struct table *table_new(struct arena *arena, const struct table_column *columns,
                        size_t n) NODISCARD;

/* Cells come row by row. Anybody's text. */
void table_cell(struct table *table, enum style style, struct span text);

void table_add(const struct table *table, struct buf *out, const struct render *render);

#endif
