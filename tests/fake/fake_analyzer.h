/*
 * fake_analyzer.h -- an analyzer that plays a script: the same task, event by event.
 *
 * It has one task of three sections. What is played, where its stream breaks and what becomes of
 * calls is up to the test; what it was asked is there to be looked at.
 */
#ifndef PRISM_TESTS_FAKE_ANALYZER_H
#define PRISM_TESTS_FAKE_ANALYZER_H

#include <prism/analyzer/v1/analyzer.pb-c.h>

#include "net/rpc_server.h"

#define FAKE_TASK        "tenants/acme/tasks/t1"
#define FAKE_EVENTS_MOST 64

struct fake_analyzer {
    struct arena *arena;
    struct rpc_server *server;
    char address[32];
    struct rpc_service services[1];

    Analyzer__AnalysisEvent *events[FAKE_EVENTS_MOST];
    size_t n;
    Analyzer__Task *task; /* as it is at the end */

    /* Told by the test. */
    size_t breaks;         /* so many streams break, each after one more event than the last */
    struct status refusal; /* of all but GetTask and WatchTask, unless OK */
    struct status watch_refusal;
    bool holds;     /* streams stay open after the last event */
    bool too_large; /* the full view of all sections does not fit a message */

    /* Seen. */
    size_t submitted;
    size_t watched;
    size_t holding;
    size_t cancelled;
    uint64_t after; /* of the last watch */
    bool results_only;
    char tenant[65];
    char display_name[257];
    size_t content_len;
    char models[257];
    int priority;
};

void fake_analyzer_start(struct fake_analyzer *fake, struct wire *wire);
void fake_analyzer_stop(struct fake_analyzer *fake) PARKS;

/* --- writing the script -------------------------------------------------------------------------
 */

Analyzer__AnalysisEvent *fake_event(struct fake_analyzer *fake, const char *section_id,
                                    Analyzer__AnalysisEvent__EventCase what, void *member);
void fake_queued(struct fake_analyzer *fake, const char *section_id, const char *reason,
                 const char *resource, uint32_t position, uint64_t eta_ms);
void fake_admitted(struct fake_analyzer *fake, const char *section_id, uint32_t tier,
                   const char *model, const char *passed_over);
void fake_thinking(struct fake_analyzer *fake, const char *section_id, const char *text);
void fake_text(struct fake_analyzer *fake, const char *section_id);
void fake_restarted(struct fake_analyzer *fake, const char *section_id, const char *model);

/* The results of the sections as the task has them, and its roll-up. */
void fake_section_result(struct fake_analyzer *fake, size_t index);
void fake_document_result(struct fake_analyzer *fake);

#endif
