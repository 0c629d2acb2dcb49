/*
 * home_redis.h -- the state in a Redis that several limiters share.
 *
 * Floor 6, loop thread; for home_redis_*.c. The limiter's own tables are a copy of what the store
 * has. Asks wait in a queue; one standing task takes as many as fit (step), decides them on the
 * copy, and sends one transaction that names all that was read: it is carried out if the store
 * still has what the copy has, else it answers with what the store has, and the whole step is
 * decided again. One transaction is on its way at a time. txn.lua is the script.
 */
#ifndef PRISM_LIMITER_HOME_REDIS_H
#define PRISM_LIMITER_HOME_REDIS_H

#include "base/map.h"
#include "limiter/engine_writers.h"
#include "limiter/home.h"
#include "limiter/home_alone.h"
#include "limiter/limiter.h"
#include "loop/task.h"
#include "net/redis.h"

#define STEP_ASKS 64
#define STEP_KEYS 190 /* that a script can unpack */

#define BUDGET_MS 250 /* of an ask, and of a trip */

extern const unsigned char limiter_txn_lua[];
extern const size_t limiter_txn_lua_len;

/* What is known of a key in the store. */
struct known {
    bool read; /* false: nothing, whatever the copy says */
    bool absent;
    struct engine_header header; /* that the store has, unless absent */
    uint64_t read_ms;            /* our clock, when it was so */
    uint64_t seq;                /* highest that was seen in this epoch */
    uint64_t mark;               /* of the last step that named it */
};

struct known_record {
    struct engine_record record;
    struct known known;
};

struct step_key {
    struct engine_resource *resource; /* or */
    struct known_record *record;
    bool fresh; /* nobody else can have written it: it is to be absent */
};

/* The step in hand. */
struct step {
    struct list asks;
    size_t n_asks;
    struct step_key keys[STEP_KEYS]; /* the suite first */
    size_t n_keys;
    uint64_t mark;
    uint64_t stamp;
    uint64_t now_ms;
    unsigned tries;
    bool goes_on; /* with those who wait: takes the one that was absent in the step before */
    bool served;  /* what there is to know of those who wait is true */
    bool losing;  /* begins a new epoch, and does nothing else */
    bool writes;
    bool checked; /* what a renewal contradicts was just read; nobody joins any more */
    struct engine_event events[STEP_ASKS];
};

/* How a transaction ended. */
enum trip {
    TRIP_KEPT,
    TRIP_AGED,   /* the store had something else, which the copy has now */
    TRIP_UNSENT, /* nothing happened */
    TRIP_LOST,   /* it may have been carried out */
};

struct looker {
    struct op seen;
    struct list link;
};

struct home_redis {
    struct limiter *limiter;
    const struct limiter_config *config;
    struct redis *redis;
    struct redis_pubsub *pubsub;
    struct redis_script txn;
    struct redis_sentinels sentinels;
    struct redis_address addresses[8];
    struct stream_tls tls;
    const char *prefix; /* "{lim:main}:" */
    const char *busy;   /* channel */
    const char *wake;   /* channels of limiters: this and their id */
    struct loop *loop;
    struct arena *arena; /* of what is said once */

    struct home_alone *alone; /* NULL: nothing is decided while the store is away */
    bool away;                /* it did not answer, or took nothing */

    struct bell bell;
    struct op ended;
    bool stopping;
    bool goes_on;        /* the next step takes one who was absent in the last */
    struct list queue;   /* asks */
    struct list lookers; /* who wait for a copy that is new */

    struct known *resources; /* by slot of the limiter's store */
    struct map *records;     /* id -> struct known_record *, oldest first */
    struct step step;

    uint64_t time_ms;           /* the store's clock; 0: never heard */
    uint64_t time_at_us;        /* our clock, when it came */
    uint64_t (*clock_us)(void); /* steady; finer than the store's, so that ours never leads it */
    uint64_t trip_ms;           /* loop's clock, at the last reply */
    uint64_t trip_us;           /* how long that took */

