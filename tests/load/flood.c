/*
 * flood -- offers Generate calls to many routers at a fixed rate, whether or not earlier ones have
 * ended, and says of each what its caller was told and when.
 *
 *     flood to=HOST:PORT,... rate=CALLS_A_SECOND for=MS [wait=MS] [stay=MS]
 *           [from=TENANT:CLASS:SHARE,...] [models=NAME,...] [max=TOKENS] [thinking=TOKENS]
 *           [pad=BYTES]
 *
 * to: call n goes to router n modulo their number, each over one connection. wait: a caller's
 * deadline; with stay only until it is admitted, and so much longer for the answer. from: whose
 * calls they are, in which proportion; class is normal, urgent, low or background. pad: so much
 * text is added to the prompt. SIGTERM ends it early.
 *
 * One line of JSON a call when it has ended, times in milliseconds of CLOCK_MONOTONIC:
 *     n router tenant class due begin queued:[[at, eta, exact, reason],...] admitted tier end
 *     reason output
 * admitted is -1 for who was not; several attempts: the first. reason is "" for a whole answer.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/json.h"
#include "loop/loop.h"
#include "loop/task.h"
#include "net/rpc_client.h"
#include "prism/router/v1/router.pb-c.h"

#define ROUTERS_MOST 64
#define SOURCES_MOST 64
#define MODELS_MOST  16
#define CALL_ARENA   (8u << 20)
#define LINE_MOST    65536

#define PROMPT                                                                                     \
    "Review this section:\n<untrusted-5f2c>\nPasswords are stored in plain text in the "           \
    "configuration file. The administration port has no authentication and is reachable from "     \
    "the internet. Backups are not encrypted.\n</untrusted-5f2c>\n"
#define FILLER "The system is described here in words that say nothing of importance. "

struct source {
    struct span tenant;
    struct span name; /* of the class */
    Router__Priority class;
    double share;
    double credit;
};

struct flood {
    struct loop *loop;
    struct arena *arena;
    struct wire *wire;
    struct rpc_channel *routers[ROUTERS_MOST];
    size_t n_routers;
    struct source sources[SOURCES_MOST];
    size_t n_sources;
    char *models[MODELS_MOST];
    size_t n_models;
    double rate;
    uint64_t for_ms;
    uint64_t wait_ms;
    uint64_t stay_ms;
    uint64_t max;
    uint64_t thinking;
    const char *prompt;
    struct task *pacer;
    uint64_t calls;
};

static double now_ms(void)
{
    return (double)clock_mono_us() / 1000.0;
}

/* --- the command line ---------------------------------------------------------------------------
 */

static void usage(const char *word)
{
    fprintf(stderr, "flood: %s is not understood; see tests/load/flood.c\n", word);
    exit(2);
}

static bool add_routers(struct flood *f, struct span list)
{
    struct span target;
    while (span_cut(&list, ',', &target)) {
        if (f->n_routers == ROUTERS_MOST) {
            return false;
        }
        f->routers[f->n_routers++] = rpc_channel_new(
            f->wire, &(struct rpc_channel_options){.targets = arena_string(f->arena, target)});
    }
    return f->n_routers > 0;
}

static bool class_of(struct span name, Router__Priority *out)
{
    static const struct {
        const char *name;
        Router__Priority class;
    } rows[] = {
        {"normal", ROUTER__PRIORITY__PRIORITY_NORMAL},
        {"urgent", ROUTER__PRIORITY__PRIORITY_URGENT},
        {"low", ROUTER__PRIORITY__PRIORITY_LOW},
        {"background", ROUTER__PRIORITY__PRIORITY_BACKGROUND},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (span_eq(name, span_str(rows[i].name))) {
            *out = rows[i].class;
            return true;
        }
    }
    return false;
}

static bool add_sources(struct flood *f, struct span list)
{
    struct span item, share;
    f->n_sources = 0;
    while (span_cut(&list, ',', &item)) {
        struct source s = {0};
        if (f->n_sources == SOURCES_MOST || !span_cut(&item, ':', &s.tenant) ||
            !span_cut(&item, ':', &s.name) || !span_cut(&item, ':', &share) ||
            !class_of(s.name, &s.class) || !span_parse_double(share, &s.share)) {
            return false;
        }
        s.tenant = arena_copy(f->arena, s.tenant);
        s.name = arena_copy(f->arena, s.name);
        f->sources[f->n_sources++] = s;
    }
    return f->n_sources > 0;
}

static bool add_models(struct flood *f, struct span list)
{
    struct span name;
    while (span_cut(&list, ',', &name) && f->n_models < MODELS_MOST) {
        f->models[f->n_models++] = arena_printf(f->arena, "models/%.*s", (int)name.len, name.at);
    }
    return f->n_models > 0;
}

