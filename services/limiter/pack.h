/*
 * pack.h -- resources and records as bytes, for whatever keeps them.
 *
 * Floor 6, pure. Little-endian; the engine's header comes first, so that a store can compare it
 * without knowing the rest, then a format byte. Only what is in use is written. What is read is
 * checked: every number that the engine relies on is in bounds, or it is refused.
 */
#ifndef PRISM_LIMITER_PACK_H
#define PRISM_LIMITER_PACK_H

#include "base/span.h"
#include "limiter/engine.h"

#define PACK_RESOURCE_MOST 10208
#define PACK_RECORD_MOST   240
#define PACK_HEADER        24

/* Return the length. */
size_t pack_resource(const struct engine_resource *resource, uint8_t out[PACK_RESOURCE_MOST]);
size_t pack_record(const struct engine_record *record, uint8_t out[PACK_RECORD_MOST]);

/* What both begin with. */
void pack_header(const struct engine_header *header, uint8_t out[PACK_HEADER]);

/* False: not one of ours, or of a newer program; what is in *out then is of no use. */
bool unpack_resource(struct span bytes, struct engine_resource *out) NODISCARD;
bool unpack_record(struct span bytes, struct engine_record *out) NODISCARD;

#endif
