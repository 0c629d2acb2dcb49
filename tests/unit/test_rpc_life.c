/* How calls, connections and servers end: deadlines, cancellation, overload, drain, failover. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "rpc_fixture.h"

#define STREAMS 300

struct dumper {
    struct fixture *f;
    const char *word;
    uint64_t deadline_ms; /* from now, 0: the test's */
    struct status result;
    uint64_t took_ms;
};

static void dump_once(void *arg)
{
    struct dumper *d = arg;
    if (d->deadline_ms != 0) {
        task_set_deadline(loop_now_ms(task_loop()) + d->deadline_ms);
    }
    uint64_t begin_ms = clock_mono_ms();
    d->result = fixture_dump(d->f, d->word, "", NULL);
    d->took_ms = clock_mono_ms() - begin_ms;
}

static void until_inflight(const struct rpc_server *server, size_t expected)
{
    for (int i = 0; i < 5000 && rpc_server_inflight(server) != expected; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_int_equal(rpc_server_inflight(server), expected);
}

/* --- deadlines and cancellation --------------------------------------------------------------- */

task_test_real(a_deadline_reaches_the_handler)
{
    struct fixture f;
    struct group group;
    fixture_start(&f, NULL);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    struct dumper d = {.f = &f, .word = "gate", .deadline_ms = 300};
    group_init(&group);
    group_spawn(&group, "dump", dump_once, &d);
    assert_status_ok(group_wait(&group));
    assert_status(d.result, REASON_DEADLINE_PASSED);
    assert_int_equal(d.result.code, STATUS_DEADLINE_EXCEEDED);
    assert_true(d.took_ms >= 298 && d.took_ms < 3000);
    fixture_until(&f.ended, 1);
    assert_status(f.seen, REASON_DEADLINE_PASSED);
    until_inflight(f.server, 0);
    fixture_stop(&f);
}

task_test_real(a_call_without_deadline_has_an_age)
{
    struct fixture f;
    fixture_start(&f, &(struct rpc_server_options){.max_call_age_ms = 200});
    struct status s = fixture_dump(&f, "gate", "", NULL);
    assert_status(s, REASON_DEADLINE_PASSED);
    assert_status(f.seen, REASON_DEADLINE_PASSED);
    fixture_stop(&f);
}

task_test_real(a_handler_learns_that_its_caller_left)
{
    struct fixture f;
    void *message;
    fixture_start(&f, NULL);
    f.count = 1;
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    assert_status_ok(fixture_generate(&f, "hold", &stream));
    assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
    assert_non_null(message);
    rpc_stream_close(&stream);
    fixture_until(&f.ended, 1);
    assert_status(f.seen, REASON_CALL_CANCELLED);

    /* A handler that waits for a message. */
    assert_status_ok(
        rpc_open(f.channel, &limiter__limiter_service__descriptor, "Attach", NULL, &stream));
    fixture_until(&f.running, 1);
    rpc_stream_close(&stream);
    fixture_until(&f.ended, 2);
    assert_status(f.seen, REASON_CALL_CANCELLED);

    /* A task that is cancelled while it waits for a reply. */
    struct dumper d = {.f = &f, .word = "gate"};
    struct group group;
    group_init(&group);
    group_spawn(&group, "dump", dump_once, &d);
    fixture_until(&f.running, 1);
    uint64_t now_ms = loop_now_ms(task_loop());
    bool in_time;
    assert_false(status_ok(op_wait_until(&group.all, now_ms, &in_time)));
    assert_status(d.result, REASON_CALL_CANCELLED);
    fixture_until(&f.ended, 3);
    assert_status(f.seen, REASON_CALL_CANCELLED);
    until_inflight(f.server, 0);
    fixture_stop(&f);
}

task_test_real(a_reader_that_stops_reading_holds_the_sender)
{
    struct fixture f;
    void *message;
    fixture_start(&f, NULL);
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = NULL;
    assert_status_ok(fixture_generate(&f, "flood", &stream));
    assert_status_ok(rpc_stream_recv(stream, f.arena, &message));
    size_t sent;
    do {
        sent = f.count;
        assert_status_ok(task_sleep_ms(300));
    } while (f.count != sent);
    assert_true(sent < 1000); /* 64 MB */
    assert_int_equal(f.running, 1);
    rpc_stream_close(&stream);
    fixture_until(&f.ended, 1);
    assert_status(f.seen, REASON_CALL_CANCELLED);
    until_inflight(f.server, 0);
    fixture_stop(&f);

    /* The sender's own deadline ends it too. */
    fixture_start(&f, &(struct rpc_server_options){.max_call_age_ms = 1000});
    assert_status_ok(fixture_generate(&f, "flood", &stream));
    fixture_until(&f.ended, 1);
    assert_status(f.seen, REASON_DEADLINE_PASSED);
    until_inflight(f.server, 0);
    rpc_stream_close(&stream);
    fixture_stop(&f);
}

/* --- many ------------------------------------------------------------------------------------- */

task_test_real(more_calls_than_allowed_are_told_to_come_back)
{
    struct fixture f;
    struct group group;
    fixture_start(&f, &(struct rpc_server_options){.max_inflight = 2});
    struct dumper d[2] = {{.f = &f, .word = "gate"}, {.f = &f, .word = "gate"}};
    group_init(&group);
    group_spawn(&group, "dump", dump_once, &d[0]);
    group_spawn(&group, "dump", dump_once, &d[1]);
    fixture_until(&f.running, 2);
    for (int i = 0; i < 20; i++) {
        struct status s = fixture_dump(&f, "echo", "", NULL);
        assert_status(s, REASON_OVERLOADED);
        assert_int_equal(s.code, STATUS_UNAVAILABLE);
        assert_true(s.retry_after_ms > 0);
    }
    assert_int_equal(rpc_server_inflight(f.server), 2);
    fixture_open(&f);
    assert_status_ok(group_wait(&group));
    assert_status_ok(d[0].result);
    assert_status_ok(d[1].result);
    until_inflight(f.server, 0);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    fixture_stop(&f);
}

static struct rpc_stream *attach(struct fixture *f) PARKS
{
    struct rpc_stream *stream;
    assert_status_ok(
        rpc_open(f->channel, &limiter__limiter_service__descriptor, "Attach", NULL, &stream));
    return stream;
}

task_test_real(streams_that_stand_take_no_calls_place)
{
    struct fixture f;
    void *message;
    fixture_start(&f, &(struct rpc_server_options){.max_inflight = 2});
    struct rpc_stream *standing[2];
    for (size_t i = 0; i < ARRAY_LEN(standing); i++) {
        standing[i] = attach(&f);
        fixture_until(&f.running, i + 1);
    }
    assert_int_equal(rpc_server_inflight(f.server), 0);
    struct rpc_stream *third = attach(&f);
    assert_status(rpc_stream_recv(third, f.arena, &message), REASON_OVERLOADED);
    rpc_stream_close(&third);
    assert_status_ok(fixture_dump(&f, "echo", "", NULL));
    rpc_stream_close(&standing[0]);
    fixture_until(&f.running, 1);
    until_inflight(f.server, 0);
    third = attach(&f);
    fixture_until(&f.running, 2);
    rpc_stream_close(&third);
    rpc_stream_close(&standing[1]);
    fixture_stop(&f);
}

task_test_real(a_mass_disconnect_leaves_no_call)
{
    struct fixture f;
    fixture_start(&f, NULL);
    struct rpc_stream **streams = ARENA_ARRAY(f.arena, struct rpc_stream *, STREAMS);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < STREAMS; i++) {
            assert_status_ok(fixture_generate(&f, "hold", &streams[i]));
        }
        until_inflight(f.server, STREAMS);
        for (size_t i = 0; i < STREAMS; i++) {
            rpc_stream_close(&streams[i]);
        }
        until_inflight(f.server, 0);
    }
    assert_int_equal(f.ended, 3 * STREAMS);
    fixture_stop(&f);
}

