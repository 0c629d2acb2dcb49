/*
 * clock.h -- the machine's clocks.
 *
 * Floor 0. Only loop, log and process edges read them; everything else is told the time
 * (codec: as an argument; tasks: loop_now_ms, which tests move by hand).
 */
#ifndef PRISM_BASE_CLOCK_H
#define PRISM_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

uint64_t clock_mono_ms(void); /* CLOCK_MONOTONIC */
uint64_t clock_mono_us(void);
uint64_t clock_boot_ms(void); /* CLOCK_BOOTTIME: goes on through suspend */
uint64_t clock_wall_ms(void); /* since the Unix epoch */
uint64_t clock_wall_ns(void);

/* "2026-01-02T03:04:05.678Z", UTC. */
void clock_add_rfc3339(struct buf *out, uint64_t wall_ms);

/* The same back, with any fraction or none. False when it is no such time. */
bool clock_parse_rfc3339(struct span text, uint64_t *wall_ms);

#endif
