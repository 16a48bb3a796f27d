/*
 * offline_score - the offline provider held against what a teacher asks of
 * outlines, lessons and quizzes, over the topics of tests/data/topics.def.
 *
 * Rules:   offline_score.def.  They judge the texts and look things up in the
 *          dictionary; how the provider made them is not known here.
 * Owns:    a struct score is heap memory and the caller's to free.
 * Threads: one.
 */
#ifndef TESTS_OFFLINE_SCORE_H
#define TESTS_OFFLINE_SCORE_H

#include "svc-content/offline/offline.h"

#include <stdio.h>

struct score_topic {
	const char *name, *subject;
	enum level level;
	const char *meaning; /* see topics.def */
};

extern const struct score_topic score_topics[];
extern const size_t score_topics_n;

enum score_rule {
#define RULE(id, floor, claim) SCORE_##id,
#include "tests/offline_score.def"
#undef RULE
	SCORE_RULES
};

struct score;

/* faults: where each broken rule is told, or NULL. */
struct score *score_new(const struct wordnet *wn, FILE *faults);
void score_free(struct score *s);
AUTO_TYPE(score, struct score *, score_free)

/* An outline, its lessons and a quiz of three on each subtopic. */
enum err score_add(struct score *s, const struct score_topic *t) MUST_CHECK;
/* The figures, a line per rule and per measure. */
void score_print(const struct score *s, FILE *out);
/* Rules below their floor; each is told on out. */
size_t score_misses(const struct score *s, FILE *out);

#endif
