/* A model's answer is one small JSON text a token, which takes a general parser longer than all
 * else that happens to the token. */
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"
#include "codec/json_tree.h"

#define DEPTH_MOST  16
#define VALUES_MOST 256 /* keys are compared with each other */
#define DIGITS_MOST 18  /* of an integer: fits int64_t whatever they are */

struct plain {
    const char *at;
    const char *end;
    struct arena *arena;
    unsigned depth;
    unsigned values;
};

/* The next byte that is no white space; 0 at the end, which no value begins with. */
static char peek(struct plain *p)
{
    while (p->at < p->end && (*p->at == ' ' || (*p->at >= '\t' && *p->at <= '\r'))) {
        if (*p->at == '\v' || *p->at == '\f') {
            return 0;
        }
        p->at++;
    }
    return p->at < p->end ? *p->at : 0;
}

static bool take(struct plain *p, char c)
{
    if (peek(p) != c) {
        return false;
    }
    p->at++;
    return true;
}

/* What a backslash and c stand for; 0: it is no simple escape. */
static char escaped(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

/* A copy without its backslashes, of which it has some. */
static bool unescape(struct plain *p, struct span raw, struct span *out)
{
    char *copy = arena_string(p->arena, raw);
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.at[i];
        if (c == '\\') {
            c = escaped(raw.at[++i]);
            if (c == 0) {
                return false;
            }
        }
        copy[len++] = c;
    }
    copy[len] = '\0';
    *out = span_of(copy, len);
    return true;
}

static bool read_string(struct plain *p, struct span *out)
{
    if (!take(p, '"')) {
        return false;
    }
    const char *begin = p->at;
    unsigned char all = 0; /* any bit of any byte */
    bool escapes = false;
    for (; p->at < p->end && *p->at != '"'; p->at++) {
        if ((unsigned char)*p->at < ' ') {
            return false;
        }
        all |= (unsigned char)*p->at;
        if (*p->at == '\\') {
            escapes = true;
            if (++p->at == p->end) {
                return false;
            }
        }
    }
    if (p->at == p->end) {
        return false;
    }
    struct span raw = span_of(begin, (size_t)(p->at - begin));
    p->at++;
    if ((all & 0x80) != 0 && !utf8_valid(raw)) {
        return false;
    }
    if (escapes) {
        return unescape(p, raw, out);
    }
    *out = arena_copy(p->arena, raw);
    return true;
}

/* Without fraction and exponent. */
static bool read_integer(struct plain *p, struct json *out)
{
    bool negative = take(p, '-');
    const char *begin = p->at;
    int64_t value = 0;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9' && p->at - begin < DIGITS_MOST) {
        value = 10 * value + (*p->at++ - '0');
    }
    ptrdiff_t digits = p->at - begin;
    char next = p->at < p->end ? *p->at : 0;
    bool ends = (next < '0' || next > '9') && next != '.' && next != 'e' && next != 'E';
    if (!ends || digits == 0 || (*begin == '0' && digits > 1)) {
        return false;
    }
    out->type = JSON_INTEGER;
    out->integer = negative ? -value : value;
    return true;
}

static bool read_word(struct plain *p, struct json *out)
{
    static const struct {
        struct span word;
        enum json_type type;
        bool truth;
    } words[] = {
        {SPAN("null"), JSON_NULL, false},
        {SPAN("true"), JSON_BOOL, true},
        {SPAN("false"), JSON_BOOL, false},
    };
    struct span rest = span_of(p->at, (size_t)(p->end - p->at));
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (span_starts(rest, words[i].word)) {
            p->at += words[i].word.len;
            out->type = words[i].type;
            if (out->type == JSON_BOOL) {
                out->truth = words[i].truth;
            }
            return true;
        }
    }
    return false;
}

static bool read_value(struct plain *p, struct json *out);

static bool read_key(struct plain *p, const struct json *object, struct json *member)
{
    if (!read_string(p, &member->key) || !take(p, ':')) {
        return false;
    }
    for (size_t i = 0; i < object->count; i++) {
        if (span_eq(object->children[i].key, member->key)) {
            return false;
        }
    }
    return true;
}

/* Of an array or an object; keeps out's own key. */
static bool read_children(struct plain *p, char close, struct json *out)
{
    size_t cap = 0;
    p->at++; /* the bracket */
    out->type = close == '}' ? JSON_OBJECT : JSON_ARRAY;
    out->count = 0;
    out->children = NULL;
    if (take(p, close)) {
        return true;
    }
    do {
        if (out->count == cap) {
            cap = cap > 0 ? 2 * cap : 4;
            struct json *more = ARENA_ARRAY(p->arena, struct json, cap);
            if (out->count > 0) {
                memcpy(more, out->children, out->count * sizeof(*more));
            }
            out->children = more;
        }
        struct json *child = &out->children[out->count];
        if ((close == '}' && !read_key(p, out, child)) || !read_value(p, child)) {
            return false;
        }
        out->count++;
    } while (take(p, ','));
    return take(p, close);
}

static bool read_value(struct plain *p, struct json *out)
{
    char c = peek(p);
    if (p->values++ == VALUES_MOST) {
        return false;
    }
    if (c == '"') {
        out->type = JSON_STRING;
        return read_string(p, &out->string);
    }
    if (c == '{' || c == '[') {
        if (p->depth == DEPTH_MOST) {
            return false;
        }
        p->depth++;
        bool whole = read_children(p, c == '{' ? '}' : ']', out);
        p->depth--;
        return whole;
    }
    return (c >= '0' && c <= '9') || c == '-' ? read_integer(p, out) : read_word(p, out);
}

bool json_read_plain(struct span text, struct arena *arena, struct json *root)
{
    if (text.len == 0) {
        return false;
    }
    struct plain p = {.at = text.at, .end = text.at + text.len, .arena = arena};
    return read_value(&p, root) && peek(&p) == 0 && p.at == p.end;
}
