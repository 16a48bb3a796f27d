/*
 * A look into the remote tier for which nobody waits: what it brings, to whom,
 * and what the load that follows one in vain still asks.
 */
#include "tests/alloc_fault.h"
#include "tests/unit/remote_hand.h"

#include "common/cache/fetch.h"

struct looked {
	struct cache_fetch f; /* first: it is what comes back */
	unsigned times;
};

static void done(struct cache_fetch *f)
{
	((struct looked *)(void *)f)->times++;
}

static enum err fetch(struct cache *c, const struct cache_want *w,
                      struct looked *l)
{
	*l = (struct looked){.f = {.done = done}};
	return cache_fetch(c, w, &l->f);
}

/* Of what has come: the caller's reference. */
static void expect_hit(struct looked *l, const char *text)
{
	assert_int_equal(l->times, 1);
	assert_int_equal(l->f.hit, CACHE_HIT);
	assert_true(str_eq(cache_bytes(l->f.value), str_from(text)));
	cache_put_back(l->f.value);
}

/* --- what comes ------------------------------------------------------------------- */

static void what_comes_is_the_asker_s_and_in_memory(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct cache_want w = tagged(&so);
	struct looked l;

	(void)state;
	remote_has("shared", 40000, 0);
	assert_int_equal(fetch(c, &w, &l), OK);
	assert_int_equal(l.times, 0);
	assert_int_equal(the.slots_n, 2);
	assert_int_equal(the.slots[0], remote_slot(STR("t")));
	assert_int_equal(the.slots[1], remote_slot(STR("k")));
	assert_true(answer_comes());
	expect_hit(&l, "shared");
	assert_int_equal(l.f.info.from, CACHE_FROM_REMOTE);
	assert_true(l.f.info.stored);
	assert_int_equal(l.f.info.ttl_ms, 40000);
	assert_int_equal(l.f.info.age_ms, 60000);
	assert_int_equal(expect(c, &w, "shared"), CACHE_FROM_MEMORY);
	assert_int_equal(the.asks, 1);
	assert_int_equal(the.gets, 0);
	assert_int_equal(the.sets, 0);
	assert_int_equal(atomic_load(&so.calls), 0);
}

static void not_found_comes_too(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct cache_want w = tagged(&so);
	struct looked l;

	(void)state;
	w.negative_ttl_ms = 500;
	remote_has(NULL, 400, 0);
	assert_int_equal(fetch(c, &w, &l), OK);
	assert_true(answer_comes());
	assert_int_equal(l.times, 1);
	assert_int_equal(l.f.hit, CACHE_NEGATIVE);
	assert_null(l.f.value);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_NEGATIVE);
}

static void it_counts_as_a_miss_and_its_load(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct cache_want w = tagged(&so);
	struct cache_stats st;
	struct looked l;

	(void)state;
	assert_int_equal(fetch(c, &w, &l), OK);
	assert_true(answer_comes()); /* in vain: nothing is counted yet */
	cache_stats(c, &st);
	assert_int_equal(st.misses + st.loads, 0);
	remote_has("shared", 40000, 0);
	assert_int_equal(fetch(c, &w, &l), OK);
	assert_true(answer_comes());
	expect_hit(&l, "shared");
	cache_stats(c, &st);
	assert_int_equal(st.misses, 1);
	assert_int_equal(st.loads, 1);
	assert_int_equal(st.sets, 1);
	assert_int_equal(st.hits, 0);
}

static void it_is_waited_for_until_the_soft_limit_or_the_deadline(void **state)
{
	static const struct {
		uint64_t left_ms, want_ms;
	} cases[] = {{10000, 50}, {30, 30}};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "loaded"};
		struct cache_want w = tagged(&so);
		struct looked l;

		w.deadline_ms = w.now_ms + cases[i].left_ms;
		assert_int_equal(fetch(c, &w, &l), OK);
		assert_int_equal(the.until_ms, mono_ms() + cases[i].want_ms);
		assert_true(answer_comes());
	}
}

/* --- what is forgotten ------------------------------------------------------------ */

