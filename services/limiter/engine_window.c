/*
 * The window of requests and tokens, and the pacer.
 *
 * Up to ENGINE_LOG_MOST requests a window are kept one by one, with what each is charged: a sliding
 * window that is exact. Above that, or where only tokens are limited, admissions share the slots of
 * a ring. A slot counts until its end has left the window, so the ring admits at most what the log
 * would, and less by no more than one slot in sixty.
 */
#include <string.h>

#include "limiter/engine_parts.h"

/* For how long an admission counts. The guard covers the way from the grant to the provider. */
static uint64_t span_ms(const struct engine_resource *resource, const struct engine_turn *turn)
{
    return resource->limits.window_ms + turn->rules->guard_ms;
}

/* --- what counts, oldest first -----------------------------------------------------------------
 */

struct mark {
    uint64_t until_ms; /* counts before that */
    uint64_t requests;
    uint64_t tokens;
};

struct walk {
    const struct engine_window *window;
    uint64_t now_ms;
    uint64_t span_ms;
    uint32_t log; /* places of the next ones */
    uint32_t debit;
    uint64_t slot;
    uint64_t present;
};

static struct walk walk_from_oldest(const struct engine_resource *resource,
                                    const struct engine_turn *turn)
{
    struct walk walk = {
        .window = &resource->window,
        .now_ms = turn->now_ms,
        .span_ms = span_ms(resource, turn),
    };
    if (walk.window->kind == ENGINE_WINDOW_RING) {
        walk.present = turn->now_ms / walk.window->slot_ms;
        walk.slot = walk.present < ENGINE_RING_SLOTS ? 0 : walk.present - (ENGINE_RING_SLOTS - 1);
    }
    return walk;
}

static bool walk_log(struct walk *walk, struct mark *mark)
{
    const struct engine_window *window = walk->window;
    bool admission = walk->log < window->n_log;
    bool debit = walk->debit < window->n_debits;
    if (admission && debit) {
        debit = window->debits[walk->debit].at_ms < window->log[walk->log].at_ms;
        admission = !debit;
    }
    if (!admission && !debit) {
        return false;
    }
    const struct engine_entry *entry =
        debit ? &window->debits[walk->debit++] : &window->log[walk->log++];
    mark->until_ms = entry->at_ms + walk->span_ms;
    mark->requests = admission;
    mark->tokens = entry->tokens;
    return true;
}

static bool walk_ring(struct walk *walk, struct mark *mark)
{
    while (walk->slot <= walk->present) {
        uint64_t no = walk->slot++;
        const struct engine_slot *slot = &walk->window->ring[no % ENGINE_RING_SLOTS];
        if (slot->no == no) {
            mark->until_ms = (no + 1) * walk->window->slot_ms + walk->span_ms;
            mark->requests = slot->requests;
            mark->tokens = slot->tokens;
            return true;
        }
    }
    return false;
}

static bool walk_step(struct walk *walk, struct mark *mark)
{
    switch (walk->window->kind) {
    case ENGINE_WINDOW_NONE:
        return false;
    case ENGINE_WINDOW_LOG:
        return walk_log(walk, mark);
    case ENGINE_WINDOW_RING:
        return walk_ring(walk, mark);
    }
    return false;
}

static bool walk_next(struct walk *walk, struct mark *mark)
{
    while (walk_step(walk, mark)) {
        if (walk->now_ms < mark->until_ms) {
            return true;
        }
    }
    return false;
}

/* --- judging -----------------------------------------------------------------------------------
 */

struct sums {
    uint64_t requests;
    uint64_t tokens;
};

static struct sums sums_of(const struct engine_resource *resource, const struct engine_turn *turn)
{
    struct sums sums = {0};
    struct walk walk = walk_from_oldest(resource, turn);
    struct mark mark;
    while (walk_next(&walk, &mark)) {
        sums.requests += mark.requests;
        sums.tokens += mark.tokens;
    }
    return sums;
}

/* When enough has left the window that at most so many requests and tokens are in it. */
static uint64_t matures_at(const struct engine_resource *resource, const struct engine_turn *turn,
                           struct sums sums, struct sums most)
{
    uint64_t at_ms = turn->now_ms;
    struct walk walk = walk_from_oldest(resource, turn);
    struct mark mark;
    while ((sums.requests > most.requests || sums.tokens > most.tokens) &&
           walk_next(&walk, &mark)) {
        sums.requests -= mark.requests;
        sums.tokens -= mark.tokens;
        at_ms = mark.until_ms;
    }
    return at_ms;
}

uint64_t engine_window_matures(const struct engine_resource *resource,
                               const struct engine_turn *turn, uint64_t requests, uint64_t tokens)
{
    return matures_at(resource, turn, sums_of(resource, turn), (struct sums){requests, tokens});
}