    uint64_t epoch;        /* 0: none yet */
    uint32_t own_step;     /* our last that is known to be kept; 0: none in this epoch */
    uint64_t own_ms;       /* when, by the store's clock */
    enum engine_loss loss; /* found, and not yet written */
    struct engine_order *lose;
    struct engine_resource *scratch;

    uint64_t connection; /* that was looked at */
    struct status unfit; /* why this store is not used */
    char unfit_text[256];
    char why_text[256]; /* of the step's last failure */
    unsigned misses;    /* in a row */
    uint64_t miss_ms;
    uint64_t pause_us; /* owed */
    uint64_t busy_said_ms;
    uint64_t watched_stamp; /* of the suite, when all was read for who watches */
    uint64_t watched_ms;
    struct {
        uint32_t limiter;
        uint64_t heard_ms;
    } others[ENGINE_WRITERS_MOST];
};

/* --- the service's part: home_redis.c ----------------------------------------------------------
 */

/* Connects in the background; limiter outlives it. CONFIG_INVALID. */
struct status home_redis_new(struct limiter *limiter, char error_text[256],
                             struct home_redis **out) NODISCARD;
void home_redis_free(struct home_redis *home) PARKS; /* takes NULL; nobody may ask any more */

void home_redis_serve(struct home_redis *home);
void home_redis_submit(struct home_redis *home, struct ask *ask);
void home_redis_enqueue(struct home_redis *home, struct ask *ask); /* the same, between two steps */

/* OK, or why the server that was found must not be used; waits a little for the first. */
struct status home_redis_first(struct home_redis *home) NODISCARD PARKS;

/* Takes in what the store has of all resources. */
struct status home_redis_look(struct home_redis *home) NODISCARD PARKS;

struct engine_record *home_redis_record(struct home_redis *home, const struct engine_id *id);
uint64_t home_redis_now_ms(const struct home_redis *home);

/* --- a step: home_redis_step.c -----------------------------------------------------------------
 */

/* Asks that are queued, or what is due without any. */
void home_redis_step(struct home_redis *home) PARKS;

/* --- its asks: home_redis_asks.c ---------------------------------------------------------------
 */

/* Those in hand look again for what they name; others join. */
void home_redis_gather(struct home_redis *home);

/* The step is kept, or need not be. */
void home_redis_answer(struct home_redis *home, struct ask *ask);
void home_redis_answer_all(struct home_redis *home);

/* Where the store is away and on_store_loss is open they are decided without it. */
void home_redis_fail_all(struct home_redis *home, struct list *asks, struct status why);
void home_redis_fail_step(struct home_redis *home, struct status why);

/* Those whose time is over; whether there were any. */
bool home_redis_fail_late(struct home_redis *home, struct status why);

/* --- a transaction: home_redis_txn.c -----------------------------------------------------------
 */

/* Names what the step touches: all that it may, or after it was decided what it has. False: too
 * many keys. */
void home_redis_name_none(struct home_redis *home);
bool home_redis_name(struct home_redis *home, const struct ask *ask, bool all);
bool home_redis_name_resource(struct home_redis *home, const struct engine_resource *resource);

/* Sends what the step named and wrote; reading: only asks for what the store has. */
enum trip home_redis_send(struct home_redis *home, bool reading, struct status *why) PARKS;

/* What the step's keys have is not known any more. */
void home_redis_forget_step(struct home_redis *home);

/* --- what was lost: home_redis_blobs.c ---------------------------------------------------------
 */

/* Takes in what the store has of the step's keys. STORE_CORRUPT. */
struct status home_redis_take(struct home_redis *home, const struct redis_reply *values) NODISCARD;

/* The step is kept. */
void home_redis_kept(struct home_redis *home);

/* --- the server: home_redis_server.c -----------------------------------------------------------
 */

/* Options for redis.h from our own. CONFIG_INVALID. */
struct status home_redis_options(struct home_redis *home, char error_text[256],
                                 struct redis_options *out) NODISCARD;

/* Once a connection: whether the server may keep our state. Else home->unfit says why not. */
struct status home_redis_check(struct home_redis *home) NODISCARD PARKS;

#endif
