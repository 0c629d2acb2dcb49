#include "generation.h"

#include <string.h>

#include "codec/json.h"
#include "loop/task.h"

#define ARENA_MOST (32u << 20)
#define TEXT_MOST  (4u << 20)

#define SYSTEM_PROMPT                                                                              \
    "Assess the risk of the section. Answer with one JSON object with risk_level, confidence, "    \
    "reasoning and findings."

#define SECTION                                                                                    \
    "Review this section:\n<untrusted-5f2c>\nPasswords are stored in plain text in the "           \
    "configuration file. The administration port has no authentication and is reachable from "     \
    "the internet. Backups are not encrypted. Log files are kept for 30 days and reviewed "        \
    "weekly. Access by contractors is not revoked when they leave.\n</untrusted-5f2c>\n"

static void fill(const struct generation *g, Router__Generation *out)
{
    struct arena *arena = g->arena;
    Router__ContentBlock *blocks = ARENA_ARRAY(arena, Router__ContentBlock, 2);
    Router__ContentBlock **lists = ARENA_ARRAY(arena, Router__ContentBlock *, 2);
    Router__Message **messages = ARENA_ARRAY(arena, Router__Message *, 1);
    const char *texts[] = {SYSTEM_PROMPT, g->prompt != NULL ? g->prompt : SECTION};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        router__content_block__init(&blocks[i]);
        blocks[i].block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
        blocks[i].text = arena_string(arena, span_str(texts[i]));
        lists[i] = &blocks[i];
    }
    messages[0] = ARENA_NEW(arena, Router__Message);
    router__message__init(messages[0]);
    messages[0]->role = ROUTER__ROLE__ROLE_USER;
    messages[0]->n_content = 1;
    messages[0]->content = &lists[1];
    router__generation__init(out);
    out->n_system = g->bare ? 0 : 1;
    out->system = &lists[0];
    out->n_messages = 1;
    out->messages = messages;
    out->thinking_budget_tokens = g->bare ? 0 : g->thinking > 0 ? g->thinking : 2000;
    if (g->model != NULL) {
        out->n_models = 1;
        out->models = ARENA_ARRAY(arena, char *, 1);
        out->models[0] = arena_string(arena, span_str(g->model));
    }
}

static void begin_attempt(struct generation *g, const Router__Admitted *admitted)
{
    g->admitted++;
    g->last_admitted = admitted;
    g->open_blocks = 0;
    buf_reset(&g->thought);
    buf_reset(&g->text);
}

static void take(struct generation *g, const Router__GenerateResponse *event)
{
    g->events++;
    g->nothing_behind = false;
    switch (event->event_case) {
    case ROUTER__GENERATE_RESPONSE__EVENT_QUEUED:
        g->queued++;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED:
        begin_attempt(g, event->admitted);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_START:
        g->open_blocks++;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_THINKING_DELTA:
        g->text_before_thinking |= g->text.len > 0;
        buf_add_str(&g->thought, event->thinking_delta->text);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA:
        buf_add_str(&g->text, event->text_delta->text);
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_STOP:
        g->open_blocks--;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_RESTARTED:
        g->restarted++;
        g->last_restarted = event->restarted;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED:
        g->completed = event->completed;
        g->metadata = event->completed->metadata;
        g->nothing_behind = true;
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT_SIGNATURE_DELTA:
    case ROUTER__GENERATE_RESPONSE__EVENT_REDACTED_THINKING:
    case ROUTER__GENERATE_RESPONSE__EVENT_RAW_BLOCK:
    case ROUTER__GENERATE_RESPONSE__EVENT_KEEP_ALIVE:
        break;
    case ROUTER__GENERATE_RESPONSE__EVENT__NOT_SET:
    case _ROUTER__GENERATE_RESPONSE__EVENT__CASE_IS_INT_SIZE:
        fail_msg("an event without content");
    }
}

static bool leaves(const struct generation *g, const Router__GenerateResponse *event, size_t deltas)
{
    return (g->leave_after > 0 && deltas >= g->leave_after) ||
           (g->leave_queued && event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_QUEUED);
}

static struct status receive(struct generation *g, struct rpc_stream *stream) PARKS
{
    size_t deltas = 0;
    for (void *message;;) {
        TRY(rpc_stream_recv(stream, g->arena, &message));
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        const Router__GenerateResponse *event = message;
        take(g, event);
        deltas += event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_THINKING_DELTA;
        if (leaves(g, event, deltas)) {
            g->left = true;
            return STATUS_SUCCESS;
        }
    }
}

static struct rpc_channel *router_of(const struct generation *g)
{
    return g->router != NULL ? g->router : g->suite->router;
}

