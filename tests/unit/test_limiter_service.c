/* prism-limiter's methods over real gRPC, in one process; its clock is moved by hand. */
#include "limiter_service_bench.h"

task_test_real(a_call_is_granted_and_settled)
{
    struct bench b;
    prepare(&b);
    start(&b);
    const Limiter__Verdict *v = acquire(&b, 1, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "");
    assert_true(granted(v));
    assert_int_equal(v->candidate, 0);
    assert_int_equal(v->n_judged, 2);
    assert_string_equal(v->judged[0]->resource, "sonnet-4.6@us-east-2");
    assert_string_equal(v->judged[1]->resource, "suite");
    assert_int_equal(v->judged[0]->charge, 6000); /* burn 5 */
    assert_int_equal(v->judged[1]->charge, 2000);
    assert_int_equal(v->judged[1]->remaining->requests, 29);
    assert_int_equal(v->judged[1]->remaining->leases, 4);
    assert_int_equal(v->judged[1]->remaining->tokens, 118000);
    assert_int_equal(v->judged[0]->remaining->_tokens_case,
                     LIMITER__REMAINING___TOKENS__NOT_SET); /* no grant of the provider is known */
    assert_int_equal(v->judged[1]->seq, 2);                 /* its epoch began with a write */
    assert_true(v->judged[1]->epoch != 0);
    assert_int_equal(v->lease_ms, 15000);
    assert_int_equal(v->use_by_ms, 350);
    assert_int_equal(v->fence, 1);
    assert_int_equal(v->waited_ms, 0);
    assert_int_equal(v->retry_at_ms, 0);

    const Limiter__CompleteResponse *c =
        complete(&b, 1, "sonnet-4.6@us-east-2", 200, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(c->n_settlements, 2);
    assert_int_equal(c->settlements[0]->reserved, 6000);
    assert_int_equal(c->settlements[0]->charged, 2000);
    assert_int_equal(c->settlements[1]->charged, 1200);
    assert_int_equal(c->settlements[1]->remaining->tokens, 118800);
    assert_int_equal(c->settlements[1]->remaining->leases, 5);
    c = complete(&b, 1, "sonnet-4.6@us-east-2", 200, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_REPLAYED);
    c = complete(&b, 1, "sonnet-4.6@us-east-2", 201, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_ALREADY_SETTLED);
    stop(&b);
}

task_test_real(a_full_pool_says_when_and_never_spills)
{
    struct bench b;
    prepare(&b);
    start(&b);
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(granted(acquire(&b, i, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "")));
    }
    const Limiter__Verdict *v = acquire(&b, 5, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "");
    assert_false(granted(v));
    assert_int_equal(v->n_judged, 2);
    assert_string_equal(v->judged[1]->resource, "suite");
    assert_int_equal(v->judged[1]->n_reasons, 2);
    assert_int_equal(v->judged[1]->reasons[0], LIMITER__REASON__REASON_CONCURRENCY);
    assert_int_equal(v->judged[1]->reasons[1], LIMITER__REASON__REASON_PACED);
    assert_int_equal(v->retry_at_ms, now_ms + 15000);
    assert_int_equal(v->retry_after_ms, 15000);
    assert_false(v->retry_exact);
    complete(&b, 0, "sonnet-4.6@us-east-2", 10, LIMITER__OUTCOME__OUTCOME_OK);
    v = acquire(&b, 5, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "");
    assert_int_equal(v->retry_after_ms, 2000);
    assert_true(v->retry_exact);
    now_ms += 500;
    v = acquire(&b, 5, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "");
    assert_int_equal(v->retry_after_ms, 1500);
    now_ms += 1500;
    assert_true(granted(acquire(&b, 5, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "")));
    stop(&b);
}

