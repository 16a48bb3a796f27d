#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/obs/metrics.h"
#include "tests/alloc_fault.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const one_label[] = {"path", NULL};

static void shows(struct metrics *m, const char *want)
{
	AUTO_BUF out = {0};

	metrics_render(m, &out);
	buf_char(&out, '\0');
	assert_string_equal(out.p, want);
}

static void counters_and_gauges_are_printed_with_their_labels(void **state)
{
	static const char *const labels[] = {"method", "path", NULL};
	static const char *const values[] = {"GET", "/x"};
	AUTO(metrics) m = metrics_new();
	struct metric_family *c = metrics_family(m, METRIC_COUNTER, "hits",
	                                         "Hits.", labels, NULL, 0);
	struct metric_family *g =
		metrics_family(m, METRIC_GAUGE, "open", "Open.", NULL, NULL, 0);
	struct metric *hits = metric_series(c, values);
	struct metric *open = metric_series(g, NULL);

	(void)state;
	metric_add(hits, 1);
	metric_add(hits, 2);
	metric_set(open, 7.5);
	metric_add(open, -1);
	shows(m, "# HELP hits Hits.\n# TYPE hits counter\n"
	         "hits{method=\"GET\",path=\"/x\"} 3\n"
	         "# HELP open Open.\n# TYPE open gauge\nopen 6.5\n");
}

static void a_histogram_counts_what_lies_on_or_below_a_bound(void **state)
{
	static const double bounds[] = {0.1, 1};
	static const char *const values[] = {"/x"};
	AUTO(metrics) m = metrics_new();
	struct metric *s =
		metric_series(metrics_family(m, METRIC_HISTOGRAM, "t", "T.",
	                                     one_label, bounds, 2),
	                      values);

	(void)state;
	metric_observe(s, 0.1);
	metric_observe(s, 0.5);
	metric_observe(s, 1);
	metric_observe(s, 2);
	metric_observe(s, (double)NAN);
	shows(m, "# HELP t T.\n# TYPE t histogram\n"
	         "t_bucket{path=\"/x\",le=\"0.1\"} 1\n"
	         "t_bucket{path=\"/x\",le=\"1\"} 3\n"
	         "t_bucket{path=\"/x\",le=\"+Inf\"} 4\n"
	         "t_sum{path=\"/x\"} 3.6\nt_count{path=\"/x\"} 4\n");
}

static void a_histogram_without_labels_has_le_only(void **state)
{
	static const double bounds[] = {1};
	AUTO(metrics) m = metrics_new();
	struct metric *s =
		metric_series(metrics_family(m, METRIC_HISTOGRAM, "t", "T.",
	                                     NULL, bounds, 1),
	                      NULL);

	(void)state;
	metric_observe(s, 3);
	shows(m, "# HELP t T.\n# TYPE t histogram\n"
	         "t_bucket{le=\"1\"} 0\nt_bucket{le=\"+Inf\"} 1\n"
	         "t_sum 3\nt_count 1\n");
}

static void the_same_labels_are_the_same_series(void **state)
{
	static const char *const a[] = {"/a"}, *const b[] = {"/b"};
	AUTO(metrics) m = metrics_new();
	struct metric_family *f = metrics_family(m, METRIC_COUNTER, "c", "C.",
	                                         one_label, NULL, 0);

	(void)state;
	assert_ptr_equal(metric_series(f, a), metric_series(f, a));
	assert_ptr_not_equal(metric_series(f, a), metric_series(f, b));
	assert_ptr_equal(metrics_family(m, METRIC_COUNTER, "c", "C.", one_label,
	                                NULL, 0),
	                 f);
}

static void hostile_label_values_forge_no_line(void **state)
{
	static const char *const values[] = {"a\"} 1\nforged 2\\\xff"};
	AUTO(metrics) m = metrics_new();

	(void)state;
	metric_add(metric_series(metrics_family(m, METRIC_COUNTER, "c",
	                                        "two\nlines \\", one_label,
	                                        NULL, 0),
	                         values),
	           1);
	shows(m, "# HELP c two\\nlines \\\\\n# TYPE c counter\n"
	         "c{path=\"a\\\"} 1\\nforged 2\\\\\xef\xbf\xbd\"} 1\n");
}

