/*
 * metric.h -- counters, gauges and histograms in one registry, rendered on scrape.
 *
 * Floor 0. Loop thread only; the registry is the process's. A family is born with its label names
 * and lives as long as the process; its children appear on first use. At most METRIC_CHILDREN
 * children a family: later ones are counted under "other" in every label, so that no caller can
 * fill memory. Rows stand in a metrics.def beside their service:
 *
 *     METRIC(counter, calls_total, "method,code", "Calls ended, by method and gRPC code.")
 *
 * and become a struct of families:
 *
 *     struct router_metrics {
 *     #define METRIC(kind, name, labels, help) struct metric *name;
 *     #include "router/metrics.def"
 *     };
 *     #define METRIC(kind, name, labels, help) m->name = metric_##kind("prism_" #name, labels,
 * help); #include "router/metrics.def"
 */
#ifndef PRISM_BASE_METRIC_H
#define PRISM_BASE_METRIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"

#define METRIC_CHILDREN 1000

struct metric;

/* name, labels ("a,b" or "") and help are static. Asking for a name again returns the same family.
 */
struct metric *metric_counter(const char *name, const char *labels, const char *help);
struct metric *metric_gauge(const char *name, const char *labels, const char *help);
struct metric *metric_seconds(const char *name, const char *labels,
                              const char *help); /* histogram, 1 ms .. 163 s */
struct metric *metric_tokens(const char *name, const char *labels,
                             const char *help); /* histogram, 1 .. 4^10 */

/* As many label values as the family has labels, in their order; NULL counts as "". */
#define METRIC_ADD(metric, amount, ...)    metric_add(metric, amount, METRIC_LABELS(__VA_ARGS__))
#define METRIC_SET(metric, value, ...)     metric_set(metric, value, METRIC_LABELS(__VA_ARGS__))
#define METRIC_OBSERVE(metric, value, ...) metric_observe(metric, value, METRIC_LABELS(__VA_ARGS__))
#define METRIC_LABELS(...)                 (const char *const[]){"", ##__VA_ARGS__} + 1

void metric_add(struct metric *metric, double amount,
                const char *const *labels); /* counter, gauge */
void metric_set(struct metric *metric, double value, const char *const *labels);     /* gauge */
void metric_observe(struct metric *metric, double value, const char *const *labels); /* histogram */

/* The value of a child, 0 when it does not exist; of a histogram its count. For tests. */
double metric_value(const struct metric *metric, const char *const *labels);

/* The Prometheus text format 0.0.4. collect hooks run first, to set gauges. */
void metric_render(struct buf *out);
void metric_on_collect(void (*collect)(void *arg), void *arg);

/* Forgets everything; for tests and the end of the process. */
void metric_reset_all(void);

#endif