task_test_real(a_throttled_model_is_passed_over)
{
    struct bench b;
    prepare(&b);
    start(&b);
    acquire(&b, 1, "sonnet-4.6@us-east-2", "");
    complete(&b, 1, "sonnet-4.6@us-east-2", 0, LIMITER__OUTCOME__OUTCOME_THROTTLED);
    const Limiter__Verdict *v = acquire(&b, 2, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "");
    assert_true(granted(v));
    assert_int_equal(v->candidate, 1);
    assert_int_equal(v->n_judged, 3);
    assert_int_equal(v->judged[0]->reasons[0], LIMITER__REASON__REASON_COOLDOWN);
    assert_int_equal(v->judged[0]->retry_at_ms, now_ms + 60000);
    v = acquire(&b, 3, "sonnet-4.6@us-east-2", "");
    assert_false(granted(v));
    assert_int_equal(v->retry_after_ms, 60000);
    assert_true(v->retry_exact);
    complete(&b, 2, "sonnet-5@us-east-2", 0, LIMITER__OUTCOME__OUTCOME_GONE);
    v = acquire(&b, 4, "sonnet-5@us-east-2", "");
    assert_int_equal(v->judged[0]->reasons[0], LIMITER__REASON__REASON_MODEL_GONE);
    assert_int_equal(v->retry_at_ms, 0);
    stop(&b);
}

task_test_real(tenants_have_pools_where_the_policy_says_so)
{
    struct bench b;
    prepare(&b);
    write_policy(&b, "suite: {requests: 20, window: 120s}\n"
                     "tenants:\n"
                     "  acme: {concurrency: 1, requests: 10, burst: 1, interval: 500ms}\n"
                     "  free: {}\n");
    start(&b);
    assert_int_equal(b.limiter->suite->limits.requests, 20);
    assert_int_equal(b.limiter->suite->limits.window_ms, 120000);
    assert_int_equal(b.limiter->suite->limits.tokens, 0);
    const Limiter__Verdict *v = acquire(&b, 1, "haiku-4.5@us-east-2", "acme");
    assert_true(granted(v));
    assert_int_equal(v->n_judged, 3);
    assert_string_equal(v->judged[2]->resource, "tenant:acme");
    v = acquire(&b, 2, "haiku-4.5@us-east-2", "acme");
    assert_false(granted(v));
    assert_int_equal(v->judged[1]->n_reasons, 0);
    assert_int_equal(v->judged[2]->n_reasons, 2);
    assert_int_equal(acquire(&b, 3, "haiku-4.5@us-east-2", "other")->n_judged, 2);
    /* The caller's own tenant, where the request names none. */
    snprintf(task_context()->tenant, sizeof(task_context()->tenant), "acme");
    assert_int_equal(acquire(&b, 4, "haiku-4.5@us-east-2", "")->n_judged, 3);
    memset(task_context(), 0, sizeof(struct task_context));
    stop(&b);
}

task_test_real(ids_sessions_and_leases)
{
    struct bench b;
    prepare(&b);
    start(&b);
    const Limiter__Verdict *v = acquire(&b, 1, "sonnet-4.6@us-east-2", "");
    uint64_t fence = v->fence;
    now_ms += 100;
    Limiter__AcquireRequest *again = acquire_of(&b, 1, "sonnet-4.6@us-east-2", "");
    again->session = id_of(&b, 901);
    v = ((const Limiter__AcquireResponse *)call(&b, "Acquire", again))->verdict;
    assert_true(granted(v));
    assert_true(v->replayed);
    assert_int_equal(v->lease_ms, 14900);
    assert_int_equal(v->use_by_ms, 250);
    assert_int_equal(v->holder.len, 16);
    assert_memory_equal(v->holder.data, id_of(&b, 900).data, 16);

    Limiter__Lease leases[4];
    Limiter__Lease *list[] = {&leases[0], &leases[1], &leases[2], &leases[3]};
    for (uint32_t i = 0; i < ARRAY_LEN(leases); i++) {
        limiter__lease__init(&leases[i]);
        leases[i].id = id_of(&b, 1 + i);
        leases[i].fence = fence;
        leases[i].model = i == 2 ? "nobody" : "sonnet-4.6@us-east-2";
    }
    leases[3].id.len = 3;
    Limiter__RenewRequest request = LIMITER__RENEW_REQUEST__INIT;
    request.session = id_of(&b, 900);
    request.leases = list;
    request.n_leases = ARRAY_LEN(list);
    now_ms += 14000;
    const Limiter__RenewResponse *r = call(&b, "Renew", &request);
    assert_int_equal(r->lease_ms, 15000);
    assert_int_equal(r->n_lost_ids, 3); /* all but the first */
    for (size_t i = 0; i < r->n_lost_ids; i++) {
        assert_memory_not_equal(r->lost_ids[i].data, leases[0].id.data, 3);
    }
    now_ms += 15000;
    request.n_leases = 1;
    r = call(&b, "Renew", &request);
    assert_int_equal(r->n_lost_ids, 1);

    Limiter__CancelRequest cancel = LIMITER__CANCEL_REQUEST__INIT;
    cancel.id = id_of(&b, 50);
    const Limiter__CancelResponse *c = call(&b, "Cancel", &cancel);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_UNKNOWN_ID);
    v = acquire(&b, 50, "sonnet-4.6@us-east-2", "");
    assert_false(granted(v));
    assert_int_equal(v->n_reasons, 1);
    assert_int_equal(v->reasons[0], LIMITER__REASON__REASON_CANCELLED);
    acquire(&b, 51, "sonnet-4.6@us-east-2", "");
    cancel.id = id_of(&b, 51);
    cancel.dispatched = true;
    c = call(&b, "Cancel", &cancel);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(c->settlements[1]->charged, 2000);
    stop(&b);
}

