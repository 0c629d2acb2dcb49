/* The catalogue: the files we ship, what is wrong in others and where, and snapshots. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "catalogue/catalogue.h"
#include "harness.h"

#define DAY        86400ull
#define START_2026 1767225600ull /* 2026-01-01 */

static struct catalogue *loaded(const char *path)
{
    char error[256];
    struct catalogue *catalogue = NULL;
    struct status status = catalogue_load(path, error, &catalogue);
    if (!status_ok(status)) {
        print_error("%s\n", error);
        fail();
    }
    return catalogue;
}

/* --- the files we ship ------------------------------------------------------------------------ */

static void test_the_default_has_five_living_tiers(void **state)
{
    (void)state;
    struct catalogue *c = loaded("libs/catalogue/default.yaml");
    static const struct {
        const char *name, *model_id;
        enum catalogue_thinking thinking;
        enum catalogue_temperature temperature;
        uint64_t max_output, cooldown_ms;
        uint32_t burn, tokenizer;
        struct price price;
    } want[] = {
        {"sonnet-4.6",
         "us.anthropic.claude-sonnet-4-6",
         CATALOGUE_THINKING_BUDGET,
         CATALOGUE_TEMPERATURE_YES,
         64000,
         60000,
         5,
         1000,
         {3300000, 16500000, 4125000, 330000}},
        {"sonnet-5",
         "us.anthropic.claude-sonnet-5",
         CATALOGUE_THINKING_ADAPTIVE,
         CATALOGUE_TEMPERATURE_NEVER,
         128000,
         30000,
         10,
         1300,
         {2200000, 11000000, 2750000, 220000}},
        {"haiku-4.5",
         "us.anthropic.claude-haiku-4-5-20251001-v1:0",
         CATALOGUE_THINKING_BUDGET,
         CATALOGUE_TEMPERATURE_YES,
         64000,
         30000,
         5,
         1000,
         {1100000, 5500000, 1375000, 110000}},
        {"opus-4.6",
         "us.anthropic.claude-opus-4-6-v1",
         CATALOGUE_THINKING_BUDGET,
         CATALOGUE_TEMPERATURE_YES,
         128000,
         30000,
         5,
         1000,
         {5500000, 27500000, 6875000, 550000}},
        {"sonnet-4.5",
         "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
         CATALOGUE_THINKING_BUDGET,
         CATALOGUE_TEMPERATURE_YES,
         64000,
         30000,
         5,
         1000,
         {3300000, 16500000, 4125000, 330000}},
    };
    assert_int_equal(c->n_models, ARRAY_LEN(want));
    assert_string_equal(c->source, "libs/catalogue/default.yaml");
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct catalogue_model *m = &c->models[i];
        assert_string_equal(m->name, want[i].name);
        assert_string_equal(m->model_id, want[i].model_id);
        assert_int_equal(m->tier, i + 1);
        assert_int_equal(m->n_regions, 2);
        assert_string_equal(m->regions[0], "us-east-2");
        assert_string_equal(m->regions[1], "us-west-2");
        assert_int_equal(m->thinking, want[i].thinking);
        assert_int_equal(m->temperature, want[i].temperature);
        assert_int_equal(m->max_output, want[i].max_output);
        assert_int_equal(m->cooldown_ms, want[i].cooldown_ms);
        assert_int_equal(m->estimate.burn, want[i].burn);
        assert_true(m->estimate.reserve_counts_cache_read);
        assert_false(m->estimate.strict);
        assert_int_equal(m->tokenizer_per_mille, want[i].tokenizer);
        assert_int_equal(m->prices.n, 1);
        assert_memory_equal(price_at(&m->prices, 0), &want[i].price, sizeof(want[i].price));
        assert_int_equal(m->requests_per_minute + m->tokens_per_minute + m->concurrency, 0);
    }
    assert_int_equal(c->n_targets, 2 * ARRAY_LEN(want));
    for (size_t i = 0; i < c->n_targets; i++) {
        const struct catalogue_target *t = &c->targets[i];
        assert_string_equal(t->region, i % 2 == 0 ? "us-east-2" : "us-west-2");
        assert_memory_equal(&t->model, &c->models[i / 2], sizeof(t->model));
        assert_ptr_equal(catalogue_find_target(c, t->name), t);
    }
    assert_string_equal(c->targets[0].name, "sonnet-4.6@us-east-2");
    assert_null(catalogue_find_target(c, "sonnet-4.6"));
    assert_ptr_equal(catalogue_find(c, "haiku-4.5"), &c->models[2]);
    assert_null(catalogue_find(c, "haiku"));
    catalogue_unref(c);
}

