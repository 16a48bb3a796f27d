#include "common/cache/cache.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/cache/fetch.h"
#include "common/cache/flight.h"
#include "common/cache/load.h"

#include <stdlib.h>

/* What the remote tier is to keep at most: its arithmetic is not ours. */
#define REMOTE_TTL_MAX_MS ((uint64_t)366 * 86400 * 1000)

/* One call of cache_load(). */
struct load {
	struct cache *c;
	const struct cache_want *w;
	struct shard *s;
	uint64_t hash;
	uint64_t began_ms;         /* mono_ms() when w->now_ms was now */
	struct cache_value *stale; /* to fall back on */
	struct cache_info stale_info;
	bool renewed; /* it is not stale: another one has loaded it */
	bool slow;    /* did not wait longer than soft_ms */
	struct cache_value *value;
	struct cache_info info;
};

/* A loader that answers with a 4xx works. */
static bool has_failed(enum err e)
{
	return e && err_http(e) >= 500;
}

/* --- the remote tier ------------------------------------------------------------ */

/* One that is over its time: memory keeps it, to fall back on. */
static void keep_stale(struct job *j, struct cache_value *value,
                       const struct life *life)
{
	struct entry *e = entry_new(j->hash, j->w.key, value, &j->f->marks);
	struct entry *dead = NULL;

	pthread_mutex_lock(&j->s->lock);
	if (!j->f->doomed && !(j->w.skip & CACHE_SKIP_MEMORY_WRITE) &&
	    !shard_find(j->s, j->hash, j->w.key))
		(void)core_keep(j->s, &j->w, j->hash, e, life, &dead);
	else
		dead = e;
	pthread_mutex_unlock(&j->s->lock);
	core_bury(j->c, dead);
}

bool load_take(struct job *j, const struct remote_answer *found,
               uint64_t born_ms, struct result *r)
{
	const struct cache_want *w = &j->w;
	const struct life life = {
		.born_ms = born_ms,
		.ttl_ms =
			least(found->ttl_ms,
	                      found->negative ? w->negative_ttl_ms : w->ttl_ms),
		.stale_ms = least(found->stale_ms, w->stale_ms),
		.age_ms = clock_left(w->ttl_ms, found->ttl_ms),
	};
	struct cache_value *value;

	if (life.ttl_ms == 0 && (found->negative || life.stale_ms == 0))
		return false;
	/* One who refreshes wants more than what is due itself. */
	if (j->eager && life.ttl_ms <= core_eager_part(w))
		return false;
	value = found->negative ? NULL : value_new(found->bytes);
	if (!found->negative && !value)
		return false;
	if (life.ttl_ms == 0) {
		keep_stale(j, value, &life);
		return false;
	}
	*r = (struct result){.e = found->negative ? ERR_NOT_FOUND : OK,
	                     .from = CACHE_FROM_REMOTE,
	                     .value = value,
	                     .life = life};
	return true;
}

static bool take_found(struct job *j, const struct remote_found *found,
                       uint64_t born_ms, struct result *r)
{
	const struct remote_answer a = {.found = true,
	                                .negative = found->negative,
	                                .bytes = buf_view(&found->bytes),
	                                .ttl_ms = found->ttl_ms,
	                                .stale_ms = found->stale_ms};

	return load_take(j, &a, born_ms, r);
}

/* Waits at most for the soft limit.  Its marks are for tell_remote(). */
static bool ask_remote(struct job *j, struct result *r)
{
	struct cache *c = j->c;
	struct remote_found found = {.bytes.max = REMOTE_VALUE_MAX};
	uint16_t slots[MARKS_MAX];
	uint64_t born_ms, until_ms;
	bool has = false;

	if (!c->remote || j->asked || j->w.skip & CACHE_SKIP_REMOTE_READ)
		return false;
	j->asked = true;
	/* With a remote tier these are the slots of all tags and of the key. */
	for (size_t i = 0; i < j->f->marks.n; i++)
		slots[i] = j->f->marks.at[i].slot;
	born_ms = want_now_ms(&j->w, j->began_ms);
	until_ms = least(later_ms(mono_ms(), c->remote_soft_ms),
	                 want_deadline_ms(&j->w, j->began_ms));
	if (!remote_get(c->remote, j->w.key, slots, j->f->marks.n, until_ms,
	                &found, &j->remote) &&
	    found.found)
		has = take_found(j, &found, born_ms, r);
	buf_fini(&found.bytes);
	return has;
}

