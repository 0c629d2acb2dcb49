#include "simulator/quota.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/map.h"
#include "simulator/meter.h"
#include "simulator/sheet.h"

#define ACCOUNTS_MOST   1000 /* are kept apart */
#define KEY_MOST        512
#define MINUTE_US       60e6
#define MINUTES_A_DAY   1440
#define WHOLE_MINUTE_MS 60000

struct quota {
    const char *model;  /* NULL: any, each for itself */
    const char *region; /* likewise */
    uint64_t requests;  /* 0: no limit; likewise below */
    uint64_t tokens;
    uint64_t day;
    const char *refill;
    uint64_t burst_ms;
    uint64_t burndown; /* 0: the model's own */
};

/* The meters a call's tokens are taken from. */
enum {
    MINUTE,
    DAY,
};

/* Of one model in one region. A meter without limit is not used. */
struct quota_account {
    struct meter requests;
    struct meter tokens[2];
};

struct quota_plan {
    struct arena *arena;
    struct quota_options options;
    struct span text;
    const struct quota *quotas;
    size_t n_quotas;
    struct map *accounts; /* "quota model region" -> account */
};

/* --- the file ----------------------------------------------------------------------------------
 */

#define KEY(type, name, field, otherwise, bounds)                                                  \
    SHEET_KEY(struct quota, 0, type, name, field, otherwise, bounds)

static const struct sheet_key keys[] = {
    KEY(text, "model", model, "", "1..2048"),
    KEY(text, "region", region, "", "1..64"),
    KEY(count, "requests_per_minute", requests, "", "1..1000000000"),
    KEY(count, "tokens_per_minute", tokens, "", "1..1000000000000"),
    KEY(count, "tokens_per_day", day, "", "1..1000000000000000"),
    KEY(choice, "refill", refill, "sliding_minute", "sliding_minute|continuous"),
    KEY(duration, "burst", burst_ms, "", "1ms..60s"),
    KEY(count, "burndown", burndown, "", "1..100"),
};

static bool is_continuous(const struct quota *quota)
{
    return strcmp(quota->refill, "continuous") == 0;
}

static bool settle(const struct yaml *node, void *item, struct yaml_error *error)
{
    struct quota *quota = item;
    if (!sheet_settle_model(node, &quota->model, error)) {
        return false;
    }
    if (quota->requests == 0 && quota->tokens == 0 && quota->day == 0) {
        return sheet_refuse(error, node->line, "a quota limits requests or tokens");
    }
    if (quota->burst_ms != 0 && !is_continuous(quota)) {
        return sheet_refuse(error, node->line, "burst belongs to refill: continuous");
    }
    quota->burst_ms = quota->burst_ms != 0 ? quota->burst_ms : WHOLE_MINUTE_MS;
    return true;
}

static const struct sheet sheet = {
    .whole = "a file of quotas",
    .list = "quotas",
    .item = "a quota",
    .keys = keys,
    .n_keys = ARRAY_LEN(keys),
    .item_size = sizeof(struct quota),
    .settle = settle,
};

struct quota_plan *quota_plan_new(struct span yaml, const struct quota_options *options,
                                  struct yaml_error *error)
{
    struct quota_plan *plan = ALLOC(struct quota_plan);
    void *quotas;
    plan->arena = arena_new(SHEET_MEMORY);
    plan->accounts = map_new();
    plan->options = *options;
    if (!sheet_read(&sheet, yaml, plan->arena, &quotas, &plan->n_quotas, error)) {
        quota_plan_free(plan);
        return NULL;
    }
    plan->quotas = quotas;
    plan->text = arena_copy(plan->arena, yaml);
    return plan;
}

void quota_plan_free(struct quota_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    for (struct map_entry *e = map_first(plan->accounts); e != NULL; e = map_next(e)) {
        struct quota_account *account = map_value(e);
        meter_clear(&account->requests);
        meter_clear(&account->tokens[MINUTE]);
        meter_clear(&account->tokens[DAY]);
    }
    map_free(plan->accounts);
    arena_free(plan->arena);
    free(plan);
}

struct span quota_plan_text(const struct quota_plan *plan)
{
    return plan->text;
}

size_t quota_plan_count(const struct quota_plan *plan)
{
    return plan->n_quotas;
}

/* --- accounts ----------------------------------------------------------------------------------
 */

static bool fits(const char *wanted, struct span given)
{
    return wanted == NULL || span_eq(model_without_arn(span_str(wanted)), given);
}

static const struct quota *find_quota(const struct quota_plan *plan, struct span model,
                                      struct span region)
{
    for (size_t i = 0; i < plan->n_quotas; i++) {
        const struct quota *quota = &plan->quotas[i];
        if (fits(quota->model, model) && fits(quota->region, region)) {
            return quota;
        }
    }
    return NULL;
}

static void open_account(const struct quota_plan *plan, const struct quota *quota,
                         struct quota_account *out)
{
    double minute_us = MINUTE_US / plan->options.speed;
    uint64_t span_us = minute_us > 1 ? (uint64_t)minute_us : 1;
    uint64_t burst_us = (uint64_t)(minute_us * (double)quota->burst_ms / WHOLE_MINUTE_MS);
    uint64_t begin_us = plan->options.now_us;
    enum meter_law law = is_continuous(quota) ? METER_BUCKET : METER_WINDOW;
    if (quota->requests > 0) {
        meter_init(&out->requests, law, quota->requests, span_us, burst_us, begin_us);
    }
    if (quota->tokens > 0) {
        meter_init(&out->tokens[MINUTE], law, quota->tokens, span_us, burst_us, begin_us);
    }
    if (quota->day > 0) {
        meter_init(&out->tokens[DAY], METER_PERIOD, quota->day, MINUTES_A_DAY * span_us, 0,
                   begin_us);
    }
}