static void test_the_default_is_built_in(void **state)
{
    (void)state;
    struct catalogue *file = loaded("libs/catalogue/default.yaml"), *built_in = NULL;
    assert_status_ok(catalogue_load_default(&built_in));
    assert_memory_equal(built_in->hash, file->hash, sizeof(file->hash));
    assert_int_equal(built_in->n_models, file->n_models);
    assert_non_null(catalogue_find(built_in, "sonnet-4.6"));
    catalogue_unref(built_in);
    catalogue_unref(file);
}

static void test_the_seed_has_its_tiers_and_their_ends(void **state)
{
    (void)state;
    struct catalogue *c = loaded("libs/catalogue/seed.yaml");
    static const struct {
        const char *name;
        uint64_t max_output;
        uint64_t gone_day; /* of 2026, from 0 on */
    } want[] = {
        {"sonnet-4.5", 64000, 365 + 97}, {"sonnet-4", 64000, 286},    {"sonnet-3.7", 64000, 117},
        {"sonnet-3.5", 4096, 59},        {"sonnet-3.5-v2", 8192, 59},
    };
    assert_int_equal(c->n_models, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct catalogue_model *m = &c->models[i];
        assert_string_equal(m->name, want[i].name);
        assert_int_equal(m->max_output, want[i].max_output);
        assert_int_equal(m->gone_from_s, START_2026 + want[i].gone_day * DAY);
        assert_int_equal(m->thinking, i < 3 ? CATALOGUE_THINKING_BUDGET : CATALOGUE_THINKING_NONE);
        assert_int_equal(m->cooldown_ms, i == 0 ? 60000 : 30000);
    }
    catalogue_unref(c);
}

static void test_dates_move_the_lifecycle(void **state)
{
    (void)state;
    struct catalogue *c = loaded("libs/catalogue/default.yaml");
    const struct catalogue_model *m = catalogue_find(c, "sonnet-4.5");
    uint64_t legacy = START_2026 + 280 * DAY, gone = START_2026 + (365 + 97) * DAY;
    assert_int_equal(m->legacy_from_s, legacy);
    assert_int_equal(catalogue_lifecycle_at(m, legacy - 1), CATALOGUE_ACTIVE);
    assert_int_equal(catalogue_lifecycle_at(m, legacy), CATALOGUE_LEGACY);
    assert_int_equal(catalogue_lifecycle_at(m, gone - 1), CATALOGUE_LEGACY);
    assert_int_equal(catalogue_lifecycle_at(m, gone), CATALOGUE_GONE);
    assert_int_equal(catalogue_lifecycle_at(&c->models[0], UINT64_MAX), CATALOGUE_ACTIVE);
    struct catalogue_model written = *m;
    written.lifecycle = CATALOGUE_LEGACY;
    assert_int_equal(catalogue_lifecycle_at(&written, 0), CATALOGUE_LEGACY);
    written.lifecycle = CATALOGUE_GONE;
    assert_int_equal(catalogue_lifecycle_at(&written, 0), CATALOGUE_GONE);
    catalogue_unref(c);
}

/* --- other files ------------------------------------------------------------------------------ */

/* A file in memory, there by its path until it is closed. */
static int file_with(char path[32], struct span text)
{
    int fd = memfd_create("catalogue", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text.at, text.len), text.len);
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

