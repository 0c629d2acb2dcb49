/*
 * engine_parts.h -- what the files of the engine share: window, leases, health, each of one
 * resource.
 *
 * Floor 6, pure; for engine*.c only. *_judge reads and adds reasons and what remains to a
 * judgement; the others write a resource that engine_touch has marked.
 */
#ifndef PRISM_LIMITER_ENGINE_PARTS_H
#define PRISM_LIMITER_ENGINE_PARTS_H

#include "limiter/engine_queue.h"

/* One step: the time it happens at. */
struct engine_turn {
    const struct engine_rules *rules;
    uint64_t now_ms;
    uint64_t stamp;
    const struct engine_resource *suite; /* has the epoch; NULL: no event touches a resource */
    struct engine_queue *queue;          /* NULL: nobody waits here */
};

/* Marks the resource as written by this step. */
void engine_touch(struct engine_resource *resource, const struct engine_turn *turn);
void engine_touch_record(struct engine_record *record, const struct engine_turn *turn);

/* The record's present state: one that has run out is absent. */
enum engine_state engine_state_at(const struct engine_record *record, uint64_t now_ms);

/* Adds a reason and the time from which it no longer holds. */
void engine_refuse(struct engine_judgement *judgement, enum engine_reason reason, uint64_t until_ms,
                   bool exact);

/* What is held at a resource; NULL: nothing. */
struct engine_held *engine_held_at(struct engine_record *record,
                                   const struct engine_resource *resource);

/* Acquire: engine.c. Deciding fills the verdict and changes nothing else. */
void engine_decide(const struct engine_turn *turn, const struct engine_acquire *acquire);
void engine_acquire(const struct engine_turn *turn, const struct engine_acquire *acquire);

/* Complete and Cancel, Renew, and what operators want: engine_report.c, _renew.c, _order.c. */
void engine_report(const struct engine_turn *turn, struct engine_report *report);
void engine_renew(const struct engine_turn *turn, struct engine_renew *renew);
void engine_order(const struct engine_turn *turn, struct engine_order *order);

/* --- window: engine_window.c -------------------------------------------------------------------
 */

void engine_window_judge(const struct engine_resource *resource, const struct engine_turn *turn,
                         struct engine_judgement *judgement);

/* Forgets what has run out, before limits change: it must not come to count again. */
void engine_window_clear_away(struct engine_resource *resource, const struct engine_turn *turn);

/* Admits now; returns the number under which the charge is kept. */
uint64_t engine_window_charge(struct engine_resource *resource, const struct engine_turn *turn,
                              uint64_t tokens);

/* Charges less for an admission, if it still counts. */
void engine_window_lower(struct engine_resource *resource, uint64_t no, uint64_t reserved,
                         uint64_t used);

/* Forgets an admission that was never used. */
void engine_window_refund(struct engine_resource *resource, uint64_t no, uint64_t reserved);

/* Charges tokens now, without an admission; replaces a smaller debit of `before` tokens under the
 * same number. */
void engine_window_debit(struct engine_resource *resource, const struct engine_turn *turn,
                         uint64_t no, uint64_t before, uint64_t tokens);

/* When at most so many requests and tokens are in it. */
uint64_t engine_window_matures(const struct engine_resource *resource,
                               const struct engine_turn *turn, uint64_t requests, uint64_t tokens);

/* --- form of a window: engine_shape.c ----------------------------------------------------------
 */

/* Of one that is empty. */
void engine_window_form(struct engine_resource *resource, const struct engine_rules *rules);

/* After limits or rules have changed: what counts goes on counting, at the latest time it may have
 * been. */
void engine_window_reshape(struct engine_resource *resource, const struct engine_rules *rules,
                           uint64_t now_ms, struct engine_window *scratch);

/* --- leases: engine_lease.c --------------------------------------------------------------------
 */

/* Calls at once, while a model recovers fewer than its limit; 0: no limit. */
uint32_t engine_leases_most(const struct engine_resource *resource);
void engine_leases_judge(const struct engine_resource *resource, const struct engine_turn *turn,
                         struct engine_judgement *judgement);

/* False when the table is full. Does nothing where there is no limit now. */
bool engine_lease_add(struct engine_resource *resource, const struct engine_turn *turn,
                      const struct engine_id *id, const struct engine_id *session, uint64_t fence);
void engine_lease_renew(struct engine_resource *resource, const struct engine_turn *turn,
                        const struct engine_id *id);
void engine_lease_release(struct engine_resource *resource, const struct engine_id *id);

/* --- health of a model: engine_health.c --------------------------------------------------------
 */

void engine_health_judge(const struct engine_resource *resource, const struct engine_turn *turn,
                         struct engine_judgement *judgement);

/* A grant: true when it became the probe of a breaker that is not closed. */
bool engine_health_grant(struct engine_resource *resource, const struct engine_turn *turn,
                         const struct engine_id *id);
void engine_health_renew(struct engine_resource *resource, const struct engine_turn *turn,
                         const struct engine_id *id);

/* The grant was never used. */
void engine_health_release(struct engine_resource *resource, const struct engine_id *id);

void engine_health_close_breaker(struct engine_resource *resource);

/* generation: of the grant, 0 when that is unknown. */
void engine_health_report(struct engine_resource *resource, const struct engine_turn *turn,
                          const struct engine_report *report, uint64_t generation);

/* --- who waits: engine_queue.c, engine_eta.c, engine_serve.c -----------------------------------
 */

/* Place in the order of a pool. */
struct engine_key {
    uint32_t priority;
    uint64_t start;
    uint64_t since_ms;
    uint32_t limiter;
    uint64_t no;
};

struct engine_key engine_key_of(const struct engine_turn *turn,
                                const struct engine_acquire *acquire,
                                const struct engine_resource *pool);
struct engine_key engine_key_of_head(const struct engine_turn *turn, const struct engine_head *head,
                                     const struct engine_resource *pool);
bool engine_key_before(const struct engine_key *a, const struct engine_key *b);

void engine_queue_add(struct engine_queue *queue, struct engine_waiter *waiter);
void engine_queue_remove(struct engine_queue *queue, struct engine_waiter *waiter);
size_t engine_queue_of_tenant(const struct engine_queue *queue, uint64_t tenant);

/* 1: nobody is in front. */
uint32_t engine_queue_position(const struct engine_turn *turn, const struct engine_resource *pool,
                               const struct engine_acquire *acquire);

/* When the k-th from now may go; charge: of all k. */
uint64_t engine_eta(const struct engine_resource *resource, const struct engine_turn *turn,
                    uint64_t k, uint64_t charge, bool *exact);

/* Predicate 8: whether somebody waits at this pool who is earlier in its order. */
void engine_queue_judge(const struct engine_resource *pool, const struct engine_turn *turn,
                        const struct engine_acquire *acquire, struct engine_judgement *judgement);

/* A grant moves the virtual time of the suite and the tag of the tenant. */
void engine_tags_charge(struct engine_resource *suite, const struct engine_acquire *acquire,
                        uint64_t charge);

/* Takes those who wait in their order, as far as they can be granted. */
void engine_serve(const struct engine_turn *turn);

/* An acquire of a batch: it is granted, refused, or waits from now on. */
void engine_enter(const struct engine_turn *turn, struct engine_acquire *acquire);

/* What the other limiters have to know after a step. */
void engine_tell(const struct engine_turn *turn, const struct engine_event *events, size_t n_events,
                 struct engine_resource *suite);

#endif