static bool set_pad(struct flood *f, struct span text)
{
    uint64_t pad;
    if (!span_parse_u64(text, &pad) || pad > 1000000) {
        return false;
    }
    CLEANUP(buf_clear) struct buf prompt;
    buf_init(&prompt, pad + 4096);
    buf_add_str(&prompt, PROMPT);
    while (prompt.len < pad) {
        buf_add_str(&prompt, FILLER);
    }
    f->prompt = arena_string(f->arena, buf_span(&prompt));
    return true;
}

static bool take_word(struct flood *f, struct span word)
{
    struct span key;
    if (!span_cut(&word, '=', &key)) {
        return false;
    }
    return span_eq(key, SPAN("to"))         ? add_routers(f, word)
           : span_eq(key, SPAN("from"))     ? add_sources(f, word)
           : span_eq(key, SPAN("models"))   ? add_models(f, word)
           : span_eq(key, SPAN("pad"))      ? set_pad(f, word)
           : span_eq(key, SPAN("rate"))     ? span_parse_double(word, &f->rate)
           : span_eq(key, SPAN("for"))      ? span_parse_u64(word, &f->for_ms)
           : span_eq(key, SPAN("wait"))     ? span_parse_u64(word, &f->wait_ms)
           : span_eq(key, SPAN("stay"))     ? span_parse_u64(word, &f->stay_ms)
           : span_eq(key, SPAN("max"))      ? span_parse_u64(word, &f->max)
           : span_eq(key, SPAN("thinking")) ? span_parse_u64(word, &f->thinking)
                                            : false;
}

/* --- a call -------------------------------------------------------------------------------------
 */

struct call {
    struct flood *flood;
    const struct source *source;
    struct task *task;
    struct timer patience;
    uint64_t n;
    double due_ms;
    double begin_ms;
    double admitted_ms; /* -1: not yet */
    uint32_t tier;
    uint64_t output;
    struct buf queued;
};

static void put_number(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_number(w, value);
}

static void print_call(struct call *call, struct status end)
{
    CLEANUP(buf_clear) struct buf line;
    struct json_writer w;
    buf_init(&line, 2 * LINE_MOST);
    json_writer_init(&w, &line);
    json_begin_object(&w);
    put_number(&w, "n", (double)call->n);
    put_number(&w, "router", (double)(call->n % call->flood->n_routers));
    json_key(&w, "tenant");
    json_put_string(&w, call->source->tenant);
    json_key(&w, "class");
    json_put_string(&w, call->source->name);
    put_number(&w, "due", call->due_ms);
    put_number(&w, "begin", call->begin_ms);
    put_number(&w, "admitted", call->admitted_ms);
    put_number(&w, "tier", call->tier);
    put_number(&w, "end", now_ms());
    json_key(&w, "reason");
    json_put_string(&w, span_str(status_ok(end) ? "" : reason_name(end.reason)));
    put_number(&w, "output", (double)call->output);
    json_end_object(&w);
    check(buf_ok(&line));
    /* What it was told while it waited goes in front of the closing brace. */
    printf("%.*s,\"queued\":[%s]}\n", (int)line.len - 1, line.at, buf_cstr(&call->queued));
}

static void take_event(struct call *call, const Router__GenerateResponse *event)
{
    switch ((int)event->event_case) {
    case ROUTER__GENERATE_RESPONSE__EVENT_QUEUED:
        if (call->queued.len < LINE_MOST - 256) {
            buf_addf(&call->queued, "%s[%.3f,%llu,%d,\"%s\"]", call->queued.len > 0 ? "," : "",
                     now_ms(), (unsigned long long)event->queued->eta_ms, event->queued->exact,
                     event->queued->reason);
        }
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED:
        call->admitted_ms = call->admitted_ms < 0 ? now_ms() : call->admitted_ms;
        call->tier = event->admitted->tier;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED:
        call->output = event->completed->metadata != NULL && event->completed->metadata->usage
                           ? event->completed->metadata->usage->output_tokens
                           : 0;
        break;
    }
}

static struct status generate(struct call *call, struct arena *arena) PARKS
{
    const struct flood *f = call->flood;
    Router__ContentBlock block = ROUTER__CONTENT_BLOCK__INIT, *blocks = &block;
    Router__Message message = ROUTER__MESSAGE__INIT, *messages = &message;
    Router__Generation generation = ROUTER__GENERATION__INIT;
    Router__GenerateRequest request = ROUTER__GENERATE_REQUEST__INIT;
    block.block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block.text = (char *)f->prompt;
    message.role = ROUTER__ROLE__ROLE_USER;
    message.n_content = 1;
    message.content = &blocks;
    generation.n_messages = 1;
    generation.messages = &messages;
    generation.priority = call->source->class;
    generation.max_content_tokens = (uint32_t)f->max;
    generation.thinking_budget_tokens = (uint32_t)f->thinking;
    generation.models = (char **)f->models;
    generation.n_models = f->n_models;
    request.generation = &generation;
    request.tenant = arena_string(arena, call->source->tenant);
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    TRY(rpc_open(f->routers[call->n % f->n_routers], &router__router_service__descriptor,
                 "Generate", &request, &stream));
    for (void *event;;) {
        TRY(rpc_stream_recv(stream, arena, &event));
        if (event == NULL) {
            return STATUS_SUCCESS;
        }
        take_event(call, event);
    }
}

