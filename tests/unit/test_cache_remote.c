/*
 * The cache in front of the remote tier: what it asks, believes, keeps and
 * tells.
 */
#include "tests/alloc_fault.h"
#include "tests/unit/remote_hand.h"

#define DEGRADED_MS 5000

/* --- asking it ------------------------------------------------------------------ */

static void what_the_remote_has_is_not_loaded(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct cache_want w = tagged(&so);
	struct cache_info info;

	(void)state;
	remote_has("shared", 40000, 0);
	info = expect_info(c, &w, "shared");
	assert_int_equal(info.from, CACHE_FROM_REMOTE);
	assert_true(info.stored);
	assert_int_equal(info.ttl_ms, 40000);
	assert_int_equal(info.age_ms, 60000);
	info = expect_info(c, &w, "shared");
	assert_int_equal(info.from, CACHE_FROM_MEMORY);
	assert_int_equal(the.gets, 1);
	assert_int_equal(the.sets, 0);
	assert_int_equal(atomic_load(&so.calls), 0);
	/* Its time is the remote's, not a new one. */
	the.proof_ms += 40000;
	clock_move(40000);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
}

static void what_it_does_not_have_is_loaded_and_given_to_it(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct cache_want w = tagged(&so);

	(void)state;
	w.stale_ms = 777;
	assert_int_equal(expect(c, &w, "loaded"), CACHE_FROM_LOADER);
	assert_int_equal(the.gets, 1);
	/* All names of it, so that any of them makes it unbelievable. */
	assert_int_equal(the.slots_n, 2);
	assert_int_equal(the.slots[0], remote_slot(STR("t")));
	assert_int_equal(the.slots[1], remote_slot(STR("k")));
	assert_int_equal(the.sets, 1);
	assert_string_equal(the.set_text, "loaded");
	assert_int_equal(the.set_ttl_ms, 100000);
	assert_int_equal(the.set_stale_ms, 777);
}

static void half_a_second_passes(struct source *so)
{
	(void)so;
	clock_move(500);
}

static void the_time_of_the_load_is_part_of_the_life(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v", .meanwhile = half_a_second_passes};
	struct cache_want w = tagged(&so);

	(void)state;
	w.ttl_ms = 600;
	(void)expect(c, &w, "v");
	/* That counts from before the load. */
	assert_int_equal(the.set_ttl_ms, 600);
	clock_move(100);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
	/* Over before it was there. */
	w = tagged(&so);
	w.ttl_ms = 500;
	(void)expect(c, &w, "v");
	assert_int_equal(the.sets, 1);
}

static void it_is_waited_for_at_most_fifty_milliseconds(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = tagged(&so);

	(void)state;
	the.err = ERR_TIMEOUT;
	(void)expect(c, &w, "v");
	assert_int_equal(the.until_ms, mono_ms() + 50);
	/* Nothing to compare with, so nothing is set. */
	assert_int_equal(the.sets, 0);
	cache_clear(c);
	w.deadline_ms = mono_ms() + 20;
	(void)expect(c, &w, "v");
	assert_int_equal(the.until_ms, mono_ms() + 20);
}

static void without_it_everything_is_loaded(void **state)
{
	static const enum err errors[] = {ERR_UNAVAILABLE, ERR_TIMEOUT,
	                                  ERR_NOMEM};

	(void)state;
	for (size_t i = 0; i < COUNTOF(errors); i++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "v"};
		struct cache_want w = tagged(&so);

		the.err = errors[i];
		assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
		assert_int_equal(expect(c, &w, "v"), CACHE_FROM_MEMORY);
		assert_int_equal(the.sets, 0);
	}
}

static void not_found_is_shared_too(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.err = ERR_NOT_FOUND};
	struct cache_want w = tagged(&so);

	(void)state;
	w.negative_ttl_ms = 300;
	expect_error(c, &w, ERR_NOT_FOUND);
	assert_int_equal(the.sets, 1);
	assert_true(the.set_negative);
	assert_int_equal(the.set_ttl_ms, 300);
	cache_clear(c);
	remote_has(NULL, 200, 0);
	expect_error(c, &w, ERR_NOT_FOUND);
	assert_int_equal(atomic_load(&so.calls), 1);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_NEGATIVE);
	/* Who wants none gets none. */
	cache_clear(c);
	w.negative_ttl_ms = 0;
	so.err = OK;
	so.text = "v";
	(void)expect(c, &w, "v");
}

