/* Limits and their periods, and what a provider may be asked. */
#include "svc-content/quota/limits.h"
#include "svc-content/quota/provider.h"
#include "tests/alloc_fault.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DAY_MS INT64_C(86400000)
#define NOON   INT64_C(1769860800000) /* 2026-01-31T12:00:00Z */

/* --- periods --------------------------------------------------------------------- */

static void a_month_is_a_month_of_the_calendar(void **state)
{
	static const struct {
		const char *day, *from, *end;
	} cases[] = {
		{"2026-01-31", "2026-01-01", "2026-02-01"},
		{"2026-02-01", "2026-02-01", "2026-03-01"},
		{"2024-02-29", "2024-02-01", "2024-03-01"},
		{"2026-12-31", "2026-12-01", "2027-01-01"},
		{"1970-01-01", "1970-01-01", "1970-02-01"},
	};
	char text[QUOTA_DATE_MAX];
	size_t seen = 0;

	(void)state;
	for (int64_t day = 0; day < 30000; day++) {
		struct str name = quota_date(day, text);

		for (size_t i = 0; i < COUNTOF(cases); i++) {
			char other[QUOTA_DATE_MAX];

			if (strcmp(cases[i].day, name.p) != 0)
				continue;
			seen++;
			assert_string_equal(
				quota_date(quota_period_start(QUOTA_MONTHLY,
			                                      day),
			                   other)
					.p,
				cases[i].from);
			assert_string_equal(
				quota_date(quota_period_end(QUOTA_MONTHLY, day),
			                   other)
					.p,
				cases[i].end);
		}
		assert_int_equal(quota_period_start(QUOTA_DAILY, day), day);
		assert_in_range(quota_period_end(QUOTA_MONTHLY, day), day + 1,
		                day + 31);
	}
	assert_int_equal(seen, COUNTOF(cases));
}

static void the_wait_for_the_next_period_is_rounded_up(void **state)
{
	(void)state;
	assert_int_equal(quota_reset_s(QUOTA_DAILY, NOON), 12 * 3600);
	assert_int_equal(quota_reset_s(QUOTA_MONTHLY, NOON), 12 * 3600);
	assert_int_equal(quota_reset_s(QUOTA_DAILY, NOON + DAY_MS / 2 - 1), 1);
	assert_int_equal(quota_reset_s(QUOTA_DAILY, NOON + DAY_MS / 2), 86400);
}

