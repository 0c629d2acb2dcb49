/*
 * limiter_lines.h -- what limiters are asked, as lines of text, and what they answer.
 *
 * The reference model in Python reads the same lines and prints the same replies. Ids and sessions
 * are numbers, results are the engine's numbers. Tenant 1 has a pool, others have none.
 *
 *   A step now id session tenant priority weight deadline n
 *     {model model_charge pool_charge model_prompt pool_prompt}*n     deadline 0: it does not wait
 *   C step now id model tenant outcome model_tokens pool_tokens partial retry digest undispatched
 *   N step now session id fence model tenant model_output pool_output seq                   Renew
 *   L step now name requests tokens window concurrency burst interval version              limits
 *   O step now close|breaker|reopen name force                                           an order
 *   R name pool|model requests tokens window concurrency burst interval cooldown       a resource
 */
#ifndef PRISM_TESTS_LIMITER_LINES_H
#define PRISM_TESTS_LIMITER_LINES_H

#include "limiter/engine_queue.h"

#define LIMITER_LINES_WAITERS 40 /* at one limiter; it is full then */

extern const struct engine_rules limiter_lines_rules;

/* Where the resources and records are that lines name. */
struct limiter_place {
    struct engine_resource *(*resource)(void *arg, const char *name);
    struct engine_record *(*record)(void *arg, const struct engine_id *id);
    void *arg;
};

/* A request, for as long as it waits. */
struct limiter_call {
    struct engine_waiter waiter;
    struct engine_acquire acquire;
    struct engine_candidate candidates[ENGINE_CANDIDATES_MOST];
    struct engine_verdict verdict;
    uint64_t id;
};

struct limiter_line {
    char what;
    struct engine_event event;
    struct limiter_call *call; /* of A: the reader's to free */
    struct engine_report report;
    struct engine_renew renew;
    struct engine_renewal lease;
    struct engine_order order;
    uint64_t id;
};

/* The next word, or number; none is a mistake. */
const char *limiter_word(char **rest);
uint64_t limiter_number(char **rest);

struct engine_id limiter_line_id(uint64_t n);

/* The rest of an R line behind the kind. */
struct engine_limits limiter_line_limits(char **rest);

/* Makes the event of a line of which the words up to `now` were taken; again, with the same line,
 * where its resources may have become others. */
void limiter_line_take(const struct limiter_place *place, char what, char *rest,
                       struct limiter_line *line);

/* To stdout. */
void limiter_line_print(const struct limiter_line *line);
void limiter_verdict_print(char what, const struct limiter_call *call);

#endif
