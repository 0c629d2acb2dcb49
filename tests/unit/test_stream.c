/* Streams, plain and in TLS, against scripted peers. SIGPIPE is left as it is: it would kill. */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/listen.h"
#include "net/stream.h"
#include "net_peer.h"
#include "task_test.h"
#include "tls_files.h"

#define BIG        (3u << 20)
#define SLOW_HOST  "slow.test"
#define SLOW_MS    400
#define TOUCHED_MS 300 /* a turn of the loop may be so late on a busy machine */

static struct tls_files files;

/* Called by our code before the C library's: one name is looked up slowly. */
__attribute__((visibility("default"))) int
getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    bool numeric = hints != NULL && (hints->ai_flags & AI_NUMERICHOST) != 0;
    if (strcmp(host, SLOW_HOST) == 0 && !numeric) {
        usleep(SLOW_MS * 1000);
        return real("127.0.0.1", port, hints, out);
    }
    return real(host, port, hints, out);
}

/* --- one peer, three ways to it ------------------------------------------------------------------
 */

enum way {
    WAY_TCP,
    WAY_UNIX,
    WAY_TLS,
    WAY_END,
};

static struct stream_tls trust;
static char unix_path[96];

static void peer_for(enum way way, struct net_peer *peer)
{
    if (way == WAY_UNIX) {
        snprintf(unix_path, sizeof(unix_path), "%s/socket", files.folder);
        peer->path = unix_path;
    } else if (way == WAY_TLS) {
        peer->cert = files.server_cert;
        peer->key = files.server_key;
    }
    net_peer_start(peer);
}

static struct stream_options options_for(const struct net_peer *peer)
{
    trust = (struct stream_tls){.ca_file = files.ca};
    return (struct stream_options){
        .host = peer->path == NULL ? "localhost" : NULL,
        .port = peer->port,
        .path = peer->path,
        .tls = peer->cert != NULL ? &trust : NULL,
    };
}

static struct status open_to(const struct net_peer *peer, struct stream **stream) PARKS
{
    struct stream_options options = options_for(peer);
    return stream_open(&options, stream);
}

static void echo(struct net_peer *peer)
{
    char bytes[5000];
    size_t n;
    while ((n = net_peer_read(peer, bytes, sizeof(bytes))) > 0) {
        net_peer_write(peer, span_of(bytes, n));
    }
}

static char pattern(size_t i)
{
    return (char)(i * 2654435761u >> 13);
}

struct sending {
    struct stream *stream;
    struct status result;
};

static void send_big(void *arg) PARKS
{
    struct sending *sending = arg;
    static char bytes[BIG];
    for (size_t i = 0; i < BIG; i++) {
        bytes[i] = pattern(i);
    }
    struct span rest = span_of(bytes, BIG);
    uint32_t state = 7;
    while (rest.len > 0 && status_ok(sending->result)) {
        size_t n = 1 + harness_random(&state) % 200000;
        sending->result = stream_write(sending->stream, span_first(rest, n));
        rest = span_from(rest, n);
    }
}

task_test_real(bytes_travel_both_ways_at_once)
{
    for (enum way way = WAY_TCP; way < WAY_END; way++) {
        struct net_peer peer = {.script = echo};
        peer_for(way, &peer);
        struct sending sending = {0};
        assert_status_ok(open_to(&peer, &sending.stream));
        struct group group;
        group_init(&group);
        group_spawn(&group, "sender", send_big, &sending);
        for (size_t got = 0; got < BIG;) {
            struct span chunk;
            assert_status_ok(stream_read(sending.stream, &chunk));
            assert_true(chunk.len > 0 && chunk.len <= BIG - got);
            for (size_t i = 0; i < chunk.len; i++, got++) {
                assert_int_equal(chunk.at[i], pattern(got));
            }
        }
        assert_status_ok(group_wait(&group));
        assert_status_ok(sending.result);
        stream_close(&sending.stream);
        assert_null(sending.stream);
        net_peer_stop(&peer);
        assert_int_equal(peer.connections, 1);
        if (way == WAY_TLS) {
            assert_string_equal(peer.name, "localhost");
        }
    }
}

static void say_goodbye(struct net_peer *peer)
{
    net_peer_write(peer, SPAN("last words"));
    if (peer->ssl != NULL && peer->arg == NULL) {
        SSL_shutdown(peer->ssl);
    }
}

