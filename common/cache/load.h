/*
 * load - one load of a value while it is run; internal to common/cache.
 *
 * load.c runs it for a cache_load(), on the thread of who asked or on one of
 * the cache's; fetch.c runs the part of it that asks the remote tier, on that
 * tier's thread.
 */
#ifndef CACHE_LOAD_H
#define CACHE_LOAD_H

#include "common/base/clock.h"
#include "common/cache/core.h"

/*
 * A load that is to be run: on the stack of who asked, who also owns key, tags
 * and arg; or detached, on the heap with copies of them.
 */
struct job {
	struct cache *c;
	struct shard *s;
	struct flight *f;
	struct cache_want w;
	uint64_t hash;
	uint64_t began_ms; /* mono_ms() when w.now_ms was now */
	bool eager;
	bool asked; /* the remote tier, and it did not have it */
	struct remote_marks remote;
	char text[];
};

struct result {
	enum err e;
	enum cache_from from;
	struct cache_value *value; /* a reference, or NULL */
	struct life life;
};

static inline uint64_t want_now_ms(const struct cache_want *w,
                                   uint64_t began_ms)
{
	return later_ms(w->now_ms, clock_left(mono_ms(), began_ms));
}

/* When the asker's deadline is by mono_ms(). */
static inline uint64_t want_deadline_ms(const struct cache_want *w,
                                        uint64_t began_ms)
{
	return later_ms(began_ms, clock_left(w->deadline_ms, w->now_ms));
}

/* True when what the remote has is the answer, asked for at born_ms; one that is
 * over its time goes to memory, to fall back on. */
bool load_take(struct job *j, const struct remote_answer *found,
               uint64_t born_ms, struct result *r) MUST_CHECK;
/*
 * What the load came to is kept, here and in the remote tier, unless it was
 * forgotten meanwhile, and handed to those who wait.  Ends the flight.
 */
void load_land(struct job *j, const struct result *r, struct cache_info *info);

#endif
