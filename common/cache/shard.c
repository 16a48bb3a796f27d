#include "common/cache/shard.h"

#include "common/cache/hold.h"

#include <assert.h>
#include <stdlib.h>

/* What the allocator adds to a block, about. */
#define BLOCK_COST 16
/* Entries are smaller than what a bucket is reckoned for. */
#define GHOSTS_PER_BUCKET 4

struct cache_value *value_new(struct str bytes)
{
	struct cache_value *v;
	char *text;

	if (bytes.n > SIZE_MAX - sizeof(*v))
		return NULL;
	v = malloc(sizeof(*v) + bytes.n);
	if (!v)
		return NULL;
	text = (char *)(v + 1);
	if (bytes.n)
		memcpy(text, bytes.p, bytes.n);
	*v = (struct cache_value){.bytes = {text, bytes.n}, .refs = 1};
	return v;
}

struct cache_value *value_share(struct cache_value *v)
{
	if (!v)
		return NULL;
	assert(!v->noted);
	/* Whoever shares holds a reference, so nothing needs to be ordered. */
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	return v;
}

void cache_put_back(struct cache_value *v)
{
	if (v && v->noted)
		hold_leave(v);
	else if (v && atomic_fetch_sub_explicit(&v->refs, 1,
	                                        memory_order_acq_rel) == 1)
		free(v);
}

static size_t entry_size(size_t marks_n, size_t key_n)
{
	return sizeof(struct entry) + marks_n * sizeof(struct mark) + key_n;
}

struct entry *entry_new(uint64_t hash, struct str key,
                        struct cache_value *value, const struct marks *marks)
{
	struct entry *e = malloc(entry_size(marks->n, key.n));

	if (!e) {
		cache_put_back(value);
		return NULL;
	}
	*e = (struct entry){.hash = hash,
	                    .value = value,
	                    .marks_n = (uint8_t)marks->n,
	                    .key_n = (uint16_t)key.n};
	memcpy(e->marks, marks->at, marks->n * sizeof(marks->at[0]));
	if (key.n)
		memcpy(&e->marks[marks->n], key.p, key.n);
	return e;
}

void entries_free(struct entry *dead)
{
	while (dead) {
		struct entry *next = dead->older;

		cache_put_back(dead->value);
		free(dead);
		dead = next;
	}
}

static uint64_t cost(const struct entry *e)
{
	uint64_t n = entry_size(e->marks_n, e->key_n) + BLOCK_COST;

	return e->value ? n + sizeof(*e->value) + e->value->bytes.n + BLOCK_COST
	                : n;
}

bool shard_init(struct shard *s, uint64_t max_bytes, size_t buckets,
                uint64_t seed)
{
	const size_t link = sizeof(void *);
	size_t ghosts = buckets * GHOSTS_PER_BUCKET;

	*s = (struct shard){.buckets_n = buckets,
	                    .ghosts_n = ghosts,
	                    .max_bytes = max_bytes,
	                    .bytes = buckets * link +
	                             ghosts * sizeof(*s->ghosts),
	                    .random = seed | 1};
	s->small_max = max_bytes > s->bytes ? (max_bytes - s->bytes) / 10 : 0;
	pthread_mutex_init(&s->lock, NULL);
	s->buckets = calloc(buckets, link);
	s->ghosts = calloc(ghosts, sizeof(*s->ghosts));
	return s->buckets && s->ghosts;
}

void shard_fini(struct shard *s)
{
	struct entry *dead = NULL;

	shard_clear(s, &dead);
	entries_free(dead);
	free(s->buckets);
	free(s->ghosts);
	pthread_mutex_destroy(&s->lock);
}

static _Atomic(struct entry *) *bucket(const struct shard *s, uint64_t hash)
{
	return &s->buckets[hash & (s->buckets_n - 1)];
}

struct entry *shard_find(const struct shard *s, uint64_t hash, struct str key)
{
	struct entry *e = *bucket(s, hash);

	while (e && !(e->hash == hash && str_eq(entry_key(e), key)))
		e = e->chain;
	return e;
}

/* --- the two queues ------------------------------------------------------------- */

static void enqueue(struct shard *s, unsigned q, struct entry *e)
{
	struct queue *to = &s->queue[q];

	e->queue = (uint8_t)q;
	e->newer = NULL;
	e->older = to->newest;
	if (to->newest)
		to->newest->newer = e;
	else
		to->oldest = e;
	to->newest = e;
	to->bytes += cost(e);
}

