/*
 * relate - what stands around a synset and is worth teaching with it.
 *
 * Candidates are kinds, parts and terms of the field.  Each is scored by how
 * often it is used, whether its word means this first of all, and how much
 * hangs below it, so that "differential calculus" comes before "tophus".
 *
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_RELATE_H
#define SVC_CONTENT_OFFLINE_RELATE_H

#include "svc-content/offline/wordnet.h"

#define RELATED_MAX 64

enum relation { RELATION_KIND, RELATION_PART, RELATION_TERM, RELATION_SISTER };

struct related {
	struct wn_synset syn;
	enum relation relation;
	int score;
	bool first; /* this is the first meaning of its word */
};

/* Bits of enum relation. */
enum {
	WANT_KINDS = 1 << RELATION_KIND,
	WANT_PARTS = 1 << RELATION_PART,
	WANT_TERMS = 1 << RELATION_TERM,
	WANT_SISTERS = 1 << RELATION_SISTER,
};

/* Best first; at most max (and RELATED_MAX).  Returns how many. */
size_t relate(const struct wordnet *wn, const struct wn_synset *s,
              unsigned want, struct related *out, size_t max);

#endif
