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
 *   have      asked before a part is made: one that an earlier run of the same
 *             generation has told of, which is then not made again; NULL: there
 *             is none.  A generation that does not ask loses nothing but work.
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
	bool (*have)(void *arg, const char *kind, size_t index,
	             struct str *packed);
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

/* True: *packed is that part, good as long as the generation. */
static inline bool sink_have(const struct sink *s, const char *kind,
                             size_t index, struct str *packed)
{
	return s && s->have && s->have(s->arg, kind, index, packed);
}

#endif
