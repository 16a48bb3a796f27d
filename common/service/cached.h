/*
 * cached - the cache of a service: made from the settings, counted, checked by
 * health, and told of in replies.
 *
 * Owns:    the cache, and the connections to REDIS_URL where there is one.
 * Threads: any.
 */
#ifndef SERVICE_CACHED_H
#define SERVICE_CACHED_H

#include "common/base/ctx.h"
#include "common/base/trace.h"
#include "common/bus/entry.h"
#include "common/cache/cache.h"
#include "common/cache/fetch.h"
#include "common/cache/redis_scan.h"
#include "common/cache/remote.h"
#include "common/obs/health.h"

struct settings;
struct cached;

/* space: the service's name, static text, also in the shared tier.  NULL without
 * memory. */
struct cached *cached_new(const struct settings *conf, const char *space);
void cached_free(struct cached *c); /* NULL is fine */
AUTO_TYPE(cached, struct cached *, cached_free)

struct cache *cached_cache(struct cached *c);

struct cached_figures {
	struct cache_stats memory;
	struct remote_stats remote; /* zero where there is none */
	uint64_t remote_misses, remote_failures;
	int64_t proof_age_ms; /* of being in step */
};
void cached_figures(const struct cached *c, struct cached_figures *out);

bool cached_is_shared(const struct cached *c);
/* A health_check_fn for one that is shared; arg is the struct cached. */
enum health_state cached_check(void *arg, char *detail, size_t detail_max);

/* redis_scan() over what the service has in the shared tier; there must be one. */
enum err cached_scan(const struct settings *conf, const char *space,
                     uint64_t deadline_ms, redis_scan_fn *fn, void *arg,
                     uint64_t *keys) MUST_CHECK;

/*
 * A peek that may look into the shared tier, too, without waiting:
 *
 *     cx->fetch = &f;               cached_fetch_init(&f, done)
 *     peek(cx) -> false;            its cached_peek() has missed, and
 *                                   cached_fetch_say() says what it looks for
 *     if (cached_fetch_begin(&f))   and done(), on the shared tier's thread,
 *             return;               runs the peek again, from the start: its
 *                                   cached_peek() now has what was found
 *
 * and else, or where that peek is false again, the handler is run, whose
 * cached_load() of the same key knows what is not there.  Both must want the
 * same, as to how long what is found is kept.  Behind all of it,
 * cached_fetch_end().
 */
enum cached_fetch_state {
	CACHED_FETCH_NEW,
	CACHED_FETCH_SAID,
	CACHED_FETCH_ANSWERED,
	CACHED_FETCH_USED,
};
struct cached_fetch {
	void (*done)(struct cached_fetch *f); /* f may be gone behind it */
	/* All below is cached.c's. */
	enum cached_fetch_state state;
	struct ctx *cx;
	struct cache *cache;
	struct cache_want want;
	struct cache_fetch fetch;
	uint64_t began_us;
	bool traced;
	struct span span;
};
void cached_fetch_init(struct cached_fetch *f,
                       void (*done)(struct cached_fetch *f));
/* True: done() follows, once, and may be under way.  False: it does not. */
bool cached_fetch_begin(struct cached_fetch *f) MUST_CHECK;
void cached_fetch_end(struct cached_fetch *f);

/* cache_peek() for a request, whose fetch may have the answer. */
enum cache_hit cached_peek(struct ctx *cx, struct cache *c, struct str key,
                           struct cache_value **out, struct cache_info *info);
/* Whether there is something to be said, once. */
bool cached_fetch_may(const struct ctx *cx);
void cached_fetch_say(struct ctx *cx, struct cache *c,
                      const struct cache_want *w);
/*
 * cache_load() for a request: how long it took besides the database goes into
 * cx->spent, and where the trace is sampled there is a span of it.
 */
enum err cached_load(struct ctx *cx, struct cache *c,
                     const struct cache_want *w, struct cache_value **out,
                     struct cache_info *info) MUST_CHECK;

/*
 * Adds the header Cache-Status for an answer that came through the cache of the
 * service that cx names.  It is for people: without memory there is none.
 */
void cached_tell(struct reply *out, struct ctx *cx,
                 const struct cache_info *info);

/*
 * The context of a request for a load that outlives it: who asks and how the
 * log calls it, copied, with an arena and ms milliseconds of its own, and
 * the span that it is for, by its ids.  NULL without memory.
 */
struct ctx *cached_cx_new(const struct ctx *cx, uint64_t ms);
void cached_cx_free(struct ctx *cx); /* NULL is fine */
AUTO_TYPE(cached_cx, struct ctx *, cached_cx_free)

#endif
