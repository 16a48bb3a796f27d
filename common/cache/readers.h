/*
 * readers - who is looking into a table without its lock, so that nothing that
 * he may see is freed.  Internal to common/cache.
 *
 * Why:     a hit that takes a lock is no faster with two threads than with one:
 *          the line that the lock is in goes from core to core.  Here a look is
 *          two additions to a line of one's own core, and who frees waits.
 *
 *              look:   enter --- loads of the table --- leave
 *              free:   unlink, under the table's lock --- wait --- free
 *
 *          This is sleepable RCU (McKenney, "Sleepable Read-Copy Update", 2006):
 *          looks are counted in one of two phases; who waits lets the phase
 *          that is not current run dry, changes over, and lets the other run
 *          dry, so that looks which begin meanwhile do not keep him.
 * Bounds:  a line for each core.  A wait lasts as long as the looks that it
 *          meets: below a microsecond, or until the threads in them, if they
 *          were put aside, run again.
 * Threads: any.  A look must not wait for anything, least of all for a wait.
 *          All loads of what can be unlinked and all stores that unlink are
 *          sequentially consistent.
 */
#ifndef CACHE_READERS_H
#define CACHE_READERS_H

#include "common/cache/cache.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define READERS_FOUND 3 /* enum cache_hit */

/* A look may end on another core than it began on: only the sums say how many
 * there are. */
struct readers_core {
	_Alignas(64) _Atomic uint64_t in[2];
	_Atomic uint64_t out[2][READERS_FOUND];
};
_Static_assert(sizeof(struct readers_core) == 64, "one line");

struct readers {
	struct readers_core *cores;
	size_t cores_n; /* a power of two */
	_Atomic unsigned phase;
	pthread_mutex_t waiting; /* one at a time */
};

/* False without memory; readers_fini() is fine after that too. */
bool readers_init(struct readers *r) MUST_CHECK;
void readers_fini(struct readers *r);

struct reading {
	struct readers_core *core;
	size_t at; /* which one it is */
	unsigned phase;
};

static inline struct reading readers_enter(struct readers *r)
{
	int cpu = sched_getcpu(); /* negative where that is not known */
	size_t at = (cpu < 0 ? 0 : (size_t)cpu) & (r->cores_n - 1);
	struct reading rd = {
		.core = &r->cores[at],
		.at = at,
		.phase = atomic_load_explicit(&r->phase, memory_order_relaxed)};

	atomic_fetch_add(&rd.core->in[rd.phase], 1);
	return rd;
}

static inline void readers_leave(struct reading rd, enum cache_hit found)
{
	atomic_fetch_add_explicit(&rd.core->out[rd.phase][found], 1,
	                          memory_order_release);
}

/* Until every look that may have seen what was unlinked before has ended. */
void readers_wait(struct readers *r);

/* Looks that found this, since the beginning. */
uint64_t readers_found(const struct readers *r, enum cache_hit what);

#endif
