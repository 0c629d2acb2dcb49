/* models: the catalogue as the router sees it now. */
#include <prism/router/v1/router.pb-c.h>

#include "base/clock.h"
#include "prismctl/command.h"
#include "prismctl/names.h"

#define PAGE 200 /* the most there is in one */

static const struct table_column columns[] = {
    {"Tier", true, 0},       {"Name", false, 24},  {"Model", false, 56},
    {"Lifecycle", false, 0}, {"State", false, 80}, {"$ per million in / out", true, 0},
};

static void add_lifecycle(struct table *table, const Router__Model *model, struct buf *text)
{
    static const char *const names[] = {"unknown", "active", "legacy", "gone"};
    size_t lifecycle = model->lifecycle;
    buf_add_str(text, lifecycle < ARRAY_LEN(names) ? names[lifecycle] : "unknown");
    if (model->end_of_life_date[0] != '\0') {
        bool gone = lifecycle == ROUTER__MODEL__LIFECYCLE__LIFECYCLE_GONE;
        buf_addf(text, "%s%s", gone ? " since " : ", ends ", model->end_of_life_date);
    }
    enum style style = lifecycle == ROUTER__MODEL__LIFECYCLE__LIFECYCLE_LEGACY ? STYLE_YELLOW
                       : lifecycle == ROUTER__MODEL__LIFECYCLE__LIFECYCLE_GONE ? STYLE_RED
                                                                               : STYLE_PLAIN;
    table_cell(table, style, buf_span(text));
    buf_reset(text);
}

static void add_until(struct buf *text, const Google__Protobuf__Timestamp *until)
{
    uint64_t now_ms = clock_wall_ms();
    uint64_t until_ms = (uint64_t)until->seconds * 1000 + (uint64_t)until->nanos / 1000000;
    if (until->seconds > 0 && until_ms > now_ms) {
        buf_add_str(text, ", ");
        render_add_time(text, until_ms - now_ms);
        buf_add_str(text, " more");
    }
}

static void add_one_state(struct buf *text, size_t state, const Google__Protobuf__Timestamp *until,
                          const char *reason)
{
    static const char *const names[] = {"unknown",   "open", "cooling down", "breaker open",
                                        "half open", "gone", "closed"};
    buf_add_str(text, state < ARRAY_LEN(names) ? names[state] : "unknown");
    if (until != NULL) {
        add_until(text, until);
    }
    if (reason[0] != '\0') {
        buf_addf(text, " (%s)", reason);
    }
}

static bool regions_differ(const Router__Model *model)
{
    for (size_t i = 1; i < model->n_calls; i++) {
        if (model->calls[i]->state != model->calls[0]->state) {
            return true;
        }
    }
    return false;
}

static void add_state(struct table *table, const Router__Model *model, struct buf *text)
{
    if (regions_differ(model)) {
        for (size_t i = 0; i < model->n_calls; i++) {
            const Router__ModelRegion *in = model->calls[i];
            buf_addf(text, "%s%s: ", i > 0 ? "; " : "", in->region);
            add_one_state(text, in->state, in->state_until, in->state_reason);
        }
    } else {
        add_one_state(text, model->state, model->state_until, model->state_reason);
    }
    bool open = model->state == ROUTER__MODEL__STATE__STATE_OPEN;
    bool known = model->state != ROUTER__MODEL__STATE__STATE_UNSPECIFIED;
    table_cell(table,
               open && !regions_differ(model) ? STYLE_GREEN
               : open                         ? STYLE_YELLOW
               : known                        ? STYLE_RED
                                              : STYLE_PLAIN,
               buf_span(text));
    buf_reset(text);
}

static void add_price(struct table *table, const Router__ModelPrices *prices, struct buf *text)
{
    if (prices != NULL && prices->output_micro_usd_per_million > 0) {
        buf_addf(text, "%.2f / %.2f", (double)prices->input_micro_usd_per_million / 1e6,
                 (double)prices->output_micro_usd_per_million / 1e6);
    }
    table_cell(table, STYLE_PLAIN, buf_span(text));
    buf_reset(text);
}

static void print_table(struct cli *cli, const Router__ListModelsResponse *response)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    struct table *table = table_new(cli->arena, columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < response->n_models; i++) {
        const Router__Model *model = response->models[i];
        if (model->tier > 0) {
            buf_addf(&text, "%u", model->tier);
        }
        table_cell(table, STYLE_PLAIN, buf_span(&text));
        buf_reset(&text);
        table_cell(table, STYLE_BOLD, short_model(model->name));
        table_cell(table, STYLE_PLAIN, span_str(model->model_id));
        add_lifecycle(table, model, &text);
        add_state(table, model, &text);
        add_price(table, model->prices, &text);
    }
    table_add(table, &text, &cli->render);
    cli_print(cli, buf_span(&text));
}

int models_run(struct cli *cli, char **args)
{
    (void)args;
    Router__ListModelsRequest request = ROUTER__LIST_MODELS_REQUEST__INIT;
    Router__ListModelsResponse *response;
    request.tenant = (char *)cli->config->tenant;
    request.page_size = PAGE;
    struct status s = cli_call(cli, CLI_ROUTER, "ListModels", &request, (void **)&response);
    if (!status_ok(s)) {
        return cli_fail(cli, "cannot list the models", s);
    }
    int code = CLI_OK;
    if (cli->form == CLI_JSON) {
        return cli_print_json(cli, response);
    }
    if (cli->form == CLI_TEXT) {
        print_table(cli, response);
    }
    for (size_t i = 0; cli->form == CLI_JSONL && i < response->n_models; i++) {
        code |= cli_print_json(cli, response->models[i]);
    }
    if (response->next_page_token[0] != '\0') {
        cli_note(cli, "there are %d models, these are the first", response->total_size);
    }
    return code;
}
