/*
 * shard - one part of the cache: a table, its eviction order and its bytes.
 * Internal to common/cache.
 *
 * Why:     SIEVE (Zhang et al., NSDI '24) keeps what is asked for again through
 *          a scan of what is not, needs one bit an entry, and a hit moves
 *          nothing, so a hit is short under the lock.
 *
 *              oldest ... hand <- ... newest        new entries come here
 *                          | a visited entry loses its mark and stays
 *                          | one without goes
 *
 * Bounds:  bytes <= max_bytes at every moment; the table has a fixed size.
 * Owns:    its entries, and a reference to each entry's value.
 * Threads: the lock is the caller's to hold, a leaf: what is taken out goes to
 *          a list that the caller frees without it.
 */
#ifndef CACHE_SHARD_H
#define CACHE_SHARD_H

#include "common/cache/cache.h"

#include <pthread.h>
#include <stdatomic.h>

struct cache_value {
	_Atomic uint64_t refs;
	size_t n;
	char bytes[];
};

/* Copies; one reference, the caller's.  NULL without memory. */
struct cache_value *value_new(struct str bytes) MUST_CHECK;
struct cache_value *value_share(struct cache_value *v); /* NULL is fine */

/* How the counters of a value's names stood when it began to be made. */
#define MARKS_MAX (CACHE_TAGS_MAX + 1) /* and the key, with a remote tier */
struct marks {
	uint64_t count[MARKS_MAX];
	uint16_t slot[MARKS_MAX];
	uint16_t n;
};

struct entry {
	struct entry *chain;         /* of its bucket, or of a list to free */
	struct entry *older, *newer; /* in order of arrival */
	uint64_t hash;
	struct cache_value *value; /* NULL: the loader said ERR_NOT_FOUND */
	/* Fresh before expires_ms, to fall back on before gone_ms. */
	uint64_t expires_ms, gone_ms;
	uint64_t eager_ms; /* from then on a use starts a refresh */
	uint64_t retry_ms; /* a loader failed: stale until then */
	/* It holds all that was forgotten before born_ms; age_ms old then. */
	uint64_t born_ms, age_ms;
	struct marks marks;
	bool visited;
	uint16_t key_n;
	char key[];
};

struct flight;

struct shard {
	_Alignas(64) pthread_mutex_t lock;
	struct entry **buckets;
	size_t buckets_n; /* a power of two */
	struct entry *oldest, *newest, *hand;
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
void entries_free(struct entry *list); /* by chain; NULL is fine */

struct entry *shard_find(const struct shard *s, uint64_t hash, struct str key);
void shard_remove(struct shard *s, struct entry *e, struct entry **dead);
/*
 * Takes e, makes room and puts it in; a former entry of the key is taken out.
 * One that is larger than the shard goes to dead at once: false.
 */
bool shard_put(struct shard *s, struct entry *e, uint64_t now_ms,
               struct entry **dead);
void shard_clear(struct shard *s, struct entry **dead);
/* Evenly from 0 to max. */
uint64_t shard_random(struct shard *s, uint64_t max);

#endif
