#include "base/utf8.h"

size_t utf8_sequence(struct span text)
{
    const unsigned char *s = (const unsigned char *)text.at;
    size_t len = s[0] < 0x80   ? 1
                 : s[0] < 0xc2 ? 0
                 : s[0] < 0xe0 ? 2
                 : s[0] < 0xf0 ? 3
                 : s[0] < 0xf5 ? 4
                               : 0;
    if (len == 0 || len > text.len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || beyond ? 0 : len;
}

/* Bytes of ASCII at the start of text, looked at eight at a time: most text is that. */
static size_t ascii_run(struct span text)
{
    size_t run = 0;
    for (uint64_t eight; text.len - run >= sizeof(eight); run += sizeof(eight)) {
        memcpy(&eight, text.at + run, sizeof(eight));
        if ((eight & 0x8080808080808080) != 0) {
            break;
        }
    }
    return run;
}

bool utf8_valid(struct span text)
{
    while (text.len > 0) {
        size_t ascii = ascii_run(text);
        size_t len = ascii > 0 ? ascii : utf8_sequence(text);
        if (len == 0) {
            return false;
        }
        text = span_from(text, len);
    }
    return true;
}

uint32_t utf8_decode(const char *at, size_t len)
{
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code_point = (unsigned char)at[0] & masks[len];
    for (size_t i = 1; i < len; i++) {
        code_point = code_point << 6 | ((unsigned char)at[i] & 0x3f);
    }
    return code_point;
}

void utf8_add(struct buf *out, uint32_t c)
{
    check(c <= 0x10ffff);
    if (c < 0x80) {
        buf_add_char(out, (char)c);
    } else if (c < 0x800) {
        buf_add(out, (char[]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))}, 2);
    } else if (c < 0x10000) {
        buf_add(out,
                (char[]){(char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3f)),
                         (char)(0x80 | (c & 0x3f))},
                3);
    } else {
        buf_add(out,
                (char[]){(char)(0xf0 | c >> 18), (char)(0x80 | (c >> 12 & 0x3f)),
                         (char)(0x80 | (c >> 6 & 0x3f)), (char)(0x80 | (c & 0x3f))},
                4);
    }
}

struct span utf8_first(struct span text, size_t len)
{
    if (text.len <= len) {
        return text;
    }
    while (len > 0 && ((unsigned char)text.at[len] & 0xc0) == 0x80) {
        len--;
    }
    return span_first(text, len);
}

void utf8_add_json(struct buf *out, struct span text)
{
    buf_add_char(out, '"');
    size_t plain = 0; /* bytes at the start of text that need no escape */
    while (plain < text.len) {
        unsigned char c = (unsigned char)text.at[plain];
        size_t len = c < 0x80 ? 1 : utf8_sequence(span_from(text, plain));
        if (len > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            plain += len;
            continue;
        }
        buf_add(out, text.at, plain);
        if (len == 0) {
            buf_add_str(out, "\xef\xbf\xbd");
        } else if (c == '"' || c == '\\') {
            buf_add_char(out, '\\');
            buf_add_char(out, (char)c);
        } else if (c == '\n') {
            buf_add_str(out, "\\n");
        } else {
            buf_addf(out, "\\u%04x", c);
        }
        text = span_from(text, plain + 1);
        plain = 0;
    }
    buf_add(out, text.at, plain);
    buf_add_char(out, '"');
}
