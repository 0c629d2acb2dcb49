/* prism-limiter that is followed by another one, and what operators tell it; over real gRPC. */
#include <fcntl.h>
#include <stdlib.h>

#include "codec/hash.h"
#include "limiter_service_bench.h"

static char folder[64], state_path[96], copy_path[96];

static void prepare_with_state(struct bench *b)
{
    prepare(b);
    snprintf(folder, sizeof(folder), "/tmp/test_limiter_restart.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(state_path, sizeof(state_path), "%s/" STATE_FILE_NAME, folder);
    snprintf(copy_path, sizeof(copy_path), "%s/copy", folder);
    b->config.state_dir = on_redis ? "" : folder;
    b->config.records = 1024;
}

static void stop_with_state(struct bench *b)
{
    stop(b);
    unlink(state_path);
    unlink(copy_path);
    rmdir(folder);
}

/* The process is gone and another one begins, which trusts nobody's word that nothing runs. */
static void follow(struct bench *b)
{
    halt(b);
    b->config.assume_new_store = false;
    start(b);
}

static void copy_file(const char *from, const char *to)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 20);
    struct span whole = harness_read(arena, from);
    FILE *file = fopen(to, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(whole.at, 1, whole.len, file), whole.len);
    fclose(file);
}

static const Limiter__Resource *peek(struct bench *b, const char *name)
{
    Limiter__PeekRequest request = LIMITER__PEEK_REQUEST__INIT;
    char *names[] = {(char *)name};
    request.resources = names;
    request.n_resources = 1;
    const Limiter__PeekResponse *reply = call(b, "Peek", &request);
    return reply->resources[0];
}

static Limiter__ReopenRequest reopen_of(const char *resource, bool force)
{
    Limiter__ReopenRequest request = LIMITER__REOPEN_REQUEST__INIT;
    request.resource = (char *)resource;
    request.force = force;
    return request;
}

static const Limiter__Resource *close_resource(struct bench *b, const char *name, const char *note)
{
    Limiter__ForceOpenRequest request = LIMITER__FORCE_OPEN_REQUEST__INIT;
    request.resource = (char *)name;
    request.note = (char *)note;
    return ((const Limiter__ForceOpenResponse *)call(b, "ForceOpen", &request))->resource;
}

static Limiter__SetLimitsRequest *limits_of(struct bench *b, const char *name, uint64_t version)
{
    Limiter__SetLimitsRequest *request = ARENA_NEW(b->arena, Limiter__SetLimitsRequest);
    limiter__set_limits_request__init(request);
    request->limits = ARENA_NEW(b->arena, Limiter__Limits);
    limiter__limits__init(request->limits);
    request->resource = (char *)name;
    request->version = version;
    request->limits->requests = 10;
    request->limits->requests_window_ms = 30000;
    request->limits->concurrency = 2;
    return request;
}

/* --- what is kept ------------------------------------------------------------------------------
 */