/* The remote counts the time of the load itself. */
static void tell_remote(const struct job *j, const struct result *r)
{
	struct str bytes = cache_bytes(r->value);
	uint64_t since_ms =
		clock_left(want_now_ms(&j->w, j->began_ms), r->life.born_ms);

	if (!j->remote.known || j->w.skip & CACHE_SKIP_REMOTE_WRITE ||
	    since_ms >= r->life.ttl_ms || bytes.n > REMOTE_VALUE_MAX)
		return;
	remote_set(j->c->remote, j->w.key, &j->remote, r->e == ERR_NOT_FOUND,
	           bytes, least(r->life.ttl_ms, REMOTE_TTL_MAX_MS),
	           least(r->life.stale_ms, REMOTE_TTL_MAX_MS));
}

/* --- running a load --------------------------------------------------------------- */

static void run_loader(struct job *j, struct result *r)
{
	const struct cache_want *w = &j->w;
	AUTO_BUF b = {0};

	*r = (struct result){.from = CACHE_FROM_LOADER,
	                     .life = {.born_ms = want_now_ms(w, j->began_ms),
	                              .jitter = true}};
	r->e = w->load ? w->load(w->arg, &b) : ERR_UNAVAILABLE;
	if (!r->e) {
		r->value = b.failed ? NULL : value_new(buf_view(&b));
		r->e = r->value ? OK : ERR_NOMEM;
	}
	r->life.ttl_ms = r->e ? w->negative_ttl_ms : w->ttl_ms;
	r->life.stale_ms = r->e ? 0 : w->stale_ms;
}

/* Holds the lock.  The old value is served for a while without a load. */
static void spare_loader(struct job *j)
{
	struct entry *e = shard_find(j->s, j->hash, j->w.key);

	if (e)
		e->retry_ms = later_ms(want_now_ms(&j->w, j->began_ms),
		                       CACHE_RETRY_MS);
}

void load_land(struct job *j, const struct result *r, struct cache_info *info)
{
	bool good = !r->e || r->e == ERR_NOT_FOUND, wanted;
	bool write = good && !(j->w.skip & CACHE_SKIP_MEMORY_WRITE);
	struct entry *fresh = NULL, *dead = NULL;

	*info = (struct cache_info){.from = r->from, .age_ms = r->life.age_ms};
	if (write && r->life.ttl_ms)
		fresh = entry_new(j->hash, j->w.key, value_share(r->value),
		                  &j->f->marks);
	pthread_mutex_lock(&j->s->lock);
	wanted = !j->f->doomed &&
	         core_is_current(j->c, j->f->marks.at, j->f->marks.n);
	if (!wanted)
		dead = fresh; /* a newer value may be there by now */
	else if (write)
		info->stored =
			core_keep(j->s, &j->w, j->hash, fresh, &r->life, &dead);
	else if (has_failed(r->e) && j->w.load)
		spare_loader(j);
	if (info->stored)
		info->ttl_ms = clock_left(fresh->expires_ms,
		                          want_now_ms(&j->w, j->began_ms));
	j->s->stats.load_failures += !good && j->w.load;
	flight_land(j->s, j->f, r->e, r->value, info);
	pthread_mutex_unlock(&j->s->lock);
	core_bury(j->c, dead);
	if (good && wanted && r->from == CACHE_FROM_LOADER)
		tell_remote(j, r);
}

/* --- in the background ------------------------------------------------------------ */

static void job_free(struct job *j)
{
	if (j->w.drop)
		j->w.drop(j->w.arg);
	free(j);
}

static struct str append(char **at, struct str s)
{
	struct str copy = {*at, s.n};

	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return copy;
}

