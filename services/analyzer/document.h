/*
 * document.h -- a document as sections, split by its own headings.
 *
 * Floor 6, pure. Markdown: ATX and setext headings outside fenced code (CommonMark 4.2, 4.3, 4.5).
 * A heading of level 1 or 2 begins a section; deeper ones do where a section would grow beyond
 * what one call should read. What is too long without headings is cut between paragraphs, else
 * between words. Sections cover the whole document, in order, without gaps.
 */
#ifndef PRISM_ANALYZER_DOCUMENT_H
#define PRISM_ANALYZER_DOCUMENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"

struct document_limits {
    size_t bytes_most;
    size_t sections_most;
    size_t words_most;  /* of a section */
    size_t words_least; /* shorter ones are joined with what follows */
};

enum document_type {
    DOCUMENT_MARKDOWN,
    DOCUMENT_TEXT,
};

struct document_section {
    struct span text;  /* of the document, heading included */
    const char *title; /* in the arena; of at most 200 bytes */
    uint32_t level;    /* of its heading, 0: it has none */
    size_t offset;
    size_t words;
};

struct document {
    struct span text; /* without a byte order mark */
    size_t mark;      /* bytes of it that were left out */
    struct document_section *sections;
    size_t n_sections;
};

/* From the media type, else the name's ending; DOCUMENT_TYPE when it is one that is not read. */
struct status document_type(struct span media_type, struct span name,
                            enum document_type *out) NODISCARD;

/* Reasons: DOCUMENT_EMPTY, DOCUMENT_TOO_LARGE, BAD_ENCODING. The document points into bytes. */
struct status document_split(struct span bytes, enum document_type type,
                             const struct document_limits *limits, struct arena *arena,
                             struct document *out) NODISCARD;

/* The whole as one section. */
struct status document_whole(struct span bytes, struct span title,
                             const struct document_limits *limits, struct arena *arena,
                             struct document *out) NODISCARD;

/* By white space; what has none for long (scripts without spaces, encoded data) counts as several.
 */
size_t document_words(struct span text);

#endif
