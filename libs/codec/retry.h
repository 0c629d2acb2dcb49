/*
 * retry.h -- how long to wait before trying again.
 *
 * Floor 1, pure: chance is an argument.
 */
#ifndef PRISM_CODEC_RETRY_H
#define PRISM_CODEC_RETRY_H

#include <stdint.h>

#include "base/span.h"

/* Exponential backoff with full jitter: evenly spread below base, 2 base, 4 base, ... for n = 0, 1,
 * 2, ..., and never above cap. random: 32 bits, all equally likely. */
uint64_t retry_backoff_ms(unsigned n, uint64_t base_ms, uint64_t cap_ms, uint32_t random);

/* What a reply's headers ask for, 0 when nothing usable: x-amz-retry-after (milliseconds) counts
 * before Retry-After (seconds; a date is not read). More than UINT32_MAX is that. */
uint32_t retry_asked_ms(struct span retry_after, struct span x_amz_retry_after);

#endif
