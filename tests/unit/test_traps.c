/* The traps of the libraries we stand on, as they are installed here: what an upgrade may change
 * under us. Which trap is tested where: tests/README.md. */
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <netinet/in.h>
#include <protobuf-c/protobuf-c.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "codec/json.h"
#include "loop/sanitizer.h"
#include "net/http.h"
#include "net/http_server.h"
#include "prism/analyzer/v1/analyzer.pb-c.h"
#include "process.h"
#include "rpc_fixture.h"

#define LARGE (25u << 20)

/* ThreadSanitizer keeps a shadow of every stack. */
#ifdef SANITIZER_THREAD
#define STREAMS 500
#else
#define STREAMS 5000
#endif

static uint64_t now_ms(void)
{
    return loop_now_ms(task_loop());
}

/* --- 1: protobuf-c recurses without limit ------------------------------------------------------
 */

/* 34 KB of messages in messages, on the stack of a task: our types end at a depth of their own. */
task_test_real(deep_nesting_ends_where_our_types_do)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &router__generate_request__descriptor,
        &limiter__attach_request__descriptor,
        &analyzer__submit_analysis_request__descriptor,
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(4u << 20);
    uint8_t nested[34000];
    for (unsigned field = 1; field <= 3; field++) {
        size_t begin = sizeof(nested);
        for (size_t len = 0; begin >= 4; len = sizeof(nested) - begin) {
            nested[--begin] = (uint8_t)(len >> 14);
            nested[--begin] = (uint8_t)(0x80 | (len >> 7 & 0x7f));
            nested[--begin] = (uint8_t)(0x80 | (len & 0x7f));
            nested[--begin] = (uint8_t)(field << 3 | 2);
        }
        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
            void *message;
            struct span bytes = span_of(nested + begin, sizeof(nested) - begin);
            struct status s = rpc_unpack(types[i], bytes, arena, &message);
            assert_true(status_ok(s) || s.code == STATUS_INVALID_ARGUMENT);
        }
    }
}

/* --- 4: presence of fields that are nothing ----------------------------------------------------
 */

static void test_zero_is_not_absence(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    Analyzer__AnalysisOptions options = ANALYZER__ANALYSIS_OPTIONS__INIT;
    void *unpacked;
    options._thinking_budget_tokens_case =
        ANALYZER__ANALYSIS_OPTIONS___THINKING_BUDGET_TOKENS_THINKING_BUDGET_TOKENS;
    options.thinking_budget_tokens = 0;
    assert_status_ok(rpc_unpack(&analyzer__analysis_options__descriptor, rpc_pack(&options, arena),
                                arena, &unpacked));
    const Analyzer__AnalysisOptions *again = unpacked;
    assert_int_equal(again->_thinking_budget_tokens_case, options._thinking_budget_tokens_case);
    assert_int_equal(again->thinking_budget_tokens, 0);
    assert_int_equal(again->_temperature_case, ANALYZER__ANALYSIS_OPTIONS___TEMPERATURE__NOT_SET);
}

static void test_empty_text_is_not_absence(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    Router__ContentBlock block = ROUTER__CONTENT_BLOCK__INIT;
    void *unpacked;
    block.block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block.text = "";
    assert_status_ok(
        rpc_unpack(&router__content_block__descriptor, rpc_pack(&block, arena), arena, &unpacked));
    const Router__ContentBlock *again = unpacked;
    assert_int_equal(again->block_case, ROUTER__CONTENT_BLOCK__BLOCK_TEXT);
    assert_string_equal(again->text, "");
}

/* --- 3: lost RECV_CLOSE ------------------------------------------------------------------------
 */

/* The other process: opens the streams, says so with a byte, and waits for its end; "leave": lets
 * go of all and ends at once. */
struct crowd {
    const char *address;
    bool leaves;
};

static void crowd_main(void *arg)
{
    const struct crowd *crowd = arg;
    struct fixture f = {.wire = wire_start(task_loop())};
    struct rpc_stream **streams = calloc(STREAMS, sizeof(struct rpc_stream *));
    f.channel = rpc_channel_new(f.wire, &(struct rpc_channel_options){.targets = crowd->address});
    for (size_t i = 0; i < STREAMS; i++) {
        if (!status_ok(fixture_generate(&f, "hold", &streams[i]))) {
            _exit(2);
        }
    }
    if (write(STDOUT_FILENO, "!", 1) != 1 || read(STDIN_FILENO, &(char){0}, 1) < 0) {
        _exit(3);
    }
    for (size_t i = 0; crowd->leaves && i < STREAMS; i++) {
        rpc_stream_close(&streams[i]);
    }
    _exit(0);
}