static void what_is_forgotten_meanwhile_is_not_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(ways); i++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "v", .cache = c};
		struct cache_want w = tagged(&so);
		struct looked l;

		remote_has("older", 1000, 1000);
		forgetter = &so;
		forget_now = ways[i];
		the.meanwhile = forgotten_meanwhile;
		assert_int_equal(fetch(c, &w, &l), OK);
		assert_true(answer_comes());
		/* Who asked did so before. */
		expect_hit(&l, "older");
		assert_false(l.f.info.stored);
		assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
		/* Nor to fall back on. */
		remote_has("older", 0, 1000);
		w.stale_ms = 1000;
		assert_int_equal(fetch(c, &w, &l), OK);
		assert_true(answer_comes());
		assert_int_equal(l.f.hit, CACHE_MISS);
		the.meanwhile = NULL;
		the.found.found = false;
		so.err = ERR_DATABASE;
		expect_error(c, &w, ERR_DATABASE);
	}
}

/* --- the load that follows -------------------------------------------------------- */

static void what_it_has_not_is_loaded_without_asking_again(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct cache_want w = tagged(&so);
	struct looked l;

	(void)state;
	assert_int_equal(fetch(c, &w, &l), OK);
	assert_true(answer_comes());
	assert_int_equal(l.times, 1);
	assert_int_equal(l.f.hit, CACHE_MISS);
	w.fetched = &l.f;
	assert_int_equal(expect(c, &w, "loaded"), CACHE_FROM_LOADER);
	assert_int_equal(the.gets, 0);
	/* It is given to the others with what was learned then. */
	assert_int_equal(the.sets, 1);
	assert_string_equal(the.set_text, "loaded");
}

static void a_remote_that_gives_no_answer_is_not_asked_again(void **state)
{
	(void)state;
	for (int refused = 0; refused < 2; refused++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "loaded"};
		struct cache_want w = tagged(&so);
		struct looked l;

		the.ask_err = refused ? ERR_UNAVAILABLE : OK;
		the.err = ERR_TIMEOUT;
		assert_int_equal(fetch(c, &w, &l), the.ask_err);
		assert_int_equal(answer_comes(), !refused);
		assert_int_equal(l.times, !refused);
		assert_int_equal(l.f.hit, CACHE_MISS);
		w.fetched = &l.f;
		(void)expect(c, &w, "loaded");
		assert_int_equal(the.gets, 0);
		assert_int_equal(the.sets, 0);
		assert_int_equal(atomic_load(&so.calls), 1);
	}
}

static void an_old_value_is_there_to_fall_back_on(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.err = ERR_DATABASE};
	struct cache_want w = tagged(&so);
	struct looked l;

	(void)state;
	w.stale_ms = 1000;
	remote_has("old", 0, 1000);
	assert_int_equal(fetch(c, &w, &l), OK);
	assert_true(answer_comes());
	assert_int_equal(l.f.hit, CACHE_MISS);
	w.fetched = &l.f;
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_STALE);
	assert_int_equal(the.gets, 0);
}

static void who_misses_it_meanwhile_gets_what_comes(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct asker a = {.c = c, .w = tagged(&so), .text = "shared"};
	struct looked l;
	pthread_t t;

	(void)state;
	remote_has("shared", 40000, 0);
	assert_int_equal(fetch(c, &a.w, &l), OK);
	assert_int_equal(pthread_create(&t, NULL, ask, &a), 0);
	wait_for_waiters(c, 1);
	assert_true(answer_comes());
	assert_int_equal(pthread_join(t, NULL), 0);
	expect_hit(&l, "shared");
	assert_int_equal(the.gets, 0);
	assert_int_equal(atomic_load(&so.calls), 0);
}

static void who_misses_it_meanwhile_loads_if_nothing_comes(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct asker a = {.c = c, .w = tagged(&so), .text = "loaded"};
	struct looked l;
	pthread_t t;

	(void)state;
	assert_int_equal(fetch(c, &a.w, &l), OK);
	assert_int_equal(pthread_create(&t, NULL, ask, &a), 0);
	wait_for_waiters(c, 1);
	assert_true(answer_comes());
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(l.times, 1);
	assert_int_equal(l.f.hit, CACHE_MISS);
	assert_int_equal(the.gets, 1);
	assert_int_equal(atomic_load(&so.calls), 1);
}

/* --- when it is not for this ------------------------------------------------------ */