task_test_real(answers_that_were_seen_predict_the_next)
{
    struct bench b;
    prepare(&b);
    b.config.suite_requests = 0;
    start(&b);
    for (uint32_t i = 0; i < 20; i++) {
        const Limiter__Verdict *v = acquire(&b, i, "sonnet-4.6@us-east-2", "");
        assert_true(granted(v));
        assert_int_equal(v->judged[1]->charge, 2000);
        complete(&b, i, "sonnet-4.6@us-east-2", i == 0 ? 900 : 100 + i,
                 LIMITER__OUTCOME__OUTCOME_OK);
        complete(&b, 1000 + i, "sonnet-4.6@us-east-2", 5, LIMITER__OUTCOME__OUTCOME_FAILED);
    }
    const Limiter__Verdict *v = acquire(&b, 30, "sonnet-4.6@us-east-2", "");
    assert_int_equal(v->judged[1]->charge, 1000 + 119);
    assert_int_equal(v->judged[0]->charge, 2000); /* no less than the provider's own check */
    assert_int_equal(acquire(&b, 31, "sonnet-4.6@us-east-2", "other")->judged[1]->charge, 2000);
    stop(&b);
}

task_test_real(looking_changes_nothing)
{
    struct bench b;
    prepare(&b);
    write_policy(&b, "tenant_default: {requests: 5}\n");
    start(&b);
    acquire(&b, 1, "sonnet-4.6@us-east-2", "");
    Limiter__AcquireRequest *ask = acquire_of(&b, 2, "sonnet-4.6@us-east-2", "");
    Limiter__PeekRequest request = LIMITER__PEEK_REQUEST__INIT;
    request.candidates = ask->candidates;
    request.n_candidates = ask->n_candidates;
    for (int i = 0; i < 2; i++) {
        const Limiter__PeekResponse *reply = call(&b, "Peek", &request);
        assert_true(granted(reply->verdict));
        assert_int_equal(reply->verdict->fence, 0);
        assert_int_equal(reply->verdict->judged[1]->remaining->requests, 29);
        assert_int_equal(reply->n_resources, 3);
        assert_string_equal(reply->resources[0]->name, "sonnet-4.6@us-east-2");
        assert_string_equal(reply->resources[1]->name, "suite");
        assert_int_equal(reply->resources[1]->live_leases, 1);
        assert_int_equal(reply->resources[1]->limits->pacer_interval_ms, 2000);
        assert_int_equal(reply->resources[1]->limits->pacer_burst, 5);
        assert_string_equal(reply->resources[2]->name, "tenant:default");
        assert_int_equal(reply->now_ms, now_ms);
    }
    complete(&b, 1, "sonnet-4.6@us-east-2", 0, LIMITER__OUTCOME__OUTCOME_THROTTLED);
    request.n_candidates = 0;
    const Limiter__PeekResponse *reply = call(&b, "Peek", &request);
    assert_null(reply->verdict);
    assert_int_equal(reply->n_resources, 1 + 5 * 2 + 1);
    assert_int_equal(reply->resources[1]->kind, LIMITER__RESOURCE_KIND__RESOURCE_KIND_MODEL);
    assert_int_equal(reply->resources[1]->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_COOLDOWN);
    assert_int_equal(reply->resources[1]->state_ms, 60000);
    assert_int_equal(reply->resources[1]->cooldown_level, 1);
    char *names[] = {"sonnet-5@us-east-2", "tenant:acme"};
    request.resources = names;
    request.n_resources = 2;
    reply = call(&b, "Peek", &request);
    assert_int_equal(reply->n_resources, 2);
    assert_int_equal(reply->resources[1]->limits->requests, 5);
    names[1] = "nobody";
    assert_status(call_fails(&b, "Peek", &request), REASON_RESOURCE_UNKNOWN);

    Limiter__DumpRequest dump = LIMITER__DUMP_REQUEST__INIT;
    dump.resource = "suite";
    const Limiter__DumpResponse *d = call(&b, "Dump", &dump);
    assert_non_null(strstr(d->text, "resource=suite kind=pool state=OPEN"));
    assert_non_null(strstr(d->text, "audit=granted"));
    assert_non_null(strstr(d->text, "audit=settled"));
    assert_null(strstr(d->text, "resource=sonnet"));
    assert_string_equal(d->next_page_token, "");
    dump.resource = "";
    dump.tenant = "acme";
    d = call(&b, "Dump", &dump);
    assert_non_null(strstr(d->text, "resource=sonnet-4.6@us-east-2 generation=2"));
    assert_non_null(strstr(d->text, "resource=tenant:acme"));
    assert_null(strstr(d->text, "resource=tenant:default"));
    stop(&b);
}

