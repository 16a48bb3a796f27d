#include "tests/alloc_fault.h"
#include "tests/unit/cache_fixture.h"

static void a_value_is_loaded_once_and_then_remembered(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);

	(void)state;
	assert_int_equal(peek(c, "k", 0), CACHE_MISS);
	assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
	assert_int_equal(expect(c, &w, "v"), CACHE_FROM_MEMORY);
	assert_int_equal(peek(c, "k", 0), CACHE_HIT);
	assert_int_equal(atomic_load(&so.calls), 1);
}

static void an_empty_value_and_an_empty_key_are_values(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = ""};
	struct cache_want w = want(&so, "", 0);

	(void)state;
	assert_int_equal(expect(c, &w, ""), CACHE_FROM_LOADER);
	assert_int_equal(expect(c, &w, ""), CACHE_FROM_MEMORY);
}

static void no_time_to_live_keeps_nothing(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);

	(void)state;
	(void)expect(c, &w, "v");
	/* Also takes away what was there. */
	w.ttl_ms = 0;
	w.stale_ms = 10000;
	w.skip = CACHE_SKIP_MEMORY_READ;
	assert_false(expect_info(c, &w, "v").stored);
	assert_int_equal(peek(c, "k", 0), CACHE_MISS);
	w.skip = 0;
	so.err = ERR_DATABASE;
	expect_error(c, &w, ERR_DATABASE);
}

static void a_value_is_gone_at_its_deadline(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 5000);

	(void)state;
	(void)expect(c, &w, "v");
	/* Jitter takes up to a tenth of the 1000 ms, and never adds. */
	assert_int_equal(peek(c, "k", 5899), CACHE_HIT);
	assert_int_equal(peek(c, "k", 6000), CACHE_MISS);
	w.now_ms = 6000;
	assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
}

static void times_to_live_differ_by_up_to_a_tenth(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	unsigned gone = 0;

	(void)state;
	for (int i = 0; i < 200; i++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "k%d", i);
		cache_store(c,
		            &(struct cache_want){.key = str_from(key),
		                                 .ttl_ms = 1000},
		            STR("v"));
	}
	for (int i = 0; i < 200; i++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(peek(c, key, 899), CACHE_HIT);
		gone += peek(c, key, 950) == CACHE_MISS;
		assert_int_equal(peek(c, key, 1000), CACHE_MISS);
	}
	assert_in_range(gone, 40, 160);
}

static void a_time_to_live_may_be_endless(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	const struct cache_want w = {.key = STR("k"),
	                             .ttl_ms = UINT64_MAX,
	                             .stale_ms = UINT64_MAX,
	                             .now_ms = 7};

	(void)state;
	cache_store(c, &w, STR("v"));
	assert_int_equal(peek(c, "k", UINT64_MAX / 2), CACHE_HIT);
}

static void not_found_is_remembered_for_its_own_time(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.err = ERR_NOT_FOUND};
	struct cache_want w = want(&so, "k", 0);
	struct cache_value *v = NULL;
	struct cache_info info;

	(void)state;
	assert_int_equal(cache_load(c, &w, &v, &info), ERR_NOT_FOUND);
	assert_int_equal(peek(c, "k", 0), CACHE_MISS);
	w.negative_ttl_ms = 100;
	assert_int_equal(cache_load(c, &w, &v, &info), ERR_NOT_FOUND);
	assert_int_equal(cache_load(c, &w, &v, &info), ERR_NOT_FOUND);
	assert_int_equal(atomic_load(&so.calls), 2);
	assert_int_equal(peek(c, "k", 0), CACHE_NEGATIVE);
	assert_int_equal(peek(c, "k", 100), CACHE_MISS);
	assert_null(v);
}

static void not_found_replaces_an_old_value(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);
	struct cache_value *v = NULL;
	struct cache_info info;

	(void)state;
	w.stale_ms = 10000;
	(void)expect(c, &w, "v");
	so.err = ERR_NOT_FOUND;
	w.now_ms = 1500;
	assert_int_equal(cache_load(c, &w, &v, &info), ERR_NOT_FOUND);
	so.err = ERR_DATABASE;
	assert_int_equal(cache_load(c, &w, &v, &info), ERR_DATABASE);
}

