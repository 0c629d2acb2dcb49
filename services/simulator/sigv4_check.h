/*
 * sigv4_check.h -- is this request signed by somebody we know?
 *
 * Floor 6, pure: time is an argument. Written from AWS's description of Signature Version 4 and
 * independent of codec/sigv4, which it must be able to prove wrong.
 */
#ifndef PRISM_SIMULATOR_SIGV4_CHECK_H
#define PRISM_SIMULATOR_SIGV4_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "net/http.h"
#include "simulator/refusal.h"

#define SIGV4_CHECK_SKEW_S 300

struct sigv4_check_keys {
    struct span access_key;
    struct span secret_key;
    struct span api_key; /* "Authorization: Bearer ..." */
};

struct sigv4_check_request {
    struct span method;
    struct span path; /* as on the wire */
    struct span query;
    const struct http_header *headers;
    size_t n_headers;
    struct span body;
};

/* REFUSAL_NONE, and the region of the credential's scope (empty with an API key). */
struct refusal sigv4_check(const struct sigv4_check_request *request,
                           const struct sigv4_check_keys *keys, uint64_t wall_s,
                           struct arena *arena, struct span *region) NODISCARD;

#endif
