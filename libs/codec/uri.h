/*
 * uri.h -- percent-encoding and the parts of a URL.
 *
 * Floor 1, pure. RFC 3986.
 */
#ifndef PRISM_CODEC_URI_H
#define PRISM_CODEC_URI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* Everything outside A-Z a-z 0-9 - . _ ~ and the characters of keep becomes %XX. */
void uri_add_encoded(struct buf *out, struct span text, const char *keep);

/* False on a broken escape; out as it was. '+' stays '+'. */
bool uri_decode(struct buf *out, struct span text);

struct uri {
    struct span scheme;    /* as written */
    struct span host;      /* without brackets */
    struct span authority; /* host and port as written: the Host header */
    uint16_t port;         /* 0: not given */
    struct span path;      /* "/" at least is up to the caller; may be empty */
    struct span query;     /* behind '?', without it */
};

/* Absolute http, https and s3 URLs without user info or fragment; what RFC 3986 does not allow in
 * them must be escaped. Spans point into text. */
bool uri_parse(struct span text, struct uri *out);

#endif
