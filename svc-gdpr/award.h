/*
 * award - what learning is worth: XP, level, streak, achievements.
 *
 * Pure rules over plain data; the database is in person.h and apply.h.
 *
 * The outcome does not depend on the order in which deeds arrive, because
 * events of two services and of a long outage arrive in any order:
 *   - XP and counts are sums;
 *   - a streak is a set of days, kept as runs of consecutive ones, so a day
 *     that arrives late closes its gap instead of starting again at 1;
 *   - achievements look at what only grows: sums and the longest streak.
 *
 * Threads: any.
 */
#ifndef SVC_GDPR_AWARD_H
#define SVC_GDPR_AWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum achievement {
#define ACHIEVEMENT(id, ...) ACHIEVEMENT_##id,
#include "svc-gdpr/achievements.def"
#undef ACHIEVEMENT
	ACHIEVEMENT_COUNT
};

enum measure {
	MEASURE_NOTHING, /* never reached */
	MEASURE_TOPICS,
	MEASURE_QUIZZES, /* those that earned XP: repeats buy no reward */
	MEASURE_STREAK,  /* the longest */
	MEASURE_COUNT
};

struct achievement_row {
	const char *id, *name, *description, *category, *icon;
	const char *requirement_type; /* as clients know the measure */
	enum measure measure;
	int64_t threshold, xp;
	bool secret;
};
extern const struct achievement_row award_achievements[ACHIEVEMENT_COUNT];
/* False for an id that is not in the table. */
bool award_achievement_from_id(const char *id, size_t n, enum achievement *out);

/* Consecutive UTC days with a deed: last - days + 1 .. last; days 0: none. */
struct run {
	int64_t last, days;
};

struct tally {
	int64_t xp;
	int64_t topics, quizzes;
	int64_t quizzes_paid; /* of quizzes: those that earned XP */
	struct run streak;    /* the run with the latest day */
	int64_t longest;      /* days of the longest run ever */
	int64_t unlocked_at[ACHIEVEMENT_COUNT]; /* epoch ms; 0: locked */
};

/* 0-99 XP is level 1, 100 is 2, 400 is 3, 900 is 4. */
int64_t award_level(int64_t xp);
/* floor(2 * percent) without rounding the percent; 0 <= score <= total > 0. */
int64_t award_quiz_xp(int64_t score, int64_t total);
#define AWARD_TOPIC_XP 50

enum deed_kind { DEED_QUIZ, DEED_TOPIC };
struct deed {
	enum deed_kind kind;
	int64_t xp;
	bool earns;  /* a quiz that only practises earns nothing */
	int64_t at;  /* epoch ms */
	int64_t day; /* UTC day of at */
};

/* A day joined to the runs that touch it; touching: at most two, those that
 * hold day - 1, day or day + 1.  *merged takes their place. */
void award_streak(struct tally *t, int64_t day, const struct run *touching,
                  size_t n, struct run *merged);
/* Days to show on `today`: a streak is over once a whole day was missed. */
int64_t award_streak_days(const struct tally *t, int64_t today);

struct award {
	int64_t xp; /* of the deed itself */
	size_t unlocked_n;
	enum achievement unlocked[ACHIEVEMENT_COUNT]; /* new ones */
};
/* Counts the deed (award_streak() comes first) and unlocks what it reaches,
 * until nothing new does.  t->xp grows by out->xp and all rewards. */
void award_deed(struct tally *t, const struct deed *d, struct award *out);

#endif
