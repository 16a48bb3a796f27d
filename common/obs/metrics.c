#include "common/obs/metrics.h"

#include "common/base/guard.h"
#include "common/base/utf8.h"
#include "common/codec/json.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define COLLECTORS_MAX  64
#define VALUE_MAX       128 /* bytes of a label value; more is cut */
#define LABELS_TEXT_MAX 2048
#define CHAINS          64

/* Doubles are added to as bits, by compare and exchange. */
struct metric {
	const struct metric_family *family;
	struct metric *next_made, *next_in_chain;
	char *labels; /* as printed: a="b",c="d" */
	_Atomic bool used;
	_Atomic uint64_t value;    /* of a histogram: the sum */
	_Atomic uint64_t counts[]; /* histograms: one for each bucket, +Inf */
};

struct metric_family {
	struct metric_family *next;
	enum metric_kind kind;
	const char *name, *help;
	const char *labels[METRICS_LABELS_MAX];
	size_t labels_n;
	double *buckets;
	size_t buckets_n;

	pthread_mutex_t lock; /* of what follows */
	struct metric *first, *last, *other;
	struct metric *chains[CHAINS];
	size_t series_n;
};

struct metrics {
	pthread_mutex_t lock; /* of the list of families, which only grows */
	struct metric_family *first, *last;
	/* Held while collectors run, so that forgetting one waits for it. */
	pthread_mutex_t collecting;
	struct {
		metrics_collect_fn *fn;
		void *arg;
	} collectors[COLLECTORS_MAX];
	size_t collectors_n;
};

const double metrics_latency_buckets[] = {0.005, 0.01, 0.025, 0.05, 0.075,
                                          0.1,   0.25, 0.5,   0.75, 1,
                                          2.5,   5,    7.5,   10};
const size_t metrics_latency_buckets_n = COUNTOF(metrics_latency_buckets);

/* --- labels ---------------------------------------------------------------- */

struct text {
	char p[LABELS_TEXT_MAX];
	size_t n;
};

_Static_assert(METRICS_LABELS_MAX *(3 * VALUE_MAX + 64) < LABELS_TEXT_MAX,
               "the longest labels fit");

static void put(struct text *t, const char *p, size_t n)
{
	if (n > sizeof(t->p) - 1 - t->n)
		return;
	memcpy(t->p + t->n, p, n);
	t->n += n;
}

/* The format is UTF-8, with these three escaped. */
static void put_value(struct text *t, struct str v)
{
	size_t at = 0, from;
	uint32_t cp;

	while (at < v.n && at < VALUE_MAX) {
		from = at;
		if (!utf8_next(v, &at, &cp)) {
			put(t, "\xef\xbf\xbd", 3);
			at++;
		} else if (cp == '\n') {
			put(t, "\\n", 2);
		} else if (cp == '"' || cp == '\\') {
			put(t, "\\", 1);
			put(t, v.p + from, 1);
		} else {
			put(t, v.p + from, at - from);
		}
	}
}

static void put_labels(struct text *t, const struct metric_family *f,
                       const char *const *values)
{
	t->n = 0;
	for (size_t i = 0; i < f->labels_n; i++) {
		if (i)
			put(t, ",", 1);
		put(t, f->labels[i], strlen(f->labels[i]));
		put(t, "=\"", 2);
		put_value(t, str_from(values[i]));
		put(t, "\"", 1);
	}
	t->p[t->n] = '\0';
}

/* FNV-1a: series are few and bounded, so nothing is won by colliding. */
static size_t chain_of(const char *labels)
{
	uint32_t h = 2166136261U;

	for (; *labels; labels++)
		h = (h ^ (unsigned char)*labels) * 16777619U;
	return h % CHAINS;
}

/* --- families and series ------------------------------------------------------ */

static void series_free(struct metric *s)
{
	free(s->labels);
	free(s);
}

static struct metric *series_new(const struct metric_family *f,
                                 const struct text *labels)
{
	size_t counts = f->kind == METRIC_HISTOGRAM ? f->buckets_n + 1 : 0;
	struct metric *s =
		calloc(1, sizeof(*s) + counts * sizeof(s->counts[0]));

	if (!s)
		return NULL;
	s->family = f;
	s->labels = malloc(labels->n + 1);
	if (!s->labels) {
		series_free(s);
		return NULL;
	}
	memcpy(s->labels, labels->p, labels->n + 1);
	return s;
}

static void link_series(struct metric_family *f, struct metric *s)
{
	size_t chain = chain_of(s->labels);

	s->next_in_chain = f->chains[chain];
	f->chains[chain] = s;
	if (f->last)
		f->last->next_made = s;
	else
		f->first = s;
	f->last = s;
}

static void family_free(struct metric_family *f)
{
	while (f->first) {
		struct metric *s = f->first;

		f->first = s->next_made;
		series_free(s);
	}
	(void)pthread_mutex_destroy(&f->lock);
	free(f->buckets);
	free(f);
}
AUTO_TYPE(family, struct metric_family *, family_free)

