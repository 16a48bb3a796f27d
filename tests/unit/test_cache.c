#include "common/cache/cache.h"

#include "common/base/clock.h"
#include "tests/alloc_fault.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define FAR_MS (UINT64_MAX / 2)

/* A loader that a test holds in its hand. */
struct source {
	atomic_int calls;
	enum err err;
	const char *text;
	atomic_bool hold; /* the loader waits while set */
	void (*meanwhile)(struct source *so);
	struct cache *cache;
};

static enum err load(void *arg, struct buf *out)
{
	struct source *so = arg;

	atomic_fetch_add(&so->calls, 1);
	if (so->meanwhile)
		so->meanwhile(so);
	while (atomic_load(&so->hold))
		(void)usleep(200);
	if (so->err)
		return so->err;
	buf_str(out, str_from(so->text));
	return OK;
}

static struct cache_want want(struct source *so, const char *key,
                              uint64_t now_ms)
{
	return (struct cache_want){.key = str_from(key),
	                           .ttl_ms = 1000,
	                           .now_ms = now_ms,
	                           .deadline_ms = FAR_MS,
	                           .load = load,
	                           .arg = so};
}

/* Loads and compares; NULL text: any. */
static enum cache_from expect(struct cache *c, const struct cache_want *w,
                              const char *text)
{
	AUTO(cache_value) v = NULL;
	enum cache_from from = CACHE_FROM_STALE;

	assert_int_equal(cache_load(c, w, &v, &from), OK);
	if (text)
		assert_true(str_eq(cache_bytes(v), str_from(text)));
	return from;
}

static enum cache_hit peek(struct cache *c, const char *key, uint64_t now_ms)
{
	AUTO(cache_value) v = NULL;

	return cache_peek(c, str_from(key), now_ms, &v);
}

static void a_value_is_loaded_once_and_then_remembered(void **state)
{
	AUTO(cache) c = cache_new(1 << 20);
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
	AUTO(cache) c = cache_new(1 << 20);
	struct source so = {.text = ""};
	struct cache_want w = want(&so, "", 0);

	(void)state;
	assert_int_equal(expect(c, &w, ""), CACHE_FROM_LOADER);
	assert_int_equal(expect(c, &w, ""), CACHE_FROM_MEMORY);
}

static void a_value_is_gone_at_its_deadline(void **state)
{
	AUTO(cache) c = cache_new(1 << 20);
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
	AUTO(cache) c = cache_new(1 << 20);
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
	AUTO(cache) c = cache_new(1 << 20);
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
	AUTO(cache) c = cache_new(1 << 20);
	struct source so = {.err = ERR_NOT_FOUND};
	struct cache_want w = want(&so, "k", 0);
	struct cache_value *v = NULL;
	enum cache_from from;

	(void)state;
	assert_int_equal(cache_load(c, &w, &v, &from), ERR_NOT_FOUND);
	assert_int_equal(peek(c, "k", 0), CACHE_MISS);
	w.negative_ttl_ms = 100;
	assert_int_equal(cache_load(c, &w, &v, &from), ERR_NOT_FOUND);
	assert_int_equal(cache_load(c, &w, &v, &from), ERR_NOT_FOUND);
	assert_int_equal(atomic_load(&so.calls), 2);
	assert_int_equal(peek(c, "k", 0), CACHE_NEGATIVE);
	assert_int_equal(peek(c, "k", 100), CACHE_MISS);
	assert_null(v);
}

static void not_found_replaces_an_old_value(void **state)
{
	AUTO(cache) c = cache_new(1 << 20);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);
	struct cache_value *v = NULL;
	enum cache_from from;

	(void)state;
	w.stale_ms = 10000;
	(void)expect(c, &w, "v");
	so.err = ERR_NOT_FOUND;
	w.now_ms = 1500;
	assert_int_equal(cache_load(c, &w, &v, &from), ERR_NOT_FOUND);
	so.err = ERR_DATABASE;
	assert_int_equal(cache_load(c, &w, &v, &from), ERR_DATABASE);
}

static void a_stale_value_is_served_while_the_loader_fails(void **state)
{
	AUTO(cache) c = cache_new(1 << 20);
	struct source so = {.text = "old"};
	struct cache_want w = want(&so, "k", 0);
	struct cache_value *v = NULL;
	enum cache_from from;

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
	assert_int_equal(cache_load(c, &w, &v, &from), ERR_DATABASE);
}

