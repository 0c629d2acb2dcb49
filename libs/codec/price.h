/*
 * price.h -- what tokens cost.
 *
 * Floor 1, pure. Prices are micro-USD per million tokens (3 USD = 3,000,000), so a cost is exact
 * in integers; costs are micro-USD, rounded up.
 */
#ifndef PRISM_CODEC_PRICE_H
#define PRISM_CODEC_PRICE_H

#include <stddef.h>
#include <stdint.h>

#define PRICE_ROWS_MOST 8

struct price {
    uint64_t input;
    uint64_t output; /* thinking is output */
    uint64_t cache_write;
    uint64_t cache_read;
};

struct price_usage {
    uint64_t input; /* without cached ones */
    uint64_t output;
    uint64_t cache_write;
    uint64_t cache_read;
};

/* A price and the moment from which it holds. */
struct price_row {
    uint64_t from_s; /* seconds since the epoch */
    struct price price;
};

/* As it changes, the oldest first. */
struct price_list {
    struct price_row rows[PRICE_ROWS_MOST];
    size_t n;
};

/* The price in force then; before every row's moment it is the first one's. */
const struct price *price_at(const struct price_list *list, uint64_t wall_s);

uint64_t price_cost(const struct price *price, const struct price_usage *usage);

#endif
