/*
 * report.h -- the result of an analysis, for people.
 *
 * Floor 6, pure.
 */
#ifndef PRISM_PRISMCTL_REPORT_H
#define PRISM_PRISMCTL_REPORT_H

#include <prism/analyzer/v1/analyzer.pb-c.h>

#include "base/arena.h"
#include "prismctl/render.h"

/* arena: for the while. */
void report_document(const Analyzer__DocumentResult *result, const char *title,
                     const struct render *render, struct arena *arena, struct buf *out);

/* One section that is a document of its own. */
void report_section(Analyzer__SectionResult *result, const char *title, const struct render *render,
                    struct arena *arena, struct buf *out);

#endif
