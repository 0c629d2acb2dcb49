/* The Redis client against servers that are none: the reader on its own, then scripted peers. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/redis_internal.h"
#include "net_peer.h"
#include "task_test.h"

/* --- the reader ----------------------------------------------------------------------------------
 */

/* A reply as text: +OK -ERR :1 "text" nil [a b]. */
static void show(struct buf *out, const struct redis_reply *reply)
{
    switch (reply->type) {
    case REDIS_TYPE_NIL:
        buf_add_str(out, "nil");
        break;
    case REDIS_TYPE_STRING:
        buf_addf(out, "\"%.*s\"", (int)reply->text.len, reply->text.at);
        break;
    case REDIS_TYPE_STATUS:
    case REDIS_TYPE_ERROR:
        buf_add_char(out, reply->type == REDIS_TYPE_ERROR ? '-' : '+');
        buf_add_span(out, reply->text);
        break;
    case REDIS_TYPE_INTEGER:
        buf_addf(out, ":%lld", (long long)reply->integer);
        break;
    case REDIS_TYPE_ARRAY:
        buf_add_char(out, '[');
        for (size_t i = 0; i < reply->n_elements; i++) {
            buf_add_str(out, i > 0 ? " " : "");
            show(out, &reply->elements[i]);
        }
        buf_add_char(out, ']');
        break;
    }
}

/* Feeds the bytes in pieces of at most `piece`, each in memory of its own, and shows the replies,
 * one a line; "failed" ends it. arena NULL: drops them. */
static void read_all(struct span bytes, size_t piece, size_t reply_max, struct arena *arena,
                     struct buf *out)
{
    struct redis_reader *reader = redis_reader_new(reply_max);
    for (bool goes_on = true; goes_on && bytes.len > 0; bytes = span_from(bytes, piece)) {
        struct span now = span_first(bytes, piece);
        char *copy = memcpy(malloc(now.len), now.at, now.len);
        redis_reader_feed(reader, span_of(copy, now.len));
        free(copy);
        bool whole = true;
        while (goes_on && whole) {
            const struct redis_reply *reply = NULL;
            if (!status_ok(redis_reader_next(reader, arena, &whole, &reply))) {
                buf_add_str(out, "failed\n");
                goes_on = false;
            } else if (whole && reply != NULL) {
                show(out, reply);
                buf_add_char(out, '\n');
            } else if (whole) {
                buf_add_str(out, "dropped\n");
            }
        }
    }
    redis_reader_free(reader);
}

#define NEST_4 "*1\r\n*1\r\n*1\r\n*1\r\n"

static const struct {
    const char *bytes;
    const char *want;
    size_t n; /* replies in it, where that is asked */
} replies[] = {
    {"+OK\r\n", "+OK\n", 1},
    {"-ERR no\r\n:-9223372036854775808\r\n", "-ERR no\n:-9223372036854775808\n", 2},
    {"$5\r\nhe\r\no\r\n$0\r\n\r\n$-1\r\n", "\"he\r\no\"\n\"\"\nnil\n", 3},
    {"*0\r\n*-1\r\n*2\r\n+a\r\n$1\r\nb\r\n", "[]\nnil\n[+a \"b\"]\n", 3},
    {"*3\r\n*2\r\n:1\r\n*0\r\n$-1\r\n*1\r\n-x\r\n", "[[:1 []] nil [-x]]\n", 1},
    {NEST_4 NEST_4 ":8\r\n", "[[[[[[[[:8]]]]]]]]\n", 1},
    {NEST_4 NEST_4 "*1\r\n:9\r\n", "failed\n", 0},
    {"+OK\r\nHTTP/1.1 400\r\n", "+OK\nfailed\n", 0},
    {"%1\r\n+key\r\n+value\r\n", "failed\n", 0},
    {">2\r\n+message\r\n+x\r\n", "failed\n", 0},
    {"_\r\n", "failed\n", 0},
    {"*-2\r\n", "failed\n", 0},
    {"$-2\r\n", "failed\n", 0},
    {"*2147483648\r\n", "failed\n", 0},
    {"*99999999999999999999\r\n", "failed\n", 0},
    {"$99999999999999999999\r\n", "failed\n", 0},
    {":12x\r\n", "failed\n", 0},
    {":\r\n", "failed\n", 0},
    {"$x\r\n", "failed\n", 0},
    /* Complete as far as it goes: more is waited for, within the bounds. */
    {"$9223372036854775807\r\nabc", "", 0},
    {"*2147483647\r\n", "", 0},
    {"*3\r\n+a\r\n", "", 0},
};

