/*
 * cache_trace - which eviction keeps the right entries: hit ratios of the
 * memory tier (S3-FIFO, Yang et al., SOSP '23, with prints for ghosts and bytes
 * for places) beside S3-FIFO by the book, SIEVE (Zhang et al., NSDI '24) and LRU
 * of as many entries, over made-up traces, as the table of docs/cache.md.
 *
 * zipf a      a few keys are asked for often: key k with weight 1 / k^a
 * drift       zipf 0.9 whose keys are others after every tenth of the trace
 * scan        zipf 0.9, and every other request walks through keys that never
 *             come back, as a crawler or an export does
 * loop        one and a half times what fits, again and again
 */
#include "common/cache/cache.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SMALL_BYTES ((size_t)1000 << 10) /* one shard: one order of eviction */
#define REQUESTS    1000000
#define FAR_MS      (UINT64_MAX / 2)
#define NONE        UINT32_MAX

/* --- a list by keys, as both rivals need ------------------------------------------ */

struct links {
	uint32_t older, newer;
};

struct list {
	struct links *of; /* one for each key */
	uint32_t oldest, newest;
	size_t n;
};

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		abort();
	return p;
}

static struct list list_new(size_t keys)
{
	return (struct list){zeroed(keys, sizeof(struct links)), NONE, NONE, 0};
}

static void list_add(struct list *l, uint32_t key)
{
	l->of[key] = (struct links){l->newest, NONE};
	if (l->newest == NONE)
		l->oldest = key;
	else
		l->of[l->newest].newer = key;
	l->newest = key;
	l->n++;
}

static void list_remove(struct list *l, uint32_t key)
{
	struct links at = l->of[key];

	if (at.older == NONE)
		l->oldest = at.newer;
	else
		l->of[at.older].newer = at.newer;
	if (at.newer == NONE)
		l->newest = at.older;
	else
		l->of[at.newer].older = at.older;
	l->n--;
}

static uint32_t list_take_oldest(struct list *l)
{
	uint32_t key = l->oldest;

	list_remove(l, key);
	return key;
}

/* --- the rivals: true is a hit ------------------------------------------------------- */

struct lru {
	size_t max;
	bool *in;
	struct list order;
};

static bool lru_ask(struct lru *c, uint32_t key)
{
	bool hit = c->in[key];

	if (hit)
		list_remove(&c->order, key);
	else if (c->order.n == c->max)
		c->in[list_take_oldest(&c->order)] = false;
	c->in[key] = true;
	list_add(&c->order, key);
	return hit;
}

struct sieve {
	size_t max;
	bool *in, *visited;
	uint32_t hand;
	struct list order;
};

static void sieve_evict(struct sieve *c)
{
	uint32_t key = c->hand == NONE ? c->order.oldest : c->hand;

	while (c->visited[key]) {
		c->visited[key] = false;
		key = c->order.of[key].newer;
		if (key == NONE)
			key = c->order.oldest;
	}
	c->hand = c->order.of[key].newer;
	c->in[key] = false;
	list_remove(&c->order, key);
}

static bool sieve_ask(struct sieve *c, uint32_t key)
{
	if (c->in[key]) {
		c->visited[key] = true;
		return true;
	}
	if (c->order.n == c->max)
		sieve_evict(c);
	c->in[key] = true;
	c->visited[key] = false;
	list_add(&c->order, key);
	return false;
}

enum place { OUTSIDE, SMALL, MAIN, GHOST };

/* A tenth is for newcomers; one asked for again goes to the rest, and so does
 * one that comes back while its ghost is remembered. */
struct s3fifo {
	size_t max;
	unsigned char *place, *asked;
	struct list queue[GHOST + 1];
};

static void s3_enter(struct s3fifo *c, enum place p, uint32_t key)
{
	c->place[key] = (unsigned char)p;
	list_add(&c->queue[p], key);
}

static void s3_evict_main(struct s3fifo *c)
{
	for (;;) {
		uint32_t key = list_take_oldest(&c->queue[MAIN]);

		c->place[key] = OUTSIDE;
		if (c->asked[key] == 0)
			return;
		c->asked[key]--;
		s3_enter(c, MAIN, key);
	}
}

static void s3_evict_small(struct s3fifo *c)
{
	uint32_t key = list_take_oldest(&c->queue[SMALL]);

	if (c->asked[key] > 1) {
		c->asked[key] = 0;
		s3_enter(c, MAIN, key);
		return;
	}
	if (c->queue[GHOST].n == c->max * 9 / 10)
		c->place[list_take_oldest(&c->queue[GHOST])] = OUTSIDE;
	s3_enter(c, GHOST, key);
}

static bool s3_ask(struct s3fifo *c, uint32_t key)
{
	enum place p = c->place[key];

	if (p == SMALL || p == MAIN) {
		if (c->asked[key] < 3)
			c->asked[key]++;
		return true;
	}
	if (p == GHOST)
		list_remove(&c->queue[GHOST], key);
	c->place[key] = OUTSIDE;
	c->asked[key] = 0;
	while (c->queue[SMALL].n + c->queue[MAIN].n >= c->max)
		if (c->queue[SMALL].n >= c->max / 10 && c->queue[SMALL].n > 0)
			s3_evict_small(c);
		else
			s3_evict_main(c);
	s3_enter(c, p == GHOST ? MAIN : SMALL, key);
	return false;
}

static bool ours_ask(struct cache *c, uint32_t key)
{
	AUTO(cache_value) v = NULL;
	char z[16];
	struct cache_want w = {.key = {z, 0}, .ttl_ms = FAR_MS};

	w.key.n = (size_t)snprintf(z, sizeof(z), "%010u", key);
	if (cache_peek(c, w.key, 0, &v, NULL) == CACHE_HIT)
		return true;
	cache_store(c, &w, STR("0123456789abcdef"));
	return false;
}

