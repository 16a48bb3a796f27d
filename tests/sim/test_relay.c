/*
 * The relay and the inbox under everything that can go wrong: see
 * relay_world.h.  KAE_SEED=n tells the story of one world.
 */
#include "tests/sim/relay_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct services services;

static bool one_world(uint64_t seed, bool tell)
{
	return world_run(&services, seed, tell);
}

static void every_event_is_applied_once_and_in_order(void **state)
{
	static const struct sim_plan plan = {"test_relay", 1000, 100000,
	                                     one_world};

	(void)state;
	sim_seeds(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_event_is_applied_once_and_in_order),
	};
	int failed;

	if (!services_open(&services))
		return 1;
	failed = cmocka_run_group_tests_name("relay", tests, NULL, NULL);
	services_close(&services);
	return failed;
}
