/*
 * bedrock_peer.h -- a scripted Bedrock in the test's own process, and a client of it.
 *
 * In a task. Each request is checked with the simulator's own verifier of signatures before the
 * script answers it.
 */
#ifndef PRISM_TESTS_BEDROCK_PEER_H
#define PRISM_TESTS_BEDROCK_PEER_H

#include "aws/bedrock.h"
#include "net/http_server.h"
#include "task_test.h"

/* How the peer behaves; spans and headers are the test's. */
struct peer_script {
    int code; /* 0: 200 */
    const struct http_header *headers;
    size_t n_headers;
    struct span body;
    size_t cut;         /* bytes a write; 0: all at once, 1: each alone, SIZE_MAX: random sizes */
    uint64_t before_ms; /* until the headers */
    uint64_t after_ms;  /* behind the headers, before the body */
    uint64_t between_ms;
    enum {
        PEER_ENDS,
        PEER_RESETS, /* behind the body */
        PEER_STALLS,
        PEER_DROPS, /* instead of an answer */
    } end;
};

struct peer {
    struct http_server *server;
    struct http_client *http;
    struct bedrock *bedrock;
    struct credentials *credentials;
    struct peer_script script;
    char endpoint[64];

    /* the last request */
    size_t calls;
    const char *refused; /* what the verifier says; NULL: the signature is right */
    char target[512];
    char accept[64]; /* accept and x-amzn-bedrock-accept */
    char type[64];
    size_t body_len;
};

#define PEER_KEY    "AKIDEXAMPLE"
#define PEER_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define PEER_TOKEN  "an-api-key"
#define PEER_MODEL  "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

/* values NULL: PEER_KEY and PEER_SECRET. */
void peer_start(struct peer *peer, const struct credentials_values *values);
void peer_stop(struct peer *peer) PARKS; /* checks that no request is open */

struct bedrock_request peer_request(void);

/* One streamed call by the script: all events, one a line, into *events, and how it ended. */
struct status peer_stream(struct peer *peer, const struct bedrock_request *request,
                          struct buf *events, size_t *n) PARKS;

#endif
