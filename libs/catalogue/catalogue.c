#include "catalogue/catalogue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "catalogue/column.h"
#include "codec/hash.h"
#include "codec/yaml.h"

#define TREE_BUDGET     (16u << 20)
#define SNAPSHOT_BUDGET (4u << 20) /* every text is bounded by its column */
#define BUDGET_LEAST    1024       /* the smallest thinking budget a model takes */
#define TOKENS_MOST     100000000
#define USD_MOST        (10000ull * 1000000)

/* The text of default.yaml, which build/gen.mk turns into C. */
extern const unsigned char catalogue_default_yaml[];
extern const size_t catalogue_default_yaml_len;

#define PRICE(member)                                                                              \
    COLUMN(struct price_row, price.member, USD, #member, .required = true, .most = USD_MOST)

static const struct column price_columns[] = {
    COLUMN(struct price_row, from_s, DATE, "from", .required = false),
    PRICE(input),
    PRICE(output),
    PRICE(cache_write),
    PRICE(cache_read),
};

#define MODEL(member, ...) COLUMN(struct catalogue_model, member, __VA_ARGS__)
#define MODEL_PRICES(...)                                                                          \
    MODEL(prices.rows, GROUPS, "price", .least = 1, .most = PRICE_ROWS_MOST,                       \
          .n_offset = offsetof(struct catalogue_model, prices.n), .group = price_columns,          \
          .n_group = ARRAY_LEN(price_columns), __VA_ARGS__)

static const struct column model_columns[] = {
    MODEL(name, NAME, "name", .required = true, .least = 1, .most = 63),
    MODEL(title, TITLE, "title", .required = true, .least = 1, .most = 128),
    MODEL(model_id, ID, "model_id", .required = true, .least = 1, .most = 2048),
    MODEL(tier, COUNT, "tier", .required = true, .least = 1, .most = CATALOGUE_MODELS_MOST),
    MODEL(regions, NAMES, "regions", .required = true, .least = 1, .most = CATALOGUE_REGIONS_MOST,
          .n_offset = offsetof(struct catalogue_model, n_regions)),
    MODEL(lifecycle, CHOICE, "lifecycle", .choices = "active|legacy|gone"),
    MODEL(legacy_from_s, DATE, "legacy_from", .required = false),
    MODEL(gone_from_s, DATE, "gone_from", .required = false),
    MODEL(thinking, CHOICE, "thinking", .required = true, .choices = "none|budget|adaptive"),
    MODEL(temperature, CHOICE, "temperature", .required = true, .choices = "yes|only_1|never"),
    MODEL(context_window, COUNT, "context_window", .required = true, .least = 1,
          .most = TOKENS_MOST),
    MODEL(max_output, COUNT, "max_output", .required = true, .least = 1, .most = TOKENS_MOST),
    MODEL(requests_per_minute, COUNT, "requests_per_minute", .most = 100000000),
    MODEL(tokens_per_minute, COUNT, "tokens_per_minute", .most = 1000000000000),
    MODEL(concurrency, COUNT, "concurrency", .most = 1000000),
    MODEL(cooldown_ms, DURATION, "cooldown", .most = 3600000),
    MODEL(estimate.burn, COUNT, "burn", .required = true, .least = 1, .most = 1000),
    MODEL(estimate.expected_output, COUNT, "expected_output", .most = TOKENS_MOST),
    MODEL(estimate.reserve_counts_cache_read, SWITCH, "reserve_counts_cache_read",
          .required = false),
    MODEL(estimate.strict, SWITCH, "strict", .required = false),
    MODEL(tokenizer_per_mille, COUNT, "tokenizer_per_mille", .least = 100, .most = 10000),
    MODEL_PRICES(.required = true),
    {.name = "regional", .type = COLUMN_FOREIGN},
};

/* What a region may have of its own. */
static const struct column regional_columns[] = {
    MODEL(model_id, ID, "model_id", .least = 1, .most = 2048),
    MODEL(lifecycle, CHOICE, "lifecycle", .choices = "active|legacy|gone"),
    MODEL(legacy_from_s, DATE, "legacy_from", .required = false),
    MODEL(gone_from_s, DATE, "gone_from", .required = false),
    MODEL(requests_per_minute, COUNT, "requests_per_minute", .most = 100000000),
    MODEL(tokens_per_minute, COUNT, "tokens_per_minute", .most = 1000000000000),
    MODEL(concurrency, COUNT, "concurrency", .most = 1000000),
    MODEL_PRICES(.required = false),
};

/* --- models ----------------------------------------------------------------------------------- */

static bool check_prices(const struct column_source *s, const struct yaml *price,
                         const struct price_list *list)
{
    const struct yaml *it = price->kind == YAML_SEQUENCE ? price->children : price;
    for (size_t i = 0; i < list->n; i++, it = it->next) {
        const struct price_row *row = &list->rows[i];
        if (row->price.cache_read > row->price.input) {
            return column_refuse(s, yaml_get(it, "cache_read")->line,
                                 "cache_read costs more than input: columns may be exchanged");
        }
        const struct yaml *from = yaml_get(it, "from");
        if (i > 0 && from == NULL) {
            return column_refuse(s, it->line,
                                 "from is missing: only the first price may do without");
        }
        if (i > 0 && row->from_s <= list->rows[i - 1].from_s) {
            return column_refuse(s, from->line, "from must be later than that of the price before");
        }
    }
    return true;
}

/* Of what a region may have of its own; row is the one that had the last word. */
static bool check_terms(const struct column_source *s, const struct yaml *row,
                        const struct catalogue_model *m)
{
    if (m->legacy_from_s > 0 && m->gone_from_s > 0 && m->legacy_from_s > m->gone_from_s) {
        const struct yaml *date = yaml_get(row, "gone_from");
        return column_refuse(s, date != NULL ? date->line : row->line,
                             "gone_from is before legacy_from");
    }
    const struct yaml *price = yaml_get(row, "price");
    return price == NULL || check_prices(s, price, &m->prices);
}

/* What columns say about each other. */
static bool check_model(const struct column_source *s, const struct yaml *row,
                        const struct catalogue_model *m)
{
    const struct yaml *max_output = yaml_get(row, "max_output");
    if (m->max_output > m->context_window) {
        return column_refuse(s, max_output->line, "max_output is more than context_window");
    }
    if (m->thinking == CATALOGUE_THINKING_BUDGET && m->max_output <= BUDGET_LEAST) {
        return column_refuse(s, max_output->line,
                             "max_output leaves no room for a thinking budget of %d and an answer",
                             BUDGET_LEAST);
    }
    if (m->estimate.expected_output > m->max_output) {
        return column_refuse(s, yaml_get(row, "expected_output")->line,
                             "expected_output is more than max_output");
    }
    return check_terms(s, row, m);
}

/* Into its tier's place. As many different tiers as models, none above their number: no gaps. */
static bool place_model(const struct column_source *s, const struct yaml *row,
                        const struct catalogue_model *m, struct catalogue_model *models,
                        size_t n_models)
{
    size_t tier_line = yaml_get(row, "tier")->line;
    if (m->tier > n_models) {
        return column_refuse(s, tier_line, "tier %u leaves a gap: there are %zu models", m->tier,
                             n_models);
    }
    for (size_t i = 0; i < n_models; i++) {
        if (models[i].name != NULL && strcmp(models[i].name, m->name) == 0) {
            return column_refuse(s, yaml_get(row, "name")->line, "there are two models named %s",
                                 m->name);
        }
    }
    if (models[m->tier - 1].name != NULL) {
        return column_refuse(s, tier_line, "tier %u is %s already", m->tier,
                             models[m->tier - 1].name);
    }
    models[m->tier - 1] = *m;
    return true;
}

/* --- targets ---------------------------------------------------------------------------------- */

static bool has_region(const struct catalogue_model *model, struct span region)
{
    for (size_t i = 0; i < model->n_regions; i++) {
        if (span_eq(region, span_str(model->regions[i]))) {
            return true;
        }
    }
    return false;
}

static bool check_regional(const struct column_source *s, const struct yaml *regional,
                           const struct catalogue_model *model)
{
    if (regional->kind != YAML_MAPPING) {
        return column_refuse(s, regional->line, "regional must be a mapping of regions");
    }
    for (const struct yaml *it = regional->children; it != NULL; it = it->next) {
        if (!has_region(model, it->key)) {
            return column_refuse(s, it->key_line, "\"%.*s\" is none of the regions of %s",
                                 (int)span_first(it->key, 40).len, it->key.at, model->name);
        }
    }
    return true;
}

/* A model of the row in each of its regions, behind those there are. */
static bool read_targets(const struct column_source *s, const struct yaml *row,
                         const struct catalogue_model *model, struct catalogue_target *targets)
{
    const struct yaml *regional = yaml_get(row, "regional");
    if (regional != NULL && !check_regional(s, regional, model)) {
        return false;
    }
    for (size_t i = 0; i < model->n_regions; i++) {
        const char *region = model->regions[i];
        struct catalogue_target *target = &targets[i];
        target->name = arena_printf(s->arena, "%s@%s", model->name, region);
        target->region = region;
        target->model = *model;
        const struct yaml *own = regional != NULL ? yaml_get(regional, region) : NULL;
        if (own != NULL &&
            (!column_read(s, own, regional_columns, ARRAY_LEN(regional_columns), &target->model) ||
             !check_terms(s, own, &target->model))) {
            return false;
        }
    }
    return true;
}

static bool read_every_target(const struct column_source *s, const struct yaml *rows,
                              struct catalogue *catalogue)
{
    size_t first[CATALOGUE_MODELS_MOST];
    for (size_t i = 0; i < catalogue->n_models; i++) {
        first[i] = catalogue->n_targets;
        catalogue->n_targets += catalogue->models[i].n_regions;
    }
    struct catalogue_target *targets =
        ARENA_ARRAY(catalogue->arena, struct catalogue_target, catalogue->n_targets);
    for (const struct yaml *row = rows->children; row != NULL; row = row->next) {
        struct span name = yaml_get(row, "name")->text;
        size_t i = 0;
        while (!span_eq(name, span_str(catalogue->models[i].name))) {
            i++;
        }
        if (!read_targets(s, row, &catalogue->models[i], targets + first[i])) {
            return false;
        }
    }
    catalogue->targets = targets;
    return true;
}

static bool read_models(const struct column_source *s, const struct yaml *root,
                        struct catalogue *catalogue)
{
    static const struct catalogue_model defaults = {
        .cooldown_ms = 30000,
        .tokenizer_per_mille = 1000,
    };
    const struct yaml *rows = yaml_get(root, "models");
    for (const struct yaml *it = root->children; it != NULL; it = it->next) {
        if (it != rows) {
            return column_refuse(s, it->line, "only \"models\" is known here");
        }
    }
    if (rows == NULL || rows->kind != YAML_SEQUENCE || rows->count == 0 ||
        rows->count > CATALOGUE_MODELS_MOST) {
        return column_refuse(s, rows != NULL ? rows->line : root->line,
                             "\"models\" must be a list of 1 to %d models", CATALOGUE_MODELS_MOST);
    }
    struct catalogue_model *models =
        ARENA_ARRAY(catalogue->arena, struct catalogue_model, rows->count);
    for (const struct yaml *row = rows->children; row != NULL; row = row->next) {
        struct catalogue_model model = defaults;
        if (!column_read(s, row, model_columns, ARRAY_LEN(model_columns), &model) ||
            !check_model(s, row, &model) || !place_model(s, row, &model, models, rows->count)) {
            return false;
        }
    }
    catalogue->models = models;
    catalogue->n_models = rows->count;
    return read_every_target(s, rows, catalogue);
}

/* --- snapshots -------------------------------------------------------------------------------- */

/* A file beyond what YAML may have is read no further. */
static bool read_file(const char *path, struct buf *text)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        return false;
    }
    char *room;
    size_t got;
    while (text->len <= YAML_SIZE_MOST && (room = buf_reserve(text, 65536)) != NULL &&
           (got = fread(room, 1, 65536, file)) > 0) {
        buf_commit(text, got);
    }
    int failed = ferror(file) ? errno : 0;
    fclose(file);
    errno = failed;
    return failed == 0;
}

