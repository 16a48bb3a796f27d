/*
 * answer - reads what a language model wrote: JSON of a shape of ours, made plain
 * text (clean.h) and measured by the rules of quality.h (design D38).
 *
 * Why:     no provider is believed.  What does not fit says why, in words that go
 *          back to the model for one repair.
 * Takes:   JSON in a fence or behind a sentence; the array alone instead of the
 *          object around it; strings as objects with one known member.  More
 *          items than were asked for are cut off, fewer are refused.
 * Owns:    texts live in the arena.
 * Errors:  ERR_NOMEM alone: an answer that is no use is data (struct complaint).
 * Threads: any.
 */
#ifndef SVC_CONTENT_GENERATE_ANSWER_H
#define SVC_CONTENT_GENERATE_ANSWER_H

#include "svc-content/material.h"

#include "common/base/attr.h"

#define COMPLAINTS_MAX 8

/* Why an answer is no use; n 0: it is good.  Static texts. */
struct complaint {
	size_t n;
	const char *v[COMPLAINTS_MAX];
	bool refusal; /* the model will not: repair is no use */
};

/* mark: of template_leaks(). */
enum err answer_outline(struct arena *a, struct str text, struct str mark,
                        struct outline *out, struct complaint *why) MUST_CHECK;
enum err answer_lesson(struct arena *a, struct str text, struct str mark,
                       struct str subtopic, struct lesson *out,
                       struct complaint *why) MUST_CHECK;
/* n questions, 1 to QUIZ_MAX. */
enum err answer_quiz(struct arena *a, struct str text, struct str mark,
                     size_t n, struct question *out,
                     struct complaint *why) MUST_CHECK;
/* done: keys (text_key) that are not to be recommended. */
enum err answer_advice(struct arena *a, struct str text, struct str mark,
                       const struct str *done, size_t n,
                       struct advice out[ADVICE_N],
                       struct complaint *why) MUST_CHECK;

#endif
