#include "base/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/map.h"

#define LABELS_MOST 8
#define LABEL_MOST  128 /* longer values are cut */
#define KEY_MOST    (LABELS_MOST * (LABEL_MOST + 1))

enum kind {
    KIND_COUNTER,
    KIND_GAUGE,
    KIND_HISTOGRAM,
};

struct child {
    double value; /* histogram: the sum */
    uint64_t count;
    uint64_t buckets[]; /* histogram: not cumulative */
};

struct metric {
    struct list link;
    const char *name;
    const char *help;
    const char *labels;
    size_t n_labels;
    enum kind kind;
    const double *bounds;
    size_t n_bounds;
    struct map *children; /* key: label values, each ended by NUL */
};

struct collector {
    struct list link;
    void (*collect)(void *);
    void *arg;
};

static const double second_bounds[] = {.001, .0025, .005, .01, .025,  .05,   .1,    .25,   .5,
                                       1,    2.5,   5,    10,  20.48, 40.96, 81.92, 163.84};
static const double token_bounds[] = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576};

static struct list families = {&families, &families};
static struct list collectors = {&collectors, &collectors};

static size_t count_labels(const char *labels)
{
    size_t n = labels[0] != '\0' ? 1 : 0;
    for (const char *c = labels; *c != '\0'; c++) {
        n += *c == ',';
    }
    return n;
}

static struct metric *family(const char *name, const char *labels, const char *help, enum kind kind)
{
    LIST_EACH (it, &families) {
        struct metric *known = CONTAINER_OF(it, struct metric, link);
        if (strcmp(known->name, name) == 0) {
            check(known->kind == kind && strcmp(known->labels, labels) == 0);
            return known;
        }
    }
    struct metric *metric = ALLOC(struct metric);
    metric->name = name;
    metric->labels = labels;
    metric->n_labels = count_labels(labels);
    check(metric->n_labels <= LABELS_MOST);
    metric->help = help;
    metric->kind = kind;
    metric->children = map_new();
    list_push_back(&families, &metric->link);
    return metric;
}

struct metric *metric_counter(const char *name, const char *labels, const char *help)
{
    return family(name, labels, help, KIND_COUNTER);
}

struct metric *metric_gauge(const char *name, const char *labels, const char *help)
{
    return family(name, labels, help, KIND_GAUGE);
}

struct metric *metric_seconds(const char *name, const char *labels, const char *help)
{
    struct metric *metric = family(name, labels, help, KIND_HISTOGRAM);
    metric->bounds = second_bounds;
    metric->n_bounds = ARRAY_LEN(second_bounds);
    return metric;
}

struct metric *metric_tokens(const char *name, const char *labels, const char *help)
{
    struct metric *metric = family(name, labels, help, KIND_HISTOGRAM);
    metric->bounds = token_bounds;
    metric->n_bounds = ARRAY_LEN(token_bounds);
    return metric;
}

/* The key of a child, written without an allocation: every count of the process comes by here. */
static struct span key_of(char room[KEY_MOST], const struct metric *metric,
                          const char *const *labels)
{
    size_t len = 0;
    for (size_t i = 0; i < metric->n_labels; i++) {
        struct span value = span_first(span_str(labels[i]), LABEL_MOST);
        memcpy(room + len, value.len > 0 ? value.at : "", value.len);
        room[len + value.len] = '\0';
        len += value.len + 1;
    }
    return span_of(room, len);
}

static struct child *child_of(struct metric *metric, const char *const *labels)
{
    char room[KEY_MOST];
    struct span key = key_of(room, metric, labels);
    struct child *child = map_get(metric->children, key);
    if (child != NULL) {
        return child;
    }
    if (map_count(metric->children) >= METRIC_CHILDREN) {
        const char *others[LABELS_MOST];
        for (size_t i = 0; i < metric->n_labels; i++) {
            others[i] = "other";
        }
        key = key_of(room, metric, others);
        child = map_get(metric->children, key);
    }
    if (child == NULL) {
        child = alloc_zeroed(1, sizeof(*child) + (metric->n_bounds + 1) * sizeof(uint64_t));
        map_set(metric->children, key, child);
    }
    return child;
}

void metric_add(struct metric *metric, double amount, const char *const *labels)
{
    check(metric->kind != KIND_HISTOGRAM && (metric->kind == KIND_GAUGE || amount >= 0));
    child_of(metric, labels)->value += amount;
}

void metric_set(struct metric *metric, double value, const char *const *labels)
{
    check(metric->kind == KIND_GAUGE);
    child_of(metric, labels)->value = value;
}

