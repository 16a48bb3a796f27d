/* The part of an address that is kept. */
#include "common/base/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void an_address_becomes_its_network(void **state)
{
	static const struct {
		const char *ip, *want;
	} cases[] = {
		{"192.0.2.77", "192.0.2.0/24"},
		{"255.255.255.255", "255.255.255.0/24"},
		{"::ffff:192.0.2.77", "192.0.2.0/24"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"::1", "::/64"},
		{"", ""},
		{"unknown", ""},
		{"192.0.2", ""},
		{"192.0.2.77:80", ""},
		{"fe80::1%eth0", ""},
	};
	char out[NET_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct str got = net_text(str_from(cases[i].ip), out);

		assert_string_equal(out, cases[i].want);
		assert_int_equal(got.n, strlen(cases[i].want));
	}
}

static void what_is_longer_than_any_address_is_none(void **state)
{
	char ip[300], out[NET_TEXT_MAX];
	unsigned char bytes[16];
	struct str s = {ip, sizeof(ip)};

	(void)state;
	memset(ip, '1', sizeof(ip));
	assert_int_equal(net_text(s, out).n, 0);
	assert_ptr_equal(net_of(s, bytes).p, ip);
	assert_int_equal(net_text((struct str){NULL, 0}, out).n, 0);
}

static void two_of_a_network_are_the_same_and_neighbours_are_not(void **state)
{
	unsigned char a[16], b[16], c[16];
	struct str x = net_of(STR("192.0.2.1"), a);
	struct str y = net_of(STR("::ffff:192.0.2.200"), b);
	struct str z = net_of(STR("192.0.3.1"), c);

	(void)state;
	assert_true(str_eq(x, y));
	assert_false(str_eq(x, z));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_becomes_its_network),
		cmocka_unit_test(what_is_longer_than_any_address_is_none),
		cmocka_unit_test(
			two_of_a_network_are_the_same_and_neighbours_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
