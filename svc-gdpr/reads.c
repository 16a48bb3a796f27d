/*
 * reads - the methods that answer people.  None of them writes.
 */
#include "common/base/clock.h"
#include "common/service/cached.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/state.h"
#include "svc-gdpr/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static enum err packed(const struct reply *out)
{
	return out->body.failed ? ERR_NOMEM : OK;
}

/* --- one person ---------------------------------------------------------- */

enum want { WANT_ROW = 0, WANT_UNLOCKED = 1, WANT_PLACE = 2 };

struct look {
	struct ctx *cx;
	unsigned want; /* enum want */
	struct person person;
	bool placed;
	struct board_row place;
};

/*
 * A person whose account event has not come yet is ranked as if it had: the
 * token says the handle.  Only the board itself waits for the event.
 */
static enum err place(struct db *db, struct look *l)
{
	struct person *p = &l->person;
	int64_t rank = 0;
	enum err e = board_rank(db, l->cx->sub, l->cx->hnd, p, &rank);

	l->place =
		(struct board_row){.handle = p->handle[0] ? str_from(p->handle)
	                                                  : l->cx->hnd,
	                           .xp = p->tally.xp,
	                           .achievements = p->achievements,
	                           .updated_at = p->updated_at,
	                           .rank = rank};
	l->placed = !e && p->tally.xp > 0 && l->place.handle.n > 0 &&
	            !p->restricted_at;
	return e;
}

/* One statement, but for WANT_UNLOCKED. */
static enum err look(struct db *db, void *arg)
{
	struct look *l = arg;
	enum err e = l->want & WANT_PLACE
	                     ? place(db, l)
	                     : person_get(db, l->cx->sub, &l->person);

	if (!e && l->person.exists && (l->want & WANT_UNLOCKED))
		e = person_unlocked(db, l->cx->sub, &l->person);
	return e;
}

enum err method_gdpr_progress(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	struct gdpr_state *st = state;
	struct look l = {.cx = cx, .want = WANT_ROW};
	enum err e = db_read_one(st->pool, cx, look, &l);

	(void)in;
	if (e)
		return e;
	mp_map(&out->body, 2);
	mp_kv_bool(&out->body, "success", true);
	mp_text(&out->body, "progress");
	view_progress(&out->body, &l.person, cx->hnd, wall_ms());
	return packed(out);
}

enum err method_gdpr_rank(void *state, struct ctx *cx, const void *in,
                          struct reply *out)
{
	struct gdpr_state *st = state;
	struct look l = {.cx = cx, .want = WANT_PLACE};
	enum err e = db_read_one(st->pool, cx, look, &l);

	(void)in;
	if (e)
		return e;
	if (l.person.restricted_at)
		return ctx_fail(cx, ERR_NOT_FOUND,
		                "You have no rank while the use of your data "
		                "is restricted.");
	if (!l.placed)
		return ctx_fail(cx, ERR_NOT_FOUND,
		                "You have no rank yet. Finish a quiz or a "
		                "topic to get one.");
	mp_map(&out->body, 2);
	mp_kv_bool(&out->body, "success", true);
	mp_text(&out->body, "rank");
	view_place(&out->body, &l.place);
	return packed(out);
}

enum err method_gdpr_user_achievements(void *state, struct ctx *cx,
                                       const void *in, struct reply *out)
{
	struct gdpr_state *st = state;
	struct look l = {.cx = cx, .want = WANT_UNLOCKED};
	const int64_t *at = l.person.tally.unlocked_at;
	enum achievement latest[ACHIEVEMENT_COUNT];
	struct buf *b = &out->body;
	size_t unlocked, shown = 0;
	enum err e = db_read(st->pool, cx, look, &l);

	(void)in;
	if (e)
		return e;
	unlocked = view_latest(&l.person.tally, latest);
	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++)
		shown += !award_achievements[i].secret || at[i] != 0;
	mp_map(b, 5);
	mp_kv_bool(b, "success", true);
	mp_kv_array(b, "unlocked", unlocked);
	for (size_t i = 0; i < unlocked; i++)
		view_achievement(b, latest[i], at[latest[i]]);
	mp_kv_array(b, "total", shown);
	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++)
		if (!award_achievements[i].secret || at[i] != 0)
			view_achievement(b, (enum achievement)i, 0);
	mp_kv_i64(b, "unlocked_count", (int64_t)unlocked);
	mp_kv_i64(b, "total_count", (int64_t)shown);
	return packed(out);
}

enum err method_gdpr_achievements(void *state, struct ctx *cx, const void *in,
                                  struct reply *out)
{
	size_t shown = 0;

	(void)state;
	(void)cx;
	(void)in;
	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++)
		shown += !award_achievements[i].secret;
	mp_map(&out->body, 2);
	mp_kv_bool(&out->body, "success", true);
	mp_kv_array(&out->body, "achievements", shown);
	for (size_t i = 0; i < ACHIEVEMENT_COUNT; i++)
		if (!award_achievements[i].secret)
			view_achievement(&out->body, (enum achievement)i, 0);
	return packed(out);
}

/* --- from the cache ------------------------------------------------------- */

static bool peek(struct gdpr_state *st, struct ctx *cx, struct str key,
                 struct reply *out)
{
	AUTO(cache_value) v = NULL;
	struct cache_info info;

