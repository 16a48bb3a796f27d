/*
 * records - what svc-content keeps of people: which subtopics they were shown,
 * which quizzes they got and how they did, what they master.
 *
 * A submitted quiz is one transaction: result, mastery, the event that pays
 * for it and, when the last subtopic of a presentation is mastered, the event
 * that says so (design D40, D41).
 *
 * Presenting, handing out and submitting happen inside a transaction of the
 * caller's, so that its answer can be kept with them (idempotency.h); they may
 * run again.
 *
 * Threads: any that may block on the pool.
 */
#ifndef SVC_CONTENT_RECORDS_H
#define SVC_CONTENT_RECORDS_H

#include "svc-content/content.h"
#include "svc-content/material.h"

#define RECORDS_REPEAT_MS  30000 /* an old body within it is the same submit */
#define RECORDS_ATTEMPT_MS (7 * INT64_C(86400000)) /* kept unsubmitted */

/* A topic or subtopic: as written, and its text_key. */
struct named {
	struct str text, key;
};

struct presentation {
	struct str sub;
	struct named topic;
	const struct str *subtopic_keys;
	size_t n;
	int64_t now_ms;
};
/* Nothing is kept of a person who is restricted.
 * A repeat of the same topic and subtopics only renews its time. */
enum err records_present(struct db *db, struct ctx *cx,
                         const struct presentation *p) MUST_CHECK;

struct attempt_question {
	char id[37];
	struct str correct;
	size_t correct_index;
};
struct attempt {
	char id[37];
	struct str sub;
	struct named topic, subtopic;
	size_t n;
	struct attempt_question questions[QUIZ_MAX];
	int64_t now_ms;
};
enum err records_attempt(struct db *db, const struct attempt *at) MUST_CHECK;

struct answer {
	struct str question_id;
	struct str option; /* its text, or p NULL: its index */
	int64_t index;
};
struct submission {
	struct str sub;
	struct str attempt_id; /* empty: a score that the browser counted */
	const struct answer *answers;
	size_t answers_n;
	struct named topic, subtopic; /* of a score */
	int64_t score, total;
	struct str body; /* digest of a score's fields */
	struct str difficulty;
	int64_t now_ms;
};
struct submitted {
	int64_t score, total;
	unsigned mastery;
	bool earns, repeat, finished;
	/* ERR_INVALID: the answer that names no question, or one twice. */
	size_t bad_answer;
};
/*
 * ERR_NOT_FOUND: no such attempt of this person.  ERR_RESTRICTED.  ERR_INVALID: see bad_answer.
 * A repeat gives the first result and changes nothing.  What is no repeat has
 * put something into the outbox: content_kick() after the commit.
 */
enum err records_submit(struct db *db, struct content *ct, struct ctx *cx,
                        const struct submission *s,
                        struct submitted *out) MUST_CHECK;

/* 3 from 80 percent, 2 from 50, else 1. */
unsigned records_mastery(int64_t score, int64_t total);

typedef enum err records_row_fn(void *arg, const struct db_row *row);
/* Rows (topic, subtopic, level, at); an empty topic_key means all. */
enum err records_progress(struct content *ct, struct ctx *cx, struct str sub,
                          struct str topic_key, records_row_fn *fn,
                          void (*restart)(void *arg), void *arg) MUST_CHECK;
struct mastered {
	struct str key;
	int64_t level; /* 2 or 3 */
};
/* Subtopics with mastery 2 or more, the latest first, in the arena of cx; none
 * of a person who is restricted. */
enum err records_done(struct content *ct, struct ctx *cx, struct str sub,
                      struct str topic_key, struct mastered **out,
                      size_t *n) MUST_CHECK;

#endif
