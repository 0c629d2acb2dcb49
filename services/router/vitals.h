/*
 * vitals.h -- what this router knows of each model in each region: how its last requests ended, and
 * what the limiter said of it last.
 *
 * Floor 6, loop thread. Fed by every request to the provider (vitals_note), by checks of those that
 * nobody has used for a while (check.c), and by the limiter (states.c). Functions take vitals NULL:
 * nothing is known.
 */
#ifndef PRISM_ROUTER_VITALS_H
#define PRISM_ROUTER_VITALS_H

#include "base/arena.h"
#include "base/list.h"
#include "catalogue/catalogue.h"
#include "loop/task.h"
#include "prism/limiter/v1/limiter.pb-c.h"
#include "prism/router/v1/router.pb-c.h"

struct attempt;
struct vitals;
struct router;

struct vitals *vitals_new(struct loop *loop);
void vitals_free(struct vitals *vitals);

/* A request to the provider has ended; says so in the metric model_up too. */
void vitals_note(struct router *router, const struct attempt *attempt, bool check);

/* Nobody has used it for so long. */
bool vitals_idle(const struct vitals *vitals, const char *resource, uint64_t idle_ms);

/* The limiter's word on it; that there is none any more, of any; and how it stands, as a message.
 */
void vitals_take_state(struct vitals *vitals, const Limiter__Resource *resource);
void vitals_forget_states(struct vitals *vitals);
void vitals_put_state(const struct vitals *vitals, Router__ModelRegion *region,
                      struct arena *arena);

/* Why the limiter would not admit a call to it now, so that it need not be asked; UNSPECIFIED: it
 * might. *until_ms: loop time when that ends, UINT64_MAX: not by itself. */
Limiter__Reason vitals_closed(const struct vitals *vitals, const char *resource,
                              uint64_t *until_ms);

/* What happened to it, as a message. */
void vitals_put_history(const struct vitals *vitals, Router__ModelRegion *region,
                        struct arena *arena);

/* Another number whenever something about the model may be news to who watches it. */
uint64_t vitals_version(const struct vitals *vitals, const struct catalogue *catalogue,
                        const struct catalogue_model *model);

/* The catalogue is another one: all of it is news. */
void vitals_new_catalogue(struct vitals *vitals);

/* --- who watches ------------------------------------------------------------------------------ */

struct vitals_watcher {
    struct list link;
    struct bell news;
};

void vitals_watch(struct vitals *vitals, struct vitals_watcher *watcher);
void vitals_unwatch(struct vitals_watcher *watcher);
void vitals_wake(struct vitals *vitals); /* rings for all of them */

/* --- the tasks -------------------------------------------------------------------------------- */

struct checks;
struct states;

struct checks *checks_start(struct router *router); /* NULL when health_every is 0 */
void checks_stop(struct checks *checks) PARKS;      /* takes NULL */

struct states *states_start(struct router *router);
void states_stop(struct states *states) PARKS;

/* Returns when the limiter's word on every model is known, or could not be had in limiter_wait. */
void states_await(struct states *states) PARKS;

#endif
