/*
 * reply.h -- what the engine says, as messages, metrics and audit entries.
 *
 * Floor 6. Messages live in the arena. The texts of a resource are its own and last as long as no
 * step is taken; those of verdicts and settlements last as long as the arena.
 */
#ifndef PRISM_LIMITER_REPLY_H
#define PRISM_LIMITER_REPLY_H

#include "limiter/limiter.h"
#include "prism/limiter/v1/limiter.pb-c.h"

Limiter__Verdict *reply_verdict(struct arena *arena, const struct engine_verdict *verdict,
                                uint64_t now_ms);
Limiter__Settlement **reply_settlements(struct arena *arena, const struct engine_report *report);
Limiter__Resource *reply_resource(struct arena *arena, const struct limiter *limiter,
                                  const struct engine_resource *resource, uint64_t now_ms);

/* All that are in the set: "REQUESTS,TOKENS". */
void reply_add_reasons(struct buf *out, uint32_t reasons);

/* Whether a resource admits calls, and until when that stays so by itself (0: not by itself). */
Limiter__ResourceState reply_state(const struct limiter *limiter,
                                   const struct engine_resource *resource, uint64_t now_ms,
                                   uint64_t *until_ms);
const char *reply_state_name(Limiter__ResourceState state); /* "OPEN" */

/* Counts a decision or report, and notes it in the audit rings. */
void reply_note_verdict(struct limiter *limiter, const struct engine_acquire *acquire,
                        const char *priority, uint64_t now_ms);
void reply_note_report(struct limiter *limiter, const struct engine_report *report,
                       uint64_t now_ms);

#endif
