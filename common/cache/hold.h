/*
 * hold - values in use, noted where they are used instead of counted in the
 * value.  Internal to common/cache.
 *
 * Why:     a counter in a value that many ask for goes from core to core with
 *          every use, which costs more than all else of a hit.  Here a hit
 *          notes the value in a line of its own core, and whoever wants to free
 *          a value looks at these notes first: a hazard pointer (Michael, IEEE
 *          TPDS 2004) that turns into a count when it would be in the way.
 *
 *              free --- take ---> noted --- leave ---> free
 *                                   |
 *                       count, by who takes the value out of the table
 *                                   v
 *                                counted --- leave ---> free, and one less
 *
 * Bounds:  HOLDS_PER_CORE for each core; beyond it the value is counted.
 * Threads: any; a value may be given back on another thread and core.
 */
#ifndef CACHE_HOLD_H
#define CACHE_HOLD_H

#include "common/cache/shard.h"

#define HOLDS_PER_CORE 8 /* what is looked through is one line for each core */

struct hold_core {
	/* The value, with the lowest bit set when it is counted; 0: free. */
	_Alignas(64) _Atomic uintptr_t noted[HOLDS_PER_CORE];
	struct cache_value shown[HOLDS_PER_CORE]; /* to who uses it */
};

struct holds {
	struct hold_core *cores;
	size_t cores_n;
};

/* False without memory; holds_fini() is fine after that too. */
bool holds_init(struct holds *h, size_t cores_n) MUST_CHECK;
void holds_fini(struct holds *h); /* all are free */

/*
 * A reference to v for cache_put_back(); the caller knows that v is not freed
 * meanwhile.  core is a hint: any below cores_n.
 */
struct cache_value *hold_take(struct holds *h, size_t core,
                              struct cache_value *v);
void hold_leave(struct cache_value *shown); /* for cache_put_back() */

/*
 * Gives each holder of v a count of it, so that it is freed when the last one
 * is given back.  Nobody takes v any more.
 */
void holds_count(struct holds *h, struct cache_value *v);

#endif