task_test_real(after_a_start_nothing_is_granted_for_a_time)
{
    struct bench b;
    prepare(&b);
    b.config.assume_new_store = false;
    b.config.time_scale = 60;
    b.config.lease_ttl = 30000; /* 500 ms */
    start(&b);
    const Limiter__Verdict *v = acquire(&b, 1, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "");
    assert_false(granted(v));
    assert_int_equal(v->judged[0]->reasons[0], LIMITER__REASON__REASON_STATE_LOST);
    assert_int_equal(v->retry_after_ms, 1000 + 500); /* the guard is not scaled */
    assert_true(v->retry_exact);
    now_ms += v->retry_after_ms;
    v = acquire(&b, 1, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "");
    assert_true(granted(v));
    assert_int_equal(v->lease_ms, 500);
    complete(&b, 1, "sonnet-4.6@us-east-2", 0, LIMITER__OUTCOME__OUTCOME_THROTTLED);
    assert_int_equal(acquire(&b, 2, "sonnet-4.6@us-east-2", "")->retry_after_ms, 1000);
    stop(&b);
}

task_test_real(malformed_requests_are_refused_by_field)
{
    struct bench b;
    prepare(&b);
    start(&b);
    Limiter__AcquireRequest *r = acquire_of(&b, 1, "sonnet-4.6@us-east-2", "");
    struct status s;
#define REFUSED(wanted)                                                                            \
    s = call_fails(&b, "Acquire", r);                                                              \
    assert_status(s, REASON_BAD_REQUEST);                                                          \
    assert_string_equal(s.more->fields[0].subject, wanted)
    r->id.len = 15;
    REFUSED("id");
    r->id.len = 16;
    r->session.len = 0;
    REFUSED("session");
    r->session = id_of(&b, 2);
    r->tenant = "No!";
    REFUSED("tenant");
    r->tenant = "";
    r->candidates[0]->tokens->max_tokens = 0;
    REFUSED("candidates.tokens.max_tokens");
    r->candidates[0]->tokens->max_tokens = 1000000001;
    REFUSED("candidates.tokens");
    r->candidates[0]->tokens = NULL;
    REFUSED("candidates.tokens.max_tokens");
    r->n_candidates = 0;
    REFUSED("candidates");
    s = call_fails(&b, "Acquire", acquire_of(&b, 1, "sonnet-4.6@us-east-2 nobody", ""));
    assert_status(s, REASON_MODEL_UNKNOWN);
    assert_string_equal(s.more->resource_name, "nobody");

    Limiter__CompleteRequest c = LIMITER__COMPLETE_REQUEST__INIT;
    c.id = id_of(&b, 1);
    c.model = "sonnet-4.6@us-east-2";
    assert_status(call_fails(&b, "Complete", &c), REASON_BAD_REQUEST);
    c.outcome = LIMITER__OUTCOME__OUTCOME_OK;
    c.model = "nobody";
    assert_status(call_fails(&b, "Complete", &c), REASON_MODEL_UNKNOWN);
    assert_int_equal(b.limiter->suite->header.seq, 1); /* the beginning of its epoch */
    stop(&b);
}

