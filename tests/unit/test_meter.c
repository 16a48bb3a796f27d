/* What the gateway counts, and how it is told. */
#include "gateway/meter.h"

#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void request(struct meter *m, const struct route *r, unsigned status,
                    uint64_t us)
{
	meter_begin(m, r, VERB_GET);
	meter_end(m, r, VERB_GET, status, status >= 500 ? ERR_BUSY : OK, us);
}

static void percentiles_lie_in_their_buckets_and_bounds_are_exact(void **state)
{
	AUTO(metrics) all = metrics_new();
	AUTO(meter) m = meter_new(all, "testing");
	struct meter_path p;

	(void)state;
	meter_path(m, routes[0].path, &p);
	assert_int_equal(p.calls, 0);
	assert_true(p.p99_ms == 0 && p.min_ms == 0);
	for (int i = 0; i < 98; i++)
		request(m, &routes[0], 200, 7000);
	request(m, &routes[0], 200, 400);
	request(m, &routes[0], 503, 12500000); /* past the last bound */
	meter_path(m, routes[0].path, &p);
	assert_int_equal(p.calls, 100);
	assert_true(p.min_ms == 0.4);
	assert_true(p.max_ms == 12500);
	assert_true(p.p50_ms > 5 && p.p50_ms <= 10);
	assert_true(p.p95_ms > 5 && p.p95_ms <= 10);
	assert_true(p.p99_ms >= p.p95_ms && p.p99_ms <= p.max_ms);
	assert_true(p.avg_ms > 131 && p.avg_ms < 132.5);
}

static void a_single_request_is_all_of_its_percentiles(void **state)
{
	AUTO(metrics) all = metrics_new();
	AUTO(meter) m = meter_new(all, "testing");
	struct meter_path p;

	(void)state;
	request(m, &routes[1], 200, 7000);
	meter_path(m, routes[1].path, &p);
	assert_true(p.p50_ms == 7 && p.p95_ms == 7 && p.p99_ms == 7);
}

static void add_up(void *arg, unsigned status, uint64_t n)
{
	uint64_t *seen = arg;

	assert_true(status < 600);
	seen[status] += n;
}

static void statuses_and_errors_are_summed(void **state)
{
	AUTO(metrics) all = metrics_new();
	AUTO(meter) m = meter_new(all, "testing");
	uint64_t seen[600] = {0};
	struct meter_sums s;

	(void)state;
	request(m, &routes[0], 200, 10);
	request(m, &routes[0], 200, 10);
	request(m, NULL, 404, 10);
	request(m, &routes[0], 503, 10);
	request(m, &routes[0], 299, 10); /* none that we know */
	meter_begin(m, &routes[0], VERB_GET);
	meter_sums(m, &s);
	assert_int_equal(s.requests, 5);
	assert_int_equal(s.errors, 1);
	assert_int_equal(s.errors_5min, 1);
	assert_int_equal(s.last_hour, 5);
	assert_int_equal(s.in_progress, 1);
	assert_int_equal(s.took_us, 50);
	assert_true(s.per_s > 0);
	meter_statuses(m, add_up, seen);
	assert_int_equal(seen[200], 2);
	assert_int_equal(seen[404], 1);
	assert_int_equal(seen[503], 1);
	assert_int_equal(seen[0], 1);
}

static void series_are_those_of_the_table(void **state)
{
	AUTO(metrics) all = metrics_new();
	AUTO(meter) m = meter_new(all, "testing");
	AUTO_BUF text = {0};

	(void)state;
	request(m, &routes[0], 200, 10);
	request(m, &routes[0], 503, 10);
	request(m, NULL, 404, 10);
	metrics_render(all, &text);
	buf_char(&text, '\0');
	assert_non_null(strstr(text.p, "endpoint=\"/\",status_class=\"5xx\""));
	assert_non_null(
		strstr(text.p, "endpoint=\"unmatched\",status_class=\"4xx\""));
	assert_non_null(strstr(text.p,
	                       "application_errors_total{endpoint=\"/\","
	                       "error_type=\"SERVICE_UNAVAILABLE\"} 1"));
}

static void without_metrics_or_memory_it_still_counts_or_is_not(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		AUTO(metrics) all = metrics_new();
		struct meter *m;

		alloc_fault_arm(n);
		m = meter_new(all, "testing");
		if (m)
			request(m, &routes[0], 503, 10);
		failed = alloc_fault_disarm();
		assert_true(m || failed);
		meter_free(m);
	}
	{
		AUTO(meter) m = meter_new(NULL, "testing");
		struct meter_sums s;

		request(m, &routes[0], 503, 10);
		meter_sums(m, &s);
		assert_int_equal(s.errors, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			percentiles_lie_in_their_buckets_and_bounds_are_exact),
		cmocka_unit_test(a_single_request_is_all_of_its_percentiles),
		cmocka_unit_test(statuses_and_errors_are_summed),
		cmocka_unit_test(series_are_those_of_the_table),
		cmocka_unit_test(
			without_metrics_or_memory_it_still_counts_or_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
