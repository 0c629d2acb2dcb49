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

enum window_kind {
    WINDOW_NONE,
    WINDOW_LOG,
    WINDOW_RING,
};

static enum window_kind kind_of(const struct engine_resource *resource)
{
    const struct engine_limits *limits = &resource->limits;
    if (limits->requests == 0 && limits->tokens == 0) {
        return WINDOW_NONE;
    }
    return limits->requests > 0 && limits->requests <= ENGINE_LOG_MOST ? WINDOW_LOG : WINDOW_RING;
}

/* For how long an admission counts. The guard covers the way from the grant to the provider. */
static uint64_t span_ms(const struct engine_resource *resource, const struct engine_turn *turn)
{
    return resource->limits.window_ms + turn->rules->guard_ms;
}

/* Sixty slots cover the span, the present one is the sixty-first. */
static uint64_t slot_ms(const struct engine_resource *resource, const struct engine_turn *turn)
{
    uint64_t slots = ENGINE_RING_SLOTS - 1;
    return (span_ms(resource, turn) + slots - 1) / slots;
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
    enum window_kind kind;
    uint64_t now_ms;
    uint64_t span_ms;
    uint32_t log; /* places of the next ones */
    uint32_t debit;
    uint64_t slot;
    uint64_t present;
    uint64_t slot_ms;
};

static struct walk walk_from_oldest(const struct engine_resource *resource,
                                    const struct engine_turn *turn)
{
    struct walk walk = {
        .window = &resource->window,
        .kind = kind_of(resource),
        .now_ms = turn->now_ms,
        .span_ms = span_ms(resource, turn),
    };
    if (walk.kind == WINDOW_RING) {
        walk.slot_ms = slot_ms(resource, turn);
        walk.present = turn->now_ms / walk.slot_ms;
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
            mark->until_ms = (no + 1) * walk->slot_ms + walk->span_ms;
            mark->requests = slot->requests;
            mark->tokens = slot->tokens;
            return true;
        }
    }
    return false;
}

static bool walk_step(struct walk *walk, struct mark *mark)
{
    switch (walk->kind) {
    case WINDOW_NONE:
        return false;
    case WINDOW_LOG:
        return walk_log(walk, mark);
    case WINDOW_RING:
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
    if (turn->now_ms + tolerance_ms < resource->window.tat_ms) {
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

/* The slot of the present, emptied if it was last used a round ago. */
static struct engine_slot *present_slot(struct engine_resource *resource,
                                        const struct engine_turn *turn)
{
    uint64_t no = turn->now_ms / slot_ms(resource, turn);
    struct engine_slot *slot = &resource->window.ring[no % ENGINE_RING_SLOTS];
    if (slot->no != no) {
        *slot = (struct engine_slot){.no = no};
    }
    return slot;
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
    switch (kind_of(resource)) {
    case WINDOW_NONE:
        break;
    case WINDOW_LOG:
        log_clear_away(resource, turn);
        check(window->n_log < ENGINE_LOG_MOST);
        window->log[window->n_log++] =
            (struct engine_entry){++window->last_no, turn->now_ms, tokens};
        return window->last_no;
    case WINDOW_RING: {
        struct engine_slot *slot = present_slot(resource, turn);
        slot->requests++;
        slot->tokens += tokens;
        return slot->no;
    }
    }
    return 0;
}

/* The place of an admission in the log; n_log when it has left. Numbers ascend. */
static uint32_t log_find(const struct engine_window *window, uint64_t no)
{
    uint32_t low = 0, high = window->n_log;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (window->log[middle].no < no) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < window->n_log && window->log[low].no == no ? low : window->n_log;
}

static struct engine_slot *ring_find(struct engine_window *window, uint64_t no)
{
    struct engine_slot *slot = &window->ring[no % ENGINE_RING_SLOTS];
    return slot->no == no ? slot : NULL;
}

/* Charges less for an admission that is still in the window. */
static void lower(struct engine_resource *resource, uint64_t no, uint64_t reserved, uint64_t used)
{
    struct engine_window *window = &resource->window;
    if (kind_of(resource) == WINDOW_RING) {
        struct engine_slot *slot = ring_find(window, no);
        if (slot != NULL) {
            slot->tokens -= reserved - used;
        }
        return;
    }
    uint32_t place = log_find(window, no);
    if (place < window->n_log) {
        window->log[place].tokens = used;
    }
}

void engine_window_settle(struct engine_resource *resource, const struct engine_turn *turn,
                          uint64_t no, uint64_t reserved, uint64_t used)
{
    if (used > reserved) {
        engine_window_debit(resource, turn, no, used - reserved);
    } else if (kind_of(resource) != WINDOW_NONE) {
        lower(resource, no, reserved, used);
    }
}

void engine_window_refund(struct engine_resource *resource, uint64_t no, uint64_t reserved)
{
    struct engine_window *window = &resource->window;
    switch (kind_of(resource)) {
    case WINDOW_NONE:
        break;
    case WINDOW_LOG: {
        uint32_t place = log_find(window, no);
        if (place < window->n_log) {
            window->n_log--;
            memmove(&window->log[place], &window->log[place + 1],
                    (window->n_log - place) * sizeof(window->log[0]));
        }
        break;
    }
    case WINDOW_RING: {
        struct engine_slot *slot = ring_find(window, no);
        if (slot != NULL) {
            slot->requests--;
            slot->tokens -= reserved;
        }
        break;
    }
    }
}

void engine_window_debit(struct engine_resource *resource, const struct engine_turn *turn,
                         uint64_t no, uint64_t tokens)
{
    struct engine_window *window = &resource->window;
    if (tokens == 0 || kind_of(resource) == WINDOW_NONE) {
        return;
    }
    if (kind_of(resource) == WINDOW_RING) {
        present_slot(resource, turn)->tokens += tokens;
        return;
    }
    log_clear_away(resource, turn);
    if (window->n_debits == ENGINE_DEBITS_MOST) {
        /* More than ever run at once: the two oldest stay until the younger of them leaves. */
        window->debits[1].tokens += window->debits[0].tokens;
        window->n_debits--;
        memmove(window->debits, window->debits + 1, window->n_debits * sizeof(window->debits[0]));
    }
    window->debits[window->n_debits++] = (struct engine_entry){no, turn->now_ms, tokens};
}
