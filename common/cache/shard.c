#include "common/cache/shard.h"

#include <stdlib.h>

/* What the allocator adds to a block, about. */
#define BLOCK_COST 16

struct cache_value *value_new(struct str bytes)
{
	struct cache_value *v;

	if (bytes.n > SIZE_MAX - sizeof(*v))
		return NULL;
	v = malloc(sizeof(*v) + bytes.n);
	if (!v)
		return NULL;
	atomic_init(&v->refs, 1);
	v->n = bytes.n;
	if (bytes.n)
		memcpy(v->bytes, bytes.p, bytes.n);
	return v;
}

struct cache_value *value_share(struct cache_value *v)
{
	/* Whoever shares holds a reference, so nothing needs to be ordered. */
	if (v)
		atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	return v;
}

void cache_put_back(struct cache_value *v)
{
	if (v &&
	    atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
		free(v);
}

struct entry *entry_new(uint64_t hash, struct str key,
                        struct cache_value *value, const struct marks *marks)
{
	struct entry *e = malloc(sizeof(*e) + key.n);

	if (!e) {
		cache_put_back(value);
		return NULL;
	}
	*e = (struct entry){.hash = hash,
	                    .value = value,
	                    .marks = *marks,
	                    .key_n = (uint16_t)key.n};
	if (key.n)
		memcpy(e->key, key.p, key.n);
	return e;
}

void entries_free(struct entry *list)
{
	while (list) {
		struct entry *next = list->chain;

		cache_put_back(list->value);
		free(list);
		list = next;
	}
}

static uint64_t cost(const struct entry *e)
{
	uint64_t n = sizeof(*e) + e->key_n + BLOCK_COST;

	return e->value ? n + sizeof(*e->value) + e->value->n + BLOCK_COST : n;
}

bool shard_init(struct shard *s, uint64_t max_bytes, size_t buckets,
                uint64_t seed)
{
	const size_t link = sizeof(void *);

	*s = (struct shard){.buckets_n = buckets,
	                    .max_bytes = max_bytes,
	                    .bytes = buckets * link,
	                    .random = seed | 1};
	pthread_mutex_init(&s->lock, NULL);
	s->buckets = calloc(buckets, link);
	return s->buckets != NULL;
}

void shard_fini(struct shard *s)
{
	struct entry *dead = NULL;

	shard_clear(s, &dead);
	entries_free(dead);
	free(s->buckets);
	pthread_mutex_destroy(&s->lock);
}

static struct entry **bucket(const struct shard *s, uint64_t hash)
{
	return &s->buckets[hash & (s->buckets_n - 1)];
}

struct entry *shard_find(const struct shard *s, uint64_t hash, struct str key)
{
	struct entry *e = *bucket(s, hash);

	while (e && !(e->hash == hash &&
	              str_eq((struct str){e->key, e->key_n}, key)))
		e = e->chain;
	return e;
}

static void unlink_order(struct shard *s, struct entry *e)
{
	if (s->hand == e)
		s->hand = e->newer;
	if (e->newer)
		e->newer->older = e->older;
	else
		s->newest = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else
		s->oldest = e->newer;
}

void shard_remove(struct shard *s, struct entry *e, struct entry **dead)
{
	struct entry **at = bucket(s, e->hash);

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	unlink_order(s, e);
	s->bytes -= cost(e);
	s->stats.entries--;
	e->chain = *dead;
	*dead = e;
}

/* One step of the hand. */
static void sweep(struct shard *s, uint64_t now_ms, struct entry **dead)
{
	struct entry *e = s->hand ? s->hand : s->oldest;

	s->hand = e->newer;
	if (now_ms >= e->gone_ms) {
		s->stats.expired++;
	} else if (e->visited) {
		e->visited = false;
		return;
	} else {
		s->stats.evictions++;
	}
	shard_remove(s, e, dead);
}

bool shard_put(struct shard *s, struct entry *e, uint64_t now_ms,
               struct entry **dead)
{
	struct str key = {e->key, e->key_n};
	struct entry *former = shard_find(s, e->hash, key);
	struct entry **at = bucket(s, e->hash);
	uint64_t need = cost(e);

	if (former)
		shard_remove(s, former, dead);
	while (s->oldest && s->bytes + need > s->max_bytes &&
	       need <= s->max_bytes)
		sweep(s, now_ms, dead);
	if (s->bytes + need > s->max_bytes) {
		e->chain = *dead;
		*dead = e;
		return false;
	}
	e->chain = *at;
	*at = e;
	e->newer = NULL;
	e->older = s->newest;
	if (s->newest)
		s->newest->newer = e;
	else
		s->oldest = e;
	s->newest = e;
	s->bytes += need;
	s->stats.entries++;
	s->stats.sets++;
	return true;
}

void shard_clear(struct shard *s, struct entry **dead)
{
	while (s->oldest)
		shard_remove(s, s->oldest, dead);
}

uint64_t shard_random(struct shard *s, uint64_t max)
{
	/* xorshift64: spreads expiry, guards nothing. */
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return max == UINT64_MAX ? s->random : s->random % (max + 1);
}
