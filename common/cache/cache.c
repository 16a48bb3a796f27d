#include "common/cache/cache.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/cache/core.h"
#include "common/cache/flight.h"

#include <stdlib.h>
#include <sys/random.h>

#define SHARDS_MAX      16
#define SHARD_BYTES_MIN ((size_t)512 << 10)
/* An entry takes about this much, so the table has one bucket for each. */
#define ENTRY_BYTES 512

/* Where cache_conf has 0. */
#define REMOTE_SOFT_MS  50
#define REMOTE_HARD_MS  5000
#define DEGRADED_TTL_MS 5000
#define THREADS         4

/* --- keys and names --------------------------------------------------------------- */

/* Keyed, because topics come from people: nobody can aim at one bucket. */
uint64_t core_hash(const struct cache *c, struct str key)
{
	unsigned char out[crypto_shorthash_BYTES];
	uint64_t h;

	(void)crypto_shorthash(out, (const unsigned char *)key.p, key.n,
	                       c->hash_key);
	memcpy(&h, out, sizeof(h));
	return h;
}

/* The table uses the low bits. */
struct shard *core_shard(struct cache *c, uint64_t hash)
{
	return &c->shards[(hash >> 48) & (c->shards_n - 1)];
}

static void mark_one(struct cache *c, struct marks *m, struct str name)
{
	uint16_t slot = remote_slot(name);

	m->at[m->n++] = (struct mark){atomic_load(&c->slots[slot]), slot};
}

struct marks core_mark(struct cache *c, const struct cache_want *w)
{
	struct marks m = {.n = 0};

	for (size_t i = 0; i < w->tags_n; i++)
		mark_one(c, &m, w->tags[i]);
	/* Alone, a key is forgotten by taking out its entry. */
	if (c->remote)
		mark_one(c, &m, w->key);
	return m;
}

bool core_is_current(struct cache *c, const struct mark *marks, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (atomic_load(&c->slots[marks[i].slot]) != marks[i].count)
			return false;
	return true;
}

/* --- life ---------------------------------------------------------------------- */

static size_t power_of_two(size_t n, size_t max)
{
	size_t p = 1;

	while (p < max && p * 2 <= n)
		p *= 2;
	return p;
}

static bool draw(void *out, size_t n)
{
	return getrandom(out, n, 0) == (ssize_t)n;
}

/* The seed of jitter, and the key of hashes. */
static bool seed_all(struct cache *c, uint64_t given, uint64_t *seed)
{
	*seed = given;
	if (!given)
		return draw(seed, sizeof(*seed)) &&
		       draw(c->hash_key, sizeof(c->hash_key));
	memcpy(c->hash_key, &given, sizeof(given));
	return true;
}

static size_t fixed_bytes(const struct cache *c, size_t shards_n)
{
	return sizeof(*c) + shards_n * sizeof(struct shard) +
	       c->readers.cores_n *
	               (sizeof(struct readers_core) + sizeof(struct hold_core));
}

static bool make_shards(struct cache *c, uint64_t seed)
{
	size_t n = power_of_two(c->max_bytes / SHARD_BYTES_MIN, SHARDS_MAX);
	size_t fixed = fixed_bytes(c, n);
	size_t each = c->max_bytes > fixed ? (c->max_bytes - fixed) / n : 0;
	size_t buckets = power_of_two(each / ENTRY_BYTES, SIZE_MAX / 2);
	bool ok;

	c->shards =
		aligned_alloc(_Alignof(struct shard), n * sizeof(struct shard));
	ok = c->shards != NULL;
	while (ok && c->shards_n < n) {
		struct shard *s = &c->shards[c->shards_n++];

		ok = shard_init(s, each, buckets, seed + c->shards_n);
	}
	return ok;
}

static void forget_all(struct cache *c)
{
	for (size_t i = 0; i < c->shards_n; i++) {
		struct shard *s = &c->shards[i];
		struct entry *dead = NULL;

		pthread_mutex_lock(&s->lock);
		flight_doom_all(s);
		shard_clear(s, &dead);
		pthread_mutex_unlock(&s->lock);
		core_bury(c, dead);
	}
}