static void a_tag_takes_all_that_carry_it(void **state)
{
	AUTO(cache) c = cache_new(1 << 20);
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

static void forget_key(struct source *so)
{
	cache_forget(so->cache, STR("k"));
}

static void forget_tag(struct source *so)
{
	cache_forget_tag(so->cache, STR("t"));
}

static void clear(struct source *so)
{
	cache_clear(so->cache);
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
	                                                clear};

	(void)state;
	for (size_t i = 0; i < COUNTOF(ways); i++) {
		AUTO(cache) c = cache_new(1 << 20);
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
	AUTO(cache) c = cache_new(1 << 20);
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
	AUTO(cache) c = cache_new(1 << 20);
	AUTO(cache_value) v = NULL;

	(void)state;
	cache_store(c, &(struct cache_want){.key = STR("k"), .ttl_ms = 1000},
	            STR("value"));
	assert_int_equal(cache_peek(c, STR("k"), 0, &v), CACHE_HIT);
	cache_clear(c);
	assert_int_equal(peek(c, "k", 0), CACHE_MISS);
	assert_true(str_eq(cache_bytes(v), STR("value")));
}

static void what_is_too_large_is_handed_out_and_not_kept(void **state)
{
	AUTO(cache) c = cache_new(256 << 10);
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
	AUTO(cache) c = cache_new(0);
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);

	(void)state;
	assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
	assert_int_equal(expect(c, &w, "v"), CACHE_FROM_LOADER);
}

/* Deterministic noise. */
static unsigned noise(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*seed >> 33);
}

static void bytes_never_exceed_the_bound(void **state)
{
	AUTO(cache) c = cache_new(2 << 20);
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
	if (cache_peek(c, w.key, 0, &v) == CACHE_HIT)
		return true;
	cache_store(c, &w, STR("0123456789abcdef"));
	return false;
}

static void hot_keys_survive_a_scan_better_than_with_lru(void **state)
{
	/* One shard, so that both have the same number of entries. */
	AUTO(cache) c = cache_new(200 << 10);
	struct lru *l = calloc(1, sizeof(*l));
	unsigned sieve_hits = 0, lru_hits = 0, asked = 0;
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
		sieve_hits += hot && a;
		lru_hits += hot && b;
	}
	free(l);
	print_message("hot keys hit: SIEVE %u %%, LRU %u %%\n",
	              sieve_hits * 100 / asked, lru_hits * 100 / asked);
	assert_true(sieve_hits > lru_hits + lru_hits / 4);
}

static void an_entry_asked_for_again_outlives_one_that_was_not(void **state)
{
	AUTO(cache) c = cache_new(200 << 10);

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
	AUTO(cache) c = cache_new(200 << 10);
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

/* --- many threads ------------------------------------------------------------ */

#define CROWD 64

struct crowd {
	struct cache *c;
	struct source so;
	struct cache_want w;
	atomic_int ok, stale, timeouts, others;
};

static void *one_of_the_crowd(void *arg)
{
	struct crowd *cr = arg;
	AUTO(cache_value) v = NULL;
	enum cache_from from;
	const struct cache_want w = cr->w; /* the test goes on to change it */
	enum err e = cache_load(cr->c, &w, &v, &from);

	if (!e && from == CACHE_FROM_STALE)
		atomic_fetch_add(&cr->stale, 1);
	else if (!e && str_eq(cache_bytes(v), STR("v")))
		atomic_fetch_add(&cr->ok, 1);
	else if (e == ERR_TIMEOUT)
		atomic_fetch_add(&cr->timeouts, 1);
	else
		atomic_fetch_add(&cr->others, 1);
	return NULL;
}

static void start_crowd(struct crowd *cr, pthread_t *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, one_of_the_crowd, cr), 0);
}

static void join_all(const pthread_t *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
}

static void wait_for_waiters(struct cache *c, uint64_t n)
{
	struct cache_stats st;

	do {
		(void)usleep(500);
		cache_stats(c, &st);
	} while (st.waits < n);
}

static void of_many_that_miss_one_loads(void **state)
{
	struct crowd cr = {.c = cache_new(1 << 20),
	                   .so = {.text = "v", .hold = true}};
	pthread_t t[CROWD];

	(void)state;
	assert_non_null(cr.c);
	cr.w = want(&cr.so, "k", mono_ms());
	start_crowd(&cr, t, CROWD);
	wait_for_waiters(cr.c, CROWD - 1);
	atomic_store(&cr.so.hold, false);
	join_all(t, CROWD);
	assert_int_equal(atomic_load(&cr.so.calls), 1);
	assert_int_equal(atomic_load(&cr.ok), CROWD);
	cache_free(cr.c);
}

