#include "common/service/cached.h"

#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/trace.h"
#include "common/cache/redis_wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 32
#define ARENA_BYTES    ((size_t)1 << 20)

struct cached {
	struct redis_wire *wire; /* NULL: memory only */
	struct cache *cache;
	uint64_t since_ms;
};

/* --- life ------------------------------------------------------------------- */

/* wiring_rules() has complained of a URL that cannot be understood. */
static struct redis_wire *open_wire(const struct settings *conf,
                                    const char *space)
{
	struct redis_url url;
	struct redis_wire *w = NULL;
	char name[NAME_MAX_BYTES];

	(void)snprintf(name, sizeof(name), "kae-%s", space);
	if (!redis_url_parse(conf->redis_url, &url))
		w = redis_wire_new(&url, str_from(name));
	explicit_bzero(&url, sizeof(url));
	return w;
}

struct cached *cached_new(const struct settings *conf, const char *space)
{
	struct cache_conf cc = {
		.max_bytes = (size_t)conf->cache_memory_mb << 20,
		.space = str_from(space),
		.remote_soft_ms = (unsigned)conf->redis_soft_timeout_ms,
		.connect_ms = (unsigned)conf->redis_connect_timeout_s * 1000,
		.command_ms = (unsigned)conf->redis_timeout_s * 1000,
		.degraded_ttl_ms = conf->cache_degraded_ttl_s * 1000};
	AUTO(cached) c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->since_ms = mono_ms();
	if (conf->redis_url.n) {
		c->wire = open_wire(conf, space);
		if (!c->wire)
			return NULL;
		cc.wire = redis_wire_of(c->wire);
	}
	c->cache = cache_new(&cc);
	return c->cache ? STEAL(c) : NULL;
}

void cached_free(struct cached *c)
{
	if (!c)
		return;
	cache_free(c->cache);
	redis_wire_free(c->wire);
	free(c);
}

struct cache *cached_cache(struct cached *c)
{
	return c->cache;
}

/* --- figures and health ------------------------------------------------------- */

static uint64_t proof_age_ms(const struct cached *c)
{
	uint64_t proof_ms = cache_proof_ms(c->cache);

	return clock_left(mono_ms(), proof_ms ? proof_ms : c->since_ms);
}

void cached_figures(const struct cached *c, struct cached_figures *out)
{
	*out = (struct cached_figures){0};
	cache_stats(c->cache, &out->memory);
	if (!cache_remote_stats(c->cache, &out->remote))
		return;
	out->remote_misses = clock_left(out->remote.gets, out->remote.hits);
	out->remote_failures = out->remote.failures + out->remote.timeouts;
	out->proof_age_ms = (int64_t)proof_age_ms(c);
}

bool cached_is_shared(const struct cached *c)
{
	return c->wire != NULL;
}

enum health_state cached_check(void *arg, char *detail, size_t detail_max)
{
	static const char *const states[] = {
		[REMOTE_AWAY] = "away",
		[REMOTE_CATCHING_UP] = "catching up",
		[REMOTE_IN_STEP] = "in step",
	};
	const struct cached *c = arg;
	struct cached_figures f;

	cached_figures(c, &f);
	if (f.remote.state == REMOTE_IN_STEP &&
	    f.remote.breaker == BREAKER_CLOSED) {
		(void)snprintf(detail, detail_max, "in step");
		return HEALTH_UP;
	}
	(void)snprintf(detail, detail_max,
	               "%s, breaker %s, last in step %" PRId64
	               " s ago, %" PRIu64 " to be forgotten there",
	               states[f.remote.state],
	               f.remote.breaker == BREAKER_CLOSED ? "closed" : "open",
	               f.proof_age_ms / 1000, f.remote.pending);
	return HEALTH_DOWN;
}

/* --- all of the shared tier ------------------------------------------------- */