static int crowd_process(char **argv)
{
    struct loop *loop = loop_new();
    struct crowd crowd = {.address = argv[2], .leaves = strcmp(argv[3], "leave") == 0};
    task_spawn(loop, &(struct task_options){.deadline_ms = TASK_DEADLINE_NONE}, crowd_main, &crowd);
    loop_run(loop);
    return 0;
}

/* This binary again, as the crowd; *to and *from are its standard input and output. */
static pid_t start_crowd(const char *address, const char *end, int *to, int *from)
{
    int in[2], out[2];
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close_range(3, ~0u, 0);
        execl("/proc/self/exe", "test_traps", "crowd", address, end, (char *)NULL);
        _exit(4);
    }
    close(in[0]);
    close(out[1]);
    *to = in[1];
    *from = out[0];
    return child;
}

static void until_inflight(const struct rpc_server *server, size_t expected, uint64_t most_ms)
{
    uint64_t end_ms = now_ms() + most_ms;
    while (rpc_server_inflight(server) != expected && now_ms() < end_ms) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_int_equal(rpc_server_inflight(server), expected);
}

/* Killed twice, and once with all streams cancelled on the way out. */
task_test_real(five_thousand_streams_and_a_kill_leave_no_call)
{
    static const char *const ends[] = {"killed", "leave", "killed"};
    struct fixture f;
    fixture_start(&f, &(struct rpc_server_options){.max_inflight = 2 * STREAMS});
    for (size_t round = 0; round < ARRAY_LEN(ends); round++) {
        int to, from;
        pid_t crowd = start_crowd(f.address, ends[round], &to, &from);
        until_inflight(f.server, STREAMS, 60000);
        assert_int_equal(read(from, &(char){0}, 1), 1);
        if (strcmp(ends[round], "killed") == 0) {
            kill(crowd, SIGKILL);
        }
        close(to);
        assert_int_equal(waitpid(crowd, NULL, 0), crowd);
        uint64_t begin_ms = now_ms();
        until_inflight(f.server, 0, 5000);
        print_message("# %d streams %s: no call left after %d ms\n", STREAMS, ends[round],
                      (int)(now_ms() - begin_ms));
        close(from);
    }
    assert_int_equal(f.ended, 3 * STREAMS);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    fixture_stop(&f);
}

/* --- 7: fork -----------------------------------------------------------------------------------
 */

static void call_and_exit(void *arg)
{
    (void)arg;
    struct fixture f;
    fixture_start(&f, NULL);
    struct status s = fixture_dump(&f, "echo", "", NULL);
    fixture_stop(&f);
    _exit(status_ok(s) ? 0 : 1);
}

/* A child by fork alone that uses gRPC must be well within the time. */
static void assert_child_can_call(void)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        struct loop *loop = loop_new();
        task_spawn(loop, NULL, call_and_exit, NULL);
        loop_run(loop);
        _exit(5);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

task_test_real(a_program_started_beside_grpc_runs)
{
    static const char *const version[] = {"--version", NULL};
    struct fixture f;
    fixture_start(&f, NULL);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    assert_int_equal(process_run("prism-limiter", version, NULL, "/dev/null", 30000), 0);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    fixture_stop(&f);
}

/* Before gRPC begins, beside it by fork and exec, and after it has ended. */
static void test_forks_beside_grpc(void **state)
{
    assert_child_can_call();
    a_program_started_beside_grpc_runs(state);
    /* gRPC may end in a thread of its own. */
    for (uint64_t end = clock_mono_ms() + 10000; grpc_is_initialized();) {
        assert_true(clock_mono_ms() < end);
        usleep(1000);
    }
    assert_child_can_call();
}

/* --- 8: one message in flight ------------------------------------------------------------------
 */