/* --- traces -------------------------------------------------------------------------- */

static uint64_t noise(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct zipf {
	double *upto; /* part of the requests for keys 0..k */
	size_t keys;
};

static struct zipf zipf_new(size_t keys, double alpha)
{
	struct zipf z = {zeroed(keys, sizeof(double)), keys};
	double sum = 0;

	for (size_t k = 0; k < keys; k++) {
		sum += 1 / pow((double)(k + 1), alpha);
		z.upto[k] = sum;
	}
	for (size_t k = 0; k < keys; k++)
		z.upto[k] /= sum;
	return z;
}

static uint32_t zipf_draw(const struct zipf *z, uint64_t *state)
{
	double at = (double)(noise(state) >> 11) / 9007199254740992.0;
	size_t low = 0, high = z->keys - 1;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (z->upto[mid] < at)
			low = mid + 1;
		else
			high = mid;
	}
	return (uint32_t)low;
}

enum trace { TRACE_ZIPF, TRACE_DRIFT, TRACE_SCAN, TRACE_LOOP };

struct row {
	const char *name;
	enum trace kind;
	double alpha;
	size_t part; /* keys are so many times what fits */
};

static uint32_t request(const struct row *row, const struct zipf *z, size_t max,
                        size_t i, uint64_t *state)
{
	uint32_t key = 0;

	switch (row->kind) {
	case TRACE_ZIPF:
		return zipf_draw(z, state);
	case TRACE_DRIFT:
		key = (uint32_t)(i / (REQUESTS / 10) * (z->keys / 3));
		return (key + zipf_draw(z, state)) % (uint32_t)z->keys;
	case TRACE_SCAN:
		if (i % 2)
			return (uint32_t)(z->keys + i / 2);
		return zipf_draw(z, state);
	case TRACE_LOOP:
		return (uint32_t)(i % (max + max / 2));
	}
	return key;
}

/* --- the table ------------------------------------------------------------------------ */

static size_t fill(struct cache *c)
{
	struct cache_stats st = {0};

	for (uint32_t i = 0; st.evictions == 0; i++) {
		(void)ours_ask(c, i);
		cache_stats(c, &st);
	}
	cache_clear(c);
	return (size_t)st.entries;
}

static struct cache *small_cache(void)
{
	struct cache *c = cache_new(
		&(struct cache_conf){.max_bytes = SMALL_BYTES, .seed = 42});

	if (!c)
		abort();
	return c;
}

static void run(const struct row *row)
{
	AUTO(cache) ours = small_cache();
	size_t max = fill(ours), keys = max * row->part + REQUESTS;
	struct zipf z = zipf_new(max * row->part, row->alpha);
	struct lru lru = {max, zeroed(keys, sizeof(bool)), list_new(keys)};
	struct sieve sieve = {max, zeroed(keys, sizeof(bool)),
	                      zeroed(keys, sizeof(bool)), NONE, list_new(keys)};
	struct s3fifo s3 = {.max = max,
	                    .place = zeroed(keys, 1),
	                    .asked = zeroed(keys, 1)};
	unsigned hits[4] = {0};
	uint64_t state = 88172645463325252;

	for (int q = SMALL; q <= GHOST; q++)
		s3.queue[q] = list_new(keys);
	for (size_t i = 0; i < REQUESTS; i++) {
		uint32_t key = request(row, &z, max, i, &state);

		assert(key < keys);
		hits[0] += ours_ask(ours, key);
		hits[1] += s3_ask(&s3, key);
		hits[2] += sieve_ask(&sieve, key);
		hits[3] += lru_ask(&lru, key);
	}
	(void)printf("| %s |", row->name);
	for (size_t i = 0; i < COUNTOF(hits); i++)
		(void)printf(" %.1f |", hits[i] * 100.0 / REQUESTS);
	(void)printf("\n");
	for (int q = SMALL; q <= GHOST; q++)
		free(s3.queue[q].of);
	free(s3.place);
	free(s3.asked);
	free(sieve.in);
	free(sieve.visited);
	free(sieve.order.of);
	free(lru.in);
	free(lru.order.of);
	free(z.upto);
}

int main(void)
{
	static const struct row rows[] = {
		{"zipf 0.6, 1 of 10 fits", TRACE_ZIPF, 0.6, 10},
		{"zipf 0.8, 1 of 10 fits", TRACE_ZIPF, 0.8, 10},
		{"zipf 0.9, 1 of 10 fits", TRACE_ZIPF, 0.9, 10},
		{"zipf 1.0, 1 of 10 fits", TRACE_ZIPF, 1.0, 10},
		{"zipf 1.2, 1 of 10 fits", TRACE_ZIPF, 1.2, 10},
		{"zipf 0.8, 1 of 100 fits", TRACE_ZIPF, 0.8, 100},
		{"zipf 1.0, 1 of 100 fits", TRACE_ZIPF, 1.0, 100},
		{"drift, 1 of 10 fits", TRACE_DRIFT, 0.9, 10},
		{"scan, 1 of 10 fits", TRACE_SCAN, 0.9, 10},
		{"loop of 1.5 times the room", TRACE_LOOP, 1, 10},
	};

	(void)printf(
		"| trace (hits in %%) | memory tier | S3-FIFO by the book | SIEVE | LRU |\n"
		"|---|---|---|---|---|\n");
	for (size_t i = 0; i < COUNTOF(rows); i++)
		run(&rows[i]);
	return 0;
}
