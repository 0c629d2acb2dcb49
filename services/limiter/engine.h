/*
 * engine.h -- the decision: may this call go to that model now, and if not, when?
 *
 * Floor 6, pure: no clock, no I/O, no lock, no allocation. Whoever calls owns all memory and tells
 * the time. Events point to the resources and records they concern and carry the place of their
 * reply. Judging reads, granting writes: a refusal changes no byte of any resource or record.
 */
#ifndef PRISM_LIMITER_ENGINE_H
#define PRISM_LIMITER_ENGINE_H

#include "base/check.h"
#include "base/span.h"
#include "limiter/engine_state.h"

#define ENGINE_LEVELS          5
#define ENGINE_CANDIDATES_MOST 32
#define ENGINE_JUDGED_MOST     (ENGINE_CANDIDATES_MOST + ENGINE_POOLS_MOST)
#define ENGINE_NEVER           UINT64_MAX

/* The same for all resources of a group. */
struct engine_rules {
    uint64_t guard_ms;
    uint64_t lease_ms;
    uint64_t use_by_ms;
    uint64_t cooldown_steps_ms[ENGINE_LEVELS]; /* added to the base, by level */
    uint64_t cooldown_most_ms;                 /* of what a provider asks for */
    uint64_t breaker_open_ms;
    uint64_t breaker_age_ms; /* older outcomes do not count */
    uint32_t breaker_outcomes;
    uint32_t breaker_least; /* outcomes before it may open */
    double breaker_ratio;   /* of failures that opens it */
    uint64_t record_open_ms;
    uint64_t record_done_ms;
    bool ramp;         /* a model that recovers takes 1 call at once, then 2, 4, ... */
    uint64_t aging_ms; /* a waiter rises by one class in that time */
    uint64_t head_ms;  /* a limiter's foremost waiter counts at the others for so long */
    uint32_t waiters_most, tenant_waiters_most;
};

/* Numbers as on the wire. */
enum engine_reason {
    ENGINE_REASON_MODEL_GONE = 1,
    ENGINE_REASON_CLOSED = 2,
    ENGINE_REASON_STATE_LOST = 3,
    ENGINE_REASON_COOLDOWN = 4,
    ENGINE_REASON_BREAKER_OPEN = 5,
    ENGINE_REASON_PROBE_RUNNING = 6,
    ENGINE_REASON_CONCURRENCY = 7,
    ENGINE_REASON_REQUESTS = 8,
    ENGINE_REASON_PACED = 9,
    ENGINE_REASON_TOKENS = 10,
    ENGINE_REASON_QUEUED_BEHIND = 11,
    ENGINE_REASON_TOO_LARGE = 12,
    ENGINE_REASON_WOULD_MISS_DEADLINE = 13,
    ENGINE_REASON_QUEUE_FULL = 14,
    ENGINE_REASON_CANCELLED = 15,
};

struct engine_remaining {
    uint64_t requests;
    uint64_t leases;
    int64_t tokens; /* negative while an overrun is being paid off */
};

struct engine_judgement {
    const struct engine_resource *resource;
    uint32_t reasons; /* bit 1 << enum engine_reason; 0: admits */
    uint64_t charge;
    uint64_t retry_at_ms; /* 0: now; ENGINE_NEVER: no known time */
    bool exact;           /* retry_at_ms rests on no hint */
    struct engine_remaining remaining;
    uint64_t epoch;
    uint64_t seq;
};

struct engine_verdict {
    bool granted;
    bool replayed;
    bool cancelled; /* refused because the id was ended before */
    bool probe;
    bool queued;      /* it waits from now on; all else is as in a refusal */
    uint32_t reasons; /* of the request as a whole, no resource is to blame */
    uint32_t candidate;
    uint64_t retry_at_ms; /* 0: not known, or never */
    bool exact;
    uint64_t generation;
    uint64_t fence;
    uint64_t lease_ms;
    uint64_t use_by_ms;
    struct engine_id holder; /* session that holds the grant */
    size_t n_judged;
    struct engine_judgement judged[ENGINE_JUDGED_MOST];
};

struct engine_queue;

struct engine_candidate {
    struct engine_resource *model;
    uint64_t model_charge;
    uint64_t pool_charge;
    uint64_t model_prompt; /* what of the charge is not for the answer */
    uint64_t pool_prompt;
};

struct engine_acquire {
    struct engine_id id;
    struct engine_id session;
    const struct engine_candidate *candidates; /* best first */
    size_t n_candidates;
    struct engine_resource *pools[ENGINE_POOLS_MOST]; /* suite, tenant */
    size_t n_pools;                                   /* 1 or 2 */
    struct engine_record *record;                     /* of this id */
    uint64_t tenant;                                  /* hash of the name */
    uint32_t weight;                                  /* of the tenant; 0 is 1 */
    uint32_t priority;                                /* 0 urgent, to 3 background */
    struct engine_waiter *waiter;                     /* memory for waiting; NULL: it does not */
    uint64_t deadline_ms;                             /* until when it waits */
    struct engine_verdict *verdict;
};

enum engine_outcome_kind {
    ENGINE_OK = 1,
    ENGINE_THROTTLED = 2,
    ENGINE_FAILED = 3,
    ENGINE_CALLER = 4,
    ENGINE_LEFT = 5, /* the caller left */
    ENGINE_GONE = 6,
};

