/*
 * crew - a few threads that run what does not have to be waited for; internal
 * to common/cache.
 *
 * Why:     a load that is to outlive the request that asked for it needs a
 *          thread, and how many such loads there are must be bounded.  There is
 *          no queue: what finds no thread is refused, and the caller does it
 *          himself or leaves it, knowing more about it than a queue does.
 * Bounds:  threads_max jobs at once; a thread is started when it is needed
 *          first and stays.
 * Threads: any.  One lock, a leaf.
 */
#ifndef CACHE_CREW_H
#define CACHE_CREW_H

#include "common/base/attr.h"

#include <stdbool.h>

struct crew;

struct crew *crew_new(unsigned threads_max);
void crew_free(struct crew *c); /* waits for what runs; NULL is fine */
AUTO_TYPE(crew, struct crew *, crew_free)

/* Only a hint: whether crew_run() would have been taken now. */
bool crew_has_room(struct crew *c);
/* False: all are busy, or no thread could be started; run() is not called. */
bool crew_run(struct crew *c, void (*run)(void *arg), void *arg) MUST_CHECK;

#endif
