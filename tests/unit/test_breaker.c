#include "common/cache/breaker.h"

#include <setjmp.h> /* cmocka.h needs these three */
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void open_it(struct breaker *b, uint64_t now)
{
	for (unsigned i = 0; i < REMOTE_FAILURES; i++)
		(void)breaker_failed(b, BREAKER_PASSED, now, 0);
	assert_int_equal(b->state, BREAKER_OPEN);
}

static void failures_in_a_row_open_it_and_others_do_not(void **state)
{
	struct breaker b = {0};

	(void)state;
	for (unsigned i = 0; i < 3 * REMOTE_FAILURES; i++) {
		assert_false(breaker_failed(&b, BREAKER_PASSED, 1, 0));
		if (i % (REMOTE_FAILURES - 1) == REMOTE_FAILURES - 2)
			breaker_worked(&b, BREAKER_PASSED);
	}
	breaker_worked(&b, BREAKER_PASSED);
	for (unsigned i = 1; i < REMOTE_FAILURES; i++)
		assert_false(breaker_failed(&b, BREAKER_PASSED, 1, 0));
	assert_true(breaker_failed(&b, BREAKER_PASSED, 1, 0));
	assert_int_equal(breaker_ask(&b, 1), BREAKER_REFUSED);
}

static void after_its_time_one_probe_at_a_time_is_let_through(void **state)
{
	struct breaker b = {0};

	(void)state;
	open_it(&b, 1000);
	assert_int_equal(breaker_ask(&b, 1000 + BREAKER_FIRST_MS - 1),
	                 BREAKER_REFUSED);
	assert_int_equal(breaker_ask(&b, 1000 + BREAKER_FIRST_MS),
	                 BREAKER_PROBE);
	assert_int_equal(b.state, BREAKER_HALF_OPEN);
	assert_int_equal(breaker_ask(&b, 1000000), BREAKER_REFUSED);
	breaker_unsure(&b, BREAKER_PROBE);
	assert_int_equal(breaker_ask(&b, 1000000), BREAKER_PROBE);
}

static void a_probe_that_works_closes_it_and_one_that_fails_waits_longer(
	void **state)
{
	struct breaker b = {0};
	uint64_t now = 0, last = 0;

	(void)state;
	open_it(&b, now);
	for (int i = 0; i < 10; i++) {
		uint64_t wait = b.until_ms - now;

		assert_true(wait >= last && wait <= BREAKER_LAST_MS);
		last = wait;
		now = b.until_ms;
		assert_int_equal(breaker_ask(&b, now), BREAKER_PROBE);
		assert_true(breaker_failed(&b, BREAKER_PROBE, now, 0));
	}
	assert_int_equal(last, BREAKER_LAST_MS);
	now = b.until_ms;
	assert_int_equal(breaker_ask(&b, now), BREAKER_PROBE);
	breaker_worked(&b, BREAKER_PROBE);
	assert_int_equal(b.state, BREAKER_CLOSED);
	open_it(&b, now);
	assert_int_equal(b.until_ms - now, BREAKER_FIRST_MS);
}

static void calls_from_before_it_opened_decide_nothing(void **state)
{
	struct breaker b = {0};
	uint64_t until;

	(void)state;
	open_it(&b, 0);
	until = b.until_ms;
	breaker_worked(&b, BREAKER_PASSED);
	assert_int_equal(b.state, BREAKER_OPEN);
	assert_false(breaker_failed(&b, BREAKER_PASSED, 10, 0));
	assert_int_equal(b.until_ms, until);
	assert_int_equal(breaker_ask(&b, until), BREAKER_PROBE);
	assert_false(breaker_failed(&b, BREAKER_PASSED, until, 0));
	breaker_unsure(&b, BREAKER_PASSED);
	breaker_worked(&b, BREAKER_PASSED);
	assert_int_equal(b.state, BREAKER_HALF_OPEN);
	assert_int_equal(breaker_ask(&b, until), BREAKER_REFUSED);
}

static void a_reset_closes_it_and_an_old_probe_does_not_open_it(void **state)
{
	struct breaker b = {0};

	(void)state;
	open_it(&b, 0);
	assert_int_equal(breaker_ask(&b, b.until_ms), BREAKER_PROBE);
	breaker_reset(&b);
	assert_int_equal(breaker_ask(&b, 0), BREAKER_PASSED);
	assert_false(breaker_failed(&b, BREAKER_PROBE, 0, 0));
}

static void backing_off_grows_to_its_bound_less_up_to_half(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 70; n++) {
		uint64_t most = backoff_ms(100, 5000, n, 0);

		assert_int_equal(most, n < 6 ? 100u << n : 5000);
		for (uint64_t rnd = 0; rnd < 10000; rnd += 7) {
			uint64_t ms = backoff_ms(100, 5000, n, rnd);

			assert_true(ms <= most && ms >= most / 2);
		}
	}
}

static void a_rule_says_how_often_and_how_long(void **state)
{
	static const struct breaker_rule rule = {
		.failures = 2, .successes = 3, .first_ms = 60, .last_ms = 60};
	struct breaker b = {.rule = &rule};

	(void)state;
	assert_false(breaker_failed(&b, BREAKER_PASSED, 0, 0));
	assert_true(breaker_failed(&b, BREAKER_PASSED, 0, 0));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(breaker_ask(&b, 59),
		                 i ? BREAKER_PROBE : BREAKER_REFUSED);
		if (i == 0)
			assert_int_equal(breaker_ask(&b, 60), BREAKER_PROBE);
		assert_int_equal(b.state, BREAKER_HALF_OPEN);
		assert_int_equal(breaker_ask(&b, 60), BREAKER_REFUSED);
		breaker_worked(&b, BREAKER_PROBE);
	}
	assert_int_equal(b.state, BREAKER_CLOSED);
	assert_ptr_equal(b.rule, &rule);
}

static void a_probe_that_fails_makes_those_before_it_void(void **state)
{
	static const struct breaker_rule rule = {
		.failures = 1, .successes = 2, .first_ms = 60, .last_ms = 60};
	struct breaker b = {.rule = &rule};

	(void)state;
	breaker_trip(&b, 0, 0);
	assert_int_equal(breaker_ask(&b, 60), BREAKER_PROBE);
	breaker_worked(&b, BREAKER_PROBE);
	assert_int_equal(breaker_ask(&b, 60), BREAKER_PROBE);
	assert_true(breaker_failed(&b, BREAKER_PROBE, 60, 0));
	assert_int_equal(breaker_ask(&b, 119), BREAKER_REFUSED);
	assert_int_equal(breaker_ask(&b, 120), BREAKER_PROBE);
	breaker_worked(&b, BREAKER_PROBE);
	assert_int_equal(b.state, BREAKER_HALF_OPEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_in_a_row_open_it_and_others_do_not),
		cmocka_unit_test(
			after_its_time_one_probe_at_a_time_is_let_through),
		cmocka_unit_test(
			a_probe_that_works_closes_it_and_one_that_fails_waits_longer),
		cmocka_unit_test(calls_from_before_it_opened_decide_nothing),
		cmocka_unit_test(
			a_reset_closes_it_and_an_old_probe_does_not_open_it),
		cmocka_unit_test(a_rule_says_how_often_and_how_long),
		cmocka_unit_test(a_probe_that_fails_makes_those_before_it_void),
		cmocka_unit_test(
			backing_off_grows_to_its_bound_less_up_to_half),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
