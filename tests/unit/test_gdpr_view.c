#include "svc-gdpr/view.h"

#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOON INT64_C(1767268800000) /* 2026-01-01T12:00:00Z, day 20454 */

static const struct person ada = {
	.exists = true,
	.handle = "Ada",
	.tally = {.xp = 450,
                  .topics = 1,
                  .quizzes = 3,
                  .quizzes_paid = 2,
                  .streak = {20454, 2},
                  .longest = 5,
                  .unlocked_at = {[ACHIEVEMENT_first_steps] = NOON - 1000,
                                  [ACHIEVEMENT_night_owl] = NOON}},
	.achievements = 2,
	.xp_at = NOON,
	.rank_key = 1,
	.active_at = NOON,
	.created_at = NOON - 86400000,
	.updated_at = NOON,
};

static const struct board_row ada_place = {{"Ada", 3}, 450, 2, NOON, 7};

static void assert_json(const struct buf *packed, const char *want)
{
	AUTO_BUF json = {0};

	assert_false(packed->failed);
	assert_true(mp_to_json(buf_view(packed), &json));
	buf_char(&json, '\0');
	assert_string_equal(json.p, want);
}

static void progress_has_the_fields_of_the_contract(void **state)
{
	AUTO_BUF b = {0};

	(void)state;
	view_progress(&b, &ada, STR("ignored"), NOON);
	assert_json(&b, "{\"user_id\":\"Ada\",\"total_xp\":450,\"level\":3,"
	                "\"streak_days\":2,"
	                "\"last_activity_date\":\"2026-01-01T12:00:00.000Z\","
	                "\"total_topics_completed\":1,"
	                "\"total_quizzes_completed\":3,\"total_time_spent\":0,"
	                "\"created_at\":\"2025-12-31T12:00:00.000Z\","
	                "\"updated_at\":\"2026-01-01T12:00:00.000Z\"}");
}

static void a_stranger_has_zeros_and_the_name_of_the_token(void **state)
{
	AUTO_BUF b = {0};
	struct person p = {.rank_key = PERSON_UNRANKED};

	(void)state;
	view_progress(&b, &p, STR("new"), NOON);
	assert_json(&b, "{\"user_id\":\"new\",\"total_xp\":0,\"level\":1,"
	                "\"streak_days\":0,\"last_activity_date\":null,"
	                "\"total_topics_completed\":0,"
	                "\"total_quizzes_completed\":0,\"total_time_spent\":0,"
	                "\"created_at\":null,\"updated_at\":null}");
}

static void a_streak_is_gone_two_days_later(void **state)
{
	AUTO_BUF b = {0};
	AUTO_BUF json = {0};

	(void)state;
	view_progress(&b, &ada, STR(""), NOON + 2 * INT64_C(86400000));
	assert_true(mp_to_json(buf_view(&b), &json));
	buf_char(&json, '\0');
	assert_non_null(strstr(json.p, "\"streak_days\":0,"));
}

static void place_has_the_fields_of_the_contract(void **state)
{
	AUTO_BUF b = {0};

	(void)state;
	view_place(&b, &ada_place);
	assert_json(&b, "{\"user_id\":\"Ada\",\"username\":\"Ada\","
	                "\"total_xp\":450,\"level\":3,\"achievements_count\":2,"
	                "\"updated_at\":\"2026-01-01T12:00:00.000Z\","
	                "\"rank\":7}");
}

#define FIRST_STEPS                                                     \
	"\"id\":\"first_steps\",\"name\":\"First Steps\","              \
	"\"description\":\"Finish your first topic\","                  \
	"\"category\":\"beginner\",\"icon\":\"🎯\",\"xp_reward\":50," \
	"\"requirement_type\":\"topics_completed\","                    \
	"\"requirement_value\":1,\"is_secret\":false,"                  \
	"\"created_at\":\"2025-01-01T00:00:00.000Z\""

static void achievement_says_when_it_was_unlocked(void **state)
{
	AUTO_BUF locked = {0};
	AUTO_BUF unlocked = {0};

	(void)state;
	view_achievement(&locked, ACHIEVEMENT_first_steps, 0);
	assert_json(&locked, "{" FIRST_STEPS "}");
	view_achievement(&unlocked, ACHIEVEMENT_first_steps, NOON);
	assert_json(&unlocked, "{" FIRST_STEPS
	                       ",\"unlocked_at\":\"2026-01-01T12:00:00.000Z\","
	                       "\"progress\":100}");
}

static void latest_come_first(void **state)
{
	struct tally t = {0};
	enum achievement out[ACHIEVEMENT_COUNT];

	(void)state;
	assert_int_equal(view_latest(&t, out), 0);
	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++)
		t.unlocked_at[i] = 100 + (int64_t)(i * 7 % 5);
	assert_int_equal(view_latest(&t, out), ACHIEVEMENT_COUNT);
	for (size_t i = 1; i < ACHIEVEMENT_COUNT; i++)
		assert_true(t.unlocked_at[out[i - 1]] >= t.unlocked_at[out[i]]);
}

static void stats_show_five_recent_and_a_null_rank(void **state)
{
	AUTO_BUF b = {0};
	struct person p = ada;
	struct str part, list;
	struct mp m;
	uint32_t n = 0;

	(void)state;
	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++)
		p.tally.unlocked_at[i] = NOON;
	view_stats(&b, &p, STR(""), NULL, NOON);
	assert_true(mp_valid(buf_view(&b)));
	assert_true(mp_find(buf_view(&b), "achievements", &part));
	assert_int_equal(mp_find_i64(part, "unlocked", -1), ACHIEVEMENT_COUNT);
	assert_true(mp_find(part, "recent", &list));
	m = mp_open(list);
	assert_true(mp_get_array(&m, &n));
	assert_int_equal(n, 5);
	assert_true(mp_find(buf_view(&b), "rank", &part));
	m = mp_open(part);
	assert_int_equal(mp_peek(&m), MP_NIL);
}

static void stats_have_all_parts(void **state)
{
	static const char *const keys[] = {"progress", "achievements", "skills",
	                                   "rank", "challenges"};
	AUTO_BUF b = {0};
	struct str part;

	(void)state;
	view_stats(&b, &ada, STR(""), &ada_place, NOON);
	assert_true(mp_valid(buf_view(&b)));
	for (size_t i = 0; i < COUNTOF(keys); i++) {
		struct mp m;

		assert_true(mp_find(buf_view(&b), keys[i], &part));
		m = mp_open(part);
		assert_int_equal(mp_peek(&m), MP_MAP);
	}
}

static void every_failed_allocation_is_seen(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		AUTO_BUF b = {0};

		alloc_fault_arm(n);
		view_stats(&b, &ada, STR(""), &ada_place, NOON);
		failed = alloc_fault_disarm();
		assert_int_equal(b.failed, failed);
		assert_true(n < 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(progress_has_the_fields_of_the_contract),
		cmocka_unit_test(
			a_stranger_has_zeros_and_the_name_of_the_token),
		cmocka_unit_test(a_streak_is_gone_two_days_later),
		cmocka_unit_test(place_has_the_fields_of_the_contract),
		cmocka_unit_test(achievement_says_when_it_was_unlocked),
		cmocka_unit_test(latest_come_first),
		cmocka_unit_test(stats_show_five_recent_and_a_null_rank),
		cmocka_unit_test(stats_have_all_parts),
		cmocka_unit_test(every_failed_allocation_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