/* On the remote's thread: somewhere something was forgotten. */
static void heard(void *arg, unsigned slot)
{
	struct cache *c = arg;

	if (slot < CACHE_SLOTS)
		atomic_fetch_add(&c->slots[slot], 1);
	else
		forget_all(c);
}

static bool open_remote(struct cache *c, const struct cache_conf *conf)
{
	const struct remote_conf rc = {
		.space = conf->space,
		.wire = conf->wire,
		.connect_timeout_ms =
			conf->connect_ms ? conf->connect_ms : REMOTE_HARD_MS,
		.timeout_ms =
			conf->command_ms ? conf->command_ms : REMOTE_HARD_MS,
		.seed = conf->seed,
		.forget = heard,
		.arg = c,
	};

	if (!conf->wire)
		return true;
	c->remote_soft_ms =
		conf->remote_soft_ms ? conf->remote_soft_ms : REMOTE_SOFT_MS;
	c->degraded_ttl_ms =
		conf->degraded_ttl_ms ? conf->degraded_ttl_ms : DEGRADED_TTL_MS;
	c->remote = remote_new(&rc);
	return c->remote != NULL;
}

struct cache *cache_new(const struct cache_conf *conf)
{
	AUTO(cache) c = calloc(1, sizeof(*c));
	uint64_t seed;

	if (!c)
		return NULL;
	c->max_bytes = conf->max_bytes;
	if (!readers_init(&c->readers) ||
	    !holds_init(&c->holds, c->readers.cores_n) ||
	    !seed_all(c, conf->seed, &seed) || !make_shards(c, seed))
		return NULL;
	c->crew = crew_new(conf->threads ? conf->threads : THREADS);
	if (!c->crew || !open_remote(c, conf))
		return NULL;
	return STEAL(c);
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	/* Loads use the remote tier, and that calls heard(). */
	crew_free(c->crew);
	remote_free(c->remote);
	for (size_t i = 0; i < c->shards_n; i++)
		shard_fini(&c->shards[i]);
	free(c->shards);
	holds_fini(&c->holds);
	readers_fini(&c->readers);
	free(c);
}

struct str cache_bytes(const struct cache_value *v)
{
	return v ? v->bytes : (struct str){NULL, 0};
}

/* --- looking ------------------------------------------------------------------- */

uint64_t core_proof_ms(const struct cache *c)
{
	return c->remote ? remote_proof_ms(c->remote) : UINT64_MAX;
}

/* An instance that is cut off believes what it has for a short time only. */
bool core_is_believed(const struct cache *c, uint64_t proof_ms,
                      uint64_t born_ms, uint64_t now_ms)
{
	uint64_t since_ms = proof_ms > born_ms ? proof_ms : born_ms;

	return now_ms < later_ms(since_ms, c->degraded_ttl_ms);
}

struct cache_info core_info(const struct look *l, uint64_t now_ms)
{
	return (struct cache_info){
		.from = CACHE_FROM_MEMORY,
		.stored = true,
		.age_ms = later_ms(l->age_ms, clock_left(now_ms, l->born_ms)),
		.ttl_ms = clock_left(l->expires_ms, now_ms),
		.late_ms = clock_left(now_ms, l->expires_ms),
	};
}

struct look core_hit(struct cache *c, struct shard *s, uint64_t hash,
                     struct str key, uint64_t now_ms)
{
	struct look l = {.hit = CACHE_MISS};
	uint64_t proof_ms = core_proof_ms(c);
	struct reading rd = readers_enter(&c->readers);
	struct entry *e = shard_find(s, hash, key);

	if (e && now_ms < e->expires_ms &&
	    now_ms < atomic_load_explicit(&e->eager_ms, memory_order_relaxed) &&
	    core_is_current(c, e->marks, e->marks_n) &&
	    core_is_believed(c, proof_ms, e->born_ms, now_ms)) {
		shard_asked(e);
		l = (struct look){.hit = CACHE_NEGATIVE,
		                  .expires_ms = e->expires_ms,
		                  .born_ms = e->born_ms,
		                  .age_ms = e->age_ms};
	}
	if (l.hit && e->value) {
		l.hit = CACHE_HIT;
		l.value = hold_take(&c->holds, rd.at, e->value);
	}
	readers_leave(rd, l.hit);
	return l;
}