task_test_real(who_follows_knows_everything)
{
    struct bench b;
    prepare_with_state(&b);
    write_policy(&b, "tenant_default: {requests: 20}\n");
    start(&b);
    const Limiter__Verdict *first = acquire(&b, 1, "sonnet-4.6@us-east-2", "acme");
    acquire(&b, 2, "sonnet-5@us-east-2", "");
    complete(&b, 2, "sonnet-5@us-east-2", 10, LIMITER__OUTCOME__OUTCOME_THROTTLED);
    acquire(&b, 3, "haiku-4.5@us-east-2", "");
    complete(&b, 3, "haiku-4.5@us-east-2", 10, LIMITER__OUTCOME__OUTCOME_GONE);
    uint64_t cool_until = now_ms + 30000;
    for (uint32_t i = 10; i < 16; i++) {
        now_ms += 2000;
        assert_true(granted(acquire(&b, i, "opus-4.6@us-east-2", "")));
        complete(&b, i, "opus-4.6@us-east-2", 10, LIMITER__OUTCOME__OUTCOME_FAILED);
    }
    close_resource(&b, "sonnet-4.5@us-east-2", "invoice in doubt");
    const Limiter__Resource *before = peek(&b, "suite");
    call(&b, "SetLimits", limits_of(&b, "tenant:acme", 7));

    follow(&b);
    const Limiter__Resource *after = peek(&b, "suite");
    assert_int_equal(after->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    assert_int_equal(after->remaining->requests, before->remaining->requests);
    assert_int_equal(after->remaining->tokens, before->remaining->tokens);
    assert_int_equal(after->live_leases, 1);
    assert_int_equal(after->epoch, before->epoch);
    assert_int_equal(after->seq, before->seq + on_redis); /* there every step writes it */
    assert_int_equal(peek(&b, "sonnet-5@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_COOLDOWN);
    assert_int_equal(peek(&b, "sonnet-5@us-east-2")->state_ms, cool_until - now_ms);
    assert_int_equal(peek(&b, "haiku-4.5@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE);
    assert_int_equal(peek(&b, "opus-4.6@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_BREAKER_OPEN);
    assert_int_equal(peek(&b, "sonnet-4.5@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_CLOSED);
    assert_string_equal(peek(&b, "sonnet-4.5@us-east-2")->note, "invoice in doubt");
    assert_int_equal(peek(&b, "tenant:acme")->limits_version, 7);
    assert_int_equal(peek(&b, "tenant:acme")->limits->requests, 10);
    assert_int_equal(peek(&b, "tenant:acme")->remaining->requests, 9);
    assert_int_equal(peek(&b, "tenant:other")->limits->requests, 20);

    const Limiter__Verdict *again = acquire(&b, 1, "sonnet-4.6@us-east-2", "acme");
    assert_true(again->replayed && granted(again));
    assert_int_equal(again->fence, first->fence);
    assert_int_equal(again->lease_ms, 3000);
    const Limiter__CompleteResponse *c =
        complete(&b, 1, "sonnet-4.6@us-east-2", 200, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(c->settlements[1]->reserved, 2000);
    assert_true(acquire(&b, 20, "sonnet-4.6@us-east-2", "acme")->fence > first->fence);
    follow(&b);
    c = complete(&b, 1, "sonnet-4.6@us-east-2", 200, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_REPLAYED);
    stop_with_state(&b);
}

task_test_real(config_that_changed_is_taken_in_and_orders_stay)
{
    struct bench b;
    prepare_with_state(&b);
    write_policy(&b, "tenant_default: {requests: 5}\n");
    start(&b);
    call(&b, "SetLimits", limits_of(&b, "sonnet-5@us-east-2", 2));
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(granted(acquire(&b, i, "sonnet-4.6@us-east-2", "acme")));
    }
    b.config.suite_requests = 3;
    b.config.tenant_pools = 2000; /* more places than the file has */
    b.config.guard = 1000;
    write_policy(&b, "tenants: {}\n");
    follow(&b);
    assert_int_equal(peek(&b, "suite")->limits->requests, 3);
    assert_int_equal(peek(&b, "suite")->remaining->requests, 0);
    assert_int_equal(peek(&b, "sonnet-5@us-east-2")->limits->requests, 10);
    assert_null(store_resource(b.limiter->store, SPAN("tenant:acme")));
    /* What is settled there is nobody's any more. */
    const Limiter__CompleteResponse *c =
        complete(&b, 1, "sonnet-4.6@us-east-2", 20, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(c->n_settlements, 2);
    follow(&b);
    assert_int_equal(peek(&b, "suite")->live_leases, 3);
    stop_with_state(&b);
}

task_test_real(a_model_that_left_the_catalogue_leaves_its_records)
{
    struct bench b;
    prepare_with_state(&b);
    start(&b);
    acquire(&b, 1, "haiku-4.5@us-east-2", "");
    b.config.catalogue = "libs/catalogue/seed.yaml";
    follow(&b);
    assert_null(store_resource(b.limiter->store, SPAN("haiku-4.5@us-east-2")));
    const Limiter__CompleteResponse *c =
        complete(&b, 1, "haiku-4.5@us-east-2", 200, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_int_equal(c->n_settlements, 1);
    assert_int_equal(peek(&b, "suite")->live_leases, 0);
    stop_with_state(&b);
}

static void test_a_second_one_is_refused(void **state)
{
    (void)state;
    struct bench b;
    struct limiter *first, *second = NULL;
    char error_text[256];
    prepare_with_state(&b);
    assert_status_ok(limiter_new(&b.config, clock_ms, error_text, &first));
    assert_status(limiter_new(&b.config, clock_ms, error_text, &second), REASON_STORE_FAILED);
    assert_non_null(strstr(error_text, "another process uses it"));
    assert_null(second);
    limiter_free(first);
    b.config.state_dir = "/tmp/there/is/no/such/folder";
    assert_status(limiter_new(&b.config, clock_ms, error_text, &second), REASON_FILE_UNREADABLE);
    metric_reset_all();
    unlink(state_path);
    rmdir(folder);
    arena_free(b.arena);
}

/* --- what is lost ------------------------------------------------------------------------------
 */

static void assert_closed(struct bench *b, const char *cause, const char *note)
{
    const Limiter__Verdict *v = acquire(b, 500, "sonnet-4.6@us-east-2", "");
    assert_false(granted(v));
    assert_int_equal(v->judged[0]->reasons[0], LIMITER__REASON__REASON_STATE_LOST);
    assert_int_equal(v->retry_after_ms, 60500);
    assert_true(v->retry_exact);
    const Limiter__Resource *suite = peek(b, "suite");
    assert_int_equal(suite->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_STATE_LOST);
    assert_int_equal(suite->state_ms, 60500);
    assert_string_equal(suite->note, note);
    Limiter__DumpRequest request = LIMITER__DUMP_REQUEST__INIT;
    request.resource = "suite";
    const Limiter__DumpResponse *dump = call(b, "Dump", &request);
    assert_non_null(strstr(dump->text, note));
    const char *const labels[] = {cause};
    assert_true(metric_value(b->limiter->metrics.losses_total, labels) == 1);
    assert_true(metric_value(b->limiter->metrics.closed_seconds_total, labels) == 60.5);
}

task_test_real(a_damaged_file_closes_everything_for_a_time)
{
    struct bench b;
    prepare_with_state(&b);
    start(&b);
    uint64_t epoch = peek(&b, "suite")->epoch;
    acquire(&b, 1, "sonnet-4.6@us-east-2", "");
    halt(&b);
    int fd = open(state_path, O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, 8), 1);
    close(fd);
    b.config.assume_new_store = false;
    start(&b);
    assert_closed(&b, "damaged", "the state of the earlier process cannot be read");
    assert_true(peek(&b, "suite")->epoch != epoch);
    /* Killed while closed: it stays closed until then. */
    now_ms += 60000;
    follow(&b);
    const Limiter__Verdict *v = acquire(&b, 500, "sonnet-4.6@us-east-2", "");
    assert_int_equal(v->retry_after_ms, 500);
    assert_string_equal(peek(&b, "suite")->note, "the state of the earlier process cannot be read");
    now_ms += 500;
    assert_true(granted(acquire(&b, 500, "sonnet-4.6@us-east-2", "")));
    stop_with_state(&b);
}

task_test_real(without_a_file_everything_is_closed_for_a_time)
{
    struct bench b;
    prepare_with_state(&b);
    b.config.assume_new_store = false;
    start(&b);
    assert_closed(&b, "new", "there is no state of an earlier process");
    stop_with_state(&b);
}

/* As if the machine had been started anew since. */
static void change_boot(void)
{
    uint8_t head[64];
    int fd = open(state_path, O_RDWR);
    assert_int_equal(pread(fd, head, sizeof(head), 0), sizeof(head));
    head[20] ^= 1;
    uint32_t crc = hash_crc32c(0, span_of(head, 60));
    memcpy(head + 60, &crc, sizeof(crc));
    assert_int_equal(pwrite(fd, head, sizeof(head), 0), sizeof(head));
    close(fd);
}

task_test_real(after_another_boot_only_what_was_said_is_kept)
{
    struct bench b;
    prepare_with_state(&b);
    start(&b);
    acquire(&b, 1, "sonnet-4.6@us-east-2", "");
    acquire(&b, 2, "sonnet-5@us-east-2", "");
    complete(&b, 2, "sonnet-5@us-east-2", 10, LIMITER__OUTCOME__OUTCOME_THROTTLED);
    acquire(&b, 3, "haiku-4.5@us-east-2", "");
    complete(&b, 3, "haiku-4.5@us-east-2", 10, LIMITER__OUTCOME__OUTCOME_GONE);
    close_resource(&b, "opus-4.6@us-east-2", "by hand");
    call(&b, "SetLimits", limits_of(&b, "sonnet-4.6@us-east-2", 9));
    halt(&b);
    change_boot();
    now_ms = 1000; /* the clock began anew as well */
    b.config.assume_new_store = false;
    start(&b);
    assert_closed(&b, "boot", "the machine was started anew");
    Limiter__ReopenRequest reopen = reopen_of("suite", true);
    call(&b, "Reopen", &reopen);
    assert_int_equal(peek(&b, "suite")->remaining->requests, 30);
    assert_int_equal(peek(&b, "sonnet-5@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    assert_int_equal(peek(&b, "haiku-4.5@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE);
    assert_int_equal(peek(&b, "opus-4.6@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_CLOSED);
    assert_string_equal(peek(&b, "opus-4.6@us-east-2")->note, "by hand");
    assert_int_equal(peek(&b, "sonnet-4.6@us-east-2")->limits_version, 9);
    assert_false(acquire(&b, 1, "sonnet-4.6@us-east-2", "")->replayed);
    follow(&b);
    assert_true(acquire(&b, 1, "sonnet-4.6@us-east-2", "")->replayed);
    assert_string_equal(peek(&b, "opus-4.6@us-east-2")->note, "by hand");
    stop_with_state(&b);
}

/* --- leases after a loss -----------------------------------------------------------------------
 */

/* A lease as a router holds it after this verdict. */
static Limiter__Lease *lease_of(struct bench *b, uint32_t id, const Limiter__Verdict *v)
{
    Limiter__Lease *lease = ARENA_NEW(b->arena, Limiter__Lease);
    limiter__lease__init(lease);
    lease->id = id_of(b, id);
    lease->fence = v->fence;
    lease->model = v->judged[0]->resource;
    lease->n_holdings = v->n_judged;
    lease->holdings = ARENA_ARRAY(b->arena, Limiter__Holding *, v->n_judged);
    for (size_t i = 0; i < v->n_judged; i++) {
        lease->holdings[i] = ARENA_NEW(b->arena, Limiter__Holding);
        limiter__holding__init(lease->holdings[i]);
        lease->holdings[i]->resource = v->judged[i]->resource;
        lease->holdings[i]->charge = v->judged[i]->charge;
        lease->holdings[i]->epoch = v->judged[i]->epoch;
        lease->holdings[i]->seq = v->judged[i]->seq;
    }
    return lease;
}

static size_t renew(struct bench *b, Limiter__Lease **leases, size_t n)
{
    Limiter__RenewRequest request = LIMITER__RENEW_REQUEST__INIT;
    request.session = id_of(b, 900);
    request.leases = leases;
    request.n_leases = n;
    return ((const Limiter__RenewResponse *)call(b, "Renew", &request))->n_lost_ids;
}

task_test_real(leases_are_registered_again_while_closed)
{
    struct bench b;
    Limiter__Lease *leases[6];
    prepare(&b);
    start(&b);
    for (uint32_t i = 0; i < 5; i++) {
        leases[i] = lease_of(&b, i, acquire(&b, i, "sonnet-4.6@us-east-2", ""));
    }
    leases[5] = leases[0];
    follow(&b); /* without a file */
    assert_int_equal(renew(&b, leases, 2), 0);
    assert_int_equal(peek(&b, "suite")->live_leases, 2);
    assert_int_equal(renew(&b, leases, 6), 0);
    assert_int_equal(peek(&b, "suite")->live_leases, 5);
    assert_true(metric_value(b.limiter->metrics.leases_restored_total, NULL) == 5);
    assert_true(metric_value(b.limiter->metrics.losses_total, (const char *const[]){"amnesia"}) ==
                0);
    Limiter__Lease *sixth = lease_of(&b, 77, acquire(&b, 77, "sonnet-4.6@us-east-2", ""));
    sixth->fence = 9;
    assert_int_equal(renew(&b, &sixth, 1), 1); /* more than there may be */
    const Limiter__CompleteResponse *c =
        complete(&b, 3, "sonnet-4.6@us-east-2", 500, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->result, LIMITER__REPORT_RESULT__REPORT_RESULT_UNKNOWN_ID);
    assert_int_equal(peek(&b, "suite")->live_leases, 4);
    assert_int_equal(peek(&b, "suite")->remaining->tokens, 120000 - 1500);
    assert_int_equal(renew(&b, &leases[3], 1), 1); /* it has ended */
    /* Nobody renews the others: they are gone when all opens again. */
    now_ms += 60500;
    assert_int_equal(renew(&b, leases, 1), 1);
    assert_true(granted(acquire(&b, 8, "sonnet-4.6@us-east-2", "")));
    stop(&b);
}

task_test_real(a_renewal_tells_of_grants_that_are_forgotten)
{
    struct bench b;
    Limiter__Lease *leases[2];
    prepare_with_state(&b);
    start(&b);
    acquire(&b, 1, "sonnet-4.6@us-east-2", "");
    halt(&b);
    copy_file(state_path, copy_path);
    start(&b);
    leases[0] = lease_of(&b, 2, acquire(&b, 2, "sonnet-4.6@us-east-2", ""));
    leases[1] = lease_of(&b, 3, acquire(&b, 3, "sonnet-4.6@us-east-2", ""));
    uint64_t epoch = peek(&b, "suite")->epoch;
    halt(&b);
    copy_file(copy_path, state_path); /* an older state: nobody can see that from the file */
    start(&b);
    assert_int_equal(peek(&b, "suite")->epoch, epoch);
    assert_int_equal(peek(&b, "suite")->live_leases, 1);
    assert_int_equal(renew(&b, leases, 2), 0);
    assert_closed(&b, "amnesia", "grants were made that are not known here");
    assert_true(peek(&b, "suite")->epoch != epoch);
    assert_int_equal(peek(&b, "suite")->live_leases, 3);
    assert_int_equal(renew(&b, leases, 2), 0); /* once is enough */
    assert_true(metric_value(b.limiter->metrics.losses_total, (const char *const[]){"amnesia"}) ==
                1);
    stop_with_state(&b);
}

task_test_real(many_leases_are_renewed_in_several_steps)
{
    struct bench b;
    Limiter__Lease *leases[100];
    prepare_with_state(&b);
    b.config.suite_requests = b.config.suite_tokens = 0;
    b.config.suite_concurrency = 64;
    write_policy(&b, "tenant_default: {concurrency: 1}\n");
    start(&b);
    for (uint32_t i = 0; i < ARRAY_LEN(leases); i++) {
        const Limiter__Verdict *v =
            acquire(&b, i, "sonnet-4.6@us-east-2", arena_printf(b.arena, "t%u", i));
        assert_int_equal(granted(v), i < 64);
        leases[i] = lease_of(&b, i, v);
        leases[i]->model = "sonnet-4.6@us-east-2";
        leases[i]->tenant = arena_printf(b.arena, "t%u", i);
    }
    now_ms += 10000;
    uint64_t seq = peek(&b, "suite")->seq;
    assert_int_equal(renew(&b, leases, ARRAY_LEN(leases)), 36);
    /* Of 32 leases each; in Redis as many at once as a script can name. */
    assert_int_equal(peek(&b, "suite")->seq, seq + (on_redis ? 1 : 2));
    now_ms += 10000;
    follow(&b);
    assert_int_equal(peek(&b, "suite")->live_leases, 64);
    assert_int_equal(peek(&b, "tenant:t63")->live_leases, 1);
    stop_with_state(&b);
}

task_test_real(progress_beyond_the_reservation_counts_at_once)
{
    struct bench b;
    prepare(&b);
    start(&b);
    Limiter__Lease *lease = lease_of(&b, 1, acquire(&b, 1, "sonnet-4.6@us-east-2", ""));
    assert_int_equal(peek(&b, "suite")->remaining->tokens, 118000);
    lease->output_tokens = 999;
    assert_int_equal(renew(&b, &lease, 1), 0);
    assert_int_equal(peek(&b, "suite")->remaining->tokens, 118000);
    lease->output_tokens = 1500;
    assert_int_equal(renew(&b, &lease, 1), 0);
    assert_int_equal(renew(&b, &lease, 1), 0);
    assert_int_equal(peek(&b, "suite")->remaining->tokens, 117500);
    const Limiter__CompleteResponse *c =
        complete(&b, 1, "sonnet-4.6@us-east-2", 1700, LIMITER__OUTCOME__OUTCOME_OK);
    assert_int_equal(c->settlements[1]->charged, 2700);
    assert_int_equal(peek(&b, "suite")->remaining->tokens, 117300);
    stop(&b);
}

/* --- orders ------------------------------------------------------------------------------------
 */

task_test_real(limits_can_be_set)
{
    struct bench b;
    prepare(&b);
    start(&b);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(granted(acquire(&b, i, "sonnet-4.6@us-east-2", "")));
    }
    Limiter__SetLimitsRequest *set = limits_of(&b, "suite", 1);
    struct status s = call_fails(&b, "SetLimits", set);
    assert_status(s, REASON_LIMITS_OUTDATED);
    assert_int_equal(s.code, STATUS_FAILED_PRECONDITION);
    assert_int_equal(peek(&b, "suite")->limits->requests, 30);
    set->version = 2;
    const Limiter__SetLimitsResponse *reply = call(&b, "SetLimits", set);
    assert_int_equal(reply->resource->limits_version, 2);
    assert_int_equal(reply->resource->limits->requests_window_ms, 30000);
    assert_int_equal(reply->resource->limits->tokens, 0);
    assert_int_equal(reply->resource->limits->pacer_interval_ms, 0);
    assert_int_equal(reply->resource->remaining->requests, 7);
    assert_int_equal(reply->resource->live_leases, 3); /* nobody is stopped */
    const Limiter__Verdict *v = acquire(&b, 9, "sonnet-4.6@us-east-2", "");
    assert_int_equal(v->judged[1]->n_reasons, 1);
    assert_int_equal(v->judged[1]->reasons[0], LIMITER__REASON__REASON_CONCURRENCY);
    assert_status(call_fails(&b, "SetLimits", set), REASON_LIMITS_OUTDATED);

    set->version = 3;
#define REFUSED(member, wrong, field)                                                              \
    set->limits->member = wrong;                                                                   \
    s = call_fails(&b, "SetLimits", set);                                                          \
    assert_status(s, REASON_BAD_REQUEST);                                                          \
    assert_string_equal(s.more->fields[0].subject, field);                                         \
    set->limits = limits_of(&b, "suite", 3)->limits
    REFUSED(requests, 100000001, "limits.requests");
    REFUSED(tokens, 1000000000001, "limits.tokens");
    REFUSED(concurrency, 65, "limits.concurrency");
    REFUSED(requests_window_ms, 999, "limits");
    REFUSED(requests_window_ms, 86400001, "limits");
    REFUSED(tokens, 5, "limits"); /* without its window */
    REFUSED(pacer_burst, 1000001, "limits");
    REFUSED(pacer_interval_ms, 86400001, "limits");
    set->resource = "nobody";
    s = call_fails(&b, "SetLimits", set);
    assert_status(s, REASON_RESOURCE_UNKNOWN);
    set->resource = "suite";
    set->limits = NULL;
    assert_status(call_fails(&b, "SetLimits", set), REASON_BAD_REQUEST);
    stop(&b);
}

task_test_real(resources_are_closed_and_opened_again)
{
    struct bench b;
    prepare(&b);
    start(&b);
    const Limiter__Resource *r = close_resource(&b, "sonnet-4.6@us-east-2", "too dear");
    assert_int_equal(r->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_CLOSED);
    assert_string_equal(r->note, "too dear");
    const Limiter__Verdict *v = acquire(&b, 1, "sonnet-4.6@us-east-2 sonnet-5@us-east-2", "");
    assert_true(granted(v));
    assert_int_equal(v->candidate, 1);
    assert_int_equal(v->judged[0]->reasons[0], LIMITER__REASON__REASON_CLOSED);
    assert_int_equal(v->judged[0]->retry_at_ms, 0);
    close_resource(&b, "suite", "");
    v = acquire(&b, 2, "sonnet-5@us-east-2", "");
    assert_false(granted(v));
    assert_int_equal(v->judged[1]->reasons[0], LIMITER__REASON__REASON_CLOSED);
    assert_int_equal(v->retry_at_ms, 0);
    assert_int_equal(peek(&b, "suite")->live_leases, 1); /* what runs goes on */
    Limiter__ReopenRequest reopen = reopen_of("suite", false);
    call(&b, "Reopen", &reopen);
    reopen = reopen_of("sonnet-4.6@us-east-2", false);
    const Limiter__ReopenResponse *reply = call(&b, "Reopen", &reopen);
    assert_int_equal(reply->resource->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    assert_string_equal(reply->resource->note, "");
    assert_true(granted(acquire(&b, 3, "sonnet-4.6@us-east-2", "")));
    complete(&b, 3, "sonnet-4.6@us-east-2", 0, LIMITER__OUTCOME__OUTCOME_GONE);
    assert_int_equal(peek(&b, "sonnet-4.6@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE);
    call(&b, "Reopen", &reopen);
    assert_int_equal(peek(&b, "sonnet-4.6@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    Limiter__ForceOpenRequest request = LIMITER__FORCE_OPEN_REQUEST__INIT;
    char note[258];
    memset(note, 'n', 257);
    note[257] = '\0';
    request.resource = "suite";
    request.note = note;
    assert_status(call_fails(&b, "ForceOpen", &request), REASON_BAD_REQUEST);
    stop(&b);
}

task_test_real(a_breaker_can_be_closed_by_hand)
{
    struct bench b;
    prepare(&b);
    start(&b);
    for (uint32_t i = 0; i < 6; i++) {
        now_ms += 2000;
        acquire(&b, i, "sonnet-5@us-east-2", "");
        complete(&b, i, "sonnet-5@us-east-2", 10, LIMITER__OUTCOME__OUTCOME_FAILED);
    }
    const Limiter__Resource *before = peek(&b, "sonnet-5@us-east-2");
    assert_int_equal(before->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_BREAKER_OPEN);
    Limiter__ForceCloseRequest request = LIMITER__FORCE_CLOSE_REQUEST__INIT;
    request.resource = "sonnet-5@us-east-2";
    const Limiter__ForceCloseResponse *reply = call(&b, "ForceClose", &request);
    assert_int_equal(reply->resource->state, LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    assert_int_equal(reply->resource->generation, before->generation + 1);
    assert_int_equal(reply->resource->breaker_outcomes, 0);
    now_ms += 2000;
    assert_false(acquire(&b, 7, "sonnet-5@us-east-2", "")->probe);
    request.resource = "suite";
    assert_status(call_fails(&b, "ForceClose", &request), REASON_NOT_APPLICABLE);
    assert_true(
        metric_value(b.limiter->metrics.orders_total, (const char *const[]){"close_breaker"}) == 2);
    stop(&b);
}

/* --- dates -------------------------------------------------------------------------------------
 */

#define GONE_FROM_S 1807142400u /* 2027-04-08, of sonnet-4.5 */

static uint64_t wall_ms = (GONE_FROM_S - 1) * 1000ull;

static uint64_t wall(void)
{
    return wall_ms;
}

task_test_real(a_model_retires_while_the_limiter_runs)
{
    struct bench b;
    prepare(&b);
    start(&b);
    b.limiter->wall_ms = wall;
    assert_true(granted(acquire(&b, 1, "sonnet-4.5@us-east-2", "")));
    wall_ms += 1000;
    const Limiter__Verdict *v = acquire(&b, 2, "sonnet-4.5@us-east-2 sonnet-5@us-east-2", "");
    assert_int_equal(v->candidate, 1);
    assert_int_equal(v->judged[0]->reasons[0], LIMITER__REASON__REASON_MODEL_GONE);
    assert_int_equal(peek(&b, "sonnet-4.5@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_GONE);
    Limiter__ReopenRequest reopen = reopen_of("sonnet-4.5@us-east-2", false);
    assert_status(call_fails(&b, "Reopen", &reopen), REASON_NOT_APPLICABLE);
    wall_ms -= 1000; /* the catalogue, or a clock, was wrong */
    assert_int_equal(peek(&b, "sonnet-4.5@us-east-2")->state,
                     LIMITER__RESOURCE_STATE__RESOURCE_STATE_OPEN);
    stop(&b);
}

static const struct CMUnitTest tests[] = {
    ON_BOTH_HOMES(who_follows_knows_everything),
    cmocka_unit_test(config_that_changed_is_taken_in_and_orders_stay),
    cmocka_unit_test(a_model_that_left_the_catalogue_leaves_its_records),
    cmocka_unit_test(test_a_second_one_is_refused),
    cmocka_unit_test(a_damaged_file_closes_everything_for_a_time),
    cmocka_unit_test(without_a_file_everything_is_closed_for_a_time),
    cmocka_unit_test(after_another_boot_only_what_was_said_is_kept),
    cmocka_unit_test(leases_are_registered_again_while_closed),
    cmocka_unit_test(a_renewal_tells_of_grants_that_are_forgotten),
    ON_BOTH_HOMES(many_leases_are_renewed_in_several_steps),
    ON_BOTH_HOMES(progress_beyond_the_reservation_counts_at_once),
    ON_BOTH_HOMES(limits_can_be_set),
    ON_BOTH_HOMES(resources_are_closed_and_opened_again),
    ON_BOTH_HOMES(a_breaker_can_be_closed_by_hand),
    ON_BOTH_HOMES(a_model_retires_while_the_limiter_runs),
};

HARNESS_MAIN(tests)
