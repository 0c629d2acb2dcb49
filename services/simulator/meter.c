#include "simulator/meter.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define ROOM_LEAST 16

void meter_init(struct meter *meter, enum meter_law law, uint64_t limit, uint64_t span_us,
                uint64_t burst_us, uint64_t now_us)
{
    check(limit > 0 && span_us > 0);
    *meter = (struct meter){.law = law, .limit = limit, .span_us = span_us, .at_us = now_us};
    meter->most = (__int128)limit * burst_us;
    meter->most = meter->most > span_us ? meter->most : span_us;
    meter->level = meter->most;
}

void meter_clear(struct meter *meter)
{
    free(meter->entries);
    meter->entries = NULL;
}

static struct meter_entry *entry_of(struct meter *meter, uint64_t number)
{
    return &meter->entries[number & (meter->room - 1)];
}

/* Twice the room; entries keep their numbers. */
static void grow(struct meter *meter)
{
    size_t room = meter->room > 0 ? 2 * meter->room : ROOM_LEAST;
    struct meter_entry *entries = alloc_zeroed(room, sizeof(*entries));
    for (uint64_t i = meter->first; i < meter->next; i++) {
        entries[i & (room - 1)] = *entry_of(meter, i);
    }
    free(meter->entries);
    meter->entries = entries;
    meter->room = room;
}

/* Takes account of the time that has passed. */
static void pass(struct meter *meter, uint64_t now_us)
{
    switch (meter->law) {
    case METER_WINDOW:
        while (meter->first < meter->next &&
               now_us - entry_of(meter, meter->first)->at_us >= meter->span_us) {
            meter->used -= entry_of(meter, meter->first++)->amount;
        }
        break;
    case METER_BUCKET:
        meter->level += (__int128)meter->limit * (now_us - meter->at_us);
        meter->level = meter->level < meter->most ? meter->level : meter->most;
        meter->at_us = now_us;
        break;
    case METER_PERIOD:
        if (now_us - meter->at_us >= meter->span_us) {
            meter->at_us = now_us - (now_us - meter->at_us) % meter->span_us;
            meter->used = 0;
        }
        break;
    }
}

int64_t meter_left(struct meter *meter, uint64_t now_us)
{
    pass(meter, now_us);
    if (meter->law != METER_BUCKET) {
        return (int64_t)(meter->limit - meter->used);
    }
    __int128 whole = meter->level / meter->span_us;
    return (int64_t)(whole - (meter->level < whole * meter->span_us));
}

uint64_t meter_take(struct meter *meter, uint64_t amount, uint64_t now_us)
{
    pass(meter, now_us);
    meter->used += amount;
    meter->level -= (__int128)amount * meter->span_us;
    if (meter->law != METER_WINDOW) {
        return meter->at_us;
    }
    if (meter->next - meter->first == meter->room) {
        grow(meter);
    }
    *entry_of(meter, meter->next) = (struct meter_entry){now_us, amount};
    return meter->next++;
}

void meter_give_back(struct meter *meter, uint64_t entry, uint64_t amount, uint64_t now_us)
{
    pass(meter, now_us);
    switch (meter->law) {
    case METER_WINDOW:
        if (entry < meter->first) {
            return;
        }
        entry_of(meter, entry)->amount -= amount;
        break;
    case METER_BUCKET:
        meter->level += (__int128)amount * meter->span_us;
        meter->level = meter->level < meter->most ? meter->level : meter->most;
        return;
    case METER_PERIOD:
        if (entry != meter->at_us) {
            return;
        }
        break;
    }
    meter->used -= amount;
}
