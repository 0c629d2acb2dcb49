/*
 * xml.h -- the texts of a few elements of a small XML document, as AWS's older services answer.
 *
 * Floor 1, pure. expat is in xml.c only. Document types, and with them entities of the document's
 * own, are refused; size, depth and the texts are bounded.
 */
#ifndef PRISM_CODEC_XML_H
#define PRISM_CODEC_XML_H

#include <stddef.h>

#include "base/arena.h"
#include "base/span.h"

#define XML_SIZE_MOST  (256u << 10)
#define XML_DEPTH_MOST 32

/* An element by its path, prefixes left out: "ErrorResponse/Error/Code". */
struct xml_element {
    const char *path;
    struct span text; /* of the first one, trimmed, without its children's; empty when absent */
};

/* Fills the texts, in arena. NULL, or why the document is none (static); then they are empty. */
const char *xml_read(struct span document, struct arena *arena, struct xml_element *elements,
                     size_t n) NODISCARD;

#endif