/*
 * The series that all share when there are too many, or no memory for one more,
 * is made with the family: so metric_series() always has an answer.
 */
static bool make_other(struct metric_family *f)
{
	const char *others[METRICS_LABELS_MAX];
	struct text labels;

	for (size_t i = 0; i < COUNTOF(others); i++)
		others[i] = "other";
	put_labels(&labels, f, others);
	f->other = series_new(f, &labels);
	if (f->other)
		link_series(f, f->other);
	return f->other != NULL;
}

static struct metric_family *family_new(enum metric_kind kind, const char *name,
                                        const char *help,
                                        const char *const *labels,
                                        const double *buckets, size_t n)
{
	AUTO(family) f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->kind = kind;
	f->name = name;
	f->help = help;
	(void)pthread_mutex_init(&f->lock, NULL);
	for (; labels && labels[f->labels_n]; f->labels_n++) {
		assert(f->labels_n < METRICS_LABELS_MAX);
		assert(strlen(labels[f->labels_n]) < 48);
		f->labels[f->labels_n] = labels[f->labels_n];
	}
	if (kind == METRIC_HISTOGRAM) {
		f->buckets = malloc((n + 1) * sizeof(*buckets));
		if (!f->buckets)
			return NULL;
		for (size_t i = 0; i < n; i++)
			f->buckets[i] = buckets[i];
		f->buckets_n = n;
	}
	return make_other(f) ? STEAL(f) : NULL;
}

struct metric_family *metrics_family(struct metrics *m, enum metric_kind kind,
                                     const char *name, const char *help,
                                     const char *const *labels,
                                     const double *buckets, size_t buckets_n)
{
	struct metric_family *f;
	GUARD(&m->lock);

	for (f = m->first; f; f = f->next) {
		if (strcmp(f->name, name) == 0) {
			assert(f->kind == kind);
			return f;
		}
	}
	f = family_new(kind, name, help, labels, buckets, buckets_n);
	if (!f)
		return NULL;
	if (m->last)
		m->last->next = f;
	else
		m->first = f;
	m->last = f;
	return f;
}

static struct metric *find(const struct metric_family *f, const char *labels)
{
	struct metric *s = f->chains[chain_of(labels)];

	while (s && strcmp(s->labels, labels) != 0)
		s = s->next_in_chain;
	return s;
}

static struct metric *make_series(struct metric_family *f,
                                  const struct text *labels)
{
	struct metric *s = NULL;

	if (f->series_n < METRICS_SERIES_MAX)
		s = series_new(f, labels);
	if (!s)
		return f->other;
	link_series(f, s);
	f->series_n++;
	return s;
}

struct metric *metric_series(struct metric_family *f, const char *const *values)
{
	struct metric *s = NULL;
	struct text labels;

	if (!f)
		return NULL;
	put_labels(&labels, f, values);
	{
		GUARD(&f->lock);

		s = find(f, labels.p);
		if (!s)
			s = make_series(f, &labels);
	}
	atomic_store(&s->used, true);
	return s;
}

/* --- values ---------------------------------------------------------------- */

static double value_of(const _Atomic uint64_t *bits)
{
	uint64_t now = atomic_load_explicit(bits, memory_order_relaxed);
	double v;

	memcpy(&v, &now, sizeof(v));
	return v;
}

