/*
 * address.h -- "host:port" as people write it.
 *
 * Floor 0. Hosts are names, IPv4 or bracketed IPv6; nothing is looked up here.
 */
#ifndef PRISM_BASE_ADDRESS_H
#define PRISM_BASE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

/* "127.0.0.1:7401", "[::]:0", "limiter.svc:7402". host comes without brackets, as part of text. */
bool address_split(struct span text, struct span *host, uint16_t *port);

#endif
