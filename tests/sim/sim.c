#include "tests/sim/sim.h"

#include "common/base/str.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct sim_rng sim_rng(uint64_t seed)
{
	return (struct sim_rng){seed};
}

/* SplitMix64 (Steele, Lea and Flood 2014): neighbouring seeds are unlike. */
uint64_t sim_u64(struct sim_rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15U;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

/* The bias of the remainder is below 2^-32 for what simulations ask. */
uint64_t sim_below(struct sim_rng *r, uint64_t n)
{
	return n ? sim_u64(r) % n : 0;
}

uint64_t sim_between(struct sim_rng *r, uint64_t low, uint64_t high)
{
	return low + sim_below(r, high - low + 1);
}

bool sim_chance(struct sim_rng *r, unsigned per_mille)
{
	return sim_below(r, 1000) < per_mille;
}

static bool number_from_env(const char *name, uint64_t *out)
{
	const char *text = getenv(name);
	int64_t n;

	if (!text || !str_to_i64(str_from(text), &n) || n < 0)
		return false;
	*out = (uint64_t)n;
	return true;
}

void sim_seeds(const struct sim_plan *plan)
{
	const char *full = getenv("KAE_FULL");
	uint64_t n = full && *full ? plan->seeds_full : plan->seeds, one;

	if (number_from_env("KAE_SEED", &one)) {
		assert_true(plan->run(one, true));
		return;
	}
	(void)number_from_env("KAE_SEEDS", &n);
	for (uint64_t seed = 1; seed <= n; seed++) {
		if (plan->run(seed, false))
			continue;
		fail_msg("seed %" PRIu64 " fails; to see its story: "
		         "make -s tests && KAE_SEED=%" PRIu64 " "
		         "build/release/sim/%s",
		         seed, seed, plan->program);
	}
	print_message("%" PRIu64 " seeds\n", n);
}