static void levels_begin_at_three_quarters_and_nine_tenths(void **state)
{
	static const struct {
		int64_t usage, limit;
		enum quota_level want;
	} cases[] = {
		{74, 100, QUOTA_FINE},
		{75, 100, QUOTA_WARNING},
		{89, 100, QUOTA_WARNING},
		{90, 100, QUOTA_CRITICAL},
		{500, 100, QUOTA_CRITICAL},
		{0, 1, QUOTA_FINE},
		{1, 1, QUOTA_CRITICAL},
		{2, 3, QUOTA_FINE},
		{INT64_MAX, 0, QUOTA_FINE}, /* no limit */
		{INT64_MAX, INT64_C(1000000000000), QUOTA_CRITICAL},
		{-5, 100, QUOTA_FINE},
		{749999999999, INT64_C(1000000000000), QUOTA_FINE},
		{750000000000, INT64_C(1000000000000), QUOTA_WARNING},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_int_equal(quota_level(cases[i].usage, cases[i].limit),
		                 cases[i].want);
	assert_true(quota_percentage(1, 3) == 33.33);
	assert_true(quota_percentage(1, 0) == 0);
}

static void dollars_have_four_decimals(void **state)
{
	(void)state;
	assert_true(quota_dollars(0) == 0);
	assert_true(quota_dollars(49) == 0);
	assert_true(quota_dollars(50) == 0.0001);
	assert_true(quota_dollars(1234567) == 1.2346);
}

static void requests_are_bounded_only_where_they_are_counted(void **state)
{
	struct settings conf = {.quota_basic_rpd = 5,
	                        .quota_basic_tpd = 6,
	                        .quota_basic_tpmonth = 7};
	struct quota_limits l;

	(void)state;
	quota_limits_read(&conf, &l);
	assert_int_equal(l.of[TIER_BASIC][QUOTA_REQUESTS_DAY], 0);
	assert_int_equal(l.of[TIER_BASIC][QUOTA_TOKENS_DAY], 6);
	assert_int_equal(l.of[TIER_BASIC][QUOTA_TOKENS_MONTH], 7);
	conf.rate_limit_enabled = true;
	quota_limits_read(&conf, &l);
	assert_int_equal(l.of[TIER_BASIC][QUOTA_REQUESTS_DAY], 5);
}

/* --- providers ------------------------------------------------------------------------ */

static void settings_say_and_gemini_has_limits_of_its_own(void **state)
{
	struct settings conf = {.quota_provider_safety = 80};
	struct provider_limits l = provider_limits_of(&conf, true);

	(void)state;
	assert_int_equal(l.rpm, 12);
	assert_int_equal(l.rpd, 1200);
	assert_int_equal(l.tpm, 800000);
	assert_int_equal(l.tpd, 40000000);
	l = provider_limits_of(&conf, false);
	assert_int_equal(l.rpm | l.rpd | l.tpm | l.tpd, 0);
	conf.quota_provider_rpm = 1;
	conf.quota_provider_tpd = 1000000000000;
	l = provider_limits_of(&conf, false);
	assert_int_equal(l.rpm, 1);
	assert_int_equal(l.tpd, 800000000000);
}

static void no_sixty_seconds_have_more_than_the_limit(void **state)
{
	const struct provider_limits limits = {.rpm = 3};
	AUTO(provider) p = provider_new(&limits, 1);
	int64_t taken[600];
	size_t n = 0;

	(void)state;
	for (int64_t ms = 0; ms < 600000; ms += 1700) {
		struct provider_take t;

		if (provider_take(p, 0, 0, NOON + ms, &t))
			taken[n++] = ms;
		else
			assert_false(t.by_tokens);
	}
	assert_in_range(n, 27, 33);
	for (size_t i = 3; i < n; i++)
		assert_true(taken[i] - taken[i - 3] > 60000);
}

static void tokens_are_reserved_and_corrected(void **state)
{
	const struct provider_limits limits = {.tpm = 1000, .tpd = 1500};
	AUTO(provider) p = provider_new(&limits, 1);
	struct provider_take a, b;
	struct provider_usage u;

	(void)state;
	assert_true(provider_take(p, 0, 900, NOON, &a));
	assert_false(provider_take(p, 0, 200, NOON, &b));
	assert_true(b.by_tokens);
	provider_settle(p, &a, 100);
	assert_true(provider_take(p, 0, 900, NOON, &b));
	provider_settle(p, &b, 1300);
	provider_usage(p, 0, NOON, &u);
	assert_int_equal(u.tokens_minute, 1400);
	assert_int_equal(u.requests_day, 2);
	/* The minute is over, and the day is not. */
	assert_false(provider_take(p, 0, 101, NOON + 120000, &a));
	assert_true(provider_take(p, 0, 100, NOON + 120000, &a));
	assert_false(provider_take(p, 0, 1, NOON + 120000, &b));
	/* What comes back after midnight is of no day any more. */
	assert_true(provider_take(p, 0, 1000, NOON + DAY_MS, &b));
	provider_settle(p, &a, 0);
	provider_usage(p, 0, NOON + DAY_MS, &u);
	assert_int_equal(u.tokens_day, 1000);
	assert_int_equal(u.tokens_minute, 1000);
}

static void numbers_of_any_size_and_providers_of_none_are_taken(void **state)
{
	const struct provider_limits limits = {.tpd = UINT64_MAX - 1};
	AUTO(provider) p = provider_new(&limits, 1);
	AUTO(provider) none = provider_new(NULL, 0);
	struct provider_take t;
	struct provider_usage u;

	(void)state;
	assert_true(provider_take(p, 0, UINT64_MAX - 1, NOON, &t));
	assert_false(provider_take(p, 0, 1, NOON, &t));
	t.tokens = UINT64_MAX;
	provider_settle(p, &t, UINT64_MAX);
	provider_usage(p, 0, NOON, &u);
	assert_true(u.tokens_day == UINT64_MAX);
	assert_true(provider_take(p, 7, 1, NOON, &t));
	provider_settle(p, &t, 1);
	assert_true(provider_take(none, 0, 1, NOON, &t));
	provider_usage(none, 0, NOON, &u);
	assert_int_equal(u.requests_day, 0);
}

static struct provider_quota *shared;
static _Atomic unsigned got;

static void *take_many(void *arg)
{
	struct provider_take t;

	(void)arg;
	for (unsigned i = 0; i < 1000; i++)
		if (provider_take(shared, 0, 1, NOON, &t))
			atomic_fetch_add(&got, 1);
	return NULL;
}

static void threads_together_take_no_more_than_there_is(void **state)
{
	const struct provider_limits limits = {.rpm = 1234};
	pthread_t th[8];

	(void)state;
	shared = provider_new(&limits, 1);
	assert_non_null(shared);
	for (size_t i = 0; i < COUNTOF(th); i++)
		assert_int_equal(pthread_create(&th[i], NULL, take_many, NULL),
		                 0);
	for (size_t i = 0; i < COUNTOF(th); i++)
		assert_int_equal(pthread_join(th[i], NULL), 0);
	assert_int_equal(got, 1234);
	provider_free(shared);
}

static void without_memory_there_is_none(void **state)
{
	const struct provider_limits limits = {.rpm = 1};

	(void)state;
	alloc_fault_arm(1);
	assert_null(provider_new(&limits, 1));
	assert_true(alloc_fault_disarm());
	provider_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_month_is_a_month_of_the_calendar),
		cmocka_unit_test(the_wait_for_the_next_period_is_rounded_up),
		cmocka_unit_test(
			levels_begin_at_three_quarters_and_nine_tenths),
		cmocka_unit_test(dollars_have_four_decimals),
		cmocka_unit_test(
			requests_are_bounded_only_where_they_are_counted),
		cmocka_unit_test(settings_say_and_gemini_has_limits_of_its_own),
		cmocka_unit_test(no_sixty_seconds_have_more_than_the_limit),
		cmocka_unit_test(tokens_are_reserved_and_corrected),
		cmocka_unit_test(
			numbers_of_any_size_and_providers_of_none_are_taken),
		cmocka_unit_test(threads_together_take_no_more_than_there_is),
		cmocka_unit_test(without_memory_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
