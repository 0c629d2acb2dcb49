/*
 * nearest.h -- the name somebody probably meant.
 *
 * Floor 0. Offer every name there is to `{.slip = what was written}`; name is then the one that is
 * the fewest slips of the finger away, NULL when none is near enough to be meant.
 */
#ifndef PRISM_BASE_NEAREST_H
#define PRISM_BASE_NEAREST_H

#include <stddef.h>

#include "base/span.h"

struct nearest {
    struct span slip;
    const char *name;
    size_t slips;
};

void nearest_offer(struct nearest *nearest, const char *name);

#endif
