/*
 * cache - a value for a key, loaded once however many ask (design D22, D23).
 *
 * Why:     a hit costs a tenth of a microsecond where a load costs
 *          milliseconds, and while what is behind it is slow or away the last
 *          good value is better than an error.  A wrong value is worse than
 *          none: see Freshness.
 *
 *              memory, here --> remote, shared --> loader
 *              (S3-FIFO)        (remote.h)         (database, generation)
 *
 * Memory:  bounded in bytes (keys, values and overhead), scan-resistant eviction
 *          (S3-FIFO), expiry shortened by up to a tenth, so that what was made
 *          together does not end together.  A hit takes no lock and writes to
 *          no line that other cores write to (readers.h, hold.h); all else
 *          takes the lock of one shard.
 *          Values are immutable reference-counted bytes: a hit copies nothing
 *          and stays valid after eviction.
 * Single flight: of all that miss a key one runs the loader; the others wait
 *          for it at most until their own deadline, and leaving cancels
 *          nothing.  There is never more than one loader of a key in an
 *          instance, not even after cache_forget(): who comes after that waits
 *          for the doomed load to end and does not take what it brings.
 * Limits:  soft_ms: who has a stale value takes it when the load lasts longer.
 *          hard_ms: who has none gives up.  The load goes on in both cases, on
 *          one of a few threads of the cache.  eager: the first use of a value
 *          past that part of its life starts a load and does not wait for it.
 * Fail-safe: a value up to stale_ms over its time is served when the loader
 *          fails (5xx; a 4xx is an answer), for CACHE_RETRY_MS without asking
 *          the loader again, and cache_info says so.
 * Negative entries: a loader's ERR_NOT_FOUND is kept for negative_ttl_ms.
 * Tags:    an entry carries up to CACHE_TAGS_MAX; cache_forget_tag() makes all
 *          with the tag unusable in O(1).
 * Freshness: what is forgotten here, after the commit of the change, is not
 *          served by a cache_load() or cache_peek() that begins later, and what
 *          was being loaded meanwhile is not kept, neither here nor in the
 *          remote tier.  Other instances hear of it at once; one that cannot be
 *          reached serves what was forgotten for degraded_ttl_ms at most, as it
 *          believes no entry longer than that beyond the last proof that it
 *          hears everything (remote_proof_ms()).  Values that say that they are
 *          stale are exempt: give no stale_ms where even those would be wrong.
 *
 * Threads: any.  The loader runs without a lock, on the asking thread or on one
 *          of the cache's.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define CACHE_TAGS_MAX 4
/* Longer ones are loaded each time and kept nowhere. */
#define CACHE_KEY_MAX  512
#define CACHE_RETRY_MS 1000

struct wire;
struct remote_stats;
struct cache_fetch; /* fetch.h */
struct cache;
struct cache_value; /* a reference; cache_put_back() releases it */

struct cache_conf {
	size_t max_bytes;         /* of the memory tier */
	struct str space;         /* "gdpr": keys of the remote tier */
	const struct wire *wire;  /* lives longer; NULL: memory only */
	unsigned remote_soft_ms;  /* longest wait for the remote; 0: 50 */
	unsigned connect_ms;      /* its hard limits; 0: 5000 */
	unsigned command_ms;      /* 0: 5000 */
	uint64_t degraded_ttl_ms; /* 0: 5000 */
	unsigned threads;         /* for background loads; 0: 4 */
	uint64_t seed;            /* of hashes and jitter; 0: from the system */
};

/* Copies conf.  NULL without memory. */
struct cache *cache_new(const struct cache_conf *conf);
/* Waits for background loads; nobody may be inside any more, and all values
 * have been given back. */
void cache_free(struct cache *c);
AUTO_TYPE(cache, struct cache *, cache_free)

struct str cache_bytes(const struct cache_value *v);
void cache_put_back(struct cache_value *v); /* NULL is fine */
AUTO_TYPE(cache_value, struct cache_value *, cache_put_back)

/* --- where an answer came from ------------------------------------------------ */

enum cache_from {
	CACHE_FROM_MEMORY,
	CACHE_FROM_REMOTE,
	CACHE_FROM_LOADER,
	CACHE_FROM_STALE
};
enum cache_why { /* a stale value */
	         CACHE_NOT_STALE,
	         CACHE_LOAD_FAILED, /* also: out of time, no memory */
	         CACHE_LOAD_SLOW,   /* longer than soft_ms; it goes on */
	         CACHE_LOAD_SPARED, /* it failed less than CACHE_RETRY_MS ago */
};