static uint64_t bits_of(double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

static void add(_Atomic uint64_t *bits, double by)
{
	uint64_t old = atomic_load_explicit(bits, memory_order_relaxed);
	double v;

	do {
		memcpy(&v, &old, sizeof(v));
	} while (!atomic_compare_exchange_weak_explicit(bits, &old,
	                                                bits_of(v + by),
	                                                memory_order_relaxed,
	                                                memory_order_relaxed));
}

void metric_add(struct metric *s, double by)
{
	if (!s || isnan(by))
		return;
	assert(s->family->kind != METRIC_HISTOGRAM);
	/* A counter that falls reads as a restart. */
	assert(s->family->kind == METRIC_GAUGE || by >= 0);
	add(&s->value, by);
}

void metric_set(struct metric *s, double v)
{
	if (!s)
		return;
	assert(s->family->kind == METRIC_GAUGE);
	atomic_store_explicit(&s->value, bits_of(v), memory_order_relaxed);
}

void metric_observe(struct metric *s, double v)
{
	size_t i = 0;

	if (!s || isnan(v))
		return;
	assert(s->family->kind == METRIC_HISTOGRAM);
	while (i < s->family->buckets_n && v > s->family->buckets[i])
		i++;
	atomic_fetch_add_explicit(&s->counts[i], 1, memory_order_relaxed);
	add(&s->value, v);
}

void metric_counts(const struct metric *s, uint64_t *counts, size_t counts_n,
                   double *sum)
{
	if (!s)
		return;
	assert(s->family->kind == METRIC_HISTOGRAM);
	assert(counts_n == s->family->buckets_n + 1);
	for (size_t i = 0; i < counts_n; i++)
		counts[i] += atomic_load_explicit(&s->counts[i],
		                                  memory_order_relaxed);
	*sum += value_of(&s->value);
}

/* --- rendering --------------------------------------------------------------- */

static void put_number(struct buf *out, double v)
{
	if (isnan(v))
		buf_str(out, STR("NaN"));
	else if (isinf(v))
		buf_str(out, v > 0 ? STR("+Inf") : STR("-Inf"));
	else if (v == trunc(v) && fabs(v) < 0x1p53)
		buf_printf(out, "%.0f", v);
	else
		json_add_f64(out, v);
}

void metrics_head(struct buf *out, enum metric_kind kind, const char *name,
                  const char *help)
{
	static const char *const kinds[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
	};

	buf_printf(out, "# HELP %s ", name);
	for (; *help; help++) {
		if (*help == '\n')
			buf_str(out, STR("\\n"));
		else if (*help == '\\')
			buf_str(out, STR("\\\\"));
		else
			buf_char(out, *help);
	}
	buf_printf(out, "\n# TYPE %s %s\n", name, kinds[kind]);
}

void metrics_line(struct buf *out, const char *name, const char *labels,
                  double v)
{
	buf_str(out, str_from(name));
	if (*labels) {
		buf_char(out, '{');
		buf_str(out, str_from(labels));
		buf_char(out, '}');
	}
	buf_char(out, ' ');
	put_number(out, v);
	buf_char(out, '\n');
}

static void put_bucket(struct buf *out, const struct metric *s, double bound,
                       uint64_t count)
{
	buf_printf(out, "%s_bucket{%s%sle=\"", s->family->name, s->labels,
	           *s->labels ? "," : "");
	put_number(out, bound);
	buf_printf(out, "\"} %llu\n", (unsigned long long)count);
}

static void put_histogram(struct buf *out, const struct metric *s)
{
	const struct metric_family *f = s->family;
	double sum = value_of(&s->value);
	uint64_t count = 0;

	for (size_t i = 0; i <= f->buckets_n; i++) {
		count += atomic_load_explicit(&s->counts[i],
		                              memory_order_relaxed);
		put_bucket(out, s,
		           i < f->buckets_n ? f->buckets[i] : (double)INFINITY,
		           count);
	}
	buf_printf(out, "%s_sum%s%s%s ", f->name, *s->labels ? "{" : "",
	           s->labels, *s->labels ? "}" : "");
	put_number(out, sum);
	buf_printf(out, "\n%s_count%s%s%s %llu\n", f->name,
	           *s->labels ? "{" : "", s->labels, *s->labels ? "}" : "",
	           (unsigned long long)count);
}

static void put_family(struct metric_family *f, struct buf *out)
{
	GUARD(&f->lock);

	metrics_head(out, f->kind, f->name, f->help);
	for (const struct metric *s = f->first; s; s = s->next_made) {
		if (!atomic_load(&s->used))
			continue;
		if (f->kind == METRIC_HISTOGRAM)
			put_histogram(out, s);
		else
			metrics_line(out, f->name, s->labels,
			             value_of(&s->value));
	}
}

void metrics_render(struct metrics *m, struct buf *out)
{
	struct metric_family *f, *last;

	{
		GUARD(&m->lock);

		f = m->first;
		last = m->last;
	}
	/* Families are never taken away, so the list may be walked so far. */
	for (; f; f = f == last ? NULL : f->next)
		put_family(f, out);
	GUARD(&m->collecting);

	for (size_t i = 0; i < m->collectors_n; i++)
		m->collectors[i].fn(m->collectors[i].arg, out);
}

bool metrics_collector(struct metrics *m, metrics_collect_fn *fn, void *arg)
{
	GUARD(&m->collecting);

	if (m->collectors_n == COLLECTORS_MAX)
		return false;
	m->collectors[m->collectors_n].fn = fn;
	m->collectors[m->collectors_n++].arg = arg;
	return true;
}

void metrics_forget(struct metrics *m, metrics_collect_fn *fn, void *arg)
{
	size_t kept = 0;
	GUARD(&m->collecting);

	for (size_t i = 0; i < m->collectors_n; i++)
		if (m->collectors[i].fn != fn || m->collectors[i].arg != arg)
			m->collectors[kept++] = m->collectors[i];
	m->collectors_n = kept;
}

struct metrics *metrics_new(void)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	(void)pthread_mutex_init(&m->lock, NULL);
	(void)pthread_mutex_init(&m->collecting, NULL);
	return m;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	while (m->first) {
		struct metric_family *f = m->first;

		m->first = f->next;
		family_free(f);
	}
	(void)pthread_mutex_destroy(&m->lock);
	(void)pthread_mutex_destroy(&m->collecting);
	free(m);
}
