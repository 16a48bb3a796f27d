#include "tests/sim/cache_world.h"

#include "common/base/clock.h"
#include "common/cache/fetch.h"

#include <limits.h>
#include <stdlib.h>

/* A call may be as late as fibers nap, and clocks are wrong. */
#define LATE_US        400000
#define REMOTE_SOFT_MS 50

/* --- the loader ------------------------------------------------------------------- */

struct loading {
	struct instance *in;
	unsigned key;
	uint64_t *took_us; /* on the fiber of who asked; NULL: in background */
};

static uint64_t load_time_us(const struct world *w)
{
	if (!w->calm && fiber_chance(30))
		return fiber_random(12000000); /* longer than any bound */
	if (!w->calm && fiber_chance(100))
		return fiber_random(1000000);
	return fiber_random(w->load_us);
}

static enum err load(void *arg, struct buf *out)
{
	struct loading *l = arg;
	struct instance *in = l->in;
	struct world *w = in->world;
	uint64_t began_us = fiber_now_us();
	enum err e;

	if (in->loading[l->key]++ > 0)
		fiber_fail("i%u loads key%u twice at once", in->owner, l->key);
	w->loads++;
	fiber_sleep_us(load_time_us(w));
	e = truth_read(&w->truth, l->key, out);
	fiber_tell("read %.*s", (int)out->n, out->p);
	fiber_sleep_us(load_time_us(w));
	if (!w->calm &&
	    (fiber_now_us() < w->outage_us || fiber_chance(w->fail_per_mille)))
		e = fiber_chance(500) ? ERR_UNAVAILABLE : ERR_TIMEOUT;
	in->loading[l->key]--;
	in->loaded_us[l->key] = fiber_now_us();
	if (l->took_us)
		*l->took_us += fiber_now_us() - began_us;
	return e;
}

static void *detach(const void *arg)
{
	struct loading *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *(const struct loading *)arg;
	copy->took_us = NULL;
	return copy;
}

/* --- asking ----------------------------------------------------------------------- */

static struct cache_want want_of(struct instance *in, unsigned key,
                                 struct loading *arg)
{
	const struct world *w = in->world;
	const struct truth_key *k = &w->truth.keys[key];
	struct cache_want want = {.key = str_from(k->name),
	                          .ttl_ms = k->ttl_ms,
	                          .negative_ttl_ms = k->negative_ttl_ms,
	                          .stale_ms = k->stale_ms,
	                          .soft_ms = w->soft_ms,
	                          .hard_ms = w->calm ? 0 : w->hard_ms,
	                          .eager = w->eager,
	                          .tags_n = k->tags_n,
	                          .load = load,
	                          .arg = arg};

	for (size_t i = 0; i < k->tags_n; i++)
		want.tags[i] = str_from(w->truth.tags[k->tags[i]]);
	if (w->detaches) {
		want.detach = detach;
		want.drop = free;
	}
	return want;
}

static void check_time(const struct instance *in, const char *what,
                       uint64_t began_us, uint64_t may_us,
                       uint64_t frozen_before_us)
{
	uint64_t took_us = fiber_now_us() - began_us;
	uint64_t frozen_us = in->frozen_us - frozen_before_us;

	if (took_us > may_us + may_us / 20 + frozen_us + LATE_US)
		fiber_fail("i%u: %s took %llu ms, not %llu", in->owner, what,
		           (unsigned long long)took_us / 1000,
		           (unsigned long long)may_us / 1000);
}

static const char *const from_words[] = {"memory", "the store", "a load",
                                         "fallback"};

static unsigned check_answer(struct instance *in, struct answer *a, enum err e,
                             struct cache_value *v, const struct cache_info *i)
{
	struct world *w = in->world;
	unsigned version;

	a->negative = e == ERR_NOT_FOUND;
	a->bytes = e ? STR("") : cache_bytes(v);
	a->stale = !e && i->from == CACHE_FROM_STALE;
	a->loaded = e ? in->loaded_us[a->key] >= a->began_us
	              : i->from == CACHE_FROM_LOADER;
	if (!e && a->stale != (i->why != CACHE_NOT_STALE))
		fiber_fail("stale or not: from %d, why %d", i->from, i->why);
	if (e && e != ERR_NOT_FOUND) {
		fiber_tell("key%u: error %d", a->key, e);
		return UINT_MAX;
	}
	fiber_tell("key%u: %.*s from %s", a->key, (int)a->bytes.n, a->bytes.p,
	           e ? "wherever" : from_words[i->from]);
	if (!e)
		w->from[i->from]++;
	version = truth_check(&w->truth, a);
	return version;
}

struct asking {
	struct cache_fetch f; /* first: it is what comes back */
	bool done;
};

static void fetched(struct cache_fetch *f)
{
	struct asking *a = (struct asking *)(void *)f;

	if (a->done)
		fiber_fail("a fetch is done twice");
	a->done = true;
	fiber_wake(a);
}

/* Lets the remote tier be asked before a load: true, and the answer is there;
 * false: it is loaded, by who is told what was found. */
static bool look_ahead(struct instance *in, struct cache_want *want,
                       struct asking *a, uint64_t *took_us)
{
	uint64_t began_us = fiber_now_us(), frozen_us = in->frozen_us;

	*a = (struct asking){.f = {.done = fetched}};
	if (!cache_fetch(in->cache, want, &a->f)) {
		while (!a->done)
			(void)fiber_wait(a, FIBER_NEVER);
		check_time(in, "a fetch", began_us, REMOTE_SOFT_MS * 1000,
		           frozen_us);
	} else if (a->f.hit || a->f.value) {
		fiber_fail("a fetch that is none has a value");
	}
	if (a->f.hit)
		return true;
	if (fiber_chance(300)) /* for a worker */
		fiber_sleep_us(fiber_random(20000));
	want->fetched = &a->f;
	want->now_ms = mono_ms();
	*took_us += fiber_now_us() - began_us;
	return false;
}

