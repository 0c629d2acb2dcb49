/* quota: what the limiter has left to give, and what operators tell it. */
#include <prism/limiter/v1/limiter.pb-c.h>

#include "prismctl/command.h"

#define WINDOW_MS 60000 /* of limits that had none */

static const struct table_column columns[] = {
    {"Resource", false, 64},   {"State", false, 0},      {"Requests left", true, 0},
    {"At once left", true, 0}, {"Tokens left", true, 0}, {"Waiting", true, 0},
};

static void add_state(struct table *table, const Limiter__Resource *resource, struct buf *text)
{
    static const char *const names[] = {"unknown",   "open", "cooling down", "breaker open",
                                        "half open", "gone", "closed",       "state lost"};
    size_t state = resource->state;
    buf_add_str(text, state < ARRAY_LEN(names) ? names[state] : "unknown");
    if (resource->state_ms > 0) {
        buf_add_str(text, ", ");
        render_add_time(text, resource->state_ms);
        buf_add_str(text, " more");
    }
    if (resource->note[0] != '\0') {
        buf_addf(text, " (%s)", resource->note);
    }
    bool open = state == LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN;
    table_cell(table, open ? STYLE_GREEN : STYLE_RED, buf_span(text));
    buf_reset(text);
}

/* left of most; nothing where there is no such limit. */
static void add_left(struct table *table, bool limited, int64_t left, uint64_t most,
                     uint64_t window_ms, struct buf *text)
{
    if (limited) {
        buf_add_str(text, left < 0 ? "-" : "");
        render_add_count(text, (uint64_t)(left < 0 ? -left : left));
        buf_add_str(text, " of ");
        render_add_count(text, most);
    }
    if (limited && window_ms > 0) {
        buf_add_str(text, " in ");
        render_add_time(text, window_ms);
    }
    table_cell(table, limited && left <= 0 ? STYLE_RED : STYLE_PLAIN, buf_span(text));
    buf_reset(text);
}

static void add_row(struct table *table, const Limiter__Resource *resource, struct buf *text)
{
    Limiter__Limits none = LIMITER__LIMITS__INIT;
    Limiter__Remaining nothing = LIMITER__REMAINING__INIT;
    const Limiter__Limits *limits = resource->limits != NULL ? resource->limits : &none;
    const Limiter__Remaining *left = resource->remaining != NULL ? resource->remaining : &nothing;
    table_cell(table, STYLE_PLAIN, span_str(resource->name));
    add_state(table, resource, text);
    add_left(table, left->_requests_case == LIMITER__REMAINING___REQUESTS_REQUESTS,
             (int64_t)left->requests, limits->requests, limits->requests_window_ms, text);
    add_left(table, left->_leases_case == LIMITER__REMAINING___LEASES_LEASES, (int64_t)left->leases,
             limits->concurrency, 0, text);
    add_left(table, left->_tokens_case == LIMITER__REMAINING___TOKENS_TOKENS, left->tokens,
             limits->tokens, limits->tokens_window_ms, text);
    if (resource->waiters > 0) {
        render_add_count(text, resource->waiters);
    }
    table_cell(table, STYLE_PLAIN, buf_span(text));
    buf_reset(text);
}

static void print_table(struct cli *cli, Limiter__Resource *const *resources, size_t n)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    struct table *table = table_new(cli->arena, columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < n; i++) {
        add_row(table, resources[i], &text);
    }
    table_add(table, &text, &cli->render);
    cli_print(cli, buf_span(&text));
}

int quota_run(struct cli *cli, char **args)
{
    (void)args;
    Limiter__PeekRequest request = LIMITER__PEEK_REQUEST__INIT;
    Limiter__PeekResponse *response;
    request.tenant = (char *)cli->config->tenant;
    struct status s = cli_call(cli, CLI_LIMITER, "Peek", &request, (void **)&response);
    if (!status_ok(s)) {
        return cli_fail(cli, "cannot ask for the quotas", s);
    }
    if (cli->form == CLI_JSON) {
        return cli_print_json(cli, response);
    }
    int code = CLI_OK;
    for (size_t i = 0; cli->form == CLI_JSONL && i < response->n_resources; i++) {
        code |= cli_print_json(cli, response->resources[i]);
    }
    if (cli->form == CLI_TEXT) {
        print_table(cli, response->resources, response->n_resources);
    }
    return code;
}

/* --- orders ------------------------------------------------------------------------------------
 */

/* The resource as it is after an order, or why there was none. */
static int print_outcome(struct cli *cli, const char *verb, const char *name, struct status s,
                         Limiter__Resource *resource)
{
    if (status_ok(s) && resource == NULL) {
        s = status_of(REASON_PROTOCOL_ERROR, "the limiter sent no resource");
    }
    if (!status_ok(s)) {
        return cli_fail(cli, arena_printf(cli->arena, "cannot %s %s", verb, name), s);
    }
    if (cli->form != CLI_TEXT) {
        return cli_print_json(cli, resource);
    }
    print_table(cli, &resource, 1);
    return CLI_OK;
}

/* "requests=30": the limits by their names, as they are written on the command line. */
struct setting {
    uint64_t requests;
    uint64_t window;
    uint64_t concurrency;
    uint64_t tokens;
    uint64_t burst;
    uint64_t interval;
};

