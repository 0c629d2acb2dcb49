/*
 * sigv4.h -- AWS Signature Version 4.
 *
 * Floor 1, pure: time is an argument. docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
 */
#ifndef PRISM_CODEC_SIGV4_H
#define PRISM_CODEC_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"

struct sigv4_header {
    struct span name;
    struct span value;
};

struct sigv4_request {
    struct span method;
    struct span path;                   /* as sent on the wire, before '?' */
    struct span query;                  /* as sent, behind '?' */
    const struct sigv4_header *headers; /* host must be one of them; x-amz-date must not */
    size_t n_headers;
    struct span body;
};

/* What signs all requests of a day, derived from the secret. Begins zeroed; a secret like any
 * other.
 */
struct sigv4_key {
    char origin[256]; /* day, region, service and secret that it was derived from */
    size_t origin_len;
    uint8_t bytes[32];
};

struct sigv4_options {
    struct span access_key;
    struct span secret_key;
    struct span session_token; /* empty: none; becomes x-amz-security-token */
    struct span region;
    struct span service;
    uint64_t wall_s;       /* seconds since the epoch */
    bool single_encode;    /* S3: the path is signed as sent; others encode it once more */
    bool no_normalize;     /* S3: "." and ".." and "//" stay */
    bool sign_body_header; /* adds and signs x-amz-content-sha256 */
    bool token_unsigned;   /* the token is added after signing (a few services) */
    bool in_query;         /* presigned URL: parameters instead of headers */
    uint32_t expires_s;    /* with in_query */
    const uint8_t *key;    /* bytes of the key that sigv4_derive made; NULL: derived anew */
};

/* All in arena, which must have room for some copies of the request's head. added: the headers to
 * send besides the given ones (x-amz-date, authorization, ...); with in_query: query is the full
 * signed query string and nothing is added. */
struct sigv4_result {
    const struct sigv4_header *added;
    size_t n_added;
    struct span query;
    struct span canonical_request;
    struct span string_to_sign;
    struct span signature; /* hex */
};

/* Makes *key the one for these options, unless it is that already: four of a signature's five HMACs
 * are the same all day. */
void sigv4_derive(const struct sigv4_options *options, struct sigv4_key *key);

void sigv4_sign(const struct sigv4_request *request, const struct sigv4_options *options,
                struct arena *arena, struct sigv4_result *out);

#endif
