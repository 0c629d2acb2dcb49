#include "limiter/outputs.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"

#define KEY_MOST 512

struct pair {
    uint64_t tokens[OUTPUTS_KEPT]; /* round robin */
    uint32_t n;
    uint32_t next;
    uint64_t q95; /* of these */
};

struct outputs {
    struct map *pairs; /* model NUL tenant -> struct pair *, oldest first */
    size_t pairs_most;
};

struct outputs *outputs_new(size_t pairs_most)
{
    struct outputs *outputs = ALLOC(struct outputs);
    outputs->pairs = map_new();
    outputs->pairs_most = pairs_most;
    return outputs;
}

static void drop_oldest(struct outputs *outputs)
{
    struct map_entry *oldest = map_first(outputs->pairs);
    free(map_remove(outputs->pairs, map_key(oldest)));
}

void outputs_free(struct outputs *outputs)
{
    if (outputs == NULL) {
        return;
    }
    while (map_count(outputs->pairs) > 0) {
        drop_oldest(outputs);
    }
    map_free(outputs->pairs);
    free(outputs);
}

static struct span key_of(struct span model, struct span tenant, char room[KEY_MOST])
{
    check(model.len + 1 + tenant.len <= KEY_MOST);
    memcpy(room, model.at, model.len);
    room[model.len] = '\0';
    memcpy(room + model.len + 1, tenant.at, tenant.len);
    return span_of(room, model.len + 1 + tenant.len);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t q95_of(const struct pair *pair)
{
    uint64_t sorted[OUTPUTS_KEPT];
    memcpy(sorted, pair->tokens, pair->n * sizeof(sorted[0]));
    qsort(sorted, pair->n, sizeof(sorted[0]), compare);
    uint64_t q95 = sorted[(pair->n * 95 + 99) / 100 - 1];
    return q95 > 0 ? q95 : 1;
}

void outputs_add(struct outputs *outputs, struct span model, struct span tenant, uint64_t tokens)
{
    char room[KEY_MOST];
    struct span key = key_of(model, tenant, room);
    struct pair *pair = map_get(outputs->pairs, key);
    if (pair == NULL) {
        if (map_count(outputs->pairs) >= outputs->pairs_most) {
            drop_oldest(outputs);
        }
        pair = ALLOC(struct pair);
        map_set(outputs->pairs, key, pair);
    }
    pair->tokens[pair->next] = tokens;
    pair->next = (pair->next + 1) % OUTPUTS_KEPT;
    pair->n += pair->n < OUTPUTS_KEPT;
    pair->q95 = q95_of(pair);
}

uint64_t outputs_q95(const struct outputs *outputs, struct span model, struct span tenant)
{
    char room[KEY_MOST];
    const struct pair *pair = map_get(outputs->pairs, key_of(model, tenant, room));
    return pair != NULL && pair->n >= OUTPUTS_LEAST ? pair->q95 : 0;
}
