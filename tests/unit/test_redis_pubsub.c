/* Messages, and a master that sentinels choose, on real servers. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "net/redis.h"
#include "redis_sentinel.h"
#include "task_test.h"

#define MESSAGES 10000
#define PATIENCE 30000

static struct tls_files files;

/* --- messages ------------------------------------------------------------------------------------
 */

struct heard {
    struct redis_pubsub *pubsub;
    size_t messages;
    size_t in_order; /* payloads that were the next number */
    size_t ready;
    char channel[32];
    char payload[64];
    bool answers; /* by changing its subscriptions */
};

static void on_message(void *arg, struct span channel, struct span payload)
{
    struct heard *heard = arg;
    uint64_t number;
    heard->in_order += span_parse_u64(payload, &number) && number == heard->messages;
    heard->messages++;
    snprintf(heard->channel, sizeof(heard->channel), "%.*s", (int)channel.len, channel.at);
    snprintf(heard->payload, sizeof(heard->payload), "%.*s", (int)payload.len, payload.at);
    if (heard->answers) {
        redis_unsubscribe(heard->pubsub, channel);
        redis_subscribe(heard->pubsub, SPAN("another"));
    }
}

static void on_ready(void *arg)
{
    struct heard *heard = arg;
    heard->ready++;
}

static struct redis_pubsub *listen_to(const struct redis_options *options, struct heard *heard)
{
    struct redis_listener listener = {.message = on_message, .ready = on_ready, .arg = heard};
    *heard = (struct heard){0};
    heard->pubsub = redis_pubsub_new(task_loop(), options, &listener);
    return heard->pubsub;
}

static void wait_for(const size_t *count, size_t at_least) PARKS
{
    uint64_t until = loop_now_ms(task_loop()) + PATIENCE;
    while (*count < at_least) {
        assert_true(loop_now_ms(task_loop()) < until);
        assert_status_ok(task_sleep_ms(1));
    }
}

/* How many heard it. */
static int64_t publish(struct redis *redis, const char *channel, struct span payload) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
    const struct redis_reply *reply;
    assert_status_ok(redis_command(redis, REDIS_ARGS(SPAN("PUBLISH"), span_str(channel), payload),
                                   arena, &reply));
    assert_status_ok(redis_expect(reply, REDIS_TYPE_INTEGER));
    return reply->integer;
}

task_test_real(messages_come_in_order)
{
    struct redis_server server = {.password = "word", .tls = &files, .tls_clients = true};
    redis_server_start(&server);
    for (enum redis_way way = REDIS_BY_PATH; way <= REDIS_BY_TLS; way++) {
        struct redis_options options = redis_server_options(&server, way);
        options.command_ms = PATIENCE;
        struct redis *redis = redis_server_client(&options);
        struct heard heard;
        struct redis_pubsub *pubsub = listen_to(&options, &heard);
        redis_subscribe(pubsub, SPAN("news"));
        redis_subscribe(pubsub, SPAN("news"));
        redis_subscribe(pubsub, SPAN("other"));
        assert_false(status_ok(redis_pubsub_health(pubsub)));
        wait_for(&heard.ready, 1);
        assert_status_ok(redis_pubsub_health(pubsub));
        for (size_t i = 0; i < MESSAGES; i++) {
            char number[16];
            snprintf(number, sizeof(number), "%zu", i);
            assert_int_equal(publish(redis, "news", span_str(number)), 1);
        }
        wait_for(&heard.messages, MESSAGES);
        assert_int_equal(heard.in_order, MESSAGES);
        assert_string_equal(heard.channel, "news");
        assert_int_equal(publish(redis, "other", SPAN("x")), 1);
        wait_for(&heard.messages, MESSAGES + 1);
        assert_string_equal(heard.channel, "other");

        redis_unsubscribe(pubsub, SPAN("news"));
        redis_unsubscribe(pubsub, SPAN("never"));
        wait_for(&heard.ready, 2);
        assert_int_equal(publish(redis, "news", SPAN("x")), 0);
        assert_int_equal(heard.messages, MESSAGES + 1);
        redis_pubsub_free(pubsub);
        redis_free(redis);
    }
    redis_server_stop(&server);
}

