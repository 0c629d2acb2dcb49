/*
 * sim.h -- the simulator: a Bedrock Runtime that behaves and misbehaves like the real one.
 *
 * Floor 6, loop thread. One struct sim per server; sim_handle is an http_server handler, so that
 * a test can run the whole thing in its own process:
 *
 *     struct sim *sim = sim_new(loop, &(struct sim_options){.instant = true});
 *     http_server_start(loop, &(struct http_server_options){.host = "127.0.0.1",
 *         .body_max = SIM_BODY_MOST, .handler = sim_handle, .arg = sim}, &server);
 *
 * Routes: POST /model/{id}/invoke, /invoke-with-response-stream and /count-tokens as Bedrock has
 * them; GET and PUT /simulator/faults (faults.h), /simulator/quotas (quota.h) and
 * /simulator/latency (latency.h); GET and DELETE /simulator/arrivals (arrivals.h).
 */
#ifndef PRISM_SIMULATOR_SIM_H
#define PRISM_SIMULATOR_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/metric.h"
#include "base/span.h"
#include "base/status.h"
#include "codec/yaml.h"
#include "loop/loop.h"
#include "net/http_server.h"
#include "simulator/arrivals.h"
#include "simulator/behaviour.h"
#include "simulator/cache.h"
#include "simulator/faults.h"
#include "simulator/latency.h"
#include "simulator/quota.h"
#include "simulator/sigv4_check.h"

#define SIM_ACCESS_KEY "AKIDSIMULATOR"
#define SIM_SECRET_KEY "simulator-secret"
#define SIM_API_KEY    "simulator-api-key"
#define SIM_BODY_MAX   25000000
#define SIM_BODY_MOST  100000000 /* of body_max */

/* Zero or NULL is the default, which is that of config.def. */
struct sim_options {
    const char *access_key;
    const char *secret_key;
    const char *api_key;
    uint64_t seed;
    uint64_t ttft_ms;
    double token_rate;
    double speed;
    bool instant;
    bool cache;
    size_t body_max;
};

struct sim_metrics {
#define METRIC(kind, name, labels, help) struct metric *name;
#include "simulator/metrics.def"
};

struct sim {
    struct loop *loop;
    struct sim_options options; /* filled in; its strings are the caller's */
    struct behaviour behaviour;
    struct sigv4_check_keys keys;
    struct fault_plan *faults; /* never NULL, like the next two */
    struct quota_plan *quotas;
    struct latency_plan *latency;
    struct cache *cache;  /* NULL: none */
    uint64_t quota_plans; /* there have been */
    struct arrivals *arrivals;
    struct sim_metrics metrics;
};

/* options may be NULL; its strings stay the caller's and must outlive the simulator. */
struct sim *sim_new(struct loop *loop, const struct sim_options *options) NODISCARD;
void sim_free(struct sim *sim); /* no exchange may run; takes NULL */

/* Replace a plan and begin it anew; false: *error, and the old one stays. Calls that run end under
 * the faults and with the latency they began with, and no quota counts them any more. */
bool sim_set_faults(struct sim *sim, struct span yaml, struct yaml_error *error);
bool sim_set_quotas(struct sim *sim, struct span yaml, struct yaml_error *error);
bool sim_set_latency(struct sim *sim, struct span yaml, struct yaml_error *error);

void sim_handle(struct http_exchange *exchange, void *sim) PARKS;

/* bedrock.c: the routes below /model/. */
void bedrock_handle(struct sim *sim, struct http_exchange *exchange) PARKS;

/* Bedrock's answer to paths that it does not know. */
void bedrock_unknown(struct http_exchange *exchange);

#endif
