/*
 * view.h -- an analysis while it runs, as lines for people.
 *
 * Floor 6, loop thread. A line whenever something happens to a section, and the reasoning of one
 * section at a time: the foremost that is thinking, until it has thought. It reads well in a log,
 * for nothing is ever taken back; lines about other sections wait for the end of a paragraph.
 */
#ifndef PRISM_PRISMCTL_VIEW_H
#define PRISM_PRISMCTL_VIEW_H

#include <prism/analyzer/v1/analyzer.pb-c.h>

#include "prismctl/render.h"

struct view;

/* title: what is analysed, for events that name no section. Outlived by it and by render. */
struct view *view_new(const struct render *render, const char *title, bool thinking) NODISCARD;
void view_free(struct view *view); /* takes NULL */

/* Makes the sections of a task known, with their titles. */
void view_sections(struct view *view, const Analyzer__Task *task);

/* Appends what an event is worth saying; now_ms tells how long others have waited. */
void view_event(struct view *view, const Analyzer__AnalysisEvent *event, uint64_t now_ms,
                struct buf *out);

/* Ends a line that has begun, says what waited for it. Before anybody else prints. */
void view_break(struct view *view, struct buf *out);

#endif
