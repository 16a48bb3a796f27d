/*
 * cached - the cache of a service, from settings to what a reply says of it.
 */
#ifndef SERVICE_CACHED_H
#define SERVICE_CACHED_H

#include "common/base/ctx.h"
#include "common/bus/entry.h"
#include "common/cache/cache.h"

/*
 * Adds the header Cache-Status for an answer that came through the cache of the
 * service that cx names.  It is for people: without memory there is none.
 */
void cached_tell(struct reply *out, struct ctx *cx,
                 const struct cache_info *info);

/*
 * The context of a request for a load that outlives it: who asks and how the
 * log calls it, copied, with an arena and ms milliseconds of its own.  NULL
 * without memory.
 */
struct ctx *cached_cx_new(const struct ctx *cx, uint64_t ms);
void cached_cx_free(struct ctx *cx); /* NULL is fine */
AUTO_TYPE(cached_cx, struct ctx *, cached_cx_free)

#endif
