/*
 * generation.h -- one Generate or GenerateOnce call of a test, and everything it was told.
 *
 * Fill in the first part, then generation_run in the test's task, or generation_spawn several into
 * a group. Messages and texts live in the call's arena until generation_clear.
 */
#ifndef PRISM_TESTS_GENERATION_H
#define PRISM_TESTS_GENERATION_H

#include "prism/router/v1/router.pb-c.h"
#include "suite.h"

struct generation {
    struct suite *suite;
    struct rpc_channel *router; /* NULL: the suite's */
    bool once;                  /* GenerateOnce: no events but the whole answer */
    bool bare;                  /* the prompt alone: no system prompt, no thinking */
    const char *prompt;         /* NULL: a section with some weaknesses */
    uint32_t thinking;          /* budget in tokens, 0: 2,000 */
    uint64_t deadline_ms;       /* from now, 0: SUITE_WAIT_MS */
    const char *model;          /* NULL: the chain */
    size_t leave_after;         /* leaves after so many thinking deltas; 0: stays to the end */
    bool leave_queued;          /* leaves at the first Queued */

    struct arena *arena;
    struct task *task;    /* while it runs */
    struct status status; /* OK also when it left */
    bool left;
    size_t events;
    size_t queued;
    size_t admitted;
    size_t restarted;
    size_t open_blocks; /* begun and not ended, in this attempt */
    bool text_before_thinking;
    bool nothing_behind; /* Completed came, and was the last event */
    struct buf thought;  /* of the attempt that runs or ran last */
    struct buf text;
    const Router__Admitted *last_admitted;
    const Router__Restarted *last_restarted;
    const Router__CallMetadata *metadata; /* NULL: not completed */
    const Router__Completed *completed;
};

void generation_run(struct generation *generation) PARKS;
void generation_spawn(struct generation *generation, struct group *group);
void generation_clear(struct generation *generation);

/* A whole answer: OK, from this tier, after so many attempts, blocks closed, text parses as the
 * JSON that was asked for. */
#define assert_generated(generation, tier, attempts)                                               \
    generation_assert(generation, tier, attempts, __FILE__, __LINE__)
void generation_assert(const struct generation *generation, uint32_t tier, size_t attempts,
                       const char *file, int line);

#endif
