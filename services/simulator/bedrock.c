/* The Bedrock Runtime: a call's route, who may call and with what, its place in the log. */
#include "base/buf.h"
#include "base/clock.h"
#include "codec/json.h"
#include "codec/text.h"
#include "codec/uri.h"
#include "simulator/call.h"
#include "simulator/wire.h"

#define MEMORY_PER_BYTE 8
#define MEMORY_BASE     (8u << 20)
#define MODEL_MOST      2048

static const struct {
    const char *path;
    const char *name;
} operations[] = {
    [CALL_INVOKE] = {"invoke", "invoke"},
    [CALL_STREAM] = {"invoke-with-response-stream", "stream"},
    [CALL_COUNT] = {"count-tokens", "count"},
};

void bedrock_unknown(struct http_exchange *exchange)
{
    struct refusal refusal = {404, "UnknownOperationException", NULL, false};
    wire_refuse(exchange, &refusal, NULL);
}

/* --- who may call --------------------------------------------------------------------------------
 */

static struct refusal check_signature(struct call *call)
{
    struct http_exchange *exchange = call->exchange;
    const struct http_header *headers;
    size_t n = http_exchange_headers(exchange, &headers);
    struct sigv4_check_request request = {
        .method = http_exchange_method(exchange),
        .path = http_exchange_path(exchange),
        .query = http_exchange_query(exchange),
        .headers = headers,
        .n_headers = n,
        .body = http_exchange_body(exchange),
    };
    return sigv4_check(&request, &call->sim->keys, clock_wall_ms() / 1000, call->arena,
                       &call->region);
}

static struct refusal find_model(struct call *call, const struct model **out)
{
    bool profile;
    const struct model *model = model_find(call->model_id, &profile);
    if (model == NULL) {
        return REFUSAL_INVALID("The provided model identifier is invalid.");
    }
    if (call->operation == CALL_COUNT && profile) {
        return REFUSAL_INVALID("The provided model doesn't support counting tokens.");
    }
    if (call->operation != CALL_COUNT && !profile && model->profile_only) {
        return REFUSAL_INVALID(
            arena_printf(call->arena,
                         "Invocation of model ID %s with on-demand throughput isn\u2019t "
                         "supported. Retry your request with the ID or ARN of an inference profile "
                         "that contains this model.",
                         model->id));
    }
    *out = model;
    return REFUSAL_NONE;
}

/* The Messages body inside {"input":{"invokeModel":{"body": base64}}}. */
static bool unwrap_count(struct call *call, struct buf *out)
{
    struct json *json = json_parse(http_exchange_body(call->exchange), NULL);
    const struct json *body = json_get(json_get(json_get(json, "input"), "invokeModel"), "body");
    bool unwrapped = body != NULL && text_decode_base64(out, json_string(body));
    json_free(json);
    return unwrapped;
}

static struct refusal admit(struct call *call)
{
    const struct model *model = NULL;
    CLEANUP(buf_clear) struct buf unwrapped;
    struct span body = http_exchange_body(call->exchange);
    buf_init(&unwrapped, call->sim->options.body_max);
    if (body.len > call->sim->options.body_max) {
        return (struct refusal){413, "RequestEntityTooLargeException",
                                "The request is larger than the limit.", false};
    }
    struct refusal refusal = check_signature(call);
    if (refusal.code == 0) {
        refusal = find_model(call, &model);
    }
    if (refusal.code != 0) {
        return refusal;
    }
    if (call->operation == CALL_COUNT) {
        if (!unwrap_count(call, &unwrapped)) {
            return REFUSAL_INVALID("The provided request is not valid");
        }
        body = buf_span(&unwrapped);
    }
    call->json = json_parse(body, NULL);
    return request_read(call->json, model, call->arena, &call->request);
}

static void count_tokens(struct call *call)
{
    struct wire_headers headers;
    const char *body = arena_printf(call->arena, "{\"inputTokens\":%llu}",
                                    (unsigned long long)call->request.input_tokens);
    wire_begin(&headers, call->exchange, "application/json");
    call->end.status = 200;
    http_reply(call->exchange, 200, headers.at, headers.n, span_str(body));
}

/* --- the call -----------------------------------------------------------------------------------
 */

/* What the fault plan, the cache and the quotas have to say, all at one moment. */
static void enter(struct call *call, uint64_t now_us)
{
    struct sim *sim = call->sim;
    const struct request *request = &call->request;
    const struct fault_call what = {call->model_id, call->region, call->operation == CALL_STREAM};
    fault_plan_next(sim->faults, &what, call->arena, &call->fault);
    if (call->fault.action == FAULT_STATUS) {
        return;
    }
    cache_look(sim->cache, call->json, request, now_us, &call->cache);
    const struct quota_tokens tokens = {
        .input = request->input_tokens - call->cache.read - call->cache.write,
        .cache_read = call->cache.read,
        .cache_write = call->cache.write,
        .max_tokens = request->max_tokens,
    };
    call->verdict = quota_plan_reserve(sim->quotas, request->model, call->model_id, call->region,
                                       &tokens, now_us, &call->charge);
}

