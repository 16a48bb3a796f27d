/*
 * sim - what the seeded simulations share: a random number generator that gives
 * the same numbers for the same seed, and the walk over the seeds.
 *
 * KAE_SEEDS  how many seeds (else KAE_FULL=1 runs the long form)
 * KAE_SEED   this one only, with its story on stdout
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "common/base/attr.h"

#include <stdbool.h>
#include <stdint.h>

struct sim_rng {
	uint64_t state;
};

struct sim_rng sim_rng(uint64_t seed);
uint64_t sim_u64(struct sim_rng *r);
/* Evenly from [0, n); 0 for n = 0. */
uint64_t sim_below(struct sim_rng *r, uint64_t n);
/* From low to high, both possible. */
uint64_t sim_between(struct sim_rng *r, uint64_t low, uint64_t high);
/* True in that many of a thousand cases. */
bool sim_chance(struct sim_rng *r, unsigned per_mille);

struct sim_plan {
	const char *program; /* for the command that replays a seed */
	uint64_t seeds, seeds_full;
	/* False, after a line that says what was violated: the seed fails. */
	bool (*run)(uint64_t seed, bool tell);
};

/* Runs the plan's seeds; the first that fails ends the cmocka test. */
void sim_seeds(const struct sim_plan *plan);

#endif
