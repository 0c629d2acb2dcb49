#include "net/rpc_call.h"

#include <grpc/support/alloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "loop/task.h"

/* For the rest of an answer on a slow line; then the call is torn down, whatever gRPC knows. */
#define LINGER_MS 60000

#define NAME_MOST 256

/* --- the shell -------------------------------------------------------------------------------- */

static void call_arrived(struct op *op);
static void call_closed(struct op *op);

/* Wire thread: a call came in, or the server shuts down. */
static void shell_taken(struct wire_tag *tag)
{
    struct rpc *rpc = CONTAINER_OF(tag, struct rpc, shell);
    if (tag->op.ok) {
        rpc_call_arm(rpc->entry);
        wire_tag_init(&rpc->closed, rpc->entry->server->wire, NULL, call_closed);
        rpc->pending = 1;
        grpc_op close = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                         .data.recv_close_on_server.cancelled = &rpc->cancelled};
        wire_batch(&rpc->closed, rpc->call, &close, 1);
    }
}

void rpc_call_arm(const struct rpc_entry *entry)
{
    struct rpc *rpc = ALLOC(struct rpc);
    struct rpc_server *server = entry->server;
    grpc_completion_queue *queue = wire_queue(server->wire);
    rpc->entry = entry;
    grpc_metadata_array_init(&rpc->metadata);
    grpc_call_details_init(&rpc->details);
    wire_tag_init(&rpc->shell, server->wire, NULL, call_arrived);
    rpc->shell.on_wire = shell_taken;
    rpc->shell.call = &rpc->call;
    wire_tag_release(&rpc->shell);
    grpc_call_error refused;
    if (entry->registered != NULL) {
        refused = grpc_server_request_registered_call(
            server->grpc, entry->registered, &rpc->call, &rpc->deadline, &rpc->metadata,
            rpc_kind_one_request(entry->row->kind) ? &rpc->payload : NULL, queue, queue,
            &rpc->shell);
    } else {
        refused = grpc_server_request_call(server->grpc, &rpc->call, &rpc->details, &rpc->metadata,
                                           queue, queue, &rpc->shell);
    }
    check(refused == GRPC_CALL_OK);
}

static void shell_free(struct rpc *rpc)
{
    struct rpc_server *server = rpc->entry->server;
    grpc_metadata_array_destroy(&rpc->metadata);
    grpc_call_details_destroy(&rpc->details);
    grpc_byte_buffer_destroy(rpc->payload);
    free(rpc);
    server->shells--;
    rpc_server_look(server);
}

/* Wire thread: nobody else uses the call any more. */
static void shell_let_go(struct wire_tag *tag)
{
    struct rpc *rpc = CONTAINER_OF(tag, struct rpc, shell);
    grpc_call_unref(rpc->call);
}

static void shell_gone(struct op *op)
{
    shell_free(CONTAINER_OF(op, struct rpc, shell.op));
}

/* --- the end of a call ------------------------------------------------------------------------ */

void rpc_call_end_when_done(struct rpc *rpc)
{
    if (!rpc->finished || rpc->pending > 0) {
        return;
    }
    struct rpc_server *server = rpc->entry->server;
    timer_stop(&rpc->linger);
    list_remove(&rpc->link);
    if (rpc->counter != NULL) {
        --*rpc->counter;
    }
    arena_free(rpc->message);
    arena_free(rpc->arena);
    grpc_byte_buffer_destroy(rpc->received);
    wire_tag_init(&rpc->shell, server->wire, NULL, shell_gone);
    rpc->shell.on_wire = shell_let_go;
    rpc->shell.call = &rpc->call;
    if (server->stopping) {
        wire_batch(&rpc->shell, rpc->call, NULL, 0);
    } else {
        wire_soon(&rpc->shell);
    }
    rpc_server_look(server);
}

