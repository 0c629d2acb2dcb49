#include "codec/price.h"

#define TOKENS_PRICED 1000000

const struct price *price_at(const struct price_list *list, uint64_t wall_s)
{
    size_t at = 0;
    while (at + 1 < list->n && list->rows[at + 1].from_s <= wall_s) {
        at++;
    }
    return &list->rows[at].price;
}

uint64_t price_cost(const struct price *price, const struct price_usage *usage)
{
    /* 128 bits: counts that a peer made up must not wrap to a small cost. */
    unsigned __int128 cost = TOKENS_PRICED - 1;
    cost += (unsigned __int128)price->input * usage->input;
    cost += (unsigned __int128)price->output * usage->output;
    cost += (unsigned __int128)price->cache_write * usage->cache_write;
    cost += (unsigned __int128)price->cache_read * usage->cache_read;
    cost /= TOKENS_PRICED;
    return cost < UINT64_MAX ? (uint64_t)cost : UINT64_MAX;
}
