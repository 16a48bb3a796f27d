/*
 * shard - one part of the cache: a table, its eviction order and its bytes.
 * Internal to common/cache.
 *
 * Why:     S3-FIFO (Yang et al., SOSP '23) keeps what is asked for again through
 *          a scan of what is not, and a hit moves nothing, so that it needs no
 *          lock.  Measured against SIEVE and LRU in docs/cache.md.
 *
 *              new -> SMALL, a tenth -- asked for twice --> MAIN <-+
 *                         |                                |  |    | asked for
 *                         v                                v  +----+
 *                       ghost: a print of the key,        gone
 *                       for which it enters MAIN if it comes back
 *
 * Bounds:  bytes <= max_bytes at every moment; table and ghosts have a fixed
 *          size; a new ghost displaces an old one.
 * Owns:    its entries, and a reference to each entry's value.
 * Threads: the lock is the caller's to hold, a leaf: what is taken out goes to
 *          a list that the caller frees without it, once nobody who found it
 *          without the lock looks at it any more (readers.h).
 */
#ifndef CACHE_SHARD_H
#define CACHE_SHARD_H

#include "common/cache/cache.h"

#include <pthread.h>
#include <stdatomic.h>

/* A value that is counted, the bytes behind it; or how one of those is shown to
 * who holds it uncounted (hold.h). */
struct cache_value {
	struct str bytes;
	_Atomic uintptr_t *noted; /* where it is held; NULL: counted */
	_Atomic uint64_t refs;    /* of one that is counted */
};

/* Copies; one reference, the caller's.  NULL without memory. */
struct cache_value *value_new(struct str bytes) MUST_CHECK;
/* Of one that is counted; NULL is fine. */
struct cache_value *value_share(struct cache_value *v);

/* How the counter of one of a value's names stood when it began to be made. */
struct mark {
	uint64_t count;
	uint16_t slot;
};

#define MARKS_MAX (CACHE_TAGS_MAX + 1) /* and the key, with a remote tier */
struct marks {
	size_t n;
	struct mark at[MARKS_MAX];
};

struct entry {
	/* In order of arrival; older: next of those taken out. */
	struct entry *older, *newer;
	uint64_t gone_ms;  /* before it, something to fall back on */
	uint64_t retry_ms; /* a loader failed: stale until then */
	/* What a hit looks at, without the lock, stands together, the key next
	 * to it.  What is not atomic does not change while it can be found. */
	_Atomic(struct entry *) chain; /* of its bucket, also when out of it */
	uint64_t hash;
	struct cache_value *value; /* NULL: the loader said ERR_NOT_FOUND */
	uint64_t expires_ms;       /* fresh before it */
	_Atomic uint64_t eager_ms; /* from then on a use starts a refresh */
	/* It holds all that was forgotten before born_ms; age_ms old then. */
	uint64_t born_ms, age_ms;
	uint16_t key_n;
	uint8_t queue; /* under the lock */
	uint8_t marks_n;
	_Atomic uint8_t asked; /* for, up to ASKED_MAX times */
	struct mark marks[];   /* then the key */
};

static inline struct str entry_key(const struct entry *e)
{
	return (struct str){(const char *)&e->marks[e->marks_n], e->key_n};
}

#define ASKED_MAX 3

enum { QUEUE_SMALL, QUEUE_MAIN, QUEUES };

struct queue {
	struct entry *oldest, *newest;
	uint64_t bytes;
};

struct flight;

struct shard {
	/* Read without the lock, which is in another line. */
	_Alignas(64) _Atomic(struct entry *) *buckets;
	size_t buckets_n; /* a power of two */
	_Alignas(64) pthread_mutex_t lock;
	struct queue queue[QUEUES];
	/* Prints of keys that went without having been asked for enough; each
	 * lasts until another one takes its place. */
	uint32_t *ghosts;
	size_t ghosts_n;    /* a power of two */
	uint64_t small_max; /* bytes that newcomers may take */
	uint64_t bytes, max_bytes;
	uint64_t random;
	struct flight *flights;
	struct cache_stats stats;
};

bool shard_init(struct shard *s, uint64_t max_bytes, size_t buckets,
                uint64_t seed) MUST_CHECK;
void shard_fini(struct shard *s);

/*
 * Takes the reference to value (NULL: negative), also when it fails.  key is
 * at most CACHE_KEY_MAX long.  NULL without memory.
 */
struct entry *entry_new(uint64_t hash, struct str key,
                        struct cache_value *value,
                        const struct marks *marks) MUST_CHECK;
/* For those in `dead` below; NULL is fine.  Nobody may look at them any more. */
void entries_free(struct entry *dead);

/* The one function that does not need the lock: readers.h keeps what it returns
 * then. */
struct entry *shard_find(const struct shard *s, uint64_t hash, struct str key);
void shard_remove(struct shard *s, struct entry *e, struct entry **dead);
/* One whose value is of no use any more, but may be asked for again. */
void shard_retire(struct shard *s, struct entry *e, struct entry **dead);
/* Without the lock: two that ask at once may count as one. */
static inline void shard_asked(struct entry *e)
{
	uint8_t n = atomic_load_explicit(&e->asked, memory_order_relaxed);

	if (n < ASKED_MAX)
		atomic_store_explicit(&e->asked, n + 1, memory_order_relaxed);
}
/*
 * Takes e, makes room and puts it in; a former entry of the key is taken out,
 * whose place among the others it gets.
 * One that is larger than the shard goes to dead at once: false.
 */
bool shard_put(struct shard *s, struct entry *e, uint64_t now_ms,
               struct entry **dead);
void shard_clear(struct shard *s, struct entry **dead);
/* Evenly from 0 to max. */
uint64_t shard_random(struct shard *s, uint64_t max);

#endif
