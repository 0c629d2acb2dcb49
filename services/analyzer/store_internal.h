/*
 * store_internal.h -- what the files of the store share. Floor 6, inside store_*.c only.
 *
 * Job functions run on the disk thread while their task is parked, so they may use its arena.
 */
#ifndef PRISM_ANALYZER_STORE_INTERNAL_H
#define PRISM_ANALYZER_STORE_INTERNAL_H

#include "analyzer/result.h"
#include "analyzer/store.h"
#include "net/db.h"

#define STORE_QUEUED    ANALYZER__TASK__STATE__STATE_QUEUED
#define STORE_RUNNING   ANALYZER__TASK__STATE__STATE_RUNNING
#define STORE_SUCCEEDED ANALYZER__TASK__STATE__STATE_SUCCEEDED
#define STORE_FAILED    ANALYZER__TASK__STATE__STATE_FAILED
#define STORE_CANCELLED ANALYZER__TASK__STATE__STATE_CANCELLED

struct store {
    struct loop *loop;
    struct db *db;
};

/* "s0003", of the index + 1 */
#define STORE_SECTION_ID "s%04u"
char *store_section_id(uint32_t index, struct arena *arena);
Google__Protobuf__Timestamp *store_timestamp(uint64_t wall_ms,
                                             struct arena *arena); /* NULL for 0 */

/* Appends events to a task; index of no section: UINT32_MAX. */
struct status store_append(struct db_tx *tx, const char *task_id, Analyzer__AnalysisEvent **events,
                           size_t n, uint64_t now_ms, struct arena *arena) NODISCARD;

/* A StateChange event of the task (section UINT32_MAX) or of a section. */
struct status store_append_state(struct db_tx *tx, const char *task_id, uint32_t index,
                                 uint32_t run, Analyzer__Task__State state, const char *reason,
                                 uint32_t percent, uint64_t now_ms, struct arena *arena) NODISCARD;

/* One value of one row; *found false when there is none. */
struct status store_one_int(struct db_tx *tx, const char *sql, const struct db_value *values,
                            size_t n, int64_t *out, bool *found) NODISCARD;

/* All results of a task in the order of its sections: as a whole where view is FULL and wants the
 * section, else without thinking and raw output, which are most of their bytes. */
struct status store_results(struct db_tx *tx, const char *task_id, const struct store_view *view,
                            struct arena *arena, Analyzer__SectionResult ***out,
                            size_t *n) NODISCARD;
bool store_wants(const struct store_view *view, const char *section_id);

/* MESSAGE_TOO_LARGE when it does not fit the arena. */
struct status store_unpack(const struct ProtobufCMessageDescriptor *type, struct span bytes,
                           struct arena *arena, void *out) NODISCARD;

#endif
