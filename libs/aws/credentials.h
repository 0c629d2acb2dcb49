/*
 * credentials.h -- who we are to AWS.
 *
 * Floor 4, tasks on the loop thread. Looked for where AWS's SDKs look, in their order: the
 * environment (AWS_BEARER_TOKEN_BEDROCK before keys), a role of the profile, web identity, the
 * profile's keys, the container's endpoint, the instance's metadata (version 2). What was found is
 * kept; keys that expire are looked for again well before, by one task for all, while callers go
 * on with the old ones. Files and tokens are read anew each time. Never logged; what is replaced
 * is wiped.
 */
#ifndef PRISM_AWS_CREDENTIALS_H
#define PRISM_AWS_CREDENTIALS_H

#include "base/arena.h"
#include "base/status.h"
#include "loop/op.h"

struct credentials; /* a provider */
struct http_client;

struct credentials_values {
    struct span access_key;
    struct span secret_key;
    struct span session_token; /* empty: none */
    struct span bearer_token;  /* not empty: used instead of all others */
    uint64_t serial;           /* of this set, for credentials_renew; from credentials_get */
};

/* How looking ended. */
struct credentials_news {
    struct status status; /* OK: there are credentials, and the next two say more */
    const char *source;   /* "web identity" */
    uint64_t lives_ms;    /* from now; UINT64_MAX: for ever, or nobody says */
    bool fresh;           /* other ones than before */
    uint64_t left_ms;     /* after a failure: for how long the old ones last, 0: not at all */
};

struct credentials_options {
    struct http_client *http;                                     /* outlives the credentials */
    void (*told)(void *arg, const struct credentials_news *news); /* may be NULL; must not park */
    void *arg;
};

/* Begins to look at once. */
struct credentials *credentials_new(struct loop *loop,
                                    const struct credentials_options *options) NODISCARD;

/* Fixed values, for tests; copied. */
struct credentials *credentials_fixed(const struct credentials_values *values) NODISCARD;

/* Nobody may wait for them any more. Wipes. Parks while somebody looks. */
void credentials_free(struct credentials *credentials) PARKS;

/* Copied into arena: a snapshot that stays valid while it is used. Waits when there are none, or
 * none that are still good, and somebody looks. CREDENTIALS_MISSING: none were found, the detail
 * names every source and what it said; CREDENTIALS_UNAVAILABLE: their source does not answer now.
 */
struct status credentials_get(struct credentials *credentials, struct arena *arena,
                              struct credentials_values *out) NODISCARD PARKS;

/* Those of this serial were refused: true when there are others now, for which it looks again
 * unless that was in vain a moment ago. */
bool credentials_renew(struct credentials *credentials, uint64_t serial) NODISCARD PARKS;

#endif
