#include "analyzer/document.h"

#include <string.h>

#include "base/utf8.h"

#define TITLE_MOST          200
#define HEADING_OWN_SECTION 2 /* headings down to this level always begin a section */

struct splitter {
    struct span text;
    const struct document_limits *limits;
    struct arena *arena;
    struct document *out;
    size_t begin; /* of the section that grows */
    struct span title;
    uint32_t level;
};

struct status document_type(struct span media_type, struct span name, enum document_type *out)
{
    static const struct {
        struct span media;
        struct span ending;
        enum document_type type;
    } types[] = {
        {SPAN("text/markdown"), SPAN(".md"), DOCUMENT_MARKDOWN},
        {SPAN("text/x-markdown"), SPAN(".markdown"), DOCUMENT_MARKDOWN},
        {SPAN("text/plain"), SPAN(".txt"), DOCUMENT_TEXT},
    };
    struct span media = span_trim(span_first(media_type, span_find_char(media_type, ';')));
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        bool named =
            name.len > types[i].ending.len &&
            span_eq_nocase(span_from(name, name.len - types[i].ending.len), types[i].ending);
        if (media.len > 0 ? span_eq_nocase(media, types[i].media) : named) {
            *out = types[i].type;
            return STATUS_SUCCESS;
        }
    }
    if (media.len == 0) {
        *out = DOCUMENT_MARKDOWN; /* plain text without markup reads the same */
        return STATUS_SUCCESS;
    }
    return status_of(REASON_DOCUMENT_TYPE, "documents are read as text/markdown or text/plain");
}

size_t document_words(struct span text)
{
    size_t words = 0;
    bool inside = false;
    for (size_t i = 0; i < text.len; i++) {
        bool blank =
            text.at[i] == ' ' || text.at[i] == '\n' || text.at[i] == '\t' || text.at[i] == '\r';
        words += !blank && !inside;
        inside = !blank;
    }
    return words;
}

/* --- sections --------------------------------------------------------------------------------- */

static bool add_section(struct splitter *s, size_t begin, size_t end, struct span title)
{
    struct span text = span_of(s->text.at + begin, end - begin);
    if (s->out->n_sections == s->limits->sections_most) {
        return false;
    }
    struct document_section *section = &s->out->sections[s->out->n_sections++];
    section->text = text;
    section->offset = begin + s->out->mark;
    section->words = document_words(text);
    section->level = s->level;
    section->title = arena_string(s->arena, utf8_first(title, TITLE_MOST));
    return true;
}

/* A place to cut at or before `at`: behind a blank line of its second half, else behind white
 * space, else between code points. Never at begin. */
static size_t cut_before(struct span text, size_t begin, size_t at)
{
    for (size_t i = at; i > begin + (at - begin) / 2 + 1; i--) {
        if (text.at[i - 1] == '\n' && text.at[i - 2] == '\n') {
            return i;
        }
    }
    for (size_t i = at; i > begin + 1; i--) {
        if (text.at[i - 1] == ' ' || text.at[i - 1] == '\n') {
            return i;
        }
    }
    while (at > begin + 1 && ((unsigned char)text.at[at] & 0xc0) == 0x80) {
        at--;
    }
    return at;
}

/* Where the first `words` words behind begin end. */
static size_t after_words(struct span text, size_t begin, size_t end, size_t words)
{
    bool inside = false;
    for (size_t i = begin; i < end; i++) {
        bool blank =
            text.at[i] == ' ' || text.at[i] == '\n' || text.at[i] == '\t' || text.at[i] == '\r';
        if (blank && inside && --words == 0) {
            return i;
        }
        inside = !blank;
    }
    return end;
}

