/*
 * meter - what the gateway counts of requests (design D35): the http_* series,
 * and sums for the routes that tell them as JSON.
 *
 * Why:     a series is found once per route (and status) and kept, so that a
 *          request costs some atomic adds and no look-up by label.
 * Bounds:  labels come from the route table, a list of statuses and err.def;
 *          what matches no route is counted as endpoint "unmatched".
 * Errors:  answers of 500 and above.
 * Threads: any.  Two threads may find the same series; both get the same.
 */
#ifndef GATEWAY_METER_H
#define GATEWAY_METER_H

#include "common/obs/metrics.h"

#include "gateway/route.h"

struct meter;

/* metrics NULL: counts nothing.  NULL without memory. */
struct meter *meter_new(struct metrics *metrics, const char *environment);
void meter_free(struct meter *m);
AUTO_TYPE(meter, struct meter *, meter_free)

/* route NULL: no route; the verb is then its label. */
void meter_begin(struct meter *m, const struct route *route, enum verb verb);
/* e: what failed, or OK. */
void meter_end(struct meter *m, const struct route *route, enum verb verb,
               unsigned status, enum err e, uint64_t took_us);

/* Since the start, over all loops. */
struct meter_sums {
	uint64_t requests, took_us, errors;
	unsigned in_progress;
	unsigned errors_5min, last_hour; /* errors; requests */
	double per_s; /* requests, over the last one to two minutes */
};
void meter_sums(struct meter *m, struct meter_sums *out);

/* All verbs of a path; NULL: of what matched no route.  Percentiles are read
 * off the histogram's buckets and so only as exact as these. */
struct meter_path {
	uint64_t calls;
	double avg_ms, min_ms, max_ms, p50_ms, p95_ms, p99_ms;
};
void meter_path(struct meter *m, const char *path, struct meter_path *out);

/* Statuses that were answered, and how often; status 0: any other. */
typedef void meter_status_fn(void *arg, unsigned status, uint64_t n);
void meter_statuses(struct meter *m, meter_status_fn *fn, void *arg);

#endif
