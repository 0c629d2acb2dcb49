/* How an answer goes out: as one body or as a stream, and what goes wrong on the way. */
#include "base/buf.h"
#include "base/clock.h"
#include "loop/task.h"
#include "simulator/call.h"
#include "simulator/events.h"
#include "simulator/wire.h"

void call_refuse(struct call *call, const struct refusal *refusal)
{
    call->end.status = refusal->code;
    call->end.outcome = refusal->code == 429   ? "throttled"
                        : refusal->code >= 500 ? "failed"
                                               : "rejected";
    wire_refuse(call->exchange, refusal, &call->fault);
}

/* --- waiting and sending ------------------------------------------------------------------------
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
bool call_stall(struct call *call) PARKS
{
    struct status s = task_sleep_ms(call->fault.stall_ms);
    call->begun_ms += call->fault.stall_ms;
    if (!status_ok(s)) {
        leave(call, s);
    }
    return status_ok(s);
}

static bool send(struct call *call, struct span bytes) PARKS
{
    struct status s = http_reply_write(call->exchange, bytes);
    if (!status_ok(s)) {
        leave(call, s);
    }
    return status_ok(s);
}

/* A few bytes at a time. */
static bool drip(struct call *call, struct span bytes) PARKS
{
    while (bytes.len > 0) {
        struct span drop = span_first(bytes, call->fault.drip_bytes);
        if (!send(call, drop)) {
            return false;
        }
        struct status s = task_sleep_ms(call->fault.drip_ms);
        if (!status_ok(s)) {
            leave(call, s);
            return false;
        }
        bytes = span_from(bytes, drop.len);
    }
    return true;
}

static void cut(struct call *call, bool reset)
{
    call->end.outcome = reset ? "reset" : "closed";
    http_reply_abort(call->exchange, reset);
}

/* The answer begins: what was written to the cache can be read from now on. */
static void begin(struct call *call)
{
    call->end.status = 200;
    if (call->sim->cache != NULL) {
        cache_keep(call->sim->cache, &call->cache, clock_mono_us());
    }
}

/* --- one body -----------------------------------------------------------------------------------
 */

static void add_headers(struct wire_headers *headers, const struct answer *answer)
{
    const struct {
        const char *name;
        uint64_t tokens;
        bool newer; /* not from the older models */
    } rows[] = {
        {"X-Amzn-Bedrock-Input-Token-Count", answer->input_tokens, false},
        {"X-Amzn-Bedrock-Output-Token-Count", answer->metric_tokens, false},
        {"X-Amzn-Bedrock-Cache-Read-Input-Token-Count", answer->cache_read, true},
        {"X-Amzn-Bedrock-Cache-Write-Input-Token-Count", answer->cache_write, true},
    };
    wire_add_count(headers, "X-Amzn-Bedrock-Invocation-Latency", events_last_ms(answer));
    for (size_t i = 0; i < ARRAY_LEN(rows) && answer->metrics != FIGURES_MISSING; i++) {
        if (!rows[i].newer || answer->model->generation->repeats_input) {
            wire_add_count(headers, rows[i].name, events_metric(answer, rows[i].tokens));
        }
    }
}

static void reply_body(struct call *call, const struct answer *answer) PARKS
{
    struct wire_headers headers;
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, WIRE_BODY_MOST);
    wire_begin(&headers, call->exchange, "application/json");
    add_headers(&headers, answer);
    events_add_body(answer, &body);
    begin(call);
    call->end.output_tokens = answer->output_tokens;
    if (call->fault.action == FAULT_TRUNCATE) { /* half of the body, as if it were all */
        call->end.outcome = "truncated";
        http_reply_start(call->exchange, 200, headers.at, headers.n);
        (void)send(call, span_first(buf_span(&body), body.len / 2));
    } else if (call->fault.action == FAULT_DRIP) {
        http_reply_start(call->exchange, 200, headers.at, headers.n);
        (void)drip(call, buf_span(&body));
    } else {
        http_reply(call->exchange, 200, headers.at, headers.n, buf_span(&body));
    }
}

