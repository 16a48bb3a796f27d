/*
 * sense - which of the meanings of a word is the one a learner wants.
 *
 * Each sense is scored: how often it was tagged, its rank, whether it belongs
 * to a field of study or is one, and how much it shares with the context (a
 * parent topic, or words beside the topic).
 *
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_SENSE_H
#define SVC_CONTENT_OFFLINE_SENSE_H

#include "svc-content/offline/wordnet.h"

#define SENSE_OTHERS_MAX 4

struct sense_context {
	const struct wn_synset *within; /* or NULL */
	struct str hint;                /* words beside the topic, or empty */
	bool tell_all;                  /* offer the unlikely meanings too */
};

struct sense_choice {
	struct wn_synset taken;
	int score;
	bool hinted; /* the context decided */
	size_t others_n;
	struct wn_synset others[SENSE_OTHERS_MAX]; /* plausible too */
};

/* False when lemma is no noun of the dictionary, or has no fit sense. */
bool sense_choose(const struct wordnet *wn, struct str lemma,
                  const struct sense_context *cx, struct sense_choice *out);

/* Words that s's name, gloss and ancestors share with hint. */
int sense_overlap(const struct wordnet *wn, const struct wn_synset *s,
                  struct str hint);
/* How closely s belongs to `to`: 0 is not at all. */
int sense_near(const struct wordnet *wn, const struct wn_synset *s,
               const struct wn_synset *to);

#endif
