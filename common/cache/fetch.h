/*
 * fetch - a look into the remote tier for which no thread waits.
 *
 * Why:     a cache_load() that the remote tier answers holds a thread that
 *          sleeps and is woken, which costs more than all else of it, and no
 *          more are asked together than there are threads.
 *
 *              cache_peek() misses
 *                   |
 *              cache_fetch() --> done(): found ------> its value
 *                   |                    not found --> cache_load(), told so
 *                   +-- not now -----------------------> cache_load()
 *
 *          It is a flight like that of a load, but without the loader: who
 *          misses the key meanwhile waits for it, and loads if it finds
 *          nothing; what is forgotten meanwhile is not kept; it lasts no longer
 *          than REDIS_SOFT_TIMEOUT_MS.
 * Bounds:  REMOTE_QUEUE_MAX; beyond it, not now.
 * Owns:    nothing but the value, until it is taken.
 * Threads: any; done() comes on the remote tier's, without a lock, and must not
 *          keep it.
 */
#ifndef CACHE_FETCH_H
#define CACHE_FETCH_H

#include "common/cache/cache.h"
#include "common/cache/remote.h"

struct shard;
struct flight;

struct cache_fetch {
	void (*done)(struct cache_fetch *f); /* f may be gone behind it */
	/* What it came to, from done() on. */
	enum cache_hit hit;
	struct cache_value *value; /* of a hit: the caller's */
	struct cache_info info;    /* of a hit */
	/* All below is the cache's. */
	bool asked; /* the remote tier, which had no fresh value */
	struct remote_marks marks;
	struct cache *c;
	struct shard *s;
	struct flight *flight;
	uint64_t hash, began_ms, born_ms;
	struct cache_want want;
};

/*
 * OK: done() follows, once; what w points to stays until then.  Else it does not,
 * because memory has a value by now, fresh or stale, somebody loads it already,
 * w skips a tier, or the remote tier cannot be asked: then, and behind a done()
 * that is no hit, f goes to the cache_load() of the same w as w->fetched.  The
 * loader of w is not used.
 */
enum err cache_fetch(struct cache *c, const struct cache_want *w,
                     struct cache_fetch *f) MUST_CHECK;

#endif
