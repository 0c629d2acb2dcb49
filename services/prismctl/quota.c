/* quota: what the limiter has left to give. */
#include <prism/limiter/v1/limiter.pb-c.h>

#include "prismctl/command.h"

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
        CLEANUP(buf_clear) struct buf text;
        buf_init(&text, RENDER_TEXT_MOST);
        struct table *table = table_new(cli->arena, columns, ARRAY_LEN(columns));
        for (size_t i = 0; i < response->n_resources; i++) {
            add_row(table, response->resources[i], &text);
        }
        table_add(table, &text, &cli->render);
        cli_print(cli, buf_span(&text));
    }
    return code;
}