static void dump_many(void *arg)
{
    struct dumper *d = arg;
    for (int i = 0; i < 20 && status_ok(d->result); i++) {
        d->result = fixture_dump(d->f, d->word, "", NULL);
    }
}

task_test_real(calls_at_once_do_not_mix)
{
    struct fixture f;
    struct group group;
    struct dumper d[16];
    fixture_start(&f, NULL);
    group_init(&group);
    for (size_t i = 0; i < ARRAY_LEN(d); i++) {
        d[i] = (struct dumper){.f = &f, .word = "echo"};
        group_spawn(&group, "dump", dump_many, &d[i]);
    }
    assert_status_ok(group_wait(&group));
    for (size_t i = 0; i < ARRAY_LEN(d); i++) {
        assert_status_ok(d[i].result);
    }
    until_inflight(f.server, 0);
    fixture_stop(&f);
}

/* --- servers come and go ---------------------------------------------------------------------- */

static void open_gate(void *arg)
{
    struct fixture *f = arg;
    assert_status_ok(task_sleep_ms(100));
    fixture_open(f);
}

task_test_real(a_drain_lets_running_calls_end)
{
    struct fixture f;
    struct group group;
    fixture_start(&f, NULL);
    struct dumper d = {.f = &f, .word = "gate"};
    group_init(&group);
    group_spawn(&group, "dump", dump_once, &d);
    fixture_until(&f.running, 1);
    group_spawn(&group, "gate", open_gate, &f);
    rpc_server_stop(f.server, 5000);
    f.server = NULL;
    assert_true(f.open);
    assert_status_ok(group_wait(&group));
    assert_status_ok(d.result);
    fixture_stop(&f);
}

