#include "base/address.h"

static bool only(struct span text, const char *allowed)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '\0' || strchr(allowed, text.at[i]) == NULL) {
            return false;
        }
    }
    return text.len > 0;
}

bool address_split(struct span text, struct span *host, uint16_t *port)
{
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    static const char ipv6[] = "0123456789abcdefABCDEF:.";
    size_t colon = text.len;
    while (colon > 0 && text.at[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0) {
        return false;
    }
    struct span front = span_first(text, colon - 1);
    bool bracketed = span_starts(front, SPAN("[")) && span_ends(front, SPAN("]"));
    if (bracketed) {
        front = span_of(front.at + 1, front.len - 2);
    }
    uint64_t number;
    if (!only(front, bracketed ? ipv6 : name) || !span_parse_u64(span_from(text, colon), &number) ||
        number > UINT16_MAX) {
        return false;
    }
    *host = front;
    *port = (uint16_t)number;
    return true;
}
