#include "common/cache/cache.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/cache/shard.h"

#include <sodium.h>
#include <stdlib.h>
#include <sys/random.h>

#define SHARDS_MAX      16
#define SHARD_BYTES_MIN ((size_t)512 << 10)
/* An entry takes about this much, so the table has one bucket for each. */
#define ENTRY_BYTES 512
/*
 * Tags are counted in a fixed number of slots by their hash: forgetting one
 * also forgets those that share its slot, which costs a load and is never
 * wrong, and the memory does not grow with the number of tags.
 */
#define TAG_SLOTS 4096
/* After a failed load the stale value is served this long without another. */
#define RETRY_MS 1000

/* One load that others wait for.  All of it is under the shard's lock. */
struct flight {
	struct flight *next; /* of the shard, while `listed` */
	uint64_t hash;
	struct str key; /* the leader's; only while listed */
	struct tag_marks tags;
	unsigned refs;
	bool listed; /* false: done, or forgotten meanwhile */
	bool done;
	enum err err;
	struct cache_value *value;
	pthread_cond_t finished;
};

struct cache {
	size_t shards_n; /* a power of two */
	size_t max_bytes;
	unsigned char hash_key[crypto_shorthash_KEYBYTES];
	_Atomic uint64_t invalidations;
	_Atomic uint64_t tags[TAG_SLOTS];
	struct shard *shards;
};

/* --- keys and tags --------------------------------------------------------------- */

/* Keyed, because topics come from people: nobody can aim at one bucket. */
static uint64_t hash_of(const struct cache *c, struct str s)
{
	unsigned char out[crypto_shorthash_BYTES];
	uint64_t h;

	(void)crypto_shorthash(out, (const unsigned char *)s.p, s.n,
	                       c->hash_key);
	memcpy(&h, out, sizeof(h));
	return h;
}

/* The table uses the low bits. */
static struct shard *shard_of(struct cache *c, uint64_t hash)
{
	return &c->shards[(hash >> 48) & (c->shards_n - 1)];
}

static uint16_t slot_of(const struct cache *c, struct str tag)
{
	return (uint16_t)(hash_of(c, tag) % TAG_SLOTS);
}

static struct tag_marks mark(struct cache *c, const struct cache_want *w)
{
	struct tag_marks m = {.n = w->tags_n};

	for (size_t i = 0; i < m.n; i++) {
		m.slot[i] = slot_of(c, w->tags[i]);
		m.count[i] = atomic_load(&c->tags[m.slot[i]]);
	}
	return m;
}

static bool is_current(struct cache *c, const struct tag_marks *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (atomic_load(&c->tags[m->slot[i]]) != m->count[i])
			return false;
	return true;
}

static uint64_t later(uint64_t now_ms, uint64_t ms)
{
	return ms < UINT64_MAX - now_ms ? now_ms + ms : UINT64_MAX;
}

/* --- life ---------------------------------------------------------------------- */

static size_t power_of_two(size_t n, size_t max)
{
	size_t p = 1;

	while (p < max && p * 2 <= n)
		p *= 2;
	return p;
}

struct cache *cache_new(size_t max_bytes)
{
	size_t n = power_of_two(max_bytes / SHARD_BYTES_MIN, SHARDS_MAX);
	size_t fixed = sizeof(struct cache) + n * sizeof(struct shard);
	size_t each = max_bytes > fixed ? (max_bytes - fixed) / n : 0;
	size_t buckets = power_of_two(each / ENTRY_BYTES, SIZE_MAX / 2);
	struct cache *c = calloc(1, sizeof(*c));
	uint64_t seed = 0;
	bool ok;

	if (!c)
		return NULL;
	c->max_bytes = max_bytes;
	c->shards =
		aligned_alloc(_Alignof(struct shard), n * sizeof(struct shard));
	ok = c->shards &&
	     getrandom(c->hash_key, sizeof(c->hash_key), 0) ==
	             (ssize_t)sizeof(c->hash_key) &&
	     getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed);
	while (ok && c->shards_n < n) {
		struct shard *s = &c->shards[c->shards_n++];

		ok = shard_init(s, each, buckets, seed + c->shards_n);
	}
	if (!ok) {
		cache_free(c);
		return NULL;
	}
	return c;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->shards_n; i++)
		shard_fini(&c->shards[i]);
	free(c->shards);
	free(c);
}

struct str cache_bytes(const struct cache_value *v)
{
	return v ? (struct str){v->bytes, v->n} : (struct str){NULL, 0};
}

