/*
 * kind - what sort of thing a topic is, which decides how it is taught.
 *
 * Found by climbing from the synset to anchors such as "programming language"
 * or "disease"; where no anchor is met, by its lexicographer file.
 *
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_KIND_H
#define SVC_CONTENT_OFFLINE_KIND_H

#include "svc-content/offline/wordnet.h"

enum kind {
#define KIND(id, words, use1, use2) KIND_##id,
#include "svc-content/offline/kind.def"
#undef KIND
	KIND_COUNT
};

const char *kind_words(enum kind k); /* "a field of study" */
/* A form with {s} and {t}; n picks one of two. */
const char *kind_use(enum kind k, uint64_t n);
enum kind kind_of(const struct wordnet *wn, const struct wn_synset *s);

/* The sense of lemma that stands in that lexicographer file with that id. */
bool kind_sense(const struct wordnet *wn, struct str lemma, unsigned lex,
                unsigned id, struct wn_synset *out);

#endif
