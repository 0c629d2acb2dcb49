/* The HTTP server's orderly end: who is inside gets an answer, nobody else comes in. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "net/http.h"
#include "net/http_server.h"
#include "task_test.h"

#define LONG_MS 60000

static struct {
    size_t running;
    enum reason ended; /* of the handler */
} seen;

/* "/PAUSE": so many milliseconds between its two halves. */
static void handle(struct http_exchange *exchange, void *arg) PARKS
{
    (void)arg;
    uint64_t pause_ms = 0;
    assert_true(span_parse_u64(span_from(http_exchange_path(exchange), 1), &pause_ms));
    seen.running++;
    http_reply_start(exchange, 200, NULL, 0);
    struct status s = http_reply_write(exchange, SPAN("first "));
    s = status_ok(s) ? task_sleep_ms(pause_ms) : s;
    s = status_ok(s) ? http_reply_write(exchange, SPAN("second")) : s;
    seen.ended = s.reason;
    seen.running--;
}

struct world {
    struct http_server *server;
    struct http_client *client;
    struct group callers;
};

static void world_start(struct world *w)
{
    memset(&seen, 0, sizeof(seen));
    assert_status_ok(http_server_start(
        task_loop(), &(struct http_server_options){.host = "127.0.0.1", .handler = handle},
        &w->server));
    w->client = http_client_new(task_loop(), &(struct http_client_options){0});
    group_init(&w->callers);
}

static void world_stop(struct world *w) PARKS
{
    http_server_stop(w->server);
    assert_status_ok(group_wait(&w->callers));
    http_client_free(w->client);
}

struct caller {
    struct world *world;
    uint16_t port;
    uint64_t pause_ms;
    struct status ended;
    int code;
    char body[32];
};

static void call(void *arg) PARKS
{
    struct caller *c = arg;
    char url[64];
    struct http *http = NULL;
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, sizeof(c->body) - 1);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/%u", (unsigned)c->port, (unsigned)c->pause_ms);
    struct http_request request = {.method = "GET", .url = url};
    c->ended = http_open(c->world->client, &request, &http);
    if (status_ok(c->ended)) {
        c->code = http_code(http);
        c->ended = http_read_all(http, &body);
        snprintf(c->body, sizeof(c->body), "%s", buf_cstr(&body));
        http_close(&http);
    }
}

static struct caller caller_of(struct world *w, uint64_t pause_ms)
{
    return (struct caller){.world = w, .port = http_server_port(w->server), .pause_ms = pause_ms};
}

/* Returns when its handler runs. */
static void begin(struct world *w, struct caller *c) PARKS
{
    group_spawn(&w->callers, "caller", call, c);
    for (size_t running = seen.running; seen.running == running;) {
        assert_status_ok(task_sleep_ms(1));
    }
}

task_test_real(an_idle_server_does_not_wait)
{
    struct world w;
    world_start(&w);
    uint64_t began_ms = loop_now_ms(task_loop());
    http_server_drain(w.server, LONG_MS);
    assert_true(loop_now_ms(task_loop()) - began_ms < LONG_MS / 2);
    world_stop(&w);
}

task_test_real(answers_that_are_begun_are_ended)
{
    struct world w;
    world_start(&w);
    struct caller quick = caller_of(&w, 100), slow = caller_of(&w, 300);
    begin(&w, &quick);
    begin(&w, &slow);
    uint64_t began_ms = loop_now_ms(task_loop());
    http_server_drain(w.server, LONG_MS);
    assert_in_range(loop_now_ms(task_loop()) - began_ms, 200, LONG_MS / 2);
    assert_int_equal(seen.running, 0);
    world_stop(&w);
    assert_status_ok(quick.ended);
    assert_status_ok(slow.ended);
    assert_string_equal(slow.body, "first second");
    assert_int_equal(seen.ended, REASON_NONE);
}

task_test_real(what_does_not_end_in_time_is_cut)
{
    struct world w;
    world_start(&w);
    struct caller c = caller_of(&w, 10 * LONG_MS);
    begin(&w, &c);
    uint64_t began_ms = loop_now_ms(task_loop());
    http_server_drain(w.server, 100);
    assert_in_range(loop_now_ms(task_loop()) - began_ms, 100, LONG_MS / 2);
    assert_int_equal(seen.running, 1);
    world_stop(&w);
    assert_int_equal(seen.ended, REASON_SHUTTING_DOWN);
    assert_status(c.ended, REASON_CONNECTION_LOST);
}

struct drainer {
    struct http_server *server;
    bool returned;
};

static void drain(void *arg) PARKS
{
    struct drainer *d = arg;
    http_server_drain(d->server, LONG_MS);
    d->returned = true;
}

task_test_real(nobody_else_comes_in)
{
    struct world w;
    world_start(&w);
    struct caller kept = caller_of(&w, 0);
    call(&kept); /* its connection stays */
    assert_int_equal(kept.code, 200);
    struct caller inside = caller_of(&w, 400);
    struct caller other = inside;
    begin(&w, &inside); /* takes that connection */
    begin(&w, &other);  /* and another */
    while (!(inside.code == 200 && other.code == 200)) {
        assert_status_ok(task_sleep_ms(1));
    }

    struct drainer d = {.server = w.server};
    group_spawn(&w.callers, "drainer", drain, &d);
    struct caller late = caller_of(&w, 0);
    task_yield();
    call(&late); /* no connection is free */
    assert_status(late.ended, REASON_CONNECT_FAILED);
    assert_false(d.returned);
    while (!d.returned) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_string_equal(inside.body, "first second");
    late = caller_of(&w, 0);
    call(&late); /* on a kept one */
    assert_status_ok(late.ended);
    assert_int_equal(late.code, 503);
    assert_int_equal(seen.running, 0);
    world_stop(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_idle_server_does_not_wait),
    cmocka_unit_test(answers_that_are_begun_are_ended),
    cmocka_unit_test(what_does_not_end_in_time_is_cut),
    cmocka_unit_test(nobody_else_comes_in),
};

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as every service does */
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
