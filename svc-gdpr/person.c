#include "svc-gdpr/person.h"

#include "svc-gdpr/board.h"
#include "svc-gdpr/stmts.h"

#include <stdio.h>

enum err person_read(void *arg, const struct db_row *row)
{
	struct person *p = arg;
	struct str handle = db_row_str(row, 0);

	if (handle.n >= sizeof(p->handle))
		return ERR_INTERNAL; /* apply.c never stores one */
	p->exists = true;
	if (handle.n)
		memcpy(p->handle, handle.p, handle.n);
	p->tally.xp = db_row_i64(row, 1);
	p->xp_at = db_row_i64(row, 2);
	p->rank_key =
		db_row_null(row, 3) ? PERSON_UNRANKED : db_row_i64(row, 3);
	p->tally.topics = db_row_i64(row, 4);
	p->tally.quizzes = db_row_i64(row, 5);
	p->tally.quizzes_paid = db_row_i64(row, 6);
	p->achievements = db_row_i64(row, 7);
	p->tally.streak.last = db_row_i64(row, 8);
	p->tally.streak.days = db_row_i64(row, 9);
	p->tally.longest = db_row_i64(row, 10);
	p->active_at = db_row_i64(row, 11);
	p->created_at = db_row_i64(row, 12);
	p->updated_at = db_row_i64(row, 13);
	p->restricted_at = db_row_i64(row, 14);
	return OK;
}

static enum err fetch(struct db *db, const struct db_stmt *st, struct str sub,
                      struct person *out)
{
	const struct db_val v[] = {DB_STR(sub)};
	const struct db_sink sink = {person_read, out};

	*out = (struct person){.rank_key = PERSON_UNRANKED};
	return db_run(db, st, v, COUNTOF(v), &sink);
}

enum err person_get(struct db *db, struct str sub, struct person *out)
{
	return fetch(db, STMT(PERSON_GET), sub, out);
}

enum err person_lock(struct db *db, struct str sub, int64_t at,
                     struct person *out)
{
	const struct db_val v[] = {DB_STR(sub), DB_I64(at)};
	enum err e = fetch(db, STMT(PERSON_LOCK), sub, out);

	if (e || out->exists)
		return e;
	e = db_run(db, STMT(PERSON_ADD), v, COUNTOF(v), NULL);
	if (!e)
		e = fetch(db, STMT(PERSON_LOCK), sub, out);
	if (!e && !out->exists)
		e = ERR_DB_CONFLICT; /* made by another since our snapshot */
	return e;
}

enum err person_set(struct db *db, struct str sub, const struct person *p)
{
	const struct tally *t = &p->tally;
	const struct db_val v[] = {
		DB_STR(sub),
		p->handle[0] ? DB_TEXT(p->handle) : DB_NULL,
		DB_I64(t->xp),
		DB_I64(p->xp_at),
		p->rank_key == PERSON_UNRANKED ? DB_NULL : DB_I64(p->rank_key),
		DB_I64(t->topics),
		DB_I64(t->quizzes),
		DB_I64(t->quizzes_paid),
		DB_I64(p->achievements),
		DB_I64(t->streak.last),
		DB_I64(t->streak.days),
		DB_I64(t->longest),
		DB_I64(p->active_at),
		DB_I64(p->created_at),
		DB_I64(p->updated_at),
	};

	return db_run(db, STMT(PERSON_SET), v, COUNTOF(v), NULL);
}

enum err person_delete(struct db *db, struct str sub, int64_t *rows)
{
	const struct db_val v[] = {DB_STR(sub)};
	struct person p;
	enum err e = fetch(db, STMT(PERSON_LOCK), sub, &p);

	if (!e && p.exists) {
		p.handle[0] = '\0';
		e = board_place(db, &p);
		if (!e)
			e = board_fold(db);
	}
	return e ? e : db_change(db, STMT(PERSON_DELETE), v, COUNTOF(v), rows);
}

static enum err read_unlocked(void *arg, const struct db_row *row)
{
	struct tally *t = arg;
	struct str id = db_row_str(row, 0);
	enum achievement which;

	/* One that this binary does not know yet: a newer replica wrote it. */
	if (award_achievement_from_id(id.p, id.n, &which))
		t->unlocked_at[which] = db_row_i64(row, 1);
	return OK;
}

