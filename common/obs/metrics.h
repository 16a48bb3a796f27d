/*
 * metrics - counters, gauges and histograms in Prometheus text format 0.0.4.
 *
 * A family is made at start with its label names; a series is one set of label
 * values, found once and kept by the caller: updating it is one atomic add.
 * Series per family are bounded (METRICS_SERIES_MAX); past that all further
 * label sets share one series whose label values are "other".
 * Collectors are functions that print what other libraries count (pools, bus,
 * cache), called at each scrape.
 *
 * Owns:    copies of label values (cut at 128 bytes); names and helps are
 *          static texts of the caller.
 * Threads: any, at any time.  A collector must not add or forget collectors,
 *          nor render.
 */
#ifndef OBS_METRICS_H
#define OBS_METRICS_H

#include "common/base/buf.h"

#define METRICS_SERIES_MAX 1024
#define METRICS_LABELS_MAX 4

struct metrics;
struct metric; /* a series */

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
AUTO_TYPE(metrics, struct metrics *, metrics_free)

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_family;
/* labels: NULL-terminated list of at most METRICS_LABELS_MAX names.  buckets:
 * histograms only, upper bounds in ascending order, +Inf is added.  A name that
 * is known gives the family that has it, so that services in one process share
 * it.  NULL without memory. */
struct metric_family *metrics_family(struct metrics *m, enum metric_kind kind,
                                     const char *name, const char *help,
                                     const char *const *labels,
                                     const double *buckets, size_t buckets_n);
/* Finds or makes; never NULL for a family that is not NULL.  values: as many as
 * the family has labels. */
struct metric *metric_series(struct metric_family *f,
                             const char *const *values);
/* A NULL series is fine: what could not be made is not counted. */
void metric_add(struct metric *s, double by);    /* counter, gauge */
void metric_set(struct metric *s, double v);     /* gauge */
void metric_observe(struct metric *s, double v); /* histogram */

/* What a histogram has counted: adds each bucket's own number, +Inf's last, to
 * counts, and the sum of what was observed to *sum.  A NULL series adds none. */
void metric_counts(const struct metric *s, uint64_t *counts, size_t counts_n,
                   double *sum);

/* Seconds: 0.005 to 10, the OpenTelemetry bounds. */
extern const double metrics_latency_buckets[];
extern const size_t metrics_latency_buckets_n;

typedef void metrics_collect_fn(void *arg, struct buf *out);
/* At most 64. */
bool metrics_collector(struct metrics *m, metrics_collect_fn *fn,
                       void *arg) MUST_CHECK;
/* After it returns, fn is not running with arg and never will again. */
void metrics_forget(struct metrics *m, metrics_collect_fn *fn, void *arg);
/* For collectors: # HELP and # TYPE, then lines.  labels is "" or
 * `a="b",c="d"` already escaped. */
void metrics_head(struct buf *out, enum metric_kind kind, const char *name,
                  const char *help);
void metrics_line(struct buf *out, const char *name, const char *labels,
                  double v);
void metrics_render(struct metrics *m, struct buf *out);

#endif
