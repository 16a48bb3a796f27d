/*
 * cache_clock - a clock that stands still until a test moves it, in the place
 * of mono_ms() and of waiting for a deadline (linked with --wrap).
 */
#ifndef TESTS_UNIT_CACHE_CLOCK_H
#define TESTS_UNIT_CACHE_CLOCK_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_START_MS 1000000
#define NAP_NS         500000

static _Atomic uint64_t clock_now_ms = CLOCK_START_MS;

uint64_t __wrap_mono_ms(void);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
                                  const struct timespec *until);
int __real_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
                                  const struct timespec *until);

static inline void clock_move(uint64_t ms)
{
	atomic_fetch_add(&clock_now_ms, ms);
}

uint64_t __wrap_mono_ms(void)
{
	return atomic_load(&clock_now_ms);
}

/* Wakes now and then for no reason, as the real one may, to look at the clock
 * that the test moves. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
                                  const struct timespec *until)
{
	uint64_t until_ms = (uint64_t)until->tv_sec * 1000 +
	                    (uint64_t)until->tv_nsec / 1000000;
	struct timespec nap;

	if (atomic_load(&clock_now_ms) >= until_ms)
		return ETIMEDOUT;
	(void)clock_gettime(CLOCK_MONOTONIC, &nap);
	nap.tv_nsec += NAP_NS;
	if (nap.tv_nsec >= 1000000000) {
		nap.tv_nsec -= 1000000000;
		nap.tv_sec++;
	}
	(void)__real_pthread_cond_timedwait(c, m, &nap);
	return 0;
}

#endif
