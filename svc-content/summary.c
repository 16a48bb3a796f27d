/* GET /api/analytics/summary: how a learner stands (contract 2.2.4).  One who has
 * restricted the use of their data sees it too (restricted.h). */
#include "svc-content/content.h"
#include "svc-content/methods.h"
#include "svc-content/standing.h"
#include "svc-content/stmts.h"
#include "svc-content/text.h"

#include "common/base/clock.h"

#include <stdio.h>

struct looking {
	struct str sub;
	struct learned *v; /* the latest at the end of STANDING_MAX */
	size_t n;
	int64_t mastered;
};

static enum err take(void *arg, const struct db_row *row)
{
	struct looking *l = arg;

	if (l->n == STANDING_MAX)
		return OK;
	l->v[STANDING_MAX - ++l->n] = (struct learned){
		.at = db_row_i64(row, 4),
		.from_at = db_row_i64(row, 5),
		.concept = text_hash(db_row_str(row, 1),
	                             text_hash(db_row_str(row, 0), 0)),
		.percent = 100.0 * (double)db_row_i64(row, 2) /
	                   (double)db_row_i64(row, 3),
	};
	return OK;
}

static enum err look(struct db *db, void *arg)
{
	struct looking *l = arg;
	const struct db_val v[] = {DB_STR(l->sub), DB_I64(STANDING_MAX)};
	const struct db_sink sink = {take, l};
	enum err e;

	l->n = 0;
	e = db_run(db, STMT(LEARNED), v, COUNTOF(v), &sink);
	return e ? e : db_get_i64(db, STMT(MASTERED), v, 1, &l->mastered);
}

static void put(struct buf *b, const struct standing *st, int64_t mastered)
{
	char hour[8];

	mp_map(b, 2);
	mp_kv_bool(b, "success", true);
	mp_kv_map(b, "summary", 10);
	mp_kv_f64(b, "study_time_hours", st->hours);
	mp_kv_i64(b, "sessions_completed", st->sessions);
	mp_kv_i64(b, "concepts_mastered", mastered);
	mp_kv_f64(b, "average_score", st->average);
	mp_kv_text(b, "performance_trend", standing_trend(st->trend));
	mp_kv_text(b, "exam_readiness", standing_word(st->readiness));
	mp_kv_f64(b, "readiness_score", st->readiness);
	mp_kv_i64(b, "active_gaps", st->gaps);
	if (st->best_hour < 0) {
		mp_kv_nil(b, "best_study_time");
		mp_kv_nil(b, "best_study_day");
		return;
	}
	(void)snprintf(hour, sizeof(hour), "%d:00", st->best_hour % 24);
	mp_kv_text(b, "best_study_time", hour);
	mp_kv_text(b, "best_study_day", standing_day(st->best_day));
}

enum err method_summary(void *state, struct ctx *cx, const void *in,
                        struct reply *out)
{
	const struct summary_in *r = in;
	const struct content *ct = state;
	struct looking l = {.sub = cx->sub,
	                    .v = arena_alloc(cx->arena,
	                                     STANDING_MAX * sizeof(*l.v))};
	struct standing st;
	enum err e;

	if (!l.v)
		return ERR_NOMEM;
	e = db_read(ct->pool, cx, look, &l);
	if (!e)
		e = standing_make(cx->arena, l.v + STANDING_MAX - l.n, l.n,
		                  wall_ms(), r->days, &st);
	if (e)
		return e;
	put(&out->body, &st, l.mastered);
	return out->body.failed ? ERR_NOMEM : OK;
}