static void an_old_value_of_the_remote_is_fallen_back_on(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.err = ERR_DATABASE};
	struct cache_want w = tagged(&so);
	struct cache_info info;

	(void)state;
	w.stale_ms = 5000;
	remote_has("old", 0, 3000);
	info = expect_info(c, &w, "old");
	assert_int_equal(info.from, CACHE_FROM_STALE);
	assert_int_equal(info.why, CACHE_LOAD_FAILED);
	/* And it is in memory now, for its time. */
	the.found.found = false;
	clock_move(1000);
	w.now_ms = mono_ms();
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_STALE);
	clock_move(2000);
	w.now_ms = mono_ms();
	expect_error(c, &w, ERR_DATABASE);
	/* Not for one who wants no old value. */
	w.stale_ms = 0;
	remote_has("old", 0, 3000);
	expect_error(c, &w, ERR_DATABASE);
}

static void what_is_too_large_stays_here(void **state)
{
	AUTO(cache)
	c = cache_new(&(struct cache_conf){.max_bytes = 16 << 20,
	                                   .wire = &(struct wire){0}});
	AUTO_BUF big = {0};
	struct source so = {0};
	struct cache_want w = tagged(&so);

	(void)state;
	assert_true(buf_reserve(&big, REMOTE_VALUE_MAX + 2));
	memset(big.p, 'x', REMOTE_VALUE_MAX + 1);
	big.p[REMOTE_VALUE_MAX + 1] = '\0';
	so.text = big.p;
	(void)expect(c, &w, big.p);
	assert_int_equal(the.gets, 1);
	assert_int_equal(the.sets, 0);
}

static void each_tier_can_be_passed_by(void **state)
{
	static const struct {
		unsigned skip;
		unsigned gets, sets;
		enum cache_hit after;
	} cases[] = {
		{0, 0, 0, CACHE_HIT}, /* the value in memory will do */
		{CACHE_SKIP_MEMORY_READ, 1, 1, CACHE_HIT},
		{CACHE_SKIP_MEMORY_READ | CACHE_SKIP_REMOTE_READ, 0, 0,
	         CACHE_HIT},
		{CACHE_SKIP_MEMORY_READ | CACHE_SKIP_REMOTE_WRITE, 1, 0,
	         CACHE_HIT},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "first"};
		struct cache_want w = tagged(&so);

		(void)expect(c, &w, "first");
		the.gets = the.sets = 0;
		so.text = "second";
		w.skip = cases[i].skip;
		(void)expect(c, &w, w.skip ? "second" : "first");
		assert_int_equal(the.gets, cases[i].gets);
		assert_int_equal(the.sets, cases[i].sets);
		assert_int_equal(peek(c, "k", mono_ms()), cases[i].after);
	}
}

static void memory_can_be_left_as_it_is(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "first"};
	struct cache_want w = tagged(&so);

	(void)state;
	w.skip = CACHE_SKIP_MEMORY_WRITE;
	(void)expect(c, &w, "first");
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
	assert_int_equal(the.sets, 1);
	remote_has("old", 0, 1000);
	w.stale_ms = 1000;
	(void)expect(c, &w, "first");
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
}

/* --- forgetting ---------------------------------------------------------------------- */

static void what_is_forgotten_anywhere_is_not_served(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(ways); i++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "v", .cache = c};
		struct cache_want w = tagged(&so);

		(void)expect(c, &w, "v");
		assert_int_equal(peek(c, "k", mono_ms()), CACHE_HIT);
		ways[i](&so);
		assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
		(void)expect(c, &w, "v");
		assert_int_equal(atomic_load(&so.calls), 2);
	}
}

static void what_is_forgotten_during_its_load_is_kept_nowhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(ways); i++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "v",
		                    .cache = c,
		                    .meanwhile = ways[i]};
		struct cache_want w = tagged(&so);
		struct cache_info info = expect_info(c, &w, "v");

		assert_false(info.stored);
		assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
		assert_int_equal(the.sets, 0);
	}
}

static void an_answer_older_than_a_forgetting_is_not_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(ways); i++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "v", .cache = c};
		struct cache_want w = tagged(&so);
		struct cache_info info;

		remote_has("older", 1000, 1000);
		the.meanwhile = forgotten_meanwhile;
		forgetter = &so;
		forget_now = ways[i];
		info = expect_info(c, &w, "older");
		assert_int_equal(info.from, CACHE_FROM_REMOTE);
		assert_false(info.stored);
		the.meanwhile = NULL;
		the.found.found = false;
		assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
		/* Nor to fall back on. */
		remote_has("older", 0, 1000);
		the.meanwhile = forgotten_meanwhile;
		w.stale_ms = 1000;
		so.err = ERR_DATABASE;
		expect_error(c, &w, ERR_DATABASE);
		the.meanwhile = NULL;
		the.found.found = false;
		expect_error(c, &w, ERR_DATABASE);
	}
}