task_test_real(the_end_is_seen_after_what_came_before_it)
{
    for (enum way way = WAY_TCP; way < WAY_END; way++) {
        struct net_peer peer = {.script = say_goodbye};
        peer_for(way, &peer);
        struct stream *stream;
        struct span chunk;
        assert_status_ok(open_to(&peer, &stream));
        assert_status_ok(stream_read(stream, &chunk));
        assert_span(chunk, SPAN("last words"));
        assert_status_ok(stream_read(stream, &chunk));
        assert_int_equal(chunk.len, 0);
        stream_close(&stream);
        net_peer_stop(&peer);
    }
}

task_test_real(an_end_that_tls_did_not_announce_is_a_loss)
{
    struct net_peer peer = {.script = say_goodbye, .arg = "silently"};
    peer_for(WAY_TLS, &peer);
    struct stream *stream;
    struct span chunk;
    assert_status_ok(open_to(&peer, &stream));
    assert_status_ok(stream_read(stream, &chunk));
    assert_span(chunk, SPAN("last words"));
    assert_status(stream_read(stream, &chunk), REASON_CONNECTION_LOST);
    assert_status(stream_read(stream, &chunk), REASON_CONNECTION_LOST);
    assert_status(stream_write(stream, SPAN("x")), REASON_CONNECTION_LOST);
    stream_close(&stream);
    net_peer_stop(&peer);
}

static void leave_early(struct net_peer *peer)
{
    char first[100];
    net_peer_read(peer, first, sizeof(first));
    if (peer->arg != NULL) {
        net_peer_reset(peer);
    }
}

task_test_real(writing_to_a_peer_that_left_is_a_loss_and_no_signal)
{
    for (enum way way = WAY_TCP; way < WAY_END; way++) {
        for (int reset = 0; reset < 2; reset++) {
            struct net_peer peer = {.script = leave_early, .arg = reset ? "reset" : NULL};
            peer_for(way, &peer);
            struct stream *stream;
            assert_status_ok(open_to(&peer, &stream));
            struct status s = STATUS_SUCCESS;
            while (status_ok(s)) {
                s = stream_write(stream, SPAN("are you there?"));
                assert_status_ok(task_sleep_ms(1));
            }
            assert_status(s, REASON_CONNECTION_LOST);
            stream_close(&stream);
            net_peer_stop(&peer);
        }
    }
}

/* --- opening -------------------------------------------------------------------------------------
 */

static struct status try_open(const struct stream_options *options) PARKS
{
    struct stream *stream = NULL;
    struct status s = stream_open(options, &stream);
    assert_true(status_ok(s) == (stream != NULL));
    stream_close(&stream);
    return s;
}

/* A port of 127.0.0.1 where nobody listens. */
static uint16_t free_port(void)
{
    int fd;
    uint16_t port;
    assert_status_ok(listen_open("127.0.0.1", 0, NULL, &fd, &port));
    close(fd);
    return port;
}