static struct status parse(const char *path, struct span text, char error_text[256],
                           struct catalogue **out)
{
    struct column_source s = {.path = path, .error_text = error_text};
    CLEANUP(arena_drop) struct arena *tree = arena_new(TREE_BUDGET);
    const struct yaml *root;
    struct yaml_error error;
    if (!yaml_parse(text, tree, &root, &error)) {
        column_refuse(&s, error.line, "%s", error.text);
        return status_of(REASON_CONFIG_INVALID, error_text);
    }
    CLEANUP(arena_drop) struct arena *arena = arena_new(SNAPSHOT_BUDGET);
    struct catalogue *catalogue = ARENA_NEW(arena, struct catalogue);
    s.arena = catalogue->arena = arena;
    if (!read_models(&s, root, catalogue)) {
        return status_of(REASON_CONFIG_INVALID, error_text);
    }
    catalogue->source = arena_string(arena, span_str(path));
    hash_sha256(text, catalogue->hash);
    catalogue->references = 1;
    arena = NULL; /* the snapshot's own from here on */
    *out = catalogue;
    return STATUS_SUCCESS;
}

struct status catalogue_load(const char *path, char error_text[256], struct catalogue **out)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 2 * YAML_SIZE_MOST);
    if (!read_file(path, &text)) {
        struct column_source s = {.path = path, .error_text = error_text};
        column_refuse(&s, 0, "%s", strerror(errno));
        return status_of(REASON_FILE_UNREADABLE, error_text);
    }
    return parse(path, buf_span(&text), error_text, out);
}