static void one_who_waits_leaves_at_its_own_deadline(void **state)
{
	struct crowd cr = {.c = cache_new(1 << 20),
	                   .so = {.text = "v", .hold = true}};
	pthread_t leader, t[4];

	(void)state;
	assert_non_null(cr.c);
	cr.w = want(&cr.so, "k", mono_ms());
	start_crowd(&cr, &leader, 1);
	while (atomic_load(&cr.so.calls) == 0)
		(void)usleep(200);
	cr.w.deadline_ms = cr.w.now_ms + 30;
	start_crowd(&cr, t, COUNTOF(t));
	join_all(t, COUNTOF(t));
	assert_int_equal(atomic_load(&cr.timeouts), COUNTOF(t));
	atomic_store(&cr.so.hold, false);
	join_all(&leader, 1);
	/* The flight went on without them. */
	assert_int_equal(peek(cr.c, "k", cr.w.now_ms), CACHE_HIT);
	assert_int_equal(atomic_load(&cr.so.calls), 1);
	cache_free(cr.c);
}

static void one_who_waits_falls_back_on_the_stale_value(void **state)
{
	struct crowd cr = {.c = cache_new(1 << 20), .so = {.text = "v"}};
	pthread_t leader, t;

	(void)state;
	assert_non_null(cr.c);
	cr.w = want(&cr.so, "k", 0);
	cr.w.stale_ms = 100000;
	(void)expect(cr.c, &cr.w, "v");
	cr.w.now_ms = 2000;
	atomic_store(&cr.so.hold, true);
	start_crowd(&cr, &leader, 1);
	while (atomic_load(&cr.so.calls) < 2)
		(void)usleep(200);
	cr.w.deadline_ms = 2030;
	start_crowd(&cr, &t, 1);
	join_all(&t, 1);
	assert_int_equal(atomic_load(&cr.stale), 1);
	atomic_store(&cr.so.hold, false);
	join_all(&leader, 1);
	cache_free(cr.c);
}

static void forget_and_load_anew(void (*forget)(struct source *so))
{
	struct crowd cr = {.c = cache_new(1 << 20),
	                   .so = {.text = "v", .hold = true}};
	struct source now = {.text = "new"};
	struct cache_want w = want(&now, "k", 0);
	pthread_t leader, t[3];

	assert_non_null(cr.c);
	cr.so.cache = cr.c;
	cr.w = want(&cr.so, "k", 0);
	cr.w.tags_n = w.tags_n = 1;
	cr.w.tags[0] = w.tags[0] = STR("t");
	start_crowd(&cr, &leader, 1);
	while (atomic_load(&cr.so.calls) == 0)
		(void)usleep(200);
	start_crowd(&cr, t, COUNTOF(t));
	wait_for_waiters(cr.c, COUNTOF(t));
	forget(&cr.so);
	assert_int_equal(expect(cr.c, &w, "new"), CACHE_FROM_LOADER);
	atomic_store(&cr.so.hold, false);
	join_all(&leader, 1);
	join_all(t, COUNTOF(t));
	/* Those who waited before got what they waited for. */
	assert_int_equal(atomic_load(&cr.ok), 1 + COUNTOF(t));
	assert_int_equal(expect(cr.c, &w, "new"), CACHE_FROM_MEMORY);
	cache_free(cr.c);
}

static void after_forget_nobody_joins_the_old_flight(void **state)
{
	(void)state;
	forget_and_load_anew(forget_key);
	forget_and_load_anew(forget_tag);
	forget_and_load_anew(clear);
}

static enum err give_up_first(void *arg, struct buf *out)
{
	struct source *so = arg;

	if (atomic_fetch_add(&so->calls, 1) == 0) {
		while (atomic_load(&so->hold))
			(void)usleep(200);
		return ERR_TIMEOUT;
	}
	buf_str(out, str_from(so->text));
	return OK;
}

static void a_leader_out_of_time_is_followed_by_another(void **state)
{
	struct crowd cr = {.c = cache_new(1 << 20),
	                   .so = {.text = "v", .hold = true}};
	pthread_t t[8];

	(void)state;
	assert_non_null(cr.c);
	cr.w = want(&cr.so, "k", mono_ms());
	cr.w.load = give_up_first;
	start_crowd(&cr, t, COUNTOF(t));
	wait_for_waiters(cr.c, COUNTOF(t) - 1);
	atomic_store(&cr.so.hold, false);
	join_all(t, COUNTOF(t));
	assert_int_equal(atomic_load(&cr.timeouts), 1);
	assert_int_equal(atomic_load(&cr.ok), COUNTOF(t) - 1);
	assert_int_equal(atomic_load(&cr.so.calls), 2);
	cache_free(cr.c);
}

