#include "prismctl/render.h"

#include <wchar.h>

#include "base/utf8.h"
#include "codec/text.h"

/* --- colour ----------------------------------------------------------------------------------- */

static bool is_set(const char *variable)
{
    return variable != NULL && variable[0] != '\0';
}

bool render_wants_colour(bool terminal, const char *force, const char *no_colour, const char *term)
{
    if (is_set(force) && strcmp(force, "0") != 0) {
        return true;
    }
    bool dumb = term != NULL && strcmp(term, "dumb") == 0;
    return terminal && !dumb && !is_set(no_colour);
}

void render_begin(struct buf *out, const struct render *render, enum style style)
{
    static const char *const codes[] = {
        [STYLE_PLAIN] = "", [STYLE_BOLD] = "1",    [STYLE_DIM] = "2",      [STYLE_GREEN] = "32",
        [STYLE_RED] = "31", [STYLE_YELLOW] = "33", [STYLE_ALARM] = "1;31",
    };
    if (render->colour && style != STYLE_PLAIN) {
        buf_addf(out, "\033[%sm", codes[style]);
    }
}

void render_end(struct buf *out, const struct render *render, enum style style)
{
    if (render->colour && style != STYLE_PLAIN) {
        buf_add_str(out, "\033[0m");
    }
}

void render_add(struct buf *out, const struct render *render, enum style style, const char *text)
{
    render_begin(out, render, style);
    buf_add_str(out, text);
    render_end(out, render, style);
}

/* --- columns ---------------------------------------------------------------------------------- */

static size_t columns_of(const char *at, size_t len)
{
    int columns = wcwidth((wchar_t)utf8_decode(at, len));
    return columns < 0 ? 1 : (size_t)columns;
}

size_t render_columns(struct span text)
{
    size_t columns = 0;
    while (text.len > 0) {
        size_t len = utf8_sequence(text);
        check(len > 0);
        columns += columns_of(text.at, len);
        text = span_from(text, len);
    }
    return columns;
}

/* The longest beginning of printable text that takes at most so many columns. */
static struct span fitting(struct span text, size_t most)
{
    size_t columns = 0, end = 0;
    while (end < text.len) {
        size_t len = utf8_sequence(span_from(text, end));
        check(len > 0);
        columns += columns_of(text.at + end, len);
        if (columns > most) {
            break;
        }
        end += len;
    }
    return span_first(text, end);
}

void render_add_line(struct buf *out, struct span text, size_t most)
{
    CLEANUP(buf_clear) struct buf line;
    buf_init(&line, RENDER_TEXT_MOST);
    text_add_printable(&line, span_trim(text));
    for (size_t i = 0; i < line.len; i++) {
        char c = line.at[i];
        line.at[i] = c == '\n' || c == '\t' || c == '\r' ? ' ' : c;
    }
    struct span shown = buf_span(&line);
    if (render_columns(shown) <= most) {
        buf_add_span(out, shown);
        return;
    }
    buf_add_span(out, span_trim(fitting(shown, most - 1)));
    buf_add_str(out, "…");
}

void render_trim(struct buf *out)
{
    while (out->len > 0 && out->at[out->len - 1] == ' ') {
        buf_truncate(out, out->len - 1);
    }
}

/* --- figures ---------------------------------------------------------------------------------- */

void render_add_count(struct buf *out, uint64_t count)
{
    if (count >= 1000) {
        render_add_count(out, count / 1000);
        buf_addf(out, ",%03u", (unsigned)(count % 1000));
    } else {
        buf_add_u64(out, count);
    }
}

/* Four digits; what is less than half the last one keeps all six. */
void render_add_usd(struct buf *out, int64_t micro_usd)
{
    uint64_t amount = micro_usd < 0 ? -(uint64_t)micro_usd : (uint64_t)micro_usd;
    buf_add_str(out, micro_usd < 0 ? "-$" : "$");
    if (amount > 0 && amount < 50) {
        buf_addf(out, "0.%06u", (unsigned)amount);
        return;
    }
    amount = amount / 100 + (amount % 100 >= 50);
    render_add_count(out, amount / 10000);
    buf_addf(out, ".%04u", (unsigned)(amount % 10000));
}