/* NULL: it has to stay where it is. */
static struct job *job_copy(const struct job *j)
{
	size_t n = j->w.key.n;
	struct job *copy;
	char *at;

	for (size_t i = 0; i < j->w.tags_n; i++)
		n += j->w.tags[i].n;
	copy = malloc(sizeof(*copy) + n);
	if (!copy)
		return NULL;
	*copy = *j;
	at = copy->text;
	copy->w.key = append(&at, j->w.key);
	for (size_t i = 0; i < j->w.tags_n; i++)
		copy->w.tags[i] = append(&at, j->w.tags[i]);
	copy->w.arg = j->w.detach(j->w.arg);
	if (!copy->w.arg) {
		free(copy);
		return NULL;
	}
	/* The asker's deadline is not the load's. */
	copy->w.deadline_ms = UINT64_MAX;
	return copy;
}

static void fly(void *arg)
{
	struct job *j = arg;
	struct result r;
	struct cache_info info;

	if (!ask_remote(j, &r))
		run_loader(j, &r);
	load_land(j, &r, &info);
	cache_put_back(r.value);
	job_free(j);
}

/*
 * Lets a thread of the crew run it.  The caller gets a reference to the flight.
 * False: it is still the caller's to run.
 */
static bool hand_over(struct job *j)
{
	struct flight *f = j->f;
	struct job *copy = NULL;

	if (!j->w.detach)
		return false;
	if (crew_has_room(j->c->crew))
		copy = job_copy(j);
	pthread_mutex_lock(&j->s->lock);
	if (copy) {
		f->key = copy->w.key;
		f->refs++;
	} else {
		j->s->stats.background_busy++;
	}
	pthread_mutex_unlock(&j->s->lock);
	if (!copy)
		return false;
	if (crew_run(j->c->crew, fly, copy))
		return true;
	pthread_mutex_lock(&j->s->lock);
	f->key = j->w.key;
	f->refs--;
	j->s->stats.background_busy++;
	pthread_mutex_unlock(&j->s->lock);
	job_free(copy);
	return false;
}

static struct job job_of(const struct load *l, struct flight *f)
{
	return (struct job){.c = l->c,
	                    .s = l->s,
	                    .f = f,
	                    .w = *l->w,
	                    .hash = l->hash,
	                    .began_ms = l->began_ms};
}

/* What the request has learned of the remote tier already. */
static void use_fetched(struct job *j)
{
	const struct cache_fetch *f = j->w.fetched;

	j->w.fetched = NULL; /* a job may outlive it */
	if (!f || !f->asked)
		return;
	j->asked = true;
	j->remote = f->marks;
}

/* The asker has his value and does not wait. */
static void refresh(const struct load *l, struct flight *f)
{
	static const struct cache_info none = {.from = CACHE_FROM_LOADER};
	struct job j = job_of(l, f);
	bool flies;

	j.w.fetched = NULL;
	j.eager = true;
	flies = hand_over(&j);
	pthread_mutex_lock(&l->s->lock);
	if (flies) {
		l->s->stats.eager_loads++;
		l->s->stats.background_loads++;
		flight_leave(f);
	} else {
		f->unflown = true;
		flight_land(l->s, f, ERR_BUSY, NULL, &none);
	}
	pthread_mutex_unlock(&l->s->lock);
}

/* --- waiting ---------------------------------------------------------------------- */

static bool has_soft_limit(const struct load *l)
{
	return l->stale && l->w->soft_ms;
}

static uint64_t patience_of(const struct load *l)
{
	uint64_t until_ms = want_deadline_ms(l->w, l->began_ms);

	if (has_soft_limit(l))
		return least(until_ms, later_ms(l->began_ms, l->w->soft_ms));
	if (l->w->hard_ms)
		return least(until_ms, later_ms(l->began_ms, l->w->hard_ms));
	return until_ms;
}

/* Holds the lock, and a reference that it gives back.  False: too long. */
static bool stay(struct load *l, struct flight *f)
{
	bool landed = flight_wait(l->s, f, patience_of(l));

	if (!landed && has_soft_limit(l)) {
		l->slow = true;
		l->s->stats.soft_timeouts++;
	}
	return landed;
}

