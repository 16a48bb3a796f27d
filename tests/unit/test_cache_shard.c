/* One shard of the cache alone: who goes when there is no room. */
#include "common/cache/shard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define MAX_BYTES 20000
#define BUCKETS   64
#define NEVER_MS  (UINT64_MAX / 2)

static struct shard shard;

static int up(void **state)
{
	(void)state;
	return shard_init(&shard, MAX_BYTES, BUCKETS, 1) ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	shard_fini(&shard);
	return 0;
}

/* Keys are numbers; spread over the bits as a hash would be. */
static uint64_t hash_of(unsigned nr)
{
	uint64_t z = (nr + 1) * 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	return z ^ z >> 27;
}

static struct str key_of(unsigned nr, char out[16])
{
	return (struct str){out, (size_t)snprintf(out, 16, "%010u", nr)};
}

static struct entry *find(unsigned nr)
{
	char z[16];

	return shard_find(&shard, hash_of(nr), key_of(nr, z));
}

static struct entry *put(unsigned nr)
{
	static const struct marks none = {0};
	char z[16];
	struct entry *dead = NULL;
	struct entry *e = entry_new(hash_of(nr), key_of(nr, z),
	                            value_new(STR("value")), &none);

	assert_non_null(e);
	e->expires_ms = e->gone_ms = NEVER_MS;
	assert_true(shard_put(&shard, e, 0, &dead));
	entries_free(dead);
	assert_true(shard.bytes <= shard.max_bytes);
	return e;
}

static void ask(struct entry *e, unsigned times)
{
	while (times--)
		shard_asked(e);
}

/* Newcomers that never come back. */
static void scan(unsigned n)
{
	static unsigned next = 1000000;

	while (n--)
		(void)put(next++);
}

/* Puts 0..n-1 where they have been asked for often enough. */
static void fill_main(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ask(put(i), 2);
	scan(300);
	for (unsigned i = 0; i < n; i++) {
		assert_non_null(find(i));
		assert_int_equal(find(i)->queue, QUEUE_MAIN);
	}
}

static void one_asked_for_twice_survives_those_that_are_not(void **state)
{
	(void)state;
	ask(put(1), 2);
	ask(put(2), 1);
	(void)put(3);
	scan(300);
	assert_non_null(find(1));
	assert_null(find(2));
	assert_null(find(3));
}

static void newcomers_do_not_displace_what_was_asked_for(void **state)
{
	(void)state;
	fill_main(40);
	scan(5000);
	for (unsigned i = 0; i < 40; i++)
		assert_non_null(find(i));
}

static void newcomers_have_their_tenth(void **state)
{
	unsigned n = 0;

	(void)state;
	/* More of the others than there is room for beside the tenth. */
	for (unsigned i = 0; i < 400; i++) {
		ask(put(i), 3);
		if (i % 20 == 19)
			scan(1);
	}
	assert_true(shard.queue[QUEUE_MAIN].bytes > 0);
	(void)put(1000);
	(void)put(1001);
	assert_non_null(find(1000));
	assert_non_null(find(1001));
	assert_true(shard.queue[QUEUE_SMALL].bytes > 0);
	for (unsigned i = 0; i < 400; i++)
		n += find(i) != NULL;
	assert_true(n > 20);
}

static void one_that_comes_back_soon_is_no_newcomer(void **state)
{
	unsigned back = 0;

	(void)state;
	scan(200); /* the tenth is full */
	for (unsigned i = 0; i < 10; i++)
		(void)put(i);
	scan(130);
	for (unsigned i = 0; i < 10; i++) {
		assert_null(find(i));
		back += put(i)->queue == QUEUE_MAIN;
	}
	/* A ghost may have lost its place to another one. */
	assert_true(back >= 8);
}

static void what_is_over_goes_although_it_was_asked_for(void **state)
{
	struct entry *e = put(1);

	(void)state;
	ask(e, 3);
	e->gone_ms = 0;
	scan(300);
	assert_null(find(1));
	assert_int_equal(shard.stats.expired, 1);
}

static void room_is_made_although_all_were_asked_for(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2000; i++)
		ask(put(i), ASKED_MAX + 1);
	assert_true(shard.stats.evictions > 0);
	assert_true(shard.stats.entries > 50);
}

static void what_was_asked_for_long_ago_goes_in_the_end(void **state)
{
	(void)state;
	fill_main(40);
	for (unsigned i = 0; i < 40; i++)
		ask(find(i), ASKED_MAX);
	/* Others that were asked for, so that they come to the same queue. */
	for (unsigned i = 100; i < 1000; i++)
		ask(put(i), 2);
	for (unsigned i = 0; i < 40; i++)
		assert_null(find(i));
}

static void a_new_value_has_the_place_of_the_former(void **state)
{
	(void)state;
	fill_main(10);
	ask(find(3), 2);
	assert_int_equal(put(3)->queue, QUEUE_MAIN);
	assert_int_equal(find(3)->asked, 2);
	assert_int_equal(put(2000)->queue, QUEUE_SMALL);
	ask(find(2000), 2);
	assert_int_equal(put(2000)->queue, QUEUE_SMALL);
	scan(300);
	assert_non_null(find(2000));
}

static void what_is_retired_is_no_newcomer_when_it_comes_back(void **state)
{
	struct entry *dead = NULL;

	(void)state;
	fill_main(2);
	shard_retire(&shard, find(0), &dead);
	shard_retire(&shard, put(77), &dead);
	entries_free(dead);
	assert_null(find(0));
	assert_int_equal(put(0)->queue, QUEUE_MAIN);
	assert_int_equal(put(77)->queue, QUEUE_SMALL);
}

static void an_empty_shard_keeps_no_count(void **state)
{
	const uint64_t empty = shard.bytes;
	struct entry *dead = NULL;

	(void)state;
	fill_main(20);
	shard_clear(&shard, &dead);
	entries_free(dead);
	assert_int_equal(shard.bytes, empty);
	assert_int_equal(shard.stats.entries, 0);
	for (int q = 0; q < QUEUES; q++) {
		assert_null(shard.queue[q].oldest);
		assert_null(shard.queue[q].newest);
		assert_int_equal(shard.queue[q].bytes, 0);
	}
	assert_int_equal(put(0)->queue, QUEUE_SMALL);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(one_asked_for_twice_survives_those_that_are_not),
		EACH(newcomers_do_not_displace_what_was_asked_for),
		EACH(newcomers_have_their_tenth),
		EACH(one_that_comes_back_soon_is_no_newcomer),
		EACH(what_is_over_goes_although_it_was_asked_for),
		EACH(room_is_made_although_all_were_asked_for),
		EACH(what_was_asked_for_long_ago_goes_in_the_end),
		EACH(a_new_value_has_the_place_of_the_former),
		EACH(what_is_retired_is_no_newcomer_when_it_comes_back),
		EACH(an_empty_shard_keeps_no_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
