/*
 * make - asks language models for pieces, all at once, and believes none of them.
 *
 *   begin all -> wait for the next to end -> good: done
 *             -> no use: once again with the reasons -> the next provider -> failed
 *
 * Bounds:  two calls for each provider and piece, all within the deadline.
 * Owns:    bodies live in the arena.  Threads: of the request, which blocks.
 */
#ifndef SVC_CONTENT_GENERATE_MAKE_H
#define SVC_CONTENT_GENERATE_MAKE_H

#include "svc-content/generate/piece.h"

struct make {
	const struct content *ct;
	struct ctx *cx;
	const struct sink *sink;
	struct piece *const *pieces;
	size_t n;
	uint64_t deadline_ms;    /* mono_ms() */
	struct quota_hold *hold; /* what is used goes there; or NULL */
	/* Piece i has a body, from a provider. */
	void (*made)(void *arg, size_t i);
	void *arg;
};

/* Sets body and source of what could be made; the others stay SOURCE_NONE. */
enum err make_pieces(const struct make *m) MUST_CHECK;

/* About how many tokens that takes, in and out. */
uint64_t make_estimate(const struct piece *const *pieces, size_t n);

#endif