void core_bury(struct cache *c, struct entry *dead)
{
	if (!dead)
		return;
	readers_wait(&c->readers);
	for (struct entry *e = dead; e; e = e->older)
		if (e->value)
			holds_count(&c->holds, e->value);
	entries_free(dead);
}

struct look core_look(struct cache *c, struct shard *s, uint64_t hash,
                      struct str key, uint64_t now_ms, struct entry **dead)
{
	uint64_t proof_ms = core_proof_ms(c);
	struct entry *e = shard_find(s, hash, key);
	struct look l = {.hit = CACHE_MISS};

	if (!e)
		return l;
	if (now_ms >= e->gone_ms || !core_is_current(c, e->marks, e->marks_n)) {
		s->stats.expired++;
		shard_retire(s, e, dead);
		return l;
	}
	shard_asked(e);
	if (now_ms < e->expires_ms) {
		if (core_is_believed(c, proof_ms, e->born_ms, now_ms))
			l.hit = e->value ? CACHE_HIT : CACHE_NEGATIVE;
		else
			s->stats.disbelieved++;
	}
	/* Who gave no stale_ms wants nothing to fall back on. */
	if (l.hit == CACHE_HIT || e->gone_ms > e->expires_ms)
		l.value = value_share(e->value);
	l.expires_ms = e->expires_ms;
	l.born_ms = e->born_ms;
	l.age_ms = e->age_ms;
	l.spared = now_ms < e->retry_ms;
	l.due = now_ms >= e->eager_ms;
	return l;
}

void core_count_look(struct shard *s, enum cache_hit hit)
{
	s->stats.hits += hit == CACHE_HIT;
	s->stats.negative_hits += hit == CACHE_NEGATIVE;
	s->stats.misses += hit == CACHE_MISS;
}

enum cache_hit cache_peek(struct cache *c, struct str key, uint64_t now_ms,
                          struct cache_value **out, struct cache_info *info)
{
	uint64_t hash = core_hash(c, key);
	/* A miss is counted by the load that it leads to. */
	struct look l = core_hit(c, core_shard(c, hash), hash, key, now_ms);

	if (l.hit != CACHE_HIT)
		return l.hit;
	*out = l.value;
	if (info)
		*info = core_info(&l, now_ms);
	return CACHE_HIT;
}

/* --- storing ------------------------------------------------------------------- */

uint64_t core_eager_part(const struct cache_want *w)
{
	unsigned rest = 100 - w->eager;

	return w->ttl_ms / 100 * rest + w->ttl_ms % 100 * rest / 100;
}

static bool is_eager(const struct cache_want *w)
{
	return w->eager > 0 && w->eager < 100 && w->detach;
}

bool core_keep(struct shard *s, const struct cache_want *w, uint64_t hash,
               struct entry *e, const struct life *life, struct entry **dead)
{
	struct entry *former = shard_find(s, hash, w->key);
	uint64_t ttl_ms = life->ttl_ms;

	if (!e || (ttl_ms == 0 && (life->stale_ms == 0 || !e->value))) {
		if (former)
			shard_retire(s, former, dead);
		if (e) {
			e->chain = *dead;
			*dead = e;
		}
		return false;
	}
	if (life->jitter)
		ttl_ms -= shard_random(s, ttl_ms / 10);
	e->born_ms = life->born_ms;
	e->age_ms = life->age_ms;
	e->expires_ms = later_ms(e->born_ms, ttl_ms);
	e->gone_ms = e->value ? later_ms(e->expires_ms, life->stale_ms)
	                      : e->expires_ms;
	e->eager_ms = e->value && is_eager(w)
	                      ? clock_left(e->expires_ms, core_eager_part(w))
	                      : UINT64_MAX;
	return shard_put(s, e, e->born_ms, dead);
}

