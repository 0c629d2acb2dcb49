/* prismctl's models and quota against a router and a limiter that answer one thing. */
#include <locale.h>
#include <prism/limiter/v1/limiter.pb-c.h>
#include <prism/router/v1/router.pb-c.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "net/rpc_server.h"
#include "prismctl/command.h"
#include "task_test.h"

static struct status list_models(struct rpc *rpc, const void *message) PARKS
{
    const Router__ListModelsRequest *request = message;
    Router__ModelPrices prices = ROUTER__MODEL_PRICES__INIT;
    prices.input_micro_usd_per_million = 3000000;
    prices.output_micro_usd_per_million = 15000000;
    Google__Protobuf__Timestamp past = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    past.seconds = 1;
    Router__Model models[3];
    Router__Model *list[] = {&models[0], &models[1], &models[2]};
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        router__model__init(&models[i]);
        models[i].tier = i < 2 ? (uint32_t)i + 1 : 0;
    }
    models[0].name = "models/sonnet-4.6";
    models[0].model_id = "us.anthropic.claude-sonnet-4-6";
    models[0].lifecycle = ROUTER__MODEL__LIFECYCLE__LIFECYCLE_ACTIVE;
    models[0].state = ROUTER__MODEL__STATE__STATE_OPEN;
    models[0].prices = &prices;
    models[1].name = "models/sonnet-4.5";
    models[1].model_id = "us.anthropic.claude-sonnet-4-5";
    models[1].lifecycle = ROUTER__MODEL__LIFECYCLE__LIFECYCLE_LEGACY;
    models[1].end_of_life_date = "2027-04-08";
    models[1].state = ROUTER__MODEL__STATE__STATE_COOLDOWN;
    models[1].state_until = &past;
    models[1].state_reason = "throttled\033[2J";
    models[2].name = "models/old";
    models[2].model_id = "old";
    models[2].lifecycle = ROUTER__MODEL__LIFECYCLE__LIFECYCLE_GONE;
    models[2].end_of_life_date = "2025-10-28";
    models[2].state = ROUTER__MODEL__STATE__STATE_GONE;
    assert_string_equal(request->tenant, task_context()->tenant);
    Router__ListModelsResponse response = ROUTER__LIST_MODELS_RESPONSE__INIT;
    response.models = list;
    response.n_models = ARRAY_LEN(list);
    response.next_page_token = "more";
    response.total_size = 7;
    return rpc_send(rpc, &response);
}

static struct status peek(struct rpc *rpc, const void *message) PARKS
{
    const Limiter__PeekRequest *request = message;
    Limiter__Limits limits = LIMITER__LIMITS__INIT;
    limits.requests = 30;
    limits.requests_window_ms = 60000;
    limits.concurrency = 5;
    limits.tokens = 120000;
    limits.tokens_window_ms = 60000;
    limits.pacer_interval_ms = 2000;
    Limiter__Remaining left = LIMITER__REMAINING__INIT;
    left._requests_case = LIMITER__REMAINING___REQUESTS_REQUESTS;
    left.requests = 28;
    left._leases_case = LIMITER__REMAINING___LEASES_LEASES;
    left.leases = 0;
    left._tokens_case = LIMITER__REMAINING___TOKENS_TOKENS;
    left.tokens = -1200;
    Limiter__Resource suite = LIMITER__RESOURCE__INIT;
    suite.name = "suite";
    suite.state = LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN;
    suite.limits = &limits;
    suite.remaining = &left;
    suite.waiters = 3;
    suite.limits_version = request->n_resources > 0 ? 4 : 0;
    Limiter__Resource model = LIMITER__RESOURCE__INIT;
    model.name = "sonnet-4.6@us-east-2";
    model.state = LIMITER__RESOURCE_STATE__RESOURCE_STATE_COOLDOWN;
    model.state_ms = 42500;
    Limiter__PeekResponse response = LIMITER__PEEK_RESPONSE__INIT;
    Limiter__Resource *all[] = {&model, &suite};
    response.resources = request->n_resources > 0 ? &all[1] : all;
    response.n_resources = request->n_resources > 0 ? 1 : ARRAY_LEN(all);
    return rpc_send(rpc, &response);
}

/* What an order came to, as far as the table shows it. */
static Limiter__Resource suite_after(Limiter__ResourceState state, char *note)
{
    Limiter__Resource suite = LIMITER__RESOURCE__INIT;
    suite.name = "suite";
    suite.state = state;
    suite.note = note;
    return suite;
}

