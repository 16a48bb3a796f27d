#include "tests/unit/cache_fixture.h"

#include "common/base/clock.h"

#include <sched.h>

/* Threads are dear where every access is watched. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CROWD 1000
#else
#define CROWD 10000
#endif
#define STACK_BYTES ((size_t)256 << 10)

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
	struct cache_info info;
	const struct cache_want w = cr->w; /* the test goes on to change it */
	enum err e = cache_load(cr->c, &w, &v, &info);

	if (!e && info.from == CACHE_FROM_STALE)
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
	pthread_attr_t small;

	assert_int_equal(pthread_attr_init(&small), 0);
	assert_int_equal(pthread_attr_setstacksize(&small, STACK_BYTES), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(
			pthread_create(&t[i], &small, one_of_the_crowd, cr), 0);
	assert_int_equal(pthread_attr_destroy(&small), 0);
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

static void of_ten_thousand_that_miss_one_loads(void **state)
{
	struct crowd cr = {.c = memory(1 << 20),
	                   .so = {.text = "v", .hold = true}};
	static pthread_t t[CROWD];

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
	struct crowd cr = {.c = memory(1 << 20),
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
	struct crowd cr = {.c = memory(1 << 20), .so = {.text = "v"}};
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

/* One that is forgotten while it is loaded, and those who ask afterwards. */
static void forget_and_load_anew(void (*forget)(struct source *so))
{
	struct crowd cr = {.c = memory(1 << 20),
	                   .so = {.text = "v", .hold = true}};
	struct crowd after = {.c = cr.c, .so = {.text = "v"}};
	pthread_t leader, t[3], late[3];

	assert_non_null(cr.c);
	cr.so.cache = cr.c;
	cr.w = want(&cr.so, "k", 0);
	cr.w.tags_n = 1;
	cr.w.tags[0] = STR("t");
	after.w = cr.w;
	after.w.arg = &after.so;
	start_crowd(&cr, &leader, 1);
	while (atomic_load(&cr.so.calls) == 0)
		(void)usleep(200);
	start_crowd(&cr, t, COUNTOF(t));
	wait_for_waiters(cr.c, COUNTOF(t));
	forget(&cr.so);
	start_crowd(&after, late, COUNTOF(late));
	wait_for_waiters(cr.c, COUNTOF(t) + COUNTOF(late));
	/* Never two loaders of a key at once. */
	assert_int_equal(atomic_load(&after.so.calls), 0);
	atomic_store(&cr.so.hold, false);
	join_all(&leader, 1);
	join_all(t, COUNTOF(t));
	join_all(late, COUNTOF(late));
	/* Those who waited before got what they waited for. */
	assert_int_equal(atomic_load(&cr.ok), 1 + COUNTOF(t));
	assert_int_equal(atomic_load(&cr.so.calls), 1);
	assert_int_equal(atomic_load(&after.ok), COUNTOF(late));
	assert_int_equal(atomic_load(&after.so.calls), 1);
	assert_int_equal(expect(cr.c, &cr.w, "v"), CACHE_FROM_MEMORY);
	cache_free(cr.c);
}

static void who_asks_after_forget_waits_and_loads_anew(void **state)
{
	(void)state;
	forget_and_load_anew(forget_key);
	forget_and_load_anew(forget_tag);
	forget_and_load_anew(forget_all);
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
	struct crowd cr = {.c = memory(1 << 20),
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
	/* The leader too, when the other is quick. */
	assert_true(atomic_load(&cr.timeouts) <= 1);
	assert_int_equal(atomic_load(&cr.ok) + atomic_load(&cr.timeouts),
	                 COUNTOF(t));
	assert_int_equal(atomic_load(&cr.so.calls), 2);
	cache_free(cr.c);
}

#define STORM_KEYS 200

struct storm {
	struct cache *c;
	unsigned nr;
	atomic_int *wrong;
	atomic_int *running; /* loaders of each key, in all threads */
};

struct echo {
	char text[16];
	size_t n;
	atomic_int *running, *wrong;
};

static enum err echo(void *arg, struct buf *out)
{
	const struct echo *ec = arg;

	if (atomic_fetch_add(ec->running, 1) != 0)
		atomic_fetch_add(ec->wrong, 1);
	(void)sched_yield();
	buf_add(out, ec->text, ec->n);
	atomic_fetch_sub(ec->running, 1);
	return OK;
}

static void *echo_copy(const void *arg)
{
	struct echo *copy = malloc(sizeof(*copy));

	if (copy)
		memcpy(copy, arg, sizeof(*copy));
	return copy;
}

static void one_gust(struct storm *st, uint64_t *seed, unsigned i)
{
	AUTO(cache_value) v = NULL;
	unsigned nr = noise(seed) % STORM_KEYS;
	struct echo ec = {.running = &st->running[nr], .wrong = st->wrong};
	const struct cache_want w = {
		.key = {ec.text, ec.n = (size_t)snprintf(
					 ec.text, sizeof(ec.text), "%u", nr)},
		.ttl_ms = 20,
		.stale_ms = 20,
		.soft_ms = noise(seed) % 3,
		.eager = noise(seed) % 2 ? 60 : 0,
		.now_ms = i / 10,
		.deadline_ms = FAR_MS,
		.tags_n = 1,
		.tags = {STR("t")},
		.load = echo,
		.arg = &ec,
		.detach = echo_copy,
		.drop = free};

	switch (noise(seed) % 16) {
	case 0:
		cache_forget(st->c, w.key);
		break;
	case 1:
		cache_store(st->c, &w, w.key);
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
		if (cache_load(st->c, &w, &v, NULL) ||
		    !str_eq(cache_bytes(v), w.key))
			atomic_fetch_add(st->wrong, 1);
	}
}

static void *weather(void *arg)
{
	struct storm *st = arg;
	uint64_t seed = st->nr;

	for (unsigned i = 0; i < 4000; i++)
		one_gust(st, &seed, i);
	return NULL;
}

/* Every value is its key and no key has two loaders, whatever is stored,
 * forgotten, evicted and loaded in the background. */
static void threads_that_do_everything_at_once_agree(void **state)
{
	AUTO(cache) c = memory(20 << 10);
	static atomic_int running[STORM_KEYS];
	atomic_int wrong = 0;
	struct storm st[4];
	struct cache_stats after;
	pthread_t t[COUNTOF(st)];

	(void)state;
	for (unsigned i = 0; i < COUNTOF(st); i++) {
		st[i] = (struct storm){c, i + 1, &wrong, running};
		assert_int_equal(pthread_create(&t[i], NULL, weather, &st[i]),
		                 0);
	}
	join_all(t, COUNTOF(t));
	cache_stats(c, &after);
	assert_true(after.background_loads > 0);
	assert_true(after.evictions > 0);
	cache_free(STEAL(c)); /* waits for the last loads */
	assert_int_equal(atomic_load(&wrong), 0);
}

/* --- without a lock ---------------------------------------------------------------- */

#define FEW_KEYS 4
#define CHANGES  20000

static const char *const few[FEW_KEYS] = {"zero", "one", "two", "three"};

struct glance {
	struct cache *c;
	atomic_bool over;
	atomic_int hits, wrong;
};

static void *glance(void *arg)
{
	struct glance *g = arg;

	for (unsigned i = 0; !atomic_load(&g->over); i++) {
		struct str key = str_from(few[i % FEW_KEYS]);
		AUTO(cache_value) v = NULL;

		if (cache_peek(g->c, key, 0, &v, NULL) != CACHE_HIT)
			continue;
		atomic_fetch_add(&g->hits, 1);
		if (!str_eq(cache_bytes(v), key))
			atomic_fetch_add(&g->wrong, 1);
	}
	return NULL;
}

/* An entry takes the place of another, or goes, at every moment of a look. */
static void what_is_looked_at_is_not_freed(void **state)
{
	AUTO(cache) c = memory(20 << 10);
	struct glance g = {.c = c};
	pthread_t t[2];

	(void)state;
	for (size_t i = 0; i < COUNTOF(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, glance, &g), 0);
	for (unsigned i = 0; i < CHANGES || !atomic_load(&g.hits); i++) {
		struct str key = str_from(few[i / 3 % FEW_KEYS]);
		const struct cache_want w = {.key = key, .ttl_ms = FAR_MS};

		if (i % 3 == 2)
			cache_forget(c, key);
		else
			cache_store(c, &w, key);
	}
	atomic_store(&g.over, true);
	join_all(t, COUNTOF(t));
	assert_int_equal(atomic_load(&g.wrong), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_ten_thousand_that_miss_one_loads),
		cmocka_unit_test(one_who_waits_leaves_at_its_own_deadline),
		cmocka_unit_test(one_who_waits_falls_back_on_the_stale_value),
		cmocka_unit_test(who_asks_after_forget_waits_and_loads_anew),
		cmocka_unit_test(a_leader_out_of_time_is_followed_by_another),
		cmocka_unit_test(threads_that_do_everything_at_once_agree),
		cmocka_unit_test(what_is_looked_at_is_not_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