static void a_stale_value_is_served_while_the_loader_fails(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "old"};
	struct cache_want w = want(&so, "k", 0);
	struct cache_value *v = NULL;
	struct cache_info info;

	(void)state;
	w.stale_ms = 5000;
	(void)expect(c, &w, "old");
	so.err = ERR_DATABASE;
	w.now_ms = 1000;
	assert_int_equal(peek(c, "k", 1000), CACHE_MISS);
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_STALE);
	assert_int_equal(atomic_load(&so.calls), 2);
	/* A loader that fails is left alone for a while. */
	w.now_ms = 1500;
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_STALE);
	assert_int_equal(atomic_load(&so.calls), 2);
	w.now_ms = 2500;
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_STALE);
	assert_int_equal(atomic_load(&so.calls), 3);
	so = (struct source){.text = "new"};
	w.now_ms = 4000;
	assert_int_equal(expect(c, &w, "new"), CACHE_FROM_LOADER);
	/* Past stale_ms there is nothing to fall back on. */
	so.err = ERR_DATABASE;
	w.now_ms = 10001;
	assert_int_equal(cache_load(c, &w, &v, &info), ERR_DATABASE);
}

static void without_a_loader_what_there_is_serves(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "old"};
	struct cache_want w = want(&so, "k", 0);
	struct cache_want look;
	struct cache_value *v = NULL;
	struct cache_info info;
	struct cache_stats st;

	(void)state;
	w.stale_ms = 5000;
	look = w;
	look.load = NULL;
	assert_int_equal(cache_load(c, &look, &v, &info), ERR_UNAVAILABLE);
	(void)expect(c, &w, "old");
	look.now_ms = w.now_ms = 1000;
	assert_int_equal(expect(c, &look, "old"), CACHE_FROM_STALE);
	/* Nothing has failed, so that a loader is asked at once. */
	cache_stats(c, &st);
	assert_int_equal(st.load_failures, 0);
	so.text = "new";
	assert_int_equal(expect(c, &w, "new"), CACHE_FROM_LOADER);
}

static void a_tag_takes_all_that_carry_it(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct cache_want w = {.ttl_ms = 1000, .tags_n = 2};

	(void)state;
	w.tags[0] = STR("person:1");
	w.tags[1] = STR("board");
	w.key = STR("a");
	cache_store(c, &w, STR("1"));
	w.tags[0] = STR("person:2");
	w.key = STR("b");
	cache_store(c, &w, STR("2"));
	w.tags_n = 0;
	w.key = STR("c");
	cache_store(c, &w, STR("3"));
	cache_forget_tag(c, STR("person:1"));
	assert_int_equal(peek(c, "a", 0), CACHE_MISS);
	assert_int_equal(peek(c, "b", 0), CACHE_HIT);
	cache_forget_tag(c, STR("board"));
	assert_int_equal(peek(c, "b", 0), CACHE_MISS);
	assert_int_equal(peek(c, "c", 0), CACHE_HIT);
}

static void store_newer(struct source *so)
{
	cache_store(so->cache,
	            &(struct cache_want){.key = STR("k"), .ttl_ms = 1000},
	            STR("newer"));
}

static void what_is_forgotten_during_its_load_is_not_kept(void **state)
{
	static void (*const ways[])(struct source *) = {forget_key, forget_tag,
	                                                forget_all};

	(void)state;
	for (size_t i = 0; i < COUNTOF(ways); i++) {
		AUTO(cache) c = memory(1 << 20);
		struct source so = {.text = "v",
		                    .meanwhile = ways[i],
		                    .cache = c};
		struct cache_want w = want(&so, "k", 0);

		w.tags_n = 1;
		w.tags[0] = STR("t");
		assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
		assert_int_equal(peek(c, "k", 0), CACHE_MISS);
	}
}

static void a_load_does_not_overwrite_what_was_stored_meanwhile(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "older",
	                    .meanwhile = store_newer,
	                    .cache = c};
	struct cache_want w = want(&so, "k", 0);

	(void)state;
	(void)expect(c, &w, "older");
	assert_int_equal(expect(c, &w, "newer"), CACHE_FROM_MEMORY);
}

static void a_borrowed_value_outlives_its_entry(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	AUTO(cache_value) v = NULL;

	(void)state;
	cache_store(c, &(struct cache_want){.key = STR("k"), .ttl_ms = 1000},
	            STR("value"));
	assert_int_equal(cache_peek(c, STR("k"), 0, &v, NULL), CACHE_HIT);
	cache_clear(c);
	assert_int_equal(peek(c, "k", 0), CACHE_MISS);
	assert_true(str_eq(cache_bytes(v), STR("value")));
}

