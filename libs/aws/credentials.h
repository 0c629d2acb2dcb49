/*
 * credentials.h -- who we are to AWS.
 *
 * Floor 4, tasks on the loop thread. Sources: environment now (AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; AWS_BEARER_TOKEN_BEDROCK wins). Values are copied into
 * the caller's arena: a snapshot that stays valid while it is used. Never logged.
 */
#ifndef PRISM_AWS_CREDENTIALS_H
#define PRISM_AWS_CREDENTIALS_H

#include "base/arena.h"
#include "base/log.h"
#include "base/status.h"
#include "loop/op.h"

struct credentials; /* a provider */

struct credentials_values {
    struct span access_key;
    struct span secret_key;
    struct span session_token; /* empty: none */
    struct span bearer_token;  /* not empty: used instead of all others */
};

struct credentials *credentials_from_environment(void) NODISCARD;

/* Fixed values, for tests; copied. */
struct credentials *credentials_fixed(const struct credentials_values *values) NODISCARD;
void credentials_free(struct credentials *credentials); /* wipes */

/* CREDENTIALS_MISSING when there are none. */
struct status credentials_get(struct credentials *credentials, struct arena *arena,
                              struct credentials_values *out) NODISCARD PARKS;

#endif
