/* The form is written down once: each function below reads or writes, as the pack says. */
#include "limiter/pack.h"

#include <endian.h>
#include <string.h>

#define VERSION 3 /* what was not there in an earlier one is 0 */

/* Bounds of what is multiplied; the options and SetLimits allow no more. */
#define COUNT_MOST    100000000u
#define TOKENS_MOST   1000000000000u
#define DURATION_MOST 86400000u

/* Bound of what is added up. */
#define AMOUNT_MOST  (1ull << 53)
#define VIRTUAL_MOST (1ull << 63)

struct pack {
    uint8_t *at;
    const uint8_t *end;
    bool reading;
    bool ok;
    uint8_t version;
};

static void want(struct pack *p, bool condition)
{
    p->ok = p->ok && condition;
}

static void bytes(struct pack *p, void *value, size_t len)
{
    if (!p->ok || (size_t)(p->end - p->at) < len) {
        p->ok = false;
        return;
    }
    if (p->reading) {
        memcpy(value, p->at, len);
    } else {
        memcpy(p->at, value, len);
    }
    p->at += len;
}

static void u64(struct pack *p, uint64_t *value)
{
    uint64_t little = htole64(*value);
    bytes(p, &little, sizeof(little));
    *value = p->reading && p->ok ? le64toh(little) : *value;
}

static void u32(struct pack *p, uint32_t *value)
{
    uint32_t little = htole32(*value);
    bytes(p, &little, sizeof(little));
    *value = p->reading && p->ok ? le32toh(little) : *value;
}

/* A number of at most `most`, which fits a byte. */
static uint8_t u8(struct pack *p, uint32_t value, uint32_t most)
{
    uint8_t byte = (uint8_t)value;
    want(p, value <= most);
    bytes(p, &byte, sizeof(byte));
    want(p, byte <= most);
    return p->ok ? byte : 0;
}

static void flag(struct pack *p, bool *value)
{
    *value = u8(p, *value, 1);
}

static void text(struct pack *p, char *value, uint32_t most)
{
    uint32_t len = (uint32_t)strlen(value);
    u32(p, &len);
    want(p, len <= most);
    if (p->ok) {
        bytes(p, value, len);
        want(p, memchr(value, '\0', len) == NULL);
    }
}

static void id(struct pack *p, struct engine_id *value)
{
    bytes(p, value->bytes, sizeof(value->bytes));
}

/* --- resources ---------------------------------------------------------------------------------
 */

static void numbers(struct pack *p, struct engine_header *h)
{
    u64(p, &h->epoch);
    u64(p, &h->seq);
    u64(p, &h->stamp);
}

static void header(struct pack *p, struct engine_header *h)
{
    numbers(p, h);
    p->version = u8(p, VERSION, VERSION);
    want(p, p->version > 0);
}

static void limits(struct pack *p, struct engine_limits *l)
{
    u64(p, &l->version);
    u64(p, &l->requests);
    u64(p, &l->tokens);
    u64(p, &l->window_ms);
    u32(p, &l->concurrency);
    u32(p, &l->pacer_burst);
    u64(p, &l->pacer_interval_ms);
    u64(p, &l->cooldown_ms);
    want(p, l->requests <= COUNT_MOST && l->tokens <= TOKENS_MOST && l->window_ms <= DURATION_MOST);
    want(p, l->window_ms > 0 || (l->requests == 0 && l->tokens == 0));
    want(p, l->concurrency <= ENGINE_LEASES_MOST && l->pacer_burst <= COUNT_MOST);
    want(p, l->pacer_interval_ms <= DURATION_MOST && l->cooldown_ms <= DURATION_MOST);
}

/* In time order; numbered: their numbers ascend too. */
static void entries(struct pack *p, struct engine_entry *list, uint32_t *n, uint32_t most,
                    bool numbered)
{
    *n = u8(p, *n, most);
    for (uint32_t i = 0; i < *n && p->ok; i++) {
        u64(p, &list[i].no);
        u64(p, &list[i].at_ms);
        u64(p, &list[i].tokens);
        want(p, list[i].tokens <= AMOUNT_MOST);
        want(p, i == 0 || list[i - 1].at_ms <= list[i].at_ms);
        want(p, i == 0 || !numbered || list[i - 1].no < list[i].no);
    }
}

static bool used(const struct engine_slot *slot)
{
    return slot->no > 0 || slot->requests > 0 || slot->tokens > 0;
}

