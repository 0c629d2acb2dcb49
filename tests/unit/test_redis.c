/* The Redis client against real servers: order, size, time, loss. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/metric.h"
#include "net/redis.h"
#include "redis_server.h"
#include "task_test.h"

#define VALKEY     "/usr/bin/valkey-server"
#define BIG        (8u << 20)
#define TASKS      100
#define EACH       100
#define PATIENCE   20000
#define LATENCY_MS 400 /* a turn of the loop may be so late on a busy machine */

static struct tls_files files;
static const char *program; /* NULL: redis-server */

static struct arena *arena_make(void)
{
    return arena_new(1u << 20);
}

/* "OK", or how it failed; a number; nil; an error with its first word. */
static const char *say(struct redis *redis, struct arena *arena, const char *words) PARKS
{
    struct span args[16], rest = span_str(words);
    size_t n = 0;
    while (n < ARRAY_LEN(args) && span_cut(&rest, ' ', &args[n])) {
        n++;
    }
    const struct redis_reply *reply;
    struct status s = redis_command(redis, args, n, arena, &reply);
    if (!status_ok(s)) {
        return reason_name(s.reason);
    }
    switch (reply->type) {
    case REDIS_TYPE_NIL:
        return "nil";
    case REDIS_TYPE_INTEGER:
        return arena_printf(arena, "%lld", (long long)reply->integer);
    case REDIS_TYPE_ARRAY:
        return arena_printf(arena, "[%zu]", reply->n_elements);
    case REDIS_TYPE_ERROR:
    case REDIS_TYPE_STATUS:
    case REDIS_TYPE_STRING:
        return reply->text.at;
    }
    return NULL;
}

#define assert_says(redis, arena, words, want) assert_string_equal(say(redis, arena, words), want)

static void wait_ready(struct redis *redis) PARKS
{
    assert_status_ok(redis_wait_ready(redis, loop_now_ms(task_loop()) + PATIENCE));
}

static void wait_not_ready(struct redis *redis) PARKS
{
    while (status_ok(redis_health(redis))) {
        assert_status_ok(task_sleep_ms(1));
    }
}

static void server_start(struct redis_server *server) PARKS
{
    server->program = program;
    redis_server_start(server);
}

/* The most time between two turns of the loop while somebody else works. */
struct pulse {
    struct group group;
    bool ends;
    uint64_t worst_ms;
};

static void feel_pulse(void *arg) PARKS
{
    struct pulse *pulse = arg;
    uint64_t last = clock_mono_ms();
    while (!pulse->ends) {
        assert_status_ok(task_sleep_ms(1));
        uint64_t now = clock_mono_ms();
        pulse->worst_ms = now - last > pulse->worst_ms ? now - last : pulse->worst_ms;
        last = now;
    }
}

static void pulse_start(struct pulse *pulse)
{
    *pulse = (struct pulse){0};
    group_init(&pulse->group);
    group_spawn(&pulse->group, "pulse", feel_pulse, pulse);
}

static void pulse_stop(struct pulse *pulse) PARKS
{
    pulse->ends = true;
    assert_status_ok(group_wait(&pulse->group));
    print_message("# longest turn of the loop: %u ms\n", (unsigned)pulse->worst_ms);
    assert_true(pulse->worst_ms < LATENCY_MS);
}

/* --- replies -------------------------------------------------------------------------------------
 */