struct cache_info {
	enum cache_from from;
	enum cache_why why;
	bool stored;      /* now in memory; always, when it came from there */
	bool joined;      /* another one's load was waited for */
	uint64_t age_ms;  /* since it was made */
	uint64_t ttl_ms;  /* left; 0 of a stale one and of what is not kept */
	uint64_t late_ms; /* a stale one: how far over its time */
};

#define CACHE_STATUS_MAX 128
/*
 * One member of a Cache-Status field (RFC 9211), as in
 * "kae-content; hit; ttl=376; detail=memory".  name: an sf-token.
 */
struct str cache_status(const char *name, const struct cache_info *info,
                        char out[CACHE_STATUS_MAX]);

/* --- asking ------------------------------------------------------------------- */

enum cache_hit { CACHE_MISS, CACHE_HIT, CACHE_NEGATIVE };
/*
 * Memory only, never waits: fit for a receive callback.  An entry whose eager
 * refresh is due is a miss, so that the cache_load() that follows starts one.
 * out and info are written on CACHE_HIT; info may be NULL.
 */
enum cache_hit cache_peek(struct cache *c, struct str key, uint64_t now_ms,
                          struct cache_value **out, struct cache_info *info);

enum cache_skip {                             /* bits of cache_want.skip */
	          CACHE_SKIP_MEMORY_READ = 1, /* a flight under way is joined */
	          CACHE_SKIP_MEMORY_WRITE = 2,
	          CACHE_SKIP_REMOTE_READ = 4,
	          /* Implied by the former: the remote gives the marks to set with. */
	          CACHE_SKIP_REMOTE_WRITE = 8,
};

struct cache_want {
	struct str key;
	/* 0 keeps nothing. */
	uint64_t ttl_ms, negative_ttl_ms;
	uint64_t stale_ms;         /* beyond the former, to fall back on */
	unsigned soft_ms, hard_ms; /* 0: none */
	unsigned eager;            /* percent of ttl_ms, 1..99; 0: off */
	unsigned skip;             /* CACHE_SKIP_ */
	size_t tags_n;
	struct str tags[CACHE_TAGS_MAX];
	uint64_t now_ms, deadline_ms; /* mono_ms() */
	/* What the remote tier was asked for this already; or NULL. */
	const struct cache_fetch *fetched;
	/* Appends the value to *out.  NULL: there is none; what neither tier
	 * has, fresh or stale, is ERR_UNAVAILABLE, and that is no failure. */
	enum err (*load)(void *arg, struct buf *out);
	void *arg;
	/*
	 * A copy of arg for the heap that outlives the request, with limits of
	 * its own, and what frees it.  NULL: the load stays on the asking
	 * thread, so that there is no eager refresh and the limits hold only
	 * for those who wait for another one's load.  So does it when detach()
	 * returns NULL or all threads for background loads are busy.
	 */
	void *(*detach)(const void *arg);
	void (*drop)(void *detached);
};
/* On OK *out is the caller's, and *info is written (may be NULL). */
enum err cache_load(struct cache *c, const struct cache_want *w,
                    struct cache_value **out,
                    struct cache_info *info) MUST_CHECK;

/* --- telling ------------------------------------------------------------------ */

/*
 * Best effort, memory of this instance only: without memory the old value goes
 * and none comes.  A load under way is not kept.
 */
void cache_store(struct cache *c, const struct cache_want *w, struct str value);
/* After the commit of what changed it.  Flights under way: what they load is
 * handed to those who wait, but not kept. */
void cache_forget(struct cache *c, struct str key);
void cache_forget_tag(struct cache *c, struct str tag);
void cache_clear(struct cache *c);

/* --- figures ------------------------------------------------------------------ */

struct cache_stats {
	uint64_t hits, misses, negative_hits, stale_served, loads,
		load_failures;
	uint64_t waits, sets, deletes, invalidations, evictions, expired;
	uint64_t soft_timeouts, eager_loads, background_loads;
	uint64_t background_busy; /* was to run there and found no thread */
	uint64_t disbelieved;     /* fresh entries not served while cut off */
	uint64_t bytes, max_bytes, entries;
};
void cache_stats(const struct cache *c, struct cache_stats *out);
/* False, and *out zeroed, where there is no remote tier. */
bool cache_remote_stats(const struct cache *c, struct remote_stats *out);
/* mono_ms() of the last proof of being in step; 0: never or no remote. */
uint64_t cache_proof_ms(const struct cache *c);
/* Closes an open breaker of the remote tier. */
void cache_breaker_reset(struct cache *c);

#endif
