/*
 * refusal.h -- what a call is refused with, in Bedrock's own words.
 *
 * Floor 6, plain data. Texts are static or in the call's arena.
 */
#ifndef PRISM_SIMULATOR_REFUSAL_H
#define PRISM_SIMULATOR_REFUSAL_H

#include <stdbool.h>

struct refusal {
    int code;            /* HTTP status, 0: not refused */
    const char *error;   /* exception name, as x-amzn-ErrorType has it */
    const char *message; /* NULL: the body of an unknown operation, which has none */
    bool late;           /* a stream is told so by an exception frame behind a 200 */
};

#define REFUSAL_NONE ((struct refusal){0})

/* The code a validation error has everywhere. */
#define REFUSAL_INVALID(text) ((struct refusal){400, "ValidationException", text, false})

#endif
