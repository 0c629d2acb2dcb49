/* A process's stream to the limiter, against limiters that do as told. */
#include <stdio.h>
#include <string.h>

#include "app/limiter_link.h"
#include "base/log.h"
#include "base/metric.h"
#include "net/rpc_server.h"
#include "task_test.h"

#define LIMITER    (&limiter__limiter_service__descriptor)
#define ASKERS     20
#define WAIT_MS    30000
#define SILENCE_MS 2000
#define UNTIL_MS   10000

/* What the limiter does with a message. */
struct script {
    bool hold;   /* answers it when this is false again */
    bool breaks; /* ends the stream in its place */
    bool wrong;  /* errors as replies */

    size_t streams;
    size_t messages;
    size_t items;
};

struct world {
    struct arena *arena;
    struct wire *wire;
    struct rpc_service service;
    struct rpc_server *server;
    struct rpc_channel *channel;
    struct limiter_link *link;
    struct script script;
    char address[32];
};

static Limiter__AttachReply *reply_to(const struct script *script, const Limiter__AttachItem *item,
                                      struct arena *arena)
{
    Limiter__AttachReply *reply = ARENA_NEW(arena, Limiter__AttachReply);
    limiter__attach_reply__init(reply);
    if (item->request_case == LIMITER__ATTACH_ITEM__REQUEST_RENEW) {
        reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_RENEW;
        reply->renew = ARENA_NEW(arena, Limiter__RenewResponse);
        limiter__renew_response__init(reply->renew);
        return reply;
    }
    reply->id = item->complete->id;
    if (script->wrong) {
        reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_ERROR;
        reply->error = rpc_status_message(status_bad_field(arena, "model", "must be one of ours"),
                                          "limiter", arena);
        return reply;
    }
    reply->reply_case = LIMITER__ATTACH_REPLY__REPLY_COMPLETE;
    reply->complete = ARENA_NEW(arena, Limiter__CompleteResponse);
    limiter__complete_response__init(reply->complete);
    reply->complete->result = LIMITER__REPORT_RESULT__REPORT_RESULT_APPLIED;
    return reply;
}

static struct status answer(struct rpc *rpc, struct script *script,
                            const Limiter__AttachRequest *request) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    Limiter__AttachResponse response = LIMITER__ATTACH_RESPONSE__INIT;
    assert_int_equal(request->session.len, 16);
    assert_in_range(request->n_items, 1, 64);
    script->messages++;
    script->items += request->n_items;
    while (script->hold) {
        TRY(task_sleep_ms(1));
    }
    if (script->breaks) {
        script->breaks = false;
        return status_of(REASON_SHUTTING_DOWN, NULL);
    }
    response.replies = ARENA_ARRAY(arena, Limiter__AttachReply *, request->n_items);
    for (size_t i = 0; i < request->n_items; i++) {
        response.replies[response.n_replies++] = reply_to(script, request->items[i], arena);
    }
    return rpc_send(rpc, &response);
}

static struct status attach(struct rpc *rpc, const void *nothing)
{
    struct script *script = rpc_service(rpc);
    const void *message;
    (void)nothing;
    TRY(rpc_stand(rpc));
    script->streams++;
    for (;;) {
        TRY(rpc_recv(rpc, &message));
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        TRY(answer(rpc, script, message));
    }
}

static const struct rpc_method built[] = {
    {"Acquire", RPC_UNARY, NULL},
    {"AcquireStream", RPC_SERVER_STREAM, NULL},
    {"Attach", RPC_BIDI, attach},
    {"Complete", RPC_UNARY, NULL},
    {"Renew", RPC_UNARY, NULL},
    {"Cancel", RPC_UNARY, NULL},
    {"Peek", RPC_UNARY, NULL},
    {"Dump", RPC_UNARY, NULL},
    {"SetLimits", RPC_UNARY, NULL},
    {"ForceOpen", RPC_UNARY, NULL},
    {"ForceClose", RPC_UNARY, NULL},
    {"Reopen", RPC_UNARY, NULL},
    {"WatchResources", RPC_SERVER_STREAM, NULL},
};

