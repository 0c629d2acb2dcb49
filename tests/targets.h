/*
 * targets.h -- models that a test writes down, as a catalogue: each in its regions.
 */
#ifndef PRISM_TESTS_TARGETS_H
#define PRISM_TESTS_TARGETS_H

#include "catalogue/catalogue.h"

static inline struct catalogue targets_catalogue(const struct catalogue_model *models, size_t n,
                                                 struct arena *arena)
{
    struct catalogue_target *targets =
        ARENA_ARRAY(arena, struct catalogue_target, n * CATALOGUE_REGIONS_MOST);
    struct catalogue catalogue = {
        .models = models, .n_models = n, .targets = targets, .references = 1};
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < models[i].n_regions; k++) {
            targets[catalogue.n_targets++] = (struct catalogue_target){
                .name = arena_printf(arena, "%s@%s", models[i].name, models[i].regions[k]),
                .region = models[i].regions[k],
                .model = models[i],
            };
        }
    }
    return catalogue;
}

#endif
