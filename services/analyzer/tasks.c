/* Tasks as callers see them: submitted, shown, listed, cancelled. */
#include <string.h>

#include "analyzer/analyzer.h"
#include "analyzer/document.h"
#include "analyzer/store.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "loop/task.h"

#define PAGE_USUAL      50
#define PAGE_MOST       500
#define TIMEOUT_MOST_MS (7ull * 24 * 3600 * 1000)
#define ANSWER_ARENA    (32u << 20) /* apart from the call's, which must have room to the end */
#define SECTIONS_MOST   256         /* that are asked for by id */

static const struct store_view basic = {.view = ANALYZER__TASK_VIEW__TASK_VIEW_BASIC};

/* --- submit ----------------------------------------------------------------------------------- */

static void new_task_id(char out[ANALYZER_ID_SIZE])
{
    uint8_t random[10];
    hash_random(random, sizeof(random));
    text_uuid7(clock_wall_ms(), random, out);
}

/* What makes two requests the same: everything but who sends it, when, and the id itself. */
static void request_digest(const Analyzer__SubmitAnalysisRequest *request, struct span options,
                           const uint8_t *document_sha256, uint8_t out[32])
{
    struct hash_sha256 *hash = hash_sha256_begin();
    uint8_t single = request->single_section ? 1 : 0;
    hash_sha256_add(hash, span_of(document_sha256, 32));
    hash_sha256_add(hash, options);
    hash_sha256_add(hash, span_of(&single, 1));
    hash_sha256_add(hash, span_of(&request->timeout_ms, sizeof(request->timeout_ms)));
    hash_sha256_end(hash, out);
}

struct digesting {
    struct span bytes;
    uint8_t *sha256;
};

/* Any thread. */
static void digest(void *arg)
{
    const struct digesting *digesting = arg;
    hash_sha256(digesting->bytes, digesting->sha256);
}

static struct status get_task(struct rpc *rpc, const char *tenant, const char *id,
                              const struct store_view *view, struct arena *arena,
                              Analyzer__Task **out) PARKS
{
    const struct analyzer *analyzer = rpc_service(rpc);
    struct status s = store_get(analyzer->store, tenant, id, view, arena, out);
    if (s.reason == REASON_TASK_UNKNOWN) {
        return rpc_not_found(rpc, REASON_TASK_UNKNOWN, "prism.analyzer.v1.Task",
                             arena_printf(rpc_arena(rpc), "tenants/%s/tasks/%s", tenant, id));
    }
    return s;
}

struct status tasks_submit(struct rpc *rpc, const void *arg)
{
    const Analyzer__SubmitAnalysisRequest *request = arg;
    struct analyzer *analyzer = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    const char *tenant;
    struct document document;
    TRY(request_take_tenant(rpc, request->tenant, &tenant));
    TRY(request_options(rpc, request->options));
    if (strlen(request->request_id) > ANALYZER_REQUEST_ID_MOST) {
        return rpc_bad_field(rpc, "request_id", "longer than 64 bytes");
    }
    if (request->timeout_ms > TIMEOUT_MOST_MS) {
        return rpc_bad_field(rpc, "timeout_ms", "more than 7 days");
    }
    TRY(request_document(rpc, analyzer, request->document, "document", request->single_section,
                         &document));
    if (app_draining(analyzer->app)) {
        return status_retry(REASON_SHUTTING_DOWN, 1000, NULL);
    }

    char id[ANALYZER_ID_SIZE];
    new_task_id(id);
    Analyzer__AnalysisOptions none = ANALYZER__ANALYSIS_OPTIONS__INIT;
    uint64_t now = clock_wall_ms();
    uint64_t timeout =
        request->timeout_ms > 0 ? request->timeout_ms : analyzer->config->task_timeout;
    struct store_submit submit = {
        .id = id,
        .tenant = tenant,
        .request_id = request->request_id,
        .caller_request = task_context()->request_id,
        .display_name = request->document->display_name,
        .options = rpc_pack(request->options != NULL ? request->options : &none, arena),
        .priority = request->options != NULL && request->options->priority > 0
                        ? request->options->priority
                        : ROUTER__PRIORITY__PRIORITY_NORMAL,
        .now_ms = now,
        .deadline_ms = now + timeout,
        .document = &document,
        .tasks_most = analyzer->config->tasks_most,
        .tenant_tasks_most = analyzer->config->tenant_tasks_most,
    };
    struct digesting content = {
        span_of(request->document->content.data, request->document->content.len), submit.sha256};
    TRY(loop_work_over(content.bytes.len, digest, &content));
    request_digest(request, submit.options, submit.sha256, submit.request_sha256);

    const char *made;
    bool existed;
    TRY(store_submit(analyzer->store, &submit, arena, &made, &existed));
    if (!existed) {
        LOG(INFO, "task submitted", KV("task", made), KV("sections", document.n_sections),
            KV("bytes", document.text.len));
        workers_wake(analyzer->workers);
    }
    CLEANUP(arena_drop) struct arena *answer = arena_new(ANSWER_ARENA);
    Analyzer__SubmitAnalysisResponse response = ANALYZER__SUBMIT_ANALYSIS_RESPONSE__INIT;
    TRY(get_task(rpc, tenant, made, &basic, answer, &response.task));
    return rpc_send(rpc, &response);
}

