/*
 * engine_state.h -- what the engine knows of a resource and of a request.
 *
 * Floor 6. Plain data without pointers: a store keeps it where it likes. What has run out (leases,
 * admissions, records) stays in its place and counts as absent; the next write of its resource
 * clears it away. Instants are milliseconds on the authority's clock.
 */
#ifndef PRISM_LIMITER_ENGINE_STATE_H
#define PRISM_LIMITER_ENGINE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#define ENGINE_NAME_MOST     200
#define ENGINE_NOTE_MOST     256
#define ENGINE_LOG_MOST      64 /* above that many requests a window: a ring */
#define ENGINE_RING_SLOTS    61
#define ENGINE_LEASES_MOST   64
#define ENGINE_DEBITS_MOST   96
#define ENGINE_OUTCOMES_MOST 20
#define ENGINE_TAGS_MOST     64 /* tenants that are ahead of their share */
#define ENGINE_HEADS_MOST    16 /* limiters with waiters at one pool */
#define ENGINE_PRIORITIES    4
#define ENGINE_POOLS_MOST    2
#define ENGINE_HELD_MOST     (1 + ENGINE_POOLS_MOST)
#define ENGINE_WRITERS_MOST  16

struct engine_id {
    uint8_t bytes[16];
};

/* Who wrote last. epoch is the suite's at that time: it changes when state was lost. stamp is
 * unique to the step that wrote; epoch and seq alone identify nothing once a store was rolled back.
 */
struct engine_header {
    uint64_t epoch;
    uint64_t seq; /* writes of this resource */
    uint64_t stamp;
};

/* Of limits that policy and catalogue give; those of operators are higher. */
#define ENGINE_VERSION_FIRST 1

/* 0: no such limit. */
struct engine_limits {
    uint64_t version;
    uint64_t requests; /* admissions a window */
    uint64_t tokens;   /* tokens a window */
    uint64_t window_ms;
    uint32_t concurrency; /* at most ENGINE_LEASES_MOST */
    uint32_t pacer_burst; /* admissions that may follow each other at once */
    uint64_t pacer_interval_ms;
    uint64_t cooldown_ms; /* models: base */
};

/* An admission of the log, or a debit: tokens that were used beyond the reservation of that number
 * (0: of nobody knows which). */
struct engine_entry {
    uint64_t no;
    uint64_t at_ms;
    uint64_t tokens;
};

struct engine_slot {
    uint64_t no; /* of the slot since time 0 */
    uint64_t requests;
    uint64_t tokens;
};

enum engine_window_kind {
    ENGINE_WINDOW_NONE,
    ENGINE_WINDOW_LOG,
    ENGINE_WINDOW_RING,
};

/* Admissions in time order, for as long as they count. */
struct engine_window {
    enum engine_window_kind kind;
    uint32_t shape;   /* changes of kind or slot_ms: numbers of an earlier shape find nothing */
    uint64_t slot_ms; /* ring */
    uint64_t last_no; /* log */
    uint64_t tat_ms;  /* pacer: theoretical arrival time of the next admission */
    uint32_t n_log;
    uint32_t n_debits;
    union {
        struct {
            struct engine_entry log[ENGINE_LOG_MOST];
            struct engine_entry debits[ENGINE_DEBITS_MOST];
        };
        struct engine_slot ring[ENGINE_RING_SLOTS];
    };
};

struct engine_lease {
    struct engine_id id;
    struct engine_id session;
    uint64_t fence;
    uint64_t expires_ms;
};

struct engine_outcome {
    uint64_t at_ms;
    bool failed;
};

enum engine_breaker {
    ENGINE_BREAKER_CLOSED,
    ENGINE_BREAKER_OPEN,
    ENGINE_BREAKER_HALF_OPEN,
};

struct engine_health {
    uint64_t generation; /* cooldown starts, breaker openings and closings so far */
    uint64_t cooldown_until_ms;
    uint32_t level; /* steps climbed without a success in between */
    uint32_t ramp;  /* calls at once while it recovers, doubled by each success; 0: it has */
    bool gone;      /* as the provider said */
    bool retired;   /* by the catalogue; told anew before each step, kept nowhere */

