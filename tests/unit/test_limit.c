#include "gateway/limit.h"
#include "gateway/limit_table.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define S  ((uint64_t)1000000000)
#define MS ((uint64_t)1000000)
#define T0 (1000 * S) /* tests begin here */

#define ALICE "01900000-0000-7000-8000-00000000000a"
#define BOB   "01900000-0000-7000-8000-00000000000b"

/* --- the arithmetic ----------------------------------------------------------- */

static void a_full_bucket_gives_its_quota_at_once_and_no_more(void **state)
{
	static const uint64_t quotas[] = {1, 2, 7, 10, 600, 100000};

	(void)state;
	for (size_t i = 0; i < COUNTOF(quotas); i++) {
		struct gcra g = gcra_of(quotas[i], 60);
		uint64_t tat = 0;

		for (uint64_t n = quotas[i]; n > 0; n--) {
			assert_int_equal(gcra_left(&g, tat, T0), n);
			assert_true(gcra_take(&g, &tat, T0, 1));
		}
		assert_false(gcra_take(&g, &tat, T0, 1));
		assert_int_equal(gcra_left(&g, tat, T0), 0);
	}
}

static void the_wait_told_is_exact_to_the_nanosecond(void **state)
{
	static const struct {
		uint64_t quota;
		unsigned window_s;
	} cases[] = {{1, 60},   {7, 60},      {10, 60},
	             {600, 60}, {100, 86400}, {1000000000, 60},
	             {3, 1},    {1, 86400},   {1000000, 1}};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct gcra g = gcra_of(cases[i].quota, cases[i].window_s);
		uint64_t tat = 0, wait;

		assert_true(gcra_take(&g, &tat, T0, cases[i].quota));
		wait = gcra_wait_ns(&g, tat, T0, 1);
		assert_int_equal(wait, g.step_ns);
		assert_false(gcra_take(&g, &tat, T0 + wait - 1, 1));
		assert_true(gcra_take(&g, &tat, T0 + wait, 1));
		assert_false(gcra_take(&g, &tat, T0 + wait, 1));
	}
}

/* quota + t * quota / window, whatever the client's rhythm. */
static void no_rhythm_gets_more_than_the_rule(void **state)
{
	static const uint64_t pauses[] = {0,     MS,     97 * MS,   6 * S,
	                                  7 * S, 61 * S, 6 * S - 1, 5999 * MS};

	(void)state;
	for (size_t i = 0; i < COUNTOF(pauses); i++) {
		struct gcra g = gcra_of(10, 60);
		uint64_t tat = 0, got = 0, at = T0;

		for (int k = 0; k < 5000; k++, at += pauses[i])
			got += gcra_take(&g, &tat, at, 1);
		assert_true(got <= 10 + (at - T0) / (6 * S) + 1);
		assert_true(got >= 10 || pauses[i] > 6 * S);
	}
}

static void what_is_charged_afterwards_is_owed_within_bounds(void **state)
{
	struct gcra g = gcra_of(100, 60);
	uint64_t tat = 0;

	(void)state;
	gcra_charge(&g, &tat, T0, 150);
	assert_int_equal(gcra_left(&g, tat, T0), 0);
	assert_int_equal(gcra_wait_ns(&g, tat, T0, 1), 51 * g.step_ns);
	gcra_charge(&g, &tat, T0, UINT64_MAX);
	assert_int_equal(gcra_full_ns(tat, T0), GCRA_DEBT_SPANS * g.span_ns);
	gcra_charge(&g, &tat, T0, 1);
	assert_int_equal(gcra_full_ns(tat, T0), GCRA_DEBT_SPANS * g.span_ns);
	assert_int_equal(gcra_wait_ns(&g, tat, T0, 101), UINT64_MAX);
}

static void what_is_given_back_can_be_taken_again(void **state)
{
	struct gcra g = gcra_of(2, 60);
	uint64_t tat = 0;

	(void)state;
	assert_true(gcra_take(&g, &tat, T0, 2));
	gcra_give_back(&g, &tat, 1);
	assert_true(gcra_take(&g, &tat, T0, 1));
	assert_false(gcra_take(&g, &tat, T0, 1));
	tat = 5;
	gcra_give_back(&g, &tat, UINT64_MAX);
	assert_int_equal(tat, 5);
}

