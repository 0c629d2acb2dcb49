/* Calls that wait at limiters that share a redis-server, in real time. */
#include <sys/resource.h>

#include "limiter/wait.h"
#include "limiters_bench.h"

#define CALLS 12

struct call {
    struct limiter *limiter;
    struct ask *ask;
    struct status status;
    unsigned *turn; /* counts who was answered */
    unsigned answered;
};

static void wait_for_it(void *arg) PARKS
{
    struct call *c = arg;
    c->status = wait_decide(c->limiter, c->ask, 50000, NULL);
    c->answered = ++*c->turn;
}

/* Returns when it waits. */
static void begin_for(struct limiters *g, struct call *c, size_t i, uint32_t id, char *tenant,
                      unsigned *turn) PARKS
{
    size_t before = g->limiters[i]->queue.n;
    *c = (struct call){.limiter = g->limiters[i], .turn = turn};
    c->ask = limiters_ask_for(c->limiter, id, tenant, g->arena);
    const struct task_options options = {.name = "call",
                                         .deadline_ms = loop_now_ms(task_loop()) + 60000};
    task_spawn(task_loop(), &options, wait_for_it, c);
    for (unsigned tries = 0; g->limiters[i]->queue.n == before; tries++) {
        assert_true(tries < 5000);
        assert_status_ok(task_sleep_ms(2));
    }
}

static void begin(struct limiters *g, struct call *c, size_t i, uint32_t id, unsigned *turn) PARKS
{
    begin_for(g, c, i, id, "default", turn);
}

static void until_answered(const unsigned *turn, unsigned n) PARKS
{
    for (unsigned tries = 0; *turn < n; tries++) {
        assert_true(tries < 20000);
        assert_status_ok(task_sleep_ms(1));
    }
}

static void prepare(struct limiters *g)
{
    limiters_prepare(g);
    g->config.suite_requests = g->config.suite_tokens = 0;
    g->config.suite_concurrency = 1;
}

