/*
 * The cache of several instances over one Redis, simulated: see cache_world.h
 * for what happens in a run and cache_truth.h for what must hold.
 *
 *     KAE_SEED=7 build/release/sim/test_cache     the story of one seed
 */
#include "common/base/buf.h"
#include "tests/sim/cache_world.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEEDS      2000
#define SEEDS_FULL 100000

static void to_stdout(void *arg, const char *line, size_t n)
{
	(void)arg;
	(void)printf("%.*s\n", (int)n, line);
}

static void to_buf(void *arg, const char *line, size_t n)
{
	buf_add(arg, line, n);
	buf_char(arg, '\n');
}

static struct {
	uint64_t loads, writes, faults, kills, answers, stale, old, from[4];
	uint64_t fetched, switches;
} sum;

static bool run(uint64_t seed, bool tell)
{
	static struct world w;
	bool ok = world_run(seed, tell ? to_stdout : NULL, NULL, &w);

	if (!ok)
		(void)printf("seed %" PRIu64 ": %s\n", seed, fiber_failure());
	sum.loads += w.loads;
	sum.writes += w.writes;
	sum.faults += w.faults;
	sum.kills += w.kills;
	sum.fetched += w.fetched;
	sum.answers += w.truth.answers;
	sum.stale += w.truth.stale_answers;
	sum.old += w.truth.old_answers;
	sum.switches += fiber_switches();
	for (int i = 0; i < 4; i++)
		sum.from[i] += w.from[i];
	return ok;
}

static void no_instance_gives_what_it_must_not(void **state)
{
	const struct sim_plan plan = {"test_cache", SEEDS, SEEDS_FULL, run};

	(void)state;
	sim_seeds(&plan);
	assert_true(sum.fetched > 0 || getenv("KAE_SEED"));
	print_message("%" PRIu64 " answers (memory %" PRIu64 ", store %" PRIu64
	              ", of which ahead %" PRIu64 ", load %" PRIu64
	              ", stale %" PRIu64 "), %" PRIu64
	              " of an old version where that was allowed\n"
	              "%" PRIu64 " loads, %" PRIu64 " writes, %" PRIu64
	              " faults, %" PRIu64 " kills, %" PRIu64 " switches\n",
	              sum.answers, sum.from[0], sum.from[1], sum.fetched,
	              sum.from[2], sum.stale, sum.old, sum.loads, sum.writes,
	              sum.faults, sum.kills, sum.switches);
}

static void the_same_seed_is_the_same_story(void **state)
{
	static struct world w;

	(void)state;
	if (getenv("KAE_SEED"))
		skip();
	for (uint64_t seed = 1; seed <= 5; seed++) {
		AUTO_BUF once = {0};
		AUTO_BUF again = {0};

		assert_true(world_run(seed, to_buf, &once, &w));
		assert_true(world_run(seed, to_buf, &again, &w));
		assert_false(once.failed || again.failed);
		assert_int_equal(once.n, again.n);
		assert_memory_equal(once.p, again.p, once.n);
		assert_true(once.n > 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_instance_gives_what_it_must_not),
		cmocka_unit_test(the_same_seed_is_the_same_story),
	};

	return cmocka_run_group_tests_name("cache_sim", tests, NULL, NULL);
}
