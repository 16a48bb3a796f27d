/* Values in use that nobody counts until they are to be freed. */
#include "common/cache/hold.h"

#include "common/cache/readers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define CORES 2

static struct holds holds;

static int up(void **state)
{
	(void)state;
	return holds_init(&holds, CORES) ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	holds_fini(&holds);
	return 0;
}

static uint64_t refs(struct cache_value *v)
{
	return atomic_load(&v->refs);
}

static struct cache_value *value(const char *text)
{
	struct cache_value *v = value_new(str_from(text));

	assert_non_null(v);
	return v;
}

/* As the cache does: out of the table, then no longer the table's. */
static void drop(struct cache_value *v)
{
	holds_count(&holds, v);
	cache_put_back(v);
}

static void who_holds_a_value_sees_it_and_does_not_count(void **state)
{
	struct cache_value *v = value("text");
	struct cache_value *a = hold_take(&holds, 0, v);
	struct cache_value *b = hold_take(&holds, 1, v);

	(void)state;
	assert_true(str_eq(cache_bytes(a), STR("text")));
	assert_true(str_eq(cache_bytes(b), STR("text")));
	assert_int_equal(refs(v), 1);
	cache_put_back(a);
	cache_put_back(b);
	assert_int_equal(refs(v), 1);
	drop(v);
}

/* What is freed too early or not at all shows under the address sanitizer. */
static void a_value_that_goes_lives_until_the_last_holder_gives_it_back(
	void **state)
{
	struct cache_value *v = value("text"), *other = value("other");
	struct cache_value *a = hold_take(&holds, 0, v);
	struct cache_value *b = hold_take(&holds, 1, v);
	struct cache_value *c = hold_take(&holds, 1, other);

	(void)state;
	drop(v);
	assert_int_equal(refs(v), 2);
	assert_int_equal(refs(other), 1);
	cache_put_back(a);
	assert_int_equal(refs(v), 1);
	assert_true(str_eq(cache_bytes(b), STR("text")));
	cache_put_back(b);
	cache_put_back(c);
	drop(other);
}

static void a_place_that_was_given_back_is_taken_again(void **state)
{
	struct cache_value *v = value("v"), *w = value("w"), *a, *b;

	(void)state;
	a = hold_take(&holds, 0, v);
	drop(v);
	cache_put_back(a);
	b = hold_take(&holds, 0, w);
	assert_ptr_equal(a, b);
	assert_true(str_eq(cache_bytes(b), STR("w")));
	cache_put_back(b);
	assert_int_equal(refs(w), 1);
	drop(w);
}

static void more_than_there_is_room_for_are_counted(void **state)
{
	struct cache_value *v = value("v"), *in[HOLDS_PER_CORE + 2];

	(void)state;
	for (size_t i = 0; i < COUNTOF(in); i++)
		in[i] = hold_take(&holds, 0, v);
	assert_int_equal(refs(v), 3);
	drop(v);
	assert_int_equal(refs(v), HOLDS_PER_CORE + 2);
	for (size_t i = 0; i < COUNTOF(in); i++)
		cache_put_back(in[i]);
}

/* --- giving back while it goes -------------------------------------------------- */

#define ROUNDS 20000

struct race {
	_Atomic(struct cache_value *) given; /* NULL: the other one's turn */
	_Atomic unsigned wrong;
};

static void *give_back(void *arg)
{
	struct race *r = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct cache_value *a;

		while (!(a = atomic_exchange(&r->given, NULL)))
			(void)sched_yield();
		if (!str_eq(cache_bytes(a), STR("text")))
			atomic_fetch_add(&r->wrong, 1);
		cache_put_back(a);
	}
	return NULL;
}

static void another_thread_may_give_it_back_while_it_goes(void **state)
{
	struct race r = {.given = NULL};
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, give_back, &r), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct cache_value *v = value("text");

		atomic_store(&r.given, hold_take(&holds, 0, v));
		if (i % 2)
			while (atomic_load(&r.given))
				(void)sched_yield();
		drop(v);
		while (atomic_load(&r.given))
			(void)sched_yield();
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(atomic_load(&r.wrong), 0);
	for (size_t i = 0; i < HOLDS_PER_CORE; i++)
		assert_int_equal(atomic_load(&holds.cores[0].noted[i]), 0);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(who_holds_a_value_sees_it_and_does_not_count),
		CLAIM(a_value_that_goes_lives_until_the_last_holder_gives_it_back),
		CLAIM(a_place_that_was_given_back_is_taken_again),
		CLAIM(more_than_there_is_room_for_are_counted),
		CLAIM(another_thread_may_give_it_back_while_it_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