void metric_observe(struct metric *metric, double value, const char *const *labels)
{
    check(metric->kind == KIND_HISTOGRAM);
    struct child *child = child_of(metric, labels);
    size_t i = 0;
    while (i < metric->n_bounds && value > metric->bounds[i]) {
        i++;
    }
    child->buckets[i]++;
    child->count++;
    child->value += value;
}

double metric_value(const struct metric *metric, const char *const *labels)
{
    char room[KEY_MOST];
    const struct child *child = map_get(metric->children, key_of(room, metric, labels));
    if (child == NULL) {
        return 0;
    }
    return metric->kind == KIND_HISTOGRAM ? (double)child->count : child->value;
}

static void add_label_value(struct buf *out, struct span value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (c == '\\' || c == '"') {
            buf_add_char(out, '\\');
            buf_add_char(out, c);
        } else if (c == '\n') {
            buf_add_str(out, "\\n");
        } else {
            buf_add_char(out, c);
        }
    }
}

static void add_labels(struct buf *out, const struct metric *metric, struct span key,
                       const char *le)
{
    if (metric->n_labels == 0 && le == NULL) {
        return;
    }
    struct span names = span_str(metric->labels), name, value;
    const char *comma = "";
    buf_add_char(out, '{');
    for (size_t i = 0; i < metric->n_labels && span_cut(&names, ',', &name); i++) {
        span_cut(&key, '\0', &value);
        buf_add_str(out, comma);
        buf_add_span(out, name);
        buf_add_str(out, "=\"");
        add_label_value(out, value);
        buf_add_char(out, '"');
        comma = ",";
    }
    if (le != NULL) {
        buf_addf(out, "%sle=\"%s\"", comma, le);
    }
    buf_add_char(out, '}');
}

static void add_number(struct buf *out, double value)
{
    if (value == floor(value) && fabs(value) < 1e15) {
        buf_add_i64(out, (int64_t)value);
    } else {
        buf_addf(out, "%.9g", value);
    }
}

static void add_line(struct buf *out, const struct metric *metric, const char *suffix,
                     struct span key, const char *le, double value)
{
    buf_add_str(out, metric->name);
    buf_add_str(out, suffix);
    add_labels(out, metric, key, le);
    buf_add_char(out, ' ');
    add_number(out, value);
    buf_add_char(out, '\n');
}

static void add_histogram(struct buf *out, const struct metric *metric, struct span key,
                          const struct child *child)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < metric->n_bounds; i++) {
        CLEANUP(buf_clear) struct buf le;
        buf_init(&le, 64);
        buf_addf(&le, "%.9g", metric->bounds[i]);
        sum += child->buckets[i];
        add_line(out, metric, "_bucket", key, buf_cstr(&le), (double)sum);
    }
    add_line(out, metric, "_bucket", key, "+Inf", (double)child->count);
    add_line(out, metric, "_sum", key, NULL, child->value);
    add_line(out, metric, "_count", key, NULL, (double)child->count);
}

void metric_render(struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    LIST_EACH (it, &collectors) {
        struct collector *c = CONTAINER_OF(it, struct collector, link);
        c->collect(c->arg);
    }
    LIST_EACH (it, &families) {
        const struct metric *metric = CONTAINER_OF(it, struct metric, link);
        buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                 kinds[metric->kind]);
        for (struct map_entry *e = map_first(metric->children); e != NULL; e = map_next(e)) {
            const struct child *child = map_value(e);
            if (metric->kind == KIND_HISTOGRAM) {
                add_histogram(out, metric, map_key(e), child);
            } else {
                add_line(out, metric, "", map_key(e), NULL, child->value);
            }
        }
    }
}

void metric_on_collect(void (*collect)(void *arg), void *arg)
{
    struct collector *c = ALLOC(struct collector);
    c->collect = collect;
    c->arg = arg;
    list_push_back(&collectors, &c->link);
}

void metric_reset_all(void)
{
    for (struct list *it; (it = list_pop_front(&families)) != NULL;) {
        struct metric *metric = CONTAINER_OF(it, struct metric, link);
        for (struct map_entry *e = map_first(metric->children); e != NULL; e = map_next(e)) {
            free(map_value(e));
        }
        map_free(metric->children);
        free(metric);
    }
    for (struct list *it; (it = list_pop_front(&collectors)) != NULL;) {
        free(CONTAINER_OF(it, struct collector, link));
    }
}
