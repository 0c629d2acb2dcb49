#include "router/vitals.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/map.h"
#include "router/router.h"

#define ENTRIES_MOST  2048 /* of all catalogues there have been */
#define OUTCOMES_KEPT 16
#define NOTE_MOST     256
#define WOBBLE_MS     1500 /* ends of states are told as what is left, and that takes its time */

struct outcome {
    uint64_t at_wall_ms;
    uint64_t duration_ms;
    enum reason reason;
    uint32_t http_status;
    bool check;
};

struct entry {
    struct outcome outcomes[OUTCOMES_KEPT]; /* a ring */
    uint64_t n_outcomes;                    /* ever */
    bool down;
    uint64_t used_ms; /* loop time */
    uint64_t version;
    Router__Model__State state;
    uint64_t until_wall_ms; /* 0: not by itself */
    uint64_t until_ms;      /* the same in loop time */
    Limiter__Reason closed; /* why the limiter would not admit a call now, if so */
    char note[NOTE_MOST + 1];
};

struct vitals {
    struct loop *loop;
    uint64_t begin_ms;
    uint64_t catalogues;
    struct map *entries; /* resource -> struct entry */
    struct list watchers;
};

struct vitals *vitals_new(struct loop *loop)
{
    struct vitals *vitals = ALLOC(struct vitals);
    vitals->loop = loop;
    vitals->begin_ms = loop_now_ms(loop);
    vitals->entries = map_new();
    list_init(&vitals->watchers);
    return vitals;
}

void vitals_free(struct vitals *vitals)
{
    if (vitals == NULL) {
        return;
    }
    for (struct map_entry *e = map_first(vitals->entries); e != NULL; e = map_next(e)) {
        free(map_value(e));
    }
    map_free(vitals->entries);
    free(vitals);
}

static struct entry *find(const struct vitals *vitals, const char *resource)
{
    return vitals != NULL ? map_get(vitals->entries, span_str(resource)) : NULL;
}

static struct entry *find_or_add(struct vitals *vitals, const char *resource)
{
    struct entry *entry = find(vitals, resource);
    if (vitals != NULL && entry == NULL && map_count(vitals->entries) < ENTRIES_MOST) {
        entry = ALLOC(struct entry);
        entry->used_ms = vitals->begin_ms;
        map_set(vitals->entries, span_str(resource), entry);
    }
    return entry;
}

static void changed(struct vitals *vitals, struct entry *entry)
{
    entry->version++;
    vitals_wake(vitals);
}

/* --- requests --------------------------------------------------------------------------------- */

/* What is the caller's fault, or a quota's, says nothing of whether the model works. */
static bool says_down(enum reason reason)
{
    enum reason_class class = reason_class(reason);
    return class == CLASS_SKIP_TIER || (class == CLASS_TRY_NEXT_TIER && !plan_throttled(reason));
}

void vitals_note(struct router *router, const struct attempt *attempt, bool check)
{
    const struct candidate *candidate = attempt->candidate;
    bool good = attempt->reason == REASON_NONE, bad = says_down(attempt->reason);
    struct entry *entry = find_or_add(router->vitals, candidate->resource);
    if (entry == NULL || (!good && !bad && !attempt->dispatched)) {
        return;
    }
    entry->used_ms = loop_now_ms(router->vitals->loop);
    entry->outcomes[entry->n_outcomes++ % OUTCOMES_KEPT] = (struct outcome){
        .at_wall_ms = clock_wall_ms(),
        .duration_ms = attempt->duration_ms,
        .reason = attempt->reason,
        .http_status = attempt->http_status,
        .check = check,
    };
    if (!good && !bad) {
        return;
    }
    METRIC_SET(router->metrics.model_up, good, candidate->model->name, candidate->region);
    if (entry->down != bad || entry->n_outcomes == 1) {
        entry->down = bad;
        changed(router->vitals, entry);
    }
}

bool vitals_idle(const struct vitals *vitals, const char *resource, uint64_t idle_ms)
{
    const struct entry *entry = find(vitals, resource);
    uint64_t used_ms = entry != NULL ? entry->used_ms : vitals->begin_ms;
    return loop_now_ms(vitals->loop) >= used_ms + idle_ms;
}

static Google__Protobuf__Timestamp *timestamp(uint64_t wall_ms, struct arena *arena)
{
    Google__Protobuf__Timestamp *out = ARENA_NEW(arena, Google__Protobuf__Timestamp);
    google__protobuf__timestamp__init(out);
    out->seconds = (int64_t)(wall_ms / 1000);
    out->nanos = (int32_t)(wall_ms % 1000) * 1000000;
    return out;
}

void vitals_put_history(const struct vitals *vitals, Router__ModelRegion *region,
                        struct arena *arena)
{
    const struct entry *entry = find(vitals, region->resource);
    if (entry == NULL) {
        return;
    }
    size_t n = entry->n_outcomes < OUTCOMES_KEPT ? (size_t)entry->n_outcomes : OUTCOMES_KEPT;
    region->down = entry->down;
    region->history = ARENA_ARRAY(arena, Router__ModelOutcome *, n);
    for (size_t back = 1; back <= n; back++) {
        const struct outcome *from = &entry->outcomes[(entry->n_outcomes - back) % OUTCOMES_KEPT];
        Router__ModelOutcome *out = ARENA_NEW(arena, Router__ModelOutcome);
        router__model_outcome__init(out);
        out->end_time = timestamp(from->at_wall_ms, arena);
        out->reason = arena_string(
            arena, span_str(from->reason == REASON_NONE ? "" : reason_name(from->reason)));
        out->http_status = from->http_status;
        out->duration_ms = from->duration_ms;
        out->check = from->check;
        region->history[region->n_history++] = out;
    }
}