/* When there are too many to be kept apart, the rest of a quota share one. */
static struct quota_account *account_of(struct quota_plan *plan, const struct quota *quota,
                                        struct span model, struct span region)
{
    CLEANUP(buf_clear) struct buf key;
    buf_init(&key, KEY_MOST);
    buf_addf(&key, "%zu", (size_t)(quota - plan->quotas));
    if (map_count(plan->accounts) < ACCOUNTS_MOST) {
        buf_addf(&key, " %.*s %.*s", (int)model.len, model.at, (int)span_first(region, 64).len,
                 region.len > 0 ? region.at : "");
    }
    struct quota_account *account = map_get(plan->accounts, buf_span(&key));
    if (account == NULL) {
        account = ARENA_NEW(plan->arena, struct quota_account);
        open_account(plan, quota, account);
        map_set(plan->accounts, buf_span(&key), account);
    }
    return account;
}

/* --- calls -------------------------------------------------------------------------------------
 */

static bool has(struct meter *meter, uint64_t amount, uint64_t now_us)
{
    return meter->limit == 0 || meter_left(meter, now_us) >= (int64_t)amount;
}

static enum quota_verdict judge(struct quota_account *account, uint64_t tokens, uint64_t now_us)
{
    return !has(&account->requests, 1, now_us)              ? QUOTA_REQUESTS
           : !has(&account->tokens[MINUTE], tokens, now_us) ? QUOTA_TOKENS
           : !has(&account->tokens[DAY], tokens, now_us)    ? QUOTA_DAY
                                                            : QUOTA_ADMITTED;
}

enum quota_verdict quota_plan_reserve(struct quota_plan *plan, const struct model *model,
                                      struct span model_id, struct span region,
                                      const struct quota_tokens *tokens, uint64_t now_us,
                                      struct quota_charge *charge)
{
    struct span name = model_without_arn(model_id);
    const struct quota *quota = find_quota(plan, name, region);
    *charge = (struct quota_charge){0};
    if (quota == NULL) {
        return QUOTA_ADMITTED;
    }
    struct quota_account *account = account_of(plan, quota, name, region);
    charge->serial = plan->options.serial;
    charge->account = account;
    charge->tokens = *tokens;
    charge->burndown = quota->burndown != 0 ? quota->burndown : model->burndown;
    uint64_t wanted = tokens->input + tokens->cache_read + tokens->cache_write + tokens->max_tokens;
    enum quota_verdict verdict = judge(account, wanted, now_us);
    if (verdict != QUOTA_ADMITTED) {
        return verdict;
    }
    charge->reserved = wanted;
    charge->held = wanted;
    if (account->requests.limit != 0) {
        (void)meter_take(&account->requests, 1, now_us);
    }
    for (size_t i = 0; i < ARRAY_LEN(account->tokens); i++) {
        if (account->tokens[i].limit != 0) {
            charge->entries[i] = meter_take(&account->tokens[i], wanted, now_us);
        }
    }
    return QUOTA_ADMITTED;
}

/* Another plan has begun anew, and knows nothing of the calls before it. */
static bool counts(const struct quota_plan *plan, const struct quota_charge *charge)
{
    return charge->serial == plan->options.serial && charge->reserved > 0;
}

static void give_back(struct quota_charge *charge, uint64_t amount, uint64_t now_us)
{
    struct quota_account *account = charge->account;
    charge->held -= amount;
    for (size_t i = 0; i < ARRAY_LEN(account->tokens); i++) {
        if (account->tokens[i].limit != 0) {
            meter_give_back(&account->tokens[i], charge->entries[i], amount, now_us);
        }
    }
}

void quota_plan_progress(struct quota_plan *plan, struct quota_charge *charge, uint64_t output,
                         uint64_t now_us)
{
    const struct quota_tokens *tokens = &charge->tokens;
    uint64_t open = tokens->max_tokens > output ? tokens->max_tokens - output : 0;
    uint64_t held = tokens->input + tokens->cache_read + tokens->cache_write + open;
    if (counts(plan, charge) && held < charge->held) {
        give_back(charge, charge->held - held, now_us);
    }
}

uint64_t quota_plan_settle(struct quota_plan *plan, struct quota_charge *charge, uint64_t output,
                           uint64_t now_us)
{
    const struct quota_tokens *tokens = &charge->tokens;
    uint64_t cost = tokens->input + tokens->cache_write + output * charge->burndown;
    if (!counts(plan, charge)) {
        return 0;
    }
    if (cost <= charge->held) {
        give_back(charge, charge->held - cost, now_us);
        return cost;
    }
    for (size_t i = 0; i < ARRAY_LEN(charge->account->tokens); i++) {
        struct meter *meter = &charge->account->tokens[i];
        if (meter->limit != 0) {
            (void)meter_take(meter, cost - charge->held, now_us);
        }
    }
    return cost;
}

static int64_t left(struct meter *meter, uint64_t now_us)
{
    return meter->limit == 0 ? QUOTA_NO_LIMIT : meter_left(meter, now_us);
}

void quota_plan_left(struct quota_plan *plan, const struct quota_charge *charge, uint64_t now_us,
                     struct quota_left *out)
{
    struct quota_account *account = charge->serial == plan->options.serial ? charge->account : NULL;
    *out = (struct quota_left){QUOTA_NO_LIMIT, QUOTA_NO_LIMIT, QUOTA_NO_LIMIT};
    if (account != NULL) {
        out->requests = left(&account->requests, now_us);
        out->tokens = left(&account->tokens[MINUTE], now_us);
        out->day = left(&account->tokens[DAY], now_us);
    }
}
