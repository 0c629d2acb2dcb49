/* YAML, and everything that is loaded from it: a program's options, the catalogue, the limiter's
 * policy, the simulator's plans of faults, quotas and latency. What is refused is said with its
 * place; options that load are printed as a file that loads as the same. */
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/config_rows.h"
#include "catalogue/catalogue.h"
#include "catalogue/column.h"
#include "codec/yaml.h"
#include "fuzz.h"
#include "limiter/limiter.h"
#include "simulator/faults.h"
#include "simulator/latency.h"
#include "simulator/quota.h"

#define TREE_MEMORY    (64u << 20)
#define OPTIONS_MEMORY (4u << 20)
#define MODEL          "us.anthropic.claude-sonnet-4-6"

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct limiter_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
/* clang-format off */
#include "app/common.def"
#include "limiter/config.def"
    /* clang-format on */
};
static const struct config_spec spec = {
    .program = "prism-limiter",
    .env = "PRISM_LIMITER_",
    .about = "",
    .usage = "",
    .rows = rows,
    .n_rows = ARRAY_LEN(rows),
};

static const char a_catalogue[] =
    "models: [{name: a, title: A, model_id: a, tier: 1, regions: [r], thinking: none, temperature: "
    "yes, context_window: 10, max_output: 5, burn: 1, price: {input: 1, output: 1, cache_write: 1, "
    "cache_read: 1}}]\n";

/* A file in memory, for what is read by its path; made once. */
struct file {
    int fd;
    char path[32];
};

static void file_write(struct file *file, struct span text)
{
    if (file->fd == 0) {
        file->fd = memfd_create("fuzz", MFD_CLOEXEC);
        check(file->fd > 0);
        snprintf(file->path, sizeof(file->path), "/proc/self/fd/%d", file->fd);
    }
    check(ftruncate(file->fd, 0) == 0);
    check(pwrite(file->fd, text.at, text.len, 0) == (ssize_t)text.len);
}

/* --- the tree --------------------------------------------------------------------------------- */

static void check_tree(const struct yaml *value, size_t depth, size_t lines)
{
    size_t count = 0;
    check(depth <= YAML_DEPTH_MOST && value->line >= 1 && value->line <= lines + 1);
    check(value->kind != YAML_SCALAR || value->children == NULL);
    for (const struct yaml *child = value->children; child != NULL; child = child->next) {
        check_tree(child, depth + 1, lines);
        if (value->kind == YAML_MAPPING && span_find_char(child->key, '\0') == SPAN_MISSING) {
            check(child->key_line >= 1 && child->key_line <= lines + 1);
            check(yaml_get(value, child->key.at) == child);
        }
        count++;
    }
    check(count == value->count);
}

static bool parse_tree(struct span text)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(TREE_MEMORY);
    const struct yaml *root;
    struct yaml_error error = {0};
    size_t lines = 1; /* at most: YAML also knows those of old Macs and Unicode */
    for (size_t i = 0; i < text.len; i++) {
        lines += memchr("\n\r\x85\xa8\xa9", text.at[i], 5) != NULL;
    }
    if (!yaml_parse(text, arena, &root, &error)) {
        check(error.text[0] != '\0' && error.line <= lines + 1);
        return false;
    }
    check_tree(root, 1, lines);
    return true;
}

/* --- options ---------------------------------------------------------------------------------- */

/* As config_load does it, with the file as the only source; false when something is wrong. */
static bool load_options(const char *path, struct arena *arena, struct limiter_config *values,
                         struct buf *effective)
{
    CLEANUP(buf_clear) struct buf complaints;
    buf_init(&complaints, 64u << 10);
    struct config_load load = {
        .spec = &spec,
        .arena = arena,
        .names = ARENA_ARRAY(arena, struct config_names, ARRAY_LEN(rows)),
        .settings = ARENA_ARRAY(arena, struct config_setting, ARRAY_LEN(rows)),
        .complaints = &complaints,
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        load.names[i] = config_names_of(&rows[i], arena);
    }
    config_take_file(&load, path);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct config_setting *setting = &load.settings[i];
        struct span text = setting->origin != NULL ? setting->text : span_str(rows[i].otherwise);
        const char *why;
        if (!config_parse(&rows[i], text, arena, (char *)values + rows[i].offset, &why)) {
            config_complain(&load, setting->label, why);
        }
    }
    if (complaints.len > 0) {
        return false;
    }
    config_add_effective(effective, &load, values);
    return true;
}

static void check_options(const char *path)
{
    static struct file again;
    CLEANUP(arena_drop) struct arena *arena = arena_new(OPTIONS_MEMORY);
    CLEANUP(buf_clear) struct buf first;
    CLEANUP(buf_clear) struct buf second;
    buf_init(&first, 1u << 20);
    buf_init(&second, 1u << 20);
    struct limiter_config values = {0}, same = {0};
    if (!load_options(path, arena, &values, &first)) {
        return;
    }
    file_write(&again, buf_span(&first));
    check(load_options(again.path, arena, &same, &second));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *a = (const char *)&values + rows[i].offset;
        const char *b = (const char *)&same + rows[i].offset;
        switch (rows[i].type) {
        case CONFIG_TYPE_duration:
        case CONFIG_TYPE_size:
        case CONFIG_TYPE_count:
        case CONFIG_TYPE_ratio:
            check(memcmp(a, b, sizeof(uint64_t)) == 0);
            break;
        case CONFIG_TYPE_bool:
            check(*a == *b);
            break;
        case CONFIG_TYPE_address:
        case CONFIG_TYPE_text:
        case CONFIG_TYPE_choice:
            check(strcmp(*(const char *const *)a, *(const char *const *)b) == 0);
            break;
        case CONFIG_TYPE_secret:
            break;
        }
    }
}

