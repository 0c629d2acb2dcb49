/*
 * refusal.h -- what a verdict that grants nothing comes to, and which models a verdict passed over.
 *
 * Floor 6, loop thread, pure but for what is noted in the plan. Texts are static, the plan's, or
 * the protocol's.
 */
#ifndef PRISM_ROUTER_REFUSAL_H
#define PRISM_ROUTER_REFUSAL_H

#include "router/question.h"

struct refusal {
    enum reason reason; /* what the caller is told when it cannot wait */
    const char *word;   /* the limiter's: "REQUESTS" */
    const char *resource;
    uint64_t retry_ms; /* 0: unknown, or never */
    bool exact;
    bool busy;  /* only a slot of a pool is missing */
    bool never; /* nothing that waiting could change */
};

/* Of what was asked and what was known without asking. */
struct refusal refusal_of(const struct plan *plan, const struct question *q,
                          const Limiter__Verdict *v);

/* As the caller is told that waiting is no use, and that it waits. */
struct status refusal_status(const struct plan *plan, const struct refusal *r) NODISCARD;
Router__Queued refusal_queued(const struct refusal *r);

/* The models of the last decision that were passed over, unasked ones too; a decision replaces the
 * one before. */
void refusal_note_skipped(struct plan *plan, const struct question *q, const Limiter__Verdict *v);

#endif
