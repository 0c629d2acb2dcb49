/*
 * source.h -- one place where credentials may be. For this folder and its tests only.
 *
 * Floor 4, loop thread. A source looks once and says what it found; credentials.c asks them in
 * order, keeps what was found and asks again. Each is a file of its own: environment.c, profile.c,
 * web_identity.c, container.c, imds.c. What they say is for people and holds no secret.
 */
#ifndef PRISM_AWS_SOURCE_H
#define PRISM_AWS_SOURCE_H

#include "aws/credentials.h"
#include "base/buf.h"
#include "codec/json.h"
#include "net/http.h"

enum source_found {
    SOURCE_NOTHING, /* not there, or not set up: ask the next one */
    SOURCE_KEYS,
    SOURCE_BROKEN, /* set up, and does not work until somebody repairs it: ask no other */
    SOURCE_LATER,  /* set up, and may answer when asked again */
};

/* Credentials, and for how long. All strings are its own and are wiped when it goes. */
struct key_set {
    char *access_key; /* NULL: none, likewise below */
    char *secret_key;
    char *session_token;
    char *bearer_token;
    uint64_t lives_ms;  /* from when it was found */
    const char *source; /* "web identity" */
};

#define KEYS_FOR_EVER UINT64_MAX

/* Copies; empty spans are none. */
void key_set_fill(struct key_set *keys, const struct credentials_values *values, uint64_t lives_ms,
                  const char *source);
void key_set_clear(struct key_set *keys);
bool key_set_same(const struct key_set *a, const struct key_set *b);

/* One round of looking. */
struct source {
    struct http_client *http;
    struct arena *arena;
    struct buf why; /* what was tried and what it said */
};

void source_init(struct source *source, struct http_client *http);
void source_clear(struct source *source);

/* All of them in order, until one has something to say. */
enum source_found source_find(struct source *source, struct key_set *out) NODISCARD PARKS;

/* credentials_new with another way to find keys, for tests. */
struct credentials *credentials_found_by(struct loop *loop,
                                         const struct credentials_options *options,
                                         enum source_found (*find)(struct source *source,
                                                                   struct key_set *out)) NODISCARD;

enum source_found environment_find(struct source *source, struct key_set *out) NODISCARD PARKS;
enum source_found profile_role_find(struct source *source, struct key_set *out) NODISCARD PARKS;
enum source_found web_identity_find(struct source *source, struct key_set *out) NODISCARD PARKS;
enum source_found profile_find(struct source *source, struct key_set *out) NODISCARD PARKS;
enum source_found container_find(struct source *source, struct key_set *out) NODISCARD PARKS;
enum source_found imds_find(struct source *source, struct key_set *out) NODISCARD PARKS;

/* --- what sources share -----------------------------------------------------------------------
 */

/* Adds "name: text" to what was said; broken and later begin anew. */
enum source_found source_nothing(struct source *source, const char *name, const char *format, ...)
    FORMAT(3, 4);
enum source_found source_broken(struct source *source, const char *name, const char *format, ...)
    FORMAT(3, 4);
enum source_found source_later(struct source *source, const char *name, const char *format, ...)
    FORMAT(3, 4);

/* An environment variable that says something; empty: not set, or set to nothing. */
struct span source_variable(const char *name);

/* The region for STS; empty: none is set. */
struct span source_region(void);

/* A regular file, bounded by out, read off the loop; NULL, or why not, and whether only because
 * there is none. What it held is the caller's to wipe. */
const char *source_read_file(const char *path, struct buf *out, bool *missing) NODISCARD PARKS;

/* A file that holds one token; the line end behind it is no part of it. In the arena. NULL, or why
 * there is none. */
const char *source_read_token(struct source *source, const char *path,
                              struct span *token) NODISCARD PARKS;

void source_wipe(struct buf *buf); /* what it held, and frees; for CLEANUP */

/* One request and its whole, bounded answer. */
struct source_answer {
    int code;
    struct buf body;
};
void source_answer_clear(struct source_answer *answer); /* wipes; for CLEANUP */
struct status source_ask(struct source *source, const struct http_request *request,
                         struct source_answer *answer) NODISCARD PARKS;

/* The JSON that metadata services answer with: AccessKeyId, SecretAccessKey, Token, Expiration.
 * NULL, or what is wrong with it. left_ms: until the expiration, 0 when it has passed; values point
 * into root. */
const char *source_read_keys(const struct json *root, struct credentials_values *values,
                             uint64_t *left_ms) NODISCARD;

/* The URL of a container's endpoint; NULL and why (in arena) when it may not be asked. */
const char *container_url(struct span relative, struct span full, struct arena *arena,
                          const char **why) NODISCARD;

/* --- AWS's token service ----------------------------------------------------------------------
 */

struct sts_request {
    const char *name; /* of the source */
    struct span role_arn;
    struct span session_name; /* empty: one is made up */
    struct span external_id;  /* empty: none */
    struct span duration_s;   /* empty: the service's own */
    struct span region;       /* empty: the global endpoint */
    struct span token;        /* web identity; or */
    const struct key_set *signer;
};

/* AssumeRoleWithWebIdentity, or AssumeRole when there is a signer. */
enum source_found sts_assume(struct source *source, const struct sts_request *request,
                             struct key_set *out) NODISCARD PARKS;

/* AssumeRoleWithWebIdentity with the token in the file; spans empty: their defaults. */
enum source_found web_identity_assume(struct source *source, const char *token_path,
                                      struct sts_request *request,
                                      struct key_set *out) NODISCARD PARKS;

#endif
