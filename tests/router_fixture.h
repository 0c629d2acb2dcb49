/*
 * router_fixture.h -- the router's methods over real gRPC, between a scripted limiter and a
 * scripted Bedrock, in one process.
 *
 * Two tiers: "first" takes thinking budgets, "last" cannot think; "retired" is gone. For tests in a
 * task with the real clock.
 */
#ifndef PRISM_TESTS_ROUTER_FIXTURE_H
#define PRISM_TESTS_ROUTER_FIXTURE_H

#include "fake/fake_bedrock.h"
#include "fake/fake_limiter.h"
#include "router/router.h"
#include "task_test.h"

struct router_fixture {
    struct router_config config; /* read as the calls run: may be changed at any time */
    struct router router;
    struct catalogue catalogue;
    struct fake_limiter limiter;
    struct fake_bedrock bedrock;
    struct wire *wire;
    struct rpc_service services[2];
    struct rpc_server *limiter_server;
    struct rpc_server *router_server;
    struct rpc_channel *channel;
    struct arena *arena;

    Router__Generation *generation; /* what calls ask for: "hi", thinking allowed */
    uint64_t call_ms;               /* their deadline from now; 0: 20 s */
    size_t leave_after;             /* events, then the caller is gone; 0: stays */

    /* Of the last call. */
    struct buf log; /* a line an event, or for all pieces of a text that follow each other */
    size_t pieces;  /* how many these were */
    Router__GenerateResponse__EventCase last_event;
    Router__Completed *completed;
    const Router__Admitted *admitted; /* the last one */
};

void router_fixture_start(struct router_fixture *f) PARKS;

/* Checks that nothing is left: no request upstream, no lease, every grant given back once. */
void router_fixture_stop(struct router_fixture *f) PARKS;

/* Generate, to its end or until the caller leaves. */
struct status router_fixture_generate(struct router_fixture *f) NODISCARD PARKS;
struct status router_fixture_generate_once(struct router_fixture *f,
                                           Router__GenerateOnceResponse **out) NODISCARD PARKS;

/* The content of a whole answer in the words of the log. */
void router_fixture_add_content(struct buf *out, const Router__GenerateOnceResponse *response);

/* Scripts: ' stands for ", NULL at the end. */
const char *const *router_fixture_events(struct router_fixture *f, ...);

/* Waits until *value is expected, at most five seconds. */
void router_fixture_until(const size_t *value, size_t expected) PARKS;

#endif
