/* The server: how it is reached, and whether it is one to keep state in. */
#include <inttypes.h>
#include <stdio.h>

#include "base/address.h"
#include "base/log.h"
#include "limiter/home_redis.h"

#define FIRST_MS   2000
#define INFO_MOST  (256u << 10)
#define CONNECT_MS 1000

static struct status bad(char error_text[256], const char *text)
{
    snprintf(error_text, 256, "%s", text);
    return status_of(REASON_CONFIG_INVALID, error_text);
}

/* "a:1,b:2"; checked by the option's type. */
static size_t take_addresses(struct home_redis *home, const char *list)
{
    struct span rest = span_str(list), one, host;
    size_t n = 0;
    while (n < ARRAY_LEN(home->addresses) && span_cut(&rest, ',', &one)) {
        if (address_split(span_trim(one), &host, &home->addresses[n].port)) {
            home->addresses[n++].host = arena_string(home->arena, host);
        }
    }
    return n;
}

struct status home_redis_options(struct home_redis *home, char error_text[256],
                                 struct redis_options *out)
{
    const struct limiter_config *config = home->config;
    if (!limiter_tenant_valid(span_str(config->group))) {
        return bad(error_text, "group: must be 1 to 63 of a-z, 0-9 and -");
    }
    size_t n = take_addresses(home, config->redis);
    bool sentinels = config->redis_master[0] != '\0';
    if (n == 0 || (n > 1 && !sentinels)) {
        return bad(error_text,
                   "redis: must be one address, or those of sentinels with redis_master");
    }
    home->prefix = arena_printf(home->arena, "{lim:%s}:", config->group);
    home->busy = arena_printf(home->arena, "lim:busy:%s", config->group);
    home->wake = arena_printf(home->arena, "lim:wake:%s:", config->group);
    home->tls.ca_file = config->redis_ca[0] != '\0' ? config->redis_ca : NULL;
    home->sentinels = (struct redis_sentinels){
        .addresses = home->addresses,
        .n_addresses = n,
        .master = config->redis_master,
        .password = config->redis_sentinel_password,
        .tls = config->redis_tls ? &home->tls : NULL,
    };
    *out = (struct redis_options){
        .name = "prism-limiter",
        .address = home->addresses[0],
        .sentinels = sentinels ? &home->sentinels : NULL,
        .tls = config->redis_tls ? &home->tls : NULL,
        .user = config->redis_user[0] != '\0' ? config->redis_user : NULL,
        .password = config->redis_password,
        .connect_ms = CONNECT_MS,
        .command_ms = BUDGET_MS,
    };
    return STATUS_SUCCESS;
}

/* The value of a line of INFO, empty when there is none. */
static struct span info_line(struct span info, const char *name)
{
    struct span line;
    while (span_cut(&info, '\n', &line)) {
        struct span key;
        line = span_trim(line);
        if (span_cut(&line, ':', &key) && span_eq(key, span_str(name))) {
            return line;
        }
    }
    return SPAN_NONE;
}

static void warn(const struct home_redis *home, bool off, const char *what)
{
    if (off && home->connection == 0) {
        LOG(WARN, "Redis may lose what it was told, which closes everything for a window",
            KV("why", what));
    }
}

/* A replica that has not caught up, or a server that drops keys when memory is short, must not say
 * what was granted. */
static struct status judge_server(struct home_redis *home, struct span info)
{
    struct span policy = info_line(info, "maxmemory_policy");
    if (policy.len > 0 && !span_eq(policy, SPAN("noeviction"))) {
        snprintf(home->unfit_text, sizeof(home->unfit_text),
                 "Redis may drop keys: maxmemory-policy must be noeviction, not %.*s",
                 (int)(policy.len < 64 ? policy.len : 64), policy.at);
        return status_of(REASON_CONFIG_INVALID, home->unfit_text);
    }
    if (span_eq(info_line(info, "role"), SPAN("slave"))) {
        return status_of(REASON_CONFIG_INVALID, "this Redis is a replica of another");
    }
    warn(home, policy.len == 0, "it does not tell its maxmemory-policy, which must be noeviction");
    warn(home, span_eq(info_line(info, "aof_enabled"), SPAN("0")), "appendonly is off");
    return STATUS_SUCCESS;
}

static void look_at_replicas(const struct home_redis *home, struct arena *arena)
{
    const struct redis_reply *reply;
    struct status s = redis_command(
        home->redis, REDIS_ARGS(SPAN("CONFIG"), SPAN("GET"), SPAN("min-replicas-to-write")), arena,
        &reply);
    if (status_ok(s) && reply->type == REDIS_TYPE_ARRAY && reply->n_elements == 2) {
        warn(home, span_eq(reply->elements[1].text, SPAN("0")), "min-replicas-to-write is 0");
    }
}

struct status home_redis_check(struct home_redis *home)
{
    TRY(redis_wait_ready(home->redis, loop_now_ms(home->loop) + BUDGET_MS));
    uint64_t connection = redis_connection(home->redis);
    if (home->connection == connection) {
        return home->unfit;
    }
    CLEANUP(arena_drop) struct arena *arena = arena_new(INFO_MOST);
    const struct redis_reply *reply;
    TRY(redis_command(home->redis, REDIS_ARGS(SPAN("INFO")), arena, &reply));
    struct span info = reply->type == REDIS_TYPE_STRING ? reply->text : SPAN_NONE;
    home->unfit = judge_server(home, info);
    if (home->connection == 0) {
        look_at_replicas(home, arena);
    }
    if (!status_ok(home->unfit)) {
        LOG(ERROR, "this Redis is not used", KV("why", status_text(home->unfit)));
        limiter_set_ready(home->limiter, false, "Redis may not keep what it is told");
    }
    home->connection = connection;
    return home->unfit;
}

struct status home_redis_first(struct home_redis *home)
{
    uint64_t until_ms = loop_now_ms(home->loop) + FIRST_MS;
    while (home->connection == 0 && loop_now_ms(home->loop) < until_ms) {
        TRY(task_sleep_ms(10));
    }
    return home->unfit;
}
