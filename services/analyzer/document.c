#include "analyzer/document.h"

#include <string.h>

#include "base/utf8.h"

#define TITLE_MOST          200
#define PART_TITLE_MOST     180 /* leaves room for " (part 12)" */
#define HEADING_OWN_SECTION 2   /* headings down to this level always begin a section */
#define WORD_MOST           64  /* bytes that count as one word where no white space comes */

struct splitter {
    struct span text;
    const struct document_limits *limits;
    struct arena *arena;
    struct document *out;
    size_t begin; /* of the section that grows */
    size_t words; /* in it so far */
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

/* Whether a word begins at c; run: bytes since the last white space. */
static bool begins_word(char c, size_t *run)
{
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
        *run = 0;
        return false;
    }
    return (*run)++ % WORD_MOST == 0;
}

size_t document_words(struct span text)
{
    size_t words = 0, run = 0;
    for (size_t i = 0; i < text.len; i++) {
        words += begins_word(text.at[i], &run);
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

static bool ends_blank_line(struct span text, size_t at)
{
    if (at < 2 || text.at[at - 1] != '\n') {
        return false;
    }
    return text.at[at - 2] == '\n' ||
           (at > 2 && text.at[at - 2] == '\r' && text.at[at - 3] == '\n');
}

/* A place to cut at or before `at`, where a word is that shall not be in the part: behind a blank
 * line of its second half, else behind white space, else between code points. The part keeps a word
 * at least. */
static size_t cut_before(struct span text, size_t begin, size_t at)
{
    size_t first = begin; /* of its first word */
    for (size_t run = 0; !begins_word(text.at[first], &run);) {
        first++;
    }
    size_t middle = begin + (at - begin) / 2;
    for (size_t i = at; i > middle && i > first; i--) {
        if (ends_blank_line(text, i)) {
            return i;
        }
    }
    for (size_t i = at; i > first; i--) {
        if (text.at[i - 1] == ' ' || text.at[i - 1] == '\n') {
            return i;
        }
    }
    while (((unsigned char)text.at[at] & 0xc0) == 0x80) {
        at--;
    }
    return at;
}

/* Where the word behind the first `words` words begins; end when there is none. */
static size_t after_words(struct span text, size_t begin, size_t end, size_t words)
{
    size_t seen = 0, run = 0;
    for (size_t i = begin; i < end; i++) {
        if (begins_word(text.at[i], &run) && seen++ == words) {
            return i;
        }
    }
    return end;
}

static struct span part_title(const struct splitter *s, size_t part)
{
    struct span title = utf8_first(s->title, PART_TITLE_MOST);
    return span_str(arena_printf(s->arena, "%.*s (part %zu)", (int)title.len, title.at, part));
}

/* Ends the section that grows, in parts of about the same length where it is too long for one. */
static bool close_section(struct splitter *s, size_t end)
{
    size_t most = s->limits->words_most, left = s->words;
    if (left == 0) {
        return true; /* white space goes to what follows */
    }
    bool whole = left <= most;
    for (size_t part = 1; s->begin < end; part++) {
        size_t parts = (left + most - 1) / most;
        size_t share = parts > 1 ? (left + parts - 1) / parts : most;
        size_t cut = after_words(s->text, s->begin, end, share);
        if (cut < end) {
            cut = cut_before(s->text, s->begin, cut);
        }
        if (!add_section(s, s->begin, cut, whole ? s->title : part_title(s, part))) {
            return false;
        }
        size_t taken = s->out->sections[s->out->n_sections - 1].words;
        left -= taken < left ? taken : left;
        s->begin = cut;
    }
    s->words = 0;
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
    if (end < text.len && (end == 0 || text.at[end - 1] == ' ' || text.at[end - 1] == '\t')) {
        text = span_trim(span_first(text, end));
    }
    *title = text;
    return level;
}

/* Level 1 or 2 when the line underlines the one before it. */
static uint32_t setext_level(struct span line)
{
    struct span marks = span_trim(line);
    if (indent(line) > 3 || marks.len == 0 || (marks.at[0] != '=' && marks.at[0] != '-')) {
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
    bool code_span =
        line.at[at] == '`' && span_find_char(span_from(line, end), '`') != SPAN_MISSING;
    return *len >= 3 && !code_span ? line.at[at] : '\0';
}

struct heading {
    size_t at;
    uint32_t level;
    struct span title;
};

/* Goes through a document line by line. */
struct scanner {
    struct span text;
    size_t at;
    size_t before;    /* where the last line began */
    struct span last; /* that line; empty where it cannot be underlined */
    char fence;       /* of the code block it is in, '\0': none */
    size_t fence_len;
};

/* Whether the line is fenced code, or the fence itself. */
static bool in_fence(struct scanner *scan, struct span line)
{
    size_t len = 0;
    char mark = fence_of(line, &len);
    if (scan->fence == '\0') {
        scan->fence = mark;
        scan->fence_len = len;
        return mark != '\0';
    }
    if (mark == scan->fence && len >= scan->fence_len && span_trim(line).len == len) {
        scan->fence = '\0';
    }
    return true;
}

static bool next_heading(struct scanner *scan, struct heading *out)
{
    while (scan->at < scan->text.len) {
        size_t at = scan->at, before = scan->before;
        struct span line = line_at(scan->text, at, &scan->at), last = scan->last, title;
        bool code = in_fence(scan, line);
        scan->before = at;
        scan->last = code ? SPAN_NONE : line;
        if (code) {
            continue;
        }
        uint32_t level = atx_heading(line, &title);
        if (level > 0) {
            *out = (struct heading){at, level, title};
            return true;
        }
        if (is_paragraph(last) && (level = setext_level(line)) > 0) {
            *out = (struct heading){before, level, span_trim(last)};
            return true;
        }
    }
    return false;
}

/* A heading with `following` words up to the next one: does it begin a section, and what of the
 * title. */
static bool take_heading(struct splitter *s, const struct heading *heading, size_t following)
{
    bool enough = s->words > 0 && s->words >= s->limits->words_least;
    bool too_long = s->words > 0 && s->words + following > s->limits->words_most;
    bool closes = (heading->level <= HEADING_OWN_SECTION && enough) || too_long;
    if (closes && !close_section(s, heading->at)) {
        return false;
    }
    if (closes || !enough) { /* a few words before it at most: it names the section */
        s->title = heading->title;
        s->level = heading->level;
    }
    s->words += following;
    return true;
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
    struct scanner scan = {.text = document.text};
    struct splitter s = {
        .text = document.text,
        .limits = limits,
        .arena = arena,
        .out = &document,
        .title = SPAN("Beginning"),
    };
    struct heading heading, next;
    bool more = type == DOCUMENT_MARKDOWN && next_heading(&scan, &heading);
    s.words = document_words(span_first(document.text, more ? heading.at : document.text.len));
    for (; more; heading = next) {
        more = next_heading(&scan, &next);
        size_t end = more ? next.at : document.text.len;
        size_t following = document_words(span_of(document.text.at + heading.at, end - heading.at));
        if (!take_heading(&s, &heading, following)) {
            return too_many(limits, arena);
        }
    }
    if (!close_section(&s, document.text.len)) {
        return too_many(limits, arena);
    }
    if (s.begin < document.text.len) { /* white space at the end */
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
