/*
 * store.h -- everything of the analyzer that outlives a process.
 *
 * Floor 6, tasks on the loop thread. SQLite behind it. Each function is
 * one transaction: when it returns OK it is on disk. Memory of what is returned is the arena's.
 *
 * A task's events have sequence numbers without gaps; they are written together with what they
 * tell. A section is owned by the run that claimed it last (`run`, counted from 1): what an older
 * run writes is refused with LEASE_LOST.
 */
#ifndef PRISM_ANALYZER_STORE_H
#define PRISM_ANALYZER_STORE_H

#include "analyzer/analyzer.h"
#include "analyzer/document.h"
#include "prism/analyzer/v1/ledger.pb-c.h"

/* Opens the file of state_dir; sections that were running when the last process ended are queued
 * again. Blocks; before the loop serves. */
struct status store_open(struct loop *loop, const char *state_dir, struct store **out) NODISCARD;
void store_close(struct store *store) PARKS;

/* --- tasks --------------------------------------------------------------------------------------
 */

struct store_submit {
    const char *id; /* of the new task */
    const char *tenant;
    const char *request_id;     /* "": none */
    const char *caller_request; /* x-request-id, for logs and ledger */
    const char *display_name;
    struct span options;        /* packed AnalysisOptions */
    uint8_t sha256[32];         /* of the document */
    uint8_t request_sha256[32]; /* of what makes two requests the same */
    uint32_t priority;          /* router.v1.Priority */
    uint64_t now_ms;            /* wall */
    uint64_t deadline_ms;       /* wall */
    const struct document *document;
    size_t tasks_most;
    size_t tenant_tasks_most;
};

/* *id is the task that is there afterwards: the new one, or the one the same request id made
 * before. Reasons: REQUEST_ID_REUSED, TENANT_QUEUE_FULL, OVERLOADED, STORE_*. */
struct status store_submit(struct store *store, const struct store_submit *submit,
                           struct arena *arena, const char **id, bool *existed) NODISCARD PARKS;

struct store_view {
    Analyzer__TaskView view;
    char *const *section_ids; /* results of these only; none: of all */
    size_t n_section_ids;
};

/* The task with its sections; results for RESULTS and FULL, rolled up over all of them.
 * TASK_UNKNOWN; MESSAGE_TOO_LARGE when they do not fit the arena. */
struct status store_get(struct store *store, const char *tenant, const char *id,
                        const struct store_view *view, struct arena *arena,
                        Analyzer__Task **out) NODISCARD PARKS;

struct store_page {
    uint64_t before_ms; /* created before, or at and with a smaller id; 0: the newest first */
    const char *before_id;
    size_t most;
    uint32_t states; /* bit mask by Task.State, 0: all */
};

struct status store_list(struct store *store, const char *tenant, const struct store_page *page,
                         struct arena *arena, Analyzer__Task ***out, size_t *n,
                         size_t *total) NODISCARD PARKS;

/* Ends a task that has not ended: its queued and running sections are CANCELLED. TASK_UNKNOWN,
 * TASK_FINISHED. */
struct status store_cancel(struct store *store, const char *tenant, const char *id,
                           const char *reason, uint64_t now_ms) NODISCARD PARKS;

/* --- sections -----------------------------------------------------------------------------------
 */

struct store_claim {
    const char *task_id;
    const char *tenant;
    const char *caller_request;
    uint32_t index;
    uint32_t run;
    uint64_t deadline_ms; /* wall, of the task */
    const char *title;
    struct span text;
    uint64_t offset;
    Analyzer__AnalysisOptions *options;
    struct prompt_finding *earlier;
    size_t n_earlier;
};

/* The next section to run: by priority, then age, then place. *found is false when there is none;
 * *next_ms: when one becomes due (wall), 0: none waits. The findings it is given as context are
 * fixed at its first claim. */
struct status store_claim(struct store *store, uint64_t now_ms, struct arena *arena,
                          struct store_claim *out, bool *found, uint64_t *next_ms) NODISCARD PARKS;

/* Appends packed events to the task; their sequence numbers are set in the store. */
struct status store_events(struct store *store, const char *task_id, uint32_t index, uint32_t run,
                           Analyzer__AnalysisEvent **events, size_t n) NODISCARD PARKS;

/* The end of a run: the result, its event, and what it means for the task (*ended: its state). */
struct status store_finish(struct store *store, const char *task_id, uint32_t index, uint32_t run,
                           const Analyzer__SectionResult *result, uint64_t now_ms,
                           Analyzer__Task__State *ended) NODISCARD PARKS;

/* Gives a section back, to be run again not before not_before_ms. */
struct status store_requeue(struct store *store, const char *task_id, uint32_t index, uint32_t run,
                            uint64_t not_before_ms) NODISCARD PARKS;

/* --- events -------------------------------------------------------------------------------------
 */

/* Up to `most` events behind `after`; *state is the task's. TASK_UNKNOWN. */
struct status store_read_events(struct store *store, const char *tenant, const char *id,
                                uint64_t after, size_t most, struct arena *arena,
                                Analyzer__AnalysisEvent ***out, size_t *n,
                                Analyzer__Task__State *state) NODISCARD PARKS;

/* --- ledger -------------------------------------------------------------------------------------
 */

/* Takes records, each once by call id; *response says what became of them. */
struct status store_take_records(struct store *store, const Analyzer__RecordRequest *request,
                                 uint64_t now_ms, struct arena *arena,
                                 Analyzer__RecordResponse *response) NODISCARD PARKS;

#endif
