#include "limiter/outputs.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"

#define KEY_MOST 512

struct pair {
    uint64_t tokens[OUTPUTS_KEPT]; /* round robin */
    uint64_t sorted[OUTPUTS_KEPT]; /* the same */
    uint32_t n;
    uint32_t next;
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

/* Where it is among the sorted ones, or would be. */
static uint32_t place_of(const struct pair *pair, uint64_t tokens)
{
    uint32_t at = 0;
    while (at < pair->n && pair->sorted[at] < tokens) {
        at++;
    }
    return at;
}

/* In place of the oldest, where there are enough. */
static void pair_add(struct pair *pair, uint64_t tokens)
{
    uint64_t *sorted = pair->sorted;
    if (pair->n == OUTPUTS_KEPT) {
        uint32_t old = place_of(pair, pair->tokens[pair->next]);
        pair->n--;
        memmove(sorted + old, sorted + old + 1, (pair->n - old) * sizeof(*sorted));
    }
    uint32_t at = place_of(pair, tokens);
    memmove(sorted + at + 1, sorted + at, (pair->n - at) * sizeof(*sorted));
    sorted[at] = tokens;
    pair->n++;
    pair->tokens[pair->next] = tokens;
    pair->next = (pair->next + 1) % OUTPUTS_KEPT;
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
    pair_add(pair, tokens);
}

uint64_t outputs_q95(const struct outputs *outputs, struct span model, struct span tenant)
{
    char room[KEY_MOST];
    const struct pair *pair = map_get(outputs->pairs, key_of(model, tenant, room));
    if (pair == NULL || pair->n < OUTPUTS_LEAST) {
        return 0;
    }
    uint64_t q95 = pair->sorted[(pair->n * 95 + 99) / 100 - 1];
    return q95 > 0 ? q95 : 1;
}