static void patience_ends(struct timer *timer)
{
    struct call *call = CONTAINER_OF(timer, struct call, patience);
    if (call->admitted_ms < 0) {
        task_cancel(call->task, status_of(REASON_CALL_CANCELLED, NULL));
    }
}

static void call_run(void *arg) PARKS
{
    struct call *call = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_new(CALL_ARENA);
    buf_init(&call->queued, LINE_MOST);
    uint64_t until_ms = loop_now_ms(task_loop()) + call->flood->wait_ms;
    task_set_deadline(until_ms + call->flood->stay_ms);
    call->task = task_self();
    timer_init(&call->patience, task_loop(), patience_ends);
    timer_start(&call->patience, until_ms);
    call->begin_ms = now_ms();
    print_call(call, generate(call, arena));
    timer_stop(&call->patience);
    buf_clear(&call->queued);
    free(call);
}

/* --- the flood ----------------------------------------------------------------------------------
 */

/* Whose turn it is: each gains its share a call, and who has most pays for all. */
static const struct source *next_source(struct flood *f)
{
    struct source *best = &f->sources[0];
    double all = 0;
    for (size_t i = 0; i < f->n_sources; i++) {
        f->sources[i].credit += f->sources[i].share;
        all += f->sources[i].share;
        best = f->sources[i].credit > best->credit ? &f->sources[i] : best;
    }
    best->credit -= all;
    return best;
}

static struct status await_routers(struct flood *f) PARKS
{
    for (size_t i = 0; i < f->n_routers; i++) {
        for (int tries = 0; !rpc_channel_ready(f->routers[i]) && tries < 500; tries++) {
            TRY(task_sleep_ms(10));
        }
    }
    return STATUS_SUCCESS;
}

static void begin_calls(void *arg) PARKS
{
    struct flood *f = arg;
    struct group calls;
    group_init(&calls);
    struct status s = await_routers(f);
    double begin_ms = now_ms();
    uint64_t n = (uint64_t)(f->rate * (double)f->for_ms / 1000.0);
    for (uint64_t i = 0; i < n && status_ok(s); i++) {
        double due_ms = begin_ms + (double)i * 1000.0 / f->rate;
        if (due_ms > now_ms()) {
            s = task_sleep_ms((uint64_t)ceil(due_ms - now_ms()));
        }
        struct call *call = ALLOC(struct call);
        *call = (struct call){.flood = f,
                              .source = next_source(f),
                              .n = f->calls++,
                              .due_ms = due_ms,
                              .admitted_ms = -1};
        group_spawn(&calls, "call", call_run, call);
    }
    s = group_wait(&calls);
    (void)s; /* each call has printed how it ended */
    for (size_t i = 0; i < f->n_routers; i++) {
        rpc_channel_free(f->routers[i]);
    }
    wire_stop(f->wire);
    loop_stop(f->loop);
}

static void on_signal(void *arg, int signal)
{
    struct flood *f = arg;
    (void)signal;
    task_cancel(f->pacer, status_of(REASON_SHUTTING_DOWN, NULL));
}

int main(int argc, char **argv)
{
    struct flood f = {.wait_ms = 1000, .max = 256, .prompt = PROMPT, .loop = loop_new()};
    log_init("flood", LOG_ERROR);
    setvbuf(stdout, NULL, _IOLBF, 0);
    f.arena = arena_new(4u << 20);
    f.wire = wire_start(f.loop);
    check(add_sources(&f, SPAN("default:normal:1")));
    for (int i = 1; i < argc; i++) {
        if (!take_word(&f, span_str(argv[i]))) {
            usage(argv[i]);
        }
    }
    if (f.n_routers == 0 || !(f.rate > 0) || f.for_ms == 0) {
        usage("a command without to, rate or for");
    }
    loop_on_signal(f.loop, SIGTERM, on_signal, &f);
    f.pacer = task_spawn(f.loop,
                         &(struct task_options){.name = "pacer", .deadline_ms = TASK_DEADLINE_NONE},
                         begin_calls, &f);
    loop_run(f.loop);
    loop_free(f.loop);
    arena_free(f.arena);
    return 0;
}