static void replies_are_read_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        for (size_t piece = 1; piece < 70; piece++) {
            CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 10);
            CLEANUP(buf_clear) struct buf out;
            buf_init(&out, 4096);
            read_all(span_str(replies[i].bytes), piece, 1000, arena, &out);
            assert_string_equal(buf_cstr(&out), replies[i].want);
        }
    }
}

/* What nobody wants is read to its end all the same, and what follows is found. */
static void dropped_replies_keep_the_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        CLEANUP(buf_clear) struct buf out;
        CLEANUP(buf_clear) struct buf want;
        buf_init(&out, 4096);
        buf_init(&want, 4096);
        for (size_t k = 0; k < replies[i].n; k++) {
            buf_add_str(&want, "dropped\n");
        }
        read_all(span_str(replies[i].bytes), 3, 1000, NULL, &out);
        if (replies[i].n > 0) {
            assert_string_equal(buf_cstr(&out), buf_cstr(&want));
        }
    }
}

static void a_small_arena_loses_only_its_own_reply(void **state)
{
    (void)state;
    struct span bytes = SPAN("*3\r\n$5\r\nabcde\r\n*100000\r\n");
    struct redis_reader *reader = redis_reader_new(1000);
    struct arena *small = arena_new(4096);
    const struct redis_reply *reply;
    bool whole;
    redis_reader_feed(reader, bytes);
    assert_status_ok(redis_reader_next(reader, small, &whole, &reply));
    assert_false(whole);
    for (size_t i = 0; i < 100000; i++) {
        redis_reader_feed(reader, SPAN(":1\r\n"));
        assert_status_ok(redis_reader_next(reader, small, &whole, &reply));
        assert_false(whole);
    }
    redis_reader_feed(reader, SPAN("+end\r\n+next\r\n"));
    assert_status_ok(redis_reader_next(reader, small, &whole, &reply));
    assert_true(whole);
    assert_null(reply);
    assert_status_ok(redis_reader_next(reader, small, &whole, &reply));
    assert_true(whole);
    assert_span(reply->text, SPAN("next"));
    assert_true(arena_used(small) <= 4096);
    arena_free(small);
    redis_reader_free(reader);
}

/* The arena of who left in the middle is gone, and is not touched again. */
static void an_arena_may_go_in_the_middle_of_its_reply(void **state)
{
    (void)state;
    struct span bytes =
        SPAN("*3\r\n*2\r\n:1\r\n$3\r\nabc\r\n*2\r\n+x\r\n*1\r\n:3\r\n:4\r\n+next\r\n");
    for (size_t cut = 1; cut < bytes.len - 7; cut++) {
        struct redis_reader *reader = redis_reader_new(1000);
        struct arena *arena = arena_new(4096);
        const struct redis_reply *reply = NULL;
        bool whole;
        redis_reader_feed(reader, span_first(bytes, cut));
        assert_status_ok(redis_reader_next(reader, arena, &whole, &reply));
        assert_false(whole);
        arena_free(arena);
        redis_reader_feed(reader, span_from(bytes, cut));
        assert_status_ok(redis_reader_next(reader, NULL, &whole, &reply));
        assert_true(whole);
        assert_null(reply);
        arena = arena_new(4096);
        assert_status_ok(redis_reader_next(reader, arena, &whole, &reply));
        assert_span(reply->text, SPAN("next"));
        arena_free(arena);
        redis_reader_free(reader);
    }
}