static void judge_tokens(const struct engine_resource *resource, const struct engine_turn *turn,
                         struct sums sums, struct engine_judgement *judgement)
{
    uint64_t budget = resource->limits.tokens;
    judgement->remaining.tokens = (int64_t)budget - (int64_t)sums.tokens;
    if (judgement->charge > budget) {
        engine_refuse(judgement, ENGINE_REASON_TOO_LARGE, ENGINE_NEVER, true);
    } else if (sums.tokens > budget - judgement->charge) {
        struct sums most = {UINT64_MAX, budget - judgement->charge};
        uint64_t at_ms = matures_at(resource, turn, sums, most);
        engine_refuse(judgement, ENGINE_REASON_TOKENS, at_ms, true);
    }
}

void engine_window_judge(const struct engine_resource *resource, const struct engine_turn *turn,
                         struct engine_judgement *judgement)
{
    const struct engine_limits *limits = &resource->limits;
    struct sums sums = sums_of(resource, turn);
    if (limits->requests > sums.requests) {
        judgement->remaining.requests = limits->requests - sums.requests;
    } else if (limits->requests > 0) {
        struct sums most = {limits->requests - 1, UINT64_MAX};
        uint64_t at_ms = matures_at(resource, turn, sums, most);
        engine_refuse(judgement, ENGINE_REASON_REQUESTS, at_ms, true);
    }
    uint64_t tolerance_ms =
        limits->pacer_burst > 0 ? (limits->pacer_burst - 1) * limits->pacer_interval_ms : 0;
    if (limits->pacer_interval_ms > 0 && turn->now_ms + tolerance_ms < resource->window.tat_ms) {
        engine_refuse(judgement, ENGINE_REASON_PACED, resource->window.tat_ms - tolerance_ms, true);
    }
    if (limits->tokens > 0) {
        judge_tokens(resource, turn, sums, judgement);
    }
}

/* --- charging ----------------------------------------------------------------------------------
 */

static uint32_t drop_expired(struct engine_entry *entries, uint32_t n, uint64_t span,
                             uint64_t now_ms)
{
    uint32_t expired = 0;
    while (expired < n && entries[expired].at_ms + span <= now_ms) {
        expired++;
    }
    memmove(entries, entries + expired, (n - expired) * sizeof(*entries));
    return n - expired;
}

static void log_clear_away(struct engine_resource *resource, const struct engine_turn *turn)
{
    struct engine_window *window = &resource->window;
    uint64_t span = span_ms(resource, turn);
    window->n_log = drop_expired(window->log, window->n_log, span, turn->now_ms);
    window->n_debits = drop_expired(window->debits, window->n_debits, span, turn->now_ms);
}

static void ring_clear_away(struct engine_resource *resource, const struct engine_turn *turn)
{
    struct engine_window *window = &resource->window;
    uint64_t span = span_ms(resource, turn);
    for (size_t i = 0; i < ENGINE_RING_SLOTS; i++) {
        struct engine_slot *slot = &window->ring[i];
        if ((slot->no + 1) * window->slot_ms + span <= turn->now_ms) {
            *slot = (struct engine_slot){0};
        }
    }
}

void engine_window_clear_away(struct engine_resource *resource, const struct engine_turn *turn)
{
    switch (resource->window.kind) {
    case ENGINE_WINDOW_NONE:
        break;
    case ENGINE_WINDOW_LOG:
        log_clear_away(resource, turn);
        break;
    case ENGINE_WINDOW_RING:
        ring_clear_away(resource, turn);
        break;
    }
}

/* The slot of the present, emptied if it was last used a round ago. */
static struct engine_slot *present_slot(struct engine_resource *resource,
                                        const struct engine_turn *turn)
{
    uint64_t no = turn->now_ms / resource->window.slot_ms;
    struct engine_slot *slot = &resource->window.ring[no % ENGINE_RING_SLOTS];
    if (slot->no != no) {
        *slot = (struct engine_slot){.no = no};
    }
    return slot;
}

/* Numbers that are given out name the shape too: after a change of shape they find nothing. */
#define SHAPE_SHIFT 48

static uint64_t number_of(const struct engine_window *window, uint64_t no)
{
    return (uint64_t)(uint16_t)window->shape << SHAPE_SHIFT | no;
}

