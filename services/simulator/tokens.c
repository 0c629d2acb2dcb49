#include "simulator/tokens.h"

#include <stdbool.h>

#include "base/utf8.h"

/*
 * The text is walked in the pieces a byte-pair tokenizer likes: a word with the blank before it,
 * three digits, a run of one punctuation mark, a run of line breaks. Weights are tenths of a
 * token.
 */
#define TENTHS 10

enum kind {
    BLANK,
    BREAK,
    LETTER,
    DIGIT,
    MARK,
    FOREIGN,
};

static enum kind kind_of(unsigned char c)
{
    if (c >= 0x80) {
        return FOREIGN;
    }
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') {
        return LETTER;
    }
    if (c >= '0' && c <= '9') {
        return DIGIT;
    }
    if (c == '\n' || c == '\r') {
        return BREAK;
    }
    return c == ' ' || c == '\t' ? BLANK : MARK;
}

static size_t run(struct span text, enum kind kind, size_t most)
{
    size_t n = 0;
    while (n < text.len && n < most && kind_of((unsigned char)text.at[n]) == kind) {
        n++;
    }
    return n;
}

/* A capital inside a word, as in camelCase, begins another token. */
static uint64_t word_weight(struct span word)
{
    uint64_t parts = 1 + (word.len - 1) / 9;
    for (size_t i = 1; i < word.len; i++) {
        bool capital = word.at[i] >= 'A' && word.at[i] <= 'Z';
        bool after_small = word.at[i - 1] >= 'a' && word.at[i - 1] <= 'z';
        parts += capital && after_small;
    }
    return parts * TENTHS;
}

static size_t mark_run(struct span text)
{
    size_t n = 1;
    while (n < text.len && n < 8 && text.at[n] == text.at[0]) {
        n++;
    }
    return n;
}

/* The bytes of the piece at the start of a non-empty text, and its weight. */
static size_t piece(struct span text, uint64_t *weight)
{
    size_t blanks = run(text, BLANK, 16);
    *weight = blanks > 1 ? TENTHS : 0;
    struct span rest = span_from(text, blanks);
    if (rest.len == 0) {
        *weight = TENTHS;
        return blanks;
    }
    size_t n = 1;
    switch (kind_of((unsigned char)rest.at[0])) {
    case BLANK:
        return blanks;
    case LETTER:
        n = run(rest, LETTER, 64);
        *weight += word_weight(span_first(rest, n));
        break;
    case DIGIT:
        n = run(rest, DIGIT, 3);
        *weight += TENTHS;
        break;
    case BREAK:
        n = run(rest, BREAK, 8);
        *weight += TENTHS;
        break;
    case MARK:
        n = mark_run(rest);
        *weight += TENTHS;
        break;
    case FOREIGN:
        n = utf8_sequence(rest);
        n = n > 0 ? n : 1;
        *weight += n == 2 ? 6 : n == 3 ? 11 : 20;
        break;
    }
    return blanks + n;
}

static uint64_t in_tokens(uint64_t tenths, uint32_t percent)
{
    uint64_t unit = 100 * TENTHS;
    return (tenths * percent + unit - 1) / unit;
}

uint64_t tokens_count(struct span text, uint32_t percent)
{
    uint64_t tenths = 0;
    while (text.len > 0) {
        uint64_t weight;
        text = span_from(text, piece(text, &weight));
        tenths += weight;
    }
    return in_tokens(tenths, percent);
}

struct span tokens_first(struct span text, uint64_t tokens, uint32_t percent)
{
    uint64_t tenths = 0;
    size_t at = 0;
    while (at < text.len) {
        uint64_t weight;
        size_t n = piece(span_from(text, at), &weight);
        tenths += weight;
        if (in_tokens(tenths, percent) > tokens) {
            break;
        }
        at += n;
    }
    return span_first(text, at);
}