task_test_real(every_kind_of_reply_comes_as_it_is)
{
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PORT);
    struct redis *redis = redis_server_client(&options);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    const struct redis_reply *reply;
    assert_says(redis, arena, "SET key value", "OK");
    assert_says(redis, arena, "GET key", "value");
    assert_says(redis, arena, "GET other", "nil");
    assert_says(redis, arena, "INCRBY n -7", "-7");
    assert_says(redis, arena, "INCRBY n 9223372036854775807", "9223372036854775800");

    assert_status_ok(
        redis_command(redis, REDIS_ARGS(SPAN("LPUSH"), SPAN("key"), SPAN("x")), arena, &reply));
    assert_int_equal(reply->type, REDIS_TYPE_ERROR);
    struct status s = redis_expect(reply, REDIS_TYPE_INTEGER);
    assert_status(s, REASON_STORE_FAILED);
    assert_true(span_starts(span_str(s.detail), SPAN("WRONGTYPE ")));

    /* Any byte, and none, goes there and back. */
    struct span odd = SPAN("\r\n\0$-1\r\n");
    assert_status_ok(redis_command(redis, REDIS_ARGS(SPAN("MSET"), odd, SPAN_NONE, SPAN("b"), odd),
                                   arena, &reply));
    assert_status_ok(redis_expect(reply, REDIS_TYPE_STATUS));
    assert_status_ok(redis_command(
        redis, REDIS_ARGS(SPAN("MGET"), odd, SPAN("b"), SPAN("key"), SPAN("none")), arena, &reply));
    assert_status_ok(redis_expect(reply, REDIS_TYPE_ARRAY));
    assert_status(redis_expect(reply, REDIS_TYPE_STRING), REASON_PROTOCOL_ERROR);
    assert_int_equal(reply->n_elements, 4);
    assert_int_equal(reply->elements[0].type, REDIS_TYPE_STRING);
    assert_int_equal(reply->elements[0].text.len, 0);
    assert_span(reply->elements[1].text, odd);
    assert_span(reply->elements[2].text, SPAN("value"));
    assert_int_equal(reply->elements[3].type, REDIS_TYPE_NIL);

    struct span nested = SPAN("return {1, {'two', {}, {redis.error_reply('BAD three')}}, false}");
    assert_status_ok(
        redis_command(redis, REDIS_ARGS(SPAN("EVAL"), nested, SPAN("0")), arena, &reply));
    assert_int_equal(reply->n_elements, 3);
    assert_int_equal(reply->elements[0].integer, 1);
    const struct redis_reply *inner = &reply->elements[1];
    assert_int_equal(inner->n_elements, 3);
    assert_span(inner->elements[0].text, SPAN("two"));
    assert_int_equal(inner->elements[1].type, REDIS_TYPE_ARRAY);
    assert_int_equal(inner->elements[1].n_elements, 0);
    assert_int_equal(inner->elements[2].elements[0].type, REDIS_TYPE_ERROR);
    assert_int_equal(reply->elements[2].type, REDIS_TYPE_NIL);
    redis_free(redis);
    redis_server_stop(&server);
}

task_test_real(big_values_travel_each_way)
{
    struct redis_server server = {.tls = &files, .tls_clients = true};
    server_start(&server);
    char *bytes = malloc(BIG);
    for (size_t i = 0; i < BIG; i++) {
        bytes[i] = (char)(i * 2654435761u >> 13);
    }
    for (enum redis_way way = REDIS_BY_PATH; way <= REDIS_BY_TLS; way++) {
        struct redis_options options = redis_server_options(&server, way);
        options.command_ms = PATIENCE;
        struct redis *redis = redis_server_client(&options);
        struct arena *arena = arena_new(2 * BIG);
        struct arena *small = arena_new(BIG / 2);
        const struct redis_reply *reply;
        assert_status_ok(redis_command(
            redis, REDIS_ARGS(SPAN("SET"), SPAN("big"), span_of(bytes, BIG)), arena, &reply));
        assert_status_ok(redis_expect(reply, REDIS_TYPE_STATUS));
        struct span get[] = {SPAN("GET"), SPAN("big")};
        assert_status_ok(redis_command(redis, get, 2, arena, &reply));
        assert_span(reply->text, span_of(bytes, BIG));

        /* Who has no room for it loses it, and nobody else anything. */
        assert_status(redis_command(redis, get, 2, small, &reply), REASON_MESSAGE_TOO_COMPLEX);
        assert_says(redis, small, "STRLEN big", "8388608");
        assert_int_equal(redis_connection(redis), 1);
        arena_free(small);
        arena_free(arena);
        redis_free(redis);
    }
    free(bytes);
    redis_server_stop(&server);
}

/* --- many at once --------------------------------------------------------------------------------
 */

struct crowd {
    struct redis *redis;
    size_t answered;
    size_t lost;   /* may have been carried out */
    size_t unsent; /* was never sent */
    size_t late;
};