#define SETTING(name, type, bounds)                                                                \
    {                                                                                              \
#name, CONFIG_TYPE_##type, offsetof(struct setting, name), "0", bounds, "", NULL           \
    }

static const struct config_row settings[] = {
    SETTING(requests, count, ""),         SETTING(window, duration, "1ms..24h"),
    SETTING(concurrency, count, "0..64"), SETTING(tokens, count, ""),
    SETTING(burst, count, "0..1000000"),  SETTING(interval, duration, "0s..24h"),
};

/* False: it has said what is wrong. */
static bool take_setting(struct cli *cli, const char *arg, struct setting *out)
{
    struct span value = span_str(arg), key;
    const char *error = "is none of requests, window, concurrency, tokens, burst, interval";
    if (!span_cut(&value, '=', &key) || value.at == NULL) {
        cli_complain(cli, arg, "must be LIMIT=VALUE");
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (span_eq(key, span_str(settings[i].name))) {
            error = NULL;
            if (config_parse(&settings[i], value, cli->arena, (char *)out + settings[i].offset,
                             &error)) {
                return true;
            }
        }
    }
    cli_complain(cli, arg, error);
    return false;
}

static struct setting setting_of(const Limiter__Limits *limits)
{
    return (struct setting){
        .requests = limits->requests,
        .window = limits->requests > 0 ? limits->requests_window_ms
                  : limits->tokens > 0 ? limits->tokens_window_ms
                                       : WINDOW_MS,
        .concurrency = limits->concurrency,
        .tokens = limits->tokens,
        .burst = limits->pacer_burst,
        .interval = limits->pacer_interval_ms,
    };
}

/* The pacer spreads the requests over their window, unless it was told something else. */
static void follow(const struct setting *before, struct setting *now)
{
    bool even = before->requests > 0 && before->interval == before->window / before->requests;
    if (even && now->interval == before->interval) {
        now->interval = now->requests > 0 ? now->window / now->requests : 0;
    }
}

/* What is not named stays as it is. */
int quota_set_run(struct cli *cli, char **args)
{
    char *name = args[0];
    Limiter__PeekRequest peek = LIMITER__PEEK_REQUEST__INIT;
    Limiter__PeekResponse *now;
    peek.resources = &name;
    peek.n_resources = 1;
    if (args[1] == NULL) {
        cli_complain(cli, "set",
                     "LIMIT=VALUE is missing: requests, window, concurrency, tokens, "
                     "burst or interval; 0 is no limit");
        return CLI_USAGE;
    }
    struct status s = cli_call(cli, CLI_LIMITER, "Peek", &peek, (void **)&now);
    if (!status_ok(s) || now->n_resources != 1 || now->resources[0]->limits == NULL) {
        return print_outcome(cli, "set", name, s, NULL);
    }
    const struct setting before = setting_of(now->resources[0]->limits);
    struct setting setting = before;
    for (size_t i = 1; args[i] != NULL; i++) {
        if (!take_setting(cli, args[i], &setting)) {
            return CLI_USAGE;
        }
    }
    follow(&before, &setting);
    Limiter__Limits limits = LIMITER__LIMITS__INIT;
    limits.requests = setting.requests;
    limits.requests_window_ms = setting.requests > 0 ? setting.window : 0;
    limits.concurrency = (uint32_t)setting.concurrency;
    limits.tokens = setting.tokens;
    limits.tokens_window_ms = setting.tokens > 0 ? setting.window : 0;
    limits.pacer_burst = (uint32_t)setting.burst;
    limits.pacer_interval_ms = setting.interval;
    Limiter__SetLimitsRequest request = LIMITER__SET_LIMITS_REQUEST__INIT;
    Limiter__SetLimitsResponse *response = NULL;
    request.resource = name;
    request.limits = &limits;
    request.version = now->resources[0]->limits_version + 1;
    s = cli_call(cli, CLI_LIMITER, "SetLimits", &request, (void **)&response);
    return print_outcome(cli, "set", name, s, status_ok(s) ? response->resource : NULL);
}

int quota_close_run(struct cli *cli, char **args)
{
    Limiter__ForceOpenRequest request = LIMITER__FORCE_OPEN_REQUEST__INIT;
    Limiter__ForceOpenResponse *response = NULL;
    request.resource = args[0];
    request.note = (char *)cli->config->note;
    struct status s = cli_call(cli, CLI_LIMITER, "ForceOpen", &request, (void **)&response);
    return print_outcome(cli, "close", args[0], s, status_ok(s) ? response->resource : NULL);
}

int quota_open_run(struct cli *cli, char **args)
{
    Limiter__ForceCloseRequest request = LIMITER__FORCE_CLOSE_REQUEST__INIT;
    Limiter__ForceCloseResponse *response = NULL;
    request.resource = args[0];
    struct status s = cli_call(cli, CLI_LIMITER, "ForceClose", &request, (void **)&response);
    return print_outcome(cli, "open", args[0], s, status_ok(s) ? response->resource : NULL);
}

int quota_reopen_run(struct cli *cli, char **args)
{
    Limiter__ReopenRequest request = LIMITER__REOPEN_REQUEST__INIT;
    Limiter__ReopenResponse *response = NULL;
    request.resource = args[0];
    request.force = cli->config->force;
    struct status s = cli_call(cli, CLI_LIMITER, "Reopen", &request, (void **)&response);
    return print_outcome(cli, "reopen", args[0], s, status_ok(s) ? response->resource : NULL);
}
