/*
 * dial.h -- a socket that is connected.
 *
 * Floor 3, tasks on the loop thread. Names are looked up off the loop; a lookup that outlives its
 * caller's patience ends by itself later. The descriptor is the caller's: non-blocking, closed on
 * exec. Everything fails with CONNECT_FAILED, but a cancelled or late task with its own status.
 */
#ifndef PRISM_NET_DIAL_H
#define PRISM_NET_DIAL_H

#include <stdint.h>

#include "loop/loop.h"

/* host is a name or an address, without brackets. Its addresses are tried in turn, each with a
 * fair part of the time until until_ms (loop_now_ms time). */
struct status dial_tcp(const char *host, uint16_t port, uint64_t until_ms, int *fd) NODISCARD PARKS;

struct status dial_unix(const char *path, uint64_t until_ms, int *fd) NODISCARD PARKS;

#endif
