#include "limiter/audit.h"

#include <stdlib.h>

#include "base/alloc.h"

#define FIRST_ROOM 16

struct ring {
    struct audit_entry *entries;
    size_t room;
    size_t n;
    size_t next; /* once it is as large as it gets */
};

struct audit {
    size_t slots;
    struct ring *rings;
};

struct audit *audit_new(size_t slots)
{
    struct audit *audit = ALLOC(struct audit);
    audit->slots = slots;
    audit->rings = alloc_zeroed(slots, sizeof(struct ring));
    return audit;
}

void audit_free(struct audit *audit)
{
    if (audit == NULL) {
        return;
    }
    for (size_t i = 0; i < audit->slots; i++) {
        free(audit->rings[i].entries);
    }
    free(audit->rings);
    free(audit);
}

void audit_add(struct audit *audit, size_t slot, const struct audit_entry *entry)
{
    check(slot < audit->slots);
    struct ring *ring = &audit->rings[slot];
    if (ring->n == AUDIT_KEPT) {
        ring->entries[ring->next] = *entry;
        ring->next = (ring->next + 1) % AUDIT_KEPT;
        return;
    }
    if (ring->n == ring->room) {
        ring->room = ring->room > 0 ? ring->room * 2 : FIRST_ROOM;
        ring->room = ring->room < AUDIT_KEPT ? ring->room : AUDIT_KEPT;
        ring->entries = alloc_resized(ring->entries, ring->room * sizeof(*ring->entries));
    }
    ring->entries[ring->n++] = *entry;
}

void audit_forget(struct audit *audit, size_t slot)
{
    audit->rings[slot].n = 0;
    audit->rings[slot].next = 0;
}

size_t audit_count(const struct audit *audit, size_t slot)
{
    return audit->rings[slot].n;
}

const struct audit_entry *audit_at(const struct audit *audit, size_t slot, size_t back)
{
    const struct ring *ring = &audit->rings[slot];
    check(back < ring->n);
    return &ring->entries[(ring->next + ring->n - 1 - back) % ring->n];
}