struct status rpc_call_why_over(const struct rpc *rpc)
{
    const struct rpc_server *server = rpc->entry->server;
    /* gRPC watches the caller's deadline too and may be a little earlier than the loop's clock. */
    if (loop_now_ms(server->loop) + 2 >= rpc->deadline_ms) {
        return status_of(REASON_DEADLINE_PASSED, NULL);
    }
    return status_of(server->stopping ? REASON_SHUTTING_DOWN : REASON_CALL_CANCELLED, NULL);
}

static void call_closed(struct op *op)
{
    struct rpc *rpc = CONTAINER_OF(op, struct rpc, closed.op);
    rpc->pending--;
    if (rpc->cancelled) {
        rpc_call_stop(rpc, rpc_call_why_over(rpc));
    }
    rpc_call_end_when_done(rpc);
}

static void call_finished(struct op *op)
{
    struct rpc *rpc = CONTAINER_OF(op, struct rpc, finish.op);
    rpc->pending--;
    rpc_call_end_when_done(rpc);
}

static void linger_over(struct timer *timer)
{
    grpc_call_cancel(CONTAINER_OF(timer, struct rpc, linger)->call, NULL);
}

void rpc_call_stop(struct rpc *rpc, struct status why)
{
    if (rpc->task != NULL) {
        task_cancel(rpc->task, why);
    }
}

static void call_account(const struct rpc *rpc, struct status s)
{
    const struct rpc_entry *entry = rpc->entry;
    const struct rpc_metrics *metrics = &entry->server->metrics;
    double seconds = (double)(clock_mono_us() - rpc->started_us) / 1e6;
    METRIC_ADD(metrics->handled, 1, entry->labels[0], entry->labels[1], entry->labels[2],
               status_code_name(s.code));
    metric_observe(metrics->seconds, seconds, entry->labels);
    bool bug = s.code == STATUS_INTERNAL || s.code == STATUS_UNKNOWN || s.code == STATUS_DATA_LOSS;
    enum log_level level = bug ? LOG_ERROR : LOG_INFO;
    const struct kv kvs[] = {
        KV("method", rpc->name),
        KV("peer", rpc->peer),
        KV("ms", seconds * 1e3),
        KV("error", s),
        KV("request_id", (const char *)rpc->request_id), /* a task's lines have it anyway */
    };
    if (log_enabled(level)) {
        log_write(level, "call", kvs, ARRAY_LEN(kvs) - (task_self() != NULL));
    }
}

static grpc_metadata metadata_of(const char *key, struct span value)
{
    return (grpc_metadata){.key = grpc_slice_from_static_string(key),
                           .value = grpc_slice_from_copied_buffer(value.at, value.len)};
}

static size_t copy_pairs(const struct rpc_pairs *pairs, grpc_metadata *metadata)
{
    for (size_t i = 0; i < pairs->n; i++) {
        metadata[i] = metadata_of(pairs->at[i].key, pairs->at[i].value);
    }
    return pairs->n;
}

void rpc_call_unref(const grpc_metadata *metadata, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(metadata[i].value);
    }
}

size_t rpc_call_headers(struct rpc *rpc, grpc_op *op, grpc_metadata *metadata)
{
    if (rpc->headers_sent) {
        return 0;
    }
    rpc->headers_sent = true;
    size_t n = copy_pairs(&rpc->headers, metadata);
    *op = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA,
                    .data.send_initial_metadata = {.count = n, .metadata = metadata}};
    return n;
}

static size_t copy_trailers(const struct rpc *rpc, struct status s, grpc_metadata *trailers)
{
    size_t n = copy_pairs(&rpc->trailers, trailers);
    if (!status_ok(s)) {
        const struct rpc_service *service = rpc->entry->service;
        CLEANUP(buf_clear) struct buf details;
        buf_init(&details, RPC_DETAILS_MOST);
        rpc_status_encode(s, service != NULL ? service->descriptor->name : "grpc", &details);
        check(buf_ok(&details));
        trailers[n++] = metadata_of(RPC_KEY_DETAILS, buf_span(&details));
    }
    return n;
}