struct storm {
	struct cache *c;
	unsigned nr;
	atomic_int wrong;
};

static enum err echo(void *arg, struct buf *out)
{
	buf_str(out, *(const struct str *)arg);
	return OK;
}

/* Every value is its key, whatever is stored, forgotten and evicted. */
static void *weather(void *arg)
{
	struct storm *st = arg;
	uint64_t seed = st->nr;

	for (unsigned i = 0; i < 4000; i++) {
		AUTO(cache_value) v = NULL;
		enum cache_from from;
		char z[16];
		struct str key = {z, 0};
		struct cache_want w = {.ttl_ms = 20,
		                       .stale_ms = 20,
		                       .now_ms = i / 10,
		                       .deadline_ms = FAR_MS,
		                       .tags_n = 1,
		                       .tags = {STR("t")},
		                       .load = echo,
		                       .arg = &key};

		key.n = (size_t)snprintf(z, sizeof(z), "%u",
		                         noise(&seed) % 700);
		w.key = key;
		switch (noise(&seed) % 16) {
		case 0:
			cache_forget(st->c, key);
			break;
		case 1:
			cache_store(st->c, &w, key);
			break;
		case 2:
			if (i % 97 == 0)
				cache_forget_tag(st->c, STR("t"));
			break;
		case 3:
			if (i % 331 == 0)
				cache_clear(st->c);
			break;
		default:
			if (cache_load(st->c, &w, &v, &from) ||
			    !str_eq(cache_bytes(v), key))
				atomic_fetch_add(&st->wrong, 1);
		}
	}
	return NULL;
}

static void threads_that_do_everything_at_once_agree(void **state)
{
	AUTO(cache) c = cache_new(100 << 10);
	struct storm st[4] = {{0}};
	pthread_t t[COUNTOF(st)];

	(void)state;
	for (unsigned i = 0; i < COUNTOF(st); i++) {
		st[i].c = c;
		st[i].nr = i + 1;
		assert_int_equal(pthread_create(&t[i], NULL, weather, &st[i]),
		                 0);
	}
	join_all(t, COUNTOF(t));
	for (unsigned i = 0; i < COUNTOF(st); i++)
		assert_int_equal(atomic_load(&st[i].wrong), 0);
}

/* --- failing memory ----------------------------------------------------------- */

static bool use_everything(void)
{
	AUTO(cache) c = cache_new(600 << 10);
	AUTO(cache_value) v = NULL, again = NULL;
	struct source so = {.text = "v"};
	struct cache_want w = want(&so, "k", 0);
	enum cache_from from;
	enum err e;

	if (!c)
		return false;
	w.stale_ms = 1000;
	w.negative_ttl_ms = 10;
	e = cache_load(c, &w, &v, &from);
	assert_true(e == OK || e == ERR_NOMEM);
	w.now_ms = 1000;
	so.err = ERR_DATABASE;
	e = cache_load(c, &w, &again, &from);
	assert_true(e == OK || e == ERR_DATABASE);
	cache_store(c, &w, STR("w"));
	/* Kept whole or not at all. */
	cache_put_back(STEAL(again));
	if (cache_peek(c, STR("k"), 1000, &again) == CACHE_HIT)
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
		cmocka_unit_test(a_value_is_gone_at_its_deadline),
		cmocka_unit_test(times_to_live_differ_by_up_to_a_tenth),
		cmocka_unit_test(a_time_to_live_may_be_endless),
		cmocka_unit_test(not_found_is_remembered_for_its_own_time),
		cmocka_unit_test(not_found_replaces_an_old_value),
		cmocka_unit_test(
			a_stale_value_is_served_while_the_loader_fails),
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
		cmocka_unit_test(of_many_that_miss_one_loads),
		cmocka_unit_test(one_who_waits_leaves_at_its_own_deadline),
		cmocka_unit_test(one_who_waits_falls_back_on_the_stale_value),
		cmocka_unit_test(after_forget_nobody_joins_the_old_flight),
		cmocka_unit_test(a_leader_out_of_time_is_followed_by_another),
		cmocka_unit_test(threads_that_do_everything_at_once_agree),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