/* --- looking ------------------------------------------------------------------- */

struct look {
	enum cache_hit hit;
	struct cache_value
		*value;     /* shared: of a hit, or one to fall back on */
	bool failed_lately; /* serve that one without a load */
};

/* Holds the lock of s. */
static struct look look(struct cache *c, struct shard *s, uint64_t hash,
                        struct str key, uint64_t now_ms, struct entry **dead)
{
	struct entry *e = shard_find(s, hash, key);

	if (!e)
		return (struct look){CACHE_MISS, NULL, false};
	if (now_ms >= e->gone_ms || !is_current(c, &e->tags)) {
		s->stats.expired++;
		shard_remove(s, e, dead);
		return (struct look){CACHE_MISS, NULL, false};
	}
	e->visited = true;
	return (struct look){now_ms >= e->expires_ms ? CACHE_MISS
	                     : e->value              ? CACHE_HIT
	                                             : CACHE_NEGATIVE,
	                     value_share(e->value), now_ms < e->retry_ms};
}

static void count_look(struct shard *s, enum cache_hit hit)
{
	s->stats.hits += hit == CACHE_HIT;
	s->stats.negative_hits += hit == CACHE_NEGATIVE;
	s->stats.misses += hit == CACHE_MISS;
}

enum cache_hit cache_peek(struct cache *c, struct str key, uint64_t now_ms,
                          struct cache_value **out)
{
	uint64_t hash = hash_of(c, key);
	struct shard *s = shard_of(c, hash);
	struct entry *dead = NULL;
	struct look l;

	pthread_mutex_lock(&s->lock);
	l = look(c, s, hash, key, now_ms, &dead);
	/* A miss is counted by the load that it leads to. */
	if (l.hit != CACHE_MISS)
		count_look(s, l.hit);
	pthread_mutex_unlock(&s->lock);
	entries_free(dead);
	if (l.hit == CACHE_HIT)
		*out = l.value;
	else
		cache_put_back(l.value);
	return l.hit;
}

/* --- storing ------------------------------------------------------------------- */

/* Takes the reference to value; NULL is a negative entry.  Holds no lock. */
static struct entry *make_entry(const struct cache_want *w, uint64_t hash,
                                const struct tag_marks *tags,
                                struct cache_value *value)
{
	struct entry *e = entry_new(hash, w->key, value);

	if (e)
		e->tags = *tags;
	return e;
}

/* Holds the lock of s.  Takes e; without it the old value goes. */
static void keep(struct shard *s, const struct cache_want *w, uint64_t hash,
                 struct entry *e, struct entry **dead)
{
	uint64_t ttl = e && e->value ? w->ttl_ms : w->negative_ttl_ms;
	struct entry *former = shard_find(s, hash, w->key);

	if (e && ttl) {
		ttl -= shard_random(s, ttl / 10);
		e->expires_ms = later(w->now_ms, ttl);
		e->gone_ms = e->value ? later(e->expires_ms, w->stale_ms)
		                      : e->expires_ms;
		(void)shard_put(s, e, w->now_ms, dead);
		return;
	}
	if (former)
		shard_remove(s, former, dead);
	if (e) {
		e->chain = *dead;
		*dead = e;
	}
}

static struct flight *find_flight(struct shard *s, uint64_t hash,
                                  struct str key)
{
	struct flight *f = s->flights;

	while (f && !(f->hash == hash && str_eq(f->key, key)))
		f = f->next;
	return f;
}

static void unlist(struct shard *s, struct flight *f)
{
	struct flight **at = &s->flights;

	if (!f || !f->listed)
		return;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->listed = false;
}

void cache_store(struct cache *c, const struct cache_want *w, struct str value)
{
	uint64_t hash = hash_of(c, w->key);
	struct shard *s = shard_of(c, hash);
	struct tag_marks tags = mark(c, w);
	struct cache_value *v = NULL;
	struct entry *dead = NULL, *e = NULL;

	if (w->key.n > CACHE_KEY_MAX)
		return;
	v = value_new(value);
	if (v)
		e = make_entry(w, hash, &tags, v);
	pthread_mutex_lock(&s->lock);
	/* What is being loaded may be older. */
	unlist(s, find_flight(s, hash, w->key));
	keep(s, w, hash, e, &dead);
	pthread_mutex_unlock(&s->lock);
	entries_free(dead);
}

/* --- loading ------------------------------------------------------------------- */