/* Slots that were ever used, in the order of their places. */
static void ring(struct pack *p, struct engine_slot *slots)
{
    uint32_t n = 0, place = 0;
    for (uint32_t i = 0; i < ENGINE_RING_SLOTS && !p->reading; i++) {
        n += used(&slots[i]);
    }
    n = u8(p, n, ENGINE_RING_SLOTS);
    for (uint32_t i = 0; i < n && p->ok; i++, place++) {
        while (!p->reading && !used(&slots[place])) {
            place++;
        }
        uint64_t no = p->reading ? 0 : slots[place].no;
        u64(p, &no);
        want(p, no % ENGINE_RING_SLOTS >= place);
        if (p->ok) {
            place = (uint32_t)(no % ENGINE_RING_SLOTS);
            slots[place].no = no;
            u64(p, &slots[place].requests);
            u64(p, &slots[place].tokens);
            want(p, slots[place].requests <= AMOUNT_MOST && slots[place].tokens <= AMOUNT_MOST);
        }
    }
}

static void window(struct pack *p, struct engine_window *w)
{
    w->kind = (enum engine_window_kind)u8(p, w->kind, ENGINE_WINDOW_RING);
    u32(p, &w->shape);
    u64(p, &w->slot_ms);
    u64(p, &w->last_no);
    u64(p, &w->tat_ms);
    want(p, (w->slot_ms > 0) == (w->kind == ENGINE_WINDOW_RING));
    switch (w->kind) {
    case ENGINE_WINDOW_NONE:
        break;
    case ENGINE_WINDOW_LOG:
        entries(p, w->log, &w->n_log, ENGINE_LOG_MOST, true);
        entries(p, w->debits, &w->n_debits, ENGINE_DEBITS_MOST, false);
        want(p, w->n_log == 0 || w->log[w->n_log - 1].no <= w->last_no);
        break;
    case ENGINE_WINDOW_RING:
        ring(p, w->ring);
        break;
    }
}

static void leases(struct pack *p, struct engine_resource *r)
{
    r->n_leases = u8(p, r->n_leases, ENGINE_LEASES_MOST);
    for (uint32_t i = 0; i < r->n_leases && p->ok; i++) {
        id(p, &r->leases[i].id);
        id(p, &r->leases[i].session);
        u64(p, &r->leases[i].fence);
        u64(p, &r->leases[i].expires_ms);
    }
}

/* Not `retired`: that is the date's to say. */
static void health(struct pack *p, struct engine_health *h)
{
    u64(p, &h->generation);
    u64(p, &h->cooldown_until_ms);
    h->level = u8(p, h->level, ENGINE_LEVELS - 1);
    flag(p, &h->gone);
    h->breaker = (enum engine_breaker)u8(p, h->breaker, ENGINE_BREAKER_HALF_OPEN);
    u64(p, &h->breaker_since);
    u64(p, &h->open_until_ms);
    id(p, &h->probe);
    u64(p, &h->probe_expires_ms);
    h->n_outcomes = u8(p, h->n_outcomes, ENGINE_OUTCOMES_MOST);
    for (uint32_t i = 0; i < h->n_outcomes && p->ok; i++) {
        u64(p, &h->outcomes[i].at_ms);
        flag(p, &h->outcomes[i].failed);
    }
}

static void waiting(struct pack *p, struct engine_resource *r)
{
    u64(p, &r->virtual_now);
    want(p, r->virtual_now <= VIRTUAL_MOST);
    r->n_tags = u8(p, r->n_tags, ENGINE_TAGS_MOST);
    for (uint32_t i = 0; i < r->n_tags && p->ok; i++) {
        u64(p, &r->tags[i].tenant);
        u64(p, &r->tags[i].finish);
        want(p, r->tags[i].finish <= VIRTUAL_MOST);
    }
    r->n_heads = u8(p, r->n_heads, ENGINE_HEADS_MOST);
    for (uint32_t i = 0; i < r->n_heads && p->ok; i++) {
        struct engine_head *head = &r->heads[i];
        u32(p, &head->limiter);
        head->priority = u8(p, head->priority, ENGINE_PRIORITIES - 1);
        u64(p, &head->tenant);
        u64(p, &head->since_ms);
        u64(p, &head->no);
        u64(p, &head->deadline_ms);
        u64(p, &head->charge);
        want(p, head->charge <= AMOUNT_MOST);
        head->candidate = u8(p, head->candidate, ENGINE_CANDIDATES_MOST - 1);
        u64(p, &head->expires_ms);
    }
}

