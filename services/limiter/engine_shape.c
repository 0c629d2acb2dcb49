/*
 * Which form a window has, and how it takes on another one when limits or rules change. Nothing
 * that counts is lost on the way: where the new form knows less, an admission counts from the
 * latest time it may have been.
 */
#include <string.h>

#include "limiter/engine_parts.h"

static enum engine_window_kind kind_for(const struct engine_limits *limits)
{
    if (limits->requests == 0 && limits->tokens == 0) {
        return ENGINE_WINDOW_NONE;
    }
    return limits->requests > 0 && limits->requests <= ENGINE_LOG_MOST ? ENGINE_WINDOW_LOG
                                                                       : ENGINE_WINDOW_RING;
}

/* Sixty slots cover the window and its guard, the present one is the sixty-first. */
static uint64_t slot_for(const struct engine_limits *limits, const struct engine_rules *rules)
{
    uint64_t slots = ENGINE_RING_SLOTS - 1;
    return kind_for(limits) == ENGINE_WINDOW_RING
               ? (limits->window_ms + rules->guard_ms + slots - 1) / slots
               : 0;
}

void engine_window_form(struct engine_resource *resource, const struct engine_rules *rules)
{
    resource->window.kind = kind_for(&resource->limits);
    resource->window.slot_ms = slot_for(&resource->limits, rules);
}

static void keep_in_log(struct engine_window *window, uint64_t at_ms, uint64_t requests,
                        uint64_t tokens)
{
    uint64_t n = requests < ENGINE_LOG_MOST ? requests : ENGINE_LOG_MOST;
    for (uint64_t i = 0; i < n; i++) {
        if (window->n_log == ENGINE_LOG_MOST) { /* the newest are as many as any limit admits */
            window->n_log--;
            memmove(window->log, window->log + 1, window->n_log * sizeof(window->log[0]));
        }
        window->log[window->n_log++] =
            (struct engine_entry){.no = ++window->last_no, .at_ms = at_ms};
    }
    if (tokens > 0) { /* at most one a slot of a ring */
        check(window->n_debits < ENGINE_DEBITS_MOST);
        window->debits[window->n_debits++] =
            (struct engine_entry){.at_ms = at_ms, .tokens = tokens};
    }
}

static void keep_in_ring(struct engine_window *window, uint64_t at_ms, uint64_t requests,
                         uint64_t tokens)
{
    uint64_t no = at_ms / window->slot_ms;
    struct engine_slot *slot = &window->ring[no % ENGINE_RING_SLOTS];
    if (slot->no != no) {
        *slot = (struct engine_slot){.no = no};
    }
    slot->requests += requests;
    slot->tokens += tokens;
}

struct move {
    struct engine_window *to;
    uint64_t after_ms; /* what was no later does not count any more */
};

static void keep(const struct move *move, uint64_t at_ms, uint64_t requests, uint64_t tokens)
{
    if (at_ms <= move->after_ms) {
        return;
    }
    switch (move->to->kind) {
    case ENGINE_WINDOW_NONE:
        break;
    case ENGINE_WINDOW_LOG:
        keep_in_log(move->to, at_ms, requests, tokens);
        break;
    case ENGINE_WINDOW_RING:
        keep_in_ring(move->to, at_ms, requests, tokens);
        break;
    }
}

static void move_log(const struct move *move, const struct engine_window *from)
{
    for (uint32_t i = 0; i < from->n_log; i++) {
        keep(move, from->log[i].at_ms, 1, from->log[i].tokens);
    }
    for (uint32_t i = 0; i < from->n_debits; i++) {
        keep(move, from->debits[i].at_ms, 0, from->debits[i].tokens);
    }
}

static void move_ring(const struct move *move, const struct engine_window *from, uint64_t now_ms)
{
    uint64_t present = now_ms / from->slot_ms;
    uint64_t no = present < ENGINE_RING_SLOTS ? 0 : present - (ENGINE_RING_SLOTS - 1);
    for (; no <= present; no++) {
        const struct engine_slot *slot = &from->ring[no % ENGINE_RING_SLOTS];
        uint64_t last_ms = (no + 1) * from->slot_ms - 1;
        if (slot->no == no) {
            keep(move, last_ms < now_ms ? last_ms : now_ms, slot->requests, slot->tokens);
        }
    }
}

void engine_window_reshape(struct engine_resource *resource, const struct engine_rules *rules,
                           uint64_t now_ms, struct engine_window *scratch)
{
    struct engine_window *window = &resource->window;
    const struct engine_limits *limits = &resource->limits;
    if (window->kind == kind_for(limits) && window->slot_ms == slot_for(limits, rules)) {
        return;
    }
    *scratch = *window;
    *window = (struct engine_window){
        .shape = scratch->shape + 1, .last_no = scratch->last_no, .tat_ms = scratch->tat_ms};
    engine_window_form(resource, rules);
    uint64_t span_ms = limits->window_ms + rules->guard_ms;
    const struct move move = {window, now_ms > span_ms ? now_ms - span_ms : 0};
    switch (scratch->kind) {
    case ENGINE_WINDOW_NONE:
        break;
    case ENGINE_WINDOW_LOG:
        move_log(&move, scratch);
        break;
    case ENGINE_WINDOW_RING:
        move_ring(&move, scratch, now_ms);
        break;
    }
}