    enum engine_breaker breaker;
    uint64_t breaker_since; /* generation from which outcomes count */
    uint64_t open_until_ms;
    struct engine_id probe;
    uint64_t probe_expires_ms; /* 0: no probe */
    uint32_t n_outcomes;
    struct engine_outcome outcomes[ENGINE_OUTCOMES_MOST]; /* oldest first */
};

/* How far a tenant is ahead in the virtual time of a pool, which goes on by what is granted divided
 * by the tenant's weight. */
struct engine_tag {
    uint64_t tenant;
    uint64_t finish;
};

/* The foremost of those who wait at a limiter for this pool. */
struct engine_head {
    uint32_t limiter;
    uint32_t priority; /* 0 first */
    uint64_t tenant;
    uint64_t since_ms;
    uint64_t no; /* among the waiters of its limiter */
    uint64_t deadline_ms;
    uint64_t charge;
    uint32_t candidate;
    uint64_t expires_ms;
};

enum engine_kind {
    ENGINE_POOL,
    ENGINE_MODEL,
};

/* Why state had to begin anew. */
enum engine_loss {
    ENGINE_LOSS_NONE,
    ENGINE_LOSS_NEW,     /* there was nothing to go on with */
    ENGINE_LOSS_DAMAGED, /* what there was could not be read */
    ENGINE_LOSS_BOOT,    /* it was of another run of the machine, whose clock is gone */
    ENGINE_LOSS_AMNESIA, /* somebody holds a grant that is not in it */
};

/* A limiter that writes to a store which it shares with others: what must still be there when it
 * looks again. */
struct engine_writer {
    uint32_t limiter;
    uint32_t step; /* its last; of the stamp */
    uint64_t seen_ms;
    uint64_t request_ms; /* its last step for somebody's request */
};

struct engine_resource {
    struct engine_header header;
    uint64_t hash; /* of the name */
    char name[ENGINE_NAME_MOST + 1];
    enum engine_kind kind;
    struct engine_limits limits;
    uint64_t last_now_ms;
    struct engine_window window;
    uint32_t n_leases;
    struct engine_lease leases[ENGINE_LEASES_MOST];
    struct engine_health health; /* models */
    bool closed;                 /* by an operator, who left the note */
    char note[ENGINE_NOTE_MOST + 1];

    /* pools */
    uint64_t virtual_now;
    uint32_t n_tags; /* those beyond virtual_now */
    struct engine_tag tags[ENGINE_TAGS_MOST];
    uint32_t n_heads;
    struct engine_head heads[ENGINE_HEADS_MOST];

    /* suite */
    enum engine_loss loss;    /* the latest */
    uint64_t closed_until_ms; /* after it, closes all resources */
    uint64_t fence;           /* of the last grant */
    uint64_t began_ms;        /* of the epoch */
    uint32_t n_writers;       /* where the store is shared */
    struct engine_writer writers[ENGINE_WRITERS_MOST];
};

enum engine_state {
    ENGINE_ABSENT,
    ENGINE_GRANTED,
    ENGINE_SETTLED,
    ENGINE_CANCELLED,
};

/* What one grant holds at one resource. */
struct engine_held {
    uint64_t hash;
    uint64_t no; /* of the charge */
    uint64_t charge;
    uint64_t prompt;  /* part of it that is not for the answer */
    uint64_t overrun; /* debited on top so far */
    bool leased;      /* false: there was no limit of concurrency at the time */
};

struct engine_record {
    struct engine_header header;
    struct engine_id id;
    struct engine_id session;
    enum engine_state state;
    uint32_t candidate;
    bool probe;
    uint64_t generation;
    uint64_t fence;
    uint64_t granted_ms;
    uint64_t expires_ms;                       /* from then on absent */
    uint64_t digest;                           /* of the report that ended it */
    uint32_t n_held;                           /* 0 for a mark that was left for an unknown id */
    struct engine_held held[ENGINE_HELD_MOST]; /* model, suite, tenant */
};

#endif
