/*
 * admin.h -- the admin port: probes, metrics, further pages of the service.
 *
 * Floor 5, loop thread. /livez answers because the loop turns; /readyz follows readiness, and with
 * ?verbose tells each condition; /startupz answers because the port opens after the start.
 */
#ifndef PRISM_APP_ADMIN_H
#define PRISM_APP_ADMIN_H

#include "app/readiness.h"
#include "net/http_server.h"

struct admin;

struct admin *admin_new(const struct readiness *readiness);
void admin_free(struct admin *admin); /* takes NULL */

/* path is static. */
void admin_add(struct admin *admin, const char *path,
               void (*page)(struct http_exchange *exchange, void *arg) PARKS, void *arg);

/* The handler for http_server; arg is the admin. */
void admin_handle(struct http_exchange *exchange, void *arg) PARKS;

#endif
