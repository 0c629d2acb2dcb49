/* What says who we are: AWS's shared files, the token service's XML, the metadata services' JSON.
 */
#include <string.h>

#include "aws/source.h"
#include "codec/ini.h"
#include "codec/xml.h"
#include "fuzz.h"

#define MEMORY (1u << 20)

static void check_within(struct span part, struct span text)
{
    check(part.len == 0 || (part.at >= text.at && part.at + part.len <= text.at + text.len));
    check(span_find_char(part, '\n') == SPAN_MISSING);
    check(span_eq(part, span_trim(part)));
}

/* Every entry is a piece of one line, in order, and reading ends. */
static void check_ini(struct span text)
{
    struct ini ini;
    struct ini_entry entry;
    size_t lines = 1, last = 0;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.at[i] == '\n';
    }
    ini_init(&ini, text);
    while (ini_next(&ini, &entry)) {
        check(ini.line > last && ini.line <= lines && ini.within);
        last = ini.line;
        check_within(entry.section, text);
        check_within(entry.key, text);
        check_within(entry.value, text);
    }
    check(ini.line <= lines);
    check(!ini_next(&ini, &entry)); /* nor does it begin again */
}

/* Found or not, the same twice; nothing is left of a document that is none. */
static void check_xml(struct span text)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(MEMORY);
    struct xml_element a[] = {{.path = "ErrorResponse/Error/Code"}, {.path = "a/b"}, {.path = "a"}};
    struct xml_element b[] = {{.path = a[0].path}, {.path = a[1].path}, {.path = a[2].path}};
    const char *why = xml_read(text, arena, a, ARRAY_LEN(a));
    const char *again = xml_read(text, arena, b, ARRAY_LEN(b));
    check((why == NULL) == (again == NULL));
    for (size_t i = 0; i < ARRAY_LEN(a); i++) {
        check(span_eq(a[i].text, b[i].text));
        check(why == NULL || a[i].text.len == 0);
    }
}

/* Keys that are taken can be sent in a header. */
static void check_keys(struct span text)
{
    CLEANUP(json_drop) struct json *root = json_parse(text, NULL);
    struct credentials_values values;
    uint64_t left_ms;
    if (source_read_keys(root, &values, &left_ms) == NULL) {
        check(values.access_key.len > 0 && values.secret_key.len > 0);
        const struct span all[] = {values.access_key, values.secret_key, values.session_token};
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
            check(span_find_char(all[i], '\n') == SPAN_MISSING);
            check(span_find_char(all[i], '\r') == SPAN_MISSING);
            check(span_find_char(all[i], '\0') == SPAN_MISSING);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_of(data, size);
    check_ini(text);
    check_xml(text);
    check_keys(text);
    return 0;
}
