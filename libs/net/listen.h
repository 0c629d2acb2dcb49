/*
 * listen.h -- a TCP socket that listens.
 *
 * Floor 3. Beside libmicrohttpd rather than inside it: so errors are told by name and the port is
 * known when any free one was asked for.
 */
#ifndef PRISM_NET_LISTEN_H
#define PRISM_NET_LISTEN_H

#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

/* host is numeric; "::" takes IPv4 too. The descriptor is the caller's: non-blocking, closed on
 * exec. ADDRESS_IN_USE or CONFIG_INVALID; the detail names the address when there is an arena. */
struct status listen_open(const char *host, uint16_t port, struct arena *arena, int *fd,
                          uint16_t *bound_port) NODISCARD;

#endif
