/* Soft and hard limits, eager refresh, and the threads behind them. */
#include "tests/alloc_fault.h"
#include "tests/unit/cache_clock.h"
#include "tests/unit/cache_fixture.h"

#include "common/base/clock.h"

static struct cache *with_threads(unsigned n)
{
	return cache_new(&(struct cache_conf){
		.max_bytes = 1 << 20, .threads = n, .seed = 7});
}

/* A value with soft and hard limits that can be loaded in the background. */
static struct cache_want patient(struct source *so, const char *key)
{
	struct cache_want w = want(so, key, mono_ms());

	w.deadline_ms = w.now_ms + 10000;
	w.stale_ms = 100000;
	w.soft_ms = 100;
	w.detach = detach;
	w.drop = drop;
	return w;
}

static void half_a_second_passes(struct source *so)
{
	(void)so;
	clock_move(500);
}

/* "old" in the cache, over its time. */
static void make_stale(struct cache *c, const char *key)
{
	struct source so = {.text = "old"};
	const struct cache_want w = patient(&so, key);

	cache_store(c, &w, STR("old"));
	clock_move(1000);
	assert_int_equal(peek(c, key, mono_ms()), CACHE_MISS);
}

/* Waits for the load in the background to end. */
static void wait_for_text(struct cache *c, const char *key, const char *text)
{
	bool there = false;

	while (!there) {
		AUTO(cache_value) v = NULL;

		there = cache_peek(c, str_from(key), mono_ms(), &v, NULL) ==
		                CACHE_HIT &&
		        str_eq(cache_bytes(v), str_from(text));
		(void)usleep(200);
	}
}

static void wait_for_drops(struct source *so, int n)
{
	while (atomic_load(&so->dropped) < n)
		(void)usleep(200);
}

/* --- soft limit --------------------------------------------------------------- */

static void a_slow_load_is_not_waited_for_where_there_is_an_old_value(
	void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "new",
	                    .hold = true,
	                    .meanwhile = half_a_second_passes};
	struct cache_want w;
	struct cache_info info;
	struct cache_stats st;

	(void)state;
	make_stale(c, "k");
	w = patient(&so, "k");
	info = expect_info(c, &w, "old");
	assert_int_equal(info.from, CACHE_FROM_STALE);
	assert_int_equal(info.why, CACHE_LOAD_SLOW);
	assert_in_range(info.late_ms, 0, 100);
	/* It goes on, and what it brings is kept. */
	assert_int_equal(atomic_load(&so.dropped), 0);
	atomic_store(&so.hold, false);
	wait_for_text(c, "k", "new");
	wait_for_drops(&so, 1);
	cache_stats(c, &st);
	assert_int_equal(st.soft_timeouts, 1);
	assert_int_equal(st.background_loads, 1);
	assert_int_equal(st.stale_served, 1);
}

static void a_load_that_is_quick_enough_is_waited_for(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "new"};
	struct cache_want w;
	struct cache_info info;

	(void)state;
	make_stale(c, "k");
	w = patient(&so, "k");
	info = expect_info(c, &w, "new");
	assert_int_equal(info.from, CACHE_FROM_LOADER);
	assert_true(info.stored && !info.joined);
	wait_for_drops(&so, 1);
	assert_int_equal(atomic_load(&so.detached), 1);
}

static void those_who_join_a_slow_load_take_the_old_value_too(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "new",
	                    .hold = true,
	                    .meanwhile = half_a_second_passes};
	struct cache_want w;
	struct cache_stats st;

	(void)state;
	make_stale(c, "k");
	w = patient(&so, "k");
	(void)expect(c, &w, "old");
	/* This one has waited all the time that he would. */
	w.now_ms = mono_ms();
	w.soft_ms = 1;
	w.deadline_ms = w.now_ms;
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_STALE);
	assert_int_equal(atomic_load(&so.calls), 1);
	cache_stats(c, &st);
	assert_int_equal(st.waits, 1);
	atomic_store(&so.hold, false);
	wait_for_text(c, "k", "new");
}