static void serve(struct world *w, const char *address)
{
    const struct rpc_server_options options = {
        .address = address, .services = &w->service, .n_services = 1};
    assert_status_ok(rpc_server_start(w->wire, &options, &w->server));
}

static void start(struct world *w) PARKS
{
    static const uint8_t session[16] = {1};
    log_init("test_limiter_link", LOG_ERROR);
    *w = (struct world){.arena = arena_new(16u << 20), .wire = wire_start(task_loop())};
    w->service = (struct rpc_service){LIMITER, built, ARRAY_LEN(built), &w->script};
    serve(w, "127.0.0.1:0");
    snprintf(w->address, sizeof(w->address), "127.0.0.1:%u", rpc_server_port(w->server));
    w->channel = rpc_channel_new(w->wire, &(struct rpc_channel_options){.targets = w->address});
    w->link = limiter_link_start(w->channel, span_of(session, sizeof(session)), SILENCE_MS);
}

static void stop(struct world *w) PARKS
{
    limiter_link_stop(w->link);
    rpc_channel_free(w->channel);
    if (w->server != NULL) {
        rpc_server_stop(w->server, 0);
    }
    wire_stop(w->wire);
    metric_reset_all();
    arena_free(w->arena);
}

static void until(const size_t *value, size_t least) PARKS
{
    for (int i = 0; i < UNTIL_MS && *value < least; i++) {
        assert_status_ok(task_sleep_ms(1));
    }
    assert_true(*value >= least);
}

/* --- askers ------------------------------------------------------------------------------------
 */

struct asker {
    struct world *w;
    uint8_t id[16];
    uint64_t wait_ms;
    bool renews;
    bool asked;
    struct status status;
    struct task *task;
};

static void ask(void *arg) PARKS
{
    struct asker *a = arg;
    Limiter__CompleteRequest complete = LIMITER__COMPLETE_REQUEST__INIT;
    Limiter__RenewRequest renew = LIMITER__RENEW_REQUEST__INIT;
    Limiter__AttachItem item = LIMITER__ATTACH_ITEM__INIT;
    CLEANUP(limiter_reply_drop) struct limiter_reply reply = {0};
    complete.id = (ProtobufCBinaryData){sizeof(a->id), a->id};
    item.request_case = LIMITER__ATTACH_ITEM__REQUEST_COMPLETE;
    item.complete = &complete;
    if (a->renews) {
        item.request_case = LIMITER__ATTACH_ITEM__REQUEST_RENEW;
        item.renew = &renew;
    }
    a->task = task_self();
    a->asked = true;
    a->status = limiter_link_ask(a->w->link, &item, a->wait_ms > 0 ? a->wait_ms : WAIT_MS, &reply);
    a->task = NULL;
    if (status_ok(a->status) && a->renews) {
        assert_int_equal(reply.is->reply_case, LIMITER__ATTACH_REPLY__REPLY_RENEW);
    } else if (status_ok(a->status)) {
        assert_int_equal(reply.is->reply_case, LIMITER__ATTACH_REPLY__REPLY_COMPLETE);
        assert_memory_equal(reply.is->id.data, a->id, sizeof(a->id));
    } else if (a->status.reason == REASON_BAD_REQUEST) {
        assert_string_equal(a->status.more->fields[0].subject, "model");
    }
}

static void spawn(struct world *w, struct group *group, struct asker *a, size_t n) PARKS
{
    for (size_t i = 0; i < n; i++) {
        a[i] = (struct asker){.w = w, .id = {(uint8_t)i}, .wait_ms = a[i].wait_ms};
        a[i].renews = n > 1 && i == n - 1;
        group_spawn(group, "asker", ask, &a[i]);
    }
    while (!a[n - 1].asked) {
        task_yield();
    }
}

static void expect_all(struct asker *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_status_ok(a[i].status);
    }
}