task_test_real(a_drain_does_not_wait_for_streams_that_stand)
{
    struct fixture f;
    void *message;
    fixture_start(&f, NULL);
    struct rpc_stream *stream = attach(&f);
    fixture_until(&f.running, 1);
    uint64_t begin_ms = loop_now_ms(task_loop());
    rpc_server_stop(f.server, 60000);
    f.server = NULL;
    assert_true(loop_now_ms(task_loop()) - begin_ms < 20000);
    struct status s = rpc_stream_recv(stream, f.arena, &message);
    assert_status(s, REASON_SHUTTING_DOWN);
    assert_int_equal(s.code, STATUS_UNAVAILABLE);
    rpc_stream_close(&stream);
    fixture_stop(&f);
}

/* The first target comes up after a stream was opened on the second. */
task_test_real(a_stream_knows_when_a_better_target_is_back)
{
    struct fixture f;
    struct rpc_server *first;
    char targets[80], address[32];
    fixture_start(&f, NULL);
    assert_status_ok(fixture_serve(&f, NULL, "127.0.0.1:0", &first));
    snprintf(address, sizeof(address), "127.0.0.1:%u", rpc_server_port(first));
    rpc_server_stop(first, 0);
    snprintf(targets, sizeof(targets), "%s,%s", address, f.address);
    rpc_channel_free(f.channel);
    f.channel = rpc_channel_new(f.wire, &(struct rpc_channel_options){.targets = targets});
    CLEANUP(rpc_stream_close) struct rpc_stream *stream = attach(&f);
    assert_true(rpc_stream_preferred(stream));
    assert_status_ok(fixture_serve(&f, NULL, address, &first));
    for (int i = 0; i < 1000 && rpc_stream_preferred(stream); i++) {
        assert_status_ok(task_sleep_ms(10));
    }
    assert_false(rpc_stream_preferred(stream));
    rpc_stream_close(&stream);
    stream = attach(&f);
    assert_true(rpc_stream_preferred(stream));
    rpc_stream_close(&stream);
    rpc_server_stop(first, 0);
    fixture_stop(&f);
}

task_test_real(a_drain_ends_calls_that_outlast_it)
{
    struct fixture f;
    struct group group;
    void *message;
    fixture_start(&f, NULL);
    struct dumper d = {.f = &f, .word = "gate"};
    CLEANUP(rpc_stream_close) struct rpc_stream *attached = NULL, *flooded = NULL;
    group_init(&group);
    group_spawn(&group, "dump", dump_once, &d);
    assert_status_ok(
        rpc_open(f.channel, &limiter__limiter_service__descriptor, "Attach", NULL, &attached));
    assert_status_ok(fixture_generate(&f, "flood", &flooded));
    fixture_until(&f.running, 3);
    uint64_t begin_ms = loop_now_ms(task_loop());
    rpc_server_stop(f.server, 200);
    uint64_t took_ms = loop_now_ms(task_loop()) - begin_ms;
    f.server = NULL;
    assert_true(took_ms >= 200 && took_ms < 4000);
    assert_int_equal(f.ended, 3);
    assert_status_ok(group_wait(&group));
    assert_status(d.result, REASON_SHUTTING_DOWN);
    assert_status(rpc_stream_recv(attached, f.arena, &message), REASON_SHUTTING_DOWN);
    rpc_stream_close(&attached);
    rpc_stream_close(&flooded);
    fixture_stop(&f);
}

