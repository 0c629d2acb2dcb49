/*
 * sim_world.h -- a simulator in the test's own process, a client, and what they said.
 *
 * In a task on a real clock. Everything read lives in the world's arena.
 */
#ifndef PRISM_TESTS_SIM_WORLD_H
#define PRISM_TESTS_SIM_WORLD_H

#include "net/http.h"
#include "net/http_server.h"
#include "simulator/sim.h"
#include "task_test.h"

#define SIM_REGION "us-east-2"
#define SIM_SONNET "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"
#define SIM_INVOKE "/model/" SIM_SONNET "/invoke"
#define SIM_STREAM "/model/" SIM_SONNET "/invoke-with-response-stream"

/* A body that thinks and answers, of `max` output tokens at most. */
#define SIM_BODY_OF(max, prompt)                                                                   \
    "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":" #max ",\"thinking\":{"         \
    "\"type\":\"enabled\",\"budget_tokens\":1024},\"messages\":[{\"role\":\"user\",\"content\":"   \
    "\"" prompt "\"}]}"

struct sim_world {
    struct arena *arena;
    struct sim *sim;
    struct http_server *server;
    struct http_client *client;
    char authority[32];
};

void sim_world_open(struct sim_world *w, const struct sim_options *options);
void sim_world_close(struct sim_world *w) PARKS;

/* One rule of a fault plan, without its "- ". */
void sim_world_plan(struct sim_world *w, const char *rule);

struct sim_reply {
    struct status status; /* how reading ended */
    int code;
    struct span body;
    struct span error; /* x-amzn-ErrorType, before the ':' */
    struct span type;
    struct span retry_after;
    struct span amz_retry_after;
    struct span output_tokens;
    struct span cache_read_tokens;
};

/* Opens a request that the default key signed. */
struct status sim_open(struct sim_world *w, const char *path, const char *body,
                       struct http **out) PARKS;
struct sim_reply sim_post(struct sim_world *w, const char *path, const char *body) PARKS;

/* Without a signature; authorization may be NULL. */
struct sim_reply sim_ask(struct sim_world *w, const char *method, const char *path,
                         const char *body, const char *authorization) PARKS;

/* What the frames of a stream say. */
struct sim_told {
    size_t events;
    char exception[64]; /* type of an exception or error frame */
    struct span message;
    bool broken;      /* a frame failed its checks */
    bool inside;      /* the body ends in a frame */
    struct buf types; /* of the events, one letter each: sde message_start, _delta and _stop, | a
                       * block's start and stop, . deltas, p ping, ! error, ? others */
    struct buf thinking;
    struct buf text;
    struct span signature;
    struct span stop_reason;
    int64_t usage_input; /* of message_start, -1: not told; likewise below */
    int64_t cache_read;
    int64_t cache_write;
    int64_t usage_output; /* of message_delta */
    int64_t metric_output;
};

void sim_listen(struct sim_told *told, struct span body, struct arena *arena);
void sim_forget(struct sim_told *told);

/* Line n of a log of arrivals; the caller frees. */
struct json *sim_arrival(struct span log, size_t n);

#endif
