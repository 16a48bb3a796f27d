#include "gateway/meter.h"

#include "common/base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* Every status that the gateway can answer; the last stands for the others. */
static const unsigned statuses[] = {
	200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403,
	404, 405, 406, 408, 409, 411, 413, 414, 415, 417, 422,
	429, 431, 499, 500, 501, 502, 503, 504, 0,
};
#define STATUSES COUNTOF(statuses)
/* Behind the rows of the table: one slot per verb for what matches none. */
#define VERBS   (VERB_OTHER + 1)
#define MINUTES 5

struct slot {
	struct metric *_Atomic took, *_Atomic in_progress;
	struct metric *_Atomic total[STATUSES];
};

struct meter {
	struct metric_family *total, *took, *in_progress;
	_Atomic uint64_t requests, took_us;
	_Atomic unsigned running;
	struct {
		_Atomic uint64_t minute;
		_Atomic unsigned n;
	} errors[MINUTES];
	struct slot slots[]; /* routes_n + VERBS */
};

static bool families(struct meter *m, struct metrics *metrics)
{
	static const char *const which[] = {"method", "endpoint", NULL};
	static const char *const all[] = {"method", "endpoint", "status", NULL};

	m->total =
		metrics_family(metrics, METRIC_COUNTER, "http_requests_total",
	                       "Requests answered.", all, NULL, 0);
	m->took = metrics_family(metrics, METRIC_HISTOGRAM,
	                         "http_request_duration_seconds",
	                         "Time from a request's head to its answer.",
	                         which, metrics_latency_buckets,
	                         metrics_latency_buckets_n);
	m->in_progress =
		metrics_family(metrics, METRIC_GAUGE,
	                       "http_requests_in_progress",
	                       "Requests being answered.", which, NULL, 0);
	return m->total && m->took && m->in_progress;
}

static bool app_info(struct metrics *metrics, const char *environment)
{
	static const char *const names[] = {"name", "version", "environment",
	                                    NULL};
	const char *const values[] = {"knowalledge", KAE_VERSION, environment};
	struct metric_family *f =
		metrics_family(metrics, METRIC_GAUGE, "app_info",
	                       "What runs here; always 1.", names, NULL, 0);

	if (f)
		metric_set(metric_series(f, values), 1);
	return f != NULL;
}

struct meter *meter_new(struct metrics *metrics, const char *environment)
{
	size_t slots = (routes_n + VERBS) * sizeof(struct slot);
	AUTO(meter) m = calloc(1, sizeof(*m) + slots);
	bool ok = m && (!metrics || (families(m, metrics) &&
	                             app_info(metrics, environment)));

	return ok ? STEAL(m) : NULL; /* NOLINT: AUTO frees m, unseen */
}

void meter_free(struct meter *m)
{
	free(m);
}

static size_t slot_of(const struct route *route, enum verb verb)
{
	return route ? (size_t)(route - routes) : routes_n + (size_t)verb;
}

/* The words for labels are made at a series' first use only.  status 0: one
 * that the list has not; families without that label ignore it. */
static struct metric *find(struct metric *_Atomic *kept,
                           struct metric_family *f, const struct route *route,
                           enum verb verb, unsigned status)
{
	struct metric *s = atomic_load_explicit(kept, memory_order_acquire);
	char text[12];
	const char *const labels[] = {
		verb_name(route ? route->verb : verb),
		route ? route->path : "unmatched",
		status ? text : "other",
	};

	if (!s && f) {
		(void)snprintf(text, sizeof(text), "%u", status);
		s = metric_series(f, labels);
		atomic_store_explicit(kept, s, memory_order_release);
	}
	return s;
}

void meter_begin(struct meter *m, const struct route *route, enum verb verb)
{
	struct slot *sl = &m->slots[slot_of(route, verb)];
	struct metric *s =
		find(&sl->in_progress, m->in_progress, route, verb, 0);

	atomic_fetch_add_explicit(&m->running, 1, memory_order_relaxed);
	if (s)
		metric_add(s, 1);
}

static void count_error(struct meter *m)
{
	uint64_t minute = mono_ms() / 60000;
	size_t at = minute % MINUTES;

	/* A race at the turn of a minute may lose a few: it is a summary. */
	if (atomic_exchange(&m->errors[at].minute, minute) != minute)
		atomic_store(&m->errors[at].n, 0);
	atomic_fetch_add(&m->errors[at].n, 1);
}

void meter_end(struct meter *m, const struct route *route, enum verb verb,
               unsigned status, uint64_t took_us)
{
	struct slot *sl = &m->slots[slot_of(route, verb)];
	struct metric *s;
	size_t at = 0;

	while (statuses[at] && statuses[at] != status)
		at++;
	s = find(&sl->total[at], m->total, route, verb, statuses[at]);
	if (s)
		metric_add(s, 1);
	s = find(&sl->took, m->took, route, verb, 0);
	if (s)
		metric_observe(s, (double)took_us / 1e6);
	s = find(&sl->in_progress, m->in_progress, route, verb, 0);
	if (s)
		metric_add(s, -1);
	atomic_fetch_sub_explicit(&m->running, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&m->requests, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&m->took_us, took_us, memory_order_relaxed);
	if (status >= 500)
		count_error(m);
}

void meter_sums(struct meter *m, struct meter_sums *out)
{
	uint64_t minute = mono_ms() / 60000;

	*out = (struct meter_sums){
		.requests = atomic_load(&m->requests),
		.took_us = atomic_load(&m->took_us),
		.in_progress = atomic_load(&m->running),
	};
	for (size_t i = 0; i < MINUTES; i++)
		if (minute - atomic_load(&m->errors[i].minute) < MINUTES)
			out->errors_5min += atomic_load(&m->errors[i].n);
}
