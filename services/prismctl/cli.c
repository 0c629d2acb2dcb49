#include "prismctl/cli.h"

#include <prism/analyzer/v1/analyzer.pb-c.h>
#include <prism/limiter/v1/limiter.pb-c.h>
#include <prism/router/v1/router.pb-c.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "net/protojson.h"

#define ARENA_MOST    (256u << 20) /* of a command: replies may be put together from many */
#define MESSAGE_MOST  (32u << 20)  /* bytes; the services' own bound is usually lower */
#define REPLY_MOST    (128u << 20) /* what one message may unfold to */
#define JSON_MOST     (512u << 20)
#define CALL_MS       30000 /* longest unary call: nobody thinks there */
#define LINE_MOST     1024  /* columns of a remark */
#define WIDTH_LEAST   40
#define WIDTH_MOST    120
#define WIDTH_UNKNOWN 100

/* --- outputs ---------------------------------------------------------------------------------- */

enum cli_form cli_form_of(const char *output, bool terminal)
{
    if (strcmp(output, "auto") == 0) {
        return terminal ? CLI_TEXT : CLI_JSON;
    }
    return strcmp(output, "text") == 0   ? CLI_TEXT
           : strcmp(output, "json") == 0 ? CLI_JSON
                                         : CLI_JSONL;
}

struct render cli_render_of(FILE *out)
{
    bool terminal = isatty(fileno(out)) == 1;
    struct winsize size;
    size_t width = WIDTH_UNKNOWN;
    if (terminal && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        width = size.ws_col < WIDTH_LEAST  ? WIDTH_LEAST
                : size.ws_col > WIDTH_MOST ? WIDTH_MOST
                                           : size.ws_col;
    }
    return (struct render){
        .colour = render_wants_colour(terminal, getenv("CLICOLOR_FORCE"), getenv("NO_COLOR"),
                                      getenv("TERM")),
        .width = width,
    };
}

void cli_print(struct cli *cli, struct span text)
{
    fwrite(text.at, 1, text.len, cli->out);
    fflush(cli->out);
}

int cli_print_json(struct cli *cli, const void *message)
{
    CLEANUP(buf_clear) struct buf json;
    buf_init(&json, JSON_MOST);
    protojson_add(&json, message);
    buf_add_char(&json, '\n');
    if (!buf_ok(&json)) {
        return cli_complain(cli, "cannot print the answer", "as JSON it is too large");
    }
    cli_print(cli, buf_span(&json));
    return CLI_OK;
}

static void say(struct cli *cli, struct span text)
{
    CLEANUP(buf_clear) struct buf line;
    buf_init(&line, RENDER_TEXT_MOST);
    buf_add_str(&line, "prismctl: ");
    render_add_line(&line, text, LINE_MOST);
    buf_add_char(&line, '\n');
    fwrite(line.at, 1, line.len, cli->err);
    fflush(cli->err);
}

void cli_note(struct cli *cli, const char *format, ...)
{
    if (cli->config->quiet) {
        return;
    }
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    va_list args;
    va_start(args, format);
    buf_addfv(&text, format, args);
    va_end(args);
    say(cli, buf_span(&text));
}

int cli_complain(struct cli *cli, const char *what, const char *why)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    buf_addf(&text, "%s: %s", what, why);
    say(cli, buf_span(&text));
    return CLI_FAILED;
}

/* What the text has not said already. */
static void add_violations(struct buf *out, const struct status_violation *violations, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct status_violation *violation = &violations[i];
        if (violation->description != NULL &&
            span_find(buf_span(out), span_str(violation->description)) == SPAN_MISSING) {
            buf_addf(out, "; %s: %s", violation->subject != NULL ? violation->subject : "",
                     violation->description);
        }
    }
}

