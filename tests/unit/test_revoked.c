#include "gateway/revoked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void many_revocations_are_all_found_and_the_past_goes(void **state)
{
	AUTO(revoked) r = revoked_new();
	char id[32];

	(void)state;
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(id, sizeof(id), "id-%d", i);
		assert_int_equal(revoked_add(r, REVOKED_JTI, str_from(id), i,
		                             10000, 0),
		                 OK);
	}
	assert_int_equal(revoked_count(r), 5000);
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(id, sizeof(id), "id-%d", i);
		assert_int_equal(revoked_at(r, REVOKED_JTI, str_from(id)), i);
		assert_int_equal(revoked_at(r, REVOKED_SUB, str_from(id)), -1);
	}
	for (int i = 0; i < 20000; i++) {
		(void)snprintf(id, sizeof(id), "new-%d", i);
		assert_int_equal(revoked_add(r, REVOKED_KEY, str_from(id), 0,
		                             30000, 20000),
		                 OK);
	}
	assert_int_equal(revoked_count(r), 20000);
	assert_int_equal(revoked_at(r, REVOKED_JTI, STR("id-1")), -1);
}

static void told_twice_counts_once_and_the_later_time_holds(void **state)
{
	AUTO(revoked) r = revoked_new();
	uint64_t revision;

	(void)state;
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("a"), 10, 100, 0), OK);
	revision = revoked_revision(r);
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("a"), 10, 100, 0), OK);
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("a"), 5, 100, 0), OK);
	assert_int_equal(revoked_revision(r), revision);
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("a"), 20, 90, 0), OK);
	assert_int_equal(revoked_at(r, REVOKED_SUB, STR("a")), 20);
	assert_int_equal(revoked_count(r), 1);
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("b"), 1, 50, 50), OK);
	assert_int_equal(revoked_at(r, REVOKED_SUB, STR("b")), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			many_revocations_are_all_found_and_the_past_goes),
		cmocka_unit_test(
			told_twice_counts_once_and_the_later_time_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
