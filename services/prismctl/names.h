/*
 * names.h -- the services' enums in words for people, and the colours that go with them.
 *
 * Floor 6, pure.
 */
#ifndef PRISM_PRISMCTL_NAMES_H
#define PRISM_PRISMCTL_NAMES_H

#include <prism/analyzer/v1/analyzer.pb-c.h>

#include "prismctl/render.h"

const char *name_of_level(Analyzer__RiskLevel level); /* "Medium-High" */
enum style style_of_level(Analyzer__RiskLevel level);
const char *name_of_outcome(Analyzer__Outcome outcome); /* "refused by the model" */
const char *name_of_state(Analyzer__Task__State state); /* "running" */
enum style style_of_state(Analyzer__Task__State state);
struct span short_model(const char *name); /* without "models/" */

/* The answer can be used. */
bool outcome_is_good(Analyzer__Outcome outcome);

#endif