static void invoke(struct call *call, const struct answer *answer) PARKS
{
    enum fault_action action = call->fault.action;
    if (action == FAULT_EXCEPTION) {
        call_refuse(call, &call->fault.refusal);
        return;
    }
    if (action == FAULT_STALL && call->fault.at != FAULT_AT_HEADERS && !call_stall(call)) {
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

struct stream {
    struct call *call;
    struct events events;
    struct buf event;
    struct buf frame;
    uint64_t random;
    uint64_t sent; /* events */
    bool dripping;
    bool stalled;
};

static void start_stream(struct call *call)
{
    struct wire_headers headers;
    wire_begin(&headers, call->exchange, "application/vnd.amazon.eventstream");
    wire_add(&headers, "X-Amzn-Bedrock-Content-Type", "application/json");
    begin(call);
    http_reply_start(call->exchange, 200, headers.at, headers.n);
}

static void send_exception(struct call *call, const struct refusal *refusal) PARKS
{
    CLEANUP(buf_clear) struct buf frame;
    buf_init(&frame, WIRE_BODY_MOST);
    wire_add_exception(&frame, refusal, call->fault.unmodelled);
    if (send(call, buf_span(&frame))) {
        call->end.outcome = "exception";
    }
}

void call_refuse_late(struct call *call, const struct refusal *refusal) PARKS
{
    start_stream(call);
    send_exception(call, refusal);
}

static bool send_stray(struct stream *s) PARKS
{
    CLEANUP(buf_clear) struct buf event;
    CLEANUP(buf_clear) struct buf frame;
    buf_init(&event, WIRE_BODY_MOST);
    buf_init(&frame, WIRE_BODY_MOST);
    events_add_stray(s->events.answer, s->call->fault.event, &event);
    wire_add_chunk(&frame, buf_span(&event), &s->random);
    return send(s->call, buf_span(&frame));
}

/* Is the event at hand the one before which the fault acts? Tokens of thinking are told of with
 * the event that brings them. */
static bool is_the_place(const struct stream *s)
{
    const struct fault *fault = &s->call->fault;
    if (fault->action == FAULT_STALL && fault->at == FAULT_AT_THINKING) {
        return !s->stalled && s->events.kind == EVENTS_KIND_THINKING &&
               s->events.sent > fault->after;
    }
    return s->sent == fault->after;
}

/* What happens in place of the frame, or to it; true when the stream goes on. */
static bool misbehave(struct stream *s) PARKS
{
    struct call *call = s->call;
    switch (call->fault.action) {
    case FAULT_EXCEPTION:
        send_exception(call, &call->fault.refusal);
        return false;
    case FAULT_STALL:
        s->stalled = true;
        return call->fault.at == FAULT_AT_HEADERS || call_stall(call);
    case FAULT_DRIP:
        s->dripping = true;
        return true;
    case FAULT_RESET:
    case FAULT_CLOSE:
        cut(call, call->fault.action == FAULT_RESET);
        return false;
    case FAULT_TRUNCATE:
        if (send(call, span_first(buf_span(&s->frame), s->frame.len / 2))) {
            call->end.outcome = "truncated";
        }
        return false;
    case FAULT_BAD_CRC:
        s->frame.at[s->frame.len - 1] ^= 1;
        call->end.outcome = "bad_crc";
        return true;
    case FAULT_INSERT:
        return send_stray(s);
    case FAULT_NONE:
    case FAULT_STATUS:
    case FAULT_OMIT:
    case FAULT_USAGE:
        return true;
    }
    return true;
}

static bool send_event(struct stream *s) PARKS
{
    struct call *call = s->call;
    if (is_the_place(s) && !misbehave(s)) {
        return false;
    }
    struct span frame = buf_span(&s->frame);
    if (!(s->dripping ? drip(call, frame) : send(call, frame))) {
        return false;
    }
    s->sent++;
    call->end.output_tokens = s->events.sent;
    quota_plan_progress(call->sim->quotas, &call->charge, s->events.sent, clock_mono_us());
    return true;
}

static bool is_omitted(const struct stream *s)
{
    return s->call->fault.action == FAULT_OMIT && s->call->fault.event == s->events.kind;
}

static void run_stream(struct stream *s) PARKS
{
    struct call *call = s->call;
    uint64_t due_ms;
    for (bool begun = false; events_next(&s->events, &s->event, &due_ms); begun = true) {
        wire_add_chunk(&s->frame, buf_span(&s->event), &s->random);
        if (!wait_until(call, due_ms)) {
            return;
        }
        if (!begun) {
            start_stream(call);
        }
        if (!is_omitted(s) && !send_event(s)) {
            return;
        }
        buf_reset(&s->event);
        buf_reset(&s->frame);
    }
    call->end.output_tokens = s->events.answer->output_tokens;
}

void call_deliver(struct call *call, const struct answer *answer) PARKS
{
    if (call->operation != CALL_STREAM) {
        invoke(call, answer);
        return;
    }
    struct stream s = {.call = call, .random = answer->random};
    buf_init(&s.event, WIRE_BODY_MOST);
    buf_init(&s.frame, WIRE_BODY_MOST);
    events_init(&s.events, answer);
    run_stream(&s);
    buf_clear(&s.event);
    buf_clear(&s.frame);
}
