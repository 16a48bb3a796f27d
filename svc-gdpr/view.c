#include "svc-gdpr/view.h"

#include "common/base/clock.h"
#include "common/codec/mp.h"

#define RECENT_MAX 5

/* Clients expect a time; the catalogue is part of the program since this day,
 * 2025-01-01. */
#define CATALOGUE_SINCE_MS INT64_C(1735689600000)

static struct str shown_handle(const struct person *p, struct str handle)
{
	return p->handle[0] ? str_from(p->handle) : handle;
}

void view_progress(struct buf *b, const struct person *p, struct str handle,
                   int64_t now_ms)
{
	const struct tally *t = &p->tally;

	mp_map(b, 10);
	mp_kv_str(b, "user_id", shown_handle(p, handle));
	mp_kv_i64(b, "total_xp", t->xp);
	mp_kv_i64(b, "level", award_level(t->xp));
	mp_kv_i64(b, "streak_days",
	          award_streak_days(t, clock_utc_day(now_ms)));
	mp_kv_time(b, "last_activity_date", p->active_at);
	mp_kv_i64(b, "total_topics_completed", t->topics);
	mp_kv_i64(b, "total_quizzes_completed", t->quizzes);
	/* Nothing measures time yet; clients read the field. */
	mp_kv_i64(b, "total_time_spent", 0);
	mp_kv_time(b, "created_at", p->created_at);
	mp_kv_time(b, "updated_at", p->updated_at);
}

void view_place(struct buf *b, const struct board_row *row)
{
	mp_map(b, 7);
	mp_kv_str(b, "user_id", row->handle);
	mp_kv_str(b, "username", row->handle);
	mp_kv_i64(b, "total_xp", row->xp);
	mp_kv_i64(b, "level", award_level(row->xp));
	mp_kv_i64(b, "achievements_count", row->achievements);
	mp_kv_time(b, "updated_at", row->updated_at);
	mp_kv_i64(b, "rank", row->rank);
}

void view_achievement(struct buf *b, enum achievement which,
                      int64_t unlocked_at)
{
	const struct achievement_row *a = &award_achievements[which];

	mp_map(b, unlocked_at ? 12 : 10);
	mp_kv_text(b, "id", a->id);
	mp_kv_text(b, "name", a->name);
	mp_kv_text(b, "description", a->description);
	mp_kv_text(b, "category", a->category);
	mp_kv_text(b, "icon", a->icon);
	mp_kv_i64(b, "xp_reward", a->xp);
	mp_kv_text(b, "requirement_type", a->requirement_type);
	mp_kv_i64(b, "requirement_value", a->threshold);
	mp_kv_bool(b, "is_secret", a->secret);
	mp_kv_time(b, "created_at", CATALOGUE_SINCE_MS);
	if (unlocked_at) {
		mp_kv_time(b, "unlocked_at", unlocked_at);
		mp_kv_i64(b, "progress", 100);
	}
}

size_t view_latest(const struct tally *t,
                   enum achievement out[ACHIEVEMENT_COUNT])
{
	size_t n = 0;

	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++) {
		size_t at = n;

		if (t->unlocked_at[i] == 0)
			continue;
		for (;
		     at > 0 && t->unlocked_at[out[at - 1]] < t->unlocked_at[i];
		     at--)
			out[at] = out[at - 1];
		out[at] = (enum achievement)i;
		n++;
	}
	return n;
}

void view_stats(struct buf *b, const struct person *p, struct str handle,
                const struct board_row *place, int64_t now_ms)
{
	enum achievement latest[ACHIEVEMENT_COUNT];
	size_t n = view_latest(&p->tally, latest);
	size_t recent = n < RECENT_MAX ? n : RECENT_MAX;

	mp_map(b, 5);
	mp_text(b, "progress");
	view_progress(b, p, handle, now_ms);
	mp_kv_map(b, "achievements", 2);
	mp_kv_i64(b, "unlocked", (int64_t)n);
	mp_kv_array(b, "recent", recent);
	for (size_t i = 0; i < recent; i++)
		view_achievement(b, latest[i], p->tally.unlocked_at[latest[i]]);
	mp_kv_map(b, "skills", 2);
	mp_kv_i64(b, "unlocked", 0);
	mp_kv_array(b, "recent", 0);
	if (place) {
		mp_text(b, "rank");
		view_place(b, place);
	} else {
		mp_kv_nil(b, "rank");
	}
	mp_kv_map(b, "challenges", 2);
	mp_kv_i64(b, "active", 0);
	mp_kv_i64(b, "completed", 0);
}
