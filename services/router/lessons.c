#include "router/lessons.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/map.h"
#include "router/router.h"

#define MODELS_MOST 256 /* of all catalogues there have been */

struct lessons {
    struct map *by_model; /* name -> struct estimate_lesson */
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

static struct estimate_lesson *find(const struct lessons *lessons,
                                    const struct catalogue_model *model)
{
    return lessons != NULL ? map_get(lessons->by_model, span_str(model->name)) : NULL;
}

const struct estimate_lesson *lessons_of(const struct lessons *lessons,
                                         const struct catalogue *catalogue, struct arena *arena)
{
    struct estimate_lesson *out = ARENA_ARRAY(arena, struct estimate_lesson, catalogue->n_models);
    for (size_t i = 0; i < catalogue->n_models; i++) {
        const struct estimate_lesson *known = find(lessons, &catalogue->models[i]);
        out[i] = known != NULL ? *known : (struct estimate_lesson){0};
    }
    return out;
}

static struct estimate_lesson *find_or_add(struct lessons *lessons,
                                           const struct catalogue_model *model)
{
    struct estimate_lesson *lesson = find(lessons, model);
    if (lesson == NULL && map_count(lessons->by_model) < MODELS_MOST) {
        lesson = ALLOC(struct estimate_lesson);
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
    struct estimate_lesson *lesson = find_or_add(router->lessons, candidate->model);
    if (lesson != NULL) {
        estimate_learn(lesson, candidate->estimated_input, counted);
    }
}