static void what_is_too_large_is_handed_out_and_not_kept(void **state)
{
	AUTO(cache) c = memory(256 << 10);
	AUTO_BUF big = {0};
	char key[CACHE_KEY_MAX + 2];
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);
	struct cache_stats st;

	(void)state;
	for (int i = 0; i < 300 << 10; i++)
		buf_char(&big, 'x');
	buf_char(&big, '\0');
	so.text = big.p;
	assert_int_equal(expect(c, &w, big.p), CACHE_FROM_LOADER);
	assert_int_equal(peek(c, "k", 0), CACHE_MISS);
	so.text = "v";
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	w.key = str_from(key);
	assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
	cache_store(c, &w, STR("v"));
	cache_stats(c, &st);
	assert_int_equal(st.entries, 0);
}

static void a_cache_too_small_for_anything_still_loads(void **state)
{
	AUTO(cache) c = memory(0);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);

	(void)state;
	assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
	assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
}

static void bytes_never_exceed_the_bound(void **state)
{
	AUTO(cache) c = memory(2 << 20);
	AUTO_BUF value = {0};
	struct cache_stats st;
	uint64_t seed = 1;

	(void)state;
	assert_true(buf_reserve(&value, 64 << 10));
	memset(value.p, 'x', 64 << 10);
	for (unsigned i = 0; i < 20000; i++) {
		char key[32];
		size_t n = noise(&seed) % (i % 50 ? 900 : 60000);

		(void)snprintf(key, sizeof(key), "%u", noise(&seed) % 30000);
		cache_store(c,
		            &(struct cache_want){.key = str_from(key),
		                                 .ttl_ms = 1000,
		                                 .now_ms = i / 40},
		            (struct str){value.p, n});
		cache_stats(c, &st);
		assert_in_range(st.bytes, 0, st.max_bytes);
	}
	assert_true(st.evictions > 1000 && st.entries > 500);
	cache_clear(c);
	cache_stats(c, &st);
	assert_int_equal(st.entries, 0);
}

/* --- eviction --------------------------------------------------------------- */

#define LRU_MAX 4096

/* The textbook cache of as many entries, to compare with. */
struct lru {
	int key[LRU_MAX];
	uint64_t used[LRU_MAX];
	size_t n, max;
	uint64_t tick;
};

static bool lru_get_or_put(struct lru *l, int key)
{
	size_t coldest = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (l->key[i] == key) {
			l->used[i] = ++l->tick;
			return true;
		}
		if (l->used[i] < l->used[coldest])
			coldest = i;
	}
	if (l->n < l->max)
		coldest = l->n++;
	l->key[coldest] = key;
	l->used[coldest] = ++l->tick;
	return false;
}

static bool cache_get_or_put(struct cache *c, int key)
{
	AUTO(cache_value) v = NULL;
	char z[16];
	struct cache_want w = {.key = {z, 0}, .ttl_ms = FAR_MS};

	w.key.n = (size_t)snprintf(z, sizeof(z), "%08d", key);
	if (cache_peek(c, w.key, 0, &v, NULL) == CACHE_HIT)
		return true;
	cache_store(c, &w, STR("0123456789abcdef"));
	return false;
}

static void hot_keys_survive_a_scan_better_than_with_lru(void **state)
{
	/* One shard, so that both have the same number of entries. */
	AUTO(cache) c = memory(200 << 10);
	struct lru *l = calloc(1, sizeof(*l));
	unsigned our_hits = 0, lru_hits = 0, asked = 0;
	struct cache_stats st;
	uint64_t seed = 42;
	int scan = 1000000;

	(void)state;
	assert_non_null(l);
	for (int i = 0; i < 2000; i++)
		(void)cache_get_or_put(c, i);
	cache_stats(c, &st);
	l->max = (size_t)st.entries;
	assert_in_range(l->max, 100, LRU_MAX);
	cache_clear(c);
	/* Hot keys are three quarters of the room; three of four requests walk
	 * through keys that never come back. */
	for (unsigned i = 0; i < 60000; i++) {
		bool hot = noise(&seed) % 4 == 0;
		int key = hot ? (int)(noise(&seed) % (l->max * 3 / 4)) : scan++;
		bool a = cache_get_or_put(c, key);
		bool b = lru_get_or_put(l, key);

		asked += hot;
		our_hits += hot && a;
		lru_hits += hot && b;
	}
	free(l);
	print_message("hot keys hit: ours %u %%, LRU %u %%\n",
	              our_hits * 100 / asked, lru_hits * 100 / asked);
	assert_true(our_hits > lru_hits + lru_hits / 4);
}