static void what_never_ends_is_bounded(void **state)
{
    (void)state;
    static char many[70000];
    memset(many, 'x', sizeof(many));
    static const struct {
        const char *begin;
        size_t most; /* bytes that may be held before it fails */
    } cases[] = {{"+", 66000}, {":", 66000}, {"*", 66000}, {"$", 66000}, {"$100000\r\n", 3000}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct redis_reader *reader = redis_reader_new(1000);
        CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
        const struct redis_reply *reply;
        bool whole;
        struct status s = STATUS_SUCCESS;
        size_t fed = 0;
        redis_reader_feed(reader, span_str(cases[i].begin));
        while (status_ok(s = redis_reader_next(reader, arena, &whole, &reply))) {
            redis_reader_feed(reader, span_of(many, 500));
            fed += 500;
        }
        assert_status(s, REASON_PROTOCOL_ERROR);
        assert_true(fed <= cases[i].most);
        redis_reader_free(reader);
    }
}

/* Good bytes with some of them changed, in random pieces: nothing worse than a failure. */
static void changed_bytes_only_fail(void **state)
{
    (void)state;
    static const char alphabet[] = "+-:$*\r\n0123456789x";
    uint32_t random = 1;
    size_t ran = 0;
    for (; ran < 20000; ran++) {
        CLEANUP(buf_clear) struct buf bytes;
        CLEANUP(buf_clear) struct buf out;
        buf_init(&bytes, 4096);
        buf_init(&out, 1u << 20);
        for (size_t n = 1 + harness_random(&random) % 4; n > 0; n--) {
            buf_add_str(&bytes, replies[harness_random(&random) % ARRAY_LEN(replies)].bytes);
        }
        for (size_t n = harness_random(&random) % 4; n > 0; n--) {
            bytes.at[harness_random(&random) % bytes.len] =
                alphabet[harness_random(&random) % (sizeof(alphabet) - 1)];
        }
        CLEANUP(arena_drop)
        struct arena *arena = arena_new((size_t)16 << harness_random(&random) % 10);
        read_all(buf_span(&bytes), 1 + harness_random(&random) % 40, 100, arena, &out);
        assert_true(buf_ok(&out));
    }
    harness_ran("changed replies", ran, 20000);
}

/* --- scripted peers ------------------------------------------------------------------------------
 */

struct script {
    const char *before; /* instead of the greeting's replies; NULL: those */
    const char *bytes;  /* in answer to the first thing that is asked */
    size_t times;       /* so often, 0: once */
    bool closes;
    bool heard_all; /* read what is sent, to the end */
};

/* The greeting is PING and CLIENT SETNAME, in one send. */
static void answer(struct net_peer *peer)
{
    const struct script *script = peer->arg;
    char bytes[4096];
    net_peer_read(peer, bytes, sizeof(bytes));
    net_peer_write(peer, span_str(script->before != NULL ? script->before : "+PONG\r\n+OK\r\n"));
    if (peer->connections > 1 || script->bytes == NULL) {
        net_peer_read_to_end(peer); /* it came back, that is all */
        return;
    }
    net_peer_read(peer, bytes, sizeof(bytes));
    bool goes_on = true;
    for (size_t i = 0; i < (script->times > 0 ? script->times : 1) && goes_on; i++) {
        goes_on = net_peer_write(peer, span_str(script->bytes));
    }
    if (!script->closes) {
        net_peer_read_to_end(peer);
    }
}

static struct redis *client_of(const struct net_peer *peer, uint64_t command_ms)
{
    static struct redis_options options;
    options = (struct redis_options){
        .address = {"127.0.0.1", peer->port}, .command_ms = command_ms, .reply_max = 1000};
    return redis_new(task_loop(), &options);
}

static void come_back(struct redis *redis, uint64_t connection) PARKS
{
    while (redis_connection(redis) < connection) {
        assert_status_ok(redis_wait_ready(redis, loop_now_ms(task_loop()) + 20000));
        assert_status_ok(task_sleep_ms(1));
    }
}