static void the_remote_forgets_before_memory_does(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = tagged(&so);

	(void)state;
	(void)expect(c, &w, "v");
	the.cache = c;
	cache_forget(c, STR("k"));
	assert_int_equal(the.forgets, 1);
	assert_int_equal(the.forgot, remote_slot(STR("k")));
	assert_int_equal(the.at_forget, CACHE_HIT);
	(void)expect(c, &w, "v");
	cache_forget_tag(c, STR("t"));
	assert_int_equal(the.forgot, remote_slot(STR("t")));
	assert_int_equal(the.at_forget, CACHE_HIT);
	(void)expect(c, &w, "v");
	cache_clear(c);
	assert_int_equal(the.forgot, CACHE_SLOT_ALL);
	assert_int_equal(the.at_forget, CACHE_HIT);
	the.cache = NULL;
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
}

/* --- cut off ------------------------------------------------------------------------- */

static void while_cut_off_nothing_is_believed_for_long(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = tagged(&so);
	struct cache_stats st;

	(void)state;
	(void)expect(c, &w, "v");
	clock_move(DEGRADED_MS - 1);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_HIT);
	clock_move(1);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
	/* What is loaded now is as new as a load can be. */
	the.err = ERR_UNAVAILABLE;
	so.text = "w";
	w.now_ms = mono_ms();
	assert_int_equal(expect(c, &w, "w"), CACHE_FROM_LOADER);
	clock_move(DEGRADED_MS - 1);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_HIT);
	clock_move(1);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
	cache_stats(c, &st);
	assert_true(st.disbelieved >= 2);
	/* In step again, and its slots did not change. */
	the.proof_ms = mono_ms();
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_HIT);
}

static void what_is_not_believed_may_still_be_fallen_back_on(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = tagged(&so);
	struct cache_info info;

	(void)state;
	w.stale_ms = 1;
	(void)expect(c, &w, "v");
	clock_move(DEGRADED_MS);
	so.err = ERR_DATABASE;
	the.err = ERR_UNAVAILABLE;
	w.now_ms = mono_ms();
	info = expect_info(c, &w, "v");
	assert_int_equal(info.from, CACHE_FROM_STALE);
	assert_int_equal(info.ttl_ms, 0);
}

static void who_wants_no_old_value_gets_none_while_cut_off(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = tagged(&so);

	(void)state;
	(void)expect(c, &w, "v");
	clock_move(DEGRADED_MS);
	so.err = ERR_DATABASE;
	w.now_ms = mono_ms();
	expect_error(c, &w, ERR_DATABASE);
}

static void a_load_from_before_the_bound_is_not_joined(void **state)
{
	AUTO(cache) c = shared();
	struct source before = {.text = "before", .hold = true};
	struct source after = {.text = "after"};
	struct asker first = {c, tagged(&before), "before", 0};
	struct asker second = {c, tagged(&after), "after", 0};

	(void)state;
	first.w.deadline_ms = FAR_MS;
	second.w.deadline_ms = FAR_MS;
	assert_int_equal(pthread_create(&first.thread, NULL, ask, &first), 0);
	wait_for_calls(&before, 1);
	clock_move(DEGRADED_MS);
	second.w.now_ms = mono_ms();
	assert_int_equal(pthread_create(&second.thread, NULL, ask, &second), 0);
	wait_for_waiters(c, 1);
	atomic_store(&before.hold, false);
	assert_int_equal(pthread_join(first.thread, NULL), 0);
	assert_int_equal(pthread_join(second.thread, NULL), 0);
	assert_int_equal(atomic_load(&after.calls), 1);
}

/* --- refreshing ---------------------------------------------------------------------- */

static void wait_for_drop(struct source *so)
{
	while (atomic_load(&so->dropped) == 0)
		(void)usleep(200);
}

static struct cache_want eager(struct source *so)
{
	struct cache_want w = tagged(so);

	w.eager = 50;
	w.detach = detach;
	w.drop = drop;
	return w;
}

static void a_refresh_takes_what_another_instance_has_renewed(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = eager(&so);

	(void)state;
	(void)expect(c, &w, "v");
	clock_move(60000);
	the.proof_ms = mono_ms();
	remote_has("renewed", 90000, 0);
	w.now_ms = mono_ms();
	(void)expect(c, &w, "v");
	wait_for_drop(&so);
	assert_int_equal(atomic_load(&so.calls), 1);
	(void)expect(c, &w, "renewed");
}

static void a_refresh_does_not_take_what_is_due_itself(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = eager(&so);

	(void)state;
	(void)expect(c, &w, "v");
	clock_move(60000);
	the.proof_ms = mono_ms();
	remote_has("v", 40000, 0);
	so.text = "new";
	w.now_ms = mono_ms();
	(void)expect(c, &w, "v");
	wait_for_drop(&so);
	assert_int_equal(atomic_load(&so.calls), 2);
	assert_int_equal(the.sets, 2);
	(void)expect(c, &w, "new");
}

