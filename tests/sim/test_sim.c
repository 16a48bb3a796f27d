/*
 * The tools of the simulations.
 */
#include "tests/sim/sim.h"

#include "common/base/attr.h"
#include "common/base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void the_same_seed_gives_the_same_numbers(void **state)
{
	struct sim_rng a = sim_rng(7), b = sim_rng(7), c = sim_rng(8);
	unsigned same = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t n = sim_u64(&a);

		assert_true(n == sim_u64(&b));
		same += n == sim_u64(&c);
	}
	assert_int_equal(same, 0);
}

static void numbers_stay_in_their_range(void **state)
{
	struct sim_rng r = sim_rng(1);
	bool seen[5] = {0};
	unsigned yes = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		uint64_t n = sim_between(&r, 3, 7);

		assert_in_range(n, 3, 7);
		seen[n - 3] = true;
		yes += sim_chance(&r, 100);
	}
	for (size_t i = 0; i < COUNTOF(seen); i++)
		assert_true(seen[i]);
	assert_in_range(yes, 800, 1200);
	assert_int_equal(sim_below(&r, 0), 0);
	assert_false(sim_chance(&r, 0));
	assert_true(sim_chance(&r, 1000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_seed_gives_the_same_numbers),
		cmocka_unit_test(numbers_stay_in_their_range),
	};

	return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