/* Two models, each line where `line` says what stands on it. */
static const char *const model_lines[] = {
    "models:",
    "  - name: one",
    "    title: One",
    "    model_id: us.vendor.one-v1:0",
    "    tier: 1",
    "    regions: [us-east-2]",
    "    thinking: budget",
    "    temperature: yes",
    "    context_window: 200_000",
    "    max_output: 8192",
    "    burn: 5",
    "    price:",
    "      input: 3.30",
    "      output: 16.5",
    "      cache_write: 4.125",
    "      cache_read: 0.33",
    "  - {name: two, title: Two, model_id: two, tier: 2, regions: [eu-west-1], thinking: none,",
    "     temperature: never, context_window: 10, max_output: 10, burn: 1,",
    "     price: {input: 0, output: 0, cache_write: 0, cache_read: 0}}",
};

/* The file with one line exchanged (or, NULL, left out). */
static int model_file(char path[32], size_t line, const char *instead)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(model_lines); i++) {
        const char *content = i + 1 == line ? instead : model_lines[i];
        if (content != NULL) {
            buf_add_str(&text, content);
            buf_add_char(&text, '\n');
        }
    }
    return file_with(path, buf_span(&text));
}

static void test_absent_columns_have_defaults(void **state)
{
    (void)state;
    char path[32];
    int fd = model_file(path, 0, NULL);
    struct catalogue *c = loaded(path);
    close(fd);
    const struct catalogue_model *m = catalogue_find(c, "one");
    assert_string_equal(m->title, "One");
    assert_int_equal(m->lifecycle, CATALOGUE_ACTIVE);
    assert_int_equal(m->legacy_from_s + m->gone_from_s, 0);
    assert_int_equal(m->context_window, 200000);
    assert_int_equal(m->cooldown_ms, 30000);
    assert_int_equal(m->tokenizer_per_mille, 1000);
    assert_int_equal(m->estimate.expected_output, 0);
    assert_false(m->estimate.reserve_counts_cache_read);
    assert_int_equal(m->prices.n, 1);
    assert_int_equal(m->prices.rows[0].from_s, 0);
    assert_int_equal(m->prices.rows[0].price.cache_write, 4125000);
    assert_string_equal(c->models[1].name, "two");
    catalogue_unref(c);
}

/* A list replaces the model's in a region; what has no date holds from the beginning. */
static void test_prices_change_on_their_days(void **state)
{
    (void)state;
    char path[32];
    int fd = model_file(path, 6,
                        "    regions: [us-east-2, eu-west-1]\n"
                        "    regional:\n"
                        "      eu-west-1:\n"
                        "        price:\n"
                        "        - {input: 3, output: 15, cache_write: 3.75, cache_read: 0.3}\n"
                        "        - {from: 2026-01-01, input: 4, output: 20, cache_write: 5,"
                        " cache_read: 0.4}\n"
                        "        - from: 2027-04-08\n"
                        "          input: 0\n"
                        "          output: 0.000001\n"
                        "          cache_write: 0\n"
                        "          cache_read: 0");
    struct catalogue *c = loaded(path);
    close(fd);
    const struct price_list *own = &catalogue_find_target(c, "one@eu-west-1")->model.prices;
    const struct price_list *usual = &catalogue_find_target(c, "one@us-east-2")->model.prices;
    assert_int_equal(own->n, 3);
    uint64_t third = START_2026 + (365 + 97) * DAY;
    assert_int_equal(price_at(own, 0)->input, 3000000);
    assert_int_equal(price_at(own, START_2026 - 1)->input, 3000000);
    assert_int_equal(price_at(own, START_2026)->input, 4000000);
    assert_int_equal(price_at(own, third - 1)->cache_read, 400000);
    assert_int_equal(price_at(own, third)->input, 0);
    assert_int_equal(price_at(own, third)->output, 1);
    assert_int_equal(usual->n, 1);
    assert_int_equal(price_at(usual, third)->input, 3300000);
    catalogue_unref(c);
}

