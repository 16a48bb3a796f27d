#include "svc-gdpr/award.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define ACHIEVEMENT_PUBLIC false
#define ACHIEVEMENT_SECRET true

const struct achievement_row award_achievements[ACHIEVEMENT_COUNT] = {
#define ACHIEVEMENT(id, name, text, category, icon, type, measure, threshold, \
                    xp, shown)                                                \
	{#id,                                                                 \
	 name,                                                                \
	 text,                                                                \
	 category,                                                            \
	 icon,                                                                \
	 type,                                                                \
	 MEASURE_##measure,                                                   \
	 threshold,                                                           \
	 xp,                                                                  \
	 ACHIEVEMENT_##shown},
#include "svc-gdpr/achievements.def"
#undef ACHIEVEMENT
};

bool award_achievement_from_id(const char *id, size_t n, enum achievement *out)
{
	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++) {
		const char *known = award_achievements[i].id;

		if (strlen(known) == n && memcmp(known, id, n) == 0) {
			*out = (enum achievement)i;
			return true;
		}
	}
	return false;
}

int64_t award_level(int64_t xp)
{
	int64_t steps = (int64_t)sqrt((double)xp / 100);

	/* The root is rounded; whole squares must not fall to either side. */
	while (steps * steps > xp / 100)
		steps--;
	while ((steps + 1) * (steps + 1) <= xp / 100)
		steps++;
	return steps + 1;
}

int64_t award_quiz_xp(int64_t score, int64_t total)
{
	assert(total > 0 && score >= 0 && score <= total);
	return (int64_t)((__int128)200 * score / total);
}

void award_streak(struct tally *t, int64_t day, const struct run *touching,
                  size_t n, struct run *merged)
{
	int64_t first = day, last = day;

	assert(n <= 2);
	for (size_t i = 0; i < n; i++) {
		const struct run *r = &touching[i];
		int64_t r_first = r->last - r->days + 1;

		assert(r->last >= day - 1 && r_first <= day + 1);
		if (r_first < first)
			first = r_first;
		if (r->last > last)
			last = r->last;
	}
	*merged = (struct run){last, last - first + 1};
	if (t->streak.days == 0 || merged->last >= t->streak.last)
		t->streak = *merged;
	if (merged->days > t->longest)
		t->longest = merged->days;
}

int64_t award_streak_days(const struct tally *t, int64_t today)
{
	return t->streak.last >= today - 1 ? t->streak.days : 0;
}

static bool reached(const struct tally *t, const struct achievement_row *a)
{
	const int64_t have[MEASURE_COUNT] = {
		[MEASURE_NOTHING] = -1,
		[MEASURE_TOPICS] = t->topics,
		[MEASURE_QUIZZES] = t->quizzes_paid,
		[MEASURE_STREAK] = t->longest,
	};

	return have[a->measure] >= a->threshold;
}

/* One pass; false when it unlocked nothing. */
static bool unlock(struct tally *t, int64_t at, struct award *out)
{
	size_t before = out->unlocked_n;

	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++) {
		const struct achievement_row *a = &award_achievements[i];

		if (t->unlocked_at[i] != 0 || !reached(t, a))
			continue;
		t->unlocked_at[i] = at;
		t->xp += a->xp;
		out->unlocked[out->unlocked_n++] = (enum achievement)i;
	}
	return out->unlocked_n > before;
}

void award_deed(struct tally *t, const struct deed *d, struct award *out)
{
	*out = (struct award){.xp = d->earns ? d->xp : 0};
	assert(d->at > 0 && out->xp >= 0);
	t->xp += out->xp;
	if (d->kind == DEED_TOPIC)
		t->topics++;
	else
		t->quizzes++;
	if (d->kind == DEED_QUIZ && d->earns)
		t->quizzes_paid++;
	while (unlock(t, d->at, out))
		;
}
