/* Looking without a lock, and freeing only what nobody looks at. */
#include "common/cache/readers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct readers readers;

static int up(void **state)
{
	(void)state;
	return readers_init(&readers) ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	readers_fini(&readers);
	return 0;
}

/* --- one who waits ------------------------------------------------------------- */

struct waiter {
	pthread_t thread;
	_Atomic bool done;
};

static void *wait_once(void *arg)
{
	struct waiter *w = arg;

	readers_wait(&readers);
	atomic_store(&w->done, true);
	return NULL;
}

static void start(struct waiter *w)
{
	atomic_init(&w->done, false);
	assert_int_equal(pthread_create(&w->thread, NULL, wait_once, w), 0);
}

/* By then it is in the second half of its wait. */
static void until_changed_over(unsigned from)
{
	while (atomic_load(&readers.phase) == from)
		(void)sched_yield();
}

static void nobody_is_waited_for(void **state)
{
	(void)state;
	readers_leave(readers_enter(&readers), CACHE_MISS);
	readers_wait(&readers);
	readers_wait(&readers);
}

static void a_wait_outlasts_the_look_that_it_meets(void **state)
{
	struct reading rd = readers_enter(&readers);
	struct waiter w;

	(void)state;
	start(&w);
	until_changed_over(rd.phase);
	for (int i = 0; i < 1000; i++) {
		(void)sched_yield();
		assert_false(atomic_load(&w.done));
	}
	readers_leave(rd, CACHE_HIT);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
}

static void looks_that_begin_later_do_not_keep_it(void **state)
{
	struct reading before = readers_enter(&readers), after;
	struct waiter w;

	(void)state;
	start(&w);
	until_changed_over(before.phase);
	after = readers_enter(&readers);
	assert_int_not_equal(after.phase, before.phase);
	readers_leave(before, CACHE_HIT);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
	readers_leave(after, CACHE_HIT);
}

/* It read the phase, was put aside, and counts itself when that is over. */
static void a_look_that_counts_itself_late_is_met_by_the_next_wait(void **state)
{
	struct reading late = readers_enter(&readers);
	unsigned now;
	struct waiter w;

	(void)state;
	readers_leave(late, CACHE_MISS);
	readers_wait(&readers);
	now = atomic_load(&readers.phase);
	assert_int_not_equal(now, late.phase);
	atomic_fetch_add(&late.core->in[late.phase], 1);
	start(&w);
	for (int i = 0; i < 1000; i++) {
		(void)sched_yield();
		assert_false(atomic_load(&w.done));
	}
	/* It has not even begun with the phase of those who look now. */
	assert_int_equal(atomic_load(&readers.phase), now);
	readers_leave(late, CACHE_MISS);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
}

static void what_looks_found_is_counted(void **state)
{
	(void)state;
	for (int i = 0; i < 7; i++) {
		readers_leave(readers_enter(&readers),
		              i < 4 ? CACHE_HIT : CACHE_NEGATIVE);
		readers_wait(&readers); /* in either phase */
	}
	assert_int_equal(readers_found(&readers, CACHE_HIT), 4);
	assert_int_equal(readers_found(&readers, CACHE_NEGATIVE), 3);
	assert_int_equal(readers_found(&readers, CACHE_MISS), 0);
}

/* --- many ---------------------------------------------------------------------- */

#define LOOKERS 4
#define SWAPS   3000
#define ALIVE   0x600d
#define FREED   0xdead

struct thing {
	_Atomic int state;
};

static _Atomic(struct thing *) shown;
static _Atomic bool over;
static _Atomic unsigned wrong;

static void *look_always(void *arg)
{
	(void)arg;
	while (!atomic_load(&over)) {
		struct reading rd = readers_enter(&readers);
		struct thing *t = atomic_load(&shown);

		if (atomic_load_explicit(&t->state, memory_order_relaxed) !=
		    ALIVE)
			atomic_fetch_add(&wrong, 1);
		readers_leave(rd, CACHE_HIT);
	}
	return NULL;
}

static struct thing *thing_new(void)
{
	struct thing *t = malloc(sizeof(*t));

	assert_non_null(t);
	atomic_init(&t->state, ALIVE);
	return t;
}

static void *swap_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < SWAPS; i++) {
		struct thing *old = atomic_exchange(&shown, thing_new());

		readers_wait(&readers);
		atomic_store_explicit(&old->state, FREED, memory_order_relaxed);
		free(old);
	}
	return NULL;
}

static void nothing_is_freed_that_somebody_looks_at(void **state)
{
	pthread_t lookers[LOOKERS], swappers[2];

	(void)state;
	atomic_store(&over, false);
	atomic_store(&wrong, 0);
	atomic_store(&shown, thing_new());
	for (size_t i = 0; i < COUNTOF(lookers); i++)
		assert_int_equal(pthread_create(&lookers[i], NULL, look_always,
		                                NULL),
		                 0);
	for (size_t i = 0; i < COUNTOF(swappers); i++)
		assert_int_equal(pthread_create(&swappers[i], NULL, swap_often,
		                                NULL),
		                 0);
	for (size_t i = 0; i < COUNTOF(swappers); i++)
		assert_int_equal(pthread_join(swappers[i], NULL), 0);
	atomic_store(&over, true);
	for (size_t i = 0; i < COUNTOF(lookers); i++)
		assert_int_equal(pthread_join(lookers[i], NULL), 0);
	free(atomic_load(&shown));
	assert_int_equal(atomic_load(&wrong), 0);
	assert_true(readers_found(&readers, CACHE_HIT) > 0);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(nobody_is_waited_for),
		CLAIM(a_wait_outlasts_the_look_that_it_meets),
		CLAIM(looks_that_begin_later_do_not_keep_it),
		CLAIM(a_look_that_counts_itself_late_is_met_by_the_next_wait),
		CLAIM(what_looks_found_is_counted),
		CLAIM(nothing_is_freed_that_somebody_looks_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
