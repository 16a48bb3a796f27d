/* bus - a client that ends before its connection is up. */
#include "tests/unit/bus_nursery.h"

/* Where nng hangs, this does not come back. */
static void a_client_may_end_at_any_moment_of_connecting(void **state)
{
	struct child one = child_new(NULL);

	(void)state;
	for (uint64_t i = 0; i < 600; i++) {
		uint64_t end_us = mono_us() + i % 100 * 30;
		struct loop l;

		assert_true(loop_init(&l, NULL, 0));
		assert_int_equal(bus_client_add(l.client, PEER_AUTH,
		                                str_from(one.url)),
		                 OK);
		while (mono_us() < end_us)
			if (i % 2)
				loop_turn(&l, 0);
		loop_fini(&l);
	}
	child_kill(&one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_may_end_at_any_moment_of_connecting),
	};
	int failed;

	atomic_store(&log_threshold, LOG_ERROR);
	nursery_fill();
	bus_global_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	nursery_empty();
	return failed;
}
