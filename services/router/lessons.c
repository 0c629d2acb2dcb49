#include "router/lessons.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "router/router.h"

#define MODELS_MOST 256 /* of all catalogues there have been */
#define COUNT_MS    2000
#define BODY_MOST   (25u * 1000 * 1000)

struct lesson {
    struct estimate_lesson text;
    bool cannot_count; /* the provider counts no tokens for it */
};

struct lessons {
    struct map *by_model; /* name -> struct lesson */
};

struct lessons *lessons_new(void)
{
    struct lessons *lessons = ALLOC(struct lessons);
    lessons->by_model = map_new();
    return lessons;
}

void lessons_free(struct lessons *lessons)
{
    if (lessons == NULL) {
        return;
    }
    for (struct map_entry *e = map_first(lessons->by_model); e != NULL; e = map_next(e)) {
        free(map_value(e));
    }
    map_free(lessons->by_model);
    free(lessons);
}

static struct lesson *find(const struct lessons *lessons, const struct catalogue_model *model)
{
    return lessons != NULL ? map_get(lessons->by_model, span_str(model->name)) : NULL;
}

const struct estimate_lesson *lessons_of(const struct lessons *lessons,
                                         const struct catalogue *catalogue, struct arena *arena)
{
    struct estimate_lesson *out = ARENA_ARRAY(arena, struct estimate_lesson, catalogue->n_models);
    for (size_t i = 0; i < catalogue->n_models; i++) {
        const struct lesson *known = find(lessons, &catalogue->models[i]);
        out[i] = known != NULL ? known->text : (struct estimate_lesson){0};
    }
    return out;
}

static struct lesson *find_or_add(struct lessons *lessons, const struct catalogue_model *model)
{
    struct lesson *lesson = find(lessons, model);
    if (lesson == NULL && map_count(lessons->by_model) < MODELS_MOST) {
        lesson = ALLOC(struct lesson);
        map_set(lessons->by_model, span_str(model->name), lesson);
    }
    return lesson;
}

void lessons_take(struct router *router, const struct attempt *attempt)
{
    const struct candidate *candidate = attempt->candidate;
    const struct price_usage *usage = &attempt->usage;
    uint64_t counted = usage->input + usage->cache_read + usage->cache_write;
    if (router->lessons == NULL || attempt->reason != REASON_NONE || counted == 0) {
        return;
    }
    double off = fabs((double)candidate->tokens.input / (double)counted - 1);
    METRIC_OBSERVE(router->metrics.estimate_error_percent, 100 * off, candidate->model->name);
    METRIC_ADD(router->metrics.estimated_tokens_total, (double)candidate->tokens.input,
               candidate->model->name);
    struct lesson *lesson = find_or_add(router->lessons, candidate->model);
    if (lesson != NULL) {
        estimate_learn(&lesson->text, candidate->estimated_input, counted);
    }
}

/* --- the provider's own count ------------------------------------------------------------------
 */

/* The id without the part that names an inference profile, which is not known there; NULL: it is an
 * ARN or of another make. */
static const char *base_id(const char *model_id)
{
    const char *base = strstr(model_id, "anthropic.");
    return base != NULL && strchr(model_id, '/') == NULL ? base : NULL;
}

struct question {
    const Router__Generation *generation;
    const struct candidate *candidate;
    struct buf *body;
};

/* Any thread: the task waits. */
static void make_question(void *arg)
{
    const struct question *question = arg;
    reshape_add_body(question->body, question->generation, question->candidate);
}

static struct status ask(struct router *router, const struct plan *plan, const char *model_id,
                         uint64_t *tokens) PARKS
{
    const struct candidate *first = &plan->candidates[0];
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, BODY_MOST);
    struct question question = {plan->generation, first, &body};
    TRY(loop_work_over(reshape_bytes(plan->generation), make_question, &question));
    if (!buf_ok(&body)) {
        return status_of(REASON_MESSAGE_TOO_LARGE, NULL);
    }
    const struct bedrock_request request = {
        .region = first->region,
        .model_id = model_id,
        .body = buf_span(&body),
        .connect_ms = COUNT_MS,
        .first_byte_ms = COUNT_MS,
        .idle_ms = COUNT_MS,
    };
    return bedrock_count(router->bedrock, &request, tokens);
}

void lessons_ask(struct router *router, struct plan *plan)
{
    const struct candidate *first = &plan->candidates[0];
    const char *model_id = base_id(first->model->model_id);
    uint64_t counted = 0, estimated = first->tokens.input;
    if (!router->config->count_tokens || router->lessons == NULL || model_id == NULL ||
        estimated == 0) {
        return;
    }
    struct lesson *lesson = find_or_add(router->lessons, first->model);
    if (lesson == NULL || lesson->cannot_count) {
        return;
    }
    struct status s = ask(router, plan, model_id, &counted);
    METRIC_ADD(router->metrics.counts_total, 1, status_ok(s) ? "OK" : reason_name(s.reason));
    lesson->cannot_count = s.reason == REASON_TIER_MISCONFIGURED;
    if (!status_ok(s)) {
        return;
    }
    estimate_learn(&lesson->text, first->estimated_input, counted);
    for (size_t i = 0; i < plan->n_candidates; i++) {
        uint64_t *input = &plan->candidates[i].tokens.input;
        *input = (uint64_t)((double)*input * (double)counted / (double)estimated + 0.5);
    }
}