static const struct {
    struct script script;
    enum reason reason; /* of the first of two commands */
    enum reason second;
} hostile[] = {
    {{.bytes = "%1\r\n+a\r\n+b\r\n"}, REASON_PROTOCOL_ERROR, REASON_PROTOCOL_ERROR},
    {{.bytes = "+OK\r\nrubbish"}, REASON_NONE, REASON_PROTOCOL_ERROR},
    {{.bytes = "+OK\r\n+OK\r\n+OK\r\n"}, REASON_NONE, REASON_NONE},
    {{.bytes = "$5\r\nabc", .closes = true}, REASON_CONNECTION_LOST, REASON_CONNECTION_LOST},
    {{.bytes = "", .closes = true}, REASON_CONNECTION_LOST, REASON_CONNECTION_LOST},
    {{.bytes = "$100000\r\n"}, REASON_TIMED_OUT, REASON_TIMED_OUT},
    {{.bytes = "$100000\r\n0123456789", .times = 9999},
     REASON_PROTOCOL_ERROR,
     REASON_PROTOCOL_ERROR},
    {{.bytes = "+0123456789", .times = 9999}, REASON_PROTOCOL_ERROR, REASON_PROTOCOL_ERROR},
    {{.bytes = "*2147483647\r\n"}, REASON_TIMED_OUT, REASON_TIMED_OUT},
    {{.bytes = "*1\r\n", .times = 50}, REASON_PROTOCOL_ERROR, REASON_PROTOCOL_ERROR},
};

struct asking {
    struct redis *redis;
    struct status result;
};

static void ask_something(void *arg) PARKS
{
    struct asking *asking = arg;
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 10);
    const struct redis_reply *reply;
    asking->result =
        redis_command(asking->redis, REDIS_ARGS(SPAN("GET"), SPAN("x")), arena, &reply);
}

task_test_real(hostile_replies_cost_only_the_connection)
{
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        struct net_peer peer = {.script = answer, .arg = (void *)&hostile[i].script};
        net_peer_start(&peer);
        struct redis *redis = client_of(&peer, 200);
        come_back(redis, 1);
        struct asking first = {.redis = redis}, second = {.redis = redis};
        struct group group;
        group_init(&group);
        group_spawn(&group, "first", ask_something, &first);
        group_spawn(&group, "second", ask_something, &second);
        assert_status_ok(group_wait(&group));
        assert_status(first.result, hostile[i].reason);
        assert_status(second.result, hostile[i].second);
        come_back(redis, 2);
        redis_free(redis);
        net_peer_stop(&peer);
        assert_int_equal(peer.connections, 2);
    }
}

