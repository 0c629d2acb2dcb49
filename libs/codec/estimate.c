#include "codec/estimate.h"

#include "base/utf8.h"

/* --- text ---------------------------------------------------------------------------------------
 *
 * Byte-pair tokenizers have most short words whole, cut long, rare and mixed-case ones, take digits
 * in threes, and have few pieces for other scripts. Weights are thousandths of a token, fitted to
 * recorded requests and answers; tests/unit/test_estimate.c measures them.
 */
#define WORD           1000
#define WORD_SHORT     6 /* letters that cost nothing more */
#define WORD_LONG      12
#define LETTER         140 /* each letter beyond short, */
#define LETTER_FAR     330 /* and beyond long: no word of a language */
#define CAPITALS_SHORT 3   /* the same in words of capitals */
#define DIGITS         3   /* of a number in one token */
#define MARK           850 /* punctuation */
#define SPACES         1000
#define TWO_BYTES      700  /* a letter with an accent, of Greek, Cyrillic, Arabic, ... */
#define THREE_BYTES    1200 /* an ideograph, a typographic mark */
#define FOUR_BYTES     2500 /* a pictograph */

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static uint64_t beyond(size_t len, size_t limit)
{
    return len > limit ? len - limit : 0;
}

/* Letters from the start of text, up to the next capital behind a small one: "openTelemetry" is two
 * words. */
static size_t weigh_word(struct span text, uint64_t *weight)
{
    size_t capitals = 0, len = 0;
    while (capitals < text.len && is_upper(text.at[capitals])) {
        capitals++;
    }
    len = capitals;
    while (len < text.len && is_lower(text.at[len])) {
        len++;
    }
    if (len == capitals) {
        *weight += WORD + LETTER_FAR * beyond(len, CAPITALS_SHORT);
    } else {
        *weight += WORD + LETTER * (beyond(len, WORD_SHORT) - beyond(len, WORD_LONG)) +
                   LETTER_FAR * beyond(len, WORD_LONG);
    }
    return len;
}

static size_t weigh_number(struct span text, uint64_t *weight)
{
    size_t len = 0;
    while (len < text.len && is_digit(text.at[len])) {
        len++;
    }
    *weight += WORD * ((len + DIGITS - 1) / DIGITS);
    return len;
}

/* One space belongs to what follows it; a new line or an indentation is a token. */
static size_t weigh_spaces(struct span text, uint64_t *weight)
{
    size_t len = 0;
    while (len < text.len && is_space(text.at[len])) {
        len++;
    }
    *weight += len > 1 || text.at[0] != ' ' ? SPACES : 0;
    return len;
}

static size_t weigh_other(struct span text, uint64_t *weight)
{
    size_t len = utf8_sequence(text);
    switch (len) {
    case 2:
        *weight += TWO_BYTES;
        return len;
    case 3:
        *weight += THREE_BYTES;
        return len;
    case 4:
        *weight += FOUR_BYTES;
        return len;
    default:
        *weight += MARK;
        return 1;
    }
}

uint64_t estimate_text(struct span text, uint32_t per_mille)
{
    uint64_t weight = 0;
    while (text.len > 0) {
        char c = text.at[0];
        size_t len = is_upper(c) || is_lower(c) ? weigh_word(text, &weight)
                     : is_digit(c)              ? weigh_number(text, &weight)
                     : is_space(c)              ? weigh_spaces(text, &weight)
                                                : weigh_other(text, &weight);
        text = span_from(text, len);
    }
    return (weight * per_mille + 999999) / 1000000;
}

/* --- lessons ------------------------------------------------------------------------------------
 *
 * Sums, not a mean of ratios: where an estimate is wrong by much it matters by how many tokens.
 */
#define FADES    0.98  /* the last fifty requests are most of a lesson, */
#define BELIEVED 400.0 /* and so many tokens of it count as if there had been nothing to learn */
#define FAR_OFF  8     /* beyond that a request says nothing about the estimate of texts */
#define MOST     4.0   /* that an estimate is ever corrected by */

static double factor(const struct estimate_lesson *lesson)
{
    double factor = (BELIEVED + lesson->counted) / (BELIEVED + lesson->estimated);
    return factor > MOST ? MOST : factor < 1 / MOST ? 1 / MOST : factor;
}

void estimate_learn(struct estimate_lesson *lesson, uint64_t estimated, uint64_t counted)
{
    double a = (double)estimated, b = (double)counted;
    if (estimated == 0 || counted == 0 || a > FAR_OFF * b || b > FAR_OFF * a) {
        return;
    }
    lesson->estimated = FADES * lesson->estimated + a;
    lesson->counted = FADES * lesson->counted + b;
}

uint64_t estimate_correct(const struct estimate_lesson *lesson, uint64_t estimated)
{
    double corrected = factor(lesson) * (double)estimated;
    return corrected < 9e18 ? (uint64_t)(corrected + 0.5) : estimated;
}

/* --- charges ----------------------------------------------------------------------------------
 *
 * Numbers of a request never wrap to a small charge.
 */

static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* expected: 0 is unknown. */
static uint64_t expected_output(const struct estimate_tokens *t, uint64_t expected)
{
    return expected > 0 && expected < t->max_output ? expected : t->max_output;
}

uint64_t estimate_pool_charge(const struct estimate_tokens *t, uint64_t q95_output)
{
    return estimate_pool_settled(t->input, t->cache_read, t->cache_write,
                                 expected_output(t, q95_output));
}

uint64_t estimate_pool_settled(uint64_t input, uint64_t cache_read, uint64_t cache_write,
                               uint64_t output)
{
    return plus(plus(input, cache_read), plus(cache_write, output));
}

uint64_t estimate_model_charge(const struct estimate_tokens *t, const struct estimate_model *m,
                               uint64_t q95_output)
{
    if (m->strict) {
        return estimate_model_settled(m, t->input, t->cache_write, t->max_output);
    }
    uint64_t output = expected_output(t, q95_output > 0 ? q95_output : m->expected_output);
    uint64_t predicted = estimate_model_settled(m, t->input, t->cache_write, output);
    /* What the provider checks when the call begins. */
    uint64_t mirror = plus(plus(t->input, t->cache_write), t->max_output);
    if (m->reserve_counts_cache_read) {
        mirror = plus(mirror, t->cache_read);
    }
    return mirror > predicted ? mirror : predicted;
}

uint64_t estimate_model_settled(const struct estimate_model *m, uint64_t input,
                                uint64_t cache_write, uint64_t output)
{
    return plus(plus(input, cache_write), times(m->burn, output));
}
