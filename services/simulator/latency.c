#include "simulator/latency.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "simulator/sheet.h"

#define P95         1.6448536269514722 /* standard deviations */
#define TTFT_MOST   3600000.0
#define RATE_LEAST  0.1
#define RATE_MOST   100000.0
#define TTFT_BOUNDS "0ms..1h"
#define RATE_BOUNDS "0.1..100000"

enum shape {
    SHAPE_NONE,
    SHAPE_CONSTANT,
    SHAPE_UNIFORM,
    SHAPE_LOGNORMAL,
};

static const struct {
    const char *name;
    enum shape shape;
    size_t values;
} shapes[] = {
    {"constant", SHAPE_CONSTANT, 1},
    {"uniform", SHAPE_UNIFORM, 2},
    {"lognormal", SHAPE_LOGNORMAL, 2},
};

struct distribution {
    enum shape shape;
    double a;
    double b;
};

struct rule {
    const char *model; /* NULL: any */
    const char *ttft_text;
    const char *rate_text;
    struct distribution ttft; /* milliseconds */
    struct distribution rate;
    uint64_t random; /* moves with every draw */
};

struct latency_plan {
    struct arena *arena;
    struct span text;
    struct rule *rules;
    size_t n_rules;
};

/* --- the file ----------------------------------------------------------------------------------
 */

/* One value in the unit of its row: milliseconds, or tokens a second. */
static bool read_value(const struct config_row *row, struct span text, double *out,
                       const char **complaint)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(4096);
    uint64_t ms = 0;
    bool duration = row->type == CONFIG_TYPE_duration;
    void *field = duration ? (void *)&ms : (void *)out;
    if (!config_parse(row, span_trim(text), arena, field, complaint)) {
        *complaint = duration ? "a duration such as 800ms or 2s, at most 1h"
                              : "a number of tokens from 0.1 to 100000";
        return false;
    }
    *out = duration ? (double)ms : *out;
    return true;
}

/* "uniform(LEAST, MOST)"; *complaint says what is wanted instead. */
static bool read_distribution(struct span text, const struct config_row *row,
                              struct distribution *out, const char **complaint)
{
    struct span name;
    struct span value;
    double values[2] = {0, 0};
    size_t n = 0;
    size_t i = 0;
    *complaint = "constant(X), uniform(LEAST, MOST) or lognormal(MEDIAN, P95)";
    text = span_trim(text);
    if (!span_ends(text, SPAN(")"))) {
        return false;
    }
    text = span_first(text, text.len - 1);
    (void)span_cut(&text, '(', &name);
    while (i < ARRAY_LEN(shapes) && !span_eq(span_trim(name), span_str(shapes[i].name))) {
        i++;
    }
    if (i == ARRAY_LEN(shapes)) {
        return false;
    }
    while (span_cut(&text, ',', &value)) {
        if (n == shapes[i].values) {
            return false;
        }
        if (!read_value(row, value, &values[n++], complaint)) {
            return false;
        }
    }
    if (n != shapes[i].values) {
        return false;
    }
    if (n == 2 &&
        (values[0] > values[1] || (shapes[i].shape == SHAPE_LOGNORMAL && values[0] <= 0))) {
        *complaint = "its first value to be positive and not above the second";
        return false;
    }
    *out = (struct distribution){shapes[i].shape, values[0], values[1]};
    return true;
}

