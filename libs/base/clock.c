#include "base/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t id)
{
    struct timespec now;
    check(clock_gettime(id, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ms(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000000u;
}

uint64_t clock_mono_us(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000u;
}

uint64_t clock_boot_ms(void)
{
    return read_ns(CLOCK_BOOTTIME) / 1000000u;
}

uint64_t clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000u;
}

uint64_t clock_wall_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

void clock_add_rfc3339(struct buf *out, uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    check(gmtime_r(&seconds, &utc) != NULL);
    buf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", utc.tm_year + 1900, utc.tm_mon + 1,
             utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, (unsigned)(wall_ms % 1000));
}

/* `text` holds a digit, or this very character, at each place of the pattern. */
static bool fits(struct span text, const char *pattern)
{
    for (size_t i = 0; pattern[i] != '\0'; i++) {
        bool digit = i < text.len && text.at[i] >= '0' && text.at[i] <= '9';
        if (i >= text.len || (pattern[i] == '0' ? !digit : text.at[i] != pattern[i])) {
            return false;
        }
    }
    return true;
}

static int number(struct span text, size_t at, size_t len)
{
    uint64_t value = 0;
    check(span_parse_u64(span_first(span_from(text, at), len), &value));
    return (int)value;
}

bool clock_parse_rfc3339(struct span text, uint64_t *wall_ms)
{
    if (!fits(text, "0000-00-00T00:00:00") || !span_ends(text, SPAN("Z"))) {
        return false;
    }
    struct span fraction = span_from(text, strlen("0000-00-00T00:00:00"));
    fraction.len--;
    uint64_t ms = 0, unit = 100;
    for (size_t i = 0; i < fraction.len; i++) {
        char c = fraction.at[i];
        if (i == 0 ? c != '.' : c < '0' || c > '9') {
            return false;
        }
        ms += i > 0 ? unit * (uint64_t)(c - '0') : 0;
        unit /= i > 0 ? 10 : 1;
    }
    struct tm utc = {
        .tm_year = number(text, 0, 4) - 1900,
        .tm_mon = number(text, 5, 2) - 1,
        .tm_mday = number(text, 8, 2),
        .tm_hour = number(text, 11, 2),
        .tm_min = number(text, 14, 2),
        .tm_sec = number(text, 17, 2),
    };
    struct tm same = utc;
    time_t seconds = timegm(&same);
    if (seconds < 0 || same.tm_mon != utc.tm_mon || same.tm_mday != utc.tm_mday ||
        same.tm_hour != utc.tm_hour || same.tm_min != utc.tm_min) {
        return false; /* no such day, or time of day */
    }
    *wall_ms = (uint64_t)seconds * 1000 + ms;
    return true;
}
