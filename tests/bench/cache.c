/*
 * cache - what a hit of the memory tier costs, for 1 and 2 threads: the median
 * over batches of the time of one cache_peek() and cache_put_back(), with keys
 * of about 40 bytes drawn from a skewed set, and with one key that all ask for.
 * Time of a hit is CPU time of its thread, so that it says something on a
 * machine that does other things too; hits per second are by the clock on the
 * wall.
 */
#include "common/cache/cache.h"

#include "common/base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEYS    20000
#define BATCH   1000
#define BATCHES 2000
#define THREADS 2

static char keys[KEYS][48];

struct run {
	struct cache *c;
	unsigned seed, keys;
	unsigned ns[BATCHES]; /* of one hit */
	unsigned misses;
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x > y) - (x < y);
}

static void *hit_often(void *arg)
{
	struct run *r = arg;
	uint64_t x = r->seed;

	for (unsigned i = 0; i < BATCHES; i++) {
		uint64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);

		for (unsigned k = 0; k < BATCH; k++) {
			struct cache_value *v = NULL;
			unsigned at;

			x = x * 6364136223846793005u + 1442695040888963407u;
			/* Squared: a few keys are asked for often. */
			at = (unsigned)(x >> 33) % r->keys;
			at = (unsigned)((uint64_t)at * at / r->keys);
			if (cache_peek(r->c, str_from(keys[at]), 0, &v, NULL) !=
			    CACHE_HIT)
				r->misses++;
			cache_put_back(v);
		}
		r->ns[i] =
			(unsigned)((now_ns(CLOCK_THREAD_CPUTIME_ID) - before) /
		                   BATCH);
	}
	qsort(r->ns, BATCHES, sizeof(r->ns[0]), by_size);
	return NULL;
}

static bool measure(struct cache *c, unsigned keys_n, unsigned n)
{
	static struct run runs[THREADS];
	pthread_t t[THREADS];
	uint64_t before = now_ns(CLOCK_MONOTONIC);

	for (unsigned i = 0; i < n; i++) {
		runs[i] = (struct run){.c = c, .seed = i + 1, .keys = keys_n};
		if (pthread_create(&t[i], NULL, hit_often, &runs[i]))
			return false;
	}
	for (unsigned i = 0; i < n; i++)
		(void)pthread_join(t[i], NULL);
	(void)printf("%5u keys, %u threads: p50 %u ns, p99 %u ns a hit, %.1f M "
	             "hits/s, %u misses\n",
	             keys_n, n, runs[0].ns[BATCHES / 2],
	             runs[0].ns[BATCHES * 99 / 100],
	             (double)n * BATCHES * BATCH * 1e3 /
	                     (double)(now_ns(CLOCK_MONOTONIC) - before),
	             runs[0].misses);
	return true;
}

int main(void)
{
	const struct cache_conf conf = {.max_bytes = (size_t)64 << 20};
	AUTO(cache) c = cache_new(&conf);

	if (!c)
		return 1;
	for (unsigned i = 0; i < KEYS; i++) {
		(void)snprintf(keys[i], sizeof(keys[i]),
		               "v1:stats:01909a3c-0000-7000-8000-%012u", i);
		cache_store(c,
		            &(struct cache_want){.key = str_from(keys[i]),
		                                 .ttl_ms = UINT64_MAX},
		            STR("a reply of some thirty-two bytes"));
	}
	for (unsigned n = 1; n <= THREADS; n++)
		if (!measure(c, KEYS, n) || !measure(c, 1, n))
			return 1;
	return 0;
}
