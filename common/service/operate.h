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
 *   llm.reset      closes the breakers of the providers of language models
 *
 * Each may be repeated without harm.  Who asked is on the log.
 *
 * Threads: any; never waits.
 */
#ifndef SERVICE_OPERATE_H
#define SERVICE_OPERATE_H

#include "common/service/cached.h"

#define OPERATE_TAG_MAX 64

/* What the acts are done to; a NULL is not there, and there is nothing to do. */
struct operated {
	struct cached *cached;
	void (*llm_reset)(void *arg);
	void *arg;
};

enum err operate(const struct operated *on, struct ctx *cx, struct str body,
                 struct buf *reply) MUST_CHECK;

#endif