static void ask_own_things(void *arg) PARKS
{
    struct crowd *crowd = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    for (size_t i = 0; i < EACH; i++) {
        char own[64];
        snprintf(own, sizeof(own), "%p-%zu", (void *)task_self(), i);
        const struct redis_reply *reply;
        assert_status_ok(
            redis_command(crowd->redis, REDIS_ARGS(SPAN("ECHO"), span_str(own)), arena, &reply));
        assert_span(reply->text, span_str(own));
        crowd->answered++;
    }
}

task_test_real(ten_thousand_commands_of_a_hundred_tasks_get_their_own_replies)
{
    struct redis_server server = {.tls = &files, .tls_clients = true};
    server_start(&server);
    for (enum redis_way way = REDIS_BY_PATH; way <= REDIS_BY_TLS; way++) {
        struct redis_options options = redis_server_options(&server, way);
        options.command_ms = PATIENCE;
        struct crowd crowd = {.redis = redis_server_client(&options)};
        struct group group;
        group_init(&group);
        for (size_t i = 0; i < TASKS; i++) {
            group_spawn(&group, "asker", ask_own_things, &crowd);
        }
        assert_status_ok(group_wait(&group));
        assert_int_equal(crowd.answered, TASKS * EACH);
        assert_int_equal(redis_connection(crowd.redis), 1);
        redis_free(crowd.redis);
    }
    redis_server_stop(&server);
}

struct pusher {
    struct redis *redis;
    size_t number;
};

static void push_number(void *arg) PARKS
{
    struct pusher *pusher = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    char words[64], want[32];
    snprintf(words, sizeof(words), "RPUSH list %zu", pusher->number);
    snprintf(want, sizeof(want), "%zu", pusher->number + 1);
    assert_says(pusher->redis, arena, words, want);
}

static uint64_t reads_of(struct redis *redis, struct arena *arena) PARKS
{
    struct span info = span_str(say(redis, arena, "INFO stats"));
    struct span key = SPAN("total_reads_processed:"), number;
    size_t at = span_find(info, key);
    uint64_t reads = 0;
    struct span rest = span_from(info, at + key.len);
    assert_true(at != SPAN_MISSING && span_cut(&rest, '\r', &number));
    assert_true(span_parse_u64(number, &reads));
    return reads;
}

/* What many tasks ask in one turn leaves in one send and in their order. */
task_test_real(the_commands_of_a_turn_are_sent_together)
{
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    struct redis *redis = redis_server_client(&options);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    struct pusher pushers[TASKS];
    struct group group;
    group_init(&group);
    uint64_t before = reads_of(redis, arena);
    for (size_t i = 0; i < TASKS; i++) {
        pushers[i] = (struct pusher){redis, i};
        group_spawn(&group, "pusher", push_number, &pushers[i]);
    }
    assert_status_ok(group_wait(&group));
    assert_int_equal(reads_of(redis, arena) - before, 2); /* theirs, and this question */
    redis_free(redis);
    redis_server_stop(&server);
}

/* --- time ----------------------------------------------------------------------------------------
 */

static void ask_until_it_fails(void *arg) PARKS
{
    struct crowd *crowd = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 20);
    for (;;) {
        const struct redis_reply *reply;
        struct status s =
            redis_command(crowd->redis, REDIS_ARGS(SPAN("INCR"), SPAN("n")), arena, &reply);
        if (status_ok(s)) {
            assert_int_equal(reply->type, REDIS_TYPE_INTEGER);
            crowd->answered++;
            continue;
        }
        crowd->late += s.reason == REASON_TIMED_OUT;
        crowd->lost += s.reason == REASON_CONNECTION_LOST;
        crowd->unsent += s.reason == REASON_CONNECT_FAILED;
        return;
    }
}

static void crowd_ends(struct crowd *crowd, struct group *group, uint64_t most_ms) PARKS
{
    uint64_t began = clock_mono_ms();
    assert_status_ok(group_wait(group));
    assert_true(clock_mono_ms() - began < most_ms);
    assert_int_equal(crowd->late + crowd->lost + crowd->unsent, TASKS);
}

static void crowd_starts(struct crowd *crowd, struct group *group) PARKS
{
    group_init(group);
    for (size_t i = 0; i < TASKS; i++) {
        group_spawn(group, "asker", ask_until_it_fails, crowd);
    }
    while (crowd->answered <= TASKS) {
        assert_int_equal(crowd->late + crowd->lost + crowd->unsent, 0);
        assert_status_ok(task_sleep_ms(1));
    }
}

