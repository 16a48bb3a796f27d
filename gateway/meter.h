/*
 * meter - the http_* series of the gateway (design D35).
 *
 * Why:     a series is found once per route (and status) and kept, so that a
 *          request costs four atomic adds and no look-up by label.
 * Bounds:  labels come from the route table and a list of statuses; what
 *          matches no route is counted as endpoint "unmatched".
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
void meter_end(struct meter *m, const struct route *route, enum verb verb,
               unsigned status, uint64_t took_us);
/* For /api/health: since the start, over all loops. */
struct meter_sums {
	uint64_t requests, took_us;
	unsigned in_progress;
	unsigned errors_5min; /* answers of 500 and above */
};
void meter_sums(struct meter *m, struct meter_sums *out);

#endif
