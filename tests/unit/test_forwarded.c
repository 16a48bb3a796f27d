#include "gateway/forwarded.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TRUSTED "10.0.0.0/8, 127.0.0.1,, fd00::/8 ,192.0.2.128/25"

static struct addr at(const char *text)
{
	struct addr a = {{0}};

	if (!addr_parse(str_from(text), &a))
		fail_msg("%s", text);
	return a;
}

static struct proxies *trusting(const char *list)
{
	const char *why = NULL;
	struct proxies *p = proxies_new(str_from(list), &why);

	if (!p)
		fail_msg("%s: %s", list, why);
	return p;
}

/* Lines stand one per row of text. */
static struct forwarded_lines lines(const char *text)
{
	struct forwarded_lines l = {.n = 0};
	struct str rest = str_from(text);

	while (rest.n)
		forwarded_add(&l, str_cut(&rest, '\n'));
	return l;
}

static void addresses_are_read_with_and_without_a_port(void **state)
{
	static const struct {
		const char *in, *want; /* NULL: no address */
	} cases[] = {
		{"192.0.2.1", "192.0.2.1"},
		{"192.0.2.1:8080", "192.0.2.1"},
		{"192.0.2.1:_secret", "192.0.2.1"},
		{"2001:db8::1", "2001:db8::1"},
		{"2001:DB8:0:0::1", "2001:db8::1"},
		{"[2001:db8::1]", "2001:db8::1"},
		{"[2001:db8::1]:443", "2001:db8::1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"::", "::"},
		{"", NULL},
		{"unknown", NULL},
		{"_hidden", NULL},
		{"192.0.2", NULL},
		{"192.0.2.256", NULL},
		{"192.0.2.01", NULL},
		{"192.0.2.1:", NULL},
		{"192.0.2.1:8 0", NULL},
		{"192.0.2.1/32", NULL},
		{" 192.0.2.1", NULL},
		{"[192.0.2.1]", NULL},
		{"[2001:db8::1", NULL},
		{"[2001:db8::1]443", NULL},
		{"[]", NULL},
		{"[", NULL},
		{":", NULL},
		{"fe80::1%eth0", NULL},
		{"2001:db8::1::2", NULL},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111:222",
	         NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct addr a = {{0}};
		char text[ADDR_TEXT_MAX];
		bool ok = addr_parse(str_from(cases[i].in), &a);

		if (ok != (cases[i].want != NULL))
			fail_msg("%s", cases[i].in);
		if (ok)
			assert_string_equal(addr_text(&a, text).p,
			                    cases[i].want);
	}
	assert_false(addr_parse((struct str){"192.0.2.1\0", 10},
	                        &(struct addr){{0}}));
}

static void networks_are_trusted_to_the_bit(void **state)
{
	static const struct {
		const char *addr;
		bool want;
	} cases[] = {
		{"10.0.0.0", true},
		{"10.255.255.255", true},
		{"11.0.0.0", false},
		{"9.255.255.255", false},
		{"127.0.0.1", true},
		{"127.0.0.2", false},
		{"192.0.2.127", false},
		{"192.0.2.128", true},
		{"192.0.2.255", true},
		{"192.0.3.128", false},
		{"fd12::1", true},
		{"fe00::", false},
		{"::ffff:10.1.2.3", true},
		{"::10.1.2.3", false},
		{"::", false},
	};
	AUTO(proxies) p = trusting(TRUSTED);
	AUTO(proxies) none = trusting("");
	AUTO(proxies) all = trusting("0.0.0.0/0,::/0");

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct addr a = at(cases[i].addr);

		if (proxies_trust(p, &a) != cases[i].want)
			fail_msg("%s", cases[i].addr);
		assert_false(proxies_trust(none, &a));
		assert_true(proxies_trust(all, &a));
	}
}

static void networks_that_are_none_are_refused_in_words(void **state)
{
	static const char *const cases[] = {
		"nginx",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/",
		"10.0.0.0/+8",
		"::/129",
		"10.0.0.0/8x",
		"10.0.0.0/8/8",
		"*",
		"10.0.0.1:80",
		"[::1]",
		"/8",
		"10.0.0.1 10.0.0.2",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const char *why = NULL;
		AUTO(proxies) p = proxies_new(str_from(cases[i]), &why);

		if (p)
			fail_msg("%s", cases[i]);
		assert_non_null(strstr(why, "TRUSTED_PROXIES"));
	}
}

