/*
 * subject - what a topic means: which sense of which word, of what kind, and
 * how sure we are (design D37).
 *
 * In this order: our own table (senses.def); the whole phrase in the
 * dictionary, its sense chosen by context, academic field and frequency; a word
 * and a hint to its meaning ("Mercury (planet)", "java island"); the last noun
 * of the phrase, which only tells the kind; else nothing, and the subject is
 * not known.  Ambiguity is said in the warnings, with what to write instead.
 *
 * Owns:    texts live in the arena, the synset in the dictionary.
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_SUBJECT_H
#define SVC_CONTENT_OFFLINE_SUBJECT_H

#include "svc-content/offline/facets.h"
#include "svc-content/offline/wordnet.h"

#define SUBJECT_LONG_WORDS 4
#define SUBJECT_LONG_BYTES 48

struct subject {
	struct str topic;  /* as it was written, trimmed */
	struct str name;   /* without "introduction to" and "(planet)" */
	struct str bare;   /* name as it stands in a sentence: "lion", "DNA" */
	struct str phrase; /* bare with its article: "the lion" */
	struct str key;    /* of name */
	enum kind kind;
	bool known;           /* synset and meaning hold */
	struct wn_synset syn; /* when known */
	struct str meaning;   /* one clause; empty when nothing is known */
	struct warnings warnings;
};

/*
 * within: the subject that this one is a part of, or NULL.  wn may be NULL.
 * ERR_NOMEM, or ERR_INVALID for bytes that are no text.
 */
enum err subject_of(const struct wordnet *wn, struct arena *a, struct str topic,
                    const struct subject *within,
                    struct subject *out) MUST_CHECK;

void warnings_add(struct warnings *w, struct str text);
/* What the offline provider cannot do: other languages, work without data. */
void warnings_language(struct warnings *w, struct str lang);
void warnings_dictionary(struct warnings *w, bool present);

#endif
