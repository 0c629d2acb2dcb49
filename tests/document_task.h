/*
 * document_task.h -- a document handed in as a task, watched to its end and counted, whatever
 * becomes of the services in between: calls that fail with UNAVAILABLE or are cut off are made
 * again, with the same request id, after the last event that was seen.
 *
 * What would break the promise of a task (a number left out or repeated, a section that stands
 * twice) fails the test. In tasks only; their deadline bounds the tries.
 */
#ifndef PRISM_TESTS_DOCUMENT_TASK_H
#define PRISM_TESTS_DOCUMENT_TASK_H

#include "net/rpc_client.h"
#include "prism/analyzer/v1/analyzer.pb-c.h"
#include "task_test.h"

#define DOCUMENT_TASK_SECTIONS 64

struct document_task {
    struct rpc_channel *analyzer;
    const char *text;       /* Markdown */
    const char *request_id; /* not "": what makes handing it in again harmless */

    struct arena *arena;
    const char *name; /* NULL: not known yet */
    uint64_t last;    /* number of the last event */
    size_t results[DOCUMENT_TASK_SECTIONS];
    size_t documents;           /* results of the whole */
    size_t comebacks;           /* streams that broke */
    const Analyzer__Task *task; /* at the end, with results */
};

void document_task_init(struct document_task *t, struct rpc_channel *analyzer, const char *text,
                        const char *request_id);
void document_task_clear(struct document_task *t);

struct status document_task_submit(struct document_task *t) NODISCARD PARKS;
struct status document_task_watch(struct document_task *t) NODISCARD PARKS;
struct status document_task_get(struct document_task *t) NODISCARD PARKS;
struct status document_task_cancel(struct document_task *t) NODISCARD PARKS;

/* All but the cancellation; then what it says of itself is what its events said. */
struct status document_task_run(struct document_task *t) NODISCARD PARKS;

/* It ran to its end: SUCCEEDED, each section there once, one result of the whole. */
void document_task_assert_done(const struct document_task *t, size_t sections);

#endif
