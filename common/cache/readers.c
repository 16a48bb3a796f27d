#include "common/cache/readers.h"

#include "common/base/guard.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CORES_MAX 256
/* After so many tries who waits is not on a core of his own, and sleeps. */
#define YIELDS_MAX 64
#define NAP_NS     100000

bool readers_init(struct readers *r)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	size_t n = 1;

	while (n < CORES_MAX && (long)n < cpus)
		n *= 2;
	*r = (struct readers){.cores_n = n};
	pthread_mutex_init(&r->waiting, NULL);
	r->cores = aligned_alloc(_Alignof(struct readers_core),
	                         n * sizeof(*r->cores));
	if (!r->cores)
		return false;
	memset(r->cores, 0, n * sizeof(*r->cores));
	return true;
}

void readers_fini(struct readers *r)
{
	free(r->cores);
	pthread_mutex_destroy(&r->waiting);
}

/*
 * The ends are read before the beginnings: a look that is counted among the
 * former is among the latter, so that equal sums mean that at some time in
 * between there was none.
 */
static bool is_dry(const struct readers *r, unsigned phase)
{
	uint64_t in = 0, out = 0;

	for (size_t i = 0; i < r->cores_n; i++)
		for (int k = 0; k < READERS_FOUND; k++)
			out += atomic_load(&r->cores[i].out[phase][k]);
	for (size_t i = 0; i < r->cores_n; i++)
		in += atomic_load(&r->cores[i].in[phase]);
	return in == out;
}

static void run_dry(const struct readers *r, unsigned phase)
{
	const struct timespec nap = {.tv_nsec = NAP_NS};

	for (int i = 0; !is_dry(r, phase); i++)
		if (i < YIELDS_MAX)
			(void)sched_yield();
		else
			(void)nanosleep(&nap, NULL);
}

/*
 * One who has read the phase and not yet counted himself is met by the next
 * wait: he sees nothing that was unlinked before this one.
 */
void readers_wait(struct readers *r)
{
	GUARD(&r->waiting);
	unsigned now = atomic_load(&r->phase);

	run_dry(r, 1 - now);
	atomic_store(&r->phase, 1 - now);
	run_dry(r, now);
}

uint64_t readers_found(const struct readers *r, enum cache_hit what)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->cores_n; i++)
		for (int phase = 0; phase < 2; phase++)
			n += atomic_load_explicit(&r->cores[i].out[phase][what],
			                          memory_order_relaxed);
	return n;
}