static void an_old_value_of_the_remote_has_a_soft_limit_too(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "new",
	                    .hold = true,
	                    .meanwhile = half_a_second_passes};
	struct cache_want w = eager(&so);
	struct cache_info info;

	(void)state;
	w.stale_ms = 5000;
	w.soft_ms = 100;
	remote_has("old", 0, 3000);
	info = expect_info(c, &w, "old");
	assert_int_equal(info.why, CACHE_LOAD_SLOW);
	assert_int_equal(the.gets, 1);
	atomic_store(&so.hold, false);
	wait_for_drop(&so);
	(void)expect(c, &w, "new");
}

static void a_background_load_has_more_time_than_who_asked(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = eager(&so);

	(void)state;
	(void)expect(c, &w, "v");
	clock_move(60000);
	the.proof_ms = mono_ms();
	w.now_ms = mono_ms();
	w.deadline_ms = w.now_ms + 10;
	(void)expect(c, &w, "v");
	wait_for_drop(&so);
	assert_int_equal(the.until_ms, mono_ms() + 50);
}

/* --- the rest ------------------------------------------------------------------------- */

static void figures_of_the_remote_are_told(void **state)
{
	AUTO(cache) c = shared();
	AUTO(cache) alone = memory(1 << 20);
	struct source so = {.text = "v"};
	struct cache_want w = tagged(&so);
	struct remote_stats st;

	(void)state;
	(void)expect(c, &w, "v");
	assert_true(cache_remote_stats(c, &st));
	assert_int_equal(st.gets, 1);
	assert_int_equal(cache_proof_ms(c), the.proof_ms);
	the.err = ERR_UNAVAILABLE;
	cache_breaker_reset(c);
	assert_int_equal(the.err, OK);
	assert_false(cache_remote_stats(alone, &st));
	assert_int_equal(st.gets, 0);
	assert_int_equal(cache_proof_ms(alone), 0);
	cache_breaker_reset(alone);
}

static bool use_the_remote(void)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "v"};
	struct cache_want w = tagged(&so);
	struct cache_value *v[3] = {NULL};
	enum err e;

	if (!c)
		return false;
	w.stale_ms = 1000;
	e = cache_load(c, &w, &v[0], NULL);
	assert_true(e == OK || e == ERR_NOMEM);
	hear_all(&so);
	remote_has("shared", 500, 500);
	e = cache_load(c, &w, &v[1], NULL);
	assert_true(e == OK || e == ERR_NOMEM);
	hear_key(&so);
	remote_has("old", 0, 500);
	so.err = ERR_DATABASE;
	e = cache_load(c, &w, &v[2], NULL);
	assert_true(e == OK || e == ERR_NOMEM || e == ERR_DATABASE);
	for (size_t i = 0; i < COUNTOF(v); i++)
		cache_put_back(v[i]);
	return true;
}

static void every_allocation_may_fail(void **state)
{
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		alloc_fault_arm(n);
		(void)use_the_remote();
		if (!alloc_fault_disarm())
			break;
	}
	assert_true(n > 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_remote_has_is_not_loaded),
		cmocka_unit_test(
			what_it_does_not_have_is_loaded_and_given_to_it),
		cmocka_unit_test(the_time_of_the_load_is_part_of_the_life),
		cmocka_unit_test(it_is_waited_for_at_most_fifty_milliseconds),
		cmocka_unit_test(without_it_everything_is_loaded),
		cmocka_unit_test(not_found_is_shared_too),
		cmocka_unit_test(an_old_value_of_the_remote_is_fallen_back_on),
		cmocka_unit_test(what_is_too_large_stays_here),
		cmocka_unit_test(each_tier_can_be_passed_by),
		cmocka_unit_test(memory_can_be_left_as_it_is),
		cmocka_unit_test(what_is_forgotten_anywhere_is_not_served),
		cmocka_unit_test(
			what_is_forgotten_during_its_load_is_kept_nowhere),
		cmocka_unit_test(an_answer_older_than_a_forgetting_is_not_kept),
		cmocka_unit_test(the_remote_forgets_before_memory_does),
		cmocka_unit_test(while_cut_off_nothing_is_believed_for_long),
		cmocka_unit_test(
			what_is_not_believed_may_still_be_fallen_back_on),
		cmocka_unit_test(
			who_wants_no_old_value_gets_none_while_cut_off),
		cmocka_unit_test(a_load_from_before_the_bound_is_not_joined),
		cmocka_unit_test(
			a_refresh_takes_what_another_instance_has_renewed),
		cmocka_unit_test(a_refresh_does_not_take_what_is_due_itself),
		cmocka_unit_test(
			an_old_value_of_the_remote_has_a_soft_limit_too),
		cmocka_unit_test(
			a_background_load_has_more_time_than_who_asked),
		cmocka_unit_test(figures_of_the_remote_are_told),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