/* One call of cache_load(). */
struct load {
	struct cache *c;
	const struct cache_want *w;
	struct shard *s;
	uint64_t hash;
	uint64_t began_ms; /* mono_ms() when w->now_ms was now */
	struct cache_value *stale;
	struct cache_value *value;
	enum cache_from from;
};

static uint64_t now_of(const struct load *l)
{
	return later(l->w->now_ms, mono_ms() - l->began_ms);
}

static struct flight *flight_new(struct load *l)
{
	struct flight *f = calloc(1, sizeof(*f));
	pthread_condattr_t attr;

	if (!f)
		return NULL;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->finished, &attr);
	pthread_condattr_destroy(&attr);
	f->hash = l->hash;
	f->key = l->w->key;
	f->tags = mark(l->c, l->w);
	f->refs = 1;
	return f;
}

/* The last to leave frees it. */
static void flight_leave(struct flight *f)
{
	if (--f->refs > 0)
		return;
	cache_put_back(f->value);
	pthread_cond_destroy(&f->finished);
	free(f);
}

static enum err run_loader(const struct cache_want *w, struct cache_value **out)
{
	AUTO_BUF b = {0};
	enum err e = w->load(w->arg, &b);

	if (e)
		return e;
	if (b.failed)
		return ERR_NOMEM;
	*out = value_new(buf_view(&b));
	return *out ? OK : ERR_NOMEM;
}

/* What the load came to is kept, unless it was forgotten meanwhile, and handed
 * to those who wait. */
static void land(struct load *l, struct flight *f, enum err e,
                 struct cache_value *value)
{
	struct entry *fresh = NULL, *dead = NULL, *old;

	if (!e || e == ERR_NOT_FOUND)
		fresh = make_entry(l->w, l->hash, &f->tags, value_share(value));
	pthread_mutex_lock(&l->s->lock);
	if (!f->listed) {
		dead = fresh; /* a newer value may be there by now */
	} else if (!e || e == ERR_NOT_FOUND) {
		keep(l->s, l->w, l->hash, fresh, &dead);
	} else {
		l->s->stats.load_failures++;
		old = shard_find(l->s, l->hash, l->w->key);
		if (old)
			old->retry_ms = later(now_of(l), RETRY_MS);
	}
	unlist(l->s, f);
	f->done = true;
	f->err = e;
	f->value = value_share(value);
	pthread_cond_broadcast(&f->finished);
	flight_leave(f);
	pthread_mutex_unlock(&l->s->lock);
	entries_free(dead);
}

static enum err lead(struct load *l, struct flight *f)
{
	enum err e = run_loader(l->w, &l->value);

	l->from = CACHE_FROM_LOADER;
	land(l, f, e, l->value);
	return e;
}

/* Holds the lock.  ERR_TIMEOUT: the own deadline.  *again: the leader's was
 * sooner, there is time left to try oneself. */
static enum err join(struct load *l, struct flight *f, bool *again)
{
	uint64_t until_ms =
		later(l->began_ms, clock_left(l->w->deadline_ms, l->w->now_ms));
	const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
	                               .tv_nsec = (long)(until_ms % 1000) *
	                                          1000000};
	enum err e = ERR_TIMEOUT;

	f->refs++;
	l->s->stats.waits++;
	while (!f->done)
		if (pthread_cond_timedwait(&f->finished, &l->s->lock, &until))
			break;
	if (f->done) {
		e = f->err;
		*again = e == ERR_TIMEOUT && mono_ms() < until_ms;
		l->value = value_share(f->value);
		l->from = CACHE_FROM_LOADER;
	}
	flight_leave(f);
	return e;
}

/* Too long a key, or no memory for a flight: everybody for himself. */
static enum err load_alone(struct load *l)
{
	l->from = CACHE_FROM_LOADER;
	return run_loader(l->w, &l->value);
}

/* Holds the lock; true when memory has the answer, which is *e. */
static bool answered(struct load *l, enum err *e, struct entry **dead)
{
	struct look k = look(l->c, l->s, l->hash, l->w->key, now_of(l), dead);

	cache_put_back(l->stale);
	l->stale = NULL;
	count_look(l->s, k.hit);
	*e = k.hit == CACHE_NEGATIVE ? ERR_NOT_FOUND : OK;
	l->from = k.hit == CACHE_HIT ? CACHE_FROM_MEMORY : CACHE_FROM_STALE;
	if (k.hit != CACHE_MISS || (k.value && k.failed_lately)) {
		l->s->stats.stale_served += k.hit == CACHE_MISS;
		l->value = k.value;
		return true;
	}
	l->stale = k.value;
	return false;
}

