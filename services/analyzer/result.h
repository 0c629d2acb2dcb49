/*
 * result.h -- an answer of the model as findings, and the findings of a document as one result.
 *
 * Floor 6, pure. The schema is strict: every member there, of its type, within bounds. What is not
 * the bare object is repaired once, by taking the outermost object out of what surrounds it. Each
 * quote is looked up in the section: exactly, else with white space folded; one that is not found
 * stays unverified.
 */
#ifndef PRISM_ANALYZER_RESULT_H
#define PRISM_ANALYZER_RESULT_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/span.h"
#include "prism/analyzer/v1/analyzer.pb-c.h"

#define RESULT_FINDINGS_MOST 50
#define RESULT_TEXT_MOST     8192 /* bytes of one text of an answer */
#define RESULT_TOP_MOST      10
#define RESULT_MOST          (3u << 20) /* bytes: clients take 4 MiB a message, as gRPC has it */

/* Fills outcome (OK, REPAIRED, UNPARSEABLE), risk_level, confidence, reasoning and findings of an
 * initialised result; all in arena. *why is static or in arena when it cannot be parsed. */
bool result_parse(struct span answer, struct span section, struct arena *arena,
                  Analyzer__SectionResult *out, const char **why);

/* Where evidence stands in section; false when it does not. */
bool result_locate(struct span section, struct span evidence, size_t *offset, size_t *len);

/* Moves the places of evidence from data, where they were looked up, to text: data without the
 * characters that were taken out. */
void result_move_evidence(Analyzer__SectionResult *result, struct span data, struct span text);

/* Leaves traces out, the oldest first, until the result has at most RESULT_MOST bytes. */
void result_bound(Analyzer__SectionResult *result);

/* Whether there is a valid answer: OUTCOME_OK or REPAIRED. */
bool result_has_answer(const Analyzer__SectionResult *result);

/* "Medium-High" and back; UNSPECIFIED and "" when it is none. */
Analyzer__RiskLevel result_level(struct span word);
const char *result_level_word(Analyzer__RiskLevel level);

/* The roll-up over results in the order of their sections: counts by level, the gravest findings,
 * the overall level (that of the gravest section), totals. In arena; points to the results. */
Analyzer__DocumentResult *result_roll_up(Analyzer__SectionResult **results, size_t n,
                                         struct arena *arena);

#endif