static uint64_t log_start(struct call *call, uint64_t now_us)
{
    struct sim *sim = call->sim;
    const struct cache_use *cache = &call->cache;
    struct arrivals_start start = {
        .model = call->model_id,
        .region = call->region,
        .operation = operations[call->operation].name,
        .input_tokens = call->request.input_tokens - cache->read - cache->write,
        .cache = sim->cache != NULL ? cache : NULL,
        .max_tokens = call->request.max_tokens,
        .reserved = call->charge.reserved,
    };
    quota_plan_left(sim->quotas, &call->charge, now_us, &start.left);
    uint64_t id = arrivals_begin(sim->arrivals, now_us, &start);
    METRIC_SET(sim->metrics.simulator_running, (double)arrivals_running(sim->arrivals));
    return id;
}

static const char *const kinds[] = {
    [QUOTA_REQUESTS] = "requests",
    [QUOTA_TOKENS] = "tokens",
    [QUOTA_DAY] = "day",
};

static void log_end(struct call *call, uint64_t id)
{
    struct sim *sim = call->sim;
    uint64_t now_us = clock_mono_us();
    bool by_quota = call->verdict != QUOTA_ADMITTED;
    bool by_fault = !by_quota && call->fault.action != FAULT_NONE;
    call->end.cause = by_quota ? "quota" : by_fault ? "fault" : "none";
    call->end.kind = by_quota   ? kinds[call->verdict]
                     : by_fault ? fault_name(call->fault.action)
                                : NULL;
    call->end.settled =
        quota_plan_settle(sim->quotas, &call->charge, call->end.output_tokens, now_us);
    quota_plan_left(sim->quotas, &call->charge, now_us, &call->end.left);
    arrivals_finish(sim->arrivals, now_us, id, &call->end);

    const struct model *known = call->request.model;
    const char *model = known != NULL ? known->id : "none";
    METRIC_SET(sim->metrics.simulator_running, (double)arrivals_running(sim->arrivals));
    METRIC_ADD(sim->metrics.simulator_requests_total, 1, model, call->end.outcome);
    METRIC_ADD(sim->metrics.simulator_tokens_total, (double)call->request.input_tokens, model,
               "input");
    METRIC_ADD(sim->metrics.simulator_tokens_total, (double)call->end.output_tokens, model,
               "output");
}

static void answer_call(struct call *call) PARKS
{
    struct answer answer;
    struct sim *sim = call->sim;
    struct refusal refusal = call->fault.refusal;
    if (call->verdict != QUOTA_ADMITTED) {
        refusal = fault_refusal(429, kinds[call->verdict]);
    }
    if (call->verdict != QUOTA_ADMITTED || call->fault.action == FAULT_STATUS) {
        call_refuse(call, &refusal);
        return;
    }
    if (call->fault.action == FAULT_STALL && call->fault.at == FAULT_AT_HEADERS &&
        !call_stall(call)) {
        return;
    }
    behaviour_answer(&sim->behaviour, &call->request, http_exchange_body(call->exchange),
                     call->arena, &answer);
    answer.cache_read = call->cache.read;
    answer.cache_write = call->cache.write;
    answer.input_tokens -= call->cache.read + call->cache.write;
    answer.usage = call->fault.usage;
    answer.metrics = call->fault.metrics;
    latency_plan_apply(sim->latency, call->model_id, &answer);
    call_deliver(call, &answer);
}

static void run(struct call *call) PARKS
{
    struct refusal refusal = admit(call);
    bool admitted = refusal.code == 0;
    uint64_t now_us = clock_mono_us();
    if (admitted && call->operation != CALL_COUNT) {
        enter(call, now_us);
    }
    uint64_t id = log_start(call, now_us);
    if (admitted && call->operation == CALL_COUNT) {
        count_tokens(call);
    } else if (admitted) {
        answer_call(call);
    } else if (refusal.late && call->operation == CALL_STREAM) {
        call_refuse_late(call, &refusal);
    } else {
        call_refuse(call, &refusal);
    }
    log_end(call, id);
}

/* "/model/{id}/{operation}"; ids are longer than their segment may show, but never hold '/'. */
static bool read_route(struct http_exchange *exchange, struct call *call, struct buf *id)
{
    struct span path = span_from(http_exchange_path(exchange), strlen("/model/"));
    struct span segment;
    if (!span_eq(http_exchange_method(exchange), SPAN("POST")) || !span_cut(&path, '/', &segment) ||
        !uri_decode(id, segment) || id->len == 0) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        if (span_eq(path, span_str(operations[i].path))) {
            call->operation = (enum call_operation)i;
            call->model_id = buf_span(id);
            return buf_ok(id);
        }
    }
    return false;
}

void bedrock_handle(struct sim *sim, struct http_exchange *exchange) PARKS
{
    CLEANUP(buf_clear) struct buf id;
    buf_init(&id, MODEL_MOST);
    struct call call = {
        .sim = sim,
        .exchange = exchange,
        .begun_ms = loop_now_ms(sim->loop),
        .end = {.outcome = "ok"},
    };
    if (!read_route(exchange, &call, &id)) {
        bedrock_unknown(exchange);
        return;
    }
    call.arena = arena_new(MEMORY_BASE + MEMORY_PER_BYTE * http_exchange_body(exchange).len);
    run(&call);
    json_free(call.json);
    arena_free(call.arena);
}
