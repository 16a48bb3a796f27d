#include "svc-gdpr/restrict.h"

#include "common/codec/mp.h"
#include "svc-gdpr/board.h"
#include "svc-gdpr/stmts.h"

struct reading {
	struct arena *arena;
	struct restriction *out;
};

static enum err read_row(void *arg, const struct db_row *row)
{
	struct reading *r = arg;

	r->out->since = db_row_i64(row, 0);
	if (db_row_null(row, 1))
		return OK;
	r->out->why = arena_str(r->arena, db_row_str(row, 1));
	return r->out->why.p ? OK : ERR_NOMEM;
}

enum err restrict_get(struct db *db, struct arena *a, struct str sub,
                      struct restriction *out)
{
	const struct db_val v[] = {DB_STR(sub)};
	struct reading r = {a, out};
	const struct db_sink sink = {read_row, &r};

	*out = (struct restriction){0};
	return db_run(db, STMT(RESTRICTION_GET), v, COUNTOF(v), &sink);
}

static enum err tell(struct db *db, struct event_store *events, struct str sub,
                     bool restricted, int64_t now_ms)
{
	AUTO_BUF body = {0};

	mp_map(&body, 2);
	mp_kv_bool(&body, "restricted", restricted);
	mp_kv_i64(&body, "at", now_ms);
	if (body.failed)
		return ERR_NOMEM;
	return event_emit(events, db, PEER_CONTENT, sub,
	                  STR("person.restricted"), buf_view(&body), now_ms);
}

enum err restrict_set(struct db *db, struct event_store *events, struct str sub,
                      const struct restriction *want, int64_t now_ms,
                      bool *changed)
{
	bool on = want->since != 0;
	const struct db_val v[] = {DB_STR(sub), DB_I64(want->since),
	                           on && want->why.p ? DB_STR(want->why)
	                                             : DB_NULL};
	struct person p;
	enum err e = person_lock(db, sub, now_ms, &p);

	*changed = false;
	if (e || (p.restricted_at != 0) == on)
		return e;
	p.restricted_at = want->since;
	e = db_run(db, STMT(RESTRICTION_SET), v, COUNTOF(v), NULL);
	if (!e)
		e = board_place(db, &p);
	if (!e)
		e = person_set(db, sub, &p);
	if (!e)
		e = tell(db, events, sub, on, now_ms);
	if (!e)
		e = board_fold(db);
	*changed = !e;
	return e;
}
