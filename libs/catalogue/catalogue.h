/*
 * catalogue.h -- the models: ids, tiers, lifecycle, capabilities, limits, prices. Data, not code.
 *
 * Floor 4. A YAML file becomes an immutable snapshot, checked as a whole: errors name file and
 * line. The router uses every column, the limiter limits, burn, cooldown, expected output and
 * lifecycle. What is called, limited and rested is a target: a model in one of its regions.
 * Snapshots are counted: who keeps one across a PARKS call holds a reference.
 */
#ifndef PRISM_CATALOGUE_CATALOGUE_H
#define PRISM_CATALOGUE_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "codec/estimate.h"
#include "codec/price.h"
#include "loop/loop.h"

#define CATALOGUE_MODELS_MOST  64
#define CATALOGUE_REGIONS_MOST 8
#define CATALOGUE_TARGETS_MOST (CATALOGUE_MODELS_MOST * CATALOGUE_REGIONS_MOST)

enum catalogue_lifecycle {
    CATALOGUE_ACTIVE,
    CATALOGUE_LEGACY,
    CATALOGUE_GONE,
};

enum catalogue_temperature {
    CATALOGUE_TEMPERATURE_YES,    /* any value, while thinking is off */
    CATALOGUE_TEMPERATURE_ONLY_1, /* absent or 1 */
    CATALOGUE_TEMPERATURE_NEVER,  /* must be absent */
};

enum catalogue_thinking {
    CATALOGUE_THINKING_NONE,
    CATALOGUE_THINKING_BUDGET,   /* {"type":"enabled","budget_tokens":N} */
    CATALOGUE_THINKING_ADAPTIVE, /* {"type":"adaptive"} and output_config.effort */
};

struct catalogue_model {
    const char *name;     /* ours, unique: "sonnet-4.6" */
    const char *title;    /* for people */
    const char *model_id; /* what Bedrock is asked for: "us.anthropic.claude-sonnet-4-6" */
    uint32_t tier;        /* 1 is tried first; its place in the chain, no gaps */
    const char *regions[CATALOGUE_REGIONS_MOST]; /* in order of preference */
    size_t n_regions;

    enum catalogue_lifecycle lifecycle; /* as written; dates move it, see catalogue_lifecycle_at */
    uint64_t legacy_from_s;             /* seconds since the epoch, 0: no date */
    uint64_t gone_from_s;

    enum catalogue_thinking thinking;
    enum catalogue_temperature temperature;
    uint64_t context_window;
    uint64_t max_output; /* cap of max_tokens */

    /* AWS's grant; 0: no limit of ours */
    uint64_t requests_per_minute;
    uint64_t tokens_per_minute;
    uint64_t concurrency;
    uint64_t cooldown_ms; /* base */
    struct estimate_model estimate;
    uint32_t tokenizer_per_mille; /* for estimate_text */

    struct price_list prices;
};

struct catalogue_target {
    const char *name;             /* the limiter's resource, unique: "sonnet-4.6@us-east-2" */
    const char *region;           /* "us-east-2" */
    struct catalogue_model model; /* as it is there: id, dates, grants and price may be its own */
};

struct catalogue {
    const struct catalogue_model *models; /* by tier */
    size_t n_models;
    const struct catalogue_target *targets; /* by tier, then as the model's regions are */
    size_t n_targets;
    const char *source; /* the file's path */
    uint8_t hash[32];   /* SHA-256 of its text */
    /* private */
    struct arena *arena;
    size_t references;
};

/* CONFIG_INVALID, or FILE_UNREADABLE, with "file:line: what" as detail, which is error_text. */
struct status catalogue_load(const char *path, char error_text[256],
                             struct catalogue **out) NODISCARD;

/* libs/catalogue/default.yaml as it was at build time. Always OK: a broken one is a bug. */
struct status catalogue_load_default(struct catalogue **out) NODISCARD;

/* What path names, or the built-in one when it is empty. */
struct status catalogue_open(const char *path, char error_text[256],
                             struct catalogue **out) NODISCARD;

/* The same while others work: read off the loop. */
struct status catalogue_reload(struct loop *loop, const char *path, char error_text[256],
                               struct catalogue **out) NODISCARD PARKS;

struct catalogue *catalogue_ref(struct catalogue *catalogue);
void catalogue_unref(struct catalogue *catalogue);

const struct catalogue_model *catalogue_find(const struct catalogue *catalogue, const char *name);
const struct catalogue_target *catalogue_find_target(const struct catalogue *catalogue,
                                                     const char *name);
enum catalogue_lifecycle catalogue_lifecycle_at(const struct catalogue_model *model,
                                                uint64_t wall_s);

#endif
