/*
 * outbox.h -- events of a running section on their way to the store.
 *
 * Floor 6. Events are gathered for a few ten milliseconds and written in one transaction; watchers
 * are told after it. A full outbox parks who puts, which holds the model's stream back.
 */
#ifndef PRISM_ANALYZER_OUTBOX_H
#define PRISM_ANALYZER_OUTBOX_H

#include "analyzer/analyzer.h"
#include "analyzer/store.h"

#define OUTBOX_EVENTS 512
#define OUTBOX_BYTES  (4u << 20)

struct outbox {
    struct event_sink sink;
    struct analyzer *analyzer;
    const struct store_claim *claim;
    struct arena *arena; /* of the batch that is being gathered */
    Analyzer__AnalysisEvent *events[OUTBOX_EVENTS];
    size_t n;
    bool writing;         /* a task will write, or is writing, what was gathered */
    struct op *waiting;   /* who waits for the write to end */
    struct status failed; /* what the store said, once; nothing is taken after it */
};

void outbox_init(struct outbox *outbox, struct analyzer *analyzer, const struct store_claim *claim);

/* Returns when everything that was put is stored, or says why it is not. */
struct status outbox_close(struct outbox *outbox) NODISCARD PARKS;

#endif
