/* How a learner stands: the formulas, without a database. */
#include "svc-content/standing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW  INT64_C(1767268800000) /* 2026-01-01T12:00:00Z, a Thursday */
#define MIN  INT64_C(60000)
#define HOUR (60 * MIN)
#define DAY  (24 * HOUR)

static struct standing of(const struct learned *v, size_t n, int64_t days)
{
	struct arena *a = arena_new((size_t)1 << 20);
	struct standing st;

	assert_non_null(a);
	assert_int_equal(standing_make(a, v, n, NOW, days, &st), OK);
	arena_free(a);
	return st;
}

static void nobody_has_zeros_and_no_best_time(void **state)
{
	struct standing st = of(NULL, 0, 7);

	(void)state;
	assert_float_equal(st.hours, 0, 0);
	assert_float_equal(st.average, 0, 0);
	assert_float_equal(st.readiness, 0, 0);
	assert_int_equal(st.sessions, 0);
	assert_int_equal(st.gaps, 0);
	assert_int_equal(st.best_hour, -1);
	assert_int_equal(st.best_day, -1);
	assert_string_equal(standing_trend(st.trend), "stable");
	assert_string_equal(standing_word(st.readiness),
	                    "Needs More Preparation");
}

static void who_gets_better_is_improving(void **state)
{
	const struct learned up[] = {{NOW - 3 * HOUR, 0, 1, 20},
	                             {NOW - 2 * HOUR, 0, 1, 50},
	                             {NOW - HOUR, 0, 1, 80}};
	const struct learned down[] = {{NOW - 3 * HOUR, 0, 1, 80},
	                               {NOW - 2 * HOUR, 0, 1, 50},
	                               {NOW - HOUR, 0, 1, 20}};
	const struct learned one[] = {{NOW - HOUR, 0, 1, 80}};

	(void)state;
	assert_float_equal(of(up, 3, 7).trend, 30, 1e-9);
	assert_float_equal(of(down, 3, 7).trend, -30, 1e-9);
	assert_string_equal(standing_trend(of(up, 3, 7).trend), "improving");
	assert_string_equal(standing_trend(of(down, 3, 7).trend), "declining");
	assert_string_equal(standing_trend(of(one, 1, 7).trend), "stable");
}

static void readiness_is_the_weighted_sum(void **state)
{
	/* average 80, mastery 80, deviation 0, slope 0: 0.9 of it and 0.2 more */
	const struct learned flat[] = {{NOW - 2 * HOUR, 0, 1, 80},
	                               {NOW - HOUR, 0, 2, 80}};
	/* average 75, slope 10, deviation 7.0711; mastery 0.7*70 + 0.3*80 = 73 */
	const struct learned up[] = {{NOW - 2 * HOUR, 0, 1, 70},
	                             {NOW - HOUR, 0, 1, 80}};
	/* a single quiz has no consistency: what is left weighs as much more */
	const struct learned one[] = {{NOW - HOUR, 0, 1, 100}};
	const struct learned old[] = {{NOW - 31 * DAY, 0, 1, 100}};

	(void)state;
	assert_float_equal(of(flat, 2, 7).readiness, 76, 0.051);
	assert_float_equal(of(up, 2, 7).readiness, 80.5,
	                   0.051); /* 30 + 21.9 + 18.586 + 10 */
	assert_float_equal(of(one, 1, 7).readiness, 87.5, 0.051);
	assert_float_equal(of(old, 1, 365).readiness, 0, 0);
	assert_string_equal(standing_word(85), "Ready");
	assert_string_equal(standing_word(84.9), "Almost Ready");
	assert_string_equal(standing_word(70), "Almost Ready");
	assert_string_equal(standing_word(69.9), "Needs More Preparation");
}

static void time_is_bounded_for_each_attempt(void **state)
{
	const struct learned v[] = {
		{NOW - 9 * HOUR, NOW - 9 * HOUR - 12 * MIN, 1, 50},
		{NOW - HOUR, NOW - 8 * HOUR, 1, 50}, /* lay open: 30 minutes */
		{NOW - 30 * MIN, 0, 1, 50},          /* a score: unknown */
		{NOW, NOW + HOUR, 1, 50},            /* a clock that jumped */
	};

	(void)state;
	assert_float_equal(of(v, 4, 7).hours, 0.7, 1e-9);
}

static void sessions_are_apart_by_half_an_hour(void **state)
{
	const struct learned v[] = {
		{NOW - 5 * HOUR, 0, 1, 50},
		{NOW - 5 * HOUR + 29 * MIN, 0, 1, 50},
		{NOW - 4 * HOUR, 0, 1, 50}, /* 31 minutes later */
		{NOW - 2 * HOUR, NOW - 2 * HOUR - 10 * MIN, 1, 50},
	};
	struct standing st = of(v, 4, 7);

	(void)state;
	assert_int_equal(st.sessions, 3);
	assert_string_equal(standing_day(st.best_day), "Thursday");
	assert_int_equal(st.best_hour, 7); /* of equals the earliest */
	assert_int_equal(of(v, 4, 365).sessions, 3);
}

static void only_the_days_asked_for_count(void **state)
{
	const struct learned v[] = {{NOW - 8 * DAY, 0, 1, 0},
	                            {NOW - DAY, 0, 1, 100}};

	(void)state;
	assert_float_equal(of(v, 2, 7).average, 100, 0);
	assert_float_equal(of(v, 2, 30).average, 50, 0);
	assert_int_equal(of(v, 2, 7).sessions, 1);
}

static void a_gap_is_a_subtopic_whose_last_quiz_was_poor(void **state)
{
	const struct learned v[] = {
		{NOW - 5 * HOUR, 0, 1, 10}, {NOW - 4 * HOUR, 0, 1, 70},
		{NOW - 3 * HOUR, 0, 2, 90}, {NOW - 2 * HOUR, 0, 2, 69.9},
		{NOW - HOUR, 0, 2, 60},     {NOW, 0, 3, 0}};

	(void)state;
	assert_int_equal(of(v, 6, 7).gaps, 2); /* not one for each quiz */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_has_zeros_and_no_best_time),
		cmocka_unit_test(who_gets_better_is_improving),
		cmocka_unit_test(readiness_is_the_weighted_sum),
		cmocka_unit_test(time_is_bounded_for_each_attempt),
		cmocka_unit_test(sessions_are_apart_by_half_an_hour),
		cmocka_unit_test(only_the_days_asked_for_count),
		cmocka_unit_test(a_gap_is_a_subtopic_whose_last_quiz_was_poor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
