/*
 * wrong - what makes a wrong option of a question wrong for certain, and how
 * easily it is taken for the right one.
 *
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_WRONG_H
#define SVC_CONTENT_OFFLINE_WRONG_H

#include "svc-content/offline/wordnet.h"

/* No word in common, and neither stands above the other. */
bool wrong_apart(const struct wordnet *wn, const struct wn_synset *a,
                 const struct wn_synset *b);
/* Some meaning of b's name is one of a's name: "love" and "passion". */
bool wrong_synonymous(const struct wordnet *wn, const struct wn_synset *a,
                      const struct wn_synset *b);
/* No meaning of s's first word is a kind of up. */
bool wrong_class(const struct wordnet *wn, const struct wn_synset *s,
                 struct wn_ref up);
/* All words that count of the shorter text stand in the longer one: "a young
 * lion" and "a small or young lion" are both right. */
bool wrong_says_same(struct str a, struct str b);
/* How easily b is taken for a: 0 most, 1 is of its sort, 2 is not. */
unsigned wrong_distance(const struct wn_synset *a, const struct wn_synset *b);

#endif
