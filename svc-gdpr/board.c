#include "svc-gdpr/board.h"

#include "svc-gdpr/stmts.h"

#define XP_MAX      (((int64_t)1 << 37) - 1)
#define MINUTE_BITS 26
#define MINUTE_MAX  (((int64_t)1 << MINUTE_BITS) - 1)

static int64_t clamp(int64_t v, int64_t max)
{
	if (v < 0)
		return 0;
	return v > max ? max : v;
}

int64_t board_key(int64_t xp, int64_t at_ms)
{
	int64_t minute = clamp(at_ms / 60000, MINUTE_MAX);

	return clamp(xp, XP_MAX) << MINUTE_BITS | (MINUTE_MAX - minute);
}

enum err board_place(struct db *db, struct person *p)
{
	int64_t key = p->handle[0] && p->tally.xp > 0 && !p->restricted_at
	                      ? board_key(p->tally.xp, p->xp_at)
	                      : PERSON_UNRANKED;
	const struct db_val v[] = {DB_I64(p->rank_key), DB_I64(key)};
	enum err e;

	if (key == p->rank_key)
		return OK;
	e = db_later(db, STMT(MOVE_ADD), v, COUNTOF(v), NULL);
	if (!e)
		p->rank_key = key;
	return e;
}

enum err board_fold(struct db *db)
{
	static const enum gdpr_stmt steps[] = {
		GDPR_STMT_FOLD_TAKE,
		GDPR_STMT_FOLD_ADD,
		GDPR_STMT_FOLD_SWEEP,
		GDPR_STMT_FOLD_DROP,
	};
	enum err e = OK;

	for (size_t i = 0; !e && i < COUNTOF(steps); i++)
		e = db_later(db, &gdpr_stmts[steps[i]], NULL, 0, NULL);
	return e;
}

struct ranked {
	struct person *p;
	int64_t *rank;
};

static enum err read_ranked(void *arg, const struct db_row *row)
{
	const struct ranked *r = arg;

	*r->rank = db_row_i64(row, PERSON_COLUMN_COUNT + 1);
	return person_read(r->p, row);
}

enum err board_rank(struct db *db, struct str sub, struct str hnd,
                    struct person *p, int64_t *rank)
{
	const struct db_val v[] = {DB_STR(sub), DB_STR(hnd)};
	struct ranked r = {p, rank};
	const struct db_sink sink = {read_ranked, &r};

	*p = (struct person){.rank_key = PERSON_UNRANKED};
	*rank = 0;
	return db_run(db, STMT(RANK_GET), v, COUNTOF(v), &sink);
}

struct top {
	board_row_fn *fn;
	void *arg;
	int64_t rank;
};

static enum err read_top(void *arg, const struct db_row *row)
{
	struct top *top = arg;
	struct board_row r = {db_row_str(row, 0), db_row_i64(row, 1),
	                      db_row_i64(row, 2), db_row_i64(row, 3),
	                      ++top->rank};

	return top->fn(top->arg, &r);
}

enum err board_top(struct db *db, int64_t limit, board_row_fn *fn, void *arg)
{
	const struct db_val v[] = {DB_I64(limit)};
	struct top top = {fn, arg, 0};
	const struct db_sink sink = {read_top, &top};

	return db_run(db, STMT(RANK_TOP), v, COUNTOF(v), &sink);
}

enum err board_check(struct db *db, int64_t *broken)
{
	return db_get_i64(db, STMT(CHECK_BUCKETS), NULL, 0, broken);
}