/* --- the table ------------------------------------------------------------------- */

static bool take_for(struct limit_table *t, const struct gcra *g,
                     const char *who, uint64_t now)
{
	struct limit_taken out;

	return limit_table_take(t, limit_key_of(t, 1, str_from(who)), g, now, 1,
	                        0, &out);
}

static void buckets_of_others_and_of_other_policies_are_apart(void **state)
{
	AUTO(limit_table) t = limit_table_new(1024);
	struct gcra g = gcra_of(1, 60);
	struct limit_taken out;

	(void)state;
	assert_non_null(t);
	assert_true(take_for(t, &g, "a", T0));
	assert_false(take_for(t, &g, "a", T0));
	assert_true(take_for(t, &g, "b", T0));
	assert_true(take_for(t, &g, "", T0));
	assert_true(limit_table_take(t, limit_key_of(t, 2, STR("a")), &g, T0, 1,
	                             0, &out));
	assert_true(take_for(t, &g, "a", T0 + 60 * S));
	assert_int_equal(limit_table_evicted(t), 0);
}

static void looking_takes_nothing(void **state)
{
	AUTO(limit_table) t = limit_table_new(1024);
	struct gcra g = gcra_of(1, 60);
	struct limit_key k = limit_key_of(t, 0, STR("a"));
	struct limit_taken out;

	(void)state;
	assert_true(limit_table_take(t, k, &g, T0, 0, 0, &out));
	assert_true(limit_table_take(t, k, &g, T0, 0, 0, &out));
	limit_table_charge(t, k, &g, T0, 3);
	assert_false(limit_table_take(t, k, &g, T0, 0, 0, &out));
}

/*
 * The attack: many addresses, to have one's own empty bucket forgotten.  Each
 * of the others takes one unit, so all of them are nearer to being full.
 */
static void a_flood_of_others_does_not_empty_ones_own_debt(void **state)
{
	AUTO(limit_table) t = limit_table_new(1024);
	struct gcra g = gcra_of(10, 60);
	char name[24];

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_true(take_for(t, &g, "attacker", T0));
	for (int i = 0; i < 100000; i++) {
		(void)snprintf(name, sizeof(name), "flood-%d", i);
		assert_true(take_for(t, &g, name, T0));
	}
	assert_true(limit_table_evicted(t) > 90000);
	assert_false(take_for(t, &g, "attacker", T0));
}

static void full_buckets_make_room_without_being_missed(void **state)
{
	AUTO(limit_table) t = limit_table_new(512);
	struct gcra g = gcra_of(1, 60);
	char name[24];

	(void)state;
	for (uint64_t i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "%u", (unsigned)i);
		assert_true(take_for(t, &g, name, T0 + i * 61 * S));
	}
	assert_int_equal(limit_table_evicted(t), 0);
}

/* --- decisions --------------------------------------------------------------------- */

static struct settings settings(void)
{
	return (struct settings){
		.rate_limit_enabled = true,
		.rate_limit_read = 4,
		.rate_limit_write = 2,
		.rate_limit_login = 2,
		.rate_limit_visitor = 3,
		.rate_limit_ip = 6,
		.rate_limit_key = 3,
		.quota_free_rpm = 3,
		.quota_free_rpd = 5,
		.quota_free_tpm = 100,
		.quota_premium_rpm = 30,
	};
}

static struct limit_who person(const char *sub, const char *ip, enum tier tier)
{
	struct limit_who w = {.sub = str_from(sub), .tier = tier};

	if (!addr_parse(str_from(ip), &w.client))
		fail_msg("%s", ip);
	return w;
}

/* How many of n the class lets in. */
static unsigned let_in(struct limits *l, const struct limit_who *w,
                       enum rate rate, unsigned n, uint64_t now)
{
	unsigned in = 0;