task_test_real(a_listener_may_change_what_it_hears)
{
    struct redis_server server = {0};
    redis_server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    struct redis *redis = redis_server_client(&options);
    struct heard heard;
    struct redis_pubsub *pubsub = listen_to(&options, &heard);
    heard.answers = true;
    redis_subscribe(pubsub, SPAN("one"));
    wait_for(&heard.ready, 1);
    assert_int_equal(publish(redis, "one", SPAN("x")), 1);
    wait_for(&heard.ready, 2);
    assert_int_equal(publish(redis, "one", SPAN("x")), 0);
    assert_int_equal(publish(redis, "another", SPAN("y")), 1);
    wait_for(&heard.messages, 2);
    assert_string_equal(heard.payload, "y");
    redis_pubsub_free(pubsub);
    redis_free(redis);
    redis_server_stop(&server);
}

task_test_real(subscriptions_outlive_connections)
{
    struct redis_server server = {0};
    redis_server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PORT);
    options.ping_ms = 40;
    options.command_ms = 60;
    options.connect_ms = 200;
    struct heard heard;
    struct redis_pubsub *pubsub = listen_to(&options, &heard);
    redis_subscribe(pubsub, SPAN("news"));
    wait_for(&heard.ready, 1);

    /* Silence is no reason to leave, but standing still is. */
    assert_status_ok(task_sleep_ms(300));
    assert_int_equal(heard.ready, 1);
    process_signal(&server.process, SIGSTOP);
    while (status_ok(redis_pubsub_health(pubsub))) {
        assert_status_ok(task_sleep_ms(1));
    }
    process_signal(&server.process, SIGCONT);
    wait_for(&heard.ready, 2);

    redis_server_kill(&server);
    while (status_ok(redis_pubsub_health(pubsub))) {
        assert_status_ok(task_sleep_ms(1));
    }
    redis_subscribe(pubsub, SPAN("more"));
    redis_unsubscribe(pubsub, SPAN("news"));
    redis_server_start(&server);
    wait_for(&heard.ready, 3);
    struct redis *redis = redis_server_client(&options);
    assert_int_equal(publish(redis, "news", SPAN("x")), 0);
    assert_int_equal(publish(redis, "more", SPAN("back")), 1);
    wait_for(&heard.messages, 1);
    assert_string_equal(heard.payload, "back");
    redis_free(redis);
    redis_pubsub_free(pubsub);
    redis_server_stop(&server);
}

task_test_real(a_message_that_is_too_large_is_not_held)
{
    struct redis_server server = {0};
    redis_server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    struct redis *redis = redis_server_client(&options);
    options.reply_max = 100000;
    struct heard heard;
    struct redis_pubsub *pubsub = listen_to(&options, &heard);
    redis_subscribe(pubsub, SPAN("news"));
    wait_for(&heard.ready, 1);
    static char large[1u << 20];
    publish(redis, "news", span_of(large, sizeof(large)));
    wait_for(&heard.ready, 2); /* on the next connection */
    assert_int_equal(heard.messages, 0);
    publish(redis, "news", span_of(large, 100000));
    wait_for(&heard.messages, 1);
    redis_pubsub_free(pubsub);
    redis_free(redis);
    redis_server_stop(&server);
}

task_test_real(a_channel_that_is_forbidden_is_told)
{
    struct redis_server server = {0};
    redis_server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    struct redis *redis = redis_server_client(&options);
    CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
    const struct redis_reply *reply;
    assert_status_ok(redis_command(redis,
                                   REDIS_ARGS(SPAN("ACL"), SPAN("SETUSER"), SPAN("listener"),
                                              SPAN("on"), SPAN(">word"), SPAN("+@all"),
                                              SPAN("resetchannels"), SPAN("&open")),
                                   arena, &reply));
    assert_status_ok(redis_expect(reply, REDIS_TYPE_STATUS));
    options.user = "listener";
    options.password.at = "word";
    struct heard heard;
    struct redis_pubsub *pubsub = listen_to(&options, &heard);
    redis_subscribe(pubsub, SPAN("closed"));
    redis_subscribe(pubsub, SPAN("open"));
    struct status s = STATUS_SUCCESS;
    do {
        assert_status_ok(task_sleep_ms(1));
        s = redis_pubsub_health(pubsub);
    } while (!span_starts(span_str(s.detail), SPAN("NOPERM ")));
    assert_status(s, REASON_STORE_FAILED);
    assert_int_equal(heard.ready, 0);
    assert_int_equal(publish(redis, "open", SPAN("x")), 1); /* the other is heard */
    wait_for(&heard.messages, 1);
    redis_pubsub_free(pubsub);
    redis_free(redis);
    redis_server_stop(&server);
}

