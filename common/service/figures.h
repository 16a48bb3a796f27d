/*
 * figures - what the services of one process count, as Prometheus series.
 *
 * Why:     in one process three services share /metrics, and each family may
 *          have its HELP and TYPE only once.  So one collector walks a table of
 *          families and asks every service for its numbers, instead of each
 *          service printing families of its own.
 * Bounds:  one service of each name; FIGURES_SERVICES_MAX of them.
 * Owns:    nothing it is told of.
 * Threads: any.  figures_remove() waits for a scrape under way.
 */
#ifndef SERVICE_FIGURES_H
#define SERVICE_FIGURES_H

#include "common/bus/bus.h"
#include "common/db/db.h"
#include "common/event/event.h"
#include "common/obs/metrics.h"
#include "common/service/cached.h"
#include "common/service/idempotency.h"
#include "common/service/lane.h"
#include "common/service/retention.h"

#define FIGURES_SERVICES_MAX 8

/* The providers of a language model, where a service asks some. */
struct model_stats {
	unsigned breaker; /* 0 closed: one at least can be asked; 1, 2 as in
	                   * figures.def */
	uint64_t failures, successes;
	int64_t last_failure_ms; /* wall_ms(); 0: none */
};

/* Everything that is zero is printed as zero. */
struct service_figures {
	struct db_pool_stats pool;
	struct lane_stats db_lane, slow_lane, jobs_lane;
	struct bus_server_stats bus;
	struct event_stats events;
	struct idem_stats idem;
	struct retention_stats retention;
	struct erased_stats erased;
	struct cached_figures cache;
	struct model_stats model;
};
typedef void figures_fn(void *arg, struct service_figures *out);

/* {"db_pool_size": 10, "kae_lane_busy{lane=\"db\"}": 1, ...}: each row of
 * figures.def that is one number, as msgpack. */
void figures_pack(const struct service_figures *all, struct buf *out);

struct figures;

/* NULL without memory. */
struct figures *figures_new(struct metrics *m);
void figures_free(struct figures *f); /* before the metrics; NULL is fine */
AUTO_TYPE(figures, struct figures *, figures_free)

/* service is static text.  False when there are too many. */
bool figures_add(struct figures *f, const char *service, figures_fn *fn,
                 void *arg) MUST_CHECK;
void figures_remove(struct figures *f, const void *arg);

/* kae_method_duration_seconds{service,method,outcome}. */
struct metric *figures_method(struct figures *f, const char *service,
                              const char *method, const char *outcome);

#endif