	for (unsigned i = 0; i < n; i++) {
		struct limit_decision d = {.n = 0};

		in += limits_class(l, w, rate, now, &d);
	}
	return in;
}

static void each_class_counts_by_its_own_quota(void **state)
{
	static const struct {
		enum rate rate;
		unsigned want; /* of 100 */
	} cases[] = {
		{RATE_HEALTH, 100}, {RATE_READ, 4},     {RATE_WRITE, 2},
		{RATE_LOGIN, 2},    {RATE_GENERATE, 3}, {RATE_INGEST, 100},
	};
	const struct settings conf = settings();
	struct limit_who w = person(ALICE, "192.0.2.1", TIER_FREE);
	AUTO(limits) l = limits_new(&conf);

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (let_in(l, &w, cases[i].rate, 100, T0) != cases[i].want)
			fail_msg("%s", rate_name(cases[i].rate));
	/* Exports and privacy requests are writes, an administrator reads. */
	assert_int_equal(let_in(l, &w, RATE_EXPORT, 9, T0), 0);
	assert_int_equal(let_in(l, &w, RATE_PRIVACY, 9, T0), 0);
	assert_int_equal(let_in(l, &w, RATE_ADMIN, 9, T0), 0);
	w.sub = STR(BOB);
	assert_int_equal(let_in(l, &w, RATE_READ, 100, T0), 4);
	/* Guests are counted together, by address, in both classes. */
	w.sub = STR("");
	assert_int_equal(let_in(l, &w, RATE_INGEST, 2, T0), 2);
	assert_int_equal(let_in(l, &w, RATE_WRITE, 9, T0), 1);
	assert_int_equal(let_in(l, &w, RATE_INGEST, 9, T0), 0);
	w.sub = STR(BOB);
	/* The same address: logins are not the person's. */
	assert_int_equal(let_in(l, &w, RATE_LOGIN, 100, T0), 0);
}

static void a_key_is_counted_within_what_its_person_may(void **state)
{
	const struct settings conf = settings(); /* 3 a key, 4 reads a person */
	struct limit_who w = person(ALICE, "192.0.2.1", TIER_FREE);
	struct limit_decision d = {.n = 0};
	AUTO(limits) l = limits_new(&conf);

	(void)state;
	w.key = STR("key-1");
	assert_int_equal(let_in(l, &w, RATE_READ, 9, T0), 3);
	assert_false(limits_class(l, &w, RATE_READ, T0, &d));
	assert_int_equal(d.items[d.n - 1].policy, LIMIT_KEY);
	/* What the key refuses costs its person nothing. */
	assert_int_equal(d.items[0].policy, LIMIT_READ);
	assert_int_equal(d.items[0].left, 1);
	/* All that is done with a key counts for it. */
	assert_int_equal(let_in(l, &w, RATE_WRITE, 9, T0), 0);
	assert_int_equal(let_in(l, &w, RATE_GENERATE, 9, T0), 0);
	/* Another key goes on, as far as the person may; and so does who
	 * needs none, or whose they are not. */
	w.key = STR("key-2");
	assert_int_equal(let_in(l, &w, RATE_READ, 9, T0), 1);
	w.key = (struct str){0};
	assert_int_equal(let_in(l, &w, RATE_READ, 9, T0), 0);
	assert_int_equal(let_in(l, &w, RATE_WRITE, 9, T0), 2);
	w = person(BOB, "192.0.2.1", TIER_FREE);
	assert_int_equal(let_in(l, &w, RATE_READ, 9, T0), 4);
}

static void the_tier_says_how_much_is_generated(void **state)
{
	const struct settings conf = settings();
	struct limit_who w = person(ALICE, "192.0.2.1", TIER_PREMIUM);
	AUTO(limits) l = limits_new(&conf);

	(void)state;
	assert_int_equal(let_in(l, &w, RATE_GENERATE, 100, T0), 30);
	/* limited has quotas of 0 here: no limit. */
	w = person(BOB, "192.0.2.1", TIER_LIMITED);
	assert_int_equal(let_in(l, &w, RATE_GENERATE, 100, T0), 100);
}