static void without_detach_a_load_stays_with_who_asked(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "new", .meanwhile = half_a_second_passes};
	struct cache_want w;

	(void)state;
	make_stale(c, "k");
	w = patient(&so, "k");
	w.detach = NULL;
	w.drop = NULL;
	assert_int_equal(expect(c, &w, "new"), CACHE_FROM_LOADER);
	make_stale(c, "k");
	w = patient(&so, "k");
	so.cannot_detach = true;
	assert_int_equal(expect(c, &w, "new"), CACHE_FROM_LOADER);
	assert_int_equal(atomic_load(&so.dropped), 0);
}

static void where_all_threads_are_busy_a_load_stays_with_who_asked(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source slow = {.text = "new",
	                      .hold = true,
	                      .meanwhile = half_a_second_passes};
	struct source so = {.text = "new"};
	struct cache_want w;
	struct cache_stats st;

	(void)state;
	make_stale(c, "slow");
	make_stale(c, "k");
	w = patient(&slow, "slow");
	(void)expect(c, &w, "old");
	w = patient(&so, "k");
	assert_int_equal(expect(c, &w, "new"), CACHE_FROM_LOADER);
	assert_int_equal(atomic_load(&so.detached), 0);
	cache_stats(c, &st);
	assert_int_equal(st.background_busy, 1);
	atomic_store(&slow.hold, false);
	wait_for_text(c, "slow", "new");
}

static void what_is_forgotten_during_a_background_load_is_not_kept(void **state)
{
	static void (*const ways[])(struct source *) = {forget_key, forget_tag,
	                                                forget_all};

	(void)state;
	for (size_t i = 0; i < COUNTOF(ways); i++) {
		AUTO(cache) c = with_threads(1);
		struct source so = {.text = "new",
		                    .hold = true,
		                    .cache = c,
		                    .meanwhile = half_a_second_passes};
		struct cache_want w;

		make_stale(c, "k");
		w = patient(&so, "k");
		w.tags_n = 1;
		w.tags[0] = STR("t");
		(void)expect(c, &w, "old");
		ways[i](&so);
		atomic_store(&so.hold, false);
		wait_for_drops(&so, 1);
		assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
	}
}

static void a_background_load_that_fails_spares_the_loader(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.err = ERR_DATABASE};
	struct cache_want w;
	struct cache_info info;

	(void)state;
	make_stale(c, "k");
	w = patient(&so, "k");
	info = expect_info(c, &w, "old");
	assert_int_equal(info.why, CACHE_LOAD_FAILED);
	w.now_ms = mono_ms();
	info = expect_info(c, &w, "old");
	assert_int_equal(info.why, CACHE_LOAD_SPARED);
	assert_int_equal(atomic_load(&so.calls), 1);
	clock_move(CACHE_RETRY_MS);
	w = patient(&so, "k");
	so.err = OK;
	so.text = "new";
	assert_int_equal(expect(c, &w, "new"), CACHE_FROM_LOADER);
}

/* --- hard limit --------------------------------------------------------------- */

static void a_load_beyond_the_hard_limit_is_left_and_goes_on(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "v",
	                    .hold = true,
	                    .meanwhile = half_a_second_passes};
	struct cache_want w = patient(&so, "k");

	(void)state;
	w.hard_ms = 300;
	expect_error(c, &w, ERR_TIMEOUT);
	assert_int_equal(atomic_load(&so.calls), 1);
	atomic_store(&so.hold, false);
	wait_for_text(c, "k", "v");
}

static void a_deadline_before_the_limits_holds(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "v",
	                    .hold = true,
	                    .meanwhile = half_a_second_passes};
	struct cache_want w = patient(&so, "k");

	(void)state;
	w.hard_ms = 100000;
	w.deadline_ms = w.now_ms + 200;
	expect_error(c, &w, ERR_TIMEOUT);
	atomic_store(&so.hold, false);
	wait_for_text(c, "k", "v");
	/* Its own deadline was over before it asked. */
	cache_clear(c);
	w.deadline_ms = w.now_ms;
	expect_error(c, &w, ERR_TIMEOUT);
	assert_int_equal(atomic_load(&so.calls), 1);
}

/* --- eager refresh ------------------------------------------------------------ */

static struct cache_want eager(struct source *so)
{
	struct cache_want w = patient(so, "k");

	w.eager = 50;
	return w;
}

