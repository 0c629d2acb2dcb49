/* bench: the kinds of calls. */
#include <grpc/health/v1/health.pb-c.h>
#include <prism/analyzer/v1/analyzer.pb-c.h>

#include "aws/bedrock.h"
#include "base/clock.h"
#include "prismctl/bench.h"
#include "prismctl/command.h"

#define DIRECT_WAIT_MS 60000

struct status bench_incomplete(const char *what)
{
    return status_of(REASON_PROTOCOL_ERROR, what);
}

/* --- echo: the smallest call there is -----------------------------------------------------------
 */

static struct status echo(void *arg, struct arena *arena, uint64_t *first_us) PARKS
{
    (void)first_us;
    struct cli *cli = arg;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    void *reply;
    TRY(rpc_call(cli->channels[CLI_LIMITER], &grpc__health__v1__health__descriptor, "Check",
                 &request, arena, &reply));
    const Grpc__Health__V1__HealthCheckResponse *health = reply;
    return health->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
               ? STATUS_SUCCESS
               : bench_incomplete("the service is not serving");
}

int bench_echo_run(struct cli *cli, char **args)
{
    (void)args;
    return bench_run(cli, &(struct bench_kind){"echo", echo, cli});
}

/* --- router: Generate to its end ----------------------------------------------------------------
 */

/* Whether the end is that of a whole answer, and what it came to. */
static bool take_end(const Router__Completed *end, struct bench_answer *out)
{
    if (end == NULL || end->stop_reason != ROUTER__STOP_REASON__STOP_REASON_END_TURN ||
        end->metadata == NULL || end->metadata->n_attempts != 1 || end->metadata->usage == NULL) {
        return false;
    }
    out->input_tokens = end->metadata->usage->input_tokens;
    out->output_tokens = end->metadata->usage->output_tokens;
    return true;
}

static struct status read_answer(struct rpc_stream *stream, struct arena *arena,
                                 void (*first)(void *arg) PARKS, void *arg,
                                 struct bench_answer *out) PARKS
{
    bool text = false, completed = false;
    for (;;) {
        void *message;
        TRY(rpc_stream_recv(stream, arena, &message));
        if (message == NULL) {
            return text && completed ? STATUS_SUCCESS
                                     : bench_incomplete("the answer is not complete");
        }
        const Router__GenerateResponse *event = message;
        if (event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED) {
            out->model_id = event->admitted->model_id;
            out->region = event->admitted->region;
        } else if (event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA && !text) {
            text = true;
            if (first != NULL) {
                first(arg);
            }
        } else if (event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED) {
            completed = take_end(event->completed, out);
        }
    }
}

/* What is asked, and the messages it is made of. */
struct asked {
    Router__ContentBlock block, *blocks;
    Router__Message message, *messages;
    Router__Generation generation;
};

static Router__Generation *ask(struct asked *asked)
{
    router__content_block__init(&asked->block);
    router__message__init(&asked->message);
    router__generation__init(&asked->generation);
    asked->block.block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    asked->block.text = BENCH_PROMPT;
    asked->blocks = &asked->block;
    asked->message.role = ROUTER__ROLE__ROLE_USER;
    asked->message.n_content = 1;
    asked->message.content = &asked->blocks;
    asked->messages = &asked->message;
    asked->generation.n_messages = 1;
    asked->generation.messages = &asked->messages;
    asked->generation.max_content_tokens = BENCH_MAX_TOKENS;
    return &asked->generation;
}

struct status bench_generate(struct cli *cli, struct arena *arena, void (*first)(void *arg) PARKS,
                             void *arg, struct bench_answer *out)
{
    struct asked asked;
    Router__GenerateRequest request = ROUTER__GENERATE_REQUEST__INIT;
    request.generation = ask(&asked);
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    TRY(cli_open(cli, CLI_ROUTER, "Generate", &request, &stream));
    return read_answer(stream, arena, first, arg, out);
}

static void note_moment(void *first_us)
{
    *(uint64_t *)first_us = clock_mono_us();
}

static struct status generate(void *arg, struct arena *arena, uint64_t *first_us) PARKS
{
    struct bench_answer answer;
    return bench_generate(arg, arena, note_moment, first_us, &answer);
}

int bench_router_run(struct cli *cli, char **args)
{
    (void)args;
    return bench_run(cli, &(struct bench_kind){"router", generate, cli});
}

/* --- once: GenerateOnce ------------------------------------------------------------------------
 */

static struct status once(void *arg, struct arena *arena, uint64_t *first_us) PARKS
{
    struct cli *cli = arg;
    struct asked asked;
    struct bench_answer answer;
    Router__GenerateOnceRequest request = ROUTER__GENERATE_ONCE_REQUEST__INIT;
    void *reply;
    (void)first_us;
    request.generation = ask(&asked);
    TRY(rpc_call(cli->channels[CLI_ROUTER], &router__router_service__descriptor, "GenerateOnce",
                 &request, arena, &reply));
    const Router__GenerateOnceResponse *response = reply;
    return response->n_content > 0 && take_end(response->completed, &answer)
               ? STATUS_SUCCESS
               : bench_incomplete("the answer is not complete");
}

int bench_once_run(struct cli *cli, char **args)
{
    (void)args;
    return bench_run(cli, &(struct bench_kind){"once", once, cli});
}

/* --- direct: the same request without the router ------------------------------------------------
 */

struct direct {
    struct bedrock *bedrock;
    struct bench_answer same; /* what the router's call came to */
};