void cache_store(struct cache *c, const struct cache_want *w, struct str value)
{
	const struct life life = {.born_ms = w->now_ms,
	                          .ttl_ms = w->ttl_ms,
	                          .stale_ms = w->ttl_ms ? w->stale_ms : 0,
	                          .jitter = true};
	uint64_t hash = core_hash(c, w->key);
	struct shard *s = core_shard(c, hash);
	struct marks marks = core_mark(c, w);
	struct cache_value *v = NULL;
	struct entry *dead = NULL, *e = NULL;
	struct flight *f;

	if (w->key.n > CACHE_KEY_MAX)
		return;
	v = value_new(value);
	if (v)
		e = entry_new(hash, w->key, v, &marks);
	pthread_mutex_lock(&s->lock);
	f = flight_find(s, hash, w->key);
	if (f)
		f->doomed = true; /* what it brings may be older */
	(void)core_keep(s, w, hash, e, &life, &dead);
	pthread_mutex_unlock(&s->lock);
	core_bury(c, dead);
}

/* --- forgetting ---------------------------------------------------------------- */

/*
 * The remote tier is told first: a load that begins before this instance has
 * forgotten may still get the old value from there, but is doomed below; one
 * that begins later asks the remote behind the order to forget.
 */
void cache_forget(struct cache *c, struct str key)
{
	uint64_t hash = core_hash(c, key);
	struct shard *s = core_shard(c, hash);
	struct entry *dead = NULL, *e;
	struct flight *f;

	if (c->remote && key.n <= CACHE_KEY_MAX)
		remote_forget(c->remote, remote_slot(key), key);
	pthread_mutex_lock(&s->lock);
	e = shard_find(s, hash, key);
	if (e)
		shard_retire(s, e, &dead);
	f = flight_find(s, hash, key);
	if (f)
		f->doomed = true;
	s->stats.deletes++;
	pthread_mutex_unlock(&s->lock);
	core_bury(c, dead);
}

void cache_forget_tag(struct cache *c, struct str tag)
{
	uint16_t slot = remote_slot(tag);

	if (c->remote)
		remote_forget(c->remote, slot, (struct str){NULL, 0});
	atomic_fetch_add(&c->slots[slot], 1);
	atomic_fetch_add(&c->invalidations, 1);
}

void cache_clear(struct cache *c)
{
	if (c->remote)
		remote_forget(c->remote, CACHE_SLOT_ALL, (struct str){NULL, 0});
	forget_all(c);
	atomic_fetch_add(&c->invalidations, 1);
}

/* --- figures ------------------------------------------------------------------- */

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
	sum->soft_timeouts += s->stats.soft_timeouts;
	sum->eager_loads += s->stats.eager_loads;
	sum->background_loads += s->stats.background_loads;
	sum->background_busy += s->stats.background_busy;
	sum->disbelieved += s->stats.disbelieved;
	sum->bytes += s->bytes;
	sum->entries += s->stats.entries;
}

void cache_stats(const struct cache *c, struct cache_stats *out)
{
	*out = (struct cache_stats){
		.max_bytes = c->max_bytes,
		.bytes = fixed_bytes(c, c->shards_n),
		.hits = readers_found(&c->readers, CACHE_HIT),
		.negative_hits = readers_found(&c->readers, CACHE_NEGATIVE),
		.invalidations = atomic_load(&c->invalidations)};
	for (size_t i = 0; i < c->shards_n; i++)
		add_stats(out, &c->shards[i]);
}

bool cache_remote_stats(const struct cache *c, struct remote_stats *out)
{
	*out = (struct remote_stats){0};
	if (c->remote)
		remote_stats(c->remote, out);
	return c->remote != NULL;
}

uint64_t cache_proof_ms(const struct cache *c)
{
	return c->remote ? remote_proof_ms(c->remote) : 0;
}

void cache_breaker_reset(struct cache *c)
{
	if (c->remote)
		remote_breaker_reset(c->remote);
}