static void test_a_second_message_in_flight_is_refused(void **state)
{
    (void)state;
    grpc_init();
    grpc_completion_queue *queue = grpc_completion_queue_create_for_next(NULL);
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create("127.0.0.1:1", plain, NULL);
    grpc_call *call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue,
                                               grpc_slice_from_static_string("/a/b"), NULL,
                                               gpr_time_from_seconds(10, GPR_TIMESPAN), NULL);
    grpc_slice text = grpc_slice_from_static_string("text");
    grpc_byte_buffer *first = grpc_raw_byte_buffer_create(&text, 1);
    grpc_byte_buffer *second = grpc_raw_byte_buffer_create(&text, 1);
    grpc_op ops[] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA, .flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = first},
    };
    assert_int_equal(grpc_call_start_batch(call, ops, 2, &ops[0], NULL), GRPC_CALL_OK);
    ops[1].data.send_message.send_message = second;
    assert_int_equal(grpc_call_start_batch(call, &ops[1], 1, &ops[1], NULL),
                     GRPC_CALL_ERROR_TOO_MANY_OPERATIONS);
    grpc_call_cancel(call, NULL);
    grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_call_unref(call);
    grpc_byte_buffer_destroy(first);
    grpc_byte_buffer_destroy(second);
    grpc_channel_destroy(channel);
    grpc_channel_credentials_release(plain);
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(queue);
    grpc_shutdown_blocking();
}

/* --- 9: deadlines ------------------------------------------------------------------------------
 */

static void wait_two_seconds(void *arg)
{
    struct fixture *f = arg;
    uint64_t begin_ms = clock_mono_ms();
    task_set_deadline(now_ms() + 2000);
    struct status s = fixture_dump(f, "gate", "", NULL);
    uint64_t took_ms = clock_mono_ms() - begin_ms;
    assert_status(s, REASON_DEADLINE_PASSED);
    assert_true(took_ms >= 1998 && took_ms < 4000); /* 2,001 ms on a quiet machine */
}

task_test_real(a_deadline_of_two_seconds_is_two_seconds)
{
    struct fixture f;
    struct group group;
    fixture_start(&f, NULL);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    group_init(&group);
    group_spawn(&group, "call", wait_two_seconds, &f);
    assert_status_ok(group_wait(&group));
    fixture_until(&f.ended, 1);
    fixture_stop(&f);
}

/* --- 11: metadata ------------------------------------------------------------------------------
 */

/* Whoever sends us too much loses his call or his connection; others keep theirs. */
task_test_real(long_metadata_harms_its_sender_only)
{
    static const size_t sizes[] = {1000, 9000, 20000};
    struct fixture f;
    fixture_start(&f, NULL);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *value = arena_alloc(f.arena, sizes[i]);
        memset(value, 'v', sizes[i]);
        struct rpc_header header = {"x-long", span_of(value, sizes[i])};
        const struct rpc_channel_options options = {
            .targets = f.address, .headers = &header, .n_headers = 1, .call_ms = 10000};
        struct fixture other = f;
        other.channel = rpc_channel_new(f.wire, &options);
        struct status s = fixture_dump(&other, "echo", "", NULL);
        assert_int_equal(status_ok(s), i == 0);
        rpc_channel_free(other.channel);
        assert_status_ok(fixture_dump(&f, "echo", "", NULL));
        assert_true(rpc_channel_ready(f.channel));
    }
    fixture_stop(&f);
}

/* --- HTTP: a peer of our own -------------------------------------------------------------------
 */

#define PIECE  65536
#define PIECES 4096 /* 256 MiB */

struct peer {
    struct http_server *server;
    struct http_client *client;
    char url[64];
};

static void answer(struct http_exchange *exchange, void *arg)
{
    (void)arg;
    if (span_eq(http_exchange_method(exchange), SPAN("POST"))) {
        http_reply(exchange, 200, NULL, 0, SPAN("taken"));
        return;
    }
    char *piece = arena_alloc(http_exchange_arena(exchange), PIECE);
    http_reply_start(exchange, 200, NULL, 0);
    for (size_t i = 0; i < PIECES && status_ok(http_reply_write(exchange, span_of(piece, PIECE)));
         i++) {
    }
}

static void peer_start(struct peer *peer)
{
    const struct http_server_options options = {
        .host = "127.0.0.1", .body_max = 32u << 20, .handler = answer};
    assert_status_ok(http_server_start(task_loop(), &options, &peer->server));
    peer->client = http_client_new(task_loop(), &(struct http_client_options){0});
    snprintf(peer->url, sizeof(peer->url), "http://127.0.0.1:%u/", http_server_port(peer->server));
}

static void peer_stop(struct peer *peer)
{
    http_server_stop(peer->server);
    http_client_free(peer->client);
}