enum err cached_scan(const struct settings *conf, const char *space,
                     uint64_t deadline_ms, redis_scan_fn *fn, void *arg,
                     uint64_t *keys)
{
	struct redis_url url;
	char prefix[NAME_MAX_BYTES + 16];
	enum err e;

	if (redis_url_parse(conf->redis_url, &url))
		return ERR_INTERNAL;
	(void)snprintf(prefix, sizeof(prefix), "kae:1:{%s}:", space);
	e = redis_scan(&url, prefix, deadline_ms, fn, arg, keys);
	explicit_bzero(&url, sizeof(url));
	return e;
}

static void tell(struct span *s, enum err e, const struct cache_info *info)
{
	static const char *const from[] = {
		[CACHE_FROM_MEMORY] = "memory",
		[CACHE_FROM_REMOTE] = "remote",
		[CACHE_FROM_LOADER] = "loader",
		[CACHE_FROM_STALE] = "stale",
	};

	if (e)
		span_fail(s, err_name(e));
	else
		span_text(s, "kae.cache_tier", str_from(from[info->from]));
	span_end(s);
}

/* --- looking ahead ---------------------------------------------------------- */

void cached_fetch_init(struct cached_fetch *f,
                       void (*done)(struct cached_fetch *f))
{
	f->done = done;
	f->state = CACHED_FETCH_NEW;
	f->fetch.value = NULL;
}

void cached_fetch_end(struct cached_fetch *f)
{
	cache_put_back(f->fetch.value);
	f->fetch.value = NULL;
	f->state = CACHED_FETCH_USED;
}

/* On the shared tier's thread. */
static void came(struct cache_fetch *of)
{
	struct cached_fetch *f =
		(struct cached_fetch *)(void *)((char *)of -
	                                        offsetof(struct cached_fetch,
	                                                 fetch));
	uint64_t took_us = mono_us() - f->began_us;

	f->state = CACHED_FETCH_ANSWERED;
	f->cx->spent.cache += took_us;
	f->cx->spent.handler += took_us;
	if (f->traced && of->hit == CACHE_HIT)
		tell(&f->span, OK, &of->info);
	else if (f->traced)
		span_end(&f->span);
	f->done(f);
}

bool cached_fetch_begin(struct cached_fetch *f)
{
	if (f->state != CACHED_FETCH_SAID)
		return false;
	f->began_us = mono_us();
	f->traced = span_begin(&f->span, f->cx->span, SPAN_INTERNAL, "cache");
	f->fetch.done = came;
	if (!cache_fetch(f->cache, &f->want, &f->fetch))
		return true;
	f->state = CACHED_FETCH_ANSWERED;
	return false;
}

static bool is_answered(const struct ctx *cx, const struct cache *c,
                        struct str key)
{
	const struct cached_fetch *f = cx->fetch;

	return f && f->state == CACHED_FETCH_ANSWERED && f->cache == c &&
	       str_eq(f->want.key, key);
}

enum cache_hit cached_peek(struct ctx *cx, struct cache *c, struct str key,
                           struct cache_value **out, struct cache_info *info)
{
	struct cached_fetch *f = cx->fetch;

	if (!is_answered(cx, c, key) || f->fetch.hit != CACHE_HIT)
		return cache_peek(c, key, mono_ms(), out, info);
	f->state = CACHED_FETCH_USED;
	*info = f->fetch.info;
	*out = STEAL(f->fetch.value);
	return CACHE_HIT;
}

bool cached_fetch_may(const struct ctx *cx)
{
	return cx->fetch && cx->fetch->state == CACHED_FETCH_NEW;
}

