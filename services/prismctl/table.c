/* Tables: cells are collected, then every column is as wide as its widest cell. */
#include "base/list.h"
#include "prismctl/render.h"

#define BETWEEN      2 /* spaces */
#define COLUMNS_MOST 16

struct cell {
    struct list link;
    size_t column;
    enum style style;
    struct span text;
};

struct table {
    struct arena *arena;
    const struct table_column *columns;
    size_t n;
    size_t next; /* column of the next cell */
    struct list cells;
};

struct table *table_new(struct arena *arena, const struct table_column *columns, size_t n)
{
    check(n > 0 && n <= COLUMNS_MOST);
    struct table *table = ARENA_NEW(arena, struct table);
    table->arena = arena;
    table->columns = columns;
    table->n = n;
    list_init(&table->cells);
    for (size_t i = 0; i < n; i++) {
        table_cell(table, STYLE_DIM, span_str(columns[i].title));
    }
    return table;
}

void table_cell(struct table *table, enum style style, struct span text)
{
    size_t most = table->columns[table->next].most;
    CLEANUP(buf_clear) struct buf line;
    buf_init(&line, RENDER_TEXT_MOST);
    render_add_line(&line, text, most > 0 ? most : SIZE_MAX);
    struct cell *cell = ARENA_NEW(table->arena, struct cell);
    cell->column = table->next;
    cell->style = style;
    cell->text = arena_copy(table->arena, buf_span(&line));
    list_push_back(&table->cells, &cell->link);
    table->next = (table->next + 1) % table->n;
}

static void add_spaces(struct buf *out, size_t n)
{
    buf_addf(out, "%*s", (int)n, "");
}

static void add_cell(const struct table *table, const struct cell *cell, size_t width,
                     struct buf *out, const struct render *render)
{
    bool right = table->columns[cell->column].right;
    bool last = cell->column + 1 == table->n;
    size_t spaces = width - render_columns(cell->text);
    add_spaces(out, right ? spaces : 0);
    render_begin(out, render, cell->style);
    buf_add_span(out, cell->text);
    render_end(out, render, cell->style);
    add_spaces(out, last ? 0 : BETWEEN + (right ? 0 : spaces));
    if (last) {
        render_trim(out);
        buf_add_char(out, '\n');
    }
}

void table_add(const struct table *table, struct buf *out, const struct render *render)
{
    size_t widths[COLUMNS_MOST] = {0};
    check(table->next == 0);
    LIST_EACH (link, &table->cells) {
        const struct cell *cell = CONTAINER_OF(link, struct cell, link);
        size_t columns = render_columns(cell->text);
        widths[cell->column] = columns > widths[cell->column] ? columns : widths[cell->column];
    }
    LIST_EACH (link, &table->cells) {
        const struct cell *cell = CONTAINER_OF(link, struct cell, link);
        add_cell(table, cell, widths[cell->column], out, render);
    }
}
