/*
 * watch.h -- following an analysis to its end, in the form asked for.
 *
 * Floor 6, in the command's task.
 */
#ifndef PRISM_PRISMCTL_WATCH_H
#define PRISM_PRISMCTL_WATCH_H

#include <prism/analyzer/v1/analyzer.pb-c.h>

#include "prismctl/cli.h"
#include "prismctl/view.h"

/* One event: a line of JSON, or what the view makes of it. view NULL: no text is wanted. */
void watch_show(struct cli *cli, struct view *view, const Analyzer__AnalysisEvent *event);

/* Watches a task's events after a number, resuming where the stream breaks, and prints its result.
 * ours: it was submitted by this command, so an interruption cancels it. Returns the exit code. */
int watch_task(struct cli *cli, const Analyzer__Task *task, uint64_t after, bool ours) PARKS;

/* The task with as much as there is to know: results too long for one message come section by
 * section. In the command's arena. */
struct status watch_get(struct cli *cli, const char *name, Analyzer__TaskView view,
                        Analyzer__Task **task) NODISCARD PARKS;

#endif