enum err person_unlocked(struct db *db, struct str sub, struct person *p)
{
	const struct db_val v[] = {DB_STR(sub)};
	const struct db_sink sink = {read_unlocked, &p->tally};

	return db_run(db, STMT(UNLOCK_LIST), v, COUNTOF(v), &sink);
}

enum err ledger_add(struct db *db, const struct ledger_row *row, bool *added)
{
	const struct db_val v[] = {DB_STR(row->cause), DB_STR(row->sub),
	                           DB_TEXT(row->kind), DB_I64(row->xp),
	                           DB_I64(row->at)};
	int64_t changed = 0;
	enum err e = db_change(db, STMT(LEDGER_ADD), v, COUNTOF(v), &changed);

	if (!e)
		*added = changed > 0;
	return e;
}

enum err person_unlock(struct db *db, struct str sub, enum achievement which,
                       int64_t at)
{
	const struct achievement_row *a = &award_achievements[which];
	const struct db_val v[] = {DB_STR(sub), DB_TEXT(a->id), DB_I64(at)};
	char cause[160];
	bool added = false;
	int n = snprintf(cause, sizeof(cause), "achievement:%s:%.*s", a->id,
	                 STR_FMT(sub));
	enum err e;

	if (n < 0 || (size_t)n >= sizeof(cause))
		return ERR_INVALID; /* a sub is a UUID */
	e = ledger_add(
		db,
		&(struct ledger_row){
			{cause, (size_t)n}, sub, "achievement", a->xp, at},
		&added);
	if (!e)
		e = db_later(db, STMT(UNLOCK_ADD), v, COUNTOF(v), NULL);
	if (!e && !added)
		e = ERR_INTERNAL; /* the reward without its achievement */
	return e;
}

static enum err read_run(void *arg, const struct db_row *row)
{
	struct person_past *past = arg;

	if (past->n == COUNTOF(past->near))
		return ERR_INTERNAL;
	past->near[past->n++] =
		(struct run){db_row_i64(row, 0), db_row_i64(row, 1)};
	return OK;
}

enum err person_past_later(struct db *db, struct str sub, int64_t day,
                           struct person *p, struct person_past *past)
{
	const struct db_val v[] = {DB_STR(sub), DB_I64(day)};
	const struct db_sink unlocked = {read_unlocked, &p->tally};
	const struct db_sink runs = {read_run, past};
	enum err e = db_later(db, STMT(UNLOCK_LIST), v, 1, &unlocked);

	past->n = 0;
	return e ? e : db_later(db, STMT(RUN_TOUCHING), v, COUNTOF(v), &runs);
}

enum err person_day(struct db *db, struct str sub, int64_t day,
                    const struct person_past *past, struct person *p)
{
	struct run merged;
	enum err e = OK;

	award_streak(&p->tally, day, past->near, past->n, &merged);
	if (past->n == 1 && past->near[0].days == merged.days)
		return OK; /* the day is in it already */
	for (size_t i = 0; !e && i < past->n; i++) {
		const struct db_val old[] = {DB_STR(sub),
		                             DB_I64(past->near[i].last)};

		e = db_later(db, STMT(RUN_DELETE), old, COUNTOF(old), NULL);
	}
	if (!e) {
		const struct db_val new[] = {DB_STR(sub), DB_I64(merged.last),
		                             DB_I64(merged.days)};

		e = db_later(db, STMT(RUN_ADD), new, COUNTOF(new), NULL);
	}
	return e;
}

enum err person_check(struct db *db, int64_t *broken)
{
	static const enum gdpr_stmt checks[] = {
		GDPR_STMT_CHECK_BALANCE,
		GDPR_STMT_CHECK_COUNTS,
		GDPR_STMT_CHECK_RANKED,
	};
	int64_t sum = 0, found = 0;
	enum err e = OK;

	for (size_t i = 0; !e && i < COUNTOF(checks); i++) {
		e = db_get_i64(db, &gdpr_stmts[checks[i]], NULL, 0, &found);
		sum += found;
	}
	if (!e)
		e = board_check(db, &found);
	if (e)
		return e;
	*broken = sum + found;
	return OK;
}
