/*
 * reader.h -- a risk reader made of rules: which sentences of a text name a weakness.
 *
 * Floor 6, pure, the same text gives the same reading. It looks for phrases, knows a few ways of
 * saying that a weakness is dealt with, and quotes whole sentences. It does not understand text and
 * does not pretend to.
 */
#ifndef PRISM_SIMULATOR_READER_H
#define PRISM_SIMULATOR_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"

#define READER_FINDINGS  5
#define READER_MARKS     64
#define READER_QUOTE_MAX 240

/* A sentence in which a weakness is named. Spans point into the text. */
struct reader_mark {
    size_t sentence;     /* 1-based */
    struct span quote;   /* the sentence, or the clause of it that fits READER_QUOTE_MAX */
    struct span phrase;  /* what was recognised, as it stands in the text */
    struct span remedy;  /* what lowers the weight, empty: nothing */
    uint32_t weight;     /* 1 to 10 */
    const char *concern; /* "unprotected transport" */
    const char *title;   /* of a finding */
    const char *advice;
    const char *severity;
};

struct reader_report {
    const char *risk_level; /* Low, Medium-Low, Medium, Medium-High, High, Critical */
    uint32_t confidence;    /* percent */
    uint32_t score;
    size_t sentences;
    size_t flagged; /* sentences that name a weakness; the first READER_MARKS are in marks */
    const struct reader_mark *marks; /* in the text's order */
    size_t n_marks;
    const struct reader_mark *findings[READER_FINDINGS]; /* strongest first */
    size_t n_findings;
};

void reader_read(struct span text, struct arena *arena, struct reader_report *out);

/* The data of a message: what stands between <untrusted-HEX> and </untrusted-HEX> of the same
 * HEX, of several the last; false when there is none and *out is untouched. */
bool reader_data(struct span message, struct span *out);

#endif
