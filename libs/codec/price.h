/*
 * price.h -- what tokens cost.
 *
 * Floor 1, pure. Prices are micro-USD per million tokens (3 USD = 3,000,000), so a cost is exact
 * in integers; costs are micro-USD, rounded up.
 */
#ifndef PRISM_CODEC_PRICE_H
#define PRISM_CODEC_PRICE_H

#include <stdint.h>

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

uint64_t price_cost(const struct price *price, const struct price_usage *usage);

#endif
