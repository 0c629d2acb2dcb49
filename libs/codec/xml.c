#include "codec/xml.h"

#include <expat.h>

#include "base/buf.h"

#define PATH_MOST 4096

struct reading {
    XML_Parser parser;
    struct arena *arena;
    struct xml_element *elements;
    size_t n;
    struct buf path;
    size_t depth;
    struct xml_element *open; /* whose text is being read */
    size_t open_depth;
    struct buf text;
    const char *refused;
};

static void refuse(struct reading *r, const char *why)
{
    r->refused = why;
    XML_StopParser(r->parser, XML_FALSE);
}

static struct xml_element *wanted(const struct reading *r)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->elements[i].text.at == NULL &&
            span_eq(buf_span(&r->path), span_str(r->elements[i].path))) {
            return &r->elements[i];
        }
    }
    return NULL;
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reading *r = arg;
    (void)attributes;
    struct span local = span_str(name);
    size_t colon = span_find_char(local, ':');
    if (colon != SPAN_MISSING) {
        local = span_from(local, colon + 1);
    }
    buf_add_str(&r->path, r->depth > 0 ? "/" : "");
    buf_add_span(&r->path, local);
    if (++r->depth > XML_DEPTH_MOST || !buf_ok(&r->path)) {
        refuse(r, "it is nested too deeply");
        return;
    }
    if (r->open == NULL && (r->open = wanted(r)) != NULL) {
        r->open_depth = r->depth;
        buf_reset(&r->text);
    }
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
    struct reading *r = arg;
    if (r->open != NULL && r->depth == r->open_depth) {
        buf_add(&r->text, text, (size_t)len);
    }
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    struct reading *r = arg;
    (void)name;
    if (r->open != NULL && r->depth == r->open_depth) {
        r->open->text = arena_copy(r->arena, span_trim(buf_span(&r->text)));
        r->open = NULL;
    }
    size_t len = r->path.len;
    while (len > 0 && r->path.at[len - 1] != '/') {
        len--;
    }
    buf_truncate(&r->path, len > 0 ? len - 1 : 0);
    r->depth--;
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int has_subset)
{
    (void)name, (void)system, (void)public, (void)has_subset;
    refuse(arg, "it declares a document type");
}

const char *xml_read(struct span document, struct arena *arena, struct xml_element *elements,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        elements[i].text = SPAN_NONE;
    }
    if (document.len == 0 || document.len > XML_SIZE_MOST) {
        return document.len == 0 ? "it is empty" : "it is too large";
    }
    struct reading r = {
        .parser = XML_ParserCreate(NULL), .arena = arena, .elements = elements, .n = n};
    check(r.parser != NULL);
    buf_init(&r.path, PATH_MOST);
    buf_init(&r.text, XML_SIZE_MOST);
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    const char *why = NULL;
    if (XML_Parse(r.parser, document.at, (int)document.len, XML_TRUE) != XML_STATUS_OK) {
        why = r.refused != NULL ? r.refused : XML_ErrorString(XML_GetErrorCode(r.parser));
        for (size_t i = 0; i < n; i++) {
            elements[i].text = SPAN_NONE;
        }
    }
    XML_ParserFree(r.parser);
    if (r.text.cap > 0) {
        explicit_bzero(r.text.at, r.text.cap); /* it may have held a key */
    }
    buf_clear(&r.path);
    buf_clear(&r.text);
    return why;
}
