/*
 * prose - dictionary entries turned into sentences people can read.
 *
 * A gloss looks like
 *     (biology) the basic unit of all organisms; they may exist as ...; "cells"
 * prose_gloss() takes it apart once; the rest writes from the parts.
 *
 * Owns:    nothing; slices point into the gloss, texts go to the caller's buf.
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_PROSE_H
#define SVC_CONTENT_OFFLINE_PROSE_H

#include "svc-content/offline/wordnet.h"

#include "common/base/buf.h"

#define PROSE_EXAMPLES_MAX 3

struct gloss {
	struct str domain;     /* "biology", or empty */
	struct str definition; /* up to the first part that is too much */
	size_t examples_n;
	struct str examples[PROSE_EXAMPLES_MAX]; /* without their quotes */
};

void prose_gloss(struct str gloss, struct gloss *out);

/* "solar_system" as "solar system". */
void prose_name(struct buf *b, struct str lemma);
/* The same, the first letter made a capital where it is ASCII. */
void prose_title(struct buf *b, struct str lemma);
/* "a" or "an" and a blank. */
void prose_article(struct buf *b, struct str noun);
/* "A, B and C" of the first words of synsets. */
void prose_list(struct buf *b, const struct wn_synset *s, size_t n);
/* A definition without its long parentheses. */
void prose_plain(struct buf *b, struct str definition);
/* A whole sentence that says what s is; name is how it is called here. */
void prose_define(struct buf *b, const struct wn_synset *s, struct str name);
/* Appends s with its first ASCII letter raised, and a full stop if it lacks
 * the end of a sentence. */
void prose_sentence(struct buf *b, struct str s);
/* A full stop, where the text does not end in one ("etc."). */
void prose_stop(struct buf *b);
/* True where the singular takes an article: "the lion", not "the jazz". */
bool prose_counted(const struct wn_synset *s, struct str name);
/* True for a name: the first word of the synset has a capital. */
bool prose_proper(const struct wn_synset *s);

#endif
