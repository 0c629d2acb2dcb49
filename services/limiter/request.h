/*
 * request.h -- messages taken apart: ids, tenants, models, charges, bounds.
 *
 * Floor 6. Inside a task; what is refused comes back as the status the caller gets, in the arena.
 */
#ifndef PRISM_LIMITER_REQUEST_H
#define PRISM_LIMITER_REQUEST_H

#include "limiter/limiter.h"
#include "prism/limiter/v1/limiter.pb-c.h"

#define REQUEST_TOKENS_MOST 1000000000u /* of one count */

/* 16 bytes. */
bool request_id(ProtobufCBinaryData data, struct engine_id *out);

/* The one that is given, else the caller's. */
struct status request_tenant(struct arena *arena, const char *given, struct span *out) NODISCARD;

/* The resource of that name; a tenant's pool is made on first use. RESOURCE_UNKNOWN. */
struct status request_resource(struct limiter *limiter, struct arena *arena, const char *name,
                               bool make_room, struct engine_resource **out) NODISCARD;

/* Where it could go and what it would cost; id, session, pools and record are still to be added. */
struct status request_acquire(const struct limiter *limiter, struct arena *arena,
                              Limiter__Candidate *const *candidates, size_t n, struct span tenant,
                              struct engine_acquire *out) NODISCARD;
struct status request_pools(struct limiter *limiter, struct span tenant, bool make_room,
                            struct engine_acquire *out) NODISCARD;

/* What a grant holds: by its record, else by the names that are given. False: no such model. */
bool request_held(struct limiter *limiter, const struct engine_record *record, const char *model,
                  struct span tenant, bool make_room, struct engine_resource **held);

/* The answer when a table is full. */
struct status request_no_room(void);

#endif
