/* bench: the kinds of calls. */
#include <grpc/health/v1/health.pb-c.h>
#include <prism/analyzer/v1/analyzer.pb-c.h>

#include "aws/bedrock.h"
#include "prismctl/bench.h"
#include "prismctl/command.h"

#define DIRECT_WAIT_MS 60000

struct status bench_incomplete(const char *what)
{
    return status_of(REASON_PROTOCOL_ERROR, what);
}

/* --- echo: the smallest call there is -----------------------------------------------------------
 */

static struct status echo(void *arg, struct arena *arena) PARKS
{
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

static struct status read_answer(struct rpc_stream *stream, struct arena *arena,
                                 void (*first)(void *arg) PARKS, void *arg,
                                 struct bench_answer *out) PARKS
{
    bool began = false, text = false, completed = false;
    for (;;) {
        void *message;
        TRY(rpc_stream_recv(stream, arena, &message));
        if (message == NULL) {
            return began && text && completed ? STATUS_SUCCESS
                                              : bench_incomplete("the answer is not complete");
        }
        const Router__GenerateResponse *event = message;
        if (event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_ADMITTED) {
            out->model_id = event->admitted->model_id;
            out->region = event->admitted->region;
        } else if (event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_BLOCK_START && !began) {
            began = true;
            if (first != NULL) {
                first(arg);
            }
        } else if (event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_TEXT_DELTA) {
            text = true;
        } else if (event->event_case == ROUTER__GENERATE_RESPONSE__EVENT_COMPLETED) {
            const Router__Completed *end = event->completed;
            completed = end->stop_reason == ROUTER__STOP_REASON__STOP_REASON_END_TURN &&
                        end->metadata != NULL && end->metadata->n_attempts == 1 &&
                        end->metadata->usage != NULL;
            out->input_tokens = completed ? end->metadata->usage->input_tokens : 0;
            out->output_tokens = completed ? end->metadata->usage->output_tokens : 0;
        }
    }
}

struct status bench_generate(struct cli *cli, struct arena *arena, void (*first)(void *arg) PARKS,
                             void *arg, struct bench_answer *out)
{
    Router__ContentBlock block = ROUTER__CONTENT_BLOCK__INIT, *blocks = &block;
    Router__Message message = ROUTER__MESSAGE__INIT, *messages = &message;
    Router__Generation generation = ROUTER__GENERATION__INIT;
    Router__GenerateRequest request = ROUTER__GENERATE_REQUEST__INIT;
    block.block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block.text = BENCH_PROMPT;
    message.role = ROUTER__ROLE__ROLE_USER;
    message.n_content = 1;
    message.content = &blocks;
    generation.n_messages = 1;
    generation.messages = &messages;
    generation.max_content_tokens = BENCH_MAX_TOKENS;
    request.generation = &generation;
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    TRY(cli_open(cli, CLI_ROUTER, "Generate", &request, &stream));
    return read_answer(stream, arena, first, arg, out);
}

static struct status generate(void *arg, struct arena *arena) PARKS
{
    struct bench_answer answer;
    return bench_generate(arg, arena, NULL, NULL, &answer);
}

int bench_router_run(struct cli *cli, char **args)
{
    (void)args;
    return bench_run(cli, &(struct bench_kind){"router", generate, cli});
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

static struct status direct(void *arg, struct arena *arena) PARKS
{
    const struct direct *d = arg;
    const struct bedrock_request request = {
        .region = d->same.region,
        .model_id = d->same.model_id,
        .body = SPAN(DIRECT_BODY),
        .first_byte_ms = DIRECT_WAIT_MS,
        .idle_ms = DIRECT_WAIT_MS,
    };
    CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
    struct span event, last = SPAN_NONE;
    uint64_t output_tokens = 0;
    struct status s = bedrock_invoke_stream(d->bedrock, &request, &call);
    for (bool more = status_ok(s); more;) {
        s = bedrock_stream_next(call, &event);
        more = status_ok(s) && event.len > 0;
        if (more && span_find(event, SPAN("\"message_delta\"")) != SPAN_MISSING) {
            CLEANUP(json_drop) struct json *json = json_parse(event, NULL);
            output_tokens =
                (uint64_t)json_integer(json_get(json_get(json, "usage"), "output_tokens"), 0);
        }
        last = more ? arena_copy(arena, event) : last;
    }
    if (!status_ok(s)) {
        return status_copy(s, arena);
    }
    if (span_find(last, SPAN("\"message_stop\"")) == SPAN_MISSING) {
        return bench_incomplete("the answer is not complete");
    }
    return output_tokens == d->same.output_tokens
               ? STATUS_SUCCESS
               : bench_incomplete("the answer is another than the router's");
}

static int direct_run(struct cli *cli, struct http_client *http, struct credentials *credentials,
                      struct direct *d) PARKS
{
    struct status s = bench_generate(cli, cli->arena, NULL, NULL, &d->same);
    if (!status_ok(s)) {
        return cli_fail(cli, "cannot ask the router which model it calls", s);
    }
    d->bedrock = bedrock_new(&(struct bedrock_options){
        .http = http, .credentials = credentials, .endpoint = cli->config->endpoint});
    int code = bench_run(cli, &(struct bench_kind){"direct", direct, d});
    bedrock_free(d->bedrock);
    return code;
}

int bench_direct_run(struct cli *cli, char **args)
{
    (void)args;
    struct direct d = {0};
    if (cli->config->endpoint[0] == '\0') {
        cli_complain(cli, "bench direct", "--endpoint must name a Bedrock Runtime");
        return CLI_USAGE;
    }
    struct http_client *http = http_client_new(
        task_loop(), &(struct http_client_options){.max_per_host = cli->config->callers});
    struct credentials *credentials =
        credentials_new(task_loop(), &(struct credentials_options){.http = http});
    int code = direct_run(cli, http, credentials, &d);
    credentials_free(credentials);
    http_client_free(http);
    return code;
}

/* --- submit: a small document becomes a task ----------------------------------------------------
 */

static struct status submit(void *arg, struct arena *arena) PARKS
{
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