	if (cache_peek(st->cache, key, mono_ms(), &v, &info) != CACHE_HIT)
		return false;
	cached_tell(out, cx, &info);
	buf_str(&out->body, cache_bytes(v));
	return !out->body.failed;
}

/* Peek has missed: loads, or waits for the one who does. */
static enum err answer(struct gdpr_state *st, struct cache_want *want,
                       struct ctx *cx, struct reply *out)
{
	AUTO(cache_value) v = NULL;
	struct cache_info info;
	enum err e;

	want->now_ms = mono_ms();
	want->deadline_ms = cx->deadline_ms;
	e = cached_load(cx, st->cache, want, &v, &info);
	if (e)
		return e;
	cached_tell(out, cx, &info);
	buf_str(&out->body, cache_bytes(v));
	return packed(out);
}

struct load {
	struct gdpr_state *st;
	struct ctx *cx;
	int64_t limit;
};

static enum err load_stats(void *arg, struct buf *out)
{
	struct load *ld = arg;
	struct look l = {.cx = ld->cx, .want = WANT_UNLOCKED | WANT_PLACE};
	enum err e = db_read(ld->st->pool, ld->cx, look, &l);

	if (e)
		return e;
	mp_map(out, 2);
	mp_kv_bool(out, "success", true);
	mp_text(out, "stats");
	view_stats(out, &l.person, ld->cx->hnd, l.placed ? &l.place : NULL,
	           wall_ms());
	return out->failed ? ERR_NOMEM : OK;
}

/* A person's figures stay in this process: what is asked for a few times and by
 * one person need not lie in a store that others read. */
#define STATS_SKIP (CACHE_SKIP_REMOTE_READ | CACHE_SKIP_REMOTE_WRITE)

bool gdpr_stats_peek(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	(void)in;
	return peek(state, cx, cx->sub, out);
}

enum err method_gdpr_stats(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	struct load ld = {.st = state, .cx = cx};
	struct cache_want want = {.key = cx->sub,
	                          .ttl_ms = ld.st->ttl_ms,
	                          .stale_ms = STATS_STALE_MS,
	                          .skip = STATS_SKIP,
	                          .load = load_stats,
	                          .arg = &ld};

	(void)in;
	return answer(ld.st, &want, cx, out);
}

/* "board:" can be no sub, which is a UUID. */
#define BOARD_KEY_MAX 32
static struct str board_key_text(const void *in, char out[BOARD_KEY_MAX])
{
	const struct gdpr_leaderboard_in *q = in;
	int n = snprintf(out, BOARD_KEY_MAX, "board:%" PRId64, q->limit);

	return (struct str){out, (size_t)n};
}

struct rows {
	struct buf packed;
	size_t n;
};

static enum err add_row(void *arg, const struct board_row *row)
{
	struct rows *rows = arg;

	view_place(&rows->packed, row);
	rows->n++;
	return OK;
}

struct top {
	int64_t limit;
	struct rows *rows;
};

static enum err top(struct db *db, void *arg)
{
	struct top *t = arg;

	buf_clear(&t->rows->packed); /* it may run again */
	t->rows->n = 0;
	return board_top(db, t->limit, add_row, t->rows);
}

static void rows_fini(struct rows *rows)
{
	buf_fini(&rows->packed);
}

static enum err load_board(void *arg, struct buf *out)
{
	struct load *ld = arg;
	__attribute__((cleanup(rows_fini))) struct rows rows = {0};
	struct top t = {ld->limit, &rows};
	enum err e = db_read(ld->st->pool, ld->cx, top, &t);

	if (e)
		return e;
	if (rows.packed.failed)
		return ERR_NOMEM;
	mp_map(out, 2);
	mp_kv_bool(out, "success", true);
	mp_kv_array(out, "leaderboard", rows.n);
	mp_raw(out, buf_view(&rows.packed));
	return out->failed ? ERR_NOMEM : OK;
}

static void drop_load(void *detached)
{
	struct load *ld = detached;

	cached_cx_free(ld->cx);
	free(ld);
}

static void *detach_load(const void *arg)
{
	const struct load *asked = arg;
	struct load *ld = malloc(sizeof(*ld));

	if (!ld)
		return NULL;
	*ld = *asked;
	ld->cx = cached_cx_new(asked->cx, BOARD_LOAD_MS);
	if (ld->cx)
		return ld;
	free(ld);
	return NULL;
}

bool gdpr_leaderboard_peek(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	char key[BOARD_KEY_MAX];

	return peek(state, cx, board_key_text(in, key), out);
}

enum err method_gdpr_leaderboard(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	const struct gdpr_leaderboard_in *q = in;
	struct load ld = {.st = state, .cx = cx, .limit = q->limit};
	char key[BOARD_KEY_MAX];
	struct cache_want want = {.key = board_key_text(in, key),
	                          .tags_n = 1,
	                          .tags = {BOARD_TAG},
	                          .ttl_ms = ld.st->board_ttl_ms,
	                          .stale_ms = BOARD_STALE_MS,
	                          .soft_ms = BOARD_SOFT_MS,
	                          .eager = BOARD_EAGER,
	                          .load = load_board,
	                          .arg = &ld,
	                          .detach = detach_load,
	                          .drop = drop_load};

	return answer(ld.st, &want, cx, out);
}
