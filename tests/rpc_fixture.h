/*
 * rpc_fixture.h -- a gRPC server and a client of it in one process, with handlers that do as told.
 *
 * The methods are the limiter's and the router's; what they do is said by a word in the request:
 * Dump by `resource`, Generate by `tenant`. For tests in a task with the real clock.
 */
#ifndef PRISM_TESTS_RPC_FIXTURE_H
#define PRISM_TESTS_RPC_FIXTURE_H

#include <prism/limiter/v1/limiter.pb-c.h>
#include <prism/router/v1/router.pb-c.h>

#include "net/rpc_client.h"
#include "net/rpc_server.h"
#include "task_test.h"

struct fixture {
    struct wire *wire;
    struct rpc_server *server;
    struct rpc_channel *channel;
    struct arena *arena;
    char address[32];
    struct rpc_service services[2];

    /* What handlers shall do, and what they saw. */
    struct status answer; /* "fail", "break" */
    size_t count;         /* messages of "count" */
    bool open;            /* "gate", "hold": see fixture_open */
    struct list visitors; /* who waits for it */
    size_t running;
    size_t ended;
    struct status seen; /* how the last wait of a handler ended */
};

/* options: address and services are the fixture's; NULL: all defaults. */
void fixture_start(struct fixture *f, const struct rpc_server_options *options) PARKS;
void fixture_stop(struct fixture *f) PARKS;

/* The server alone, again on its address, or another one beside. */
struct status fixture_serve(struct fixture *f, const struct rpc_server_options *options,
                            const char *address, struct rpc_server **out) NODISCARD;

/* Lets the handlers of "gate" and "hold" end, now and later. */
void fixture_open(struct fixture *f);

/* Waits until *value is expected, at most five seconds. */
void fixture_until(const size_t *value, size_t expected) PARKS;

/* Dump with a word; text may be NULL. */
struct status fixture_dump(struct fixture *f, const char *word, const char *tenant,
                           const char **text) NODISCARD PARKS;

/* Opens Generate with a word. */
struct status fixture_generate(struct fixture *f, const char *word,
                               struct rpc_stream **out) NODISCARD PARKS;

#endif