static void the_first_use_late_in_its_life_renews_a_value(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "old"};
	struct cache_want w = eager(&so);
	struct cache_info info;
	struct cache_stats st;

	(void)state;
	(void)expect(c, &w, "old");
	clock_move(300);
	w.now_ms = mono_ms();
	info = expect_info(c, &w, "old");
	assert_int_equal(info.age_ms, 300);
	assert_int_equal(atomic_load(&so.calls), 1);
	/* Jitter takes up to a tenth of 1000. */
	clock_move(300);
	so.text = "new";
	atomic_store(&so.hold, true);
	/* On the receive callback nothing can be started. */
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_MISS);
	w.now_ms = mono_ms();
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_MEMORY);
	wait_for_calls(&so, 2);
	/* Only the first. */
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_HIT);
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_MEMORY);
	atomic_store(&so.hold, false);
	wait_for_text(c, "k", "new");
	assert_int_equal(atomic_load(&so.calls), 2);
	cache_stats(c, &st);
	assert_int_equal(st.eager_loads, 1);
	assert_int_equal(st.background_loads, 1);
}

static void a_value_whose_time_ends_during_its_renewal_is_waited_for(
	void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "old"};
	struct cache_want w = eager(&so);

	(void)state;
	w.stale_ms = 0;
	(void)expect(c, &w, "old");
	clock_move(600);
	so.text = "new";
	so.meanwhile = half_a_second_passes;
	w.now_ms = mono_ms();
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_MEMORY);
	wait_for_calls(&so, 2);
	w.now_ms = mono_ms();
	w.eager = 0;
	w.detach = NULL;
	(void)expect(c, &w, "new");
	assert_int_equal(atomic_load(&so.calls), 2);
}

static void a_renewal_that_fails_leaves_the_value_and_pauses(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "old"};
	struct cache_want w = eager(&so);

	(void)state;
	w.ttl_ms = 100000;
	(void)expect(c, &w, "old");
	clock_move(60000);
	so.err = ERR_DATABASE;
	w.now_ms = mono_ms();
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_MEMORY);
	wait_for_drops(&so, 1);
	for (int i = 0; i < 10; i++)
		assert_int_equal(expect(c, &w, "old"), CACHE_FROM_MEMORY);
	assert_int_equal(atomic_load(&so.calls), 2);
	clock_move(CACHE_RETRY_MS);
	w.now_ms = mono_ms();
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_MEMORY);
	wait_for_drops(&so, 2);
	assert_int_equal(atomic_load(&so.calls), 3);
}

static void a_renewal_without_a_thread_is_left_for_later(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source slow = {.text = "new",
	                      .hold = true,
	                      .meanwhile = half_a_second_passes};
	struct source so = {.text = "old"};
	struct cache_want w, s;

	(void)state;
	make_stale(c, "slow");
	w = eager(&so);
	w.ttl_ms = 100000;
	(void)expect(c, &w, "old");
	clock_move(60000);
	s = patient(&slow, "slow");
	(void)expect(c, &s, "old");
	w.now_ms = mono_ms();
	assert_int_equal(expect(c, &w, "old"), CACHE_FROM_MEMORY);
	assert_int_equal(atomic_load(&so.calls), 1);
	assert_int_equal(peek(c, "k", mono_ms()), CACHE_HIT);
	atomic_store(&slow.hold, false);
	wait_for_text(c, "slow", "new");
	/* The thread may need a moment to be free again. */
	while (atomic_load(&so.calls) == 1) {
		(void)usleep(1000);
		clock_move(CACHE_RETRY_MS);
		w.now_ms = mono_ms();
		assert_int_equal(expect(c, &w, "old"), CACHE_FROM_MEMORY);
	}
}

static struct asker {
	struct cache *c;
	struct cache_want w;
	pthread_t thread;
} late;

static void *ask_late(void *arg)
{
	struct asker *a = arg;

	(void)expect(a->c, &a->w, "new");
	return NULL;
}

/* While the renewal is being prepared the value's time ends and another one
 * asks, who finds the flight. */
static void *somebody_joins(const void *arg)
{
	struct cache_stats st;

	(void)arg;
	clock_move(1000);
	late.w.now_ms = mono_ms();
	assert_int_equal(pthread_create(&late.thread, NULL, ask_late, &late),
	                 0);
	do {
		(void)usleep(200);
		cache_stats(late.c, &st);
	} while (st.waits == 0);
	return NULL;
}