static void expect_nothing_asked(struct cache *c, const struct cache_want *w)
{
	unsigned asks = the.asks;
	struct looked l;

	assert_int_equal(fetch(c, w, &l), ERR_UNAVAILABLE);
	assert_int_equal(the.asks, asks);
	assert_int_equal(l.times, 0);
	assert_int_equal(l.f.hit, CACHE_MISS);
	assert_null(l.f.value);
	assert_false(l.f.asked);
}

static void what_memory_has_fresh_or_stale_is_not_asked_for(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct cache_want w = tagged(&so);

	(void)state;
	w.stale_ms = 50000;
	(void)expect(c, &w, "loaded");
	expect_nothing_asked(c, &w);
	the.proof_ms += 100000;
	clock_move(100000);
	w.now_ms = mono_ms();
	w.deadline_ms = w.now_ms + 10000;
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
	expect_nothing_asked(c, &w);
}

static void what_is_asked_for_already_is_not_asked_for(void **state)
{
	AUTO(cache) c = shared();
	struct source so = {.text = "loaded"};
	struct cache_want w = tagged(&so);
	struct looked l;

	(void)state;
	assert_int_equal(fetch(c, &w, &l), OK);
	expect_nothing_asked(c, &w);
	assert_true(answer_comes());
	assert_int_equal(l.times, 1);
	assert_int_equal(fetch(c, &w, &l), OK);
	assert_true(answer_comes());
}

static void tiers_that_are_passed_by_and_keys_too_long_are_not_asked(
	void **state)
{
	static const char bytes[CACHE_KEY_MAX + 1] = "long";
	AUTO(cache) c = shared();
	AUTO(cache) alone = memory(1 << 20);
	struct source so = {.text = "loaded"};
	const struct cache_want usual = tagged(&so);
	struct cache_want w = usual;

	(void)state;
	w.skip = CACHE_SKIP_REMOTE_READ;
	expect_nothing_asked(c, &w);
	w.skip = CACHE_SKIP_MEMORY_READ;
	expect_nothing_asked(c, &w);
	w = usual;
	w.deadline_ms = w.now_ms;
	expect_nothing_asked(c, &w);
	w = usual;
	w.key = (struct str){bytes, sizeof(bytes)};
	expect_nothing_asked(c, &w);
	expect_nothing_asked(alone, &usual);
}

/* --- memory ----------------------------------------------------------------------- */

static void without_memory_it_is_as_if_nothing_were_found(void **state)
{
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		AUTO(cache) c = shared();
		struct source so = {.text = "loaded"};
		struct cache_want w = tagged(&so);
		struct looked l;
		enum err e;

		remote_has("shared", 500, 500);
		alloc_fault_arm(n);
		e = fetch(c, &w, &l);
		assert_int_equal(answer_comes(), !e);
		if (!alloc_fault_disarm()) {
			expect_hit(&l, "shared");
			break;
		}
		assert_int_equal(l.times, !e);
		cache_put_back(l.f.value);
		w.fetched = &l.f;
		(void)expect(c, &w, NULL);
	}
	assert_true(n > 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_is_the_asker_s_and_in_memory),
		cmocka_unit_test(not_found_comes_too),
		cmocka_unit_test(it_counts_as_a_miss_and_its_load),
		cmocka_unit_test(
			it_is_waited_for_until_the_soft_limit_or_the_deadline),
		cmocka_unit_test(what_is_forgotten_meanwhile_is_not_kept),
		cmocka_unit_test(
			what_it_has_not_is_loaded_without_asking_again),
		cmocka_unit_test(
			a_remote_that_gives_no_answer_is_not_asked_again),
		cmocka_unit_test(an_old_value_is_there_to_fall_back_on),
		cmocka_unit_test(who_misses_it_meanwhile_gets_what_comes),
		cmocka_unit_test(
			who_misses_it_meanwhile_loads_if_nothing_comes),
		cmocka_unit_test(
			what_memory_has_fresh_or_stale_is_not_asked_for),
		cmocka_unit_test(what_is_asked_for_already_is_not_asked_for),
		cmocka_unit_test(
			tiers_that_are_passed_by_and_keys_too_long_are_not_asked),
		cmocka_unit_test(without_memory_it_is_as_if_nothing_were_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