static void call_finish(struct rpc *rpc, struct status s)
{
    grpc_op ops[3];
    grpc_metadata metadata[2 * RPC_PAIRS_COUNT + 1];
    struct span text = rpc_status_text(s);
    grpc_slice message = grpc_slice_from_copied_buffer(text.at, text.len);
    size_t n_headers = rpc_call_headers(rpc, ops, metadata);
    size_t n_metadata = n_headers + copy_trailers(rpc, s, metadata + n_headers);
    size_t n = n_headers > 0;
    if (!status_ok(s) && n_headers > 0) {
        /* All of it as trailers: a call that got headers counts as begun, and its client would not
         * retry it. */
        n_headers = 0;
        ops[0].data.send_initial_metadata.count = 0;
    }

    call_account(rpc, s);
    if (status_ok(s) && rpc->reply != NULL) {
        ops[n++] =
            (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = rpc->reply};
        metric_add(rpc->entry->server->metrics.sent, 1, rpc->entry->labels);
    }
    ops[n++] = (grpc_op){
        .op = GRPC_OP_SEND_STATUS_FROM_SERVER,
        .data.send_status_from_server = {.trailing_metadata_count = n_metadata - n_headers,
                                         .trailing_metadata = metadata + n_headers,
                                         .status = (grpc_status_code)s.code,
                                         .status_details = status_ok(s) ? NULL : &message},
    };
    rpc->finished = true;
    rpc->pending++;
    wire_tag_init(&rpc->finish, rpc->entry->server->wire, NULL, call_finished);
    wire_batch_here(&rpc->finish, rpc->call, ops, n);
    timer_start(&rpc->linger, loop_now_ms(rpc->entry->server->loop) + LINGER_MS);
    grpc_byte_buffer_destroy(rpc->reply);
    grpc_slice_unref(message);
    rpc_call_unref(metadata, n_metadata);
}

/* --- the beginning ---------------------------------------------------------------------------- */

static bool printable(struct span text, size_t most)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < ' ' || text.at[i] > '~') {
            return false;
        }
    }
    return text.len > 0 && text.len <= most;
}

bool rpc_tenant_valid(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
    }
    return text.len > 0 && text.len <= 63;
}

static void copy_text(char *to, struct span from)
{
    memcpy(to, from.at, from.len);
    to[from.len] = '\0';
}

static void request_id_take(struct rpc *rpc)
{
    struct span given = rpc_metadata(rpc, RPC_KEY_REQUEST_ID);
    if (printable(given, sizeof(rpc->request_id) - 1)) {
        copy_text(rpc->request_id, given);
    } else {
        uint8_t random[10];
        char id[37];
        hash_random(random, sizeof(random));
        text_uuid7(clock_wall_ms(), random, id);
        copy_text(rpc->request_id, span_str(id));
    }
    rpc_add_header(rpc, RPC_KEY_REQUEST_ID, span_str(rpc->request_id));
}

static struct status context_take(struct rpc *rpc)
{
    struct task_context *context = task_context();
    copy_text(context->request_id, span_str(rpc->request_id));
    struct span task_id = rpc_metadata(rpc, RPC_KEY_TASK_ID);
    if (printable(task_id, sizeof(context->task_id) - 1)) {
        copy_text(context->task_id, task_id);
    }
    struct span tenant = rpc_metadata(rpc, RPC_KEY_TENANT);
    tenant = tenant.len > 0 ? tenant : SPAN("default");
    if (!rpc_tenant_valid(tenant)) {
        return rpc_bad_field(rpc, RPC_KEY_TENANT, "must be 1 to 63 of a-z, 0-9 and -");
    }
    copy_text(context->tenant, tenant);
    return STATUS_SUCCESS;
}

