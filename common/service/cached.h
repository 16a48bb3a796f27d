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
#include "common/bus/entry.h"
#include "common/cache/cache.h"
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
