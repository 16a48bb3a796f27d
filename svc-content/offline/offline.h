/*
 * offline - the provider that is always there: outlines, lessons, quizzes and
 * advice from the dictionary and from tables, without a network (design D36).
 *
 * Why:     every answer has to be true or honest.  What the dictionary knows is
 *          taught from it; what it does not know becomes a plan of how to study
 *          the subject, with a warning and a lower score.
 * Same in, same out: nothing here is random and nothing is remembered.
 * Bounds:  under 5 ms an answer (tests/bench/content.c); memory is the arena's.
 * Errors:  ERR_NOMEM; ERR_INVALID for bytes that are no text.  wn may be NULL
 *          (no dictionary): then everything is a study plan, and says so.
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_OFFLINE_H
#define SVC_CONTENT_OFFLINE_OFFLINE_H

#include "svc-content/material.h"
#include "svc-content/offline/wordnet.h"

enum err offline_outline(const struct wordnet *wn, struct arena *a,
                         struct str topic, struct str lang,
                         struct outline *out) MUST_CHECK;
/* One lesson for each of focus, in its order; ask.subtopic is not read. */
enum err offline_lessons(const struct wordnet *wn, struct arena *a,
                         const struct lesson_ask *ask, const struct str *focus,
                         size_t n, struct lesson *out) MUST_CHECK;
/* Fills ask->count questions, all different. */
enum err offline_quiz(const struct wordnet *wn, struct arena *a,
                      const struct quiz_ask *ask,
                      struct question *out) MUST_CHECK;
/* done: keys (text_key) of subtopics that need no more work. */
enum err offline_advice(const struct wordnet *wn, struct arena *a,
                        struct str topic, const struct str *done, size_t n,
                        struct advice out[ADVICE_N]) MUST_CHECK;

#endif