static void dequeue(struct shard *s, struct entry *e)
{
	struct queue *from = &s->queue[e->queue];

	if (e->newer)
		e->newer->older = e->older;
	else
		from->newest = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else
		from->oldest = e->newer;
	from->bytes -= cost(e);
}

void shard_remove(struct shard *s, struct entry *e, struct entry **dead)
{
	_Atomic(struct entry *) *at = bucket(s, e->hash);
	struct entry *other;

	while ((other = atomic_load(at)) != e)
		at = &other->chain;
	/* Its own chain stays: somebody may be looking at it. */
	atomic_store(at, atomic_load(&e->chain));
	dequeue(s, e);
	s->bytes -= cost(e);
	s->stats.entries--;
	e->older = *dead;
	*dead = e;
}

/* --- ghosts --------------------------------------------------------------------- */

/* Neither by the bits of the bucket nor by those of the shard. */
static uint32_t *ghost_of(const struct shard *s, uint64_t hash)
{
	return &s->ghosts[(hash >> 20) & (s->ghosts_n - 1)];
}

static uint32_t print_of(uint64_t hash)
{
	return (uint32_t)(hash ^ hash >> 32) | 1;
}

static bool has_ghost(const struct shard *s, uint64_t hash)
{
	return *ghost_of(s, hash) == print_of(hash);
}

void shard_retire(struct shard *s, struct entry *e, struct entry **dead)
{
	if (e->queue == QUEUE_MAIN)
		*ghost_of(s, e->hash) = print_of(e->hash);
	shard_remove(s, e, dead);
}

/* --- eviction ------------------------------------------------------------------- */

static void evict(struct shard *s, struct entry *e, struct entry **dead)
{
	s->stats.evictions++;
	shard_remove(s, e, dead);
}

/* Looks at the oldest of one queue: it goes, or gets another chance. */
static void sweep(struct shard *s, uint64_t now_ms, struct entry **dead)
{
	bool small = s->queue[QUEUE_SMALL].oldest &&
	             (s->queue[QUEUE_SMALL].bytes > s->small_max ||
	              !s->queue[QUEUE_MAIN].oldest);
	struct entry *e = s->queue[small ? QUEUE_SMALL : QUEUE_MAIN].oldest;

	if (now_ms >= e->gone_ms) {
		s->stats.expired++;
		shard_remove(s, e, dead);
	} else if (small && e->asked > 1) {
		dequeue(s, e);
		e->asked = 0;
		enqueue(s, QUEUE_MAIN, e);
	} else if (small) {
		*ghost_of(s, e->hash) = print_of(e->hash);
		evict(s, e, dead);
	} else if (e->asked > 0) {
		dequeue(s, e);
		e->asked--;
		enqueue(s, QUEUE_MAIN, e);
	} else {
		evict(s, e, dead);
	}
}

bool shard_put(struct shard *s, struct entry *e, uint64_t now_ms,
               struct entry **dead)
{
	struct entry *former = shard_find(s, e->hash, entry_key(e));
	_Atomic(struct entry *) *at = bucket(s, e->hash);
	unsigned q = has_ghost(s, e->hash) ? QUEUE_MAIN : QUEUE_SMALL;
	uint64_t need = cost(e);

	if (former) {
		q = former->queue;
		e->asked = former->asked;
		shard_remove(s, former, dead);
	}
	while (s->stats.entries && s->bytes + need > s->max_bytes &&
	       need <= s->max_bytes)
		sweep(s, now_ms, dead);
	if (s->bytes + need > s->max_bytes) {
		e->older = *dead;
		*dead = e;
		return false;
	}
	enqueue(s, q, e);
	atomic_store(&e->chain, atomic_load(at));
	atomic_store(at, e);
	s->bytes += need;
	s->stats.entries++;
	s->stats.sets++;
	return true;
}

void shard_clear(struct shard *s, struct entry **dead)
{
	for (int q = 0; q < QUEUES; q++)
		while (s->queue[q].oldest)
			shard_remove(s, s->queue[q].oldest, dead);
	if (s->ghosts)
		memset(s->ghosts, 0, s->ghosts_n * sizeof(*s->ghosts));
}

uint64_t shard_random(struct shard *s, uint64_t max)
{
	/* xorshift64: spreads expiry, guards nothing. */
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return max == UINT64_MAX ? s->random : s->random % (max + 1);
}
