/*
 * aws_world.h -- the places where credentials are found, in the test's own process and strict:
 * instance metadata, a container's endpoint, the token service, files, the environment.
 *
 * In a task on the real clock. Starting it empties the environment of AWS's variables and gives
 * the process a HOME of its own.
 */
#ifndef PRISM_TESTS_AWS_WORLD_H
#define PRISM_TESTS_AWS_WORLD_H

#include "aws/source.h"
#include "net/http_server.h"
#include "task_test.h"

struct aws_world {
    struct http_server *server;
    struct http_client *http;
    struct arena *arena;
    char url[64];
    char home[64];
    size_t requests;

    /* What is handed out by all three. */
    void (*before)(struct aws_world *w); /* each time; NULL: nothing is done */
    void *arg;
    const char *access_key;
    const char *secret_key;
    const char *session_token;
    uint64_t lives_ms;
    const char *expiration; /* instead of one made of lives_ms */
    int code;               /* every answer's, 0: 200 */
    const char *body;       /* instead of the last answer's; NULL: a right one */
    bool silent;            /* no answer at all */

    /* Instance metadata. */
    const char *role;        /* "": none is attached */
    int token_code;          /* 0: 200 */
    bool forgets_its_tokens; /* each is too old when it comes back */
    size_t tokens;

    /* The container's endpoint. */
    const char *pass; /* the Authorization it wants; NULL: none */

    /* The token service: what it wants, and the last form that came. */
    const char *web_token;
    const char *error_code; /* refuses with this; NULL: does not */
    char form[4096];
    char authorization[512];
};

void aws_world_start(struct aws_world *w);
void aws_world_stop(struct aws_world *w) PARKS;

/* Sets a variable of the environment; NULL: unsets it. */
void aws_world_set(const char *name, const char *value);

/* A file in HOME, the folder .aws is there; its path, in the arena. text NULL: removes it. */
const char *aws_world_file(struct aws_world *w, const char *name, const char *text);

/* What a source says now; why is "" when it found some. Texts are in the world's arena. */
struct aws_found {
    enum source_found found;
    struct credentials_values values;
    uint64_t lives_ms;
    const char *source;
    const char *why;
};
struct aws_found aws_world_look(struct aws_world *w,
                                enum source_found (*find)(struct source *, struct key_set *)) PARKS;

#endif