/* --- the limiter's word ----------------------------------------------------------------------- */

/* What the limiter says of a resource, what callers are told of the model, and why it would be
 * refused. */
#define SAYS(state) LIMITER__RESOURCE_STATE__RESOURCE_STATE_##state
#define TOLD(state) ROUTER__MODEL__STATE__STATE_##state
#define WHY(reason) LIMITER__REASON__REASON_##reason
static const struct row {
    Limiter__ResourceState says;
    Router__Model__State told;
    Limiter__Reason closed;
} rows[] = {
    {SAYS(OPEN), TOLD(OPEN), WHY(UNSPECIFIED)},
    {SAYS(COOLDOWN), TOLD(COOLDOWN), WHY(COOLDOWN)},
    {SAYS(BREAKER_OPEN), TOLD(BREAKER_OPEN), WHY(BREAKER_OPEN)},
    {SAYS(HALF_OPEN), TOLD(HALF_OPEN), WHY(UNSPECIFIED)},
    {SAYS(GONE), TOLD(GONE), WHY(MODEL_GONE)},
    {SAYS(CLOSED), TOLD(CLOSED), WHY(CLOSED)},
    {SAYS(STATE_LOST), TOLD(CLOSED), WHY(STATE_LOST)},
};

static struct row row_of(Limiter__ResourceState state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].says == state) {
            return rows[i];
        }
    }
    return (struct row){SAYS(UNSPECIFIED), TOLD(UNSPECIFIED), WHY(UNSPECIFIED)};
}

static void set_state(struct vitals *vitals, struct entry *entry, Router__Model__State state,
                      uint64_t left_ms, struct span note)
{
    uint64_t until_ms = left_ms > 0 ? clock_wall_ms() + left_ms : 0;
    uint64_t apart = until_ms > entry->until_wall_ms ? until_ms - entry->until_wall_ms
                                                     : entry->until_wall_ms - until_ms;
    note = span_first(note, NOTE_MOST);
    if (entry->state != state || apart > WOBBLE_MS || !span_eq(note, span_str(entry->note))) {
        entry->state = state;
        entry->until_wall_ms = until_ms;
        memcpy(entry->note, note.at, note.len);
        entry->note[note.len] = '\0';
        changed(vitals, entry);
    }
}

void vitals_take_state(struct vitals *vitals, const Limiter__Resource *resource)
{
    struct entry *entry = find_or_add(vitals, resource->name);
    struct row row = row_of(resource->state);
    if (entry != NULL) {
        set_state(vitals, entry, row.told, resource->state_ms, span_str(resource->note));
        entry->closed = row.closed;
        entry->until_ms =
            resource->state_ms > 0 ? loop_now_ms(vitals->loop) + resource->state_ms : UINT64_MAX;
    }
}

Limiter__Reason vitals_closed(const struct vitals *vitals, const char *resource, uint64_t *until_ms)
{
    const struct entry *entry = find(vitals, resource);
    if (entry == NULL || entry->closed == LIMITER__REASON__REASON_UNSPECIFIED ||
        entry->until_ms <= loop_now_ms(vitals->loop)) {
        return LIMITER__REASON__REASON_UNSPECIFIED;
    }
    *until_ms = entry->until_ms;
    return entry->closed;
}

void vitals_forget_states(struct vitals *vitals)
{
    for (struct map_entry *e = map_first(vitals->entries); e != NULL; e = map_next(e)) {
        struct entry *entry = map_value(e);
        set_state(vitals, entry, ROUTER__MODEL__STATE__STATE_UNSPECIFIED, 0,
                  SPAN("the limiter could not be asked"));
        entry->closed = LIMITER__REASON__REASON_UNSPECIFIED;
    }
}

void vitals_put_state(const struct vitals *vitals, Router__ModelRegion *region, struct arena *arena)
{
    const struct entry *entry = find(vitals, region->resource);
    if (region->state == ROUTER__MODEL__STATE__STATE_GONE) {
        return; /* the catalogue's dates are final */
    }
    if (entry == NULL) {
        region->state_reason = arena_string(arena, SPAN("the limiter has not told yet"));
        return;
    }
    region->state = entry->state;
    region->state_reason = arena_string(arena, span_str(entry->note));
    if (entry->until_wall_ms > 0) {
        region->state_until = timestamp(entry->until_wall_ms, arena);
    }
}

/* --- who watches ------------------------------------------------------------------------------ */

uint64_t vitals_version(const struct vitals *vitals, const struct catalogue *catalogue,
                        const struct catalogue_model *model)
{
    uint64_t version = 1 + (vitals->catalogues << 40);
    for (size_t i = 0; i < catalogue->n_targets; i++) {
        const struct catalogue_target *target = &catalogue->targets[i];
        if (strcmp(target->model.name, model->name) == 0) {
            const struct entry *entry = find(vitals, target->name);
            version += entry != NULL ? entry->version : 0;
        }
    }
    return version;
}

void vitals_new_catalogue(struct vitals *vitals)
{
    vitals->catalogues++;
    vitals_wake(vitals);
}

void vitals_watch(struct vitals *vitals, struct vitals_watcher *watcher)
{
    list_push_back(&vitals->watchers, &watcher->link);
}

void vitals_unwatch(struct vitals_watcher *watcher)
{
    list_remove(&watcher->link);
}

void vitals_wake(struct vitals *vitals)
{
    LIST_EACH (it, &vitals->watchers) {
        bell_ring(&CONTAINER_OF(it, struct vitals_watcher, link)->news);
    }
}