static void an_entry_asked_for_again_outlives_one_that_was_not(void **state)
{
	AUTO(cache) c = memory(200 << 10);

	(void)state;
	for (int i = 0; i < 300; i++)
		(void)cache_get_or_put(c, i);
	for (int i = 0; i < 10000; i++) {
		(void)cache_get_or_put(c, 1000 + i);
		assert_true(cache_get_or_put(c, 7));
	}
	assert_false(cache_get_or_put(c, 8));
}

static void what_is_over_goes_before_what_is_asked_for(void **state)
{
	AUTO(cache) c = memory(200 << 10);
	struct cache_want w = {.ttl_ms = 10};
	struct cache_stats st;
	char z[16];

	(void)state;
	w.key.p = z;
	for (int i = 0; i < 300; i++) {
		w.key.n = (size_t)snprintf(z, sizeof(z), "%08d", i);
		cache_store(c, &w, STR("v"));
		assert_int_equal(peek(c, z, 0), CACHE_HIT);
	}
	cache_stats(c, &st);
	w.now_ms = 10;
	for (int i = 0; i < 3000 && st.expired == 0; i++) {
		w.key.n = (size_t)snprintf(z, sizeof(z), "n%d", i);
		cache_store(c, &w, STR("v"));
		cache_stats(c, &st);
	}
	assert_int_equal(st.expired, 1);
	assert_int_equal(st.evictions, 0);
}

/* --- where it came from ------------------------------------------------------- */

static void a_reply_can_say_where_its_value_came_from(void **state)
{
	static const struct {
		struct cache_info info;
		const char *text;
	} cases[] = {
		{{.from = CACHE_FROM_MEMORY, .ttl_ms = 376999},
	         "kae-x; hit; ttl=376; detail=memory"},
		{{.from = CACHE_FROM_REMOTE, .ttl_ms = 0},
	         "kae-x; hit; ttl=0; detail=remote"},
		{{.from = CACHE_FROM_LOADER}, "kae-x; fwd=miss"},
		{{.from = CACHE_FROM_LOADER, .stored = true, .ttl_ms = 2000},
	         "kae-x; fwd=miss; stored; ttl=2"},
		{{.from = CACHE_FROM_LOADER, .joined = true, .stored = true},
	         "kae-x; fwd=miss; collapsed; stored; ttl=0"},
		{{.from = CACHE_FROM_STALE,
	          .why = CACHE_LOAD_FAILED,
	          .late_ms = 7000},
	         "kae-x; fwd=stale; ttl=-7; detail=failsafe"},
		{{.from = CACHE_FROM_STALE, .why = CACHE_LOAD_SLOW},
	         "kae-x; fwd=stale; ttl=0; detail=slow"},
		{{.from = CACHE_FROM_STALE,
	          .why = CACHE_LOAD_SPARED,
	          .late_ms = 1000},
	         "kae-x; hit; ttl=-1; detail=failsafe"},
		{{.from = CACHE_FROM_MEMORY, .ttl_ms = UINT64_MAX},
	         "kae-x; hit; ttl=18446744073709551; detail=memory"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		char out[CACHE_STATUS_MAX];
		struct str s = cache_status("kae-x", &cases[i].info, out);

		assert_true(s.n < sizeof(out));
		assert_memory_equal(s.p, cases[i].text,
		                    strlen(cases[i].text) + 1);
	}
}

static void a_name_too_long_for_a_reply_says_nothing(void **state)
{
	const struct cache_info info = {.from = CACHE_FROM_LOADER,
	                                .stored = true};
	char name[CACHE_STATUS_MAX], out[CACHE_STATUS_MAX];

	(void)state;
	memset(name, 'x', sizeof(name));
	for (size_t n = 0; n < sizeof(name); n++) {
		name[n] = '\0';
		assert_in_range(cache_status(name, &info, out).n, 0,
		                sizeof(out) - 1);
		name[n] = 'x';
	}
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(cache_status(name, &info, out).n, 0);
}

static void an_answer_knows_its_age_and_what_is_left_of_it(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 100);
	AUTO(cache_value) v = NULL;
	struct cache_info info;

	(void)state;
	w.stale_ms = 10000;
	info = expect_info(c, &w, "v");
	assert_true(info.stored && !info.joined);
	assert_int_equal(cache_peek(c, w.key, 300, &v, &info), CACHE_HIT);
	assert_int_equal(info.from, CACHE_FROM_MEMORY);
	assert_in_range(info.age_ms, 195, 200);
	assert_in_range(info.ttl_ms, 700, 800);
	assert_int_equal(info.late_ms, 0);
	so.err = ERR_DATABASE;
	w.now_ms = 3000;
	info = expect_info(c, &w, "v");
	assert_int_equal(info.from, CACHE_FROM_STALE);
	assert_int_equal(info.why, CACHE_LOAD_FAILED);
	assert_in_range(info.late_ms, 1900, 2010);
	assert_int_equal(info.ttl_ms, 0);
}