/* Holds the lock, and a reference that it gives back.  *again: it came to
 * nothing for a reason that is not ours, and there is time left to try. */
static enum err follow(struct load *l, struct flight *f, bool own, bool *again)
{
	enum err e = ERR_TIMEOUT;

	if (stay(l, f)) {
		e = f->err;
		*again = f->unflown || (!own && e == ERR_TIMEOUT &&
		                        mono_ms() < patience_of(l));
		l->value = value_share(f->value);
		l->info = f->info;
		l->info.joined = !own;
	}
	flight_leave(f);
	return e;
}

/* Holds the lock.  What it brings is not for us, but nobody loads before it has
 * ended. */
static enum err stand_behind(struct load *l, struct flight *f, bool *again)
{
	*again = stay(l, f);
	flight_leave(f);
	return ERR_TIMEOUT;
}

static enum err await(struct load *l, struct flight *f)
{
	bool again = false; /* our own is not tried again */
	GUARD(&l->s->lock);

	l->s->stats.background_loads++;
	return follow(l, f, true, &again);
}

/* --- asking ------------------------------------------------------------------------- */

static void look_for_stale(struct load *l)
{
	uint64_t now_ms = want_now_ms(l->w, l->began_ms);
	struct entry *dead = NULL;
	struct look k;

	if (l->stale || l->w->skip & CACHE_SKIP_MEMORY_READ)
		return;
	pthread_mutex_lock(&l->s->lock);
	k = core_look(l->c, l->s, l->hash, l->w->key, now_ms, &dead);
	pthread_mutex_unlock(&l->s->lock);
	core_bury(l->c, dead);
	l->stale = k.value;
	l->stale_info = core_info(&k, now_ms);
	l->renewed = k.hit == CACHE_HIT;
}

static enum err lead(struct load *l, struct flight *f)
{
	struct job j = job_of(l, f);
	bool tried = has_soft_limit(l);
	struct result r;

	use_fetched(&j);
	if (tried && hand_over(&j))
		return await(l, f);
	if (!ask_remote(&j, &r)) {
		if (j.asked)
			look_for_stale(l);
		if (!tried && (has_soft_limit(l) || l->w->hard_ms) &&
		    hand_over(&j))
			return await(l, f);
		run_loader(&j, &r);
	}
	load_land(&j, &r, &l->info);
	l->value = r.value;
	return r.e;
}

/* True when memory has a fresh answer, which is *e. */
static bool is_hit(struct load *l, const struct look *k, uint64_t now_ms,
                   enum err *e)
{
	*e = k->hit == CACHE_NEGATIVE ? ERR_NOT_FOUND : OK;
	if (k->hit == CACHE_MISS)
		return false;
	l->value = k->value;
	l->info = core_info(k, now_ms);
	return true;
}

/* Holds the lock; true when memory has the answer, which is *e. */
static bool answered(struct load *l, const struct look *k, uint64_t now_ms,
                     enum err *e)
{
	cache_put_back(l->stale);
	l->stale = NULL;
	core_count_look(l->s, k->hit);
	if (is_hit(l, k, now_ms, e))
		return true;
	l->stale = k->value;
	l->stale_info = core_info(k, now_ms);
	if (!k->value || !k->spared)
		return false;
	*e = ERR_UNAVAILABLE; /* and so the stale one is served */
	l->info.why = CACHE_LOAD_SPARED;
	return true;
}

/* Holds the lock.  A flight for the first use of an entry that is due. */
static struct flight *start_refresh(struct load *l, uint64_t now_ms)
{
	struct entry *e = shard_find(l->s, l->hash, l->w->key);
	struct marks marks;

	/* Whatever becomes of it, the next try is not the next use. */
	e->eager_ms = later_ms(now_ms, CACHE_RETRY_MS);
	if (!l->w->detach || flight_find(l->s, l->hash, l->w->key))
		return NULL;
	marks = core_mark(l->c, l->w);
	return flight_start(l->s, l->hash, l->w->key, &marks, now_ms);
}

