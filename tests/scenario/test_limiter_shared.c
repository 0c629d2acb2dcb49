/*
 * The limiter's state is in Redis, and one of them is killed while calls run: never more runs or
 * begins than may, by the simulator's arrival log.
 */
#include <stdlib.h>
#include <string.h>

#include "generation.h"
#include "redis_server.h"

#define SCALE     20
#define WINDOW_MS (60000.0 / SCALE)
#define POOL      5 /* of the suite at once */
#define CALLS     40

static const char *const kept_on_disk[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};

/* As in production: what was told before a kill is there after it. */
static struct suite *start(struct redis_server *server, struct arena *arena) PARKS
{
    memset(server, 0, sizeof(*server));
    server->more = kept_on_disk;
    redis_server_start(server);
    return suite_start(&(struct suite_options){
        .time_scale = SCALE,
        .flags[SUITE_LIMITER] =
            arena_printf(arena, "--store=redis --redis=127.0.0.1:%u --state-dir=", server->port),
    });
}

static void stop(struct redis_server *server, struct suite *suite) PARKS
{
    const char *const arguments[] = {
        "-rf", arena_printf(suite->arena, "%s/appendonlydir", server->folder), NULL};
    assert_int_equal(process_run("/bin/rm", arguments, NULL, "/dev/null", 10000), 0);
    suite_stop(suite);
    redis_server_stop(server);
}

static struct generation *spawn(struct suite *suite, struct group *group)
{
    struct generation *all = ARENA_ARRAY(suite->arena, struct generation, CALLS);
    group_init(group);
    for (size_t i = 0; i < CALLS; i++) {
        all[i] = (struct generation){.suite = suite, .deadline_ms = 120000};
        generation_spawn(&all[i], group);
    }
    return all;
}

/* What was served was served well. Others were told that nobody can decide; how many is returned.
 */
static size_t take_ends(struct generation *all)
{
    size_t undecided = 0;
    for (size_t i = 0; i < CALLS; i++) {
        if (all[i].status.reason == REASON_LIMITER_UNREACHABLE) {
            assert_true(all[i].status.retry_after_ms > 0);
            undecided++;
        } else {
            assert_generated(&all[i], 1, 1);
        }
        generation_clear(&all[i]);
    }
    return undecided;
}

static void assert_exact(struct suite *suite, size_t calls) PARKS
{
    suite_await_idle(suite);
    struct judge_log log = suite_arrivals(suite);
    assert_int_equal(log.n, calls);
    assert_true(judge_most_at_once(log) <= POOL);
    assert_true(judge_most_in_window(log, WINDOW_MS) <= 30);
    assert_true(suite_metric(suite, SUITE_LIMITER, "prism_limiter_losses_total", "amnesia") == 0);
    assert_true(suite_metric(suite, SUITE_ROUTER, "prism_router_settlements_lost_total", "") == 0);
}

task_test_real(a_limiter_that_is_killed_leaves_its_state_to_the_next)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct redis_server server;
    struct suite *suite = start(&server, arena);
    struct group group;
    uint32_t seed = 20260202;
    struct generation *all = spawn(suite, &group);
    for (int kills = 0; kills < 4; kills++) {
        assert_status_ok(task_sleep_ms(200 + harness_random(&seed) % 700));
        suite_kill(suite, SUITE_LIMITER);
        suite_start_again(suite, SUITE_LIMITER);
        assert_true(suite_metric(suite, SUITE_LIMITER, "prism_limiter_losses_total", "") == 0);
    }
    assert_status_ok(group_wait(&group));
    assert_int_equal(take_ends(all), 0);
    assert_exact(suite, CALLS);
    stop(&server, suite);
}

static void await_readyz(struct suite *suite, int code) PARKS
{
    uint64_t until_ms = loop_now_ms(task_loop()) + SUITE_WAIT_MS;
    while (suite_http(suite, "GET", suite->admin_ports[SUITE_LIMITER], "/readyz", SPAN_NONE,
                      NULL) != code) {
        assert_true(loop_now_ms(task_loop()) < until_ms);
        assert_status_ok(task_sleep_ms(10));
    }
}

task_test_real(a_redis_that_is_killed_and_comes_back_remembers)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct redis_server server;
    struct suite *suite = start(&server, arena);
    struct group group;
    struct generation *all = spawn(suite, &group);
    assert_status_ok(task_sleep_ms(700));
    redis_server_kill(&server);
    await_readyz(suite, 503);
    redis_server_start(&server);
    await_readyz(suite, 200);
    assert_status_ok(group_wait(&group));
    size_t calls = 2 * CALLS - take_ends(all);
    all = spawn(suite, &group);
    assert_status_ok(group_wait(&group));
    assert_int_equal(take_ends(all), 0);
    assert_exact(suite, calls);
    stop(&server, suite);
}

static const struct CMUnitTest tests[] = {
    SUITE_TEST(a_limiter_that_is_killed_leaves_its_state_to_the_next),
    SUITE_TEST(a_redis_that_is_killed_and_comes_back_remembers),
};

HARNESS_MAIN(tests)
