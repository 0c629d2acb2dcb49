/* One call of the Bedrock Runtime, from its route to its end. */
#include "base/buf.h"
#include "base/clock.h"
#include "codec/json.h"
#include "codec/text.h"
#include "codec/uri.h"
#include "loop/task.h"
#include "simulator/events.h"
#include "simulator/request.h"
#include "simulator/sim.h"
#include "simulator/wire.h"

#define MEMORY_PER_BYTE 8
#define MEMORY_BASE     (8u << 20)
#define MODEL_MOST      2048

enum operation {
    INVOKE,
    STREAM,
    COUNT,
};

static const struct {
    const char *path;
    const char *name;
} operations[] = {
    [INVOKE] = {"invoke", "invoke"},
    [STREAM] = {"invoke-with-response-stream", "stream"},
    [COUNT] = {"count-tokens", "count"},
};

/* One call; lives on its task's stack. */
struct call {
    struct sim *sim;
    struct http_exchange *exchange;
    struct arena *arena;
    struct span model_id; /* decoded */
    enum operation operation;
    uint64_t begun_ms;
    struct json *json;
    struct span region;
    struct request request;
    struct fault fault;
    struct arrivals_end end;
};

void bedrock_unknown(struct http_exchange *exchange)
{
    struct refusal refusal = {404, "UnknownOperationException", NULL, false};
    wire_refuse(exchange, &refusal, NULL);
}

static void refuse(struct call *call, const struct refusal *refusal)
{
    call->end.status = refusal->code;
    call->end.outcome = refusal->code == 429   ? "throttled"
                        : refusal->code >= 500 ? "failed"
                                               : "rejected";
    wire_refuse(call->exchange, refusal, &call->fault);
}

/* --- waiting ------------------------------------------------------------------------------------
 */

static void leave(struct call *call, struct status why)
{
    call->end.outcome = why.reason == REASON_SHUTTING_DOWN ? "stopped" : "client_gone";
}

/* Until so long after the call began; false when nobody waits for the answer any more. */
static bool wait_until(struct call *call, uint64_t due_ms) PARKS
{
    const struct sim_options *options = &call->sim->options;
    uint64_t when = call->begun_ms + (uint64_t)((double)due_ms / options->speed);
    struct status s = options->instant ? task_status() : task_sleep_until(when);
    if (!status_ok(s)) {
        leave(call, s);
    }
    return status_ok(s);
}

/* What is due later is so much later; a stall is never scaled. */
static bool stall(struct call *call) PARKS
{
    struct status s = task_sleep_ms(call->fault.stall_ms);
    call->begun_ms += call->fault.stall_ms;
    if (!status_ok(s)) {
        leave(call, s);
    }
    return status_ok(s);
}

/* --- one body -----------------------------------------------------------------------------------
 */

static void cut(struct call *call, bool reset)
{
    call->end.outcome = reset ? "reset" : "closed";
    http_reply_abort(call->exchange, reset);
}

/* Half of the body, as if it were all. */
static void truncate_body(struct call *call, const struct wire_headers *headers,
                          struct span body) PARKS
{
    http_reply_start(call->exchange, 200, headers->at, headers->n);
    struct status s = http_reply_write(call->exchange, span_first(body, body.len / 2));
    call->end.outcome = "truncated";
    if (!status_ok(s)) {
        leave(call, s);
    }
}

static void reply_body(struct call *call, const struct answer *answer) PARKS
{
    struct wire_headers headers;
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, WIRE_BODY_MOST);
    wire_begin(&headers, call->exchange, "application/json");
    wire_add_count(&headers, "X-Amzn-Bedrock-Input-Token-Count", answer->input_tokens);
    wire_add_count(&headers, "X-Amzn-Bedrock-Output-Token-Count", answer->metric_tokens);
    wire_add_count(&headers, "X-Amzn-Bedrock-Invocation-Latency", events_last_ms(answer));
    if (answer->model->generation->repeats_input) {
        wire_add_count(&headers, "X-Amzn-Bedrock-Cache-Read-Input-Token-Count", 0);
        wire_add_count(&headers, "X-Amzn-Bedrock-Cache-Write-Input-Token-Count", 0);
    }
    events_add_body(answer, &body);
    call->end.status = 200;
    call->end.output_tokens = answer->output_tokens;
    if (call->fault.action == FAULT_TRUNCATE) {
        truncate_body(call, &headers, buf_span(&body));
        return;
    }
    http_reply(call->exchange, 200, headers.at, headers.n, buf_span(&body));
}

static void invoke(struct call *call, const struct answer *answer) PARKS
{
    enum fault_action action = call->fault.action;
    if (action == FAULT_EXCEPTION) {
        refuse(call, &call->fault.refusal);
        return;
    }
    if (action == FAULT_STALL && !call->fault.before_headers && !stall(call)) {
        return;
    }
    if (!wait_until(call, events_last_ms(answer))) {
        return;
    }
    if (action == FAULT_RESET || action == FAULT_CLOSE) {
        cut(call, action == FAULT_RESET);
        return;
    }
    reply_body(call, answer);
}

/* --- a stream -----------------------------------------------------------------------------------
 */

