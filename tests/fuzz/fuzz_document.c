/* Sections cover the document from its first byte to its last, each within the limits, and no cut
 * goes through a character. The first five bytes are the limits. */
#include <stdlib.h>

#include "analyzer/document.h"
#include "base/utf8.h"
#include "fuzz.h"

#define HEAD       5
#define BYTES_MOST (1u << 20)

static void check_text(const struct document_section *section, const struct document *document,
                       size_t offset)
{
    check(section->offset == document->mark + offset);
    check(section->text.at == document->text.at + offset);
    check(section->text.len > 0 && section->text.len <= document->text.len - offset);
    check(utf8_valid(section->text));
    check(strlen(section->title) <= 200 && utf8_valid(span_str(section->title)));
    check(section->level <= 6);
}

static void check_covered(const struct document *document, const struct document_limits *limits)
{
    size_t offset = 0;
    check(document->n_sections > 0 && document->n_sections <= limits->sections_most);
    for (size_t i = 0; i < document->n_sections; i++) {
        const struct document_section *section = &document->sections[i];
        check_text(section, document, offset);
        check(section->words > 0 && section->words == document_words(section->text));
        check(section->words <= limits->words_most);
        offset += section->text.len;
    }
    check(offset == document->text.len);
}

static void check_refused(struct status s)
{
    check(s.reason == REASON_DOCUMENT_EMPTY || s.reason == REASON_DOCUMENT_TOO_LARGE ||
          s.reason == REASON_BAD_ENCODING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD) {
        return 0;
    }
    const struct document_limits limits = {
        .bytes_most = BYTES_MOST,
        .sections_most = 1 + (data[0] | (size_t)data[1] << 8) % 2000,
        .words_most = 1 + data[2],
        .words_least = data[3],
    };
    struct span bytes = span_of(data + HEAD, size - HEAD);
    enum document_type type = data[4] % 2 == 0 ? DOCUMENT_MARKDOWN : DOCUMENT_TEXT;
    CLEANUP(arena_drop) struct arena *arena = arena_new(8u << 20);
    struct document document;
    struct status s = document_split(bytes, type, &limits, arena, &document);
    if (status_ok(s)) {
        check_covered(&document, &limits);
    } else {
        check_refused(s);
    }

    struct document whole;
    struct span title = utf8_first(bytes, data[3]);
    struct status t = document_whole(bytes, title, &limits, arena, &whole);
    check(status_ok(t) || !status_ok(s));
    if (status_ok(t)) {
        check(whole.n_sections == 1 && whole.sections[0].text.len == whole.text.len);
        check_text(&whole.sections[0], &whole, 0);
    }
    return 0;
}