static struct status set_limits(struct rpc *rpc, const void *message) PARKS
{
    const Limiter__SetLimitsRequest *request = message;
    if (request->version != 5) {
        return status_of(REASON_LIMITS_OUTDATED, NULL);
    }
    Limiter__Remaining left = LIMITER__REMAINING__INIT;
    left._requests_case = LIMITER__REMAINING___REQUESTS_REQUESTS;
    left.requests = 1;
    left._leases_case = LIMITER__REMAINING___LEASES_LEASES;
    left.leases = 2;
    left._tokens_case = LIMITER__REMAINING___TOKENS_TOKENS;
    left.tokens = 3;
    Limiter__Resource suite =
        suite_after(LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN, request->resource);
    suite.note = "";
    suite.limits = request->limits;
    suite.remaining = &left;
    Limiter__SetLimitsResponse response = LIMITER__SET_LIMITS_RESPONSE__INIT;
    response.resource = &suite;
    return rpc_send(rpc, &response);
}

static struct status force_open(struct rpc *rpc, const void *message) PARKS
{
    const Limiter__ForceOpenRequest *request = message;
    Limiter__Resource suite =
        suite_after(LIMITER__RESOURCE_STATE__RESOURCE_STATE_CLOSED, request->note);
    Limiter__ForceOpenResponse response = LIMITER__FORCE_OPEN_RESPONSE__INIT;
    response.resource = &suite;
    return rpc_send(rpc, &response);
}

static struct status force_close(struct rpc *rpc, const void *message) PARKS
{
    (void)rpc;
    (void)message;
    return status_of(REASON_NOT_APPLICABLE, "only models have a circuit breaker");
}

static struct status reopen(struct rpc *rpc, const void *message) PARKS
{
    const Limiter__ReopenRequest *request = message;
    Limiter__Resource suite =
        suite_after(request->force ? LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN
                                   : LIMITER__RESOURCE_STATE__RESOURCE_STATE_STATE_LOST,
                    "");
    Limiter__ReopenResponse response = LIMITER__REOPEN_RESPONSE__INIT;
    response.resource = &suite;
    return rpc_send(rpc, &response);
}

static const struct rpc_method router_methods[] = {
    {"Generate", RPC_SERVER_STREAM, NULL},    {"GenerateOnce", RPC_UNARY, NULL},
    {"ListModels", RPC_UNARY, list_models},   {"GetModel", RPC_UNARY, NULL},
    {"WatchModels", RPC_SERVER_STREAM, NULL},
};

static const struct rpc_method limiter_methods[] = {
    {"Acquire", RPC_UNARY, NULL},
    {"AcquireStream", RPC_SERVER_STREAM, NULL},
    {"Attach", RPC_BIDI, NULL},
    {"Complete", RPC_UNARY, NULL},
    {"Renew", RPC_UNARY, NULL},
    {"Cancel", RPC_UNARY, NULL},
    {"Peek", RPC_UNARY, peek},
    {"Dump", RPC_UNARY, NULL},
    {"SetLimits", RPC_UNARY, set_limits},
    {"ForceOpen", RPC_UNARY, force_open},
    {"ForceClose", RPC_UNARY, force_close},
    {"Reopen", RPC_UNARY, reopen},
    {"WatchResources", RPC_SERVER_STREAM, NULL},
};

struct run {
    struct cli cli;
    char **words;
    struct op ended;
    int code;
};

static void run_main(void *arg) PARKS
{
    struct run *run = arg;
    cli_begin(&run->cli);
    run->code = command_run(&run->cli, run->words);
    cli_end(&run->cli);
    op_done(&run->ended, STATUS_SUCCESS);
}

/* Compares exit code, stdout and stderr of a command; out and err NULL: whatever they are. */
static void expect_all(const char *words, const char *form, int code, const char *out,
                       const char *err) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    const struct rpc_service services[] = {
        {&router__router_service__descriptor, router_methods, ARRAY_LEN(router_methods), NULL},
        {&limiter__limiter_service__descriptor, limiter_methods, ARRAY_LEN(limiter_methods), NULL},
    };
    const struct rpc_server_options options = {
        .address = "127.0.0.1:0", .services = services, .n_services = ARRAY_LEN(services)};
    log_init("test", LOG_ERROR);
    struct wire *wire = wire_start(task_loop());
    struct rpc_server *server;
    assert_status_ok(rpc_server_start(wire, &options, &server));
    char *at = arena_printf(arena, "127.0.0.1:%u", rpc_server_port(server));
    char *argv[20] = {"prismctl",  "-o", (char *)form, "--router", at,
                      "--limiter", at,   "--tenant",   "acme"};
    int argc = 9;
    struct span rest = span_str(words), word;
    while (span_cut(&rest, ' ', &word)) {
        argv[argc++] = arena_string(arena, word);
    }
    char *no_environment[] = {NULL};
    struct cli_config config;
    struct run run = {0};
    assert_int_equal(command_load(argc, argv, no_environment, arena, &config, &run.words),
                     CONFIG_RUN);
    char *texts[2];
    size_t lens[2];
    run.cli = (struct cli){
        .config = &config,
        .form = cli_form_of(config.output, true),
        .render = {.width = 100},
        .out = open_memstream(&texts[0], &lens[0]),
        .err = open_memstream(&texts[1], &lens[1]),
        .wire = wire,
    };
    op_init(&run.ended, task_loop(), NULL, NULL);
    task_spawn(task_loop(), NULL, run_main, &run);
    assert_status_ok(op_wait(&run.ended));
    fclose(run.cli.out);
    fclose(run.cli.err);
    assert_int_equal(run.code, code);
    if (out != NULL && err != NULL) {
        assert_span(span_of(texts[0], lens[0]), span_str(out));
        assert_span(span_of(texts[1], lens[1]), span_str(err));
    }
    free(texts[0]);
    free(texts[1]);
    rpc_server_stop(server, 0);
    wire_stop(wire);
    metric_reset_all();
}