static void start_stream(struct call *call)
{
    struct wire_headers headers;
    wire_begin(&headers, call->exchange, "application/vnd.amazon.eventstream");
    wire_add(&headers, "X-Amzn-Bedrock-Content-Type", "application/json");
    call->end.status = 200;
    http_reply_start(call->exchange, 200, headers.at, headers.n);
}

static bool send_bytes(struct call *call, struct span bytes) PARKS
{
    struct status s = http_reply_write(call->exchange, bytes);
    if (!status_ok(s)) {
        leave(call, s);
    }
    return status_ok(s);
}

static void send_exception(struct call *call, const struct refusal *refusal) PARKS
{
    CLEANUP(buf_clear) struct buf frame;
    buf_init(&frame, WIRE_BODY_MOST);
    wire_add_exception(&frame, refusal, call->fault.unmodelled);
    if (send_bytes(call, buf_span(&frame))) {
        call->end.outcome = "exception";
    }
}

/* What happens in place of the frame, or to it; true when the stream goes on. */
static bool misbehave(struct call *call, struct buf *frame) PARKS
{
    switch (call->fault.action) {
    case FAULT_EXCEPTION:
        send_exception(call, &call->fault.refusal);
        return false;
    case FAULT_STALL:
        return call->fault.before_headers || stall(call);
    case FAULT_RESET:
    case FAULT_CLOSE:
        cut(call, call->fault.action == FAULT_RESET);
        return false;
    case FAULT_TRUNCATE:
        if (send_bytes(call, span_first(buf_span(frame), frame->len / 2))) {
            call->end.outcome = "truncated";
        }
        return false;
    case FAULT_BAD_CRC:
        frame->at[frame->len - 1] ^= 1;
        call->end.outcome = "bad_crc";
        return true;
    case FAULT_NONE:
    case FAULT_STATUS:
        return true;
    }
    return true;
}

static void stream(struct call *call, const struct answer *answer) PARKS
{
    struct events events;
    uint64_t due_ms;
    uint64_t random = answer->random;
    CLEANUP(buf_clear) struct buf event;
    CLEANUP(buf_clear) struct buf frame;
    buf_init(&event, WIRE_BODY_MOST);
    buf_init(&frame, WIRE_BODY_MOST);
    events_init(&events, answer);
    for (uint64_t sent = 0; events_next(&events, &event, &due_ms); sent++) {
        wire_add_chunk(&frame, buf_span(&event), &random);
        if (!wait_until(call, due_ms)) {
            return;
        }
        if (sent == 0) {
            start_stream(call);
        }
        if ((sent == call->fault.after && !misbehave(call, &frame)) ||
            !send_bytes(call, buf_span(&frame))) {
            return;
        }
        call->end.output_tokens = events.sent;
        buf_reset(&event);
        buf_reset(&frame);
    }
}

/* --- the call -----------------------------------------------------------------------------------
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
    if (call->operation == COUNT && profile) {
        return REFUSAL_INVALID("The provided model doesn't support counting tokens.");
    }
    if (call->operation != COUNT && !profile && model->profile_only) {
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
    if (call->operation == COUNT) {
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

static void answer_call(struct call *call) PARKS
{
    struct answer answer;
    fault_plan_next(call->sim->faults, call->model_id, call->operation == STREAM, call->arena,
                    &call->fault);
    if (call->fault.action == FAULT_STATUS) {
        refuse(call, &call->fault.refusal);
        return;
    }
    if (call->fault.action == FAULT_STALL && call->fault.before_headers && !stall(call)) {
        return;
    }
    behaviour_answer(&call->sim->behaviour, &call->request, http_exchange_body(call->exchange),
                     call->arena, &answer);
    if (call->operation == STREAM) {
        stream(call, &answer);
    } else {
        invoke(call, &answer);
    }
}

static void run(struct call *call) PARKS
{
    struct refusal refusal = admit(call);
    struct sim *sim = call->sim;
    bool admitted = refusal.code == 0;
    uint64_t id =
        arrivals_begin(sim->arrivals, &(struct arrivals_start){
                                          .model = call->model_id,
                                          .region = call->region,
                                          .operation = operations[call->operation].name,
                                          .input_tokens = admitted ? call->request.input_tokens : 0,
                                          .max_tokens = admitted ? call->request.max_tokens : 0,
                                      });
    METRIC_SET(sim->metrics.simulator_running, (double)arrivals_running(sim->arrivals));
    if (admitted && call->operation == COUNT) {
        count_tokens(call);
    } else if (admitted) {
        answer_call(call);
    } else if (refusal.late && call->operation == STREAM) {
        start_stream(call);
        send_exception(call, &refusal);
    } else {
        refuse(call, &refusal);
    }
    arrivals_finish(sim->arrivals, id, &call->end);
    const char *model = admitted ? call->request.model->id : "none";
    METRIC_SET(sim->metrics.simulator_running, (double)arrivals_running(sim->arrivals));
    METRIC_ADD(sim->metrics.simulator_requests_total, 1, model, call->end.outcome);
    METRIC_ADD(sim->metrics.simulator_tokens_total, (double)call->request.input_tokens, model,
               "input");
    METRIC_ADD(sim->metrics.simulator_tokens_total, (double)call->end.output_tokens, model,
               "output");
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
            call->operation = (enum operation)i;
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