static void the_client_is_the_rightmost_hop_that_we_do_not_trust(void **state)
{
	static const struct {
		const char *peer, *forwarded, *x_forwarded_for, *want;
	} cases[] = {
		/* Nobody that we trust says so. */
		{"203.0.113.9", "", "198.51.100.1", "203.0.113.9"},
		{"203.0.113.9", "for=198.51.100.1", "", "203.0.113.9"},
		{"10.0.0.1", "", "", "10.0.0.1"},
		/* X-Forwarded-For. */
		{"10.0.0.1", "", "198.51.100.1", "198.51.100.1"},
		{"10.0.0.1", "", "1.1.1.1, 198.51.100.1", "198.51.100.1"},
		{"10.0.0.1", "", "1.1.1.1, 198.51.100.1,10.9.9.9",
	         "198.51.100.1"},
		{"10.0.0.1", "", "198.51.100.1:4711", "198.51.100.1"},
		{"10.0.0.1", "", "2001:db8::7", "2001:db8::7"},
		{"10.0.0.1", "", "1.1.1.1\n198.51.100.1\n10.0.0.2",
	         "198.51.100.1"},
		/* A hop that is no address ends the walk where we still know. */
		{"10.0.0.1", "", "198.51.100.1, unknown", "10.0.0.1"},
		{"10.0.0.1", "", "198.51.100.1,, 10.0.0.2", "10.0.0.2"},
		{"10.0.0.1", "", ",", "10.0.0.1"},
		{"10.0.0.1", "", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
		/* Forwarded. */
		{"10.0.0.1", "for=198.51.100.1", "", "198.51.100.1"},
		{"10.0.0.1", "For=\"198.51.100.1:99\";proto=https;by=10.0.0.1",
	         "", "198.51.100.1"},
		{"10.0.0.1", "for=1.1.1.1, for=\"[2001:db8::7]:1\"", "",
	         "2001:db8::7"},
		{"10.0.0.1", "for=1.1.1.1\nproto=http;for=198.51.100.1", "",
	         "198.51.100.1"},
		{"10.0.0.1", "for=198.51.100.1;for=1.1.1.1", "", "10.0.0.1"},
		{"10.0.0.1", "proto=https", "", "10.0.0.1"},
		{"10.0.0.1", "for=_hidden", "", "10.0.0.1"},
		{"10.0.0.1", "for=\"x, for=198.51.100.1", "", "10.0.0.1"},
		{"10.0.0.1", "by=\"a,for=1.1.1.1\\\"\";for=198.51.100.1", "",
	         "198.51.100.1"},
		{"10.0.0.1", "for=\"198.51.100.1\\", "", "10.0.0.1"},
		/* Both. */
		{"10.0.0.1", "for=198.51.100.1", "198.51.100.1",
	         "198.51.100.1"},
		{"10.0.0.1", "for=1.1.1.1", "198.51.100.1", "10.0.0.1"},
		{"10.0.0.1", "nonsense", "198.51.100.1", "10.0.0.1"},
	};
	AUTO(proxies) p = trusting(TRUSTED);

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct addr peer = at(cases[i].peer), want = at(cases[i].want);
		struct forwarded_lines f = lines(cases[i].forwarded);
		struct forwarded_lines x = lines(cases[i].x_forwarded_for);
		struct addr got = forwarded_client(p, &peer, &f, &x);

		if (!addr_eq(&got, &want))
			fail_msg("%zu: %s | %s", i, cases[i].forwarded,
			         cases[i].x_forwarded_for);
	}
}

static void only_the_last_hops_and_lines_are_looked_at(void **state)
{
	struct forwarded_lines none = {.n = 0}, x = {.n = 0};
	AUTO(proxies) p = trusting(TRUSTED);
	struct addr peer = at("10.0.0.1"), oldest = at("10.0.1.0"), got;

	(void)state;
	for (int i = 0; i < FORWARDED_LINES + 3; i++)
		forwarded_add(&x, i == 0 ? STR("198.51.100.1")
		                         : STR("10.0.1.0,10.0.1.1,10.0.1.2"));
	got = forwarded_client(p, &peer, &none, &x);
	assert_int_equal(x.n, FORWARDED_LINES);
	/* The 16th from the right: 24 hops, all of them trusted. */
	oldest.b[15] = (24 - FORWARDED_HOPS) % 3;
	assert_true(addr_eq(&got, &oldest));
}

static void one_network_of_ipv6_counts_as_one(void **state)
{
	struct addr a = at("2001:db8:1:2:3:4:5:6"), b = at("2001:db8:1:2::");
	struct addr c = at("2001:db8:1:3::"), v4 = at("192.0.2.1");
	struct addr a_net = addr_network(&a), c_net = addr_network(&c);
	struct addr v4_net = addr_network(&v4);

	(void)state;
	assert_true(addr_eq(&a_net, &b));
	assert_false(addr_eq(&a_net, &c_net));
	assert_true(addr_eq(&v4_net, &v4));
}

static void without_memory_there_is_no_list(void **state)
{
	const char *why = NULL;

	(void)state;
	alloc_fault_arm(1);
	assert_null(proxies_new(STR(TRUSTED), &why));
	assert_true(alloc_fault_disarm());
	assert_non_null(why);
}

