#include "codec/text.h"

#include "base/utf8.h"

/* --- base64 --- */

void text_add_base64(struct buf *out, struct span bytes)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = (bytes.len + 2) / 3 * 4;
    char *to = buf_reserve(out, len);
    if (to == NULL) {
        return;
    }
    const uint8_t *from = (const uint8_t *)bytes.at;
    for (size_t left = bytes.len; left > 0; to += 4) {
        size_t take = left < 3 ? left : 3;
        uint32_t group = (uint32_t)from[0] << 16 | (take > 1 ? (uint32_t)from[1] << 8 : 0) |
                         (take > 2 ? from[2] : 0);
        to[0] = alphabet[group >> 18];
        to[1] = alphabet[group >> 12 & 63];
        to[2] = take > 1 ? alphabet[group >> 6 & 63] : '=';
        to[3] = take > 2 ? alphabet[group & 63] : '=';
        from += take;
        left -= take;
    }
    buf_commit(out, len);
}

#define GROUP_MOST 0xffffffu /* 24 bits */

/* From '+' on: six bits plus one, 0 where the alphabet has no such letter. */
static const uint8_t sextets['z' - '+' + 1] = {
    63, 0,  0,  0,  64, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 0,  0,  0,  0,  0,
    0,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18,
    19, 20, 21, 22, 23, 24, 25, 26, 0,  0,  0,  0,  0,  0,  27, 28, 29, 30, 31, 32,
    33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
};

/* Six bits, or a number beyond them when it is no letter of the alphabet. */
static inline uint32_t sextet(char c)
{
    unsigned i = (unsigned char)c - (unsigned)'+';
    return (i < sizeof(sextets) ? sextets[i] : 0u) - 1u;
}

/* What four characters come to of which the last pad are padding; beyond 24 bits when they have no
 * value. */
static inline uint32_t quantum(const char *at, size_t pad)
{
    uint32_t a = sextet(at[0]), b = sextet(at[1]);
    uint32_t c = pad < 2 ? sextet(at[2]) : 0, d = pad < 1 ? sextet(at[3]) : 0;
    uint32_t group = a << 18 | b << 12 | c << 6 | d;
    /* Bits behind the last byte must be nought, so that every value has one spelling. */
    bool whole = (a | b | c | d) < 64 && (group & ((1u << 8 * pad) - 1)) == 0;
    return whole ? group : UINT32_MAX;
}

bool text_decode_base64(struct buf *out, struct span text)
{
    if (text.len % 4 != 0) {
        return false;
    }
    if (text.len == 0) {
        return true;
    }
    const char *end = text.at + text.len;
    size_t padding = end[-1] != '=' ? 0 : end[-2] != '=' ? 1 : 2;
    size_t start = out->len;
    size_t len = text.len / 4 * 3 - padding;
    char *to = buf_reserve(out, len);
    if (to == NULL) {
        return true;
    }
    buf_commit(out, len);
    uint32_t group = 0;
    const char *at = text.at;
    for (; end - at > 4 && group <= GROUP_MOST; at += 4) {
        group = quantum(at, 0);
        *to++ = (char)(group >> 16);
        *to++ = (char)(group >> 8);
        *to++ = (char)group;
    }
    group = group <= GROUP_MOST ? quantum(at, padding) : group;
    if (group > GROUP_MOST) {
        buf_truncate(out, start);
        return false;
    }
    for (size_t i = 0; i < 3 - padding; i++) {
        *to++ = (char)(group >> (16 - 8 * i));
    }
    return true;
}

/* --- hex --- */

static const char hex_digits[] = "0123456789abcdef";

void text_add_hex(struct buf *out, struct span bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t byte = (uint8_t)bytes.at[i];
        buf_add(out, (char[]){hex_digits[byte >> 4], hex_digits[byte & 15]}, 2);
    }
}