enum engine_result {
    ENGINE_APPLIED = 1,
    ENGINE_REPLAYED = 2,
    ENGINE_ALREADY_SETTLED = 3,
    ENGINE_ALREADY_RELEASED = 4,
    ENGINE_UNKNOWN_ID = 5,
};

struct engine_settlement {
    const struct engine_resource *resource;
    uint64_t reserved;
    uint64_t charged;
    struct engine_remaining remaining;
};

/* Complete or Cancel. Who cancels a call that was dispatched sets outcome LEFT and partial. */
struct engine_report {
    struct engine_id id;
    struct engine_record *record;                   /* of this id */
    struct engine_resource *held[ENGINE_HELD_MOST]; /* model, suite, tenant; NULL: not known */
    bool undispatched;                              /* take the grant back, nothing was used */
    enum engine_outcome_kind outcome;
    uint64_t model_tokens; /* used, as the model counts */
    uint64_t pool_tokens;
    bool partial; /* more may have been used: charge no less than was reserved */
    uint64_t server_retry_ms;
    uint64_t digest;
    enum engine_result result; /* from here on: the reply */
    size_t n_settlements;
    struct engine_settlement settlements[ENGINE_HELD_MOST];
};

struct engine_renewal {
    struct engine_id id;
    uint64_t fence;
    struct engine_record *record;                   /* of this id; NULL: not known */
    struct engine_resource *held[ENGINE_HELD_MOST]; /* model, suite, tenant; NULL: none */
    uint64_t seqs[ENGINE_HELD_MOST]; /* of the grant there; 0: not told, or of another epoch */
    uint64_t model_output;           /* tokens of answer so far, as the model counts */
    uint64_t pool_output;
    bool believed; /* its lease, also where it is not known */
    bool lost;     /* the reply */
    bool restored; /* it was not known and is again */
};

struct engine_renew {
    struct engine_id session;
    struct engine_renewal *leases;
    size_t n_leases;
    bool amnesia; /* the reply: a grant is younger than what we know. Nothing was renewed. */
};

enum engine_order_kind {
    ENGINE_LIMIT,         /* replaces the limits */
    ENGINE_CLOSE,         /* refuses everything until it is reopened */
    ENGINE_CLOSE_BREAKER, /* of a model: calls flow again */
    ENGINE_REOPEN,        /* ends GONE and CLOSED */
    ENGINE_ADOPT,         /* limits of policy or catalogue, which an operator's outlive */
    ENGINE_LOSE,          /* of the suite: state was lost, a new epoch begins */
};

struct engine_order {
    enum engine_order_kind kind;
    struct engine_resource *resource;
    struct engine_resource *suite;
    struct engine_limits limits; /* LIMIT, whose base of the cooldown stays, and ADOPT */
    bool reopen;                 /* ADOPT: another model now, which is not GONE */
    struct span note;            /* CLOSE: at most ENGINE_NOTE_MOST */
    bool force;                  /* REOPEN: ends the closure after a loss too */
    enum engine_loss loss;       /* LOSE */
    uint64_t epoch;
    uint64_t closed_ms; /* nothing is granted for so long */
    bool refused;       /* the reply: a version that is not newer, or a pool has no breaker */
    struct engine_window scratch;
};

struct engine_event {
    struct engine_acquire *acquire; /* one of the five */
    struct engine_report *report;
    struct engine_renew *renew;
    struct engine_order *order;
    struct engine_waiter *leave; /* does not want to wait any more */
};

/* name: at most ENGINE_NAME_MOST bytes. */
void engine_resource_init(struct engine_resource *resource, struct span name, uint64_t hash,
                          enum engine_kind kind, const struct engine_limits *limits,
                          const struct engine_rules *rules);

/* Takes in rules that have changed, and limits unless they are older than its own. */
void engine_resource_adopt(struct engine_resource *resource, const struct engine_limits *limits,
                           const struct engine_rules *rules, uint64_t now_ms,
                           struct engine_window *scratch);

/* Forgets everything that was counted, keeps what was said: newer limits, closed, gone. */
void engine_resource_forget(struct engine_resource *resource, const struct engine_rules *rules);

/* One of an epoch before the suite's, after whose loss nothing was granted until all that was
 * counted had run out: keeps limits, health, and its numbers, so that none comes again. */
void engine_resource_shed(struct engine_resource *resource);

/* Orders, reports and renewals come first, then who waits in queue (NULL: nobody can), then the
 * acquires. stamp is new with every step. Returns the present: later if a resource saw later. */
uint64_t engine_step(const struct engine_rules *rules, uint64_t now_ms, uint64_t stamp,
                     struct engine_event *events, size_t n_events, struct engine_queue *queue);

/* The verdict a new id would get, or one that waits already; changes nothing. */
void engine_peek(const struct engine_rules *rules, uint64_t now_ms,
                 const struct engine_acquire *acquire, struct engine_queue *queue);

/* What is left at now_ms. Members of limits that are unset are 0. */
struct engine_remaining engine_remaining(const struct engine_rules *rules, uint64_t now_ms,
                                         const struct engine_resource *resource);

/* Calls that run, as far as is known; the lease of one. */
uint32_t engine_leases_live(const struct engine_resource *resource, uint64_t now_ms);
const struct engine_lease *engine_lease_find(const struct engine_resource *resource,
                                             const struct engine_id *id, uint64_t now_ms);
bool engine_id_eq(const struct engine_id *a, const struct engine_id *b);

#endif