/* --- get -------------------------------------------------------------------------------------- */

struct status tasks_get(struct rpc *rpc, const void *arg)
{
    const Analyzer__GetTaskRequest *request = arg;
    const char *tenant, *id;
    TRY(request_take_tenant(rpc, request->tenant, &tenant));
    TRY(request_task(rpc, tenant, request->name, &id));
    if (request->n_section_ids > SECTIONS_MOST) {
        return rpc_bad_field(rpc, "section_ids", "more than 256");
    }
    struct store_view view = {request->view, request->section_ids, request->n_section_ids};
    CLEANUP(arena_drop) struct arena *answer = arena_new(ANSWER_ARENA);
    Analyzer__GetTaskResponse response = ANALYZER__GET_TASK_RESPONSE__INIT;
    TRY(get_task(rpc, tenant, id, &view, answer, &response.task));
    return rpc_send(rpc, &response);
}

/* --- list ------------------------------------------------------------------------------------- */

/* "created_ms.states.id": where the page before ended, and what it was asked for. */
static bool read_token(const char *token, uint32_t states, struct arena *arena,
                       struct store_page *page)
{
    struct span rest = span_str(token), created, asked;
    uint64_t mask;
    if (!span_cut(&rest, '.', &created) || !span_cut(&rest, '.', &asked) ||
        !span_parse_u64(created, &page->before_ms) || !span_parse_u64(asked, &mask) ||
        mask != states || rest.len != ANALYZER_ID_SIZE - 1) {
        return false;
    }
    page->before_id = arena_string(arena, rest);
    return true;
}

struct status tasks_list(struct rpc *rpc, const void *arg)
{
    const Analyzer__ListTasksRequest *request = arg;
    struct analyzer *analyzer = rpc_service(rpc);
    struct arena *arena = rpc_arena(rpc);
    const char *tenant;
    TRY(request_take_tenant(rpc, request->tenant, &tenant));
    if (request->page_size < 0) {
        return rpc_bad_field(rpc, "page_size", "is negative");
    }
    struct store_page page = {.before_id = ""};
    page.most = request->page_size == 0          ? PAGE_USUAL
                : request->page_size > PAGE_MOST ? PAGE_MOST
                                                 : (size_t)request->page_size;
    for (size_t i = 0; i < request->n_states; i++) {
        if (request->states[i] < 1 || request->states[i] > 5) {
            return rpc_bad_field(rpc, "states", "is no state of a task");
        }
        page.states |= 1u << request->states[i];
    }
    if (request->page_token[0] != '\0' &&
        !read_token(request->page_token, page.states, arena, &page)) {
        return rpc_bad_field(rpc, "page_token", "does not belong to this request");
    }
    CLEANUP(arena_drop) struct arena *answer = arena_new(ANSWER_ARENA);
    Analyzer__ListTasksResponse response = ANALYZER__LIST_TASKS_RESPONSE__INIT;
    size_t total;
    TRY(store_list(analyzer->store, tenant, &page, answer, &response.tasks, &response.n_tasks,
                   &total));
    response.total_size = (int32_t)(total > INT32_MAX ? INT32_MAX : total);
    if (response.n_tasks == page.most) {
        const Analyzer__Task *last = response.tasks[response.n_tasks - 1];
        uint64_t created = (uint64_t)last->create_time->seconds * 1000 +
                           (uint64_t)last->create_time->nanos / 1000000;
        response.next_page_token =
            arena_printf(arena, "%lu.%u.%s", created, page.states, strrchr(last->name, '/') + 1);
    }
    return rpc_send(rpc, &response);
}

/* --- cancel ----------------------------------------------------------------------------------- */

struct status tasks_cancel(struct rpc *rpc, const void *arg)
{
    const Analyzer__CancelTaskRequest *request = arg;
    struct analyzer *analyzer = rpc_service(rpc);
    const char *tenant, *id;
    TRY(request_take_tenant(rpc, request->tenant, &tenant));
    TRY(request_task(rpc, tenant, request->name, &id));
    if (strlen(request->reason) > 256) {
        return rpc_bad_field(rpc, "reason", "longer than 256 bytes");
    }
    struct status s = store_cancel(analyzer->store, tenant, id, request->reason, clock_wall_ms());
    if (status_ok(s)) {
        METRIC_ADD(analyzer->metrics.tasks_total, 1, tenant, "CANCELLED");
        workers_cancel(analyzer->workers, id);
        watch_wake(analyzer, id);
    } else if (s.reason != REASON_TASK_FINISHED && s.reason != REASON_TASK_UNKNOWN) {
        return s;
    }
    CLEANUP(arena_drop) struct arena *answer = arena_new(ANSWER_ARENA);
    Analyzer__CancelTaskResponse response = ANALYZER__CANCEL_TASK_RESPONSE__INIT;
    TRY(get_task(rpc, tenant, id, &basic, answer, &response.task));
    return rpc_send(rpc, &response);
}
