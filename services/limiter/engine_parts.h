/*
 * engine_parts.h -- what the files of the engine share: window, leases, health, each of one
 * resource.
 *
 * Floor 6, pure; for engine*.c only. *_judge reads and adds reasons and what remains to a
 * judgement; the others write a resource that engine_touch has marked.
 */
#ifndef PRISM_LIMITER_ENGINE_PARTS_H
#define PRISM_LIMITER_ENGINE_PARTS_H

#include "limiter/engine.h"

/* One step: the time it happens at. */
struct engine_turn {
    const struct engine_rules *rules;
    uint64_t now_ms;
    uint64_t stamp;
    const struct engine_resource *suite; /* has the epoch; NULL: no event touches a resource */
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

void engine_leases_judge(const struct engine_resource *resource, const struct engine_turn *turn,
                         struct engine_judgement *judgement);
const struct engine_lease *engine_lease_find(const struct engine_resource *resource,
                                             const struct engine_id *id, uint64_t now_ms);

/* False when the table is full. Does nothing where the resource has no limit of concurrency. */
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

#endif
