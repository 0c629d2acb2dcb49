#include "prismctl/names.h"

#define NAME(names, value) ((size_t)(value) < ARRAY_LEN(names) ? (names)[value] : "unknown")

const char *name_of_level(Analyzer__RiskLevel level)
{
    static const char *const names[] = {
        "unknown", "Low", "Medium-Low", "Medium", "Medium-High", "High", "Critical",
    };
    return NAME(names, level);
}

enum style style_of_level(Analyzer__RiskLevel level)
{
    static const enum style styles[] = {
        STYLE_PLAIN, STYLE_GREEN, STYLE_GREEN, STYLE_YELLOW, STYLE_YELLOW, STYLE_RED, STYLE_ALARM,
    };
    return (size_t)level < ARRAY_LEN(styles) ? styles[level] : STYLE_PLAIN;
}

const char *name_of_outcome(Analyzer__Outcome outcome)
{
    static const char *const names[] = {
        "not ended",        "done",    "repaired", "declined by the model",
        "not to be parsed", "cut off", "failed",   "cancelled",
    };
    return NAME(names, outcome);
}

bool outcome_is_good(Analyzer__Outcome outcome)
{
    return outcome == ANALYZER__OUTCOME__OUTCOME_OK ||
           outcome == ANALYZER__OUTCOME__OUTCOME_REPAIRED;
}

const char *name_of_state(Analyzer__Task__State state)
{
    static const char *const names[] = {
        "unknown", "queued", "running", "succeeded", "failed", "cancelled",
    };
    return NAME(names, state);
}

enum style style_of_state(Analyzer__Task__State state)
{
    static const enum style styles[] = {
        STYLE_PLAIN, STYLE_DIM, STYLE_YELLOW, STYLE_GREEN, STYLE_RED, STYLE_RED,
    };
    return (size_t)state < ARRAY_LEN(styles) ? styles[state] : STYLE_PLAIN;
}

struct span short_model(const char *name)
{
    struct span text = span_str(name);
    return span_starts(text, SPAN("models/")) ? span_from(text, strlen("models/")) : text;
}