task_test_real(what_is_asked_meanwhile_goes_in_one_message)
{
    struct world w;
    struct group group;
    struct asker first[1] = {{0}}, a[ASKERS] = {{0}};
    start(&w);
    w.script.hold = true;
    group_init(&group);
    spawn(&w, &group, first, 1);
    until(&w.script.messages, 1);
    spawn(&w, &group, a, ASKERS);
    assert_status_ok(task_sleep_ms(50));
    assert_int_equal(w.script.messages, 1); /* one is on its way */
    w.script.hold = false;
    assert_status_ok(group_wait(&group));
    expect_all(first, 1);
    expect_all(a, ASKERS);
    assert_int_equal(w.script.messages, 2);
    assert_int_equal(w.script.items, 1 + ASKERS);
    assert_int_equal(w.script.streams, 1);
    stop(&w);
}

task_test_real(more_than_a_message_holds_goes_in_several)
{
    struct world w;
    struct group group;
    struct asker a[150] = {{0}};
    start(&w);
    group_init(&group);
    spawn(&w, &group, a, ARRAY_LEN(a));
    assert_status_ok(group_wait(&group));
    expect_all(a, ARRAY_LEN(a));
    assert_int_equal(w.script.items, ARRAY_LEN(a));
    assert_in_range(w.script.messages, 3, 6);
    stop(&w);
}

task_test_real(a_broken_stream_fails_what_was_sent_and_nothing_else)
{
    struct world w;
    struct group group;
    struct asker sent[1] = {{0}}, waiting[3] = {{0}};
    start(&w);
    w.script.hold = w.script.breaks = true;
    group_init(&group);
    spawn(&w, &group, sent, 1);
    until(&w.script.messages, 1);
    spawn(&w, &group, waiting, ARRAY_LEN(waiting));
    w.script.hold = false;
    assert_status_ok(group_wait(&group));
    assert_int_equal(sent[0].status.code, STATUS_UNAVAILABLE);
    expect_all(waiting, ARRAY_LEN(waiting));
    assert_int_equal(w.script.streams, 2);
    assert_int_equal(w.script.items, 1 + ARRAY_LEN(waiting)); /* nothing is asked twice */
    stop(&w);
}

task_test_real(a_limiter_that_falls_silent_is_left)
{
    struct world w;
    struct group group;
    struct asker a[1] = {{.wait_ms = 100}};
    start(&w);
    w.script.hold = true;
    group_init(&group);
    spawn(&w, &group, a, 1);
    assert_status_ok(group_wait(&group));
    assert_status(a[0].status, REASON_PEER_UNREACHABLE);
    until(&w.script.streams, 2);
    w.script.hold = false;
    a[0].wait_ms = 0;
    group_init(&group);
    spawn(&w, &group, a, 1);
    assert_status_ok(group_wait(&group));
    expect_all(a, 1);
    stop(&w);
}

task_test_real(who_leaves_does_not_take_anothers_reply)
{
    struct world w;
    struct group group;
    struct asker a[4] = {{0}};
    start(&w);
    w.script.hold = true;
    group_init(&group);
    spawn(&w, &group, a, ARRAY_LEN(a));
    until(&w.script.items, ARRAY_LEN(a));
    task_cancel(a[1].task, status_of(REASON_CALL_CANCELLED, NULL));
    assert_status_ok(task_sleep_ms(10));
    assert_status(a[1].status, REASON_CALL_CANCELLED);
    w.script.hold = false;
    assert_status_ok(group_wait(&group));
    expect_all(a, 1);
    expect_all(a + 2, 2);
    stop(&w);
}

task_test_real(an_error_is_the_askers_own)
{
    struct world w;
    struct group group;
    struct asker a[3] = {{0}};
    start(&w);
    w.script.wrong = true;
    group_init(&group);
    spawn(&w, &group, a, ARRAY_LEN(a));
    assert_status_ok(group_wait(&group));
    assert_status(a[0].status, REASON_BAD_REQUEST);
    assert_status(a[1].status, REASON_BAD_REQUEST);
    assert_status_ok(a[2].status);
    assert_int_equal(w.script.streams, 1);
    stop(&w);
}

