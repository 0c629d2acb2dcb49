/* Servers that the limiter's state may be on, or not: passwords, TLS, sentinels, memory, clocks. */
#include "limiters_bench.h"
#include "redis_sentinel.h"

task_test_real(a_server_that_drops_keys_is_refused)
{
    static const char *const dropping[] = {"--maxmemory-policy", "allkeys-lru", NULL};
    struct limiters g;
    char error_text[256];
    limiters_prepare(&g);
    g.redis.server.more = dropping;
    redis_bench_serve(&g.redis, &g.config);
    redis_bench_connect(&g.redis);
    assert_status_ok(limiter_new(&g.config, clock_boot_ms, error_text, &g.limiters[0]));
    g.n = 1;
    struct status s = home_redis_first(g.limiters[0]->redis);
    assert_status(s, REASON_CONFIG_INVALID);
    assert_non_null(strstr(s.detail, "noeviction"));
    struct ask *ask = limiters_ask(g.limiters[0], 1, g.arena);
    assert_status(home_decide(g.limiters[0], ask), REASON_STORE_FAILED);
    limiters_stop(&g);
}

task_test_real(what_a_newer_program_wrote_is_not_touched)
{
    struct limiters g;
    limiters_prepare(&g);
    limiters_start(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    limiters_command(&g, "SET", "{lim:main}:s:suite", "written by a newer program, in its own way");
    struct ask *ask = limiters_ask(g.limiters[0], 2, g.arena);
    assert_status(home_decide(g.limiters[0], ask), REASON_STORE_FAILED);
    assert_true(span_starts(limiters_command(&g, "GET", "{lim:main}:s:suite", NULL)->text,
                            SPAN("written by a newer program")));
    limiters_stop(&g);
}

task_test_real(password_and_tls)
{
    struct limiters g;
    struct tls_files files;
    limiters_prepare(&g);
    tls_files_make(&files);
    g.redis.server.password = "open sesame";
    g.redis.server.tls = &files;
    redis_bench_serve(&g.redis, &g.config);
    g.config.redis = arena_printf(g.arena, "localhost:%u", g.redis.server.tls_port);
    g.config.redis_tls = true;
    g.config.redis_ca = files.ca;
    g.config.redis_password = (struct secret){"open sesame"};
    limiters_begin(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    limiters_stop(&g);
    tls_files_remove(&files);
}

task_test_real(the_master_that_sentinels_choose_is_followed)
{
    struct redis_server second = {0};
    struct redis_sentinel_server sentinel;
    struct limiters g;
    char port[8];
    limiters_prepare(&g);
    redis_bench_serve(&g.redis, &g.config);
    snprintf(port, sizeof(port), "%u", (unsigned)g.redis.server.port);
    second.more = (const char *const[]){"--replicaof", "127.0.0.1", port, NULL};
    redis_server_start(&second);
    redis_sentinel_start(&sentinel, &g.redis.server);
    g.config.redis = arena_printf(g.arena, "127.0.0.1:%u", sentinel.address.port);
    g.config.redis_master = SENTINEL_MASTER;
    g.config.redis_sentinel_password = (struct secret){SENTINEL_PASSWORD};
    limiters_begin(&g, 1);
    const Limiter__Verdict *v = limiters_acquire(&g, 0, 1);
    assert_true(granted(v));
    assert_int_equal(limiters_command(&g, "INCR", "mark", NULL)->integer, 1);
    while (limiters_command(&g, "WAIT", "1", "500")->integer == 0) { /* the other one has it all */
    }
    redis_sentinel_switch(&sentinel);
    redis_server_kill(&g.redis.server);
    const Limiter__Verdict *again = limiters_acquire(&g, 0, 1);
    assert_true(granted(again) && again->replayed);
    assert_int_equal(again->fence, v->fence);
    assert_true(granted(limiters_acquire(&g, 0, 2)));
    assert_true(limiters_losses(&g) == 0);
    redis_sentinel_stop(&sentinel);
    redis_server_stop(&second);
    limiters_stop(&g);
}

task_test_real(a_server_without_memory_grants_nothing_and_loses_nothing)
{
    struct limiters g;
    limiters_prepare(&g);
    limiters_start(&g, 1);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    redis_bench_ask(&g.redis, REDIS_ARGS(SPAN("CONFIG"), SPAN("SET"), SPAN("maxmemory"), SPAN("1")),
                    g.arena);
    struct ask *ask = limiters_ask(g.limiters[0], 2, g.arena);
    struct status s = home_decide(g.limiters[0], ask);
    assert_status(s, REASON_STORE_FAILED);
    assert_non_null(strstr(s.detail, "OOM"));
    redis_bench_ask(&g.redis, REDIS_ARGS(SPAN("CONFIG"), SPAN("SET"), SPAN("maxmemory"), SPAN("0")),
                    g.arena);
    const Limiter__Verdict *v = limiters_acquire(&g, 0, 2);
    assert_true(granted(v) && !v->replayed);
    assert_int_equal(limiters_complete(&g, 0, 1), LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED);
    assert_true(limiters_losses(&g) == 0);
    limiters_stop(&g);
}

/* The server's clock is so many seconds off. */
static void set_server_clock(struct limiters *g, const char *seconds)
{
    limiters_command(g, "SET", "off", seconds);
}

static void be_off(struct limiters *g)
{
    struct span script = span_of(limiter_txn_lua, limiter_txn_lua_len);
    struct span time = SPAN("redis.call('TIME')");
    size_t at = span_find(script, time);
    const char *text = arena_printf(
        g->arena,
        "local real = redis.call('TIME')\n%.*s{real[1] + redis.call('GET', 'off'), real[2]}%s",
        (int)at, script.at, arena_string(g->arena, span_from(script, at + time.len)));
    redis_script_init(&g->limiters[0]->redis->txn, span_str(text));
}

task_test_real(a_clock_that_jumps_never_admits_too_much)
{
    struct limiters g;
    limiters_prepare(&g);
    g.config.suite_requests = 3;
    g.config.suite_concurrency = 0;
    limiters_start(&g, 1);
    set_server_clock(&g, "0");
    be_off(&g);
    assert_true(granted(limiters_acquire(&g, 0, 1)));
    set_server_clock(&g, "-100");
    struct ask *ask = limiters_ask(g.limiters[0], 2, g.arena);
    assert_status(home_decide(g.limiters[0], ask), REASON_STORE_FAILED); /* stands still */
    set_server_clock(&g, "20");
    assert_true(granted(limiters_acquire(&g, 0, 2)));
    set_server_clock(&g, "40");
    assert_true(granted(limiters_acquire(&g, 0, 3)));
    /* Forward by 50 of the 60 seconds: the window is as much shorter, and no more. */
    set_server_clock(&g, "50");
    assert_false(granted(limiters_acquire(&g, 0, 4)));
    assert_true(limiters_losses(&g) == 0);
    limiters_stop(&g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_server_that_drops_keys_is_refused),
    cmocka_unit_test(what_a_newer_program_wrote_is_not_touched),
    cmocka_unit_test(password_and_tls),
    cmocka_unit_test(the_master_that_sentinels_choose_is_followed),
    cmocka_unit_test(a_server_without_memory_grants_nothing_and_loses_nothing),
    cmocka_unit_test(a_clock_that_jumps_never_admits_too_much),
};

HARNESS_MAIN(tests)