int cli_fail(struct cli *cli, const char *what, struct status why)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    if (cli->interrupted) {
        cli_complain(cli, what, "interrupted");
        return CLI_INTERRUPTED;
    }
    const char *reason =
        why.reason != REASON_NONE ? reason_name(why.reason) : status_code_name(why.code);
    buf_addf(&text, "%s: %s (%s)", what, status_text(why), reason);
    if (why.more != NULL) {
        add_violations(&text, why.more->fields, why.more->n_fields);
        add_violations(&text, why.more->quotas, why.more->n_quotas);
    }
    if (why.retry_after_ms > 0) {
        buf_add_str(&text, "; try again in ");
        render_add_time(&text, why.retry_after_ms);
    }
    say(cli, buf_span(&text));
    return CLI_STATUS + (int)why.code;
}

/* --- services --------------------------------------------------------------------------------- */

static void name_request(struct cli *cli)
{
    uint8_t random[10];
    char id[37];
    hash_random(random, sizeof(random));
    text_uuid7(clock_wall_ms(), random, id);
    struct task_context *context = task_context();
    snprintf(context->request_id, sizeof(context->request_id), "%s", id);
    snprintf(context->tenant, sizeof(context->tenant), "%s", cli->config->tenant);
}

void cli_begin(struct cli *cli)
{
    const char *const targets[CLI_SERVICES] = {
        [CLI_ANALYZER] = cli->config->analyzer,
        [CLI_ROUTER] = cli->config->router,
        [CLI_LIMITER] = cli->config->limiter,
    };
    cli->arena = arena_new(ARENA_MOST);
    cli->task = task_self();
    name_request(cli);
    task_set_deadline(loop_now_ms(task_loop()) + cli->config->timeout);
    for (size_t i = 0; i < CLI_SERVICES; i++) {
        const struct rpc_channel_options options = {
            .targets = targets[i],
            .max_message = MESSAGE_MOST,
            .call_ms = CALL_MS,
        };
        cli->channels[i] = rpc_channel_new(cli->wire, &options);
    }
}

void cli_end(struct cli *cli)
{
    cli->task = NULL;
    for (size_t i = 0; i < CLI_SERVICES; i++) {
        rpc_channel_free(cli->channels[i]);
    }
    arena_free(cli->reply);
    arena_free(cli->arena);
}

void cli_interrupt(struct cli *cli)
{
    cli->interrupted = true;
    if (cli->task != NULL) {
        task_cancel(cli->task, status_of(REASON_CALL_CANCELLED, "interrupted"));
    }
}

struct arena *cli_fresh(struct cli *cli)
{
    arena_free(cli->reply);
    cli->reply = arena_new(REPLY_MOST);
    return cli->reply;
}

struct arena *cli_keep(struct cli *cli)
{
    struct arena *kept = cli->reply;
    cli->reply = NULL;
    return kept;
}

static const ProtobufCServiceDescriptor *descriptor_of(enum cli_service service)
{
    switch (service) {
    case CLI_ANALYZER:
        return &analyzer__analyzer_service__descriptor;
    case CLI_ROUTER:
        return &router__router_service__descriptor;
    case CLI_LIMITER:
        return &limiter__limiter_service__descriptor;
    case CLI_SERVICES:
        break;
    }
    check_failed(__FILE__, __LINE__, "no such service");
}

struct status cli_call(struct cli *cli, enum cli_service service, const char *method,
                       const void *request, void **reply)
{
    return rpc_call(cli->channels[service], descriptor_of(service), method, request, cli->arena,
                    reply);
}

struct status cli_open(struct cli *cli, enum cli_service service, const char *method,
                       const void *request, struct rpc_stream **stream)
{
    return rpc_open(cli->channels[service], descriptor_of(service), method, request, stream);
}

char *cli_model_name(struct cli *cli, struct span name)
{
    const char *prefix = span_starts(name, SPAN("models/")) ? "" : "models/";
    return arena_printf(cli->arena, "%s%s", prefix, arena_string(cli->arena, name));
}

char *cli_task_name(struct cli *cli, const char *name)
{
    if (strchr(name, '/') != NULL) {
        return arena_string(cli->arena, span_str(name));
    }
    const char *tenant = cli->config->tenant[0] != '\0' ? cli->config->tenant : "default";
    return arena_printf(cli->arena, "tenants/%s/tasks/%s", tenant, name);
}
