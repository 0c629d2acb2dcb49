/*
 * lessons.h -- what the models' own counts of tokens teach about our estimates.
 *
 * Floor 6, loop thread. One lesson a model, in memory, of this router alone: an estimate's input,
 * never a promise. All take NULL: nothing is known, nothing is learned.
 */
#ifndef PRISM_ROUTER_LESSONS_H
#define PRISM_ROUTER_LESSONS_H

#include "base/arena.h"
#include "catalogue/catalogue.h"
#include "loop/task.h"

struct attempt;
struct lessons;
struct plan;
struct router;

struct lessons *lessons_new(void) NODISCARD;
void lessons_free(struct lessons *lessons);

/* Of each model of the catalogue, in its order; in arena. */
const struct estimate_lesson *lessons_of(const struct lessons *lessons,
                                         const struct catalogue *catalogue, struct arena *arena);

/* Learns from an answer whose usage is whole, and reports how far off its estimate was. */
void lessons_take(struct router *router, const struct attempt *attempt);

/* With the option count_tokens: has the provider count the prompt for the first candidate's model,
 * and puts that in the place of the estimate, for other models in proportion. What is not counted
 * within two seconds stays estimated. */
void lessons_ask(struct router *router, struct plan *plan) PARKS;

#endif
