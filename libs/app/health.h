/*
 * health.h -- grpc.health.v1: the process, its services, and the three probes by name.
 *
 * Floor 5, loop thread. "", every service and "readiness" follow health_set_serving; "liveness"
 * and "startup" are SERVING for whoever can ask. Watch tells changes; the end of the process is
 * told by NOT_SERVING, behind which the call ends, so that no watcher holds up the drain.
 */
#ifndef PRISM_APP_HEALTH_H
#define PRISM_APP_HEALTH_H

#include <stdbool.h>
#include <stddef.h>

#include "net/rpc_server.h"

struct health;

struct health *health_new(struct loop *loop);
void health_free(struct health *health); /* no call may run; takes NULL */

/* The row to serve. services: whose names are known; they outlive it. */
struct rpc_service health_service(struct health *health, const struct rpc_service *services,
                                  size_t n);

void health_set_serving(struct health *health, bool serving);
void health_end(struct health *health); /* NOT_SERVING for good */

#endif