static struct status stream(struct generation *g, Router__Generation *what) PARKS
{
    struct rpc_stream *stream = NULL;
    Router__GenerateRequest request = ROUTER__GENERATE_REQUEST__INIT;
    request.generation = what;
    struct status s =
        rpc_open(router_of(g), &router__router_service__descriptor, "Generate", &request, &stream);
    if (status_ok(s)) {
        s = receive(g, stream);
    }
    rpc_stream_close(&stream);
    return s;
}

static struct status once(struct generation *g, Router__Generation *what) PARKS
{
    Router__GenerateOnceRequest request = ROUTER__GENERATE_ONCE_REQUEST__INIT;
    void *reply;
    request.generation = what;
    TRY(rpc_call(router_of(g), &router__router_service__descriptor, "GenerateOnce", &request,
                 g->arena, &reply));
    const Router__GenerateOnceResponse *answer = reply;
    for (size_t i = 0; i < answer->n_content; i++) {
        const Router__ContentBlock *block = answer->content[i];
        if (block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_THINKING) {
            g->text_before_thinking |= g->text.len > 0;
            buf_add_str(&g->thought, block->thinking->text);
        } else if (block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_TEXT) {
            buf_add_str(&g->text, block->text);
        }
    }
    g->completed = answer->completed;
    g->metadata = answer->completed->metadata;
    g->nothing_behind = true;
    return STATUS_SUCCESS;
}

static void run(void *arg) PARKS
{
    struct generation *g = arg;
    Router__Generation what;
    fill(g, &what);
    g->task = task_self();
    task_set_deadline(loop_now_ms(task_loop()) +
                      (g->deadline_ms > 0 ? g->deadline_ms : SUITE_WAIT_MS));
    g->status = g->once ? once(g, &what) : stream(g, &what);
    g->task = NULL;
}

static void prepare(struct generation *g)
{
    g->arena = arena_new(ARENA_MOST);
    buf_init(&g->thought, TEXT_MOST);
    buf_init(&g->text, TEXT_MOST);
}

void generation_spawn(struct generation *g, struct group *group)
{
    prepare(g);
    group_spawn(group, "generation", run, g);
}

/* In a task of its own, for its deadline. */
void generation_run(struct generation *g)
{
    struct group group;
    group_init(&group);
    generation_spawn(g, &group);
    assert_status_ok(group_wait(&group));
}

void generation_clear(struct generation *g)
{
    buf_clear(&g->thought);
    buf_clear(&g->text);
    arena_free(g->arena);
}

static const char *what_lacks(const struct generation *g, uint32_t tier, size_t attempts)
{
    CLEANUP(json_drop) struct json *json = json_parse(buf_span(&g->text), NULL);
    if (!status_ok(g->status)) {
        return "it failed";
    }
    if (g->metadata == NULL || !g->nothing_behind) {
        return "Completed is not the last event";
    }
    if (g->metadata->tier != tier || (!g->once && g->last_admitted->tier != tier)) {
        return "another tier answered";
    }
    if (g->metadata->n_attempts != attempts || (!g->once && g->admitted != attempts)) {
        return "another number of attempts";
    }
    if (g->metadata->attempts[attempts - 1]->reason[0] != '\0') {
        return "the last attempt has a reason";
    }
    if (g->open_blocks > 0 || g->text_before_thinking || g->thought.len == 0) {
        return "the blocks are not in order";
    }
    if (g->completed->stop_reason != ROUTER__STOP_REASON__STOP_REASON_END_TURN ||
        json_string(json_get(json, "risk_level")).len == 0) {
        return "the answer is not whole";
    }
    return NULL;
}

void generation_assert(const struct generation *g, uint32_t tier, size_t attempts, const char *file,
                       int line)
{
    const char *lacks = what_lacks(g, tier, attempts);
    if (lacks == NULL) {
        return;
    }
    print_error("%s:%d: %s: %s %s (%s); tier %u after %zu attempts, %zu admitted, %zu events\n%s\n",
                file, line, lacks, status_code_name(g->status.code), reason_name(g->status.reason),
                status_text(g->status), g->metadata != NULL ? g->metadata->tier : 0,
                g->metadata != NULL ? g->metadata->n_attempts : 0, g->admitted, g->events,
                buf_cstr(&g->text));
    for (size_t i = 0; g->metadata != NULL && i < g->metadata->n_attempts; i++) {
        const Router__Attempt *a = g->metadata->attempts[i];
        print_error("  attempt %u: %s, %s, HTTP %u\n", a->number, a->model, a->reason,
                    a->http_status);
    }
    _fail(file, line);
}
