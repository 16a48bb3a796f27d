/*
 * standing - how a learner stands, in figures: from their quizzes alone, and
 * without a database, so that a test can hold the formulas (contract 4.9).
 *
 * Time:      an attempt counts from when it was handed out until it was handed
 *            in, STANDING_SPENT_MS at most: what lies open over night is no
 *            study.  A score that the browser counted has no time.
 * Session:   quizzes with less than STANDING_PAUSE_MS between them.
 * Concept:   a subtopic of a topic.  Its mastery is the first percentage and
 *            then 0.7 of the old and 0.3 of the new one.  A gap is one whose
 *            last quiz was below 70 percent.
 * Trend:     slope of the percentages over their number, the oldest first:
 *            positive is improving.
 * Readiness: of the last STANDING_READY_DAYS: 0.4 average + 0.3 mastery + 0.2
 *            consistency + 0.1 max(0, 10 trend), 0 to 100.  Consistency is 100
 *            less the sample standard deviation; of a single quiz there is none,
 *            and the other parts then weigh as much more.
 * Hours and days are those of UTC.
 *
 * Threads: any.
 */
#ifndef SVC_CONTENT_STANDING_H
#define SVC_CONTENT_STANDING_H

#include "common/base/arena.h"
#include "common/base/err.h"

#define STANDING_MAX        2000 /* quizzes, the latest */
#define STANDING_SPENT_MS   INT64_C(1800000)
#define STANDING_PAUSE_MS   INT64_C(1800000)
#define STANDING_READY_DAYS 30
#define STANDING_GAP        70.0
#define STANDING_READY      85.0
#define STANDING_ALMOST     70.0

struct learned {
	int64_t at;      /* handed in */
	int64_t from_at; /* handed out; 0: not known */
	uint64_t concept;
	double percent;
};

struct standing {
	double hours, average, readiness; /* one decimal */
	double trend;
	int64_t sessions, gaps;
	int best_day, best_hour; /* 0 Monday; -1: there is none */
};

/* v: the oldest first.  Of `days` until now: hours, average, trend, sessions and
 * the best time.  ERR_NOMEM. */
enum err standing_make(struct arena *a, const struct learned *v, size_t n,
                       int64_t now_ms, int64_t days,
                       struct standing *out) MUST_CHECK;

const char *standing_word(double readiness); /* as the front end compares it */
const char *standing_trend(double trend);
const char *standing_day(int day); /* "Monday" */

#endif
