/*
 * outputs.h -- how long answers are: the 95th percentile of the last ones of a model and tenant.
 *
 * Floor 6, loop thread. An input of the decision, in this process's memory only. A bounded number
 * of pairs is followed; the one followed longest makes room.
 */
#ifndef PRISM_LIMITER_OUTPUTS_H
#define PRISM_LIMITER_OUTPUTS_H

#include <stdint.h>

#include "base/span.h"

#define OUTPUTS_KEPT  64
#define OUTPUTS_LEAST 20 /* before that many nothing is said */

struct outputs;

struct outputs *outputs_new(size_t pairs_most);
void outputs_free(struct outputs *outputs); /* takes NULL */

void outputs_add(struct outputs *outputs, struct span model, struct span tenant, uint64_t tokens);

/* 0: too few are known. */
uint64_t outputs_q95(const struct outputs *outputs, struct span model, struct span tenant);

#endif
