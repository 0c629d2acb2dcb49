/* bench limiter: an admission and its settlement, as two calls or over the streams of sessions. */
#include <prism/limiter/v1/limiter.pb-c.h>
#include <stdlib.h>

#include "app/limiter_link.h"
#include "base/alloc.h"
#include "codec/hash.h"
#include "prismctl/bench.h"
#include "prismctl/command.h"

#define CANDIDATES_MOST 16
#define WAIT_MS         10000
#define SESSION_SIZE    16

/* As a router has one: a connection of its own and the stream on it. */
struct session {
    struct rpc_channel *channel;
    struct limiter_link *link;
};

struct admission {
    struct cli *cli;
    Limiter__TokenEstimate tokens;
    Limiter__Candidate rows[CANDIDATES_MOST];
    Limiter__Candidate *candidates[CANDIDATES_MOST];
    size_t n;
    uint8_t id[SESSION_SIZE]; /* of all sessions: a limiter does not mind */
    struct session *sessions;
    size_t n_sessions; /* 0: unary calls */
    size_t next;
};

static void sessions_open(struct admission *a)
{
    a->n_sessions = a->cli->config->attach;
    a->sessions = alloc_zeroed(a->n_sessions, sizeof(a->sessions[0]));
    for (size_t i = 0; i < a->n_sessions; i++) {
        struct session *session = &a->sessions[i];
        session->channel = rpc_channel_new(
            a->cli->wire, &(struct rpc_channel_options){.targets = a->cli->config->limiter});
        session->link =
            limiter_link_start(session->channel, span_of(a->id, sizeof(a->id)), WAIT_MS);
    }
}

static void sessions_close(struct admission *a) PARKS
{
    for (size_t i = 0; i < a->n_sessions; i++) {
        limiter_link_stop(a->sessions[i].link);
        rpc_channel_free(a->sessions[i].channel);
    }
    free(a->sessions);
}

/* Over one of the sessions in turn. */
static struct status ask(struct admission *a, const Limiter__AttachItem *item,
                         struct limiter_reply *reply) PARKS
{
    const struct session *session = &a->sessions[a->next++ % a->n_sessions];
    return limiter_link_ask(session->link, item, WAIT_MS, reply);
}

static struct status unary(const struct admission *a, const char *method, const void *request,
                           struct arena *arena, void **response) PARKS
{
    return rpc_call(a->cli->channels[CLI_LIMITER], &limiter__limiter_service__descriptor, method,
                    request, arena, response);
}

static struct status complete(struct admission *a, const Limiter__AcquireRequest *granted,
                              uint32_t candidate, struct arena *arena) PARKS
{
    Limiter__TokenUsage usage = LIMITER__TOKEN_USAGE__INIT;
    Limiter__CompleteRequest request = LIMITER__COMPLETE_REQUEST__INIT;
    Limiter__CompleteResponse *response;
    CLEANUP(limiter_reply_drop) struct limiter_reply reply = {0};
    usage.input_tokens = a->tokens.input_tokens;
    usage.output_tokens = a->tokens.max_tokens / 2;
    request.id = granted->id;
    request.model = a->candidates[candidate]->model;
    request.usage = &usage;
    request.outcome = LIMITER__OUTCOME__OUTCOME_OK;
    if (a->n_sessions == 0) {
        TRY(unary(a, "Complete", &request, arena, (void **)&response));
    } else {
        Limiter__AttachItem item = LIMITER__ATTACH_ITEM__INIT;
        item.request_case = LIMITER__ATTACH_ITEM__REQUEST_COMPLETE;
        item.complete = &request;
        TRY(ask(a, &item, &reply));
        response = reply.is->complete;
    }
    return response->result == LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED
               ? STATUS_SUCCESS
               : bench_incomplete("the settlement was not applied");
}

static struct status admit(void *arg, struct arena *arena, uint64_t *first_us) PARKS
{
    (void)first_us;
    struct admission *a = arg;
    uint8_t id[16];
    hash_random(id, sizeof(id));
    Limiter__AcquireRequest request = LIMITER__ACQUIRE_REQUEST__INIT;
    Limiter__AcquireResponse *response;
    CLEANUP(limiter_reply_drop) struct limiter_reply reply = {0};
    request.id = (ProtobufCBinaryData){sizeof(id), id};
    request.session = (ProtobufCBinaryData){sizeof(a->id), a->id};
    request.candidates = a->candidates;
    request.n_candidates = a->n;
    if (a->n_sessions == 0) {
        TRY(unary(a, "Acquire", &request, arena, (void **)&response));
    } else {
        Limiter__AttachItem item = LIMITER__ATTACH_ITEM__INIT;
        item.request_case = LIMITER__ATTACH_ITEM__REQUEST_ACQUIRE;
        item.acquire = &request;
        TRY(ask(a, &item, &reply));
        response = reply.is->acquire;
    }
    const Limiter__Verdict *verdict = response->verdict;
    if (verdict == NULL || verdict->decision != LIMITER__DECISION__DECISION_GRANTED ||
        verdict->candidate >= a->n) {
        return bench_incomplete("the limiter refused; its limits must be off or high");
    }
    return complete(a, &request, verdict->candidate, arena);
}

/* All models that are open, as the router asks for them. */
static struct status find_models(struct admission *a) PARKS
{
    Limiter__PeekRequest request = LIMITER__PEEK_REQUEST__INIT;
    Limiter__PeekResponse *response;
    TRY(cli_call(a->cli, CLI_LIMITER, "Peek", &request, (void **)&response));
    for (size_t i = 0; i < response->n_resources && a->n < CANDIDATES_MOST; i++) {
        const Limiter__Resource *resource = response->resources[i];
        if (resource->kind == LIMITER__RESOURCE_KIND__RESOURCE_KIND_MODEL &&
            resource->state == LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN) {
            Limiter__Candidate *row = &a->rows[a->n];
            limiter__candidate__init(row);
            row->model = resource->name;
            row->tokens = &a->tokens;
            a->candidates[a->n++] = row;
        }
    }
    return a->n > 0 ? STATUS_SUCCESS : bench_incomplete("the limiter has no open model");
}

int bench_limiter_run(struct cli *cli, char **args)
{
    (void)args;
    struct admission a = {.cli = cli, .tokens = LIMITER__TOKEN_ESTIMATE__INIT};
    a.tokens.input_tokens = 25;
    a.tokens.max_tokens = BENCH_MAX_TOKENS;
    hash_random(a.id, sizeof(a.id));
    struct status s = find_models(&a);
    if (!status_ok(s)) {
        return cli_fail(cli, "cannot ask the limiter for the models", s);
    }
    sessions_open(&a);
    int code = bench_run(cli, &(struct bench_kind){"limiter", admit, &a});
    sessions_close(&a);
    return code;
}