/* In the order of the tiers, also when the file has another; what a region says is its own. */
static void test_a_region_may_have_its_own_terms(void **state)
{
    (void)state;
    char path[32];
    int fd =
        model_file(path, 6,
                   "    regions: [us-east-2, eu-west-1]\n"
                   "    concurrency: 9\n"
                   "    regional:\n"
                   "      eu-west-1:\n"
                   "        model_id: eu.vendor.one-v1:0\n"
                   "        gone_from: 2027-04-08\n"
                   "        requests_per_minute: 7\n"
                   "        price: {input: 3, output: 15, cache_write: 3.75, cache_read: 0.3}");
    struct catalogue *c = loaded(path);
    close(fd);
    assert_int_equal(c->n_targets, 3);
    assert_string_equal(c->targets[0].name, "one@us-east-2");
    assert_string_equal(c->targets[0].model.model_id, "us.vendor.one-v1:0");
    assert_int_equal(c->targets[0].model.gone_from_s, 0);
    assert_int_equal(c->targets[0].model.prices.rows[0].price.input, 3300000);
    const struct catalogue_target *t = catalogue_find_target(c, "one@eu-west-1");
    assert_ptr_equal(t, &c->targets[1]);
    assert_string_equal(t->region, "eu-west-1");
    assert_string_equal(t->model.name, "one");
    assert_string_equal(t->model.model_id, "eu.vendor.one-v1:0");
    assert_int_equal(t->model.gone_from_s, START_2026 + (365 + 97) * DAY);
    assert_int_equal(t->model.requests_per_minute, 7);
    assert_int_equal(t->model.concurrency, 9);
    assert_int_equal(t->model.prices.rows[0].price.input, 3000000);
    assert_string_equal(c->targets[2].name, "two@eu-west-1");
    catalogue_unref(c);
}

struct mistake {
    size_t line; /* exchanged */
    const char *instead;
    size_t error_line;
    const char *says;
};

static void assert_named(const struct mistake *mistake)
{
    char path[32], error[256], where[64];
    struct catalogue *c = NULL;
    int fd = model_file(path, mistake->line, mistake->instead);
    struct status status = catalogue_load(path, error, &c);
    close(fd);
    snprintf(where, sizeof(where), "%s:%zu: ", path, mistake->error_line);
    if (status_ok(status) || strncmp(error, where, strlen(where)) != 0 ||
        strstr(error, mistake->says) == NULL) {
        print_error("line %zu: %s\n  want %s%s\n", mistake->line,
                    status_ok(status) ? "(read)" : error, where, mistake->says);
        fail();
    }
    assert_status(status, REASON_CONFIG_INVALID);
    assert_string_equal(status_text(status), error);
    assert_null(c);
}