/* -1 when it is no hex digit. */
static int nibble(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_decode_hex(struct buf *out, struct span text)
{
    if (text.len % 2 != 0) {
        return false;
    }
    size_t start = out->len;
    char *to = buf_reserve(out, text.len / 2);
    if (to == NULL) {
        return true;
    }
    buf_commit(out, text.len / 2);
    for (size_t i = 0; i < text.len; i += 2) {
        int high = nibble(text.at[i]);
        int low = nibble(text.at[i + 1]);
        if (high < 0 || low < 0) {
            buf_truncate(out, start);
            return false;
        }
        *to++ = (char)(high << 4 | low);
    }
    return true;
}

/* --- characters nobody sees --- */

/* C0, C1 and DEL, and what Unicode calls format characters or ignorable by default. Variation
 * selectors are not among them: they choose how the character before them looks. */
static bool hidden(uint32_t c)
{
    static const struct {
        uint32_t first;
        uint32_t last;
    } ranges[] = {
        {0x00, 0x1f},       {0x7f, 0x9f}, {0xad, 0xad}, /* soft hyphen */
        {0x61c, 0x61c},                                 /* Arabic letter mark */
        {0x200b, 0x200f},                               /* zero width, direction marks */
        {0x202a, 0x202e},                               /* bidi embeddings and overrides */
        {0x2060, 0x206f},   /* word joiner, invisible operators, bidi isolates */
        {0xfeff, 0xfeff},   /* byte order mark */
        {0xfff9, 0xfffb},   /* interlinear annotation */
        {0xe0000, 0xe007f}, /* tags */
    };
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        if (c <= ranges[i].last) {
            return c >= ranges[i].first;
        }
    }
    return false;
}

/* Length of what may stand as it is at the start of a non-empty text: one character, or a line's
 * end of two. 0 for bytes that are hidden or no UTF-8. */
static size_t shown(struct span text)
{
    char c = text.at[0];
    if ((c >= ' ' && c <= '~') || c == '\n' || c == '\t') {
        return 1;
    }
    if (span_starts(text, SPAN("\r\n"))) {
        return 2;
    }
    size_t len = utf8_sequence(text);
    return len > 0 && hidden(utf8_decode(text.at, len)) ? 0 : len;
}

/* Takes the longest part that may stand as it is off *text and appends it. */
static void add_shown(struct buf *out, struct span *text)
{
    size_t end = 0;
    while (end < text->len) {
        size_t len = shown(span_from(*text, end));
        if (len == 0) {
            break;
        }
        end += len;
    }
    buf_add_span(out, span_first(*text, end));
    *text = span_from(*text, end);
}

void text_add_printable(struct buf *out, struct span text)
{
    add_shown(out, &text);
    while (text.len > 0) {
        size_t len = utf8_sequence(text);
        if (len == 0) {
            utf8_add(out, 0xfffd);
        } else {
            buf_addf(out, "<U+%04X>", utf8_decode(text.at, len));
        }
        text = span_from(text, len == 0 ? 1 : len);
        add_shown(out, &text);
    }
}

size_t text_add_visible(struct buf *out, struct span text)
{
    size_t removed = 0;
    add_shown(out, &text);
    while (text.len > 0) {
        size_t len = utf8_sequence(text);
        check(len > 0);
        removed++;
        text = span_from(text, len);
        add_shown(out, &text);
    }
    return removed;
}

/* --- ids --- */

void text_uuid7(uint64_t wall_ms, const uint8_t random[10], char out[37])
{
    uint8_t id[16];
    for (size_t i = 0; i < 6; i++) {
        id[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    }
    memcpy(id + 6, random, 10);
    id[6] = 0x70 | (id[6] & 0x0f); /* version */
    id[8] = 0x80 | (id[8] & 0x3f); /* variant */
    for (size_t i = 0; i < sizeof(id); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *out++ = '-';
        }
        *out++ = hex_digits[id[i] >> 4];
        *out++ = hex_digits[id[i] & 15];
    }
    *out = '\0';
}