task_test_real(a_server_that_stands_still_is_left_in_time)
{
    static const char *const how[] = {"pause", "stop"};
    for (size_t i = 0; i < ARRAY_LEN(how); i++) {
        struct redis_server server = {0};
        server_start(&server);
        struct redis_options options = redis_server_options(&server, REDIS_BY_PORT);
        struct redis *other = redis_server_client(&options);
        options.command_ms = 500;
        struct crowd crowd = {.redis = redis_server_client(&options)};
        CLEANUP(arena_drop) struct arena *arena = arena_make();
        struct group group;
        struct pulse pulse;
        crowd_starts(&crowd, &group);
        pulse_start(&pulse);
        if (i == 0) {
            assert_says(other, arena, "CLIENT PAUSE 2500", "OK");
        } else {
            process_signal(&server.process, SIGSTOP);
        }
        crowd_ends(&crowd, &group, 20 * options.command_ms);
        pulse_stop(&pulse);
        assert_true(crowd.late > 0);
        assert_status(redis_health(crowd.redis), REASON_TIMED_OUT);
        process_signal(&server.process, SIGCONT);
        wait_ready(crowd.redis);
        assert_true(redis_connection(crowd.redis) == 2);
        assert_says(crowd.redis, arena, "ECHO again", "again");
        redis_free(crowd.redis);
        redis_free(other);
        redis_server_stop(&server);
    }
}

task_test_real(silence_is_noticed_without_a_command)
{
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    options.ping_ms = 30;
    options.command_ms = 50;
    options.connect_ms = 50;
    struct redis *redis = redis_server_client(&options);
    assert_status_ok(task_sleep_ms(300));
    assert_int_equal(redis_connection(redis), 1);
    process_signal(&server.process, SIGSTOP);
    uint64_t began = clock_mono_ms();
    wait_not_ready(redis);
    assert_true(clock_mono_ms() - began < 20 * (options.ping_ms + options.command_ms));
    process_signal(&server.process, SIGCONT);
    wait_ready(redis);
    redis_free(redis);
    redis_server_stop(&server);
}

/* Nobody is there at all: what is asked fails at once and was never sent. */
task_test_real(without_a_server_commands_fail_at_once)
{
    struct redis_options options = {.path = "/tmp/prism-no-such-socket"};
    struct redis *redis = redis_new(task_loop(), &options);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    assert_status(redis_health(redis), REASON_CONNECT_FAILED);
    assert_says(redis, arena, "PING", "CONNECT_FAILED");
    struct status s = redis_wait_ready(redis, loop_now_ms(task_loop()) + 50);
    assert_status(s, REASON_CONNECT_FAILED);
    s = redis_health(redis);
    assert_status(s, REASON_CONNECT_FAILED);
    assert_string_equal(s.detail, "No such file or directory");
    assert_int_equal(redis_connection(redis), 0);
    redis_free(redis);
}

/* --- loss ----------------------------------------------------------------------------------------
 */

task_test_real(killed_in_the_middle_of_a_pipeline)
{
    struct redis_server server = {.tls = &files, .tls_clients = true};
    for (unsigned i = 0; i < 6; i++) {
        bool hungry = i % 2 == 1; /* it took commands that it did not answer */
        server_start(&server);
        struct redis_options options = redis_server_options(&server, (enum redis_way)(i / 2));
        options.command_ms = PATIENCE;
        struct crowd crowd = {.redis = redis_server_client(&options)};
        CLEANUP(arena_drop) struct arena *arena = arena_make();
        struct group group;
        crowd_starts(&crowd, &group);
        if (hungry) {
            process_signal(&server.process, SIGSTOP);
            assert_status_ok(task_sleep_ms(20));
        }
        redis_server_kill(&server);
        crowd_ends(&crowd, &group, 2000);
        assert_int_equal(crowd.late, 0);
        assert_true(!hungry || crowd.lost == TASKS);
        assert_says(crowd.redis, arena, "PING", "CONNECT_FAILED");
        server_start(&server);
        wait_ready(crowd.redis);
        assert_int_equal(redis_connection(crowd.redis), 2);
        assert_says(crowd.redis, arena, "GET n", "nil");
        redis_free(crowd.redis);
        redis_server_stop(&server);
    }
}