task_test_real(a_limiter_that_goes_and_comes_back)
{
    struct world w;
    struct group group;
    struct asker a[1] = {{0}};
    start(&w);
    group_init(&group);
    spawn(&w, &group, a, 1);
    assert_status_ok(group_wait(&group));
    expect_all(a, 1);
    rpc_server_stop(w.server, 0);
    w.server = NULL;
    a[0].wait_ms = 300;
    group_init(&group);
    spawn(&w, &group, a, 1);
    assert_status_ok(group_wait(&group));
    assert_status(a[0].status, REASON_PEER_UNREACHABLE);
    a[0].wait_ms = 0;
    group_init(&group);
    spawn(&w, &group, a, 1); /* waits for it */
    serve(&w, w.address);
    assert_status_ok(group_wait(&group));
    expect_all(a, 1);
    assert_int_equal(w.script.streams, 2);
    stop(&w);
}

static void ask_one(struct world *w) PARKS
{
    struct group group;
    struct asker a[1] = {{0}};
    group_init(&group);
    spawn(w, &group, a, 1);
    assert_status_ok(group_wait(&group));
    expect_all(a, 1);
}

/* Two limiters: the second is asked only as long as the first is not there. */
task_test_real(the_first_that_is_there_is_asked)
{
    struct world w;
    struct script second = {0};
    struct rpc_server *other;
    static const uint8_t session[16] = {2};
    char targets[80];
    start(&w);
    struct rpc_service service = w.service;
    service.service = &second;
    const struct rpc_server_options options = {
        .address = "127.0.0.1:0", .services = &service, .n_services = 1};
    assert_status_ok(rpc_server_start(w.wire, &options, &other));
    snprintf(targets, sizeof(targets), "%s,127.0.0.1:%u", w.address, rpc_server_port(other));
    limiter_link_stop(w.link);
    rpc_channel_free(w.channel);
    w.channel = rpc_channel_new(w.wire, &(struct rpc_channel_options){.targets = targets});
    w.link = limiter_link_start(w.channel, span_of(session, sizeof(session)), SILENCE_MS);
    for (int i = 0; i < UNTIL_MS && w.script.items == 0; i++) { /* both connect, in any order */
        ask_one(&w);
    }
    assert_true(w.script.items > 0);
    size_t before = second.items;
    ask_one(&w);
    assert_int_equal(second.items, before);
    rpc_server_stop(w.server, 0);
    ask_one(&w);
    assert_int_equal(second.items, before + 1);
    before = w.script.items;
    serve(&w, w.address);
    for (int i = 0; i < UNTIL_MS && w.script.items == before; i++) {
        ask_one(&w);
        assert_status_ok(task_sleep_ms(1));
    }
    assert_true(w.script.items > before);
    before = second.items;
    ask_one(&w);
    assert_int_equal(second.items, before);
    rpc_server_stop(other, 0);
    stop(&w);
}

task_test_real(a_limiter_without_sessions_says_so_at_once)
{
    struct world w;
    struct group group;
    struct asker a[1] = {{0}};
    struct rpc_method methods[ARRAY_LEN(built)];
    start(&w);
    rpc_server_stop(w.server, 0);
    memcpy(methods, built, sizeof(built));
    methods[2].handler = NULL;
    w.service.methods = methods;
    serve(&w, w.address);
    uint64_t begin_ms = loop_now_ms(task_loop());
    group_init(&group);
    spawn(&w, &group, a, 1);
    assert_status_ok(group_wait(&group));
    assert_false(status_ok(a[0].status));
    assert_true(loop_now_ms(task_loop()) - begin_ms < WAIT_MS / 2);
    stop(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_asked_meanwhile_goes_in_one_message),
    cmocka_unit_test(more_than_a_message_holds_goes_in_several),
    cmocka_unit_test(a_broken_stream_fails_what_was_sent_and_nothing_else),
    cmocka_unit_test(a_limiter_that_falls_silent_is_left),
    cmocka_unit_test(who_leaves_does_not_take_anothers_reply),
    cmocka_unit_test(an_error_is_the_askers_own),
    cmocka_unit_test(a_limiter_that_goes_and_comes_back),
    cmocka_unit_test(the_first_that_is_there_is_asked),
    cmocka_unit_test(a_limiter_without_sessions_says_so_at_once),
};

HARNESS_MAIN(tests)