static void a_refusal_by_one_policy_costs_nothing_of_another(void **state)
{
	struct settings conf = settings();
	struct limit_who w = person(ALICE, "192.0.2.1", TIER_FREE);
	struct limit_decision d = {.n = 0};
	AUTO(limits) l = NULL;

	(void)state;
	conf.rate_limit_key = 2;
	w.key = STR("key");
	l = limits_new(&conf);
	assert_int_equal(let_in(l, &w, RATE_GENERATE, 9, T0), 2);
	assert_false(limits_class(l, &w, RATE_GENERATE, T0, &d));
	assert_true(d.refused);
	assert_int_equal(d.items[0].policy, LIMIT_GENERATE);
	assert_int_equal(d.items[0].left, 1);
	assert_int_equal(d.items[d.n - 1].policy, LIMIT_KEY);
}

static void an_address_counts_all_but_health_and_ipv6_by_network(void **state)
{
	const struct settings conf = settings();
	AUTO(limits) l = limits_new(&conf);
	char ip[ADDR_TEXT_MAX];

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct limit_decision d = {.n = 0};
		struct limit_who w;

		(void)snprintf(ip, sizeof(ip), "2001:db8::%x:%x", i * 77, i);
		w = person("", ip, TIER_LIMITED);
		assert_true(limits_address(l, &w, RATE_HEALTH, false, T0, &d));
		assert_int_equal(d.n, 0);
		assert_int_equal(
			limits_address(l, &w, RATE_READ, false, T0, &d), i < 6);
	}
}

static void tokens_are_owed_once_they_are_used(void **state)
{
	const struct settings conf = settings();
	const struct limit_who w = person(ALICE, "192.0.2.1", TIER_FREE);
	struct limit_decision d = {.n = 0};
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};
	AUTO(limits) l = limits_new(&conf);

	(void)state;
	assert_int_equal(let_in(l, &w, RATE_GENERATE, 1, T0), 1);
	limits_tokens(l, &w, 130, T0);
	assert_false(limits_class(l, &w, RATE_GENERATE, T0, &d));
	assert_int_equal(d.items[d.n - 1].policy, LIMIT_TOKENS);
	assert_int_equal(d.items[d.n - 1].reset_s, 19); /* 31 of 100 a minute */
	assert_int_equal(limit_refuse(&cx, &d), ERR_QUOTA);
	assert_int_equal(let_in(l, &w, RATE_GENERATE, 1, T0 + 19 * S), 1);
}

static void off_means_that_nothing_counts(void **state)
{
	struct settings conf = settings();
	const struct limit_who w = person(ALICE, "192.0.2.1", TIER_FREE);
	struct limit_decision d = {.n = 0};

	(void)state;
	conf.rate_limit_enabled = false;
	AUTO(limits) l = limits_new(&conf);
	assert_int_equal(let_in(l, &w, RATE_LOGIN, 1000, T0), 1000);
	assert_true(limits_class(l, &w, RATE_GENERATE, T0, &d));
	assert_int_equal(d.n, 0);
	assert_null(limit_tightest(&d));
}

static void headers_tell_every_policy_in_the_form_of_the_draft(void **state)
{
	const struct settings conf = settings();
	const struct limit_who w = person(ALICE, "192.0.2.1", TIER_FREE);
	struct limit_decision d = {.n = 0};
	char text[LIMIT_HEADER_MAX];
	AUTO(limits) l = limits_new(&conf);

	(void)state;
	assert_true(limits_address(l, &w, RATE_GENERATE, false, T0, &d));
	assert_true(limits_class(l, &w, RATE_GENERATE, T0, &d));
	limit_write_policy(&d, text);
	assert_string_equal(text,
	                    "\"address\";q=6;w=60, \"generate\";q=3;w=60, "
	                    "\"tokens\";q=100;w=60;kae-unit=\"tokens\"");
	limit_write_left(&d, text);
	assert_string_equal(text,
	                    "\"address\";r=5;t=10, \"generate\";r=2;t=20, "
	                    "\"tokens\";r=100;t=0");
	assert_int_equal(limit_tightest(&d)->policy, LIMIT_GENERATE);
}