static void an_answer_of_the_loader_is_not_covered_up(void **state)
{
	AUTO(cache) c = memory(1 << 20);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);

	(void)state;
	w.stale_ms = 10000;
	(void)expect(c, &w, "v");
	/* Nothing is broken: it says no. */
	so.err = ERR_DENIED;
	w.now_ms = 2000;
	expect_error(c, &w, ERR_DENIED);
	expect_error(c, &w, ERR_DENIED);
	assert_int_equal(atomic_load(&so.calls), 3);
}

/* --- failing memory ----------------------------------------------------------- */

static bool use_everything(void)
{
	AUTO(cache) c = memory(600 << 10);
	AUTO(cache_value) v = NULL, again = NULL;
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);
	struct cache_info info;
	enum err e;

	if (!c)
		return false;
	w.stale_ms = 1000;
	w.negative_ttl_ms = 10;
	e = cache_load(c, &w, &v, &info);
	assert_true(e == OK || e == ERR_NOMEM);
	w.now_ms = 1000;
	so.err = ERR_DATABASE;
	e = cache_load(c, &w, &again, &info);
	assert_true(e == OK || e == ERR_DATABASE);
	cache_store(c, &w, STR("w"));
	/* Kept whole or not at all. */
	cache_put_back(STEAL(again));
	if (cache_peek(c, STR("k"), 1000, &again, NULL) == CACHE_HIT)
		assert_true(str_eq(cache_bytes(again), STR("w")));
	cache_forget(c, STR("k"));
	return true;
}

static void every_allocation_may_fail(void **state)
{
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		alloc_fault_arm(n);
		(void)use_everything();
		if (!alloc_fault_disarm())
			break;
	}
	assert_true(n > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_is_loaded_once_and_then_remembered),
		cmocka_unit_test(an_empty_value_and_an_empty_key_are_values),
		cmocka_unit_test(no_time_to_live_keeps_nothing),
		cmocka_unit_test(a_value_is_gone_at_its_deadline),
		cmocka_unit_test(times_to_live_differ_by_up_to_a_tenth),
		cmocka_unit_test(a_time_to_live_may_be_endless),
		cmocka_unit_test(not_found_is_remembered_for_its_own_time),
		cmocka_unit_test(not_found_replaces_an_old_value),
		cmocka_unit_test(
			a_stale_value_is_served_while_the_loader_fails),
		cmocka_unit_test(without_a_loader_what_there_is_serves),
		cmocka_unit_test(a_tag_takes_all_that_carry_it),
		cmocka_unit_test(what_is_forgotten_during_its_load_is_not_kept),
		cmocka_unit_test(
			a_load_does_not_overwrite_what_was_stored_meanwhile),
		cmocka_unit_test(a_borrowed_value_outlives_its_entry),
		cmocka_unit_test(what_is_too_large_is_handed_out_and_not_kept),
		cmocka_unit_test(a_cache_too_small_for_anything_still_loads),
		cmocka_unit_test(bytes_never_exceed_the_bound),
		cmocka_unit_test(hot_keys_survive_a_scan_better_than_with_lru),
		cmocka_unit_test(
			an_entry_asked_for_again_outlives_one_that_was_not),
		cmocka_unit_test(what_is_over_goes_before_what_is_asked_for),
		cmocka_unit_test(a_reply_can_say_where_its_value_came_from),
		cmocka_unit_test(a_name_too_long_for_a_reply_says_nothing),
		cmocka_unit_test(
			an_answer_knows_its_age_and_what_is_left_of_it),
		cmocka_unit_test(an_answer_of_the_loader_is_not_covered_up),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