static void a_renewal_that_does_not_begin_holds_nobody_up(void **state)
{
	AUTO(cache) c = with_threads(1);
	struct source so = {.text = "old"};
	struct cache_want w = eager(&so);

	(void)state;
	(void)expect(c, &w, "old");
	clock_move(600);
	so.text = "new";
	w.now_ms = mono_ms();
	late.c = c;
	late.w = w;
	late.w.detach = NULL;
	late.w.stale_ms = 0;
	late.w.deadline_ms = FAR_MS;
	w.detach = somebody_joins;
	(void)expect(c, &w, "old");
	assert_int_equal(pthread_join(late.thread, NULL), 0);
	assert_int_equal(atomic_load(&so.calls), 2);
}

/* --- the end, and failing memory ------------------------------------------------ */

static void *let_go(void *arg)
{
	struct source *so = arg;

	(void)usleep(2000);
	atomic_store(&so->hold, false);
	return NULL;
}

static void the_end_of_the_cache_waits_for_its_loads(void **state)
{
	AUTO(cache) c = with_threads(2);
	struct source so = {.text = "new",
	                    .hold = true,
	                    .meanwhile = half_a_second_passes};
	struct cache_want w;
	pthread_t t;

	(void)state;
	make_stale(c, "k");
	w = patient(&so, "k");
	(void)expect(c, &w, "old");
	assert_int_equal(pthread_create(&t, NULL, let_go, &so), 0);
	cache_free(STEAL(c));
	assert_int_equal(atomic_load(&so.dropped), 1);
	assert_int_equal(atomic_load(&so.running), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
}

static bool use_the_background(void)
{
	AUTO(cache) c = with_threads(2);
	struct source so = {.text = "v"};
	struct cache_want w = patient(&so, "k");
	AUTO(cache_value) v = NULL, again = NULL, third = NULL;
	enum err e;

	if (!c)
		return false;
	w.hard_ms = 1000;
	w.eager = 50;
	e = cache_load(c, &w, &v, NULL);
	assert_true(e == OK || e == ERR_NOMEM);
	clock_move(600);
	w.now_ms = mono_ms();
	e = cache_load(c, &w, &again, NULL);
	assert_true(e == OK || e == ERR_NOMEM);
	clock_move(2000);
	w = patient(&so, "k");
	e = cache_load(c, &w, &third, NULL);
	assert_true(e == OK || e == ERR_NOMEM);
	cache_put_back(STEAL(v));
	cache_put_back(STEAL(again));
	cache_put_back(STEAL(third));
	cache_free(STEAL(c));
	assert_int_equal(atomic_load(&so.detached), atomic_load(&so.dropped));
	assert_int_equal(atomic_load(&so.most) <= 1, true);
	return true;
}

static void every_allocation_may_fail(void **state)
{
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		alloc_fault_arm(n);
		(void)use_the_background();
		if (!alloc_fault_disarm())
			break;
	}
	assert_true(n > 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_slow_load_is_not_waited_for_where_there_is_an_old_value),
		cmocka_unit_test(a_load_that_is_quick_enough_is_waited_for),
		cmocka_unit_test(
			those_who_join_a_slow_load_take_the_old_value_too),
		cmocka_unit_test(without_detach_a_load_stays_with_who_asked),
		cmocka_unit_test(
			where_all_threads_are_busy_a_load_stays_with_who_asked),
		cmocka_unit_test(
			what_is_forgotten_during_a_background_load_is_not_kept),
		cmocka_unit_test(
			a_background_load_that_fails_spares_the_loader),
		cmocka_unit_test(
			a_load_beyond_the_hard_limit_is_left_and_goes_on),
		cmocka_unit_test(a_deadline_before_the_limits_holds),
		cmocka_unit_test(the_first_use_late_in_its_life_renews_a_value),
		cmocka_unit_test(
			a_value_whose_time_ends_during_its_renewal_is_waited_for),
		cmocka_unit_test(
			a_renewal_that_fails_leaves_the_value_and_pauses),
		cmocka_unit_test(a_renewal_without_a_thread_is_left_for_later),
		cmocka_unit_test(a_renewal_that_does_not_begin_holds_nobody_up),
		cmocka_unit_test(the_end_of_the_cache_waits_for_its_loads),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
