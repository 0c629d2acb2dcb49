/* Credentials under traffic: they expire, are revoked, are missing, and no call fails for it that
 * could have been served. */
#include <stdio.h>
#include <string.h>

#include "aws_world.h"
#include "base/clock.h"
#include "router_fixture.h"
#include "simulator/sigv4_check.h"

#define RING_MOST 256
#define HELLO                                                                                      \
    "{'type':'message_start','message':{'usage':{'input_tokens':10,'output_tokens':1}}}",          \
        "{'type':'content_block_start','index':0,'content_block':{'type':'text','text':''}}",      \
        "{'type':'content_block_delta','index':0,'delta':{'type':'text_delta','text':'Hello'}}",   \
        "{'type':'content_block_stop','index':0}",                                                 \
        "{'type':'message_delta','delta':{'stop_reason':'end_turn'},'usage':{'output_tokens':9}}", \
        "{'type':'message_stop'}"

/* A container that hands out new keys each time, a Bedrock that knows until when they are good, and
 * a router between them. */
struct world {
    struct aws_world aws;
    struct router_fixture f;
    uint64_t good_until[RING_MOST]; /* wall clock, by the number of a key */
    size_t issued;
    bool always_the_first;
    char access_key[32];
    char secret_key[32];
    size_t refused;
    size_t answered;
    struct fake_reply refusal;
};

static void issue(struct aws_world *aws)
{
    struct world *w = aws->arg;
    size_t n = w->always_the_first && w->issued > 0 ? 0 : w->issued++;
    assert_true(n < RING_MOST);
    snprintf(w->access_key, sizeof(w->access_key), "AKID-%zu", n);
    snprintf(w->secret_key, sizeof(w->secret_key), "secret-%zu", n);
    aws->access_key = w->access_key;
    aws->secret_key = w->secret_key;
    w->good_until[n] = clock_wall_ms() + aws->lives_ms;
}

static const struct fake_reply *refuse(struct world *w, const char *exception, const char *text)
{
    w->refused++;
    w->refusal = (struct fake_reply){.status = 403, .exception = exception, .message = text};
    return &w->refusal;
}

static const struct fake_reply *judge(void *arg, struct http_exchange *exchange)
{
    struct world *w = arg;
    struct arena *arena = http_exchange_arena(exchange);
    struct span claim = http_exchange_header(exchange, "authorization"), key, region;
    claim = span_from(claim, span_find(claim, SPAN("AKID-")) + strlen("AKID-"));
    uint64_t n;
    assert_true(span_cut(&claim, '/', &key) && span_parse_u64(key, &n) && n < w->issued);
    struct sigv4_check_request request = {.method = http_exchange_method(exchange),
                                          .path = http_exchange_path(exchange),
                                          .query = http_exchange_query(exchange),
                                          .body = http_exchange_body(exchange)};
    request.n_headers = http_exchange_headers(exchange, &request.headers);
    struct sigv4_check_keys keys = {
        .access_key = span_str(arena_printf(arena, "AKID-%llu", (unsigned long long)n)),
        .secret_key = span_str(arena_printf(arena, "secret-%llu", (unsigned long long)n))};
    struct refusal refusal = sigv4_check(&request, &keys, clock_wall_ms() / 1000, arena, &region);
    if (refusal.code != 0) {
        fail_msg("%s: %s", refusal.error, refusal.message);
    }
    if (clock_wall_ms() >= w->good_until[n]) {
        return refuse(w, "ExpiredTokenException",
                      "The security token included in the request is expired");
    }
    w->answered++;
    return NULL;
}

static void use_credentials(struct router_fixture *f, struct credentials *credentials) PARKS
{
    bedrock_free(f->router.bedrock);
    credentials_free(f->router.credentials);
    f->router.credentials = credentials;
    f->router.bedrock = bedrock_new(&(struct bedrock_options){
        .http = f->router.http, .credentials = credentials, .endpoint = f->bedrock.url});
}

static void start(struct world *w, uint64_t lives_ms)
{
    memset(w, 0, sizeof(*w));
    aws_world_start(&w->aws);
    w->aws.before = issue;
    w->aws.arg = w;
    w->aws.lives_ms = lives_ms;
    aws_world_set("AWS_CONTAINER_CREDENTIALS_FULL_URI",
                  arena_printf(w->aws.arena, "%s/v1/credentials", w->aws.url));
    router_fixture_start(&w->f);
    w->f.bedrock.instead = judge;
    w->f.bedrock.arg = w;
    static struct fake_reply hello;
    hello = (struct fake_reply){.events = router_fixture_events(&w->f, HELLO, NULL)};
    w->f.bedrock.replies = &hello;
    w->f.bedrock.n_replies = 1;
    use_credentials(&w->f, credentials_new(task_loop(), &(struct credentials_options){
                                                            .http = w->f.router.http}));
}

static void stop(struct world *w) PARKS
{
    for (size_t i = 0; i < w->f.limiter.n_reports; i++) {
        assert_int_equal(w->f.limiter.reports[i].outcome, LIMITER__OUTCOME__OUTCOME_OK);
    }
    router_fixture_stop(&w->f);
    aws_world_stop(&w->aws);
}

static void expect_served(struct world *w) PARKS
{
    assert_status_ok(router_fixture_generate(&w->f));
    assert_int_equal(w->f.completed->metadata->n_attempts, 1);
}

/* Keys that live 800 ms, in 50 calls over some seconds. Those that Bedrock sees too late, which
 * needs a slow machine, are told so and renewed. */
