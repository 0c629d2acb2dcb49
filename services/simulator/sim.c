#include "simulator/sim.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "codec/json.h"

#define CHUNK (64u << 10)

struct sim *sim_new(struct loop *loop, const struct sim_options *options)
{
    struct sim *sim = ALLOC(struct sim);
    struct sim_options o = options != NULL ? *options : (struct sim_options){0};
    struct yaml_error error;
    o.access_key = o.access_key != NULL ? o.access_key : SIM_ACCESS_KEY;
    o.secret_key = o.secret_key != NULL ? o.secret_key : SIM_SECRET_KEY;
    o.api_key = o.api_key != NULL ? o.api_key : SIM_API_KEY;
    o.seed = o.seed != 0 ? o.seed : 1;
    o.ttft_ms = o.ttft_ms != 0 ? o.ttft_ms : 800;
    o.token_rate = o.token_rate > 0 ? o.token_rate : 80;
    o.speed = o.speed > 0 ? o.speed : 1;
    o.body_max = o.body_max != 0 ? o.body_max : SIM_BODY_MAX;

    sim->loop = loop;
    sim->options = o;
    sim->behaviour = (struct behaviour){o.seed, o.ttft_ms, o.token_rate};
    sim->keys = (struct sigv4_check_keys){span_str(o.access_key), span_str(o.secret_key),
                                          span_str(o.api_key)};
    check(sim_set_faults(sim, SPAN_NONE, &error) && sim_set_quotas(sim, SPAN_NONE, &error) &&
          sim_set_latency(sim, SPAN_NONE, &error));
    sim->cache = o.cache ? cache_new(o.speed) : NULL;
    sim->arrivals = arrivals_new();
#define METRIC(kind, name, labels, help)                                                           \
    sim->metrics.name = metric_##kind("prism_" #name, labels, help);
#include "simulator/metrics.def"
    return sim;
}

void sim_free(struct sim *sim)
{
    if (sim == NULL) {
        return;
    }
    arrivals_free(sim->arrivals);
    cache_free(sim->cache);
    latency_plan_free(sim->latency);
    quota_plan_free(sim->quotas);
    fault_plan_free(sim->faults);
    free(sim);
}

bool sim_set_faults(struct sim *sim, struct span yaml, struct yaml_error *error)
{
    struct fault_plan *plan = fault_plan_new(yaml, sim->options.seed, error);
    if (plan == NULL) {
        return false;
    }
    fault_plan_free(sim->faults);
    sim->faults = plan;
    return true;
}

bool sim_set_quotas(struct sim *sim, struct span yaml, struct yaml_error *error)
{
    const struct quota_options options = {
        .speed = sim->options.speed,
        .serial = ++sim->quota_plans,
        .now_us = clock_mono_us(),
    };
    struct quota_plan *plan = quota_plan_new(yaml, &options, error);
    if (plan == NULL) {
        return false;
    }
    quota_plan_free(sim->quotas);
    sim->quotas = plan;
    return true;
}

bool sim_set_latency(struct sim *sim, struct span yaml, struct yaml_error *error)
{
    struct latency_plan *plan = latency_plan_new(yaml, sim->options.seed, error);
    if (plan == NULL) {
        return false;
    }
    latency_plan_free(sim->latency);
    sim->latency = plan;
    return true;
}

/* --- the pages of the simulator itself ----------------------------------------------------------
 */

static void reply_text(struct http_exchange *exchange, int code, const char *type, struct span body)
{
    struct http_header headers[] = {{SPAN("Content-Type"), span_str(type)}};
    http_reply(exchange, code, headers, ARRAY_LEN(headers), body);
}

/* The plans that are told over HTTP, and of how many items what they say now consists. */
static struct span faults_text(const struct sim *sim, size_t *n)
{
    *n = fault_plan_rules(sim->faults);
    return fault_plan_text(sim->faults);
}

static struct span quotas_text(const struct sim *sim, size_t *n)
{
    *n = quota_plan_count(sim->quotas);
    return quota_plan_text(sim->quotas);
}

static struct span latency_text(const struct sim *sim, size_t *n)
{
    *n = latency_plan_count(sim->latency);
    return latency_plan_text(sim->latency);
}

static const struct plan_page {
    const char *path;
    const char *items;
    bool (*set)(struct sim *sim, struct span yaml, struct yaml_error *error);
    struct span (*text)(const struct sim *sim, size_t *n);
} plan_pages[] = {
    {"/simulator/faults", "rules", sim_set_faults, faults_text},
    {"/simulator/quotas", "quotas", sim_set_quotas, quotas_text},
    {"/simulator/latency", "latency", sim_set_latency, latency_text},
};

static void put_plan(struct sim *sim, const struct plan_page *page, struct http_exchange *exchange)
{
    struct yaml_error error = {0};
    size_t n = 0;
    CLEANUP(buf_clear) struct buf body;
    struct json_writer w;
    buf_init(&body, 4096);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    bool taken = page->set(sim, http_exchange_body(exchange), &error);
    (void)page->text(sim, &n);
    json_key(&w, taken ? page->items : "line");
    json_put_integer(&w, (int64_t)(taken ? n : error.line));
    if (!taken) {
        json_key(&w, "message");
        json_put_string(&w, span_str(error.text));
    }
    json_end_object(&w);
    buf_add_char(&body, '\n');
    reply_text(exchange, taken ? 200 : 400, "application/json", buf_span(&body));
}

static void get_plan(struct sim *sim, const struct plan_page *page, struct http_exchange *exchange)
{
    size_t n;
    reply_text(exchange, 200, "application/yaml", page->text(sim, &n));
}

static void get_arrivals(struct sim *sim, struct http_exchange *exchange) PARKS
{
    struct http_header headers[] = {{SPAN("Content-Type"), SPAN("application/x-ndjson")}};
    uint64_t from = 0;
    CLEANUP(buf_clear) struct buf lines;
    buf_init(&lines, 2 * CHUNK);
    http_reply_start(exchange, 200, headers, ARRAY_LEN(headers));
    while (arrivals_add(sim->arrivals, &from, CHUNK, &lines) &&
           status_ok(http_reply_write(exchange, buf_span(&lines)))) {
        buf_reset(&lines);
    }
}

static bool is(struct http_exchange *exchange, const char *method, const char *path)
{
    return span_eq(http_exchange_method(exchange), span_str(method)) &&
           span_eq(http_exchange_path(exchange), span_str(path));
}

void sim_handle(struct http_exchange *exchange, void *arg) PARKS
{
    struct sim *sim = arg;
    for (size_t i = 0; i < ARRAY_LEN(plan_pages); i++) {
        if (is(exchange, "GET", plan_pages[i].path)) {
            get_plan(sim, &plan_pages[i], exchange);
            return;
        }
        if (is(exchange, "PUT", plan_pages[i].path)) {
            put_plan(sim, &plan_pages[i], exchange);
            return;
        }
    }
    if (is(exchange, "GET", "/simulator/arrivals")) {
        get_arrivals(sim, exchange);
    } else if (is(exchange, "DELETE", "/simulator/arrivals")) {
        arrivals_forget(sim->arrivals);
        reply_text(exchange, 200, "application/json", SPAN("{}\n"));
    } else if (span_starts(http_exchange_path(exchange), SPAN("/model/"))) {
        bedrock_handle(sim, exchange);
    } else {
        bedrock_unknown(exchange);
    }
}