static void test_every_mistake_is_named_with_file_and_line(void **state)
{
    (void)state;
    static const struct mistake cases[] = {
        {1, "model:", 2, "only \"models\""},
        {1, "models: []\nmore:", 3, "only \"models\""},
        {2, "  - name: One", 2, "name must be lower case letters, digits, '.' and '-', 1 to 63"},
        {2, "  - name: ''", 2, "not \"\""},
        {2, "  - name: two", 17, "two models named two"},
        {2, "  - name: [one]", 2, "name must be"},
        {3, "    titel: One", 3, "\"titel\" is not known here"},
        {3, "    title: \"a\\nb\"", 3, "title must be text"},
        {3, NULL, 2, "title is missing"},
        {4, "    model_id: a b", 4, "printable ASCII"},
        {5, "    tier: 2", 17, "tier 2 is one already"},
        {5, "    tier: 3", 5, "tier 3 leaves a gap: there are 2 models"},
        {5, "    tier: 0", 5, "tier must be a count, 1 to 64, not \"0\""},
        {5, "    tier: 1\n    tier: 1", 6, "\"tier\" is there already, in line 5"},
        {6, "    regions: []", 6, "regions must be a list of different names, 1 to 8"},
        {6, "    regions: us-east-2", 6, "regions must be a list"},
        {6, "    regions:\n    - a\n    - a", 8, "different names"},
        {6, "    regions: [a, b, c, d, e, f, g, h, i]", 6, "1 to 8"},
        {6, "    regions: [[a]]", 6, "regions must be a list"},
        {6, "    regions: [US]", 6, "not \"US\""},
        {7, "    thinking: enabled", 7, "thinking must be one of none|budget|adaptive"},
        {8, "    temperature: 1", 8, "temperature must be one of yes|only_1|never, not \"1\""},
        {9, "    context_window: 1000", 10, "max_output is more than context_window"},
        {10, "    max_output: 1024", 10, "no room for a thinking budget"},
        {10, "    max_output: 8K", 10, "max_output must be a count"},
        {10, "    max_output: _8", 10, "max_output must be a count"},
        {10, "    max_output: -1", 10, "max_output must be a count"},
        {10, "    max_output: 99999999999999999999999", 10, "max_output must be a count"},
        {10, "    max_output: 8192\n    expected_output: 8193", 11, "expected_output is more"},
        {11, "    burn: 0", 11, "burn must be a count, 1 to 1000, not \"0\""},
        {11, "    burn: 5\n    strict: maybe", 12, "strict must be yes or no, not \"maybe\""},
        {11, "    burn: 5\n    cooldown: 60", 12, "cooldown must be a duration"},
        {11, "    burn: 5\n    cooldown: 2h", 12, "0 to 3600000 ms, not \"2h\""},
        {11, "    burn: 5\n    cooldown: s", 12, "cooldown must be a duration"},
        {11, "    burn: 5\n    gone_from: 2027-02-29", 12, "gone_from must be a date like"},
        {11, "    burn: 5\n    gone_from: 2027-13-01", 12, "gone_from must be a date like"},
        {11, "    burn: 5\n    gone_from: 2027-04-00", 12, "gone_from must be a date like"},
        {11, "    burn: 5\n    gone_from: 2027-4-8", 12, "gone_from must be a date like"},
        {11, "    burn: 5\n    gone_from: 1969-12-31", 12, "gone_from must be a date like"},
        {11, "    burn: 5\n    gone_from: 2027-01-01\n    legacy_from: 2027-01-02", 12,
         "gone_from is before legacy_from"},
        {11, "    burn: 5\n    tokenizer_per_mille: 99", 12, "100 to 10000"},
        {12, "    price: 3\n    more:", 12,
         "price must be a mapping or a list of mappings, 1 to 8, not \"3\""},
        {13, "      input: 0.10", 16, "cache_read costs more than input"},
        {13, "      input: $3", 13, "input must be USD like 3.30, 0 to 10000, not \"$3\""},
        {13, "      input: 3.", 13, "input must be USD"},
        {13, "      input: .3", 13, "input must be USD"},
        {13, "      input: 3.1234567", 13, "input must be USD"},
        {13, "      input: 10001", 13, "0 to 10000"},
        {13, NULL, 13, "input is missing"},
        {16, "      cache_reed: 0.33", 16, "\"cache_reed\" is not known here"},
        {17,
         "  - two\n  - {name: two, title: Two, model_id: two, tier: 2, regions: [eu-west-1],"
         " thinking: none,",
         17, "a mapping is wanted here"},
        {1, "models: &all", 1, "anchors"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_named(&cases[i]);
    }
}

static void test_mistakes_about_regions_are_named_too(void **state)
{
    (void)state;
    static const struct mistake cases[] = {
        {6, "    regions: [us-east-2]\n    regional: [us-east-2]", 7,
         "regional must be a mapping of regions"},
        {6, "    regions: [us-east-2]\n    regional: {us-west-2: {}}", 7,
         "\"us-west-2\" is none of the regions of one"},
        {6, "    regions: [us-east-2]\n    regional: {us-east-2: 5}", 7,
         "a mapping is wanted here"},
        {6, "    regions: [us-east-2]\n    regional:\n      us-east-2: {tier: 2}", 8,
         "\"tier\" is not known here"},
        {6, "    regions: [us-east-2]\n    regional:\n      us-east-2:\n        model_id: a b", 9,
         "model_id must be printable ASCII"},
        {6,
         "    regions: [us-east-2]\n    gone_from: 2027-01-01\n    regional:\n"
         "      us-east-2:\n        legacy_from: 2027-01-02",
         10, "gone_from is before legacy_from"},
        {6, "    regions: [us-east-2]\n    regional: {us-east-2: {price: {input: 1}}}", 7,
         "output is missing"},
        {6,
         "    regions: [us-east-2]\n    regional: {us-east-2: {price:\n"
         "      {input: 1, output: 1, cache_write: 1, cache_read: 2}}}",
         8, "cache_read costs more than input"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_named(&cases[i]);
    }
}

#define AT_1 "input: 1, output: 1, cache_write: 1, cache_read: 1"

static void test_mistakes_about_prices_are_named_too(void **state)
{
    (void)state;
    static const struct mistake cases[] = {
        {5, "    tier: 1\n    regional: {us-east-2: {price: []}}", 6, "a list of mappings, 1 to 8"},
        {5, "    tier: 1\n    regional: {us-east-2: {price: [1]}}", 6, "a mapping is wanted here"},
        {12, "    price:\n      from: 2026-02-30", 13, "from must be a date like"},
        {5,
         "    tier: 1\n    regional: {us-east-2: {price: [{" AT_1 "},\n"
         "      {" AT_1 "}]}}",
         7, "from is missing: only the first price may do without"},
        {5,
         "    tier: 1\n    regional: {us-east-2: {price: [{" AT_1 "},\n"
         "      {from: 2027-01-01, input: 1, output: 1, cache_read: 1}]}}",
         7, "cache_write is missing"},
        {5,
         "    tier: 1\n    regional: {us-east-2: {price: [{" AT_1 "},\n"
         "      {from: 2027-01-01, input: -1, output: 1, cache_write: 1, cache_read: 1}]}}",
         7, "input must be USD like 3.30, 0 to 10000, not \"-1\""},
        {5,
         "    tier: 1\n    regional: {us-east-2: {price: [{" AT_1 "},\n"
         "      {from: 2027-01-01, input: 1, output: 1, cache_write: 1, cache_read: 2}]}}",
         7, "cache_read costs more than input"},
        {5,
         "    tier: 1\n    regional: {us-east-2: {price: [{" AT_1 "},\n"
         "      {from: 2027-01-01, " AT_1 "},\n      {from: 2027-01-01, " AT_1 "}]}}",
         8, "from must be later than that of the price before"},
        {5,
         "    tier: 1\n    regional: {us-east-2: {price: [{from: 2027-01-02, " AT_1 "},\n"
         "      {from: 2027-01-01, " AT_1 "}]}}",
         7, "from must be later"},
        {5,
         "    tier: 1\n    regional: {us-east-2: {price:\n"
         "      [{}, {}, {}, {}, {}, {}, {}, {}, {}]}}",
         7, "price must be a mapping or a list of mappings, 1 to 8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_named(&cases[i]);
    }
}

static void test_files_that_are_none(void **state)
{
    (void)state;
    char error[256], path[32];
    struct catalogue *c = NULL;
    assert_status(catalogue_load("/nowhere/models.yaml", error, &c), REASON_FILE_UNREADABLE);
    assert_string_equal(error, "/nowhere/models.yaml: No such file or directory");
    assert_status(catalogue_load("/", error, &c), REASON_FILE_UNREADABLE);
    assert_string_equal(error, "/: Is a directory");

    char long_path[600];
    memset(long_path, 'x', sizeof(long_path));
    snprintf(long_path + sizeof(long_path) - 16, 16, "/models.yaml");
    assert_status(catalogue_load(long_path, error, &c), REASON_FILE_UNREADABLE);
    assert_non_null(strstr(error, "/models.yaml: File name too long"));

    int fd = file_with(path, SPAN(""));
    assert_status(catalogue_load(path, error, &c), REASON_CONFIG_INVALID);
    assert_non_null(strstr(error, ":1: \"models\" must be a list of 1 to 64 models"));
    close(fd);
    fd = file_with(path, SPAN("- models"));
    assert_status(catalogue_load(path, error, &c), REASON_CONFIG_INVALID);
    close(fd);

    CLEANUP(buf_clear) struct buf large;
    buf_init(&large, 4u << 20);
    while (large.len < (3u << 20)) {
        buf_add_str(&large, "# nothing but comments\n");
    }
    fd = file_with(path, buf_span(&large));
    assert_status(catalogue_load(path, error, &c), REASON_CONFIG_INVALID);
    assert_non_null(strstr(error, ": too large"));
    close(fd);
    assert_null(c);
}

static void add_models(struct buf *text, size_t n)
{
    buf_reset(text);
    buf_add_str(text, "models:\n");
    for (size_t i = n; i > 0; i--) {
        buf_addf(text,
                 "- {name: m%zu, title: T, model_id: m, tier: %zu, regions: [r], thinking: none,\n"
                 "   temperature: yes, context_window: 9, max_output: 9, burn: 1,\n"
                 "   price: {input: 0.000001, output: 1, cache_write: 10000, cache_read: 0}}\n",
                 i, i);
    }
}

static void test_as_many_models_as_there_may_be_in_any_order(void **state)
{
    (void)state;
    char path[32], error[256];
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1u << 20);
    add_models(&text, CATALOGUE_MODELS_MOST);
    int fd = file_with(path, buf_span(&text));
    struct catalogue *c = loaded(path);
    close(fd);
    assert_string_equal(c->models[0].name, "m1");
    assert_string_equal(c->models[63].name, "m64");
    assert_int_equal(c->models[0].prices.rows[0].price.input, 1);
    assert_int_equal(c->models[0].prices.rows[0].price.cache_write, 10000000000);
    catalogue_unref(c);

    add_models(&text, CATALOGUE_MODELS_MOST + 1);
    fd = file_with(path, buf_span(&text));
    assert_status(catalogue_load(path, error, &c), REASON_CONFIG_INVALID);
    close(fd);
    assert_non_null(strstr(error, "1 to 64 models"));
}

static void test_snapshots_live_until_the_last_reference(void **state)
{
    (void)state;
    struct catalogue *a = loaded("libs/catalogue/default.yaml");
    struct catalogue *b = loaded("libs/catalogue/default.yaml");
    struct catalogue *other = loaded("libs/catalogue/seed.yaml");
    assert_memory_equal(a->hash, b->hash, sizeof(a->hash));
    assert_memory_not_equal(a->hash, other->hash, sizeof(a->hash));
    catalogue_unref(b);
    catalogue_unref(other);
    assert_ptr_equal(catalogue_ref(a), a);
    catalogue_unref(a);
    assert_string_equal(a->models[0].name, "sonnet-4.6");
    catalogue_unref(a);
    catalogue_unref(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_the_default_has_five_living_tiers),
    cmocka_unit_test(test_the_default_is_built_in),
    cmocka_unit_test(test_the_seed_has_its_tiers_and_their_ends),
    cmocka_unit_test(test_dates_move_the_lifecycle),
    cmocka_unit_test(test_absent_columns_have_defaults),
    cmocka_unit_test(test_prices_change_on_their_days),
    cmocka_unit_test(test_a_region_may_have_its_own_terms),
    cmocka_unit_test(test_every_mistake_is_named_with_file_and_line),
    cmocka_unit_test(test_mistakes_about_regions_are_named_too),
    cmocka_unit_test(test_mistakes_about_prices_are_named_too),
    cmocka_unit_test(test_files_that_are_none),
    cmocka_unit_test(test_as_many_models_as_there_may_be_in_any_order),
    cmocka_unit_test(test_snapshots_live_until_the_last_reference),
};

HARNESS_MAIN(tests)
