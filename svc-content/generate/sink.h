/*
 * sink - who wants to hear of an answer while it is made.
 *
 *   progress  what is being done, and how much of it: stage is a static word
 *             ("started", "repair", "next_provider", "offline", "ready")
 *   item      one finished part of the answer, as msgpack, exactly as it stands
 *             in the answer: kind is a static word ("subtopics": the whole
 *             answer; "explanation", "question", "recommendation": the element
 *             `index` of the array; "topic": the whole answer).  In the order of
 *             readiness; every part once, also those that come from the cache.
 *
 * What a sink hears of is not the answer yet: the reply that the generation ends
 * with is, and an error may come instead.
 *
 * Bounds:  an item is not longer than the reply.
 * Owns:    nothing; packed is good during the call alone.
 * Threads: called on the thread that runs the generation.
 */
#ifndef SVC_CONTENT_GENERATE_SINK_H
#define SVC_CONTENT_GENERATE_SINK_H

#include "common/base/str.h"

struct sink {
	void (*progress)(void *arg, const char *stage, size_t done, size_t all);
	void (*item)(void *arg, const char *kind, size_t index,
	             struct str packed);
	void *arg;
};

/* s NULL: nobody listens. */
static inline void sink_progress(const struct sink *s, const char *stage,
                                 size_t done, size_t all)
{
	if (s)
		s->progress(s->arg, stage, done, all);
}

static inline void sink_item(const struct sink *s, const char *kind,
                             size_t index, struct str packed)
{
	if (s)
		s->item(s->arg, kind, index, packed);
}

#endif