/* Holds the lock: memory has no answer.  True: *e is it, or *again; false: the
 * caller leads *mine, which is NULL without memory. */
static bool joined(struct load *l, uint64_t now_ms, enum err *e, bool *again,
                   struct flight **mine)
{
	uint64_t proof_ms = core_proof_ms(l->c);
	struct flight *f = flight_find(l->s, l->hash, l->w->key);
	struct marks marks;

	if (f) {
		f->refs++;
		l->s->stats.waits++;
		f->doomed |= !core_is_current(l->c, f->marks.at, f->marks.n);
		*e = !f->doomed && core_is_believed(l->c, proof_ms, f->born_ms,
		                                    now_ms)
		             ? follow(l, f, false, again)
		             : stand_behind(l, f, again);
		return true;
	}
	if (now_ms >= l->w->deadline_ms) {
		*e = ERR_TIMEOUT;
		return true;
	}
	marks = core_mark(l->c, l->w);
	*mine = flight_start(l->s, l->hash, l->w->key, &marks, now_ms);
	l->s->stats.loads++;
	return false;
}

/* One round: from memory, by waiting, or by loading. */
static enum err load_once(struct load *l, bool *again)
{
	uint64_t now_ms = want_now_ms(l->w, l->began_ms);
	bool read = !(l->w->skip & CACHE_SKIP_MEMORY_READ), ready;
	struct look k = {.hit = CACHE_MISS};
	struct flight *mine = NULL;
	struct entry *dead = NULL;
	enum err e = OK;

	*again = false;
	if (read) {
		k = core_hit(l->c, l->s, l->hash, l->w->key, now_ms);
		if (is_hit(l, &k, now_ms, &e))
			return e;
	}
	pthread_mutex_lock(&l->s->lock);
	if (read)
		k = core_look(l->c, l->s, l->hash, l->w->key, now_ms, &dead);
	ready = answered(l, &k, now_ms, &e);
	if (!ready)
		ready = joined(l, now_ms, &e, again, &mine);
	else if (k.hit == CACHE_HIT && k.due)
		mine = start_refresh(l, now_ms);
	pthread_mutex_unlock(&l->s->lock);
	core_bury(l->c, dead);
	if (!ready)
		return mine ? lead(l, mine) : ERR_NOMEM;
	if (mine)
		refresh(l, mine);
	return e;
}

/* Too long a key. */
static enum err load_alone(struct load *l)
{
	struct job j = job_of(l, NULL);
	struct result r;

	run_loader(&j, &r);
	l->value = r.value;
	l->info = (struct cache_info){.from = CACHE_FROM_LOADER};
	return r.e;
}

/* The load failed, or lasts too long: an old value will do. */
static enum err fall_back(struct load *l, enum err e)
{
	enum cache_why why = l->info.why == CACHE_LOAD_SPARED ? l->info.why
	                     : l->slow                        ? CACHE_LOAD_SLOW
	                               : CACHE_LOAD_FAILED;

	look_for_stale(l);
	if (!l->stale)
		return e;
	l->value = STEAL(l->stale);
	l->info = l->stale_info;
	if (l->renewed)
		return OK;
	l->info.from = CACHE_FROM_STALE;
	l->info.why = why;
	l->info.ttl_ms = 0;
	pthread_mutex_lock(&l->s->lock);
	l->s->stats.stale_served++;
	pthread_mutex_unlock(&l->s->lock);
	return OK;
}

enum err cache_load(struct cache *c, const struct cache_want *w,
                    struct cache_value **out, struct cache_info *info)
{
	struct load l = {.c = c, .w = w, .began_ms = mono_ms()};
	bool again = true;
	enum err e = OK;

	l.hash = core_hash(c, w->key);
	l.s = core_shard(c, l.hash);
	if (w->key.n > CACHE_KEY_MAX)
		e = load_alone(&l);
	else
		while (again)
			e = load_once(&l, &again);
	if (has_failed(e))
		e = fall_back(&l, e);
	cache_put_back(l.stale);
	if (!e) {
		*out = l.value;
		if (info)
			*info = l.info;
	}
	return e;
}