task_test_real(too_much_is_refused_before_it_is_sent)
{
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    options.pending_max = TASKS / 2;
    options.command_ms = 300;
    struct crowd crowd = {.redis = redis_server_client(&options)};
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    struct group group;
    process_signal(&server.process, SIGSTOP);
    group_init(&group);
    for (size_t i = 0; i < TASKS; i++) {
        group_spawn(&group, "asker", ask_until_it_fails, &crowd);
    }
    assert_status_ok(group_wait(&group));
    assert_int_equal(crowd.late + crowd.lost, TASKS / 2); /* the others were refused */
    process_signal(&server.process, SIGCONT);
    wait_ready(crowd.redis);

    static char huge[32u << 20];
    const struct redis_reply *reply;
    assert_status(redis_command(crowd.redis, REDIS_ARGS(SPAN("ECHO"), span_of(huge, sizeof(huge))),
                                arena, &reply),
                  REASON_MESSAGE_TOO_LARGE);
    assert_says(crowd.redis, arena, "ECHO small", "small");
    redis_free(crowd.redis);
    redis_server_stop(&server);
}

/* --- scripts -------------------------------------------------------------------------------------
 */

task_test_real(a_script_that_was_forgotten_is_told_again)
{
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PORT);
    struct redis *redis = redis_server_client(&options);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    struct redis_script script;
    redis_script_init(&script, SPAN("return {KEYS[1], ARGV[1], #KEYS, #ARGV}"));
    struct span keys[] = {SPAN("k1"), SPAN("k2")}, args[] = {SPAN("a1"), SPAN("a2"), SPAN("a3")};
    for (int i = 0; i < 4; i++) {
        const struct redis_reply *reply;
        assert_status_ok(redis_eval(redis, &script, keys, 2, args, 3, arena, &reply));
        assert_int_equal(reply->n_elements, 4);
        assert_span(reply->elements[0].text, SPAN("k1"));
        assert_span(reply->elements[1].text, SPAN("a1"));
        assert_int_equal(reply->elements[2].integer, 2);
        assert_int_equal(reply->elements[3].integer, 3);
        if (i == 1) {
            assert_says(redis, arena, "SCRIPT FLUSH", "OK");
        }
    }
    struct span stats = span_str(say(redis, arena, "INFO commandstats"));
    assert_true(span_find(stats, SPAN("cmdstat_evalsha:calls=4,")) != SPAN_MISSING);
    assert_true(span_find(stats, SPAN("cmdstat_eval:calls=2,")) != SPAN_MISSING);

    /* An error of the script is an error, not a reason to say it again. */
    redis_script_init(&script, SPAN("return redis.error_reply('MINE NOSCRIPT')"));
    const struct redis_reply *reply;
    assert_status_ok(redis_eval(redis, &script, NULL, 0, NULL, 0, arena, &reply));
    assert_status(redis_expect(reply, REDIS_TYPE_STRING), REASON_STORE_FAILED);
    redis_free(redis);
    redis_server_stop(&server);
}

/* --- greeting ------------------------------------------------------------------------------------
 */

task_test_real(the_greeting_names_proves_and_chooses)
{
    struct redis_server server = {.password = "open sesame"};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PORT);
    struct redis *admin = redis_server_client(&options);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    assert_says(admin, arena, "ACL SETUSER limited on >word ~* +@all -client|setname", "OK");
    options.user = "limited";
    options.password.at = "word";
    options.database = 3;
    struct redis *redis = redis_server_client(&options);
    assert_says(redis, arena, "ACL WHOAMI", "limited");
    assert_says(redis, arena, "SET where here", "OK");
    const char *clients = say(admin, arena, "CLIENT LIST");
    assert_non_null(strstr(clients, "name=test"));
    assert_non_null(strstr(clients, "db=3"));
    assert_null(strstr(clients, "resp=3"));
    assert_null(strstr(say(admin, arena, "INFO commandstats"), "cmdstat_hello"));
    redis_free(redis);
    redis_free(admin);
    redis_server_stop(&server);
}