/* A larger unit and what is over in the next smaller one. */
static void add_two(struct buf *out, uint64_t all, uint64_t per, const char *large,
                    const char *small)
{
    render_add_count(out, all / per);
    buf_addf(out, " %s", large);
    if (all % per > 0) {
        buf_addf(out, " %u %s", (unsigned)(all % per), small);
    }
}

void render_add_time(struct buf *out, uint64_t ms)
{
    if (ms < 1000) {
        buf_addf(out, "%u ms", (unsigned)ms);
    } else if (ms < 60000) {
        buf_addf(out, "%u.%u s", (unsigned)(ms / 1000), (unsigned)(ms % 1000 / 100));
    } else if (ms < 3600000) {
        add_two(out, ms / 1000, 60, "m", "s");
    } else {
        add_two(out, ms / 60000, 60, "h", "m");
    }
}

void render_add_plural(struct buf *out, uint64_t count, const char *thing)
{
    render_add_count(out, count);
    buf_addf(out, " %s%s", thing, count == 1 ? "" : "s");
}

/* --- flowing text ----------------------------------------------------------------------------- */

void flow_init(struct flow *flow, const struct render *render, enum style style, const char *prefix)
{
    *flow = (struct flow){.render = render, .style = style, .prefix = prefix};
    buf_init(&flow->word, RENDER_TEXT_MOST);
}

void flow_clear(struct flow *flow)
{
    buf_clear(&flow->word);
}

static void begin_line(struct flow *flow, struct buf *out)
{
    render_begin(out, flow->render, flow->style);
    buf_add_str(out, flow->prefix);
    flow->column = render_columns(span_str(flow->prefix));
    flow->gap = false;
}

static void end_line(struct flow *flow, struct buf *out, bool whole)
{
    render_trim(out);
    render_end(out, flow->render, flow->style);
    buf_add_char(out, '\n');
    flow->column = 0;
    if (flow->ended != NULL) {
        flow->ended(flow->arg, out, whole);
    }
}

static void place_word(struct flow *flow, struct buf *out)
{
    if (flow->word.len == 0) {
        return;
    }
    size_t columns = render_columns(buf_span(&flow->word));
    if (flow->column > 0 && flow->column + flow->gap + columns > flow->render->width) {
        end_line(flow, out, false);
    }
    if (flow->column == 0) {
        begin_line(flow, out);
    } else if (flow->gap) {
        buf_add_char(out, ' ');
        flow->column++;
        flow->gap = false;
    }
    buf_add_span(out, buf_span(&flow->word));
    flow->column += columns;
    buf_reset(&flow->word);
}

/* A word longer than a line is cut where the line ends. */
static void add_to_word(struct flow *flow, struct buf *out, struct span character)
{
    size_t room = flow->render->width - render_columns(span_str(flow->prefix));
    if (render_columns(buf_span(&flow->word)) + columns_of(character.at, character.len) > room) {
        place_word(flow, out);
    }
    buf_add_span(&flow->word, character);
}

void flow_add(struct flow *flow, struct buf *out, struct span text)
{
    CLEANUP(buf_clear) struct buf printable;
    buf_init(&printable, RENDER_TEXT_MOST);
    text_add_printable(&printable, text);
    struct span rest = buf_span(&printable);
    while (rest.len > 0) {
        size_t len = utf8_sequence(rest);
        check(len > 0);
        char c = rest.at[0];
        if (c == '\n') {
            place_word(flow, out);
            if (flow->column == 0) {
                begin_line(flow, out);
            }
            end_line(flow, out, true);
        } else if (c == ' ' || c == '\t' || c == '\r') {
            place_word(flow, out);
            flow->gap = flow->column > 0;
        } else {
            add_to_word(flow, out, span_first(rest, len));
        }
        rest = span_from(rest, len);
    }
}

void flow_break(struct flow *flow, struct buf *out)
{
    place_word(flow, out);
    if (flow->column > 0) {
        end_line(flow, out, true);
    }
}