static void the_largest_numbers_fit_into_the_headers(void **state)
{
	struct limit_decision d = {.n = LIMIT_ITEMS};
	char text[LIMIT_HEADER_MAX];
	size_t commas = 0;

	(void)state;
	for (size_t i = 0; i < LIMIT_ITEMS; i++)
		d.items[i] = (struct limit_item){
			.policy = LIMIT_TOKENS,
			.quota = GCRA_QUOTA_MAX,
			.left = GCRA_QUOTA_MAX,
			.window_s = 86400,
			.reset_s = UINT32_MAX,
		};
	limit_write_policy(&d, text);
	for (const char *at = text; *at; at++)
		commas += *at == ',';
	assert_int_equal(commas, LIMIT_ITEMS - 1);
}

static void the_retry_told_in_seconds_is_never_too_early(void **state)
{
	static const uint64_t quotas[] = {1, 7, 10, 61, 600, 997};

	(void)state;
	for (size_t i = 0; i < COUNTOF(quotas); i++)
		for (uint64_t late = 0; late < S; late += 123456789) {
			struct settings conf = settings();
			const struct limit_who w =
				person(ALICE, "192.0.2.1", TIER_FREE);
			struct limit_decision d = {.n = 0};
			AUTO(limits) l = NULL;
			uint64_t wait_s;

			conf.rate_limit_read = quotas[i];
			l = limits_new(&conf);
			(void)let_in(l, &w, RATE_READ, (unsigned)quotas[i], T0);
			if (limits_class(l, &w, RATE_READ, T0 + late, &d))
				continue;
			wait_s = d.items[d.n - 1].reset_s;
			assert_true(wait_s >= 1 && wait_s <= 60);
			assert_true(limits_class(l, &w, RATE_READ,
			                         T0 + late + wait_s * S,
			                         &(struct limit_decision){0}));
		}
}

static void every_failed_allocation_is_told(void **state)
{
	const struct settings conf = settings();
	bool done = false;

	(void)state;
	for (unsigned nth = 1; !done; nth++) {
		AUTO(limits) l = NULL;

		alloc_fault_arm(nth);
		l = limits_new(&conf);
		done = !alloc_fault_disarm();
		assert_int_equal(l != NULL, done);
		assert_true(nth < 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_full_bucket_gives_its_quota_at_once_and_no_more),
		cmocka_unit_test(the_wait_told_is_exact_to_the_nanosecond),
		cmocka_unit_test(no_rhythm_gets_more_than_the_rule),
		cmocka_unit_test(
			what_is_charged_afterwards_is_owed_within_bounds),
		cmocka_unit_test(what_is_given_back_can_be_taken_again),
		cmocka_unit_test(
			buckets_of_others_and_of_other_policies_are_apart),
		cmocka_unit_test(looking_takes_nothing),
		cmocka_unit_test(
			a_flood_of_others_does_not_empty_ones_own_debt),
		cmocka_unit_test(full_buckets_make_room_without_being_missed),
		cmocka_unit_test(each_class_counts_by_its_own_quota),
		cmocka_unit_test(a_key_is_counted_within_what_its_person_may),
		cmocka_unit_test(the_tier_says_how_much_is_generated),
		cmocka_unit_test(
			a_refusal_by_one_policy_costs_nothing_of_another),
		cmocka_unit_test(
			an_address_counts_all_but_health_and_ipv6_by_network),
		cmocka_unit_test(tokens_are_owed_once_they_are_used),
		cmocka_unit_test(off_means_that_nothing_counts),
		cmocka_unit_test(
			headers_tell_every_policy_in_the_form_of_the_draft),
		cmocka_unit_test(the_largest_numbers_fit_into_the_headers),
		cmocka_unit_test(the_retry_told_in_seconds_is_never_too_early),
		cmocka_unit_test(every_failed_allocation_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