task_test_real(a_port_in_use_is_said)
{
    struct fixture f;
    struct rpc_server *second = NULL;
    fixture_start(&f, NULL);
    struct status s = fixture_serve(&f, NULL, f.address, &second);
    assert_status(s, REASON_ADDRESS_IN_USE);
    assert_non_null(strstr(status_text(s), f.address));
    assert_null(second);
    fixture_stop(&f);
}

task_test_real(the_first_target_that_is_there_is_called)
{
    struct fixture f;
    fixture_start(&f, NULL);
    struct fixture other = f;
    for (size_t i = 0; i < ARRAY_LEN(other.services); i++) {
        other.services[i].service = &other;
    }
    assert_status_ok(fixture_serve(&other, NULL, "127.0.0.1:0", &other.server));
    char targets[80], second[32];
    snprintf(second, sizeof(second), "127.0.0.1:%u", rpc_server_port(other.server));
    snprintf(targets, sizeof(targets), "%s, %s", f.address, second);
    rpc_channel_free(f.channel);
    f.channel = rpc_channel_new(f.wire, &(struct rpc_channel_options){.targets = targets});
    list_init(&other.visitors);
    fixture_open(&f);
    fixture_open(&other);

    while (!rpc_channel_ready(f.channel)) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_status_ok(task_sleep_ms(200)); /* both are connected */
    assert_status_ok(fixture_dump(&f, "gate", "", NULL));
    assert_int_equal(f.ended, 1);
    assert_int_equal(other.ended, 0);

    rpc_server_stop(f.server, 0);
    assert_status_ok(fixture_dump(&f, "gate", "", NULL));
    assert_int_equal(other.ended, 1);

    /* The first one is preferred again when it is back. */
    assert_status_ok(fixture_serve(&f, NULL, f.address, &f.server));
    for (int i = 0; i < 500 && f.ended == 1; i++) {
        assert_status_ok(fixture_dump(&f, "gate", "", NULL));
        assert_status_ok(task_sleep_ms(10));
    }
    assert_int_equal(f.ended, 2);

    rpc_server_stop(f.server, 0);
    rpc_server_stop(other.server, 0);
    f.server = NULL;
    uint64_t begin_ms = loop_now_ms(task_loop());
    struct status s = fixture_dump(&f, "gate", "", NULL);
    uint64_t took_ms = loop_now_ms(task_loop()) - begin_ms;
    assert_status(s, REASON_PEER_UNREACHABLE);
    assert_true(s.retry_after_ms > 0);
    assert_non_null(strstr(s.detail, second));
    assert_true(took_ms < 10000);
    fixture_stop(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_deadline_reaches_the_handler),
    cmocka_unit_test(a_call_without_deadline_has_an_age),
    cmocka_unit_test(a_handler_learns_that_its_caller_left),
    cmocka_unit_test(a_reader_that_stops_reading_holds_the_sender),
    cmocka_unit_test(more_calls_than_allowed_are_told_to_come_back),
    cmocka_unit_test(streams_that_stand_take_no_calls_place),
    cmocka_unit_test(a_mass_disconnect_leaves_no_call),
    cmocka_unit_test(calls_at_once_do_not_mix),
    cmocka_unit_test(a_drain_lets_running_calls_end),
    cmocka_unit_test(a_drain_does_not_wait_for_streams_that_stand),
    cmocka_unit_test(a_stream_knows_when_a_better_target_is_back),
    cmocka_unit_test(a_drain_ends_calls_that_outlast_it),
    cmocka_unit_test(a_port_in_use_is_said),
    cmocka_unit_test(the_first_target_that_is_there_is_called),
};

HARNESS_MAIN(tests)