struct status catalogue_load_default(struct catalogue **out)
{
    char error_text[256];
    struct span text = span_of(catalogue_default_yaml, catalogue_default_yaml_len);
    struct status s = parse("built-in default.yaml", text, error_text, out);
    check(status_ok(s));
    return s;
}

struct status catalogue_open(const char *path, char error_text[256], struct catalogue **out)
{
    return path[0] != '\0' ? catalogue_load(path, error_text, out) : catalogue_load_default(out);
}

struct reading {
    const char *path;
    char *error_text;
    struct catalogue *out;
    struct status status;
};

/* Any thread: nobody else knows this snapshot yet. */
static void read_off(void *arg)
{
    struct reading *reading = arg;
    reading->status = catalogue_open(reading->path, reading->error_text, &reading->out);
}

struct status catalogue_reload(struct loop *loop, const char *path, char error_text[256],
                               struct catalogue **out)
{
    struct reading reading = {.path = path, .error_text = error_text};
    struct status s = loop_work(loop, read_off, &reading);
    if (!status_ok(s)) {
        catalogue_unref(reading.out); /* read, but not waited for */
        return s;
    }
    if (status_ok(reading.status)) {
        *out = reading.out;
    }
    return reading.status;
}

struct catalogue *catalogue_ref(struct catalogue *catalogue)
{
    catalogue->references++;
    return catalogue;
}

