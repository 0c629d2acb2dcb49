/*
 * small_suite.h -- the whole suite in the process of the test: simulator, limiter, router and
 * analyzer on one loop, as their own processes would run them, speaking over the loopback.
 *
 *     task_test_real(a_story) {
 *         struct small_suite s;
 *         small_suite_start(&s, &(struct small_suite_options){.analyzer = true});
 *         ... rpc_call(s.to_router, ...) ...
 *         small_suite_stop(&s);
 *     }
 *
 * What a test sees here and not from outside are the services' own structs. What does not work as
 * it should fails the test. One at a time, in tasks only.
 */
#ifndef PRISM_TESTS_SMALL_SUITE_H
#define PRISM_TESTS_SMALL_SUITE_H

#include "analyzer/analyzer.h"
#include "app/app.h"
#include "limiter/limiter.h"
#include "router/router.h"
#include "simulator/sim.h"
#include "suite.h"

struct small_suite_options {
    bool analyzer;                     /* start it too */
    bool one_region;                   /* every model is called in us-east-2 only */
    const char *flags[SUITE_PROGRAMS]; /* of limiter, router, analyzer; separated by blanks */
};

struct small_suite {
    struct arena *arena;
    struct wire *wire;
    char folder[64]; /* of the analyzer's store */
    int catalogue;   /* file with the models; -1: the built-in ones */
    struct sim *sim;
    struct http_server *sim_server;
    struct app *apps[SUITE_PROGRAMS]; /* NULL: the simulator's, and what does not run */
    uint16_t ports[SUITE_PROGRAMS];
    struct limiter *limiter;
    struct router *router;
    struct analyzer *analyzer;
    struct rpc_channel *to_limiter;
    struct rpc_channel *to_router;
    struct rpc_channel *to_analyzer;
    size_t tasks; /* alive when nobody calls */
};

void small_suite_start(struct small_suite *s, const struct small_suite_options *options) PARKS;

/* In the order of a shutdown: analyzer, router, limiter, simulator. Each drains. */
void small_suite_stop(struct small_suite *s) PARKS;

/* The plan of what goes wrong at the models; "": nothing. */
void small_suite_set_faults(struct small_suite *s, const char *yaml);

/* What the limiter says of a model (models that stand in several regions: of the first), and all
 * calls the simulator has seen; in arena. */
const Limiter__Resource *small_suite_peek(const struct small_suite *s, const char *model,
                                          struct arena *arena) PARKS;
struct judge_log small_suite_arrivals(const struct small_suite *s, struct arena *arena);

/* Cuts every connection to this program, both ends. May be called from anywhere on the loop. */
void small_suite_cut(const struct small_suite *s, enum suite_program program);

/* --- what must hold whenever nobody calls -------------------------------------------------------
 *
 *     small_suite_begin(&s, &account);
 *     ... calls, however they end ...
 *     small_suite_judge(&s, &account);
 */
struct small_account {
    uint64_t seq;    /* of the suite's pool */
    double started;  /* calls that came in anywhere */
    double answered; /* and were answered */
    double lines;    /* log lines of calls */
    double routed;   /* calls that the router ended */
    double records;  /* and call records in the ledger, or counted as dropped */
    size_t settled;  /* filled in by the judge: grants of these calls, each settled once, */
    size_t recorded; /* and call records, one a call */
};

void small_suite_begin(const struct small_suite *s, struct small_account *account);

/* Waits until nothing runs any more: no call, no task, no lease, no request to a model, nothing on
 * its way to the limiter or the ledger. Then: each grant since then was settled exactly once, by a
 * report and not by running out; each call has one line in the log, and with an analyzer each call
 * of the router one record in the ledger. */
void small_suite_judge(const struct small_suite *s, struct small_account *account) PARKS;

#endif