static void long_values_are_cut_and_null_is_empty(void **state)
{
	static const char *const none[] = {NULL};
	char text[5000];
	const char *values[] = {text};
	AUTO(metrics) m = metrics_new();
	AUTO_BUF out = {0};
	struct metric_family *f = metrics_family(m, METRIC_COUNTER, "c", "C.",
	                                         one_label, NULL, 0);

	(void)state;
	memset(text, '"', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	metric_add(metric_series(f, values), 1);
	metric_add(metric_series(f, none), 1);
	metrics_render(m, &out);
	assert_true(out.n < 400);
	buf_char(&out, '\0');
	assert_non_null(strstr(out.p, "c{path=\"\"} 1\n"));
}

static void beyond_the_bound_all_share_other(void **state)
{
	AUTO(metrics) m = metrics_new();
	struct metric_family *f = metrics_family(m, METRIC_COUNTER, "c", "C.",
	                                         one_label, NULL, 0);
	struct metric *other = NULL;
	AUTO_BUF out = {0};

	(void)state;
	for (unsigned i = 0; i < METRICS_SERIES_MAX + 50; i++) {
		char text[16];
		const char *values[] = {text};
		struct metric *s;

		(void)snprintf(text, sizeof(text), "%u", i);
		s = metric_series(f, values);
		metric_add(s, 1);
		if (i == METRICS_SERIES_MAX)
			other = s;
		if (i >= METRICS_SERIES_MAX)
			assert_ptr_equal(s, other);
	}
	metrics_render(m, &out);
	buf_char(&out, '\0');
	assert_non_null(strstr(out.p, "c{path=\"other\"} 50\n"));
	assert_non_null(strstr(out.p, "c{path=\"1023\"} 1\n"));
	assert_null(strstr(out.p, "c{path=\"1024\"}"));
}

static void numbers_are_printed_as_prometheus_reads_them(void **state)
{
	static const struct {
		double v;
		const char *want;
	} cases[] = {
		{0, "x 0\n"},
		{-1, "x -1\n"},
		{0.1, "x 0.1\n"},
		{1e15, "x 1000000000000000\n"},
		{1e300, "x 1e+300\n"},
		{(double)NAN, "x NaN\n"},
		{(double)INFINITY, "x +Inf\n"},
		{(double)-INFINITY, "x -Inf\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF out = {0};

		metrics_line(&out, "x", "", cases[i].v);
		assert_true(str_eq(buf_view(&out), str_from(cases[i].want)));
	}
}

static void collect(void *arg, struct buf *out)
{
	metrics_head(out, METRIC_GAUGE, "pool", "Pool.");
	metrics_line(out, "pool", "a=\"b\"", *(const double *)arg);
}

static void collectors_are_called_until_they_are_forgotten(void **state)
{
	AUTO(metrics) m = metrics_new();
	double one = 1, two = 2;

	(void)state;
	assert_true(metrics_collector(m, collect, &one));
	assert_true(metrics_collector(m, collect, &two));
	metrics_forget(m, collect, &one);
	shows(m, "# HELP pool Pool.\n# TYPE pool gauge\npool{a=\"b\"} 2\n");
	metrics_forget(m, collect, &two);
	metrics_forget(m, collect, &two);
	shows(m, "");
}

static void collectors_are_bounded(void **state)
{
	AUTO(metrics) m = metrics_new();
	double v = 0;

	(void)state;
	for (int i = 0; i < 64; i++)
		assert_true(metrics_collector(m, collect, &v));
	assert_false(metrics_collector(m, collect, &v));
}

#define THREADS 4
#define ROUNDS  2000

static void *busy(void *arg)
{
	struct metric_family *f = arg;
	char text[16];
	const char *values[] = {text};

	for (unsigned i = 0; i < ROUNDS; i++) {
		(void)snprintf(text, sizeof(text), "%u", i % 50);
		metric_observe(metric_series(f, values), 1);
	}
	return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
	static const double bounds[] = {1};
	AUTO(metrics) m = metrics_new();
	struct metric_family *f = metrics_family(m, METRIC_HISTOGRAM, "t", "T.",
	                                         one_label, bounds, 1);
	pthread_t threads[THREADS];
	const char *line;
	AUTO_BUF out = {0};
	double sum = 0;

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, busy, f), 0);
	metrics_render(m, &out); /* a scrape meanwhile */
	for (size_t i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	buf_clear(&out);
	metrics_render(m, &out);
	buf_char(&out, '\0');
	for (line = strstr(out.p, "t_sum"); line;
	     line = strstr(line + 1, "t_sum"))
		sum += strtod(strchr(line, ' '), NULL);
	assert_true(sum == THREADS * ROUNDS);
}

static void without_memory_a_series_is_other(void **state)
{
	static const char *const values[] = {"/x"};
	static const double bounds[] = {1};
	bool more = true;

	(void)state;
	for (unsigned nth = 1; more; nth++) {
		struct metric_family *f = NULL;
		struct metric *s = NULL;
		struct metrics *m;

		alloc_fault_arm(nth);
		m = metrics_new();
		if (m)
			f = metrics_family(m, METRIC_HISTOGRAM, "t", "T.",
			                   one_label, bounds, 1);
		s = metric_series(f, values);
		more = alloc_fault_disarm();
		assert_int_equal(f != NULL, s != NULL);
		metric_observe(s, 1); /* NULL is fine */
		metrics_free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			counters_and_gauges_are_printed_with_their_labels),
		cmocka_unit_test(
			a_histogram_counts_what_lies_on_or_below_a_bound),
		cmocka_unit_test(a_histogram_without_labels_has_le_only),
		cmocka_unit_test(the_same_labels_are_the_same_series),
		cmocka_unit_test(hostile_label_values_forge_no_line),
		cmocka_unit_test(long_values_are_cut_and_null_is_empty),
		cmocka_unit_test(beyond_the_bound_all_share_other),
		cmocka_unit_test(numbers_are_printed_as_prometheus_reads_them),
		cmocka_unit_test(
			collectors_are_called_until_they_are_forgotten),
		cmocka_unit_test(collectors_are_bounded),
		cmocka_unit_test(nothing_is_lost_between_threads),
		cmocka_unit_test(without_memory_a_series_is_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
