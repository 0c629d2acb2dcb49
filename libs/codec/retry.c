#include "codec/retry.h"

uint64_t retry_backoff_ms(unsigned n, uint64_t base_ms, uint64_t cap_ms, uint32_t random)
{
    uint64_t limit = n < 64 && base_ms <= cap_ms >> n ? base_ms << n : cap_ms;
    return (uint64_t)((unsigned __int128)limit * random >> 32);
}

uint32_t retry_asked_ms(struct span retry_after, struct span x_amz_retry_after)
{
    uint64_t number;
    uint64_t ms = 0;
    if (span_parse_u64(span_trim(x_amz_retry_after), &number)) {
        ms = number;
    } else if (span_parse_u64(span_trim(retry_after), &number) &&
               __builtin_mul_overflow(number, 1000, &ms)) {
        ms = UINT64_MAX;
    }
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}