static struct status refusal_of(const struct redis_options *options, struct arena *arena) PARKS
{
    struct redis *redis = redis_new(task_loop(), options);
    assert_status(redis_wait_ready(redis, loop_now_ms(task_loop()) + 500), REASON_CONNECT_FAILED);
    struct status s = status_copy(redis_health(redis), arena);
    redis_free(redis);
    return s;
}

task_test_real(who_is_refused_is_told_why)
{
    struct redis_server server = {.password = "open sesame", .tls = &files, .tls_clients = true};
    server_start(&server);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    struct redis_options good = redis_server_options(&server, REDIS_BY_PORT);
    struct redis_options no_password = good, wrong = good, far = good;
    struct redis_options by_tls = redis_server_options(&server, REDIS_BY_TLS);
    struct stream_tls other_ca = {.ca_file = files.other_ca}, no_cert = {.ca_file = files.ca};
    struct stream_tls no_file = {.ca_file = "/nonexistent"};
    no_password.password.at = NULL;
    wrong.password.at = "open barley";
    far.database = 16;
    struct redis_options distrust = by_tls, unknown = by_tls, plain = by_tls, broken = by_tls;
    distrust.tls = &other_ca;
    unknown.tls = &no_cert;
    plain.tls = NULL;
    broken.tls = &no_file;
    struct {
        const struct redis_options *options;
        enum reason reason;
        const char *begin;
    } cases[] = {
        {&no_password, REASON_CONNECT_FAILED, "NOAUTH "},
        {&wrong, REASON_CONNECT_FAILED, "WRONGPASS "},
        {&far, REASON_CONNECT_FAILED, "ERR DB index is out of range"},
        {&distrust, REASON_CONNECT_FAILED, "self-signed certificate in certificate chain"},
        {&unknown, REASON_CONNECTION_LOST, "tlsv13 alert certificate required"},
        {&plain, REASON_CONNECTION_LOST, ""},
        {&broken, REASON_CONFIG_INVALID, "the file of certificate authorities is unusable"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct status s = refusal_of(cases[i].options, arena);
        print_message("# refused: %s\n", status_text(s));
        assert_status(s, cases[i].reason);
        assert_true(span_starts(span_str(s.detail), span_str(cases[i].begin)));
    }
    redis_server_stop(&server);
}

/* --- leaving -------------------------------------------------------------------------------------
 */

struct call {
    struct redis *redis;
    struct status result;
};

static void one_call(void *arg) PARKS
{
    struct call *call = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    const struct redis_reply *reply;
    struct redis_script script;
    redis_script_init(&script, SPAN("return redis.call('INCR', KEYS[1])"));
    struct span key = SPAN("left");
    call->result = redis_wait_ready(call->redis, loop_now_ms(task_loop()) + PATIENCE);
    if (status_ok(call->result)) {
        call->result = redis_eval(call->redis, &script, &key, 1, NULL, 0, arena, &reply);
    }
}

task_test_real(a_caller_may_leave_at_each_wait)
{
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    size_t n = 1;
    for (; n == 1 || task_test_waits() >= n - 1; n++) {
        struct redis *redis = redis_new(task_loop(), &options);
        struct call call = {.redis = redis};
        struct group group;
        group_init(&group);
        task_test_cancel_at("caller", n);
        group_spawn(&group, "caller", one_call, &call);
        assert_status_ok(group_wait(&group));
        assert_status(call.result, task_test_waits() >= n ? REASON_CALL_CANCELLED : REASON_NONE);
        wait_ready(redis);
        assert_says(redis, arena, "ECHO in-step", "in-step");
        assert_says(redis, arena, "SCRIPT FLUSH", "OK");
        assert_int_equal(redis_connection(redis), 1);
        redis_free(redis);
    }
    assert_int_equal(n, 5); /* to be ready, EVALSHA, EVAL, and once not at all */
    task_test_cancel_at("nobody", 0);
    redis_server_stop(&server);
}

task_test_real(a_caller_with_less_time_leaves_alone)
{
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    options.command_ms = PATIENCE;
    struct redis *redis = redis_server_client(&options);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    process_signal(&server.process, SIGSTOP);
    struct call call = {.redis = redis};
    struct op ended;
    op_init(&ended, task_loop(), NULL, NULL);
    struct task_options soon = {.name = "soon", .deadline_ms = loop_now_ms(task_loop()) + 50};
    task_spawn(task_loop(), &soon, one_call, &call);
    assert_status_ok(task_sleep_ms(200));
    assert_status(call.result, REASON_DEADLINE_PASSED);
    process_signal(&server.process, SIGCONT);
    assert_says(redis, arena, "ECHO in-step", "in-step");
    assert_int_equal(redis_connection(redis), 1);
    redis_free(redis);
    redis_server_stop(&server);
}

/* Whenever it comes, the end is clean: nobody waits on, nothing is left. */
task_test_real(the_client_may_be_closed_at_any_time)
{
    struct redis_server server = {.tls = &files, .tls_clients = true};
    server_start(&server);
    for (enum redis_way way = REDIS_BY_PATH; way <= REDIS_BY_TLS; way++) {
        for (size_t turns = 0; turns < 40; turns++) {
            struct redis_options options = redis_server_options(&server, way);
            struct redis *redis = redis_new(task_loop(), &options);
            struct call call = {.redis = redis};
            struct group group;
            group_init(&group);
            group_spawn(&group, "caller", one_call, &call);
            for (size_t i = 0; i < turns; i++) {
                task_yield();
            }
            redis_free(redis);
            assert_status_ok(group_wait(&group));
            assert_true(status_ok(call.result) || call.result.reason == REASON_CONNECT_FAILED ||
                        call.result.reason == REASON_CONNECTION_LOST);
        }
    }
    redis_server_stop(&server);
}

/* Nobody does that, and then there is no connection any more; but nothing hangs. */
task_test_real(even_our_own_tasks_may_be_cancelled)
{
    static const char *const names[] = {"redis", "redis writer"};
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PORT);
    options.command_ms = 50;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (size_t n = 1; n < 8; n++) {
            task_test_cancel_at(names[i], n);
            struct redis *redis = redis_new(task_loop(), &options);
            CLEANUP(arena_drop) struct arena *arena = arena_make();
            for (int k = 0; k < 3; k++) {
                struct status s = redis_wait_ready(redis, loop_now_ms(task_loop()) + 50);
                assert_true(status_ok(s) || s.reason == REASON_CONNECT_FAILED);
                (void)say(redis, arena, "PING");
            }
            redis_free(redis);
        }
    }
    task_test_cancel_at("nobody", 0);
    redis_server_stop(&server);
}