/* --- sentinels -----------------------------------------------------------------------------------
 */

/* Until the client has come to the server and may write there. */
static void arrive(struct redis *redis, const struct redis_server *server) PARKS
{
    uint64_t until = loop_now_ms(task_loop()) + PATIENCE;
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)server->port);
    for (bool there = false; !there;) {
        assert_true(loop_now_ms(task_loop()) < until);
        assert_status_ok(task_sleep_ms(20));
        CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
        const struct redis_reply *reply;
        there = status_ok(redis_command(
                    redis, REDIS_ARGS(SPAN("CONFIG"), SPAN("GET"), SPAN("port")), arena, &reply)) &&
                reply->n_elements == 2 && span_eq(reply->elements[1].text, span_str(port)) &&
                status_ok(redis_command(redis, REDIS_ARGS(SPAN("SET"), SPAN("at"), span_str(port)),
                                        arena, &reply)) &&
                reply->type == REDIS_TYPE_STATUS;
    }
}

task_test_real(the_master_is_found_and_followed)
{
    struct redis_server first = {0}, second = {0};
    redis_server_start(&first);
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)first.port);
    second.more = (const char *const[]){"--replicaof", "127.0.0.1", port, NULL};
    redis_server_start(&second);
    struct redis_sentinel_server sentinel;
    redis_sentinel_start(&sentinel, &first);

    struct redis_address addresses[] = {{"127.0.0.1", redis_server_free_port()}, sentinel.address};
    struct redis_sentinels sentinels = {.addresses = addresses,
                                        .n_addresses = ARRAY_LEN(addresses),
                                        .master = SENTINEL_MASTER,
                                        .password = {SENTINEL_PASSWORD}};
    struct redis_options options = {.sentinels = &sentinels, .name = "follower"};
    struct redis *redis = redis_server_client(&options);
    arrive(redis, &first);
    assert_int_equal(redis_connection(redis), 1);

    redis_sentinel_switch(&sentinel);
    arrive(redis, &second);
    redis_server_kill(&second); /* the first is a replica by now, and the sentinel's only choice */
    arrive(redis, &first);
    assert_status_ok(redis_health(redis));

    redis_free(redis);
    redis_sentinel_stop(&sentinel);
    redis_server_stop(&second);
    redis_server_stop(&first);
}

task_test_real(sentinels_that_do_not_help_are_told)
{
    struct redis_server master = {0};
    redis_server_start(&master);
    struct redis_sentinel_server sentinel;
    redis_sentinel_start(&sentinel, &master);
    struct redis_address nobody = {"127.0.0.1", redis_server_free_port()};
    struct redis_sentinels unknown = {
        .addresses = &sentinel.address, .n_addresses = 1, .master = "other"};
    unknown.password.at = SENTINEL_PASSWORD;
    struct redis_sentinels refused = unknown, absent = unknown;
    refused.password.at = NULL;
    absent.addresses = &nobody;
    struct {
        const struct redis_sentinels *sentinels;
        const char *detail;
    } cases[] = {
        {&unknown, "a sentinel does not know the master"},
        {&refused, "NOAUTH Authentication required."},
        {&absent, "Connection refused"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct redis_options options = {.sentinels = cases[i].sentinels, .connect_ms = 300};
        struct redis *redis = redis_new(task_loop(), &options);
        assert_status(redis_wait_ready(redis, loop_now_ms(task_loop()) + 1500),
                      REASON_CONNECT_FAILED);
        assert_string_equal(status_text(redis_health(redis)), cases[i].detail);
        redis_free(redis);
    }
    redis_sentinel_stop(&sentinel);
    redis_server_stop(&master);
}

static int make_files(void **state)
{
    (void)state;
    tls_files_make(&files);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    tls_files_remove(&files);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_in_order),
        cmocka_unit_test(a_listener_may_change_what_it_hears),
        cmocka_unit_test(subscriptions_outlive_connections),
        cmocka_unit_test(a_message_that_is_too_large_is_not_held),
        cmocka_unit_test(a_channel_that_is_forbidden_is_told),
        cmocka_unit_test(the_master_is_found_and_followed),
        cmocka_unit_test(sentinels_that_do_not_help_are_told),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make_files, remove_files);
}
