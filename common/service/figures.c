#include "common/service/figures.h"

#include "common/base/guard.h"
#include "common/codec/mp.h"

#include <stdio.h>
#include <stdlib.h>

enum number { NUM_UNSIGNED, NUM_U64, NUM_US, NUM_MS, NUM_HIT_RATE, NUM_WAITS };

/*
 * A line: where the number is and which labels it has besides `service`.
 * Rows of one family stand together; the first one has its kind and help.
 */
static const struct figure {
	const char *name, *help, *labels;
	enum metric_kind kind;
	enum number number;
	size_t offset;
} table[] = {
#define FIGURE(name, kind, help, labels, number, member) \
	{                                                \
		name,         help,                      \
		labels,       METRIC_##kind,             \
		NUM_##number, offsetof(struct service_figures, member)},
#include "common/service/figures.def"
#undef FIGURE
};

struct served {
	const char *service;
	figures_fn *fn;
	void *arg;
};

struct figures {
	pthread_mutex_t lock;
	struct metrics *metrics;
	struct metric_family *methods;
	size_t n;
	struct served served[FIGURES_SERVICES_MAX];
};

static double number_of(const struct figure *row,
                        const struct service_figures *all)
{
	const void *at = (const char *)all + row->offset;

	switch (row->number) {
	case NUM_UNSIGNED:
		return (double)*(const unsigned *)at;
	case NUM_U64:
		return (double)*(const uint64_t *)at;
	case NUM_US:
		return (double)*(const uint64_t *)at / 1e6;
	case NUM_MS:
		return (double)*(const int64_t *)at / 1e3;
	case NUM_HIT_RATE: {
		/* Of all that was asked for, the part that was there. */
		const struct cache_stats *c = at;
		uint64_t asked = c->hits + c->negative_hits + c->misses;

		return asked ? (double)(c->hits + c->negative_hits) /
		                       (double)asked
		             : 0;
	}
	case NUM_WAITS: /* many numbers: put_waits() */
		break;
	}
	return 0;
}

/* A histogram's lines: each bucket has all that was no longer than its bound. */
static void put_waits(struct buf *out, const char *name, const char *labels,
                      const struct db_pool_stats *st)
{
	char line[96], with_le[128];
	uint64_t sum = 0;

	(void)snprintf(line, sizeof(line), "%s_bucket", name);
	for (size_t i = 0; i <= DB_WAIT_BOUNDS; i++) {
		sum += st->waits[i];
		if (i < DB_WAIT_BOUNDS)
			(void)snprintf(with_le, sizeof(with_le), "%s,le=\"%g\"",
			               labels, db_wait_bounds[i]);
		else
			(void)snprintf(with_le, sizeof(with_le),
			               "%s,le=\"+Inf\"", labels);
		metrics_line(out, line, with_le, (double)sum);
	}
	(void)snprintf(line, sizeof(line), "%s_sum", name);
	metrics_line(out, line, labels, (double)st->wait_us / 1e6);
	(void)snprintf(line, sizeof(line), "%s_count", name);
	metrics_line(out, line, labels, (double)sum);
}

static void collect(void *arg, struct buf *out)
{
	struct figures *f = arg;
	struct service_figures now[FIGURES_SERVICES_MAX];
	GUARD(&f->lock);

	for (size_t s = 0; s < f->n; s++) {
		now[s] = (struct service_figures){0};
		f->served[s].fn(f->served[s].arg, &now[s]);
	}
	for (size_t i = 0; i < COUNTOF(table); i++) {
		const struct figure *row = &table[i];

		if (row->help)
			metrics_head(out, row->kind, row->name, row->help);
		for (size_t s = 0; s < f->n; s++) {
			char labels[96];

			(void)snprintf(labels, sizeof(labels),
			               "service=\"%s\"%s%s",
			               f->served[s].service,
			               *row->labels ? "," : "", row->labels);
			if (row->number == NUM_WAITS)
				put_waits(out, row->name, labels, &now[s].pool);
			else
				metrics_line(out, row->name, labels,
				             number_of(row, &now[s]));
		}
	}
}

void figures_pack(const struct service_figures *all, struct buf *out)
{
	size_t n = 0;

	for (size_t i = 0; i < COUNTOF(table); i++)
		n += table[i].number != NUM_WAITS;
	mp_map(out, n);
	for (size_t i = 0; i < COUNTOF(table); i++) {
		const struct figure *row = &table[i];
		bool labelled = *row->labels != '\0';
		char key[160];

		if (row->number == NUM_WAITS)
			continue;
		(void)snprintf(key, sizeof(key), "%s%s%s%s", row->name,
		               labelled ? "{" : "", row->labels,
		               labelled ? "}" : "");
		mp_kv_f64(out, key, number_of(row, all));
	}
}

struct figures *figures_new(struct metrics *m)
{
	static const char *const labels[] = {"service", "method", "outcome",
	                                     NULL};
	/* From an answer out of memory to an export. */
	static const double buckets[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025,
	                                 0.005,  0.01,    0.025,  0.05,  0.1,
	                                 0.25,   0.5,     1,      2.5,   5,
	                                 10,     30};
	AUTO(figures) f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	pthread_mutex_init(&f->lock, NULL);
	f->metrics = m;
	f->methods = metrics_family(m, METRIC_HISTOGRAM,
	                            "kae_method_duration_seconds",
	                            "Time a method's handler took; outcome is "
	                            "ok, refused (4xx) or failed (5xx).",
	                            labels, buckets, COUNTOF(buckets));
	if (!f->methods || !metrics_collector(m, collect, f))
		return NULL;
	return STEAL(f);
}

void figures_free(struct figures *f)
{
	if (!f)
		return;
	metrics_forget(f->metrics, collect, f);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

bool figures_add(struct figures *f, const char *service, figures_fn *fn,
                 void *arg)
{
	GUARD(&f->lock);

	if (f->n == FIGURES_SERVICES_MAX)
		return false;
	f->served[f->n++] = (struct served){service, fn, arg};
	return true;
}

void figures_remove(struct figures *f, const void *arg)
{
	GUARD(&f->lock);

	for (size_t i = 0; i < f->n; i++)
		if (f->served[i].arg == arg)
			f->served[i--] = f->served[--f->n];
}

struct metric *figures_method(struct figures *f, const char *service,
                              const char *method, const char *outcome)
{
	const char *const values[] = {service, method, outcome};

	return metric_series(f->methods, values);
}