/* --- what is counted -----------------------------------------------------------------------------
 */

static double counted(struct metric *metric, const char *outcome)
{
    return metric_value(metric, METRIC_LABELS("counted", outcome));
}

task_test_real(ends_are_counted)
{
    struct redis_server server = {0};
    server_start(&server);
    struct redis_options options = redis_server_options(&server, REDIS_BY_PATH);
    options.name = "counted";
    options.command_ms = 100;
    struct redis *redis = redis_server_client(&options);
    CLEANUP(arena_drop) struct arena *arena = arena_make();
    CLEANUP(arena_drop) struct arena *small = arena_new(64);
    struct metric *ends = metric_seconds("prism_redis_command_seconds", "client,outcome", "");
    struct metric *connects = metric_counter("prism_redis_connects_total", "client,outcome", "");
    struct metric *ready = metric_gauge("prism_redis_ready", "client", "");
    const struct redis_reply *reply;
    assert_true(metric_value(ready, METRIC_LABELS("counted")) == 1);
    assert_says(redis, arena, "SET a b", "OK");
    assert_says(redis, arena, "GET a", "b");
    assert_true(span_starts(span_str(say(redis, arena, "NONSENSE")), SPAN("ERR ")));
    assert_status(redis_command(redis, REDIS_ARGS(SPAN("COMMAND"), SPAN("COUNT")), small, &reply),
                  REASON_NONE);
    assert_status(redis_command(redis, REDIS_ARGS(SPAN("INFO")), small, &reply),
                  REASON_MESSAGE_TOO_COMPLEX);
    process_signal(&server.process, SIGSTOP);
    assert_says(redis, arena, "GET a", "TIMED_OUT");
    assert_true(metric_value(ready, METRIC_LABELS("counted")) == 0);
    assert_says(redis, arena, "GET a", "CONNECT_FAILED");
    process_signal(&server.process, SIGCONT);
    wait_ready(redis);
    redis_free(redis);
    assert_true(counted(ends, "ok") == 3);
    assert_true(counted(ends, "error") == 1);
    assert_true(counted(ends, "too_large") == 1);
    assert_true(counted(ends, "timed_out") == 1);
    assert_true(counted(ends, "unsent") == 1);
    assert_true(counted(ends, "lost") == 0);
    assert_true(counted(connects, "ok") == 2);
    assert_true(metric_value(ready, METRIC_LABELS("counted")) == 0);
    redis_server_stop(&server);
}

