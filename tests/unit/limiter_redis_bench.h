/*
 * limiter_redis_bench.h -- options for a limiter in the test's process, and a redis-server for it,
 * whose clock can stand where the test says.
 */
#ifndef PRISM_TESTS_LIMITER_REDIS_BENCH_H
#define PRISM_TESTS_LIMITER_REDIS_BENCH_H

#include <stdio.h>

#include "limiter/home_redis.h"
#include "redis_server.h"
#include "task_test.h"

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct limiter_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
/* clang-format off */
#include "app/common.def"
#include "limiter/config.def"
    /* clang-format on */
};

/* The defaults, of a store that is new. */
static inline void limiter_defaults(struct limiter_config *config, struct arena *arena)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *error;
        assert_true(config_parse(&rows[i], span_str(rows[i].otherwise), arena,
                                 (char *)config + rows[i].offset, &error));
    }
    config->assume_new_store = true;
}

static bool on_redis; /* the tests that follow */

static inline int use_redis(void **state)
{
    (void)state;
    on_redis = true;
    return 0;
}

static inline int use_memory(void **state)
{
    (void)state;
    on_redis = false;
    return 0;
}

/* clang-format off */
#define ON_BOTH_HOMES(test)                                                                        \
    cmocka_unit_test(test), {#test " (Redis)", test, use_redis, use_memory, NULL}
/* clang-format on */

struct redis_bench {
    struct redis_server server;
    struct redis_options reach;
    struct redis *client; /* the test's own */
    char address[32];
};

static inline void redis_bench_serve(struct redis_bench *b, struct limiter_config *config)
{
    redis_server_start(&b->server);
    snprintf(b->address, sizeof(b->address), "127.0.0.1:%u", b->server.port);
    config->store = "redis";
    config->redis = b->address;
}

static inline void redis_bench_connect(struct redis_bench *b)
{
    b->reach = redis_server_options(&b->server, REDIS_BY_PATH);
    b->client = redis_server_client(&b->reach);
}

static inline const struct redis_reply *
redis_bench_ask(struct redis_bench *b, const struct span *args, size_t n, struct arena *arena)
{
    const struct redis_reply *reply;
    assert_status_ok(redis_command(b->client, args, n, arena, &reply));
    return reply;
}

/* Moves the clock of the script. */
static inline void redis_bench_move(struct redis_bench *b, uint64_t now_ms, struct arena *arena)
{
    const char *text = arena_printf(arena, "%llu", (unsigned long long)now_ms);
    redis_bench_ask(b, REDIS_ARGS(SPAN("SET"), SPAN("now"), span_str(text)), arena);
}

/* The script, with a clock that is moved by hand; before the limiter's first step. */
static inline void redis_bench_take_clock(struct limiter *limiter, uint64_t (*clock_us)(void),
                                          struct arena *arena)
{
    struct span script = span_of(limiter_txn_lua, limiter_txn_lua_len);
    struct span time = SPAN("redis.call('TIME')");
    size_t at = span_find(script, time);
    assert_true(at != SPAN_MISSING);
    const char *text =
        arena_printf(arena,
                     "local now = tonumber(redis.call('GET', 'now'))\n"
                     "%.*s{math.floor(now / 1000), now %% 1000 * 1000}%s",
                     (int)at, script.at, arena_string(arena, span_from(script, at + time.len)));
    redis_script_init(&limiter->redis->txn, span_str(text));
    limiter->redis->clock_us = clock_us;
}

#endif