void catalogue_unref(struct catalogue *catalogue)
{
    if (catalogue != NULL && --catalogue->references == 0) {
        arena_free(catalogue->arena);
    }
}

const struct catalogue_model *catalogue_find(const struct catalogue *catalogue, const char *name)
{
    for (size_t i = 0; i < catalogue->n_models; i++) {
        if (strcmp(catalogue->models[i].name, name) == 0) {
            return &catalogue->models[i];
        }
    }
    return NULL;
}

const struct catalogue_target *catalogue_find_target(const struct catalogue *catalogue,
                                                     const char *name)
{
    for (size_t i = 0; i < catalogue->n_targets; i++) {
        if (strcmp(catalogue->targets[i].name, name) == 0) {
            return &catalogue->targets[i];
        }
    }
    return NULL;
}

enum catalogue_lifecycle catalogue_lifecycle_at(const struct catalogue_model *model,
                                                uint64_t wall_s)
{
    if (model->lifecycle == CATALOGUE_GONE ||
        (model->gone_from_s > 0 && wall_s >= model->gone_from_s)) {
        return CATALOGUE_GONE;
    }
    if (model->lifecycle == CATALOGUE_LEGACY ||
        (model->legacy_from_s > 0 && wall_s >= model->legacy_from_s)) {
        return CATALOGUE_LEGACY;
    }
    return CATALOGUE_ACTIVE;
}
