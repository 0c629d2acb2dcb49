#include "redis_sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "harness.h"
#include "loop/task.h"

void redis_sentinel_start(struct redis_sentinel_server *sentinel, const struct redis_server *master)
{
    CLEANUP(buf_clear) struct buf conf;
    buf_init(&conf, 4096);
    *sentinel = (struct redis_sentinel_server){.address = {"127.0.0.1", redis_server_free_port()}};
    snprintf(sentinel->folder, sizeof(sentinel->folder), "/tmp/prism-sentinel-XXXXXX");
    assert_non_null(mkdtemp(sentinel->folder));
    snprintf(sentinel->conf, sizeof(sentinel->conf), "%s/conf", sentinel->folder);
    snprintf(sentinel->log, sizeof(sentinel->log), "%s/log", sentinel->folder);
    buf_addf(&conf,
             "bind 127.0.0.1\nport %u\ndir %s\nrequirepass " SENTINEL_PASSWORD "\n"
             "sentinel monitor " SENTINEL_MASTER " 127.0.0.1 %u 1\n"
             "sentinel down-after-milliseconds " SENTINEL_MASTER " 500\n"
             "sentinel failover-timeout " SENTINEL_MASTER " 2000\n",
             (unsigned)sentinel->address.port, sentinel->folder, (unsigned)master->port);
    assert_null(file_write(sentinel->conf, buf_span(&conf)));
    process_start(&sentinel->process, REDIS_SERVER,
                  (const char *const[]){sentinel->conf, "--sentinel", NULL}, NULL, sentinel->log);
}

void redis_sentinel_stop(struct redis_sentinel_server *sentinel)
{
    process_kill(&sentinel->process);
    unlink(sentinel->conf);
    unlink(sentinel->log);
    rmdir(sentinel->folder);
}

void redis_sentinel_switch(const struct redis_sentinel_server *sentinel)
{
    struct redis_options options = {.address = sentinel->address, .password = {SENTINEL_PASSWORD}};
    struct redis *redis = redis_server_client(&options);
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    const struct redis_reply *reply;
    do {
        assert_status_ok(task_sleep_ms(100));
        assert_status_ok(redis_command(
            redis, REDIS_ARGS(SPAN("SENTINEL"), SPAN("FAILOVER"), SPAN(SENTINEL_MASTER)), arena,
            &reply));
    } while (reply->type == REDIS_TYPE_ERROR);
    redis_free(redis);
}
