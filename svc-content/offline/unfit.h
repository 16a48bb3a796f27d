/*
 * unfit - what of the dictionary learners are not shown, or not unasked.
 *
 * By its own marks (slang, slurs, obscenities), by what its definitions say,
 * and by our table (unfit.def).
 *
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_UNFIT_H
#define SVC_CONTENT_OFFLINE_UNFIT_H

#include "svc-content/offline/wordnet.h"

/* Not fit for learners at all. */
bool unfit_offends(const struct wordnet *wn, const struct wn_synset *s);
/* Fit as a topic of its own, but not to be brought up unasked. */
bool unfit_delicate(const struct wn_synset *s);
/* Harmless, but nothing to study. */
bool unfit_odd(const struct wn_synset *s);

#endif