/* Ends the section that grows, in parts where it is too long for one. */
static bool close_section(struct splitter *s, size_t end)
{
    size_t begin = s->begin;
    size_t words = document_words(span_of(s->text.at + begin, end - begin));
    if (words == 0) {
        return true; /* white space goes to what follows */
    }
    size_t parts = (words + s->limits->words_most - 1) / s->limits->words_most;
    size_t share = (words + parts - 1) / parts;
    for (size_t part = 1; begin < end; part++) {
        size_t cut = end;
        if (part < parts) {
            cut = cut_before(s->text, begin, after_words(s->text, begin, end, share));
        } else if (document_words(span_of(s->text.at + begin, end - begin)) >
                   s->limits->words_most) {
            cut =
                cut_before(s->text, begin, after_words(s->text, begin, end, s->limits->words_most));
        }
        struct span title = s->title;
        if (parts > 1) {
            title = span_str(arena_printf(s->arena, "%.*s (part %zu)",
                                          (int)(title.len < 180 ? title.len : 180),
                                          title.at != NULL ? title.at : "", part));
        }
        if (!add_section(s, begin, cut, title)) {
            return false;
        }
        begin = cut;
    }
    s->begin = end;
    return true;
}

/* --- headings --------------------------------------------------------------------------------- */

static struct span line_at(struct span text, size_t begin, size_t *next)
{
    size_t len = span_find_char(span_from(text, begin), '\n');
    *next = len == SPAN_MISSING ? text.len : begin + len + 1;
    struct span line =
        span_of(text.at + begin, (len == SPAN_MISSING ? text.len : begin + len) - begin);
    if (line.len > 0 && line.at[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

static size_t indent(struct span line)
{
    size_t n = 0;
    while (n < line.len && line.at[n] == ' ') {
        n++;
    }
    return n;
}

/* Level 1 to 6 of an ATX heading and its text; 0 when the line is none. */
static uint32_t atx_heading(struct span line, struct span *title)
{
    size_t at = indent(line), marks = at;
    while (marks < line.len && line.at[marks] == '#') {
        marks++;
    }
    uint32_t level = (uint32_t)(marks - at);
    if (at > 3 || level == 0 || level > 6 ||
        (marks < line.len && line.at[marks] != ' ' && line.at[marks] != '\t')) {
        return 0;
    }
    struct span text = span_trim(span_from(line, marks));
    size_t end = text.len;
    while (end > 0 && text.at[end - 1] == '#') {
        end--;
    }
    if (end < text.len && (end == 0 || text.at[end - 1] == ' ')) {
        text = span_trim(span_first(text, end));
    }
    *title = text;
    return level;
}

/* Level 1 or 2 when the line underlines the one before it. */
static uint32_t setext_level(struct span line)
{
    struct span marks = span_trim(line);
    if (indent(line) > 3 || marks.len < 3 || (marks.at[0] != '=' && marks.at[0] != '-')) {
        return 0;
    }
    for (size_t i = 1; i < marks.len; i++) {
        if (marks.at[i] != marks.at[0]) {
            return 0;
        }
    }
    return marks.at[0] == '=' ? 1 : 2;
}

static bool is_paragraph(struct span line)
{
    struct span text = span_trim(line);
    static const char not_text[] = "#>|-*+`~=";
    return text.len > 0 && indent(line) <= 3 &&
           memchr(not_text, text.at[0], sizeof(not_text) - 1) == NULL;
}

/* The fence a line opens or closes: its character, with its length; '\0' when it is none. */
static char fence_of(struct span line, size_t *len)
{
    size_t at = indent(line), end = at;
    if (at > 3 || at >= line.len || (line.at[at] != '`' && line.at[at] != '~')) {
        return '\0';
    }
    while (end < line.len && line.at[end] == line.at[at]) {
        end++;
    }
    *len = end - at;
    return *len >= 3 ? line.at[at] : '\0';
}

/* A heading that stands at `at`: does it begin a section, and what of the title. */
static bool take_heading(struct splitter *s, size_t at, uint32_t level, struct span title,
                         size_t following)
{
    size_t words = document_words(span_of(s->text.at + s->begin, at - s->begin));
    bool enough = words >= s->limits->words_least;
    bool too_long = words + following > s->limits->words_most;
    if ((level <= HEADING_OWN_SECTION && enough) || (too_long && words > 0)) {
        if (!close_section(s, at)) {
            return false;
        }
        s->title = title;
        s->level = level;
    } else if (s->level == 0 || !enough) {
        /* Only a heading, or a few words, stand before it: what follows gives the section its name.
         */
        s->title = title;
        s->level = level;
    }
    return true;
}

struct heading {
    size_t at;
    uint32_t level;
    struct span title;
};

static size_t find_headings(struct span text, struct heading *headings, size_t most)
{
    size_t n = 0, fence_len = 0, before = 0;
    char fence = '\0';
    struct span last = SPAN_NONE;
    for (size_t at = 0, next; at < text.len && n < most; before = at, at = next) {
        struct span line = line_at(text, at, &next);
        size_t len = 0;
        char mark = fence_of(line, &len);
        if (fence != '\0') {
            if (mark == fence && len >= fence_len && span_trim(line).len == len) {
                fence = '\0';
            }
            last = SPAN_NONE;
            continue;
        }
        if (mark != '\0') {
            fence = mark;
            fence_len = len;
            last = SPAN_NONE;
            continue;
        }
        struct span title;
        uint32_t level = atx_heading(line, &title);
        if (level > 0) {
            headings[n++] = (struct heading){at, level, title};
        } else if (is_paragraph(last) && (level = setext_level(line)) > 0) {
            headings[n++] = (struct heading){before, level, span_trim(last)};
        }
        last = line;
    }
    return n;
}

static struct status too_many(const struct document_limits *limits, struct arena *arena)
{
    return status_of(
        REASON_DOCUMENT_TOO_LARGE,
        arena_printf(arena, "the document has more than %zu sections", limits->sections_most));
}

static struct status begin(struct span bytes, const struct document_limits *limits,
                           struct arena *arena, struct document *out)
{
    if (bytes.len > limits->bytes_most) {
        return status_of(
            REASON_DOCUMENT_TOO_LARGE,
            arena_printf(arena, "%zu bytes; at most %zu are read", bytes.len, limits->bytes_most));
    }
    *out = (struct document){.text = bytes};
    if (span_starts(bytes, SPAN("\xef\xbb\xbf"))) {
        out->mark = 3;
        out->text = span_from(bytes, 3);
    }
    if (!utf8_valid(out->text) || span_find_char(out->text, '\0') != SPAN_MISSING) {
        return status_of(REASON_BAD_ENCODING, "the document is not UTF-8 text");
    }
    if (document_words(out->text) == 0) {
        return status_of(REASON_DOCUMENT_EMPTY, NULL);
    }
    out->sections = ARENA_ARRAY(arena, struct document_section, limits->sections_most);
    return STATUS_SUCCESS;
}

struct status document_split(struct span bytes, enum document_type type,
                             const struct document_limits *limits, struct arena *arena,
                             struct document *out)
{
    struct document document;
    TRY(begin(bytes, limits, arena, &document));
    size_t most = 8 * limits->sections_most;
    struct heading *headings = ARENA_ARRAY(arena, struct heading, most);
    size_t n = type == DOCUMENT_MARKDOWN ? find_headings(document.text, headings, most) : 0;
    if (n == most) {
        return too_many(limits, arena);
    }
    struct splitter s = {
        .text = document.text,
        .limits = limits,
        .arena = arena,
        .out = &document,
        .title = SPAN("Beginning"),
    };
    for (size_t i = 0; i < n; i++) {
        size_t end = i + 1 < n ? headings[i + 1].at : document.text.len;
        size_t following =
            document_words(span_of(document.text.at + headings[i].at, end - headings[i].at));
        if (!take_heading(&s, headings[i].at, headings[i].level, headings[i].title, following)) {
            return too_many(limits, arena);
        }
    }
    if (!close_section(&s, document.text.len)) {
        return too_many(limits, arena);
    }
    if (document.n_sections > 0 && s.begin < document.text.len) {
        struct document_section *last = &document.sections[document.n_sections - 1];
        last->text.len = document.text.len - (last->offset - document.mark);
    }
    *out = document;
    return STATUS_SUCCESS;
}

struct status document_whole(struct span bytes, struct span title,
                             const struct document_limits *limits, struct arena *arena,
                             struct document *out)
{
    struct document document;
    TRY(begin(bytes, limits, arena, &document));
    document.n_sections = 1;
    document.sections[0] = (struct document_section){
        .text = document.text,
        .title = arena_string(arena, utf8_first(title, TITLE_MOST)),
        .offset = document.mark,
        .words = document_words(document.text),
    };
    *out = document;
    return STATUS_SUCCESS;
}
