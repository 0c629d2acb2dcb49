#include "base/nearest.h"

#define NAME_MOST 63

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters added, lost, changed, or swapped with their neighbour (optimal string alignment). */
static size_t slips_between(struct span a, struct span b)
{
    size_t rows[3][NAME_MOST + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.len; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t changed = last[j - 1] + (a.at[i - 1] != b.at[j - 1]);
            now[j] = least(changed, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a.at[i - 1] == b.at[j - 2] && a.at[i - 2] == b.at[j - 1]) {
                now[j] = least(now[j], before[j - 2] + 1);
            }
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.len];
}

void nearest_offer(struct nearest *nearest, const char *name)
{
    struct span slip = nearest->slip, meant = span_str(name);
    if (slip.len == 0 || slip.len > NAME_MOST || meant.len > NAME_MOST) {
        return;
    }
    size_t slips = slips_between(slip, meant);
    size_t allowed = slip.len / 3 > 0 ? slip.len / 3 : 1;
    allowed = allowed > 3 ? 3 : allowed;
    if (slips <= allowed && (nearest->name == NULL || slips < nearest->slips)) {
        nearest->name = name;
        nearest->slips = slips;
    }
}
