/*
 * core - the cache as its parts see it; internal to common/cache.
 *
 * cache.c   life, looking, storing, forgetting, figures
 * load.c    cache_load(): who waits, who loads, what is kept
 * fetch.c   cache_fetch(): the remote tier is asked, and nobody waits
 * flight.c  one load and those who wait for it
 * crew.c    the threads of background loads
 * shard.c   the table and its eviction
 * readers.c looking into it without its lock
 * hold.c    using what was found there without counting it
 * status.c  Cache-Status
 *
 * Locks: a shard's, one at a time, the crew's, and the readers'; never two, and
 * none while a loader, detach(), drop() or anything of remote.h runs.
 */
#ifndef CACHE_CORE_H
#define CACHE_CORE_H

#include "common/cache/cache.h"
#include "common/cache/crew.h"
#include "common/cache/hold.h"
#include "common/cache/readers.h"
#include "common/cache/remote.h"
#include "common/cache/shard.h"

#include <sodium.h>

struct cache {
	size_t shards_n; /* a power of two */
	size_t max_bytes;
	struct shard *shards;
	struct readers readers;
	struct holds holds;
	struct crew *crew;
	struct remote *remote; /* NULL: memory only */
	unsigned remote_soft_ms;
	uint64_t degraded_ttl_ms;
	unsigned char hash_key[crypto_shorthash_KEYBYTES];
	_Atomic uint64_t invalidations;
	/*
	 * Names are counted in a fixed number of slots by their hash:
	 * forgetting one also forgets those that share its slot, which costs a
	 * load and is never wrong, and the memory does not grow with the number
	 * of tags.  The same slots as in the remote tier, so that what another
	 * instance forgets is one addition here.
	 */
	_Atomic uint64_t slots[CACHE_SLOTS];
};

static inline uint64_t later_ms(uint64_t now_ms, uint64_t ms)
{
	return ms < UINT64_MAX - now_ms ? now_ms + ms : UINT64_MAX;
}

static inline uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t core_hash(const struct cache *c, struct str key);
struct shard *core_shard(struct cache *c, uint64_t hash);
/* How the counters of a value's names stand, before it is loaded. */
struct marks core_mark(struct cache *c, const struct cache_want *w);
bool core_is_current(struct cache *c, const struct mark *marks, size_t n);

/*
 * When this instance heard everything for certain; without a remote tier there
 * is nobody to hear of.  To be read before the counters of core_is_current():
 * the other way round, what catching up forgets could slip in between and an
 * old value be believed for the new proof.
 */
uint64_t core_proof_ms(const struct cache *c);
bool core_is_believed(const struct cache *c, uint64_t proof_ms,
                      uint64_t born_ms, uint64_t now_ms);

struct look {
	enum cache_hit hit;
	/* Shared: of a hit, or of a miss one to fall back on, or NULL. */
	struct cache_value *value;
	uint64_t expires_ms, born_ms, age_ms; /* see struct entry */
	bool spared; /* fall back on it without a load: one failed lately */
	bool due;    /* for an eager refresh */
};
/*
 * A fresh one that nothing is to be done about, found without the lock and
 * counted; else CACHE_MISS, which says only that core_look() has to see.
 */
struct look core_hit(struct cache *c, struct shard *s, uint64_t hash,
                     struct str key, uint64_t now_ms);
/* Holds the lock of s.  What is over goes to *dead. */
struct look core_look(struct cache *c, struct shard *s, uint64_t hash,
                      struct str key, uint64_t now_ms, struct entry **dead);
/* Where it was in memory; needs no lock. */
struct cache_info core_info(const struct look *l, uint64_t now_ms);
void core_count_look(struct shard *s, enum cache_hit hit);
/* Frees what was taken out, without a lock. */
void core_bury(struct cache *c, struct entry *dead);

/* So long before its end a value is to be made anew on use. */
uint64_t core_eager_part(const struct cache_want *w);

/* How long a value is good for, from born_ms on. */
struct life {
	uint64_t born_ms; /* it is no older than this */
	uint64_t ttl_ms, stale_ms;
	uint64_t age_ms; /* when born_ms was: another instance made it */
	bool jitter;
};
/*
 * Holds the lock of s.  Takes e (NULL: no memory), for which the former entry
 * of the key goes, also when it is not kept.  Returns whether it was.
 */
bool core_keep(struct shard *s, const struct cache_want *w, uint64_t hash,
               struct entry *e, const struct life *life, struct entry **dead);

#endif
