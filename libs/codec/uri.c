#include "codec/uri.h"

#include "base/check.h"

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool unreserved(char c)
{
    return letter(c) || digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* -1 when it is no hex digit. */
static int hex_value(char c)
{
    if (digit(c)) {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that text, which starts with '%', stands for; -1 when it is no escape. */
static int escaped(struct span text)
{
    if (text.len < 3) {
        return -1;
    }
    int high = hex_value(text.at[1]);
    int low = hex_value(text.at[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

void uri_add_encoded(struct buf *out, struct span text, const char *keep)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.at[i];
        if (unreserved(text.at[i]) || one_of(text.at[i], keep)) {
            buf_add_char(out, text.at[i]);
        } else {
            buf_add(out, (char[]){'%', digits[byte >> 4], digits[byte & 15]}, 3);
        }
    }
}

/* Only unreserved characters, those of also and whole escapes. */
static bool well_formed(struct span text, const char *also)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%' ? escaped(span_from(text, i)) < 0 : !unreserved(c) && !one_of(c, also)) {
            return false;
        }
    }
    return true;
}

bool uri_decode(struct buf *out, struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '%' && escaped(span_from(text, i)) < 0) {
            return false;
        }
    }
    while (text.len > 0) {
        size_t plain = span_find_char(text, '%');
        buf_add_span(out, span_first(text, plain));
        text = span_from(text, plain);
        if (text.len > 0) {
            buf_add_char(out, (char)escaped(text));
            text = span_from(text, 3);
        }
    }
    return true;
}

#define SUB_DELIMS "!$&'()*+,;="

/* host [":" port], where an IPv6 address stands in brackets. */
static bool authority_parse(struct uri *uri)
{
    struct span rest = uri->authority;
    if (rest.len > 0 && rest.at[0] == '[') {
        size_t end = span_find_char(rest, ']');
        if (end == SPAN_MISSING) {
            return false;
        }
        uri->host = span_of(rest.at + 1, end - 1);
        rest = span_of(rest.at + end + 1, rest.len - end - 1);
        for (size_t i = 0; i < uri->host.len; i++) {
            if (hex_value(uri->host.at[i]) < 0 && !one_of(uri->host.at[i], ":.")) {
                return false;
            }
        }
    } else {
        size_t end = span_find_char(rest, ':');
        uri->host = span_first(rest, end);
        rest = span_from(rest, end);
        if (!well_formed(uri->host, SUB_DELIMS)) {
            return false;
        }
    }
    if (uri->host.len == 0 || rest.len == 0) {
        return uri->host.len > 0;
    }
    uint64_t port;
    if (rest.at[0] != ':' || !span_parse_u64(span_from(rest, 1), &port) || port == 0 ||
        port > UINT16_MAX) {
        return false;
    }
    uri->port = (uint16_t)port;
    return true;
}

bool uri_parse(struct span text, struct uri *out)
{
    struct uri uri = {0};
    size_t colon = span_find(text, SPAN("://"));
    if (colon == SPAN_MISSING) {
        return false;
    }
    uri.scheme = span_first(text, colon);
    if (!span_eq_nocase(uri.scheme, SPAN("https")) && !span_eq_nocase(uri.scheme, SPAN("http")) &&
        !span_eq_nocase(uri.scheme, SPAN("s3"))) {
        return false;
    }
    struct span rest = span_of(text.at + colon + 3, text.len - colon - 3);
    size_t end = 0;
    while (end < rest.len && rest.at[end] != '/' && rest.at[end] != '?') {
        end++;
    }
    uri.authority = span_first(rest, end);
    rest = span_of(rest.at + end, rest.len - end);
    size_t mark = span_find_char(rest, '?');
    uri.path = span_first(rest, mark);
    uri.query = mark == SPAN_MISSING ? SPAN_NONE : span_from(rest, mark + 1);
    if (!authority_parse(&uri) || !well_formed(uri.path, SUB_DELIMS ":@/") ||
        !well_formed(uri.query, SUB_DELIMS ":@/?")) {
        return false;
    }
    *out = uri;
    return true;
}
