/*
 * operate - what an administrator may have a running service do.
 *
 * The method "service.control" takes {"do": <act>} and, for cache.forget,
 * "tag"; it answers {"cached": whether there is a cache, "shared": whether it
 * has a tier that instances share}.
 *
 *   cache.clear    forgets everything, here and in the shared tier.  Other data
 *                  in the same Redis is untouched: generations are raised, no
 *                  key is deleted.
 *   cache.forget   the same of what carries a tag
 *   breaker.reset  closes the breaker of the shared tier
 *
 * Each may be repeated without harm.  Who asked is on the log.
 *
 * Threads: any; never waits.
 */
#ifndef SERVICE_OPERATE_H
#define SERVICE_OPERATE_H

#include "common/service/cached.h"

#define OPERATE_TAG_MAX 64

/* cached NULL: the service has no cache, and there is nothing to do. */
enum err operate(struct cached *cached, struct ctx *cx, struct str body,
                 struct buf *reply) MUST_CHECK;

#endif