task_test_real(nobody_there_is_told_apart)
{
    char long_path[200];
    memset(long_path, 'a', sizeof(long_path));
    long_path[sizeof(long_path) - 1] = '\0';
    struct {
        struct stream_options options;
        enum reason reason;
        const char *detail; /* NULL: any */
    } cases[] = {
        {{.host = "127.0.0.1", .port = free_port()}, REASON_CONNECT_FAILED, "Connection refused"},
        {{.host = "::1", .port = free_port()}, REASON_CONNECT_FAILED, NULL},
        {{.host = "no-such-host.invalid", .port = 1}, REASON_CONNECT_FAILED, NULL},
        {{.path = "/nonexistent/socket"}, REASON_CONNECT_FAILED, "No such file or directory"},
        {{.path = ""}, REASON_CONFIG_INVALID, NULL},
        {{.path = long_path}, REASON_CONFIG_INVALID, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct status s = try_open(&cases[i].options);
        assert_status(s, cases[i].reason);
        assert_true(status_text(s)[0] != '\0');
        if (cases[i].detail != NULL) {
            assert_string_equal(s.detail, cases[i].detail);
        }
    }
}

/* The most time between two turns of the loop while somebody else works. */
struct pulse {
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

task_test_real(a_slow_name_server_stops_nobody)
{
    struct net_peer peer = {.script = echo};
    net_peer_start(&peer);
    struct stream_options options = {.host = SLOW_HOST, .port = peer.port, .connect_ms = 50};
    struct pulse pulse = {0};
    struct group group;
    group_init(&group);
    group_spawn(&group, "pulse", feel_pulse, &pulse);
    uint64_t began = clock_mono_ms();
    assert_status(try_open(&options), REASON_CONNECT_FAILED);
    assert_true(clock_mono_ms() - began >= 25);
    assert_true(clock_mono_ms() - began < SLOW_MS);
    options.connect_ms = 100 * SLOW_MS;
    assert_status_ok(try_open(&options));
    pulse.ends = true;
    assert_status_ok(group_wait(&group));
    assert_true(pulse.worst_ms < TOUCHED_MS);
    net_peer_stop(&peer);
}

/* Listens without ever accepting; when its queue is full, nobody is even answered. */
struct hole {
    int fd;
    uint16_t port;
    int fillers[8];
};

static void hole_open(struct hole *hole)
{
    assert_status_ok(listen_open("127.0.0.1", 0, NULL, &hole->fd, &hole->port));
    assert_int_equal(listen(hole->fd, 0), 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(hole->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < ARRAY_LEN(hole->fillers); i++) {
        hole->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(hole->fillers[i], (struct sockaddr *)&address, sizeof(address));
    }
}

static void hole_close(struct hole *hole)
{
    for (size_t i = 0; i < ARRAY_LEN(hole->fillers); i++) {
        close(hole->fillers[i]);
    }
    close(hole->fd);
}

task_test_real(a_black_hole_costs_no_more_than_its_time)
{
    struct hole hole;
    hole_open(&hole);
    struct stream_options options = {.host = "127.0.0.1", .port = hole.port, .connect_ms = 80};
    uint64_t began = clock_mono_ms();
    struct status s = try_open(&options);
    assert_status(s, REASON_CONNECT_FAILED);
    assert_string_equal(s.detail, "no connection in time");
    assert_true(clock_mono_ms() - began >= 40);
    assert_true(clock_mono_ms() - began < 20 * 80);
    hole_close(&hole);
}

/* --- TLS -----------------------------------------------------------------------------------------
 */

static void keep_quiet(struct net_peer *peer)
{
    net_peer_read_to_end(peer);
}

struct tls_case {
    struct net_peer peer;
    struct stream_tls tls;
    const char *host; /* NULL: localhost */
    enum reason reason;
    const char *detail; /* NULL: any */
};

static void tls_try(const struct tls_case *it) PARKS
{
    struct net_peer peer = it->peer;
    peer.script = keep_quiet;
    net_peer_start(&peer);
    struct stream_options options = {
        .host = it->host != NULL ? it->host : "localhost",
        .port = peer.port,
        .tls = &it->tls,
        .connect_ms = 5000,
    };
    struct status s = try_open(&options);
    assert_status(s, it->reason);
    if (it->detail != NULL) {
        assert_string_equal(status_text(s), it->detail);
    }
    net_peer_stop(&peer);
}

task_test_real(tls_takes_only_whom_it_trusts)
{
    struct net_peer good = {.cert = files.server_cert, .key = files.server_key};
    struct net_peer expired = {.cert = files.expired_cert, .key = files.expired_key};
    struct net_peer older = good, oldest = good, strict = good;
    older.tls_most = TLS1_2_VERSION;
    oldest.tls_most = TLS1_1_VERSION;
    oldest.tls_ciphers = "DEFAULT:@SECLEVEL=0";
    strict.client_ca = files.ca;
    struct stream_tls ours = {
        .ca_file = files.ca, .cert_file = files.client_cert, .key_file = files.client_key};
    struct stream_tls other_key = ours, locked_key = ours, no_cert = ours;
    other_key.key_file = files.server_key;
    locked_key.key_file = files.locked_key;
    no_cert.cert_file = "/nonexistent";
    const struct tls_case cases[] = {
        {good, {.ca_file = files.ca}, NULL, REASON_NONE, NULL},
        {good, {.ca_file = files.ca}, "127.0.0.1", REASON_NONE, NULL},
        {good, {.ca_file = files.ca, .server_name = "127.0.0.1"}, NULL, REASON_NONE, NULL},
        {older, {.ca_file = files.ca}, NULL, REASON_NONE, NULL},
        {strict, ours, NULL, REASON_NONE, NULL},
        {good, {.ca_file = files.other_ca}, NULL, REASON_CONNECT_FAILED, NULL},
        {good, {NULL}, NULL, REASON_CONNECT_FAILED, "unable to get local issuer certificate"},
        {good,
         {.ca_file = files.ca, .server_name = "other.test"},
         NULL,
         REASON_CONNECT_FAILED,
         "hostname mismatch"},
        {good,
         {.ca_file = files.ca, .server_name = "127.0.0.2"},
         NULL,
         REASON_CONNECT_FAILED,
         "IP address mismatch"},
        {expired, {.ca_file = files.ca}, NULL, REASON_CONNECT_FAILED, "certificate has expired"},
        {oldest, {.ca_file = files.ca}, NULL, REASON_CONNECT_FAILED, NULL},
        {good, {.ca_file = "/nonexistent"}, NULL, REASON_CONFIG_INVALID, NULL},
        {good, {.ca_file = files.server_key}, NULL, REASON_CONFIG_INVALID, NULL},
        {good, no_cert, NULL, REASON_CONFIG_INVALID, NULL},
        {good, other_key, NULL, REASON_CONFIG_INVALID, NULL},
        {good, locked_key, NULL, REASON_CONFIG_INVALID, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        tls_try(&cases[i]);
    }
}

/* TLS 1.3 learns of it only after the handshake. */
task_test_real(a_client_that_shows_no_certificate_is_told)
{
    struct net_peer peer = {.script = keep_quiet, .client_ca = files.ca};
    peer_for(WAY_TLS, &peer);
    struct stream *stream;
    struct span chunk;
    assert_status_ok(open_to(&peer, &stream));
    struct status s = stream_read(stream, &chunk);
    assert_status(s, REASON_CONNECTION_LOST);
    assert_string_equal(s.detail, "tlsv13 alert certificate required");
    stream_close(&stream);
    net_peer_stop(&peer);
    assert_false(peer.shaken);
}

static void speak_plainly(struct net_peer *peer)
{
    if (peer->arg != NULL) {
        net_peer_write(peer, span_str(peer->arg));
    }
    net_peer_read_to_end(peer);
}

task_test_real(a_peer_without_tls_is_no_peer)
{
    static const struct {
        const char *words; /* NULL: silence */
        uint64_t connect_ms;
    } cases[] = {{"-ERR what is this?\r\n", 5000}, {NULL, 60}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct net_peer peer = {.script = speak_plainly, .arg = (void *)cases[i].words};
        net_peer_start(&peer);
        struct stream_options options = options_for(&peer);
        options.tls = &trust;
        options.connect_ms = cases[i].connect_ms;
        assert_status(try_open(&options), REASON_CONNECT_FAILED);
        net_peer_stop(&peer);
    }
}

/* --- bounds, ends --------------------------------------------------------------------------------
 */

#define FLOOD (64u << 20)

struct flood {
    size_t sent;
};

static void flood(struct net_peer *peer)
{
    static char block[100000];
    struct flood *flooded = peer->arg;
    while (flooded->sent < FLOOD && net_peer_write(peer, span_of(block, sizeof(block)))) {
        __atomic_fetch_add(&flooded->sent, sizeof(block), __ATOMIC_RELAXED);
    }
}

task_test_real(who_does_not_read_holds_the_peer)
{
    for (enum way way = WAY_TCP; way < WAY_END; way++) {
        struct flood flooded = {0};
        struct net_peer peer = {.script = flood, .arg = &flooded};
        peer_for(way, &peer);
        struct stream *stream;
        assert_status_ok(open_to(&peer, &stream));
        size_t before;
        do {
            before = __atomic_load_n(&flooded.sent, __ATOMIC_RELAXED);
            assert_status_ok(task_sleep_ms(100));
        } while (__atomic_load_n(&flooded.sent, __ATOMIC_RELAXED) != before);
        assert_true(before < FLOOD / 2);
        struct span chunk;
        size_t got = 0;
        while (status_ok(stream_read(stream, &chunk)) && chunk.len > 0) {
            got += chunk.len;
        }
        stream_close(&stream);
        net_peer_stop(&peer);
        assert_true(got >= FLOOD && got == flooded.sent);
    }
}

static void wait_for_release(struct net_peer *peer)
{
    while (!__atomic_load_n((bool *)peer->arg, __ATOMIC_RELAXED)) {
        usleep(1000);
    }
}

static void send_for_ever(void *arg) PARKS
{
    struct sending *sending = arg;
    static const char block[100000];
    while (status_ok(sending->result)) {
        sending->result = stream_write(sending->stream, span_of(block, sizeof(block)));
    }
}

static void read_once(void *arg) PARKS
{
    struct sending *reading = arg;
    struct span chunk;
    reading->result = stream_read(reading->stream, &chunk);
}

task_test_real(abort_ends_what_waits_and_what_follows)
{
    for (enum way way = WAY_TCP; way < WAY_END; way++) {
        bool released = false;
        struct net_peer peer = {.script = wait_for_release, .arg = &released};
        peer_for(way, &peer);
        struct sending reading = {0};
        assert_status_ok(open_to(&peer, &reading.stream));
        struct sending writing = {.stream = reading.stream};
        struct group group;
        group_init(&group);
        group_spawn(&group, "reader", read_once, &reading);
        group_spawn(&group, "sender", send_for_ever, &writing);
        assert_status_ok(task_sleep_ms(50));
        assert_status_ok(reading.result);
        assert_status_ok(writing.result);
        stream_abort(reading.stream, status_of(REASON_TIMED_OUT, "enough"));
        stream_abort(reading.stream, status_of(REASON_CALL_CANCELLED, "too late"));
        assert_status_ok(group_wait(&group));
        assert_status(reading.result, REASON_TIMED_OUT);
        assert_status(writing.result, REASON_TIMED_OUT);
        assert_string_equal(writing.result.detail, "enough");
        assert_status(stream_write(reading.stream, SPAN("x")), REASON_TIMED_OUT);
        stream_close(&reading.stream);
        __atomic_store_n(&released, true, __ATOMIC_RELAXED);
        net_peer_stop(&peer);
    }
}

/* One conversation, for leaving it at each of its waits. */
struct talk {
    struct net_peer *peer;
    struct status result;
};

static struct status talk_over(struct net_peer *peer) PARKS
{
    CLEANUP(stream_close) struct stream *stream = NULL;
    struct stream_options options = options_for(peer);
    options.host = peer->path == NULL ? SLOW_HOST : NULL;
    trust.server_name = "localhost";
    TRY(stream_open(&options, &stream));
    TRY(stream_write(stream, SPAN("ping")));
    struct span chunk;
    TRY(stream_read(stream, &chunk));
    assert_span(chunk, SPAN("ping"));
    return STATUS_SUCCESS;
}

static void talk_main(void *arg) PARKS
{
    struct talk *talk = arg;
    talk->result = talk_over(talk->peer);
}

task_test_real(a_conversation_may_be_left_at_each_wait)
{
    for (enum way way = WAY_TCP; way < WAY_END; way++) {
        size_t n = 1;
        for (; n == 1 || task_test_waits() >= n - 1; n++) {
            struct net_peer peer = {.script = echo};
            peer_for(way, &peer);
            task_test_cancel_at("talk", n);
            struct talk talk = {.peer = &peer};
            struct group group;
            group_init(&group);
            group_spawn(&group, "talk", talk_main, &talk);
            assert_status_ok(group_wait(&group));
            assert_status(talk.result,
                          task_test_waits() >= n ? REASON_CALL_CANCELLED : REASON_NONE);
            net_peer_stop(&peer);
        }
        assert_true(n > (way == WAY_UNIX ? 2 : 3));
    }
    task_test_cancel_at("nobody", 0);
    assert_status_ok(task_sleep_ms(SLOW_MS)); /* lookups that were left behind */
}

task_test_real(a_read_that_was_left_loses_nothing)
{
    for (enum way way = WAY_TCP; way < WAY_END; way++) {
        struct net_peer peer = {.script = echo};
        peer_for(way, &peer);
        struct sending reading = {0};
        assert_status_ok(open_to(&peer, &reading.stream));
        struct group group;
        group_init(&group);
        task_test_cancel_at("reader", 1);
        group_spawn(&group, "reader", read_once, &reading);
        assert_status_ok(group_wait(&group));
        assert_status(reading.result, REASON_CALL_CANCELLED);
        assert_status_ok(stream_write(reading.stream, SPAN("still here")));
        struct span chunk;
        assert_status_ok(stream_read(reading.stream, &chunk));
        assert_span(chunk, SPAN("still here"));
        stream_close(&reading.stream);
        net_peer_stop(&peer);
    }
    task_test_cancel_at("nobody", 0);
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
        cmocka_unit_test(bytes_travel_both_ways_at_once),
        cmocka_unit_test(the_end_is_seen_after_what_came_before_it),
        cmocka_unit_test(an_end_that_tls_did_not_announce_is_a_loss),
        cmocka_unit_test(writing_to_a_peer_that_left_is_a_loss_and_no_signal),
        cmocka_unit_test(nobody_there_is_told_apart),
        cmocka_unit_test(a_slow_name_server_stops_nobody),
        cmocka_unit_test(a_black_hole_costs_no_more_than_its_time),
        cmocka_unit_test(tls_takes_only_whom_it_trusts),
        cmocka_unit_test(a_client_that_shows_no_certificate_is_told),
        cmocka_unit_test(a_peer_without_tls_is_no_peer),
        cmocka_unit_test(who_does_not_read_holds_the_peer),
        cmocka_unit_test(abort_ends_what_waits_and_what_follows),
        cmocka_unit_test(a_conversation_may_be_left_at_each_wait),
        cmocka_unit_test(a_read_that_was_left_loses_nothing),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make_files, remove_files);
}
