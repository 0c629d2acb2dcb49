/*
 * audit.h -- the last things that happened to each resource, for Dump.
 *
 * Floor 6, loop thread. A ring of AUDIT_KEPT entries a resource, which grows to that size as it
 * fills.
 */
#ifndef PRISM_LIMITER_AUDIT_H
#define PRISM_LIMITER_AUDIT_H

#include "limiter/engine.h"

#define AUDIT_KEPT 1000

enum audit_what {
    AUDIT_GRANTED,
    AUDIT_REFUSED,
    AUDIT_SETTLED,
    AUDIT_REFUNDED,
};

struct audit_entry {
    uint64_t now_ms;
    uint64_t seq;
    struct engine_id id;
    uint64_t tokens;
    uint32_t reasons;
    enum audit_what what;
};

struct audit;

struct audit *audit_new(size_t slots);
void audit_free(struct audit *audit); /* takes NULL */

void audit_add(struct audit *audit, size_t slot, const struct audit_entry *entry);
void audit_forget(struct audit *audit, size_t slot); /* the slot is another resource's now */

size_t audit_count(const struct audit *audit, size_t slot);
/* back: 0 is the latest, below audit_count. */
const struct audit_entry *audit_at(const struct audit *audit, size_t slot, size_t back);

#endif