static void expect(const char *words, const char *form, const char *out, const char *err) PARKS
{
    expect_all(words, form, CLI_OK, out, err);
}

static void expect_code(const char *words, int code) PARKS
{
    expect_all(words, "text", code, NULL, NULL);
}

#define MODELS                                                                                     \
    "Tier  Name        Model                           Lifecycle                "                  \
    "State                                $ per million in / out\n"                                \
    "   1  sonnet-4.6  us.anthropic.claude-sonnet-4-6  active                   "                  \
    "open                                           3.00 / 15.00\n"                                \
    "   2  sonnet-4.5  us.anthropic.claude-sonnet-4-5  legacy, ends 2027-04-08  "                  \
    "cooling down (throttled<U+001B>[2J)\n"                                                        \
    "      old         old                             gone since 2025-10-28    "                  \
    "gone\n"

#define QUOTAS                                                                                     \
    "Resource              State                        "                                          \
    "Requests left  At once left               Tokens left  Waiting\n"                             \
    "sonnet-4.6@us-east-2  cooling down, 42.5 s more\n"                                            \
    "suite                 open                       "                                            \
    "28 of 30 in 1 m        0 of 5  -1,200 of 120,000 in 1 m        3\n"

task_test_real(models_are_a_table)
{
    expect("models", "text", MODELS, "prismctl: there are 7 models, these are the first\n");
}

task_test_real(quotas_are_a_table)
{
    expect("quota", "text", QUOTAS, "");
}

task_test_real(quotas_are_json)
{
    expect("quota", "jsonl",
           "{\"name\":\"sonnet-4.6@us-east-2\",\"state\":\"RESOURCE_STATE_COOLDOWN\","
           "\"stateMs\":\"42500\"}\n"
           "{\"name\":\"suite\",\"state\":\"RESOURCE_STATE_OPEN\",\"limits\":{\"requests\":\"30\","
           "\"requestsWindowMs\":\"60000\",\"concurrency\":5,\"tokens\":\"120000\","
           "\"tokensWindowMs\":\"60000\",\"pacerIntervalMs\":\"2000\"},\"remaining\":{\"requests\":"
           "\"28\",\"leases\":\"0\","
           "\"tokens\":\"-1200\"},\"waiters\":3}\n",
           "");
}

task_test_real(limits_are_set_and_what_is_not_named_stays)
{
    expect("quota set suite requests=10 window=2m burst=0", "text",
           "Resource  State   Requests left  At once left          Tokens left  Waiting\n"
           "suite     open   1 of 10 in 2 m        2 of 5  3 of 120,000 in 2 m\n",
           "");
    expect("quota set suite requests=10 window=2m tokens=0", "jsonl",
           "{\"name\":\"suite\",\"state\":\"RESOURCE_STATE_OPEN\",\"limits\":{\"requests\":\"10\","
           "\"requestsWindowMs\":\"120000\",\"concurrency\":5,\"pacerIntervalMs\":\"12000\"},"
           "\"remaining\":{\"requests\":\"1\",\"leases\":\"2\",\"tokens\":\"3\"}}\n",
           "");
    expect_code("quota set suite requests=ten", CLI_USAGE);
    expect_code("quota set suite speed=9", CLI_USAGE);
    expect_code("quota set suite concurrency=65", CLI_USAGE);
    expect_code("quota set suite", CLI_USAGE);
    expect_code("quota set", CLI_USAGE);
    expect_code("quota sett suite requests=1", CLI_USAGE);
}

task_test_real(resources_are_closed_and_opened)
{
    expect("quota close suite --note in-doubt", "jsonl",
           "{\"name\":\"suite\",\"state\":\"RESOURCE_STATE_CLOSED\",\"note\":\"in-doubt\"}\n", "");
    expect("quota reopen suite --force", "jsonl",
           "{\"name\":\"suite\",\"state\":\"RESOURCE_STATE_OPEN\"}\n", "");
    expect("quota reopen suite", "jsonl",
           "{\"name\":\"suite\",\"state\":\"RESOURCE_STATE_STATE_LOST\"}\n", "");
    expect_code("quota open suite", CLI_STATUS + STATUS_FAILED_PRECONDITION);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(models_are_a_table),
    cmocka_unit_test(quotas_are_a_table),
    cmocka_unit_test(quotas_are_json),
    cmocka_unit_test(limits_are_set_and_what_is_not_named_stays),
    cmocka_unit_test(resources_are_closed_and_opened),
};

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