/* One round: from memory, by waiting, or by loading. */
static enum err load_once(struct load *l, bool *again)
{
	struct flight *mine = NULL, *f;
	struct entry *dead = NULL;
	bool found;
	enum err e = OK;

	*again = false;
	pthread_mutex_lock(&l->s->lock);
	found = answered(l, &e, &dead);
	if (!found) {
		f = find_flight(l->s, l->hash, l->w->key);
		if (f && !is_current(l->c, &f->tags)) {
			unlist(l->s, f);
			f = NULL;
		}
		if (f) {
			e = join(l, f, again);
			found = true;
		} else if (now_of(l) >= l->w->deadline_ms) {
			e = ERR_TIMEOUT;
			found = true;
		} else {
			mine = flight_new(l);
			l->s->stats.loads++;
		}
	}
	if (mine) {
		mine->next = l->s->flights;
		l->s->flights = mine;
		mine->listed = true;
	}
	pthread_mutex_unlock(&l->s->lock);
	entries_free(dead);
	if (found)
		return e;
	return mine ? lead(l, mine) : load_alone(l);
}

static void count_stale(struct shard *s)
{
	GUARD(&s->lock);

	s->stats.stale_served++;
}

enum err cache_load(struct cache *c, const struct cache_want *w,
                    struct cache_value **out, enum cache_from *from)
{
	struct load l = {.c = c, .w = w, .began_ms = mono_ms()};
	bool again = true;
	enum err e = OK;

	l.hash = hash_of(c, w->key);
	l.s = shard_of(c, l.hash);
	if (w->key.n > CACHE_KEY_MAX)
		e = load_alone(&l);
	else
		while (again)
			e = load_once(&l, &again);
	if (e && e != ERR_NOT_FOUND && l.stale) {
		l.value = STEAL(l.stale);
		l.from = CACHE_FROM_STALE;
		count_stale(l.s);
		e = OK;
	}
	cache_put_back(l.stale);
	if (!e) {
		*out = l.value;
		*from = l.from;
	}
	return e;
}

/* --- forgetting ---------------------------------------------------------------- */

void cache_forget(struct cache *c, struct str key)
{
	uint64_t hash = hash_of(c, key);
	struct shard *s = shard_of(c, hash);
	struct entry *dead = NULL, *e;

	pthread_mutex_lock(&s->lock);
	e = shard_find(s, hash, key);
	if (e)
		shard_remove(s, e, &dead);
	unlist(s, find_flight(s, hash, key));
	s->stats.deletes++;
	pthread_mutex_unlock(&s->lock);
	entries_free(dead);
}

void cache_forget_tag(struct cache *c, struct str tag)
{
	atomic_fetch_add(&c->tags[slot_of(c, tag)], 1);
	atomic_fetch_add(&c->invalidations, 1);
}

void cache_clear(struct cache *c)
{
	for (size_t i = 0; i < c->shards_n; i++) {
		struct shard *s = &c->shards[i];
		struct entry *dead = NULL;

		pthread_mutex_lock(&s->lock);
		shard_clear(s, &dead);
		while (s->flights)
			unlist(s, s->flights);
		pthread_mutex_unlock(&s->lock);
		entries_free(dead);
	}
	atomic_fetch_add(&c->invalidations, 1);
}

static void add_stats(struct cache_stats *sum, struct shard *s)
{
	GUARD(&s->lock);

	sum->hits += s->stats.hits;
	sum->misses += s->stats.misses;
	sum->negative_hits += s->stats.negative_hits;
	sum->stale_served += s->stats.stale_served;
	sum->loads += s->stats.loads;
	sum->load_failures += s->stats.load_failures;
	sum->waits += s->stats.waits;
	sum->sets += s->stats.sets;
	sum->deletes += s->stats.deletes;
	sum->evictions += s->stats.evictions;
	sum->expired += s->stats.expired;
	sum->bytes += s->bytes;
	sum->entries += s->stats.entries;
}

void cache_stats(const struct cache *c, struct cache_stats *out)
{
	*out = (struct cache_stats){
		.max_bytes = c->max_bytes,
		.bytes = sizeof(*c) + c->shards_n * sizeof(struct shard),
		.invalidations = atomic_load(&c->invalidations)};
	for (size_t i = 0; i < c->shards_n; i++)
		add_stats(out, &c->shards[i]);
}