unsigned client_load(struct instance *in, unsigned key, enum cache_from *from)
{
	struct world *w = in->world;
	uint64_t took_us = 0, frozen_us = in->frozen_us;
	uint64_t left_ms = fiber_chance(100) ? fiber_random(200)
	                                     : 1000 + fiber_random(9000);
	struct loading arg = {in, key, &took_us};
	struct cache_want want = want_of(in, key, &arg);
	struct answer a = {.owner = in->owner,
	                   .key = key,
	                   .began_us = fiber_now_us(),
	                   .floor = w->truth.keys[key].floor[in->owner],
	                   .proof_ms = cache_proof_ms(in->cache)};
	struct cache_value *v = NULL;
	struct cache_info info = {0};
	struct asking ahead;
	unsigned version;
	enum err e;

	if (w->calm)
		left_ms = 60000;
	want.now_ms = mono_ms();
	want.deadline_ms = want.now_ms + left_ms;
	if (fiber_chance(500) && look_ahead(in, &want, &ahead, &took_us)) {
		e = ahead.f.hit == CACHE_HIT ? OK : ERR_NOT_FOUND;
		v = ahead.f.value;
		info = ahead.f.info;
		w->fetched++;
	} else {
		e = cache_load(in->cache, &want, &v, &info);
	}
	version = check_answer(in, &a, e, v, &info);
	check_time(in, "a load", a.began_us,
	           took_us + (left_ms + REMOTE_SOFT_MS) * 1000, frozen_us);
	/* Who waited for a load goes on when it has ended. */
	if (!e && info.from == CACHE_FROM_LOADER &&
	    in->loaded_us[key] >= a.began_us)
		check_time(in, "to be woken", in->loaded_us[key], 0, frozen_us);
	cache_put_back(v);
	*from = info.from;
	return version;
}

static void peek(struct instance *in, unsigned key)
{
	struct world *w = in->world;
	struct answer a = {.owner = in->owner,
	                   .key = key,
	                   .began_us = fiber_now_us(),
	                   .floor = w->truth.keys[key].floor[in->owner],
	                   .proof_ms = cache_proof_ms(in->cache)};
	struct cache_value *v = NULL;
	struct cache_info info = {0};
	enum cache_hit hit =
		cache_peek(in->cache, str_from(w->truth.keys[key].name),
	                   mono_ms(), &v, &info);

	if (hit != CACHE_MISS)
		(void)check_answer(in, &a,
		                   hit == CACHE_NEGATIVE ? ERR_NOT_FOUND : OK,
		                   v, &info);
	cache_put_back(v);
}

/* --- changing --------------------------------------------------------------------- */

/* Between commit and forgetting: then the contract is the time to live. */
static void perhaps_die(struct instance *in)
{
	if (!in->world->fault[FAULT_KILL] || in->world->calm ||
	    !fiber_chance(20))
		return;
	fiber_tell("dies before it forgets");
	in->killed = true;
	fiber_wake(in);
	(void)fiber_wait(NULL, FIBER_NEVER);
}

static void forgot_all(struct instance *in, const unsigned *latest)
{
	struct truth *t = &in->world->truth;

	for (unsigned i = 0; i < t->keys_n; i++)
		if (latest[i] != UINT_MAX)
			truth_forgot(t, in->owner, i, latest[i]);
}

static void change(struct instance *in)
{
	struct world *w = in->world;
	struct truth *t = &w->truth;
	unsigned key = (unsigned)fiber_random(t->keys_n);
	unsigned tag = (unsigned)fiber_random(t->tags_n);
	bool all = fiber_chance(30), by_tag = !all && fiber_chance(350);
	unsigned latest[TRUTH_KEYS] = {0};

	w->writes++;
	if (all)
		truth_write_all(t);
	else if (by_tag)
		truth_write_tag(t, tag);
	else
		truth_write(t, key);
	fiber_tell("commits %s%u",
	           all      ? "all "
	           : by_tag ? "tag"
	                    : "key",
	           by_tag ? tag : key);
	perhaps_die(in);
	if (fiber_chance(200))
		fiber_sleep_us(fiber_random(20000));
	for (unsigned i = 0; i < t->keys_n; i++)
		latest[i] =
			all || (by_tag ? truth_has_tag(t, i, tag) : i == key)
				? truth_latest(t, i)
				: UINT_MAX;
	fiber_tell("forgets");
	if (all)
		cache_clear(in->cache);
	else if (by_tag)
		cache_forget_tag(in->cache, str_from(t->tags[tag]));
	else
		cache_forget(in->cache, str_from(t->keys[key].name));
	forgot_all(in, latest);
}

/* --- the fiber -------------------------------------------------------------------- */

static void do_something(struct instance *in)
{
	struct world *w = in->world;
	/* Some keys are asked for more than others. */
	unsigned key =
		(unsigned)fiber_random(fiber_random(w->truth.keys_n) + 1);
	enum cache_from from;

	if (!w->calm && fiber_chance(w->write_per_mille))
		change(in);
	else if (fiber_chance(150))
		peek(in, key);
	else
		(void)client_load(in, key, &from);
}

void client_run(void *arg)
{
	struct instance *in = arg;

	while (!in->stopping && !in->world->quiet) {
		fiber_sleep_us(fiber_random(in->world->pause_us) *
		               (in->world->calm ? 10 : 1));
		do_something(in);
	}
	in->inside--;
	fiber_wake(in);
}
