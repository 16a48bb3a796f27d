#include "gateway/crowd.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct addr at(const char *text)
{
	struct addr a = {{0}};

	if (!addr_parse(str_from(text), &a))
		fail_msg("%s", text);
	return a;
}

static void an_address_has_so_many_connections_and_others_theirs(void **state)
{
	struct addr a = at("192.0.2.1"), b = at("192.0.2.2");
	AUTO(crowd) c = crowd_new(3);

	(void)state;
	assert_non_null(c);
	for (int i = 0; i < 3; i++) {
		assert_true(crowd_room(c, &a));
		crowd_enter(c, &a);
	}
	assert_false(crowd_room(c, &a));
	assert_true(crowd_room(c, &b));
	crowd_leave(c, &a);
	assert_true(crowd_room(c, &a));
}

static void all_of_an_ipv6_network_is_one(void **state)
{
	struct addr a = at("2001:db8::1"), b = at("2001:db8::ffff:2");
	AUTO(crowd) c = crowd_new(1);

	(void)state;
	crowd_enter(c, &a);
	assert_false(crowd_room(c, &b));
	crowd_leave(c, &b);
	assert_true(crowd_room(c, &a));
}

static void a_thousand_busy_addresses_shut_out_nobody_else(void **state)
{
	AUTO(crowd) c = crowd_new(2);
	unsigned shut_out = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct addr a = {
			.b = {0x20, [6] = (uint8_t)(i >> 8), [7] = (uint8_t)i}};

		crowd_enter(c, &a);
		crowd_enter(c, &a);
	}
	for (unsigned i = 0; i < 1000; i++) {
		struct addr a = {
			.b = {0x30, [6] = (uint8_t)(i >> 8), [7] = (uint8_t)i}};

		shut_out += !crowd_room(c, &a);
	}
	/* (1000 / 16384)^2 of them are expected to meet one in both rows. */
	assert_true(shut_out < 30);
}

static void zero_is_no_limit_and_no_memory_is_told(void **state)
{
	struct addr a = at("192.0.2.1");
	AUTO(crowd) c = crowd_new(0);

	(void)state;
	for (int i = 0; i < 100000; i++)
		crowd_enter(c, &a);
	assert_true(crowd_room(c, &a));
	alloc_fault_arm(1);
	assert_null(crowd_new(1));
	assert_true(alloc_fault_disarm());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_address_has_so_many_connections_and_others_theirs),
		cmocka_unit_test(all_of_an_ipv6_network_is_one),
		cmocka_unit_test(
			a_thousand_busy_addresses_shut_out_nobody_else),
		cmocka_unit_test(zero_is_no_limit_and_no_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
