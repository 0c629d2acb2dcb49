/*
 * prompt.h -- what the model is asked, and what an answer must look like.
 *
 * Floor 6, pure. Instructions and data are apart: the section stands between tags that carry a
 * random number, so that no text inside it can end it; title, focus and earlier findings are JSON
 * strings. Invisible characters are taken out of all of them, and reported of the section. The
 * schema in the instructions is the one result.h parses.
 */
#ifndef PRISM_ANALYZER_PROMPT_H
#define PRISM_ANALYZER_PROMPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"

#define PROMPT_FINDINGS_MOST 20 /* of earlier sections, given as context */

/* Tokens of the prompt of version 1.0 without its section, by estimate_text: the baseline that
 * savings are reported against. A test recounts it from the reference data. */
#define PROMPT_VERBOSE_TOKENS 142

struct prompt_finding {
    const char *title;
    const char *severity; /* "High" */
};

struct prompt_input {
    struct span title; /* of the section */
    struct span text;
    struct span focus; /* what to look for; empty: any risk */
    const struct prompt_finding *earlier;
    size_t n_earlier;
    uint8_t nonce[8]; /* unpredictable */
};

struct prompt {
    struct span system;
    struct span user;
    struct span data;         /* the section as it stands in user: what quotes are looked up in */
    uint8_t text_sha256[32];  /* of the section as it came */
    size_t removed;           /* invisible characters taken out of it */
    size_t first_removed;     /* where the first of them stood in it */
    uint64_t tokens;          /* of system and user, estimated */
    uint64_t template_tokens; /* of all but section and context */
    uint64_t section_tokens;
    uint64_t context_tokens;  /* of the earlier findings */
    uint64_t baseline_tokens; /* the 1.0 prompt with the same section */
};

/* All in the arena. */
void prompt_build(const struct prompt_input *input, struct arena *arena, struct prompt *out);

#endif