/* Wherever they wait, those of a tenant go in the order they came, and at once. */
task_test_real(calls_of_a_tenant_go_in_order_wherever_they_wait)
{
    struct limiters g;
    struct call calls[CALLS];
    unsigned turn = 0;
    prepare(&g);
    limiters_start(&g, 3);
    assert_true(granted(limiters_acquire(&g, 0, 100)));
    for (uint32_t i = 0; i < CALLS; i++) {
        begin(&g, &calls[i], i * 2 % 3, i, &turn);
        assert_status_ok(task_sleep_ms(2)); /* the order is by the server's milliseconds */
    }
    uint64_t begin_ms = clock_boot_ms();
    for (uint32_t i = 0; i < CALLS; i++) {
        assert_int_equal(limiters_complete(&g, i % 3, i == 0 ? 100 : i - 1),
                         LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
        until_answered(&turn, i + 1);
        assert_int_equal(calls[i].answered, i + 1);
        assert_status_ok(calls[i].status);
        assert_true(limiters_granted(calls[i].ask));
    }
    print_message("# %.1f ms from the end of a call to the grant of the next\n",
                  (double)(clock_boot_ms() - begin_ms) / CALLS);
    assert_true(clock_boot_ms() - begin_ms < 500 * CALLS); /* nobody told them: a second each */
    limiters_stop(&g);
}

/* Of the same tenant, and came earlier. */
static size_t passed_over(const bool *done, uint32_t i)
{
    size_t n = 0;
    for (uint32_t k = i < CALLS / 2 ? 0 : CALLS / 2; k < i; k++) {
        n += !done[k];
    }
    return n;
}

/* Two tenants of the same weight, of which one came first with all that it has: they take turns. */
task_test_real(tenants_take_turns_wherever_they_wait)
{
    struct limiters g;
    struct call calls[CALLS];
    unsigned turn = 0, first = 0;
    bool done[CALLS] = {false};
    prepare(&g);
    limiters_start(&g, 3);
    assert_true(granted(limiters_acquire(&g, 0, 100)));
    for (uint32_t i = 0; i < CALLS; i++) {
        begin_for(&g, &calls[i], i % 3, i, i < CALLS / 2 ? "many" : "few", &turn);
        assert_status_ok(task_sleep_ms(2));
    }
    uint32_t runs = 100;
    for (uint32_t n = 1; n <= CALLS; n++) {
        assert_int_equal(limiters_complete(&g, n % 3, runs),
                         LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
        until_answered(&turn, n);
        for (uint32_t i = 0; i < CALLS; i++) {
            if (calls[i].answered != 0 && !done[i]) {
                assert_true(limiters_granted(calls[i].ask));
                /* A tenant's in their order, but for one: a limiter tells the others of its
                 * foremost only, which is another tenant's until it has seen who went. */
                assert_true(passed_over(done, i) <= 1);
                done[i] = true;
                first += i < CALLS / 2;
                runs = i;
            }
        }
        assert_in_range(2 * first, n > 1 ? n - 1 : 0, n + 1);
    }
    limiters_stop(&g);
}

/* --- the store is lost meanwhile ---------------------------------------------------------------
 */

/* Reported until the store takes it, as routers do. */
static void end_call(struct limiters *g, size_t i, uint32_t id) PARKS
{
    for (unsigned tries = 0;; tries++) {
        struct ask *ask = limiters_report(g->limiters[i], id, g->arena);
        if (status_ok(home_decide(g->limiters[i], ask))) {
            return;
        }
        assert_true(tries < 500);
        assert_status_ok(task_sleep_ms(50));
    }
}

static void begin_some(struct limiters *g, struct call *calls, unsigned *turn) PARKS
{
    assert_true(granted(limiters_acquire(g, 0, 100)));
    for (uint32_t i = 0; i < CALLS / 2; i++) {
        begin(g, &calls[i], i % 3, i, turn);
        assert_status_ok(task_sleep_ms(2));
    }
}

/* Who was granted at this turn. */
static uint32_t granted_at(const struct call *calls, unsigned turn)
{
    for (uint32_t i = 0; i < CALLS / 2; i++) {
        if (calls[i].answered == turn) {
            assert_true(limiters_granted(calls[i].ask));
            return i;
        }
    }
    fail();
    return 0;
}

/* Each when the one before has ended, and no two at once. In which order is not known: heads may
 * have expired meanwhile. */
static void end_all(struct limiters *g, const struct call *calls, const unsigned *turn) PARKS
{
    for (uint32_t n = 0; n < CALLS / 2; n++) {
        until_answered(turn, n + 1);
        uint32_t i = granted_at(calls, n + 1);
        assert_status_ok(home_look(g->limiters[0]));
        assert_int_equal(g->limiters[0]->suite->n_leases, 1);
        end_call(g, n % 3, i);
    }
}

task_test_real(who_waits_outlasts_a_server_that_is_killed)
{
    struct limiters g;
    struct call calls[CALLS];
    unsigned turn = 0;
    prepare(&g);
    limiters_keep_on_disk(&g);
    limiters_start(&g, 3);
    begin_some(&g, calls, &turn);
    redis_server_kill(&g.redis.server);
    assert_status_ok(task_sleep_ms(1000));
    assert_int_equal(turn, 0);
    redis_server_start(&g.redis.server);
    end_call(&g, 0, 100);
    end_all(&g, calls, &turn);
    assert_true(limiters_losses(&g) == 0);
    limiters_stop(&g);
}

/* Nothing is known of the call that ran, so nobody goes before it must have ended. */
task_test_real(who_waits_outlasts_a_store_that_is_emptied)
{
    struct limiters g;
    struct call calls[CALLS];
    unsigned turn = 0;
    prepare(&g);
    g.config.time_scale = 20;
    g.config.lease_ttl = 40000; /* two seconds */
    limiters_start(&g, 3);
    begin_some(&g, calls, &turn);
    uint64_t emptied_ms = clock_boot_ms();
    limiters_command(&g, "FLUSHALL", NULL, NULL);
    until_answered(&turn, 1);
    assert_true(clock_boot_ms() - emptied_ms > 2900); /* a window of three seconds, and the guard */
    end_all(&g, calls, &turn);
    assert_true(limiters_losses(&g) >= 1);
    limiters_stop(&g);
}

static double cpu_ms(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

static double trips(const struct limiters *g)
{
    return limiters_trips(g, "kept") + limiters_trips(g, "idle") + limiters_trips(g, "aged") +
           limiters_trips(g, "read");
}

/* Two limiters with a waiter each, and nobody ends. */
task_test_real(waiting_costs_next_to_nothing)
{
    struct limiters g;
    struct call calls[2];
    unsigned turn = 0;
    prepare(&g);
    limiters_start(&g, 2);
    assert_true(granted(limiters_acquire(&g, 0, 100)));
    begin(&g, &calls[0], 0, 0, &turn);
    begin(&g, &calls[1], 1, 1, &turn);
    assert_status_ok(task_sleep_ms(100));
    double before_ms = cpu_ms(), before = trips(&g);
    assert_status_ok(task_sleep_ms(3000));
    print_message("# %.1f trips and %.2f ms of CPU a second of two limiters, one waiter each\n",
                  (trips(&g) - before) / 3, (cpu_ms() - before_ms) / 3);
    assert_true(trips(&g) - before < 120);
    assert_true(cpu_ms() - before_ms < 300);
    limiters_complete(&g, 0, 100);
    until_answered(&turn, 1);
    limiters_complete(&g, 0, 0);
    until_answered(&turn, 2);
    assert_true(limiters_granted(calls[1].ask));
    limiters_stop(&g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(calls_of_a_tenant_go_in_order_wherever_they_wait),
    cmocka_unit_test(tenants_take_turns_wherever_they_wait),
    cmocka_unit_test(who_waits_outlasts_a_server_that_is_killed),
    cmocka_unit_test(who_waits_outlasts_a_store_that_is_emptied),
    cmocka_unit_test(waiting_costs_next_to_nothing),
};

HARNESS_MAIN(tests)