static void writers(struct pack *p, struct engine_resource *r)
{
    u64(p, &r->began_ms);
    r->n_writers = u8(p, r->n_writers, ENGINE_WRITERS_MOST);
    for (uint32_t i = 0; i < r->n_writers && p->ok; i++) {
        u32(p, &r->writers[i].limiter);
        u32(p, &r->writers[i].step);
        u64(p, &r->writers[i].seen_ms);
        u64(p, &r->writers[i].request_ms);
    }
}

static void resource(struct pack *p, struct engine_resource *r)
{
    header(p, &r->header);
    text(p, r->name, ENGINE_NAME_MOST);
    want(p, r->name[0] != '\0');
    u64(p, &r->hash);
    r->kind = (enum engine_kind)u8(p, r->kind, ENGINE_MODEL);
    limits(p, &r->limits);
    u64(p, &r->last_now_ms);
    window(p, &r->window);
    leases(p, r);
    if (r->kind == ENGINE_MODEL) {
        health(p, &r->health);
    }
    flag(p, &r->closed);
    text(p, r->note, ENGINE_NOTE_MOST);
    r->loss = (enum engine_loss)u8(p, r->loss, ENGINE_LOSS_AMNESIA);
    u64(p, &r->closed_until_ms);
    u64(p, &r->fence);
    if (p->version >= 2 && r->kind == ENGINE_POOL) {
        writers(p, r);
    }
    if (p->version >= 3 && r->kind == ENGINE_POOL) {
        waiting(p, r);
    } else if (p->version >= 3) {
        r->health.ramp = u8(p, r->health.ramp, ENGINE_LEASES_MOST);
    }
}

/* --- records -----------------------------------------------------------------------------------
 */

static void record(struct pack *p, struct engine_record *r)
{
    header(p, &r->header);
    id(p, &r->id);
    id(p, &r->session);
    r->state = (enum engine_state)u8(p, r->state, ENGINE_CANCELLED);
    r->candidate = u8(p, r->candidate, ENGINE_CANDIDATES_MOST - 1);
    flag(p, &r->probe);
    u64(p, &r->generation);
    u64(p, &r->fence);
    u64(p, &r->granted_ms);
    u64(p, &r->expires_ms);
    u64(p, &r->digest);
    r->n_held = u8(p, r->n_held, ENGINE_HELD_MOST);
    for (uint32_t i = 0; i < r->n_held && p->ok; i++) {
        struct engine_held *held = &r->held[i];
        u64(p, &held->hash);
        u64(p, &held->no);
        u64(p, &held->charge);
        u64(p, &held->prompt);
        u64(p, &held->overrun);
        want(p, held->charge <= AMOUNT_MOST && held->prompt <= AMOUNT_MOST);
        want(p, held->overrun <= AMOUNT_MOST);
        flag(p, &held->leased);
    }
}

/* --- both ways ---------------------------------------------------------------------------------
 */

static struct pack writer(uint8_t *out, size_t most)
{
    return (struct pack){.at = out, .end = out + most, .ok = true};
}

static struct pack reader(struct span from)
{
    uint8_t *at = (uint8_t *)from.at;
    return (struct pack){.at = at, .end = at + from.len, .reading = true, .ok = true};
}

/* Writing reads its subject only. */
size_t pack_resource(const struct engine_resource *r, uint8_t out[PACK_RESOURCE_MOST])
{
    struct pack p = writer(out, PACK_RESOURCE_MOST);
    resource(&p, (struct engine_resource *)r);
    check(p.ok);
    return (size_t)(p.at - out);
}

size_t pack_record(const struct engine_record *r, uint8_t out[PACK_RECORD_MOST])
{
    struct pack p = writer(out, PACK_RECORD_MOST);
    record(&p, (struct engine_record *)r);
    check(p.ok);
    return (size_t)(p.at - out);
}

void pack_header(const struct engine_header *h, uint8_t out[PACK_HEADER])
{
    struct pack p = writer(out, PACK_HEADER);
    numbers(&p, (struct engine_header *)h);
    check(p.ok);
}

bool unpack_resource(struct span from, struct engine_resource *out)
{
    struct pack p = reader(from);
    memset(out, 0, sizeof(*out));
    /* What is not written of a pool is as it is in a new one. */
    out->health.generation = out->health.breaker_since = 1;
    resource(&p, out);
    return p.ok && p.at == p.end;
}

bool unpack_record(struct span from, struct engine_record *out)
{
    struct pack p = reader(from);
    memset(out, 0, sizeof(*out));
    record(&p, out);
    return p.ok && p.at == p.end;
}
