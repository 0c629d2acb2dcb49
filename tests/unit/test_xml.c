/* XML as AWS's older services answer, and as nobody should. */
#include <string.h>

#include "codec/xml.h"
#include "harness.h"

static const struct {
    const char *document;
    const char *a; /* texts of "r/a" and "r/b/a"; NULL: refused */
    const char *b;
    const char *why;
} cases[] = {
    {"<r><a>x</a><b><a>y</a></b></r>", "x", "y", NULL},
    {"<?xml version='1.0'?>\n<r xmlns='u:n'>\n <a> x\n</a>\n</r>\n", "x", "", NULL},
    {"<p:r xmlns:p='u'><p:a>x</p:a></p:r>", "x", "", NULL},
    {"<r><a>1</a><a>2</a></r>", "1", "", NULL},
    {"<r><a>&lt;&#65;&amp;</a></r>", "<A&", "", NULL},
    {"<r><a><![CDATA[<x>]]></a></r>", "<x>", "", NULL},
    {"<r><a>x<!-- y -->z<c>no</c>!</a></r>", "xz!", "", NULL},
    {"<r><a/><b><a></a></b></r>", "", "", NULL},
    {"\xEF\xBB\xBF<r><a>\xC3\xA9</a></r>", "\xC3\xA9", "", NULL},
    {"<a>x</a>", "", "", NULL},
    {"", NULL, NULL, "it is empty"},
    {"x", NULL, NULL, "syntax error"},
    {"<r><a>x</a>", NULL, NULL, "no element found"},
    {"<r><a>x</b></r>", NULL, NULL, "mismatched tag"},
    {"<r><a>\xff</a></r>", NULL, NULL, "not well-formed"},
    {"<r><a>x</a></r><r/>", NULL, NULL, "junk"},
    {"<r><a>&b;</a></r>", NULL, NULL, "undefined entity"},
    {"<!DOCTYPE r SYSTEM 'file:///etc/passwd'><r/>", NULL, NULL, "document type"},
    {"<!DOCTYPE r [<!ENTITY l 'l'><!ENTITY m '&l;&l;'>]><r><a>&m;</a></r>", NULL, NULL,
     "document type"},
};

static void documents(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
        struct xml_element elements[] = {{.path = "r/a"}, {.path = "r/b/a"}};
        const char *why =
            xml_read(span_str(cases[i].document), arena, elements, ARRAY_LEN(elements));
        if (cases[i].a != NULL) {
            assert_null(why);
            assert_span(elements[0].text, span_str(cases[i].a));
            assert_span(elements[1].text, span_str(cases[i].b));
        } else {
            assert_non_null(why);
            if (strstr(why, cases[i].why) == NULL) {
                fail_msg("%s: %s", cases[i].document, why);
            }
            assert_int_equal(elements[0].text.len, 0);
        }
    }
}

static void bounds(void **state)
{
    (void)state;
    static char large[XML_SIZE_MOST + 1];
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    struct xml_element element = {.path = "r/a"};
    memset(large, ' ', sizeof(large));
    assert_non_null(strstr(xml_read(span_of(large, sizeof(large)), arena, &element, 1), "large"));
    for (size_t i = 0; i + 3 < sizeof(large); i += 3) {
        memcpy(large + i, "<a>", 3);
    }
    const char *why = xml_read(span_of(large, 3 * XML_DEPTH_MOST), arena, &element, 1);
    assert_non_null(strstr(why, "no element found"));
    why = xml_read(span_of(large, sizeof(large) - 1), arena, &element, 1);
    assert_non_null(strstr(why, "nested"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(documents),
    cmocka_unit_test(bounds),
};

HARNESS_MAIN(tests)