task_test_real(full_tables_answer_that_they_are)
{
    struct bench b;
    prepare(&b);
    b.config.records = 64;
    b.config.tenant_pools = 2;
    b.config.suite_requests = b.config.suite_concurrency = b.config.suite_tokens = 0;
    write_policy(&b, "tenant_default: {requests: 100}\n");
    start(&b);
    for (uint32_t i = 0; i < 64; i++) {
        assert_true(granted(acquire(&b, i, "haiku-4.5@us-east-2", i % 2 ? "a" : "b")));
        now_ms += 1000;
    }
    struct status s = call_fails(&b, "Acquire", acquire_of(&b, 64, "haiku-4.5@us-east-2", "a"));
    assert_status(s, REASON_OVERLOADED);
    assert_int_equal(s.retry_after_ms, 1000);
    assert_status(call_fails(&b, "Acquire", acquire_of(&b, 1, "haiku-4.5@us-east-2", "c")),
                  REASON_OVERLOADED);
    /* The first is forgotten an hour and ten minutes after its grant, the pools some later. */
    now_ms = 5000000 + 4200000;
    assert_true(granted(acquire(&b, 64, "haiku-4.5@us-east-2", "a")));
    now_ms += 2 * 3600000;
    assert_true(granted(acquire(&b, 65, "haiku-4.5@us-east-2", "c")));
    assert_null(store_resource(b.limiter->store, SPAN("tenant:b"))); /* it made room */
    assert_non_null(store_resource(b.limiter->store, SPAN("tenant:a")));
    stop(&b);
}

static void test_policies_that_are_wrong_are_refused_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"suite: {requests: 0}\n", ":1: requests"},
        {"suite: {windows: 1s}\n", ":1: \"windows\" is not known here"},
        {"tenants:\n  Acme: {}\n", ":2: a tenant is"},
        {"tenants:\n  acme: {concurrency: 65}\n", ":2: concurrency"},
        {"tenants: [a]\n", ":1: at most"},
        {"pools: {}\n", ":1: \"pools\" is not known here"},
        {"- a\n", ":1: a mapping"},
        {"suite: {requests: 1\n", ":"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        char error_text[256] = "";
        struct policy *policy = NULL;
        prepare(&b);
        write_policy(&b, cases[i].text);
        struct status s = policy_new(&b.config, error_text, &policy);
        print_message("# %s", cases[i].text);
        assert_status(s, REASON_CONFIG_INVALID);
        assert_non_null(strstr(error_text, cases[i].error));
        unlink(b.policy);
        assert_status(policy_new(&b.config, error_text, &policy), REASON_FILE_UNREADABLE);
        arena_free(b.arena);
    }
    struct bench b;
    char error_text[256];
    struct policy *policy;
    prepare(&b);
    b.config.guard = 499;
    assert_status(policy_new(&b.config, error_text, &policy), REASON_CONFIG_INVALID);
    arena_free(b.arena);
}

static const struct CMUnitTest tests[] = {
    ON_BOTH_HOMES(a_call_is_granted_and_settled),
    ON_BOTH_HOMES(a_full_pool_says_when_and_never_spills),
    ON_BOTH_HOMES(a_throttled_model_is_passed_over),
    ON_BOTH_HOMES(tenants_have_pools_where_the_policy_says_so),
    ON_BOTH_HOMES(ids_sessions_and_leases),
    ON_BOTH_HOMES(answers_that_were_seen_predict_the_next),
    ON_BOTH_HOMES(looking_changes_nothing),
    ON_BOTH_HOMES(after_a_start_nothing_is_granted_for_a_time),
    ON_BOTH_HOMES(malformed_requests_are_refused_by_field),
    cmocka_unit_test(full_tables_answer_that_they_are),
    cmocka_unit_test(test_policies_that_are_wrong_are_refused_by_line),
};

HARNESS_MAIN(tests)
