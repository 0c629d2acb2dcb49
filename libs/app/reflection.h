/*
 * reflection.h -- grpc.reflection.v1 and v1alpha, which differ in name only.
 *
 * Floor 5, loop thread. Serves the descriptor set that the build embeds, comments included.
 */
#ifndef PRISM_APP_REFLECTION_H
#define PRISM_APP_REFLECTION_H

#include "net/rpc_server.h"

#define REFLECTION_SERVICES 2

struct reflection;

/* services: what list_services answers; they outlive it. */
struct reflection *reflection_new(const struct rpc_service *services, size_t n);
void reflection_free(struct reflection *reflection); /* no call may run; takes NULL */

/* The rows to serve. */
void reflection_services(struct reflection *reflection,
                         struct rpc_service rows[REFLECTION_SERVICES]);

#endif