task_test_real(a_greeting_that_fails_says_why)
{
    static const struct {
        struct script script;
        enum reason reason;
        const char *detail;
    } cases[] = {
        {{.before = "-ERR max number of clients reached\r\n", .closes = true},
         REASON_CONNECT_FAILED,
         "ERR max number of clients reached"},
        {{.before = "-LOADING Redis is loading the dataset in memory\r\n-LOADING\r\n"},
         REASON_CONNECT_FAILED,
         "LOADING Redis is loading the dataset in memory"},
        {{.before = "HTTP/1.0 400 Bad Request\r\n"},
         REASON_PROTOCOL_ERROR,
         "the server does not speak RESP2"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct net_peer peer = {.script = answer, .arg = (void *)&cases[i].script};
        net_peer_start(&peer);
        struct redis *redis = client_of(&peer, 1000);
        assert_status(redis_wait_ready(redis, loop_now_ms(task_loop()) + 150),
                      REASON_CONNECT_FAILED);
        struct status s = redis_health(redis);
        assert_status(s, cases[i].reason);
        assert_string_equal(s.detail, cases[i].detail);
        redis_free(redis);
        net_peer_stop(&peer);
        assert_true(peer.connections > 1);
    }
}

/* A reply comes in two halves; its caller leaves between them. */
static void answer_in_halves(struct net_peer *peer)
{
    char bytes[4096];
    net_peer_read(peer, bytes, sizeof(bytes));
    net_peer_write(peer, SPAN("+PONG\r\n+OK\r\n"));
    net_peer_read(peer, bytes, sizeof(bytes));
    net_peer_write(peer, SPAN("*3\r\n$5\r\nfirst\r\n*2\r\n:1\r\n"));
    while (!__atomic_load_n((bool *)peer->arg, __ATOMIC_RELAXED)) {
        usleep(1000);
    }
    net_peer_write(peer, SPAN("$6\r\nsecond\r\n:3\r\n"));
    net_peer_read(peer, bytes, sizeof(bytes));
    net_peer_write(peer, SPAN("$4\r\nnext\r\n"));
    net_peer_read_to_end(peer);
}

task_test_real(a_caller_may_leave_in_the_middle_of_its_reply)
{
    bool left = false;
    struct net_peer peer = {.script = answer_in_halves, .arg = &left};
    net_peer_start(&peer);
    struct redis *redis = client_of(&peer, 20000);
    come_back(redis, 1);
    struct asking asking = {.redis = redis};
    struct task_options soon = {.name = "soon", .deadline_ms = loop_now_ms(task_loop()) + 50};
    task_spawn(task_loop(), &soon, ask_something, &asking);
    assert_status_ok(task_sleep_ms(150));
    assert_status(asking.result, REASON_DEADLINE_PASSED);
    __atomic_store_n(&left, true, __ATOMIC_RELAXED);
    CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
    const struct redis_reply *reply;
    assert_status_ok(redis_command(redis, REDIS_ARGS(SPAN("PING")), arena, &reply));
    assert_span(reply->text, SPAN("next"));
    assert_int_equal(redis_connection(redis), 1);
    redis_free(redis);
    net_peer_stop(&peer);
}

/* A server that went over to another master does not keep us. */
task_test_real(a_replica_is_left)
{
    static const struct script script = {.bytes =
                                             "-READONLY You can't write against a replica.\r\n"};
    struct net_peer peer = {.script = answer, .arg = (void *)&script};
    net_peer_start(&peer);
    struct redis *redis = client_of(&peer, 20000);
    come_back(redis, 1);
    CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
    const struct redis_reply *reply;
    assert_status_ok(
        redis_command(redis, REDIS_ARGS(SPAN("SET"), SPAN("a"), SPAN("b")), arena, &reply));
    assert_status(redis_expect(reply, REDIS_TYPE_STATUS), REASON_STORE_FAILED);
    come_back(redis, 2);
    redis_free(redis);
    net_peer_stop(&peer);
}

/* It is not asked all the time: a second of trying is some twenty connections at most. */
task_test_real(who_always_fails_is_asked_with_pauses)
{
    static const struct script script = {.before = "-ERR no\r\n", .closes = true};
    struct net_peer peer = {.script = answer, .arg = (void *)&script};
    net_peer_start(&peer);
    struct redis *redis = client_of(&peer, 1000);
    assert_status_ok(task_sleep_ms(1000));
    redis_free(redis);
    net_peer_stop(&peer);
    assert_true(peer.connections > 1 && peer.connections < 60);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(replies_are_read_in_any_pieces),
    cmocka_unit_test(dropped_replies_keep_the_step),
    cmocka_unit_test(a_small_arena_loses_only_its_own_reply),
    cmocka_unit_test(an_arena_may_go_in_the_middle_of_its_reply),
    cmocka_unit_test(what_never_ends_is_bounded),
    cmocka_unit_test(changed_bytes_only_fail),
    cmocka_unit_test(hostile_replies_cost_only_the_connection),
    cmocka_unit_test(a_greeting_that_fails_says_why),
    cmocka_unit_test(a_caller_may_leave_in_the_middle_of_its_reply),
    cmocka_unit_test(a_replica_is_left),
    cmocka_unit_test(who_always_fails_is_asked_with_pauses),
};

HARNESS_MAIN(tests)
