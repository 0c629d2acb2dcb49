#include "simulator/models.h"

#include "base/check.h"

static const struct model_generation claude_3_5 = {
    .prefill = true,
    .tokens_percent = 100,
};
static const struct model_generation claude_3_7 = {
    .thinking = THINKS_BY_BUDGET,
    .prefill = true,
    .tokens_percent = 100,
};
static const struct model_generation claude_4 = {
    .thinking = THINKS_BY_BUDGET,
    .prefill = true,
    .repeats_input = true,
    .tokens_percent = 100,
};
static const struct model_generation claude_4_5 = {
    .thinking = THINKS_BY_BUDGET,
    .sampling = SAMPLES_BY_ONE,
    .prefill = true,
    .repeats_input = true,
    .tokens_percent = 100,
};
static const struct model_generation claude_4_6 = {
    .thinking = THINKS_BOTH,
    .sampling = SAMPLES_BY_ONE,
    .repeats_input = true,
    .tokens_percent = 100,
};
static const struct model_generation since_4_7 = {
    .thinking = THINKS_ADAPTIVE,
    .sampling = SAMPLES_ALONE,
    .hides_thinking = true,
    .repeats_input = true,
    .tokens_percent = 130,
};
static const struct model_generation since_5_5 = {
    .thinking = THINKS_ADAPTIVE,
    .sampling = SAMPLES_ALONE,
    .hides_thinking = true,
    .repeats_input = true,
    .always_thinks = true,
    .own_signatures = true,
    .tokens_percent = 130,
};

#define K200 200000
#define M1   1000000

static const struct model models[] = {
    {"anthropic.claude-3-5-sonnet-20240620-v1:0", "claude-3-5-sonnet-20240620", &claude_3_5, false,
     false, 4096, K200, 100, 90, 5, 1024},
    {"anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-20241022", &claude_3_5, false,
     false, 8192, K200, 100, 90, 5, 1024},
    {"anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-3-7-sonnet-20250219", &claude_3_7, true,
     false, 64000, K200, 110, 90, 5, 1024},
    {"anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4-20250514", &claude_4, true, true,
     64000, K200, 110, 90, 5, 1024},
    {"anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", &claude_4_5, true,
     true, 64000, K200, 100, 100, 5, 1024},
    {"anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5-20251001", &claude_4_5, true,
     true, 64000, K200, 50, 200, 5, 4096},
    {"anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5-20251101", &claude_4_5, true, true,
     64000, K200, 150, 70, 5, 4096},
    {"anthropic.claude-sonnet-4-6", "claude-sonnet-4-6", &claude_4_6, true, true, 64000, M1, 100,
     100, 5, 1024},
    {"anthropic.claude-opus-4-6-v1", "claude-opus-4-6", &claude_4_6, true, true, 128000, M1, 150,
     70, 5, 4096},
    {"anthropic.claude-opus-4-7", "claude-opus-4-7", &since_4_7, true, true, 128000, M1, 150, 70, 5,
     4096},
    {"anthropic.claude-opus-4-8", "claude-opus-4-8", &since_4_7, true, true, 128000, M1, 150, 70,
     15, 1024},
    {"anthropic.claude-sonnet-5", "claude-sonnet-5", &since_4_7, true, true, 128000, M1, 90, 110,
     10, 1024},
    {"anthropic.claude-opus-5", "claude-opus-5", &since_4_7, true, true, 128000, M1, 140, 80, 10,
     512},
    {"anthropic.claude-sonnet-5-5", "claude-sonnet-5-5", &since_5_5, true, true, 128000, M1, 90,
     110, 10, 1024},
    {"anthropic.claude-opus-5-5", "claude-opus-5-5", &since_5_5, true, true, 128000, M1, 140, 80,
     10, 512},
    {"anthropic.claude-haiku-5-5", "claude-haiku-5-5", &since_5_5, true, true, 128000, M1, 50, 200,
     10, 1024},
};

struct span model_without_arn(struct span id)
{
    if (!span_starts(id, SPAN("arn:aws"))) {
        return id;
    }
    struct span part;
    while (span_cut(&id, '/', &part)) {
    }
    return part;
}

const struct model *model_find(struct span id, bool *profile)
{
    struct span base = model_without_arn(id);
    bool global = span_starts(base, SPAN("global."));
    bool us = span_starts(base, SPAN("us."));
    base = span_from(base, global ? strlen("global.") : us ? strlen("us.") : 0);
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        if (span_eq(base, span_str(models[i].id)) && (!global || models[i].global)) {
            *profile = global || us;
            return &models[i];
        }
    }
    return NULL;
}
