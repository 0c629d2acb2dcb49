/*
 * limiter_link.h -- one stream to the limiter for all that a process asks of it.
 *
 * Floor 5, tasks on the loop thread. A session is attached to the limiter as long as the link runs:
 * the first of the channel's targets that is connected, and again that one when it is back. What is
 * asked while a message is on its way goes into the next one. Nothing is asked twice: when the
 * stream breaks, what was sent and not answered ends UNAVAILABLE, and may have been decided; who
 * asks again with the same id gets the same answer. What was not sent yet waits for the next
 * stream.
 */
#ifndef PRISM_APP_LIMITER_LINK_H
#define PRISM_APP_LIMITER_LINK_H

#include "net/rpc_client.h"
#include "prism/limiter/v1/limiter.pb-c.h"

struct limiter_link;

/* session: 16 bytes. A message that is not answered within silence_ms: the stream is given up. */
struct limiter_link *limiter_link_start(struct rpc_channel *channel, struct span session,
                                        uint64_t silence_ms);
void limiter_link_stop(struct limiter_link *link) PARKS; /* nobody may be asking */

/* A reply, in a message that others may be reading too. All zero: none. */
struct limiter_reply {
    const Limiter__AttachReply *is;
    struct limiter_message *message;
};

void limiter_reply_drop(struct limiter_reply *reply); /* for CLEANUP */

/* One request; returns with its reply, or with the error that is in the reply's place. Texts of a
 * failure live as long as the reply. PEER_UNREACHABLE: no reply within wait_ms. */
struct status limiter_link_ask(struct limiter_link *link, const Limiter__AttachItem *item,
                               uint64_t wait_ms, struct limiter_reply *reply) NODISCARD PARKS;

#endif
