#include "gateway/meter.h"

#include "common/base/clock.h"

#include <assert.h>
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
#define MINUTES 60
#define CLASSES 5  /* of statuses, 1xx to 5xx */
#define COUNTS  32 /* of a histogram, at most */

struct slot {
	struct metric *_Atomic took[CLASSES], *_Atomic in_progress;
	struct metric *_Atomic total[STATUSES];
	_Atomic uint64_t least_us, most_us; /* least 0: none yet */
};

struct meter {
	struct metric_family *total, *took, *in_progress, *errors;
	_Atomic uint64_t requests, took_us, failed;
	_Atomic unsigned running;
	uint64_t began_ms;
	struct {
		_Atomic uint64_t minute;
		_Atomic unsigned n, failed;
	} minutes[MINUTES];
	_Atomic uint64_t statuses[STATUSES];
	struct slot slots[]; /* routes_n + VERBS */
};

static bool families(struct meter *m, struct metrics *metrics)
{
	static const char *const which[] = {"method", "endpoint", NULL};
	static const char *const all[] = {"method", "endpoint", "status", NULL};
	static const char *const by_class[] = {"method", "endpoint",
	                                       "status_class", NULL};
	static const char *const failed[] = {"endpoint", "error_type", NULL};

	m->total =
		metrics_family(metrics, METRIC_COUNTER, "http_requests_total",
	                       "Requests answered.", all, NULL, 0);
	m->took = metrics_family(metrics, METRIC_HISTOGRAM,
	                         "http_request_duration_seconds",
	                         "Time from a request's head to its answer.",
	                         by_class, metrics_latency_buckets,
	                         metrics_latency_buckets_n);
	m->in_progress =
		metrics_family(metrics, METRIC_GAUGE,
	                       "http_requests_in_progress",
	                       "Requests being answered.", which, NULL, 0);
	m->errors = metrics_family(metrics, METRIC_COUNTER,
	                           "application_errors_total",
	                           "Answers of 500 and above by their code.",
	                           failed, NULL, 0);
	return m->total && m->took && m->in_progress && m->errors;
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

	if (m)
		m->began_ms = mono_ms();
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

/* The words for labels are made at a series' first use only.  last: of the third
 * label, which families without one ignore. */
static struct metric *find(struct metric *_Atomic *kept,
                           struct metric_family *f, const struct route *route,
                           enum verb verb, const char *last)
{
	struct metric *s = atomic_load_explicit(kept, memory_order_acquire);
	const char *const labels[] = {
		verb_name(route ? route->verb : verb),
		route ? route->path : "unmatched",
		last,
	};

	if (!s && f) {
		s = metric_series(f, labels);
		atomic_store_explicit(kept, s, memory_order_release);
	}
	return s;
}

void meter_begin(struct meter *m, const struct route *route, enum verb verb)
{
	struct slot *sl = &m->slots[slot_of(route, verb)];
	struct metric *s =
		find(&sl->in_progress, m->in_progress, route, verb, "");

	atomic_fetch_add_explicit(&m->running, 1, memory_order_relaxed);
	if (s)
		metric_add(s, 1);
}

static void count_minute(struct meter *m, bool failed)
{
	uint64_t minute = mono_ms() / 60000;
	size_t at = minute % MINUTES;

	/* A race at the turn of a minute may lose a few: it is a summary. */
	if (atomic_load_explicit(&m->minutes[at].minute,
	                         memory_order_relaxed) != minute) {
		atomic_store(&m->minutes[at].minute, minute);
		atomic_store(&m->minutes[at].n, 0);
		atomic_store(&m->minutes[at].failed, 0);
	}
	atomic_fetch_add_explicit(&m->minutes[at].n, 1, memory_order_relaxed);
	if (failed)
		atomic_fetch_add(&m->minutes[at].failed, 1);
}

static void count_sums(struct meter *m, size_t status, bool failed,
                       uint64_t took_us)
{
	atomic_fetch_sub_explicit(&m->running, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&m->requests, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&m->took_us, took_us, memory_order_relaxed);
	atomic_fetch_add_explicit(&m->statuses[status], 1,
	                          memory_order_relaxed);
	if (failed)
		atomic_fetch_add_explicit(&m->failed, 1, memory_order_relaxed);
	count_minute(m, failed);
}

/* Nearly always there is nothing to write. */
static void count_bounds(struct slot *sl, uint64_t us)
{
	uint64_t v = us ? us : 1;
	uint64_t least = atomic_load(&sl->least_us);
	uint64_t most = atomic_load(&sl->most_us);

	while (v > most &&
	       !atomic_compare_exchange_weak(&sl->most_us, &most, v))
		;
	while ((least == 0 || v < least) &&
	       !atomic_compare_exchange_weak(&sl->least_us, &least, v))
		;
}

static struct metric *took_of(struct meter *m, struct slot *sl,
                              const struct route *route, enum verb verb,
                              unsigned status)
{
	static const char *const names[CLASSES] = {"1xx", "2xx", "3xx", "4xx",
	                                           "5xx"};
	size_t class = status / 100 - 1;

	if (class >= CLASSES)
		class = CLASSES - 1;
	return find(&sl->took[class], m->took, route, verb, names[class]);
}

static void count_error(struct meter *m, const struct route *route, enum err e)
{
	const char *const labels[] = {route ? route->path : "unmatched",
	                              e ? err_code(e) : "UNKNOWN"};

	metric_add(metric_series(m->errors, labels), 1);
}

void meter_end(struct meter *m, const struct route *route, enum verb verb,
               unsigned status, enum err e, uint64_t took_us)
{
	struct slot *sl = &m->slots[slot_of(route, verb)];
	bool failed = status >= 500;
	struct metric *s;
	char text[12];
	size_t at = 0;

	while (statuses[at] && statuses[at] != status)
		at++;
	(void)snprintf(text, sizeof(text), "%u", statuses[at]);
	s = find(&sl->total[at], m->total, route, verb,
	         statuses[at] ? text : "other");
	if (s)
		metric_add(s, 1);
	s = took_of(m, sl, route, verb, status);
	if (s)
		metric_observe(s, (double)took_us / 1e6);
	s = find(&sl->in_progress, m->in_progress, route, verb, "");
	if (s)
		metric_add(s, -1);
	if (failed)
		count_error(m, route, e);
	count_bounds(sl, took_us);
	count_sums(m, at, failed, took_us);
}

/* --- what is told ------------------------------------------------------------- */

void meter_sums(struct meter *m, struct meter_sums *out)
{
	uint64_t now_ms = mono_ms(), minute = now_ms / 60000;
	uint64_t span_ms = 60000 + now_ms % 60000, recent = 0;

	*out = (struct meter_sums){
		.requests = atomic_load(&m->requests),
		.took_us = atomic_load(&m->took_us),
		.errors = atomic_load(&m->failed),
		.in_progress = atomic_load(&m->running),
	};
	for (size_t i = 0; i < MINUTES; i++) {
		uint64_t age = minute - atomic_load(&m->minutes[i].minute);
		unsigned n = atomic_load(&m->minutes[i].n);

		if (age < 5)
			out->errors_5min += atomic_load(&m->minutes[i].failed);
		if (age < 2) /* the last one that is whole, and this one */
			recent += n;
		if (age < MINUTES)
			out->last_hour += n;
	}
	if (now_ms - m->began_ms < span_ms)
		span_ms = now_ms - m->began_ms;
	out->per_s = (double)recent * 1000 / (double)(span_ms ? span_ms : 1);
}

/* Inside its bucket an observation may be anywhere: told as if evenly spread. */
static double quantile_ms(const uint64_t *counts, double q, double least_ms,
                          double most_ms)
{
	uint64_t all = 0, below = 0;
	double want, ms = most_ms;

	for (size_t i = 0; i <= metrics_latency_buckets_n; i++)
		all += counts[i];
	want = q * (double)all;
	for (size_t i = 0; i < metrics_latency_buckets_n; i++) {
		double from = i ? metrics_latency_buckets[i - 1] : 0;

		if (counts[i] && (double)(below + counts[i]) >= want) {
			ms = 1e3 * (from + (metrics_latency_buckets[i] - from) *
			                           (want - (double)below) /
			                           (double)counts[i]);
			break;
		}
		below += counts[i];
	}
	return ms < least_ms ? least_ms : ms > most_ms ? most_ms : ms;
}

struct gathered {
	uint64_t counts[COUNTS];
	double sum_s;
	uint64_t least_us, most_us;
};

static void gather(const struct slot *sl, struct gathered *g)
{
	uint64_t least = atomic_load(&sl->least_us);
	uint64_t most = atomic_load(&sl->most_us);

	for (size_t i = 0; i < CLASSES; i++)
		metric_counts(atomic_load(&sl->took[i]), g->counts,
		              metrics_latency_buckets_n + 1, &g->sum_s);
	if (least && (g->least_us == 0 || least < g->least_us))
		g->least_us = least;
	if (most > g->most_us)
		g->most_us = most;
}

void meter_path(struct meter *m, const char *path, struct meter_path *out)
{
	struct gathered g = {.sum_s = 0};
	struct meter_path p = {.calls = 0};

	assert(metrics_latency_buckets_n < COUNTS);
	for (size_t i = 0; path && i < routes_n; i++)
		if (strcmp(routes[i].path, path) == 0)
			gather(&m->slots[i], &g);
	for (size_t i = 0; !path && i < VERBS; i++)
		gather(&m->slots[routes_n + i], &g);
	for (size_t i = 0; i < COUNTS; i++)
		p.calls += g.counts[i];
	if (p.calls) {
		p.min_ms = (double)g.least_us / 1e3;
		p.max_ms = (double)g.most_us / 1e3;
		p.avg_ms = g.sum_s * 1e3 / (double)p.calls;
		p.p50_ms = quantile_ms(g.counts, 0.5, p.min_ms, p.max_ms);
		p.p95_ms = quantile_ms(g.counts, 0.95, p.min_ms, p.max_ms);
		p.p99_ms = quantile_ms(g.counts, 0.99, p.min_ms, p.max_ms);
	}
	*out = p;
}

void meter_statuses(struct meter *m, meter_status_fn *fn, void *arg)
{
	for (size_t i = 0; i < STATUSES; i++) {
		uint64_t n = atomic_load(&m->statuses[i]);

		if (n)
			fn(arg, statuses[i], n);
	}
}
