/*
 * cache - a value for a key, loaded once however many ask (design D22, D23).
 *
 * Memory tier: bounded in bytes (keys, values and overhead), sharded locks,
 * scan-resistant eviction (SIEVE, NSDI '24), expiry.  Values are immutable
 * reference-counted bytes: a hit copies nothing and stays valid after eviction.
 * Single flight: of all threads that miss a key one runs the loader, the others
 * wait for it at most until their own deadline.  Negative entries: a loader
 * that says ERR_NOT_FOUND is remembered for negative_ttl_ms.  Fail-safe: when a
 * loader fails and an expired value is at most stale_ms old, it is served and
 * marked stale.  Jitter: the time to live is shortened by up to a tenth.
 * Tags: an entry may carry up to CACHE_TAGS_MAX; cache_forget_tag() makes all
 * entries with the tag unusable in O(1).
 *
 * The Redis tier and invalidation across instances stand between this memory
 * tier and the loader and do not change this header.
 *
 * Threads: any.  The loader runs on the asking thread, without a lock.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define CACHE_TAGS_MAX 4
#define CACHE_KEY_MAX  512

struct cache;
struct cache_value; /* a reference; cache_put_back() releases it */

struct cache *cache_new(size_t max_bytes);
void cache_free(struct cache *c);
AUTO_TYPE(cache, struct cache *, cache_free)

struct str cache_bytes(const struct cache_value *v);
void cache_put_back(struct cache_value *v); /* NULL is fine */
AUTO_TYPE(cache_value, struct cache_value *, cache_put_back)

enum cache_hit { CACHE_MISS, CACHE_HIT, CACHE_NEGATIVE };
/* Memory only, never waits: fit for a receive callback. */
enum cache_hit cache_peek(struct cache *c, struct str key, uint64_t now_ms,
                          struct cache_value **out);

struct cache_want {
	struct str key;
	uint64_t ttl_ms, negative_ttl_ms, stale_ms;
	size_t tags_n;
	struct str tags[CACHE_TAGS_MAX];
	uint64_t now_ms, deadline_ms; /* mono_ms() */
	/* Appends the value to *out. */
	enum err (*load)(void *arg, struct buf *out);
	void *arg;
};
enum cache_from { CACHE_FROM_MEMORY, CACHE_FROM_LOADER, CACHE_FROM_STALE };
enum err cache_load(struct cache *c, const struct cache_want *w,
                    struct cache_value **out, enum cache_from *from) MUST_CHECK;

/* Best effort: without memory the old value goes and none comes. */
void cache_store(struct cache *c, const struct cache_want *w, struct str value);
/* Also ends flights under way: what they load is handed to those who wait,
 * but not kept. */
void cache_forget(struct cache *c, struct str key);
void cache_forget_tag(struct cache *c, struct str tag);
void cache_clear(struct cache *c);

struct cache_stats {
	uint64_t hits, misses, negative_hits, stale_served, loads,
		load_failures;
	uint64_t waits, sets, deletes, invalidations, evictions, expired;
	uint64_t bytes, max_bytes, entries;
};
void cache_stats(const struct cache *c, struct cache_stats *out);

#endif