/* A socket that listens, and its URL. */
static int listen_anywhere(struct peer *peer, int flags)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(peer->url, sizeof(peer->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/* --- 13: a paused transfer ---------------------------------------------------------------------
 */

static size_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

#define SLOW_READERS 16

/* 4 GiB wait to be read by those who have read one piece. */
task_test_real(slow_readers_cost_no_memory)
{
    struct peer peer;
    struct http *http[SLOW_READERS];
    struct span chunk;
    peer_start(&peer);
    size_t before = resident_bytes();
    for (size_t i = 0; i < SLOW_READERS; i++) {
        const struct http_request request = {.method = "GET", .url = peer.url};
        assert_status_ok(http_open(peer.client, &request, &http[i]));
        assert_status_ok(http_read(http[i], &chunk));
        assert_true(chunk.len > 0);
    }
    assert_status_ok(task_sleep_ms(1000));
    size_t grown = resident_bytes() - before;
    print_message("# %d paused transfers: %zu KiB\n", SLOW_READERS, grown >> 10);
    assert_true(grown < 64u << 20);
    for (size_t i = 0; i < SLOW_READERS; i++) {
        http_close(&http[i]);
    }
    peer_stop(&peer);
}

/* --- 16: a peer that closes, JSON that is too deep ----------------------------------------------
 */

struct leaver {
    int listener;
};

static void take_and_reset(void *arg)
{
    const struct leaver *leaver = arg;
    static char taken[PIECE];
    int fd;
    while ((fd = accept4(leaver->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
        assert_status_ok(task_sleep_ms(1));
    }
    while (read(fd, taken, sizeof(taken)) < 0) {
        assert_status_ok(task_sleep_ms(1));
    }
    const struct linger at_once = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(fd);
}

/* SIGPIPE is at its default here and would end the test. */
task_test_real(a_peer_that_closes_while_we_write_costs_a_call)
{
    struct peer peer;
    signal(SIGPIPE, SIG_DFL);
    peer_start(&peer);
    for (int i = 0; i < 10; i++) { /* the server writes */
        const struct http_request request = {.method = "GET", .url = peer.url};
        struct http *http = NULL;
        struct span chunk;
        assert_status_ok(http_open(peer.client, &request, &http));
        assert_status_ok(http_read(http, &chunk));
        http_close(&http);
    }
    /* The client writes: a peer takes some of it and resets the connection. */
    struct leaver leaver = {.listener = listen_anywhere(&peer, SOCK_NONBLOCK)};
    char *body = calloc(1, LARGE);
    for (int i = 0; i < 10; i++) {
        const struct http_request request = {
            .method = "POST", .url = peer.url, .body = span_of(body, LARGE)};
        struct http *http = NULL;
        struct group group;
        group_init(&group);
        group_spawn(&group, "leaver", take_and_reset, &leaver);
        assert_status(http_open(peer.client, &request, &http), REASON_CONNECTION_LOST);
        http_close(&http);
        assert_status_ok(group_wait(&group));
    }
    free(body);
    close(leaver.listener);
    peer_stop(&peer);
}

/* On the stack of a task, which is smaller than jansson's own limit needs. */
task_test_real(deep_json_is_refused_before_it_is_read)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(4u << 20);
    char *text = arena_alloc(arena, 1u << 20);
    size_t depth = JSON_DEPTH_MOST;
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    CLEANUP(json_drop) struct json *value = json_parse(span_of(text, 2 * depth), NULL);
    assert_non_null(value);
    memset(text, '[', 1u << 20);
    struct json_error error;
    assert_null(json_parse(span_of(text, 1u << 20), &error));
    assert_string_equal(error.text, "nested too deeply");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(deep_nesting_ends_where_our_types_do),
    cmocka_unit_test(test_zero_is_not_absence),
    cmocka_unit_test(test_empty_text_is_not_absence),
    cmocka_unit_test(test_forks_beside_grpc),
    cmocka_unit_test(five_thousand_streams_and_a_kill_leave_no_call),
    cmocka_unit_test(test_a_second_message_in_flight_is_refused),
    cmocka_unit_test(a_deadline_of_two_seconds_is_two_seconds),
    cmocka_unit_test(long_metadata_harms_its_sender_only),
    cmocka_unit_test(slow_readers_cost_no_memory),
    cmocka_unit_test(a_peer_that_closes_while_we_write_costs_a_call),
    cmocka_unit_test(deep_json_is_refused_before_it_is_read),
};

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "crowd") == 0) {
        return crowd_process(argv);
    }
    print_message("# gRPC %s, protobuf-c %s\n", grpc_version_string(), protobuf_c_version());
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