/* Without memory nothing is looked for. */
void cached_fetch_say(struct ctx *cx, struct cache *c,
                      const struct cache_want *w)
{
	struct cached_fetch *f = cx->fetch;

	if (!cached_fetch_may(cx))
		return;
	f->cx = cx;
	f->cache = c;
	f->want = *w;
	f->want.key = arena_str(cx->arena, w->key);
	f->state = f->want.key.p ? CACHED_FETCH_SAID : CACHED_FETCH_USED;
	for (size_t i = 0; i < w->tags_n; i++) {
		f->want.tags[i] = arena_str(cx->arena, w->tags[i]);
		if (!f->want.tags[i].p)
			f->state = CACHED_FETCH_USED;
	}
}

/* --- loads ------------------------------------------------------------------ */

enum err cached_load(struct ctx *cx, struct cache *c,
                     const struct cache_want *w, struct cache_value **out,
                     struct cache_info *info)
{
	uint64_t began_us = mono_us(), database = cx->spent.database;
	struct cache_want want = *w;
	struct span s, *before = cx->span;
	bool traced = span_begin(&s, before, SPAN_INTERNAL, "cache");
	enum err e;

	/* Others may wait for this load. */
	assert(!cx->deferred);
	if (traced)
		cx->span = &s;
	if (is_answered(cx, c, w->key)) {
		want.fetched = &cx->fetch->fetch;
		cx->fetch->state = CACHED_FETCH_USED;
	}
	e = cache_load(c, &want, out, info);
	cx->span = before;
	cx->spent.cache +=
		mono_us() - began_us - (cx->spent.database - database);
	if (traced)
		tell(&s, e, info);
	return e;
}

/* --- replies and contexts ------------------------------------------------------- */

void cached_tell(struct reply *out, struct ctx *cx,
                 const struct cache_info *info)
{
	char name[NAME_MAX_BYTES], text[CACHE_STATUS_MAX];
	struct str value;

	if (out->headers_n == REPLY_HEADERS_MAX)
		return;
	(void)snprintf(name, sizeof(name), "kae-%s",
	               cx->service ? cx->service : "cache");
	value = arena_str(cx->arena, cache_status(name, info, text));
	if (!value.p)
		return;
	out->headers[out->headers_n].name = STR("Cache-Status");
	out->headers[out->headers_n++].value = value;
}

static bool copy(struct arena *a, struct str *s)
{
	if (s->n)
		*s = arena_str(a, *s);
	return s->n == 0 || s->p;
}

static bool copy_texts(struct ctx *c)
{
	struct str *const texts[] = {&c->rid, &c->tp, &c->sub, &c->hnd,
	                             &c->sid, &c->ip, &c->ua,  &c->lang};

	for (size_t i = 0; i < COUNTOF(texts); i++)
		if (!copy(c->arena, texts[i]))
			return false;
	return true;
}

/* The span itself ends with the request. */
static bool copy_span(struct ctx *c, const struct span *s)
{
	if (!s)
		return true;
	c->span = arena_alloc(c->arena, sizeof(*s));
	if (c->span)
		*c->span = *s;
	return c->span;
}

struct ctx *cached_cx_new(const struct ctx *cx, uint64_t ms)
{
	AUTO(cached_cx) c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	/* Neither its effect nor its problem: those are the request's. */
	*c = (struct ctx){.service = cx->service,
	                  .arena = arena_new(ARENA_BYTES),
	                  .deadline_ms = mono_ms() + ms,
	                  .rid = cx->rid,
	                  .tp = cx->tp,
	                  .sub = cx->sub,
	                  .hnd = cx->hnd,
	                  .sid = cx->sid,
	                  .role = cx->role,
	                  .tier = cx->tier,
	                  .scopes = cx->scopes,
	                  .auth_time_s = cx->auth_time_s,
	                  .principal = cx->principal,
	                  .ip = cx->ip,
	                  .ua = cx->ua,
	                  .lang = cx->lang};
	return c->arena && copy_texts(c) && copy_span(c, cx->span) ? STEAL(c)
	                                                           : NULL;
}

void cached_cx_free(struct ctx *cx)
{
	if (!cx)
		return;
	arena_free(cx->arena);
	free(cx);
}
