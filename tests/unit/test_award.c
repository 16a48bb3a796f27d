#include "svc-gdpr/award.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define DAY_MS INT64_C(86400000)

static void level_is_the_root_of_a_hundredth_and_one(void **state)
{
	static const struct {
		int64_t xp, level;
	} cases[] = {
		{0, 1},
		{99, 1},
		{100, 2},
		{399, 2},
		{400, 3},
		{899, 3},
		{900, 4},
		{1599, 4},
		{1600, 5},
		{8099, 9},
		{8100, 10},
		{9999, 10},
		{10000, 11},
		{10001, 11},
		{INT64_C(100) * 94906267 * 94906267 - 1, 94906267},
		{INT64_C(100) * 94906267 * 94906267, 94906268},
		{INT64_MAX, 303700050},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_int_equal(award_level(cases[i].xp), cases[i].level);
}

static void quiz_xp_is_twice_the_percent_rounded_down(void **state)
{
	static const struct {
		int64_t score, total, xp;
	} cases[] = {
		{0, 1, 0},     {1, 1, 200},
		{1, 3, 66},    {2, 3, 133},
		{1, 200, 1},   {1, 201, 0},
		{29, 50, 116}, {57, 100, 114},
		{19, 20, 190}, {INT64_MAX, INT64_MAX, 200},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_int_equal(award_quiz_xp(cases[i].score, cases[i].total),
		                 cases[i].xp);
}

/* --- one learner, kept as the store keeps it ------------------------------ */

#define RUNS_MAX 400
struct learner {
	struct tally t;
	struct run runs[RUNS_MAX];
	size_t runs_n;
};

static bool touches(const struct run *r, int64_t day)
{
	return r->last >= day - 1 && r->last - r->days <= day;
}

static void learner_day(struct learner *l, int64_t day)
{
	struct run near[2], merged;
	size_t near_n = 0, kept = 0;

	for (size_t i = 0; i < l->runs_n; i++) {
		if (touches(&l->runs[i], day))
			near[near_n++] = l->runs[i];
		else
			l->runs[kept++] = l->runs[i];
	}
	award_streak(&l->t, day, near, near_n, &merged);
	l->runs[kept++] = merged;
	l->runs_n = kept;
}

static void learner_do(struct learner *l, const struct deed *d,
                       struct award *won)
{
	learner_day(l, d->day);
	award_deed(&l->t, d, won);
}

static struct deed quiz(int64_t xp, bool earns, int64_t day)
{
	return (struct deed){DEED_QUIZ, xp, earns, day * DAY_MS + 1, day};
}

static struct deed topic(int64_t day)
{
	return (struct deed){DEED_TOPIC, AWARD_TOPIC_XP, true, day * DAY_MS + 1,
	                     day};
}

static void streak_follows_the_days(void **state)
{
	static const struct {
		const char *what;
		int64_t days[8];
		size_t n;
		int64_t streak, longest;
	} cases[] = {
		{"first activity", {10}, 1, 1, 1},
		{"same day", {10, 10, 10}, 3, 1, 1},
		{"next day", {10, 11}, 2, 2, 2},
		{"a missed day", {10, 11, 13}, 3, 1, 2},
		{"three in a row", {10, 11, 12}, 3, 3, 3},
		{"late and already counted", {10, 11, 10}, 3, 2, 2},
		{"late, before the streak", {10, 11, 9}, 3, 3, 3},
		{"late, far before", {10, 11, 3}, 3, 2, 2},
		{"late, closes the gap", {10, 12, 11}, 3, 3, 3},
		{"late, in an old run", {1, 2, 10, 3}, 4, 1, 3},
		{"late, joins two old runs", {1, 3, 10, 2}, 4, 1, 3},
		{"backwards", {13, 12, 11, 10}, 4, 4, 4},
		{"before 1970", {-1, 0, 1}, 3, 3, 3},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct learner l = {0};

		for (size_t k = 0; k < cases[i].n; k++)
			learner_day(&l, cases[i].days[k]);
		if (l.t.streak.days != cases[i].streak ||
		    l.t.longest != cases[i].longest)
			fail_msg("%s", cases[i].what);
	}
}

static void streak_is_shown_until_a_whole_day_is_missed(void **state)
{
	struct tally t = {.streak = {.last = 20, .days = 4}};

	(void)state;
	assert_int_equal(award_streak_days(&t, 20), 4);
	assert_int_equal(award_streak_days(&t, 21), 4);
	assert_int_equal(award_streak_days(&t, 22), 0);
	assert_int_equal(award_streak_days(&(struct tally){0}, 20), 0);
}

static void achievements_unlock_at_their_threshold_and_once(void **state)
{
	static const struct {
		enum deed_kind kind;
		int64_t step; /* days between deeds */
		int nth;      /* deed that unlocks */
		enum achievement which;
		int64_t reward;
	} cases[] = {
		{DEED_TOPIC, 0, 1, ACHIEVEMENT_first_steps, 50},
		{DEED_TOPIC, 0, 10, ACHIEVEMENT_knowledge_seeker, 200},
		{DEED_TOPIC, 0, 50, ACHIEVEMENT_master_learner, 1000},
		{DEED_QUIZ, 0, 25, ACHIEVEMENT_quiz_master, 500},
		{DEED_QUIZ, 1, 7, ACHIEVEMENT_streak_warrior, 300},
		{DEED_QUIZ, 1, 30, ACHIEVEMENT_streak_legend, 1500},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct achievement_row *a =
			&award_achievements[cases[i].which];
		struct learner l = {0};
		int seen = 0;

		assert_int_equal(a->xp, cases[i].reward);
		for (int n = 1; n <= 60; n++) {
			int64_t day = 100 + n * cases[i].step;
			struct deed d = cases[i].kind == DEED_QUIZ
			                        ? quiz(10, true, day)
			                        : topic(day);
			struct award won;
			int64_t before = l.t.xp, rewards = 0;

			learner_do(&l, &d, &won);
			for (size_t k = 0; k < won.unlocked_n; k++) {
				rewards +=
					award_achievements[won.unlocked[k]].xp;
				if (won.unlocked[k] != cases[i].which)
					continue;
				assert_int_equal(n, cases[i].nth);
				seen++;
			}
			assert_int_equal(l.t.xp, before + won.xp + rewards);
		}
		assert_int_equal(seen, 1);
		assert_int_not_equal(l.t.unlocked_at[cases[i].which], 0);
	}
}

static void one_deed_may_unlock_several(void **state)
{
	struct learner l = {.t = {.topics = 49}};
	struct deed d = topic(5);
	struct award won;

	(void)state;
	learner_do(&l, &d, &won);
	assert_int_equal(won.unlocked_n, 3);
	assert_int_equal(won.xp, 50);
	assert_int_equal(l.t.xp, 50 + 50 + 200 + 1000);
}

static void practice_counts_but_buys_nothing(void **state)
{
	struct learner l = {0};
	struct award won;

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct deed d = quiz(200, false, 5);

		learner_do(&l, &d, &won);
		assert_int_equal(won.unlocked_n, 0);
	}
	assert_int_equal(l.t.xp, 0);
	assert_int_equal(l.t.quizzes, 100);
	assert_int_equal(l.t.quizzes_paid, 0);
	assert_int_equal(l.t.streak.days, 1);
}

static void what_is_not_measured_stays_locked(void **state)
{
	struct learner l = {.t = {.topics = 1000, .quizzes_paid = 1000}};
	struct award won;

	(void)state;
	for (int64_t day = 1; day <= 100; day++) {
		struct deed d = topic(day);

		learner_do(&l, &d, &won);
	}
	assert_int_equal(l.t.unlocked_at[ACHIEVEMENT_night_owl], 0);
	assert_int_equal(l.t.unlocked_at[ACHIEVEMENT_explorer], 0);
	assert_int_equal(l.t.unlocked_at[ACHIEVEMENT_speed_demon], 0);
}

static void ids_are_found_and_strangers_are_not(void **state)
{
	enum achievement a = ACHIEVEMENT_COUNT;

	(void)state;
	assert_true(award_achievement_from_id("quiz_master", 11, &a));
	assert_int_equal(a, ACHIEVEMENT_quiz_master);
	a = ACHIEVEMENT_COUNT;
	assert_false(award_achievement_from_id("quiz_maste", 10, &a));
	assert_false(award_achievement_from_id("quiz_masters", 12, &a));
	assert_false(award_achievement_from_id("", 0, &a));
	assert_int_equal(a, ACHIEVEMENT_COUNT);
}

/* --- any order, any number of deliveries ------------------------------------ */

#define DEEDS 300
#define DAYS  120

/* splitmix64: the same worlds on each machine. */
static uint64_t next_random(uint64_t *s)
{
	uint64_t z = (*s += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t below(uint64_t *s, uint64_t n)
{
	return next_random(s) % n;
}

/* Delivers order[0..n) where a deed counts the first time only, as the ledger
 * sees to. */
static void deliver(const struct deed *deeds, const size_t *order, size_t n,
                    struct learner *l, int64_t *ledger)
{
	bool seen[DEEDS] = {false};

	memset(l, 0, sizeof(*l));
	*ledger = 0;
	for (size_t i = 0; i < n; i++) {
		struct award won;

		if (seen[order[i]])
			continue;
		seen[order[i]] = true;
		learner_do(l, &deeds[order[i]], &won);
		*ledger += won.xp;
		for (size_t k = 0; k < won.unlocked_n; k++)
			*ledger += award_achievements[won.unlocked[k]].xp;
	}
}

static void check_streak(const struct deed *deeds, const struct tally *t)
{
	bool active[DAYS] = {false};
	int64_t run = 0, longest = 0, last = 0;

	for (size_t i = 0; i < DEEDS; i++)
		active[deeds[i].day] = true;
	for (int64_t d = 0; d < DAYS; d++) {
		run = active[d] ? run + 1 : 0;
		if (active[d])
			last = run;
		if (run > longest)
			longest = run;
	}
	assert_int_equal(t->longest, longest);
	assert_int_equal(t->streak.days, last);
}

static void order_and_repeats_do_not_matter(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		uint64_t s = seed;
		struct deed deeds[DEEDS];
		size_t order[2 * DEEDS];
		struct learner once, twice;
		int64_t ledger, ledger2;
		uint64_t days = 1 + below(&s, DAYS);

		for (size_t i = 0; i < DEEDS; i++) {
			int64_t day = (int64_t)below(&s, days);

			deeds[i] = below(&s, 4) == 0
			                   ? topic(day)
			                   : quiz((int64_t)below(&s, 201),
			                          below(&s, 3) != 0, day);
			order[i] = i;
		}
		deliver(deeds, order, DEEDS, &once, &ledger);
		assert_int_equal(ledger, once.t.xp);
		check_streak(deeds, &once.t);

		for (size_t i = 0; i < DEEDS; i++)
			order[DEEDS + i] = i;
		for (size_t i = COUNTOF(order) - 1; i > 0; i--) {
			size_t k = below(&s, i + 1), was = order[i];

			order[i] = order[k];
			order[k] = was;
		}
		deliver(deeds, order, COUNTOF(order), &twice, &ledger2);
		assert_int_equal(ledger2, twice.t.xp);
		assert_int_equal(twice.t.xp, once.t.xp);
		assert_int_equal(twice.t.topics, once.t.topics);
		assert_int_equal(twice.t.quizzes, once.t.quizzes);
		assert_int_equal(twice.t.quizzes_paid, once.t.quizzes_paid);
		check_streak(deeds, &twice.t);
		for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++)
			assert_int_equal(twice.t.unlocked_at[i] != 0,
			                 once.t.unlocked_at[i] != 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(level_is_the_root_of_a_hundredth_and_one),
		cmocka_unit_test(quiz_xp_is_twice_the_percent_rounded_down),
		cmocka_unit_test(streak_follows_the_days),
		cmocka_unit_test(streak_is_shown_until_a_whole_day_is_missed),
		cmocka_unit_test(
			achievements_unlock_at_their_threshold_and_once),
		cmocka_unit_test(one_deed_may_unlock_several),
		cmocka_unit_test(practice_counts_but_buys_nothing),
		cmocka_unit_test(what_is_not_measured_stays_locked),
		cmocka_unit_test(ids_are_found_and_strangers_are_not),
		cmocka_unit_test(order_and_repeats_do_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