static bool settle(const struct yaml *node, void *item, struct yaml_error *error)
{
    static const struct config_row ttft = {"ttft", CONFIG_TYPE_duration, 0, "", TTFT_BOUNDS, "",
                                           NULL};
    static const struct config_row rate = {"token_rate", CONFIG_TYPE_ratio, 0, "", RATE_BOUNDS, "",
                                           NULL};
    struct rule *rule = item;
    const char *complaint;
    if (!sheet_settle_model(node, &rule->model, error)) {
        return false;
    }
    if (rule->ttft_text == NULL && rule->rate_text == NULL) {
        return sheet_refuse(error, node->line, "latency needs ttft or token_rate");
    }
    if (rule->ttft_text != NULL &&
        !read_distribution(span_str(rule->ttft_text), &ttft, &rule->ttft, &complaint)) {
        return sheet_refuse(error, yaml_get(node, "ttft")->line, "ttft wants %s", complaint);
    }
    if (rule->rate_text != NULL &&
        !read_distribution(span_str(rule->rate_text), &rate, &rule->rate, &complaint)) {
        return sheet_refuse(error, yaml_get(node, "token_rate")->line, "token_rate wants %s",
                            complaint);
    }
    return true;
}

#define KEY(name, field, bounds) SHEET_KEY(struct rule, 0, text, name, field, "", bounds)

static const struct sheet_key keys[] = {
    KEY("model", model, "1..2048"),
    KEY("ttft", ttft_text, "1..256"),
    KEY("token_rate", rate_text, "1..256"),
};

static const struct sheet sheet = {
    .whole = "a file of latencies",
    .list = "latency",
    .item = "a latency",
    .keys = keys,
    .n_keys = ARRAY_LEN(keys),
    .item_size = sizeof(struct rule),
    .settle = settle,
};

struct latency_plan *latency_plan_new(struct span yaml, uint64_t seed, struct yaml_error *error)
{
    struct latency_plan *plan = ALLOC(struct latency_plan);
    void *rules;
    plan->arena = arena_new(SHEET_MEMORY);
    if (!sheet_read(&sheet, yaml, plan->arena, &rules, &plan->n_rules, error)) {
        latency_plan_free(plan);
        return NULL;
    }
    plan->rules = rules;
    for (size_t i = 0; i < plan->n_rules; i++) {
        uint64_t state = seed ^ (i + 1) << 48;
        plan->rules[i].random = behaviour_random(&state);
    }
    plan->text = arena_copy(plan->arena, yaml);
    return plan;
}

void latency_plan_free(struct latency_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    arena_free(plan->arena);
    free(plan);
}

struct span latency_plan_text(const struct latency_plan *plan)
{
    return plan->text;
}

size_t latency_plan_count(const struct latency_plan *plan)
{
    return plan->n_rules;
}

/* --- use ---------------------------------------------------------------------------------------
 */

/* Above 0, below 1. */
static double draw_share(uint64_t *random)
{
    return ((double)(behaviour_random(random) >> 11) + 0.5) * 0x1p-53;
}

/* Standard normal, by Box and Muller. */
static double draw_normal(uint64_t *random)
{
    double radius = sqrt(-2 * log(draw_share(random)));
    return radius * cos(2 * M_PI * draw_share(random));
}

static double draw(const struct distribution *d, uint64_t *random)
{
    switch (d->shape) {
    case SHAPE_UNIFORM:
        return d->a + (d->b - d->a) * draw_share(random);
    case SHAPE_LOGNORMAL:
        return d->a * exp(log(d->b / d->a) / P95 * draw_normal(random));
    case SHAPE_CONSTANT:
    case SHAPE_NONE:
        break;
    }
    return d->a;
}

void latency_plan_apply(struct latency_plan *plan, struct span model, struct answer *answer)
{
    size_t i = 0;
    while (i < plan->n_rules && plan->rules[i].model != NULL &&
           !span_eq(model, span_str(plan->rules[i].model))) {
        i++;
    }
    if (i == plan->n_rules) {
        return;
    }
    struct rule *rule = &plan->rules[i];
    if (rule->ttft.shape != SHAPE_NONE) {
        answer->first_ms = (uint64_t)fmin(draw(&rule->ttft, &rule->random), TTFT_MOST);
    }
    if (rule->rate.shape != SHAPE_NONE) {
        double rate = draw(&rule->rate, &rule->random);
        answer->token_ms = 1000.0 / fmax(fmin(rate, RATE_MOST), RATE_LEAST);
    }
}
