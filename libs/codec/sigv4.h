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

void sigv4_sign(const struct sigv4_request *request, const struct sigv4_options *options,
                struct arena *arena, struct sigv4_result *out);

#endif