task_test_real(keys_that_expire_in_mid_traffic_fail_no_call)
{
    static struct world w;
    start(&w, 800);
    for (size_t i = 0; i < 50; i++) {
        expect_served(&w);
        assert_status_ok(task_sleep_ms(50));
    }
    assert_int_equal(w.answered, 50);
    assert_in_range(w.issued, 3, RING_MOST);
    print_message("50 calls over %zu sets of keys, 0 failed, %zu sent again\n", w.issued,
                  w.refused);
    stop(&w);
}

task_test_real(keys_that_are_revoked_fail_no_call)
{
    static struct world w;
    start(&w, 3600000);
    for (size_t i = 0; i < 30; i++) {
        if (i % 3 == 2) {
            w.good_until[w.issued - 1] = 0;
        }
        expect_served(&w);
    }
    assert_int_equal(w.answered, 30);
    assert_int_equal(w.refused, 10);
    assert_int_equal(w.issued, 11);
    stop(&w);
}

static void one_call(void *arg)
{
    struct world *w = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_new(4u << 20);
    Router__GenerateOnceRequest request = ROUTER__GENERATE_ONCE_REQUEST__INIT;
    request.tenant = "acme";
    request.generation = w->f.generation;
    void *reply = NULL;
    assert_status_ok(rpc_call(w->f.channel, &router__router_service__descriptor, "GenerateOnce",
                              &request, arena, &reply));
}

task_test_real(all_calls_under_way_share_one_renewal)
{
    static struct world w;
    start(&w, 3600000);
    expect_served(&w);
    w.good_until[0] = 0;
    struct group group;
    group_init(&group);
    for (size_t i = 0; i < 40; i++) {
        group_spawn(&group, "caller", one_call, &w);
    }
    assert_status_ok(group_wait(&group));
    assert_int_equal(w.answered, 41);
    assert_in_range(w.refused, 1, 40);
    assert_int_equal(w.issued, 2);
    stop(&w);
}

/* One look for others, one repeated request when there are some, and the caller is told; the next
 * tier, which would say the same, is left alone. */
task_test_real(keys_that_cannot_be_renewed_end_the_call)
{
    static struct world w;
    start(&w, 3600000);
    w.always_the_first = true;
    expect_served(&w);
    w.aws.lives_ms = 0; /* for Bedrock; the container says something else */
    w.aws.expiration = "2099-01-01T00:00:00Z";
    w.good_until[0] = 0;
    for (size_t i = 0; i < 3; i++) {
        struct status s = router_fixture_generate(&w.f);
        assert_status(s, REASON_CREDENTIALS_EXPIRED);
        assert_int_equal(s.code, STATUS_UNAUTHENTICATED);
        assert_non_null(strstr(s.detail, "is expired"));
    }
    assert_int_equal(w.refused, 3);
    assert_int_equal(w.aws.requests, 2); /* at the start, and for the first of these */

    use_credentials(&w.f, credentials_fixed(&(struct credentials_values){
                              .access_key = SPAN("AKID-0"), .secret_key = SPAN("secret-0")}));
    assert_status(router_fixture_generate(&w.f), REASON_CREDENTIALS_EXPIRED);
    assert_int_equal(w.refused, 4);
    fake_limiter_wait(&w.f.limiter, 5);
    for (size_t i = 1; i < 5; i++) {
        assert_int_equal(w.f.limiter.reports[i].outcome, LIMITER__OUTCOME__OUTCOME_CALLER);
        w.f.limiter.reports[i].outcome = LIMITER__OUTCOME__OUTCOME_OK;
    }
    stop(&w);
}

task_test_real(without_credentials_nothing_is_sent_and_all_sources_are_named)
{
    static struct world w;
    start(&w, 3600000);
    expect_served(&w);
    aws_world_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", NULL);
    aws_world_set("AWS_EC2_METADATA_DISABLED", "true");
    use_credentials(
        &w.f, credentials_new(task_loop(), &(struct credentials_options){.http = w.f.router.http}));
    struct status s = router_fixture_generate(&w.f);
    assert_status(s, REASON_CREDENTIALS_MISSING);
    assert_int_equal(s.code, STATUS_UNAUTHENTICATED);
    assert_non_null(strstr(s.detail, "environment: "));
    assert_non_null(strstr(s.detail, "instance metadata: "));
    fake_limiter_wait(&w.f.limiter, 2);
    assert_true(w.f.limiter.reports[1].cancel); /* nothing was used */
    w.f.limiter.reports[1].outcome = LIMITER__OUTCOME__OUTCOME_OK;

    aws_world_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/");
    use_credentials(
        &w.f, credentials_new(task_loop(), &(struct credentials_options){.http = w.f.router.http}));
    s = router_fixture_generate(&w.f);
    assert_status(s, REASON_CREDENTIALS_UNAVAILABLE);
    assert_in_range(s.retry_after_ms, 1, 2000);
    fake_limiter_wait(&w.f.limiter, 3);
    w.f.limiter.reports[2].outcome = LIMITER__OUTCOME__OUTCOME_OK;
    assert_int_equal(w.answered, 1);
    stop(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(keys_that_expire_in_mid_traffic_fail_no_call),
    cmocka_unit_test(keys_that_are_revoked_fail_no_call),
    cmocka_unit_test(all_calls_under_way_share_one_renewal),
    cmocka_unit_test(keys_that_cannot_be_renewed_end_the_call),
    cmocka_unit_test(without_credentials_nothing_is_sent_and_all_sources_are_named),
};

HARNESS_MAIN(tests)