/* The deadline is in gRPC's clock. */
static uint64_t deadline_take(const struct rpc *rpc)
{
    const struct rpc_server *server = rpc->entry->server;
    gpr_timespec given = rpc->entry->registered != NULL ? rpc->deadline : rpc->details.deadline;
    int64_t left = gpr_time_to_millis(gpr_time_sub(given, gpr_now(given.clock_type)));
    uint64_t most = server->options.max_call_age_ms;
    uint64_t left_ms = left <= 0 ? 0 : (uint64_t)left + 1;
    return loop_now_ms(server->loop) + (left_ms < most ? left_ms : most);
}

static void name_take(struct rpc *rpc)
{
    rpc->name = rpc->entry->name;
    if (rpc->name == NULL) {
        struct span path = span_of(GRPC_SLICE_START_PTR(rpc->details.method),
                                   GRPC_SLICE_LENGTH(rpc->details.method));
        rpc->name = arena_string(rpc->arena, span_first(span_from(path, 1), NAME_MOST));
    }
    char *peer = grpc_call_get_peer(rpc->call);
    rpc->peer = arena_string(rpc->arena, span_str(peer));
    gpr_free(peer);
}

static struct status call_handle(struct rpc *rpc)
{
    const struct rpc_method *row = rpc->entry->row;
    void *request = NULL;
    TRY(context_take(rpc));
    if (row == NULL) {
        return status_of(REASON_METHOD_UNKNOWN, NULL);
    }
    if (row->handler == NULL) {
        return status_of(REASON_METHOD_NOT_BUILT, NULL);
    }
    if (rpc_kind_one_request(rpc->entry->row->kind)) {
        if (rpc->payload == NULL) {
            return status_of(REASON_INTERNAL_ERROR, "no request message");
        }
        struct status s = rpc_call_unpack(rpc, rpc->payload, rpc->arena, &request);
        grpc_byte_buffer_destroy(rpc->payload);
        rpc->payload = NULL;
        TRY(s);
    }
    TRY(row->handler(rpc, request));
    if (rpc_kind_one_reply(rpc->entry->row->kind) && rpc->reply == NULL) {
        return status_of(REASON_INTERNAL_ERROR, "the handler gave no reply");
    }
    return STATUS_SUCCESS;
}

static void call_run(void *arg)
{
    struct rpc *rpc = arg;
    struct status s = call_handle(rpc);
    rpc->task = NULL;
    call_finish(rpc, s);
}

static void call_arrived(struct op *op)
{
    struct rpc *rpc = CONTAINER_OF(op, struct rpc, shell.op);
    struct rpc_server *server = rpc->entry->server;
    if (!status_ok(op->result)) {
        shell_free(rpc);
        return;
    }
    server->shells++; /* the successor */
    rpc->started_us = clock_mono_us();
    rpc->headers.left = RPC_HEADERS_MOST;
    rpc->trailers.left = RPC_TRAILERS_MOST;
    /* The other half and a bit are the handler's own. */
    rpc->arena = arena_new(2 * server->options.arena_budget + (1u << 20));
    timer_init(&rpc->linger, server->loop, linger_over);
    list_push_back(&server->calls, &rpc->link);
    name_take(rpc);
    request_id_take(rpc);
    rpc->deadline_ms = deadline_take(rpc);
    metric_add(server->metrics.started, 1, rpc->entry->labels);
    if (server->inflight >= server->options.max_inflight) {
        call_finish(rpc, status_retry(REASON_OVERLOADED, RPC_OVERLOAD_RETRY_MS, NULL));
        return;
    }
    rpc->counter = &server->inflight;
    server->inflight++;
    rpc->task = task_spawn(
        server->loop,
        &(struct task_options){.name = rpc->entry->row != NULL ? rpc->entry->row->name : "unknown",
                               .deadline_ms = rpc->deadline_ms},
        call_run, rpc);
}