/* --- how fast ------------------------------------------------------------------------------------
 */

struct race {
    struct redis *redis;
    size_t left;
};

static void run_race(void *arg) PARKS
{
    struct race *race = arg;
    struct arena *arena = arena_new(1u << 20);
    while (race->left > 0) {
        race->left--;
        const struct redis_reply *reply;
        assert_status_ok(redis_command(
            race->redis, REDIS_ARGS(SPAN("SET"), SPAN("key"), SPAN("0123456789")), arena, &reply));
        if (arena_left(arena) < 1024) {
            arena_free(arena);
            arena = arena_new(1u << 20);
        }
    }
    arena_free(arena);
}

static uint64_t cpu_us(void)
{
    struct rusage used;
    assert_int_equal(getrusage(RUSAGE_SELF, &used), 0);
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

task_test_real(figures)
{
    static const struct {
        size_t depth;
        size_t commands;
    } runs[] = {{1, 3000}, {16, 20000}, {128, 40000}};
    struct redis_server server = {.tls = &files, .tls_clients = true};
    server_start(&server);
    for (enum redis_way way = REDIS_BY_PATH; way <= REDIS_BY_TLS; way++) {
        struct redis_options options = redis_server_options(&server, way);
        options.command_ms = PATIENCE;
        for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
            struct race race = {redis_server_client(&options), runs[i].commands};
            struct group group;
            group_init(&group);
            uint64_t began_us = clock_mono_us(), cpu = cpu_us();
            for (size_t k = 0; k < runs[i].depth; k++) {
                group_spawn(&group, "racer", run_race, &race);
            }
            assert_status_ok(group_wait(&group));
            double us = (double)(clock_mono_us() - began_us), n = (double)runs[i].commands;
            print_message("# SET over %s, depth %3zu: %7.0f a second, %5.2f us of CPU each\n",
                          way == REDIS_BY_PATH   ? "a unix socket"
                          : way == REDIS_BY_PORT ? "TCP          "
                                                 : "TLS          ",
                          runs[i].depth, n / us * 1000000, (double)(cpu_us() - cpu) / n);
            redis_free(race.redis);
        }
    }
    redis_server_stop(&server);
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
        cmocka_unit_test(every_kind_of_reply_comes_as_it_is),
        cmocka_unit_test(big_values_travel_each_way),
        cmocka_unit_test(ten_thousand_commands_of_a_hundred_tasks_get_their_own_replies),
        cmocka_unit_test(the_commands_of_a_turn_are_sent_together),
        cmocka_unit_test(a_server_that_stands_still_is_left_in_time),
        cmocka_unit_test(silence_is_noticed_without_a_command),
        cmocka_unit_test(without_a_server_commands_fail_at_once),
        cmocka_unit_test(killed_in_the_middle_of_a_pipeline),
        cmocka_unit_test(too_much_is_refused_before_it_is_sent),
        cmocka_unit_test(a_script_that_was_forgotten_is_told_again),
        cmocka_unit_test(the_greeting_names_proves_and_chooses),
        cmocka_unit_test(who_is_refused_is_told_why),
        cmocka_unit_test(a_caller_may_leave_at_each_wait),
        cmocka_unit_test(a_caller_with_less_time_leaves_alone),
        cmocka_unit_test(the_client_may_be_closed_at_any_time),
        cmocka_unit_test(even_our_own_tasks_may_be_cancelled),
        cmocka_unit_test(ends_are_counted),
        cmocka_unit_test(figures),
    };
    int failed = cmocka_run_group_tests_name("redis-server", tests, make_files, remove_files);
    program = VALKEY;
    if (redis_server_present(program)) {
        failed += cmocka_run_group_tests_name("valkey-server", tests, make_files, remove_files);
    }
    return failed;
}