/* --- tables ----------------------------------------------------------------------------------- */

static void check_refusal(struct status s, const char *error_text, const char *path)
{
    check(s.reason == REASON_CONFIG_INVALID && strlen(error_text) < COLUMN_ERROR_SIZE);
    check(span_starts(span_str(error_text), span_str(path)));
}

static void check_catalogue(const char *path)
{
    struct catalogue *catalogue;
    char error_text[256] = "";
    struct status s = catalogue_load(path, error_text, &catalogue);
    if (!status_ok(s)) {
        check_refusal(s, error_text, path);
        return;
    }
    check(catalogue->n_models > 0 && catalogue->n_models <= CATALOGUE_MODELS_MOST);
    for (size_t i = 0; i < catalogue->n_models; i++) {
        const struct catalogue_model *model = &catalogue->models[i];
        check(model->tier == i + 1 && model->max_output <= model->context_window);
        check(model->n_regions > 0 && model->n_regions <= CATALOGUE_REGIONS_MOST);
        check(catalogue_find(catalogue, model->name) == model);
    }
    for (size_t i = 0; i < catalogue->n_targets; i++) {
        const struct catalogue_target *target = &catalogue->targets[i];
        check(catalogue_find(catalogue, target->model.name) != NULL);
        check(catalogue_find_target(catalogue, target->name) == target);
    }
    catalogue_unref(catalogue);
}

static void check_policy(const char *path)
{
    static struct file catalogue;
    static struct limiter_config config;
    static struct arena *arena; /* of the defaults, kept as long as they */
    if (arena == NULL) {
        arena = arena_new(OPTIONS_MEMORY);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            const char *why;
            check(config_parse(&rows[i], span_str(rows[i].otherwise), arena,
                               (char *)&config + rows[i].offset, &why));
        }
        file_write(&catalogue, span_str(a_catalogue));
        config.catalogue = catalogue.path;
    }
    struct policy *policy;
    char error_text[256] = "";
    config.policy = path;
    struct status s = policy_new(&config, error_text, &policy);
    if (!status_ok(s)) {
        check_refusal(s, error_text, path);
        return;
    }
    const struct engine_limits *limits = policy_tenant(policy, SPAN("acme"));
    check(limits == NULL || limits->window_ms > 0);
    policy_free(policy);
}

static void check_faults(struct span text)
{
    struct yaml_error error = {0};
    struct fault_plan *plan = fault_plan_new(text, 1, &error);
    if (plan == NULL) {
        check(error.text[0] != '\0');
        return;
    }
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < 8; i++) {
        struct fault fault;
        const struct fault_call what = {.model = SPAN(MODEL), .stream = i % 2 == 0};
        fault_plan_next(plan, &what, arena, &fault);
        check(fault.action != FAULT_STATUS || fault.refusal.code >= 400);
    }
    fault_plan_free(plan);
}

/* Ten calls of a model, one after the other, each refused or settled. */
static void check_quotas(struct span text)
{
    struct yaml_error error = {0};
    struct quota_options options = {.speed = 1, .serial = 1, .now_us = 1};
    struct quota_plan *plan = quota_plan_new(text, &options, &error);
    if (plan == NULL) {
        check(error.text[0] != '\0');
        return;
    }
    bool profile;
    const struct model *model = model_find(SPAN(MODEL), &profile);
    const struct quota_tokens tokens = {.input = 1000, .cache_write = 10, .max_tokens = 500};
    for (uint64_t now_us = 1; now_us < 100000000; now_us += 10000000) {
        struct quota_charge charge = {0};
        enum quota_verdict verdict = quota_plan_reserve(plan, model, SPAN(MODEL), SPAN("us-east-2"),
                                                        &tokens, now_us, &charge);
        quota_plan_progress(plan, &charge, 100, now_us + 10);
        uint64_t cost = quota_plan_settle(plan, &charge, 300, now_us + 20);
        check(verdict == QUOTA_ADMITTED || cost == 0);
    }
    quota_plan_free(plan);
}

static void check_latency(struct span text)
{
    struct yaml_error error = {0};
    struct latency_plan *plan = latency_plan_new(text, 1, &error);
    if (plan == NULL) {
        check(error.text[0] != '\0');
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        struct answer answer = {.first_ms = 800, .token_ms = 10};
        latency_plan_apply(plan, SPAN(MODEL), &answer);
        check(isfinite(answer.token_ms) && answer.token_ms >= 0);
    }
    latency_plan_free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct file input;
    struct span text = span_of(data, size);
    if (parse_tree(text) || size % 4 == 0) { /* what does not parse is refused by all alike */
        file_write(&input, text);
        check_options(input.path);
        check_catalogue(input.path);
        check_policy(input.path);
        check_faults(text);
        check_quotas(text);
        check_latency(text);
    }
    return 0;
}
