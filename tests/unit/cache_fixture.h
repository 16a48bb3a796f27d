/*
 * cache_fixture - a loader that a test holds in its hand, and short ways to ask
 * a cache.
 */
#ifndef TESTS_UNIT_CACHE_FIXTURE_H
#define TESTS_UNIT_CACHE_FIXTURE_H

#include "common/cache/cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define FAR_MS (UINT64_MAX / 2)
/* What a cache takes before it holds anything, about. */
#define FIXED_BYTES ((size_t)134 << 10)

/* With bytes for entries. */
static inline struct cache *memory(size_t bytes)
{
	return cache_new(&(struct cache_conf){
		.max_bytes = bytes ? FIXED_BYTES + bytes : 0});
}

struct source {
	atomic_int calls, running, most; /* most at the same time */
	enum err err;
	const char *text;
	atomic_bool hold; /* the loader waits while set */
	void (*meanwhile)(struct source *so);
	struct cache *cache;
	atomic_int detached, dropped;
	bool cannot_detach;
	uint64_t now_ms; /* for what `meanwhile` does */
};

static inline enum err load(void *arg, struct buf *out)
{
	struct source *so = arg;
	int n = atomic_fetch_add(&so->running, 1) + 1;

	if (n > atomic_load(&so->most))
		atomic_store(&so->most, n);
	atomic_fetch_add(&so->calls, 1);
	if (so->meanwhile)
		so->meanwhile(so);
	while (atomic_load(&so->hold))
		(void)usleep(200);
	if (!so->err)
		buf_str(out, str_from(so->text));
	atomic_fetch_sub(&so->running, 1);
	return so->err;
}

/* The copy that outlives the request points to the source, which does too. */
static inline void *detach(const void *arg)
{
	struct source *so;

	memcpy(&so, &arg, sizeof(so));
	if (so->cannot_detach)
		return NULL;
	atomic_fetch_add(&so->detached, 1);
	return so;
}

static inline void drop(void *detached)
{
	struct source *so = detached;

	atomic_fetch_add(&so->dropped, 1);
}

static inline struct cache_want want(struct source *so, const char *key,
                                     uint64_t now_ms)
{
	return (struct cache_want){.key = str_from(key),
	                           .ttl_ms = 1000,
	                           .now_ms = now_ms,
	                           .deadline_ms = FAR_MS,
	                           .load = load,
	                           .arg = so};
}

/* Loads and compares; NULL text: any. */
static inline struct cache_info expect_info(struct cache *c,
                                            const struct cache_want *w,
                                            const char *text)
{
	AUTO(cache_value) v = NULL;
	struct cache_info info = {.from = CACHE_FROM_STALE};

	assert_int_equal(cache_load(c, w, &v, &info), OK);
	if (text)
		assert_true(str_eq(cache_bytes(v), str_from(text)));
	return info;
}

static inline enum cache_from expect(struct cache *c,
                                     const struct cache_want *w,
                                     const char *text)
{
	return expect_info(c, w, text).from;
}

static inline void expect_error(struct cache *c, const struct cache_want *w,
                                enum err e)
{
	struct cache_value *v = NULL;

	assert_int_equal(cache_load(c, w, &v, NULL), e);
	assert_null(v);
}

static inline enum cache_hit peek(struct cache *c, const char *key,
                                  uint64_t now_ms)
{
	AUTO(cache_value) v = NULL;

	return cache_peek(c, str_from(key), now_ms, &v, NULL);
}

static inline void wait_for_calls(struct source *so, int n)
{
	while (atomic_load(&so->calls) < n)
		(void)usleep(200);
}

/* To happen while something is loaded. */
static inline void forget_key(struct source *so)
{
	cache_forget(so->cache, STR("k"));
}

static inline void forget_tag(struct source *so)
{
	cache_forget_tag(so->cache, STR("t"));
}

static inline void forget_all(struct source *so)
{
	cache_clear(so->cache);
}

/* Deterministic noise. */
static inline unsigned noise(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*seed >> 33);
}

#endif