static void https_is_what_those_that_we_trust_say_it_is(void **state)
{
	static const struct {
		const char *peer, *forwarded, *x_for, *x_proto;
		bool want;
	} cases[] = {
		/* Nobody that we trust says so. */
		{"203.0.113.9", "", "", "https", false},
		{"203.0.113.9", "for=198.51.100.1;proto=https", "", "", false},
		{"10.0.0.1", "", "", "", false},
		{"10.0.0.1", "for=198.51.100.1", "", "", false},
		{"10.0.0.1", "", "198.51.100.1", "", false},
		/* X-Forwarded-Proto. */
		{"10.0.0.1", "", "198.51.100.1", "https", true},
		{"10.0.0.1", "", "", "HTTPS", true},
		{"10.0.0.1", "", "198.51.100.1", "http", false},
		{"10.0.0.1", "", "198.51.100.1", "wss", false},
		{"10.0.0.1", "", "198.51.100.1", "https\t", true},
		{"10.0.0.1", "", "198.51.100.1", "\"https\"", false},
		{"10.0.0.1", "", "198.51.100.1", "https,", true},
		/* As far from the right as the client stands. */
		{"10.0.0.1", "", "1.1.1.1, 198.51.100.1", "https, http", false},
		{"10.0.0.1", "", "1.1.1.1, 198.51.100.1", "http, https", true},
		{"10.0.0.1", "", "198.51.100.1, 10.0.0.2", "https, http", true},
		{"10.0.0.1", "", "198.51.100.1, 10.0.0.2", "http, https",
	         false},
		{"10.0.0.1", "", "1.1.1.1, 198.51.100.1, 10.0.0.2",
	         "https, http, https", false},
		{"10.0.0.1", "", "198.51.100.1, 10.0.0.2", "https", true},
		{"10.0.0.1", "", "unknown", "http, https", true},
		/* Several lines are one list. */
		{"10.0.0.1", "", "198.51.100.1", "https\nhttp", false},
		{"10.0.0.1", "", "198.51.100.1", "http\nhttps", true},
		/* Forwarded. */
		{"10.0.0.1", "for=198.51.100.1;proto=https", "", "", true},
		{"10.0.0.1", "for=198.51.100.1;proto=\"https\"", "", "", true},
		{"10.0.0.1", "Proto=https;for=198.51.100.1", "", "", true},
		{"10.0.0.1", "for=198.51.100.1;proto=http", "", "", false},
		{"10.0.0.1", "proto=https, for=198.51.100.1", "", "", false},
		{"10.0.0.1",
	         "for=198.51.100.1;proto=https, for=10.0.0.2;proto=http", "",
	         "", true},
		{"10.0.0.1",
	         "for=1.1.1.1;proto=https, for=198.51.100.1;proto=http", "", "",
	         false},
		{"10.0.0.1", "for=198.51.100.1;proto=https;proto=https", "", "",
	         false},
		{"10.0.0.1", "for=\"_x;proto=https", "", "", false},
		/* Both: who speaks must not say the other. */
		{"10.0.0.1", "for=198.51.100.1;proto=https", "198.51.100.1",
	         "http", false},
		{"10.0.0.1", "for=198.51.100.1;proto=http", "198.51.100.1",
	         "https", false},
		{"10.0.0.1", "for=198.51.100.1", "198.51.100.1", "https", true},
		{"10.0.0.1", "for=198.51.100.1;proto=https", "198.51.100.1",
	         "https", true},
	};
	AUTO(proxies) p = trusting(TRUSTED);

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct addr peer = at(cases[i].peer);
		const struct forwarded_lines f = lines(cases[i].forwarded),
					     x = lines(cases[i].x_for),
					     proto = lines(cases[i].x_proto);

		if (forwarded_https(p, &peer, &f, &x, &proto) != cases[i].want)
			fail_msg("case %zu: %s | %s | %s", i,
			         cases[i].forwarded, cases[i].x_for,
			         cases[i].x_proto);
	}
}

static void a_machine_s_own_addresses_are_known(void **state)
{
	static const struct {
		const char *addr;
		bool want;
	} cases[] = {
		{"127.0.0.1", true},  {"127.255.0.9", true},
		{"::1", true},        {"::ffff:127.0.0.1", true},
		{"128.0.0.1", false}, {"::2", false},
		{"::", false},        {"0.0.0.0", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct addr a = at(cases[i].addr);

		if (addr_is_loopback(&a) != cases[i].want)
			fail_msg("%s", cases[i].addr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_with_and_without_a_port),
		cmocka_unit_test(networks_are_trusted_to_the_bit),
		cmocka_unit_test(networks_that_are_none_are_refused_in_words),
		cmocka_unit_test(
			the_client_is_the_rightmost_hop_that_we_do_not_trust),
		cmocka_unit_test(only_the_last_hops_and_lines_are_looked_at),
		cmocka_unit_test(one_network_of_ipv6_counts_as_one),
		cmocka_unit_test(without_memory_there_is_no_list),
		cmocka_unit_test(https_is_what_those_that_we_trust_say_it_is),
		cmocka_unit_test(a_machine_s_own_addresses_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
