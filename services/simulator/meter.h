/*
 * meter.h -- one limit of so much in a span of time, by one of three laws.
 *
 * Floor 6, pure: time is an argument and never goes back. The owner's memory; entries of a window
 * are on the heap until meter_clear. What is taken need not be there: a meter may be overdrawn, and
 * then gives nothing until that has passed.
 */
#ifndef PRISM_SIMULATOR_METER_H
#define PRISM_SIMULATOR_METER_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

enum meter_law {
    METER_WINDOW, /* what was taken counts for one span from then on */
    METER_BUCKET, /* flows in evenly, up to what the bucket holds */
    METER_PERIOD, /* what was taken counts until the period ends, and all begin anew */
};

struct meter_entry {
    uint64_t at_us;
    uint64_t amount;
};

struct meter {
    enum meter_law law;
    uint64_t limit; /* in a span */
    uint64_t span_us;
    uint64_t at_us; /* BUCKET: of the level; PERIOD: its beginning */
    uint64_t used;  /* WINDOW, PERIOD */

    /* BUCKET, in parts of which span_us make one: then all of it is whole numbers, which need more
     * than 64 bits. */
    __int128 level;
    __int128 most;

    /* WINDOW: a ring of those that count, by time. */
    struct meter_entry *entries;
    size_t room; /* a power of two, or 0 */
    uint64_t first;
    uint64_t next;
};

/* Full. burst_us: the bucket holds what flows in in so much time; but at least one. */
void meter_init(struct meter *meter, enum meter_law law, uint64_t limit, uint64_t span_us,
                uint64_t burst_us, uint64_t now_us);
void meter_clear(struct meter *meter);

int64_t meter_left(struct meter *meter, uint64_t now_us); /* whole ones; may be negative */

/* Returns the entry by which some of it may be given back later. */
uint64_t meter_take(struct meter *meter, uint64_t amount, uint64_t now_us);

/* Without effect once the entry does not count any more. */
void meter_give_back(struct meter *meter, uint64_t entry, uint64_t amount, uint64_t now_us);

#endif
