#include "common/cache/fetch.h"

#include "common/cache/flight.h"
#include "common/cache/load.h"

#define SKIPS (CACHE_SKIP_MEMORY_READ | CACHE_SKIP_REMOTE_READ)

/* NULL: memory has something by now, somebody loads it, or no memory. */
static struct flight *take_off(struct cache_fetch *f)
{
	const struct cache_want *w = &f->want;
	struct flight *flight = NULL;
	struct entry *dead = NULL;
	struct marks marks;
	struct look k;

	pthread_mutex_lock(&f->s->lock);
	k = core_look(f->c, f->s, f->hash, w->key, w->now_ms, &dead);
	if (!k.hit && !k.value && !flight_find(f->s, f->hash, w->key)) {
		marks = core_mark(f->c, w);
		flight = flight_start(f->s, f->hash, w->key, &marks, w->now_ms);
	}
	pthread_mutex_unlock(&f->s->lock);
	core_bury(f->c, dead);
	cache_put_back(k.value);
	return flight;
}

/* Whoever waits looks again, and loads. */
static void turn_back(struct cache_fetch *f)
{
	static const struct cache_info none;

	pthread_mutex_lock(&f->s->lock);
	f->flight->unflown = true;
	flight_land(f->s, f->flight, ERR_BUSY, NULL, &none);
	pthread_mutex_unlock(&f->s->lock);
}

static void land(struct cache_fetch *f, struct job *j, const struct result *r)
{
	f->hit = r->e ? CACHE_NEGATIVE : CACHE_HIT;
	f->value = r->value;
	load_land(j, r, &f->info);
	/* One that finds nothing is counted by the load that follows. */
	pthread_mutex_lock(&f->s->lock);
	core_count_look(f->s, CACHE_MISS);
	f->s->stats.loads++;
	pthread_mutex_unlock(&f->s->lock);
}

static void came(void *arg, const struct remote_answer *a)
{
	struct cache_fetch *f = arg;
	struct job j = {.c = f->c,
	                .s = f->s,
	                .f = f->flight,
	                .w = f->want,
	                .hash = f->hash,
	                .began_ms = f->began_ms};
	struct result r;

	f->asked = true;
	f->marks = a->marks;
	if (a->found && load_take(&j, a, f->born_ms, &r))
		land(f, &j, &r);
	else
		turn_back(f);
	f->done(f);
}

enum err cache_fetch(struct cache *c, const struct cache_want *w,
                     struct cache_fetch *f)
{
	uint64_t now_ms = mono_ms(), until_ms;
	uint16_t slots[MARKS_MAX];
	size_t n;
	enum err e;

	*f = (struct cache_fetch){.done = f->done,
	                          .c = c,
	                          .hash = core_hash(c, w->key),
	                          .began_ms = now_ms,
	                          .born_ms = w->now_ms,
	                          .want = *w};
	if (!c->remote || w->skip & SKIPS || w->key.n > CACHE_KEY_MAX ||
	    w->now_ms >= w->deadline_ms)
		return ERR_UNAVAILABLE;
	f->s = core_shard(c, f->hash);
	f->flight = take_off(f);
	if (!f->flight)
		return ERR_UNAVAILABLE;
	n = f->flight->marks.n;
	for (size_t i = 0; i < n; i++)
		slots[i] = f->flight->marks.at[i].slot;
	until_ms = least(later_ms(now_ms, c->remote_soft_ms),
	                 want_deadline_ms(w, now_ms));
	e = remote_ask(c->remote, w->key, slots, n, until_ms, came, f);
	if (!e)
		return OK;
	f->asked = true;
	turn_back(f);
	return e;
}
