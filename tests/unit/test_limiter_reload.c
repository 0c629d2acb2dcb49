/* A new catalogue for a limiter that is at work; over real gRPC. */
#include "limiter_service_bench.h"

#define ONE "one@us-east-2"
#define TWO "two@us-east-2"

static char path[64];

static const Limiter__Resource *peek(struct bench *b, const char *name)
{
    Limiter__PeekRequest request = LIMITER__PEEK_REQUEST__INIT;
    char *names[] = {(char *)name};
    request.resources = names;
    request.n_resources = 1;
    const Limiter__PeekResponse *reply = call(b, "Peek", &request);
    return reply->resources[0];
}

struct row {
    const char *name;
    const char *more; /* columns */
};

/* Ends with a row without name. */
static void write_catalogue(const struct row *list)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("models:\n", file);
    for (unsigned tier = 1; list->name != NULL; list++, tier++) {
        fprintf(file,
                "  - {name: %s, title: T, model_id: id.%s, tier: %u, regions: [us-east-2],\n"
                "     thinking: none, temperature: yes, context_window: 9000, max_output: 4000,\n"
                "     burn: 5, price: {input: 1, output: 1, cache_write: 1, cache_read: 1}%s}\n",
                list->name, list->name, tier, list->more != NULL ? list->more : "");
    }
    fclose(file);
}

static void start_with(struct bench *b, const struct row *list)
{
    prepare(b);
    snprintf(path, sizeof(path), "/tmp/test_limiter_reload_%d.yaml", (int)getpid());
    write_catalogue(list);
    b->config.catalogue = path;
    start(b);
}

static void end(struct bench *b)
{
    stop(b);
    unlink(path);
}

static void reload(struct bench *b, const struct row *list) PARKS
{
    write_catalogue(list);
    limiter_reload(b->limiter, task_loop());
}

static double reloads(const struct bench *b, const char *result)
{
    return metric_value(b->limiter->metrics.catalogue_reloads_total, METRIC_LABELS(result));
}

static Limiter__RenewRequest *renewal_of(struct bench *b, const Limiter__Verdict *v, uint32_t id,
                                         const char *model)
{
    Limiter__RenewRequest *request = ARENA_NEW(b->arena, Limiter__RenewRequest);
    Limiter__Lease *lease = ARENA_NEW(b->arena, Limiter__Lease);
    limiter__renew_request__init(request);
    limiter__lease__init(lease);
    lease->id = id_of(b, id);
    lease->fence = v->fence;
    lease->model = (char *)model;
    request->session = id_of(b, 900);
    request->leases = ARENA_NEW(b->arena, Limiter__Lease *);
    request->leases[request->n_leases++] = lease;
    return request;
}

task_test_real(new_limits_hold_and_an_operators_stay_above)
{
    static const struct row before[] = {{"one", ", requests_per_minute: 7"}, {"two", NULL}, {0}};
    static const struct row after[] = {{"one", ", requests_per_minute: 9, cooldown: 20s"},
                                       {"two", ", requests_per_minute: 11, concurrency: 3"},
                                       {"three", ", tokens_per_minute: 50000"},
                                       {0}};
    struct bench b;
    Limiter__SetLimitsRequest set = LIMITER__SET_LIMITS_REQUEST__INIT;
    Limiter__Limits own = LIMITER__LIMITS__INIT;
    start_with(&b, before);
    own.requests = 5;
    own.requests_window_ms = 60000;
    set.resource = TWO;
    set.version = 2;
    set.limits = &own;
    call(&b, "SetLimits", &set);
    assert_true(granted(acquire(&b, 1, ONE, "")));
    assert_int_equal(peek(&b, ONE)->remaining->requests, 6);

    reload(&b, after);
    assert_true(reloads(&b, "taken") == 1);
    const Limiter__Resource *one = peek(&b, ONE), *two = peek(&b, TWO);
    assert_int_equal(one->limits->requests, 9);
    assert_int_equal(one->remaining->requests, 8); /* what was counted still counts */
    assert_int_equal(two->limits->requests, 5);
    assert_int_equal(two->limits->concurrency, 0);
    assert_int_equal(two->limits_version, 2);
    assert_int_equal(peek(&b, "three@us-east-2")->limits->tokens, 50000);
    assert_true(granted(acquire(&b, 2, "three@us-east-2", "")));
    acquire(&b, 3, ONE, "");
    complete(&b, 3, ONE, 0, LIMITER__OUTCOME__OUTCOME_THROTTLED);
    assert_int_equal(peek(&b, ONE)->state_ms, 20000);

    reload(&b, after);
    assert_true(reloads(&b, "unchanged") == 1);
    end(&b);
}

