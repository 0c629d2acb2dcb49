/*
 * mailbox.h -- the one place where threads meet: ops for the loop, jobs for a blocking thread.
 *
 * Floor 2, any thread. First in, first out, intrusive, nothing is lost or allocated. It holds the
 * project's only mutex.
 */
#ifndef PRISM_LOOP_MAILBOX_H
#define PRISM_LOOP_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "loop/op.h"

struct mailbox;

struct mailbox *mailbox_new(void);
void mailbox_free(struct mailbox *mailbox); /* must be empty; takes NULL */

/* True when it was empty before: the reader may sleep and must be woken (uv_async_send). */
bool mailbox_put(struct mailbox *mailbox, struct op *op) NODISCARD;

/* All that is there, linked by op->next, oldest first; NULL when empty. Never blocks. */
struct op *mailbox_take(struct mailbox *mailbox);

/* The same, but blocks until there is something or the mailbox was closed (then NULL). */
struct op *mailbox_wait(struct mailbox *mailbox);
void mailbox_close(struct mailbox *mailbox);

#endif
