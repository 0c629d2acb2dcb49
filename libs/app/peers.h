/*
 * peers.h -- readiness that follows connections: a service is of no use without those it calls.
 *
 * Floor 5, loop thread. Owned by the app; one task a peer, until peers_stop.
 */
#ifndef PRISM_APP_PEERS_H
#define PRISM_APP_PEERS_H

#include "app/readiness.h"
#include "net/rpc_client.h"

struct peers;

struct peers *peers_new(struct loop *loop, struct readiness *readiness);
void peers_free(struct peers *peers); /* stopped; takes NULL */

/* The condition holds while one of the channel's targets is connected; condition and why static. */
void peers_follow(struct peers *peers, const char *condition, struct rpc_channel *channel,
                  const char *why);

/* Lets go of the channels. */
void peers_stop(struct peers *peers) PARKS;

#endif