uint64_t engine_window_charge(struct engine_resource *resource, const struct engine_turn *turn,
                              uint64_t tokens)
{
    struct engine_window *window = &resource->window;
    const struct engine_limits *limits = &resource->limits;
    if (limits->pacer_interval_ms > 0) {
        uint64_t base_ms = turn->now_ms > window->tat_ms ? turn->now_ms : window->tat_ms;
        window->tat_ms = base_ms + limits->pacer_interval_ms;
    }
    switch (window->kind) {
    case ENGINE_WINDOW_NONE:
        break;
    case ENGINE_WINDOW_LOG:
        log_clear_away(resource, turn);
        check(window->n_log < ENGINE_LOG_MOST);
        window->log[window->n_log++] =
            (struct engine_entry){++window->last_no, turn->now_ms, tokens};
        return number_of(window, window->last_no);
    case ENGINE_WINDOW_RING: {
        struct engine_slot *slot = present_slot(resource, turn);
        slot->requests++;
        slot->tokens += tokens;
        return number_of(window, slot->no);
    }
    }
    return 0;
}

/* The entry of an admission; NULL when it has left. Numbers ascend. */
static struct engine_entry *log_find(struct engine_window *window, uint64_t number)
{
    uint32_t low = 0, high = window->n_log;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (number_of(window, window->log[middle].no) < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < window->n_log && number_of(window, window->log[low].no) == number;
    return found ? &window->log[low] : NULL;
}

static struct engine_slot *ring_find(struct engine_window *window, uint64_t number)
{
    uint64_t no = number & ((1ull << SHAPE_SHIFT) - 1);
    struct engine_slot *slot = &window->ring[no % ENGINE_RING_SLOTS];
    return number_of(window, slot->no) == number ? slot : NULL;
}

/* Never more than there is: a copy may be older than the record that is settled on it. What is
 * decided then is not kept, but it is packed. */
static void give_back(struct engine_slot *slot, uint64_t requests, uint64_t tokens)
{
    slot->requests -= requests < slot->requests ? requests : slot->requests;
    slot->tokens -= tokens < slot->tokens ? tokens : slot->tokens;
}

void engine_window_lower(struct engine_resource *resource, uint64_t no, uint64_t reserved,
                         uint64_t used)
{
    struct engine_window *window = &resource->window;
    struct engine_slot *slot;
    struct engine_entry *entry;
    switch (window->kind) {
    case ENGINE_WINDOW_NONE:
        break;
    case ENGINE_WINDOW_LOG:
        entry = log_find(window, no);
        if (entry != NULL) {
            entry->tokens = used;
        }
        break;
    case ENGINE_WINDOW_RING:
        slot = ring_find(window, no);
        if (slot != NULL) {
            give_back(slot, 0, reserved - used);
        }
        break;
    }
}

static void forget(struct engine_entry *entries, uint32_t *n, struct engine_entry *entry)
{
    size_t behind = (size_t)(&entries[*n] - (entry + 1));
    memmove(entry, entry + 1, behind * sizeof(*entry));
    --*n;
}

void engine_window_refund(struct engine_resource *resource, uint64_t no, uint64_t reserved)
{
    struct engine_window *window = &resource->window;
    struct engine_slot *slot;
    struct engine_entry *entry;
    switch (window->kind) {
    case ENGINE_WINDOW_NONE:
        break;
    case ENGINE_WINDOW_LOG:
        entry = log_find(window, no);
        if (entry != NULL) {
            forget(window->log, &window->n_log, entry);
        }
        break;
    case ENGINE_WINDOW_RING:
        slot = ring_find(window, no);
        if (slot != NULL) {
            give_back(slot, 1, reserved);
        }
        break;
    }
}

/* The debit that this one goes on from. */
static void forget_debit(struct engine_window *window, uint64_t no)
{
    for (uint32_t i = 0; i < window->n_debits; i++) {
        if (window->debits[i].no == no) {
            forget(window->debits, &window->n_debits, &window->debits[i]);
            return;
        }
    }
}

void engine_window_debit(struct engine_resource *resource, const struct engine_turn *turn,
                         uint64_t no, uint64_t before, uint64_t tokens)
{
    struct engine_window *window = &resource->window;
    if (tokens == before || window->kind == ENGINE_WINDOW_NONE) {
        return;
    }
    if (window->kind == ENGINE_WINDOW_RING) {
        present_slot(resource, turn)->tokens += tokens - before;
        return;
    }
    log_clear_away(resource, turn);
    if (before > 0 && no > 0) {
        forget_debit(window, no);
    }
    if (window->n_debits == ENGINE_DEBITS_MOST) {
        /* More than ever run at once: the two oldest stay until the younger of them leaves. */
        window->debits[1].tokens += window->debits[0].tokens;
        forget(window->debits, &window->n_debits, &window->debits[0]);
    }
    window->debits[window->n_debits++] = (struct engine_entry){no, turn->now_ms, tokens};
}
