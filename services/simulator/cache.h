/*
 * cache.h -- prompt caching: which part of a prompt was seen a moment ago.
 *
 * Off unless --cache says so, because then the same request is answered differently the second
 * time: its usage tells what was read. A prefix that ends at a block with cache_control and has
 * as many tokens as its model asks for is kept for five minutes (divided by --speed) after it was
 * last used, once the answer has begun; "ttl" is not heeded. A later call of the model reads the
 * longest prefix it shares, whether or not it marks the end of it.
 *
 * Floor 6, loop thread.
 */
#ifndef PRISM_SIMULATOR_CACHE_H
#define PRISM_SIMULATOR_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "codec/hash.h"
#include "codec/json.h"
#include "simulator/request.h"

#define CACHE_MOST 10000 /* prefixes */

struct cache;

struct cache *cache_new(double speed) NODISCARD;
void cache_free(struct cache *cache); /* takes NULL */

/* What a cache does for one call. */
struct cache_use {
    uint64_t read; /* tokens */
    uint64_t write;
    size_t n; /* prefixes to be kept */
    struct {
        uint8_t digest[HASH_SHA256_SIZE];
        uint64_t tokens;
    } kept[REQUEST_CACHE_POINTS];
};

/* body is what the request was read from; cache NULL: nothing is read or written. */
void cache_look(struct cache *cache, const struct json *body, const struct request *request,
                uint64_t now_us, struct cache_use *out);

/* The call's answer begins. */
void cache_keep(struct cache *cache, const struct cache_use *use, uint64_t now_us);

#endif