/* Its calls are renewed and settled, and who still names it goes to the next. */
task_test_real(a_model_that_is_left_out_keeps_what_runs)
{
    static const struct row both[] = {{"one", ", concurrency: 2"}, {"two", NULL}, {0}};
    static const struct row second[] = {{"two", NULL}, {0}};
    struct bench b;
    start_with(&b, both);
    const Limiter__Verdict *running = acquire(&b, 1, ONE, "");
    reload(&b, second);
    assert_int_equal(peek(&b, ONE)->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE);

    const Limiter__Verdict *v = acquire(&b, 2, ONE " " TWO, "");
    assert_true(granted(v));
    assert_int_equal(v->candidate, 1);
    assert_int_equal(v->judged[0]->reasons[0], LIMITER__REASON__REASON_MODEL_GONE);
    now_ms += 10000; /* of 15 s */
    const Limiter__RenewResponse *renewed = call(&b, "Renew", renewal_of(&b, running, 1, ONE));
    assert_int_equal(renewed->n_lost_ids, 0);
    now_ms += 10000;
    assert_int_equal(complete(&b, 1, ONE, 100, LIMITER__OUTCOME__OUTCOME_OK)->result,
                     LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(peek(&b, ONE)->live_leases, 0);
    assert_status(call_fails(&b, "Acquire", acquire_of(&b, 3, "nobody@us-east-2", "")),
                  REASON_MODEL_UNKNOWN);

    reload(&b, both);
    assert_true(granted(acquire(&b, 4, ONE, "")));
    end(&b);
}

task_test_real(a_file_with_a_mistake_changes_nothing)
{
    static const struct row good[] = {{"one", ", requests_per_minute: 7"}, {0}};
    static const struct row bad[] = {{"one", ", requests_per_minute: many"}, {0}};
    struct bench b;
    start_with(&b, good);
    const struct catalogue *before = b.limiter->policy->catalogue;
    reload(&b, bad);
    unlink(path);
    limiter_reload(b.limiter, task_loop());
    assert_true(reloads(&b, "refused") == 2);
    assert_ptr_equal(b.limiter->policy->catalogue, before);
    assert_int_equal(peek(&b, ONE)->limits->requests, 7);
    assert_true(granted(acquire(&b, 1, ONE, "")));
    end(&b);
}

/* What the provider retired is retired, unless it is another model that is asked for now. */
task_test_real(another_model_id_is_another_model)
{
    static const struct row list[] = {{"one", NULL}, {"two", NULL}, {0}};
    static const struct row changed[] = {
        {"one", ", concurrency: 2"}, {"two", ", regional: {us-east-2: {model_id: id.2}}"}, {0}};
    struct bench b;
    start_with(&b, list);
    for (uint32_t i = 1; i <= 2; i++) {
        acquire(&b, i, i == 1 ? ONE : TWO, "");
        complete(&b, i, i == 1 ? ONE : TWO, 0, LIMITER__OUTCOME__OUTCOME_GONE);
    }
    reload(&b, changed);
    assert_int_equal(peek(&b, ONE)->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE);
    assert_int_equal(peek(&b, TWO)->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    end(&b);
}

/* A catalogue that does not fit beside what is in use is refused as a whole. */
task_test_real(new_models_need_room)
{
    static const struct row few[] = {{"one", NULL}, {0}};
    static const struct row many[] = {
        {"one", ", concurrency: 2"}, {"two", NULL}, {"three", NULL}, {"four", NULL}, {0}};
    struct bench b;
    prepare(&b);
    b.config.tenant_pools = 2;
    snprintf(path, sizeof(path), "/tmp/test_limiter_reload_%d.yaml", (int)getpid());
    write_catalogue(few);
    b.config.catalogue = path;
    write_policy(&b, "tenant_default: {requests: 20}\n");
    start(&b);
    acquire(&b, 1, ONE, "a");
    reload(&b, many);
    assert_true(reloads(&b, "refused") == 1);
    assert_int_equal(peek(&b, ONE)->limits->concurrency, 0);
    assert_int_equal(store_resources(b.limiter->store), 3); /* suite, one, tenant:a */
    assert_true(granted(acquire(&b, 2, ONE, "b")));
    end(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(new_limits_hold_and_an_operators_stay_above),
    cmocka_unit_test(a_model_that_is_left_out_keeps_what_runs),
    cmocka_unit_test(a_file_with_a_mistake_changes_nothing),
    cmocka_unit_test(another_model_id_is_another_model),
    cmocka_unit_test(new_models_need_room),
};

HARNESS_MAIN(tests)