/* As the router writes it. */
#define DIRECT_BODY                                                                                \
    "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":256,\"messages\":[{\"role\":"    \
    "\"user\",\"content\":[{\"type\":\"text\",\"text\":\"" BENCH_PROMPT "\"}]}]}"

static struct bedrock_request direct_request(const struct direct *d)
{
    return (struct bedrock_request){
        .region = d->same.region,
        .model_id = d->same.model_id,
        .body = SPAN(DIRECT_BODY),
        .first_byte_ms = DIRECT_WAIT_MS,
        .idle_ms = DIRECT_WAIT_MS,
    };
}

/* An answer or a message_delta: both have a usage. */
static uint64_t output_tokens_of(struct span text)
{
    CLEANUP(json_drop) struct json *json = json_parse(text, NULL);
    return (uint64_t)json_integer(json_get(json_get(json, "usage"), "output_tokens"), 0);
}

static struct status compare(const struct direct *d, uint64_t output_tokens)
{
    return output_tokens == d->same.output_tokens
               ? STATUS_SUCCESS
               : bench_incomplete("the answer is another than the router's");
}

static struct status direct(void *arg, struct arena *arena, uint64_t *first_us) PARKS
{
    const struct direct *d = arg;
    const struct bedrock_request request = direct_request(d);
    CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
    struct span event, last = SPAN_NONE;
    uint64_t output_tokens = 0;
    struct status s = bedrock_invoke_stream(d->bedrock, &request, &call);
    for (bool more = status_ok(s); more;) {
        s = bedrock_stream_next(call, &event);
        more = status_ok(s) && event.len > 0;
        if (more && *first_us == 0 && span_find(event, SPAN("\"text_delta\"")) != SPAN_MISSING) {
            note_moment(first_us);
        }
        if (more && span_find(event, SPAN("\"message_delta\"")) != SPAN_MISSING) {
            output_tokens = output_tokens_of(event);
        }
        last = more ? arena_copy(arena, event) : last;
    }
    if (!status_ok(s)) {
        return status_copy(s, arena);
    }
    if (span_find(last, SPAN("\"message_stop\"")) == SPAN_MISSING) {
        return bench_incomplete("the answer is not complete");
    }
    return compare(d, output_tokens);
}

static struct status direct_once(void *arg, struct arena *arena, uint64_t *first_us) PARKS
{
    const struct direct *d = arg;
    const struct bedrock_request request = direct_request(d);
    CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
    struct span body;
    (void)first_us;
    struct status s = bedrock_invoke(d->bedrock, &request, &call, &body);
    return status_ok(s) ? compare(d, output_tokens_of(body)) : status_copy(s, arena);
}

static int direct_measure(struct cli *cli, const struct bench_kind *kind, struct http_client *http,
                          struct credentials *credentials, struct direct *d) PARKS
{
    struct status s = bench_generate(cli, cli->arena, NULL, NULL, &d->same);
    if (!status_ok(s)) {
        return cli_fail(cli, "cannot ask the router which model it calls", s);
    }
    d->bedrock = bedrock_new(&(struct bedrock_options){
        .http = http, .credentials = credentials, .endpoint = cli->config->endpoint});
    int code = bench_run(cli, kind);
    bedrock_free(d->bedrock);
    return code;
}

static int direct_run(struct cli *cli, const char *name,
                      struct status (*call)(void *arg, struct arena *arena, uint64_t *first_us)
                          PARKS) PARKS
{
    struct direct d = {0};
    const struct bench_kind kind = {name, call, &d};
    if (cli->config->endpoint[0] == '\0') {
        cli_complain(cli, name, "--endpoint must name a Bedrock Runtime");
        return CLI_USAGE;
    }
    struct http_client *http = http_client_new(
        task_loop(), &(struct http_client_options){.max_per_host = cli->config->callers});
    struct credentials *credentials =
        credentials_new(task_loop(), &(struct credentials_options){.http = http});
    int code = direct_measure(cli, &kind, http, credentials, &d);
    credentials_free(credentials);
    http_client_free(http);
    return code;
}

int bench_direct_run(struct cli *cli, char **args)
{
    (void)args;
    return direct_run(cli, "direct", direct);
}

int bench_direct_once_run(struct cli *cli, char **args)
{
    (void)args;
    return direct_run(cli, "direct-once", direct_once);
}

/* --- submit: a small document becomes a task ----------------------------------------------------
 */

static struct status submit(void *arg, struct arena *arena, uint64_t *first_us) PARKS
{
    (void)first_us;
    static const char text[] =
        "# Access\n\nThe admin port has no authentication. Passwords are kept in plain text.\n";
    struct cli *cli = arg;
    Analyzer__Document document;
    Analyzer__SubmitAnalysisRequest request = ANALYZER__SUBMIT_ANALYSIS_REQUEST__INIT;
    Analyzer__SubmitAnalysisResponse *response;
    analyzer__document__init(&document);
    document.display_name = "access.md";
    document.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document.content = (ProtobufCBinaryData){sizeof(text) - 1, (uint8_t *)text};
    request.document = &document;
    TRY(rpc_call(cli->channels[CLI_ANALYZER], &analyzer__analyzer_service__descriptor,
                 "SubmitAnalysis", &request, arena, (void **)&response));
    return response->task != NULL && response->task->name[0] != '\0'
               ? STATUS_SUCCESS
               : bench_incomplete("the reply names no task");
}

int bench_submit_run(struct cli *cli, char **args)
{
    (void)args;
    return bench_run(cli, &(struct bench_kind){"submit", submit, cli});
}
